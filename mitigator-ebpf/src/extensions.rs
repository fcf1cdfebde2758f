//! `Extensions`: where the extension headers of one IPv6 packet lead. What the walk over them finds fits into one number,
//! so that it can be a function of its own in the program.

use crate::cursor::Cursor;
use crate::packet::Fragment;
use crate::transport::protocol;

/// IPv6 extension headers read before the transport counts as unknown.
pub const MAX_EXTENSIONS: usize = 8;

const IPV6_LENGTH: usize = 40;

/// Where the walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extensions {
    /// What the last header that was read names as the next one.
    pub protocol: u8,
    /// As a fragment header says.
    pub fragment: Fragment,
    /// The transport header; `None`: cut, too far, or in an earlier fragment.
    pub transport: Option<Stretch>,
}

/// A part of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Where it starts, less than 2^15: a header has 2 KiB at most.
    pub start: usize,
    /// What the IP header says that there is, less than 2^16.
    pub length: usize,
}

impl Extensions {
    // Bit 0: there is a transport header.
    const PROTOCOL_SHIFT: u32 = 8;
    const FRAGMENT_SHIFT: u32 = 16;
    const LENGTH_SHIFT: u32 = 32;
    /// The uppermost 15 bits, so that the verifier sees how large it is without a mask, which LLVM would drop where it knows
    /// who makes the number.
    const START_SHIFT: u32 = 49;

    /// As one number, of which nothing is lost.
    #[inline(always)]
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        let (is_there, stretch) = match self.transport {
            Some(stretch) => (1, stretch),
            None => (0, Stretch { start: 0, length: 0 }),
        };
        is_there
            | (self.protocol as u64) << Self::PROTOCOL_SHIFT
            | (self.fragment as u64) << Self::FRAGMENT_SHIFT
            | (stretch.length as u64 & 0xffff) << Self::LENGTH_SHIFT
            | (stretch.start as u64) << Self::START_SHIFT
    }

    /// Out of [`Extensions::to_bits`].
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        let stretch = Stretch {
            start: (bits >> Self::START_SHIFT) as usize,
            length: (bits >> Self::LENGTH_SHIFT) as usize & 0xffff,
        };
        Self {
            protocol: (bits >> Self::PROTOCOL_SHIFT & 0xff) as u8,
            fragment: match bits >> Self::FRAGMENT_SHIFT & 0xff {
                0 => Fragment::Whole,
                1 => Fragment::First,
                _ => Fragment::Later,
            },
            transport: if bits & 1 == 0 { None } else { Some(stretch) },
        }
    }
}

/// Walks from the IPv6 header at `start` to the transport.
#[inline(always)]
#[must_use]
pub fn walk(bytes: &Cursor<'_>, start: usize) -> Extensions {
    let Some(header) = bytes.span::<8>(start) else {
        return Extensions { protocol: 0, fragment: Fragment::Whole, transport: None };
    };
    let mut remaining = payload_length(header.u16::<4>());
    let mut protocol = header.u8::<6>();
    let mut fragment = Fragment::Whole;
    let mut offset = start + IPV6_LENGTH;
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
            fragment = match Fragment::from_bits(bits >> 3, bits & 1 != 0) {
                Fragment::Whole => fragment,
                part => part,
            };
        }
        offset += header_length;
        remaining -= header_length;
        protocol = next;
        reached = !is_extension(protocol) || matches!(fragment, Fragment::Later);
    }
    let transport = if reached { Some(Stretch { start: offset, length: remaining }) } else { None };
    Extensions { protocol, fragment, transport }
}

/// Zero stands for a jumbogram, or for what segmentation offload leaves behind.
#[inline(always)]
pub(crate) const fn payload_length(length: u16) -> usize {
    if length == 0 { u16::MAX as usize } else { length as usize }
}

/// Whether the header of this number is an extension rather than a transport.
#[inline(always)]
pub(crate) const fn is_extension(protocol: u8) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_on_the_way_through_a_number() {
        let longest = 14 + 4 * crate::envelope::MAX_VLAN_TAGS + IPV6_LENGTH + MAX_EXTENSIONS * 2_048;
        for fragment in [Fragment::Whole, Fragment::First, Fragment::Later] {
            for (protocol, transport) in [
                (0, None),
                (255, None),
                (protocol::TCP, Some(Stretch { start: 54, length: 0 })),
                (255, Some(Stretch { start: longest, length: usize::from(u16::MAX) })),
            ] {
                let extensions = Extensions { protocol, fragment, transport };
                assert_eq!(Extensions::from_bits(extensions.to_bits()), extensions);
            }
        }
    }
}
