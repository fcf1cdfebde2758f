//! `cargo xtask bench`: what a packet and a tick cost.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::setup::Part;
use crate::{demo, workspace};

/// Measures what mitigator costs: a packet in the kernel (`dataplane`), the same from end to end (`e2e`), a tick in user
/// space (`pipeline`), the writing of blocks (`feeds`), the agent as a whole (`agent`), a line of an access log (`logs`),
/// flows of a capture (`flows`); without a word, all of them.
///
/// `--output docs/performance.md` writes the page of what was measured, or its section, and plots beside it; `--compare`
/// shows what changed since the last run, whose figures are kept below target/bench. All but `pipeline`, `logs` and `flows`
/// need root.
/// Peers are measured where they are installed (Debian's packages xdp-tools, nftables, ipset, iptables, goaccess); XDP-Firewall with
/// `--xdp-firewall DIR`, its source folder (needs clang, libbpf-dev, libxdp-dev). Each takes some minutes. All
/// arguments go to the program `mitigator-bench`, whose own help `-- --help` shows.
#[derive(clap::Args)]
pub struct Arguments {
    /// Passed on to `mitigator-bench`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    passed_on: Vec<String>,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    demo::run_program("mitigator-bench", &[Part::Build], &arguments.spelled()?)
}

impl Arguments {
    /// As `mitigator-bench` takes them.
    fn spelled(&self) -> Result<Vec<String>> {
        let mut words = self.passed_on.clone();
        add_default(&mut words, "--results", &workspace::target().join("bench"))?;
        Ok(words)
    }
}

/// Adds an option that was not given.
fn add_default(words: &mut Vec<String>, option: &str, path: &Path) -> Result<()> {
    let is_given = |word: &String| {
        word.strip_prefix(option).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    };
    if !words.iter().any(is_given) {
        let path =
            path.to_str().with_context(|| format!("the path for `{option}` is not valid UTF-8; give it"))?;
        words.extend([option.to_owned(), path.to_owned()]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_kept_below_target_unless_told_otherwise() {
        let spelled = |words: &[&str]| {
            Arguments { passed_on: words.iter().map(|word| (*word).to_owned()).collect() }.spelled().unwrap()
        };
        for words in [&[][..], &["e2e", "--json"], &["--output", "docs/performance.md"]] {
            let default = spelled(words);
            assert_eq!(default[..words.len()], *words);
            assert_eq!(default[words.len()], "--results");
            assert!(default[words.len() + 1].ends_with("/bench"), "{default:?}");
        }
        for told in [&["pipeline", "--results=here"][..], &["--results", "here"]] {
            assert_eq!(spelled(told), told);
        }
    }
}
