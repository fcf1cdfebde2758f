//! The pcap format: one file header, then packet records.
//!
//! Micro- and nanoseconds, both byte orders, and the longer record headers of the "modified" format
//! (little endian). Time zone and accuracy of the header are ignored, as every reader does.

use pcap_parser::nom::{Err as NomError, IResult, Needed};
use pcap_parser::{
    LegacyPcapBlock, PcapError, PcapHeader, parse_pcap_frame, parse_pcap_frame_be, parse_pcap_frame_modified,
    parse_pcap_header,
};

use super::link::{LinkType, UnsupportedLink};
use super::packet::Record;
use super::window::{CAPACITY_BYTES, Fault, Window};

const HEADER_BYTES: usize = 24;
const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

/// Whether a file that starts like this is a pcap file.
pub(super) fn is_recognised(start: &[u8]) -> bool {
    matches!(
        start,
        [0xa1, 0xb2, 0xc3, 0xd4, ..]
            | [0xd4, 0xc3, 0xb2, 0xa1, ..]
            | [0xa1, 0xb2, 0x3c, 0x4d, ..]
            | [0x4d, 0x3c, 0xb2, 0xa1, ..]
            | [0x34, 0xcd, 0xb2, 0xa1, ..]
    )
}

/// The file header.
pub(super) struct Header(PcapHeader);

impl Header {
    /// Takes the header of a file that [`is_recognised`].
    pub(super) fn read(window: &mut Window) -> Result<Self, Fault> {
        window.require(HEADER_BYTES)?;
        let length = window.available().len();
        let Ok((_, header)) = parse_pcap_header(window.available()) else {
            let what = format!("the file ends within its header, after {length} of {HEADER_BYTES} bytes");
            return Err(Fault { offset_bytes: 0, what });
        };
        window.take(HEADER_BYTES);
        Ok(Self(header))
    }
}

type ParseRecord = fn(&[u8]) -> IResult<&[u8], LegacyPcapBlock<'_>, PcapError<&[u8]>>;

/// How to read the records of one file.
pub(super) struct Pcap {
    parse: ParseRecord,
    record_header_bytes: usize,
    nanoseconds_per_fraction: u64,
    link: LinkType,
}

impl Pcap {
    pub(super) fn new(Header(header): &Header) -> Result<Self, UnsupportedLink> {
        let (parse, record_header_bytes): (ParseRecord, _) =
            match (header.is_modified_format(), header.is_bigendian()) {
                (true, _) => (parse_pcap_frame_modified, 24),
                (false, true) => (parse_pcap_frame_be, 16),
                (false, false) => (parse_pcap_frame, 16),
            };
        // The upper half holds the length of the frame check sequence.
        let [a, b, ..] = header.network.0.to_le_bytes();
        Ok(Self {
            parse,
            record_header_bytes,
            nanoseconds_per_fraction: if header.is_nanosecond_precision() { 1 } else { 1000 },
            link: LinkType::from_number(u16::from_le_bytes([a, b]))?,
        })
    }

    /// The next packet, or `None` at the end of the file.
    pub(super) fn next_record(&self, window: &mut Window) -> Result<Option<Record>, Fault> {
        loop {
            let available = window.available().len();
            let missing = match (self.parse)(window.available()) {
                Ok((_, record)) => return Ok(Some(self.locate(&record))),
                Err(NomError::Incomplete(Needed::Size(missing))) => missing.get(),
                Err(_) => return Err(self.fault(window, "the packet cannot be read".to_owned())),
            };
            let length = available.saturating_add(missing);
            if length > CAPACITY_BYTES {
                let captured = length - self.record_header_bytes;
                return Err(
                    self.fault(window, format!("a packet of {captured} captured bytes is implausible"))
                );
            }
            if !window.fill()? {
                return match available {
                    0 => Ok(None),
                    _ => Err(self.fault(
                        window,
                        format!(
                            "the file ends within a packet, after {available} of at least {length} bytes"
                        ),
                    )),
                };
            }
        }
    }

    fn locate(&self, record: &LegacyPcapBlock<'_>) -> Record {
        let end = self.record_header_bytes + record.data.len();
        Record {
            at_ns: u64::from(record.ts_sec) * NANOSECONDS_PER_SECOND
                + u64::from(record.ts_usec) * self.nanoseconds_per_fraction,
            original_bytes: record.origlen,
            link: self.link,
            length: end,
            captured: self.record_header_bytes..end,
        }
    }

    fn fault(&self, window: &Window, what: String) -> Fault {
        Fault { offset_bytes: window.offset_bytes(), what }
    }
}

#[cfg(test)]
mod tests {
    use crate::capture::Damage;
    use crate::capture::samples::{Order, PcapSample, ethernet, read_bytes};

    #[test]
    fn reads_every_magic_in_every_byte_order() {
        for (description, order, magic, expected_ns) in [
            ("microseconds", Order::Little, 0xa1b2_c3d4, 1_700_000_000_000_123_000),
            ("microseconds, big endian", Order::Big, 0xa1b2_c3d4, 1_700_000_000_000_123_000),
            ("nanoseconds", Order::Little, 0xa1b2_3c4d, 1_700_000_000_000_000_123),
            ("nanoseconds, big endian", Order::Big, 0xa1b2_3c4d, 1_700_000_000_000_000_123),
            ("modified", Order::Little, 0xa1b2_cd34, 1_700_000_000_000_123_000),
        ] {
            let packet = ethernet(0x0800, &[7; 50]);
            let sample = PcapSample::new(order, magic, 1)
                .packet(1_700_000_000, 123, 64, &packet)
                .packet(1_600_000_000, 0, 1500, &packet[..20])
                .packet(u32::MAX, 0, 0, &[]);
            let read = read_bytes(sample.bytes).expect(description);
            assert_eq!(read.damage, None, "{description}");
            let [first, second, third] = &read.packets[..] else { panic!("{description}") };
            assert_eq!(first, &(expected_ns, 64, packet.clone()), "{description}");
            let back_in_time = 1_600_000_000_000_000_000;
            assert_eq!(second, &(back_in_time, 1500, packet[..20].to_vec()), "{description}: snap length");
            assert_eq!(third, &(4_294_967_295_000_000_000, 0, vec![]), "{description}: nothing captured");
        }
    }

    #[test]
    fn a_capture_without_packets_is_fine() {
        let read = read_bytes(PcapSample::little_endian(1).bytes).unwrap();
        assert_eq!((read.packets.len(), read.damage), (0, None));
    }

    #[test]
    fn reads_the_link_type_beside_the_length_of_the_frame_check_sequence() {
        let sample = PcapSample::little_endian(0x2400_0001).packet(0, 0, 64, &[0; 64]);
        assert_eq!(read_bytes(sample.bytes).unwrap().packets.len(), 1);
    }

    #[test]
    fn a_wire_length_below_the_captured_one_is_not_believed() {
        let sample = PcapSample::little_endian(1).packet(0, 0, 0, &[0; 64]);
        assert_eq!(read_bytes(sample.bytes).unwrap().packets[0].1, 64);
    }

    #[test]
    fn an_implausible_length_is_damage_where_its_record_starts() {
        let mut sample = PcapSample::little_endian(1).packet(0, 0, 64, &[0; 64]);
        sample.bytes.extend([0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        let read = read_bytes(sample.bytes).unwrap();
        assert_eq!(read.packets.len(), 1);
        let what = "a packet of 4294967295 captured bytes is implausible".to_owned();
        assert_eq!(read.damage, Some(Damage { offset_bytes: 24 + 80, packet: 1, what }));
    }
}
