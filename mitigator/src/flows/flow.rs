//! `Flow`: one conversation of two endpoints, as its packets tell it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mitigator_ebpf::packet::flags;

use super::bulk::Bulk;
use super::packet::FlowPacket;
use super::summary::Summary;

/// A longer pause begins another sub-flow; CICFlowMeter's number.
const SUBFLOW_PAUSE_NS: u64 = 1_000_000_000;
/// A longer pause is idleness; CICFlowMeter's number.
const IDLE_PAUSE_NS: u64 = 5_000_000_000;

/// An address with a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// As a number; of IPv4 in the lower 32 bits.
    pub address: u128,
    /// Of which family.
    pub is_v4: bool,
    /// 0 where the protocol has none.
    pub port: u16,
}

impl Endpoint {
    /// The address as it is written.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        match u32::try_from(self.address) {
            Ok(number) if self.is_v4 => Ipv4Addr::from(number).into(),
            _ => Ipv6Addr::from(self.address).into(),
        }
    }
}

/// Which way a packet goes in its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// As the flow's first packet.
    Forward,
    /// Against it.
    Backward,
}

/// Why a flow ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowEnd {
    /// Both sides had no more data.
    Fin,
    /// One side aborted it.
    Rst,
    /// The same ports opened another connection.
    Reopened,
    /// No packet came within the idle timeout.
    Idle,
    /// It lasted longer than the active timeout; what follows is another flow.
    Active,
    /// The capture's clock jumped back by more than the idle timeout.
    Clock,
    /// There were too many flows at a time, and it was quiet the longest.
    Crowd,
    /// The capture ended.
    Capture,
}

impl FlowEnd {
    /// In one word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fin => "fin",
            Self::Rst => "rst",
            Self::Reopened => "reopened",
            Self::Idle => "idle",
            Self::Active => "active",
            Self::Clock => "clock",
            Self::Crowd => "crowd",
            Self::Capture => "capture",
        }
    }
}

/// How far TCP's opening came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handshake {
    /// Nothing of it was seen.
    None,
    /// The initiator sent a SYN.
    Asked,
    /// The other side answered with SYN and ACK.
    Answered,
    /// The initiator acknowledged that.
    Completed,
}

/// What went one way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// Bytes of payload, per packet.
    pub lengths: Summary,
    /// Nanoseconds between packets.
    pub intervals: Summary,
    /// On the wire, with Ethernet headers.
    pub wire_bytes: u64,
    /// Of transport headers.
    pub header_bytes: u64,
    /// The shortest transport header.
    pub least_header_bytes: u32,
    /// Packets with payload.
    pub data_packets: u64,
    /// Packets with each TCP flag, from FIN, the lowest bit, to CWR.
    pub flags: [u64; 8],
    /// TCP's window in the first packet, without its scale; `None` without TCP.
    pub first_window: Option<u16>,
    /// Bulk transfers.
    pub bulk: Bulk,
    last_ns: u64,
    /// Whether it had no more data, and whether it had acknowledged something: in this connection, which may be older than
    /// the flow.
    has_ended: bool,
    pub(super) has_acknowledged: bool,
}

impl Side {
    /// How many packets.
    #[must_use]
    pub const fn packets(&self) -> u64 {
        self.lengths.count
    }

    /// Packets with this TCP flag, one of [`flags`] or [`URG`], [`ECE`], [`CWR`].
    #[must_use]
    pub const fn packets_with(&self, flag: u8) -> u64 {
        self.flags[flag.trailing_zeros() as usize & 7]
    }

    fn add(&mut self, packet: &FlowPacket, at_ns: u64) {
        if self.packets() == 0 {
            self.least_header_bytes = packet.header_bytes;
            self.first_window = packet.tcp.map(|tcp| tcp.window);
        } else {
            self.intervals.add(at_ns - self.last_ns);
            self.least_header_bytes = self.least_header_bytes.min(packet.header_bytes);
        }
        self.last_ns = at_ns;
        self.lengths.add(packet.payload_bytes.into());
        self.wire_bytes += u64::from(packet.wire_bytes);
        self.header_bytes += u64::from(packet.header_bytes);
        if packet.payload_bytes > 0 {
            self.data_packets += 1;
            self.bulk.add(at_ns, packet.payload_bytes.into());
        }
        let mut left = packet.tcp.map_or(0, |tcp| tcp.flags);
        self.has_ended |= left & flags::FIN != 0;
        self.has_acknowledged |= left & flags::ACK != 0;
        while left != 0 {
            self.flags[left.trailing_zeros() as usize & 7] += 1;
            left &= left - 1;
        }
    }
}

/// TCP: urgent data.
pub const URG: u8 = 0x20;
/// TCP: congestion was echoed.
pub const ECE: u8 = 0x40;
/// TCP: the congestion window was reduced.
pub const CWR: u8 = 0x80;

