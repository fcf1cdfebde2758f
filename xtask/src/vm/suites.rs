//! The programs that go into every machine: the binary, and the suites that test the kernel's part.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::{process, workspace};

/// A test executable and how it is called in the guest.
pub struct Suite {
    pub name: &'static str,
    pub arguments: &'static str,
}

const SUITES: [Suite; 2] = [
    Suite { name: "data_plane", arguments: "--color=never --test-threads=1" },
    Suite { name: "end_to_end", arguments: "vm_ --color=never --test-threads=1" },
];

/// The trial of the first suite that prints what the verifier says.
pub const VERIFICATION: &str = "the_verifier_accepts_every_program";

/// Built for the host, whose libraries go along.
pub struct Programs {
    pub mitigator: PathBuf,
    /// In the order of [`SUITES`].
    suites: Vec<PathBuf>,
}

impl Programs {
    /// Each suite with its executable.
    pub fn suites(&self) -> impl Iterator<Item = (&'static Suite, &Path)> {
        SUITES.iter().zip(self.suites.iter().map(PathBuf::as_path))
    }
}

pub fn build() -> Result<Programs> {
    process::run_quietly(
        "building mitigator for the virtual machines",
        workspace::cargo().args(["build", "--quiet", "--bin", "mitigator"]),
    )?;
    let mut tests = workspace::cargo();
    // Not `--package mitigator-tests`: dependencies would get other features, and be compiled once more.
    tests.args(["test", "--quiet", "--no-run", "--message-format=json"]);
    for suite in &SUITES {
        tests.args(["--test", suite.name]);
    }
    let spinner = process::spinner("building the suites for the virtual machines");
    let messages = process::output_of(&mut tests);
    spinner.finish_and_clear();
    let messages = messages?;
    let suites = SUITES.iter().map(|suite| {
        executable(&messages, suite.name)
            .with_context(|| format!("cargo built no test executable `{}`", suite.name))
    });
    Ok(Programs {
        mitigator: workspace::target().join("debug/mitigator"),
        suites: suites.collect::<Result<_>>()?,
    })
}

/// One line of cargo's JSON messages, as far as it matters here.
#[derive(Deserialize)]
struct Message {
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

fn executable(messages: &str, suite: &str) -> Option<PathBuf> {
    messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok()).find_map(|message| {
        let target = message.target?;
        (target.name == suite && target.kind == ["test"]).then_some(message.executable)?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_the_tests_and_not_a_librarys() {
        let messages = r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"lab"},"executable":null}
{"reason":"compiler-message","message":{"rendered":"a warning"}}
{"reason":"compiler-artifact","target":{"kind":["test"],"name":"lab"},"executable":"/target/release/deps/lab-1"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages, "lab"), Some(PathBuf::from("/target/release/deps/lab-1")));
        assert_eq!(executable(messages, "data_plane"), None);
    }
}
