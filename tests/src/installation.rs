//! `Installation`: the `mitigator` program with pins and state of its own, so that tests disturb neither each
//! other nor a real one.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::lab::{Child, Host, remove_at_end, scratch_directory};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// How long the agent may take to say something that is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// A `mitigator` on one host.
pub struct Installation {
    program: PathBuf,
    host: Option<Host>,
    pins: PathBuf,
    state: TempDir,
}

/// A running `mitigator run --json`; dropping it ends it.
pub struct Agent {
    process: Child,
    events: Receiver<Value>,
    log: PathBuf,
}

/// What a verb answered.
#[derive(Debug)]
pub struct Answer {
    /// Exit status.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// The program under test: `built`, or what `MITIGATOR_BINARY` names.
#[must_use]
pub fn program(built: &Path) -> PathBuf {
    std::env::var_os("MITIGATOR_BINARY").map_or_else(|| built.to_owned(), PathBuf::from)
}

impl Installation {
    /// `program` on `host`, or where the test itself runs.
    ///
    /// # Errors
    ///
    /// When there is no room for its state.
    pub fn new(program: &Path, host: Option<&Host>) -> Result<Self> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let pins = PathBuf::from(format!("/sys/fs/bpf/mitigator-test-{}-{number}", std::process::id()));
        remove_at_end(&pins);
        Ok(Self {
            program: self::program(program),
            host: host.cloned(),
            pins,
            state: scratch_directory("installation")?,
        })
    }

    /// Where its maps and links are pinned.
    #[must_use]
    pub fn pins(&self) -> &Path {
        &self.pins
    }

    /// Where its history is.
    #[must_use]
    pub fn state(&self) -> &Path {
        self.state.path()
    }

    /// A verb that has not started.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_with_state(arguments, self.state.path())
    }

    fn command_with_state(&self, arguments: &[&str], state: &Path) -> Command {
        let mut command = match &self.host {
            Some(host) => host.command(&self.program),
            None => Command::new(&self.program),
        };
        command.args(arguments).arg("--pin-dir").arg(&self.pins).arg("--state-dir").arg(state);
        command
    }

    /// Runs a verb to its end.
    ///
    /// # Errors
    ///
    /// When the program cannot be started or is ended by a signal.
    pub fn run(&self, arguments: &[&str]) -> Result<Answer> {
        self.run_with_state(arguments, self.state.path())
    }

    /// Runs a verb to its end with another state directory.
    ///
    /// # Errors
    ///
    /// When the program cannot be started or is ended by a signal.
    pub fn run_with_state(&self, arguments: &[&str], state: &Path) -> Result<Answer> {
        let mut command = self.command_with_state(arguments, state);
        Answer::of(&command.stdin(Stdio::null()).output().context("cannot start mitigator")?)
    }

    /// Runs a verb that has to end with status 0.
    ///
    /// # Errors
    ///
    /// When it ends otherwise; the message is what it said.
    pub fn done(&self, arguments: &[&str]) -> Result<String> {
        let answer = self.run(arguments)?;
        ensure!(answer.status == 0, "`mitigator {}`: {answer:?}", arguments.join(" "));
        Ok(answer.stdout)
    }

    /// Runs a verb with `--json` that has to end with status 0 or 1.
    ///
    /// # Errors
    ///
    /// When it ends otherwise or does not answer in JSON.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let answer = self.run(&[arguments, &["--json"]].concat())?;
        ensure!(answer.status < 2, "`mitigator {}`: {answer:?}", arguments.join(" "));
        serde_json::from_str(&answer.stdout).with_context(|| answer.stdout.clone())
    }

    /// Starts the agent and waits until it is attached.
    ///
    /// # Errors
    ///
    /// When it ends before; the message is its log.
    pub fn start(&self, arguments: &[&str]) -> Result<Agent> {
        let log = self.state.path().join("agent.log");
        let mut command = self.command(&[&["run", "--json"], arguments].concat());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&log)?);
        let mut process = Child::spawn(command)?;
        let (sender, events) = channel();
        process.for_each_line(move |line| {
            // Nobody listens any more when the test is over.
            let _ = sender.send(serde_json::from_str(&line).unwrap_or(Value::String(line)));
        });
        let mut agent = Agent { process, events, log };
        agent.wait_for("attached")?;
        Ok(agent)
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        if self.pins.exists()
            && let Err(error) = self.run(&["detach"])
        {
            eprintln!("{} may be left: {error:#}", self.pins.display());
        }
    }
}

impl Agent {
    /// The next event of a kind; others before it are passed over.
    ///
    /// # Errors
    ///
    /// When the agent ends, or says nothing of the kind in time.
    pub fn wait_for(&mut self, kind: &str) -> Result<Value> {
        let mut others = Vec::new();
        loop {
            match self.events.recv_timeout(PATIENCE) {
                Ok(event) if event["event"] == kind => return Ok(event),
                Ok(event) => others.push(event),
                Err(_) => {
                    bail!("no event `{kind}`, only {}; its log: {}", Value::Array(others), self.log())
                }
            }
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Ends it with SIGTERM and returns all events it had not been asked for.
    ///
    /// # Errors
    ///
    /// When it does not end well.
    pub fn end(mut self) -> Result<Vec<Value>> {
        let status = self.process.end()?;
        ensure!(status.success(), "the agent ended with {status}");
        Ok(self.events.iter().collect())
    }

    /// Kills it with SIGKILL, as a crash would.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn kill(mut self) -> Result<()> {
        self.process.kill().map(drop)
    }
}

impl Answer {
    fn of(output: &Output) -> Result<Self> {
        Ok(Self {
            status: output.status.code().context("mitigator was ended by a signal")?,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}
