//! `Packet`: what one packet says about itself, from Ethernet to the ports.
//!
//! Understood: up to two VLAN tags, IPv4 with options, IPv6 with up to [`MAX_EXTENSIONS`] extension
//! headers, fragments of both, TCP, UDP, ICMP. Lengths on the wire are believed only as far as the
//! bytes reach. A packet whose transport header is cut or unknown still has a source.

use mitigator_common::{Source, WideAddress};

use crate::cursor::Cursor;

/// VLAN tags read before the packet counts as unparsed.
pub const MAX_VLAN_TAGS: usize = 2;
/// IPv6 extension headers read before the transport counts as unknown.
pub const MAX_EXTENSIONS: usize = 8;

const ETHERNET_LENGTH: usize = 14;
/// Ethertype of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// Ethertype of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8;
const ETHERTYPE_OLD_SERVICE_VLAN: u16 = 0x9100;

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

/// Which part of a datagram a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// All of it.
    Whole,
    /// The first part, with the transport header.
    First,
    /// A later part, without ports.
    Later,
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

/// Which way a packet goes, and so which of its addresses is the other side's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It arrives: the other side is the sender.
    Arriving,
    /// It leaves: the other side is the receiver.
    Leaving,
}

/// What one packet says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The other side: the sender of a packet that arrives, the receiver of one that leaves.
    pub source: Source,
    /// The other side's full address.
    pub address: WideAddress,
    /// Number of the transport protocol, past any extension header.
    pub protocol: u8,
    /// Its header.
    pub transport: Transport,
    /// Whether the packet is a fragment.
    pub fragment: Fragment,
    /// Whether IPv6 extension headers stand before the transport.
    pub has_extensions: bool,
    /// Whether its frame is for a multicast group or for everybody, and so an answer to nobody. Without an
    /// Ethernet header it counts as not.
    pub is_to_group: bool,
}

/// Why there is no [`Packet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unparsed {
    /// Another network protocol than IP.
    NotIp,
    /// Cut short, malformed, or with too many VLAN tags.
    Malformed,
}

impl Packet {
    /// What stands in place of a packet that cannot be read.
    const NONE: Self = Self {
        source: Source::RESERVED_V6,
        address: WideAddress::from_v4_bytes([0; 4]),
        protocol: 0,
        transport: Transport::OTHER,
        fragment: Fragment::Whole,
        has_extensions: false,
        is_to_group: false,
    };

    /// Reads a packet that arrives, from its Ethernet header on.
    ///
    /// # Errors
    ///
    /// When the packet has no readable IP header, says which way.
    #[inline(always)]
    pub fn parse(bytes: &Cursor<'_>) -> Result<Self, Unparsed> {
        Self::parse_going(bytes, Direction::Arriving)
    }

    /// Reads a packet from its Ethernet header on.
    ///
    /// # Errors
    ///
    /// As [`Packet::parse`].
    #[inline(always)]
    pub fn parse_going(bytes: &Cursor<'_>, direction: Direction) -> Result<Self, Unparsed> {
        Self::read(bytes, direction).into_result()
    }

    /// Reads a packet whose network header starts at `offset`, as `ethertype` names it.
    ///
    /// # Errors
    ///
    /// As [`Packet::parse`]; a VLAN tag counts as malformed here.
    #[inline(always)]
    pub fn parse_network(
        bytes: &Cursor<'_>,
        ethertype: u16,
        offset: usize,
        direction: Direction,
    ) -> Result<Self, Unparsed> {
        read_network(bytes, ethertype, offset, direction).into_result()
    }

    /// Like [`Packet::parse_going`], for the kernel.
    #[inline(always)]
    #[must_use]
    pub fn read(bytes: &Cursor<'_>, direction: Direction) -> Reading {
        let (Some([receiver]), Some(outermost)) = (bytes.read::<1>(0), bytes.read(ETHERNET_LENGTH - 2))
        else {
            return Reading::failed(Unparsed::Malformed);
        };
        let mut offset = ETHERNET_LENGTH;
        let mut ethertype = u16::from_be_bytes(outermost);
        for _ in 0..MAX_VLAN_TAGS {
            if !is_vlan(ethertype) {
                break;
            }
            let Some(inner) = bytes.read(offset + 2) else {
                return Reading::failed(Unparsed::Malformed);
            };
            ethertype = u16::from_be_bytes(inner);
            offset += 4;
        }
        let mut reading = read_network(bytes, ethertype, offset, direction);
        reading.packet.is_to_group = receiver & 1 != 0;
        reading
    }
}

