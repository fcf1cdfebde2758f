//! Replays a capture through the control loop, in the capture's time.
//!
//! Ticks come when the capture's clock says so, before the packet that moved it. A clock that stands
//! still or goes back is held; a gap is skipped, not ticked through; a coarse clock makes longer ticks.
//! Nothing here depends on the machine's clock or on chance, so the same capture gives the same report.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::Result;
use mitigator_common::{AllowReason, Outcome, PrefixKey, Source};
use mitigator_ebpf::packet::Direction;

use crate::capture::{Capture, CapturedPacket, ClockFault, Damage, TimeOrder};
use crate::config::Config;
use crate::control_loop::ControlLoop;
use crate::flows::FlowPacket;
use crate::kernel::replay::{AddressTotals, ReplayDataPlane};
use crate::opinion::{Completeness, Opinions};
use crate::pipeline::allowlist::{AllowList, host_of};
use crate::pipeline::asked::Asked;
use crate::pipeline::snapshot::OutcomeTotals;
use crate::pipeline::time::{Timestamp, WallClock};
use crate::pipeline::vectors::Vector;
use crate::pipeline::verdict::Verdict;

/// A pause of the capture that is not ticked through.
const GAP: Duration = Duration::from_secs(10);
/// The coarsest clock that is believed; what moves even less often is taken to stand still.
const COARSEST_STEP_NS: u64 = 1_000_000_000;
/// Steps of the clock below this do not matter to a rate.
const FINE_STEP: Duration = Duration::from_millis(1);

/// Whose arriving packets are judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protected {
    /// Only packets to these addresses, to a multicast group or to everybody arrive.
    Named(Vec<IpAddr>),
    /// The host that the capture is about: everything but its own packets arrives.
    Inferred(IpAddr),
    /// Nobody in particular: every packet arrives.
    Everybody,
}

impl Protected {
    /// Whether an address is that of who is protected.
    #[must_use]
    pub fn is_own(&self, address: IpAddr) -> bool {
        match self {
            Self::Named(victims) => victims.contains(&address),
            Self::Inferred(host) => *host == address,
            Self::Everybody => false,
        }
    }
}

/// What a capture came to.
#[derive(Debug)]
pub struct Replayed {
    /// Packets in the capture.
    pub packets: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
    /// Packets that did not arrive at who is protected.
    pub outgoing_packets: u64,
    /// Of them, those that who is protected sent.
    pub own_packets: u64,
    /// Named addresses that no packet goes to.
    pub absent: Vec<IpAddr>,
    /// From the first to the last packet.
    pub duration: Duration,
    /// Every verdict with the time since the first packet.
    pub verdicts: Vec<(Timestamp, Verdict)>,
    /// What became of the packets that arrived.
    pub outcomes: OutcomeTotals,
    /// Per full address, sorted.
    pub addresses: Vec<(IpAddr, AddressTotals)>,
    /// Packets of addresses that there was no room to tell apart.
    pub unlisted_packets: u64,
    /// Highest total per vector in any tick, in the order of [`Vector::ALL`], packets/s.
    pub peaks: Vec<f64>,
    /// Of those that were asked about, how close they came to a verdict.
    pub asked: Asked,
    /// What is wrong with the time stamps.
    pub clock_fault: Option<ClockFault>,
    /// Where reading stopped early.
    pub damage: Option<Damage>,
}

/// What happens during a replay, told in its order.
#[derive(Debug)]
pub enum Event<'run> {
    /// A packet arrived at who is protected.
    Arrived(Arrival),
    /// A tick ended with a verdict, at this time since the first packet.
    Judged(Timestamp, &'run Verdict),
}

/// One packet that arrived, and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Since the first packet; never before that of an earlier one.
    pub at: Timestamp,
    /// Who sent it; `None` when it could not be parsed.
    pub source: Option<IpAddr>,
    /// As Ethernet would count it.
    pub wire_bytes: u32,
    /// Its fate.
    pub outcome: Outcome,
}

