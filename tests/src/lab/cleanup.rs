//! Leaving nothing behind: the list of what was made, and the three occasions on which it is removed.
//!
//! A lab that is dropped removes its own namespaces. SIGINT and SIGTERM end all children and remove everything,
//! then the process. A run that was killed outright cannot clean up; the next lab recognises its leftovers by the
//! dead process id in their names.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tempfile::TempDir;

use super::{NAMESPACE_PREFIX, child, ip};

/// Where iproute2 keeps its named namespaces.
const NAMESPACES: &str = "/run/netns";
/// What the names of directories in the BPF file system begin with, before the process id.
const PINS_PREFIXES: [&str; 4] = ["mitigator-demo-", "mitigator-bench-", "mitigator-test-", NAMESPACE_PREFIX];

static BELONGINGS: Mutex<Belongings> =
    Mutex::new(Belongings { children: Vec::new(), namespaces: Vec::new(), directories: Vec::new() });

/// All that this process has made and must take away.
#[derive(Debug)]
struct Belongings {
    children: Vec<Pid>,
    namespaces: Vec<String>,
    directories: Vec<PathBuf>,
}

/// Removes what dead processes left behind, and has SIGINT, SIGTERM and SIGHUP clean up after this one before they
/// end it. Every lab begins with it; who pins without a lab calls it first.
///
/// # Errors
///
/// When a leftover cannot be removed, or signals cannot be watched for.
pub fn leave_nothing_behind() -> Result<()> {
    remove_leftovers()?;
    install_signal_handler()
}

/// Removes a directory with all it holds when the process is ended by a signal; see [`leave_nothing_behind`]. If it is
/// `/sys/fs/bpf/mitigator-KIND-PID` or begins so, with the kind demo, bench, test or lab, the next lab does so after
/// this process was killed outright.
pub fn remove_at_end(directory: &Path) {
    belongings().directories.push(directory.to_owned());
}

/// Makes an empty directory for files that no run leaves behind.
///
/// # Errors
///
/// When the directory for temporary files cannot be written.
pub fn scratch_directory(purpose: &str) -> Result<TempDir> {
    let prefix = format!("{NAMESPACE_PREFIX}{}-{purpose}-", std::process::id());
    let directory = tempfile::Builder::new().prefix(&prefix).tempdir().context("cannot make a directory")?;
    remove_at_end(directory.path());
    Ok(directory)
}

pub(super) fn remember_namespace(name: &str) {
    belongings().namespaces.push(name.to_owned());
}

pub(super) fn remember_child(pid: Pid) {
    belongings().children.push(pid);
}

pub(super) fn forget_child(pid: Pid) {
    belongings().children.retain(|&known| known != pid);
}

/// Nobody cleans up while the answer lives. A thread that asks during the clean-up after a signal never returns.
pub(super) fn hold() -> impl Drop {
    belongings()
}

/// Removes the namespaces whose names start with `prefix`. Reports what stays, as there is nobody to return to.
pub(super) fn remove_namespaces_of(prefix: &str) {
    let mut belongings = belongings();
    let (going, staying) = belongings.namespaces.drain(..).partition(|name| name.starts_with(prefix));
    belongings.namespaces = staying;
    remove_namespaces(&going);
}

/// Removes namespaces and pinned directories of labs whose process is dead.
fn remove_leftovers() -> Result<()> {
    let leftover =
        |name: &str| owner_of(name).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists());
    for name in names_in(Path::new(NAMESPACES)) {
        if name.starts_with(NAMESPACE_PREFIX) && leftover(&name[NAMESPACE_PREFIX.len()..]) {
            ip(&["netns", "del", &name]).with_context(|| format!("cannot remove the leftover `{name}`"))?;
        }
    }
    let pins = Path::new("/sys/fs/bpf");
    for name in names_in(pins) {
        if PINS_PREFIXES.iter().any(|prefix| name.strip_prefix(prefix).is_some_and(leftover)) {
            remove_directory(&pins.join(name));
        }
    }
    Ok(())
}

/// From the first call on, SIGINT, SIGTERM and SIGHUP clean up before they end the process.
fn install_signal_handler() -> Result<()> {
    static INSTALLED: OnceLock<Result<(), String>> = OnceLock::new();
    let installed = INSTALLED.get_or_init(|| {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(|error| error.to_string())?;
        thread::Builder::new()
            .name("lab-cleanup".to_owned())
            .spawn(move || {
                if let Some(signal) = signals.forever().next() {
                    remove_everything();
                    std::process::exit(128 + signal);
                }
            })
            .map(|_| ())
            .map_err(|error| error.to_string())
    });
    installed.clone().map_err(anyhow::Error::msg).context("cannot watch for signals")
}

fn remove_everything() {
    let mut belongings = belongings();
    for &pid in &belongings.children {
        child::end_by_pid(pid, Signal::SIGTERM);
    }
    let namespaces: Vec<_> = belongings.namespaces.drain(..).collect();
    remove_namespaces(&namespaces);
    for directory in belongings.directories.drain(..) {
        remove_directory(&directory);
    }
}

fn remove_namespaces(names: &[String]) {
    for name in names {
        if let Err(error) = ip(&["netns", "del", name]) {
            eprintln!("the namespace `{name}` stays behind: {error:#}");
        }
    }
}

fn remove_directory(directory: &Path) {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            eprintln!("`{}` stays behind: {error}", directory.display());
        }
        _ => {}
    }
}

/// The process id that a name starts with: `4711-0-victim`, `4711`.
fn owner_of(name: &str) -> Option<u32> {
    name.split('-').next()?.parse().ok()
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn belongings() -> MutexGuard<'static, Belongings> {
    BELONGINGS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_the_number_in_front() {
        for (name, expected) in
            [("4711-0-victim", Some(4711)), ("4711", Some(4711)), ("victim", None), ("", None)]
        {
            assert_eq!(owner_of(name), expected, "{name}");
        }
    }
}
