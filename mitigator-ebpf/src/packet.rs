//! `Packet`: what one packet says about itself, from Ethernet to the ports.
//!
//! Understood: up to two VLAN tags, IPv4 with options, IPv6 with up to [`MAX_EXTENSIONS`] extension
//! headers, fragments of both, TCP, UDP, ICMP. Lengths on the wire are believed only as far as the
//! bytes reach. A packet whose transport header is cut or unknown still has a source.

use mitigator_common::{Source, WideAddress};

use crate::content::Content;
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
        Ok(Self::open(&Envelope::read(bytes, direction).into_result()?, bytes, direction))
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
        Ok(Self::open(&envelope, bytes, direction))
    }

    /// Reads the rest of a packet whose envelope was read for `direction`.
    fn open(envelope: &Envelope, bytes: &Cursor<'_>, direction: Direction) -> Self {
        let Inside { protocol, fragment, content } =
            Inside::read(envelope, bytes, |start| extensions::walk(bytes, start));
        Self {
            source: envelope.source,
            address: envelope.address(bytes, direction),
            protocol,
            transport: content.transport(),
            fragment,
            has_extensions: content.has_extensions(),
            is_to_group: envelope.is_to_group,
        }
    }
}

/// Of a packet all that is counted, where `walk` is how the extension headers of the IPv6 packet at an offset are walked over.
#[inline(always)]
#[must_use]
pub fn content_of(
    envelope: &Envelope,
    bytes: &Cursor<'_>,
    walk: impl FnOnce(usize) -> Extensions,
) -> Content {
    Inside::read(envelope, bytes, walk).content.sent_to_group(envelope.is_to_group)
}

/// What stands behind the envelope.
struct Inside {
    protocol: u8,
    fragment: Fragment,
    content: Content,
}

impl Inside {
    #[inline(always)]
    fn read(envelope: &Envelope, bytes: &Cursor<'_>, walk: impl FnOnce(usize) -> Extensions) -> Self {
        let inside = if envelope.is_v4 {
            read_v4(bytes, envelope.start)
        } else {
            read_v6(bytes, envelope.start, walk)
        };
        // It is there, or there were no envelope.
        inside.unwrap_or(Self {
            protocol: 0,
            fragment: Fragment::Whole,
            content: Content::new(Transport::OTHER, false, false),
        })
    }
}

#[inline(always)]
fn read_v4(bytes: &Cursor<'_>, start: usize) -> Option<Inside> {
    let header = bytes.span::<20>(start)?;
    let (protocol, fragment_bits) = (header.u8::<9>(), header.u16::<6>() & 0x3fff);
    let header_length = header_length_of_v4(header.u8::<0>());
    let fragment = Fragment::from_bits(fragment_bits & 0x1fff, fragment_bits & 0x2000 != 0);
    // Not less than nothing, or there were no envelope.
    let left = total_length_of_v4(header.u16::<2>()).wrapping_sub(header_length);
    let transport = transport_of(bytes, start + header_length, left, protocol, fragment);
    Some(Inside { protocol, fragment, content: Content::new(transport, fragment_bits != 0, false) })
}

#[inline(always)]
fn read_v6(bytes: &Cursor<'_>, start: usize, walk: impl FnOnce(usize) -> Extensions) -> Option<Inside> {
    let header = bytes.span::<8>(start)?;
    let (length, protocol) = (header.u16::<4>(), header.u8::<6>());
    if !is_extension(protocol) {
        let transport = parse_transport(bytes, start + 40, payload_length(length), protocol);
        let content = Content::new(transport, false, false);
        return Some(Inside { protocol, fragment: Fragment::Whole, content });
    }
    let Extensions { protocol, fragment, transport } = walk(start);
    let transport = match transport {
        Some(stretch) => transport_of(bytes, stretch.start, stretch.length, protocol, fragment),
        None => Transport::OTHER,
    };
    let content = Content::new(transport, !matches!(fragment, Fragment::Whole), true);
    Some(Inside { protocol, fragment, content })
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
