//! Captures as inputs of the pipeline: a pcap or pcapng file, plain or compressed, in; its packets,
//! in file order and with their time, out.
//!
//! Everything is recognised by content and streamed through one buffer of fixed size, so memory does
//! not depend on the size of the file, and no packet costs an allocation. Damage ends the capture but
//! takes nothing back: what stands before it is delivered. What the packets mean is not decided here.
//!
//! The formats are read with the slice parsers of `pcap-parser`: they borrow from our buffer, name the
//! bytes they miss, and leave reading to us. Its own readers drop the cause of a failed read, and
//! `pcap-file` tells neither where a file is damaged nor, in pcapng, the resolution of time.

mod clock;
pub(crate) mod compression;
mod link;
mod order;
mod packet;
mod pcap;
mod pcapng;
mod protected;
#[cfg(test)]
mod samples;
mod window;
mod writer;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};

pub(crate) use compression::uncompressed;
pub use link::Network;
pub use order::{ClockFault, TimeOrder};
pub use packet::CapturedPacket;
pub use protected::protected_host;
pub use writer::PcapWriter;

use window::{Fault, Window};

const ACCEPTED: &str = "accepted are pcap and pcapng captures, plain or compressed with gzip or zstd";

/// An open capture.
pub struct Capture {
    window: Window,
    format: Format,
    packets: u64,
    ended: bool,
}

enum Format {
    Pcap(pcap::Pcap),
    PcapNg(pcapng::PcapNg),
}

/// Where and why reading ended before the end of the capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where the record starts that cannot be read, in the uncompressed capture; where the bytes end,
    /// if it is the file or its compression that cannot be read on.
    pub offset_bytes: u64,
    /// Packets read before.
    pub packet: u64,
    /// What is wrong there.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset_bytes, packet, what } = self;
        write!(formatter, "stopped at byte {offset_bytes} (uncompressed), after {packet} packets: {what}")
    }
}

impl std::error::Error for Damage {}

impl Capture {
    /// Opens the capture at `path`, or on standard input when `path` is `-`.
    ///
    /// # Errors
    ///
    /// As [`Capture::from_reader`], and when the file cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        if path == Path::new("-") {
            return Self::from_reader(io::stdin(), "standard input");
        }
        let name = format!("`{}`", path.display());
        let file = File::open(path).with_context(|| format!("cannot open capture {name}"))?;
        Self::from_reader(file, &name)
    }

    /// Reads a capture from `reader`; `name` is for messages.
    ///
    /// # Errors
    ///
    /// When there is no capture, when its link type is not supported, or, with a [`Damage`] in the
    /// chain, when it ends within its file header or cannot be read that far.
    pub fn from_reader(reader: impl Read + Send + 'static, name: &str) -> Result<Self> {
        let reader = uncompressed(reader).with_context(|| format!("cannot read capture {name}"))?;
        Self::from_uncompressed(reader, name)
    }

    /// As [`Capture::from_reader`], of what is not compressed, or no longer.
    ///
    /// # Errors
    ///
    /// As [`Capture::from_reader`].
    pub fn from_uncompressed(reader: Box<dyn Read + Send>, name: &str) -> Result<Self> {
        let cannot_read = || format!("cannot read capture {name}");
        let mut window = Window::over(reader);
        let damage = |fault| Damage::from_fault(fault, 0);
        window.require(4).map_err(damage).with_context(cannot_read)?;
        let format = match window.available() {
            [] => bail!("{name} is empty; {ACCEPTED}"),
            start if pcapng::is_recognised(start) => Format::PcapNg(pcapng::PcapNg::new()),
            start if pcap::is_recognised(start) => {
                let header = pcap::Header::read(&mut window).map_err(damage).with_context(cannot_read)?;
                Format::Pcap(pcap::Pcap::new(&header).with_context(cannot_read)?)
            }
            start => bail!("{name} is not a capture: {}; {ACCEPTED}", appearance(start)),
        };
        Ok(Self { window, format, packets: 0, ended: false })
    }

    /// The next packet, or `None` when the capture has ended.
    ///
    /// # Errors
    ///
    /// Once, when the capture cannot be read on; it has ended then.
    pub fn next_packet(&mut self) -> Result<Option<CapturedPacket<'_>>, Damage> {
        if self.ended {
            return Ok(None);
        }
        let next = match &mut self.format {
            Format::Pcap(pcap) => pcap.next_record(&mut self.window),
            Format::PcapNg(pcapng) => pcapng.next_record(&mut self.window),
        };
        match next {
            Ok(Some(record)) => {
                self.packets += 1;
                Ok(Some(record.packet(&mut self.window)))
            }
            Ok(None) => {
                self.ended = true;
                Ok(None)
            }
            Err(fault) => {
                self.ended = true;
                Err(Damage::from_fault(fault, self.packets))
            }
        }
    }
}

