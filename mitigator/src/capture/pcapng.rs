//! The pcapng format: sections of blocks, each section with its byte order and its interfaces.
//!
//! Packets stand in enhanced, simple and (obsolete) packet blocks. Their fixed fields are read here,
//! because the library collects the options of each into a vector, does not know the obsolete block,
//! and counts the padding of a simple one as captured. It reads the interfaces. Other blocks are
//! passed over, whatever their length.

use pcap_parser::{parse_interfacedescriptionblock_be, parse_interfacedescriptionblock_le};

use super::clock::Clock;
use super::link::{LinkType, UnsupportedLink};
use super::packet::Record;
use super::window::{CAPACITY_BYTES, Fault, Window};

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

/// Type and length.
const BLOCK_HEADER_BYTES: usize = 8;
/// The length again.
const BLOCK_TRAILER_BYTES: usize = 4;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
/// More than any machine has; bounds the memory that a hostile file can claim.
const MAX_INTERFACES: usize = 65_536;

/// Whether a file that starts like this is a pcapng file.
pub(super) fn is_recognised(start: &[u8]) -> bool {
    start.starts_with(&SECTION_HEADER.to_be_bytes())
}

/// What the file said so far about the packets to come.
pub(super) struct PcapNg {
    order: ByteOrder,
    /// Of the current section.
    interfaces: Vec<Interface>,
    last_at_ns: u64,
}

#[derive(Clone, Copy)]
enum ByteOrder {
    Little,
    Big,
}

struct Interface {
    link: Result<LinkType, UnsupportedLink>,
    /// 0: no limit.
    snap_length: u32,
    clock: Clock,
}

struct BlockHeader {
    kind: u32,
    /// Of the whole block, at least as long as its header and trailer.
    length: u32,
}

impl PcapNg {
    pub(super) const fn new() -> Self {
        Self { order: ByteOrder::Little, interfaces: Vec::new(), last_at_ns: 0 }
    }

    /// The next packet, or `None` at the end of the file.
    pub(super) fn next_record(&mut self, window: &mut Window) -> Result<Option<Record>, Fault> {
        loop {
            let offset_bytes = window.offset_bytes();
            let fault = |what| Fault { offset_bytes, what };
            let Some(header) = self.next_header(window)? else {
                return Ok(None);
            };
            let length = header.length as usize;
            let passed_over = if header.is_read() { 0 } else { length - BLOCK_TRAILER_BYTES };
            let rest = length - passed_over;
            if rest > CAPACITY_BYTES {
                return Err(fault(format!("a block of {length} bytes is implausible")));
            }
            if !(window.skip(passed_over)? && window.require(rest)?) {
                return Err(fault(format!("the file ends within a block of {length} bytes")));
            }
            let block = &window.available()[..rest];
            if block.last_chunk().map(|trailer| self.order.u32(*trailer)) != Some(header.length) {
                return Err(fault(format!("a block of {length} bytes has another length at its end")));
            }
            match header.kind {
                SECTION_HEADER => self.begin_section(block).map_err(fault)?,
                INTERFACE_DESCRIPTION => self.add_interface(block).map_err(fault)?,
                ENHANCED_PACKET | OBSOLETE_PACKET | SIMPLE_PACKET => {
                    let record = self.locate(header.kind, block).map_err(fault)?;
                    self.last_at_ns = record.at_ns;
                    return Ok(Some(record));
                }
                _ => {}
            }
            window.take(rest);
        }
    }

    /// Looks at the header of the next block, and at the byte order when a section starts there.
    fn next_header(&mut self, window: &mut Window) -> Result<Option<BlockHeader>, Fault> {
        window.require(BLOCK_HEADER_BYTES + BLOCK_TRAILER_BYTES)?;
        let offset_bytes = window.offset_bytes();
        let fault = |what: &str| Fault { offset_bytes, what: what.to_owned() };
        let [k0, k1, k2, k3, l0, l1, l2, l3, magic @ ..] = window.available() else {
            return match window.available() {
                [] => Ok(None),
                _ => Err(fault("the file ends within the header of a block")),
            };
        };
        let kind = [*k0, *k1, *k2, *k3];
        if is_recognised(&kind) {
            self.order = match magic.first_chunk() {
                Some(magic) if u32::from_le_bytes(*magic) == BYTE_ORDER_MAGIC => ByteOrder::Little,
                Some(magic) if u32::from_be_bytes(*magic) == BYTE_ORDER_MAGIC => ByteOrder::Big,
                Some(_) => return Err(fault("a section header without the byte-order magic")),
                None => return Err(fault("the file ends within a section header")),
            };
        }
        let header = BlockHeader { kind: self.order.u32(kind), length: self.order.u32([*l0, *l1, *l2, *l3]) };
        if (header.length as usize) < BLOCK_HEADER_BYTES + BLOCK_TRAILER_BYTES {
            return Err(fault("a block that is shorter than its own header"));
        }
        Ok(Some(header))
    }