/// A packet, or why there is none. Both are always there, for the reason given at [`Transport`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Why there is none.
    pub failure: Option<Unparsed>,
    /// The packet; meaningless after a failure.
    pub packet: Packet,
}

impl Reading {
    #[inline(always)]
    const fn failed(failure: Unparsed) -> Self {
        Self { failure: Some(failure), packet: Packet::NONE }
    }

    #[inline(always)]
    const fn of(packet: Packet) -> Self {
        Self { failure: None, packet }
    }

    #[inline(always)]
    fn into_result(self) -> Result<Packet, Unparsed> {
        match self.failure {
            None => Ok(self.packet),
            Some(failure) => Err(failure),
        }
    }
}

#[inline(always)]
fn read_network(bytes: &Cursor<'_>, ethertype: u16, offset: usize, direction: Direction) -> Reading {
    match ethertype {
        ETHERTYPE_IPV4 => read_v4(bytes, offset, direction),
        ETHERTYPE_IPV6 => read_v6(bytes, offset, direction),
        tag if is_vlan(tag) => Reading::failed(Unparsed::Malformed),
        _ => Reading::failed(Unparsed::NotIp),
    }
}

#[inline(always)]
const fn is_vlan(ethertype: u16) -> bool {
    matches!(ethertype, ETHERTYPE_VLAN | ETHERTYPE_SERVICE_VLAN | ETHERTYPE_OLD_SERVICE_VLAN)
}

#[inline(always)]
fn read_v4(bytes: &Cursor<'_>, start: usize, direction: Direction) -> Reading {
    let (
        Some(
            [
                version_and_length,
                _,
                length_high,
                length_low,
                _,
                _,
                fragment_high,
                fragment_low,
                _,
                protocol,
                _,
                _,
                a,
                b,
                c,
                d,
            ],
        ),
        Some(destination),
    ) = (bytes.read::<16>(start), bytes.read::<4>(start + 16))
    else {
        return Reading::failed(Unparsed::Malformed);
    };
    let header_length = usize::from(version_and_length & 0x0f) * 4;
    if version_and_length >> 4 != 4 || header_length < 20 {
        return Reading::failed(Unparsed::Malformed);
    }
    let transport_start = start + header_length;
    if bytes.read::<1>(transport_start - 1).is_none() {
        return Reading::failed(Unparsed::Malformed);
    }
    // Zero is what segmentation offload leaves in packets captured on the sending host.
    let total_length = match usize::from(u16::from_be_bytes([length_high, length_low])) {
        0 => usize::from(u16::MAX),
        length => length,
    };
    if total_length < header_length {
        return Reading::failed(Unparsed::Malformed);
    }
    let fragment_bits = u16::from_be_bytes([fragment_high, fragment_low]);
    let fragment = fragment_from(fragment_bits & 0x1fff, fragment_bits & 0x2000 != 0);
    let other = match direction {
        Direction::Arriving => [a, b, c, d],
        Direction::Leaving => destination,
    };
    Reading::of(Packet {
        source: Source::from_v4_bytes(other),
        address: WideAddress::from_v4_bytes(other),
        protocol,
        transport: parse_transport(bytes, transport_start, total_length - header_length, protocol, fragment),
        fragment,
        has_extensions: false,
        is_to_group: false,
    })
}

