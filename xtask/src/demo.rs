//! `cargo xtask demo`: the main job on real packets in the real kernel.

use std::process::{ExitCode, ExitStatus, Stdio};

use anyhow::{Context, Result};

use crate::setup::{self, Part};
use crate::{process, workspace};

/// Shows the main job on real packets: a flood hits a web server, the kernel drops it.
///
/// Builds a lab of network namespaces on this machine only: nginx as the victim, 40 clients that make real
/// requests, and an attack. Three phases: quiet, attack without mitigator, attack with it. Prints a table
/// and writes a time line as SVG. Needs root; everything is bounded in count and time, and cleaned up. Exit
/// code 1 when a visitor was blocked, the visitors got less than 90 % of what they got in quiet times, or the
/// attack was not stopped.
#[derive(clap::Args)]
pub struct Arguments {
    /// The attack: udp, syn or http floods, syn-spoofed (forged senders), dns-reflection, slow (connections that
    /// never finish a request), pulse, flash-crowd (no attack: nobody may be blocked), replay:FILE for the packets
    /// of a capture, or all of them but the last [default: udp]
    #[arg(long, value_name = "KIND|all")]
    attack: Option<String>,
    /// Attack packets (http: requests) per second in all; `max` for what the generator reaches [default:
    /// 300000, http: max, replay: the capture's own; slow and flash-crowd have a pace of their own]
    #[arg(long, value_name = "RATE|max")]
    rate: Option<String>,
    /// By which of the victim's receive queues visitors and floods come: shared or apart [default: shared, of
    /// syn-spoofed apart]
    #[arg(long, value_name = "LAYOUT")]
    queues: Option<String>,
    /// Print one JSON object per run and nothing else
    #[arg(long)]
    json: bool,
    /// Where the time line goes
    #[arg(long, value_name = "FILE.svg")]
    output: Option<String>,
    /// How often each attack is shown [default: 1]
    #[arg(long, value_name = "N")]
    runs: Option<String>,
    /// Write the figures of all runs as Markdown, and the time lines into a directory beside it
    #[arg(long, value_name = "FILE.md")]
    record: Option<String>,
    /// More arguments for the program `mitigator-demo`; `-- --help` shows its own help
    #[arg(last = true, value_name = "ARGUMENT")]
    passed_on: Vec<String>,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    run_program("mitigator-demo", &[Part::Build, Part::Test], &arguments.spelled())
}

impl Arguments {
    /// As `mitigator-demo` takes them.
    fn spelled(&self) -> Vec<String> {
        let mut words = Vec::new();
        for (name, value) in [
            ("--attack", &self.attack),
            ("--rate", &self.rate),
            ("--queues", &self.queues),
            ("--output", &self.output),
            ("--runs", &self.runs),
            ("--record", &self.record),
        ] {
            words.extend(value.iter().flat_map(|value| [name.to_owned(), value.clone()]));
        }
        if self.json {
            words.push("--json".into());
        }
        words.extend_from_slice(&self.passed_on);
        words
    }
}

/// Builds the release binaries, then runs one of `mitigator-tests` and passes on its exit code. Only that
/// program writes to the standard output.
pub fn run_program(program: &str, parts: &[Part], arguments: &[String]) -> Result<ExitCode> {
    setup::prepare(parts)?;
    process::run(
        workspace::cargo()
            .args(["build", "--release", "--bin", "mitigator", "--bin", program])
            .stdout(Stdio::null()),
    )?;
    let file = workspace::target().join("release").join(program);
    let mut command = std::process::Command::new(file);
    let status = process::status_of(command.args(arguments))?;
    exit_code(status).with_context(|| format!("`{program}` ended on {status}"))
}

/// `None` when a signal ended the program.
fn exit_code(status: ExitStatus) -> Option<ExitCode> {
    status.code().and_then(|code| u8::try_from(code).ok()).map(ExitCode::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn every_argument_reaches_the_demo() {
        for line in [
            &["--attack", "syn", "--rate", "max", "--output", "a.svg", "--json"][..],
            &["--attack", "replay:flood.pcap", "--queues", "apart"],
            &["--attack", "all", "--runs", "3", "--record", "docs/detection-live.md"],
            &[],
        ] {
            let parsed = Line::parse_from(["demo"].iter().chain(line)).arguments;
            assert_eq!(parsed.spelled(), line);
        }
        let parsed = Line::parse_from(["demo", "--json", "--", "--phase", "2s"]).arguments;
        assert_eq!(parsed.spelled(), ["--json", "--phase", "2s"]);
    }
}
