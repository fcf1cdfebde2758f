//! Flows in files: CSV, plain or compressed, and Parquet, under any of the spellings; with labels, or without.

use std::collections::BTreeMap;
use std::fs::File;
use std::hash::Hasher;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use csv::{ByteRecord, ReaderBuilder, StringRecord};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::record::reader::RowIter;
use rustc_hash::FxHasher;
use sha2::{Digest, Sha256};

use super::category::Category;
use super::quantities::Positions;
use super::table::FeatureTable;
use crate::capture::compression::uncompressed;

/// How a Parquet file begins.
const PARQUET: &[u8] = b"PAR1";
/// As every data set calls the column of labels, in one case or another.
const LABEL: &str = "label";

/// The flows of a file, as they are read.
pub struct FlowRows {
    rows: Rows,
    positions: Positions,
    label: Option<usize>,
    name: String,
}

enum Rows {
    /// With the heading, which may stand among the rows once more.
    Csv(Box<csv::Reader<Box<dyn Read + Send>>>, ByteRecord),
    Parquet(RowIter<'static>),
}

/// Some flows, and the label of each; `None` when the file has no column of labels.
#[derive(Debug, Default)]
pub struct Batch {
    /// Their quantities.
    pub table: FeatureTable,
    /// One for each row, or `None`.
    pub labels: Option<Vec<String>>,
}

impl std::fmt::Debug for FlowRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FlowRows").field("name", &self.name).finish_non_exhaustive()
    }
}

impl FlowRows {
    /// Opens a file, recognised by content; `-` is standard input, which has to be CSV.
    ///
    /// # Errors
    ///
    /// When it cannot be read, is empty, or lacks features, by name.
    pub fn open(path: &Path) -> Result<Self> {
        if path.as_os_str() == "-" {
            return Self::from_csv(io::stdin(), "standard input");
        }
        let name = path.display().to_string();
        let cannot_read = || format!("cannot read {name}");
        let mut file = File::open(path).with_context(cannot_read)?;
        let mut start = Vec::new();
        // A pipe cannot be rewound, and Parquet cannot come from one.
        if !file.metadata().with_context(cannot_read)?.is_file() {
            return Self::from_csv(file, &name);
        }
        file.by_ref().take(PARQUET.len() as u64).read_to_end(&mut start).with_context(cannot_read)?;
        file.rewind().with_context(cannot_read)?;
        if start == PARQUET { Self::from_parquet(file, &name) } else { Self::from_csv(file, &name) }
    }

    /// Of CSV with a heading, plain or compressed with zstd or gzip.
    ///
    /// # Errors
    ///
    /// As [`FlowRows::open`].
    pub fn from_csv(reader: impl Read + Send + 'static, name: &str) -> Result<Self> {
        let cannot_read = || format!("cannot read {name}");
        let plain = uncompressed(reader).with_context(cannot_read)?;
        let mut reader = ReaderBuilder::new().trim(csv::Trim::All).from_reader(plain);
        let first = reader.byte_headers().with_context(cannot_read)?.clone();
        let heading: Vec<String> =
            first.iter().map(|column| String::from_utf8_lossy(column).into_owned()).collect();
        ensure!(!heading.is_empty(), "{name} is empty; flows are CSV with a heading, or Parquet");
        Self::with_heading(Rows::Csv(Box::new(reader), first), &heading, name)
    }

    fn from_parquet(file: File, name: &str) -> Result<Self> {
        let reader = SerializedFileReader::new(file).with_context(|| format!("cannot read {name}"))?;
        let schema = reader.metadata().file_metadata().schema();
        let heading: Vec<String> = schema.get_fields().iter().map(|field| field.name().to_owned()).collect();
        Self::with_heading(Rows::Parquet(reader.into_iter()), &heading, name)
    }

    fn with_heading(rows: Rows, heading: &[String], name: &str) -> Result<Self> {
        let positions = Positions::find(heading).with_context(|| format!("cannot read flows from {name}"))?;
        let label = heading.iter().position(|column| column.eq_ignore_ascii_case(LABEL));
        Ok(Self { rows, positions, label, name: name.to_owned() })
    }

    /// The next flows, at most `most`, and how it ended: `None` when there may be more, or else why there are no more,
    /// with file and line.
    pub fn read(&mut self, most: usize) -> (Batch, Option<Result<()>>) {
        let mut batch = Batch { table: FeatureTable::default(), labels: self.label.map(|_| Vec::new()) };
        while batch.table.rows() < most {
            match self.read_into(&mut batch) {
                Ok(true) => {}
                Ok(false) => return (batch, Some(Ok(()))),
                Err(error) => {
                    return (batch, Some(Err(error.context(format!("cannot read {}", self.name)))));
                }
            }
        }
        (batch, None)
    }

    /// `false` at the end.
    fn read_into(&mut self, batch: &mut Batch) -> Result<bool> {
        let places = self.positions.places();
        let label = match &mut self.rows {
            Rows::Csv(reader, heading) => {
                let mut record = ByteRecord::new();
                // As where files were put together.
                let is_there = loop {
                    let is_there = reader.read_byte_record(&mut record)?;
                    if !is_there || record != *heading {
                        break is_there;
                    }
                };
                if !is_there {
                    return Ok(false);
                }
                let record = StringRecord::from_byte_record_lossy(record);
                let cell = |place: &usize| record.get(*place).map_or(f64::NAN, number);
                batch.table.push(places.iter().map(cell));
                self.label.and_then(|label| record.get(label)).map(str::to_owned)
            }
            Rows::Parquet(rows) => {
                let Some(row) = rows.next() else { return Ok(false) };
                let row = row?;
                let cells: Vec<&Field> = row.get_column_iter().map(|(_, field)| field).collect();
                batch.table.push(places.iter().map(|place| number_of(cells[*place])));
                self.label.map(|label| text_of(cells[label]))
            }
        };
        if let Some(labels) = &mut batch.labels {
            labels.push(label.unwrap_or_default());
        }
        Ok(true)
    }
}

