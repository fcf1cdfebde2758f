//! Is there an attack at all? For each vector, the traffic that carries it against an absolute floor
//! and against what this server has learned to be normal: in total, or else to one service.

use std::collections::BTreeMap;
use std::time::Duration;

use mitigator_common::{Signature, Source, SourceCounters};
use serde::Serialize;

use super::activity::Activity;
use super::baseline::saved::LearnedVector;
use super::baseline::services::{ByPort, Services};
use super::baseline::{Baseline, Normal, Pace, Situation};
use super::connections::{Connections, MANY_OF_A_CROWD, Pile, Waiting};
use super::held::Held;
use super::keyed::KeyedMap;
use super::meanings;
use super::paced::{Group, Paced};
use super::rows::SourceActivity;
use super::settings::DetectionSettings;
use super::swarm::Crowd;
use super::time::{Timestamp, UnixMinute, WallClock};
use super::vectors::{self, Comparison, Floors, ManyPorts, Possible, Span, Vector};

/// How long after the last alarm a vector's attack counts as over, and learning goes on.
const COOL_DOWN: Duration = Duration::from_secs(5);
/// How long a verdict keeps its vector from being learned: evidence that lasts is reported twice as often.
const VERDICT_HOLDS: Duration = Duration::from_mins(1);
/// Services of one vector that raise an alarm in one tick, the busiest first.
const MOST_SERVICES: usize = 4;
/// Up to this share of what would pass the gates a baseline rises at once: the floors are higher.
const HARMLESS: f64 = 0.5;
/// Packets to many ports per second that all scans together may send for long, and each at least.
const SCAN_RATE: f64 = 2_000.0;
const LEAST_SCAN_RATE: f64 = 100.0;
/// Packets to many ports that scans may send beyond that: a thousand usual ports, asked a few times.
const SCAN_BURST: f64 = 10_000.0;
const LEAST_SCAN_BURST: f64 = 1_000.0;

/// Rows for which memory is fetched at a time.
const FETCHED: usize = 64;
/// Of the floor of all sources, from where the pace of each is remembered.
const WATCHED_SHARE: f64 = 0.2;
/// On the floor of all sources for what an attack brings in its wake.
const WAKE_FACTOR: f64 = 0.2;
/// Connections of a member of a swarm that count for it: fewer than one of a crowd is blocked for.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small whole number")]
const SWARM_SYNS: u32 = MANY_OF_A_CROWD as u32 - 1;
/// Connections that a client opens at once.
const A_CLIENTS_SYNS: u32 = 8;

/// One comparison that a decision rests on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gate {
    /// What is compared.
    pub name: &'static str,
    /// What was seen.
    pub value: f64,
    /// What it has to reach.
    pub limit: f64,
    /// Of both.
    pub unit: &'static str,
    /// Whether it was reached.
    pub passed: bool,
}

impl Gate {
    /// A comparison that passes from `limit` on.
    #[must_use]
    pub fn at_least(name: &'static str, value: f64, limit: f64, unit: &'static str) -> Self {
        debug_assert!(meanings::of_gate(name).is_some(), "{name} has no meaning");
        Self { name, value, limit, unit, passed: value >= limit }
    }
}

/// What the gates say of one vector in one tick.
#[derive(Clone, Debug, PartialEq)]
pub struct Alarm {
    /// The kind of attack.
    pub vector: Vector,
    /// The port that it is about, as a signature names it; `None` for all.
    pub service: Option<u16>,
    /// Over how long it was judged.
    pub span: Span,
    /// What it was judged by.
    pub floors: Floors,
    /// Who sends packets that carry it; of a service, only who sends to it.
    pub carried: Carried,
    /// Their sum, per second.
    pub total: f64,
    /// What the total was held against.
    pub gates: Vec<Gate>,
    /// When the attack began: at the start of the interval that first showed it.
    pub since: Timestamp,
    /// What is usual, once it is learned.
    pub normal: Option<Normal>,
    /// For stocks: sources that behave all alike.
    pub alike: usize,
    /// For stocks: whether those whose connections do not pile up are not served either.
    pub everybody_waits: bool,
    /// For requests: sources with the same even pace.
    pub paced: Option<Group>,
}

