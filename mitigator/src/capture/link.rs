//! Link types: what stands before the network header of a captured packet, and whom the network
//! header addresses.

use std::fmt;
use std::net::IpAddr;

use mitigator_ebpf::packet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, MAX_VLAN_TAGS};

const ETHERNET_BYTES: usize = 14;

/// Where the network header of a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Behind the Ethernet header that the bytes start with.
    Ethernet,
    /// Behind another link header, or none.
    At {
        /// Names the network protocol; 0 for one that has none.
        ethertype: u16,
        /// Where its header starts.
        offset: usize,
    },
    /// Out of reach: the link header is cut.
    Cut,
}

impl Network {
    /// The destination address in the network header of `bytes`.
    pub(super) fn destination(self, bytes: &[u8]) -> Option<IpAddr> {
        let (ethertype, offset) = match self {
            Self::Ethernet => skip_vlan_tags(bytes, read_u16(bytes, ETHERNET_BYTES - 2)?, ETHERNET_BYTES)?,
            Self::At { ethertype, offset } => (ethertype, offset),
            Self::Cut => return None,
        };
        let header = bytes.get(offset..)?;
        match (ethertype, header.first()? >> 4) {
            (ETHERTYPE_IPV4, 4) => Some(IpAddr::from(*header.get(16..)?.first_chunk::<4>()?)),
            (ETHERTYPE_IPV6, 6) => Some(IpAddr::from(*header.get(24..)?.first_chunk::<16>()?)),
            _ => None,
        }
    }
}

/// The link headers that can be read past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkType {
    Ethernet,
    /// The version field of the IP header tells the protocol.
    RawIp,
    Ipv4,
    Ipv6,
    /// Of Linux's `any` device.
    LinuxCooked,
    LinuxCookedV2,
    /// BSD loopback: an address family, in either byte order.
    Loopback,
}

/// A link type that cannot be read past, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UnsupportedLink(pub u16);

impl LinkType {
    /// The link type that a capture names by `number`.
    pub(super) fn from_number(number: u16) -> Result<Self, UnsupportedLink> {
        Ok(match number {
            0 | 108 => Self::Loopback,
            1 => Self::Ethernet,
            12 | 14 | 101 => Self::RawIp,
            113 => Self::LinuxCooked,
            228 => Self::Ipv4,
            229 => Self::Ipv6,
            276 => Self::LinuxCookedV2,
            _ => return Err(UnsupportedLink(number)),
        })
    }

    const fn header_bytes(self) -> u8 {
        match self {
            Self::Ethernet => 14,
            Self::RawIp | Self::Ipv4 | Self::Ipv6 => 0,
            Self::LinuxCooked => 16,
            Self::LinuxCookedV2 => 20,
            Self::Loopback => 4,
        }
    }

    /// The length that a packet of `wire_bytes` would have behind an Ethernet header.
    pub(super) fn as_on_ethernet(self, wire_bytes: u32) -> u32 {
        match self {
            Self::Ethernet => wire_bytes,
            _ => wire_bytes
                .saturating_sub(u32::from(self.header_bytes()))
                .saturating_add(u32::from(Self::Ethernet.header_bytes())),
        }
    }

    /// Where the network header of the packet `bytes` is.
    pub(super) fn network(self, bytes: &[u8]) -> Network {
        let offset = usize::from(self.header_bytes());
        let found = match self {
            Self::Ethernet => return Network::Ethernet,
            Self::RawIp => bytes.first().map(|first| (ethertype_of_version(first >> 4), offset)),
            Self::Ipv4 => Some((ETHERTYPE_IPV4, offset)),
            Self::Ipv6 => Some((ETHERTYPE_IPV6, offset)),
            Self::LinuxCooked => read_u16(bytes, 14).and_then(|tag| skip_vlan_tags(bytes, tag, offset)),
            Self::LinuxCookedV2 if bytes.len() < offset => None,
            Self::LinuxCookedV2 => read_u16(bytes, 0).and_then(|tag| skip_vlan_tags(bytes, tag, offset)),
            Self::Loopback => bytes.first_chunk().map(|family| (ethertype_of_family(*family), offset)),
        };
        found.map_or(Network::Cut, |(ethertype, offset)| Network::At { ethertype, offset })
    }
}

