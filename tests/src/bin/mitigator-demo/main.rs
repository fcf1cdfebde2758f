//! The main job on real packets: a flood hits a web server, first without and then with `mitigator`, in network
//! namespaces of this machine. Prints what the server's visitors noticed, and draws it.

mod agent;
mod arguments;
mod attack;
mod chart;
mod clock;
mod figures;
mod machine;
mod measure;
mod progress;
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
use progress::Progress;

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
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("The demo broke off: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let recording = script::play(arguments, &Progress::new(script::LENGTH))?;
    let figures = Figures::of(&recording);
    if arguments.json {
        println!("{}", serde_json::to_string(&figures)?);
    } else {
        print!("{}", table::of(&figures));
    }
    let output = arguments.output();
    fs::write(&output, chart::draw(&recording, &figures)?)
        .with_context(|| format!("cannot write the time line to `{}`", output.display()))?;
    if !arguments.json {
        println!("Time line: {}", output.display());
    }
    Ok(())
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
