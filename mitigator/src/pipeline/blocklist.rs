//! The agent's own blocks: turns verdicts into changes, longer for repeaters, renewed while the
//! source goes on, capped with an alarm.

use std::collections::hash_map::Entry;
use std::time::Duration;

use mitigator_common::Source;
use rustc_hash::{FxHashMap, FxHashSet};

use super::agenda::Agenda;
use super::allowlist::{AllowList, Relation};
use super::limits::LimitChanges;
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
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Blocks to write.
    pub blocks: Vec<Block>,
    /// Targets whose block ended without renewal.
    pub released: Vec<Target>,
    /// Blocks that a cap kept from being written: an alarm, not raised again for half a minute.
    pub capped: usize,
    /// Limits to write and to remove.
    pub limits: LimitChanges,
}

/// What the agent has blocked.
#[derive(Clone, Debug, Default)]
pub struct Blocklist {
    standing: FxHashMap<Target, Standing>,
    /// Ends of standing blocks; that of an earlier block of the same target does not count.
    ends: Agenda,
    /// Ended blocks of sources that may come back.
    past: FxHashMap<Target, Past>,
    /// When they ended; that of an earlier one does not count.
    past_ends: Agenda,
    /// Sources that may have been counted since they were blocked.
    unsettled: FxHashSet<Source>,
    /// When they were blocked.
    blocked_at: Agenda,
    /// When a cap was last an alarm.
    alarmed: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
struct Standing {
    /// When it was decided, or last reported that somebody lifted it.
    since: Timestamp,
    /// Whether its source was seen to get through.
    is_lifted: bool,
    until: Timestamp,
    duration: Duration,
    /// Dropped packets and when they were read.
    hits: Option<(u64, Timestamp)>,
}

impl Standing {
    /// A block of an earlier agent.
    fn adopted(until: Timestamp, settings: &BlockingSettings) -> Self {
        let since = Timestamp::default();
        Self { since, is_lifted: false, until, duration: settings.duration, hits: None }
    }
}

/// What becomes of a verdict that asks for a block.
enum Answer {
    Done,
    /// Not done, and why.
    Hindered(&'static str),
    /// Not done, and no news.
    Known,
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

/// What a block's source sends within this of the block may have arrived before it.
const SETTLED_AFTER: Duration = Duration::from_secs(1);
/// Blocks from which there are soon very many, and for how many room is made at once.
const MANY: usize = 4_096;
const MOST_ROOM: usize = 262_144;
/// The same hindrance is reported again after this.
const REPORT_AGAIN: Duration = Duration::from_secs(30);

impl Blocklist {
    /// Takes over blocks that an earlier agent left.
    pub fn adopt(
        &mut self,
        blocks: impl IntoIterator<Item = (Target, Timestamp)>,
        settings: &BlockingSettings,
    ) {
        for (target, until) in blocks {
            self.ends.add(until, target);
            self.standing.insert(target, Standing::adopted(until, settings));
        }
    }

    /// Takes over blocks of an earlier agent that somebody lifted, and when they would have ended: until then
    /// their targets are left alone, unless they are blocked already.
    pub fn leave_alone(
        &mut self,
        lifted: impl IntoIterator<Item = (Target, Timestamp)>,
        settings: &BlockingSettings,
    ) {
        for (target, until) in lifted {
            if let Entry::Vacant(place) = self.standing.entry(target) {
                place.insert(Standing::adopted(until, settings));
                self.ends.add(until, target);
            }
        }
    }

    /// Targets whose drops have to be read now, because their block ends soon.
    #[must_use]
    pub fn due(&self, now: Timestamp) -> Vec<Target> {
        let ends = self.ends.due(now + MEASURED_FOR);
        let mut due: Vec<Target> =
            ends.filter(|(end, target)| self.ends_at(target, *end)).map(|(_, target)| target).collect();
        due.sort_unstable();
        due.dedup();
        due
    }

    fn ends_at(&self, target: &Target, end: Timestamp) -> bool {
        self.standing.get(target).is_some_and(|standing| standing.until == end)
    }

    /// The changes that follow from this tick's verdicts and from `hits`, the dropped packets of those
    /// targets in [`Blocklist::due`] whose block is still the agent's. A block that meets the allow list by
    /// now is left to its end. Verdicts that cannot be carried out become observations that say why, or
    /// go when they were reported lately.
    pub fn update(
        &mut self,
        verdicts: &mut Vec<Verdict>,
        hits: &[(Target, u64)],
        allowed: &AllowList,
        now: Timestamp,
        settings: &BlockingSettings,
    ) -> Changes {
        let mut changes = Changes::default();
        self.yield_to_others(hits, now);
        self.renew(hits, allowed, now, settings, &mut changes);
        self.release(now, settings, &mut changes);
        verdicts.retain_mut(|verdict| {
            let (Decision::Block, Subject::Target(target)) = (verdict.decision, &verdict.subject) else {
                return true;
            };
            match self.block(*target, now, settings, &mut changes) {
                Answer::Done => true,
                Answer::Hindered(why) => {
                    verdict.decision = Decision::Observe;
                    verdict.evidence.note = why;
                    true
                }
                Answer::Known => false,
            }
        });
        if self.alarmed.is_some_and(|at| now.since(at) < REPORT_AGAIN) {
            changes.capped = 0;
        } else if changes.capped > 0 {
            self.alarmed = Some(now);
        }
        changes
    }

    fn block(
        &mut self,
        target: Target,
        now: Timestamp,
        settings: &BlockingSettings,
        changes: &mut Changes,
    ) -> Answer {
        if let Some(standing) = self.standing.get_mut(&target) {
            let quiet_for = if standing.is_lifted { REPORT_AGAIN } else { SETTLED_AFTER };
            if now.since(standing.since) < quiet_for {
                return Answer::Known;
            }
            (standing.is_lifted, standing.since) = (true, now);
            self.settle(&target);
            return Answer::Hindered(
                "its block was lifted: the source is left alone until it would have ended",
            );
        }
        if changes.blocks.len() >= settings.max_per_tick || self.standing.len() >= settings.max_standing {
            changes.capped += 1;
            return if self.alarmed.is_some_and(|at| now.since(at) < REPORT_AGAIN) {
                Answer::Known
            } else {
                Answer::Hindered("a cap on blocks is reached: see max_per_tick and max_standing")
            };
        }
        let duration = self
            .past
            .remove(&target)
            .map_or(settings.duration, |past| (past.duration * 2).min(settings.max_duration));
        let until = now + duration;
        self.make_room(settings);
        self.stand(target, Standing { since: now, is_lifted: false, until, duration, hits: None });
        changes.blocks.push(Block { target, until, is_renewal: false });
        Answer::Done
    }

    /// A table that holds very many and doubles takes as long as all else in a tick.
    fn make_room(&mut self, settings: &BlockingSettings) {
        let count = self.standing.len();
        if count >= MANY && count == self.standing.capacity() {
            self.standing.reserve(settings.max_standing.min(MOST_ROOM).saturating_sub(count));
        }
    }

    fn stand(&mut self, target: Target, standing: Standing) {
        self.ends.add(standing.until, target);
        if let Target::Source(source) = target {
            self.unsettled.insert(source);
            self.blocked_at.add(standing.since, target);
        }
        self.standing.insert(target, standing);
    }

    fn lift(&mut self, target: &Target) -> Option<Standing> {
        self.settle(target);
        self.standing.remove(target)
    }

    fn settle(&mut self, target: &Target) {
        if let Target::Source(source) = target {
            self.unsettled.remove(source);
        }
    }

    /// A block that ends soon and is not the agent's any more is not renewed: somebody lifted it, or put
    /// another in its place.
    fn yield_to_others(&mut self, hits: &[(Target, u64)], now: Timestamp) {
        let own: FxHashSet<Target> = hits.iter().map(|(target, _)| *target).collect();
        for target in self.due(now) {
            if !own.contains(&target) {
                self.lift(&target);
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "dropped packets of five seconds are far below 2^52")]
    fn renew(
        &mut self,
        hits: &[(Target, u64)],
        allowed: &AllowList,
        now: Timestamp,
        settings: &BlockingSettings,
        changes: &mut Changes,
    ) {
        for (target, hits) in hits {
            let Some(standing) = self.standing.get_mut(target) else {
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
            if rate < f64::from(settings.renewal_packets_per_second)
                || allowed.relation_to(target) != Relation::Apart
            {
                continue;
            }
            if changes.blocks.len() >= settings.max_per_tick {
                changes.capped += 1;
                continue;
            }
            let duration = (standing.duration * 2).min(settings.max_duration);
            let until = now + duration;
            self.stand(*target, Standing { since: now, is_lifted: false, until, duration, hits: None });
            changes.blocks.push(Block { target: *target, until, is_renewal: true });
        }
    }

    fn release(&mut self, now: Timestamp, settings: &BlockingSettings, changes: &mut Changes) {
        if let Some(last) = now.ago(settings.max_duration + Duration::from_nanos(1)) {
            for (ended, target) in self.past_ends.take_due(last) {
                if self.past.get(&target).is_some_and(|past| past.ended == ended) {
                    self.past.remove(&target);
                }
            }
        }
        let mut ended = self.ends.take_due(now);
        ended.retain(|(end, target)| self.ends_at(target, *end));
        ended.sort_unstable_by_key(|(_, target)| *target);
        ended.dedup();
        for (_, target) in ended {
            if let Some(standing) = self.lift(&target) {
                self.past.insert(target, Past { duration: standing.duration, ended: standing.until });
                self.past_ends.add(standing.until, target);
                changes.released.push(target);
            }
        }
    }

    /// Forgets blocks that could not be written, so that the next verdict asks for them again.
    pub fn forget(&mut self, blocks: &[Block]) {
        for block in blocks {
            self.lift(&block.target);
        }
    }

    /// Sources that were blocked since a moment, or so lately before it that they may have been counted since, before
    /// the block took effect. The moment is never earlier than at the call before.
    pub fn just_blocked(&mut self, since: Timestamp) -> &FxHashSet<Source> {
        let settled = since.ago(SETTLED_AFTER).map(|settled| self.blocked_at.take_due(settled));
        for (at, target) in settled.into_iter().flatten() {
            if self.standing.get(&target).is_some_and(|standing| standing.since == at) {
                self.settle(&target);
            }
        }
        &self.unsettled
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
        let source = Target::Source(source);
        blocklist.adopt([(source, start + Duration::from_secs(3))], settings);
        for (seconds, hits) in [(0, 0), (2, 2_000)] {
            let now = start + Duration::from_secs(seconds);
            assert_eq!(blocklist.due(now), [source]);
            let changes = blocklist.update(&mut Vec::new(), &[(source, hits)], allowed, now, settings);
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
    fn a_block_that_somebody_lifted_is_left_alone_and_said_once() {
        let source = Source::from_v4_bytes([192, 0, 2, 7]);
        let verdict = Verdict {
            subject: Subject::Target(Target::Source(source)),
            vector: crate::pipeline::vectors::Vector::UdpFlood,
            decision: Decision::Block,
            limits: Vec::new(),
            since: Timestamp::default(),
            evidence: crate::pipeline::verdict::Evidence::default(),
        };
        let settings = BlockingSettings { duration: Duration::from_secs(40), ..BlockingSettings::default() };
        let mut blocklist = Blocklist::default();
        let mut said = Vec::new();
        for tick in 0..200_u64 {
            let now = Timestamp::from_ns(1_000_000_000 + tick * 250_000_000);
            let mut verdicts = vec![verdict.clone()];
            // Its entry is gone, so nothing is known of its drops.
            let changes = blocklist.update(&mut verdicts, &[], &AllowList::default(), now, &settings);
            said.extend(verdicts.iter().map(|verdict| (tick, verdict.decision, changes.blocks.len())));
        }
        let expected = [
            (0, Decision::Block, 1),
            (4, Decision::Observe, 0),
            (124, Decision::Observe, 0),
            // A moment before its end it is forgotten, and the source may be blocked again.
            (140, Decision::Block, 1),
            (144, Decision::Observe, 0),
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn what_was_lifted_under_an_earlier_agent_is_left_alone_to_its_end() {
        let settings = BlockingSettings::default();
        let verdict = |last| Verdict {
            subject: Subject::Target(Target::Source(Source::from_v4_bytes([192, 0, 2, last]))),
            vector: crate::pipeline::vectors::Vector::UdpFlood,
            decision: Decision::Block,
            limits: Vec::new(),
            since: Timestamp::default(),
            evidence: crate::pipeline::verdict::Evidence::default(),
        };
        let target = |last| Target::Source(Source::from_v4_bytes([192, 0, 2, last]));
        let at = |seconds: u64| Timestamp::from_ns(seconds * 1_000_000_000);
        let mut blocklist = Blocklist::default();
        blocklist.adopt([(target(8), at(500))], &settings);
        blocklist.leave_alone([(target(7), at(160)), (target(8), at(160))], &settings);
        for (seconds, expected) in
            [(100, [Decision::Observe, Decision::Block]), (161, [Decision::Block, Decision::Observe])]
        {
            let mut verdicts = vec![verdict(7), verdict(9)];
            blocklist.update(&mut verdicts, &[], &AllowList::default(), at(seconds), &settings);
            let decisions: Vec<Decision> = verdicts.iter().map(|verdict| verdict.decision).collect();
            assert_eq!(decisions, expected, "{seconds} s");
        }
        assert_eq!(blocklist.due(at(499)), [target(8)], "a block that stands keeps its own end");
    }

    #[test]
    fn a_cap_is_an_alarm_once_in_a_while() {
        let settings = BlockingSettings { max_per_tick: 0, ..BlockingSettings::default() };
        let mut blocklist = Blocklist::default();
        let alarms = (0..400_u64).filter(|tick| {
            let now = Timestamp::from_ns(tick * 250_000_000);
            let mut verdicts = vec![Verdict {
                subject: Subject::Target(Target::Source(Source::from_v4_bytes([192, 0, 2, 7]))),
                vector: crate::pipeline::vectors::Vector::UdpFlood,
                decision: Decision::Block,
                limits: Vec::new(),
                since: Timestamp::default(),
                evidence: crate::pipeline::verdict::Evidence::default(),
            }];
            let changes = blocklist.update(&mut verdicts, &[], &AllowList::default(), now, &settings);
            assert_eq!(changes.capped, verdicts.len());
            changes.capped > 0
        });
        assert_eq!(alarms.count(), 4);
    }

    #[test]
    fn renewals_count_against_the_cap_of_a_tick() {
        let settings = BlockingSettings { max_per_tick: 0, ..BlockingSettings::default() };
        let changes = renewal(&AllowList::default(), &settings);
        assert_eq!((changes.blocks.len(), changes.capped), (0, 1));
    }
}
