//! What many runs come to, beside what is asked of them.

use serde::Serialize;

use crate::figures::Figures;
use crate::kinds::Answer;
use crate::share::share;
use crate::tally::Packets;

/// An attack has to be named within this, in seconds.
const IN_TIME_S: f64 = 1.0;
/// Share of the attack packets after a verdict that has to be dropped.
const STOPPED_SHARE: f64 = 0.95;
/// The same of loud sources.
const LOUD_STOPPED_SHARE: f64 = 0.99;

/// Over some runs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) runs: usize,
    pub(crate) innocents_blocked: Count,
    pub(crate) benign_packets_lost: Count,
    /// Floods with a right verdict within a second.
    pub(crate) named_in_time: Count,
    /// Scans and password guessing with a right verdict.
    pub(crate) reported: Count,
    /// Attack packets after a right verdict that were dropped.
    pub(crate) stopped: Count,
    /// The same, of loud sources alone.
    pub(crate) loud_stopped: Count,
}

/// Some of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Count {
    pub(crate) of: u64,
    pub(crate) count: u64,
}

/// A line of the summary.
pub(crate) struct Line {
    pub(crate) what: &'static str,
    pub(crate) target: &'static str,
    pub(crate) count: Count,
    /// `None` when there was nothing to count.
    pub(crate) is_met: Option<bool>,
}

impl Summary {
    pub(crate) fn of(runs: &[Figures]) -> Self {
        let floods = || runs.iter().filter(|run| run.answer == Answer::Stop);
        let reports = || runs.iter().filter(|run| run.answer == Answer::Report);
        let packets = |packets: Packets| Count { of: packets.arrived, count: packets.dropped };
        let is_in_time = |run: &Figures| run.verdict_after_s.is_some_and(|after| after <= IN_TIME_S);
        let yes = |is_so: bool| Count { of: 1, count: u64::from(is_so) };
        Self {
            runs: runs.len(),
            innocents_blocked: sum(runs
                .iter()
                .map(|run| Count { of: run.innocents, count: run.innocents_blocked })),
            benign_packets_lost: sum(runs.iter().map(|run| packets(run.benign))),
            named_in_time: sum(floods().map(|run| yes(is_in_time(run)))),
            reported: sum(reports().map(|run| yes(run.verdict_after_s.is_some()))),
            stopped: sum(floods().map(|run| packets(run.attack_after_verdict))),
            loud_stopped: sum(floods()
                .filter(|run| run.is_loud())
                .map(|run| packets(run.attack_after_verdict))),
        }
    }

    pub(crate) fn lines(&self) -> [Line; 6] {
        let line = |what, target, count: Count, is_met: fn(Count) -> bool| Line {
            what,
            target,
            count,
            is_met: (count.of > 0).then(|| is_met(count)),
        };
        [
            line("innocents blocked", "0", self.innocents_blocked, Count::is_none),
            line("benign packets lost", "0", self.benign_packets_lost, Count::is_none),
            line("attacks named within 1 s", "all", self.named_in_time, Count::is_all),
            line("scans and password guessing named", "all", self.reported, Count::is_all),
            line("attack packets stopped after the verdict", "≥ 95 %", self.stopped, |count| {
                count.share() >= STOPPED_SHARE
            }),
            line("the same, of loud sources", "≥ 99 %", self.loud_stopped, |count| {
                count.share() >= LOUD_STOPPED_SHARE
            }),
        ]
    }
}

impl Count {
    fn is_none(self) -> bool {
        self.count == 0
    }

    fn is_all(self) -> bool {
        self.count == self.of
    }

    /// 0 to 1; 0 of nothing.
    pub(crate) fn share(self) -> f64 {
        share(self.count, self.of).unwrap_or(0.0)
    }
}

fn sum(counts: impl Iterator<Item = Count>) -> Count {
    counts.fold(Count::default(), |sum, next| Count { of: sum.of + next.of, count: sum.count + next.count })
}
