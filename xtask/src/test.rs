//! `cargo xtask test`: every test, on this machine's kernel and on another.

use std::process::ExitCode;

use anyhow::Result;

use crate::setup::{self, Part};
use crate::{process, vm, workspace};

/// Installs what is missing, then runs every test: cargo's, and the kernel's part of them once more in a
/// virtual machine with another kernel.
///
/// Tests that need root or BPF rights are shown as ignored without them; under CI=true they fail.
#[derive(clap::Args)]
pub struct Arguments {
    /// Leave the virtual machine out
    #[arg(long)]
    no_vm: bool,
    /// Passed on to the test executables, for example a filter
    #[arg(last = true, value_name = "ARGUMENT")]
    passed_on: Vec<String>,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let parts: &[Part] =
        if arguments.no_vm { &[Part::Build, Part::Test] } else { &[Part::Build, Part::Test, Part::Vm] };
    setup::prepare(parts)?;
    let status = process::status_of(
        workspace::cargo().args(["test", "--workspace", "--no-fail-fast", "--"]).args(&arguments.passed_on),
    )?;
    if !status.success() {
        eprintln!("tests failed, so the virtual machine was left out");
        return Ok(ExitCode::FAILURE);
    }
    if arguments.no_vm { Ok(ExitCode::SUCCESS) } else { vm::run(&vm::Arguments::one_kernel()) }
}
