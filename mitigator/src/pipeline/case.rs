//! `Case`: one alarm in one tick, with the sources behind it measured and grouped.
//!
//! For each alarm the sources that carry its traffic are grouped by K-Means; a group attacks when its centroid is
//! over the vector's floor and well apart from the quieter groups. What is held against a source, and what may be
//! done about it, follows from here; who gets a verdict is the judge's business.

use std::time::Duration;

use mitigator_common::{PacketKind, Signature, Source, SourceCounters};
use ndarray::Array2;
use rustc_hash::{FxHashMap, FxHashSet};

use super::activity::{Activity, SourceActivity};
use super::allowlist::Relation;
use super::clustering::{self, Clusters};
use super::features::FeatureTable;
use super::gates::{self, Alarm, Gate};
use super::prefixes::{self, AttackingPrefix};
use super::settings::DetectionSettings;
use super::suspects::Suspicion;
use super::target::Target;
use super::time::Timestamp;
use super::vectors::{Comparison, Span, Vector};
use super::verdict::{ClusterSummary, Decision, Evidence, ON_ALLOW_LIST, Subject};

/// How long connections must stand before their source is blocked.
const STANDS_FOR: Duration = Duration::from_millis(500);
/// The same for a source that was served before: perhaps the server is slow for a moment.
const STANDS_FOR_ONCE_SERVED: Duration = Duration::from_millis(1_500);
/// The same while other sources are not served either.
const STANDS_FOR_WHEN_EVERYBODY_WAITS: Duration = Duration::from_secs(10);
/// Sources that are judged one by one for a vector in one tick: twice as many as are blocked in one by default,
/// because some were blocked the tick before and have packets on the way.
const MOST_SUSPECTS: usize = 8_192;
/// Columns of the points that are clustered: decades of the vector's packets/s, its share times two,
/// decades of mean bytes. All of the order of 1, so that none drowns the others.
const POINT_COLUMNS: usize = 3;
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
    /// Rows of the activity that carry the vector.
    pub carriers: Vec<usize>,
    /// Packets of the vector, by carrier.
    carried: Vec<u64>,
    /// Packets/s of the vector, by carrier.
    rates: Vec<f64>,
    /// Shape: carriers x [`POINT_COLUMNS`].
    points: Array2<f64>,
    clusters: Clusters,
    /// By cluster.
    is_attacking: Vec<bool>,
    pub hears_sent: bool,
    /// Rows that a blocked prefix covers.
    pub covered: FxHashSet<usize>,
    pub light_sources: usize,
    /// Share of the vector's packets that light sources sent.
    pub light_share: f64,
}

impl<'a> Case<'a> {
    #[expect(clippy::cast_precision_loss, reason = "counts in one interval are far below 2^52")]
    pub fn new(
        activity: &'a Activity,
        features: FeatureTable<'a>,
        alarm: &'a Alarm,
        settings: &'a DetectionSettings,
    ) -> Self {
        let carriers: Vec<usize> = alarm.carried.iter().map(|(row, _)| row).collect();
        let carried: Vec<u64> = alarm.carried.iter().map(|(_, packets)| packets).collect();
        let rates: Vec<f64> =
            carried.iter().map(|packets| gates::amount(alarm.vector, activity, *packets)).collect();
        let mut points = Array2::zeros((carriers.len(), POINT_COLUMNS));
        let sent = carriers.iter().zip(&carried).zip(&rates);
        for (mut point, ((row, carried), rate)) in points.rows_mut().into_iter().zip(sent) {
            let Some(change) = activity.rows.get(*row).map(|row| &row.change) else {
                continue;
            };
            let share = *carried as f64 / change.packets.max(1) as f64;
            let mean_bytes = change.bytes as f64 / change.packets.max(1) as f64;
            for (value, coordinate) in
                point.iter_mut().zip([rate.max(1.0).log10(), share * 2.0, mean_bytes.max(1.0).log10()])
            {
                *value = coordinate;
            }
        }
        let clusters = clustering::group(&points, settings);
        let floor = alarm.floors.source * settings.patience;
        let is_attacking = attacking_clusters(&clusters, floor, settings.min_separation);
        let hears_sent = activity.hears_sent;
        let mut case = Self {
            hears_sent,
            covered: FxHashSet::default(),
            light_sources: 0,
            light_share: 0.0,
            activity,
            features,
            alarm,
            settings,
            carriers,
            carried,
            rates,
            points,
            clusters,
            is_attacking,
        };
        case.leave_out(FxHashSet::default());
        case
    }

