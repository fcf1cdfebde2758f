//! The kernels that are tried, and their files: downloaded once, unpacked, kept under `target/vm`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;

use super::archive::Archive;
use crate::{process, unpacked, workspace};

/// A kernel series, by the Debian suite that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kernel {
    /// Of Debian 11; best effort
    #[value(name = "5.10")]
    V5_10,
    /// Of Debian 12
    #[value(name = "6.1")]
    V6_1,
    /// Of Debian 13
    #[value(name = "6.12")]
    V6_12,
    /// Of Debian unstable
    Newest,
}

impl Kernel {
    pub fn name(self) -> &'static str {
        match self {
            Self::V5_10 => "5.10",
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::Newest => "newest",
        }
    }

    fn suite(self) -> &'static str {
        match self {
            Self::V5_10 => "bullseye",
            Self::V6_1 => "bookworm",
            Self::V6_12 => "trixie",
            Self::Newest => "sid",
        }
    }

    /// Older than the kernels that are promised to work.
    pub fn is_best_effort(self) -> bool {
        self == Self::V5_10
    }
}

/// A kernel, unpacked.
pub struct KernelFiles {
    /// Everything that belongs to this kernel's machine.
    pub directory: PathBuf,
    pub image: PathBuf,
    /// The directory that holds `kernel/drivers/...`.
    pub modules: PathBuf,
}

/// Finds the files of an earlier call, or downloads the suite's current kernel.
pub fn obtain(kernel: Kernel, refresh: bool) -> Result<KernelFiles> {
    let directory = workspace::target().join("vm").join(kernel.name());
    let root = directory.join("root");
    if refresh || !root.exists() {
        let spinner =
            process::spinner(&format!("downloading kernel {} of Debian {}", kernel.name(), kernel.suite()));
        let result = download(kernel, &directory, &root);
        spinner.finish_and_clear();
        result?;
    }
    files_in(&directory, &root)
}

fn download(kernel: Kernel, directory: &Path, root: &Path) -> Result<()> {
    let archive = Archive::open(&directory.join("apt"), kernel.suite())?;
    let packages = directory.join("packages");
    // Unpacked under another name first: `root` is there only when it is complete.
    let unpacked_so_far = directory.join("root.part");
    for leftover in [&packages, &unpacked_so_far, &root.to_owned()] {
        fs::remove_dir_all(leftover).ok();
    }
    fs::create_dir_all(&packages).with_context(|| format!("cannot make {}", packages.display()))?;
    archive.download(&archive.kernel_packages()?, &packages)?;
    unpacked::unpack_all(&packages, &unpacked_so_far)?;
    fs::remove_dir_all(&packages)?;
    fs::rename(&unpacked_so_far, root).with_context(|| format!("cannot make {}", root.display()))
}

fn files_in(directory: &Path, root: &Path) -> Result<KernelFiles> {
    let modules = ["lib/modules", "usr/lib/modules"].map(|path| root.join(path));
    let modules = modules.iter().find(|path| path.exists());
    let modules = only_entry(modules.context("the kernel package holds no modules")?, "")?;
    // Where newer packages keep it; older ones have `boot/vmlinuz-RELEASE`.
    let image = modules.join("vmlinuz");
    let image = if image.exists() { image } else { only_entry(&root.join("boot"), "vmlinuz-")? };
    Ok(KernelFiles { directory: directory.to_owned(), image, modules })
}

fn only_entry(directory: &Path, prefix: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let found =
        paths.find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)));
    found.with_context(|| format!("{} holds no `{prefix}*`", directory.display()))
}