const fn ethertype_of_version(version: u8) -> u16 {
    match version {
        4 => ETHERTYPE_IPV4,
        6 => ETHERTYPE_IPV6,
        _ => 0,
    }
}

/// The number for IPv6 differs between Linux, NetBSD, FreeBSD and macOS.
const fn ethertype_of_family(family: [u8; 4]) -> u16 {
    let ([family, 0, 0, 0] | [0, 0, 0, family]) = family else {
        return 0;
    };
    match family {
        2 => ETHERTYPE_IPV4,
        10 | 24 | 28 | 30 => ETHERTYPE_IPV6,
        _ => 0,
    }
}

/// Past as many VLAN tags as the XDP program reads; `None` when one is cut.
fn skip_vlan_tags(bytes: &[u8], mut ethertype: u16, mut offset: usize) -> Option<(u16, usize)> {
    for _ in 0..MAX_VLAN_TAGS {
        if !matches!(ethertype, 0x8100 | 0x88a8 | 0x9100) {
            break;
        }
        ethertype = read_u16(bytes, offset + 2)?;
        offset += 4;
    }
    Some((ethertype, offset))
}

fn read_u16(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

impl fmt::Display for UnsupportedLink {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(number) = self;
        write!(formatter, "link type {number}")?;
        if let Some(name) = name_of_unsupported(*number) {
            write!(formatter, " ({name})")?;
        }
        formatter.write_str(
            " is not supported; supported are Ethernet (1), raw IP (101, 12, 14, 228, 229), \
             Linux cooked (113, 276) and BSD loopback (0, 108)",
        )
    }
}

impl std::error::Error for UnsupportedLink {}

