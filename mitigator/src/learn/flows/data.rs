//! Flows in files: CSV, plain or compressed, and Parquet, under any of the spellings; with labels, or without.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::hash::Hasher;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::record::reader::RowIter;
use rustc_hash::FxHasher;
use sha2::{Digest, Sha256};

use super::category::Category;
use super::quantities::{self, Positions};
use super::table::FeatureTable;
use crate::dataset::CsvRows;

/// How a Parquet file begins.
const PARQUET: &[u8] = b"PAR1";
/// As every data set calls the column of labels, in one case or another.
const LABEL: &str = "label";
/// Characters of a cell that are told.
const TOLD: usize = 40;

/// The flows of a file, as they are read.
pub struct FlowRows {
    rows: Rows,
    positions: Positions,
    label: Option<usize>,
    name: String,
    flows: u64,
    /// What is known of the cells of each quantity. Shape (quantities).
    cells: Vec<Cells>,
}

enum Rows {
    Csv(Box<CsvRows>),
    Parquet(RowIter<'static>),
}

/// Of one quantity.
#[derive(Clone, Debug, Default)]
struct Cells {
    has_number: bool,
    /// The first that is neither a number nor empty.
    text: Option<Text>,
}

/// A cell of text where a number should be: the first of its column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    file: String,
    column: &'static str,
    flow: u64,
    cell: String,
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, flow {}: `{}` is `{}`, which is no number",
            self.file, self.flow, self.column, self.cell
        )
    }
}

/// Some flows, and the label of each; `None` when the file has no column of labels.
#[derive(Debug, Default)]
pub struct Batch {
    /// Their quantities.
    pub table: FeatureTable,
    /// One for each row, or `None`.
    pub labels: Option<Vec<String>>,
    /// Columns in which text stood for the first time.
    pub texts: Vec<Text>,
}