/// Packets that carry a vector, by row of the activity; rows without any are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    carriers: Vec<Carrier>,
}

/// A row that carries a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Carrier {
    row: u32,
    /// The port that its packets name a service by; 0 for none.
    service: u16,
    packets: u64,
}

impl Carried {
    /// Rows that have some, in order, each with its number.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (usize, u64)> + '_ {
        self.carriers.iter().map(|carrier| (carrier.row as usize, carrier.packets))
    }

    /// Of one row.
    #[must_use]
    pub fn of(&self, row: usize) -> u64 {
        let found = self.carriers.binary_search_by_key(&row, |carrier| carrier.row as usize);
        found.ok().and_then(|place| self.carriers.get(place)).map_or(0, |carrier| carrier.packets)
    }

    /// Of all rows.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.carriers.iter().map(|carrier| carrier.packets).sum()
    }

    /// Of the rows that send to one service.
    fn to_service(&self, service: u16) -> Self {
        let carriers = self.carriers.iter().filter(|carrier| carrier.service == service);
        Self { carriers: carriers.copied().collect() }
    }

    fn emptied(mut self) -> Self {
        self.carriers.clear();
        self
    }

    fn sort(&mut self) {
        self.carriers.sort_by_key(|carrier| carrier.row);
    }

    /// Adds a row past the others. Rows are far fewer than 2^32: the data plane's table is bounded.
    fn push(&mut self, row: usize, service: u16, packets: u64) {
        if packets > 0
            && let Ok(row) = u32::try_from(row)
        {
            self.carriers.push(Carrier { row, service, packets });
        }
    }
}

impl FromIterator<(usize, u64)> for Carried {
    /// Of rows in order, of no service.
    fn from_iter<I: IntoIterator<Item = (usize, u64)>>(rows: I) -> Self {
        let mut carried = Self::default();
        rows.into_iter().for_each(|(row, packets)| carried.push(row, 0, packets));
        carried
    }
}

/// What is normal for each vector over one span, and which attacks are on.
#[derive(Clone, Debug)]
pub struct Gates {
    span: Span,
    is_first: bool,
    connections: Connections,
    paced: Paced,
    states: Vec<State>,
    totals: Vec<f64>,
    /// Memory of what was carried before, by vector.
    spare: Vec<Carried>,
    /// Packets to many ports beyond the rate of a scan, by source: leaky buckets.
    scanned: KeyedMap<Source, f64>,
    /// `None` while the time of day is not known.
    wall_clock: Option<WallClock>,
    /// How long nothing looked like an attack.
    quiet: Duration,
    /// Of one vector at a time.
    by_port: ByPort,
    asked: Vec<Source>,
    looks: Vec<Look>,
}

/// What one check saw of a source that somebody asked about.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// Its row of the activity.
    pub row: usize,
    /// The kind of attack.
    pub vector: Vector,
    /// What it was judged by.
    pub floors: Floors,
    /// Packets of the source that carry it.
    pub carried: u64,
    /// What all sources together were held against.
    pub gates: Vec<Gate>,
}

/// What one look at all rows told.
struct Survey {
    /// In the order of [`Vector::ALL`].
    carried: Vec<Carried>,
    /// Sources that behave all alike.
    alike: usize,
    is_of_a_crowd: bool,
    everybody_waits: bool,
}

#[derive(Clone, Debug, Default)]
struct State {
    baseline: Baseline,
    services: Services,
    attack: Option<Episode>,
    /// Attacks that show in one service only.
    service_attacks: BTreeMap<u16, Episode>,
    /// The last one that blamed somebody.
    verdict_at: Option<Timestamp>,
    /// What was blocked of it a moment ago.
    held: Held,
}

impl State {
    fn is_quiet(&self) -> bool {
        self.attack.is_none() && self.service_attacks.is_empty()
    }

    /// Attacks end a while after their last alarm.
    fn cool_down(&mut self, now: Timestamp) {
        let is_on = |attack: &Episode| now.since(attack.last_alarm) < COOL_DOWN;
        self.attack = self.attack.filter(is_on);
        self.service_attacks.retain(|_, attack| is_on(attack));
    }
}

