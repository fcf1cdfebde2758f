//! The one file that knows the order of the stages. Live and in replay, a tick is the same.

use std::time::Duration;

use anyhow::Result;
use mitigator_common::Source;

use crate::kernel::DataPlane;
use crate::pipeline::asked::Asked;
use crate::pipeline::baseline::saved::Learned;
use crate::pipeline::blocklist::{Blocklist, Changes};
use crate::pipeline::features;
use crate::pipeline::gates::Gates;
use crate::pipeline::history::{History, Scope};
use crate::pipeline::judge::{Judge, Judgement};
use crate::pipeline::limits::Limits;
use crate::pipeline::settings::{BlockingSettings, DetectionSettings};
use crate::pipeline::target::Target;
use crate::pipeline::time::{Timestamp, WallClock};
use crate::pipeline::vectors::Span;
use crate::pipeline::verdict::Verdict;

/// An interval shorter than this is taken as this long, so that rates stay finite.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(50);
/// After a suspicion the next ticks come this many times as soon, as many of them as fill one interval. The one
/// after them is of full length again, in which slower attackers send enough to be judged by.
const ALERT_FACTOR: u32 = 3;

/// Quiet time after which one's own minutes say more than those of an earlier agent.
const OWN_IS_BETTER: Duration = Duration::from_mins(5);