/// Of the link types that people are likely to meet, as the registry of tcpdump.org names them.
const fn name_of_unsupported(number: u16) -> Option<&'static str> {
    Some(match number {
        6 => "token ring",
        8 => "SLIP",
        9 => "PPP",
        10 => "FDDI",
        50 => "PPP in HDLC-like framing",
        51 => "PPPoE session",
        104 => "Cisco HDLC",
        105 => "IEEE 802.11",
        107 => "frame relay",
        109 => "OpenBSD IPsec",
        117 => "OpenBSD packet filter log",
        119 => "IEEE 802.11 with Prism header",
        127 => "IEEE 802.11 with radiotap header",
        147..=162 => "private use",
        187 | 201 => "Bluetooth HCI",
        189 | 220 => "USB, Linux",
        192 => "per-packet information",
        195 | 230 | 283 => "IEEE 802.15.4",
        227 => "CAN bus",
        239 => "Linux netfilter log",
        249 => "USB, Windows",
        251 | 256 => "Bluetooth low energy",
        252 => "Wireshark upper-layer protocol",
        253 => "Linux netlink",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use mitigator_ebpf::packet::{Direction, Packet, Transport, Unparsed};
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::capture::CapturedPacket;
    use crate::capture::samples::{PcapSample, ethernet, read_bytes, udp_over_ipv4, udp_over_ipv6};

    const SUPPORTED: [u16; 10] = [0, 1, 12, 14, 101, 108, 113, 228, 229, 276];

    fn behind(header: &[u8], network: &[u8]) -> Vec<u8> {
        [header, network].concat()
    }

    fn cooked(protocol: u16, network: &[u8]) -> Vec<u8> {
        let mut header = vec![0, 0, 0, 1, 0, 6, 2, 2, 2, 2, 2, 2, 0, 0];
        header.extend(protocol.to_be_bytes());
        behind(&header, network)
    }

    fn cooked_v2(protocol: u16, network: &[u8]) -> Vec<u8> {
        let mut header = protocol.to_be_bytes().to_vec();
        header.extend([0, 0, 0, 0, 0, 3, 0, 1, 0, 6, 2, 2, 2, 2, 2, 2, 0, 0]);
        behind(&header, network)
    }

    fn captured(link: LinkType, bytes: &[u8]) -> CapturedPacket<'_> {
        let wire_bytes = link.as_on_ethernet(u32::try_from(bytes.len()).unwrap());
        CapturedPacket { at_ns: 0, wire_bytes, bytes, network: link.network(bytes) }
    }

    #[test]
    fn reads_past_every_link_header() {
        let (v4, v6) = (udp_over_ipv4, udp_over_ipv6);
        let tagged = |network: &[u8]| behind(&[0, 5, 8, 0], network);
        let twice_tagged = |network: &[u8]| behind(&[0, 5, 0x81, 0, 0, 6, 8, 0], network);
        for (description, link, bytes, is_v4, tag_bytes) in [
            ("ethernet, IPv4", 1, ethernet(0x0800, &v4()), true, 0),
            ("ethernet, IPv6", 1, ethernet(0x86dd, &v6()), false, 0),
            ("ethernet, tagged", 1, ethernet(0x8100, &tagged(&v4())), true, 4),
            ("ethernet, tagged twice", 1, ethernet(0x88a8, &twice_tagged(&v4())), true, 8),
            ("raw, IPv4", 101, v4(), true, 0),
            ("raw, IPv6", 101, v6(), false, 0),
            ("raw as BSD numbers it", 12, v4(), true, 0),
            ("raw as OpenBSD numbers it", 14, v6(), false, 0),
            ("IPv4", 228, v4(), true, 0),
            ("IPv6", 229, v6(), false, 0),
            ("cooked, IPv4", 113, cooked(0x0800, &v4()), true, 0),
            ("cooked, IPv6", 113, cooked(0x86dd, &v6()), false, 0),
            ("cooked, tagged", 113, cooked(0x8100, &tagged(&v4())), true, 4),
            ("cooked, tagged twice", 113, cooked(0x88a8, &twice_tagged(&v4())), true, 8),
            ("cooked v2, IPv4", 276, cooked_v2(0x0800, &v4()), true, 0),
            ("cooked v2, IPv6", 276, cooked_v2(0x86dd, &v6()), false, 0),
            ("cooked v2, tagged", 276, cooked_v2(0x8100, &tagged(&v4())), true, 4),
            ("null, little endian", 0, behind(&[2, 0, 0, 0], &v4()), true, 0),
            ("null, big endian", 0, behind(&[0, 0, 0, 2], &v4()), true, 0),
            ("null, IPv6 of Linux", 0, behind(&[10, 0, 0, 0], &v6()), false, 0),
            ("null, IPv6 of NetBSD", 0, behind(&[24, 0, 0, 0], &v6()), false, 0),
            ("null, IPv6 of FreeBSD", 0, behind(&[0, 0, 0, 28], &v6()), false, 0),
            ("null, IPv6 of macOS", 0, behind(&[30, 0, 0, 0], &v6()), false, 0),
            ("loop, big endian", 108, behind(&[0, 0, 0, 2], &v4()), true, 0),
            ("loop, little endian", 108, behind(&[24, 0, 0, 0], &v6()), false, 0),
        ] {
            let (source, destination, network_bytes) = match is_v4 {
                true => ("192.0.2.7", "198.51.100.9", 30),
                false => ("2001:db8::7", "2001:db8:9::9", 50),
            };
            let packet = captured(LinkType::from_number(link).expect(description), &bytes);
            let parsed: Packet = packet.parse(Direction::Arriving).expect(description);
            assert_eq!(IpAddr::from(parsed.address), source.parse::<IpAddr>().unwrap(), "{description}");
            let transport = Transport::udp(53, 4242);
            assert_eq!(parsed.transport, transport, "{description}");
            assert_eq!(packet.destination(), Some(destination.parse().unwrap()), "{description}");
            assert_eq!(packet.wire_bytes, 14 + tag_bytes + network_bytes, "{description}");
        }
    }

    #[test]
    fn says_what_is_no_ip_and_what_is_cut() {
        let v4 = udp_over_ipv4;
        for (description, link, bytes, expected) in [
            ("ethernet, ARP", 1, ethernet(0x0806, &[0; 28]), Unparsed::NotIp),
            ("ethernet, cut", 1, vec![2; 13], Unparsed::Malformed),
            (
                "ethernet, three tags",
                1,
                ethernet(0x8100, &[0, 1, 0x81, 0, 0, 1, 0x81, 0]),
                Unparsed::Malformed,
            ),
            ("raw, version 5", 101, vec![0x50; 40], Unparsed::NotIp),
            ("raw, empty", 101, vec![], Unparsed::Malformed),
            ("raw, cut in the IP header", 101, v4()[..19].to_vec(), Unparsed::Malformed),
            ("IPv4 that is IPv6", 228, udp_over_ipv6(), Unparsed::Malformed),
            ("cooked, ARP", 113, cooked(0x0806, &[0; 28]), Unparsed::NotIp),
            ("cooked, cut", 113, cooked(0x0800, &[])[..15].to_vec(), Unparsed::Malformed),
            ("cooked, cut in the tag", 113, cooked(0x8100, &[0, 1, 8]), Unparsed::Malformed),
            ("cooked, three tags", 113, cooked(0x8100, &[0, 1, 0x81, 0, 0, 1, 0x81, 0]), Unparsed::Malformed),
            ("cooked v2, cut", 276, cooked_v2(0x0800, &[])[..19].to_vec(), Unparsed::Malformed),
            ("null, another family", 0, behind(&[7, 0, 0, 0], &v4()), Unparsed::NotIp),
            ("null, family of two bytes", 0, behind(&[2, 2, 0, 0], &v4()), Unparsed::NotIp),
            ("null, cut", 0, vec![2, 0, 0], Unparsed::Malformed),
        ] {
            let packet = captured(LinkType::from_number(link).expect(description), &bytes);
            assert_eq!(packet.parse(Direction::Arriving), Err(expected), "{description}");
            assert_eq!(packet.destination(), None, "{description}");
        }
    }

    #[test]
    fn names_a_link_type_that_is_not_supported() {
        for (number, expected) in [
            (189, "link type 189 (USB, Linux) is not supported"),
            (105, "link type 105 (IEEE 802.11) is not supported"),
            (9999, "link type 9999 is not supported"),
        ] {
            let Err(error) = read_bytes(PcapSample::little_endian(number).bytes) else {
                panic!("{number} was accepted")
            };
            let message = format!("{error:#}");
            assert!(message.contains(expected), "{message}");
            assert!(message.contains("supported are Ethernet (1), raw IP (101"), "{message}");
        }
    }

    #[test]
    fn lengths_stay_in_bounds() {
        assert_eq!(LinkType::Ethernet.as_on_ethernet(3), 3);
        assert_eq!(LinkType::RawIp.as_on_ethernet(u32::MAX), u32::MAX);
        assert_eq!(LinkType::LinuxCookedV2.as_on_ethernet(3), 14);
    }

    proptest! {
        #[test]
        fn knows_the_destination_of_whatever_can_be_parsed(
            link in proptest::sample::select(&SUPPORTED[..]),
            mut bytes in vec(any::<u8>(), 0..80),
            likely in vec((0_usize..80, proptest::sample::select(&[0x45, 0x60, 8, 0, 0x81, 0x86, 0xdd, 2, 30][..])), 0..12),
        ) {
            for (position, value) in likely {
                if let Some(byte) = bytes.get_mut(position) {
                    *byte = value;
                }
            }
            let packet = captured(LinkType::from_number(link).unwrap(), &bytes);
            if packet.parse(Direction::Arriving).is_ok() {
                prop_assert!(packet.destination().is_some());
            }
        }
    }
}
