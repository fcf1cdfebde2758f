//! What may be said on the command line.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use mitigator_tests::suite;

/// Measures what mitigator decides on labelled captures, and on mixes of each attack with each benign capture.
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
}

impl Arguments {
    pub(crate) fn directory(&self) -> Result<PathBuf> {
        match &self.data {
            Some(directory) => Ok(directory.clone()),
            None => suite::captures()
                .context("there are no captures on this machine; name their directory with `--data DIR`"),
        }
    }
}
