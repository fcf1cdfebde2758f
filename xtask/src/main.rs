//! `cargo xtask`: what cargo cannot do alone. One file per verb.
//!
//! Exit codes: 0 done, 1 a check or a test failed, 2 wrong use or failure.

mod archive;
mod bench;
mod bpf_file_system;
mod build;
mod cargo_tool;
mod ci;
mod demo;
mod evaluate;
mod process;
mod python_tool;
mod requirements;
mod setup;
mod test;
mod toolchain;
mod unpacked;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use console::style;

/// Sets up, builds, tests and shows mitigator.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Setup(setup::Arguments),
    Build(build::Arguments),
    Test(test::Arguments),
    Vm(vm::Arguments),
    Demo(demo::Arguments),
    Bench(bench::Arguments),
    Evaluate(evaluate::Arguments),
    Ci(ci::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().verb {
        Verb::Setup(arguments) => setup::run(&arguments),
        Verb::Build(arguments) => build::run(&arguments),
        Verb::Test(arguments) => test::run(&arguments),
        Verb::Vm(arguments) => vm::run(&arguments),
        Verb::Demo(arguments) => demo::run(&arguments),
        Verb::Bench(arguments) => bench::run(&arguments),
        Verb::Evaluate(arguments) => evaluate::run(&arguments),
        Verb::Ci(arguments) => ci::run(&arguments),
    };
    result.unwrap_or_else(|error| {
        eprintln!("{} {error:#}", style("error:").red().bold().for_stderr());
        ExitCode::from(2)
    })
}
