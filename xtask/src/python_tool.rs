//! Programs that pip installs from PyPI into the workspace's tools, each in one chosen version.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::{process, requirements, workspace};

/// A program whose package has the same name.
pub struct PythonTool {
    pub name: &'static str,
    pub version: &'static str,
}

/// Thinks of requests by the description of a server, and sends them.
pub const SCHEMATHESIS: PythonTool = PythonTool { name: "schemathesis", version: "4.32.5" };

impl PythonTool {
    fn directory(&self) -> PathBuf {
        workspace::tools().join("python").join(self.name)
    }

    fn program(&self) -> PathBuf {
        self.directory().join("bin").join(self.name)
    }

    /// Whether it is there in the chosen version.
    pub fn is_installed(&self) -> bool {
        let mut command = Command::new(self.program());
        let says = process::output_of(command.arg("--version").env("PYTHONPATH", self.directory()));
        says.is_ok_and(|says| says.split_whitespace().any(|word| word == self.version))
    }

    /// Installs it with all that it takes, apart from the system's own packages.
    pub fn install(&self) -> Result<()> {
        process::run_quietly(
            &format!("installing {} {}", self.name, self.version),
            requirements::command("pip3")?
                .args(["install", "--quiet", "--disable-pip-version-check", "--upgrade", "--target"])
                .arg(self.directory())
                .arg(format!("{}=={}", self.name, self.version)),
        )
    }
}
