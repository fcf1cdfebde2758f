//! `AgentLock`: held by the one process that may attach and detach the filter of an installation.
//!
//! It is a lock on the root of the pins, so that it guards what it is about, whatever the state
//! directory is, and is gone with its process, however that ends. Writers of the tables lock another
//! directory, for a moment only ([`Pins::lock`]).

use std::fmt;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{major, minor};
use procfs::{LockKind, LockType};

use super::pins::Pins;

/// How often a held lock is tried again: who only looks has it for microseconds, who detaches for less
/// than the half second that this comes to.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(25);

/// Held by the one agent of an installation, or by who detaches it.
#[derive(Debug)]
pub struct AgentLock {
    _root: Flock<File>,
}

/// Who holds the lock: there is somebody, whether or not the kernel says who.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Process number; `None` when it is not to be seen from here, as from inside a container.
    pub pid: Option<u32>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "process {pid}"),
            None => f.write_str("its process is not to be seen from here"),
        }
    }
}

impl AgentLock {
    /// Takes the lock, making the directories of the pins; the holder when it stays held.
    ///
    /// # Errors
    ///
    /// When bpffs is missing or not writable.
    pub fn take(pins: &Pins) -> Result<Result<Self, Holder>> {
        for _ in 0..TRIES {
            pins.create()?;
            let root = pins.root();
            match lock(open(root)?, FlockArg::LockExclusiveNonblock, root)? {
                Some(lock) if is_still(&lock, root) => return Ok(Ok(Self { _root: lock })),
                // Somebody detached in between: the lock is on a directory that is gone.
                Some(_) => {}
                None => pause(),
            }
        }
        Ok(Err(Self::holder(pins)?.unwrap_or(Holder { pid: None })))
    }

    /// Who holds the lock, if anybody does.
    ///
    /// # Errors
    ///
    /// When the root of the pins cannot be opened.
    pub fn holder(pins: &Pins) -> Result<Option<Holder>> {
        let root = pins.root();
        if !root.exists() {
            return Ok(None);
        }
        let is_free = lock(open(root)?, FlockArg::LockSharedNonblock, root)?.is_some();
        Ok((!is_free).then(|| Holder { pid: pid_of_holder(root) }))
    }
}

fn open(directory: &Path) -> Result<File> {
    File::open(directory).with_context(|| format!("cannot open {}", directory.display()))
}

/// `None` when somebody else holds it.
fn lock(directory: File, kind: FlockArg, path: &Path) -> Result<Option<Flock<File>>> {
    match Flock::lock(directory, kind) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

fn is_still(open: &File, path: &Path) -> bool {
    match (open.metadata(), path.metadata()) {
        (Ok(open), Ok(there)) => (open.dev(), open.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

fn pid_of_holder(path: &Path) -> Option<u32> {
    let found = path.metadata().ok()?;
    let place = (major(found.dev()), minor(found.dev()), found.ino());
    let locks = procfs::locks().ok()?;
    let held = locks.into_iter().find(|lock| {
        matches!((&lock.lock_type, &lock.kind), (LockType::FLock, LockKind::Write))
            && (u64::from(lock.devmaj), u64::from(lock.devmin), lock.inode) == place
    })?;
    held.pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0)
}

#[expect(clippy::disallowed_methods, reason = "waiting for another process, before there is an agent")]
fn pause() {
    std::thread::sleep(PAUSE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_means_running_until_the_directory_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("pins");
        std::fs::create_dir(&path).unwrap();
        let pins = Pins::below(&path);
        assert_eq!(AgentLock::holder(&pins).unwrap(), None);
        let held = lock(open(&path).unwrap(), FlockArg::LockExclusiveNonblock, &path).unwrap().unwrap();
        assert!(is_still(&held, &path));
        assert!(AgentLock::holder(&pins).unwrap().is_some());
        std::fs::remove_dir(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(!is_still(&held, &path));
        assert_eq!(AgentLock::holder(&pins).unwrap(), None);
    }
}
