//! `mitigator evaluate`: the figures of models on labelled records.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::Answer;
use super::evaluate_flows::FlowsArgs;
use super::learning::{
    Recipe, confusion_table, draw, make_place, progress_bar, shown_seconds, thousandths, timed, training_file,
};
use crate::learn::balance::Balance;
use crate::learn::classifier::{Kind, Settings};
use crate::learn::confusion::Confusion;
use crate::learn::nsl_kdd::attack::{ATTACKS, Class};
use crate::learn::nsl_kdd::evaluation::Evaluation;
use crate::learn::nsl_kdd::model::{self, Model, cross_validate};
use crate::learn::nsl_kdd::record::Labelled;
use crate::report::output::{Align, print_report, table};

/// Factors on benign's probability that cross-validation tells of.
const FACTORS: [f64; 9] = [1.0, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.03, 0.02];
/// Features that are told to people.
const SHOWN_FEATURES: usize = 10;

/// Arguments of `mitigator evaluate`.
#[derive(Debug, Args)]
pub(super) struct EvaluateArgs {
    #[command(subcommand)]
    data_set: DataSet,
}

/// The comments are what `--help` shows.
#[derive(Debug, Subcommand)]
enum DataSet {
    /// Train on KDDTrain+ and tell the figures on KDDTest+
    ///
    /// With `--cross-validate` the test file is not read: each attack of the training file is once left out of training, and
    /// what models make of it is told. Choose by that; what was chosen by the test file is no figure of the test file.
    NslKdd(NslKddArgs),
    /// Tell the figures of a model of flows on others, or what a model of one data set is worth on another
    ///
    /// With `--model`: what that model makes of the labelled flows. With `--cross`: models learn from a part of one set, and
    /// answer for another part of it and for all of the other set, in both directions, with transferable and with all
    /// features. On flows of the set that it was trained on, a model is better than anywhere else.
    Flows(FlowsArgs),
}

#[derive(Debug, Args)]
struct NslKddArgs {
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
    #[arg(long, conflicts_with_all = ["model", "balance", "benign_factor"])]
    compare: bool,
    /// Ask models about attacks that were left out of training, and do not read the test file
    #[arg(long)]
    cross_validate: bool,
    /// Draw the classes of both files and the confusion matrix into this directory, as SVG
    #[arg(long, value_name = "DIR", conflicts_with_all = ["compare", "cross_validate"])]
    charts: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    data_set: &'static str,
    training: Option<Records>,
    runs: Vec<Run>,
    cross_validation: Vec<CrossValidation>,
}

/// Of a file.
#[derive(Serialize)]
struct Records {
    records: usize,
    data_sha256: String,
    /// Records of each class.
    classes: BTreeMap<&'static str, u64>,
}

/// A model and its figures.
#[derive(Serialize)]
struct Run {
    settings: Settings,
    training_s: Option<f64>,
    #[serde(flatten)]
    evaluation: Evaluation,
    /// Shares of the features in the decisions, largest first.
    importance: Vec<(String, f64)>,
}

#[derive(Serialize)]
struct CrossValidation {
    settings: Settings,
    /// The settings' own factor and some others.
    factors: Vec<Factor>,
}

#[derive(Serialize)]
struct Factor {
    benign_factor: f64,
    accuracy: f64,
    macro_f1: f64,
    recall: BTreeMap<&'static str, f64>,
}

impl EvaluateArgs {
    pub(super) fn run(&self) -> Result<Answer> {
        match &self.data_set {
            DataSet::NslKdd(args) => args.run(),
            DataSet::Flows(args) => args.run(),
        }
    }
}

