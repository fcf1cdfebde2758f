//! `cargo xtask ci`: what a change has to satisfy beside the tests.

use std::process::{Command, ExitCode};

use anyhow::Result;
use console::style;

use crate::cargo_tool::CARGO_DENY;
use crate::process::{self, Stopwatch};
use crate::setup::{self, Part};
use crate::workspace;

/// Checks format, lints, documentation, the BPF programs and the dependencies.
///
/// Every check runs, also after one that failed; the summary at the end names them all. What each of them
/// allows is written in rustfmt.toml, clippy.toml, the root Cargo.toml and deny.toml. cargo-deny is compiled
/// into `.tools` the first time. Exit code 1 if a check failed.
#[derive(clap::Args)]
pub struct Arguments {}

/// A named check.
struct Check {
    name: &'static str,
    /// Why it can fail, in the operator's words.
    demands: &'static str,
    run: fn() -> Result<()>,
}

const CHECKS: [Check; 5] = [
    Check { name: "format", demands: "`cargo fmt --all` changes nothing", run: format },
    Check { name: "lints", demands: "clippy has no warning on any target", run: lints },
    Check { name: "documentation", demands: "rustdoc has no warning", run: documentation },
    Check { name: "BPF programs", demands: "rustc has no warning for the BPF target", run: bpf_programs },
    Check { name: "dependencies", demands: "deny.toml allows every one", run: dependencies },
];

pub fn run(_: &Arguments) -> Result<ExitCode> {
    setup::prepare(&[Part::Build])?;
    let mut summary = Vec::new();
    let mut failed = false;
    for check in &CHECKS {
        eprintln!("\n{} {}: {}", style("==").bold().for_stderr(), check.name, check.demands);
        let stopwatch = Stopwatch::start();
        let result = (check.run)();
        if let Err(error) = &result {
            eprintln!("{} {error:#}", style("error:").red().bold().for_stderr());
        }
        failed |= result.is_err();
        let word = match result {
            Ok(()) => style("ok").green(),
            Err(_) => style("failed").red(),
        };
        summary.push(format!("{:<14} {word:<7} {:>8}", check.name, stopwatch.seconds()));
    }
    println!("\n{}", summary.join("\n"));
    Ok(ExitCode::from(u8::from(failed)))
}

fn format() -> Result<()> {
    process::run(workspace::cargo().args(["fmt", "--all", "--check"]))
}

/// The modules that exist for the BPF target alone are not seen here: clippy has to be of the very compiler,
/// and Debian's comes without one. [`bpf_programs`] has the compiler's own lints for them.
fn lints() -> Result<()> {
    let mut clippy = workspace::cargo();
    process::run(clippy.args(["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]))
}

fn documentation() -> Result<()> {
    let mut rustdoc = workspace::cargo();
    process::run(rustdoc.args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "--deny warnings"))
}

fn bpf_programs() -> Result<()> {
    let mut build = workspace::cargo();
    process::run(
        build
            .args(["check", "--package", "mitigator", "--package", "mitigator-tests"])
            .env("MITIGATOR_DENY_BPF_WARNINGS", "1"),
    )
}

fn dependencies() -> Result<()> {
    if !CARGO_DENY.is_installed() {
        CARGO_DENY.install()?;
    }
    let deny = || {
        let mut command = Command::new(CARGO_DENY.program());
        command.current_dir(workspace::root());
        command
    };
    // Advisories live in a repository elsewhere; a build machine without a way out cannot ask it.
    let advisories = process::output_of(deny().args(["fetch", "db"]));
    let mut check = deny();
    check.args(["check", "--hide-inclusion-graph", "bans", "licenses", "sources"]);
    if advisories.is_ok() {
        check.arg("advisories");
    } else {
        eprintln!("the advisory database is out of reach, so known vulnerabilities are not looked for");
    }
    process::run(&mut check)
}
