//! `FlowTable`: the flows that have not ended, and when each does. Packets go in, in the order of the capture; flows come
//! out as they end, so that memory goes by the live ones.

use std::collections::hash_map::RandomState;
use std::time::Duration;

use hashlink::LinkedHashMap;
use mitigator_ebpf::packet::flags;

use super::flow::{Direction, Endpoint, Flow, FlowEnd};
use super::fragments::Fragments;
use super::packet::FlowPacket;

/// Of idle and active timeouts, so that sums of squared nanoseconds have room.
pub const LONGEST_TIMEOUT: Duration = Duration::from_hours(24);
/// For how long what comes after the end of a TCP connection (the last ACK, what is sent again) still belongs to it.
const LINGERING_NS: u64 = 5_000_000_000;

/// Packets that were captured on several queues are out of order by less.
const TOLERANCE_NS: u64 = 100_000_000;

/// When flows end that do not end by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowSettings {
    /// A longer pause ends a flow; at most [`LONGEST_TIMEOUT`].
    pub idle_timeout: Duration,
    /// A packet that comes later after the first one begins another flow; at most [`LONGEST_TIMEOUT`].
    pub active_timeout: Duration,
    /// How many may be live at a time, at least 1; when there are more, those end that were quiet the longest.
    pub most_live: usize,
}

/// Both timeouts are those of the data sets that were made with CICFlowMeter.
impl Default for FlowSettings {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(120),
            active_timeout: Duration::from_secs(120),
            most_live: 1_000_000,
        }
    }
}

/// Both endpoints, whichever sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct FlowKey {
    lower: Endpoint,
    upper: Endpoint,
    protocol: u8,
}

impl FlowKey {
    fn of(packet: &FlowPacket) -> Self {
        let (lower, upper) = if packet.sender <= packet.receiver {
            (packet.sender, packet.receiver)
        } else {
            (packet.receiver, packet.sender)
        };
        Self { lower, upper, protocol: packet.protocol }
    }
}

/// In the order of their last packets. The hash is keyed at random, because the addresses in a capture are the
/// attacker's choice; nothing goes by its order.
type Flows = LinkedHashMap<FlowKey, Flow, RandomState>;

/// The flows that have not ended.
#[derive(Debug)]
pub struct FlowTable {
    idle_ns: u64,
    active_ns: u64,
    most_live: usize,
    live: Flows,
    /// TCP connections that are over, until nothing of them can come any more.
    lingering: Flows,
    fragments: Fragments,
    /// The latest time that the capture has named since its clock last jumped back.
    latest_ns: u64,
    clock: ClockFaults,
}

/// What was wrong with the clock of the captures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockFaults {
    /// How often it jumped back by more than the idle timeout, at which all flows end.
    pub jumps_back: u64,
    /// Packets that are dated by more than 100 ms before one that precedes them, and not after a jump.
    pub late_packets: u64,
}

impl FlowTable {
    /// No flows.
    #[must_use]
    pub fn new(settings: &FlowSettings) -> Self {
        let ns =
            |timeout: Duration| u64::try_from(timeout.min(LONGEST_TIMEOUT).as_nanos()).unwrap_or(u64::MAX);
        Self {
            idle_ns: ns(settings.idle_timeout),
            active_ns: ns(settings.active_timeout),
            most_live: settings.most_live.max(1),
            live: Flows::default(),
            lingering: Flows::default(),
            fragments: Fragments::default(),
            latest_ns: 0,
            clock: ClockFaults::default(),
        }
    }

