//! The agent as a process: started, listened to, asked, ended. Nothing of mitigator is linked into the demo.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use mitigator_tests::lab::{Child, Host, remove_at_end, scratch_directory};
use serde::Deserialize;
use tempfile::TempDir;

use crate::arguments::Arguments;
use crate::clock::pause;
use crate::recording::Verdict;
use crate::stage::Stage;

/// How long it may take to attach, and to leave.
const PATIENCE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(5);

/// A running `mitigator run` on the victim, with pins and state of its own.
pub(crate) struct Agent {
    process: Child,
    heard: Arc<Mutex<Heard>>,
    questions: Questions,
    log: PathBuf,
    _scratch: TempDir,
}

/// The way to ask mitigator something while it works.
#[derive(Clone)]
pub(crate) struct Questions {
    program: PathBuf,
    victim: Host,
    pins: PathBuf,
    state: PathBuf,
}

#[derive(Default)]
struct Heard {
    xdp_mode: Option<String>,
    verdicts: Vec<Verdict>,
}

/// One line of the agent's standard output.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event {
    Attached {
        mode: String,
    },
    Verdict(Verdict),
    #[serde(other)]
    Other,
}

impl Agent {
    /// Starts it on the victim's interface and waits until it is attached.
    pub(crate) fn start(arguments: &Arguments, stage: &Stage) -> Result<Self> {
        let scratch = scratch_directory("agent")?;
        let pins = PathBuf::from(format!("/sys/fs/bpf/mitigator-demo-{}", std::process::id()));
        remove_at_end(&pins);
        let questions = Questions {
            program: arguments.mitigator()?,
            victim: stage.victim.clone(),
            pins,
            state: scratch.path().to_owned(),
        };
        let log = scratch.path().join("agent.log");
        let mut command = questions.command(&["run", "-i", stage.victim_side.name(), "--json"]);
        if let Some(config) = &arguments.config {
            command.arg("--config").arg(config);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&log)?);
        stage.cores.servers.pin_command(&mut command);
        let mut process = Child::spawn(command)?;
        let heard = Arc::new(Mutex::new(Heard::default()));
        let hearing = Arc::clone(&heard);
        process.for_each_line(move |line| hearing.lock().unwrap_or_else(PoisonError::into_inner).take(&line));
        let mut agent = Self { process, heard, questions, log, _scratch: scratch };
        agent.wait_until_attached()?;
        Ok(agent)
    }

    /// `native` or `generic`.
    pub(crate) fn xdp_mode(&self) -> Option<String> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).xdp_mode.clone()
    }

    /// All it has decided so far, in that order.
    pub(crate) fn verdicts(&self) -> Vec<Verdict> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).verdicts.clone()
    }

    pub(crate) fn questions(&self) -> Questions {
        self.questions.clone()
    }

    /// Ends it with SIGTERM, and has the filter it leaves behind detached.
    pub(crate) fn leave(mut self) -> Result<()> {
        let status = self.process.end()?;
        if !status.success() {
            bail!("the agent ended with {status}: {}", self.last_words());
        }
        self.questions.run(&["detach"]).map(drop)
    }

    fn wait_until_attached(&mut self) -> Result<()> {
        for _ in 0..PATIENCE.as_millis() / POLL.as_millis() {
            if self.xdp_mode().is_some() {
                return Ok(());
            }
            if let Some(status) = self.process.status()? {
                bail!("the agent ended with {status}: {}", self.last_words());
            }
            pause(POLL);
        }
        bail!("the agent did not attach within {PATIENCE:?}: {}", self.last_words())
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(3).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
    }
}

impl Questions {
    /// Runs a verb that answers in JSON.
    pub(crate) fn ask<T: for<'de> Deserialize<'de>>(&self, verb: &[&str]) -> Result<T> {
        let answer = self.run(&[verb, &["--json"]].concat())?;
        serde_json::from_slice(&answer).with_context(|| format!("`mitigator {}` answered", verb.join(" ")))
    }

    fn run(&self, verb: &[&str]) -> Result<Vec<u8>> {
        let called = || format!("`mitigator {}`", verb.join(" "));
        let output = self.command(verb).stdin(Stdio::null()).output().with_context(called)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{} ended with {}: {}", called(), output.status, said.trim());
        }
        Ok(output.stdout)
    }

    fn command(&self, verb: &[&str]) -> Command {
        let mut command = self.victim.command(&self.program);
        command.args(verb).arg("--pin-dir").arg(&self.pins).arg("--state-dir").arg(&self.state);
        command
    }
}

impl Heard {
    fn take(&mut self, line: &str) {
        match serde_json::from_str(line) {
            Ok(Event::Attached { mode }) => self.xdp_mode = Some(mode),
            Ok(Event::Verdict(verdict)) => self.verdicts.push(verdict),
            Ok(Event::Other) => {}
            Err(error) => eprintln!("the agent said something else than an event ({error}): {line}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hears_the_mode_and_the_verdicts_alone() {
        let mut heard = Heard::default();
        for line in [
            r#"{"event":"attached","interface":"v0","mode":"native","why":"the driver can"}"#,
            r#"{"event":"verdict","at_unix_ms":17,"target":"10.0.0.1","vector":"udp-flood","decision":"block","evidence":{}}"#,
            r#"{"event":"verdict","at_unix_ms":18,"target":"10.0.0.2","vector":"udp-flood","decision":"limit","limits":{"UDP packets to port 9":20.5}}"#,
            r#"{"event":"summary","packets":3}"#,
        ] {
            heard.take(line);
        }
        assert_eq!(heard.xdp_mode.as_deref(), Some("native"));
        let heard: Vec<_> = heard
            .verdicts
            .iter()
            .map(|verdict| (verdict.target.as_str(), verdict.is_block(), verdict.limits.len()))
            .collect();
        assert_eq!(heard, [("10.0.0.1", true, 0), ("10.0.0.2", false, 1)]);
    }
}