impl fmt::Debug for FlowRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
        Self::open_digested(path, &SharedDigest::default())
    }

    /// As [`FlowRows::open`]; `digest` is told all bytes as they are read.
    fn open_digested(path: &Path, digest: &SharedDigest) -> Result<Self> {
        if path.as_os_str() == "-" {
            return Self::from_csv(digest.of(io::stdin()), "standard input");
        }
        let name = path.display().to_string();
        let cannot_read = || format!("cannot read {name}");
        let mut file = File::open(path).with_context(cannot_read)?;
        let mut start = Vec::new();
        // A pipe cannot be rewound, and Parquet cannot come from one.
        if !file.metadata().with_context(cannot_read)?.is_file() {
            return Self::from_csv(digest.of(file), &name);
        }
        file.by_ref().take(PARQUET.len() as u64).read_to_end(&mut start).with_context(cannot_read)?;
        file.rewind().with_context(cannot_read)?;
        if start != PARQUET {
            return Self::from_csv(digest.of(file), &name);
        }
        // Parquet is not read from its begin to its end.
        io::copy(&mut digest.of(&file), &mut io::sink()).with_context(cannot_read)?;
        file.rewind().with_context(cannot_read)?;
        Self::from_parquet(file, &name)
    }

    /// Of CSV with a heading, plain or compressed with zstd or gzip.
    ///
    /// # Errors
    ///
    /// As [`FlowRows::open`].
    pub fn from_csv(reader: impl Read + Send + 'static, name: &str) -> Result<Self> {
        let rows = CsvRows::new(reader).with_context(|| format!("cannot read {name}"))?;
        let heading = rows.heading();
        ensure!(!heading.is_empty(), "{name} is empty; flows are CSV with a heading, or Parquet");
        Self::with_heading(Rows::Csv(Box::new(rows)), &heading, name)
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
        let cells = vec![Cells::default(); quantities::names().len()];
        Ok(Self { rows, positions, label, name: name.to_owned(), flows: 0, cells })
    }

    /// The next flows, at most `most`, and how it ended: `None` when there may be more, or else why there are no more,
    /// with file and line.
    pub fn read(&mut self, most: usize) -> (Batch, Option<Result<()>>) {
        self.read_while(|_, batch| batch.table.rows() < most)
    }

    /// As [`FlowRows::read`], but of a stream that pauses no more than what is there, and at least one.
    pub fn read_at_hand(&mut self, most: usize) -> (Batch, Option<Result<()>>) {
        self.read_while(|rows, batch| {
            let read = batch.table.rows();
            read == 0 || (read < most && rows.is_at_hand())
        })
    }

    fn is_at_hand(&self) -> bool {
        match &self.rows {
            Rows::Csv(rows) => rows.is_at_hand(),
            Rows::Parquet(_) => true,
        }
    }

    fn read_while(&mut self, goes_on: impl Fn(&Self, &Batch) -> bool) -> (Batch, Option<Result<()>>) {
        let mut batch = Batch { labels: self.label.map(|_| Vec::new()), ..Batch::default() };
        while goes_on(self, &batch) {
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
        let (values, label): (Vec<Result<f64, String>>, _) = match &mut self.rows {
            Rows::Csv(rows) => {
                let Some(record) = rows.read()? else { return Ok(false) };
                let cell = |place: &usize| number(record.get(*place).unwrap_or_default());
                let label = self.label.and_then(|label| record.get(label)).map(str::to_owned);
                (places.iter().map(cell).collect(), label)
            }
            Rows::Parquet(rows) => {
                let Some(row) = rows.next() else { return Ok(false) };
                let row = row?;
                let cells: Vec<&Field> = row.get_column_iter().map(|(_, field)| field).collect();
                let label = self.label.map(|label| text_of(cells[label]));
                (places.iter().map(|place| number_of(cells[*place])).collect(), label)
            }
        };
        self.flows += 1;
        for (place, value) in values.iter().enumerate() {
            let cells = &mut self.cells[place];
            match value {
                Ok(number) => cells.has_number |= number.is_finite(),
                Err(cell) if cells.text.is_none() => {
                    let text = Text {
                        file: self.name.clone(),
                        column: quantities::names()[place],
                        flow: self.flows,
                        cell: cell.chars().take(TOLD).collect(),
                    };
                    batch.texts.push(text.clone());
                    cells.text = Some(text);
                }
                Err(_) => {}
            }
        }
        batch.table.push(values.into_iter().map(|value| value.unwrap_or(f64::NAN)));
        if let Some(labels) = &mut batch.labels {
            labels.push(label.unwrap_or_default());
        }
        Ok(true)
    }

    /// A column that is nothing but text is another one than its heading says.
    fn has_numbers(&self) -> Result<()> {
        let texts =
            self.cells.iter().filter(|cells| !cells.has_number).filter_map(|cells| cells.text.as_ref());
        let columns: Vec<String> = texts.map(|text| format!("`{}` (`{}`)", text.column, text.cell)).collect();
        ensure!(
            columns.is_empty(),
            "{}: no flow has a number as {}; these columns have to be numbers, and may be empty",
            self.name,
            columns.join(", ")
        );
        Ok(())
    }
}

/// SHA-256 of what several readers read, one behind the other.
#[derive(Clone, Default)]
struct SharedDigest(Arc<Mutex<Sha256>>);

impl SharedDigest {
    fn of<R>(&self, inner: R) -> Digested<R> {
        Digested { inner, digest: self.clone() }
    }

    fn update(&self, bytes: &[u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).update(bytes);
    }

    /// In hexadecimal digits.
    fn finish(&self) -> String {
        let digest = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

struct Digested<R> {
    inner: R,
    digest: SharedDigest,
}

impl<R: Read> Read for Digested<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.digest.update(&buffer[..read]);
        Ok(read)
    }
}

/// What a cell says: NaN when it is empty; text that is no number as it is.
fn number(cell: &str) -> Result<f64, String> {
    if cell.is_empty() { Ok(f64::NAN) } else { cell.parse().map_err(|_| cell.to_owned()) }
}

#[expect(clippy::cast_precision_loss, reason = "sums of bytes and durations are below 2^53")]
fn number_of(field: &Field) -> Result<f64, String> {
    Ok(match field {
        Field::Null => f64::NAN,
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
        Field::Str(text) => return number(text.trim()),
        other => return Err(other.to_string()),
    })
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
    /// Columns with cells of text, which are missing.
    pub texts: Vec<Text>,
}

