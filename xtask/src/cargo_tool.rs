//! Programs that are compiled from their crates into the workspace's tools, each in one chosen version.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::{process, workspace};

/// A program whose crate has the same name.
pub struct CargoTool {
    pub name: &'static str,
    pub version: &'static str,
}

/// Links for the BPF target. This release speaks LLVM 22.
pub const BPF_LINKER: CargoTool = CargoTool { name: "bpf-linker", version: "0.10.3" };

/// Checks dependencies.
pub const CARGO_DENY: CargoTool = CargoTool { name: "cargo-deny", version: "0.20.2" };

impl CargoTool {
    /// Where it is, or will be.
    pub fn program(&self) -> PathBuf {
        workspace::tools().join("bin").join(self.name)
    }

    /// Whether it is there in the chosen version.
    pub fn is_installed(&self) -> bool {
        let says = process::output_of(Command::new(self.program()).arg("--version"));
        says.is_ok_and(|says| says.trim() == format!("{} {}", self.name, self.version))
    }

    /// Takes one to four minutes.
    pub fn install(&self) -> Result<()> {
        // Kept when it fails, so that a second try goes on where the first ended.
        let build_results = workspace::target().join("tools");
        process::run_quietly(
            &format!("compiling {} {}, a few minutes", self.name, self.version),
            workspace::cargo()
                .args(["install", "--quiet", "--locked", "--force", self.name])
                .args(["--version", &format!("={}", self.version), "--root"])
                .arg(workspace::tools())
                .env("CARGO_TARGET_DIR", &build_results),
        )?;
        fs::remove_dir_all(build_results).ok();
        Ok(())
    }
}
