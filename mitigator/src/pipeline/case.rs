//! `Case`: one alarm in one tick, with the sources behind it measured and grouped.
//!
//! For each alarm the sources that carry its traffic are grouped by K-Means; a group attacks when its centroid is
//! over the vector's floor and well apart from the quieter groups. What is held against a source, and what may be
//! done about it, follows from here; who gets a verdict is the judge's business.

use std::cell::OnceCell;
use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use mitigator_common::{PacketKind, Signature, Source, SourceCounters};
use rustc_hash::FxHashMap;

use super::activity::Activity;
use super::allowlist::Relation;
use super::clustering::{self, Clusters};
use super::features::FeatureTable;
use super::gates::{self, Alarm, Gate};
use super::prefixes::{self, AttackingPrefix};
use super::rows::SourceActivity;
use super::settings::DetectionSettings;
use super::suspects::Suspicion;
use super::target::Target;
use super::time::Timestamp;
use super::vectors::{Comparison, Span, Vector};
use super::verdict::{CaseEvidence, ClusterSummary, Decision, Evidence, ON_ALLOW_LIST, Subject};

/// How long connections must stand before their source is blocked.
const STANDS_FOR: Duration = Duration::from_millis(500);
/// The same for a source that was served before: perhaps the server is slow for a moment.
const STANDS_FOR_ONCE_SERVED: Duration = Duration::from_millis(1_500);
/// The same while other sources are not served either.
const STANDS_FOR_WHEN_EVERYBODY_WAITS: Duration = Duration::from_secs(10);
/// Columns of the points that are clustered: decades of the vector's packets/s, its share times two,
/// decades of mean bytes. All of the order of 1, so that none drowns the others.
const POINT_COLUMNS: usize = 3;
/// Numbers of packets whose logarithm is worked out once.
const COUNTS: usize = 4_096;
/// Gates that a source is held against, at most.
const MOST_GATES: usize = 6;
/// Ports that a limit names, at most.
const MOST_PORTS: usize = 4;
/// A few ports are named when they take this share of the flood.
const NAMED_SHARE: f64 = 0.9;
/// A prefix has to send this many times what one source of it had to.
const PREFIX_FACTOR: f64 = 4.0;
/// Why a target around an allowed address is not blocked.
pub(super) const COVERS_ALLOWED: &str = "an allowed address lies inside the source";
/// A group whose mean is a little under the floor may hold members over it.
const CENTROID_TOLERANCE: f64 = 0.8;

/// One alarm in one tick, with the sources behind it grouped.
pub(super) struct Case<'a> {
    pub activity: &'a Activity,
    features: FeatureTable<'a>,
    pub alarm: &'a Alarm,
    pub settings: &'a DetectionSettings,
    /// Who carries the vector.
    pub carriers: Vec<Carrier>,
    /// By carrier.
    points: Vec<Point>,
    clusters: Clusters<POINT_COLUMNS>,
    /// By cluster.
    is_attacking: Vec<bool>,
    /// Clusters, the loudest first.
    by_loudness: Vec<usize>,
    pub hears_sent: bool,
    pub light_sources: usize,
    /// Share of the vector's packets that light sources sent.
    pub light_share: f64,
    /// What all evidence has in common, once some was asked for.
    common: OnceCell<Arc<CaseEvidence>>,
}

/// A source that carries the vector. Of a million of them nothing else is looked at, so they are small.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carrier {
    pub source: Source,
    /// Packets of the vector.
    pub packets: u64,
    /// Of the activity.
    row: usize,
    /// On the floor, for what it looks like.
    floor_factor: f32,
    /// Whether it was seen before the attack, and has to be louder.
    is_known: bool,
    /// Whether it sends too little to be blocked.
    is_light: bool,
    /// Whether a blocked prefix covers it.
    pub is_covered: bool,
}

/// Memory of a case that is closed, so that the next one need not be given it a page at a time.
#[derive(Clone, Debug, Default)]
pub(super) struct Room {
    carriers: Vec<Carrier>,
    points: Vec<Point>,
}

/// What carriers are grouped by.
type Point = [f64; POINT_COLUMNS];

