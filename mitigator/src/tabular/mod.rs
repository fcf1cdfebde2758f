//! Tables of named, typed columns, written row by row: as CSV, as JSON lines, or as Parquet.
//!
//! Rows come from whoever has them, in the order of the columns; bytes go to any writer. Nothing of a table is kept but
//! the rows of one Parquet row group. What the columns mean is not known here.

mod csv;
mod json_lines;
mod parquet;

use std::borrow::Cow;
use std::io::Write;

use anyhow::Result;

/// What a column is called, and what its cells hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// As the heading has it.
    pub name: Cow<'static, str>,
    /// What its cells hold.
    pub kind: Kind,
}

impl Column {
    /// A column of that name.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>, kind: Kind) -> Self {
        Self { name: name.into(), kind }
    }
}

/// What the cells of a column hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whole numbers.
    Integer,
    /// Numbers with a fraction.
    Real,
    /// Yes or no.
    Flag,
    /// Words.
    Text,
    /// A moment: microseconds since the Unix epoch.
    Time,
}

/// One cell. It fits its column when [`Cell::kind`] says so, or when it is missing.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// A whole number.
    Integer(i64),
    /// A finite number.
    Real(f64),
    /// Yes or no.
    Flag(bool),
    /// Words.
    Text(Cow<'static, str>),
    /// Microseconds since the Unix epoch.
    Time(i64),
    /// Nothing is known.
    Missing,
}

impl Cell {
    /// As a model takes it; what is no number is NaN, which is missing.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "features are sums and counts of one flow")]
    pub fn number(&self) -> f64 {
        match self {
            Self::Integer(number) => *number as f64,
            Self::Real(number) => *number,
            Self::Flag(is_set) => f64::from(u8::from(*is_set)),
            Self::Text(_) | Self::Time(_) | Self::Missing => f64::NAN,
        }
    }

    /// Of what column it is; `None` when it fits any.
    #[must_use]
    pub const fn kind(&self) -> Option<Kind> {
        Some(match self {
            Self::Integer(_) => Kind::Integer,
            Self::Real(_) => Kind::Real,
            Self::Flag(_) => Kind::Flag,
            Self::Text(_) => Kind::Text,
            Self::Time(_) => Kind::Time,
            Self::Missing => return None,
        })
    }
}

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A heading, then a row a line; what is missing is empty, a moment is RFC 3339 in UTC.
    Csv,
    /// An object a line; what is missing is null, a moment is RFC 3339 in UTC.
    JsonLines,
    /// Apache Parquet with zstd; a moment is a UTC timestamp in microseconds.
    Parquet,
}

/// Writes a table to wherever its bytes go.
pub trait RowWriter {
    /// Writes a row: a cell for each column, in their order, each fitting its column.
    ///
    /// # Errors
    ///
    /// When it cannot be written; the table is then no good.
    fn write(&mut self, row: &[Cell]) -> Result<()>;

    /// Writes what is left. Without it, the table is not whole.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// Starts a table; `out` should be buffered.
///
/// # Errors
///
/// When `out` cannot be written.
pub fn writer<'out>(
    format: Format,
    columns: Vec<Column>,
    out: impl Write + Send + 'out,
) -> Result<Box<dyn RowWriter + 'out>> {
    Ok(match format {
        Format::Csv => Box::new(csv::CsvWriter::new(&columns, out)?),
        Format::JsonLines => Box::new(json_lines::JsonLinesWriter::new(&columns, out)?),
        Format::Parquet => Box::new(parquet::ParquetWriter::new(columns, out)?),
    })
}

/// Writes a moment as RFC 3339 has it, in UTC to the microsecond; one before 1970 as 1970.
fn write_time(out: &mut impl Write, unix_us: i64) -> std::io::Result<()> {
    let since_epoch = std::time::Duration::from_micros(u64::try_from(unix_us).unwrap_or(0));
    write!(out, "{}", humantime::format_rfc3339_micros(std::time::UNIX_EPOCH + since_epoch))
}

#[cfg(test)]
mod tests {
    use ::parquet::file::reader::{FileReader, SerializedFileReader};
    use ::parquet::record::Field;

    use super::*;

    fn columns() -> Vec<Column> {
        vec![
            Column::new("Whole", Kind::Integer),
            Column::new("Share, of 1", Kind::Real),
            Column::new("is \"it\"", Kind::Flag),
            Column::new("Name", Kind::Text),
            Column::new("At", Kind::Time),
        ]
    }

    fn rows() -> Vec<Vec<Cell>> {
        vec![
            vec![
                Cell::Integer(-1),
                Cell::Real(0.125),
                Cell::Flag(true),
                Cell::Text("a, \"b\"\nc".into()),
                Cell::Time(1_519_103_507_000_001),
            ],
            vec![Cell::Missing, Cell::Missing, Cell::Missing, Cell::Missing, Cell::Missing],
            vec![
                Cell::Integer(9_007_199_254_740_993),
                Cell::Real(1e300),
                Cell::Flag(false),
                Cell::Text("".into()),
                Cell::Time(0),
            ],
        ]
    }