/// Replays a capture to its end, or to where it is damaged; `progress` hears the packets so far.
///
/// # Errors
///
/// When a tick fails, which in replay it never should.
pub fn replay(
    capture: Capture,
    protected: &Protected,
    config: &Config,
    progress: impl FnMut(u64),
) -> Result<Replayed> {
    replay_watched(capture, protected, config, progress, |_| {})
}

/// As [`replay`]; `watch` hears of every packet that arrives and of every verdict.
///
/// # Errors
///
/// When a tick fails, which in replay it never should.
pub fn replay_watched(
    capture: Capture,
    protected: &Protected,
    config: &Config,
    progress: impl FnMut(u64),
    watch: impl FnMut(Event<'_>),
) -> Result<Replayed> {
    replay_asked(capture, protected, config, Questions::default(), progress, watch)
}

/// What is asked beside what is decided; it changes no decision.
#[derive(Debug, Default)]
pub struct Questions {
    /// How close these sources came to a verdict.
    pub asked: Vec<Source>,
    /// Who is asked for a second opinion on verdicts.
    pub opinions: Option<Opinions>,
}

/// As [`replay_watched`]; answers `questions`, too.
///
/// # Errors
///
/// When a tick fails, which in replay it never should.
pub fn replay_asked(
    mut capture: Capture,
    protected: &Protected,
    config: &Config,
    questions: Questions,
    mut progress: impl FnMut(u64),
    watch: impl FnMut(Event<'_>),
) -> Result<Replayed> {
    let mut run = Replay::new(protected, config, watch);
    run.control.ask(&questions.asked);
    run.opinions = questions.opinions;
    let damage = loop {
        match capture.next_packet() {
            Ok(Some(packet)) => run.take(&packet)?,
            Ok(None) => break None,
            Err(damage) => break Some(damage),
        }
        if run.packets.is_multiple_of(65_536) {
            progress(run.packets);
        }
    };
    run.finish(damage)
}

/// A replay that is under way: packets are handed to it one by one, in the order of the capture.
pub struct Replay<W> {
    watch: W,
    protected: Protected,
    control: ControlLoop<ReplayDataPlane>,
    opinions: Option<Opinions>,
    order: TimeOrder,
    first_ns: Option<u64>,
    /// Latest time seen, since the first packet.
    now: Timestamp,
    last_tick: Timestamp,
    /// From the last tick to the next.
    pause: Duration,
    /// Largest power of ten, at most [`COARSEST_STEP_NS`], of which every time is a multiple.
    step_ns: u64,
    arrived_since_tick: bool,
    packets: u64,
    bytes: u64,
    outgoing_packets: u64,
    own_packets: u64,
    absent: Vec<IpAddr>,
    verdicts: Vec<(Timestamp, Verdict)>,
    peaks: Vec<f64>,
}

impl<W: FnMut(Event<'_>)> Replay<W> {
    /// Nothing has arrived yet; `watch` hears of every packet that arrives and of every verdict.
    pub fn new(protected: &Protected, config: &Config, watch: W) -> Self {
        let own = match protected {
            Protected::Named(addresses) => addresses.clone(),
            Protected::Inferred(address) => vec![*address],
            Protected::Everybody => Vec::new(),
        };
        let own = own.into_iter().map(|address| (host_of(address), AllowReason::LocalAddress));
        let configured = config.allow.iter().map(|prefix| {
            (PrefixKey::new(prefix.network(), prefix.prefix_len()), AllowReason::Configuration)
        });
        let allowed = AllowList::new(own.chain(configured).collect());
        let capacity = usize::try_from(config.capacities.sources).unwrap_or(usize::MAX);
        let plane = ReplayDataPlane::new(capacity, allowed);
        Self {
            watch,
            protected: protected.clone(),
            control: ControlLoop::new(
                plane,
                config.interval,
                config.detection.clone(),
                config.blocking.clone(),
            ),
            opinions: None,
            order: TimeOrder::default(),
            first_ns: None,
            now: Timestamp::default(),
            last_tick: Timestamp::default(),
            pause: config.interval,
            step_ns: COARSEST_STEP_NS,
            arrived_since_tick: false,
            packets: 0,
            bytes: 0,
            outgoing_packets: 0,
            own_packets: 0,
            absent: match protected {
                Protected::Named(addresses) => addresses.clone(),
                Protected::Inferred(_) | Protected::Everybody => Vec::new(),
            },
            verdicts: Vec::new(),
            peaks: vec![0.0; Vector::ALL.len()],
        }
    }

    /// Takes the next packet, after the ticks that are due before it.
    ///
    /// # Errors
    ///
    /// When a tick fails, which in replay it never should.
    pub fn take(&mut self, captured: &CapturedPacket<'_>) -> Result<()> {
        self.order.take(captured.at_ns);
        if self.first_ns.is_none() {
            self.first_ns = Some(captured.at_ns);
            self.control.set_wall_clock(Some(WallClock { zero_unix_ns: captured.at_ns }));
            self.control.tick(Timestamp::default())?;
        }
        while !captured.at_ns.is_multiple_of(self.step_ns) {
            self.step_ns /= 10;
        }
        let since_first = captured.at_ns.saturating_sub(self.first_ns.unwrap_or(captured.at_ns));
        self.now = self.now.max(Timestamp::from_ns(since_first));
        self.catch_up()?;
        self.packets += 1;
        self.bytes += u64::from(captured.wire_bytes);
        let packet = captured.parse(Direction::Arriving);
        let from = packet.ok().map(|packet| IpAddr::from(packet.address));
        let to = captured.destination().map(|to| to.to_canonical());
        self.absent.retain(|victim| Some(*victim) != to);
        let is_own = from.is_some_and(|from| self.protected.is_own(from));
        let is_arriving = match &self.protected {
            Protected::Named(victims) => {
                to.is_some_and(|to| victims.contains(&to) || is_for_everybody(to) && !is_own)
            }
            Protected::Inferred(_) | Protected::Everybody => !is_own,
        };
        if is_arriving {
            let outcome = self.control.plane().arrive(&packet, u64::from(captured.wire_bytes), self.now);
            if !outcome.is_drop() && !outcome.is_answer() {
                self.overhear(captured);
            }
            self.arrived_since_tick = true;
            (self.watch)(Event::Arrived(Arrival {
                at: self.now,
                source: packet.as_ref().ok().map(|packet| packet.address.into()),
                wire_bytes: captured.wire_bytes,
                outcome,
            }));
        } else {
            self.outgoing_packets += 1;
            self.own_packets += u64::from(is_own);
            if is_own {
                self.overhear(captured);
            }
        }
        // Between hosts of which none is protected, each packet arrives at one side and leaves the other.
        let is_leaving = is_own || self.protected == Protected::Everybody;
        if is_leaving && let Ok(packet) = captured.parse(Direction::Leaving) {
            self.control.plane().leave(&packet, self.now);
        }
        Ok(())
    }

    /// Takes in what a live agent would hear, behind the filter.
    fn overhear(&mut self, captured: &CapturedPacket<'_>) {
        if let Some(opinions) = &mut self.opinions
            && let Ok(packet) = FlowPacket::read(captured)
        {
            opinions.take(packet);
        }
    }

    /// Ticks that are due before the packet at `self.now`.
    fn catch_up(&mut self) -> Result<()> {
        loop {
            let mut due = self.last_tick + self.in_whole_steps(self.pause);
            // At the end of what can be counted, time stands still.
            if self.now < due || due <= self.last_tick {
                return Ok(());
            }
            let is_idle = !self.arrived_since_tick && !self.control.is_watching();
            if is_idle && self.now.since(due) > GAP {
                due = self.now;
            }
            self.tick(due)?;
        }
    }

    fn tick(&mut self, at: Timestamp) -> Result<()> {
        let mut tick = self.control.tick(at)?;
        if let Some(opinions) = &self.opinions {
            opinions.join(&mut tick.verdicts, Completeness::WHOLE);
        }
        (self.last_tick, self.pause) = (at, tick.next_in);
        self.arrived_since_tick = false;
        for verdict in &tick.verdicts {
            (self.watch)(Event::Judged(at, verdict));
            self.verdicts.push((at, verdict.clone()));
        }
        for (peak, total) in self.peaks.iter_mut().zip(&tick.totals) {
            *peak = peak.max(*total);
        }
        Ok(())
    }

    /// Within one step of a coarse clock everything seems to happen at once, which is no rate, so a tick
    /// never ends within one. Zero for a fine clock.
    fn coarse_step(&self) -> Duration {
        let step = Duration::from_nanos(self.step_ns);
        if step < FINE_STEP { Duration::ZERO } else { step }
    }

    fn in_whole_steps(&self, pause: Duration) -> Duration {
        let step = self.coarse_step();
        if step.is_zero() {
            return pause;
        }
        step * u32::try_from(pause.as_nanos().div_ceil(step.as_nanos())).unwrap_or(u32::MAX)
    }

    /// The verdicts since this was asked last, with their time since the first packet. What is taken is not told again
    /// at the end, so that a stream without end takes no more memory for each.
    pub fn take_verdicts(&mut self) -> Vec<(Timestamp, Verdict)> {
        std::mem::take(&mut self.verdicts)
    }

    /// What it came to, after the last packet or where the capture is damaged.
    ///
    /// # Errors
    ///
    /// When a tick fails, which in replay it never should.
    pub fn finish(mut self, damage: Option<Damage>) -> Result<Replayed> {
        if self.arrived_since_tick {
            // A clock that never moved has no steps.
            let has_steps = self.now > Timestamp::default();
            let rest = if has_steps { self.coarse_step() } else { Duration::ZERO };
            self.tick(self.now + rest)?;
        }
        let asked = self.control.asked().clone();
        let plane = self.control.plane();
        Ok(Replayed {
            asked,
            packets: self.packets,
            bytes: self.bytes,
            outgoing_packets: self.outgoing_packets,
            own_packets: self.own_packets,
            absent: self.absent,
            duration: self.now.since(Timestamp::default()),
            outcomes: plane.outcomes(),
            addresses: plane.addresses(),
            unlisted_packets: plane.unlisted_packets(),
            verdicts: self.verdicts,
            peaks: self.peaks,
            clock_fault: self.order.fault(),
            damage,
        })
    }
}

fn is_for_everybody(destination: IpAddr) -> bool {
    destination.is_multicast() || destination == IpAddr::V4(Ipv4Addr::BROADCAST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::PcapWriter;
    use crate::pipeline::verdict::Decision;
    use std::io::Cursor;

    const SECOND: u64 = 1_000_000_000;

    /// A UDP packet from 192.0.2.`last` to 198.51.100.1.
    fn udp(last: u8) -> Vec<u8> {
        let mut packet = vec![0_u8; 60];
        packet[12..14].copy_from_slice(&[0x08, 0]);
        packet[14..24].copy_from_slice(&[0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17]);
        packet[26..34].copy_from_slice(&[192, 0, 2, last, 198, 51, 100, 1]);
        packet[34..40].copy_from_slice(&[0x9c, 0x40, 0, 9, 0, 26]);
        packet
    }

    fn capture(packets: &[(u64, u8)]) -> Capture {
        let mut writer = PcapWriter::new(Vec::new()).unwrap();
        for (at_ns, last) in packets {
            writer.write(*at_ns, &udp(*last)).unwrap();
        }
        Capture::from_reader(Cursor::new(writer.finish().unwrap()), "test").unwrap()
    }

    /// The same packet to another address.
    fn to(destination: [u8; 4], mut packet: Vec<u8>) -> Vec<u8> {
        packet[30..34].copy_from_slice(&destination);
        packet
    }

    fn replayed(packets: &[(u64, u8)]) -> Replayed {
        replay(capture(packets), &Protected::Everybody, &Config::default(), |_| {}).unwrap()
    }

    /// 40 visitors with 20 packets/s for three seconds; from second 1 on, `attackers` with 3,000 each.
    fn scene(attackers: u8) -> Vec<(u64, u8)> {
        let visitors = (0..60_u64).flat_map(|round| (0..40_u8).map(move |last| (round * SECOND / 20, last)));
        let loud = (0..6_000_u64)
            .flat_map(|round| (0..attackers).map(move |last| (SECOND + round * SECOND / 3_000, 100 + last)));
        let mut packets: Vec<_> = visitors.chain(loud).collect();
        packets.sort_unstable();
        packets
    }

    fn blocked(replayed: &Replayed) -> Vec<IpAddr> {
        let is_blocked = |(_, totals): &&(IpAddr, AddressTotals)| totals.blocked_at.is_some();
        replayed.addresses.iter().filter(is_blocked).map(|(address, _)| *address).collect()
    }

    #[test]
    fn blocks_the_attackers_and_nobody_else() {
        let flood = replayed(&scene(60));
        let expected: Vec<IpAddr> = (100..160).map(|last| IpAddr::from([192, 0, 2, last])).collect();
        assert_eq!(blocked(&flood), expected);
        let first = flood.verdicts.first().map(|(at, _)| *at).unwrap();
        assert!(first.ns <= SECOND + SECOND / 2, "{first:?}");
        assert_eq!(flood.outcomes.iter().sum::<u64>(), flood.packets);

        let quiet = replayed(&scene(0));
        assert!(quiet.verdicts.is_empty(), "{:?}", quiet.verdicts);
    }

    #[test]
    fn who_watches_hears_of_every_arrival_and_verdict_in_order() {
        let (mut arrivals, mut verdicts, mut dropped_before) = (Vec::new(), 0, 0);
        let replayed = replay_watched(
            capture(&scene(60)),
            &Protected::Everybody,
            &Config::default(),
            |_| {},
            |event| match event {
                Event::Arrived(arrival) => {
                    dropped_before += u32::from(verdicts == 0 && arrival.outcome.is_drop());
                    arrivals.push(arrival);
                }
                Event::Judged(..) => verdicts += 1,
            },
        )
        .unwrap();
        assert_eq!((arrivals.len() as u64, verdicts), (replayed.packets, replayed.verdicts.len()));
        assert!(arrivals.is_sorted_by_key(|arrival| arrival.at));
        let dropped = arrivals.iter().filter(|arrival| arrival.outcome.is_drop()).count() as u64;
        let totals: u64 = replayed.addresses.iter().map(|(_, totals)| totals.dropped).sum();
        assert_eq!((dropped, dropped_before), (totals, 0));
        assert!(dropped > 0);
    }

    #[test]
    fn equal_captures_give_equal_reports() {
        let shown = |replayed: &Replayed| {
            serde_json::to_string(&replayed.verdicts.iter().map(|(_, verdict)| verdict).collect::<Vec<_>>())
                .unwrap()
        };
        assert_eq!(shown(&replayed(&scene(60))), shown(&replayed(&scene(60))));
    }

    #[test]
    fn a_coarse_clock_does_not_make_a_flood_of_a_busy_client() {
        // 900 packets/s of each of seven clients are a little over the floor of all, and under that of one.
        for (description, step) in [("nanoseconds", 1), ("tenths", SECOND / 10), ("seconds", SECOND)] {
            let at = |number: u64| number * SECOND / 900 / step * step;
            let packets: Vec<_> =
                (0..9_000).flat_map(|number| (1..8).map(move |last| (at(number), last))).collect();
            let replayed = replayed(&packets);
            assert_eq!(blocked(&replayed), Vec::<IpAddr>::new(), "{description}");
            let peak = replayed.peaks.iter().copied().fold(0.0, f64::max);
            assert!((6_000.0..7_200.0).contains(&peak), "{description}: {peak} packets/s at the peak");
        }
    }

    #[test]
    fn what_arrives_follows_from_who_is_protected() {
        let mut writer = PcapWriter::new(Vec::new()).unwrap();
        for packet in [
            udp(1),
            to([192, 0, 2, 1], udp(2)),
            to([255, 255, 255, 255], udp(2)),
            to([224, 0, 0, 251], udp(1)),
            vec![0; 60],
        ] {
            writer.write(0, &packet).unwrap();
        }
        let bytes = writer.finish().unwrap();
        let one = IpAddr::from([192, 0, 2, 1]);
        let (other, nobody) = (IpAddr::from([198, 51, 100, 1]), IpAddr::from([198, 51, 100, 9]));
        for (protected, arrived, own, absent) in [
            (Protected::Everybody, 5, 0, None),
            (Protected::Inferred(one), 3, 2, None),
            (Protected::Named(vec![one]), 2, 2, None),
            (Protected::Named(vec![one, other]), 3, 1, None),
            (Protected::Named(vec![nobody, one]), 2, 2, Some(nobody)),
            (Protected::Named(vec![nobody]), 2, 0, Some(nobody)),
        ] {
            let capture = Capture::from_reader(Cursor::new(bytes.clone()), "test").unwrap();
            let replayed = replay(capture, &protected, &Config::default(), |_| {}).unwrap();
            assert_eq!(replayed.outcomes.iter().sum::<u64>(), arrived, "{protected:?}");
            assert_eq!(
                (replayed.outgoing_packets, replayed.own_packets),
                (5 - arrived, own),
                "{protected:?}"
            );
            assert_eq!(replayed.absent, Vec::from_iter(absent), "{protected:?}");
        }
    }

    #[test]
    fn a_long_and_quiet_capture_with_many_sources_costs_little() {
        // A tick that looked at every source ever seen would look at a hundred million rows.
        let mut writer = PcapWriter::new(Vec::new()).unwrap();
        for number in 0..100_000_u64 {
            let mut packet = udp(1);
            packet[26..30].copy_from_slice(&u32::try_from(number).unwrap().to_be_bytes());
            writer.write(number * SECOND / 20, &packet).unwrap();
        }
        let capture = Capture::from_reader(Cursor::new(writer.finish().unwrap()), "test").unwrap();
        let replayed = replay(capture, &Protected::Everybody, &Config::default(), |_| {}).unwrap();
        assert_eq!((replayed.addresses.len(), replayed.verdicts.len()), (100_000, 0));
    }

    #[test]
    fn odd_clocks_end_in_a_report_and_block_nobody_by_guess() {
        let year = SECOND * 3_600 * 24 * 365;
        for (description, packets) in [
            ("none", vec![]),
            ("one", vec![(5, 1)]),
            ("all at once", (0..5_000).map(|_| (7, 1)).collect()),
            ("backwards", (0..100).map(|number| (SECOND * (100 - number), 1)).collect()),
            ("years apart", (0..6).map(|number| (year * number, 1)).collect::<Vec<(u64, u8)>>()),
        ] {
            let replayed = replayed(&packets);
            assert_eq!(replayed.packets, packets.len() as u64, "{description}");
            assert!(
                replayed.verdicts.iter().all(|(_, verdict)| verdict.decision == Decision::Observe),
                "{description}"
            );
        }
    }

    /// In microseconds it is past what can be counted in nanoseconds.
    #[test]
    fn the_end_of_time_ends_no_replay() {
        let block = |kind: u32, content: &[u8]| {
            let length = u32::try_from(content.len() + 12).unwrap().to_le_bytes();
            [&kind.to_le_bytes(), &length, content, &length].concat()
        };
        let begin = [0x1a2b_3c4d_u32.to_le_bytes(), [1, 0, 0, 0], [0xff; 4], [0xff; 4]].concat();
        let mut bytes = [block(0x0a0d_0d0a, &begin), block(1, &[1, 0, 0, 0, 0, 0, 0, 0])].concat();
        for half in [0, u32::MAX, u32::MAX] {
            let head = [0, half, half, 60, 60].map(u32::to_le_bytes).concat();
            bytes.extend(block(6, &[head, udp(1)].concat()));
        }
        let capture = Capture::from_reader(Cursor::new(bytes), "test").unwrap();
        let replayed = replay(capture, &Protected::Everybody, &Config::default(), |_| {}).unwrap();
        assert_eq!(replayed.packets, 3);
    }
}
