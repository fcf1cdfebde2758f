//! Programs of Debian packages unpacked into the workspace instead of being installed: the system's
//! packages stay as they are, whatever the new ones conflict with (`busybox-static` with `busybox`), and a
//! newer release than the system's can be had (QEMU).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::archive::{Archive, Installed};
use crate::requirements::{self, Requirement};
use crate::{process, workspace};

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

/// Downloads what of `wanted` the system lacks, with all that it depends on, and unpacks it in place of
/// what was unpacked before.
pub fn install(wanted: &[Requirement]) -> Result<()> {
    let lacking = wanted.iter().filter(|wanted| requirements::find_in_system(wanted).is_none());
    let packages: Vec<&str> = lacking.map(|wanted| wanted.package).collect();
    requirements::require_apt(&packages)?;
    let spinner = process::spinner(&format!("unpacking {} into .tools", packages.join(" ")));
    let result = download(&packages);
    spinner.finish_and_clear();
    result
}

fn download(packages: &[&str]) -> Result<()> {
    let work = workspace::tools().join("debian.part");
    let downloads = work.join("packages");
    fs::create_dir_all(&downloads).with_context(|| format!("cannot make {}", downloads.display()))?;
    let archive = open_archive(&work.join("apt"))?;
    archive.download(&archive.packages_for(packages)?, &downloads)?;
    let unpacked = work.join("root");
    unpack_all(&downloads, &unpacked)?;
    fs::remove_dir_all(root()).ok();
    fs::rename(&unpacked, root()).with_context(|| format!("cannot make {}", root().display()))?;
    fs::remove_dir_all(&work).with_context(|| format!("cannot remove {}", work.display()))
}

/// This system's release with its backports, if it has any.
fn open_archive(directory: &Path) -> Result<Archive> {
    let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let codename = codename(&system).context("/etc/os-release has no VERSION_CODENAME")?;
    let open = |suites: &[&str]| Archive::open(directory, suites, Installed::Here);
    open(&[codename, &format!("{codename}-backports")]).or_else(|_| open(&[codename]))
}

fn codename(system: &str) -> Option<&str> {
    system.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).map(|name| name.trim_matches('"'))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_known_by_its_name() {
        assert_eq!(
            codename("NAME=\"Debian GNU/Linux\"\nVERSION_CODENAME=bookworm\nID=debian\n"),
            Some("bookworm")
        );
        assert_eq!(codename("ID=arch\n"), None);
    }
}
