//! Where reports go: standard output, as aligned columns or as one JSON object; what went wrong, to standard error.

use std::env;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use anyhow::{Context, Result};
use serde::Serialize;

/// Prints one JSON object.
///
/// # Errors
///
/// When standard output cannot be written.
pub fn print_json(value: &impl Serialize) -> Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)
        .map_err(io::Error::from)
        .context("cannot write the report")?;
    writeln!(out).context("cannot write the report")
}

/// Prints a report as the operator asked for it.
///
/// # Errors
///
/// When standard output cannot be written.
pub fn print_report(json: bool, report: &impl Serialize, text: impl FnOnce() -> String) -> Result<()> {
    if json { print_json(report) } else { print_text(&text()) }
}

/// Prints text.
///
/// # Errors
///
/// When standard output cannot be written.
pub fn print_text(text: &str) -> Result<()> {
    io::stdout().lock().write_all(text.as_bytes()).context("cannot write the report")
}

/// Says on standard error what went wrong, in one line or several. When that is closed or full, there is nobody
/// left to tell.
pub fn complain(lines: impl Display) {
    let lines = lines.to_string();
    let shown: Vec<String> = lines.split('\n').map(printable).collect();
    let _ = writeln!(io::stderr(), "{}", shown.join("\n"));
}

/// What a file says or is called, for a terminal: what would steer it or turn the order of letters is escaped, as
/// `\u{1b}`.
#[must_use]
pub fn printable(text: &str) -> String {
    let steers = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if steers(letter) {
            shown.extend(letter.escape_debug());
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// Whether what is printed is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// For files, pipes and who asks for none.
    Plain,
    /// For a terminal.
    Coloured,
}

impl Ink {
    /// What standard output is to get; a variable `NO_COLOR` that is not empty asks for none.
    #[must_use]
    pub fn of_stdout() -> Self {
        let is_unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if io::stdout().is_terminal() && !is_unwanted { Self::Coloured } else { Self::Plain }
    }

    /// What is reached, in green.
    #[must_use]
    pub fn good(self, text: &str) -> String {
        self.paint(text, "32")
    }

    /// What is not reached, in red.
    #[must_use]
    pub fn bad(self, text: &str) -> String {
        self.paint(text, "31")
    }

    /// What matters most.
    #[must_use]
    pub fn strong(self, text: &str) -> String {
        self.paint(text, "1")
    }

    fn paint(self, text: &str, code: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Coloured => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        }
    }
}

/// How a column is aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Aligned columns under a heading.
#[must_use]
pub fn table(heading: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .chain(heading.get(column).map(|(name, _)| name.chars().count()))
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let heading_row: Vec<String> = heading.iter().map(|(name, _)| (*name).to_owned()).collect();
    let mut text = String::new();
    for row in std::iter::once(&heading_row).chain(rows) {
        let mut line = String::new();
        for (column, ((cell, (_, align)), width)) in row.iter().zip(heading).zip(&widths).enumerate() {
            let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
            if column > 0 {
                line.push_str("  ");
            }
            match align {
                Align::Left => {
                    line.push_str(cell);
                    line.push_str(&padding);
                }
                Align::Right => {
                    line.push_str(&padding);
                    line.push_str(cell);
                }
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_steer_a_terminal_is_escaped() {
        for (text, shown) in [
            ("plain, Überlast, e\u{301}, \"quoted\\\"", "plain, Überlast, e\u{301}, \"quoted\\\""),
            ("\u{1b}]0;title\u{7}", "\\u{1b}]0;title\\u{7}"),
            ("\u{9b}31m\u{7f}", "\\u{9b}31m\\u{7f}"),
            ("two\r\nlines\t", "two\\r\\nlines\\t"),
            ("\u{202e}gpj.exe", "\\u{202e}gpj.exe"),
            ("\u{61c}1\u{200e}2\u{200f}3\u{2066}", "\\u{61c}1\\u{200e}2\\u{200f}3\\u{2066}"),
            ("an emoji of two: \u{1f469}\u{200d}\u{1f4bb}", "an emoji of two: \u{1f469}\u{200d}\u{1f4bb}"),
        ] {
            assert_eq!(printable(text), shown, "{text:?}");
        }
    }
}
