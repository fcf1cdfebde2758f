//! The Python package `cicflowmeter`, in a virtual environment of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::comparison::{self, Row};

/// What it is called in reports.
pub(super) const NAME: &str = "cicflowmeter 0.2.0";
/// As pip has it; its parser is the version of scapy that it was measured with.
const REQUIREMENTS: [&str; 2] = ["cicflowmeter==0.2.0", "scapy==2.8.0"];
const SCRIPT: &str = include_str!("peer.py");

/// The package.
pub(super) struct Peer {
    python: PathBuf,
}

impl Peer {
    /// Installs it below the directory of results, unless it is there.
    pub(super) fn install(results: &Path) -> Result<Self> {
        let directory = results.join("cicflowmeter");
        let peer = Self { python: directory.join("bin/python") };
        let is_there = Command::new(&peer.python).args(["-c", "import cicflowmeter"]).output();
        if is_there.is_ok_and(|output| output.status.success()) {
            return Ok(peer);
        }
        run(Command::new("python3").args(["-m", "venv"]).arg(&directory))
            .context("cannot make a virtual environment; Debian has it in python3-venv")?;
        run(Command::new(&peer.python).args(["-m", "pip", "install", "--quiet"]).args(REQUIREMENTS))
            .context("cannot install the package with pip")?;
        Ok(peer)
    }

    /// Its flows, and how long it took without starting.
    pub(super) fn flows(&self, file: &Path) -> Result<(Vec<Row>, Duration)> {
        let (stdout, stderr) = run(Command::new(&self.python).args(["-c", SCRIPT]).arg(file))?;
        let seconds = stderr.lines().last().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let took = Duration::from_secs_f64(seconds.context("the package did not say how long it took")?);
        Ok((comparison::rows(stdout.as_bytes())?, took))
    }
}

fn run(command: &mut Command) -> Result<(String, String)> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(output.status.success(), "{command:?} failed: {}", text(&output.stderr).trim());
    Ok((text(&output.stdout), text(&output.stderr)))
}
