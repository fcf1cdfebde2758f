//! The main job on real packets: a flood hits a web server, first without and then with `mitigator`, in network
//! namespaces of this machine. Prints what the server's visitors noticed, and draws it.

mod agent;
mod arguments;
mod attack;
mod chart;
mod clock;
mod conclusion;
mod connections;
mod figures;
mod kind;
mod machine;
mod measure;
mod particulars;
mod progress;
mod promises;
mod record;
mod recording;
mod replayed;
mod sampler;
mod script;
mod stage;
mod table;

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use mitigator_tests::lab::{Core, find_program, missing_for_bpf};

use arguments::Arguments;
use figures::Figures;
use kind::AttackKind;
use progress::Progress;
use stage::Cores;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let missing = what_is_missing(&arguments);
    if !missing.is_empty() {
        eprintln!(
            "The demo cannot run here: {}. What mitigator would decide can be seen on a capture without any rights: \
             `mitigator replay FILE`.",
            missing.join("; ")
        );
        return ExitCode::from(2);
    }
    match run(&arguments) {
        Ok(Promises::Kept) => ExitCode::SUCCESS,
        Ok(Promises::Broken) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("The demo broke off: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether all runs showed what they must.
enum Promises {
    Kept,
    Broken,
}

fn run(arguments: &Arguments) -> Result<Promises> {
    let kinds = arguments.kinds()?;
    let cores = Cores::choose()?;
    cores.senders.pin_this_thread()?;
    let mut all = Vec::new();
    for kind in &kinds {
        for _ in 0..arguments.runs {
            all.push(show(arguments, kind, cores)?);
        }
    }
    if let Some(file) = &arguments.record {
        fs::write(file, record::of(&all, &arguments.shown(), file)?)
            .with_context(|| format!("cannot write the figures to `{}`", file.display()))?;
    }
    let is_kept = all.iter().all(|figures| figures.broken_promises.is_empty());
    Ok(if is_kept { Promises::Kept } else { Promises::Broken })
}

fn show(arguments: &Arguments, kind: &AttackKind, cores: Cores) -> Result<Figures> {
    let recording = script::play(arguments, kind, cores, &Progress::new(script::length(kind)))?;
    let figures = Figures::of(&recording);
    if arguments.json {
        println!("{}", serde_json::to_string(&figures)?);
    } else {
        print!("{}", table::of(&figures));
    }
    let output = arguments.output(kind);
    if let Some(directory) = output.parent().filter(|_| arguments.record.is_some()) {
        fs::create_dir_all(directory).with_context(|| format!("cannot make `{}`", directory.display()))?;
    }
    fs::write(&output, chart::draw(&recording, &figures)?)
        .with_context(|| format!("cannot write the time line to `{}`", output.display()))?;
    if !arguments.json {
        println!("Time line: {}", output.display());
    }
    Ok(figures)
}

fn what_is_missing(arguments: &Arguments) -> Vec<String> {
    let mut missing = missing_for_bpf();
    if find_program("nginx").is_none() {
        missing.push("nginx is missing (run `cargo xtask setup`)".to_owned());
    }
    if Core::usable().is_ok_and(|cores| cores.len() < 2) {
        missing.push(stage::TOO_FEW_CORES.to_owned());
    }
    match arguments.mitigator() {
        Ok(program) if program.is_file() => {}
        Ok(program) => {
            missing.push(format!(
                "there is no mitigator at `{}` (`cargo xtask demo` builds it beside this program)",
                program.display()
            ));
        }
        Err(error) => missing.push(format!("{error:#}")),
    }
    missing
}
