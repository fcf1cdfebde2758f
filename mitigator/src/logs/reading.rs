//! `Log`: reads access logs, line by line, into what is known of the clients.
//!
//! A line that cannot be read is counted and the first ones are kept to be shown. A file that cannot be read on ends
//! there; what stands before counts.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use memchr::memchr;
use serde::Serialize;

use super::clients::Clients;
use super::entry::Entry;
use super::fault::Fault;
use super::format::Format;
use super::splitter::{Line, Splitter};
use super::when::LastTime;
use super::{json, text};
use crate::capture::uncompressed;

/// Bad lines that are kept to be shown.
const KEPT_BAD_LINES: usize = 1_000;
/// Bytes of each that are shown.
const SHOWN_BYTES: usize = 160;
/// What is accepted, for messages.
pub const ACCEPTED: &str = "accepted are access logs in the common, combined and virtual-host formats and JSON lines, plain \
                            or compressed with gzip or zstd";

/// All that was read.
#[derive(Debug)]
pub struct Log {
    /// Who asked.
    pub clients: Clients,
    /// Lines, bad and empty ones included.
    pub lines: u64,
    /// Good lines of each format, in the order of [`Format::ALL`].
    pub formats: [u64; Format::ALL.len()],
    /// Lines that could not be read.
    pub bad_lines: u64,
    /// The first of them.
    pub shown_bad_lines: Vec<BadLine>,
    last_time: LastTime,
    /// Room for a line without its doubled quotes.
    undoubled: Vec<u8>,
}

/// A line that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BadLine {
    /// Of which file.
    pub file: String,
    /// Counted from 1.
    pub line: u64,
    /// What is wrong with it.
    pub what: String,
    /// How it begins.
    pub text: String,
}

/// Why reading ended before the end of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// Which file.
    pub file: String,
    /// Lines read before.
    pub line: u64,
    /// What is wrong there.
    pub what: String,
}

impl Log {
    /// Nothing yet; what `trusted` proxies say of their clients is believed.
    #[must_use]
    pub fn new(trusted: Vec<IpNet>) -> Self {
        Self {
            clients: Clients::new(trusted),
            lines: 0,
            formats: [0; Format::ALL.len()],
            bad_lines: 0,
            shown_bad_lines: Vec::new(),
            last_time: LastTime::default(),
            undoubled: Vec::new(),
        }
    }

    /// Reads a log to its end; `name` is for messages. When it cannot be read to its end, says where it broke off.
    ///
    /// # Errors
    ///
    /// When nothing of it can be read.
    pub fn read(&mut self, source: impl Read + Send + 'static, name: &str) -> Result<Option<Damage>> {
        let mut source = uncompressed(source).with_context(|| format!("cannot read {name}"))?;
        let lines_before = self.lines;
        let mut splitter = Splitter::default();
        let mut number = 0;
        let broke_off = loop {
            match splitter.read(&mut source, |lines| self.take_all(lines, &mut number, name)) {
                Ok(0) => break None,
                Ok(_) => {}
                Err(error) => break Some(error),
            }
        };
        // What a damaged file ends with may be half a line, which may be half a number.
        if broke_off.is_none() {
            splitter.finish(|lines| self.take_all(lines, &mut number, name));
        }
        if let Some(error) = broke_off {
            if self.lines == lines_before {
                return Err(error).with_context(|| format!("cannot read {name}"));
            }
            return Ok(Some(Damage { file: name.to_owned(), line: number, what: error.to_string() }));
        }
        Ok(None)
    }

    /// Whether what was read is an access log. An empty one is: it has just been begun.
    ///
    /// # Errors
    ///
    /// When there are lines and none could be read.
    pub fn check(&self) -> Result<()> {
        if let Some(BadLine { file, line, what, .. }) = self.shown_bad_lines.first()
            && self.lines == self.bad_lines
        {
            bail!(
                "{file} is no access log: of {} lines none could be read, line {line} is: {what}; {ACCEPTED}",
                self.lines
            );
        }
        Ok(())
    }