/// One conversation of two endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Who sent its first packet.
    pub initiator: Endpoint,
    /// To whom.
    pub responder: Endpoint,
    /// Number of the transport protocol.
    pub protocol: u8,
    /// When its first packet came, since the Unix epoch.
    pub first_ns: u64,
    /// When its last packet came. Times never go back within a flow: a packet that is dated before another one that
    /// precedes it counts as simultaneous with that.
    pub last_ns: u64,
    /// When the connection's first packet came; earlier than `first_ns` after an active timeout.
    pub connection_ns: u64,
    /// From the initiator.
    pub forward: Side,
    /// To the initiator.
    pub backward: Side,
    /// Nanoseconds between packets, whichever way they go.
    pub intervals: Summary,
    /// Nanoseconds of each stretch that ended in a pause of more than 5 s, from its first to its last packet; a single
    /// packet is no stretch.
    pub active: Summary,
    /// Nanoseconds of each pause of more than 5 s.
    pub idle: Summary,
    /// Pauses of more than a second, and one.
    pub subflows: u64,
    /// ICMP's type and code in the first packet.
    pub icmp: Option<(u8, u8)>,
    /// Why it ended; meaningless before.
    pub end: FlowEnd,
    active_since_ns: u64,
    handshake: Handshake,
}

impl Flow {
    /// The flow that begins with this packet.
    #[must_use]
    pub fn beginning(packet: &FlowPacket) -> Self {
        let sides = [Side::default(), Side::default()];
        Self::between(packet.sender, packet.receiver, sides, packet.at_ns, packet)
    }

    /// What follows after an active timeout: the same initiator, whoever sends first, and of TCP what was said before.
    #[must_use]
    pub(super) fn continued(&self, packet: &FlowPacket) -> Self {
        let said = |side: &Side| Side {
            has_ended: side.has_ended,
            has_acknowledged: side.has_acknowledged,
            ..Side::default()
        };
        let sides = [said(&self.forward), said(&self.backward)];
        Self::between(self.initiator, self.responder, sides, self.connection_ns, packet)
    }

    fn between(
        initiator: Endpoint,
        responder: Endpoint,
        [forward, backward]: [Side; 2],
        connection_ns: u64,
        packet: &FlowPacket,
    ) -> Self {
        let mut flow = Self {
            initiator,
            responder,
            protocol: packet.protocol,
            first_ns: packet.at_ns,
            last_ns: packet.at_ns,
            connection_ns,
            forward,
            backward,
            intervals: Summary::default(),
            active: Summary::default(),
            idle: Summary::default(),
            subflows: 1,
            icmp: packet.icmp,
            end: FlowEnd::Capture,
            active_since_ns: packet.at_ns,
            handshake: Handshake::None,
        };
        flow.take(packet, packet.at_ns);
        flow
    }

    /// Adds a packet of this flow that is not its first.
    pub fn add(&mut self, packet: &FlowPacket) {
        let at_ns = packet.at_ns.max(self.last_ns);
        let pause_ns = at_ns - self.last_ns;
        self.intervals.add(pause_ns);
        if pause_ns > SUBFLOW_PAUSE_NS {
            self.subflows += 1;
        }
        if pause_ns > IDLE_PAUSE_NS {
            if self.last_ns > self.active_since_ns {
                self.active.add(self.last_ns - self.active_since_ns);
            }
            self.idle.add(pause_ns);
            self.active_since_ns = at_ns;
        }
        self.last_ns = at_ns;
        self.take(packet, at_ns);
    }

    fn take(&mut self, packet: &FlowPacket, at_ns: u64) {
        let direction = self.direction(packet);
        let (side, other) = match direction {
            Direction::Forward => (&mut self.forward, &mut self.backward),
            Direction::Backward => (&mut self.backward, &mut self.forward),
        };
        side.add(packet, at_ns);
        if packet.payload_bytes > 0 {
            other.bulk.interrupt();
        }
        let Some(tcp) = packet.tcp else { return };
        let opening = tcp.flags & (flags::SYN | flags::ACK | flags::RST);
        self.handshake = match (self.handshake, direction, opening) {
            (Handshake::None, Direction::Forward, flags::SYN) => Handshake::Asked,
            (Handshake::Asked, Direction::Backward, ANSWER) => Handshake::Answered,
            (Handshake::Answered, Direction::Forward, flags::ACK) => Handshake::Completed,
            (as_it_was, ..) => as_it_was,
        };
    }

    /// The same flow, over.
    #[must_use]
    pub(super) fn ended_by(self, end: FlowEnd) -> Self {
        Self { end, ..self }
    }

    /// Which way a packet of this flow goes. Between an endpoint and itself all go forward.
    #[must_use]
    pub fn direction(&self, packet: &FlowPacket) -> Direction {
        if packet.sender == self.initiator { Direction::Forward } else { Direction::Backward }
    }

    /// From the first to the last packet.
    #[must_use]
    pub const fn duration_ns(&self) -> u64 {
        self.last_ns - self.first_ns
    }

    /// How many packets, both ways.
    #[must_use]
    pub const fn packets(&self) -> u64 {
        self.forward.packets() + self.backward.packets()
    }

    /// Packets with this TCP flag, both ways.
    #[must_use]
    pub const fn packets_with(&self, flag: u8) -> u64 {
        self.forward.packets_with(flag) + self.backward.packets_with(flag)
    }

    /// Whether SYN, its answer and the initiator's ACK were seen.
    #[must_use]
    pub fn has_completed_handshake(&self) -> bool {
        self.handshake == Handshake::Completed
    }

    /// Why TCP is over, when it is: an abort, or the end of data from both sides.
    #[must_use]
    pub(super) fn closed(&self) -> Option<FlowEnd> {
        if self.packets_with(flags::RST) > 0 {
            Some(FlowEnd::Rst)
        } else if self.forward.has_ended && self.backward.has_ended {
            Some(FlowEnd::Fin)
        } else {
            None
        }
    }
}

const ANSWER: u8 = flags::SYN | flags::ACK;