impl Labelled {
    /// Reads files to their ends, one behind the other, each once; they may be spelled differently.
    ///
    /// # Errors
    ///
    /// As [`FlowRows::open`], and when a row cannot be read, when there are no flows, when a label is missing or not known, or
    /// when a feature is text in all flows of a file.
    pub fn read(files: &[PathBuf]) -> Result<Self> {
        let mut all = Self {
            table: FeatureTable::default(),
            labels: Vec::new(),
            categories: Vec::new(),
            digest: String::new(),
            texts: Vec::new(),
        };
        let digest = SharedDigest::default();
        for file in files {
            all.append(FlowRows::open_digested(file, &digest)?)?;
        }
        all.digest = digest.finish();
        Ok(all)
    }

    fn append(&mut self, mut rows: FlowRows) -> Result<()> {
        let (batch, end) = rows.read(usize::MAX);
        end.unwrap_or(Ok(()))?;
        ensure!(batch.table.rows() > 0, "{} has no flows", rows.name);
        rows.has_numbers()?;
        self.texts.extend(batch.texts);
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
            texts: self.texts.clone(),
        }
    }

    /// Parts the flows: about `share` of each label are kept from the rest. Flows with equal quantities stay together,
    /// whatever their labels, so that nothing is judged that was learned by heart.
    #[must_use]
    pub fn part(&self, share: f64, seed: u64) -> (Self, Self) {
        let mut equal: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for row in 0..self.labels.len() {
            equal.entry(self.key(row, seed)).or_default().push(row);
        }
        // Of several labels, equal flows count as the first of the alphabet.
        let mut groups: BTreeMap<(&str, u64), Vec<usize>> = BTreeMap::new();
        let mut rows: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for (key, group) in equal {
            let Some(label) = group.iter().map(|row| self.labels[*row].as_str()).min() else { continue };
            rows.entry(label).or_default().0 += group.len();
            groups.insert((label, key), group);
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// CSV of flows: what stands in the first quantity, and the label.
    fn csv(flows: &[(&str, &str)]) -> String {
        let rest = vec!["1"; quantities::names().len() - 1].join(",");
        let lines = flows.iter().map(|(first, label)| format!("{first},{rest},{label}\n"));
        format!("{},Label\n{}", quantities::names().join(","), lines.collect::<String>())
    }

    fn labelled(flows: &[(&str, &str)]) -> Result<Labelled> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), csv(flows)).unwrap();
        Labelled::read(&[file.path().to_owned()])
    }

    #[test]
    fn equal_flows_stay_together_whatever_their_labels() {
        let numbers: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        let twice = numbers.iter().flat_map(|number| [(number.as_str(), "BENIGN"), (number, "DoS")]);
        let all = labelled(&twice.collect::<Vec<_>>()).unwrap();
        for seed in 0..5 {
            let (rest, kept) = all.part(0.2, seed);
            let first = |of: &Labelled| -> BTreeSet<u64> {
                (0..of.table.rows()).map(|row| of.table.row(row)[0].to_bits()).collect()
            };
            assert!(first(&rest).is_disjoint(&first(&kept)), "seed {seed}");
            assert_eq!((rest.labels.len(), kept.labels.len()), (160, 40), "seed {seed}");
        }
    }

    #[test]
    fn text_is_told_and_a_column_of_nothing_else_is_refused() {
        let flows = labelled(&[("6", "DoS"), ("tcp", "BENIGN"), ("udp", "DoS"), ("", "DoS")]).unwrap();
        let told: Vec<String> = flows.texts.iter().map(Text::to_string).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].ends_with("flow 2: `Protocol` is `tcp`, which is no number"), "{told:?}");
        assert!(flows.table.row(1)[0].is_nan());
        let error = labelled(&[("tcp", "DoS"), ("NaN", "BENIGN"), ("", "DoS")]).unwrap_err().to_string();
        assert!(error.contains("no flow has a number as `Protocol` (`tcp`)"), "{error}");
        let missing = labelled(&[("Infinity", "DoS"), ("NaN", "BENIGN"), ("", "DoS")]).unwrap();
        assert_eq!(missing.texts, []);
    }

    #[test]
    fn the_digest_is_that_of_the_bytes_compressed_as_they_are() {
        let plain = csv(&[("6", "DoS")]).into_bytes();
        for bytes in [plain.clone(), zstd::encode_all(&plain[..], 1).unwrap()] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &bytes).unwrap();
            let path = file.path().to_owned();
            let twice = bytes.repeat(2);
            let expected: String = Sha256::digest(twice).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(Labelled::read(&[path.clone(), path]).unwrap().digest, expected);
        }
    }
}
