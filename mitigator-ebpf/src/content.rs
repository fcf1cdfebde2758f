//! `Content`: of a packet all that is counted, in one number, which the kernel's verifier loses sight of at once; and passes to
//! functions of their own, where nothing but numbers goes.

use core::fmt;

use crate::packet::{Fragment, Packet, Transport};

/// What a packet is, whoever sends it.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Content(u64);

const EXTENSIONS: u32 = 61;
const FRAGMENT: u32 = 62;
/// The highest, so that a receiver's first byte is shifted there without another bit of it.
const GROUP: u32 = 63;
const _: () = assert!(Transport::BITS < EXTENSIONS);

impl From<&Packet> for Content {
    #[inline(always)]
    fn from(packet: &Packet) -> Self {
        Self::new(packet.transport, !matches!(packet.fragment, Fragment::Whole), packet.has_extensions)
            .sent_to_group(packet.is_to_group)
    }
}

/// Of a whole packet to one receiver.
impl From<Transport> for Content {
    #[inline(always)]
    fn from(transport: Transport) -> Self {
        Self(transport.bits())
    }
}

impl Content {
    /// Of a packet to one receiver.
    #[inline(always)]
    pub(crate) const fn new(transport: Transport, is_fragment: bool, has_extensions: bool) -> Self {
        Self(transport.bits() | (is_fragment as u64) << FRAGMENT | (has_extensions as u64) << EXTENSIONS)
    }

    /// The same to a group, if it is.
    #[inline(always)]
    pub(crate) const fn sent_to_group(self, is_to_group: bool) -> Self {
        Self(self.0 | (is_to_group as u64) << GROUP)
    }

    /// The number.
    #[inline(always)]
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// From that number.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The transport header.
    #[inline(always)]
    #[must_use]
    pub const fn transport(self) -> Transport {
        Transport::from_bits(self.0)
    }

    /// Whether it is a fragment, the first or a later one.
    #[inline(always)]
    #[must_use]
    pub const fn is_fragment(self) -> bool {
        self.0 >> FRAGMENT & 1 == 1
    }

    /// As [`Packet::has_extensions`].
    #[inline(always)]
    #[must_use]
    pub const fn has_extensions(self) -> bool {
        self.0 >> EXTENSIONS & 1 == 1
    }

    /// Whether it is a fragment or has extensions.
    #[inline(always)]
    #[must_use]
    pub const fn is_unusual(self) -> bool {
        self.0 & (1 << FRAGMENT | 1 << EXTENSIONS) != 0
    }

    /// As [`Packet::is_to_group`].
    #[inline(always)]
    #[must_use]
    pub const fn is_to_group(self) -> bool {
        self.0 >> GROUP & 1 == 1
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("transport", &self.transport())
            .field("is_fragment", &self.is_fragment())
            .field("has_extensions", &self.has_extensions())
            .field("is_to_group", &self.is_to_group())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::TransportKind;
    use mitigator_common::{Source, WideAddress};

    #[test]
    fn nothing_of_a_packet_is_lost_in_the_number() {
        let transports = [Transport::OTHER, Transport::ICMP, Transport::udp(0xfedc, 0x8001)];
        let tcp = [false, true].map(|has_payload| Transport::tcp(0xfedc, 0x8001, 0xa5, has_payload));
        for transport in transports.into_iter().chain(tcp) {
            for fragment in [Fragment::Whole, Fragment::First, Fragment::Later] {
                for bits in 0..4 {
                    let (has_extensions, is_to_group) = (bits & 1 == 1, bits & 2 == 2);
                    let packet = Packet {
                        source: Source::default(),
                        address: WideAddress::from_v4_bytes([0; 4]),
                        protocol: 0,
                        transport,
                        fragment,
                        has_extensions,
                        is_to_group,
                    };
                    let content = Content::from_bits(Content::from(&packet).to_bits());
                    assert_eq!(content.transport(), transport);
                    assert_eq!(content.is_fragment(), fragment != Fragment::Whole);
                    assert_eq!(content.has_extensions(), has_extensions);
                    assert_eq!(content.is_to_group(), is_to_group);
                    assert_eq!(content.is_unusual(), has_extensions || fragment != Fragment::Whole);
                }
            }
        }
    }

    #[test]
    fn what_a_header_says_is_read_back() {
        let transport = Transport::tcp(0xfedc, 0x8001, 0xa5, true);
        assert_eq!((transport.source_port(), transport.destination_port()), (0xfedc, 0x8001));
        assert_eq!(
            (transport.kind(), transport.flags(), transport.has_payload()),
            (TransportKind::Tcp, 0xa5, true)
        );
        let transport = Transport::udp(0xfedc, 0x8001);
        assert_eq!((transport.source_port(), transport.destination_port()), (0xfedc, 0x8001));
        assert_eq!(
            (transport.kind(), transport.flags(), transport.has_payload()),
            (TransportKind::Udp, 0, false)
        );
        assert_eq!(
            (Transport::ICMP.kind(), Transport::OTHER.kind()),
            (TransportKind::Icmp, TransportKind::Other)
        );
    }
}
