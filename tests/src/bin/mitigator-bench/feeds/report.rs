//! What was measured, as text, JSON and Markdown.

use std::time::Duration;

use anyhow::Result;
use mitigator_tests::machine::MeasuredWith;
use mitigator_tests::numbers::thousands;
use serde::Serialize;

use crate::measured::{Figure, Measured};
use crate::quartiles::Quartiles;
use crate::table;

/// Everything that was measured, and with what.
#[derive(Serialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    with: MeasuredWith,
    rounds: u32,
    tasks: Vec<Figures>,
}

/// Something that was done several times.
pub(crate) struct Task {
    program: &'static str,
    what: &'static str,
    entries: u32,
    limit_ms: Option<f64>,
    pub(crate) took: Vec<Duration>,
}

impl Task {
    pub(crate) const fn new(
        program: &'static str,
        what: &'static str,
        entries: u32,
        limit_ms: Option<f64>,
    ) -> Self {
        Self { program, what, entries, limit_ms, took: Vec::new() }
    }
}

#[derive(Serialize)]
struct Figures {
    program: &'static str,
    what: &'static str,
    entries: u32,
    /// How often it was done; 0 where the program is not installed.
    samples: usize,
    ms: Quartiles,
    most_ms: f64,
    limit_ms: Option<f64>,
}

impl From<Task> for Figures {
    fn from(task: Task) -> Self {
        let Task { program, what, entries, limit_ms, took } = task;
        let ms: Vec<f64> = took.iter().map(|took| took.as_secs_f64() * 1e3).collect();
        let (samples, most_ms) = (ms.len(), ms.iter().copied().fold(f64::NAN, f64::max));
        Self { program, what, entries, samples, ms: Quartiles::of(ms), most_ms, limit_ms }
    }
}

const HEADINGS: [&str; 7] =
    ["program", "what", "entries", "ms (quartiles)", "least to most", "limit", "samples"];
const NOT_MEASURED: &str =
    "Not measured: a table that is half full of others, other sizes, writing while packets arrive.";

impl Report {
    pub(crate) fn new(rounds: u32, tasks: Vec<Task>) -> Self {
        Self { with: MeasuredWith::this(), rounds, tasks: tasks.into_iter().map(Figures::from).collect() }
    }

    fn rows(&self) -> impl Iterator<Item = [String; 7]> {
        self.tasks.iter().map(|task| {
            let figure = |ms: f64| if ms < 10.0 { format!("{ms:.2}") } else { format!("{ms:.0}") };
            let limit = task.limit_ms.map_or_else(
                || "–".to_owned(),
                |limit| format!("{limit:.0} {}", if task.ms.median <= limit { '✓' } else { '✗' }),
            );
            let is_there = task.samples > 0;
            [
                task.program.to_owned(),
                task.what.to_owned(),
                thousands(f64::from(task.entries)),
                if is_there { task.ms.text(figure) } else { "not installed".to_owned() },
                if is_there {
                    format!("{}–{}", figure(task.ms.least), figure(task.most_ms))
                } else {
                    "–".to_owned()
                },
                limit,
                task.samples.to_string(),
            ]
        })
    }

    fn origin(&self) -> String {
        format!("{}, {} rounds", self.with, self.rounds)
    }

    fn text(&self) -> String {
        format!("{}\n\n{}\n{NOT_MEASURED}\n", self.origin(), table::columns(HEADINGS, self.rows(), &[0, 1]))
    }

    fn section(&self) -> String {
        let table = table::markdown(HEADINGS, self.rows());
        format!("{}\n\n{METHOD}\n\n{table}\n{NOT_MEASURED}\n", self.origin())
    }

    /// In all forms.
    pub(crate) fn measured(&self) -> Result<Measured> {
        let figure = |task: &Figures| {
            let name =
                format!("{}, {}, {} entries", task.program, task.what, thousands(f64::from(task.entries)));
            Figure::new(name, "ms", task.ms)
        };
        Ok(Measured {
            text: self.text(),
            json: serde_json::to_value(self)?,
            section: self.section(),
            plots: Vec::new(),
            figures: self.tasks.iter().map(figure).collect(),
        })
    }
}

const METHOD: &str = "\
A feed is a file with an address a line. mitigator reads it with `blocklist import`, nftables with `nft -f` as the elements of a \
set, ipset with `ipset restore`; the time is that of the whole command. An urgent block is one that the agent's code writes, and \
reads back, while `blocklist import` loads; blocks are taken back by the same code. A snapshot is all rows of the source table as \
the agent reads them, into memory of its own.";
