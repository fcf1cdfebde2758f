//! `cargo xtask build`: the binary, with the tools it takes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;

use crate::setup::{self, Part};
use crate::{process, workspace};

/// Installs what compiling takes, then builds the one binary `mitigator` as it is to be installed, and
/// prints where it is.
///
/// After that plain `cargo build --release` does the same.
#[derive(clap::Args)]
pub struct Arguments {
    /// Compile in a shorter time a slower binary, as plain `cargo build` does
    #[arg(long)]
    debug: bool,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    setup::prepare(&[Part::Build])?;
    process::run(workspace::cargo().args(arguments.for_cargo()))?;
    println!("{}", arguments.binary(&workspace::target()).display());
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    fn for_cargo(&self) -> Vec<&'static str> {
        let profile = (!self.debug).then_some("--release");
        ["build", "--bin", "mitigator"].into_iter().chain(profile).collect()
    }

    /// Where cargo puts it, with its build results in `target`.
    fn binary(&self, target: &Path) -> PathBuf {
        target.join(if self.debug { "debug" } else { "release" }).join("mitigator")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn builds_what_the_readme_installs_unless_told_otherwise() {
        for (line, cargo, binary) in [
            (&["build"][..], &["build", "--bin", "mitigator", "--release"][..], "target/release/mitigator"),
            (&["build", "--debug"], &["build", "--bin", "mitigator"], "target/debug/mitigator"),
        ] {
            let arguments = Line::parse_from(line).arguments;
            assert_eq!(arguments.for_cargo(), cargo, "{line:?}");
            assert_eq!(arguments.binary(Path::new("target")), Path::new(binary), "{line:?}");
        }
    }
}
