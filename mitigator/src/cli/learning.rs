//! What `train`, `evaluate` and `predict` have in common.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::learn::balance::Balance;
use crate::learn::classifier::{Kind, Settings};
use crate::learn::nsl_kdd::model;

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
    /// that are none [default: by model and balance]
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