#[derive(Clone, Copy, Debug)]
struct Episode {
    since: Timestamp,
    last_alarm: Timestamp,
}

impl Gates {
    /// Gates that have seen nothing yet.
    #[must_use]
    pub fn over(span: Span) -> Self {
        Self {
            span,
            is_first: true,
            connections: Connections::default(),
            paced: Paced::default(),
            states: Vec::new(),
            totals: Vec::new(),
            spare: Vec::new(),
            scanned: KeyedMap::default(),
            wall_clock: None,
            quiet: Duration::ZERO,
            by_port: ByPort::default(),
            asked: Vec::new(),
            looks: Vec::new(),
        }
    }

    /// Tells the time of day, which shifts what is normal.
    pub const fn set_wall_clock(&mut self, wall_clock: Option<WallClock>) {
        self.wall_clock = wall_clock;
    }

    /// The vectors that look like an attack in this tick. What was seen is learned: all of it without any, and
    /// with none lately; slowly otherwise; and nothing of a vector that has a verdict.
    pub fn check(&mut self, activity: &Activity, settings: &DetectionSettings) -> Vec<Alarm> {
        self.states.resize_with(Vector::ALL.len(), State::default);
        let mut alarms: Vec<Alarm> = Vec::new();
        self.totals.clear();
        self.looks.clear();
        let asked_rows = activity.rows_of(&self.asked);
        let is_first = std::mem::replace(&mut self.is_first, false);
        let Survey { carried, alike, is_of_a_crowd, everybody_waits } =
            self.survey(activity, is_first, settings);
        let hears_sent = activity.hears_sent;
        let was_attacked = Vector::ALL
            .iter()
            .zip(&self.states)
            .any(|(vector, state)| vector.is_limited() && state.attack.is_some());
        let now = self.wall_clock.map(|clock| clock.minute_of(activity.at));
        let begun = Timestamp::from_ns(activity.at.ns.saturating_sub(as_ns(activity.interval)));
        for ((state, vector), carried) in self.states.iter_mut().zip(Vector::ALL).zip(carried) {
            let limited: u64 = activity
                .limited
                .iter()
                .filter(|(signature, _)| is_of(vector, *signature))
                .map(|(_, packets)| *packets)
                .sum();
            let total = amount(vector, activity, carried.sum().saturating_add(limited));
            self.totals.push(total);
            let mut floors = vector.floors_over(self.span, hears_sent);
            if vector.is_wake() && (was_attacked || alarms.iter().any(|alarm| alarm.vector.is_limited())) {
                floors.total *= WAKE_FACTOR;
            }
            if vector.is_stock() && is_of_a_crowd {
                floors.source = MANY_OF_A_CROWD;
            }
            count_by_port(vector, &activity.limited, &carried, &mut self.by_port);
            state.services.note(&self.by_port, |count| amount(vector, activity, count));
            state.held.fade(activity.at);
            let with_held = total + state.held.of(None);
            // Quiet ticks need not know.
            let floor = floors.total * settings.patience;
            let has_pace = vector.comparison() == Comparison::Peers && self.span == Span::Tick;
            let is_known_from = if has_pace { floor * WATCHED_SHARE } else { floor };
            let usual = if with_held >= is_known_from { state.baseline.normal(now) } else { None };
            if has_pace {
                let is_busy = usual.is_some_and(|usual| with_held >= usual.median * settings.baseline_factor);
                self.paced.advance(activity, &carried, is_busy);
            }
            let normal = usual.filter(|_| with_held >= floor);
            let gates = total_gates(vector, floors, with_held, normal, settings);
            let looks = carried.iter().filter(|(row, _)| asked_rows.contains(row));
            self.looks.extend(looks.map(|(row, carried)| Look {
                row,
                vector,
                floors,
                carried,
                gates: gates.clone(),
            }));
            let mut alarm = Alarm {
                vector,
                service: None,
                span: self.span,
                floors,
                carried,
                total,
                gates,
                since: begun,
                normal,
                alike: if vector == Vector::SlowConnections { alike } else { 0 },
                everybody_waits,
                paced: None,
            };
            let earlier_alarms = alarms.len();
            if alarm.gates.iter().all(|gate| gate.passed) {
                let earlier = state.attack.iter().chain(state.service_attacks.values());
                alarm.since = earlier.map(|attack| attack.since).min().unwrap_or(begun);
                state.attack = Some(Episode { since: alarm.since, last_alarm: activity.at });
                alarms.push(alarm);
                self.spare.push(Carried::default());
            } else {
                if normal.is_some() {
                    alarms.extend(service_alarms(state, &alarm, activity, &self.by_port, now, settings));
                }
                self.spare.push(alarm.carried.emptied());
            }
            for alarm in alarms.iter_mut().skip(earlier_alarms).filter(|_| has_pace) {
                alarm.paced = self.paced.group(activity, &alarm.carried, settings);
            }
            state.cool_down(activity.at);
        }
        self.learn(activity, now, settings);
        alarms
    }

