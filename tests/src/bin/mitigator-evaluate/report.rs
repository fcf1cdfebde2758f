//! Everything that was measured, as it is printed with `--json` and written as Markdown.

use mitigator_tests::scenarios;
use serde::Serialize;

use crate::comparison::Comparison;
use crate::figures::Figures;
use crate::kinds::Kind;
use crate::origin::Origin;
use crate::share::{median, share};
use crate::summary::{Count, Summary};

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) origin: Origin,
    pub(crate) summary: Summaries,
    pub(crate) comparison: Comparisons,
    pub(crate) captures: Vec<Figures>,
    /// A row per attack, over all benign halves.
    pub(crate) attacks_in_mixes: Vec<Row>,
    /// A row per benign half, under all attacks.
    pub(crate) benign_halves: Vec<Row>,
    pub(crate) mixes: Vec<Figures>,
    /// Synthetic ones.
    pub(crate) scenarios: Vec<scenarios::Figures>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summaries {
    pub(crate) captures: Summary,
    pub(crate) mixes: Summary,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Comparisons {
    /// Of the fixed threshold, packets per second of a source.
    pub(crate) best_threshold: usize,
    pub(crate) captures: Comparison,
    pub(crate) mixes: Comparison,
}

/// Mixes that have one half in common.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) half: String,
    pub(crate) mixes: usize,
    /// Mixes with a right verdict.
    pub(crate) named: usize,
    /// Of those mixes.
    pub(crate) median_verdict_after_s: Option<f64>,
    /// Of those mixes.
    pub(crate) latest_verdict_after_s: Option<f64>,
    /// Of the attack packets after the verdict, the smallest share that was dropped in a mix.
    pub(crate) least_stopped_share: Option<f64>,
    /// Of the attack packets after the verdict, the median of the shares that were dropped.
    pub(crate) median_stopped_share: Option<f64>,
    pub(crate) innocents_blocked: Count,
    pub(crate) benign_packets_lost: Count,
}

impl Report {
    pub(crate) fn new(
        origin: Origin,
        best_threshold: usize,
        captures: Vec<Figures>,
        mixes: Vec<Figures>,
        scenarios: Vec<scenarios::Figures>,
    ) -> Self {
        Self {
            origin,
            summary: Summaries { captures: Summary::of(&captures), mixes: Summary::of(&mixes) },
            comparison: Comparisons {
                best_threshold,
                captures: Comparison::of(&captures),
                mixes: Comparison::of(&mixes),
            },
            attacks_in_mixes: rows(&mixes, |mix| &mix.capture),
            benign_halves: rows(&mixes, |mix| mix.benign_half.as_deref().unwrap_or_default()),
            captures,
            mixes,
            scenarios,
        }
    }
}

/// A row for each half, in the order in which they come.
fn rows(mixes: &[Figures], half_of: fn(&Figures) -> &str) -> Vec<Row> {
    let mut halves: Vec<&str> = Vec::new();
    for mix in mixes {
        if !halves.contains(&half_of(mix)) {
            halves.push(half_of(mix));
        }
    }
    let of = |half: &&str| mixes.iter().filter(|mix| half_of(mix) == *half).cloned().collect::<Vec<_>>();
    halves.iter().map(|half| Row::of(half, &of(half))).collect()
}

impl Row {
    fn of(half: &str, mixes: &[Figures]) -> Self {
        let times: Vec<f64> = mixes.iter().filter_map(|mix| mix.verdict_after_s).collect();
        let stopped =
            |mix: &Figures| share(mix.attack_after_verdict.dropped, mix.attack_after_verdict.arrived);
        let shares: Vec<f64> = mixes.iter().filter_map(stopped).collect();
        let Summary { innocents_blocked, benign_packets_lost, .. } = Summary::of(mixes);
        Self {
            half: half.to_owned(),
            mixes: mixes.len(),
            named: times.len(),
            latest_verdict_after_s: times.iter().copied().reduce(f64::max),
            median_verdict_after_s: median(times),
            least_stopped_share: shares.iter().copied().reduce(f64::min),
            median_stopped_share: median(shares),
            innocents_blocked,
            benign_packets_lost,
        }
    }
}

impl Figures {
    /// Names of the vectors of its verdicts, with what is right for its kind first.
    pub(crate) fn named_vectors(&self) -> Vec<(&'static str, bool)> {
        let right = Kind::of(&self.kind).map(|kind| kind.right).unwrap_or_default();
        let mut names: Vec<_> = self.verdicts.keys().map(|name| (*name, right.contains(name))).collect();
        names.sort_by_key(|(name, is_right)| (!is_right, *name));
        names
    }
}
