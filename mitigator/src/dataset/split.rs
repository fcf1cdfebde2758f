//! `write_split`: which rows are for training, for validation and for the test, drawn at random within each label.
//!
//! Rows that differ in nothing but their label stay together: otherwise a model would be tested on what it has learned
//! by heart. The seed and the rows decide, not their order.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::hash::Hasher;
use std::io::BufWriter;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use csv::StringRecord;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};
use rustc_hash::FxHasher;
use serde::Serialize;

use super::source::Source;
use crate::tabular::{self, Cell, Column, Format, Kind, RowWriter};

/// One of the three parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What a model learns from.
    Train,
    /// What its settings are chosen by.
    Validation,
    /// What it is judged by in the end.
    Test,
}

impl Part {
    /// In the order of their files.
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// Its file, without the ending.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// How much of the rows each part is to have, in the order of [`Part::ALL`]; only their ratios count.
pub type Shares = [u32; 3];

/// How to split.
#[derive(Clone, Debug)]
pub struct SplitSettings {
    /// Of each part; not all 0.
    pub shares: Shares,
    /// Of the draw.
    pub seed: u64,
    /// The column of labels; `None` for the one that is called so.
    pub label: Option<String>,
    /// Columns that do not make rows different, as a running number.
    pub ignored: Vec<String>,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Split {
    /// Rows of each part, in the order of [`Part::ALL`], by label.
    pub labels: BTreeMap<String, [u64; 3]>,
    /// Rows that another one is equal to, but for the label.
    pub repeated_rows: u64,
    /// Rows without a label, which are in no part.
    pub unlabelled_rows: u64,
    /// Lines that are the heading once more, which are in no part.
    pub repeated_headings: u64,
    /// Cells that are written as missing, because they were not a finite number in a column of numbers.
    pub missing_cells: u64,
}

/// Rows that are alike but for their label.
struct Group {
    /// The first of its labels, in the order of the alphabet; as a number, by which it is had for less memory.
    label: u32,
    rows: u64,
    part: Part,
}

/// What is found out about a column, cell by cell.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Content {
    Nothing,
    Integer,
    Real,
    Text,
}

impl Content {
    fn of(cell: &str) -> Self {
        if cell.is_empty() {
            Self::Nothing
        } else if cell.parse::<i64>().is_ok() {
            Self::Integer
        } else if cell.parse::<f64>().is_ok() {
            // As the data sets have them, also `NaN` and `Infinity`.
            Self::Real
        } else {
            Self::Text
        }
    }

