//! `JsonLinesWriter`: an object a line, its keys in the order of the columns.

use std::io::{self, Write};

use anyhow::Result;

use super::csv::write_real;
use super::{Cell, Column, RowWriter, write_time};

/// Writes JSON lines. A line is put together in memory and written at once.
pub(super) struct JsonLinesWriter<W> {
    out: W,
    /// What stands before each value: the key with its colon.
    keys: Vec<String>,
    line: Vec<u8>,
}

impl<W: Write> JsonLinesWriter<W> {
    pub(super) fn new(columns: &[Column], out: W) -> Result<Self> {
        let key = |column: &Column| Ok(serde_json::to_string(&column.name).map_err(io::Error::from)? + ":");
        let keys = columns.iter().map(key).collect::<Result<_>>()?;
        Ok(Self { out, keys, line: Vec::new() })
    }
}

impl<W: Write> RowWriter for JsonLinesWriter<W> {
    fn write(&mut self, row: &[Cell]) -> Result<()> {
        let mut before = b'{';
        for (key, cell) in self.keys.iter().zip(row) {
            self.line.push(before);
            before = b',';
            self.line.extend_from_slice(key.as_bytes());
            match cell {
                Cell::Integer(number) => write!(self.line, "{number}")?,
                Cell::Real(number) => write_real(&mut self.line, *number)?,
                Cell::Flag(is_set) => write!(self.line, "{is_set}")?,
                Cell::Text(text) => serde_json::to_writer(&mut self.line, text).map_err(io::Error::from)?,
                Cell::Time(unix_us) => {
                    self.line.push(b'"');
                    write_time(&mut self.line, *unix_us)?;
                    self.line.push(b'"');
                }
                Cell::Missing => self.line.extend_from_slice(b"null"),
            }
        }
        self.line.extend_from_slice(b"}\n");
        self.out.write_all(&self.line)?;
        self.line.clear();
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        Ok(self.out.flush()?)
    }
}
