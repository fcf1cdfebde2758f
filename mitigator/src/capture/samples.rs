//! Captures built field by field, for the tests of this module.
#![expect(clippy::cast_possible_truncation, reason = "samples are small, and ticks are split into halves")]

use super::{Capture, CapturedPacket, Damage};

/// Byte order of the fields of a sample.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    Little,
    Big,
}

impl Order {
    fn u16(self, value: u16) -> [u8; 2] {
        match self {
            Self::Little => value.to_le_bytes(),
            Self::Big => value.to_be_bytes(),
        }
    }

    fn u32(self, value: u32) -> [u8; 4] {
        match self {
            Self::Little => value.to_le_bytes(),
            Self::Big => value.to_be_bytes(),
        }
    }

    pub(super) fn i64(self, value: i64) -> [u8; 8] {
        match self {
            Self::Little => value.to_le_bytes(),
            Self::Big => value.to_be_bytes(),
        }
    }
}

/// A pcap file under construction.
pub(super) struct PcapSample {
    order: Order,
    is_modified: bool,
    pub bytes: Vec<u8>,
}

impl PcapSample {
    pub(super) fn new(order: Order, magic: u32, link: u32) -> Self {
        let mut sample = Self { order, is_modified: magic == 0xa1b2_cd34, bytes: Vec::new() };
        sample.bytes.extend(order.u32(magic));
        sample.bytes.extend(order.u16(2));
        sample.bytes.extend(order.u16(4));
        for field in [0, 0, 65_535, link] {
            sample.bytes.extend(order.u32(field));
        }
        sample
    }

    /// With microseconds.
    pub(super) fn little_endian(link: u32) -> Self {
        Self::new(Order::Little, 0xa1b2_c3d4, link)
    }

    pub(super) fn packet(mut self, seconds: u32, fraction: u32, original: u32, bytes: &[u8]) -> Self {
        for field in [seconds, fraction, bytes.len() as u32, original] {
            self.bytes.extend(self.order.u32(field));
        }
        if self.is_modified {
            self.bytes.extend([0xee; 8]);
        }
        self.bytes.extend(bytes);
        self
    }
}

/// A pcapng file under construction.
pub(super) struct PcapNgSample {
    order: Order,
    pub bytes: Vec<u8>,
}

impl PcapNgSample {
    pub(super) fn new(order: Order) -> Self {
        Self { order, bytes: Vec::new() }.section(order)
    }

    pub(super) fn section(mut self, order: Order) -> Self {
        self.order = order;
        let mut content = order.u32(0x1a2b_3c4d).to_vec();
        content.extend(order.u16(1));
        content.extend(order.u16(0));
        content.extend([0xff; 8]);
        self.block(0x0a0d_0d0a, &content)
    }

    pub(super) fn interface(self, link: u16, snap_length: u32, options: &[(u16, &[u8])]) -> Self {
        let order = self.order;
        let mut content = order.u16(link).to_vec();
        content.extend(order.u16(0));
        content.extend(order.u32(snap_length));
        content.extend(encoded(order, options));
        self.block(1, &content)
    }

    pub(super) fn enhanced(self, interface: u32, ticks: u64, original: u32, bytes: &[u8]) -> Self {
        self.enhanced_with(interface, ticks, original, bytes, &[])
    }

    pub(super) fn enhanced_with(
        self,
        interface: u32,
        ticks: u64,
        original: u32,
        bytes: &[u8],
        options: &[(u16, &[u8])],
    ) -> Self {
        let order = self.order;
        let mut content = order.u32(interface).to_vec();
        for field in [(ticks >> 32) as u32, ticks as u32, bytes.len() as u32, original] {
            content.extend(order.u32(field));
        }
        content.extend(padded(bytes));
        content.extend(encoded(order, options));
        self.block(6, &content)
    }

    pub(super) fn obsolete(self, interface: u16, ticks: u64, original: u32, bytes: &[u8]) -> Self {
        let order = self.order;
        let mut content = order.u16(interface).to_vec();
        content.extend(order.u16(7));
        for field in [(ticks >> 32) as u32, ticks as u32, bytes.len() as u32, original] {
            content.extend(order.u32(field));
        }
        content.extend(padded(bytes));
        self.block(2, &content)
    }

    pub(super) fn simple(self, original: u32, bytes: &[u8]) -> Self {
        let mut content = self.order.u32(original).to_vec();
        content.extend(padded(bytes));
        self.block(3, &content)
    }

    pub(super) fn block(mut self, kind: u32, content: &[u8]) -> Self {
        let length = self.order.u32(content.len() as u32 + 12);
        self.bytes.extend(self.order.u32(kind));
        self.bytes.extend(length);
        self.bytes.extend(content);
        self.bytes.extend(length);
        self
    }
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().next_multiple_of(4), 0);
    padded
}

fn encoded(order: Order, options: &[(u16, &[u8])]) -> Vec<u8> {
    let mut encoded = Vec::new();
    for (code, value) in options {
        encoded.extend(order.u16(*code));
        encoded.extend(order.u16(value.len() as u16));
        encoded.extend(padded(value));
    }
    if !options.is_empty() {
        encoded.extend([0; 4]);
    }
    encoded
}

/// A UDP packet from its IPv4 header on: 192.0.2.7 port 53 to 198.51.100.9 port 4242.
pub(super) fn udp_over_ipv4() -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 30, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 7, 198, 51, 100, 9];
    packet.extend([0, 53, 0x10, 0x92, 0, 10, 0, 0, b'h', b'i']);
    packet
}

/// A UDP packet from its IPv6 header on: 2001:db8::7 port 53 to 2001:db8:9::9 port 4242.
pub(super) fn udp_over_ipv6() -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 10, 17, 64];
    packet.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    packet.extend([0x20, 0x01, 0x0d, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
    packet.extend([0, 53, 0x10, 0x92, 0, 10, 0, 0, b'h', b'i']);
    packet
}

/// `network` behind an Ethernet header.
pub(super) fn ethernet(ethertype: u16, network: &[u8]) -> Vec<u8> {
    let mut packet = vec![2; 12];
    packet.extend(ethertype.to_be_bytes());
    packet.extend(network);
    packet
}

/// What a capture yielded: time, length on the wire and bytes of each packet, and the damage.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Read {
    pub packets: Vec<(u64, u32, Vec<u8>)>,
    pub damage: Option<Damage>,
}

/// Reads `capture` to its end.
pub(super) fn read_to_end(mut capture: Capture) -> Read {
    let mut packets = Vec::new();
    let damage = loop {
        match capture.next_packet() {
            Ok(Some(CapturedPacket { at_ns, wire_bytes, bytes, .. })) => {
                packets.push((at_ns, wire_bytes, bytes.to_vec()));
            }
            Ok(None) => break None,
            Err(damage) => break Some(damage),
        }
    };
    assert_eq!(capture.next_packet(), Ok(None), "nothing follows the end");
    Read { packets, damage }
}

/// Reads the capture `bytes` to its end.
pub(super) fn read_bytes(bytes: Vec<u8>) -> anyhow::Result<Read> {
    Ok(read_to_end(Capture::from_reader(std::io::Cursor::new(bytes), "sample")?))
}
