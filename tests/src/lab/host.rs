//! One host of a lab: a named network namespace, and ways to do things inside it.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};

use super::{cleanup, ip, output_of, system};

/// A network namespace of a [`super::Lab`]. Clones are the same host.
#[derive(Clone, Debug)]
pub struct Host {
    name: String,
    namespace: Arc<File>,
}

impl Host {
    pub(super) fn create(name: &str) -> Result<Self> {
        ip(&["netns", "add", name])?;
        cleanup::remember_namespace(name);
        let path = format!("/run/netns/{name}");
        let namespace = File::open(&path).with_context(|| format!("cannot open `{path}`"))?;
        let host = Self { name: name.to_owned(), namespace: Arc::new(namespace) };
        host.ip_batch(&["link set lo up".to_owned()])?;
        for (key, value) in [
            ("net/ipv6/conf/default/accept_dad", "0"),
            ("net/ipv6/conf/default/router_solicitations", "0"),
            ("net/ipv6/conf/default/mldv2_unsolicited_report_interval", "0"),
        ] {
            host.set_if_there(key, value)?;
        }
        Ok(host)
    }

    /// The namespace's name, as `ip netns exec` takes it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run inside. Only the network is the host's: files, `/sys/fs/bpf` among them, are the
    /// machine's own.
    #[must_use]
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        system::enter_namespace(&mut command, Arc::clone(&self.namespace));
        command
    }

    /// Runs a program inside to its end; its standard output.
    ///
    /// # Errors
    ///
    /// When it cannot be started or fails; the message has what it wrote to standard error.
    pub fn run(&self, program: impl AsRef<Path>, arguments: &[&str]) -> Result<String> {
        output_of(self.command(program).args(arguments))
    }

    /// Runs many `ip` commands inside at once, each without the leading `ip`.
    ///
    /// # Errors
    ///
    /// At the first line that `ip` refuses.
    pub fn ip_batch(&self, lines: &[String]) -> Result<()> {
        let mut command = self.command("ip");
        command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot start `ip`")?;
        let mut input = child.stdin.take().context("`ip` has no standard input")?;
        let written = input.write_all((lines.join("\n") + "\n").as_bytes());
        drop(input);
        let output = child.wait_with_output().context("cannot wait for `ip`")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("in `{}`, ip refused one of {} lines: {}", self.name, lines.len(), said.trim());
        }
        written.context("cannot talk to `ip`")
    }

    /// Does `work` on a thread inside the namespace. Sockets made there stay in it.
    ///
    /// # Errors
    ///
    /// When the namespace cannot be entered.
    ///
    /// # Panics
    ///
    /// When `work` does.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| self.move_this_thread_inside().map(|()| work()));
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Moves the calling thread inside, for good.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn move_this_thread_inside(&self) -> Result<()> {
        setns(self.namespace.as_fd(), CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("cannot enter the namespace `{}`", self.name))
    }

    /// Sets a kernel variable of this host, such as `net/ipv4/tcp_syncookies`.
    ///
    /// # Errors
    ///
    /// When there is no such variable or it does not take the value.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        // /proc/sys/net shows the variables of the reading thread's own namespace.
        self.enter(|| fs::write(format!("/proc/sys/{key}"), value))?
            .with_context(|| format!("cannot set {key} to {value} in `{}`", self.name))
    }

    fn set_if_there(&self, key: &str, value: &str) -> Result<()> {
        if Path::new("/proc/sys").join(key).exists() { self.sysctl(key, value) } else { Ok(()) }
    }
}
