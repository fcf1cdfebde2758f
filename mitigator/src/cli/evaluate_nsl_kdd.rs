//! `mitigator evaluate nsl-kdd`: trains on `KDDTrain+` and tells the figures on `KDDTest+`, or cross-validates.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;
use serde::Serialize;

use super::Answer;
use super::evaluate_nsl_kdd_text::text;
use super::learning::{Presentation, Recipe, progress_bar, timed, training_file};
use crate::learn::balance::Balance;
use crate::learn::classifier::{Kind, Settings};
use crate::learn::confusion::Confusion;
use crate::learn::nsl_kdd::attack::{ATTACKS, Class};
use crate::learn::nsl_kdd::evaluation::Evaluation;
use crate::learn::nsl_kdd::model::{self, Model, cross_validate};
use crate::learn::nsl_kdd::record::{Labelled, Record};
use crate::report::output::print_report;

/// Factors on benign's probability that cross-validation tells of.
const FACTORS: [f64; 9] = [1.0, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.03, 0.02];

/// Arguments of `mitigator evaluate nsl-kdd`.
#[derive(Debug, Args)]
pub(super) struct NslKddArgs {
    /// The directory with `KDDTrain+.txt` and `KDDTest+.txt`, plain or compressed with zstd or gzip
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Evaluate this model, of `mitigator train`, and train none
    #[arg(long, value_name = "FILE", conflicts_with_all = ["model", "balance", "benign_factor", "seed", "seeds", "compare", "cross_validate"])]
    model_file: Option<PathBuf>,
    #[command(flatten)]
    recipe: Recipe,
    /// Train this many models, of as many seeds from `--seed` on, and tell the spread
    #[arg(long, value_name = "N", default_value_t = 1)]
    seeds: u64,
    /// Every kind of model with every balance
    #[arg(long, conflicts_with_all = ["model", "balance", "benign_factor", "charts"])]
    compare: bool,
    /// Ask models about attacks that were left out of training, and do not read the test file
    #[arg(long, conflicts_with = "charts")]
    cross_validate: bool,
    #[command(flatten)]
    presentation: Presentation,
}

#[derive(Serialize)]
pub(super) struct Report {
    pub(super) data_set: &'static str,
    pub(super) training: Option<Records>,
    pub(super) runs: Vec<Run>,
    /// Of each model and balance that has runs with several seeds.
    pub(super) spread: Vec<Spread>,
    pub(super) cross_validation: Vec<CrossValidation>,
}

/// Of a file.
#[derive(Serialize)]
pub(super) struct Records {
    pub(super) records: usize,
    pub(super) data_sha256: String,
    /// Records of each class.
    pub(super) classes: BTreeMap<&'static str, u64>,
}

/// How much figures depend on the seed.
#[derive(Serialize)]
pub(super) struct Spread {
    pub(super) model: Kind,
    pub(super) balance: Balance,
    pub(super) seeds: usize,
    pub(super) accuracy: Range,
    pub(super) macro_f1: Range,
    pub(super) binary_accuracy: Range,
}

/// Of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Range {
    pub(super) mean: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

/// A model and its figures.
#[derive(Serialize)]
pub(super) struct Run {
    pub(super) settings: Settings,
    pub(super) training_s: Option<f64>,
    #[serde(flatten)]
    pub(super) evaluation: Evaluation,
    /// Shares of the features in the decisions, largest first.
    pub(super) importance: Vec<(String, f64)>,
}

#[derive(Serialize)]
pub(super) struct CrossValidation {
    pub(super) settings: Settings,
    /// The settings' own factor and some others.
    pub(super) factors: Vec<Factor>,
}

#[derive(Serialize)]
pub(super) struct Factor {
    pub(super) benign_factor: f64,
    pub(super) accuracy: f64,
    pub(super) macro_f1: f64,
    pub(super) recall: BTreeMap<&'static str, f64>,
}

impl NslKddArgs {
    pub(super) fn run(&self) -> Result<Answer> {
        ensure!((1..=100).contains(&self.seeds), "--seeds is {}; it must be between 1 and 100", self.seeds);
        self.presentation.prepare()?;
        let mut report = Report {
            data_set: model::DATA_SET,
            training: None,
            runs: Vec::new(),
            spread: Vec::new(),
            cross_validation: Vec::new(),
        };
        if let Some(file) = &self.model_file {
            let (header, model) = Model::read(file)?;
            let test = self.test()?;
            is_apart(&header.data_sha256, &test)?;
            report.runs.push(Run::of(&model, header.settings, None, &test));
            self.draw(&[("KDDTest+", &test)], &report)?;
        } else {
            let training = Labelled::read(&training_file(&self.data))?;
            report.training = Some(Records::of(&training));
            let recipes = self.recipes()?;
            if self.cross_validate {
                report.cross_validation = validated(&training, recipes)?;
            } else {
                let test = self.test()?;
                is_apart(&training.digest, &test)?;
                report.runs = evaluated(&training, &test, recipes)?;
                report.spread = spread(&report.runs);
                self.draw(&[("KDDTrain+", &training), ("KDDTest+", &test)], &report)?;
            }
        }
        print_report(self.presentation.json, &report, || text(&report))?;
        Ok(Answer::Done)
    }

    fn test(&self) -> Result<Labelled> {
        Labelled::read(&self.data.join("KDDTest+.txt"))
    }

