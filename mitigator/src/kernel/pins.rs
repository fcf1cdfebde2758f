//! `Pins`: where maps and links live in bpffs, and the lock that writers take.
//!
//! `<root>/v<schema>/<MAP>`, `<root>/v<schema>/links/<interface>` and `<root>/v<schema>/sent/<interface>`, dots
//! written as `%2E`. The schema number keeps
//! programs of different layouts away from each other's maps.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use mitigator_common::SCHEMA;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::maps;

/// Where pins are unless the operator says otherwise.
pub const DEFAULT_ROOT: &str = "/sys/fs/bpf/mitigator";
/// The directory of a schema's links.
const LINKS: &str = "links";
/// The directory of a schema's links of what is sent.
const SENT: &str = "sent";

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
        self.maps().join(LINKS).join(pin_name(interface))
    }

    /// Where the link that counts what an interface sends is pinned.
    #[must_use]
    pub fn sent_link(&self, interface: &str) -> PathBuf {
        self.maps().join(SENT).join(pin_name(interface))
    }

    /// Makes the directories, readable by the owner alone.
    ///
    /// # Errors
    ///
    /// When bpffs is missing or not writable.
    pub fn create(&self) -> Result<()> {
        self.require_bpf_file_system()?;
        for links in [LINKS, SENT].map(|name| self.maps().join(name)) {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&links)
                .with_context(|| format!("cannot make {}", links.display()))?;
        }
        Ok(())
    }

    /// Asks the nearest directory above that exists.
    fn require_bpf_file_system(&self) -> Result<()> {
        let existing = self.root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        let kind = statfs(existing).with_context(|| format!("cannot look at {}", existing.display()))?;
        if kind.filesystem_type() != BPF_FS_MAGIC {
            bail!(
                "{} is not on a BPF file system, and nothing else can hold the filter and outlive the agent; \
                 try `--pin-dir {DEFAULT_ROOT}` after `mount -t bpf bpf /sys/fs/bpf`",
                self.root.display()
            );
        }
        Ok(())
    }

    /// Whether maps of this schema are pinned.
    #[must_use]
    pub fn exist(&self) -> bool {
        self.maps().join(maps::SOURCE_ROWS).exists()
    }

    /// The pinned links of every schema, by interface name.
    ///
    /// # Errors
    ///
    /// When a directory cannot be read, or the root is not in bpffs.
    pub fn links(&self) -> Result<Vec<LinkPin>> {
        self.links_in(LINKS)
    }

    /// Like [`Pins::links`], of what counts what is sent.
    ///
    /// # Errors
    ///
    /// As [`Pins::links`].
    pub fn sent_links(&self) -> Result<Vec<LinkPin>> {
        self.links_in(SENT)
    }

    fn links_in(&self, name: &str) -> Result<Vec<LinkPin>> {
        let mut found = Vec::new();
        for schema in self.schemas()? {
            for path in entries(&schema.join(name))? {
                if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
                    found.push(LinkPin { interface: interface_of(name), path: path.clone() });
                }
            }
        }
        found.sort_by(|a, b| a.interface.cmp(&b.interface));
        Ok(found)
    }

    /// Removes what mitigator pinned, of every schema, and the directories that are empty then. What is
    /// pinned nowhere else is gone with it; what somebody else put there stays.
    ///
    /// # Errors
    ///
    /// When a pin cannot be removed, or the root is not in bpffs.
    pub fn remove(&self) -> Result<()> {
        for schema in self.schemas()? {
            remove_schema(&schema)?;
        }
        self.remove_root()
    }

    /// Like [`Pins::remove`] for the maps of this schema alone, unless a link stands that needs them.
    ///
    /// # Errors
    ///
    /// When a pin cannot be removed, or the root is not in bpffs.
    pub fn remove_unused(&self) -> Result<()> {
        let schema = self.maps();
        if self.schemas()?.contains(&schema) && entries(&schema.join(LINKS))?.is_empty() {
            remove_schema(&schema)?;
        }
        self.remove_root()
    }

    fn remove_root(&self) -> Result<()> {
        remove_directory(&self.root).map(drop)
    }

    /// The directories `v<number>` that are there.
    fn schemas(&self) -> Result<Vec<PathBuf>> {
        if !self.root.exists() {
            return Ok(Vec::new());
        }
        self.require_bpf_file_system()?;
        let mut schemas = entries(&self.root)?;
        schemas.retain(|path| is_schema(path) && path.symlink_metadata().is_ok_and(|found| found.is_dir()));
        Ok(schemas)
    }

    /// Waits for, then holds, the right to change block and allow lists, so that no block is written
    /// between a change of the allow list and the revision of the blocks.
    ///
    /// # Errors
    ///
    /// When the directory of the maps cannot be opened.
    pub fn lock(&self) -> Result<Flock<File>> {
        lock(&self.maps())
    }

    /// Waits for, then holds, the right to make the block table larger or to clear it up, which takes longer than
    /// other writers are to wait. Who holds [`Pins::lock`] does not ask for it.
    ///
    /// # Errors
    ///
    /// As [`Pins::lock`].
    pub fn lock_upkeep(&self) -> Result<Flock<File>> {
        lock(&self.maps().join(LINKS))
    }
}

