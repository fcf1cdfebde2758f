//! Our method beside the simpler ones, over many runs together.

use serde::Serialize;

use crate::figures::Figures;
use crate::kinds::Answer;
use crate::rivals::{self, Stopped};
use crate::share::share;

/// What there was to take away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Offered {
    /// Of attacks that are to be stopped; scans and password guessing are only reported, so they do not count.
    pub(crate) attack_packets: u64,
    pub(crate) benign_packets: u64,
    pub(crate) innocents: u64,
}

/// The methods over the same runs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Comparison {
    pub(crate) offered: Offered,
    pub(crate) k_means: Score,
    pub(crate) threshold: Score,
    pub(crate) ours: Score,
}

/// How a method did.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Score {
    pub(crate) stopped: Stopped,
    /// Attack packets among all that were stopped; `None` when none were.
    pub(crate) precision: Option<f64>,
    /// Stopped among all attack packets; `None` when there were none.
    pub(crate) recall: Option<f64>,
}

impl Comparison {
    pub(crate) fn of(runs: &[Figures]) -> Self {
        let offered = Offered::of(runs);
        let score = |of: fn(&Figures) -> Stopped| Score::of(total(runs, of), offered);
        Self {
            offered,
            k_means: score(|run| run.k_means),
            threshold: score(|run| run.threshold),
            ours: score(Figures::ours),
        }
    }
}

impl Offered {
    fn of(runs: &[Figures]) -> Self {
        runs.iter().fold(Self::default(), |sum, run| Self {
            attack_packets: sum.attack_packets + if counts(run) { run.attack.arrived } else { 0 },
            benign_packets: sum.benign_packets + run.benign.arrived,
            innocents: sum.innocents + run.innocents,
        })
    }
}

impl Score {
    fn of(stopped: Stopped, offered: Offered) -> Self {
        let all = stopped.attack_packets + stopped.benign_packets;
        Self {
            stopped,
            precision: share(stopped.attack_packets, all),
            recall: share(stopped.attack_packets, offered.attack_packets),
        }
    }
}

/// Finds the threshold that gains most over all runs together, share of attack packets stopped less share of benign
/// packets lost, notes in each run what it did there, and returns it, in packets per second.
pub(crate) fn choose_threshold(runs: &mut [Figures]) -> usize {
    let offered = Offered::of(runs);
    let gain = |index: usize| {
        let stopped = total(runs, |run| run.thresholds.get(index).copied().unwrap_or_default());
        share(stopped.attack_packets, offered.attack_packets).unwrap_or(0.0)
            - share(stopped.benign_packets, offered.benign_packets).unwrap_or(0.0)
    };
    let limits = rivals::limits();
    let best = (0..limits.len()).max_by(|a, b| gain(*a).total_cmp(&gain(*b))).unwrap_or(0);
    for run in runs {
        run.threshold = run.thresholds.get(best).copied().unwrap_or_default();
    }
    limits.get(best).copied().unwrap_or(0)
}

fn total(runs: &[Figures], of: impl Fn(&Figures) -> Stopped) -> Stopped {
    let mut sum = Stopped::default();
    for run in runs {
        let stopped = of(run);
        sum.add(if counts(run) { stopped } else { Stopped { attack_packets: 0, ..stopped } });
    }
    sum
}

fn counts(run: &Figures) -> bool {
    run.answer == Answer::Stop
}
