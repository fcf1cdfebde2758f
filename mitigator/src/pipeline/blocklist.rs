//! The agent's own blocks: turns verdicts into changes, longer for repeaters, renewed while the
//! source goes on, capped with an alarm.

use std::time::Duration;

use mitigator_common::Source;
use rustc_hash::FxHashMap;

use super::allowlist::{AllowList, Relation};
use super::settings::BlockingSettings;
use super::target::Target;
use super::time::Timestamp;
use super::verdict::{Decision, Subject, Verdict};

/// A change of the kernel's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// What to block.
    pub target: Target,
    /// Until when.
    pub until: Timestamp,
    /// Whether this prolongs a standing block.
    pub is_renewal: bool,
}

/// What to do about one tick's verdicts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Blocks to write.
    pub blocks: Vec<Block>,
    /// Targets whose block ended without renewal.
    pub released: Vec<Target>,
    /// Blocks that a cap kept from being written: an alarm.
    pub capped: usize,
}

/// What the agent has blocked.
#[derive(Clone, Debug, Default)]
pub struct Blocklist {
    standing: FxHashMap<Source, Standing>,
    /// Ended blocks of sources that may come back.
    past: FxHashMap<Source, Past>,
}

#[derive(Clone, Copy, Debug)]
struct Standing {
    until: Timestamp,
    duration: Duration,
    /// Dropped packets and when they were read.
    hits: Option<(u64, Timestamp)>,
}

#[derive(Clone, Copy, Debug)]
struct Past {
    duration: Duration,
    ended: Timestamp,
}

/// How long before its end a block's drops are measured.
const MEASURED_FOR: Duration = Duration::from_secs(5);
/// A block is renewed this long before its end, so that nothing slips through between.
const RENEWED_BEFORE: Duration = Duration::from_secs(1);

impl Blocklist {
    /// Takes over blocks that an earlier agent left.
    pub fn adopt(
        &mut self,
        blocks: impl IntoIterator<Item = (Source, Timestamp)>,
        settings: &BlockingSettings,
    ) {
        for (source, until) in blocks {
            self.standing.insert(source, Standing { until, duration: settings.duration, hits: None });
        }
    }

    /// Sources whose drops have to be read now, because their block ends soon.
    #[must_use]
    pub fn due(&self, now: Timestamp) -> Vec<Source> {
        let mut due: Vec<Source> = self
            .standing
            .iter()
            .filter(|(_, standing)| now + MEASURED_FOR >= standing.until)
            .map(|(source, _)| *source)
            .collect();
        due.sort_unstable();
        due
    }

    /// The changes that follow from this tick's verdicts and from `hits`, the dropped packets of the
    /// sources in [`Blocklist::due`]. A block that meets the allow list by now is left to its end.
    pub fn update(
        &mut self,
        verdicts: &[Verdict],
        hits: &[(Source, u64)],
        allowed: &AllowList,
        now: Timestamp,
        settings: &BlockingSettings,
    ) -> Changes {
        let mut changes = Changes::default();
        self.renew(hits, allowed, now, settings, &mut changes);
        self.release(now, settings, &mut changes);
        for verdict in verdicts {
            let (Decision::Block, Subject::Target(Target::Source(source))) =
                (verdict.decision, &verdict.subject)
            else {
                continue;
            };
            if self.standing.contains_key(source) {
                continue;
            }
            if changes.blocks.len() >= settings.max_per_tick || self.standing.len() >= settings.max_standing {
                changes.capped += 1;
                continue;
            }
            let duration = self
                .past
                .remove(source)
                .map_or(settings.duration, |past| (past.duration * 2).min(settings.max_duration));
            let until = now + duration;
            self.standing.insert(*source, Standing { until, duration, hits: None });
            changes.blocks.push(Block { target: Target::Source(*source), until, is_renewal: false });
        }
        changes
    }