/// Reads a data plane, decides, and writes the decision back, tick by tick.
#[derive(Debug)]
pub struct ControlLoop<P> {
    plane: P,
    history: History,
    gates: Gates,
    window_gates: Gates,
    judge: Judge,
    blocklist: Blocklist,
    limits: Limits,
    interval: Duration,
    detection: DetectionSettings,
    blocking: BlockingSettings,
    /// Ticks in a row that came sooner.
    hurried: u32,
    /// Quiet time that earlier agents learned in.
    learned_before_s: u64,
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
            gates: Gates::over(Span::Tick),
            window_gates: Gates::over(Span::Window),
            judge: Judge::default(),
            blocklist: Blocklist::default(),
            limits: Limits::default(),
            interval,
            detection,
            blocking,
            hurried: 0,
            learned_before_s: 0,
        }
    }

    /// The data plane.
    pub fn plane(&mut self) -> &mut P {
        &mut self.plane
    }

    /// From now on, remembers how close each of these sources came to a verdict.
    pub fn ask(&mut self, sources: &[Source]) {
        self.gates.ask(sources.to_vec());
        self.window_gates.ask(sources.to_vec());
        self.judge.ask(sources.to_vec());
    }

    /// What is remembered of those that were asked about.
    #[must_use]
    pub const fn asked(&self) -> &Asked {
        self.judge.asked()
    }

    /// Takes over blocks that an earlier agent left.
    pub fn adopt(&mut self, blocks: impl IntoIterator<Item = (Target, Timestamp)>) {
        self.blocklist.adopt(blocks, &self.blocking);
    }

    /// Leaves alone, until each would have ended, what somebody lifted under an earlier agent.
    pub fn leave_alone(&mut self, lifted: impl IntoIterator<Item = (Target, Timestamp)>, now: Timestamp) {
        self.blocklist.leave_alone(lifted, now, &self.blocking);
    }

    /// Takes it back that these targets are left alone.
    pub fn resume(&mut self, targets: impl IntoIterator<Item = Target>) {
        self.blocklist.resume(targets);
    }

    /// Tells the time of day, which shifts what is normal; without, every hour is alike.
    pub const fn set_wall_clock(&mut self, wall_clock: Option<WallClock>) {
        self.gates.set_wall_clock(wall_clock);
        self.window_gates.set_wall_clock(wall_clock);
    }

    /// What was learned to be normal.
    #[must_use]
    pub fn learned(&self) -> Learned {
        let quiet_s = self.learned_before_s + self.gates.quiet().as_secs();
        Learned::new(quiet_s, self.gates.learned(), self.window_gates.learned())
    }

    /// Takes over what an earlier agent learned, unless more was learned since. Who has learned for some minutes keeps
    /// that, and takes over what is usual at each hour alone. Says whether anything was taken over.
    pub fn restore(&mut self, learned: Learned) -> bool {
        let own = self.learned();
        if learned.quiet_s <= own.quiet_s {
            return false;
        }
        let learned = if self.gates.quiet() < OWN_IS_BETTER { learned } else { own.with_weeks_of(learned) };
        self.learned_before_s = learned.quiet_s;
        self.gates.restore(learned.ticks);
        self.window_gates.restore(learned.windows);
        true
    }

    /// How many blocks of the agent stand.
    #[must_use]
    pub fn standing_blocks(&self) -> usize {
        self.blocklist.len()
    }

    /// Whether something is looked at that shows while nothing arrives.
    #[must_use]
    pub fn is_watching(&self) -> bool {
        !self.gates.watched().is_empty()
    }

    /// One tick at `now`.
    ///
    /// # Errors
    ///
    /// When the data plane cannot be read or written; blocks that could not be written are decided
    /// anew in the next tick.
    pub fn tick(&mut self, now: Timestamp) -> Result<Tick> {
        let watched = self.gates.watched();
        // What may fail comes first: changes of the counters are told only once.
        let allowed = self.plane.allow_list()?;
        let doubtful = self.blocklist.doubtful(now);
        let own = self.plane.hits_of(&doubtful)?;
        let hits = self.plane.hits_of(&self.blocklist.due(now))?;
        let snapshot = self.plane.read_counters(now, &watched)?;
        // What still came between the look that led to a block and the block is no new evidence.
        let window_begins = self.history.window_begins().unwrap_or(now);
        let just_blocked = self.blocklist.just_blocked(window_begins.min(now));
        let scope = Scope { watched: &watched, left_out: &[just_blocked] };
        let mut activity = self.history.advance(snapshot, &scope, SHORTEST_INTERVAL);
        let features = features::extract(&activity);
        let alarms = self.gates.check(&activity, &self.detection);
        self.judge.note(&activity, &features, self.gates.looks(), &self.detection);
        let nothing = Judgement::default();
        let mut judgement =
            self.judge.judge(&activity, features, &alarms, &allowed, &self.detection, &nothing);
        self.gates.reuse(alarms);
        // The window's rows find room where these were, which is near at hand.
        self.history.reuse(&mut activity);
        if self.history.is_window_due(self.detection.window) {
            let scope = Scope { left_out: &[just_blocked, &judgement.blocked()], ..Scope::default() };
            if let Some(mut window) = self.history.window(&scope) {
                let features = features::extract(&window);
                let alarms = self.window_gates.check(&window, &self.detection);
                self.judge.note(&window, &features, self.window_gates.looks(), &self.detection);
                judgement.add(self.judge.judge(
                    &window,
                    features,
                    &alarms,
                    &allowed,
                    &self.detection,
                    &judgement,
                ));
                self.window_gates.reuse(alarms);
                self.history.reuse(&mut window);
            }
        }
        for vector in judgement.attacks() {
            self.gates.note_verdict(vector, now);
            self.window_gates.note_verdict(vector, now);
        }
        self.blocklist.review(&doubtful, &own);
        let mut verdicts = judgement.verdicts;
        let mut changes = self.blocklist.update(&mut verdicts, &hits, &allowed, now, &self.blocking);
        changes.limits = self.limits.update(&verdicts, &activity.limited, now, &self.blocking);
        let hurries = judgement.is_suspicious && self.hurried < ALERT_FACTOR;
        self.hurried = if hurries { self.hurried + 1 } else { 0 };
        if let Err(error) = self.plane.apply(now, &changes) {
            self.blocklist.forget(&changes.blocks);
            self.limits.forget(&changes.limits);
            return Err(error);
        }
        self.judge.forget_blocked(&verdicts);
        for block in &changes.blocks {
            if let Target::Source(source) = block.target {
                self.gates.forget(source);
            }
        }
        for Verdict { vector, evidence, .. } in verdicts.iter().filter(|verdict| verdict.is_block()) {
            self.gates.note_block(*vector, evidence.case.service, evidence.measured(), now);
        }
        let tick = Tick {
            at: now,
            interval: activity.interval,
            active_sources: activity.active_sources,
            packets: activity.packets(),
            dropped_packets: activity.dropped_packets(),
            totals: self.gates.totals().to_vec(),
            verdicts,
            changes,
            next_in: if hurries {
                (self.interval / ALERT_FACTOR).max(SHORTEST_INTERVAL)
            } else {
                self.interval
            },
        };
        Ok(tick)
    }
}

