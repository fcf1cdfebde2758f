//! The machine and the version that figures were measured with.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

/// What figures were measured with: this version, on this machine.
#[derive(Clone, Debug, serde::Serialize)]
pub struct MeasuredWith {
    version: &'static str,
    commit: Option<String>,
    processor: String,
    kernel: String,
}

impl MeasuredWith {
    /// As it is here.
    #[must_use]
    pub fn this() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            commit: commit(),
            processor: processor(),
            kernel: kernel(),
        }
    }
}

/// As reports begin.
impl fmt::Display for MeasuredWith {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, commit, processor, kernel } = self;
        let commit = commit.as_ref().map_or_else(String::new, |commit| format!(" ({commit})"));
        write!(formatter, "mitigator {version}{commit}, {processor}, Linux {kernel}")
    }
}

/// Release of the running kernel; empty when it does not say.
#[must_use]
pub fn kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

/// Model and number of the processors.
#[must_use]
pub fn processor() -> String {
    processor_in(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default())
}

/// The commit that this was built from, and whether anything but documents was changed since; `None` outside
/// a repository.
#[must_use]
pub fn commit() -> Option<String> {
    let hash = git(&["rev-parse", "--short", "HEAD"])?;
    let changes = git(&["status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)docs"])?;
    Some(if changes.is_empty() { hash } else { format!("{hash} with changes") })
}

fn git(arguments: &[&str]) -> Option<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("git").current_dir(directory).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Model and number of the processors in the text of /proc/cpuinfo.
fn processor_in(text: &str) -> String {
    let value = |line: &str| line.split_once(':').map(|(_, value)| value.trim().to_owned());
    let number = text.lines().filter(|line| line.starts_with("processor")).count();
    let model = text.lines().find(|line| line.starts_with("model name")).and_then(value);
    format!("{number} x {}", model.unwrap_or_else(|| std::env::consts::ARCH.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_processor() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nprocessor\t: 1\nmodel name\t: Some CPU @ 2 GHz\n";
        assert_eq!(processor_in(text), "2 x Some CPU @ 2 GHz");
        assert_eq!(processor_in("processor : 0\n"), format!("1 x {}", std::env::consts::ARCH));
    }
}
