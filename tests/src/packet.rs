//! Packets as rows of a test write them: `tcp_syn("192.0.2.7").vlan(10).cut_to(20)`.
//!
//! A [`Packet`] is a description; [`Packet::bytes`] lays it out from the Ethernet header on, with
//! lengths that fit unless the row says otherwise. Malformed packets are as easy as good ones.
//! Checksums beyond the IPv4 header's are zero: neither the XDP program nor its parser reads them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// TCP: no more data from the sender.
pub const FIN: u8 = 0x01;
/// TCP: opens a connection.
pub const SYN: u8 = 0x02;
/// TCP: aborts a connection.
pub const RST: u8 = 0x04;
/// TCP: hand the data to the application.
pub const PSH: u8 = 0x08;
/// TCP: the acknowledgement number counts.
pub const ACK: u8 = 0x10;
/// TCP: urgent data.
pub const URG: u8 = 0x20;

/// IPv6 extension headers and the transports that rows name.
pub mod protocol {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// Generic routing encapsulation.
    pub const GRE: u8 = 47;
    /// Encrypted payload.
    pub const ESP: u8 = 50;
    /// Authentication header.
    pub const AUTHENTICATION: u8 = 51;
    /// IPv6: nothing follows.
    pub const NO_NEXT_HEADER: u8 = 59;
    /// IPv6 destination options.
    pub const DESTINATION_OPTIONS: u8 = 60;
    /// Mobility header.
    pub const MOBILITY: u8 = 135;
}

const VLAN: u16 = 0x8100;
const SERVICE_VLAN: u16 = 0x88a8;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const CLIENT_PORT: u16 = 40_000;
/// For whom all of these packets are.
pub const RECEIVERS: [IpAddr; 2] = [IpAddr::V4(RECEIVER_V4), IpAddr::V6(RECEIVER_V6)];
const RECEIVER_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const RECEIVER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1);
/// Where TCP of these packets goes.
pub const WEB_PORT: u16 = 80;
/// Where UDP of these packets goes, unless it says otherwise.
const UDP_PORT: u16 = 5_000;

/// A packet, described.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Ethertype and number of each tag, outermost first.
    tags: Vec<(u16, u16)>,
    /// `None` for that of the source's family.
    ethertype: Option<u16>,
    source: IpAddr,
    /// IPv4: bytes of options.
    options: usize,
    /// IPv4: flags and fragment offset as they stand on the wire.
    fragment_bits: u16,
    /// IPv6, in their order.
    extensions: Vec<Extension>,
    protocol: u8,
    transport: Vec<u8>,
    payload: usize,
    claimed_length: Option<u16>,
    network_patches: Vec<(usize, u8)>,
    transport_patches: Vec<(usize, u8)>,
    padding: usize,
    cut: Option<usize>,
}

#[derive(Clone, Debug)]
struct Extension {
    number: u8,
    /// From its second byte on; the first is the next header's number.
    rest: Vec<u8>,
}

/// One header of a packet's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub kind: HeaderKind,
    /// Where the next one begins.
    pub end: usize,
}

/// What a header is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderKind {
    /// Addresses and ethertype.
    Ethernet,
    /// A VLAN tag.
    Tag,
    /// IPv4 with its options, or the fixed header of IPv6.
    Network,
    /// An IPv6 extension header other than that of a fragment.
    Extension,
    /// The IPv6 extension header of a fragment.
    Fragment,
    /// TCP, UDP, ICMP.
    Transport,
}

/// A bare SYN to a web server.
#[must_use]
pub fn tcp_syn(source: &str) -> Packet {
    tcp(source, SYN)
}

/// TCP with any flags to a web server.
#[must_use]
pub fn tcp(source: &str, flags: u8) -> Packet {
    let mut header = vec![0; 20];
    put_u16(&mut header, 0, CLIENT_PORT);
    put_u16(&mut header, 2, WEB_PORT);
    put(&mut header, 12, 5 << 4);
    put(&mut header, 13, flags);
    Packet::new(source, protocol::TCP, header)
}

