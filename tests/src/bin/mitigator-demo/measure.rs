//! What the agent's own counters say about the attack: the only file that knows how mitigator reports them.
//!
//! Dropped per step comes from `status`. The share dropped after the answer is the difference of two readings, one
//! right after the last block or the limit and one after the attack. Where attackers are blocked one by one it is
//! exact: every attack packet is in their block entries or counted as passed for them. Where their addresses are
//! forged, what passed is what was sent and not dropped; a reading takes some milliseconds, in which more is sent.

use std::net::IpAddr;

use anyhow::Result;
use serde::Deserialize;

use crate::agent::Questions;
use crate::stage::covers;

/// Attack packets between the two readings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AfterAnswer {
    pub(crate) dropped: u64,
    pub(crate) passed: u64,
}

/// Totals of the attackers' packets at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    dropped: u64,
    passed: u64,
}

#[derive(Deserialize)]
struct Status {
    outcomes: Outcomes,
}

#[derive(Deserialize)]
struct Outcomes {
    drop_blocked: u64,
    drop_blocked_prefix: u64,
    drop_limited: u64,
    answer_cookie: u64,
}

#[derive(Deserialize)]
struct Blocklist {
    blocks: Vec<BlockRow>,
}

#[derive(Deserialize)]
struct BlockRow {
    target: String,
    hits: u64,
}

#[derive(Deserialize)]
struct Sources {
    sources: Vec<SourceRow>,
}

#[derive(Deserialize)]
struct SourceRow {
    source: String,
    packets: u64,
}

/// All packets kept from the host so far: dropped, or answered in its place.
pub(crate) fn dropped(questions: &Questions) -> Result<u64> {
    let outcomes = questions.ask::<Status>(&["status"])?.outcomes;
    let dropped = outcomes.drop_blocked + outcomes.drop_blocked_prefix + outcomes.drop_limited;
    Ok(dropped + outcomes.answer_cookie)
}

impl Reading {
    /// What the attackers' own entries say.
    pub(crate) fn of_sources(questions: &Questions, attackers: &[IpAddr]) -> Result<Self> {
        let sources = questions.ask(&["sources", "--limit", "0", "--over", "0s"])?;
        let blocklist = questions.ask(&["blocklist", "list"])?;
        Ok(Self::of(&sources, &blocklist, attackers))
    }

    /// What is left of `arrived` attack packets.
    pub(crate) fn of_all(questions: &Questions, arrived: u64) -> Result<Self> {
        let dropped = dropped(questions)?;
        Ok(Self { dropped, passed: arrived.saturating_sub(dropped) })
    }

    pub(crate) fn since(self, earlier: Self) -> AfterAnswer {
        AfterAnswer {
            dropped: self.dropped.saturating_sub(earlier.dropped),
            passed: self.passed.saturating_sub(earlier.passed),
        }
    }

    fn of(sources: &Sources, blocklist: &Blocklist, attackers: &[IpAddr]) -> Self {
        let concerns_attackers = |range: &str| attackers.iter().any(|&attacker| covers(range, attacker));
        let entries = blocklist.blocks.iter().filter(|row| concerns_attackers(&row.target));
        let counted = sources.sources.iter().filter(|row| concerns_attackers(&row.source));
        Self { dropped: entries.map(|row| row.hits).sum(), passed: counted.map(|row| row.packets).sum() }
    }
}

impl AfterAnswer {
    /// 0 to 1; `None` when no attack packet arrived.
    pub(crate) fn dropped_share(self) -> Option<f64> {
        let arrived = self.dropped + self.passed;
        #[expect(clippy::cast_precision_loss, reason = "seconds of packets are far below 2^52")]
        let share = self.dropped as f64 / arrived as f64;
        (arrived > 0).then_some(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_attackers_and_nobody_else() {
        let attackers = [IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 1, 1])];
        let sources: Sources = serde_json::from_str(
            r#"{"sources":[{"source":"10.0.0.1","packets":5,"bytes":9},{"source":"10.0.0.2","packets":100}]}"#,
        )
        .unwrap();
        let blocklist: Blocklist = serde_json::from_str(
            r#"{"blocks":[{"target":"10.0.0.1","hits":70,"origin":"agent"},
                {"target":"10.0.1.0/24","hits":25},{"target":"192.0.2.1","hits":1000}]}"#,
        )
        .unwrap();
        let reading = Reading::of(&sources, &blocklist, &attackers);
        assert_eq!(reading, Reading { dropped: 95, passed: 5 });
        assert_eq!(reading.since(Reading { dropped: 0, passed: 0 }).dropped_share(), Some(0.95));
        assert_eq!(reading.since(reading).dropped_share(), None);
    }
}