    /// Takes the memory of alarms that were judged.
    pub fn reuse(&mut self, alarms: Vec<Alarm>) {
        for Alarm { vector, carried, .. } in alarms {
            let place = Vector::ALL.iter().position(|known| *known == vector);
            if let Some(spare) = place.and_then(|place| self.spare.get_mut(place)) {
                *spare = carried.emptied();
            }
        }
    }

    /// Takes note of a verdict that blames somebody, which keeps its vector from being learned for a while.
    pub fn note_verdict(&mut self, vector: Vector, at: Timestamp) {
        let mut states = self.states.iter_mut().zip(Vector::ALL);
        if let Some((state, _)) = states.find(|(_, known)| *known == vector) {
            state.verdict_at = Some(at);
        }
    }

    /// Takes note of a block and of what its source sent, which goes on to count for a while: where the rest is
    /// judged one by one. A limit of all would be judged by what no longer comes.
    pub fn note_block(&mut self, vector: Vector, service: Option<u16>, per_second: f64, at: Timestamp) {
        let mut states = self.states.iter_mut().zip(Vector::ALL);
        if vector.comparison() == Comparison::Peers
            && let Some((state, _)) = states.find(|(_, known)| *known == vector)
        {
            state.held.add(service, per_second, at);
        }
    }

    fn learn(&mut self, activity: &Activity, now: Option<UnixMinute>, settings: &DetectionSettings) {
        if activity.interval.is_zero() {
            return;
        }
        // An attack of one kind often brings others in its wake.
        let is_quiet = self.states.iter().all(State::is_quiet);
        if is_quiet {
            self.quiet += activity.interval;
        }
        for ((state, total), vector) in self.states.iter_mut().zip(&self.totals).zip(Vector::ALL) {
            let floor = vector.floors_over(self.span, activity.hears_sent).total * settings.patience;
            if floor.is_infinite() {
                continue;
            }
            let has_verdict = state.verdict_at.is_some_and(|at| activity.at.since(at) < VERDICT_HOLDS);
            let situation = match (has_verdict, is_quiet) {
                (true, _) => Situation::Attack,
                (false, false) => Situation::Alarm,
                (false, true) => Situation::Quiet,
            };
            let pace = pace(floor, settings);
            // What is judged by its baseline alone needs one: a flood in the last moment of learning must not
            // keep it from ever being learned.
            let needs_one = vector.comparison() == Comparison::Peers && !state.baseline.is_learned();
            let of_total = if needs_one { Situation::Quiet } else { situation };
            state.baseline.learn(*total, activity.interval, of_total, &pace, now);
            state.services.learn(activity.interval, situation, &pace, now);
            // Where all that came was known, a port that comes later had nothing before. A service that is
            // judged by its baseline alone gets some time to show what is usual.
            let had_nothing = state.baseline.is_grown() && vector.comparison() == Comparison::Floors;
            let birth = || if had_nothing { Baseline::of_silence() } else { Baseline::default() };
            if situation == Situation::Quiet {
                state.services.admit_newcomer(birth);
            }
        }
    }

    /// What was learned, by the name of the vector.
    #[must_use]
    pub fn learned(&self) -> BTreeMap<String, LearnedVector> {
        let learned = |state: &State| LearnedVector {
            total: state.baseline.clone(),
            services: state.services.baselines(),
        };
        let vectors = Vector::ALL.iter().zip(&self.states);
        vectors.map(|(vector, state)| (vector.name().to_owned(), learned(state))).collect()
    }

