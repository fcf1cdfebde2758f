//! To a command: it is started without a shell, gets the list on its standard input, and the rest as variables.

use std::io::{ErrorKind, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Message, PATIENCE};

/// What is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandSettings {
    /// The program and its arguments; at least the program.
    pub command: Vec<String>,
}

/// Between two looks whether it has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Starts the command and waits for its end.
///
/// # Errors
///
/// When it cannot be started, takes too long, which ends it, or ends with another status than 0.
pub fn send(settings: &CommandSettings, message: &Message) -> Result<()> {
    let Some((program, arguments)) = settings.command.split_first() else {
        bail!("no command");
    };
    let mut child = Command::new(program)
        .args(arguments)
        .env("MITIGATOR_RESULT", if message.success { "success" } else { "failure" })
        .env("MITIGATOR_SUBJECT", &message.subject)
        .env("MITIGATOR_BODY", &message.body)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start `{program}`"))?;
    // Written beside the wait, so that a command that does not read cannot hold us up.
    let input = child.stdin.take();
    let list = message.list.clone();
    let writer = std::thread::spawn(move || match input {
        Some(mut input) => input.write_all(list.as_bytes()),
        None => Ok(()),
    });
    let mut waited = Duration::ZERO;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if waited >= PATIENCE {
            if let Ok(pid) = i32::try_from(child.id()) {
                kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
            }
            child.wait()?;
            bail!("`{program}` took longer than {} s and was ended", PATIENCE.as_secs());
        }
        pause();
        waited += LOOK_AGAIN;
    };
    match writer.join() {
        Ok(Err(error)) if error.kind() != ErrorKind::BrokenPipe => {
            return Err(error).with_context(|| format!("cannot write to `{program}`"));
        }
        _ => {}
    }
    if !status.success() {
        bail!("`{program}` ended with {status}");
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "an edge that waits for a process")]
fn pause() {
    std::thread::sleep(LOOK_AGAIN);
}
