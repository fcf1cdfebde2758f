//! Is there an attack at all? For each vector, the traffic that carries it against an absolute floor
//! and against what this server has learned to be normal.

use std::time::Duration;

use mitigator_common::{Signature, Source};
use rustc_hash::FxHashMap;
use serde::Serialize;

use super::activity::{Activity, SourceActivity};
use super::baseline::{Baseline, Normal};
use super::connections::{Connections, Waiting};
use super::meanings;
use super::settings::DetectionSettings;
use super::swarm;
use super::time::Timestamp;
use super::vectors::{self, Comparison, Floors, ManyPorts, Span, Vector};

/// How long after the last alarm a vector's attack counts as over, and learning goes on.
const COOL_DOWN: Duration = Duration::from_secs(5);
/// Packets to many ports per second that all scans together may send for long, and each at least.
const SCAN_RATE: f64 = 2_000.0;
const LEAST_SCAN_RATE: f64 = 100.0;
/// Packets to many ports that scans may send beyond that: a thousand usual ports, asked a few times.
const SCAN_BURST: f64 = 10_000.0;
const LEAST_SCAN_BURST: f64 = 1_000.0;

/// On the floor of all sources for what an attack brings in its wake.
const WAKE_FACTOR: f64 = 0.2;

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
    /// Over how long it was judged.
    pub span: Span,
    /// What it was judged by.
    pub floors: Floors,
    /// Packets that carry it, per row of the activity.
    pub carried: Vec<u64>,
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
}

