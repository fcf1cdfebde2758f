//! Is there an attack at all? For each vector, the traffic that carries it against an absolute floor
//! and against what this server has learned to be normal.

use std::time::Duration;

use mitigator_common::Source;
use rustc_hash::FxHashMap;
use serde::Serialize;

use super::activity::Activity;
use super::baseline::Baseline;
use super::settings::DetectionSettings;
use super::time::Timestamp;
use super::vectors::{self, Comparison, ManyPorts, Vector};

/// How long after the last alarm a vector's attack counts as over, and learning goes on.
const COOL_DOWN: Duration = Duration::from_secs(5);
/// Packets to many ports per second that all scans together may send for long, and each at least.
const SCAN_RATE: f64 = 2_000.0;
const LEAST_SCAN_RATE: f64 = 100.0;
/// Packets to many ports that scans may send beyond that: a thousand usual ports, asked a few times.
const SCAN_BURST: f64 = 10_000.0;
const LEAST_SCAN_BURST: f64 = 1_000.0;

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
        Self { name, value, limit, unit, passed: value >= limit }
    }
}

/// What the gates say of one vector in one tick.
#[derive(Clone, Debug, PartialEq)]
pub struct Alarm {
    /// The kind of attack.
    pub vector: Vector,
    /// Packets that carry it, per row of the activity.
    pub carried: Vec<u64>,
    /// Their sum, per second.
    pub total: f64,
    /// What the total was held against.
    pub gates: Vec<Gate>,
    /// When the attack began; equal to the tick's time in its first tick.
    pub since: Timestamp,
    /// Whether there is a learned baseline.
    pub is_learned: bool,
}

/// What is normal for each vector, and which attacks are on.
#[derive(Clone, Debug, Default)]
pub struct Gates {
    states: Vec<State>,
    totals: Vec<f64>,
    /// Packets to many ports beyond the rate of a scan, by source: leaky buckets.
    scanned: FxHashMap<Source, f64>,
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
    /// The vectors that look like an attack in this tick. Without any, and with none lately, the tick
    /// is quiet and the baselines learn it.
    pub fn check(&mut self, activity: &Activity, settings: &DetectionSettings) -> Vec<Alarm> {
        self.states.resize_with(Vector::ALL.len(), State::default);
        let mut alarms = Vec::new();
        self.totals.clear();
        let many_ports = self.judge_scans(activity, settings);
        for (state, vector) in self.states.iter_mut().zip(Vector::ALL) {
            let carried: Vec<u64> = activity
                .rows
                .iter()
                .zip(&many_ports)
                .map(|(row, many_ports)| vector.carried_by(&row.change, *many_ports))
                .collect();
            let total = activity.per_second(carried.iter().sum());
            self.totals.push(total);
            let gates = total_gates(vector, total, &state.baseline, settings);
            if gates.iter().all(|gate| gate.passed) {
                let since = state.attack.map_or(activity.at, |attack| attack.since);
                state.attack = Some(Episode { since, last_alarm: activity.at });
                let is_learned = state.baseline.normal().is_some();
                alarms.push(Alarm { vector, carried, total, gates, since, is_learned });
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

    /// Packets/s that carried each vector in the latest tick, in the order of [`Vector::ALL`].
    #[must_use]
    pub fn totals(&self) -> &[f64] {
        &self.totals
    }
}

/// What the total of a vector has to reach; the baseline is asked only about what is over the floor.
#[must_use]
pub fn total_gates(
    vector: Vector,
    total: f64,
    baseline: &Baseline,
    settings: &DetectionSettings,
) -> Vec<Gate> {
    let floor = vector.floors().total * settings.patience;
    let mut gates = vec![Gate::at_least("total_floor", total, floor, "packets/s")];
    if total >= floor
        && let Some(normal) = baseline.normal()
    {
        gates.extend([
            Gate::at_least("total_over_median", total, normal.median * settings.baseline_factor, "packets/s"),
            Gate::at_least(
                "total_over_noise",
                total,
                normal.median + normal.deviation * settings.baseline_deviations,
                "packets/s",
            ),
        ]);
    }
    gates
}