impl<'a> Case<'a> {
    pub fn new(
        activity: &'a Activity,
        features: FeatureTable<'a>,
        alarm: &'a Alarm,
        settings: &'a DetectionSettings,
        Room { mut carriers, mut points }: Room,
    ) -> Self {
        let ruler = Ruler { activity, alarm, settings, attack_age: activity.at.since(alarm.since) };
        let mut decades = Decades::new();
        carriers.clear();
        points.clear();
        carriers.reserve(alarm.carried.iter().len());
        points.reserve(alarm.carried.iter().len());
        for (row, packets) in alarm.carried.iter() {
            if let Some(source) = activity.rows.get(row) {
                let rate = gates::amount(alarm.vector, activity, packets);
                points.push(point_of(packets, rate, &source.change, &mut decades));
                carriers.push(ruler.carrier(row, &source, packets, rate));
            }
        }
        let clusters = clustering::group(&points, settings);
        let floor = alarm.floors.source * settings.patience;
        let is_attacking = attacking_clusters(&clusters, floor, settings.min_separation);
        let mut by_loudness: Vec<usize> = (0..clusters.sizes.len()).collect();
        by_loudness.sort_by(|a, b| rate_of(&clusters, *b).total_cmp(&rate_of(&clusters, *a)));
        let mut case = Self {
            hears_sent: activity.hears_sent,
            light_sources: 0,
            light_share: 0.0,
            activity,
            features,
            alarm,
            settings,
            carriers,
            points,
            clusters,
            is_attacking,
            by_loudness,
            common: OnceCell::new(),
        };
        case.count_light_ones();
        case
    }

    /// Its memory, when all is judged.
    pub fn close(self) -> Room {
        Room { carriers: self.carriers, points: self.points }
    }

    /// The carrier that has a row of the activity, with its position.
    pub fn carrier_in(&self, row: usize) -> Option<(usize, &Carrier)> {
        let position = self.carriers.binary_search_by_key(&row, |carrier| carrier.row).ok()?;
        Some((position, self.carriers.get(position)?))
    }

    /// Takes out the rows that a blocked prefix covers.
    pub fn leave_out(&mut self, covered: &[usize]) {
        if covered.is_empty() {
            return;
        }
        let mut is_covered = vec![false; self.activity.rows.len()];
        for row in covered {
            if let Some(is_covered) = is_covered.get_mut(*row) {
                *is_covered = true;
            }
        }
        for carrier in &mut self.carriers {
            carrier.is_covered = is_covered.get(carrier.row).copied().unwrap_or(false);
        }
        self.count_light_ones();
        self.common = OnceCell::new();
    }

    fn count_light_ones(&mut self) {
        let light = self.carriers.iter().filter(|carrier| carrier.is_light && !carrier.is_covered);
        let (count, rates) =
            light.fold((0, 0.0), |(count, sum), carrier| (count + 1, sum + self.rate(carrier)));
        self.light_sources = count;
        self.light_share = rates / self.alarm.total.max(f64::MIN_POSITIVE);
    }

    /// Whether the attack began in this tick.
    pub fn is_first_tick(&self) -> bool {
        self.activity.at.since(self.alarm.since) <= self.activity.interval
    }

    /// Whether a source that shows the evidence is too light for a block. What may be a bulk transfer is not.
    pub fn is_light(&self, row: &SourceActivity<'_>, carried: u64) -> bool {
        let rate = gates::amount(self.alarm.vector, self.activity, carried);
        let looks_innocent = self.alarm.vector.floor_factor(&row.change, self.hears_sent) > 1.0;
        !looks_innocent && rate < self.alarm.floors.source * self.settings.patience
    }

    /// Whether this host asked the source, has a connection with it, or saw it before the attack.
    pub fn is_known(&self, row: &SourceActivity<'_>) -> bool {
        row.totals.was_asked() || row.age > self.activity.at.since(self.alarm.since)
    }

    #[expect(clippy::cast_precision_loss, reason = "counts in one interval are far below 2^52")]
    pub fn prefix_gates(&self, found: &AttackingPrefix) -> Vec<Gate> {
        let rate = gates::amount(self.alarm.vector, self.activity, found.carried);
        let floor = self.alarm.floors.source * self.settings.patience * PREFIX_FACTOR;
        vec![
            Gate::at_least("prefix_floor", rate, floor, self.alarm.vector.unit()),
            Gate::at_least("prefix_members", found.members.len() as f64, prefixes::MEMBERS as f64, "sources"),
        ]
    }

