//! Where figures come from: the command, the version, the machine.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

/// What somebody needs to get the same figures.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Origin {
    pub(crate) command: String,
    pub(crate) version: &'static str,
    /// `None` outside a repository.
    pub(crate) commit: Option<String>,
    pub(crate) processor: String,
    pub(crate) kernel: String,
    pub(crate) captures: usize,
}

impl Origin {
    pub(crate) fn find(has_data_argument: bool, captures: usize) -> Self {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            command: format!("cargo xtask evaluate{}", if has_data_argument { " --data DIR" } else { "" }),
            version: env!("CARGO_PKG_VERSION"),
            commit: commit(),
            processor: processor(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
            kernel: kernel.trim().to_owned(),
            captures,
        }
    }
}

fn commit() -> Option<String> {
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
fn processor(text: &str) -> String {
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
        assert_eq!(processor(text), "2 x Some CPU @ 2 GHz");
        assert_eq!(processor("processor : 0\n"), format!("1 x {}", std::env::consts::ARCH));
    }
}