    fn written(format: Format) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = writer(format, columns(), &mut bytes).unwrap();
        rows().iter().for_each(|row| writer.write(row).unwrap());
        writer.finish().unwrap();
        bytes
    }

    fn read(bytes: &[u8]) -> SerializedFileReader<std::fs::File> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        SerializedFileReader::new(file).unwrap()
    }

    #[test]
    fn csv_is_read_back_as_it_was() {
        let bytes = written(Format::Csv);
        let mut reader = ::csv::Reader::from_reader(&bytes[..]);
        assert_eq!(reader.headers().unwrap(), vec!["Whole", "Share, of 1", "is \"it\"", "Name", "At"]);
        let read: Vec<Vec<String>> =
            reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect();
        assert_eq!(read[0], ["-1", "0.125", "1", "a, \"b\"\nc", "2018-02-20T05:11:47.000001Z"]);
        assert_eq!(read[1], ["", "", "", "", ""]);
        assert_eq!(read[2][0], "9007199254740993");
        assert_eq!(read[2][1].parse::<f64>().unwrap().to_bits(), 1e300_f64.to_bits());
    }

    #[test]
    fn json_lines_are_objects_that_keep_every_digit() {
        let text = String::from_utf8(written(Format::JsonLines)).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(
            lines[0],
            serde_json::json!({"Whole": -1, "Share, of 1": 0.125, "is \"it\"": true, "Name": "a, \"b\"\nc",
                "At": "2018-02-20T05:11:47.000001Z"})
        );
        assert!(lines[1].as_object().unwrap().values().all(serde_json::Value::is_null));
        assert_eq!(lines[2]["Whole"], 9_007_199_254_740_993_i64);
    }

    #[test]
    fn parquet_is_read_back_by_its_library_as_it_was() {
        let reader = read(&written(Format::Parquet));
        let read: Vec<Vec<(String, Field)>> = reader
            .get_row_iter(None)
            .unwrap()
            .map(|row| {
                row.unwrap().get_column_iter().map(|(name, field)| (name.clone(), field.clone())).collect()
            })
            .collect();
        let fields = |row: usize| read[row].iter().map(|(_, field)| field.clone()).collect::<Vec<_>>();
        assert_eq!(read[0][1].0, "Share, of 1");
        assert_eq!(
            fields(0),
            [
                Field::Long(-1),
                Field::Double(0.125),
                Field::Bool(true),
                Field::Str("a, \"b\"\nc".to_owned()),
                Field::TimestampMicros(1_519_103_507_000_001)
            ]
        );
        assert_eq!(fields(1), vec![Field::Null; 5]);
        assert_eq!(fields(2)[0], Field::Long(9_007_199_254_740_993));
    }

    #[test]
    fn a_table_of_more_rows_than_a_group_is_whole() {
        let mut bytes = Vec::new();
        let mut writer = writer(Format::Parquet, vec![Column::new("n", Kind::Integer)], &mut bytes).unwrap();
        (0..40_000).for_each(|number| writer.write(&[Cell::Integer(number)]).unwrap());
        writer.finish().unwrap();
        let reader = read(&bytes);
        assert!(reader.num_row_groups() > 1);
        let numbers = reader.get_row_iter(None).unwrap().map(|row| {
            match row.unwrap().get_column_iter().next().unwrap().1 {
                Field::Long(number) => *number,
                other => panic!("{other:?}"),
            }
        });
        assert!(numbers.eq(0..40_000));
    }

    #[test]
    fn an_empty_table_has_its_heading() {
        for (format, expected) in [(Format::Csv, 1), (Format::JsonLines, 0)] {
            let mut bytes = Vec::new();
            writer(format, columns(), &mut bytes).unwrap().finish().unwrap();
            assert_eq!(String::from_utf8(bytes).unwrap().lines().count(), expected, "{format:?}");
        }
        let mut bytes = Vec::new();
        writer(Format::Parquet, columns(), &mut bytes).unwrap().finish().unwrap();
        let reader = read(&bytes);
        assert_eq!(reader.metadata().file_metadata().num_rows(), 0);
        assert_eq!(reader.metadata().file_metadata().schema_descr().num_columns(), 5);
    }

    #[test]
    fn a_write_that_fails_is_told_with_its_cause() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        for format in [Format::Csv, Format::JsonLines, Format::Parquet] {
            let attempt = writer(format, columns(), Full).and_then(|mut writer| {
                writer.write(&rows()[0])?;
                writer.finish()
            });
            let error = attempt.unwrap_err();
            let kind = error
                .chain()
                .find_map(|cause| cause.downcast_ref::<std::io::Error>())
                .map(std::io::Error::kind);
            assert_eq!(kind, Some(std::io::ErrorKind::StorageFull), "{format:?}: {error:#}");
        }
    }
}
