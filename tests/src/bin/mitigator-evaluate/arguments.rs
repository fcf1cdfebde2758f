//! What may be said on the command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use mitigator_tests::suite;

/// Measures what mitigator decides on labelled captures, on mixes of each attack with each benign capture, and in
/// synthetic scenarios.
///
/// Writes the figures as Markdown with charts beside it, and prints a summary.
#[derive(Clone, Debug, Parser)]
#[command(name = "mitigator-evaluate")]
pub(crate) struct Arguments {
    /// The directory of the captures and their labels.json; default: $MITIGATOR_CAPTURES, or shared/data/pcap
    /// beside the project
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Print the figures as one JSON object and nothing else
    #[arg(long)]
    pub(crate) json: bool,
    /// Where the figures go; charts go into a directory of the same name without `.md`
    #[arg(long, value_name = "FILE.md", default_value = "docs/detection.md")]
    pub(crate) output: PathBuf,
    /// Run this synthetic scenario, or `all`, and no capture; print the figures and write none. May be given several times
    #[arg(long = "scenario", value_name = "NAME")]
    pub(crate) scenarios: Vec<String>,
    /// Simulate at most so many hours of each synthetic scenario
    #[arg(long, value_name = "N", value_parser = hours)]
    pub(crate) hours: Option<f64>,
    /// Leave out the synthetic scenarios
    #[arg(long, conflicts_with_all = ["scenarios", "hours"])]
    pub(crate) captures_only: bool,
}

fn hours(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(hours) if hours > 0.0 && hours <= 1_000.0 => Ok(hours),
        _ => Err("it must be over 0 and at most 1000".to_owned()),
    }
}

impl Arguments {
    /// How long a synthetic scenario may last; `None` for as long as it does.
    pub(crate) fn longest(&self) -> Option<Duration> {
        self.hours.map(|hours| Duration::from_secs_f64(hours * 3_600.0))
    }

    pub(crate) fn directory(&self) -> Result<PathBuf> {
        match &self.data {
            Some(directory) => Ok(directory.clone()),
            None => suite::captures()
                .context("there are no captures on this machine; name their directory with `--data DIR`"),
        }
    }
}
