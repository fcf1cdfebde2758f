//! `cargo xtask bench`: what a packet costs.

use std::process::ExitCode;

use anyhow::Result;

use crate::demo;
use crate::setup::Part;

/// Measures the data plane: nanoseconds per packet through the kernel's own test run.
///
/// Needs root. All arguments go to the program `mitigator-bench`, whose own help `-- --help` shows.
#[derive(clap::Args)]
pub struct Arguments {
    /// Passed on to `mitigator-bench`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    passed_on: Vec<String>,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    demo::run_program("mitigator-bench", &[Part::Build], &arguments.passed_on)
}
