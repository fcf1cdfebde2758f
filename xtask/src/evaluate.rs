//! `cargo xtask evaluate`: what detection is worth.

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::demo;
use crate::setup::Part;
use crate::workspace;

/// Measures detection on labelled captures, on mixes of each attack with each benign capture, and in synthetic
/// scenarios.
///
/// Replays them all, needs no rights, and writes tables, a comparison with simpler methods, and charts. The
/// directory of captures has a `labels.json` that says of each what it is, who is attacked and by whom.
#[derive(clap::Args)]
pub struct Arguments {
    /// The directory of the captures [default: $MITIGATOR_CAPTURES, or shared/data/pcap beside the project]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Print the figures as one JSON object and nothing else
    #[arg(long)]
    json: bool,
    /// Where the figures go; charts go into a directory of the same name without `.md` [default:
    /// docs/detection.md of the project]
    #[arg(long, value_name = "FILE.md")]
    output: Option<String>,
    /// Run this synthetic scenario, or `all`, and no capture; print the figures and write none. May be given several times
    #[arg(long = "scenario", value_name = "NAME")]
    scenarios: Vec<String>,
    /// Simulate at most so many hours of each synthetic scenario
    #[arg(long, value_name = "N")]
    hours: Option<String>,
    /// Leave out the synthetic scenarios
    #[arg(long)]
    captures_only: bool,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    demo::run_program("mitigator-evaluate", &[Part::Build], &arguments.spelled()?)
}

impl Arguments {
    /// As `mitigator-evaluate` takes them.
    fn spelled(&self) -> Result<Vec<String>> {
        let output = match &self.output {
            Some(output) => output.clone(),
            None => {
                workspace::root().join("docs/detection.md").into_os_string().into_string().ok().context(
                    "the project's path is not valid UTF-8; name the output with `--output FILE.md`",
                )?
            }
        };
        let mut words = vec!["--output".to_owned(), output];
        words.extend(self.data.iter().flat_map(|data| ["--data".to_owned(), data.clone()]));
        let scenarios = self.scenarios.iter();
        words.extend(scenarios.flat_map(|scenario| ["--scenario".to_owned(), scenario.clone()]));
        words.extend(self.hours.iter().flat_map(|hours| ["--hours".to_owned(), hours.clone()]));
        for (is_set, word) in [(self.json, "--json"), (self.captures_only, "--captures-only")] {
            if is_set {
                words.push(word.to_owned());
            }
        }
        Ok(words)
    }
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
    fn every_argument_reaches_the_evaluation() {
        let spelled = |line: &[&str]| {
            let parsed = Line::parse_from(["evaluate"].iter().chain(line)).arguments;
            parsed.spelled().unwrap()
        };
        let all = [
            "--output",
            "a.md",
            "--data",
            "captures",
            "--scenario",
            "pulse",
            "--scenario",
            "nfs",
            "--hours",
            "2",
            "--json",
            "--captures-only",
        ];
        assert_eq!(spelled(&all), all);
        let default = spelled(&[]);
        assert!(default[1].ends_with("/docs/detection.md"), "{default:?}");
        assert_eq!(default.len(), 2);
    }
}