    #[expect(clippy::cast_precision_loss, reason = "dropped packets of five seconds are far below 2^52")]
    fn renew(
        &mut self,
        hits: &[(Source, u64)],
        allowed: &AllowList,
        now: Timestamp,
        settings: &BlockingSettings,
        changes: &mut Changes,
    ) {
        for (source, hits) in hits {
            let Some(standing) = self.standing.get_mut(source) else {
                continue;
            };
            let Some((before, measured)) = standing.hits else {
                standing.hits = Some((*hits, now));
                continue;
            };
            if now + RENEWED_BEFORE < standing.until || now <= measured {
                continue;
            }
            let rate = hits.saturating_sub(before) as f64 / now.since(measured).as_secs_f64();
            let target = Target::Source(*source);
            if rate < f64::from(settings.renewal_packets_per_second)
                || allowed.relation_to(&target) != Relation::Apart
            {
                continue;
            }
            if changes.blocks.len() >= settings.max_per_tick {
                changes.capped += 1;
                continue;
            }
            let duration = (standing.duration * 2).min(settings.max_duration);
            let until = now + duration;
            *standing = Standing { until, duration, hits: None };
            changes.blocks.push(Block { target, until, is_renewal: true });
        }
    }

    fn release(&mut self, now: Timestamp, settings: &BlockingSettings, changes: &mut Changes) {
        self.past.retain(|_, past| now.since(past.ended) <= settings.max_duration);
        let mut ended: Vec<Source> = self
            .standing
            .iter()
            .filter(|(_, standing)| standing.until <= now)
            .map(|(source, _)| *source)
            .collect();
        ended.sort_unstable();
        for source in ended {
            if let Some(standing) = self.standing.remove(&source) {
                self.past.insert(source, Past { duration: standing.duration, ended: standing.until });
                changes.released.push(Target::Source(source));
            }
        }
    }

    /// Forgets blocks that could not be written, so that the next verdict asks for them again.
    pub fn forget(&mut self, blocks: &[Block]) {
        for block in blocks {
            if let Target::Source(source) = block.target {
                self.standing.remove(&source);
            }
        }
    }

    /// How many blocks of the agent stand.
    #[must_use]
    pub fn len(&self) -> usize {
        self.standing.len()
    }

    /// Whether none stands.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.standing.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mitigator_common::{AllowReason, PrefixKey};

    /// What becomes of an adopted block that drops 1,000 packets/s until a moment before its end.
    fn renewal(allowed: &AllowList, settings: &BlockingSettings) -> Changes {
        let source = Source::from_v4_bytes([192, 0, 2, 7]);
        let mut blocklist = Blocklist::default();
        let start = Timestamp::from_ns(1_000_000_000);
        blocklist.adopt([(source, start + Duration::from_secs(3))], settings);
        for (seconds, hits) in [(0, 0), (2, 2_000)] {
            let now = start + Duration::from_secs(seconds);
            assert_eq!(blocklist.due(now), [source]);
            let changes = blocklist.update(&[], &[(source, hits)], allowed, now, settings);
            if hits > 0 {
                return changes;
            }
        }
        Changes::default()
    }

    #[test]
    fn a_block_that_still_drops_is_renewed() {
        let changes = renewal(&AllowList::default(), &BlockingSettings::default());
        assert!(changes.blocks.iter().all(|block| block.is_renewal));
        assert_eq!((changes.blocks.len(), changes.capped), (1, 0));
    }

    #[test]
    fn a_block_is_not_renewed_when_its_source_is_allowed_meanwhile() {
        let neighbourhood = PrefixKey::new([192, 0, 2, 0].into(), 24);
        let allowed = AllowList::new(vec![(neighbourhood, AllowReason::Operator)]);
        let changes = renewal(&allowed, &BlockingSettings::default());
        assert_eq!((changes.blocks.len(), changes.capped), (0, 0));
    }

    #[test]
    fn renewals_count_against_the_cap_of_a_tick() {
        let settings = BlockingSettings { max_per_tick: 0, ..BlockingSettings::default() };
        let changes = renewal(&AllowList::default(), &settings);
        assert_eq!((changes.blocks.len(), changes.capped), (0, 1));
    }
}
