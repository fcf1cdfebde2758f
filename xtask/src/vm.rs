//! `cargo xtask vm`: the program and its suites on other kernels, in virtual machines.

mod console;
mod guest;
mod host;
mod kernel;
mod machine;
mod modules;
mod suites;
mod verified;

use std::process::ExitCode;
use std::time::Duration;

use ::console::style;
use anyhow::{Result, bail};
use clap::ValueEnum;
use console::Report;
use serde::Serialize;

use crate::process::Stopwatch;
use crate::setup::{self, Part};
use kernel::Kernel;
use verified::{Comparison, Entry, Runs};

/// Emulation is ten times slower than the machine, and a hanging guest has to end some day.
const TIMEOUT_SECONDS: u64 = 900;

/// Boots Debian's kernels in virtual machines and runs the kernel's part of the tests inside.
///
/// In each machine the suite `data_plane` and the `vm_` trials of the suite `end_to_end` run as root, on a virtio
/// network card and on veth. Kernels come from the Debian mirror that this machine uses, by their current
/// name, once; they are kept under `target/vm`. Without hardware virtualisation too: QEMU emulates.
///
/// How many instructions the verifier walked through for each program is shown beside the last run, which is kept
/// under `target/vm`, too; a clone without one compares with xtask/verified-instructions.json.
#[derive(clap::Args)]
pub struct Arguments {
    /// The kernel; may be repeated [default: 6.1]
    #[arg(long = "kernel", value_enum, value_name = "KERNEL")]
    kernels: Vec<Kernel>,
    /// Every kernel, this machine's included
    #[arg(long, conflicts_with = "kernels")]
    all: bool,
    /// Ask the archive for newer packages of the kernels
    #[arg(long)]
    refresh: bool,
    /// What one machine may take from boot to power-off
    #[arg(long, value_name = "SECONDS", default_value_t = TIMEOUT_SECONDS)]
    timeout: u64,
    /// Write the verified instructions into xtask/verified-instructions.json, for clones to compare with
    #[arg(long)]
    record: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Arguments {
    /// The default kernel, as `cargo xtask test` has it.
    pub fn one_kernel() -> Self {
        Self {
            kernels: Vec::new(),
            all: false,
            refresh: false,
            timeout: TIMEOUT_SECONDS,
            record: false,
            json: false,
        }
    }
}

/// How it went with one kernel.
#[derive(Serialize)]
struct Row {
    kernel: &'static str,
    /// Whether a failure here fails the whole.
    required: bool,
    passed: bool,
    /// Why there is no report, or why it does not count.
    problem: Option<String>,
    seconds: f64,
    #[serde(flatten)]
    report: Report,
    /// One for each program.
    verified_instructions: Vec<Comparison>,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    if std::env::consts::ARCH != "x86_64" {
        bail!(
            "the virtual machines are x86-64 ones, and this machine's programs are for {}",
            std::env::consts::ARCH
        );
    }
    let kernels = match arguments {
        Arguments { all: true, .. } => Kernel::value_variants(),
        Arguments { kernels, .. } if kernels.is_empty() => &[Kernel::V6_1],
        Arguments { kernels, .. } => kernels,
    };
    setup::prepare(&[Part::Build, Part::Test, Part::Vm])?;
    let programs = suites::build()?;
    let last = Runs::last()?;
    let rows: Vec<Row> = kernels
        .iter()
        .map(|kernel| {
            let stopwatch = Stopwatch::start();
            let outcome = try_kernel(*kernel, &programs, arguments);
            Row::new(*kernel, arguments, outcome, stopwatch.elapsed(), &last)
        })
        .collect();
    if arguments.json {
        println!("{}", serde_json::json!({ "kernels": rows }));
    } else {
        print_suites(&rows);
        print_verified(&rows);
    }
    keep(&rows, last, arguments)?;
    let failed = rows.iter().any(|row| row.required && !row.passed);
    Ok(ExitCode::from(u8::from(failed)))
}

fn try_kernel(kernel: Kernel, programs: &suites::Programs, arguments: &Arguments) -> Result<Report> {
    if kernel == Kernel::Host {
        return host::run(programs);
    }
    let files = kernel::obtain(kernel, arguments.refresh)?;
    let image = guest::build(&files, programs)?;
    machine::run(&files, &image, Duration::from_secs(arguments.timeout))
}

/// What the kernels said becomes the last run.
fn keep(rows: &[Row], mut runs: Runs, arguments: &Arguments) -> Result<()> {
    for row in rows.iter().filter(|row| !row.report.verified.is_empty()) {
        let release = row.report.release.clone().unwrap_or_default();
        runs.insert(row.kernel, Entry { release, instructions: row.report.verified.clone() });
    }
    runs.remember()?;
    if arguments.record {
        eprintln!("recorded in {}", runs.record()?.display());
    }
    Ok(())
}

impl Row {
    fn new(
        kernel: Kernel,
        arguments: &Arguments,
        outcome: Result<Report>,
        took: Duration,
        last: &Runs,
    ) -> Self {
        let (report, problem) = match outcome {
            Ok(report) => {
                let problem = report.problem();
                (report, problem)
            }
            Err(error) => (Report::default(), Some(format!("{error:#}"))),
        };
        Self {
            kernel: kernel.name(),
            required: !(arguments.all && report.is_left_out()),
            passed: problem.is_none(),
            problem,
            seconds: (took.as_secs_f64() * 10.0).round() / 10.0,
            verified_instructions: last.compare(kernel.name(), &report.verified),
            report,
        }
    }
}

fn print_suites(rows: &[Row]) {
    println!(
        "{:<8} {:<32} {:<12} {:>8} {:>8} {:>8} {:>8}",
        "kernel", "release", "suite", "passed", "failed", "ignored", "result"
    );
    for row in rows {
        let release = row.report.release.as_deref().unwrap_or("did not boot");
        let result = match (row.passed, row.required) {
            (true, _) => style("ok").green(),
            (false, true) => style("failed").red(),
            (false, false) => style("ignored").yellow(),
        };
        if row.report.suites.is_empty() {
            println!(
                "{:<8} {release:<32} {:<12} {:>8} {:>8} {:>8} {result:>8}",
                row.kernel, "-", "-", "-", "-"
            );
        }
        for suite in &row.report.suites {
            let counts = suite.counts.unwrap_or_default();
            println!(
                "{:<8} {release:<32} {:<12} {:>8} {:>8} {:>8} {result:>8}",
                row.kernel, suite.name, counts.passed, counts.failed, counts.ignored
            );
        }
    }
    for row in rows {
        if let Some(problem) = &row.problem {
            println!("\nkernel {}: {problem}", row.kernel);
        }
    }
}

fn print_verified(rows: &[Row]) {
    println!(
        "\n{:<8} {:<32} {:<16} {:>12} {:>12} {:>8}",
        "kernel", "release", "program", "instructions", "last run", "change"
    );
    for row in rows {
        let release = row.report.release.as_deref().unwrap_or("did not boot");
        for comparison in &row.verified_instructions {
            let or_dash =
                |count: Option<u32>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
            let change = comparison
                .growth_share
                .map_or_else(|| "-".to_owned(), |share| format!("{:+.1} %", share * 100.0));
            let other = comparison.release_before.as_deref().filter(|before| *before != release);
            let other = other.map_or_else(String::new, |before| format!("  last run: {before}"));
            println!(
                "{:<8} {release:<32} {:<16} {:>12} {:>12} {change:>8}{other}",
                row.kernel,
                comparison.program,
                or_dash(comparison.instructions),
                or_dash(comparison.before)
            );
        }
    }
    println!("Instructions that the verifier walked through; kernels before 5.16 do not tell.");
}
