//! `SplitTable`: a data frame as pandas writes it with `to_json(orient="split")`: names of columns, and rows of cells.

use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use anyhow::{Context, Result, bail, ensure};
use serde::de::{Error, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::limits::{CELL_BYTES, NAME_BYTES, PREDICTION_COLUMNS, PREDICTION_ROWS};
use crate::flows::features::{self, Spelling};
use crate::tabular::Kind;

/// A table under the names of CICFlowMeter, in any spelling.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SplitTable {
    pub(super) columns: Bounded<String, PREDICTION_COLUMNS>,
    /// Of the rows; pandas writes it unless told otherwise.
    index: Option<Vec<IgnoredAny>>,
    /// Shape (rows, columns).
    pub(super) data: Bounded<Bounded<Given, PREDICTION_COLUMNS>, PREDICTION_ROWS>,
}

/// An array that is refused as soon as it has more than so many items: a few bytes of JSON become many times as much memory.
#[derive(Debug)]
pub(super) struct Bounded<T, const MOST: usize>(Vec<T>);

impl<T, const MOST: usize> Deref for Bounded<T, MOST> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for Bounded<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(BoundedVisitor(PhantomData))
    }
}

struct BoundedVisitor<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for BoundedVisitor<T, MOST> {
    type Value = Bounded<T, MOST>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array of at most {MOST}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element()? {
            if all.len() == MOST {
                return Err(Error::custom(format!(
                    "an array has more than {MOST} items, which is the limit"
                )));
            }
            all.push(item);
        }
        Ok(Bounded(all))
    }
}

/// A cell.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Given {
    Number(f64),
    Text(String),
    Flag(bool),
    /// null, as pandas writes what is not a number or infinite.
    Missing,
}

impl SplitTable {
    /// Reads a table and holds it against itself: rows of one length, an index of all rows, no column twice, none that
    /// is not CICFlowMeter's. What is missing is for the model to say.
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        // Where a structure is expected, the library takes an array of its fields, too.
        ensure!(
            !bytes.trim_ascii_start().starts_with(b"["),
            "it is an array, not an object with `columns` and `data`"
        );
        let table: Self = serde_json::from_slice(bytes)?;
        let Self { columns, index, data } = &table;
        let mut seen = BTreeSet::new();
        // Names may be told with each row.
        if let Some(name) = columns.iter().find(|name| name.len() > NAME_BYTES) {
            bail!("a column has a name of {} bytes; the limit is {NAME_BYTES}", name.len());
        }
        if let Some(twice) = columns.iter().find(|name| !seen.insert(plain(name))) {
            bail!("the column `{twice}` is there twice");
        }
        if let Some((number, row)) = data.iter().enumerate().find(|(_, row)| row.len() != columns.len()) {
            bail!("row {number} has {} cells; there are {} columns", row.len(), columns.len());
        }
        if let Some(index) = index {
            ensure!(
                index.len() == data.len(),
                "the index has {} entries; there are {} rows",
                index.len(),
                data.len()
            );
        }
        let known = known_names();
        let extra: Vec<&str> =
            columns.iter().map(String::as_str).filter(|name| !known.contains(&plain(name))).collect();
        ensure!(
            extra.is_empty(),
            "columns that are no feature of CICFlowMeter: {}; leave them out",
            listed(&extra)
        );
        Ok(table)
    }

    /// The numbers of all rows, NaN for what is missing or says who, when and where rather than what. Shape (rows, columns).
    pub(super) fn numbers(&self) -> Result<Vec<Vec<f64>>> {
        let textual = textual_names();
        let is_textual: Vec<bool> = self.columns.iter().map(|name| textual.contains(&plain(name))).collect();
        let number = |row: usize, column: usize, cell: &Given| match cell {
            _ if is_textual[column] => Ok(f64::NAN),
            Given::Number(number) => Ok(*number),
            Given::Flag(is_set) => Ok(f64::from(u8::from(*is_set))),
            Given::Missing => Ok(f64::NAN),
            // `Infinity` and `NaN` are numbers to the parser.
            Given::Text(text) => text.trim().parse().ok().with_context(|| {
                format!("`{}` of row {row} is {text:?}, which is no number", self.columns[column])
            }),
        };
        let row = |(row, cells): (usize, &Bounded<Given, PREDICTION_COLUMNS>)| {
            cells.iter().enumerate().map(|(column, cell)| number(row, column, cell)).collect()
        };
        self.data.iter().enumerate().map(row).collect()
    }
}

/// The first of them, in so few letters that an answer stays one.
fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 20;
    const LETTERS: usize = 64;
    let mut text: Vec<String> = names
        .iter()
        .take(SHOWN)
        .map(|name| format!("`{}`", name.chars().take(LETTERS).collect::<String>()))
        .collect();
    if names.len() > SHOWN {
        text.push(format!("and {} more", names.len() - SHOWN));
    }
    text.join(", ")
}

/// Without case and what is no letter or digit, by which the spellings differ.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
}

/// Of every column that any data set has.
fn known_names() -> BTreeSet<String> {
    let spellings = [Spelling::Original2018, Spelling::Converted2018, Spelling::Corrected2017];
    let columns = spellings.into_iter().flat_map(features::columns);
    columns.map(|column| plain(&column.name)).collect()
}

