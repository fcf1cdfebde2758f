//! `Content`: of a packet all that is counted, in one number, which the kernel's verifier loses sight of at once; and passes to
//! functions of their own, where nothing but numbers goes.

use crate::packet::{Fragment, Packet, Transport, TransportKind};

/// What a packet is, whoever sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// The transport header.
    pub transport: Transport,
    /// Whether it is a fragment, the first or a later one.
    pub is_fragment: bool,
    /// As [`Packet::has_extensions`].
    pub has_extensions: bool,
    /// As [`Packet::is_to_group`].
    pub is_to_group: bool,
}

const DESTINATION: u32 = 16;
const FLAGS: u32 = 32;
const KIND: u32 = 40;
const PAYLOAD: u32 = 42;
const FRAGMENT: u32 = 43;
const EXTENSIONS: u32 = 44;
const GROUP: u32 = 45;

impl From<&Packet> for Content {
    #[inline(always)]
    fn from(packet: &Packet) -> Self {
        Self {
            transport: packet.transport,
            is_fragment: !matches!(packet.fragment, Fragment::Whole),
            has_extensions: packet.has_extensions,
            is_to_group: packet.is_to_group,
        }
    }
}

impl Content {
    /// In one number.
    #[inline(always)]
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        let Transport { kind, source_port, destination_port, flags, has_payload } = self.transport;
        source_port as u64
            | (destination_port as u64) << DESTINATION
            | (flags as u64) << FLAGS
            | (kind as u64) << KIND
            | (has_payload as u64) << PAYLOAD
            | (self.is_fragment as u64) << FRAGMENT
            | (self.has_extensions as u64) << EXTENSIONS
            | (self.is_to_group as u64) << GROUP
    }

    /// From that number.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "each part is cut to its bits")]
    pub const fn from_bits(bits: u64) -> Self {
        let kind = match (bits >> KIND) & 3 {
            1 => TransportKind::Tcp,
            2 => TransportKind::Udp,
            3 => TransportKind::Icmp,
            _ => TransportKind::Other,
        };
        Self {
            transport: Transport {
                kind,
                source_port: bits as u16,
                destination_port: (bits >> DESTINATION) as u16,
                flags: (bits >> FLAGS) as u8,
                has_payload: (bits >> PAYLOAD) & 1 == 1,
            },
            is_fragment: (bits >> FRAGMENT) & 1 == 1,
            has_extensions: (bits >> EXTENSIONS) & 1 == 1,
            is_to_group: (bits >> GROUP) & 1 == 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_the_same_after_it_was_a_number() {
        for kind in [TransportKind::Other, TransportKind::Tcp, TransportKind::Udp, TransportKind::Icmp] {
            for bits in 0..16 {
                let is = |bit: u32| bits >> bit & 1 == 1;
                let transport = Transport {
                    kind,
                    source_port: 0xfedc,
                    destination_port: 0x8001,
                    flags: 0xa5,
                    has_payload: is(0),
                };
                let content =
                    Content { transport, is_fragment: is(1), has_extensions: is(2), is_to_group: is(3) };
                assert_eq!(Content::from_bits(content.to_bits()), content);
            }
        }
    }
}