    /// Takes over what was learned before; what is of no vector that is known is left out.
    pub fn restore(&mut self, mut learned: BTreeMap<String, LearnedVector>) {
        self.states.resize_with(Vector::ALL.len(), State::default);
        for (state, vector) in self.states.iter_mut().zip(Vector::ALL) {
            if let Some(LearnedVector { total, services }) = learned.remove(vector.name()) {
                state.baseline = total;
                state.services = services.into_iter().collect();
            }
        }
    }

    /// How long nothing looked like an attack, which is how long was learned.
    #[must_use]
    pub const fn quiet(&self) -> Duration {
        self.quiet
    }

    /// One look at every row: what carries each vector, in the order of [`Vector::ALL`], and what it takes all rows
    /// to tell.
    fn survey(&mut self, activity: &Activity, is_first: bool, settings: &DetectionSettings) -> Survey {
        let mut carried = std::mem::take(&mut self.spare);
        carried.resize(Vector::ALL.len(), Carried::default());
        let mut to_many_ports: Vec<(usize, u64)> = Vec::new();
        let mut waiting: Vec<(usize, Waiting)> = Vec::new();
        let mut crowd = Crowd::default();
        let half = activity.interval / 2;
        let sight = Sight { span: self.span, is_first, activity, half };
        // What stands is judged tick by tick.
        let counts_standing = self.span == Span::Tick;
        if counts_standing {
            self.connections.fade(activity.interval);
        }
        for (index, row) in activity.rows.iter().enumerate() {
            let mut waits = None;
            if counts_standing {
                if index.is_multiple_of(FETCHED) {
                    self.connections.fetch(activity.rows.totals(index..index + FETCHED));
                }
                waits = self.connections.note(&row);
                waiting.extend(waits.map(|waits| (index, waits)));
                crowd.note(index, &row);
            }
            let packets = vectors::packets_to_many_ports(&row.change);
            if packets > 0 {
                to_many_ports.push((index, packets));
            } else {
                sight.count(&mut carried, index, &row, waits, ManyPorts::Scan);
            }
        }
        let waits_in = |index: usize| {
            let found = waiting.binary_search_by_key(&index, |(row, _)| *row).ok()?;
            waiting.get(found).map(|(_, waits)| *waits)
        };
        let floods = self.judge_scans(activity, &to_many_ports, settings);
        for ((index, _), many_ports) in to_many_ports.iter().zip(floods) {
            if let Some(row) = activity.rows.get(*index) {
                sight.count(&mut carried, *index, &row, waits_in(*index), many_ports);
            }
        }
        let swarm = crowd.swarm();
        let Pile { is_of_a_crowd, everybody_waits } = self.connections.pile();
        let mut standing_rows: Vec<usize> =
            waiting.iter().map(|(row, _)| *row).chain(swarm.iter().copied()).collect();
        standing_rows.sort_unstable();
        standing_rows.dedup();
        for index in standing_rows {
            let Some(row) = activity.rows.get(index) else {
                continue;
            };
            let waits = waits_in(index).unwrap_or_default();
            let is_in_swarm = swarm.binary_search(&index).is_ok();
            for (carried, vector) in
                carried.iter_mut().zip(Vector::ALL).filter(|(_, vector)| vector.is_stock())
            {
                let stands = standing(vector, waits, is_of_a_crowd);
                let is_of_it = is_in_swarm && vector == Vector::SlowConnections;
                // A member is limited with the others, and blocked for what it leaves waiting alone.
                let opened = if is_of_it { row.totals.tcp_syn_packets.min(SWARM_SYNS) } else { 0 };
                carried.push(index, service_of(vector, &row), stands.max(u64::from(opened)));
            }
        }
        if !to_many_ports.is_empty() {
            carried.iter_mut().for_each(Carried::sort);
        }
        Survey { carried, alike: swarm.len(), is_of_a_crowd, everybody_waits }
    }

