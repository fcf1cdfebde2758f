//! `Pins`: where maps and links live in bpffs, and the lock that writers take.
//!
//! `<root>/v<schema>/<MAP>` and `<root>/v<schema>/links/<interface>`. The schema number keeps
//! programs of different layouts away from each other's maps.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use mitigator_common::SCHEMA;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

/// Where pins are unless the operator says otherwise.
pub const DEFAULT_ROOT: &str = "/sys/fs/bpf/mitigator";

/// Paths of one installation in bpffs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins {
    root: PathBuf,
}

/// An attached interface's pin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkPin {
    /// Name of the interface when it was pinned.
    pub interface: String,
    /// Where the link is pinned.
    pub path: PathBuf,
}

impl Pins {
    /// Pins below `root`.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The directory of all schemas.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of this program's schema, where its maps are.
    #[must_use]
    pub fn maps(&self) -> PathBuf {
        self.root.join(format!("v{SCHEMA}"))
    }

    /// Where the link of an interface is pinned.
    #[must_use]
    pub fn link(&self, interface: &str) -> PathBuf {
        self.maps().join("links").join(interface)
    }

    /// Makes the directories, readable by the owner alone.
    ///
    /// # Errors
    ///
    /// When bpffs is missing or not writable.
    pub fn create(&self) -> Result<()> {
        let existing = self.root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        let kind = statfs(existing).with_context(|| format!("cannot look at {}", existing.display()))?;
        if kind.filesystem_type() != BPF_FS_MAGIC {
            bail!(
                "{} is not on a BPF file system, so the filter could not outlive the agent; \
                 try `mount -t bpf bpf /sys/fs/bpf`",
                self.root.display()
            );
        }
        let links = self.maps().join("links");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&links)
            .with_context(|| format!("cannot make {}", links.display()))
    }

    /// Whether maps of this schema are pinned.
    #[must_use]
    pub fn exist(&self) -> bool {
        self.maps().join(super::maps::SOURCE_COUNTERS).exists()
    }

    /// The pinned links of every schema, by interface name.
    ///
    /// # Errors
    ///
    /// When a directory cannot be read.
    pub fn links(&self) -> Result<Vec<LinkPin>> {
        let mut found = Vec::new();
        for schema in entries(&self.root)? {
            for path in entries(&schema.join("links"))? {
                if let Some(interface) = path.file_name().and_then(|name| name.to_str()) {
                    found.push(LinkPin { interface: interface.to_owned(), path: path.clone() });
                }
            }
        }
        found.sort_by(|a, b| a.interface.cmp(&b.interface));
        Ok(found)
    }

    /// Removes every pin and directory. What is pinned nowhere else is gone with it.
    ///
    /// # Errors
    ///
    /// When a file cannot be removed.
    pub fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.root) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.root.display()))
            }
            _ => Ok(()),
        }
    }

    /// Waits for, then holds, the right to change block and allow lists, so that no block is written
    /// between a change of the allow list and the revision of the blocks.
    ///
    /// # Errors
    ///
    /// When the directory of the maps cannot be opened.
    pub fn lock(&self) -> Result<Flock<File>> {
        let path = self.maps();
        let directory = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        Flock::lock(directory, FlockArg::LockExclusive)
            .map_err(|(_, error)| error)
            .with_context(|| format!("cannot lock {}", path.display()))
    }
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<_>>()
            .with_context(|| format!("cannot read {}", directory.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", directory.display())),
    }
}
