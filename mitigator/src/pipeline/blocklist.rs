//! The agent's own blocks: turns verdicts into changes, longer for repeaters, renewed while the
//! source goes on, capped with an alarm.

use std::time::Duration;

use mitigator_common::Source;
use rustc_hash::{FxHashMap, FxHashSet};

use super::agenda::Agenda;
use super::allowlist::{AllowList, Relation};
use super::left_alone::LeftAlone;
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
    /// Whose block somebody took back; they count to no cap.
    left_alone: LeftAlone,
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
    /// Whether a block found no room lately.
    is_crowded: bool,
    /// When it was last looked which blocks still stand.
    reviewed: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
struct Standing {
    /// When it was decided.
    since: Timestamp,
    until: Timestamp,
    duration: Duration,
    /// Dropped packets and when they were read.
    hits: Option<(u64, Timestamp)>,
}

impl Standing {
    /// A block of an earlier agent.
    fn adopted(until: Timestamp, settings: &BlockingSettings) -> Self {
        let since = Timestamp::default();
        Self { since, until, duration: settings.duration, hits: None }
    }
}

/// Why a source that attacks again is not blocked.
const LIFTED: &str = "its block was lifted: the source is left alone until it would have ended";

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
/// While there is no room, it is looked this often whether somebody made some: of a quarter of a million blocks that
/// takes a tenth of a second.
const REVIEW_AGAIN: Duration = Duration::from_secs(5);

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

    /// Leaves these targets alone, each until its block would have ended, but no longer than a block may last, because
    /// a wall clock that was wrong once says anything. What is blocked stays so.
    pub fn leave_alone(
        &mut self,
        lifted: impl IntoIterator<Item = (Target, Timestamp)>,
        now: Timestamp,
        settings: &BlockingSettings,
    ) {
        let latest = now + settings.max_duration;
        for (target, until) in lifted {
            if !self.standing.contains_key(&target) {
                self.left_alone.add(target, until.min(latest), None);
            }
        }
    }

    /// Takes it back that these targets are left alone.
    pub fn resume(&mut self, targets: impl IntoIterator<Item = Target>) {
        for target in targets {
            self.left_alone.remove(&target);
            // Whose block was taken back without the agent's noticing.
            self.lift(&target);
        }
    }

    /// Sources whose blocks have to be looked up now, because there is no room for others. A prefix is not among them: to
    /// look up one takes as long as to read all of them.
    pub fn doubtful(&mut self, now: Timestamp) -> Vec<Target> {
        let is_early = self.reviewed.is_some_and(|at| now.since(at) < REVIEW_AGAIN);
        if !self.is_crowded || is_early {
            return Vec::new();
        }
        (self.is_crowded, self.reviewed) = (false, Some(now));
        let is_doubtful = |(target, standing): &(&Target, &Standing)| {
            matches!(target, Target::Source(_))
                && now.since(standing.since) >= SETTLED_AFTER
                && standing.until > now + MEASURED_FOR
        };
        self.standing.iter().filter(is_doubtful).map(|(target, _)| *target).collect()
    }

    /// Leaves alone which of `doubtful` have no block of the agent any more; `own` are those that have.
    pub fn review(&mut self, doubtful: &[Target], own: &[(Target, u64)]) {
        let own: FxHashSet<Target> = own.iter().map(|(target, _)| *target).collect();
        for target in doubtful.iter().filter(|target| !own.contains(target)) {
            if let Some(standing) = self.lift(target) {
                self.left_alone.add(*target, standing.until, None);
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
        if let Some(told) = self.left_alone.told(&target) {
            if told.is_some_and(|at| now.since(at) < REPORT_AGAIN) {
                return Answer::Known;
            }
            *told = Some(now);
            return Answer::Hindered(LIFTED);
        }
        if let Some(standing) = self.standing.get(&target).copied() {
            if now.since(standing.since) < SETTLED_AFTER {
                return Answer::Known;
            }
            self.lift(&target);
            self.left_alone.add(target, standing.until, Some(now));
            return Answer::Hindered(LIFTED);
        }
        self.is_crowded |= self.standing.len() >= settings.max_standing;
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
        self.stand(target, Standing { since: now, until, duration, hits: None });
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
            // Those of a source are counted in 32 bits; few were before when a block was written anew.
            let (half, all) = (u64::from(u32::MAX / 2), u64::from(u32::MAX));
            let has_wrapped = *hits < before && (half..=all).contains(&before);
            let end = if has_wrapped { hits + (1 << 32) } else { *hits };
            let rate = end.saturating_sub(before) as f64 / now.since(measured).as_secs_f64();
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
            self.stand(*target, Standing { since: now, until, duration, hits: None });
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
        self.left_alone.release(now);
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
        renewal_of([0, 2_000], allowed, settings)
    }

    /// The same, with so many dropped packets at first and two seconds later.
    fn renewal_of(hits: [u64; 2], allowed: &AllowList, settings: &BlockingSettings) -> Changes {
        let source = Source::from_v4_bytes([192, 0, 2, 7]);
        let mut blocklist = Blocklist::default();
        let start = Timestamp::from_ns(1_000_000_000);
        let source = Target::Source(source);
        blocklist.adopt([(source, start + Duration::from_secs(3))], settings);
        for (seconds, hits) in [0, 2].into_iter().zip(hits) {
            let now = start + Duration::from_secs(seconds);
            assert_eq!(blocklist.due(now), [source]);
            let changes = blocklist.update(&mut Vec::new(), &[(source, hits)], allowed, now, settings);
            if seconds > 0 {
                return changes;
            }
        }
        Changes::default()
    }

    #[test]
    fn a_block_that_still_drops_is_renewed() {
        for (description, hits, expected) in [
            ("as before", [0, 2_000], 1),
            ("nothing more", [2_000, 2_000], 0),
            ("past the end of 32 bits", [u64::from(u32::MAX) - 1_000, 1_000], 1),
            ("written anew meanwhile", [2_000, 0], 0),
        ] {
            let changes = renewal_of(hits, &AllowList::default(), &BlockingSettings::default());
            assert!(changes.blocks.iter().all(|block| block.is_renewal), "{description}");
            assert_eq!((changes.blocks.len(), changes.capped), (expected, 0), "{description}");
        }
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
            // When it would have ended, the source may be blocked again.
            (160, Decision::Block, 1),
            (164, Decision::Observe, 0),
        ];
        assert_eq!(said, expected);
    }

    fn target(last: u8) -> Target {
        Target::Source(Source::from_v4_bytes([192, 0, 2, last]))
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_ns(seconds * 1_000_000_000)
    }

    /// What becomes, at a time, of verdicts that ask for blocks of these.
    fn decided<const N: usize>(
        blocklist: &mut Blocklist,
        lasts: [u8; N],
        seconds: u64,
        settings: &BlockingSettings,
    ) -> [Decision; N] {
        let mut verdicts: Vec<Verdict> = lasts
            .iter()
            .map(|last| Verdict {
                subject: Subject::Target(target(*last)),
                vector: crate::pipeline::vectors::Vector::UdpFlood,
                decision: Decision::Block,
                limits: Vec::new(),
                since: Timestamp::default(),
                evidence: crate::pipeline::verdict::Evidence::default(),
            })
            .collect();
        blocklist.update(&mut verdicts, &[], &AllowList::default(), at(seconds), settings);
        std::array::from_fn(|index| verdicts[index].decision)
    }

    #[test]
    fn what_was_lifted_under_an_earlier_agent_is_left_alone_to_its_end() {
        use Decision::{Block, Observe};
        let settings = BlockingSettings { max_duration: Duration::from_secs(900), ..Default::default() };
        let mut blocklist = Blocklist::default();
        blocklist.adopt([(target(8), at(500))], &settings);
        let lifted = [(target(7), at(160)), (target(8), at(160)), (target(6), at(10_000_000))];
        blocklist.leave_alone(lifted, at(100), &settings);
        assert_eq!(decided(&mut blocklist, [7, 9], 100, &settings), [Observe, Block]);
        assert_eq!(decided(&mut blocklist, [7, 9], 161, &settings), [Block, Observe]);
        assert_eq!(blocklist.due(at(499)), [target(8)], "a block that stands keeps its own end");
        assert_eq!(decided(&mut blocklist, [6], 999, &settings), [Observe]);
        assert_eq!(decided(&mut blocklist, [6], 1_000, &settings), [Block], "no longer than a block lasts");
    }

    #[test]
    fn who_is_left_alone_takes_nobodys_place() {
        use Decision::{Block, Observe};
        let settings = BlockingSettings { max_standing: 2, ..Default::default() };
        let mut blocklist = Blocklist::default();
        blocklist.leave_alone([(target(1), at(600)), (target(2), at(600))], at(1), &settings);
        assert_eq!(decided(&mut blocklist, [3, 4], 1, &settings), [Block; 2]);
        assert_eq!(decided(&mut blocklist, [5], 2, &settings), [Observe], "full");
        for (seconds, expected) in [(2, &[3, 4][..]), (6, &[]), (7, &[])] {
            let mut doubtful = blocklist.doubtful(at(seconds));
            doubtful.sort_unstable();
            assert_eq!(doubtful, expected.iter().copied().map(target).collect::<Vec<_>>(), "{seconds} s");
            // Somebody took the block of the third back.
            let own: Vec<_> = doubtful.iter().filter(|one| **one != target(3)).map(|one| (*one, 0)).collect();
            blocklist.review(&doubtful, &own);
        }
        assert_eq!(decided(&mut blocklist, [1, 5, 3], 8, &settings), [Observe, Block, Observe]);
    }

    #[test]
    fn who_was_left_alone_by_mistake_may_be_blocked_again() {
        use Decision::{Block, Observe};
        let settings = BlockingSettings::default();
        let mut blocklist = Blocklist::default();
        blocklist.leave_alone([(target(1), at(300))], at(1), &settings);
        blocklist.adopt([(target(2), at(300))], &settings);
        assert_eq!(decided(&mut blocklist, [1], 10, &settings), [Observe]);
        blocklist.resume([target(1), target(2)]);
        assert_eq!(decided(&mut blocklist, [1, 2], 11, &settings), [Block; 2]);
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