    /// What packets to many ports are, row by row. The more sources scan at once, the less of it each may.
    #[expect(clippy::cast_precision_loss, reason = "counts in one interval are far below 2^52")]
    fn judge_scans(
        &mut self,
        activity: &Activity,
        to_many_ports: &[(usize, u64)],
        settings: &DetectionSettings,
    ) -> Vec<ManyPorts> {
        let scanners = to_many_ports.len().max(1) as f64;
        let rate = (SCAN_RATE / scanners).max(LEAST_SCAN_RATE) * settings.patience;
        let burst = (SCAN_BURST / scanners).max(LEAST_SCAN_BURST) * settings.patience;
        let leaked = rate * activity.interval.as_secs_f64();
        self.scanned.retain(|_, level| {
            *level -= leaked;
            *level > 0.0
        });
        let mut judge = |(row, count): &(usize, u64)| {
            let Some(source) = activity.rows.source(*row) else {
                return ManyPorts::Scan;
            };
            let level = self.scanned.entry(source).or_insert(-leaked);
            // Twice the burst is the most that is remembered, so that an end is noticed within seconds.
            *level = (*level + *count as f64).min(burst * 2.0);
            if *level > burst { ManyPorts::Flood } else { ManyPorts::Scan }
        };
        to_many_ports.iter().map(&mut judge).collect()
    }

    /// From now on, remembers what each check saw of these sources.
    pub fn ask(&mut self, sources: Vec<Source>) {
        self.asked = sources;
    }

    /// What the latest check saw of those that were asked about.
    #[must_use]
    pub fn looks(&self) -> &[Look] {
        &self.looks
    }

    /// Sources to look at even while they send nothing.
    #[must_use]
    pub fn watched(&self) -> Vec<Source> {
        self.connections.watched()
    }

    /// Forgets what is remembered of a source, which has been blocked.
    pub fn forget(&mut self, source: Source) {
        self.connections.forget(source);
    }

    /// Packets/s that carried each vector in the latest tick, in the order of [`Vector::ALL`].
    #[must_use]
    pub fn totals(&self) -> &[f64] {
        &self.totals
    }
}

/// How rows are looked at in one tick or window.
struct Sight<'a> {
    span: Span,
    is_first: bool,
    activity: &'a Activity,
    /// Of its interval.
    half: Duration,
}

impl Sight<'_> {
    /// Adds what a row carries of each vector that comes in packets.
    fn count(
        &self,
        carried: &mut [Carried],
        index: usize,
        row: &SourceActivity<'_>,
        waits: Option<Waiting>,
        many_ports: ManyPorts,
    ) {
        for place in Possible::of(&row.change) {
            let (Some(vector), Some(carried)) = (Vector::ALL.get(place), carried.get_mut(place)) else {
                continue;
            };
            if !self.is_excused(*vector, row, waits) {
                let packets = carried_by(*vector, row, self.activity.hears_sent, many_ports);
                carried.push(index, service_of(*vector, row), packets);
            }
        }
    }

    /// Whether what a source sends of a vector is none here.
    fn is_excused(&self, vector: Vector, row: &SourceActivity<'_>, waits: Option<Waiting>) -> bool {
        let is_window = self.span == Span::Window;
        match vector {
            // A visitor from far away acknowledges a moment later.
            Vector::SynFlood => is_window && row.age < self.half,
            // Half-finished requests on many connections: what they leave open says more.
            Vector::HttpFlood => waits.is_some_and(|waits| waits.explains(row.change.tcp_push_packets)),
            Vector::AckFlood => self.is_first,
            // Over seconds, where this host is heard, only senders that were never there before and are not
            // answered count: forged ones are, and a sender of one-way traffic stays.
            Vector::UdpFlood => {
                is_window
                    && self.activity.hears_sent
                    && (self.is_first || row.totals.sent_udp_packets > 0 || row.age > self.activity.interval)
            }
            _ => false,
        }
    }
}

/// A count of what carries a vector, as the number it is judged by: per second, unless it stands.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "connections of one host are far below 2^52")]
pub fn amount(vector: Vector, activity: &Activity, count: u64) -> f64 {
    if vector.is_stock() { count as f64 } else { activity.per_second(count) }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "connections are counted from zero, and saturate"
)]
fn standing(vector: Vector, waiting: Waiting, is_of_a_crowd: bool) -> u64 {
    let is_slow = vector == Vector::SlowConnections;
    if waiting.are_many(is_of_a_crowd) && waiting.are_established() == is_slow {
        waiting.connections as u64
    } else {
        0
    }
}

