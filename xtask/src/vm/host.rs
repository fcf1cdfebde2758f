//! This machine's own kernel: the verifier's part of the suite `data_plane`, without a virtual machine.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use super::console::Report;
use super::suites::{Programs, VERIFICATION};
use crate::process;

/// Runs it with the rights that this process has; what it then left out is ignored in the report.
pub fn run(programs: &Programs) -> Result<Report> {
    let (suite, program) = programs.suites().next().context("there are suites")?;
    let release =
        fs::read_to_string("/proc/sys/kernel/osrelease").context("cannot tell this kernel's release")?;
    let mut command = Command::new(program);
    command.args([VERIFICATION, "--color=never", "--test-threads=1"]);
    let output =
        command.output().with_context(|| format!("cannot start `{}`", process::spelled(&command)))?;
    let mut report = Report::default();
    report.read(&format!("@@ booted {}", release.trim()));
    report.read(&format!("@@ begin {}", suite.name));
    let said = String::from_utf8_lossy(&output.stdout);
    said.lines().for_each(|line| report.read(line));
    if let Some(code) = output.status.code() {
        report.read(&format!("@@ end {} {code}", suite.name));
    }
    report.read("@@ done");
    if report.problem().is_some() && !report.is_left_out() {
        eprintln!("{}", process::tail(&output.stdout, 25));
    }
    Ok(report)
}
