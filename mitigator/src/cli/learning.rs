//! What `train`, `evaluate` and `predict` have in common.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::learn::balance::Balance;
use crate::learn::classifier::{Kind, Settings};
use crate::learn::confusion::Confusion;
use crate::learn::flows::Labelled;
use crate::learn::flows::model::{Classes, DEFAULT_BALANCE, DEFAULT_PRECISION, Training};
use crate::learn::flows::shapes::FeatureSet;
use crate::learn::model_file::Header;
use crate::learn::nsl_kdd::model;
use crate::report::charts;
use crate::report::output::{Align, complain, table};
use crate::report::units;

/// How a model is to be trained.
#[derive(Clone, Debug, Args)]
pub(super) struct Recipe {
    /// The kind of model
    #[arg(long, value_name = "KIND", default_value = model::DEFAULT_KIND.name(), help_heading = "Training")]
    pub(super) model: Kind,
    /// What is done about classes of very different size
    #[arg(long, value_name = "HOW", default_value = model::DEFAULT_BALANCE.name(), help_heading = "Training")]
    pub(super) balance: Balance,
    /// What the probability of `benign` is multiplied with before the largest decides; smaller finds more attacks, and more
    /// that are none [default: 0.3 with balance weights, but 1 for model tree and with any other balance]
    #[arg(long, value_name = "FACTOR", help_heading = "Training")]
    pub(super) benign_factor: Option<f64>,
    /// Of all chance
    #[arg(long, value_name = "NUMBER", default_value_t = 0, help_heading = "Training")]
    pub(super) seed: u64,
}

impl Recipe {
    pub(super) fn settings(&self) -> Result<Settings> {
        let mut settings = model::settings(self.model, self.balance, self.seed);
        if let Some(factor) = self.benign_factor {
            ensure!(
                factor > 0.0 && factor <= 1000.0,
                "--benign-factor is {factor}; it has to be more than 0 and at most 1000"
            );
            settings.benign_factor = factor;
        }
        Ok(settings)
    }
}

/// How a model of flows is to be trained.
#[derive(Clone, Debug, Args)]
pub(super) struct FlowRecipe {
    /// What it tells apart
    #[arg(long, value_name = "WHICH", default_value = "categories", help_heading = "Training")]
    pub(super) classes: Classes,
    /// What is done about categories of very different size
    #[arg(long, value_name = "HOW", default_value = DEFAULT_BALANCE.name(), help_heading = "Training")]
    pub(super) balance: Balance,
    /// Share of what is called an attack that has to be one, on flows kept to validate with, if attacks were as many as benign
    /// flows: sets the thresholds, which are at least 0.5
    #[arg(long, value_name = "SHARE", default_value_t = DEFAULT_PRECISION, help_heading = "Training")]
    pub(super) precision: f64,
    /// Of all chance
    #[arg(long, value_name = "NUMBER", default_value_t = 0, help_heading = "Training")]
    pub(super) seed: u64,
}

impl FlowRecipe {
    pub(super) fn training(&self, features: FeatureSet) -> Result<Training> {
        let precision = self.precision;
        ensure!(
            precision > 0.0 && precision <= 1.0,
            "--precision is {precision}; it has to be more than 0 and at most 1"
        );
        Ok(Training { precision, ..Training::new(features, self.classes, self.balance, self.seed) })
    }
}

/// How figures are told.
#[derive(Clone, Debug, Args)]
pub(super) struct Presentation {
    /// Draw the classes and the confusion matrix into this directory, as SVG
    #[arg(long, value_name = "DIR")]
    charts: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

impl Presentation {
    /// Makes the directory for charts, before what they show is worked out.
    pub(super) fn prepare(&self) -> Result<()> {
        self.charts.as_deref().map_or(Ok(()), |directory| {
            std::fs::create_dir_all(directory)
                .with_context(|| format!("cannot make the directory {}", directory.display()))
        })
    }

