//! RustiFlow, whose authors publish it as source alone: measured where somebody has built it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mitigator_tests::lab::find_program;

/// What it is called in reports.
pub(super) const NAME: &str = "RustiFlow";

/// Its flows of a file, with the features of CICFlowMeter, and how long the program took on the first core.
pub(super) fn flows(program: &Path, file: &Path) -> Result<(u64, Duration)> {
    let out = file.with_extension("rustiflow.csv");
    let pinned = find_program("taskset").context("the program `taskset` is missing")?;
    let began = super::now();
    let output = Command::new(pinned)
        .args(["--cpu-list", "0"])
        .arg(program)
        .args(["--features", "cic", "--threads", "1", "--output", "csv", "--export-path"])
        .arg(&out)
        .arg("pcap")
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let took = began.elapsed();
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} failed: {}", program.display(), said.trim());
    let rows = std::fs::read_to_string(&out).context("RustiFlow wrote no flows")?;
    Ok((rows.lines().count() as u64, took))
}
