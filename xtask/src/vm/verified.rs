//! Verified instructions of each program on each kernel, beside those of the last run.
//!
//! The last run is what `target/vm` remembers; before the first run of a clone it is the record in the repository, which
//! `cargo xtask vm --all --record` writes.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::workspace;

/// Instructions that the verifier walked through, by the program's name; `None`: the kernel does not tell.
pub type Counts = BTreeMap<String, Option<u32>>;

/// What one kernel said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub release: String,
    pub instructions: Counts,
}

/// By the name under which `--kernel` knows the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Runs(BTreeMap<String, Entry>);

/// One program on one kernel, beside the last run.
#[derive(Debug, PartialEq, Serialize)]
pub struct Comparison {
    pub program: String,
    /// `None`: the kernel does not tell.
    pub instructions: Option<u32>,
    /// Of the last run; `None`: it has none.
    pub before: Option<u32>,
    /// The kernel of the last run.
    pub release_before: Option<String>,
    /// By how much it is more than before, as a share of before.
    pub growth_share: Option<f64>,
}

impl Runs {
    /// The last run of each kernel, as far as there is any.
    pub fn last() -> Result<Self> {
        let mut runs = Self::read(&record())?;
        runs.0.extend(Self::read(&memory())?.0);
        Ok(runs)
    }

    pub fn insert(&mut self, kernel: &str, entry: Entry) {
        self.0.insert(kernel.to_owned(), entry);
    }

    /// Keeps the runs as the last ones.
    pub fn remember(&self) -> Result<()> {
        self.write(&memory())
    }

    /// Writes the runs into the repository, for clones to compare with; says where.
    pub fn record(&self) -> Result<PathBuf> {
        let file = record();
        self.write(&file)?;
        Ok(file)
    }

    /// What the kernel says, beside what it said in these runs.
    pub fn compare(&self, kernel: &str, counts: &Counts) -> Vec<Comparison> {
        let last = self.0.get(kernel);
        let comparisons = counts.iter().map(|(program, instructions)| {
            let before = last.and_then(|last| *last.instructions.get(program)?);
            let growth = |(count, before): (u32, u32)| f64::from(count) / f64::from(before) - 1.0;
            Comparison {
                program: program.clone(),
                instructions: *instructions,
                before,
                release_before: last.map(|last| last.release.clone()),
                growth_share: instructions.zip(before).map(growth),
            }
        });
        comparisons.collect()
    }

    fn read(file: &Path) -> Result<Self> {
        match fs::read(file) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("cannot understand {}", file.display())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    }

    fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        let directory = file.parent().context("a file in a directory")?;
        fs::create_dir_all(directory)
            .and_then(|()| fs::write(file, text))
            .with_context(|| format!("cannot write {}", file.display()))
    }
}

fn memory() -> PathBuf {
    workspace::target().join("vm/verified-instructions.json")
}

fn record() -> PathBuf {
    workspace::root().join("xtask/verified-instructions.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_program_stands_beside_its_last_run() {
        let entry = |count| Entry {
            release: "6.1.0-50".into(),
            instructions: [("mitigate".to_owned(), count)].into(),
        };
        let counts = |count| Counts::from([("mitigate".to_owned(), count)]);
        let mut runs = Runs::default();
        assert_eq!(runs.compare("6.1", &counts(Some(90)))[0].before, None, "no run before");
        runs.insert("6.1", entry(Some(100)));
        runs.insert("5.10", entry(None));
        for (kernel, count, before, growth_share) in [
            ("6.1", Some(150), Some(100), Some(0.5)),
            ("6.1", Some(100), Some(100), Some(0.0)),
            ("6.1", None, Some(100), None),
            ("5.10", Some(100), None, None),
            ("6.12", Some(100), None, None),
        ] {
            let [comparison] = &runs.compare(kernel, &counts(count))[..] else { panic!("one program") };
            assert_eq!((comparison.before, comparison.growth_share), (before, growth_share), "{kernel}");
        }
        let text = serde_json::to_string(&runs).unwrap();
        assert_eq!(serde_json::from_str::<Runs>(&text).unwrap(), runs);
    }
}