/// A datagram from `source_port` with 32 bytes of payload.
#[must_use]
pub fn udp(source: &str, source_port: u16) -> Packet {
    let mut header = vec![0; 8];
    put_u16(&mut header, 0, source_port);
    put_u16(&mut header, 2, UDP_PORT);
    Packet::new(source, protocol::UDP, header).payload(32)
}

/// An echo request of the source's family.
#[must_use]
pub fn icmp(source: &str) -> Packet {
    let (number, kind) = if source.contains(':') { (ICMPV6, 128) } else { (ICMP, 8) };
    let mut header = vec![0; 8];
    put(&mut header, 0, kind);
    Packet::new(source, number, header).payload(32)
}

/// Another protocol, with 32 bytes that nobody reads.
#[must_use]
pub fn other(source: &str, protocol: u8) -> Packet {
    Packet::new(source, protocol, Vec::new()).payload(32)
}

impl Packet {
    /// # Panics
    ///
    /// When `source` is no address: rows are written by hand.
    fn new(source: &str, protocol: u8, transport: Vec<u8>) -> Self {
        Self {
            tags: Vec::new(),
            ethertype: None,
            source: source.parse().expect("a row names an address"),
            options: 0,
            fragment_bits: 0,
            extensions: Vec::new(),
            protocol,
            transport,
            payload: 0,
            claimed_length: None,
            network_patches: Vec::new(),
            transport_patches: Vec::new(),
            padding: 0,
            cut: None,
        }
    }

    /// With a VLAN tag inside those that are there.
    #[must_use]
    pub fn vlan(self, number: u16) -> Self {
        self.tag(VLAN, number)
    }

    /// With a provider's VLAN tag inside those that are there.
    #[must_use]
    pub fn service_vlan(self, number: u16) -> Self {
        self.tag(SERVICE_VLAN, number)
    }

    /// With a tag of any ethertype.
    #[must_use]
    pub fn tag(mut self, ethertype: u16, number: u16) -> Self {
        self.tags.push((ethertype, number));
        self
    }

    /// With another innermost ethertype than the network header's.
    #[must_use]
    pub fn ethertype(mut self, ethertype: u16) -> Self {
        self.ethertype = Some(ethertype);
        self
    }

    /// IPv4: with `length` bytes of options, a multiple of 4 up to 40.
    #[must_use]
    pub fn options(mut self, length: usize) -> Self {
        self.options = length;
        self
    }

    /// IPv6: with an extension header of 8 bytes after those that are there.
    #[must_use]
    pub fn extension(self, number: u8) -> Self {
        self.extension_of(number, 8)
    }

    /// IPv6: with an extension header of `length` bytes, a multiple of 8 (of 4 for authentication).
    #[must_use]
    pub fn extension_of(mut self, number: u8, length: usize) -> Self {
        let units = if number == protocol::AUTHENTICATION { length / 4 - 2 } else { length / 8 - 1 };
        let mut rest = vec![0; length - 1];
        put(&mut rest, 0, low_byte(units));
        self.extensions.push(Extension { number, rest });
        self
    }

    /// A fragment that starts at `offset` (in units of 8 bytes); `more` says that others follow.
    #[must_use]
    pub fn fragment(mut self, offset: u16, more: bool) -> Self {
        if self.source.is_ipv4() {
            self.fragment_bits = offset | u16::from(more) << 13;
        } else {
            let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
            self.extensions
                .push(Extension { number: protocol::FRAGMENT, rest: vec![0, high, low, 0, 0, 0, 1] });
        }
        self
    }

    /// IPv4: with the flag "don't fragment".
    #[must_use]
    pub fn dont_fragment(mut self) -> Self {
        self.fragment_bits |= 0x4000;
        self
    }