    /// Counts the light sources anew, without the rows that a blocked prefix covers.
    pub fn leave_out(&mut self, covered: FxHashSet<usize>) {
        let is_light = |position: &usize| {
            let row = self.carriers.get(*position).filter(|row| !covered.contains(*row));
            row.and_then(|row| self.activity.rows.get(*row)).is_some_and(|row| {
                self.has_few(*position) || self.own_rate(*position, row) < self.floor_of_new(row)
            })
        };
        let light: Vec<f64> =
            (0..self.carriers.len()).filter(is_light).map(|position| self.rate(position)).collect();
        self.light_sources = light.len();
        self.light_share = light.iter().sum::<f64>() / self.alarm.total.max(f64::MIN_POSITIVE);
        self.covered = covered;
    }

    /// Whether the attack began in this tick.
    pub fn is_first_tick(&self) -> bool {
        self.activity.at.since(self.alarm.since) <= self.activity.interval
    }

    fn has_few(&self, position: usize) -> bool {
        self.carried.get(position).is_none_or(|packets| *packets < self.settings.min_packets)
    }

    /// The rate of a source while it was there: who came in the last moments of a tick only looks light.
    fn own_rate(&self, position: usize, row: &SourceActivity) -> f64 {
        let rate = self.rate(position);
        let was_there = row.age.min(self.activity.interval);
        if self.alarm.vector.is_stock() || was_there.is_zero() {
            return rate;
        }
        rate * self.activity.interval.as_secs_f64() / was_there.as_secs_f64()
    }

    /// Whether a source that shows the evidence is too light for a block. What may be a bulk transfer is not.
    pub fn is_light(&self, row: &SourceActivity, carried: u64) -> bool {
        let rate = gates::amount(self.alarm.vector, self.activity, carried);
        let looks_innocent = self.alarm.vector.floor_factor(&row.change, self.hears_sent) > 1.0;
        !looks_innocent && rate < self.alarm.floors.source * self.settings.patience
    }

