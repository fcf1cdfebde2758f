//! `Transport`: what the header after IP says.

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

/// What the transport header says, in host byte order; what the kind does not have is zero.
///
/// A structure rather than an enumeration with fields: where a value is undefined on one way through the
/// program, LLVM may put a packet pointer in its place and mask it, which the verifier refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// Which it is.
    pub kind: TransportKind,
    /// Of the sender.
    pub source_port: u16,
    /// Of the receiver.
    pub destination_port: u16,
    /// Of TCP: bits of [`flags`].
    pub flags: u8,
    /// Of TCP: whether there are bytes after the header.
    pub has_payload: bool,
}

impl Transport {
    /// None that is understood.
    pub const OTHER: Self = Self {
        kind: TransportKind::Other,
        source_port: 0,
        destination_port: 0,
        flags: 0,
        has_payload: false,
    };
    /// ICMP or ICMPv6.
    pub const ICMP: Self = Self { kind: TransportKind::Icmp, ..Self::OTHER };

    /// UDP.
    #[inline(always)]
    #[must_use]
    pub const fn udp(source_port: u16, destination_port: u16) -> Self {
        Self { kind: TransportKind::Udp, source_port, destination_port, ..Self::OTHER }
    }

    /// TCP.
    #[inline(always)]
    #[must_use]
    pub const fn tcp(source_port: u16, destination_port: u16, flags: u8, has_payload: bool) -> Self {
        Self { kind: TransportKind::Tcp, source_port, destination_port, flags, has_payload }
    }

    /// Whether it opens a connection: TCP with SYN and without ACK.
    #[inline(always)]
    #[must_use]
    pub const fn opens(&self) -> bool {
        matches!(self.kind, TransportKind::Tcp) && self.flags & (flags::SYN | flags::ACK) == flags::SYN
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
    Transport::tcp(header.u16::<0>(), header.u16::<2>(), header.u8::<13>(), length > header_length)
}

#[inline(always)]
fn parse_udp(bytes: &Cursor<'_>, start: usize, length: usize) -> Transport {
    let Some(header) = bytes.span::<8>(start) else {
        return Transport::OTHER;
    };
    if length < 8 {
        return Transport::OTHER;
    }
    Transport::udp(header.u16::<0>(), header.u16::<2>())
}
