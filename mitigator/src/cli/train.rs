//! `mitigator train`: learns a model from labelled records and writes it to a file.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};

use super::Answer;
use super::learning::{
    FlowRecipe, Recipe, TrainingReport, has_place, labelled, progress_bar, shown_seconds, timed,
    training_file,
};
use crate::learn::flows::category::Category;
use crate::learn::flows::cross::KEPT_SHARE;
use crate::learn::flows::shapes::FeatureSet;
use crate::learn::flows::{FlowModel, Thresholds};
use crate::learn::nsl_kdd::model::Model;
use crate::learn::nsl_kdd::record::Labelled;
use crate::report::output::{complain, print_report, printable};

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
    /// Learn which flows are attacks, from labelled flows
    ///
    /// Reads CSV, plain or compressed with zstd or gzip, and Parquet, under the column names of CICIDS2017 (corrected),
    /// CSE-CIC-IDS2018 (as published, as converted, or in snake case), with a column `Label`: docs/flow-classifier.md has the
    /// labels. Addresses, ports and timestamps are not learned from. One seed gives one model.
    ///
    /// Example: `mitigator dataset split cic2018/ --output parts && mitigator train flows parts/train.parquet --validation
    /// parts/validation.parquet --output flows.model`
    Flows(FlowsArgs),
}

#[derive(Debug, Args)]
struct FlowsArgs {
    /// Files of labelled flows, read one behind the other
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Files of labelled flows to stop by and to choose thresholds with [default: a fifth of those to learn from, which are
    /// then not learned from]
    #[arg(long, value_name = "FILE", num_args = 1..)]
    validation: Vec<PathBuf>,
    /// The file for the model; one that stands there is replaced
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// What decides
    #[arg(long, value_name = "WHICH", default_value = "transferable", help_heading = "Training")]
    features: FeatureSet,
    #[command(flatten)]
    recipe: FlowRecipe,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
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

impl TrainArgs {
    pub(super) fn run(&self) -> Result<Answer> {
        match &self.data_set {
            DataSet::NslKdd(args) => args.run(),
            DataSet::Flows(args) => args.run(),
        }
    }
}

impl NslKddArgs {
    fn run(&self) -> Result<Answer> {
        let settings = self.recipe.settings()?;
        has_place(&self.output)?;
        let data = Labelled::read(&training_file(&self.data))?;
        let bar = progress_bar("training");
        let (model, training_s) = timed(|| Model::fit(&data, &settings, bar.step()))?;
        bar.clear();
        let header = model.write(&self.output, &settings, &data)?;
        let importance = model.importance();
        let report = TrainingReport { output: shown(&self.output), header, training_s, importance };
        print_report(self.json, &report, || {
            let balance = format!("{}, benign factor {}", settings.balance.name(), settings.benign_factor);
            text(&report, settings.kind.name(), &balance, settings.seed)
        })?;
        Ok(Answer::Done)
    }
}

impl FlowsArgs {
    fn run(&self) -> Result<Answer> {
        let training = self.recipe.training(self.features)?;
        has_place(&self.output)?;
        let all = labelled(&self.files)?;
        let (data, validation) = if self.validation.is_empty() {
            all.part(KEPT_SHARE, self.recipe.seed)
        } else {
            (all, labelled(&self.validation)?)
        };
        ensure!(
            self.validation.is_empty() || data.digest != validation.digest,
            "the flows to validate with are those to learn from; name others, or leave `--validation` out"
        );
        let bar = progress_bar("training");
        let (model, training_s) = timed(|| FlowModel::fit(&data, &validation, &training, bar.step()))
            .context("cannot learn from these flows")?;
        bar.clear();
        let header = model.write(&self.output, &training, &data)?;
        for (category, count) in model.not_learned(&validation) {
            complain(format_args!(
                "warning: {count} flows to validate with are {}, of which there are none to learn from; they were left out",
                category.name()
            ));
        }
        let Thresholds { attack, denial_of_service } = model.thresholds();
        let has = |is_it: fn(Category) -> bool| validation.categories.iter().any(|own| is_it(*own));
        for (what, threshold, is_there) in [
            ("attacks", attack, has(|own| own != Category::Benign)),
            ("dos and ddos", denial_of_service, has(Category::is_denial_of_service)),
        ] {
            if !is_there {
                complain(format_args!(
                    "warning: there are no {what} to validate with; they are called so from the probability {threshold} on, and \
                     how precise that is nobody knows"
                ));
            } else if threshold >= 1.0 {
                complain(format_args!(
                    "warning: of {what}, no threshold reached a precision of {} on the flows to validate with, so that none will be \
                     found; ask for less with `--precision`, or give more flows",
                    self.recipe.precision
                ));
            }
        }
        let importance = model.importance();
        let report = TrainingReport { output: shown(&self.output), header, training_s, importance };
        print_report(self.json, &report, || {
            text(&report, "boosting", self.recipe.balance.name(), self.recipe.seed)
        })?;
        Ok(Answer::Done)
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn text<S>(report: &TrainingReport<S>, kind: &str, balance: &str, seed: u64) -> String {
    format!(
        "{}: {kind} of {} records, balance {balance}, seed {seed}, trained in {}\n",
        printable(&report.output),
        report.header.records,
        shown_seconds(report.training_s)
    )
}