    fn take_all(&mut self, lines: &[Line<'_>], number: &mut u64, file: &str) {
        let first_words = lines.iter().filter_map(|line| {
            let (Line::Whole(line) | Line::TooLong(line)) = line;
            line.get(..memchr(b' ', line)?)
        });
        self.clients.fetch(first_words);
        lines.iter().for_each(|line| self.take(*line, number, file));
    }

    /// Takes in the next line of a file, of which `number` lines were taken in before.
    pub fn take(&mut self, line: Line<'_>, number: &mut u64, file: &str) {
        *number += 1;
        let (line, taken) = match line {
            Line::Whole(line) => {
                // Windows programs begin a text with a byte order mark.
                let line =
                    if *number == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
                if line.trim_ascii().is_empty() {
                    return;
                }
                (line, self.take_whole(line))
            }
            // Who sends too much does not hide by it: what counts stands in front.
            Line::TooLong(line) => (line, self.take_beginning(line)),
        };
        self.lines += 1;
        if let Err(fault) = taken {
            self.bad_lines += 1;
            if self.shown_bad_lines.len() < KEPT_BAD_LINES {
                let start = line.get(..SHOWN_BYTES.min(line.len())).unwrap_or_default();
                let fault = if start.contains(&0) { Fault::Binary } else { fault };
                self.shown_bad_lines.push(BadLine {
                    file: file.to_owned(),
                    line: *number,
                    what: fault.to_string(),
                    text: String::from_utf8_lossy(start).into_owned(),
                });
            }
        }
    }

    fn take_whole(&mut self, line: &[u8]) -> Result<(), Fault> {
        let line = line.trim_ascii_start();
        let (entry, format) = if line.first() == Some(&b'{') {
            (json::parse(line)?, Format::Json)
        } else if is_doubled(line) {
            self.undoubled.clear();
            let mut was_quote = false;
            for byte in line.get(1..).unwrap_or_default() {
                was_quote = *byte == b'"' && !was_quote;
                if !was_quote {
                    self.undoubled.push(*byte);
                }
            }
            text::parse(&self.undoubled, &mut self.last_time)?
        } else {
            text::parse(line, &mut self.last_time)?
        };
        Self::add(&mut self.clients, &mut self.formats, &entry, format)
    }

    fn take_beginning(&mut self, line: &[u8]) -> Result<(), Fault> {
        let line = line.trim_ascii_start();
        let parsed = if line.first() == Some(&b'{') {
            json::parse_beginning(line).map(|entry| (entry, Format::Json))
        } else {
            text::parse(line, &mut self.last_time)
        };
        let (entry, format) = parsed.map_err(|_| Fault::TooLong)?;
        Self::add(&mut self.clients, &mut self.formats, &entry, format)
    }

    fn add(
        clients: &mut Clients,
        formats: &mut [u64; Format::ALL.len()],
        entry: &Entry<'_>,
        format: Format,
    ) -> Result<(), Fault> {
        clients.add(entry)?;
        if let Some(count) = formats.get_mut(format as usize) {
            *count += 1;
        }
        Ok(())
    }
}

/// Whether a line is wrapped in quotes and those in it are doubled, as spreadsheets write it.
fn is_doubled(line: &[u8]) -> bool {
    let inner = line.strip_prefix(b"\"").unwrap_or_default();
    memchr(b'"', inner).is_some_and(|at| inner.get(at + 1) == Some(&b'"'))
}

/// Opens a log; `-` is standard input.
///
/// # Errors
///
/// When there is none, or it is a directory.
pub fn open(file: &Path) -> Result<Box<dyn Read + Send>> {
    if file == Path::new("-") {
        return Ok(Box::new(io::stdin()));
    }
    let shown = file.display();
    let opened = File::open(file).with_context(|| format!("cannot open the log {shown}"))?;
    if opened.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        bail!("{shown} is a directory; name the logs in it, for example {shown}/access.log*");
    }
    Ok(Box::new(opened))
}
