//! `CsvRows`: the rows of one CSV file with a heading, plain or compressed, as data sets have them.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use csv::{ByteRecord, Reader, ReaderBuilder, StringRecord};

use crate::capture::uncompressed;

/// Rows, as they are read.
pub struct CsvRows {
    reader: Reader<Counted<Box<dyn Read + Send>>>,
    /// Plain bytes that the reader was given.
    given: Arc<AtomicU64>,
    heading: ByteRecord,
    repeated_headings: u64,
}

impl CsvRows {
    /// Reads the heading; of an empty file it is empty. Spaces around cells are no part of them.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn new(reader: impl Read + Send + 'static) -> io::Result<Self> {
        let (plain, given) = Counted::new(uncompressed(reader)?);
        let mut reader = ReaderBuilder::new().trim(csv::Trim::All).from_reader(plain);
        let heading = reader.byte_headers()?.clone();
        Ok(Self { reader, given, heading, repeated_headings: 0 })
    }

    /// The names of the columns. What is not UTF-8 is replaced.
    #[must_use]
    pub fn heading(&self) -> Vec<String> {
        self.heading.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
    }

    /// The next row, with a cell for each column; `None` at the end. What is not UTF-8 is replaced. Lines that are the heading
    /// once more, as where files were put together, are left out.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or has another number of cells; the sentence names the line.
    pub fn read(&mut self) -> csv::Result<Option<StringRecord>> {
        let mut record = ByteRecord::new();
        while self.reader.read_byte_record(&mut record)? {
            if record.iter().eq(self.heading.iter()) {
                self.repeated_headings += 1;
            } else {
                return Ok(Some(StringRecord::from_byte_record_lossy(record)));
            }
        }
        Ok(None)
    }

    /// Lines that were the heading once more, so far.
    #[must_use]
    pub const fn repeated_headings(&self) -> u64 {
        self.repeated_headings
    }

    /// Whether there are bytes that were given and not read: to go on will most likely not wait for who writes.
    #[must_use]
    pub fn is_at_hand(&self) -> bool {
        // Of a line's end in two characters, the second is left to the next row.
        self.reader.position().byte() + 1 < self.given.load(Relaxed)
    }
}

/// A reader of which others know how much was read.
pub struct Counted<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R> Counted<R> {
    /// With the number of bytes that were read so far.
    pub fn new(inner: R) -> (Self, Arc<AtomicU64>) {
        let read = Arc::new(AtomicU64::new(0));
        (Self { inner, read: Arc::clone(&read) }, read)
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read.fetch_add(read as u64, Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io::Cursor;

    use super::*;

    #[test]
    fn headings_among_the_rows_are_left_out_and_counted() {
        for text in ["a, b\n1,2\na,b\n 3 ,4\n", "a,b\r\n1,2\r\na,b\r\n3,4"] {
            let mut rows = CsvRows::new(Cursor::new(text.as_bytes().to_vec())).unwrap();
            assert_eq!(rows.heading(), ["a", "b"]);
            assert_eq!(rows.read().unwrap().unwrap(), StringRecord::from(vec!["1", "2"]));
            assert_eq!(rows.read().unwrap().unwrap(), StringRecord::from(vec!["3", "4"]));
            assert!(rows.read().unwrap().is_none());
            assert_eq!(rows.repeated_headings(), 1);
        }
    }

    /// Gives no two texts at one reading.
    struct Writer(VecDeque<&'static str>);

    impl Read for Writer {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some(text) = self.0.pop_front() else { return Ok(0) };
            let read = text.len().min(buffer.len());
            buffer[..read].copy_from_slice(&text.as_bytes()[..read]);
            if read < text.len() {
                self.0.push_front(&text[read..]);
            }
            Ok(read)
        }
    }

    #[test]
    fn what_was_not_given_is_not_at_hand() {
        for end in ["\n", "\r\n"] {
            let texts = ["a,b", end, "1,2", end, "3,4", end];
            let mut rows = CsvRows::new(Writer(texts.into())).unwrap();
            rows.read().unwrap().unwrap();
            assert!(!rows.is_at_hand(), "{end:?}");
        }
        let mut rows = CsvRows::new(Cursor::new(b"a,b\n1,2\n3,4\n")).unwrap();
        rows.read().unwrap().unwrap();
        assert!(rows.is_at_hand());
        rows.read().unwrap().unwrap();
        assert!(!rows.is_at_hand());
    }
}