    /// Positions of carriers that may pass the gates of a source, by source, `most` of them: the loudest that were
    /// not suspects before come after all that were.
    pub fn suspects(&self, most: usize, is_suspect: impl Fn(Source) -> bool) -> Vec<usize> {
        if most == 0 {
            return Vec::new();
        }
        let is_loud = |carrier: &Carrier, cluster: usize| {
            let is_over = self.rate(carrier) >= self.floor(carrier) && self.attacks(cluster);
            carrier.packets >= self.settings.min_packets && (is_over || self.is_worth_a_word(carrier))
        };
        let grouped = self.carriers.iter().zip(&self.clusters.members).enumerate();
        let loud = grouped.filter(|(_, (carrier, cluster))| is_loud(carrier, **cluster));
        let mut found: Vec<(Source, usize)> =
            loud.map(|(position, (carrier, _))| (carrier.source, position)).collect();
        if found.len() > most {
            let rank = |(source, position): (Source, usize)| {
                let packets = self.carriers.get(position).map_or(0, |carrier| carrier.packets);
                (!is_suspect(source), Reverse(packets), source, position)
            };
            let mut ranked: Vec<_> = found.into_iter().map(rank).collect();
            ranked.select_nth_unstable(most);
            ranked.truncate(most);
            found = ranked.into_iter().map(|(.., source, position)| (source, position)).collect();
        }
        found.sort_unstable();
        found.into_iter().map(|(_, position)| position).collect()
    }

    /// A carrier's packets, as the number that is held against its floor.
    fn rate(&self, carrier: &Carrier) -> f64 {
        gates::amount(self.alarm.vector, self.activity, carrier.packets)
    }

    /// What its rate must reach for a block.
    fn floor(&self, carrier: &Carrier) -> f64 {
        let floor = self.alarm.floors.source * f64::from(carrier.floor_factor) * self.settings.patience;
        if carrier.is_known { floor * self.settings.known_factor } else { floor }
    }

    fn cluster_of(&self, position: usize) -> usize {
        self.clusters.members.get(position).copied().unwrap_or(0)
    }

    fn attacks(&self, cluster: usize) -> bool {
        self.is_attacking.get(cluster).copied().unwrap_or(false)
    }

    /// The packets that make up the flood, with what may pass of them: as much as is usual, or a small share.
    #[expect(clippy::cast_precision_loss, reason = "counts in one interval are far below 2^52")]
    pub fn limits(&self, positions: impl IntoIterator<Item = usize>) -> Vec<(Signature, f64)> {
        let kinds = self.alarm.vector.kinds();
        let mut weights: FxHashMap<Signature, u64> = FxHashMap::default();
        for position in positions {
            let Some(carrier) = self.carriers.get(position) else {
                continue;
            };
            let Some(source) = self.activity.rows.get(carrier.row) else {
                continue;
            };
            for kind in kinds {
                let (signature, packets) = share_of(*kind, &source.change, carrier.packets);
                // What a swarm has not sent yet it will.
                let packets = if self.alarm.vector.is_stock() { packets.max(1) } else { packets };
                *weights.entry(signature).or_default() += packets;
            }
        }
        weights.retain(|_, packets| *packets > 0);
        let total: u64 = weights.values().sum();
        let mut ranked: Vec<(Signature, u64)> = weights.into_iter().collect();
        ranked.sort_unstable_by_key(|(signature, packets)| (Reverse(*packets), *signature));
        // A few ports that take nearly all of it are named; many are one limit on every port.
        let named: u64 = ranked.iter().take(MOST_PORTS).map(|(_, packets)| *packets).sum();
        if named as f64 >= total as f64 * NAMED_SHARE {
            ranked.truncate(MOST_PORTS);
        } else {
            ranked = kinds.iter().map(|kind| (Signature::of_kind(*kind), total)).collect();
        }
        let usual = self.alarm.normal.map_or(0.0, |normal| normal.median * 1.5);
        let passing = usual.max(self.alarm.total * self.settings.limit_share);
        ranked
            .into_iter()
            .map(|(signature, packets)| (signature, passing * packets as f64 / total.max(1) as f64))
            .collect()
    }

