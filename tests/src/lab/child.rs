//! A process the lab started: ended by its id, always waited for, and never outliving the lab.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::{cleanup, system};

/// How long a child may take to end after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(10);

/// A running child process; dropping it ends it.
#[derive(Debug)]
pub struct Child {
    inner: std::process::Child,
    name: String,
    ended: Option<ExitStatus>,
}

impl Child {
    /// Starts `command`; the kernel ends it with SIGTERM should this thread die first.
    ///
    /// # Errors
    ///
    /// When the program cannot be started.
    pub fn spawn(mut command: Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        system::end_with_parent(&mut command);
        let inner = command.spawn().with_context(|| format!("cannot start `{name}`"))?;
        let child = Self { inner, name, ended: None };
        cleanup::remember_child(child.pid());
        Ok(child)
    }

    /// Its process id.
    ///
    /// # Panics
    ///
    /// Never on Linux, where process ids are small positive numbers.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.inner.id()).expect("Linux process ids fit in 22 bits"))
    }

    /// Hands every line of standard output to `receive`, on a thread of its own, until the child closes it.
    /// `None` when the command did not pipe its output, or the lines are taken already.
    pub fn for_each_line(
        &mut self,
        receive: impl FnMut(String) + Send + 'static,
    ) -> Option<thread::JoinHandle<()>> {
        let lines = BufReader::new(self.inner.stdout.take()?).lines();
        Some(thread::spawn(move || {
            lines.map_while(Result::ok).for_each(receive);
        }))
    }

    /// All of standard error so far ended processes wrote; empty when it was not piped.
    pub fn stderr_to_end(&mut self) -> String {
        let mut text = String::new();
        if let Some(mut stderr) = self.inner.stderr.take() {
            // Half a message beats none.
            let _ = stderr.read_to_string(&mut text);
        }
        text
    }

    /// How it ended; `None` while it runs.
    ///
    /// # Errors
    ///
    /// When the kernel cannot say.
    pub fn status(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            let _not_cleaning_up = cleanup::hold();
            self.ended = self.inner.try_wait().with_context(|| format!("cannot wait for `{}`", self.name))?;
        }
        if self.ended.is_some() {
            cleanup::forget_child(self.pid());
        }
        Ok(self.ended)
    }

    /// Sends a signal; nothing happens when the child is gone.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.status()?.is_none() {
            kill(self.pid(), signal).with_context(|| format!("cannot signal `{}`", self.name))?;
        }
        Ok(())
    }

    /// Waits until it ends by itself, at most `patience`; `None` when it still runs then.
    ///
    /// # Errors
    ///
    /// When the kernel cannot say.
    pub fn wait_for(&mut self, patience: Duration) -> Result<Option<ExitStatus>> {
        for _ in 0..=patience.as_millis() / POLL.as_millis() {
            if let Some(status) = self.status()? {
                return Ok(Some(status));
            }
            pause();
        }
        Ok(None)
    }

    /// Asks it to end with SIGTERM, kills it after three seconds, and waits for it either way.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn end(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        if let Some(status) = self.wait_for(GRACE)? {
            return Ok(status);
        }
        self.kill()
    }

    /// Kills it with SIGKILL, as a crash would, and waits for it.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGKILL)?;
        let status = self.inner.wait().with_context(|| format!("cannot wait for `{}`", self.name))?;
        cleanup::forget_child(self.pid());
        self.ended = Some(status);
        Ok(status)
    }

    /// A command that pipes standard output and error, for [`Self::for_each_line`] and [`Self::stderr_to_end`].
    #[must_use]
    pub fn piped(mut command: Command) -> Command {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("`{}` (process {}) may still run: {error:#}", self.name, self.inner.id());
        }
    }
}

/// Ends a child of which only the id is known, and waits for it; gone is as good.
pub(super) fn end_by_pid(pid: Pid, signal: Signal) {
    if kill(pid, signal).is_err() {
        return;
    }
    for _ in 0..GRACE.as_millis() / POLL.as_millis() {
        match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => pause(),
            _ => return,
        }
    }
    let _ = kill(pid, Signal::SIGKILL);
    let _ = waitpid(pid, None);
}

#[expect(clippy::disallowed_methods, reason = "waiting for a process of the outside world")]
fn pause() {
    thread::sleep(POLL);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_a_child_that_ignores_sigterm_and_waits_for_it() {
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"]);
        let mut child = Child::spawn(Child::piped(command)).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        child.for_each_line(move |line| drop(sender.send(line))).unwrap();
        assert_eq!(receiver.recv().unwrap(), "ready");
        let pid = child.pid();
        drop(child);
        assert_eq!(kill(pid, None), Err(Errno::ESRCH));
    }
}
