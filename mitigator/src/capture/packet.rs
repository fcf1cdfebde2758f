//! `CapturedPacket`: one packet of a capture, ready for the parser that the kernel runs.

use std::net::IpAddr;
use std::ops::Range;

use mitigator_ebpf::cursor::Cursor;
use mitigator_ebpf::packet::{Direction, Packet, Unparsed};

use super::link::{LinkType, Network};
use super::window::Window;

/// One packet of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapturedPacket<'capture> {
    /// Since the Unix epoch, as the capture says, even where that goes backwards. A packet without a
    /// time (pcapng's simple packet block) has that of the packet before it, or 0.
    pub at_ns: u64,
    /// Length on the wire as Ethernet would count it: 14 bytes stand in place of another link header.
    pub wire_bytes: u32,
    /// What was captured, from the link header on; shorter than the packet when it was cut to a snap
    /// length.
    pub bytes: &'capture [u8],
    /// Where the network header is.
    pub network: Network,
}

impl CapturedPacket<'_> {
    /// Reads the packet the way the kernel's programs do.
    ///
    /// # Errors
    ///
    /// When the packet has no readable IP header, says which way.
    pub fn parse(&self, direction: Direction) -> Result<Packet, Unparsed> {
        let cursor = Cursor::over(self.bytes);
        match self.network {
            Network::Ethernet => Packet::parse_going(&cursor, direction),
            Network::At { ethertype, offset } => Packet::parse_network(&cursor, ethertype, offset, direction),
            Network::Cut => Err(Unparsed::Malformed),
        }
    }

    /// To whom the packet is addressed; always known of a packet that can be parsed.
    #[must_use]
    pub fn destination(&self) -> Option<IpAddr> {
        self.network.destination(self.bytes)
    }
}

/// Where a packet stands in the bytes that a [`Window`] has available.
pub(super) struct Record {
    pub at_ns: u64,
    pub original_bytes: u32,
    pub link: LinkType,
    /// Of the whole record, from the first available byte on.
    pub length: usize,
    /// The captured part of it.
    pub captured: Range<usize>,
}

impl Record {
    /// Takes the record from `window`.
    pub(super) fn packet(self, window: &mut Window) -> CapturedPacket<'_> {
        let Self { at_ns, original_bytes, link, length, captured } = self;
        let bytes = &window.take(length)[captured];
        let captured_bytes = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        CapturedPacket {
            at_ns,
            wire_bytes: link.as_on_ethernet(original_bytes.max(captured_bytes)),
            bytes,
            network: link.network(bytes),
        }
    }
}