    /// To another port; TCP and UDP.
    #[must_use]
    pub fn to_port(self, port: u16) -> Self {
        let [high, low] = port.to_be_bytes();
        self.transport_byte(2, high).transport_byte(3, low)
    }

    /// With `length` bytes after the transport header.
    #[must_use]
    pub fn payload(mut self, length: usize) -> Self {
        self.payload = length;
        self
    }

    /// With another length in the IP header: the total length of IPv4, the payload length of IPv6.
    #[must_use]
    pub fn claiming(mut self, length: u16) -> Self {
        self.claimed_length = Some(length);
        self
    }

    /// With another byte in the IP header, counted from its start.
    #[must_use]
    pub fn network_byte(mut self, offset: usize, value: u8) -> Self {
        self.network_patches.push((offset, value));
        self
    }

    /// With another byte in the transport header, counted from its start.
    #[must_use]
    pub fn transport_byte(mut self, offset: usize, value: u8) -> Self {
        self.transport_patches.push((offset, value));
        self
    }

    /// With bytes after the end of the IP datagram, as Ethernet pads short frames.
    #[must_use]
    pub fn padded_by(mut self, length: usize) -> Self {
        self.padding = length;
        self
    }

    /// Only the first `length` bytes; lengths in the headers stay.
    #[must_use]
    pub fn cut_to(mut self, length: usize) -> Self {
        self.cut = Some(length);
        self
    }

    /// The packet from its Ethernet header on.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2];
        for (ethertype, number) in &self.tags {
            bytes.extend(ethertype.to_be_bytes());
            bytes.extend(number.to_be_bytes());
        }
        let family = if self.source.is_ipv4() { 0x0800 } else { 0x86dd };
        bytes.extend(self.ethertype.unwrap_or(family).to_be_bytes());
        let mut network = self.network_header();
        patch(&mut network, &self.network_patches);
        bytes.extend(network);
        bytes.extend(self.extension_headers());
        bytes.extend(self.transport_header());
        bytes.resize(bytes.len() + self.payload + self.padding, 0);
        bytes.truncate(self.cut.unwrap_or(usize::MAX));
        bytes
    }

    /// Of TCP and UDP.
    #[must_use]
    pub fn destination_port(&self) -> u16 {
        match self.transport_header().as_slice() {
            [_, _, high, low, ..] => u16::from_be_bytes([*high, *low]),
            _ => 0,
        }
    }

    /// Where each header ends, in the order of the bytes, whether or not the packet is cut.
    #[must_use]
    pub fn headers(&self) -> Vec<Header> {
        let mut headers = vec![Header { kind: HeaderKind::Ethernet, end: 14 }];
        let mut add = |kind, length| {
            let end = headers.last().map_or(0, |header| header.end) + length;
            headers.push(Header { kind, end });
        };
        for _ in &self.tags {
            add(HeaderKind::Tag, 4);
        }
        add(HeaderKind::Network, if self.source.is_ipv4() { 20 + self.options } else { 40 });
        for extension in &self.extensions {
            let is_fragment = extension.number == protocol::FRAGMENT;
            let kind = if is_fragment { HeaderKind::Fragment } else { HeaderKind::Extension };
            add(kind, extension.rest.len() + 1);
        }
        if !self.transport.is_empty() {
            add(HeaderKind::Transport, self.transport.len());
        }
        headers
    }

    fn network_header(&self) -> Vec<u8> {
        let after = self.extension_headers().len() + self.transport.len() + self.payload;
        match self.source {
            IpAddr::V4(source) => {
                let length = 20 + self.options;
                let mut header = vec![0; length];
                put(&mut header, 0, 4 << 4 | low_byte(length / 4));
                put_u16(&mut header, 2, self.claimed_length.unwrap_or_else(|| low_u16(length + after)));
                put_u16(&mut header, 6, self.fragment_bits);
                put(&mut header, 8, 64);
                put(&mut header, 9, self.protocol);
                put_all(&mut header, 12, &source.octets());
                put_all(&mut header, 16, &RECEIVER_V4.octets());
                // Options that do nothing, one byte each.
                header.iter_mut().skip(20).for_each(|byte| *byte = 1);
                let checksum = internet_checksum(&header);
                put_u16(&mut header, 10, checksum);
                header
            }
            IpAddr::V6(source) => {
                let mut header = vec![0; 40];
                put(&mut header, 0, 6 << 4);
                put_u16(&mut header, 4, self.claimed_length.unwrap_or_else(|| low_u16(after)));
                put(&mut header, 6, self.extensions.first().map_or(self.protocol, |first| first.number));
                put(&mut header, 7, 64);
                put_all(&mut header, 8, &source.octets());
                put_all(&mut header, 24, &RECEIVER_V6.octets());
                header
            }
        }
    }

    fn extension_headers(&self) -> Vec<u8> {
        let next = self.extensions.iter().skip(1).map(|extension| extension.number).chain([self.protocol]);
        let mut bytes = Vec::new();
        for (extension, next) in self.extensions.iter().zip(next) {
            bytes.push(next);
            bytes.extend(&extension.rest);
        }
        bytes
    }

    fn transport_header(&self) -> Vec<u8> {
        let mut header = self.transport.clone();
        if self.protocol == protocol::UDP {
            put_u16(&mut header, 4, low_u16(8 + self.payload));
        }
        patch(&mut header, &self.transport_patches);
        header
    }
}

