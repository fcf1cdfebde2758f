//! `Recording`: a capture in memory, as Ethernet frames with the time since the first.

use std::collections::BTreeSet;
use std::io::Cursor;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result};
use mitigator::capture::{Capture, CapturedPacket, Network, PcapWriter};
use mitigator_ebpf::packet::{Direction, Packet};
use mitigator_tests::ethernet::frame_of;

/// A longer pause says nothing; it is cut to this, in nanoseconds.
const LONGEST_GAP_NS: u64 = 10_000_000_000;
/// Before the repetition of a recording that is no longer than this, in nanoseconds: it has no pace of its own, and few
/// repetitions have to do.
const PAUSE_NS: u64 = 1_000_000_000;
/// When a recording is said to have begun, in nanoseconds since the Unix epoch.
const EPOCH_NS: u64 = 1_700_000_000_000_000_000;

/// Packets in the order of their times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recording {
    pub(crate) packets: Vec<Recorded>,
}

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// Since the first packet.
    pub(crate) at_ns: u64,
    /// Length on the wire, of which the frame may be the beginning.
    pub(crate) wire_bytes: u32,
    pub(crate) frame: Vec<u8>,
}

impl Recording {
    /// Reads a capture up to its end or damage. A clock that goes back stands still.
    pub(crate) fn open(file: &Path) -> Result<Self> {
        let mut capture = Capture::open(file)?;
        let mut packets: Vec<Recorded> = Vec::new();
        let mut first_ns = None;
        while let Ok(Some(packet)) = capture.next_packet() {
            let since_first = packet.at_ns.saturating_sub(*first_ns.get_or_insert(packet.at_ns));
            let at_ns = packets.last().map_or(since_first, |last| last.at_ns.max(since_first));
            let recorded = |frame| Recorded { at_ns, wire_bytes: packet.wire_bytes, frame };
            packets.extend(frame_of(&packet).map(recorded));
        }
        Ok(Self { packets })
    }

    /// From the first to the last packet.
    pub(crate) fn duration_ns(&self) -> u64 {
        self.packets.last().map_or(0, |last| last.at_ns)
    }

    /// With pauses of at most ten seconds, and the first packet at 0.
    pub(crate) fn without_gaps(mut self) -> Self {
        let (mut before_ns, mut at_ns) = (self.packets.first().map_or(0, |first| first.at_ns), 0);
        for packet in &mut self.packets {
            at_ns += (packet.at_ns - before_ns).min(LONGEST_GAP_NS);
            before_ns = packet.at_ns;
            packet.at_ns = at_ns;
        }
        self
    }

    /// Over and over, until it lasts `at_least_ns`.
    pub(crate) fn repeated(mut self, at_least_ns: u64) -> Self {
        let once = self.packets.clone();
        let usual_pause = self.duration_ns() / (once.len() as u64).saturating_sub(1).max(1);
        let pause = if self.duration_ns() <= PAUSE_NS { PAUSE_NS } else { usual_pause };
        while !once.is_empty() && self.duration_ns() < at_least_ns {
            let begins_ns = self.duration_ns() + pause;
            let later = |packet: &Recorded| Recorded { at_ns: begins_ns + packet.at_ns, ..packet.clone() };
            self.packets.extend(once.iter().map(later));
        }
        self
    }

    /// As a capture that can be replayed.
    pub(crate) fn to_capture(&self) -> Result<Capture> {
        let mut writer = PcapWriter::new(Vec::new())?;
        for packet in &self.packets {
            writer
                .write_cut(EPOCH_NS + packet.at_ns, &packet.frame, packet.wire_bytes)
                .context("a recording does not fit into a capture")?;
        }
        Capture::from_reader(Cursor::new(writer.finish()?), "of a recording")
    }

    /// Every address that sends.
    pub(crate) fn senders(&self) -> BTreeSet<IpAddr> {
        self.parsed().map(|packet| packet.address.into()).collect()
    }

