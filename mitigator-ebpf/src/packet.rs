//! `Packet`: what one packet says about itself, from Ethernet to the ports.
//!
//! Understood: up to two VLAN tags, IPv4 with options, IPv6 with up to [`MAX_EXTENSIONS`] extension
//! headers, fragments of both, TCP, UDP, ICMP. Lengths on the wire are believed only as far as the
//! bytes reach. A packet whose transport header is cut or unknown still has a source.

use mitigator_common::{Source, WideAddress};

use crate::cursor::Cursor;
use crate::envelope::{Envelope, header_length_of_v4, total_length_of_v4};
use crate::transport::parse_transport;

pub use crate::envelope::{Direction, ETHERTYPE_IPV4, ETHERTYPE_IPV6, MAX_VLAN_TAGS, Unparsed};
pub use crate::transport::{Transport, TransportKind, flags, protocol};

/// IPv6 extension headers read before the transport counts as unknown.
pub const MAX_EXTENSIONS: usize = 8;

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

impl Packet {
    /// Reads a packet that arrives, from its Ethernet header on.
    ///
    /// # Errors
    ///
    /// When the packet has no readable IP header, says which way.
    pub fn parse(bytes: &Cursor<'_>) -> Result<Self, Unparsed> {
        Self::parse_going(bytes, Direction::Arriving)
    }

    /// Reads a packet from its Ethernet header on.
    ///
    /// # Errors
    ///
    /// As [`Packet::parse`].
    pub fn parse_going(bytes: &Cursor<'_>, direction: Direction) -> Result<Self, Unparsed> {
        Ok(Self::open(&Envelope::read(bytes, direction).into_result()?, bytes))
    }

    /// Reads a packet whose network header starts at `offset`, as `ethertype` names it.
    ///
    /// # Errors
    ///
    /// As [`Packet::parse`]; a VLAN tag counts as malformed here.
    pub fn parse_network(
        bytes: &Cursor<'_>,
        ethertype: u16,
        offset: usize,
        direction: Direction,
    ) -> Result<Self, Unparsed> {
        let envelope = Envelope::read_network(bytes, ethertype, offset, direction).into_result()?;
        Ok(Self::open(&envelope, bytes))
    }

    /// Reads the rest of a packet whose envelope is known.
    #[inline(always)]
    #[must_use]
    pub fn open(envelope: &Envelope, bytes: &Cursor<'_>) -> Self {
        let inside =
            if envelope.is_v4 { open_v4(bytes, envelope.start) } else { open_v6(bytes, envelope.start) };
        let Inside { protocol, transport, fragment, has_extensions } = inside;
        Self {
            source: envelope.source,
            address: envelope.address(bytes),
            protocol,
            transport,
            fragment,
            has_extensions,
            is_to_group: envelope.is_to_group,
        }
    }
}

/// What stands behind the envelope.
struct Inside {
    protocol: u8,
    transport: Transport,
    fragment: Fragment,
    has_extensions: bool,
}

impl Inside {
    /// In place of what is not there.
    const NONE: Self =
        Self { protocol: 0, transport: Transport::OTHER, fragment: Fragment::Whole, has_extensions: false };
}

#[inline(always)]
fn open_v4(bytes: &Cursor<'_>, start: usize) -> Inside {
    let Some(header) = bytes.span::<20>(start) else {
        return Inside::NONE;
    };
    let (protocol, fragment_bits) = (header.u8::<9>(), header.u16::<6>());
    let header_length = header_length_of_v4(header.u8::<0>());
    let fragment = fragment_from(fragment_bits & 0x1fff, fragment_bits & 0x2000 != 0);
    let left = total_length_of_v4(header.u16::<2>()).saturating_sub(header_length);
    Inside {
        protocol,
        transport: transport_of(bytes, start + header_length, left, protocol, fragment),
        fragment,
        has_extensions: false,
    }
}

#[inline(always)]
fn open_v6(bytes: &Cursor<'_>, start: usize) -> Inside {
    let Some(header) = bytes.span::<8>(start) else {
        return Inside::NONE;
    };
    let (length, next_header) = (header.u16::<4>(), header.u8::<6>());
    // Zero stands for a jumbogram, or for what segmentation offload leaves behind.
    let mut remaining = if length == 0 { usize::from(u16::MAX) } else { usize::from(length) };
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
    let transport =
        if reached { transport_of(bytes, offset, remaining, protocol, fragment) } else { Transport::OTHER };
    Inside { protocol, transport, fragment, has_extensions: is_extension(next_header) }
}

/// Later fragments have no transport header.
#[inline(always)]
fn transport_of(
    bytes: &Cursor<'_>,
    start: usize,
    length: usize,
    protocol: u8,
    fragment: Fragment,
) -> Transport {
    if matches!(fragment, Fragment::Later) {
        return Transport::OTHER;
    }
    parse_transport(bytes, start, length, protocol)
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
