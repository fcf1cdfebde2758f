//! `Envelope`: who sent a packet, from Ethernet to the IP addresses; all that is read of a packet that is dropped for
//! its source.

use mitigator_common::{Source, WideAddress};

use crate::cursor::Cursor;

/// VLAN tags read before the packet counts as unparsed.
pub const MAX_VLAN_TAGS: usize = 2;

const ETHERNET_LENGTH: usize = 14;
/// Where the IP header of a packet in an Ethernet frame starts at most.
pub const MAX_START: usize = ETHERNET_LENGTH + 4 * MAX_VLAN_TAGS;
/// Ethertype of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// Ethertype of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8;
const ETHERTYPE_OLD_SERVICE_VLAN: u16 = 0x9100;

/// Which way a packet goes, and so which of its addresses is the other side's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It arrives: the other side is the sender.
    Arriving,
    /// It leaves: the other side is the receiver.
    Leaving,
}

/// Why a packet cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unparsed {
    /// Another network protocol than IP.
    NotIp,
    /// Cut short, malformed, or with too many VLAN tags.
    Malformed,
}

/// The outside of a packet with a sound IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The other side: the sender of a packet that arrives, the receiver of one that leaves.
    pub source: Source,
    /// Whether its frame is for a multicast group or for everybody.
    pub is_to_group: bool,
    /// Which IP.
    pub is_v4: bool,
    /// Where its header starts.
    pub start: usize,
}

/// An envelope, or why there is none. Both are always there: where a value is undefined on one way through the program,
/// LLVM may put a packet pointer in its place and mask it, which the verifier refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Why there is none.
    pub failure: Option<Unparsed>,
    /// The envelope; meaningless after a failure.
    pub envelope: Envelope,
}

impl Reading {
    #[inline(always)]
    const fn failed(failure: Unparsed) -> Self {
        let envelope = Envelope { source: Source::RESERVED_V6, is_to_group: false, is_v4: false, start: 0 };
        Self { failure: Some(failure), envelope }
    }

    /// As a result.
    ///
    /// # Errors
    ///
    /// When there is no envelope, says why.
    #[inline(always)]
    pub const fn into_result(self) -> Result<Envelope, Unparsed> {
        match self.failure {
            None => Ok(self.envelope),
            Some(failure) => Err(failure),
        }
    }
}

impl Envelope {
    /// Reads the outside of a packet from its Ethernet header on.
    #[inline(always)]
    #[must_use]
    pub fn read(bytes: &Cursor<'_>, direction: Direction) -> Reading {
        let Some(ethernet) = bytes.span::<ETHERNET_LENGTH>(0) else {
            return Reading::failed(Unparsed::Malformed);
        };
        let receiver = ethernet.u8::<0>();
        let mut start = ETHERNET_LENGTH;
        let mut ethertype = ethernet.u16::<12>();
        for _ in 0..MAX_VLAN_TAGS {
            if !is_vlan(ethertype) {
                break;
            }
            let Some(tag) = bytes.span::<4>(start) else {
                return Reading::failed(Unparsed::Malformed);
            };
            ethertype = tag.u16::<2>();
            start += 4;
        }
        let mut reading = Self::read_network(bytes, ethertype, start, direction);
        reading.envelope.is_to_group = receiver & 1 != 0;
        reading
    }

    /// Reads the outside of a packet whose network header starts at `start`, as `ethertype` names it; a VLAN tag counts
    /// as malformed here.
    #[inline(always)]
    #[must_use]
    pub fn read_network(bytes: &Cursor<'_>, ethertype: u16, start: usize, direction: Direction) -> Reading {
        let source = match ethertype {
            ETHERTYPE_IPV4 => read_v4(bytes, start, direction),
            ETHERTYPE_IPV6 => read_v6(bytes, start, direction),
            tag if is_vlan(tag) => None,
            _ => return Reading::failed(Unparsed::NotIp),
        };
        let Some(source) = source else {
            return Reading::failed(Unparsed::Malformed);
        };
        let is_v4 = ethertype == ETHERTYPE_IPV4;
        Reading { failure: None, envelope: Self { source, is_to_group: false, is_v4, start } }
    }

    /// The other side's full address, where `direction` is the one for which the envelope was read.
    #[inline(always)]
    #[must_use]
    pub fn address(&self, bytes: &Cursor<'_>, direction: Direction) -> WideAddress {
        let address = if self.is_v4 {
            let offset = match direction {
                Direction::Arriving => 12,
                Direction::Leaving => 16,
            };
            bytes
                .span::<4>(self.start + offset)
                .map(|address| WideAddress::from_v4_number(address.u32::<0>()))
        } else {
            let offset = match direction {
                Direction::Arriving => 8,
                Direction::Leaving => 24,
            };
            bytes.span::<16>(self.start + offset).map(|address| {
                let words = [address.u32::<0>(), address.u32::<4>(), address.u32::<8>(), address.u32::<12>()];
                WideAddress::from_v6_numbers(words)
            })
        };
        // It is there, or there were no envelope.
        address.unwrap_or(WideAddress::from_v4_bytes([0; 4]))
    }
}

#[inline(always)]
const fn is_vlan(ethertype: u16) -> bool {
    matches!(ethertype, ETHERTYPE_VLAN | ETHERTYPE_SERVICE_VLAN | ETHERTYPE_OLD_SERVICE_VLAN)
}

/// The source, when the header is sound.
#[inline(always)]
fn read_v4(bytes: &Cursor<'_>, start: usize, direction: Direction) -> Option<Source> {
    let header = bytes.span::<20>(start)?;
    let (version_and_length, total) = (header.u8::<0>(), header.u16::<2>());
    // Of nearly all, four and five words: no options.
    let is_sound = if version_and_length == 0x45 {
        total_length_of_v4(total) >= 20
    } else {
        let length = header_length_of_v4(version_and_length);
        version_and_length >> 4 == 4
            && length > 20
            && total_length_of_v4(total) >= length
            && bytes.read::<1>(start + length - 1).is_some()
    };
    if !is_sound {
        return None;
    }
    Some(Source::from_number(u64::from(match direction {
        Direction::Arriving => header.u32::<12>(),
        Direction::Leaving => header.u32::<16>(),
    })))
}

/// In bytes.
#[inline(always)]
pub(crate) const fn header_length_of_v4(version_and_length: u8) -> usize {
    (version_and_length & 0x0f) as usize * 4
}

/// Zero is what segmentation offload leaves in packets captured on the sending host.
#[inline(always)]
pub(crate) const fn total_length_of_v4(length: u16) -> usize {
    if length == 0 { u16::MAX as usize } else { length as usize }
}

#[inline(always)]
fn read_v6(bytes: &Cursor<'_>, start: usize, direction: Direction) -> Option<Source> {
    let header = bytes.span::<40>(start)?;
    if header.u8::<0>() >> 4 != 6 {
        return None;
    }
    let upper = match direction {
        Direction::Arriving => header.u64::<8>(),
        Direction::Leaving => header.u64::<24>(),
    };
    Some(Source::from_v6_upper_half(upper.to_be_bytes()))
}