#[inline(always)]
fn read_v6(bytes: &Cursor<'_>, start: usize, direction: Direction) -> Reading {
    let (Some([version, _, _, _, length_high, length_low, next_header, _]), Some(sender), Some(receiver)) =
        (bytes.read::<8>(start), bytes.read::<16>(start + 8), bytes.read::<16>(start + 24))
    else {
        return Reading::failed(Unparsed::Malformed);
    };
    let address = match direction {
        Direction::Arriving => sender,
        Direction::Leaving => receiver,
    };
    if version >> 4 != 6 {
        return Reading::failed(Unparsed::Malformed);
    }
    // Zero stands for a jumbogram, or for what segmentation offload leaves behind.
    let mut remaining = match usize::from(u16::from_be_bytes([length_high, length_low])) {
        0 => usize::from(u16::MAX),
        length => length,
    };
    let mut offset = start + 40;
    let mut protocol = next_header;
    let mut fragment = Fragment::Whole;
    let mut reached = !is_extension(protocol);
    for _ in 0..MAX_EXTENSIONS {
        if reached {
            break;
        }
        let Some([next, length, third, fourth]) = bytes.read::<4>(offset) else {
            break;
        };
        let header_length = match protocol {
            protocol::FRAGMENT => 8,
            protocol::AUTHENTICATION => (usize::from(length) + 2) * 4,
            _ => (usize::from(length) + 1) * 8,
        };
        if header_length > remaining {
            break;
        }
        // Its last byte must be there, or the header is cut.
        let Some([_]) = bytes.read::<1>(offset + header_length - 1) else {
            break;
        };
        if protocol == protocol::FRAGMENT {
            let bits = u16::from_be_bytes([third, fourth]);
            // A whole datagram inside a first fragment is still part of that fragment.
            fragment = match fragment_from(bits >> 3, bits & 1 != 0) {
                Fragment::Whole => fragment,
                part => part,
            };
        }
        offset += header_length;
        remaining -= header_length;
        protocol = next;
        reached = !is_extension(protocol) || matches!(fragment, Fragment::Later);
    }
    let [a, b, c, d, e, f, g, h, ..] = address;
    Reading::of(Packet {
        source: Source::from_v6_upper_half([a, b, c, d, e, f, g, h]),
        address: WideAddress::from_v6_bytes(address),
        protocol,
        transport: if reached {
            parse_transport(bytes, offset, remaining, protocol, fragment)
        } else {
            Transport::OTHER
        },
        fragment,
        has_extensions: is_extension(next_header),
        is_to_group: false,
    })
}

#[inline(always)]
const fn is_extension(protocol: u8) -> bool {
    matches!(
        protocol,
        protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::FRAGMENT
            | protocol::AUTHENTICATION
            | protocol::DESTINATION_OPTIONS
            | protocol::MOBILITY
            | protocol::HOST_IDENTITY
            | protocol::SHIM6
    )
}

#[inline(always)]
const fn fragment_from(offset: u16, more: bool) -> Fragment {
    match (offset, more) {
        (0, false) => Fragment::Whole,
        (0, true) => Fragment::First,
        _ => Fragment::Later,
    }
}

/// `length` is what the IP header leaves for the transport; bytes past it are padding.
#[inline(always)]
fn parse_transport(
    bytes: &Cursor<'_>,
    start: usize,
    length: usize,
    protocol: u8,
    fragment: Fragment,
) -> Transport {
    if matches!(fragment, Fragment::Later) {
        return Transport::OTHER;
    }
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
    let Some(
        [
            source_high,
            source_low,
            destination_high,
            destination_low,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            data_offset,
            flags,
            _,
            _,
            _,
            _,
            _,
            _,
        ],
    ) = bytes.read::<20>(start)
    else {
        return Transport::OTHER;
    };
    let header_length = usize::from(data_offset >> 4) * 4;
    if length < 20 || header_length < 20 {
        return Transport::OTHER;
    }
    Transport::tcp(
        u16::from_be_bytes([source_high, source_low]),
        u16::from_be_bytes([destination_high, destination_low]),
        flags,
        length > header_length,
    )
}

#[inline(always)]
fn parse_udp(bytes: &Cursor<'_>, start: usize, length: usize) -> Transport {
    let Some([source_high, source_low, destination_high, destination_low, _, _, _, _]) =
        bytes.read::<8>(start)
    else {
        return Transport::OTHER;
    };
    if length < 8 {
        return Transport::OTHER;
    }
    Transport::udp(
        u16::from_be_bytes([source_high, source_low]),
        u16::from_be_bytes([destination_high, destination_low]),
    )
}