/// Of those that hold words or times.
fn textual_names() -> BTreeSet<String> {
    let columns = features::columns(Spelling::Original2018).into_iter();
    columns
        .filter(|column| matches!(column.kind, Kind::Text | Kind::Time))
        .map(|column| plain(&column.name))
        .collect()
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(GivenVisitor)
    }
}

struct GivenVisitor;

#[expect(clippy::cast_precision_loss, reason = "features of flows are below 2^53, or rounded once")]
impl Visitor<'_> for GivenVisitor {
    type Value = Given;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, a text, true, false or null")
    }

    fn visit_bool<E: Error>(self, is_set: bool) -> Result<Given, E> {
        Ok(Given::Flag(is_set))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Given, E> {
        Ok(Given::Number(number as f64))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Given, E> {
        Ok(Given::Number(number as f64))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Given, E> {
        Ok(Given::Number(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Given, E> {
        if text.len() > CELL_BYTES {
            return Err(Error::custom(format!(
                "a cell has {} bytes of text; the limit is {CELL_BYTES}",
                text.len()
            )));
        }
        Ok(Given::Text(text.to_owned()))
    }

    fn visit_unit<E: Error>(self) -> Result<Given, E> {
        Ok(Given::Missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pandas_writes_is_read() {
        let text = r#"{"columns":["dst_port","timestamp","Flow Byts/s","Flow Duration"],"index":[0,"b"],
            "data":[[80,"21\/02\/2018 10:15:06",null,1.5],[-1,1519208106000,"Infinity",true]]}"#;
        let table = SplitTable::read(text.as_bytes()).unwrap();
        let rows = table.numbers().unwrap();
        assert_eq!((rows.len(), rows[0][0], rows[0][3], rows[1][0], rows[1][3]), (2, 80.0, 1.5, -1.0, 1.0));
        assert!(
            rows[0][1].is_nan() && rows[1][1].is_nan() && rows[0][2].is_nan() && rows[1][2].is_infinite()
        );
        assert!(
            SplitTable::read(br#"{"columns":["dst_port"],"data":[]}"#).unwrap().numbers().unwrap().is_empty()
        );
    }

    #[test]
    fn every_spelling_of_every_column_is_known() {
        for spelling in
            [Spelling::Original2018, Spelling::Converted2018, Spelling::Corrected2017, Spelling::SnakeCase]
        {
            let columns: Vec<_> = features::columns(spelling).into_iter().map(|column| column.name).collect();
            let text = serde_json::json!({"columns": columns, "data": []}).to_string();
            assert!(SplitTable::read(text.as_bytes()).is_ok(), "{spelling:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, named) in [
            ("", "EOF"),
            ("i_am_invalid", "expected value"),
            ("[]", "it is an array"),
            (r#" [["protocol"],null,[[6]]]"#, "it is an array"),
            ("{}", "missing field `columns`"),
            (r#"{"columns":["protocol"]}"#, "missing field `data`"),
            (r#"{"columns":["protocol"],"data":[],"more":1}"#, "unknown field `more`"),
            (r#"{"columns":["protocol"],"data":[[1,2]]}"#, "row 0 has 2 cells; there are 1 columns"),
            (r#"{"columns":["protocol"],"data":[[[1]]]}"#, "a number, a text"),
            (
                r#"{"columns":["protocol"],"index":[0,1],"data":[[1]]}"#,
                "the index has 2 entries; there are 1 rows",
            ),
            (r#"{"columns":["protocol","protocol"],"data":[]}"#, "`protocol` is there twice"),
            (r#"{"columns":["protocol","Proto_Col"],"data":[]}"#, "`Proto_Col` is there twice"),
            (r#"{"columns":["protocol","label","colour"],"data":[]}"#, "`label`, `colour`"),
            (r#"{"columns":[1],"data":[]}"#, "expected a string"),
        ] {
            let error = SplitTable::read(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(named), "{text}: {error}");
        }
        // What is short to send and long to keep.
        let many = |item: &str, count: usize| vec![item; count].join(",");
        for (columns, data, named) in [
            (many("\"x\"", PREDICTION_COLUMNS + 1), String::new(), "more than 256 items"),
            ("\"protocol\"".to_owned(), many("[6]", PREDICTION_ROWS + 1), "more than 200000 items"),
            ("\"protocol\"".to_owned(), format!("[{}]", many("6", 300)), "more than 256 items"),
            ("\"protocol\"".to_owned(), format!("[\"{}\"]", "x".repeat(CELL_BYTES + 1)), "257 bytes of text"),
            (format!("\"proto{}col\"", "-".repeat(NAME_BYTES)), String::new(), "a name of 72 bytes"),
            (many("\"y\"", 1), String::new(), "`y`"),
        ] {
            let text = format!("{{\"columns\":[{columns}],\"data\":[{data}]}}");
            let error = SplitTable::read(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(named) && error.len() < 2_000, "{named}: {error}");
        }
        let table = SplitTable::read(br#"{"columns":["protocol"],"data":[[6],["six"]]}"#).unwrap();
        let error = table.numbers().unwrap_err().to_string();
        assert!(error.contains("`protocol` of row 1 is \"six\""), "{error}");
    }
}
