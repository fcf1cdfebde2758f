//! `PcapWriter`: captures of our own making, for scenarios and tests.
//!
//! Sixteen bytes a packet are written here, because the library's serializer brings an async runtime.

use std::io::{self, Write};

const NANOSECOND_MAGIC: u32 = 0xa1b2_3c4d;
const VERSION: u32 = 4 << 16 | 2;
const SNAP_LENGTH: u32 = 262_144;
const ETHERNET: u32 = 1;
const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

/// Writes a pcap file of Ethernet packets with nanosecond times.
pub struct PcapWriter<W> {
    writer: W,
}

impl<W: Write> PcapWriter<W> {
    /// Starts a capture; `writer` should be buffered.
    ///
    /// # Errors
    ///
    /// When `writer` fails.
    pub fn new(writer: W) -> io::Result<Self> {
        let mut started = Self { writer };
        started.write_fields(&[NANOSECOND_MAGIC, VERSION, 0, 0, SNAP_LENGTH, ETHERNET])?;
        Ok(started)
    }

    /// Adds a packet that was captured whole, `at_ns` since the Unix epoch.
    ///
    /// # Errors
    ///
    /// When `writer` fails, or when the format cannot hold the packet: later than the year 2105, or
    /// longer than 4 GiB.
    pub fn write(&mut self, at_ns: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_cut(at_ns, bytes, 0)
    }

    /// Adds a packet that was `wire_bytes` long, of which `bytes` were captured.
    ///
    /// # Errors
    ///
    /// As [`PcapWriter::write`].
    pub fn write_cut(&mut self, at_ns: u64, bytes: &[u8], wire_bytes: u32) -> io::Result<()> {
        let field = |value: u64| u32::try_from(value).map_err(io::Error::other);
        let length = field(bytes.len() as u64)?;
        let seconds = field(at_ns / NANOSECONDS_PER_SECOND)?;
        let nanoseconds = field(at_ns % NANOSECONDS_PER_SECOND)?;
        self.write_fields(&[seconds, nanoseconds, length, wire_bytes.max(length)])?;
        self.writer.write_all(bytes)
    }

    /// Flushes and returns the writer.
    ///
    /// # Errors
    ///
    /// When `writer` fails.
    pub fn finish(mut self) -> io::Result<W> {
        self.writer.flush()?;
        Ok(self.writer)
    }

    fn write_fields(&mut self, fields: &[u32]) -> io::Result<()> {
        fields.iter().try_for_each(|field| self.writer.write_all(&field.to_le_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::samples::read_bytes;

    #[test]
    fn what_is_written_is_read_back() {
        let mut writer = PcapWriter::new(Vec::new()).unwrap();
        let packets = [(1_700_000_000_123_456_789, 60, vec![1; 60]), (0, 1514, vec![2; 1514])];
        for (at_ns, _, bytes) in &packets {
            writer.write(*at_ns, bytes).unwrap();
        }
        writer.write_cut(1, &[3; 60], 1514).unwrap();
        let read = read_bytes(writer.finish().unwrap()).unwrap();
        let expected = [&packets[..], &[(1, 1514, vec![3; 60])]].concat();
        assert_eq!((read.packets, read.damage), (expected, None));
    }

    #[test]
    fn refuses_a_time_that_the_format_cannot_hold() {
        let mut writer = PcapWriter::new(Vec::new()).unwrap();
        assert!(writer.write(u64::MAX, &[]).is_err());
    }
}