impl NslKddArgs {
    fn run(&self) -> Result<Answer> {
        ensure!((1..=100).contains(&self.seeds), "--seeds is {}; it must be between 1 and 100", self.seeds);
        make_place(self.charts.as_deref())?;
        let mut report = Report {
            data_set: model::DATA_SET,
            training: None,
            runs: Vec::new(),
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
                self.draw(&[("KDDTrain+", &training), ("KDDTest+", &test)], &report)?;
            }
        }
        print_report(self.json, &report, || text(&report))?;
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
        let (Some(directory), Some(run)) = (&self.charts, report.runs.first()) else { return Ok(()) };
        let names = Class::ALL.map(Class::name);
        let counts: Vec<(&str, Vec<u64>)> =
            files.iter().map(|(name, file)| (*name, Records::of(file).classes_in_order(&names))).collect();
        draw(directory, &names, &counts, &run.evaluation.confusion)
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
        for class in data.records.iter().filter_map(crate::learn::nsl_kdd::record::Record::class) {
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

fn text(report: &Report) -> String {
    let mut text = String::new();
    for validation in &report.cross_validation {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}\n", name(&validation.settings));
        text.push_str(&factor_table(validation));
        text.push('\n');
    }
    match &report.runs[..] {
        [] => {}
        [run] => text.push_str(&run_text(run)),
        runs => text.push_str(&run_table(runs)),
    }
    text
}

fn name(settings: &Settings) -> String {
    format!("{}, balance {}, seed {}", settings.kind.name(), settings.balance.name(), settings.seed)
}

fn factor_table(validation: &CrossValidation) -> String {
    let mut heading =
        vec![("BENIGN FACTOR", Align::Right), ("ACCURACY", Align::Right), ("MACRO F1", Align::Right)];
    heading.extend(Class::ALL.map(|class| (class.name(), Align::Right)));
    let rows: Vec<Vec<String>> = validation
        .factors
        .iter()
        .map(|factor| {
            let figures = [factor.benign_factor, factor.accuracy, factor.macro_f1].map(thousandths);
            let recalls = Class::ALL.map(|class| thousandths(factor.recall[class.name()]));
            figures.into_iter().chain(recalls).collect()
        })
        .collect();
    table(&heading, &rows)
}

fn run_table(runs: &[Run]) -> String {
    let mut heading = vec![
        ("MODEL", Align::Left),
        ("BALANCE", Align::Left),
        ("SEED", Align::Right),
        ("ACCURACY", Align::Right),
        ("MACRO F1", Align::Right),
        ("BINARY", Align::Right),
    ];
    heading.extend(Class::ALL.map(|class| (class.name(), Align::Right)));
    heading.push(("TRAINING", Align::Right));
    let rows: Vec<Vec<String>> = runs
        .iter()
        .map(|run| {
            let figures = &run.evaluation;
            let mut row = vec![
                run.settings.kind.name().to_owned(),
                run.settings.balance.name().to_owned(),
                run.settings.seed.to_string(),
            ];
            row.extend([figures.accuracy, figures.macro_f1, figures.binary_accuracy].map(thousandths));
            row.extend(Class::ALL.map(|class| thousandths(figures.classes[class.name()].recall)));
            row.push(run.training_s.map_or_else(String::new, shown_seconds));
            row
        })
        .collect();
    let mut text = table(&heading, &rows);
    for (name, figure) in [
        ("accuracy", (|run| run.evaluation.accuracy) as fn(&Run) -> f64),
        ("macro F1", |run| run.evaluation.macro_f1),
    ] {
        let figures: Vec<f64> = runs.iter().map(figure).collect();
        let lowest = figures.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = figures.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let _ = writeln!(text, "{name}: {} to {}", thousandths(lowest), thousandths(highest));
    }
    text
}

fn run_text(run: &Run) -> String {
    let figures = &run.evaluation;
    let mut text = format!(
        "{}{}: {} records\n\n",
        name(&run.settings),
        run.training_s.map_or_else(String::new, |seconds| format!(", trained in {}", shown_seconds(seconds))),
        figures.records
    );
    let shown = |name: &str, figure: f64| format!("{name:<16} {}\n", thousandths(figure));
    text.push_str(&shown("accuracy", figures.accuracy));
    text.push_str(&shown("macro F1", figures.macro_f1));
    text.push_str(&shown("zero-one error", figures.zero_one_error));
    text.push_str(&shown("binary accuracy", figures.binary_accuracy));
    for (name, is_in_training) in [("known attacks", true), ("unseen attacks", false)] {
        if let Some(share) = figures.detected_share(is_in_training) {
            let _ = writeln!(text, "{name:<16} {} taken for some attack", thousandths(share));
        }
    }
    text.push('\n');
    text.push_str(&confusion_table(
        &Class::ALL.map(Class::name),
        &Confusion::from_counts(figures.confusion.clone()),
    ));
    text.push_str("\nfeatures that decide most:\n");
    for (feature, share) in run.importance.iter().take(SHOWN_FEATURES) {
        let _ = writeln!(text, "  {feature:<28} {}", thousandths(*share));
    }
    text
}