/// What is normal for each vector over one span, and which attacks are on.
#[derive(Clone, Debug)]
pub struct Gates {
    span: Span,
    is_first: bool,
    connections: Connections,
    states: Vec<State>,
    totals: Vec<f64>,
    /// Packets to many ports beyond the rate of a scan, by source: leaky buckets.
    scanned: FxHashMap<Source, f64>,
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

#[derive(Clone, Debug, Default)]
struct State {
    baseline: Baseline,
    attack: Option<Episode>,
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
            states: Vec::new(),
            totals: Vec::new(),
            scanned: FxHashMap::default(),
            asked: Vec::new(),
            looks: Vec::new(),
        }
    }

    /// The vectors that look like an attack in this tick. Without any, and with none lately, the tick
    /// is quiet and the baselines learn it.
    pub fn check(&mut self, activity: &Activity, settings: &DetectionSettings) -> Vec<Alarm> {
        self.states.resize_with(Vector::ALL.len(), State::default);
        let mut alarms: Vec<Alarm> = Vec::new();
        self.totals.clear();
        self.looks.clear();
        let asked_rows = activity.rows_of(&self.asked);
        let many_ports = self.judge_scans(activity, settings);
        let waiting = self.connections.advance(activity);
        let swarm = swarm::members(activity);
        let hears_sent = activity.hears_sent;
        let was_attacked = Vector::ALL
            .iter()
            .zip(&self.states)
            .any(|(vector, state)| vector.is_limited() && state.attack.is_some());
        let is_first = std::mem::replace(&mut self.is_first, false);
        for (state, vector) in self.states.iter_mut().zip(Vector::ALL) {
            let mut carried: Vec<u64> = activity
                .rows
                .iter()
                .zip(many_ports.iter().zip(&waiting))
                .map(|(row, (many_ports, waiting))| match vector {
                    Vector::SlowConnections | Vector::ConnectionFlood => standing(vector, *waiting),
                    // Half-finished requests on many connections: what they leave open says more.
                    Vector::HttpFlood if waiting.explains(row.change.tcp_push_packets) => 0,
                    Vector::AckFlood if is_first || !lacks_connection(row, activity) => 0,
                    // Over seconds, where this host is heard, only senders that were never there before and
                    // are not answered count: forged ones are, and a sender of one-way traffic stays.
                    Vector::UdpFlood
                        if self.span == Span::Window
                            && hears_sent
                            && (is_first
                                || row.totals.sent_udp_packets > 0
                                || row.age > activity.interval) =>
                    {
                        0
                    }
                    _ => vector.carried_by(&row.change, *many_ports),
                })
                .collect();
            if vector == Vector::SlowConnections {
                for row in &swarm {
                    let opened = activity.rows.get(*row).map_or(0, |row| row.totals.tcp_syn_packets);
                    if let Some(carried) = carried.get_mut(*row) {
                        *carried = (*carried).max(u64::from(opened));
                    }
                }
            }
            let is_limited = |signature: &Signature| {
                !vector.is_stock() && signature.kind().is_some_and(|kind| vector.kinds().contains(&kind))
            };
            let limited: u64 = activity
                .limited
                .iter()
                .filter(|(signature, _)| is_limited(signature))
                .map(|(_, packets)| *packets)
                .sum();
            let total = amount(vector, activity, carried.iter().sum::<u64>().saturating_add(limited));
            self.totals.push(total);
            let mut floors = vector.floors_over(self.span, hears_sent);
            if vector.is_wake() && (was_attacked || alarms.iter().any(|alarm| alarm.vector.is_limited())) {
                floors.total *= WAKE_FACTOR;
            }
            let gates = total_gates(vector, floors, total, &state.baseline, settings);
            let look = |row: &usize| {
                let carried = carried.get(*row).copied().filter(|count| *count > 0)?;
                Some(Look { row: *row, vector, floors, carried, gates: gates.clone() })
            };
            self.looks.extend(asked_rows.iter().filter_map(look));
            if gates.iter().all(|gate| gate.passed) {
                let begun = Timestamp::from_ns(activity.at.ns.saturating_sub(as_ns(activity.interval)));
                let since = state.attack.map_or(begun, |attack| attack.since);
                state.attack = Some(Episode { since, last_alarm: activity.at });
                let normal = state.baseline.normal();
                let alike = if vector == Vector::SlowConnections { swarm.len() } else { 0 };
                let span = self.span;
                let everybody_waits = self.connections.do_others_wait();
                alarms.push(Alarm {
                    vector,
                    span,
                    floors,
                    carried,
                    total,
                    gates,
                    since,
                    normal,
                    alike,
                    everybody_waits,
                });
            } else if state.attack.is_some_and(|attack| activity.at.since(attack.last_alarm) >= COOL_DOWN) {
                state.attack = None;
            }
        }
        // An attack of one kind often brings others in its wake, so none is learned meanwhile.
        let is_quiet = self.states.iter().all(|state| state.attack.is_none());
        for ((state, total), vector) in self.states.iter_mut().zip(&self.totals).zip(Vector::ALL) {
            // What is judged by its baseline alone needs one: a flood in the last moment of learning must not
            // keep it from ever being learned.
            let needs_one = vector.comparison() == Comparison::Peers && state.baseline.normal().is_none();
            if !activity.interval.is_zero() && (is_quiet || needs_one) {
                state.baseline.learn(*total);
            }
        }
        alarms
    }

    /// What packets to many ports are, for each row. The more sources scan at once, the less of it each may.
    #[expect(clippy::cast_precision_loss, reason = "counts in one interval are far below 2^52")]
    fn judge_scans(&mut self, activity: &Activity, settings: &DetectionSettings) -> Vec<ManyPorts> {
        let packets: Vec<u64> =
            activity.rows.iter().map(|row| vectors::packets_to_many_ports(&row.change)).collect();
        let scanners = packets.iter().filter(|count| **count > 0).count().max(1) as f64;
        let rate = (SCAN_RATE / scanners).max(LEAST_SCAN_RATE) * settings.patience;
        let burst = (SCAN_BURST / scanners).max(LEAST_SCAN_BURST) * settings.patience;
        let leaked = rate * activity.interval.as_secs_f64();
        self.scanned.retain(|_, level| {
            *level -= leaked;
            *level > 0.0
        });
        let mut judge = |source: Source, count: u64| {
            if count == 0 {
                return ManyPorts::Scan;
            }
            let level = self.scanned.entry(source).or_insert(-leaked);
            // Twice the burst is the most that is remembered, so that an end is noticed within seconds.
            *level = (*level + count as f64).min(burst * 2.0);
            if *level > burst { ManyPorts::Flood } else { ManyPorts::Scan }
        };
        activity.rows.iter().zip(packets).map(|(row, count)| judge(row.source, count)).collect()
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
fn standing(vector: Vector, waiting: Waiting) -> u64 {
    let is_slow = vector == Vector::SlowConnections;
    if waiting.are_many() && waiting.are_established() == is_slow { waiting.connections as u64 } else { 0 }
}

/// Whether the source sends TCP of a connection that neither it nor this host ever opened. Where this host is
/// not heard, only who was not there before can be told from a connection that is older than the program.
fn lacks_connection(row: &SourceActivity, activity: &Activity) -> bool {
    let was_opened = row.totals.tcp_syn_packets > 0 || row.totals.tcp_syn_ack_packets > 0;
    // A host refuses packets of no connection with a RST each, and answers nothing else.
    let is_answered = row.totals.sent_packets > row.totals.sent_closing_packets;
    let is_told = if activity.hears_sent { !is_answered } else { row.age <= activity.interval };
    !was_opened && is_told
}

fn as_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What the total of a vector has to reach; the baseline is asked only about what is over the floor.
#[must_use]
pub fn total_gates(
    vector: Vector,
    floors: Floors,
    total: f64,
    baseline: &Baseline,
    settings: &DetectionSettings,
) -> Vec<Gate> {
    let (floor, unit) = (floors.total * settings.patience, vector.unit());
    let mut gates = vec![Gate::at_least("total_floor", total, floor, unit)];
    if total >= floor
        && let Some(normal) = baseline.normal()
    {
        gates.extend([
            Gate::at_least("total_over_median", total, normal.median * settings.baseline_factor, unit),
            Gate::at_least(
                "total_over_noise",
                total,
                normal.median + normal.deviation * settings.baseline_deviations,
                unit,
            ),
        ]);
    }
    gates
}
