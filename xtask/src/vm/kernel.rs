//! The kernels that are tried, and their files: downloaded once, unpacked, kept under `target/vm`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::archive::{Archive, Installed};
use crate::{process, unpacked, workspace};

/// Depends on whatever kernel is current.
const META_PACKAGE: &str = "linux-image-cloud-amd64";

/// A kernel series, by the Debian suite that has it, or the kernel at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kernel {
    /// This machine's, without a virtual machine, and of the suites what the verifier says
    Host,
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
            Self::Host => "host",
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::Newest => "newest",
        }
    }

    fn suite(self) -> Option<&'static str> {
        match self {
            Self::Host => None,
            Self::V6_1 => Some("bookworm"),
            Self::V6_12 => Some("trixie"),
            Self::Newest => Some("sid"),
        }
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
        let suite = kernel.suite().context("this machine's kernel is not a package")?;
        let spinner = process::spinner(&format!("downloading kernel {} of Debian {suite}", kernel.name()));
        let result = download(suite, &directory, &root);
        spinner.finish_and_clear();
        result?;
    }
    files_in(&directory, &root)
}

fn download(suite: &str, directory: &Path, root: &Path) -> Result<()> {
    let archive = Archive::open(&directory.join("apt"), &[suite], Installed::Nothing)?;
    let packages = directory.join("packages");
    // Unpacked under another name first: `root` is there only when it is complete.
    let unpacked_so_far = directory.join("root.part");
    for leftover in [&packages, &unpacked_so_far, &root.to_owned()] {
        fs::remove_dir_all(leftover).ok();
    }
    fs::create_dir_all(&packages).with_context(|| format!("cannot make {}", packages.display()))?;
    archive.download(&kernel_packages(&archive)?, &packages)?;
    unpacked::unpack_all(&packages, &unpacked_so_far)?;
    fs::remove_dir_all(&packages)?;
    fs::rename(&unpacked_so_far, root).with_context(|| format!("cannot make {}", root.display()))
}

/// The packages of the kernel that the meta package currently stands for: the image and, where a release
/// splits them off, its modules and their lists.
fn kernel_packages(archive: &Archive) -> Result<Vec<String>> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![META_PACKAGE.to_owned()];
    while let Some(package) = waiting.pop() {
        let dependencies = kernel_dependencies(&archive.record(&package)?);
        waiting.extend(dependencies.into_iter().filter(|name| found.insert(name.clone())));
    }
    if found.is_empty() {
        bail!("{META_PACKAGE} depends on no kernel");
    }
    Ok(found.into_iter().collect())
}

/// Of a package record those dependencies that are parts of a cloud kernel.
fn kernel_dependencies(record: &str) -> Vec<String> {
    let names = record
        .lines()
        .filter_map(|line| line.strip_prefix("Depends: "))
        .flat_map(|line| line.split([',', '|']));
    let names = names.filter_map(|dependency| dependency.split_whitespace().next());
    names
        .filter(|name| {
            let kernel = ["linux-image-", "linux-modules-", "linux-binary-", "linux-base-"];
            kernel.iter().any(|prefix| name.starts_with(prefix)) && name.ends_with("-cloud-amd64")
        })
        .map(str::to_owned)
        .collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_meta_package_leads_to_the_kernel() {
        for (record, expected) in [
            (
                "Package: linux-image-cloud-amd64\nDepends: linux-image-6.1.0-50-cloud-amd64 (= 6.1.176-1)\n",
                &["linux-image-6.1.0-50-cloud-amd64"][..],
            ),
            (
                "Depends: linux-base-7.2.13-cloud-amd64 (= 7.2.13-1), linux-image-7.2.13-cloud-amd64 (= 7.2.13-1)\n",
                &["linux-base-7.2.13-cloud-amd64", "linux-image-7.2.13-cloud-amd64"],
            ),
            (
                "Depends: linux-modules-7.2.13-cloud-amd64 (= 7), linux-binary-7.2.13-cloud-amd64 | linux-binary-unsigned, kmod\n",
                &["linux-modules-7.2.13-cloud-amd64", "linux-binary-7.2.13-cloud-amd64"],
            ),
            ("Depends: kmod, linux-base (>= 4.3~), initramfs-tools | linux-initramfs-tool\n", &[]),
        ] {
            assert_eq!(kernel_dependencies(record), expected);
        }
    }
}