/// Packets of a source that carry a vector, by what it did in the interval and before.
#[must_use]
pub fn carried_by(vector: Vector, row: &SourceActivity<'_>, hears_sent: bool, many_ports: ManyPorts) -> u64 {
    match vector {
        Vector::SynFlood if is_client(row) => 0,
        Vector::AckFlood if !lacks_connection(row, hears_sent) => 0,
        _ => vector.carried_by(&row.change, many_ports),
    }
}

/// Whether the source acknowledged its connections before, and opens a few more.
fn is_client(row: &SourceActivity<'_>) -> bool {
    let is_proven = row.totals.tcp_ack_packets >= row.totals.tcp_syn_packets;
    is_proven && row.change.tcp_syn_packets <= A_CLIENTS_SYNS
}

/// Whether the source sends TCP of a connection that neither it nor this host ever opened. Where this host is
/// not heard, nobody can tell it from a connection that is older than the program.
fn lacks_connection(row: &SourceActivity<'_>, hears_sent: bool) -> bool {
    let was_opened = row.totals.tcp_syn_packets > 0 || row.totals.tcp_syn_ack_packets > 0;
    // A host refuses packets of no connection with a RST each, and answers nothing else.
    let is_answered = row.totals.sent_packets > row.totals.sent_closing_packets;
    hears_sent && !was_opened && !is_answered
}

fn as_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What the total of a vector has to reach. What is normal matters only to what is over the floor.
#[must_use]
pub fn total_gates(
    vector: Vector,
    floors: Floors,
    total: f64,
    normal: Option<Normal>,
    settings: &DetectionSettings,
) -> Vec<Gate> {
    gates_named(
        ["total_floor", "total_over_median", "total_over_noise"],
        vector,
        floors,
        total,
        normal,
        settings,
    )
}

