//! What `mitigator evaluate nsl-kdd` tells people.

use std::fmt::Write;

use super::evaluate_nsl_kdd::{CrossValidation, Range, Report, Run, Spread};
use super::learning::{confusion_table, shown_seconds, thousandths};
use crate::learn::classifier::Settings;
use crate::learn::confusion::Confusion;
use crate::learn::nsl_kdd::attack::Class;
use crate::report::output::{Align, table};

/// Features that are told to people.
const SHOWN_FEATURES: usize = 10;

pub(super) fn text(report: &Report) -> String {
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
    if !report.spread.is_empty() {
        text.push('\n');
        text.push_str(&spread_table(&report.spread));
    }
    text
}

fn name(settings: &Settings) -> String {
    format!(
        "{}, balance {}, benign factor {}, seed {}",
        settings.kind.name(),
        settings.balance.name(),
        settings.benign_factor,
        settings.seed
    )
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
        ("BENIGN FACTOR", Align::Right),
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
                run.settings.benign_factor.to_string(),
                run.settings.seed.to_string(),
            ];
            row.extend([figures.accuracy, figures.macro_f1, figures.binary_accuracy].map(thousandths));
            row.extend(Class::ALL.map(|class| thousandths(figures.classes[class.name()].recall)));
            row.push(run.training_s.map_or_else(String::new, shown_seconds));
            row
        })
        .collect();
    table(&heading, &rows)
}

/// Mean, and in brackets least and most.
fn spread_table(spread: &[Spread]) -> String {
    let heading = [
        ("MODEL", Align::Left),
        ("BALANCE", Align::Left),
        ("SEEDS", Align::Right),
        ("ACCURACY", Align::Left),
        ("MACRO F1", Align::Left),
        ("BINARY", Align::Left),
    ];
    let shown =
        |of: Range| format!("{} ({} to {})", thousandths(of.mean), thousandths(of.min), thousandths(of.max));
    let row = |own: &Spread| {
        let names = [own.model.name(), own.balance.name()].map(str::to_owned);
        let figures = [own.accuracy, own.macro_f1, own.binary_accuracy].map(shown);
        names.into_iter().chain([own.seeds.to_string()]).chain(figures).collect()
    };
    table(&heading, &spread.iter().map(row).collect::<Vec<_>>())
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