fn patch(header: &mut [u8], patches: &[(usize, u8)]) {
    for (offset, value) in patches {
        put(header, *offset, *value);
    }
}

fn put(header: &mut [u8], offset: usize, value: u8) {
    put_all(header, offset, &[value]);
}

fn put_u16(header: &mut [u8], offset: usize, value: u16) {
    put_all(header, offset, &value.to_be_bytes());
}

fn put_all(header: &mut [u8], offset: usize, values: &[u8]) {
    header
        .get_mut(offset..offset + values.len())
        .expect("a row writes inside the header")
        .copy_from_slice(values);
}

fn low_byte(number: usize) -> u8 {
    u8::try_from(number).expect("a row's header length fits its field")
}

fn low_u16(number: usize) -> u16 {
    u16::try_from(number).expect("a row's packet is shorter than 64 KiB")
}

/// RFC 1071.
fn internet_checksum(header: &[u8]) -> u16 {
    let sum: u32 = header
        .chunks(2)
        .map(|pair| {
            u32::from(u16::from_be_bytes([
                pair.first().copied().unwrap_or(0),
                pair.get(1).copied().unwrap_or(0),
            ]))
        })
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_end_where_the_bytes_say() {
        for (description, packet, ends, length) in [
            ("IPv4", tcp_syn("192.0.2.7"), vec![14, 34, 54], 54),
            (
                "tags and options",
                udp("192.0.2.7", 53).service_vlan(1).vlan(2).options(8),
                vec![14, 18, 22, 50, 58],
                90,
            ),
            (
                "IPv6 with extensions",
                icmp("2001:db8::7").extension_of(protocol::AUTHENTICATION, 16).fragment(0, true),
                vec![14, 54, 70, 78, 86],
                118,
            ),
            ("cut", tcp_syn("192.0.2.7").cut_to(20), vec![14, 34, 54], 20),
        ] {
            let found: Vec<usize> = packet.headers().iter().map(|header| header.end).collect();
            assert_eq!(found, ends, "{description}");
            assert_eq!(packet.bytes().len(), length, "{description}");
        }
    }

    #[test]
    fn the_ipv4_header_sums_up() {
        let bytes = tcp_syn("192.0.2.7").options(4).bytes();
        assert_eq!(internet_checksum(&bytes[14..38]), 0);
    }
}