    const fn kind(self) -> Kind {
        match self {
            Self::Integer => Kind::Integer,
            Self::Real => Kind::Real,
            Self::Nothing | Self::Text => Kind::Text,
        }
    }
}

/// Splits the rows of `source` into three Parquet files in a new directory, which is there when all is written, or not.
///
/// # Errors
///
/// When something cannot be read or written, when there are no rows, and when the directory is there and not empty.
pub fn write_split(
    source: &Source,
    settings: &SplitSettings,
    directory: &Path,
    mut progress: impl FnMut(u64),
) -> Result<Split> {
    let label = source.heading().label(settings.label.as_deref())?;
    let mut is_ignored = vec![false; source.heading().names().len()];
    is_ignored[label] = true;
    for name in &settings.ignored {
        is_ignored[source.heading().place_of(name)?] = true;
    }
    ensure!(settings.shares.iter().any(|share| *share > 0), "one of the parts has to have a share");

    // What a cell is worth shows when the whole column is known.
    let mut contents = vec![Content::Nothing; is_ignored.len()];
    let mut labels: BTreeMap<String, u32> = BTreeMap::new();
    let mut unlabelled_rows = 0;
    let repeated_headings = source.read(&mut progress, |row| {
        let own = row.get(label).unwrap_or_default();
        if own.is_empty() {
            unlabelled_rows += 1;
            return Ok(());
        }
        for (content, cell) in contents.iter_mut().zip(row) {
            *content = (*content).max(Content::of(cell));
        }
        if !labels.contains_key(own) {
            labels.insert(own.to_owned(), 0);
        }
        Ok(())
    })?;
    ensure!(!labels.is_empty(), "there are no rows to split");
    // A label is a name, also where it is a number.
    contents[label] = Content::Text;
    labels.values_mut().zip(0..).for_each(|(label, number)| *label = number);
    let key_of = |row: &StringRecord| key_of(row, &contents, &is_ignored);
    let mut groups: HashMap<u64, Group> = HashMap::new();
    source.read(
        |bytes| progress(source.bytes() + bytes),
        |row| {
            let Some(own) = labels.get(row.get(label).unwrap_or_default()) else { return Ok(()) };
            let group =
                groups.entry(key_of(row)).or_insert(Group { label: *own, rows: 0, part: Part::Train });
            group.rows += 1;
            group.label = group.label.min(*own);
            Ok(())
        },
    )?;
    draw(&mut groups, settings);

    let names = source.heading().names();
    let columns: Vec<Column> = names
        .iter()
        .zip(&contents)
        .map(|(name, content)| Column::new(name.clone(), content.kind()))
        .collect();
    let beside = beside(directory)?;
    let part_of = |row: &StringRecord| groups.get(&key_of(row)).map_or(Part::Train, |group| group.part);
    let written =
        write_parts(source, &columns, &beside, label, part_of, |bytes| progress(2 * source.bytes() + bytes));
    let finished = written.and_then(|(labels, missing_cells)| {
        fs::rename(&beside, directory).with_context(|| {
            format!("cannot make the directory {}; is it there already?", directory.display())
        })?;
        let repeated = groups.values().filter(|group| group.rows > 1).map(|group| group.rows - 1).sum();
        Ok(Split { labels, repeated_rows: repeated, unlabelled_rows, repeated_headings, missing_cells })
    });
    if finished.is_err() {
        fs::remove_dir_all(&beside).ok();
    }
    finished
}

/// Equal for rows of which the same is written. Two that are not and have the same key, one pair in 10^19, stay together.
fn key_of(row: &StringRecord, contents: &[Content], is_ignored: &[bool]) -> u64 {
    let mut hasher = FxHasher::default();
    let cells = row.iter().zip(contents).zip(is_ignored).filter(|(_, is_ignored)| !**is_ignored);
    for ((text, content), _) in cells {
        match cell(text, content.kind()) {
            Cell::Integer(number) => hasher.write_i64(number),
            // The two zeros are equal.
            Cell::Real(number) => hasher.write_u64((number + 0.0).to_bits()),
            Cell::Text(text) => {
                hasher.write(text.as_bytes());
                hasher.write_usize(text.len());
            }
            _ => hasher.write_u8(0),
        }
    }
    hasher.finish()
}

/// Within each label, groups go to the part that lacks most, in random order; first those that would overfill a part if they
/// came last.
fn draw(groups: &mut HashMap<u64, Group>, settings: &SplitSettings) {
    let mut keys: Vec<(u32, u64)> = groups.iter().map(|(key, group)| (group.label, *key)).collect();
    keys.sort_unstable();
    let mut random = Xoshiro256PlusPlus::seed_from_u64(settings.seed);
    let whole: u64 = settings.shares.iter().copied().map(u64::from).sum();
    let least = settings.shares.iter().copied().filter(|share| *share > 0).min().map_or(0, u64::from);
    for same in keys.chunk_by_mut(|(a, _), (b, _)| a == b) {
        // Fisher and Yates; the bias of the remainder is below 10^-10 for less than a billion rows.
        for last in (1..same.len()).rev() {
            let other = random.next_u64() % (last as u64 + 1);
            same.swap(last, usize::try_from(other).unwrap_or(last));
        }
        let rows = |key: &u64| groups.get(key).map_or(0, |group| group.rows);
        let total: u64 = same.iter().map(|(_, key)| rows(key)).sum();
        same.sort_by_key(|(_, key)| {
            u128::from(rows(key)) * u128::from(whole) <= u128::from(total) * u128::from(least)
        });
        let mut taken = [0_u64; 3];
        for (_, key) in same {
            let Some(group) = groups.get_mut(key) else { continue };
            // What a part lacks of its share of all rows, times the sum of the shares.
            let lack = |part: &Part| {
                let share = u64::from(settings.shares[*part as usize]);
                i128::from(total) * i128::from(share) - i128::from(taken[*part as usize]) * i128::from(whole)
            };
            // The first of equals, so that a label of one row is learned rather than tested.
            let part = Part::ALL.into_iter().rev().max_by_key(lack).unwrap_or(Part::Train);
            taken[part as usize] += group.rows;
            group.part = part;
        }
    }
}

fn beside(directory: &Path) -> Result<std::path::PathBuf> {
    if directory.exists() {
        let is_empty = fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none());
        ensure!(is_empty, "{} is there and not an empty directory; name a new one", directory.display());
    }
    let name =
        directory.file_name().with_context(|| format!("{} is no new directory", directory.display()))?;
    let mut part = std::ffi::OsString::from(".");
    part.push(name);
    part.push(format!("-{}.part", std::process::id()));
    let beside = directory.with_file_name(part);
    fs::create_dir(&beside).with_context(|| format!("cannot make the directory {}", beside.display()))?;
    Ok(beside)
}

type Counts = (BTreeMap<String, [u64; 3]>, u64);

