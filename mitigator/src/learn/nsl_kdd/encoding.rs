//! Records to features: numbers as they are or their logarithm, words as a column for each that the training had.
//!
//! A word that the training did not have sets none of its columns.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::record::{NUMBERS, Record};
use crate::learn::table::Table;

/// Counts and amounts without a bound: as `ln(1 + x)`, so that distances between records are not those of their bytes alone.
const UNBOUNDED: [&str; 10] = [
    "duration",
    "src_bytes",
    "dst_bytes",
    "hot",
    "num_compromised",
    "num_root",
    "num_file_creations",
    "num_access_files",
    "count",
    "srv_count",
];

/// The words that have columns of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encoding {
    protocols: Vec<String>,
    services: Vec<String>,
    flags: Vec<String>,
}

impl Encoding {
    /// The words of these records.
    #[must_use]
    pub fn of(records: &[&Record]) -> Self {
        let words = |word: fn(&Record) -> &str| {
            let words: BTreeSet<&str> = records.iter().copied().map(word).collect();
            words.into_iter().map(str::to_owned).collect()
        };
        Self {
            protocols: words(|record| &record.protocol),
            services: words(|record| &record.service),
            flags: words(|record| &record.flag),
        }
    }

    /// The names of the columns that [`Encoding::encode`] makes.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let numbers = NUMBERS.iter().map(|name| (*name).to_owned());
        let words = [("protocol", &self.protocols), ("service", &self.services), ("flag", &self.flags)];
        let words = words
            .into_iter()
            .flat_map(|(name, words)| words.iter().map(move |word| format!("{name}={word}")));
        numbers.chain(words).collect()
    }

    /// One row for each record.
    pub fn encode<'a>(&self, records: impl IntoIterator<Item = &'a Record>) -> Table {
        let records: Vec<&Record> = records.into_iter().collect();
        let names = self.names();
        let mut values = Vec::with_capacity(records.len() * names.len());
        for (column, name) in NUMBERS.iter().enumerate() {
            let numbers = records.iter().map(|record| record.numbers[column]);
            if UNBOUNDED.contains(name) {
                values.extend(numbers.map(f64::ln_1p));
            } else {
                values.extend(numbers);
            }
        }
        let mut add = |words: &[String], word: fn(&Record) -> &str| {
            for known in words {
                values.extend(records.iter().map(|record| f64::from(u8::from(word(record) == known))));
            }
        };
        add(&self.protocols, |record| &record.protocol);
        add(&self.services, |record| &record.service);
        add(&self.flags, |record| &record.flag);
        Table::new(names, records.len(), values)
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::line;
    use super::*;

    #[test]
    fn words_get_columns_and_unknown_ones_none() {
        let record = |bytes, service| Record::parse(&line(bytes, service, ",normal")).unwrap();
        let known = [record(0.0, "smtp"), record(99.0, "http")];
        let encoding = Encoding::of(&known.iter().collect::<Vec<_>>());
        let table = encoding.encode(known.iter().chain([&record(1.0, "gopher")]));
        let column = |name: &str| {
            let column = table.names().iter().position(|known| known == name).unwrap();
            table.column(column).to_vec()
        };
        assert_eq!(table.columns(), NUMBERS.len() + 1 + 2 + 1);
        assert_eq!(column("service=http"), [0.0, 1.0, 0.0]);
        assert_eq!(column("service=smtp"), [1.0, 0.0, 0.0]);
        assert_eq!(column("protocol=tcp"), [1.0, 1.0, 1.0]);
        assert_eq!(column("src_bytes"), [0.0, 100.0_f64.ln(), 2.0_f64.ln()]);
    }
}
