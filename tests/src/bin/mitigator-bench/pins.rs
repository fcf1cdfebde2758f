//! Where the bench pins what it loads, and how that goes away.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// This run's own; it has to be removed at the end.
pub(crate) fn directory() -> PathBuf {
    PathBuf::from(format!("/sys/fs/bpf/mitigator-bench-{}", std::process::id()))
}

/// Takes all pins away.
pub(crate) fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}