fn write_parts(
    source: &Source,
    columns: &[Column],
    directory: &Path,
    label: usize,
    part_of: impl Fn(&StringRecord) -> Part,
    progress: impl FnMut(u64),
) -> Result<Counts> {
    let mut writers: Vec<Box<dyn RowWriter>> = Vec::new();
    for part in Part::ALL {
        let file = directory.join(part.name()).with_extension("parquet");
        let cannot_write = || format!("cannot write {}", file.display());
        let out = BufWriter::new(fs::File::create(&file).with_context(cannot_write)?);
        writers.push(tabular::writer(Format::Parquet, columns.to_vec(), out).with_context(cannot_write)?);
    }
    let (mut labels, mut missing_cells) = (BTreeMap::<String, [u64; 3]>::new(), 0);
    let mut cells = Vec::new();
    source.read(progress, |row| {
        let own = row.get(label).unwrap_or_default();
        if own.is_empty() {
            return Ok(());
        }
        let part = part_of(row);
        cells.clear();
        for (text, column) in row.iter().zip(columns) {
            let cell = cell(text, column.kind);
            missing_cells += u64::from(cell == Cell::Missing && !text.is_empty());
            cells.push(cell);
        }
        if !labels.contains_key(own) {
            labels.insert(own.to_owned(), [0; 3]);
        }
        if let Some(counts) = labels.get_mut(own) {
            counts[part as usize] += 1;
        }
        writers[part as usize].write(&cells).context("cannot write the parts")
    })?;
    writers.into_iter().try_for_each(RowWriter::finish).context("cannot write the parts")?;
    Ok((labels, missing_cells))
}

fn cell(text: &str, kind: Kind) -> Cell {
    let read = match kind {
        Kind::Integer => text.parse().ok().map(Cell::Integer),
        Kind::Real => text.parse().ok().filter(|number: &f64| number.is_finite()).map(Cell::Real),
        _ => (!text.is_empty()).then(|| Cell::Text(text.to_owned().into())),
    };
    read.unwrap_or(Cell::Missing)
}

#[cfg(test)]
mod tests {
    use parquet::file::reader::{FileReader, SerializedFileReader};

    use super::*;

    fn rows_of(directory: &Path, part: Part) -> Vec<String> {
        let file = fs::File::open(directory.join(part.name()).with_extension("parquet")).unwrap();
        let reader = SerializedFileReader::new(file).unwrap();
        reader.get_row_iter(None).unwrap().map(|row| row.unwrap().to_string()).collect()
    }

    fn settings(seed: u64) -> SplitSettings {
        SplitSettings { shares: [80, 10, 10], seed, label: None, ignored: vec!["id".to_owned()] }
    }

    /// 1,000 rows of `a`, of which each is there twice; 50 of `b`; one of `c`; three that differ in the label alone.
    fn table(is_reversed: bool) -> String {
        let mut rows: Vec<String> = (0..1_000)
            .map(|number| format!("{number},{},0.5,a", number / 2))
            .chain((1_000..1_050).map(|number| format!("{number},{number},NaN,b")))
            .chain(["1050,1050,7,c".to_owned()])
            .chain(["a", "b", "c"].map(|label| format!("9,2000,1,{label}")))
            .collect();
        if is_reversed {
            rows.reverse();
        }
        format!("id, x,y,Label\n{}\n", rows.join("\n"))
    }

    #[test]
    fn labels_are_shared_out_and_equal_rows_stay_together() {
        let directory = tempfile::tempdir().unwrap();
        let (data, out) = (directory.path().join("data"), directory.path().join("out"));
        fs::create_dir(&data).unwrap();
        let compressed = zstd::encode_all(table(false).as_bytes(), 1).unwrap();
        fs::write(data.join("one.csv.zst"), compressed).unwrap();
        let source = Source::open(&data).unwrap();
        let split = write_split(&source, &settings(7), &out, |_| {}).unwrap();
        let near = |counts: [u64; 3], expected: [u64; 3]| {
            counts.iter().zip(expected).all(|(count, expected)| count.abs_diff(expected) <= 2)
        };
        assert!(near(split.labels["a"], [801, 100, 100]), "{split:?}");
        assert!(near(split.labels["b"], [41, 5, 5]), "{split:?}");
        assert_eq!(split.labels["c"].iter().sum::<u64>(), 2);
        assert_eq!((split.repeated_rows, split.missing_cells), (502, 50));
        let places = |needle: &str| {
            let has = |part: &Part| rows_of(&out, *part).iter().filter(|row| row.contains(needle)).count();
            Part::ALL.iter().map(has).filter(|count| *count > 0).collect::<Vec<_>>()
        };
        (0..500).step_by(50).for_each(|number| assert_eq!(places(&format!("x: {number},")), [2], "{number}"));
        assert_eq!(places("x: 2000,"), [3]);
    }

