//! `Transport`: what the header after IP says.

use core::fmt;

use crate::cursor::Cursor;

/// IP protocol numbers that the program tells apart.
pub mod protocol {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// Authentication header.
    pub const AUTHENTICATION: u8 = 51;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// IPv6 destination options.
    pub const DESTINATION_OPTIONS: u8 = 60;
    /// Mobility header.
    pub const MOBILITY: u8 = 135;
    /// Host identity protocol.
    pub const HOST_IDENTITY: u8 = 139;
    /// Shim6 protocol.
    pub const SHIM6: u8 = 140;
}

/// TCP flags as bits.
pub mod flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Opens a connection.
    pub const SYN: u8 = 0x02;
    /// Aborts a connection.
    pub const RST: u8 = 0x04;
    /// Hand the data to the application.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;
}

/// Which transport a packet has.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportKind {
    /// Another protocol, a later fragment, or a transport header that is cut or out of reach.
    Other = 0,
    /// TCP.
    Tcp = 1,
    /// UDP.
    Udp = 2,
    /// ICMP or ICMPv6.
    Icmp = 3,
}

/// What the transport header says, in one number: what the kind does not have is zero.
///
/// A number rather than a structure, so that the program carries it in a register from where it is read to where it is
/// counted. (An enumeration with fields would not do at all: where a value is undefined on one way through the program, LLVM
/// may put a packet pointer in its place and mask it, which the verifier refuses.)
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Transport(u64);

impl Transport {
    // The ports lie as a header has them, the source before the destination.
    const SOURCE_PORT: u32 = 16;
    const FLAGS: u32 = 32;
    const KIND: u32 = 40;
    const PAYLOAD: u32 = 42;
    /// How many of the lower bits are in use.
    pub(crate) const BITS: u32 = 43;

    /// None that is understood.
    pub const OTHER: Self = Self::of_kind(TransportKind::Other);
    /// ICMP or ICMPv6.
    pub const ICMP: Self = Self::of_kind(TransportKind::Icmp);

    #[inline(always)]
    const fn of_kind(kind: TransportKind) -> Self {
        Self((kind as u64) << Self::KIND)
    }

    #[inline(always)]
    const fn with_ports(self, ports: u32) -> Self {
        Self(self.0 | ports as u64)
    }

    #[inline(always)]
    const fn with_flags(self, flags: u8, has_payload: bool) -> Self {
        Self(self.0 | (flags as u64) << Self::FLAGS | (has_payload as u64) << Self::PAYLOAD)
    }

    /// UDP.
    #[inline(always)]
    #[must_use]
    pub const fn udp(source_port: u16, destination_port: u16) -> Self {
        Self::of_kind(TransportKind::Udp).with_ports(ports(source_port, destination_port))
    }

    /// TCP.
    #[inline(always)]
    #[must_use]
    pub const fn tcp(source_port: u16, destination_port: u16, flags: u8, has_payload: bool) -> Self {
        Self::of_kind(TransportKind::Tcp)
            .with_ports(ports(source_port, destination_port))
            .with_flags(flags, has_payload)
    }

    /// The number.
    #[inline(always)]
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    /// Of the number; what is above [`Self::BITS`] does not matter.
    #[inline(always)]
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits & ((1 << Self::BITS) - 1))
    }

    /// Which it is.
    #[inline(always)]
    #[must_use]
    pub const fn kind(self) -> TransportKind {
        match (self.0 >> Self::KIND) & 3 {
            1 => TransportKind::Tcp,
            2 => TransportKind::Udp,
            3 => TransportKind::Icmp,
            _ => TransportKind::Other,
        }
    }

    /// Of the sender, in host byte order.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "its bits")]
    pub const fn source_port(self) -> u16 {
        (self.0 >> Self::SOURCE_PORT) as u16
    }

    /// Of the receiver, in host byte order.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "its bits")]
    pub const fn destination_port(self) -> u16 {
        self.0 as u16
    }

    /// Of TCP: bits of [`flags`].
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "its bits")]
    pub const fn flags(self) -> u8 {
        (self.0 >> Self::FLAGS) as u8
    }

    /// Of TCP: whether there are bytes after the header.
    #[inline(always)]
    #[must_use]
    pub const fn has_payload(self) -> bool {
        self.0 >> Self::PAYLOAD & 1 == 1
    }

    /// Whether it opens a connection: TCP with SYN and without ACK.
    #[inline(always)]
    #[must_use]
    pub const fn opens(self) -> bool {
        matches!(self.kind(), TransportKind::Tcp) && self.flags() & (flags::SYN | flags::ACK) == flags::SYN
    }
}

#[inline(always)]
const fn ports(source: u16, destination: u16) -> u32 {
    (source as u32) << Transport::SOURCE_PORT | destination as u32
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("kind", &self.kind())
            .field("source_port", &self.source_port())
            .field("destination_port", &self.destination_port())
            .field("flags", &self.flags())
            .field("has_payload", &self.has_payload())
            .finish()
    }
}

/// Reads the header at `start`; `length` is what the IP header leaves for it and what it carries, and bytes past it are
/// padding.
#[inline(always)]
#[must_use]
pub fn parse_transport(bytes: &Cursor<'_>, start: usize, length: usize, protocol: u8) -> Transport {
    match protocol {
        protocol::TCP => parse_tcp(bytes, start, length),
        protocol::UDP => parse_udp(bytes, start, length),
        protocol::ICMP | protocol::ICMPV6 if length >= 8 && bytes.read::<8>(start).is_some() => {
            Transport::ICMP
        }
        _ => Transport::OTHER,
    }
}

#[inline(always)]
fn parse_tcp(bytes: &Cursor<'_>, start: usize, length: usize) -> Transport {
    let Some(header) = bytes.span::<20>(start) else {
        return Transport::OTHER;
    };
    let header_length = usize::from(header.u8::<12>() >> 4) * 4;
    if length < 20 || header_length < 20 {
        return Transport::OTHER;
    }
    Transport::of_kind(TransportKind::Tcp)
        .with_ports(header.u32::<0>())
        .with_flags(header.u8::<13>(), length > header_length)
}

#[inline(always)]
fn parse_udp(bytes: &Cursor<'_>, start: usize, length: usize) -> Transport {
    let Some(header) = bytes.span::<8>(start) else {
        return Transport::OTHER;
    };
    if length < 8 {
        return Transport::OTHER;
    }
    Transport::of_kind(TransportKind::Udp).with_ports(header.u32::<0>())
}