    /// How many flows are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.live.len() + self.lingering.len()
    }

    /// The flows that are not over, as far as they came; the one that was quiet the shortest first.
    pub fn live(&self) -> impl Iterator<Item = &Flow> {
        self.live.values().rev()
    }

    /// The TCP connections that are over but may linger, in the same order.
    pub fn lingering(&self) -> impl Iterator<Item = &Flow> {
        self.lingering.values().rev()
    }

    /// The latest time that a packet had, since the Unix epoch, and since the clock last jumped back.
    #[must_use]
    pub const fn latest_ns(&self) -> u64 {
        self.latest_ns
    }

    /// What was wrong with the clock so far.
    #[must_use]
    pub const fn clock_faults(&self) -> ClockFaults {
        self.clock
    }

    /// Takes in the next packet, and hands over the flows that have ended by it.
    ///
    /// # Errors
    ///
    /// Those of `ended`, after which the table is no good.
    pub fn take<E>(
        &mut self,
        mut packet: FlowPacket,
        ended: &mut impl FnMut(Flow) -> Result<(), E>,
    ) -> Result<(), E> {
        if packet.at_ns.saturating_add(self.idle_ns) < self.latest_ns {
            self.end_all(FlowEnd::Clock, ended)?;
            self.fragments = Fragments::default();
            self.latest_ns = packet.at_ns;
            self.clock.jumps_back += 1;
        }
        self.clock.late_packets += u64::from(packet.at_ns.saturating_add(TOLERANCE_NS) < self.latest_ns);
        self.latest_ns = self.latest_ns.max(packet.at_ns);
        self.end_quiet(ended)?;
        self.fragments.complete(&mut packet);
        let key = FlowKey::of(&packet);
        if let Some(flow) = self.live.to_back(&key) {
            let Some(end) = end_before(flow, &packet, self.idle_ns, self.active_ns) else {
                flow.add(&packet);
                self.close(&key);
                return Ok(());
            };
            let follower =
                if end == FlowEnd::Active { flow.continued(&packet) } else { Flow::beginning(&packet) };
            let over = std::mem::replace(flow, follower);
            ended(over.ended_by(end))?;
            self.close(&key);
            return Ok(());
        }
        let mut begun = Flow::beginning(&packet);
        if let Some(flow) = self.lingering.to_back(&key) {
            match end_before(flow, &packet, LINGERING_NS, self.active_ns) {
                None if !is_opening(&packet) => {
                    flow.add(&packet);
                    return Ok(());
                }
                Some(FlowEnd::Active) if !is_opening(&packet) => begun = flow.continued(&packet),
                _ => {}
            }
            if let Some(over) = self.lingering.remove(&key) {
                ended(over)?;
            }
        }
        self.make_room(ended)?;
        self.live.insert(key, begun);
        self.close(&key);
        Ok(())
    }

    /// Hands over all that is left, at the end of the last capture.
    ///
    /// # Errors
    ///
    /// Those of `ended`.
    pub fn finish<E>(mut self, ended: &mut impl FnMut(Flow) -> Result<(), E>) -> Result<(), E> {
        self.end_all(FlowEnd::Capture, ended)
    }

    /// Has a flow linger whose connection is over.
    fn close(&mut self, key: &FlowKey) {
        if let Some(end) = self.live.get(key).and_then(Flow::closed)
            && let Some(flow) = self.live.remove(key)
        {
            // None of this key lingers: it was handed over before this one began.
            self.lingering.insert(*key, flow.ended_by(end));
        }
    }

    /// Ends what was quiet for too long. A flow may stay longer when clocks of the capture disagree; its next packet ends
    /// it then.
    fn end_quiet<E>(&mut self, ended: &mut impl FnMut(Flow) -> Result<(), E>) -> Result<(), E> {
        let now_ns = self.latest_ns;
        let is_quiet = |flow: &Flow, for_ns: u64| now_ns.saturating_sub(flow.last_ns) > for_ns;
        while self.lingering.front().is_some_and(|(_, flow)| is_quiet(flow, LINGERING_NS)) {
            self.lingering.pop_front().map_or(Ok(()), |(_, flow)| ended(flow))?;
        }
        while self.live.front().is_some_and(|(_, flow)| is_quiet(flow, self.idle_ns)) {
            self.live.pop_front().map_or(Ok(()), |(_, flow)| ended(flow.ended_by(FlowEnd::Idle)))?;
        }
        Ok(())
    }

    fn make_room<E>(&mut self, ended: &mut impl FnMut(Flow) -> Result<(), E>) -> Result<(), E> {
        while self.held() >= self.most_live {
            match self.lingering.pop_front() {
                Some((_, over)) => ended(over)?,
                None => match self.live.pop_front() {
                    Some((_, flow)) => ended(flow.ended_by(FlowEnd::Crowd))?,
                    None => break,
                },
            }
        }
        Ok(())
    }

    fn end_all<E>(&mut self, end: FlowEnd, ended: &mut impl FnMut(Flow) -> Result<(), E>) -> Result<(), E> {
        while let Some((_, over)) = self.lingering.pop_front() {
            ended(over)?;
        }
        while let Some((_, flow)) = self.live.pop_front() {
            ended(flow.ended_by(end))?;
        }
        Ok(())
    }
}

/// Why a flow is over before this packet, which then begins another one; `None` when the packet belongs to it.
fn end_before(flow: &Flow, packet: &FlowPacket, idle_ns: u64, active_ns: u64) -> Option<FlowEnd> {
    if packet.at_ns.saturating_sub(flow.last_ns) > idle_ns {
        return Some(FlowEnd::Idle);
    }
    // Who has acknowledged something does not open the same connection again.
    let side = match flow.direction(packet) {
        Direction::Forward => &flow.forward,
        Direction::Backward => &flow.backward,
    };
    if is_opening(packet) && side.has_acknowledged {
        return Some(FlowEnd::Reopened);
    }
    (packet.at_ns.saturating_sub(flow.first_ns) > active_ns).then_some(FlowEnd::Active)
}

/// Whether it opens a connection: SYN without ACK and RST.
fn is_opening(packet: &FlowPacket) -> bool {
    packet.tcp.is_some_and(|tcp| tcp.flags & (flags::SYN | flags::ACK | flags::RST) == flags::SYN)
}
