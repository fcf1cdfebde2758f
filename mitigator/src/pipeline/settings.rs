//! What the operator may set of the decision.

use std::time::Duration;

/// Everything a decision depends on beside the traffic.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectionSettings {
    /// Factor on every floor of [`super::vectors::Vector`]; above 1 is more patient.
    pub patience: f64,
    /// A total must exceed the learned median by this factor, beside its floor.
    pub baseline_factor: f64,
    /// A total must exceed the learned median by this many deviations, beside its floor.
    pub baseline_deviations: f64,
    /// How much the learned median may rise in an hour beyond what the day and the weeks know, as a share of itself.
    pub baseline_rise: f64,
    /// Packets of the vector a source must send in one tick to be judged at all.
    pub min_packets: u64,
    /// How long the window is in which what lasts is judged.
    pub window: Duration,
    /// Ticks in which a source must show the evidence, unless it is overwhelming.
    pub ticks: u32,
    /// How many times its floor a source must send to be blocked in its first tick.
    pub overwhelming_factor: f64,
    /// Sources at least this old before the attack get `known_factor` times the floor.
    pub known_age: Duration,
    /// See `known_age`.
    pub known_factor: f64,
    /// Groups that K-Means may make, 1..=8.
    pub max_clusters: usize,
    /// Mean simplified silhouette from which groups count as separate, 0..=1.
    pub min_silhouette: f64,
    /// How many times louder the quietest attacking centroid must be than the loudest innocent one.
    pub min_separation: f64,
    /// Sources that K-Means looks at; the rest are assigned to the nearest centroid.
    pub sample: usize,
    /// Of K-Means.
    pub seed: u64,
    /// Light sources from which a flood counts as one of many sources.
    pub crowd: usize,
    /// What a limit lets pass of a flood of many sources, as a share of the flood, where more is not usual.
    pub limit_share: f64,
    /// Whether a prefix whose members attack as one is blocked as a whole.
    pub widen: bool,
    /// Whether verdicts are only reported.
    pub observe_only: bool,
}

impl Default for DetectionSettings {
    fn default() -> Self {
        Self {
            patience: 1.0,
            baseline_factor: 3.0,
            baseline_deviations: 8.0,
            baseline_rise: 0.1,
            min_packets: 10,
            window: Duration::from_secs(1),
            ticks: 2,
            overwhelming_factor: 10.0,
            known_age: Duration::from_mins(1),
            known_factor: 4.0,
            max_clusters: 4,
            min_silhouette: 0.6,
            min_separation: 3.0,
            sample: 1_000,
            seed: 0x006d_6974_6967_6174,
            crowd: 50,
            limit_share: 0.005,
            widen: true,
            observe_only: false,
        }
    }
}

/// How long blocks last and how many there may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockingSettings {
    /// Of a first block.
    pub duration: Duration,
    /// Each further block of the same source lasts twice as long, up to this.
    pub max_duration: Duration,
    /// Blocks written in one tick; an alarm is raised when there would be more.
    pub max_per_tick: usize,
    /// Blocks of the agent standing at a time; an alarm is raised when there would be more.
    pub max_standing: usize,
    /// Dropped packets per second from which an expiring block is renewed.
    pub renewal_packets_per_second: u32,
    /// A limit ends when it dropped nothing for this long.
    pub limit_quiet: Duration,
}

impl Default for BlockingSettings {
    fn default() -> Self {
        Self {
            duration: Duration::from_mins(10),
            max_duration: Duration::from_hours(24),
            max_per_tick: 4_096,
            max_standing: 262_144,
            renewal_packets_per_second: 10,
            limit_quiet: Duration::from_secs(30),
        }
    }
}