    /// Draws how many records of each class the files have, and what was taken for what, when charts are asked for.
    pub(super) fn draw(
        &self,
        classes: &[&str],
        files: &[(&str, Vec<u64>)],
        confusion: &[Vec<f64>],
    ) -> Result<()> {
        let Some(directory) = &self.charts else { return Ok(()) };
        charts::classes(&directory.join("classes.svg"), classes, files)?;
        charts::confusion(&directory.join("confusion.svg"), classes, confusion)
    }
}

/// What is told of a model that was trained.
#[derive(Serialize)]
pub(super) struct TrainingReport<S> {
    pub(super) output: String,
    #[serde(flatten)]
    pub(super) header: Header<S>,
    pub(super) training_s: f64,
    /// Shares of each feature in the decisions, largest first.
    pub(super) importance: Vec<(String, f64)>,
}

/// Reads labelled flows, and tells of cells that are text where a number should be.
pub(super) fn labelled(files: &[PathBuf]) -> Result<Labelled> {
    let flows = Labelled::read(files)?;
    for text in &flows.texts {
        complain(format_args!("warning: {text}; such cells are taken for the median of what is learned"));
    }
    Ok(flows)
}

/// `KDDTrain+.txt` in a directory, or the file that is named.
pub(super) fn training_file(place: &Path) -> PathBuf {
    if place.is_dir() { place.join("KDDTrain+.txt") } else { place.to_owned() }
}

/// A bar on a terminal, nothing elsewhere.
pub(super) struct Progress(ProgressBar);

pub(super) fn progress_bar(what: &'static str) -> Progress {
    if !io::stderr().is_terminal() {
        return Progress(ProgressBar::hidden());
    }
    let style = ProgressStyle::with_template("{bar:40} {msg}, {percent} %, {eta} to go");
    let bar = ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    Progress(bar.with_message(what))
}

impl Progress {
    /// What is told of each step: how much is done, of how much.
    pub(super) fn step(&self) -> impl FnMut(u64, u64) + use<> {
        let bar = self.0.clone();
        move |done, all| {
            bar.set_length(all);
            bar.set_position(done);
        }
    }

    pub(super) fn clear(&self) {
        self.0.finish_and_clear();
    }
}

/// What `work` gives, and the seconds that it took.
#[expect(clippy::disallowed_methods, reason = "how long training took is told, and decides nothing")]
pub(super) fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
    let start = std::time::Instant::now();
    let done = work()?;
    Ok((done, start.elapsed().as_secs_f64()))
}

/// Says before the training what would only show after it: that there is no place for a file.
pub(super) fn has_place(file: &Path) -> Result<()> {
    ensure!(!file.is_dir(), "cannot write {}: it is a directory", file.display());
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        ensure!(
            parent.is_dir(),
            "cannot write {}: there is no directory {}",
            file.display(),
            parent.display()
        );
    }
    Ok(())
}

/// Rows are what records are, columns what they were taken for. Shape of `confusion`: (true class, predicted class).
pub(super) fn confusion_table(classes: &[&str], confusion: &Confusion) -> String {
    let mut heading = vec![("IS \\ TAKEN FOR", Align::Left)];
    heading.extend(classes.iter().map(|class| (*class, Align::Right)));
    heading.extend([("RECALL", Align::Right), ("PRECISION", Align::Right), ("F1", Align::Right)]);
    let rows: Vec<Vec<String>> = classes
        .iter()
        .zip(confusion.counts())
        .enumerate()
        .map(|(class, (name, counts))| {
            let own = confusion.class(class);
            let counts = counts.iter().map(|count| format!("{count:.0}"));
            let shares = [own.recall, own.precision, own.f1].map(thousandths);
            std::iter::once((*name).to_owned()).chain(counts).chain(shares).collect()
        })
        .collect();
    table(&heading, &rows)
}

pub(super) fn thousandths(figure: f64) -> String {
    format!("{figure:.3}")
}

pub(super) fn shown_seconds(seconds: f64) -> String {
    units::duration(Duration::from_secs_f64(seconds))
}