    fn begin_section(&mut self, block: &[u8]) -> Result<(), String> {
        let version = block.get(12..).and_then(<[u8]>::first_chunk).map(|major| self.order.u16(*major));
        if version != Some(1) {
            return Err("a section of another version than 1".to_owned());
        }
        self.interfaces.clear();
        Ok(())
    }

    fn add_interface(&mut self, block: &[u8]) -> Result<(), String> {
        if self.interfaces.len() == MAX_INTERFACES {
            return Err(format!("more than {MAX_INTERFACES} interfaces"));
        }
        let parsed = match self.order {
            ByteOrder::Little => parse_interfacedescriptionblock_le(block),
            ByteOrder::Big => parse_interfacedescriptionblock_be(block),
        };
        let Ok((_, description)) = parsed else {
            return Err("the description of an interface cannot be read".to_owned());
        };
        let link = u16::try_from(description.linktype.0).expect("the field has 16 bits");
        // The library reads it as little endian in either byte order.
        let offset_seconds = match self.order {
            ByteOrder::Little => description.if_tsoffset,
            ByteOrder::Big => description.if_tsoffset.swap_bytes(),
        };
        self.interfaces.push(Interface {
            link: LinkType::from_number(link),
            snap_length: description.snaplen,
            clock: Clock::new(description.if_tsresol, offset_seconds),
        });
        Ok(())
    }

    /// Finds the packet in a packet block.
    fn locate(&self, kind: u32, block: &[u8]) -> Result<Record, String> {
        let fields = &block[BLOCK_HEADER_BYTES..block.len() - BLOCK_TRAILER_BYTES];
        let too_short = || "a packet block that is shorter than its own fields".to_owned();
        if kind == SIMPLE_PACKET {
            let original_bytes = self.order.u32(*fields.first_chunk().ok_or_else(too_short)?);
            let interface = self.interface(0)?;
            let captured_bytes = match interface.snap_length {
                0 => original_bytes,
                limit => original_bytes.min(limit),
            };
            return interface.record(block, 4, captured_bytes, original_bytes, self.last_at_ns);
        }
        let &[i0, i1, i2, i3, h0, h1, h2, h3, l0, l1, l2, l3, c0, c1, c2, c3, o0, o1, o2, o3] =
            fields.first_chunk::<20>().ok_or_else(too_short)?;
        let interface = self.interface(match kind {
            OBSOLETE_PACKET => u32::from(self.order.u16([i0, i1])),
            _ => self.order.u32([i0, i1, i2, i3]),
        })?;
        let ticks =
            u64::from(self.order.u32([h0, h1, h2, h3])) << 32 | u64::from(self.order.u32([l0, l1, l2, l3]));
        let captured_bytes = self.order.u32([c0, c1, c2, c3]);
        let original_bytes = self.order.u32([o0, o1, o2, o3]);
        interface.record(block, 20, captured_bytes, original_bytes, interface.clock.nanoseconds(ticks))
    }

    fn interface(&self, id: u32) -> Result<&Interface, String> {
        self.interfaces
            .get(id as usize)
            .ok_or_else(|| format!("a packet of interface {id}, which was not described"))
    }
}

impl BlockHeader {
    /// Whether the block says something about packets.
    const fn is_read(&self) -> bool {
        matches!(
            self.kind,
            SECTION_HEADER | INTERFACE_DESCRIPTION | OBSOLETE_PACKET | SIMPLE_PACKET | ENHANCED_PACKET
        )
    }
}

impl Interface {
    /// A packet of this interface whose bytes stand behind `field_bytes` of other fields in `block`.
    fn record(
        &self,
        block: &[u8],
        field_bytes: usize,
        captured_bytes: u32,
        original_bytes: u32,
        at_ns: u64,
    ) -> Result<Record, String> {
        let link = self.link.map_err(|unsupported| unsupported.to_string())?;
        let start = BLOCK_HEADER_BYTES + field_bytes;
        let room = block.len() - start - BLOCK_TRAILER_BYTES;
        if captured_bytes as usize > room {
            return Err(format!(
                "a packet of {captured_bytes} captured bytes in a block with room for {room}"
            ));
        }
        let captured = start..start + captured_bytes as usize;
        Ok(Record { at_ns, original_bytes, link, length: block.len(), captured })
    }
}