fn gates_named(
    [over_floor, over_median, over_noise]: [&'static str; 3],
    vector: Vector,
    floors: Floors,
    total: f64,
    normal: Option<Normal>,
    settings: &DetectionSettings,
) -> Vec<Gate> {
    let (floor, unit) = (floors.total * settings.patience, vector.unit());
    let mut gates = vec![Gate::at_least(over_floor, total, floor, unit)];
    if total >= floor
        && let Some(normal) = normal
    {
        let noise = normal.median + normal.deviation * settings.baseline_deviations;
        gates.extend([
            Gate::at_least(over_median, total, normal.median * settings.baseline_factor, unit),
            Gate::at_least(over_noise, total, noise, unit),
        ]);
    }
    gates
}

/// Alarms of services that are an attack by themselves where `all` of them together are not.
fn service_alarms(
    state: &mut State,
    all: &Alarm,
    activity: &Activity,
    by_port: &ByPort,
    now: Option<UnixMinute>,
    settings: &DetectionSettings,
) -> Vec<Alarm> {
    let (vector, floors) = (all.vector, all.floors);
    let mut loud: Vec<(u16, f64)> = by_port
        .counts()
        .map(|(port, count)| (port, amount(vector, activity, count)))
        .filter(|(port, total)| total + state.held.of(Some(*port)) >= floors.total * settings.patience)
        .collect();
    loud.sort_unstable_by(|(a, a_total), (b, b_total)| b_total.total_cmp(a_total).then(a.cmp(b)));
    let mut alarms = Vec::new();
    for (port, total) in loud {
        // A port that is not among the busiest is usually idle, which takes some time to know, and is no ground to
        // compare clients on.
        let is_idle = state.baseline.is_grown() && vector.comparison() == Comparison::Floors;
        let idle = is_idle.then(Normal::default);
        let Some(normal) = state.services.normal(port, now).or(idle) else {
            continue;
        };
        let names = ["service_floor", "service_over_median", "service_over_noise"];
        let with_held = total + state.held.of(Some(port));
        let gates = gates_named(names, vector, floors, with_held, Some(normal), settings);
        if alarms.len() == MOST_SERVICES || !gates.iter().all(|gate| gate.passed) {
            continue;
        }
        let attack = state.service_attacks.entry(port).or_insert(Episode {
            since: state.attack.map_or(all.since, |attack| attack.since),
            last_alarm: activity.at,
        });
        attack.last_alarm = activity.at;
        state.services.admit(port, total, Baseline::of_silence);
        let carried = all.carried.to_service(port);
        alarms.push(Alarm {
            service: Some(port),
            carried,
            total,
            gates,
            since: attack.since,
            normal: Some(normal),
            paced: None,
            ..*all
        });
    }
    alarms
}

/// What a baseline of a vector may rise to, and how fast.
fn pace(floor: f64, settings: &DetectionSettings) -> Pace {
    let below = |times: f64| floor * HARMLESS / times.max(1.0);
    Pace {
        rise_per_hour: settings.baseline_rise,
        harmless: Normal {
            median: below(settings.baseline_factor),
            deviation: below(settings.baseline_deviations),
        },
    }
}

/// Whether packets of a signature carry a vector.
fn is_of(vector: Vector, signature: Signature) -> bool {
    !vector.is_stock() && signature.kind().is_some_and(|kind| vector.kinds().contains(&kind))
}

/// Packets of a vector by service, with what limits dropped of them.
fn count_by_port(vector: Vector, limited: &[(Signature, u64)], carried: &Carried, by_port: &mut ByPort) {
    by_port.clear();
    for carrier in &carried.carriers {
        by_port.add(carrier.service, carrier.packets);
    }
    if has_services(vector) {
        for (signature, dropped) in limited.iter().filter(|(signature, _)| is_of(vector, *signature)) {
            by_port.add(signature.port().unwrap_or(0), *dropped);
        }
    }
}

/// Whether the port of its packets names a service. Connections that this host asked for come back to any port, and
/// some packets have none.
const fn has_services(vector: Vector) -> bool {
    !matches!(
        vector,
        Vector::Scan
            | Vector::TcpReflection
            | Vector::IcmpFlood
            | Vector::ExtensionFlood
            | Vector::FragmentFlood
    )
}

/// The service that a source's packets of a vector are about, as a signature names it; 0 for none. Of the ports of
/// one source the latest stands for all.
fn service_of(vector: Vector, row: &SourceActivity<'_>) -> u16 {
    if !has_services(vector) {
        return 0;
    }
    let port = |counters: &SourceCounters| match vector {
        Vector::Reflection => counters.reflection_port,
        _ => counters.destination_port,
    };
    // Who only waits sent nothing in the interval.
    if port(&row.change) > 0 { port(&row.change) } else { port(row.totals) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_carries_neither_an_ack_flood_nor_a_syn_flood() {
        let client = SourceCounters {
            packets: 2_004,
            tcp_syn_packets: 4,
            tcp_ack_packets: 2_000,
            sent_packets: 4_000,
            sent_syn_ack_packets: 4,
            ..SourceCounters::EMPTY
        };
        let late = SourceCounters { packets: 4, tcp_syn_packets: 4, ..SourceCounters::EMPTY };
        let older = SourceCounters { tcp_syn_packets: 0, sent_syn_ack_packets: 0, ..client };
        let forged = SourceCounters { sent_packets: 2_000, sent_closing_packets: 2_000, ..older };
        for (description, change, totals, hears_sent, of_ack_flood, of_syn_flood) in [
            ("a busy client", client, client, true, 0, 0),
            ("connections not acknowledged yet", late, client, true, 0, 0),
            ("the first of them", late, late, true, 0, 4),
            ("a connection older than the program", older, older, true, 0, 0),
            ("what this host refuses", forged, forged, true, 2_000, 0),
            ("the same where it is not heard", forged, forged, false, 0, 0),
        ] {
            let source = Source::from_v4_bytes([192, 0, 2, 7]);
            let row = SourceActivity { source, change, totals: &totals, age: Duration::from_secs(2) };
            let carried = [Vector::AckFlood, Vector::SynFlood]
                .map(|vector| carried_by(vector, &row, hears_sent, ManyPorts::Scan));
            assert_eq!(carried, [of_ack_flood, of_syn_flood], "{description}");
        }
    }
}
