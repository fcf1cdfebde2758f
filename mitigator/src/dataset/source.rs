//! `Source`: the CSV files of a directory as one table, read as often as it takes.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use anyhow::{Context, Result, ensure};
use csv::StringRecord;

use super::csv_rows::{Counted, CsvRows};

const ENDINGS: [&str; 3] = [".csv", ".csv.gz", ".csv.zst"];

/// CSV files with the same columns.
#[derive(Debug)]
pub struct Source {
    files: Vec<PathBuf>,
    heading: Heading,
}

/// The names of columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heading(Vec<String>);

impl Heading {
    /// In their order.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// Where the column of that name stands.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn place_of(&self, name: &str) -> Result<usize> {
        let place = self.0.iter().position(|column| column == name);
        place.with_context(|| format!("there is no column `{name}`; there are {}", self.0.join(", ")))
    }

    /// The column of labels: that of the given name, or else the only one that is called label in any case.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn label(&self, name: Option<&str>) -> Result<usize> {
        if let Some(name) = name {
            return self.place_of(name);
        }
        let is_label = |column: &String| column.eq_ignore_ascii_case("label");
        let found = self.0.iter().position(is_label);
        found.with_context(|| {
            format!("no column is called Label; `--label` names one of {}", self.0.join(", "))
        })
    }
}

impl Source {
    /// The CSV files of a directory, plain or compressed with gzip or zstd, in the order of their names; or one such file.
    ///
    /// # Errors
    ///
    /// When there are none, when one cannot be read, or when their columns are not the same.
    pub fn open(path: &Path) -> Result<Self> {
        let files = files_of(path)?;
        let mut heading: Option<Heading> = None;
        for file in &files {
            let own = read_heading(file)?;
            match &heading {
                None => heading = Some(own),
                Some(first) => ensure!(
                    *first == own,
                    "{} has other columns than {}; put them into directories of their own",
                    file.display(),
                    files[0].display()
                ),
            }
        }
        let heading = heading.with_context(|| {
            format!("{} has no CSV file; what ends in {} is read", path.display(), ENDINGS.join(", "))
        })?;
        Ok(Self { files, heading })
    }

    /// The columns of all files.
    #[must_use]
    pub const fn heading(&self) -> &Heading {
        &self.heading
    }

    /// Hands over every row, with a cell for each column; how many lines were the heading once more, as where files were
    /// put together, and are left out. What is not UTF-8 is replaced. `progress` is told the bytes that were read, compressed
    /// as they are.
    ///
    /// # Errors
    ///
    /// Those of `row`, and when a file cannot be read; the sentence names the file and the line.
    pub fn read(
        &self,
        mut progress: impl FnMut(u64),
        mut row: impl FnMut(&StringRecord) -> Result<()>,
    ) -> Result<u64> {
        let mut repeated_headings = 0;
        let mut done = 0;
        for file in &self.files {
            let cannot_read = |error| anyhow::anyhow!("cannot read {}: {error}", file.display());
            let (mut rows, position) = open(file)?;
            while let Some(record) = rows.read().map_err(cannot_read)? {
                row(&record)?;
                progress(done + position.load(Relaxed));
            }
            repeated_headings += rows.repeated_headings();
            done += position.load(Relaxed);
        }
        Ok(repeated_headings)
    }

    /// Bytes of all files, compressed as they are.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum()
    }
}

fn files_of(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let cannot_read = || format!("cannot read the directory {}", path.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(path).with_context(cannot_read)? {
        let file = entry.with_context(cannot_read)?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if file.is_file() && ENDINGS.iter().any(|ending| name.ends_with(ending)) {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// A second column of a name gets a number, as pandas does it: some published data sets have one.
fn read_heading(file: &Path) -> Result<Heading> {
    let mut names: Vec<String> = Vec::new();
    for name in open(file)?.0.heading() {
        let numbered = (1..).map(|number| format!("{name}.{number}"));
        let mut spellings = std::iter::once(name.clone()).chain(numbered);
        names.extend(spellings.find(|spelling| !names.contains(spelling)));
    }
    ensure!(!names.is_empty(), "{} is empty", file.display());
    Ok(Heading(names))
}

/// The rows of a file, and how many of its bytes were read so far.
fn open(file: &Path) -> Result<(CsvRows, Arc<AtomicU64>)> {
    let own = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
    let (counted, position) = Counted::new(own);
    let rows = CsvRows::new(BufReader::new(counted));
    Ok((rows.with_context(|| format!("cannot read {}", file.display()))?, position))
}
