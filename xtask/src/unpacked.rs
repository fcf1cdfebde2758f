//! Programs of Debian packages unpacked into the workspace instead of being installed: the system's
//! packages stay as they are, whatever they conflict with (QEMU with a newer `qemu-utils`,
//! `busybox-static` with `busybox`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{process, requirements, workspace};

/// Where they are, laid out like the system.
fn root() -> PathBuf {
    workspace::tools().join("debian")
}

pub fn program_directories() -> [PathBuf; 4] {
    ["usr/bin", "usr/sbin", "bin", "sbin"].map(|directory| root().join(directory))
}

/// Directories of data files that an unpacked program looks for under `/`.
pub fn data_directories() -> [PathBuf; 2] {
    ["usr/share/qemu", "usr/share/seabios"].map(|directory| root().join(directory))
}

/// Calls a program, with the libraries unpacked beside it if it is an unpacked one.
pub fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    if program.starts_with(root()) {
        command.env("LD_LIBRARY_PATH", library_path());
    }
    command
}

fn library_path() -> String {
    let architecture = std::env::consts::ARCH;
    ["usr/lib", "lib"]
        .map(|directory| format!("{}/{directory}/{architecture}-linux-gnu", root().display()))
        .join(":")
}

/// Downloads `packages` and what they depend on and the system lacks, and unpacks all.
pub fn install(packages: &[&str]) -> Result<()> {
    requirements::require_apt(packages)?;
    requirements::update_lists()?;
    let plan = process::output_of(
        requirements::apt_get()
            .args(["install", "--print-uris", "--yes", "--no-install-recommends"])
            .args(packages),
    )?;
    let wanted = packages_of(&plan);
    if wanted.is_empty() {
        bail!(
            "{} is installed, but its programs are not where they belong; try `apt-get install --reinstall {}`",
            packages.join(" "),
            packages.join(" ")
        );
    }
    let downloads = root().join("packages");
    fs::create_dir_all(&downloads).with_context(|| format!("cannot make {}", downloads.display()))?;
    process::run_quietly(
        &format!("downloading {}", packages.join(" ")),
        requirements::apt_get()
            .args(["download", "--option", "APT::Sandbox::User=root"])
            .args(wanted)
            .current_dir(&downloads),
    )?;
    unpack_all(&downloads, &root())?;
    fs::remove_dir_all(&downloads).with_context(|| format!("cannot remove {}", downloads.display()))
}

/// Unpacks every package file of a directory.
pub fn unpack_all(packages: &Path, destination: &Path) -> Result<()> {
    for entry in fs::read_dir(packages).with_context(|| format!("cannot read {}", packages.display()))? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "deb") {
            process::output_of(Command::new("dpkg").arg("--extract").arg(&file).arg(destination))?;
        }
    }
    Ok(())
}

/// The package names in lines like `'http://.../cpio_2.13_amd64.deb' cpio_2.13_amd64.deb 248 SHA256:...`.
fn packages_of(plan: &str) -> Vec<&str> {
    let files = plan.lines().filter(|line| line.starts_with('\'')).filter_map(|line| line.split(' ').nth(1));
    files.filter_map(|file| Some(file.split_once('_')?.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_names_packages() {
        let plan = "Reading package lists...\nThe following NEW packages will be installed:\n  cpio seabios\n\
            'http://mirror.example/debian/pool/main/c/cpio/cpio_2.13%2bdfsg-7.1_amd64.deb' \
            cpio_2.13+dfsg-7.1_amd64.deb 248412 SHA256:00\n\
            'http://mirror.example/debian/pool/main/s/seabios_1.16.2-1_all.deb' seabios_1.16.2-1_all.deb 1 SHA256:00\n";
        assert_eq!(packages_of(plan), ["cpio", "seabios"]);
        assert!(packages_of("Reading package lists...\n").is_empty());
    }
}
