//! Other suites of the Debian archive, asked through a private configuration of apt: the system's own
//! lists and packages stay as they are, signatures are checked as ever.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;

/// Depends on whatever kernel is current.
const META_PACKAGE: &str = "linux-image-cloud-amd64";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One suite.
pub struct Archive {
    suite: String,
    configuration: PathBuf,
}

impl Archive {
    /// Reads the suite's current lists from the mirror that this machine uses.
    pub fn open(directory: &Path, suite: &str) -> Result<Self> {
        let mirror = mirror(&read_sources()).context(
            "found no Debian mirror in /etc/apt/sources.list or /etc/apt/sources.list.d, \
             and the kernels come from the mirror that the machine uses",
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
        write("status", String::new())?;
        write("sources.list", format!("deb [arch=amd64 signed-by={KEYRING}] {mirror} {suite} main\n"))?;
        write("apt.conf", configuration(directory))?;
        let archive = Self { suite: suite.to_owned(), configuration: directory.join("apt.conf") };
        archive.update(&mirror)?;
        Ok(archive)
    }

    fn update(&self, mirror: &str) -> Result<()> {
        let Err(error) = process::output_of(self.apt("apt-get").args(["--quiet", "--quiet", "update"]))
        else {
            return Ok(());
        };
        let sentence = format!("{error:#}");
        if sentence.contains("NO_PUBKEY") || sentence.contains("not signed") {
            bail!(
                "this machine has no key for Debian's suite {}; a newer package debian-archive-keyring brings it\n{sentence}",
                self.suite
            );
        }
        bail!("the mirror {mirror} does not give the suite {}\n{sentence}", self.suite)
    }

    /// The packages of the kernel that the meta package currently stands for: the image and, where a
    /// release splits them off, its modules and their lists.
    pub fn kernel_packages(&self) -> Result<Vec<String>> {
        let mut found = BTreeSet::new();
        let mut waiting = vec![META_PACKAGE.to_owned()];
        while let Some(package) = waiting.pop() {
            let record =
                process::output_of(self.apt("apt-cache").args(["show", "--no-all-versions", &package]))
                    .with_context(|| format!("the suite {} has no package {package}", self.suite))?;
            waiting
                .extend(kernel_dependencies(&record).into_iter().filter(|name| found.insert(name.clone())));
        }
        if found.is_empty() {
            bail!("{META_PACKAGE} of the suite {} depends on no kernel", self.suite);
        }
        Ok(found.into_iter().collect())
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

fn configuration(directory: &Path) -> String {
    let directory = directory.display();
    format!(
        "Dir::State::lists \"{directory}/lists\";\n\
         Dir::State::status \"{directory}/status\";\n\
         Dir::Cache \"{directory}/cache\";\n\
         Dir::Etc::sourcelist \"{directory}/sources.list\";\n\
         Dir::Etc::sourceparts \"/dev/null\";\n\
         APT::Architecture \"amd64\";\n\
         APT::Architectures \"amd64\";\n\
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
