//! `mitigator train`: learns a model from labelled records and writes it to a file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::Answer;
use super::learning::{Recipe, progress_bar, training_file};
use crate::learn::model_file::Header;
use crate::learn::nsl_kdd::model::Model;
use crate::learn::nsl_kdd::record::Labelled;
use crate::report::output::{print_report, printable};
use crate::report::units;

/// Arguments of `mitigator train`.
#[derive(Debug, Args)]
pub(super) struct TrainArgs {
    #[command(subcommand)]
    data_set: DataSet,
}

/// The comments are what `--help` shows.
#[derive(Debug, Subcommand)]
enum DataSet {
    /// Learn the five classes of NSL-KDD
    ///
    /// Reads `KDDTrain+.txt` and nothing else; compressed with zstd or gzip, too. One seed gives one model, except that the
    /// trees of `tree`, `forest` and `ensemble` may break ties otherwise.
    NslKdd(NslKddArgs),
}

#[derive(Debug, Args)]
struct NslKddArgs {
    /// The directory with `KDDTrain+.txt`, or the file itself
    #[arg(long, value_name = "PLACE")]
    data: PathBuf,
    /// The file for the model; one that stands there is replaced
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    recipe: Recipe,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    output: String,
    #[serde(flatten)]
    header: Header,
    training_s: f64,
    /// Shares of each feature in the decisions, largest first.
    importance: Vec<(String, f64)>,
}

impl TrainArgs {
    pub(super) fn run(&self) -> Result<Answer> {
        let DataSet::NslKdd(args) = &self.data_set;
        args.run()
    }
}

impl NslKddArgs {
    fn run(&self) -> Result<Answer> {
        let settings = self.recipe.settings()?;
        let data = Labelled::read(&training_file(&self.data))?;
        let bar = progress_bar("training");
        let (model, training_s) = timed(|| Model::fit(&data, &settings, bar.step()))?;
        bar.clear();
        let header = model.write(&self.output, &settings, &data)?;
        let report =
            Report { output: shown(&self.output), header, training_s, importance: model.importance() };
        print_report(self.json, &report, || text(&report))?;
        Ok(Answer::Done)
    }
}

/// What `work` gives, and the seconds that it took.
#[expect(clippy::disallowed_methods, reason = "how long training took is told, and decides nothing")]
pub(super) fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
    let start = std::time::Instant::now();
    let done = work()?;
    Ok((done, start.elapsed().as_secs_f64()))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn text(report: &Report) -> String {
    let settings = &report.header.settings;
    format!(
        "{}: {} of {} records, balance {}, seed {}, trained in {}\n",
        printable(&report.output),
        settings.kind.name(),
        report.header.records,
        settings.balance.name(),
        settings.seed,
        units::duration(Duration::from_secs_f64(report.training_s))
    )
}