    /// Whether this host answered the source, asked it, or saw it before the attack.
    pub fn is_known(&self, row: &SourceActivity) -> bool {
        let totals = &row.totals;
        let answered = [totals.sent_data_packets, totals.sent_udp_packets, totals.sent_syn_packets];
        let attack_age = self.activity.at.since(self.alarm.since);
        answered.iter().any(|count| *count > 0) || row.age > attack_age
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

    /// Positions of carriers that may pass the gates of a source, in order. Of very many, the loudest that were
    /// not suspects before come after all that were.
    pub fn suspects(&self, is_suspect: impl Fn(Source) -> bool) -> Vec<usize> {
        let is_loud = |position: &usize| {
            let row = self.carriers.get(*position).and_then(|row| self.activity.rows.get(*row));
            let is_attacking = self.is_attacking.get(self.cluster_of(*position)).copied().unwrap_or(false);
            let has_enough =
                self.carried.get(*position).is_some_and(|packets| *packets >= self.settings.min_packets);
            let is_told_early = row.is_some_and(|row| self.is_worth_a_word(*position, row));
            let is_over = is_attacking && row.is_some_and(|row| self.rate(*position) >= self.floor_for(row));
            has_enough && (is_over || is_told_early)
        };
        let mut positions: Vec<usize> = (0..self.carriers.len()).filter(is_loud).collect();
        if positions.len() > MOST_SUSPECTS {
            let source_at = |position: usize| {
                self.carriers.get(position).and_then(|row| self.activity.rows.get(*row)).map(|row| row.source)
            };
            let mut ranked: Vec<(bool, f64, usize)> = positions
                .iter()
                .map(|position| {
                    let is_new = !source_at(*position).is_some_and(&is_suspect);
                    (is_new, -self.rate(*position), *position)
                })
                .collect();
            ranked.select_nth_unstable_by(MOST_SUSPECTS, |a, b| {
                a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2))
            });
            positions = ranked.iter().take(MOST_SUSPECTS).map(|(.., position)| *position).collect();
            positions.sort_unstable();
        }
        positions
    }

    fn rate(&self, position: usize) -> f64 {
        self.rates.get(position).copied().unwrap_or(0.0)
    }

    fn cluster_of(&self, position: usize) -> usize {
        self.clusters.members.get(position).copied().unwrap_or(0)
    }

    /// The packets that make up the flood, with what may pass of them: as much as is usual, or a small share.
    #[expect(clippy::cast_precision_loss, reason = "counts in one interval are far below 2^52")]
    pub fn limits(&self, positions: impl IntoIterator<Item = usize>) -> Vec<(Signature, f64)> {
        let kinds = self.alarm.vector.kinds();
        let mut weights: FxHashMap<Signature, u64> = FxHashMap::default();
        for position in positions {
            let row = self.carriers.get(position).and_then(|row| self.activity.rows.get(*row));
            let (Some(source), Some(carried)) = (row, self.carried.get(position)) else {
                continue;
            };
            for kind in kinds {
                let (port, packets) = share_of(*kind, &source.change, *carried);
                // What a swarm has not sent yet it will.
                let packets = if self.alarm.vector.is_stock() { packets.max(1) } else { packets };
                *weights.entry(Signature::new(*kind, port)).or_default() += packets;
            }
        }
        weights.retain(|_, packets| *packets > 0);
        let total: u64 = weights.values().sum();
        let mut ranked: Vec<(Signature, u64)> = weights.into_iter().collect();
        ranked.sort_unstable_by_key(|(signature, packets)| (std::cmp::Reverse(*packets), *signature));
        // A few ports that take nearly all of it are named; many are one limit on every port.
        let named: u64 = ranked.iter().take(MOST_PORTS).map(|(_, packets)| *packets).sum();
        if named as f64 >= total as f64 * NAMED_SHARE {
            ranked.truncate(MOST_PORTS);
        } else {
            ranked = kinds.iter().map(|kind| (Signature::new(*kind, 0), total)).collect();
        }
        let usual = self.alarm.normal.map_or(0.0, |normal| normal.median * 1.5);
        let passing = usual.max(self.alarm.total * self.settings.limit_share);
        ranked
            .into_iter()
            .map(|(signature, packets)| (signature, passing * packets as f64 / total.max(1) as f64))
            .collect()
    }

    /// Light sources that make a flood of many. Reflectors are real hosts, of which fewer do.
    pub fn crowd(&self) -> usize {
        let crowd = self.settings.crowd;
        if self.alarm.vector == Vector::Reflection { crowd.div_ceil(5) } else { crowd }
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

    pub fn is_worth_a_word(&self, position: usize, row: &SourceActivity) -> bool {
        let share = self.alarm.vector.early_share();
        share < 1.0 && self.rate(position) >= self.floor_for(row) * share
    }

    pub fn ticks_gate(&self, ticks: u32) -> Gate {
        Gate::at_least("ticks", f64::from(ticks), f64::from(self.settings.ticks), "ticks")
    }

    pub fn window_gate(&self) -> Gate {
        let lasted = self.activity.interval.as_secs_f64();
        Gate::at_least("lasted", lasted, self.settings.window.as_secs_f64(), "s")
    }

    /// The floor of a source that was not there before.
    fn floor_of_new(&self, row: &SourceActivity) -> f64 {
        self.alarm.floors.source
            * self.alarm.vector.floor_factor(&row.change, self.hears_sent)
            * self.settings.patience
    }

    /// A source seen before the attack has to be louder.
    fn floor_for(&self, row: &SourceActivity) -> f64 {
        let floor = self.floor_of_new(row);
        let attack_age = self.activity.at.since(self.alarm.since);
        let age_before = row.age.saturating_sub(attack_age);
        if age_before >= self.settings.known_age { floor * self.settings.known_factor } else { floor }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts in one interval are far below 2^52")]
    pub fn source_gates(&self, position: usize, row: &SourceActivity) -> Vec<Gate> {
        let carried = self.carried.get(position).copied().unwrap_or(0);
        let is_attacking = self.is_attacking.get(self.cluster_of(position)).copied().unwrap_or(false);
        let mut gates = vec![
            Gate::at_least(
                "source_floor",
                self.rate(position),
                self.floor_for(row),
                self.alarm.vector.unit(),
            ),
            Gate::at_least("source_packets", carried as f64, self.settings.min_packets as f64, ""),
            Gate::at_least("in_attacking_cluster", f64::from(u8::from(is_attacking)), 1.0, ""),
        ];
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
    pub fn patience_gate(&self, position: usize, row: &SourceActivity, suspicion: &Suspicion) -> Gate {
        let overwhelming = self.floor_for(row) * self.settings.overwhelming_factor;
        if self.alarm.span == Span::Window {
            self.window_gate()
        } else if self.alarm.vector.is_stock() {
            // What stands for a moment is what a busy client has under way.
            let lasted = self.activity.at.since(suspicion.first).as_secs_f64();
            let stands_for = if self.alarm.everybody_waits {
                STANDS_FOR_WHEN_EVERYBODY_WAITS
            } else if row.totals.sent_data_packets > 0 {
                STANDS_FOR_ONCE_SERVED
            } else {
                STANDS_FOR
            };
            Gate::at_least("lasted", lasted, stands_for.as_secs_f64(), "s")
        } else if self.rate(position) >= overwhelming {
            Gate::at_least("overwhelming", self.rate(position), overwhelming, self.alarm.vector.unit())
        } else {
            self.ticks_gate(suspicion.ticks)
        }
    }

    pub fn evidence(&self, source: Option<(usize, usize)>, gates: Vec<Gate>, note: &'static str) -> Evidence {
        let mut order: Vec<usize> = (0..self.clusters.sizes.len()).collect();
        order.sort_by(|a, b| self.centroid(*b, 0).total_cmp(&self.centroid(*a, 0)));
        let cluster = source.map(|(position, _)| self.cluster_of(position));
        Evidence {
            window_s: self.activity.interval.as_secs_f64(),
            service: self.alarm.service,
            gates: self.alarm.gates.iter().cloned().chain(gates).collect(),
            features: source.map(|(_, row)| self.features.named(row).collect()).unwrap_or_default(),
            clusters: order
                .iter()
                .map(|cluster| ClusterSummary {
                    sources: self.clusters.sizes.get(*cluster).copied().unwrap_or(0),
                    packets_per_second: 10_f64.powf(self.centroid(*cluster, 0)),
                    share: self.centroid(*cluster, 1) / 2.0,
                    mean_bytes: 10_f64.powf(self.centroid(*cluster, 2)),
                    is_attacking: self.is_attacking.get(*cluster).copied().unwrap_or(false),
                })
                .collect(),
            cluster: cluster.and_then(|cluster| order.iter().position(|ordered| *ordered == cluster)),
            distance: source.map(|(position, _)| {
                self.clusters.distance(&self.points, position, self.cluster_of(position))
            }),
            silhouette: self.clusters.silhouette,
            sources: self.carriers.len(),
            light_sources: self.light_sources,
            note,
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    fn centroid(&self, cluster: usize, column: usize) -> f64 {
        self.clusters.centroids.get((cluster, column)).copied().unwrap_or(0.0)
    }
}

/// Of the packets of a source that carry the vector, the port and number of those of one kind.
fn share_of(kind: PacketKind, change: &SourceCounters, carried: u64) -> (u16, u64) {
    let port = match kind {
        PacketKind::UdpReflection => change.reflection_port,
        PacketKind::Extension | PacketKind::Fragment | PacketKind::Icmp | PacketKind::Other => 0,
        _ => change.destination_port,
    };
    let packets = match kind {
        PacketKind::Fragment => u64::from(change.fragment_packets),
        PacketKind::UdpReflection => u64::from(change.reflection_packets),
        PacketKind::TcpRst => u64::from(change.tcp_rst_packets),
        PacketKind::TcpOdd => u64::from(change.tcp_odd_packets),
        PacketKind::TcpAck => u64::from(change.tcp_ack_packets),
        _ => carried,
    };
    (u16::try_from(port).unwrap_or(0), packets)
}

/// The clusters whose centroid is over the floor, from the loudest down to the first gap: what
/// follows without a gap of `separation` could be the same crowd as the innocents.
fn attacking_clusters(clusters: &Clusters, floor: f64, separation: f64) -> Vec<bool> {
    let rate = |cluster: usize| 10_f64.powf(clusters.centroids.get((cluster, 0)).copied().unwrap_or(0.0));
    let is_loud = |cluster: usize| rate(cluster) >= floor * CENTROID_TOLERANCE;
    let count = clusters.sizes.len();
    let loudest_quiet = (0..count).filter(|cluster| !is_loud(*cluster)).map(rate).fold(0.0, f64::max);
    (0..count).map(|cluster| is_loud(cluster) && rate(cluster) >= loudest_quiet * separation).collect()
}
