//! What a model sees of a flow: all quantities as they are, or the shape of a conversation.
//!
//! Quantities tell attacks of one data set apart almost without a mistake, by what its machines, its server and its tool have
//! in common: header lengths, initial windows, flags, the exact size of the page that was asked for. Nothing of that holds
//! elsewhere. Shapes are ratios, and logarithms of few sizes and times.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::quantities;
use super::table::FeatureTable;
use super::variation::Conversation;
use crate::learn::table::Table;

/// Which features a model sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum FeatureSet {
    /// Shapes of conversations, learned from flows as they are and as other networks and tools would have them
    Transferable,
    /// All quantities that every data set has, as they are: better on the network that was learned from, blind elsewhere
    Full,
}

/// A shape's name and what it is of a conversation.
type Shape = (&'static str, fn(&Conversation) -> f64);

/// The shapes of a conversation. What is divided by 0 is 0.
static SHAPES: [Shape; 18] = [
    ("bytes per request", |of| log2(of.forward_bytes / of.requests())),
    ("requests", |of| log2(of.data_packets)),
    ("answer bytes per request", |of| log2(of.backward_bytes / of.requests())),
    ("backward byte share", |of| share(of.backward_bytes, of.forward_bytes + of.backward_bytes)),
    ("backward packet share", |of| share(of.backward_packets, of.packets())),
    ("data packet share", |of| share(of.data_packets, of.forward_packets).min(1.0)),
    ("duration", |of| (1.0 + of.duration_us).log10()),
    ("packet rate", |of| rate(of.packets(), of.duration_us)),
    ("byte rate", |of| rate(of.forward_bytes + of.backward_bytes, of.duration_us)),
    ("longest pause", |of| (1.0 + of.longest_pause_us).log10()),
    ("longest pause share", |of| share(of.longest_pause_us, of.duration_us).min(1.0)),
    ("largest packet share", |of| share(of.largest_forward_bytes, of.forward_bytes).min(1.0)),
    ("bytes per backward packet", |of| log2(share(of.backward_bytes, of.backward_packets))),
    ("forward packets", |of| log2(of.forward_packets)),
    ("backward packets", |of| log2(of.backward_packets)),
    ("is TCP", |of| f64::from(u8::from(of.is_tcp()))),
    ("is UDP", |of| f64::from(u8::from(of.is_udp()))),
    ("is without payload", |of| f64::from(u8::from(of.forward_bytes + of.backward_bytes == 0.0))),
];

impl FeatureSet {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Transferable, Self::Full];

    /// As the command line spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Transferable => "transferable",
            Self::Full => "full",
        }
    }

    /// Names of the features.
    #[must_use]
    pub fn features(self) -> Vec<&'static str> {
        match self {
            Self::Transferable => SHAPES.iter().map(|(name, _)| *name).collect(),
            Self::Full => quantities::names().to_vec(),
        }
    }

    /// The features of every row, with `medians` where a quantity is missing.
    #[must_use]
    pub fn table(self, flows: &FeatureTable, medians: &[f64]) -> Table {
        let rows: Vec<Vec<f64>> = (0..flows.rows()).map(|row| imputed(flows.row(row), medians)).collect();
        match self {
            Self::Full => self.of_rows(&rows),
            Self::Transferable => {
                let conversations: Vec<Conversation> = rows.iter().map(|row| Conversation::of(row)).collect();
                self.of_rows(&conversations.iter().map(shapes).collect::<Vec<_>>())
            }
        }
    }

    /// The shapes of conversations.
    #[must_use]
    pub fn of_conversations(conversations: &[Conversation]) -> Table {
        Self::Transferable.of_rows(&conversations.iter().map(shapes).collect::<Vec<_>>())
    }

    fn of_rows<R: AsRef<[f64]>>(self, rows: &[R]) -> Table {
        let names: Vec<String> = self.features().into_iter().map(str::to_owned).collect();
        let columns = 0..names.len();
        let values = columns.flat_map(|column| rows.iter().map(move |row| row.as_ref()[column])).collect();
        Table::new(names, rows.len(), values)
    }
}

/// The row, with `medians` where it is missing.
#[must_use]
pub fn imputed(row: &[f64], medians: &[f64]) -> Vec<f64> {
    row.iter().zip(medians).map(|(value, median)| if value.is_nan() { *median } else { *value }).collect()
}

fn shapes(of: &Conversation) -> [f64; SHAPES.len()] {
    SHAPES.map(|(_, shape)| shape(of))
}

fn log2(size: f64) -> f64 {
    (1.0 + size).log2()
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// Per second, as decades; of a flow without duration, as of one per 1,000 s.
fn rate(count: f64, duration_us: f64) -> f64 {
    (1e-3 + share(count, duration_us / 1e6)).log10()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(name: &str, of: &Conversation) -> f64 {
        let place = FeatureSet::Transferable.features().iter().position(|own| *own == name).unwrap();
        shapes(of)[place]
    }

    #[test]
    fn shapes_are_those_computed_by_hand() {
        let request = Conversation {
            protocol: 6.0,
            forward_packets: 4.0,
            backward_packets: 4.0,
            forward_bytes: 62.0,
            backward_bytes: 938.0,
            data_packets: 2.0,
            duration_us: 2e6,
            longest_pause_us: 1e6,
            largest_forward_bytes: 31.0,
            has_fin: true,
        };
        for (name, expected) in [
            ("bytes per request", 5.0),
            ("requests", 3_f64.log2()),
            ("backward byte share", 0.938),
            ("backward packet share", 0.5),
            ("data packet share", 0.5),
            ("packet rate", 4.001_f64.log10()),
            ("longest pause share", 0.5),
            ("largest packet share", 0.5),
            ("is TCP", 1.0),
            ("is UDP", 0.0),
            ("is without payload", 0.0),
        ] {
            assert!((shape(name, &request) - expected).abs() < 1e-9, "{name}: {}", shape(name, &request));
        }
        assert!(
            shapes(&Conversation::default()).iter().all(|value| value.is_finite()),
            "nothing is divided by 0"
        );
    }

    #[test]
    fn what_is_missing_is_the_median() {
        let width = quantities::names().len();
        let mut row = vec![1.0; width];
        row[2] = f64::NAN;
        let flows = FeatureTable::from_columns(quantities::names(), [row]).unwrap();
        let table = FeatureSet::Full.table(&flows, &vec![7.0; width]);
        assert_eq!((table.value(0, 2), table.value(0, 3)), (7.0, 1.0));
    }
}