#[cfg(test)]
mod tests {
    use mitigator_common::SourceCounters;

    use super::*;
    use crate::pipeline::allowlist::AllowList;
    use crate::pipeline::snapshot::Snapshot;

    /// Sources that send SYN packets at an even pace, forever.
    struct Steady {
        per_second: u64,
        blocked: usize,
    }

    impl DataPlane for Steady {
        fn read_counters(&mut self, now: Timestamp, _watched: &[Source]) -> Result<Snapshot> {
            let packets = now.ns * self.per_second / 1_000_000_000;
            let row = SourceCounters {
                packets,
                bytes: packets * 60,
                tcp_syn_packets: u32::try_from(packets)?,
                ..SourceCounters::EMPTY
            };
            let rows = (0..60).map(|last| (Source::from_v4_bytes([192, 0, 2, last]), row)).collect();
            Ok(Snapshot { at: now, rows, ..Snapshot::default() })
        }

        fn allow_list(&mut self) -> Result<AllowList> {
            Ok(AllowList::default())
        }

        fn hits_of(&mut self, _targets: &[Target]) -> Result<Vec<(Target, u64)>> {
            Ok(Vec::new())
        }

        fn apply(&mut self, _now: Timestamp, changes: &Changes) -> Result<()> {
            self.blocked += changes.blocks.len();
            Ok(())
        }
    }

    #[test]
    fn haste_overlooks_nobody_and_makes_nobody_louder() {
        for (per_second, interval_ms, expected) in [
            (60, 250, 60),
            (100, 250, 60),
            (5_000, 250, 60),
            (100, 60, 60),
            (400, 60, 60),
            (40, 60, 0),
            (40, 250, 0),
        ] {
            let mut control = ControlLoop::new(
                Steady { per_second, blocked: 0 },
                Duration::from_millis(interval_ms),
                DetectionSettings::default(),
                BlockingSettings::default(),
            );
            let mut now = Timestamp::from_ns(1_000_000_000);
            while now.ns < 3_000_000_000 {
                let tick = control.tick(now).unwrap();
                assert!(tick.next_in >= SHORTEST_INTERVAL);
                now = now + tick.next_in;
            }
            assert_eq!(control.plane().blocked, expected, "{per_second}/s, a tick each {interval_ms} ms");
        }
    }

    /// A source that pings at an even pace, which alarms nobody.
    struct Pings {
        per_second: u64,
    }

    impl DataPlane for Pings {
        fn read_counters(&mut self, now: Timestamp, _watched: &[Source]) -> Result<Snapshot> {
            let packets = now.ns * self.per_second / 1_000_000_000;
            let row = SourceCounters {
                packets,
                bytes: packets * 98,
                icmp_packets: u32::try_from(packets)?,
                ..SourceCounters::EMPTY
            };
            let rows = vec![(Source::from_v4_bytes([192, 0, 2, 7]), row)];
            Ok(Snapshot { at: now, rows, ..Snapshot::default() })
        }

        fn allow_list(&mut self) -> Result<AllowList> {
            Ok(AllowList::default())
        }

