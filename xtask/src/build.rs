//! `cargo xtask build`: the binary, with the tools it takes.

use std::process::ExitCode;

use anyhow::Result;

use crate::setup::{self, Part};
use crate::{process, workspace};

/// Installs what compiling takes, then builds the one binary `mitigator`.
///
/// After that plain `cargo build` does the same.
#[derive(clap::Args)]
pub struct Arguments {
    /// Optimised, as it is to be installed
    #[arg(long)]
    release: bool,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    setup::prepare(&[Part::Build])?;
    let mut build = workspace::cargo();
    build.args(["build", "--bin", "mitigator"]);
    if arguments.release {
        build.arg("--release");
    }
    process::run(&mut build)?;
    let profile = if arguments.release { "release" } else { "debug" };
    println!("{}", workspace::target().join(profile).join("mitigator").display());
    Ok(ExitCode::SUCCESS)
}
