//! `Source`: the CSV files of a directory as one table, read as often as it takes.

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use csv::{ReaderBuilder, StringRecord};

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

    /// Hands over every row, with a cell for each column.
    ///
    /// # Errors
    ///
    /// Those of `row`, and when a file cannot be read; the sentence names the file and the line.
    pub fn read(&self, mut row: impl FnMut(&StringRecord) -> Result<()>) -> Result<()> {
        for file in &self.files {
            let mut reader = ReaderBuilder::new().trim(csv::Trim::All).from_reader(uncompressed(file)?);
            let mut record = StringRecord::new();
            loop {
                match reader.read_record(&mut record) {
                    Ok(false) => break,
                    Ok(true) => row(&record)?,
                    Err(error) => bail!("cannot read {}: {error}", file.display()),
                }
            }
        }
        Ok(())
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

fn read_heading(file: &Path) -> Result<Heading> {
    let mut reader = ReaderBuilder::new().trim(csv::Trim::All).from_reader(uncompressed(file)?);
    let headers = reader.headers().with_context(|| format!("cannot read {}", file.display()))?;
    let names: Vec<String> = headers.iter().map(str::to_owned).collect();
    ensure!(!names.is_empty(), "{} is empty", file.display());
    let mut sorted: Vec<&String> = names.iter().collect();
    sorted.sort();
    if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        bail!("{} has two columns called `{}`", file.display(), twice[0]);
    }
    Ok(Heading(names))
}

fn uncompressed(file: &Path) -> Result<Box<dyn Read>> {
    let cannot_open = || format!("cannot open {}", file.display());
    let plain = BufReader::new(File::open(file).with_context(cannot_open)?);
    Ok(match file.extension().and_then(|ending| ending.to_str()) {
        Some("zst") => Box::new(zstd::Decoder::with_buffer(plain).with_context(cannot_open)?),
        Some("gz") => Box::new(flate2::bufread::MultiGzDecoder::new(plain)),
        _ => Box::new(plain),
    })
}
