//! `cargo xtask bench`: what a packet and a tick cost.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::setup::Part;
use crate::{demo, workspace};

/// Measures what mitigator costs: a packet in the kernel (`dataplane`, the default), a tick in user space (`pipeline`),
/// the writing of blocks (`feeds`).
///
/// `dataplane` needs root, measures xdp-filter, too, where it is installed (Debian's package xdp-tools), and writes
/// docs/performance-dataplane.md. `pipeline` needs no rights and writes docs/performance.md; criterion's samples go below
/// target/. `feeds` needs root, measures nftables and ipset, too, where they are installed, and writes
/// docs/performance-feeds.md. Each takes some minutes. All arguments go to the program `mitigator-bench`, whose own help `-- --help` shows.
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
        let docs = workspace::root().join("docs");
        match words.first().map(String::as_str) {
            Some("pipeline") => {
                add_default(&mut words, "--output", &docs.join("performance.md"))?;
                add_default(&mut words, "--criterion", &workspace::target().join("criterion"))?;
            }
            Some("feeds") => {
                add_default(&mut words, "--output", &docs.join("performance-feeds.md"))?;
            }
            // A part of the cases is no page.
            Some("dataplane") | None if !words.iter().any(|word| word.starts_with("--entries")) => {
                add_default(&mut words, "--output", &docs.join("performance-dataplane.md"))?;
            }
            // Help, or something that the program itself will complain of.
            Some(_) | None => {}
        }
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
    fn each_part_writes_its_page_unless_told_otherwise() {
        let spelled = |words: &[&str]| {
            Arguments { passed_on: words.iter().map(|word| (*word).to_owned()).collect() }.spelled().unwrap()
        };
        for words in [&[][..], &["dataplane", "--json"]] {
            let default = spelled(words);
            assert_eq!(default[..words.len()], *words);
            assert_eq!(default[words.len()], "--output");
            assert!(default[words.len() + 1].ends_with("docs/performance-dataplane.md"), "{default:?}");
        }
        assert_eq!(spelled(&["--help"]), ["--help"]);
        let default = spelled(&["pipeline", "--json"]);
        assert_eq!(default[..3], ["pipeline", "--json", "--output"]);
        assert!(
            default[3].ends_with("docs/performance.md") && default[5].ends_with("/criterion"),
            "{default:?}"
        );
        let told = ["pipeline", "--output=a.md", "--criterion", "samples"];
        assert_eq!(spelled(&told), told);
    }
}
