//! A run beside the last one: its figures are kept in a file of their own below target/, from which the next run reads
//! them.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::measured::Figure;
use crate::table;

/// The figures of a run, as they are kept.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Run {
    /// Version, machine and kernel.
    pub(crate) with: String,
    pub(crate) figures: Vec<Figure>,
}

/// A figure, in the last run and in this one.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Change<'run> {
    name: &'run str,
    unit: &'run str,
    before: f64,
    after: f64,
    change_percent: f64,
    /// Whether the quartiles of the two do not overlap.
    is_beyond_noise: bool,
}

impl Run {
    /// Of the figures that there are: what was not measured is not a number.
    pub(crate) fn new(with: String, figures: &[Figure]) -> Self {
        let is_there = |figure: &&Figure| figure.median.is_finite();
        Self { with, figures: figures.iter().filter(is_there).cloned().collect() }
    }

    fn file(directory: &Path, part: &str) -> PathBuf {
        directory.join(part).with_extension("json")
    }

    /// The last run of that part; `None` when there was none.
    pub(crate) fn read(directory: &Path, part: &str) -> Result<Option<Self>> {
        let file = Self::file(directory, part);
        match fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text)
                .with_context(|| format!("{} is not what this bench writes; remove it", file.display()))
                .map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    }

    /// Keeps it for the next one.
    pub(crate) fn write(&self, directory: &Path, part: &str) -> Result<()> {
        let file = Self::file(directory, part);
        fs::create_dir_all(directory)
            .and_then(|()| fs::write(&file, serde_json::to_string_pretty(self)?))
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// What both have measured.
    pub(crate) fn compared_with<'run>(&'run self, before: &Self) -> Vec<Change<'run>> {
        let change = |after: &'run Figure| {
            let is_same = |figure: &&Figure| figure.name == after.name && figure.unit == after.unit;
            let before = before.figures.iter().find(is_same)?;
            Some(Change {
                name: &after.name,
                unit: &after.unit,
                before: before.median,
                after: after.median,
                change_percent: (after.median / before.median - 1.0) * 100.0,
                is_beyond_noise: after.lower > before.upper || after.upper < before.lower,
            })
        };
        self.figures.iter().filter_map(change).collect()
    }
}

/// For people.
pub(crate) fn text(before: &Run, changes: &[Change<'_>]) -> String {
    let number = |value: f64| if value.abs() < 10.0 { format!("{value:.2}") } else { format!("{value:.0}") };
    let rows = changes.iter().map(|change| {
        [
            change.name.to_owned(),
            change.unit.to_owned(),
            number(change.before),
            number(change.after),
            format!("{:+.1} %{}", change.change_percent, if change.is_beyond_noise { " !" } else { "  " }),
        ]
    });
    if changes.is_empty() {
        return format!("Before: {}\n\nNothing was measured both times.\n", before.with);
    }
    let table = table::columns(["figure", "unit", "before", "after", "change"], rows, &[0, 1]);
    format!(
        "Before: {}\n\n{table}\n!: beyond the noise, as the quartiles of the two do not overlap.\n",
        before.with
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(lower: f64, median: f64, upper: f64) -> Run {
        let figure = Figure { name: "ours".to_owned(), unit: "ns".to_owned(), lower, median, upper };
        Run::new("a machine".to_owned(), &[figure])
    }

    #[test]
    fn noise_is_where_quartiles_overlap() {
        let before = run(9.0, 10.0, 11.0);
        for (description, after, expected) in [
            ("slower, within the noise", run(10.5, 12.0, 13.0), false),
            ("slower", run(11.5, 12.0, 13.0), true),
            ("faster, within the noise", run(7.0, 8.0, 9.5), false),
            ("faster", run(7.0, 8.0, 8.5), true),
        ] {
            let changes = after.compared_with(&before);
            assert_eq!(changes[0].is_beyond_noise, expected, "{description}");
            assert_eq!(
                text(&before, &changes).contains(" % !") || text(&before, &changes).contains("% !"),
                expected
            );
        }
    }

    #[test]
    fn what_only_one_of_them_measured_is_left_out() {
        let other = Run { figures: Vec::new(), ..run(1.0, 1.0, 1.0) };
        assert_eq!(run(1.0, 2.0, 3.0).compared_with(&other), []);
    }

    #[test]
    fn a_run_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let results = directory.path().join("bench");
        assert_eq!(Run::read(&results, "e2e").unwrap(), None);
        run(1.0, 2.0, 3.0).write(&results, "e2e").unwrap();
        assert_eq!(Run::read(&results, "e2e").unwrap(), Some(run(1.0, 2.0, 3.0)));
        assert_eq!(Run::read(&results, "feeds").unwrap(), None);
    }
}
