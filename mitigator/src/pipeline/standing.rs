//! Standings: how far one source is from a verdict, for whoever asks without an agent's memory.

use mitigator_common::SourceCounters;
use serde::Serialize;

use super::activity::Activity;
use super::gates::{self, Gate};
use super::rows::SourceActivity;
use super::settings::DetectionSettings;
use super::vectors::{ManyPorts, Vector};

/// How far a source is from the verdict of one vector.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standing {
    /// The kind of attack.
    pub vector: Vector,
    /// What it takes at least, without baseline and groups, which only the agent knows.
    pub gates: Vec<Gate>,
}

/// How far the source in `row` is from a verdict, for every vector that its traffic could carry.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts in one interval are far below 2^52")]
pub fn standings(activity: &Activity, row: usize, settings: &DetectionSettings) -> Vec<Standing> {
    let Some(source) = activity.rows.get(row) else {
        return Vec::new();
    };
    let standing = |vector: Vector| {
        let carried_by =
            |row: &SourceActivity<'_>| gates::carried_by(vector, row, activity.hears_sent, ManyPorts::Scan);
        let carried = carried_by(&source);
        let total: u64 = activity.rows.iter().map(|row| carried_by(&row)).sum();
        let mut gates =
            gates::total_gates(vector, vector.floors(), activity.per_second(total), None, settings);
        let floor = source_floor(vector, &source.change, activity.hears_sent, settings);
        gates.push(Gate::at_least("source_floor", activity.per_second(carried), floor, vector.unit()));
        gates.push(Gate::at_least("source_packets", carried as f64, settings.min_packets as f64, "packets"));
        (carried > 0).then_some(Standing { vector, gates })
    };
    Vector::ALL.into_iter().filter_map(standing).collect()
}

/// Packets/s of the vector that a source like this must send in one tick to be worth a block.
fn source_floor(
    vector: Vector,
    change: &SourceCounters,
    hears_sent: bool,
    settings: &DetectionSettings,
) -> f64 {
    vector.floors().source * vector.floor_factor(change, hears_sent) * settings.patience
}
