//! A lab: hosts made of network namespaces, joined by veth pairs, on this machine alone.
//!
//! Everything a lab makes carries the process id in its name, is removed when the [`Lab`] is dropped, and also
//! after Ctrl-C, SIGTERM or a panic; what a killed run left behind goes when the next lab starts.
//! It needs root, the program `ip`, and a kernel with veth; nothing else, so that it works in a bare VM.

mod attached;
mod child;
mod cleanup;
mod host;
mod interface;
mod rights;
mod system;

use std::fmt;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};

pub use attached::Attached;
pub use child::Child;
pub use cleanup::{leave_nothing_behind, remove_at_end, scratch_directory};
pub use host::Host;
pub use interface::{Interface, Offload, Switch, TrafficCounters};
pub use rights::{find_program, missing_for_bpf, missing_for_loading, missing_for_namespaces};
pub(crate) use system::{FRAMES_PER_CALL, FrameSocket, driver_of};

/// Every namespace of every lab starts with this; the generators refuse to send anywhere else.
pub(crate) const NAMESPACE_PREFIX: &str = "mitigator-lab-";
/// Every interface of every lab starts with this.
pub(crate) const INTERFACE_PREFIX: &str = "ml";

static LABS_MADE: AtomicUsize = AtomicUsize::new(0);
static LINKS_MADE: AtomicUsize = AtomicUsize::new(0);

/// Network namespaces that belong together and vanish together.
///
/// # Examples
///
/// ```no_run
/// # fn main() -> anyhow::Result<()> {
/// let lab = mitigator_tests::lab::Lab::new()?;
/// let (outside, victim) = (lab.host("outside")?, lab.host("victim")?);
/// let (here, there) = lab.link(&outside, &victim)?;
/// here.add_addresses(&["198.18.1.1/16".parse()?])?;
/// there.add_addresses(&["198.18.0.1/16".parse()?])?;
/// victim.run("ping", &["-c1", "198.18.1.1"])?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Lab {
    name: String,
}

/// A processor, by its number from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Core(pub usize);

impl Core {
    /// Of a link's two queues, from 0, the one by which no flood from this core leaves.
    #[must_use]
    pub fn other_queue(self) -> usize {
        usize::from(self.0.is_multiple_of(2))
    }
}

impl Core {
    /// Those that the calling thread may use, the lowest number first: at least one.
    ///
    /// # Errors
    ///
    /// When the kernel does not say.
    pub fn usable() -> Result<Vec<Self>> {
        let cores = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0))
            .context("cannot ask which cores may be used")?;
        Ok((0..nix::sched::CpuSet::count())
            .filter(|core| cores.is_set(*core).unwrap_or(false))
            .map(Self)
            .collect())
    }

    /// Keeps the calling thread, and what it starts from here on, on this core.
    ///
    /// # Errors
    ///
    /// When there is no such core or the process may not use it.
    pub fn pin_this_thread(self) -> Result<()> {
        self.pin(nix::unistd::Pid::from_raw(0))
    }

    /// Keeps the calling thread on this core, and before most of what else wants to run there.
    ///
    /// # Errors
    ///
    /// As [`Core::pin_this_thread`], and without the right to a higher priority.
    pub fn favour_this_thread(self) -> Result<()> {
        self.pin_this_thread()?;
        system::favour_this_thread().context("cannot raise the priority of a thread")
    }

    /// Keeps the process `command` will start on this core.
    pub fn pin_command(self, command: &mut Command) {
        system::pin_to_core(command, self);
    }

    fn pin(self, thread: nix::unistd::Pid) -> Result<()> {
        let mut cores = nix::sched::CpuSet::new();
        cores
            .set(self.0)
            .and_then(|()| nix::sched::sched_setaffinity(thread, &cores))
            .with_context(|| format!("cannot keep thread {thread} on core {}; is there such a core?", self.0))
    }
}

impl fmt::Display for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "core {}", self.0)
    }
}

impl Lab {
    /// Opens an empty lab; removes what labs of dead processes left behind.
    ///
    /// # Errors
    ///
    /// When the rights or tools for network namespaces are missing; the message names them all.
    pub fn new() -> Result<Self> {
        let missing = missing_for_namespaces();
        if !missing.is_empty() {
            bail!("cannot make network namespaces: {}", missing.join("; "));
        }
        leave_nothing_behind()?;
        let number = LABS_MADE.fetch_add(1, Ordering::Relaxed);
        Ok(Self { name: format!("{NAMESPACE_PREFIX}{}-{number}", std::process::id()) })
    }

    /// Makes a host: a namespace with its loopback up, IPv6 without address detection delays.
    ///
    /// # Errors
    ///
    /// When the name is taken in this lab or the kernel refuses.
    pub fn host(&self, name: &str) -> Result<Host> {
        Host::create(&format!("{}-{name}", self.name))
    }

    /// Joins two hosts by a veth pair, both ends up; the first interface is in `a`, the second in `b`.
    ///
    /// Segmentation offloads are off on both ends from the start: native XDP would switch them off on the peer,
    /// and figures taken before and after it could not be compared.
    ///
    /// # Errors
    ///
    /// When the kernel has no veth, or refuses.
    pub fn link(&self, a: &Host, b: &Host) -> Result<(Interface, Interface)> {
        self.link_with_queues(a, b, 1)
    }

    /// As [`Self::link`], where each end sends and receives by so many queues, at least one.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn link_with_queues(&self, a: &Host, b: &Host, queues: usize) -> Result<(Interface, Interface)> {
        let number = LINKS_MADE.fetch_add(1, Ordering::Relaxed);
        Interface::create_pair(a, b, number, queues)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        cleanup::remove_namespaces_of(&format!("{}-", self.name));
    }
}

/// Runs `ip` with `arguments` in the caller's namespace.
fn ip(arguments: &[&str]) -> Result<String> {
    output_of(Command::new("ip").args(arguments))
}

/// Runs a command to its end; its standard output, or an error with what it said.
fn output_of(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_that_does_not_exist_is_refused() {
        let message = Core(100_000).pin_this_thread().unwrap_err().to_string();
        assert!(message.contains("core 100000"), "{message}");
    }

    #[test]
    fn only_cores_that_may_be_used_are_offered() {
        let all = Core::usable().unwrap();
        assert!(!all.is_empty());
        for core in all {
            let offered = std::thread::spawn(move || {
                core.pin_this_thread().unwrap();
                Core::usable().unwrap()
            });
            assert_eq!(offered.join().unwrap(), [core]);
        }
    }
}
