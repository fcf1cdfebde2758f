//! Where the workspace, its tools and its build results are, and how to call its cargo.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The directory of the root manifest.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a member of the workspace")
}

/// Tools that `setup` builds, and its note on the BPF toolchain; not under version control.
pub fn tools() -> PathBuf {
    root().join(".tools")
}

/// Cargo's build results.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |path| root().join(path))
}

/// The cargo that runs this program, in the workspace.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}
