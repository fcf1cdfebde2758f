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
    lines: u32,
    bytes: u64,
    programs: Vec<Figures>,
}

/// A program, several times over.
pub(crate) struct Task {
    program: &'static str,
    clients: u64,
    what: &'static str,
    wanted: Option<f64>,
    pub(crate) took: Vec<Duration>,
}

impl Task {
    /// Of a log of so many clients; `wanted` are lines/s.
    pub(crate) const fn new(
        program: &'static str,
        clients: u64,
        what: &'static str,
        wanted: Option<f64>,
    ) -> Self {
        Self { program, clients, what, wanted, took: Vec::new() }
    }
}

#[derive(Serialize)]
struct Figures {
    program: &'static str,
    clients: u64,
    what: &'static str,
    /// How often it ran; 0 where it is not installed.
    samples: usize,
    lines_per_second: Quartiles,
    wanted: Option<f64>,
}

impl Report {
    pub(crate) fn new(rounds: u32, lines: u32, bytes: u64, tasks: Vec<Task>) -> Self {
        let figures = |task: Task| {
            let speeds: Vec<f64> =
                task.took.iter().map(|took| f64::from(lines) / took.as_secs_f64()).collect();
            Figures {
                program: task.program,
                clients: task.clients,
                what: task.what,
                samples: speeds.len(),
                lines_per_second: Quartiles::of(speeds),
                wanted: task.wanted,
            }
        };
        let programs = tasks.into_iter().map(figures).collect();
        Self { with: MeasuredWith::this(), rounds, lines, bytes, programs }
    }

    fn rows(&self) -> impl Iterator<Item = [String; 6]> {
        self.programs.iter().map(|figures| {
            let is_there = figures.samples > 0;
            let speed = &figures.lines_per_second;
            [
                figures.program.to_owned(),
                figures.clients.to_string(),
                figures.what.to_owned(),
                if is_there { speed.text(thousands) } else { "not installed".to_owned() },
                figures.wanted.map_or_else(
                    || "–".to_owned(),
                    |wanted| {
                        format!(
                            "at least {} {}",
                            thousands(wanted),
                            if speed.median >= wanted { '✓' } else { '✗' }
                        )
                    },
                ),
                figures.samples.to_string(),
            ]
        })
    }

    fn origin(&self) -> String {
        #[expect(clippy::cast_precision_loss, reason = "shown in whole megabytes")]
        let megabytes = self.bytes as f64 / 1e6;
        format!(
            "{}; {} lines, {megabytes:.0} MB, {} rounds",
            self.with,
            thousands(f64::from(self.lines)),
            self.rounds
        )
    }

    /// In all forms.
    pub(crate) fn measured(&self) -> Result<Measured> {
        let figure = |figures: &Figures| {
            let name = format!("{}, a log of {} clients", figures.program, figures.clients);
            Figure::new(name, "lines/s", figures.lines_per_second)
        };
        Ok(Measured {
            text: format!("{}\n\n{}", self.origin(), table::columns(HEADINGS, self.rows(), &[0, 2])),
            json: serde_json::to_value(self)?,
            section: format!("{}\n\n{METHOD}\n\n{}", self.origin(), table::markdown(HEADINGS, self.rows())),
            plots: Vec::new(),
            figures: self.programs.iter().map(figure).collect(),
        })
    }
}

const HEADINGS: [&str; 6] = ["program", "clients", "what it tells", "lines/s", "wanted", "runs"];

const METHOD: &str = "\
Logs are generated with a seed, in the combined format, with 5,000 pages and clients in no order, a few of whom ask for most, and are in the \
page cache. Each program runs on one core, and the time is that of the whole command. `awk` is what the system has by that name; it counts the first \
column and knows nothing else. GoAccess writes its report as JSON.";
