//! Suites of the Debian archive, asked through a private configuration of apt: the system's own lists and
//! packages stay as they are, signatures are checked as ever, root is not needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Some suites.
pub struct Archive {
    suites: Vec<String>,
    configuration: PathBuf,
}

/// Which packages count as installed already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Installed {
    /// None: for another system.
    Nothing,
    /// Those of this system.
    Here,
}

impl Archive {
    /// Reads the current lists from the mirror that this machine uses. Of several suites the last one that
    /// has a package is asked for it.
    pub fn open(directory: &Path, suites: &[&str], installed: Installed) -> Result<Self> {
        let mirror = mirror(&read_sources()).context(
            "found no Debian mirror in /etc/apt/sources.list or /etc/apt/sources.list.d, \
             and the packages for the virtual machines come from the mirror that the machine uses",
        )?;
        if !Path::new(KEYRING).exists() {
            bail!("{KEYRING} is missing; install the package debian-archive-keyring");
        }
        for part in ["lists/partial", "cache/archives/partial"] {
            let part = directory.join(part);
            fs::create_dir_all(&part).with_context(|| format!("cannot make {}", part.display()))?;
        }
        let write = |name: &str, text: String| {
            let file = directory.join(name);
            fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
        };
        let source = |suite| format!("deb [arch=amd64 signed-by={KEYRING}] {mirror} {suite} main\n");
        write("sources.list", suites.iter().map(source).collect())?;
        write("status", String::new())?;
        write("apt.conf", configuration(directory, suites.last().copied().unwrap_or_default(), installed))?;
        let archive = Self {
            suites: suites.iter().map(ToString::to_string).collect(),
            configuration: directory.join("apt.conf"),
        };
        archive.update(&mirror)?;
        Ok(archive)
    }

    fn name(&self) -> String {
        format!("Debian's {}", self.suites.join(" with "))
    }

    fn update(&self, mirror: &str) -> Result<()> {
        let Err(error) = process::output_of(self.apt("apt-get").args(["--quiet", "--quiet", "update"]))
        else {
            return Ok(());
        };
        let sentence = format!("{error:#}");
        if sentence.contains("NO_PUBKEY") || sentence.contains("not signed") {
            bail!(
                "this machine has no key for {}; a newer package debian-archive-keyring brings it\n{sentence}",
                self.name()
            );
        }
        bail!("the mirror {mirror} does not give {}\n{sentence}", self.name())
    }

    /// What the suite says of a package.
    pub fn record(&self, package: &str) -> Result<String> {
        process::output_of(self.apt("apt-cache").args(["show", "--no-all-versions", package]))
            .with_context(|| format!("{} has no package {package}", self.name()))
    }

    /// `packages` and what they depend on and is not installed.
    pub fn packages_for(&self, packages: &[&str]) -> Result<Vec<String>> {
        let mut command = self.apt("apt-get");
        command.args(["install", "--print-uris", "--yes", "--no-install-recommends"]).args(packages);
        Ok(packages_of(&process::output_of(&mut command)?))
    }

    /// Into `directory`, checked against the signed lists.
    pub fn download(&self, packages: &[String], directory: &Path) -> Result<()> {
        process::output_of(self.apt("apt-get").arg("download").args(packages).current_dir(directory))?;
        Ok(())
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("--config-file").arg(&self.configuration);
        command
    }
}

fn configuration(directory: &Path, preferred_suite: &str, installed: Installed) -> String {
    let directory = directory.display();
    let status = match installed {
        Installed::Nothing => format!("Dir::State::status \"{directory}/status\";\n"),
        Installed::Here => String::new(),
    };
    format!(
        "Dir::State::lists \"{directory}/lists\";\n{status}\
         Dir::Cache \"{directory}/cache\";\n\
         Dir::Etc::sourcelist \"{directory}/sources.list\";\n\
         Dir::Etc::sourceparts \"/dev/null\";\n\
         APT::Architecture \"amd64\";\n\
         APT::Architectures \"amd64\";\n\
         APT::Default-Release \"{preferred_suite}\";\n\
         APT::Sandbox::User \"root\";\n\
         APT::Update::Error-Mode \"any\";\n\
         Acquire::Languages \"none\";\n"
    )
}

/// The text of all source files, one-line and deb822 alike.
fn read_sources() -> String {
    let parts = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten();
    let mut files: Vec<PathBuf> = parts.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort_unstable();
    files.insert(0, PathBuf::from("/etc/apt/sources.list"));
    files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect::<Vec<_>>().join("\n")
}

/// The first address that ends like a Debian archive, as `deb ADDRESS suite` or `URIs: ADDRESS` has it.
/// Archives of security updates and of other makers end otherwise.
fn mirror(sources: &str) -> Option<String> {
    let lines =
        sources.lines().map(str::trim).filter(|line| line.starts_with("deb ") || line.starts_with("URIs:"));
    let mut words =
        lines.flat_map(str::split_whitespace).filter(|word| word.contains("://") || word.contains(":/"));
    words.find(|word| word.trim_end_matches('/').ends_with("/debian")).map(str::to_owned)
}

/// The package names in lines like `'http://.../cpio_2.13_amd64.deb' cpio_2.13_amd64.deb 248 SHA256:...`.
fn packages_of(plan: &str) -> Vec<String> {
    let files = plan.lines().filter(|line| line.starts_with('\'')).filter_map(|line| line.split(' ').nth(1));
    files.filter_map(|file| Some(file.split_once('_')?.0.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_found_in_either_notation() {
        for (description, sources, expected) in [
            (
                "deb822, after another maker's",
                "Types: deb\nURIs: https://packages.example/apt\nSuites: any\n\n\
                 Types: deb\n# snapshot: http://snapshot.example/archive/debian/2025\nURIs: http://mirror.example/debian\n\
                 Suites: bookworm bookworm-updates\n",
                Some("http://mirror.example/debian"),
            ),
            (
                "one line, with options",
                "# deb http://old.example/debian buster main\n\
                 deb [arch=amd64 signed-by=/x.gpg] https://mirror.example/debian/ bookworm main\n",
                Some("https://mirror.example/debian/"),
            ),
            (
                "sources and security updates are something else",
                "deb-src http://mirror.example/debian bookworm main\n\
                 deb http://security.example/debian-security bookworm-security main\n",
                None,
            ),
            ("another system", "deb http://archive.example/ubuntu noble main\n", None),
        ] {
            assert_eq!(mirror(sources).as_deref(), expected, "{description}");
        }
    }

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
