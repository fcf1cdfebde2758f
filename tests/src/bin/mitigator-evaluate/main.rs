//! What mitigator decides on labelled captures, measured: replays each capture, and each attack laid over each benign
//! capture, counts, compares with simpler methods, and writes Markdown and charts.

mod apart;
mod arguments;
mod charts;
mod comparison;
mod evaluation;
mod figures;
mod kinds;
mod labels;
mod markdown;
mod mix;
mod origin;
mod recording;
mod report;
mod rivals;
mod scatter;
mod scene;
mod share;
mod summary;
mod synthetic;
mod tally;
mod timeline;
mod trace;

use std::fs;
use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use arguments::Arguments;
use evaluation::Subject;
use origin::Origin;
use report::Report;
use synthetic::Chosen;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("The evaluation broke off: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let chosen = Chosen::by(arguments)?;
    if arguments.scenarios.is_empty() {
        evaluate(arguments, &chosen)
    } else {
        run_scenarios(arguments, &chosen)
    }
}

/// Some scenarios alone.
fn run_scenarios(arguments: &Arguments, chosen: &Chosen) -> Result<()> {
    let bar = progress_bar();
    bar.set_length(chosen.scenarios.len() as u64);
    bar.set_message("scenarios");
    let runs = chosen.run(&bar)?;
    bar.finish_and_clear();
    if arguments.json {
        println!("{}", serde_json::to_string(&runs)?);
    } else {
        print!("{}", synthetic::details(&runs));
    }
    Ok(())
}

fn evaluate(arguments: &Arguments, chosen: &Chosen) -> Result<()> {
    let directory = arguments.directory()?;
    let labels = labels::read(&directory)?;
    ensure!(!labels.is_empty(), "`{}` has no labels", directory.display());
    let bar = progress_bar();
    bar.set_message("reading captures");
    let subjects = labels.into_iter().map(Subject::read).collect::<Result<Vec<_>>>()?;
    let pairs = evaluation::pairs(&subjects);
    bar.set_length((subjects.len() + pairs.len() + chosen.scenarios.len()) as u64);
    bar.set_message("captures and mixes");
    let (captures, mixes) = evaluation::run(&subjects, &pairs, &bar)?;
    let mut runs = [captures, mixes].concat();
    let best_threshold = comparison::choose_threshold(&mut runs);
    let mixes = runs.split_off(subjects.len());
    bar.set_message("scenarios");
    let scenarios = chosen.run(&bar)?;
    bar.set_message("charts");
    let charts = charts::draw(&subjects, &pairs, &mixes, &arguments.output)?;
    bar.finish_and_clear();
    let origin = Origin::find(arguments.data.is_some(), subjects.len());
    let report = Report::new(origin, best_threshold, runs, mixes, scenarios);
    fs::write(&arguments.output, markdown::of(&report, &charts))
        .with_context(|| format!("cannot write the figures to `{}`", arguments.output.display()))?;
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{}", markdown::short_summary(&report));
        println!("Figures: {}", arguments.output.display());
    }
    Ok(())
}

/// Shown on a terminal only.
fn progress_bar() -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(1), target);
    let style = ProgressStyle::with_template("{bar:40} {pos} of {len} {msg}, {eta} to go");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