    /// Whatever a cell is spelled like, rows of which the same is written are in one part; so are what floods are full of,
    /// without that they all are for training.
    #[test]
    fn rows_are_equal_by_what_is_written_and_many_equal_ones_do_not_crowd_out_the_rest() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data.csv");
        let spelled = (0..200).flat_map(|number| {
            ["0,0.0", "0.0,0.00", "-0.0,0"].map(|zeros| format!("{number}.5,{zeros},spelled"))
        });
        let missing = (0..200).flat_map(|number| {
            ["NaN", "Infinity", "", "inf"].map(|none| format!("{number}.25,{none},1,missing"))
        });
        let floods =
            (0..500).flat_map(|number| ["7.5,7,7,flood".to_owned(), format!("{number}.125,3,3,flood")]);
        let strays = ["x,y,z,Label", "1.5,1,1,"].map(str::to_owned);
        let rows: Vec<String> = spelled.chain(missing).chain(floods).chain(strays).collect();
        fs::write(&data, format!("x,y,z,Label\n{}\n", rows.join("\n"))).unwrap();
        let source = Source::open(&data).unwrap();
        for seed in 0..5 {
            let out = directory.path().join(seed.to_string());
            let settings = SplitSettings { ignored: Vec::new(), ..settings(seed) };
            let split = write_split(&source, &settings, &out, |_| {}).unwrap();
            assert_eq!((split.repeated_headings, split.unlabelled_rows), (1, 1));
            assert_eq!(split.repeated_rows, 200 * 2 + 200 * 3 + 499);
            assert!(
                split.labels["flood"]
                    .iter()
                    .zip([800, 100, 100])
                    .all(|(rows, share)| rows.abs_diff(share) <= 1)
            );
            let of = |part| rows_of(&out, part).into_iter().collect::<std::collections::HashSet<_>>();
            let (train, validation, test) = (of(Part::Train), of(Part::Validation), of(Part::Test));
            assert!(
                train.is_disjoint(&test) && train.is_disjoint(&validation) && validation.is_disjoint(&test)
            );
        }
    }

    #[test]
    fn the_seed_decides_and_not_the_order() {
        let directory = tempfile::tempdir().unwrap();
        let split = |name: &str, is_reversed: bool, seed: u64| {
            let data = directory.path().join("data.csv");
            fs::write(&data, table(is_reversed)).unwrap();
            let out = directory.path().join(name);
            write_split(&Source::open(&data).unwrap(), &settings(seed), &out, |_| {}).unwrap();
            let mut rows = rows_of(&out, Part::Test);
            rows.sort();
            rows
        };
        let first = split("first", false, 1);
        assert_eq!(first, split("again", false, 1));
        assert_eq!(first, split("reversed", true, 1));
        assert_ne!(first, split("other", false, 2));
    }

    #[test]
    fn what_goes_wrong_is_told_and_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| directory.path().join(name);
        for (name, text) in [
            ("no-label.csv", "x,y\n1,2\n"),
            ("ragged.csv", "x,Label\n1,a\n1,2,3\n"),
            ("twice.csv", "x,x,Label\n1,2,a\n"),
            ("heading.csv", "x,id,Label\n"),
            ("good.csv", "x,id,Label\n1,1,a\n"),
        ] {
            fs::write(place(name), text).unwrap();
        }
        fs::create_dir(place("full")).unwrap();
        fs::write(place("full/file"), "").unwrap();
        fs::create_dir(place("none")).unwrap();
        fs::create_dir(place("mixed")).unwrap();
        fs::write(place("mixed/1.csv"), "x,id,Label\n").unwrap();
        fs::write(place("mixed/2.csv"), "y,id,Label\n").unwrap();
        for (data, out, expected) in [
            ("no-label.csv", "out", "no column is called Label; `--label` names one of x, y"),
            ("ragged.csv", "out", "there is no column `id`"),
            ("twice.csv", "out", "there is no column `id`; there are x, x.1, Label"),
            ("heading.csv", "out", "there are no rows to split"),
            ("missing.csv", "out", "cannot read the directory"),
            ("none", "out", "has no CSV file; what ends in .csv, .csv.gz, .csv.zst is read"),
            ("mixed", "out", "has other columns than"),
            ("good.csv", "full", "is there and not an empty directory"),
            ("good.csv", "nowhere/out", "cannot make the directory"),
        ] {
            let attempt = Source::open(&place(data))
                .and_then(|source| write_split(&source, &settings(1), &place(out), |_| {}));
            let error = format!("{:#}", attempt.unwrap_err());
            assert!(error.contains(expected), "{data}: {error}");
            assert!(!place("out").exists(), "{data}");
        }
        let mut ragged = settings(1);
        ragged.ignored.clear();
        let source = Source::open(&place("ragged.csv")).unwrap();
        let error = format!("{:#}", write_split(&source, &ragged, &place("out"), |_| {}).unwrap_err());
        assert!(error.contains("ragged.csv") && error.contains("line: 3"), "{error}");
    }
}