    /// Light sources that make a flood of many. Reflectors are real hosts, of which fewer do; of those that send a
    /// SYN and nothing else, a window counts only who came in its first half.
    pub fn crowd(&self) -> usize {
        let crowd = self.settings.crowd;
        match (self.alarm.vector, self.alarm.span) {
            (Vector::Reflection, _) => crowd.div_ceil(5),
            (Vector::SynFlood, Span::Window) => crowd.div_ceil(2),
            _ => crowd,
        }
    }

    /// The share that they must have: the loud ones are blocked beside them.
    pub fn crowd_share(&self) -> f64 {
        if self.alarm.vector == Vector::Reflection { 0.2 } else { 0.5 }
    }

    /// Who was first seen before this is no part of the flood. A flood crosses its floor a moment after its first
    /// packets, which must not make its sources known.
    pub fn known_until(&self) -> Timestamp {
        let moment = u64::try_from(self.settings.window.as_nanos()).unwrap_or(u64::MAX);
        // Zero would exempt nobody.
        Timestamp::from_ns(self.alarm.since.ns.saturating_sub(moment).max(1))
    }

    pub fn may_limit(&self) -> bool {
        !self.alarm.vector.kinds().is_empty() && !self.settings.observe_only && !self.activity.is_clock_still
    }

    pub fn signature(&self) -> Subject {
        let (traffic, sources) = (self.alarm.vector.traffic(), self.carriers.len());
        Subject::Signature(match self.alarm.service {
            Some(port) => format!("{traffic}, port {port}, from {sources} sources"),
            None => format!("{traffic} from {sources} sources"),
        })
    }

    /// Whether the carrier is reported before it is loud enough for a block.
    pub fn is_worth_a_word(&self, carrier: &Carrier) -> bool {
        let share = self.alarm.vector.early_share();
        share < 1.0 && self.rate(carrier) >= self.floor(carrier) * share
    }

    pub fn ticks_gate(&self, ticks: u32) -> Gate {
        Gate::at_least("ticks", f64::from(ticks), f64::from(self.settings.ticks), "ticks")
    }

    pub fn window_gate(&self) -> Gate {
        let lasted = self.activity.interval.as_secs_f64();
        Gate::at_least("lasted", lasted, self.settings.window.as_secs_f64(), "s")
    }

    #[expect(clippy::cast_precision_loss, reason = "counts in one interval are far below 2^52")]
    pub fn source_gates(&self, position: usize, carrier: &Carrier) -> Vec<Gate> {
        let is_attacking = self.attacks(self.cluster_of(position));
        let unit = self.alarm.vector.unit();
        let mut gates = Vec::with_capacity(MOST_GATES);
        gates.extend([
            Gate::at_least("source_floor", self.rate(carrier), self.floor(carrier), unit),
            Gate::at_least("source_packets", carrier.packets as f64, self.settings.min_packets as f64, ""),
            Gate::at_least("in_attacking_cluster", f64::from(u8::from(is_attacking)), 1.0, ""),
        ]);
        if self.alarm.vector.comparison() == Comparison::Peers {
            let has_peers = self.is_attacking.contains(&false);
            gates.push(Gate::at_least("has_quieter_peers", f64::from(u8::from(has_peers)), 1.0, ""));
            gates.push(Gate::at_least(
                "has_baseline",
                f64::from(u8::from(self.alarm.normal.is_some())),
                1.0,
                "",
            ));
        }
        gates
    }

    /// What may be done about a source that shows the evidence, and why not more.
    pub fn decide(&self, target: &Target, relation: Relation) -> (Decision, &'static str) {
        let hindrance = match relation {
            Relation::Inside => ON_ALLOW_LIST,
            Relation::Covers if self.may_limit() => {
                return (
                    Decision::Limit,
                    "an allowed address lies inside the source: its kind of packets is limited",
                );
            }
            Relation::Covers => COVERS_ALLOWED,
            Relation::Apart if !self.alarm.vector.is_blocked() => "this kind is reported, not blocked",
            Relation::Apart if target.parts().0.is_unspecified() => {
                "the unspecified address stands for every host that has none yet"
            }
            Relation::Apart if self.activity.is_clock_still => {
                "no time passed between the packets, so their rate is a guess"
            }
            Relation::Apart if self.settings.observe_only => {
                "observing only: with enforcement the source would be blocked"
            }
            Relation::Apart => return (Decision::Block, ""),
        };
        (Decision::Observe, hindrance)
    }

