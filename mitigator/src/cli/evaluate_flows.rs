//! `mitigator evaluate flows`: the figures of a model on labelled flows, and of models of one data set on another.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;

use super::Answer;
use super::learning::{
    FlowRecipe, Presentation, confusion_table, labelled, progress_bar, shown_seconds, thousandths, timed,
};
use crate::learn::confusion::Confusion;
use crate::learn::flows::cross::{CrossEvaluation, cross_evaluate};
use crate::learn::flows::evaluation::{AtThreshold, Detection, Evaluation};
use crate::learn::flows::shapes::FeatureSet;
use crate::learn::flows::{DATA_SET, FlowModel};
use crate::report::output::{Align, print_report, printable, table};

/// Arguments of `mitigator evaluate flows`.
#[derive(Debug, Args)]
pub(super) struct FlowsArgs {
    /// Files of labelled flows, read one behind the other
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Evaluate this model, of `mitigator train flows`
    #[arg(long, alias = "model-file", value_name = "FILE", required_unless_present = "cross", conflicts_with_all = ["cross", "classes", "balance", "precision", "seed"])]
    model: Option<PathBuf>,
    /// Files of another data set: train on each of the two, and test on the other
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "charts")]
    cross: Vec<PathBuf>,
    #[command(flatten)]
    recipe: FlowRecipe,
    #[command(flatten)]
    presentation: Presentation,
}

#[derive(Serialize)]
struct Report {
    data_set: &'static str,
    /// Of the model that was asked for.
    evaluation: Option<Evaluation>,
    /// Both directions, with each set of features.
    cross: Vec<Direction>,
}

#[derive(Serialize)]
struct Direction {
    learned_from: &'static str,
    training_s: f64,
    #[serde(flatten)]
    figures: CrossEvaluation,
}

impl FlowsArgs {
    pub(super) fn run(&self) -> Result<Answer> {
        let mut report = Report { data_set: DATA_SET, evaluation: None, cross: Vec::new() };
        if let Some(file) = &self.model {
            self.presentation.prepare()?;
            let (header, model) = FlowModel::read(file)?;
            let flows = labelled(&self.files)?;
            ensure!(
                header.data_sha256 != flows.digest,
                "{} was trained on the very flows that it is to be judged by; `mitigator dataset split` keeps some apart",
                file.display()
            );
            let evaluation = Evaluation::of(&model, &flows);
            self.draw(&evaluation)?;
            report.evaluation = Some(evaluation);
        } else {
            report.cross = self.cross()?;
        }
        print_report(self.presentation.json, &report, || text(&report))?;
        Ok(Answer::Done)
    }

    fn cross(&self) -> Result<Vec<Direction>> {
        let first = labelled(&self.files)?;
        let second = labelled(&self.cross)?;
        ensure!(first.digest != second.digest, "both data sets are the same; `--cross` takes another one");
        let mut directions = Vec::new();
        for (learned_from, own, other) in [("first", &first, &second), ("second", &second, &first)] {
            for features in FeatureSet::ALL {
                let training = self.recipe.training(features)?;
                let bar = progress_bar("training");
                let (figures, training_s) = timed(|| cross_evaluate(own, other, &training, bar.step()))
                    .with_context(|| format!("cannot learn from the {learned_from} data set"))?;
                bar.clear();
                directions.push(Direction { learned_from, training_s, figures });
            }
        }
        Ok(directions)
    }

    fn draw(&self, evaluation: &Evaluation) -> Result<()> {
        let names: Vec<&str> = evaluation.classes.iter().map(String::as_str).collect();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole numbers of flows")]
        let counts = evaluation.confusion.iter().map(|row| row.iter().sum::<f64>() as u64).collect();
        self.presentation.draw(&names, &[("flows", counts)], &evaluation.confusion)
    }
}

fn text(report: &Report) -> String {
    match &report.evaluation {
        Some(evaluation) => evaluation_text(evaluation),
        None => cross_text(&report.cross),
    }
}

fn evaluation_text(of: &Evaluation) -> String {
    let thresholds = of.model_thresholds;
    let mut text = format!(
        "{} flows; dos or ddos from {} on, any attack from {} on\n\n",
        of.flows,
        thousandths(thresholds.denial_of_service),
        thousandths(thresholds.attack)
    );
    text += &detection_table(&[("dos or ddos", &of.denial_of_service), ("any attack", &of.attack)]);
    let names: Vec<&str> = of.classes.iter().map(String::as_str).collect();
    text += "\n";
    text += &confusion_table(&names, &Confusion::from_counts(of.confusion.clone()));
    text += "\n";
    text += &category_table(of);
    text += "\n";
    text += &label_table(of);
    text += "\nwhat other thresholds would find:\n";
    text += &threshold_table(of);
    // Writing to a string cannot fail.
    let _ = writeln!(text, "\ncalibration: Brier score {:.4}", of.brier_score);
    text += &reliability_table(of);
    text
}