impl ByteOrder {
    const fn u16(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        }
    }

    const fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::samples::{Order, PcapNgSample, ethernet, read_bytes, udp_over_ipv4};

    const RESOLUTION: u16 = 9;
    const OFFSET: u16 = 14;
    const COMMENT: (u16, &[u8]) = (1, b"a comment");

    #[test]
    fn reads_every_packet_block_in_both_byte_orders() {
        for order in [Order::Little, Order::Big] {
            let packet = ethernet(0x0800, &[7; 47]);
            let sample = PcapNgSample::new(order)
                .interface(1, 32, &[(RESOLUTION, &[9])])
                .enhanced(0, 1_700_000_000_123_456_789, 61, &packet)
                .enhanced_with(0, 5, 1500, &packet[..21], &[COMMENT, COMMENT])
                .simple(1500, &packet[..32])
                .simple(30, &packet[..30])
                .obsolete(0, u64::MAX, 61, &packet);
            let read = read_bytes(sample.bytes).unwrap();
            assert_eq!(read.damage, None, "{order:?}");
            let expected = [
                ("enhanced", 1_700_000_000_123_456_789, 61, &packet[..]),
                ("enhanced, cut, options", 5, 1500, &packet[..21]),
                ("simple, cut to the snap length; the time before", 5, 1500, &packet[..32]),
                ("simple, padded", 5, 30, &packet[..30]),
                ("obsolete", u64::MAX, 61, &packet[..]),
            ];
            assert_eq!(read.packets.len(), expected.len(), "{order:?}");
            for ((description, at_ns, wire_bytes, bytes), packet) in expected.into_iter().zip(read.packets) {
                assert_eq!(packet, (at_ns, wire_bytes, bytes.to_vec()), "{description}, {order:?}");
            }
        }
    }

    #[test]
    fn reads_resolution_and_offset_of_each_interface() {
        const SECOND: u64 = 1_000_000_000;
        for order in [Order::Little, Order::Big] {
            let sample = PcapNgSample::new(order)
                .interface(1, 0, &[])
                .interface(1, 0, &[(RESOLUTION, &[9])])
                .interface(1, 0, &[COMMENT, (RESOLUTION, &[0x94])])
                .interface(1, 0, &[(RESOLUTION, &[3]), (OFFSET, &order.i64(-3))])
                .interface(1, 0, &[(OFFSET, &order.i64(1_000))]);
            let sample = (0..5).fold(sample, |sample, id| sample.enhanced(id, 5 << 20, 60, &[0; 60]));
            let times: Vec<u64> = read_bytes(sample.bytes).unwrap().packets.iter().map(|p| p.0).collect();
            let expected = [
                (5 << 20) * 1_000,
                5 << 20,
                5 * SECOND,
                (5 << 20) * 1_000_000 - 3 * SECOND,
                (5 << 20) * 1_000 + 1_000 * SECOND,
            ];
            assert_eq!(times, expected, "{order:?}");
        }
    }

    #[test]
    fn sections_have_their_own_byte_order_and_interfaces() {
        let raw = udp_over_ipv4();
        let sample = PcapNgSample::new(Order::Little)
            .interface(1, 0, &[])
            .interface(276, 0, &[])
            .enhanced(0, 1, 60, &[0; 60])
            .enhanced(1, 2, 60, &[0; 60])
            .section(Order::Big)
            .interface(101, 0, &[(RESOLUTION, &[0])])
            .enhanced(0, 1, 30, &raw)
            .section(Order::Little)
            .interface(0, 0, &[])
            .enhanced(0, 3, 60, &[0; 60]);
        let read = read_bytes(sample.bytes).unwrap();
        assert_eq!(read.damage, None);
        let seen: Vec<(u64, u32)> = read.packets.iter().map(|packet| (packet.0, packet.1)).collect();
        assert_eq!(seen, [(1_000, 60), (2_000, 54), (1_000_000_000, 44), (3_000, 70)]);
    }

    #[test]
    fn passes_over_other_blocks_whatever_their_length() {
        let sample = PcapNgSample::new(Order::Big)
            .block(5, &[0; 16])
            .interface(1, 0, &[])
            .block(0x0bad, &vec![0xaa; 3 * CAPACITY_BYTES])
            .block(0x4000_0bad, &[])
            .enhanced(0, 1, 60, &[0; 60])
            .block(4, &[0; 4]);
        let read = read_bytes(sample.bytes).unwrap();
        assert_eq!((read.packets.len(), read.damage), (1, None));
    }

    #[test]
    fn a_file_without_packets_or_interfaces_is_fine() {
        let read = read_bytes(PcapNgSample::new(Order::Little).bytes).unwrap();
        assert_eq!((read.packets.len(), read.damage), (0, None));
    }

    #[test]
    fn an_interface_that_is_not_supported_stops_at_its_first_packet() {
        let sample = PcapNgSample::new(Order::Little)
            .interface(1, 0, &[])
            .interface(189, 0, &[])
            .enhanced(0, 1, 60, &[0; 60]);
        let offset_bytes = sample.bytes.len() as u64;
        let read = read_bytes(sample.enhanced(1, 1, 60, &[0; 60]).bytes).unwrap();
        assert_eq!(read.packets.len(), 1);
        let damage = read.damage.unwrap();
        assert_eq!((damage.offset_bytes, damage.packet), (offset_bytes, 1));
        assert!(damage.what.starts_with("link type 189 (USB, Linux) is not supported"), "{damage}");
    }

    #[test]
    fn names_what_is_broken_where_the_block_starts() {
        let good = || PcapNgSample::new(Order::Little).interface(1, 0, &[]).enhanced(0, 1, 60, &[0; 60]);
        let start = good().bytes.len();
        let mut longer_packet = good().enhanced(0, 1, 60, &[0; 60]).bytes;
        longer_packet[start + 20] = 61;
        let mut two_lengths = good().enhanced(0, 1, 60, &[0; 60]).bytes;
        *two_lengths.last_mut().unwrap() = 1;
        let mut no_magic = good().section(Order::Little).bytes;
        no_magic[start + 8] = 0;
        let mut version = good().section(Order::Little).bytes;
        version[start + 12] = 2;
        for (description, bytes, expected) in [
            (
                "cut",
                [good().bytes, vec![6, 0, 0, 0, 80]].concat(),
                "the file ends within the header of a block",
            ),
            ("zeroes", [good().bytes, vec![0; 40]].concat(), "a block that is shorter than its own header"),
            ("long", [good().bytes, vec![6, 0, 0, 0, 0, 0, 0, 0x7f, 0, 0, 0, 0]].concat(), "is implausible"),
            (
                "long, foreign",
                [good().bytes, vec![9, 0, 0, 0, 0, 0, 0, 0x7f, 0, 0, 0, 0]].concat(),
                "the file ends within a block",
            ),
            (
                "interface",
                good().enhanced(3, 1, 60, &[0; 60]).bytes,
                "a packet of interface 3, which was not described",
            ),
            (
                "no fields",
                good().block(6, &[0; 16]).bytes,
                "a packet block that is shorter than its own fields",
            ),
            (
                "no simple fields",
                good().block(3, &[]).bytes,
                "a packet block that is shorter than its own fields",
            ),
            (
                "simple, too long",
                good().simple(65, &[0; 64]).bytes,
                "65 captured bytes in a block with room for 64",
            ),
            ("captured", longer_packet, "61 captured bytes in a block with room for 60"),
            ("two lengths", two_lengths, "has another length at its end"),
            ("magic", no_magic, "a section header without the byte-order magic"),
            ("version", version, "a section of another version than 1"),
            (
                "interface block",
                good().block(1, &[1, 0]).bytes,
                "the description of an interface cannot be read",
            ),
        ] {
            let read = read_bytes(bytes).expect(description);
            let damage = read.damage.expect(description);
            assert!(damage.what.contains(expected), "{description}: {damage}");
            assert_eq!((damage.offset_bytes, damage.packet), (start as u64, 1), "{description}");
            assert_eq!(read.packets.len(), 1, "{description}");
        }
    }

    #[test]
    fn the_number_of_interfaces_is_bounded() {
        let sample = (0..=MAX_INTERFACES)
            .fold(PcapNgSample::new(Order::Little), |sample, _| sample.interface(1, 0, &[]));
        let damage = read_bytes(sample.bytes).unwrap().damage.unwrap();
        assert_eq!(damage.what, "more than 65536 interfaces");
    }
}