/// What a cell says; NaN when that is no number.
fn number(cell: &str) -> f64 {
    cell.parse().unwrap_or(f64::NAN)
}

#[expect(clippy::cast_precision_loss, reason = "sums of bytes and durations are below 2^53")]
fn number_of(field: &Field) -> f64 {
    match field {
        Field::Bool(is_set) => f64::from(u8::from(*is_set)),
        Field::Byte(number) => f64::from(*number),
        Field::Short(number) => f64::from(*number),
        Field::Int(number) => f64::from(*number),
        Field::Long(number) => *number as f64,
        Field::UByte(number) => f64::from(*number),
        Field::UShort(number) => f64::from(*number),
        Field::UInt(number) => f64::from(*number),
        Field::ULong(number) => *number as f64,
        Field::Float(number) => f64::from(*number),
        Field::Double(number) => *number,
        Field::Str(text) => number(text),
        _ => f64::NAN,
    }
}

fn text_of(field: &Field) -> String {
    match field {
        Field::Str(text) => text.clone(),
        Field::Null => String::new(),
        other => other.to_string(),
    }
}

/// Labelled flows, all of them in memory.
#[derive(Clone, Debug)]
pub struct Labelled {
    /// Their quantities.
    pub table: FeatureTable,
    /// What the files call each.
    pub labels: Vec<String>,
    /// What that means.
    pub categories: Vec<Category>,
    /// SHA-256 of the files as they lie there, one behind the other, in hexadecimal digits.
    pub digest: String,
}

impl Labelled {
    /// Reads files to their ends, one behind the other; they may be spelled differently.
    ///
    /// # Errors
    ///
    /// As [`FlowRows::open`], and when a row cannot be read, when there are no flows, or when a label is missing or not known.
    pub fn read(files: &[PathBuf]) -> Result<Self> {
        let mut all = Self {
            table: FeatureTable::default(),
            labels: Vec::new(),
            categories: Vec::new(),
            digest: String::new(),
        };
        let mut digest = Sha256::new();
        for file in files {
            ensure!(
                file.as_os_str() != "-",
                "labelled flows are read more than once; name a file instead of `-`"
            );
            all.append(FlowRows::open(file)?)?;
            digest.update(std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?);
        }
        all.digest = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(all)
    }

    fn append(&mut self, mut rows: FlowRows) -> Result<()> {
        let (batch, end) = rows.read(usize::MAX);
        end.unwrap_or(Ok(()))?;
        ensure!(batch.table.rows() > 0, "{} has no flows", rows.name);
        let labels = batch.labels.with_context(|| {
            format!("{} has no column `Label`; to learn and to evaluate takes one", rows.name)
        })?;
        for (number, label) in labels.iter().enumerate() {
            let Some(category) = Category::of_label(label) else {
                bail!(
                    "{}, flow {}: `{label}` is no label of the data sets; docs/flow-classifier.md has the table of them",
                    rows.name,
                    number + 1
                );
            };
            self.categories.push(category);
        }
        self.table.append(&batch.table);
        self.labels.extend(labels);
        Ok(())
    }

    /// The flows with these numbers.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        Self {
            table: self.table.select(rows),
            labels: rows.iter().map(|row| self.labels[*row].clone()).collect(),
            categories: rows.iter().map(|row| self.categories[*row]).collect(),
            digest: self.digest.clone(),
        }
    }

    /// Parts the flows: about `share` of each label are kept from the rest. Flows with equal quantities stay together, so
    /// that nothing is judged that was learned by heart.
    #[must_use]
    pub fn part(&self, share: f64, seed: u64) -> (Self, Self) {
        let mut groups: BTreeMap<(&str, u64), Vec<usize>> = BTreeMap::new();
        for (row, label) in self.labels.iter().enumerate() {
            groups.entry((label, self.key(row, seed))).or_default().push(row);
        }
        let mut rows: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for ((label, _), group) in &groups {
            rows.entry(label).or_default().0 += group.len();
        }
        let (mut rest, mut kept) = (Vec::new(), Vec::new());
        for ((label, _), group) in groups {
            let (all, taken) = rows.entry(label).or_default();
            if as_f64(*taken + group.len()) <= share * as_f64(*all) {
                *taken += group.len();
                kept.extend(group);
            } else {
                rest.extend(group);
            }
        }
        rest.sort_unstable();
        kept.sort_unstable();
        (self.select(&rest), self.select(&kept))
    }

    /// Random, equal for flows that are.
    fn key(&self, row: usize, seed: u64) -> u64 {
        let mut hasher = FxHasher::default();
        hasher.write_u64(seed);
        self.table.row(row).iter().for_each(|value| hasher.write_u64(value.to_bits()));
        // The multiplication spreads what FxHasher leaves in the upper bits.
        hasher.finish().wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32)
    }
}

#[expect(clippy::cast_precision_loss, reason = "numbers of flows")]
fn as_f64(count: usize) -> f64 {
    count as f64
}