fn detection_table(rows: &[(&str, &Detection)]) -> String {
    let heading = [
        ("WHAT", Align::Left),
        ("FLOWS", Align::Right),
        ("PRECISION", Align::Right),
        ("RECALL", Align::Right),
        ("F1", Align::Right),
        ("FALSE POSITIVES", Align::Right),
        ("AVERAGE PRECISION", Align::Right),
    ];
    let row = |(what, of): &(&str, &Detection)| {
        let figures =
            [of.precision, of.recall, of.f1, of.false_positive_share, of.average_precision].map(thousandths);
        [(*what).to_owned(), of.flows.to_string()].into_iter().chain(figures).collect()
    };
    table(&heading, &rows.iter().map(row).collect::<Vec<_>>())
}

fn category_table(of: &Evaluation) -> String {
    let heading = [
        ("CATEGORY", Align::Left),
        ("FLOWS", Align::Right),
        ("SOME ATTACK", Align::Right),
        ("AVERAGE PRECISION", Align::Right),
    ];
    let rows: Vec<Vec<String>> = of
        .categories
        .iter()
        .map(|(name, own)| {
            let unknown = || "not learned".to_owned();
            vec![
                name.clone(),
                format!("{:.0}", own.class.records),
                thousandths(own.detected_share),
                own.average_precision.map_or_else(unknown, thousandths),
            ]
        })
        .collect();
    table(&heading, &rows)
}

fn label_table(of: &Evaluation) -> String {
    let heading = [
        ("LABEL", Align::Left),
        ("CATEGORY", Align::Left),
        ("FLOWS", Align::Right),
        ("SOME ATTACK", Align::Right),
        ("DOS OR DDOS", Align::Right),
    ];
    let rows: Vec<Vec<String>> = of
        .labels
        .iter()
        .map(|own| {
            vec![
                printable(&own.label),
                own.category.name().to_owned(),
                own.flows.to_string(),
                own.detected.to_string(),
                own.denial_of_service.to_string(),
            ]
        })
        .collect();
    table(&heading, &rows)
}

fn threshold_table(of: &Evaluation) -> String {
    let heading = [
        ("THRESHOLD", Align::Right),
        ("DOS OR DDOS: PRECISION", Align::Right),
        ("RECALL", Align::Right),
        ("FALSE POSITIVES", Align::Right),
        ("ANY ATTACK: PRECISION", Align::Right),
        ("RECALL", Align::Right),
        ("FALSE POSITIVES", Align::Right),
    ];
    let row = |own: &AtThreshold| {
        let dos = [
            own.denial_of_service_precision,
            own.denial_of_service_recall,
            own.denial_of_service_false_positive_share,
        ];
        let any = [own.attack_precision, own.attack_recall, own.attack_false_positive_share];
        [&[own.threshold][..], &dos, &any].concat().into_iter().map(thousandths).collect()
    };
    table(&heading, &of.thresholds.iter().map(row).collect::<Vec<_>>())
}

fn reliability_table(of: &Evaluation) -> String {
    let heading = [
        ("PROBABILITY FROM", Align::Right),
        ("FLOWS", Align::Right),
        ("MEAN", Align::Right),
        ("ATTACKS", Align::Right),
    ];
    let rows: Vec<Vec<String>> = of
        .reliability
        .iter()
        .map(|own| {
            let shares = [own.promised_share, own.attack_share].map(thousandths);
            [format!("{:.1}", own.from), own.flows.to_string()].into_iter().chain(shares).collect()
        })
        .collect();
    table(&heading, &rows)
}

fn cross_text(directions: &[Direction]) -> String {
    let mut text = "dos or ddos against all other flows:\n".to_owned();
    text += &direction_table(directions, |of| &of.denial_of_service);
    text += "\nany attack against benign:\n";
    text += &direction_table(directions, |of| &of.attack);
    for direction in directions {
        let figures = &direction.figures;
        let _ = writeln!(
            text,
            "\nlearned from {} flows of the {} set in {}, {} features; of the other set:",
            figures.learned_flows,
            direction.learned_from,
            shown_seconds(direction.training_s),
            figures.training.features.name()
        );
        text += &label_table(&figures.cross_set);
        text += "\n";
        text += &threshold_table(&figures.cross_set);
    }
    text
}

fn direction_table(directions: &[Direction], of: impl Fn(&Evaluation) -> &Detection) -> String {
    let heading = [
        ("LEARNED FROM", Align::Left),
        ("FEATURES", Align::Left),
        ("TESTED ON", Align::Left),
        ("FLOWS", Align::Right),
        ("PRECISION", Align::Right),
        ("RECALL", Align::Right),
        ("F1", Align::Right),
        ("FALSE POSITIVES", Align::Right),
        ("AVERAGE PRECISION", Align::Right),
    ];
    let mut rows = Vec::new();
    for Direction { learned_from, figures, .. } in directions {
        for (tested_on, evaluation) in [("itself", &figures.in_set), ("the other", &figures.cross_set)] {
            let own = of(evaluation);
            let names = [*learned_from, figures.training.features.name(), tested_on].map(str::to_owned);
            let shares = [own.precision, own.recall, own.f1, own.false_positive_share, own.average_precision]
                .map(thousandths);
            rows.push(names.into_iter().chain([own.flows.to_string()]).chain(shares).collect());
        }
    }
    table(&heading, &rows)
}
