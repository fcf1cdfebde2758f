//! The programs that building, testing and the virtual machines call, the Debian packages that hold
//! them, and how those are installed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{process, unpacked};

/// A program of the system.
pub struct Requirement {
    pub program: &'static str,
    /// The Debian package that holds it.
    pub package: &'static str,
    pub purpose: &'static str,
}

/// For the tests and the demo.
pub const FOR_TESTS: [Requirement; 7] = [
    Requirement { program: "ip", package: "iproute2", purpose: "network namespaces and veth pairs" },
    Requirement { program: "nginx", package: "nginx-light", purpose: "the victim of the demo" },
    Requirement { program: "aiosmtpd", package: "python3-aiosmtpd", purpose: "the mail server of a test" },
    Requirement { program: "openssl", package: "openssl", purpose: "its certificate" },
    Requirement { program: "curl", package: "curl", purpose: "a client of `mitigator serve`" },
    Requirement { program: "python3", package: "python3", purpose: "the example of such a client" },
    Requirement { program: "pip3", package: "python3-pip", purpose: "installs schemathesis, into .tools" },
];

/// The machine.
pub const QEMU: Requirement =
    Requirement { program: "qemu-system-x86_64", package: "qemu-system-x86", purpose: "the machine" };

/// With QEMU 7.2 every fifth boot of a 6.12 kernel ends in an exception that real machines never raise;
/// with 10.0 none of fifty did.
const OLDEST_QEMU: u32 = 10;

/// For booting other kernels. What is missing is unpacked into the workspace; see [`crate::unpacked`].
pub const FOR_VIRTUAL_MACHINES: [Requirement; 5] = [
    QEMU,
    Requirement { program: "busybox", package: "busybox-static", purpose: "the guest's shell" },
    Requirement { program: "cpio", package: "cpio", purpose: "the guest's file system" },
    Requirement { program: "xz", package: "xz-utils", purpose: "compressed kernel modules" },
    Requirement { program: "zstd", package: "zstd", purpose: "compressed kernel modules" },
];

/// Where programs are looked for beside PATH, which for a plain user lacks `sbin`.
const SYSTEM_DIRECTORIES: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// The first file of that name on PATH, in the system's own directories or unpacked in the workspace.
pub fn find_program(name: &str) -> Option<PathBuf> {
    system_directories()
        .chain(unpacked::program_directories())
        .find_map(|directory| executable(&directory, name))
}

/// The first program that meets the requirement.
pub fn find(wanted: &Requirement) -> Option<PathBuf> {
    find_in(system_directories().chain(unpacked::program_directories()), wanted)
}

/// A call of the first program of that name, wherever it is.
///
/// # Errors
/// When there is none; the sentence says how to get it.
pub fn command(program: &str) -> Result<Command> {
    Ok(unpacked::command(&required(program)?))
}

/// As [`find_program`], when nothing goes on without it.
///
/// # Errors
/// When there is none; the sentence says how to get it.
pub fn required(program: &str) -> Result<PathBuf> {
    find_program(program)
        .with_context(|| format!("the program `{program}` is missing; run `cargo xtask setup`"))
}

/// As [`find`], with the system alone.
pub fn find_in_system(wanted: &Requirement) -> Option<PathBuf> {
    find_in(system_directories(), wanted)
}

fn find_in(mut directories: impl Iterator<Item = PathBuf>, wanted: &Requirement) -> Option<PathBuf> {
    directories.find_map(|directory| {
        let file = executable(&directory, wanted.program)?;
        (wanted.program != QEMU.program || is_good_qemu(&file)).then_some(file)
    })
}

fn system_directories() -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<PathBuf> = std::env::split_paths(&path).collect();
    on_path.into_iter().chain(SYSTEM_DIRECTORIES.map(PathBuf::from))
}

fn executable(directory: &Path, name: &str) -> Option<PathBuf> {
    let file = directory.join(name);
    let metadata = fs::metadata(&file).ok()?;
    (metadata.is_file() && metadata.permissions().mode() & 0o111 != 0).then_some(file)
}

fn is_good_qemu(file: &Path) -> bool {
    let says = process::output_of(unpacked::command(file).arg("--version"));
    says.is_ok_and(|says| qemu_major(&says).is_some_and(|major| major >= OLDEST_QEMU))
}

/// Of `QEMU emulator version 10.0.2 (Debian ...)`.
fn qemu_major(says: &str) -> Option<u32> {
    says.split_once("version ")?.1.split('.').next()?.parse().ok()
}

/// The command by which a person would install `packages`.
pub fn install_command(packages: &[&str]) -> String {
    format!("apt-get update && apt-get install --no-install-recommends {}", packages.join(" "))
}

/// Installs Debian packages into the system, without removing any and without starting the services they bring.
///
/// # Errors
/// Without apt-get or root the sentence says what to do by hand.
pub fn install(packages: &[&str]) -> Result<()> {
    require_apt(packages)?;
    if !is_root()? {
        bail!("installing needs root; run this, then try again: sudo sh -c '{}'", install_command(packages));
    }
    let _services_stay_down = ServiceStartsHeldBack::begin()?;
    process::run_quietly("reading the package lists", apt_get().arg("update"))?;
    process::run_quietly(
        &format!("installing {}", packages.join(" ")),
        // Several packages conflict with others that somebody may want to keep.
        apt_get().args(["install", "--yes", "--no-install-recommends", "--no-remove"]).args(packages),
    )
}

/// # Errors
/// Elsewhere than on Debian the sentence says what to install by hand.
pub fn require_apt(packages: &[&str]) -> Result<()> {
    if find_program("apt-get").is_none() {
        bail!(
            "this is not a Debian system, so nothing can be installed from here; \
             install by hand what Debian has in these packages, then try again: {}",
            packages.join(" ")
        );
    }
    Ok(())
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

pub fn is_root() -> Result<bool> {
    Ok(process::output_of(Command::new("id").arg("-u"))?.trim() == "0")
}

/// While it lives, newly installed packages do not start their services: the tests run their own
/// nginx, and a web server on port 80 is not what `setup` was asked for.
struct ServiceStartsHeldBack(Option<PathBuf>);

impl ServiceStartsHeldBack {
    fn begin() -> Result<Self> {
        let policy = Path::new("/usr/sbin/policy-rc.d");
        if policy.exists() {
            return Ok(Self(None));
        }
        // Should this process die before it removes the file, the file removes itself.
        let script = format!(
            "#!/bin/sh\n[ -d /proc/{} ] && exit 101\nrm -f {}\nexit 0\n",
            std::process::id(),
            policy.display()
        );
        fs::write(policy, script)
            .and_then(|()| fs::set_permissions(policy, fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("cannot write {}", policy.display()))?;
        Ok(Self(Some(policy.to_owned())))
    }
}

impl Drop for ServiceStartsHeldBack {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.0.as_ref().map(fs::remove_file) {
            eprintln!("cannot remove /usr/sbin/policy-rc.d, remove it by hand: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_programs_and_not_their_absence() {
        assert!(find_program("sh").is_some());
        assert!(find_program("no-program-has-this-name").is_none());
    }

    #[test]
    fn qemu_is_judged_by_its_major_version() {
        assert_eq!(qemu_major("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\n"), Some(10));
        assert_eq!(qemu_major("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\n"), Some(7));
        assert_eq!(qemu_major("segmentation fault"), None);
    }

    #[test]
    fn a_person_can_copy_the_command() {
        assert_eq!(
            install_command(&["cpio", "zstd"]),
            "apt-get update && apt-get install --no-install-recommends cpio zstd"
        );
    }
}
