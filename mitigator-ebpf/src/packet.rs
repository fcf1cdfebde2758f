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

/// TCP flags as bits of [`Transport::Tcp`].
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

/// What the transport header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP, in host byte order.
    Tcp {
        /// Of the sender.
        source_port: u16,
        /// Of the receiver.
        destination_port: u16,
        /// Bits of [`flags`].
        flags: u8,
        /// Whether there are bytes after the header.
        has_payload: bool,
    },
    /// UDP, in host byte order.
    Udp {
        /// Of the sender.
        source_port: u16,
        /// Of the receiver.
        destination_port: u16,
    },
    /// ICMP or ICMPv6.
    Icmp,
    /// Another protocol, a later fragment, or a transport header that is cut or out of reach.
    Other,
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
        let mut offset = ETHERNET_LENGTH;
        let mut ethertype = read_u16(bytes, ETHERNET_LENGTH - 2).ok_or(Unparsed::Malformed)?;
        for _ in 0..MAX_VLAN_TAGS {
            if !is_vlan(ethertype) {
                break;
            }
            ethertype = read_u16(bytes, offset + 2).ok_or(Unparsed::Malformed)?;
            offset += 4;
        }
        Self::parse_network(bytes, ethertype, offset, direction)
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
        match ethertype {
            ETHERTYPE_IPV4 => parse_v4(bytes, offset, direction).ok_or(Unparsed::Malformed),
            ETHERTYPE_IPV6 => parse_v6(bytes, offset, direction).ok_or(Unparsed::Malformed),
            tag if is_vlan(tag) => Err(Unparsed::Malformed),
            _ => Err(Unparsed::NotIp),
        }
    }
}

#[inline(always)]
const fn is_vlan(ethertype: u16) -> bool {
    matches!(ethertype, ETHERTYPE_VLAN | ETHERTYPE_SERVICE_VLAN | ETHERTYPE_OLD_SERVICE_VLAN)
}

#[inline(always)]
fn read_u16(bytes: &Cursor<'_>, offset: usize) -> Option<u16> {
    bytes.read(offset).map(u16::from_be_bytes)
}

#[inline(always)]
fn parse_v4(bytes: &Cursor<'_>, start: usize, direction: Direction) -> Option<Packet> {
    let [
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
    ]: [u8; 16] = bytes.read(start)?;
    let destination: [u8; 4] = bytes.read(start + 16)?;
    let header_length = usize::from(version_and_length & 0x0f) * 4;
    if version_and_length >> 4 != 4 || header_length < 20 {
        return None;
    }
    let transport_start = start + header_length;
    let [_]: [u8; 1] = bytes.read(transport_start - 1)?;
    // Zero is what segmentation offload leaves in packets captured on the sending host.
    let total_length = match usize::from(u16::from_be_bytes([length_high, length_low])) {
        0 => usize::from(u16::MAX),
        length => length,
    };
    if total_length < header_length {
        return None;
    }
    let fragment_bits = u16::from_be_bytes([fragment_high, fragment_low]);
    let fragment = fragment_from(fragment_bits & 0x1fff, fragment_bits & 0x2000 != 0);
    let other = match direction {
        Direction::Arriving => [a, b, c, d],
        Direction::Leaving => destination,
    };
    Some(Packet {
        source: Source::from_v4_bytes(other),
        address: WideAddress::from_v4_bytes(other),
        protocol,
        transport: parse_transport(bytes, transport_start, total_length - header_length, protocol, fragment),
        fragment,
        has_extensions: false,
    })
}

#[inline(always)]
fn parse_v6(bytes: &Cursor<'_>, start: usize, direction: Direction) -> Option<Packet> {
    let [version, _, _, _, length_high, length_low, next_header, _]: [u8; 8] = bytes.read(start)?;
    let sender: [u8; 16] = bytes.read(start + 8)?;
    let receiver: [u8; 16] = bytes.read(start + 24)?;
    let address = match direction {
        Direction::Arriving => sender,
        Direction::Leaving => receiver,
    };
    if version >> 4 != 6 {
        return None;
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
    Some(Packet {
        source: Source::from_v6_upper_half([a, b, c, d, e, f, g, h]),
        address: WideAddress::from_v6_bytes(address),
        protocol,
        transport: if reached {
            parse_transport(bytes, offset, remaining, protocol, fragment)
        } else {
            Transport::Other
        },
        fragment,
        has_extensions: is_extension(next_header),
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
        return Transport::Other;
    }
    let parsed = match protocol {
        protocol::TCP => parse_tcp(bytes, start, length),
        protocol::UDP => parse_udp(bytes, start, length),
        protocol::ICMP | protocol::ICMPV6 if length >= 8 && bytes.read::<8>(start).is_some() => {
            Some(Transport::Icmp)
        }
        _ => None,
    };
    parsed.unwrap_or(Transport::Other)
}

#[inline(always)]
fn parse_tcp(bytes: &Cursor<'_>, start: usize, length: usize) -> Option<Transport> {
    let [
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
    ]: [u8; 20] = bytes.read(start)?;
    let header_length = usize::from(data_offset >> 4) * 4;
    if length < 20 || header_length < 20 {
        return None;
    }
    Some(Transport::Tcp {
        source_port: u16::from_be_bytes([source_high, source_low]),
        destination_port: u16::from_be_bytes([destination_high, destination_low]),
        flags,
        has_payload: length > header_length,
    })
}

#[inline(always)]
fn parse_udp(bytes: &Cursor<'_>, start: usize, length: usize) -> Option<Transport> {
    let [source_high, source_low, destination_high, destination_low, _, _, _, _]: [u8; 8] =
        bytes.read(start)?;
    if length < 8 {
        return None;
    }
    Some(Transport::Udp {
        source_port: u16::from_be_bytes([source_high, source_low]),
        destination_port: u16::from_be_bytes([destination_high, destination_low]),
    })
}
