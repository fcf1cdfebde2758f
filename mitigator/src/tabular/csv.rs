//! `CsvWriter`: RFC 4180, with line feeds alone.

use std::io::Write;

use anyhow::Result;

use super::{Cell, Column, RowWriter, write_time};

/// Writes CSV. A line is put together in memory and written at once.
pub(super) struct CsvWriter<W> {
    out: W,
    line: Vec<u8>,
}

impl<W: Write> CsvWriter<W> {
    pub(super) fn new(columns: &[Column], out: W) -> Result<Self> {
        let mut started = Self { out, line: Vec::new() };
        for column in columns {
            write_quoted(&mut started.line, &column.name);
            started.line.push(b',');
        }
        started.end_line()?;
        Ok(started)
    }

    fn end_line(&mut self) -> Result<()> {
        self.line.pop();
        self.line.push(b'\n');
        self.out.write_all(&self.line)?;
        self.line.clear();
        Ok(())
    }
}

impl<W: Write> RowWriter for CsvWriter<W> {
    fn write(&mut self, row: &[Cell]) -> Result<()> {
        for cell in row {
            match cell {
                Cell::Integer(number) => write!(self.line, "{number}")?,
                Cell::Real(number) => write_real(&mut self.line, *number)?,
                Cell::Flag(is_set) => self.line.push(if *is_set { b'1' } else { b'0' }),
                Cell::Text(text) => write_quoted(&mut self.line, text),
                Cell::Time(unix_us) => write_time(&mut self.line, *unix_us)?,
                Cell::Missing => {}
            }
            self.line.push(b',');
        }
        self.end_line()
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        Ok(self.out.flush()?)
    }
}

/// In the fewest digits that are read back as the same number; 0 is the most frequent of all.
pub(super) fn write_real(line: &mut Vec<u8>, number: f64) -> Result<()> {
    if number == 0.0 {
        line.push(b'0');
        return Ok(());
    }
    // Without an exponent, numbers beyond it would be hundreds of digits long.
    let is_plain = (1e-9..1e16).contains(&number.abs());
    if is_plain { write!(line, "{number}") } else { write!(line, "{number:e}") }?;
    Ok(())
}

fn write_quoted(line: &mut Vec<u8>, text: &str) {
    if !text.contains(['"', ',', '\n', '\r']) {
        return line.extend_from_slice(text.as_bytes());
    }
    line.push(b'"');
    line.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    line.push(b'"');
}
