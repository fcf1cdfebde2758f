//! The one file that knows the order of the stages. Live and in replay, a tick is the same.

use std::time::Duration;

use anyhow::Result;
use mitigator_common::Source;

use crate::kernel::DataPlane;
use crate::pipeline::activity::History;
use crate::pipeline::blocklist::{Blocklist, Changes};
use crate::pipeline::features;
use crate::pipeline::gates::Gates;
use crate::pipeline::settings::{BlockingSettings, DetectionSettings};
use crate::pipeline::time::Timestamp;
use crate::pipeline::verdict::{Judge, Verdict};

/// An interval shorter than this is taken as this long, so that rates stay finite.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(50);
/// While an attack is suspected, ticks come this many times as often.
const ALERT_FACTOR: u32 = 3;

/// Reads a data plane, decides, and writes the decision back, tick by tick.
#[derive(Debug)]
pub struct ControlLoop<P> {
    plane: P,
    history: History,
    gates: Gates,
    judge: Judge,
    blocklist: Blocklist,
    interval: Duration,
    detection: DetectionSettings,
    blocking: BlockingSettings,
}

/// What one tick saw and did.
#[derive(Clone, Debug)]
pub struct Tick {
    /// When.
    pub at: Timestamp,
    /// Since the tick before.
    pub interval: Duration,
    /// Sources that sent something.
    pub active_sources: usize,
    /// Packets that arrived.
    pub packets: u64,
    /// Of them, dropped.
    pub dropped_packets: u64,
    /// Packets/s that carry each vector, in the order of [`crate::pipeline::vectors::Vector::ALL`].
    pub totals: Vec<f64>,
    /// Judgements, in the order of the vectors.
    pub verdicts: Vec<Verdict>,
    /// What was written.
    pub changes: Changes,
    /// When to look again.
    pub next_in: Duration,
}

impl<P: DataPlane> ControlLoop<P> {
    /// A loop over `plane`, one tick each `interval` while nothing is suspicious.
    pub fn new(
        plane: P,
        interval: Duration,
        detection: DetectionSettings,
        blocking: BlockingSettings,
    ) -> Self {
        Self {
            plane,
            history: History::default(),
            gates: Gates::default(),
            judge: Judge::default(),
            blocklist: Blocklist::default(),
            interval,
            detection,
            blocking,
        }
    }

    /// The data plane.
    pub fn plane(&mut self) -> &mut P {
        &mut self.plane
    }

    /// Takes over blocks that an earlier agent left.
    pub fn adopt(&mut self, blocks: impl IntoIterator<Item = (Source, Timestamp)>) {
        self.blocklist.adopt(blocks, &self.blocking);
    }

    /// How many blocks of the agent stand.
    #[must_use]
    pub fn standing_blocks(&self) -> usize {
        self.blocklist.len()
    }

    /// One tick at `now`.
    ///
    /// # Errors
    ///
    /// When the data plane cannot be read or written; blocks that could not be written are decided
    /// anew in the next tick.
    pub fn tick(&mut self, now: Timestamp) -> Result<Tick> {
        let snapshot = self.plane.read_counters(now)?;
        let activity = self.history.advance(snapshot, SHORTEST_INTERVAL);
        let features = features::extract(&activity);
        let alarms = self.gates.check(&activity, &self.detection);
        let allowed = self.plane.allow_list()?;
        let judgement = self.judge.judge(&activity, &features, &alarms, &allowed, &self.detection);
        let hits = self.plane.hits_of(&self.blocklist.due(now))?;
        let changes = self.blocklist.update(&judgement.verdicts, &hits, &allowed, now, &self.blocking);
        if let Err(error) = self.plane.apply(now, &changes.blocks) {
            self.blocklist.forget(&changes.blocks);
            return Err(error);
        }
        Ok(Tick {
            at: now,
            interval: activity.interval,
            active_sources: activity.rows.len(),
            packets: activity.packets(),
            dropped_packets: activity.dropped_packets(),
            totals: self.gates.totals().to_vec(),
            verdicts: judgement.verdicts,
            changes,
            next_in: if judgement.is_suspicious { self.interval / ALERT_FACTOR } else { self.interval },
        })
    }
}
