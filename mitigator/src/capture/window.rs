//! `Window`: the part of the uncompressed capture that is in memory, and where it stands.
//!
//! The formats look at [`Window::available`], ask for more until a record is complete, and take it.
//! The buffer never grows: a record that does not fit is damage, and the formats say so.

use std::io::{self, Read};

/// What the buffer holds, and so the longest record. Twice the longest packet that libpcap captures,
/// and small enough to stay in a processor's cache.
pub(super) const CAPACITY_BYTES: usize = 2 * 262_144;

/// Where and why a capture cannot be read on.
#[derive(Debug)]
pub(super) struct Fault {
    /// In the uncompressed capture.
    pub offset_bytes: u64,
    pub what: String,
}

/// A buffered stream that knows its position.
pub(super) struct Window {
    reader: Box<dyn Read + Send>,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Of `start`, in the uncompressed capture.
    offset_bytes: u64,
}

impl Window {
    pub(super) fn over(reader: Box<dyn Read + Send>) -> Self {
        let buffer = vec![0; CAPACITY_BYTES].into_boxed_slice();
        Self { reader, buffer, start: 0, end: 0, offset_bytes: 0 }
    }

    /// The bytes in memory that were not taken.
    pub(super) fn available(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Where the available bytes start in the uncompressed capture.
    pub(super) fn offset_bytes(&self) -> u64 {
        self.offset_bytes
    }

    /// Reads until `length` bytes are available; `false` when the stream ends before.
    pub(super) fn require(&mut self, length: usize) -> Result<bool, Fault> {
        while self.available().len() < length {
            if !self.fill()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads once; `false` at the end of the stream.
    pub(super) fn fill(&mut self) -> Result<bool, Fault> {
        self.make_room();
        loop {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(length) => {
                    self.end += length;
                    return Ok(length > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let offset_bytes = self.offset_bytes + self.available().len() as u64;
                    return Err(Fault { offset_bytes, what: format!("cannot read on: {error}") });
                }
            }
        }
    }

    /// Moves what is available to the front, when there is nothing to move or much to gain.
    fn make_room(&mut self) {
        let is_empty = self.start == self.end;
        let is_past_half = self.start > 0 && self.end > self.buffer.len() / 2;
        if is_empty || is_past_half {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
    }

    /// Takes `length` of the available bytes.
    pub(super) fn take(&mut self, length: usize) -> &[u8] {
        let taken = self.start..self.start + length;
        self.start += length;
        self.offset_bytes += length as u64;
        &self.buffer[taken]
    }

    /// Passes over `length` bytes, which need not fit into memory; `false` when the stream ends before.
    pub(super) fn skip(&mut self, length: usize) -> Result<bool, Fault> {
        let mut left = length;
        loop {
            let step = left.min(self.available().len());
            self.take(step);
            left -= step;
            if left == 0 {
                return Ok(true);
            }
            if !self.fill()? {
                return Ok(false);
            }
        }
    }
}
