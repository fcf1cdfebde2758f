//! `Packet`: what one packet says about itself, from Ethernet to the ports.
//!
//! Understood: up to two VLAN tags, IPv4 with options, IPv6 with up to [`MAX_EXTENSIONS`] extension
//! headers, fragments of both, TCP, UDP, ICMP. Lengths on the wire are believed only as far as the
//! bytes reach. A packet whose transport header is cut or unknown still has a source.

use mitigator_common::{Source, WideAddress};

use crate::cursor::Cursor;
use crate::envelope::{Envelope, header_length_of_v4, total_length_of_v4};
use crate::extensions::{self, Extensions, is_extension, payload_length};
use crate::transport::parse_transport;

pub use crate::envelope::{Direction, ETHERTYPE_IPV4, ETHERTYPE_IPV6, MAX_VLAN_TAGS, Unparsed};
pub use crate::extensions::MAX_EXTENSIONS;
pub use crate::transport::{Transport, TransportKind, flags, protocol};

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

impl Fragment {
    #[inline(always)]
    pub(crate) const fn from_bits(offset: u16, more: bool) -> Self {
        match (offset, more) {
            (0, false) => Self::Whole,
            (0, true) => Self::First,
            _ => Self::Later,
        }
    }
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
        Self::open_with(envelope, bytes, |start| extensions::walk(bytes, start))
    }

    /// As [`Packet::open`], where `walk` is how the extension headers of the IPv6 packet at an offset are walked over.
    #[inline(always)]
    #[must_use]
    pub fn open_with(
        envelope: &Envelope,
        bytes: &Cursor<'_>,
        walk: impl FnOnce(usize) -> Extensions,
    ) -> Self {
        let inside = if envelope.is_v4 {
            open_v4(bytes, envelope.start)
        } else {
            open_v6(bytes, envelope.start, walk)
        };
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
    let fragment = Fragment::from_bits(fragment_bits & 0x1fff, fragment_bits & 0x2000 != 0);
    let left = total_length_of_v4(header.u16::<2>()).saturating_sub(header_length);
    Inside {
        protocol,
        transport: transport_of(bytes, start + header_length, left, protocol, fragment),
        fragment,
        has_extensions: false,
    }
}

#[inline(always)]
fn open_v6(bytes: &Cursor<'_>, start: usize, walk: impl FnOnce(usize) -> Extensions) -> Inside {
    let Some(header) = bytes.span::<8>(start) else {
        return Inside::NONE;
    };
    let (length, protocol) = (header.u16::<4>(), header.u8::<6>());
    if !is_extension(protocol) {
        let transport = parse_transport(bytes, start + 40, payload_length(length), protocol);
        return Inside { protocol, transport, fragment: Fragment::Whole, has_extensions: false };
    }
    let Extensions { protocol, fragment, transport } = walk(start);
    let transport = match transport {
        Some(stretch) => transport_of(bytes, stretch.start, stretch.length, protocol, fragment),
        None => Transport::OTHER,
    };
    Inside { protocol, transport, fragment, has_extensions: true }
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