impl Damage {
    fn from_fault(fault: Fault, packet: u64) -> Self {
        Self { offset_bytes: fault.offset_bytes, packet, what: fault.what }
    }
}

/// What the first bytes of a foreign file look like.
fn appearance(start: &[u8]) -> String {
    const KNOWN: [(&[u8], &str); 7] = [
        (b"\x89PNG", "it looks like a PNG image"),
        (b"\xfd7zX", "it is compressed with xz, decompress it first"),
        (b"BZh", "it is compressed with bzip2, decompress it first"),
        (b"\x04\x22\x4d\x18", "it is compressed with lz4, decompress it first"),
        (b"PK\x03\x04", "it is a zip archive, unpack it first"),
        (b"snoo", "it is a snoop capture"),
        (b"GMBU", "it is a capture of Microsoft Network Monitor"),
    ];
    let start = &start[..start.len().min(16)];
    if let Some((_, name)) = KNOWN.iter().find(|(magic, _)| start.starts_with(magic)) {
        return (*name).to_owned();
    }
    if start.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) {
        return "it looks like text".to_owned();
    }
    let bytes: Vec<String> = start.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("it starts with the bytes {}", bytes.join(" "))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::path::PathBuf;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use mitigator_ebpf::packet::Direction;

    use super::samples::{Order, PcapNgSample, PcapSample, read_bytes, read_to_end};
    use super::*;

    /// A capture, and where each of its records ends; the first entry ends the file header.
    struct Sample {
        description: &'static str,
        bytes: Vec<u8>,
        record_ends: Vec<usize>,
        /// Packets read when so many records are whole.
        packets: Vec<u64>,
    }

    fn samples() -> Vec<Sample> {
        let mut samples = Vec::new();
        for (description, order, magic) in [
            ("pcap", Order::Little, 0xa1b2_c3d4),
            ("pcap, big endian", Order::Big, 0xa1b2_3c4d),
            ("pcap, modified", Order::Little, 0xa1b2_cd34),
        ] {
            let mut sample = PcapSample::new(order, magic, 1);
            let mut record_ends = vec![sample.bytes.len()];
            for second in 0..4 {
                sample = sample.packet(second, 1, 60, &vec![0x45; 17 * second as usize]);
                record_ends.push(sample.bytes.len());
            }
            samples.push(Sample { description, bytes: sample.bytes, record_ends, packets: (0..5).collect() });
        }
        for (description, order) in [("pcapng", Order::Little), ("pcapng, big endian", Order::Big)] {
            type Step = fn(PcapNgSample) -> PcapNgSample;
            let steps: [(u64, Step); 9] = [
                (0, |sample| sample.interface(1, 64, &[(9, &[6]), (2, b"eth0")])),
                (1, |sample| sample.enhanced_with(0, 1, 60, &[0x45; 33], &[(1, b"a comment")])),
                (1, |sample| sample.simple(60, &[0x45; 60])),
                (0, |sample| sample.block(5, &[0; 12])),
                (1, |sample| sample.obsolete(0, 1, 60, &[0x45; 33])),
                (0, |sample| sample.section(Order::Little)),
                (0, |sample| sample.interface(101, 0, &[])),
                (1, |sample| sample.enhanced(0, 1, 60, &[0x45; 34])),
                (0, |sample| sample.block(0x0bad, &[7; 5])),
            ];
            let mut sample = PcapNgSample::new(order);
            let (mut record_ends, mut packets) = (vec![sample.bytes.len()], vec![0]);
            for (yields, step) in steps {
                sample = step(sample);
                record_ends.push(sample.bytes.len());
                packets.push(packets.last().unwrap() + yields);
            }
            samples.push(Sample { description, bytes: sample.bytes, record_ends, packets });
        }
        samples
    }

    #[test]
    fn a_capture_that_is_cut_anywhere_yields_what_is_whole_and_names_the_cut() {
        for Sample { description, bytes, record_ends, packets } in samples() {
            let whole = read_bytes(bytes.clone()).unwrap();
            assert_eq!((whole.packets.len() as u64, &whole.damage), (*packets.last().unwrap(), &None));
            for length in 0..=bytes.len() {
                let read = read_bytes(bytes[..length].to_vec());
                let at = format!("{description}, cut to {length}");
                let Some(records) = record_ends.iter().rposition(|end| *end <= length) else {
                    match read {
                        Ok(read) => {
                            assert_eq!(read.damage.map(|damage| damage.offset_bytes), Some(0), "{at}");
                        }
                        Err(error) if length < 4 => {
                            assert!(error.to_string().contains("accepted are"), "{at}");
                        }
                        Err(error) => assert!(error.downcast_ref::<Damage>().is_some(), "{at}: {error:#}"),
                    }
                    continue;
                };
                let read = read.expect(&at);
                assert_eq!(read.packets.len() as u64, packets[records], "{at}");
                assert!(whole.packets.starts_with(&read.packets), "{at}");
                let boundary = record_ends[records];
                match read.damage {
                    None => assert_eq!(boundary, length, "{at}"),
                    Some(damage) => {
                        assert!(boundary < length, "{at}: {damage}");
                        assert_eq!(damage.offset_bytes, boundary as u64, "{at}");
                        assert_eq!(damage.packet, packets[records], "{at}");
                        assert!(damage.what.starts_with("the file ends within"), "{at}: {damage}");
                    }
                }
            }
        }
    }

    /// Hands out one byte at a time, and now and then none yet.
    struct Trickle(Cursor<Vec<u8>>, bool);

    impl Read for Trickle {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let length = buffer.len().min(1);
            self.0.read(&mut buffer[..length])
        }
    }

    #[test]
    fn how_the_bytes_arrive_does_not_matter() {
        for Sample { description, bytes, .. } in samples() {
            let expected = read_bytes(bytes.clone()).unwrap();
            let trickle = Trickle(Cursor::new(bytes), false);
            let read = read_to_end(Capture::from_reader(trickle, "trickle").unwrap());
            assert_eq!(read, expected, "{description}");
        }
    }

    #[test]
    fn a_failing_read_keeps_the_packets_before_it() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("the disk is on fire"))
            }
        }
        let bytes = PcapSample::little_endian(1).packet(0, 0, 60, &[0; 60]).bytes;
        let length = bytes.len() as u64;
        let capture = Capture::from_reader(Cursor::new(bytes).chain(Failing), "sample").unwrap();
        let damage = read_to_end(capture).damage.unwrap();
        let what = "cannot read on: the disk is on fire".to_owned();
        assert_eq!(damage, Damage { offset_bytes: length, packet: 1, what });
    }

    #[test]
    fn says_of_a_file_that_is_no_capture_what_it_is_and_what_is_accepted() {
        let compressed_text = zstd::encode_all(&b"GET / HTTP/1.1"[..], 1).unwrap();
        for (description, bytes, expected) in [
            ("empty", &b""[..], "sample is empty"),
            ("text", b"127.0.0.1 - - [10/Oct/2000]", "it looks like text"),
            ("short text", b"no", "it looks like text"),
            ("compressed text", &compressed_text, "it looks like text"),
            ("PNG", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "it looks like a PNG image"),
            ("xz", b"\xfd7zXZ\0\0\x04", "compressed with xz, decompress it first"),
            ("anything", b"\x7fELF\x02\x01\x01\0", "it starts with the bytes 7f 45 4c 46"),
        ] {
            let Err(error) = read_bytes(bytes.to_vec()) else { panic!("{description} was accepted") };
            let message = format!("{error:#}");
            assert!(message.contains(expected), "{description}: {message}");
            assert!(message.contains(ACCEPTED), "{description}: {message}");
        }
    }

    #[test]
    fn says_which_file_cannot_be_opened() {
        let Err(error) = Capture::open(Path::new("/nowhere/at-all.pcap")) else { panic!("opened") };
        assert_eq!(error.to_string(), "cannot open capture `/nowhere/at-all.pcap`");
        let Err(error) = Capture::open(Path::new("/")) else { panic!("opened") };
        assert_eq!(error.to_string(), "cannot read capture `/`");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn survives_any_mutation(
            sample in 0..samples().len(),
            compression in 0..3,
            mutations in vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        ) {
            let bytes = samples().swap_remove(sample).bytes;
            let mut bytes = match compression {
                0 => bytes,
                1 => zstd::encode_all(&bytes[..], 1).unwrap(),
                _ => {
                    let mut compressed = Vec::new();
                    flate2::read::GzEncoder::new(&bytes[..], flate2::Compression::fast())
                        .read_to_end(&mut compressed)
                        .unwrap();
                    compressed
                }
            };
            for (index, value) in mutations {
                *index.get_mut(&mut bytes) = value;
            }
            if let Ok(read) = read_bytes(bytes)
                && let Some(damage) = read.damage
            {
                prop_assert_eq!(damage.packet, read.packets.len() as u64);
            }
        }
    }

    /// Real captures, which are too large and too foreign to be kept with the code.
    fn real_captures() -> Option<PathBuf> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/pcap");
        let is_there = directory.is_dir();
        let is_ci = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(is_there || !is_ci, "{} is missing", directory.display());
        if !is_there {
            eprintln!("skipped: {} is missing", directory.display());
        }
        is_there.then_some(directory)
    }

    #[test]
    fn reads_every_real_capture_to_its_end() {
        let Some(directory) = real_captures() else { return };
        let labels = std::fs::read_to_string(directory.join("labels.json")).unwrap();
        let labels: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&labels).unwrap();
        assert!(!labels.is_empty());
        for (name, label) in labels {
            let file = directory.join(Path::new(&name).file_name().unwrap());
            let mut capture = Capture::open(&file).unwrap();
            let (mut packets, mut parsed) = (0_u64, 0_u64);
            let (mut first_ns, mut last_ns) = (u64::MAX, 0);
            while let Some(packet) = capture.next_packet().unwrap_or_else(|damage| panic!("{name}: {damage}"))
            {
                packets += 1;
                if packet.parse(Direction::Arriving).is_ok() {
                    parsed += 1;
                    first_ns = first_ns.min(packet.at_ns);
                    last_ns = last_ns.max(packet.at_ns);
                    assert!(packet.destination().is_some(), "{name}, packet {packets}");
                }
            }
            assert_eq!(Some(packets), label["packets"].as_u64(), "{name}");
            // The labels measure it over IP packets.
            if let Some(duration_s) = label["duration_s"].as_f64() {
                let read_s = std::time::Duration::from_nanos(last_ns - first_ns).as_secs_f64();
                assert!((read_s - duration_s).abs() < 0.001, "{name}: {read_s} s instead of {duration_s} s");
            }
            assert!(parsed * 10 > packets * 9, "{name}: {parsed} of {packets} packets are IP");
        }
    }
}