    /// Enough ticks, or so loud that one is enough.
    pub fn patience_gate(&self, carrier: &Carrier, suspicion: &Suspicion) -> Gate {
        let overwhelming = self.floor(carrier) * self.settings.overwhelming_factor;
        if self.alarm.span == Span::Window {
            self.window_gate()
        } else if self.alarm.vector.is_stock() {
            // What stands for a moment is what a busy client has under way.
            let lasted = self.activity.at.since(suspicion.first).as_secs_f64();
            let stands_for = if self.alarm.everybody_waits {
                STANDS_FOR_WHEN_EVERYBODY_WAITS
            } else if self.was_served(carrier) {
                STANDS_FOR_ONCE_SERVED
            } else {
                STANDS_FOR
            };
            Gate::at_least("lasted", lasted, stands_for.as_secs_f64(), "s")
        } else if self.rate(carrier) >= overwhelming {
            Gate::at_least("overwhelming", self.rate(carrier), overwhelming, self.alarm.vector.unit())
        } else {
            self.ticks_gate(suspicion.ticks)
        }
    }

    fn was_served(&self, carrier: &Carrier) -> bool {
        self.activity.rows.get(carrier.row).is_some_and(|row| row.totals.sent_data_packets > 0)
    }

    /// The evidence against the carrier at a position, or against a prefix or all.
    pub fn evidence(&self, position: Option<usize>, gates: Vec<Gate>, note: &'static str) -> Evidence {
        let carrier = position.and_then(|position| self.carriers.get(position));
        let point = position.and_then(|position| self.points.get(position));
        let cluster = position.map(|position| self.cluster_of(position));
        Evidence {
            case: Arc::clone(self.common.get_or_init(|| Arc::new(self.common()))),
            own_gates: gates,
            features: carrier.and_then(|carrier| self.features.of(carrier.row)),
            cluster: cluster.and_then(|cluster| self.by_loudness.iter().position(|known| *known == cluster)),
            distance: point.zip(cluster).map(|(point, cluster)| self.clusters.distance(point, cluster)),
            note,
            second_opinion: None,
        }
    }

    fn common(&self) -> CaseEvidence {
        let summary = |cluster: &usize| {
            let [rate, share, bytes] = centroid(&self.clusters, *cluster);
            ClusterSummary {
                sources: self.clusters.sizes.get(*cluster).copied().unwrap_or(0),
                packets_per_second: 10_f64.powf(rate),
                share: share / 2.0,
                mean_bytes: 10_f64.powf(bytes),
                is_attacking: self.attacks(*cluster),
            }
        };
        CaseEvidence {
            window_s: self.activity.interval.as_secs_f64(),
            service: self.alarm.service,
            gates: self.alarm.gates.clone(),
            clusters: self.by_loudness.iter().map(summary).collect(),
            silhouette: self.clusters.silhouette,
            sources: self.carriers.len(),
            light_sources: self.light_sources,
        }
    }
}

/// What carriers are measured by.
struct Ruler<'a> {
    activity: &'a Activity,
    alarm: &'a Alarm,
    settings: &'a DetectionSettings,
    attack_age: Duration,
}