    /// Every address that sends or receives.
    pub(crate) fn addresses(&self) -> BTreeSet<IpAddr> {
        let receivers = self.packets.iter().filter_map(|packet| packet.captured().destination());
        receivers.chain(self.senders()).collect()
    }

    /// Every packet that can be parsed.
    pub(crate) fn parsed(&self) -> impl Iterator<Item = Packet> {
        self.packets.iter().filter_map(|packet| packet.captured().parse(Direction::Arriving).ok())
    }
}

impl Recorded {
    fn captured(&self) -> CapturedPacket<'_> {
        CapturedPacket {
            at_ns: self.at_ns,
            wire_bytes: self.wire_bytes,
            bytes: &self.frame,
            network: Network::Ethernet,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use mitigator_tests::packet;

    pub(crate) const SECOND: u64 = 1_000_000_000;

    /// SYN packets to 198.51.100.1.
    pub(crate) fn recording(packets: &[(u64, &str)]) -> Recording {
        let recorded = |(at_ns, source): &(u64, &str)| {
            let frame = packet::tcp_syn(source).bytes();
            Recorded { at_ns: *at_ns, wire_bytes: u32::try_from(frame.len()).unwrap(), frame }
        };
        Recording { packets: packets.iter().map(recorded).collect() }
    }

    fn times(recording: &Recording) -> Vec<u64> {
        recording.packets.iter().map(|packet| packet.at_ns).collect()
    }

    #[test]
    fn long_gaps_become_ten_seconds_and_nothing_else_changes() {
        let year = 31_536_000 * SECOND;
        for (description, at_ns, expected) in [
            ("none", vec![], vec![]),
            ("no gap", vec![0, 1, 5 * SECOND], vec![0, 1, 5 * SECOND]),
            ("a year", vec![0, 3, year, year + 7], vec![0, 3, 3 + 10 * SECOND, 10 + 10 * SECOND]),
        ] {
            let packets: Vec<_> = at_ns.iter().map(|at_ns| (*at_ns, "192.0.2.1")).collect();
            assert_eq!(times(&recording(&packets).without_gaps()), expected, "{description}");
        }
    }

    #[test]
    fn a_short_recording_is_repeated_at_its_own_pace() {
        for (description, at_ns, at_least, expected) in [
            ("none", vec![], SECOND, vec![]),
            ("long enough", vec![0, 10], 10, vec![0, 10]),
            ("twice", vec![0, 2 * SECOND], 4 * SECOND, vec![0, 2 * SECOND, 4 * SECOND, 6 * SECOND]),
            ("no pace", vec![0], 2 * SECOND, vec![0, SECOND, 2 * SECOND]),
            ("a moment", vec![0, 1], SECOND, vec![0, 1, SECOND + 1, SECOND + 2]),
        ] {
            let packets: Vec<_> = at_ns.iter().map(|at_ns| (*at_ns, "192.0.2.1")).collect();
            assert_eq!(times(&recording(&packets).repeated(at_least)), expected, "{description}");
        }
    }

    #[test]
    fn a_recording_survives_being_written_as_a_capture() {
        let packets: Vec<(u64, &str)> = vec![(0, "192.0.2.1"), (SECOND + 1, "2001:db8::1")];
        let mut recording = recording(&packets);
        recording.packets[0].wire_bytes = 1_500;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.pcap");
        let mut writer = PcapWriter::new(std::fs::File::create(&file).unwrap()).unwrap();
        for packet in &recording.packets {
            writer.write_cut(7 * SECOND + packet.at_ns, &packet.frame, packet.wire_bytes).unwrap();
        }
        writer.finish().unwrap();
        assert_eq!(Recording::open(&file).unwrap(), recording);
        let mut capture = recording.to_capture().unwrap();
        let first = capture.next_packet().unwrap().unwrap();
        assert_eq!((first.wire_bytes, first.bytes.len()), (1_500, recording.packets[0].frame.len()));
    }
}
