//! `Splitter`: cuts a stream into lines through one buffer. No line costs an allocation, and a line that is longer than
//! the longest is told as such, whatever its length.

use std::io::{self, ErrorKind, Read};

use memchr::{memchr, memchr_iter};

/// Bytes read at a time.
const READ_BYTES: usize = 1 << 20;
/// Lines that are handed on at a time, at most.
pub const MOST_AT_A_TIME: usize = 16;
/// The longest line that is handed on; servers cut requests at 8 KiB by default.
pub const LONGEST_LINE: usize = 64 << 10;

/// What stands between two line ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'buffer> {
    /// Without its end.
    Whole(&'buffer [u8]),
    /// The beginning of one that is too long.
    TooLong(&'buffer [u8]),
}

/// The unfinished line of a stream, and room to read more.
#[derive(Debug)]
pub struct Splitter {
    buffer: Vec<u8>,
    /// Bytes of the buffer that hold an unfinished line.
    held: usize,
    /// Whether the rest of a line that is too long is being passed over.
    skips: bool,
}

impl Default for Splitter {
    fn default() -> Self {
        Self { buffer: vec![0; LONGEST_LINE + READ_BYTES], held: 0, skips: false }
    }
}

impl Splitter {
    /// Reads once, and hands on the lines that are whole by then, some at a time. Returns the bytes read, 0 at the end.
    ///
    /// # Errors
    ///
    /// When the stream cannot be read; lines before were handed on.
    pub fn read(&mut self, source: &mut impl Read, mut some: impl FnMut(&[Line<'_>])) -> io::Result<usize> {
        let room = self.buffer.get_mut(self.held..).unwrap_or_default();
        let count = loop {
            match source.read(room) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        let end = self.held + count;
        let mut from = 0;
        if self.skips {
            let filled = self.buffer.get(..end).unwrap_or_default();
            match memchr(b'\n', filled) {
                Some(at) => (from, self.skips) = (at + 1, false),
                None => from = end,
            }
        }
        let filled = self.buffer.get(from..end).unwrap_or_default();
        let mut start = 0;
        let mut ends = memchr_iter(b'\n', filled);
        loop {
            let mut lines = [Line::Whole(&[]); MOST_AT_A_TIME];
            let mut found = 0;
            for (line, at) in lines.iter_mut().zip(&mut ends) {
                *line = whole(filled.get(start..at).unwrap_or_default());
                (start, found) = (at + 1, found + 1);
            }
            if found == 0 {
                break;
            }
            some(lines.get(..found).unwrap_or_default());
        }
        from += start;
        self.held = end - from;
        self.buffer.copy_within(from..end, 0);
        if self.held > LONGEST_LINE {
            some(&[Line::TooLong(self.buffer.get(..LONGEST_LINE).unwrap_or_default())]);
            (self.held, self.skips) = (0, true);
        }
        Ok(count)
    }

    /// The last line, when no line end follows it.
    pub fn finish(&mut self, mut some: impl FnMut(&[Line<'_>])) {
        if self.held > 0 {
            some(&[whole(self.buffer.get(..self.held).unwrap_or_default())]);
        }
        (self.held, self.skips) = (0, false);
    }
}

fn whole(line: &[u8]) -> Line<'_> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() > LONGEST_LINE { Line::TooLong(line) } else { Line::Whole(line) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives so many bytes at a time.
    struct Drops<'bytes>(&'bytes [u8], usize);

    impl Read for Drops<'_> {
        fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(room.len()).min(self.0.len());
            room[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn lines(bytes: &[u8], at_a_time: usize) -> Vec<Option<String>> {
        let mut lines = Vec::new();
        let mut some = |found: &[Line<'_>]| {
            assert!((1..=MOST_AT_A_TIME).contains(&found.len()));
            lines.extend(found.iter().map(|line| match line {
                Line::Whole(line) => Some(String::from_utf8_lossy(line).into_owned()),
                Line::TooLong(_) => None,
            }));
        };
        let (mut splitter, mut source) = (Splitter::default(), Drops(bytes, at_a_time));
        while splitter.read(&mut source, &mut some).unwrap() > 0 {}
        splitter.finish(&mut some);
        lines
    }

    #[test]
    fn lines_are_whole_however_they_arrive() {
        let long = "x".repeat(10 << 20);
        let text = format!("first\r\n\nthird\n{long}\nfifth\n{long}");
        let some = |text: &str| Some(text.to_owned());
        for at_a_time in [1_000, 4_096, 65_537, usize::MAX] {
            let expected = [some("first"), some(""), some("third"), None, some("fifth"), None];
            assert_eq!(lines(text.as_bytes(), at_a_time), expected, "{at_a_time}");
        }
        assert_eq!(lines(b"one\ntwo", 1), [some("one"), some("two")]);
        assert_eq!(lines(b"", 1), []);
        let many: Vec<String> = (0..1_000).map(|number| number.to_string()).collect();
        let expected: Vec<Option<String>> = many.iter().cloned().map(Some).collect();
        assert_eq!(lines(many.join("\n").as_bytes(), usize::MAX), expected);
    }
}