    /// Each model that is asked for.
    fn recipes(&self) -> Result<Vec<Settings>> {
        let seeds = self.recipe.seed..self.recipe.seed.saturating_add(self.seeds);
        let mut recipes = Vec::new();
        if self.compare {
            for (kind, balance) in
                Kind::ALL.into_iter().flat_map(|kind| Balance::ALL.map(|balance| (kind, balance)))
            {
                recipes.extend(seeds.clone().map(|seed| model::settings(kind, balance, seed)));
            }
        } else {
            for seed in seeds {
                recipes.push(Recipe { seed, ..self.recipe.clone() }.settings()?);
            }
        }
        Ok(recipes)
    }

    fn draw(&self, files: &[(&str, &Labelled)], report: &Report) -> Result<()> {
        let Some(run) = report.runs.first() else { return Ok(()) };
        let names = Class::ALL.map(Class::name);
        let counts: Vec<(&str, Vec<u64>)> =
            files.iter().map(|(name, file)| (*name, Records::of(file).classes_in_order(&names))).collect();
        self.presentation.draw(&names, &counts, &run.evaluation.confusion)
    }
}

/// What was learned by heart proves nothing.
fn is_apart(training_sha256: &str, test: &Labelled) -> Result<()> {
    ensure!(
        training_sha256 != test.digest,
        "the model was trained on the very records that it is to be judged by; train it on KDDTrain+.txt"
    );
    Ok(())
}

fn evaluated(training: &Labelled, test: &Labelled, recipes: Vec<Settings>) -> Result<Vec<Run>> {
    recipes
        .into_iter()
        .map(|settings| {
            let bar = progress_bar("training");
            let (model, training_s) = timed(|| Model::fit(training, &settings, bar.step()))?;
            bar.clear();
            Ok(Run::of(&model, settings, Some(training_s), test))
        })
        .collect()
}

fn validated(training: &Labelled, recipes: Vec<Settings>) -> Result<Vec<CrossValidation>> {
    let names: Vec<&str> =
        training.records.iter().filter_map(|record| record.attack).map(|attack| attack.name).collect();
    let missing =
        ATTACKS.iter().filter(|attack| attack.is_in_training).find(|attack| !names.contains(&attack.name));
    if let Some(attack) = missing {
        anyhow::bail!("to leave each attack out once takes all of KDDTrain+; `{}` is missing", attack.name);
    }
    recipes
        .into_iter()
        .map(|settings| {
            let bar = progress_bar("cross-validating");
            let answers = cross_validate(training, &settings, bar.step())?;
            bar.clear();
            let mut factors = FACTORS.to_vec();
            if !factors.contains(&settings.benign_factor) {
                factors.push(settings.benign_factor);
            }
            let factors = factors
                .into_iter()
                .map(|benign_factor| Factor::of(benign_factor, &answers.confusion(benign_factor)))
                .collect();
            Ok(CrossValidation { settings, factors })
        })
        .collect()
}

impl Records {
    fn of(data: &Labelled) -> Self {
        let mut classes = Class::ALL.map(|class| (class.name(), 0)).into_iter().collect::<BTreeMap<_, _>>();
        for class in data.records.iter().filter_map(Record::class) {
            *classes.entry(class.name()).or_insert(0) += 1;
        }
        Self { records: data.records.len(), data_sha256: data.digest.clone(), classes }
    }

    fn classes_in_order(&self, names: &[&str]) -> Vec<u64> {
        names.iter().map(|name| self.classes.get(name).copied().unwrap_or(0)).collect()
    }
}

impl Run {
    fn of(model: &Model, settings: Settings, training_s: Option<f64>, test: &Labelled) -> Self {
        Self { settings, training_s, evaluation: Evaluation::of(model, test), importance: model.importance() }
    }
}

/// Of runs that differ in their seeds alone and stand side by side.
fn spread(runs: &[Run]) -> Vec<Spread> {
    let is_alike =
        |a: &Run, b: &Run| (a.settings.kind, a.settings.balance) == (b.settings.kind, b.settings.balance);
    let of = |runs: &[Run]| Spread {
        model: runs[0].settings.kind,
        balance: runs[0].settings.balance,
        seeds: runs.len(),
        accuracy: Range::of(runs.iter().map(|run| run.evaluation.accuracy)),
        macro_f1: Range::of(runs.iter().map(|run| run.evaluation.macro_f1)),
        binary_accuracy: Range::of(runs.iter().map(|run| run.evaluation.binary_accuracy)),
    };
    runs.chunk_by(is_alike).filter(|runs| runs.len() > 1).map(of).collect()
}

impl Range {
    fn of(figures: impl Iterator<Item = f64> + Clone) -> Self {
        let count = figures.clone().fold(0.0, |count, _| count + 1.0);
        Self {
            mean: figures.clone().sum::<f64>() / count,
            min: figures.clone().fold(f64::INFINITY, f64::min),
            max: figures.fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

impl Factor {
    fn of(benign_factor: f64, confusion: &Confusion) -> Self {
        Self {
            benign_factor,
            accuracy: confusion.accuracy(),
            macro_f1: confusion.macro_f1(),
            recall: Class::ALL
                .map(|class| (class.name(), confusion.class(class as usize).recall))
                .into_iter()
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_that_counted_by_hand() {
        let range = Range::of([0.8, 0.5, 0.2].into_iter());
        assert!((range.mean - 0.5).abs() < 1e-12 && (range.min, range.max) == (0.2, 0.8), "{range:?}");
    }
}
