//! `Signature`: what the packets of a flood have in common whoever sends them, and `Limit`: how many of
//! them pass.

use bytemuck::{Pod, Zeroable};

/// Kinds of packets that a limit tells apart. A packet has exactly one.
#[repr(u16)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PacketKind {
    /// IPv6 with extension headers other than a fragment's.
    Extension = 1,
    /// A fragment.
    Fragment = 2,
    /// TCP that opens a connection: SYN without ACK.
    TcpSyn = 3,
    /// TCP that accepts a connection: SYN and ACK.
    TcpSynAck = 4,
    /// TCP with RST.
    TcpRst = 5,
    /// TCP with neither SYN, ACK nor RST.
    TcpOdd = 6,
    /// TCP with ACK.
    TcpAck = 7,
    /// UDP from a source port known for reflection; its port is that one.
    UdpReflection = 8,
    /// Other UDP.
    Udp = 9,
    /// ICMP and ICMPv6.
    Icmp = 10,
    /// Anything else.
    Other = 11,
}

impl PacketKind {
    /// Every kind, in the order of its number.
    pub const ALL: [Self; 11] = [
        Self::Extension,
        Self::Fragment,
        Self::TcpSyn,
        Self::TcpSynAck,
        Self::TcpRst,
        Self::TcpOdd,
        Self::TcpAck,
        Self::UdpReflection,
        Self::Udp,
        Self::Icmp,
        Self::Other,
    ];

    /// In the operator's words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Extension => "IPv6 packets with extension headers",
            Self::Fragment => "fragments",
            Self::TcpSyn => "SYN packets",
            Self::TcpSynAck => "SYN+ACK packets",
            Self::TcpRst => "RST packets",
            Self::TcpOdd => "odd-flag packets",
            Self::TcpAck => "ACK packets",
            Self::UdpReflection => "UDP answers",
            Self::Udp => "UDP packets",
            Self::Icmp => "ICMP packets",
            Self::Other => "other packets",
        }
    }
}

/// A kind of packet and a port: the destination port, for [`PacketKind::UdpReflection`] the source port. Or a kind on
/// every port, and whether it has ports at all.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct Signature(u32);

impl Signature {
    /// Beside a kind, that it is on every port: 0 is a port like any other.
    const EVERY_PORT: u32 = 1 << 31;

    /// Of `kind` and `port`.
    #[inline(always)]
    #[must_use]
    pub const fn new(kind: PacketKind, port: u16) -> Self {
        Self((kind as u32) << 16 | port as u32)
    }

    /// Of `kind`, whatever its port.
    #[inline(always)]
    #[must_use]
    pub const fn of_kind(kind: PacketKind) -> Self {
        Self((kind as u32) << 16 | Self::EVERY_PORT)
    }

    /// The same kind on every port.
    #[inline(always)]
    #[must_use]
    pub const fn on_every_port(self) -> Self {
        Self(self.0 & 0xffff_0000 | Self::EVERY_PORT)
    }

    /// Its kind, unless the number is of a later schema.
    #[must_use]
    pub fn kind(self) -> Option<PacketKind> {
        PacketKind::ALL.into_iter().find(|kind| *kind as u32 == (self.0 & !Self::EVERY_PORT) >> 16)
    }

    /// Its port; `None` for every port.
    #[must_use]
    pub const fn port(self) -> Option<u16> {
        if self.0 & Self::EVERY_PORT != 0 { None } else { Some((self.0 & 0xffff) as u16) }
    }
}

impl core::fmt::Display for Signature {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let kind = self.kind();
        f.write_str(kind.map_or("unknown packets", PacketKind::name))?;
        match (kind, self.port()) {
            (_, None) => Ok(()),
            (Some(PacketKind::UdpReflection), Some(port)) => write!(f, " from port {port}"),
            (_, Some(port)) => write!(f, " to port {port}"),
        }
    }
}

/// How many packets of a signature pass. Written by user space; the data plane keeps the last seven fields.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Limit {
    /// On the monotonic clock.
    pub expires_at_ns: u64,
    /// Sources first seen before this pass, as do those that this host asked for something or has a connection with; 0
    /// exempts nobody.
    pub since_ns: u64,
    /// Packets that pass in one window of [`Limit::WINDOW_NS`].
    pub packets_per_window: u64,
    /// Of SYNs: those beyond the limit are answered with cookies, which a listener gives and takes only once its queue
    /// is full. As many go to it in one window to fill it, and a small part of them after a window without any answer,
    /// because a queue that does not fill is not where they end. 0 answers nobody.
    pub queue_length: u64,
    /// Number of the current window.
    pub window: u64,
    /// Packets in it so far.
    pub used: u64,
    /// Packets that went to a listener with room, in this window and before, as far as they are not forgotten.
    pub queued: u64,
    /// Packets answered before it.
    pub answered_before: u64,
    /// Packets that passed, within the limit or to a listener with room.
    pub passed: u64,
    /// Packets dropped beyond it.
    pub dropped: u64,
    /// Packets answered beyond it.
    pub answered: u64,
}

const _: () = assert!(size_of::<Limit>() == 88);

impl Limit {
    /// Length of a window in bits of nanoseconds: 2^27 ns are 134 ms.
    pub const WINDOW_BITS: u32 = 27;
    /// Length of a window.
    pub const WINDOW_NS: u64 = 1 << Self::WINDOW_BITS;
    /// The part of [`Limit::queue_length`] that goes to a queue in each window while it does not fill: by Linux's
    /// default length, 128 in 134 ms.
    pub const QUEUE_PARTS: u64 = 32;

    /// Packets that the limit kept from the host.
    #[must_use]
    pub const fn kept_away(&self) -> u64 {
        self.dropped.saturating_add(self.answered)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn signatures_read_as_people_say_them() {
        for (kind, port, shown) in [
            (PacketKind::TcpSyn, Some(25_565), "SYN packets to port 25565"),
            (PacketKind::UdpReflection, Some(53), "UDP answers from port 53"),
            (PacketKind::Udp, Some(0), "UDP packets to port 0"),
            (PacketKind::Udp, None, "UDP packets"),
            (PacketKind::Fragment, None, "fragments"),
        ] {
            let signature = port.map_or(Signature::of_kind(kind), |port| Signature::new(kind, port));
            assert_eq!(signature.to_string(), shown);
            assert_eq!((signature.kind(), signature.port()), (Some(kind), port));
            assert_eq!(signature.on_every_port(), Signature::of_kind(kind));
            assert_eq!(signature == signature.on_every_port(), port.is_none());
        }
    }
}