impl Ruler<'_> {
    fn carrier(&self, row: usize, source: &SourceActivity<'_>, packets: u64, rate: f64) -> Carrier {
        let settings = self.settings;
        let floor_factor = self.alarm.vector.floor_factor(&source.change, self.activity.hears_sent);
        let floor = self.alarm.floors.source * floor_factor * settings.patience;
        Carrier {
            source: source.source,
            packets,
            row,
            #[expect(clippy::cast_possible_truncation, reason = "a small whole number")]
            floor_factor: floor_factor as f32,
            is_known: source.age.saturating_sub(self.attack_age) >= settings.known_age,
            is_light: packets < settings.min_packets || self.rate_while_there(rate, source.age) < floor,
            is_covered: false,
        }
    }

    /// Who came in the last moments of a tick only looks light.
    fn rate_while_there(&self, rate: f64, age: Duration) -> f64 {
        let interval = self.activity.interval;
        if self.alarm.vector.is_stock() || age.is_zero() || age >= interval {
            return rate;
        }
        rate * interval.as_secs_f64() / age.as_secs_f64()
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts in one interval are far below 2^52")]
fn point_of(packets: u64, rate: f64, change: &SourceCounters, decades: &mut Decades) -> Point {
    let of_all = change.packets.max(1) as f64;
    let share = packets as f64 / of_all;
    [decades.of_rate(packets, rate), share * 2.0, decades.of_bytes(change.bytes as f64 / of_all)]
}

/// Logarithms that were worked out before: what floods sends about as many packets as others, all alike.
struct Decades {
    /// Of rates, by number of packets; not a number where none was asked for.
    rates: Vec<f64>,
    /// The last mean size of a packet, with its own.
    bytes: (f64, f64),
}

impl Decades {
    fn new() -> Self {
        Self { rates: vec![f64::NAN; COUNTS], bytes: (0.0, 0.0) }
    }

    fn of_rate(&mut self, packets: u64, rate: f64) -> f64 {
        let place = usize::try_from(packets).ok().and_then(|packets| self.rates.get_mut(packets));
        match place {
            Some(known) if known.is_nan() => {
                *known = decades(rate);
                *known
            }
            Some(known) => *known,
            None => decades(rate),
        }
    }

    fn of_bytes(&mut self, mean: f64) -> f64 {
        if mean.to_bits() != self.bytes.0.to_bits() {
            self.bytes = (mean, decades(mean));
        }
        self.bytes.1
    }
}

fn decades(number: f64) -> f64 {
    number.max(1.0).log10()
}

/// Of the packets of a source that carry the vector, what those of one kind have in common, and their number.
fn share_of(kind: PacketKind, change: &SourceCounters, carried: u64) -> (Signature, u64) {
    let signature = match kind {
        PacketKind::UdpReflection => Signature::new(kind, change.reflection_port),
        PacketKind::Extension | PacketKind::Fragment | PacketKind::Icmp | PacketKind::Other => {
            Signature::of_kind(kind)
        }
        _ => Signature::new(kind, change.destination_port),
    };
    let packets = match kind {
        PacketKind::Fragment => u64::from(change.fragment_packets),
        PacketKind::UdpReflection => u64::from(change.reflection_packets),
        PacketKind::TcpRst => u64::from(change.tcp_rst_packets),
        PacketKind::TcpOdd => u64::from(change.tcp_odd_packets),
        PacketKind::TcpAck => u64::from(change.tcp_ack_packets),
        _ => carried,
    };
    (signature, packets)
}

/// The clusters whose centroid is over the floor, from the loudest down to the first gap: what
/// follows without a gap of `separation` could be the same crowd as the innocents.
fn attacking_clusters(clusters: &Clusters<POINT_COLUMNS>, floor: f64, separation: f64) -> Vec<bool> {
    let rate = |cluster: usize| 10_f64.powf(rate_of(clusters, cluster));
    let is_loud = |cluster: usize| rate(cluster) >= floor * CENTROID_TOLERANCE;
    let count = clusters.sizes.len();
    let loudest_quiet = (0..count).filter(|cluster| !is_loud(*cluster)).map(rate).fold(0.0, f64::max);
    (0..count).map(|cluster| is_loud(cluster) && rate(cluster) >= loudest_quiet * separation).collect()
}

fn centroid(clusters: &Clusters<POINT_COLUMNS>, cluster: usize) -> Point {
    clusters.centroids.get(cluster).copied().unwrap_or_default()
}

/// Of the centroid, in decades.
fn rate_of(clusters: &Clusters<POINT_COLUMNS>, cluster: usize) -> f64 {
    let [rate, ..] = centroid(clusters, cluster);
    rate
}

#[cfg(test)]
mod tests {
    use mitigator_common::RowMarks;

    use super::*;
    use crate::pipeline::features;
    use crate::pipeline::rows::Rows;

    /// UDP from so many sources in a quarter of a second, each with the packets of its number.
    fn flood(packets: &[u64]) -> (Activity, Alarm) {
        let at = Timestamp::from_ns(10_000_000_000);
        let mut rows = Rows::at(at);
        // The kernel's table has them in no order.
        for (number, packets) in packets.iter().enumerate().rev() {
            let source = Source::from_v4_bytes(u32::try_from(number).unwrap().to_be_bytes());
            let now = SourceCounters {
                packets: *packets,
                bytes: packets * 100,
                first_seen_ns: at.ns - 250_000_000,
                ..SourceCounters::EMPTY
            };
            rows.push(source, None, &now, 0);
        }
        let carried = rows.iter().map(|row| row.change.packets).enumerate().collect();
        let activity = Activity {
            at,
            rows,
            interval: Duration::from_millis(250),
            hears_sent: true,
            ..Activity::default()
        };
        let alarm = Alarm {
            vector: Vector::UdpFlood,
            service: None,
            span: Span::Tick,
            floors: Vector::UdpFlood.floors(),
            carried,
            total: activity.per_second(packets.iter().sum()),
            gates: Vec::new(),
            since: at,
            normal: None,
            alike: 0,
            everybody_waits: false,
            paced: None,
        };
        (activity, alarm)
    }

    #[test]
    fn of_many_suspects_those_from_before_and_the_loudest_are_judged_in_the_order_of_sources() {
        // 250 packets in a quarter of a second are the floor.
        let packets = [249, 1_000, 300, 400, 2_000, 3, 500];
        let (activity, alarm) = flood(&packets);
        let settings = DetectionSettings { max_clusters: 1, ..DetectionSettings::default() };
        let case = Case::new(&activity, features::extract(&activity), &alarm, &settings, Room::default());
        assert_eq!(case.light_sources, 2);
        for (most, suspect, expected) in [
            (10, None, vec![1, 2, 3, 4, 6]),
            (2, None, vec![1, 4]),
            (2, Some(2), vec![2, 4]),
            (2, Some(0), vec![1, 4]),
            (0, Some(2), vec![]),
        ] {
            let positions = case.suspects(most, |source| Some(source.number()) == suspect);
            let found = positions.iter().map(|position| case.carriers[*position].source.number());
            assert_eq!(found.collect::<Vec<_>>(), expected, "{most} with {suspect:?}");
        }
    }

    #[test]
    fn who_was_answered_over_udp_is_not_known_and_who_was_asked_is() {
        let (activity, alarm) = flood(&[1_000]);
        let settings = DetectionSettings::default();
        let case = Case::new(&activity, features::extract(&activity), &alarm, &settings, Room::default());
        let row = activity.rows.get(0).unwrap();
        let sent = SourceCounters { sent_packets: 9, ..*row.totals };
        for (description, totals, expected) in [
            ("answered over UDP", SourceCounters { sent_udp_packets: 9, ..sent }, false),
            ("asked over UDP", SourceCounters { sent_udp_packets: 9, marks: RowMarks::ASKED, ..sent }, true),
            ("answered over a connection", SourceCounters { sent_data_packets: 9, ..sent }, true),
            ("asked for a connection", SourceCounters { sent_syn_packets: 9, ..sent }, true),
        ] {
            // First seen in the tick of the alarm.
            let row = SourceActivity { totals: &totals, age: Duration::ZERO, ..row };
            assert_eq!(case.is_known(&row), expected, "{description}");
        }
    }

    #[test]
    fn a_flood_to_port_0_is_limited_at_port_0_alone() {
        let (activity, alarm) = flood(&[1_000, 1_000]);
        let settings = DetectionSettings::default();
        let case = Case::new(&activity, features::extract(&activity), &alarm, &settings, Room::default());
        let limits = case.limits(0..2);
        let signatures: Vec<_> = limits.iter().map(|(signature, _)| *signature).collect();
        assert_eq!(signatures, [Signature::new(PacketKind::Udp, 0)]);
        assert_ne!(signatures, [Signature::of_kind(PacketKind::Udp)], "every port");
    }

    #[test]
    fn logarithms_at_hand_are_those_that_would_be_worked_out() {
        let mut at_hand = Decades::new();
        for packets in [7_u32, 3, 7, 4_095, 4_096, 1_000_000, 4_096, 0] {
            let rate = f64::from(packets) * 4.0;
            for _ in 0..2 {
                assert_eq!(at_hand.of_rate(u64::from(packets), rate), decades(rate), "{packets}");
                assert_eq!(at_hand.of_bytes(rate), decades(rate), "{packets}");
            }
        }
    }
}