fn lock(directory: &Path) -> Result<Flock<File>> {
    let file = File::open(directory).with_context(|| format!("cannot open {}", directory.display()))?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, error)| error)
        .with_context(|| format!("cannot lock {}", directory.display()))
}

/// bpffs takes no dots in names, and VLAN interfaces have one: `eth0.100` is pinned as `eth0%2E100`.
fn pin_name(interface: &str) -> String {
    interface.replace('%', "%25").replace('.', "%2E")
}

/// The interface that [`pin_name`] was made of.
fn interface_of(pin_name: &str) -> String {
    pin_name.replace("%2E", ".").replace("%25", "%")
}

fn is_schema(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.and_then(|name| name.strip_prefix('v')).is_some_and(|number| number.parse::<u32>().is_ok())
}

fn remove_schema(schema: &Path) -> Result<()> {
    let links = [LINKS, SENT].map(|name| schema.join(name));
    let mut pins: Vec<PathBuf> = maps::ALL.iter().map(|name| schema.join(name)).collect();
    for links in &links {
        pins.extend(entries(links)?);
    }
    for pin in pins {
        unless_missing(fs::remove_file(&pin)).with_context(|| format!("cannot remove {}", pin.display()))?;
    }
    for links in &links {
        remove_directory(links)?;
    }
    if !remove_directory(schema)? {
        tracing::warn!(directory = %schema.display(), "left: it holds pins that are not mitigator's");
    }
    Ok(())
}

/// Removes a directory that is empty; `false` when it is not, or something is mounted there.
fn remove_directory(directory: &Path) -> Result<bool> {
    match unless_missing(fs::remove_dir(directory)) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::ResourceBusy) => {
            Ok(false)
        }
        Err(error) => Err(error).with_context(|| format!("cannot remove {}", directory.display())),
    }
}

fn unless_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries
            .map(|entry| Ok(entry?.path()))
            .collect::<io::Result<_>>()
            .with_context(|| format!("cannot read {}", directory.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", directory.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_outside_of_bpffs_is_neither_used_nor_removed() {
        let home = tempfile::tempdir().unwrap();
        let precious = home.path().join(format!("v{SCHEMA}")).join(maps::BLOCK_TABLE);
        fs::create_dir(precious.parent().unwrap()).unwrap();
        fs::write(&precious, "letters").unwrap();
        for root in [home.path().to_owned(), home.path().join("missing")] {
            let pins = Pins::below(&root);
            let error = pins.create().unwrap_err().to_string();
            assert!(error.contains("is not on a BPF file system"), "{error}");
        }
        let pins = Pins::below(home.path());
        assert!(pins.remove().is_err() && pins.remove_unused().is_err() && pins.links().is_err());
        assert_eq!(fs::read_to_string(&precious).unwrap(), "letters");
        assert_eq!(Pins::below(&home.path().join("missing")).links().unwrap(), []);
    }

    #[test]
    fn every_interface_has_a_pin_name_of_its_own() {
        for (interface, expected) in [
            ("eth0", "eth0"),
            ("eth0.100", "eth0%2E100"),
            ("a.b.c", "a%2Eb%2Ec"),
            ("50%", "50%25"),
            ("eth0%2E100", "eth0%252E100"),
            ("%25.%2E", "%2525%2E%252E"),
        ] {
            assert_eq!(pin_name(interface), expected);
            assert_eq!(interface_of(expected), interface);
        }
    }

    #[test]
    fn schemas_are_v_and_a_number() {
        for (name, expected) in [("v1", true), ("v12", true), ("v", false), ("w1", false), ("v1x", false)] {
            assert_eq!(is_schema(&Path::new("/sys/fs/bpf").join(name)), expected, "{name}");
        }
    }
}