        fn hits_of(&mut self, _targets: &[Target]) -> Result<Vec<(Target, u64)>> {
            Ok(Vec::new())
        }

        fn apply(&mut self, _now: Timestamp, _changes: &Changes) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_remembered_late_does_not_replace_what_was_learned_meanwhile() {
        for (minutes, expected) in [(4, 2.0), (6, 10.0)] {
            let agent = |per_second, minutes: u64| {
                let mut control = ControlLoop::new(
                    Pings { per_second },
                    Duration::from_secs(10),
                    DetectionSettings::default(),
                    BlockingSettings::default(),
                );
                for tick in 0..=minutes * 6 {
                    control.tick(Timestamp::from_ns(1_000_000_000 + tick * 10_000_000_000)).unwrap();
                }
                control
            };
            let earlier = agent(2, 60).learned();
            let mut control = agent(10, minutes);
            assert!(control.restore(earlier.clone()), "{minutes} minutes");
            let learned = control.learned();
            let normal = learned.ticks.get("icmp-flood").unwrap().total.normal(None).unwrap();
            assert!((normal.median - expected).abs() < 1.0, "{minutes} minutes: {normal:?}");
            assert!(learned.quiet_s > earlier.quiet_s, "{minutes} minutes");
            assert!(!control.restore(earlier), "more was learned since");
        }
    }

    /// Sources that send UDP from the second second on, each until a little after it is blocked, to a host that is
    /// heard.
    #[derive(Default)]
    struct UntilBlocked {
        blocked_at: Option<Timestamp>,
        limits: usize,
    }

    impl UntilBlocked {
        const BEGIN: Timestamp = Timestamp::from_ns(2_100_000_000);
    }

    impl DataPlane for UntilBlocked {
        fn read_counters(&mut self, now: Timestamp, _watched: &[Source]) -> Result<Snapshot> {
            let until = self.blocked_at.map_or(now.ns, |blocked_at| blocked_at.ns.min(now.ns));
            let packets = until.saturating_sub(Self::BEGIN.ns) * 5_000 / 1_000_000_000;
            let row = SourceCounters {
                packets,
                bytes: packets * 106,
                udp_packets: u32::try_from(packets)?,
                first_seen_ns: Self::BEGIN.ns,
                last_seen_ns: until,
                ..SourceCounters::EMPTY
            };
            let answered = SourceCounters { packets: 10, sent_packets: 10, ..SourceCounters::EMPTY };
            let mut rows = vec![(Source::from_v4_bytes([198, 51, 100, 1]), answered)];
            if packets > 0 {
                rows.extend((0..60).map(|last| (Source::from_v4_bytes([192, 0, 2, last]), row)));
            }
            Ok(Snapshot { at: now, rows, ..Snapshot::default() })
        }

        fn allow_list(&mut self) -> Result<AllowList> {
            Ok(AllowList::default())
        }

        fn hits_of(&mut self, _targets: &[Target]) -> Result<Vec<(Target, u64)>> {
            Ok(Vec::new())
        }

        fn apply(&mut self, now: Timestamp, changes: &Changes) -> Result<()> {
            if changes.blocks.len() == 60 {
                self.blocked_at = Some(now + Duration::from_millis(5));
            }
            self.limits += changes.limits.written.len();
            Ok(())
        }
    }

    #[test]
    fn who_is_blocked_early_in_the_window_does_not_look_light_at_its_end() {
        let mut control = ControlLoop::new(
            UntilBlocked::default(),
            Duration::from_millis(250),
            DetectionSettings::default(),
            BlockingSettings::default(),
        );
        let mut now = Timestamp::from_ns(10_000_000);
        while now.ns < 8_000_000_000 {
            now = now + control.tick(now).unwrap().next_in;
        }
        assert!(control.plane().blocked_at.is_some());
        assert_eq!(control.plane().limits, 0);
    }
}
