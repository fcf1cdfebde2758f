//! What is done about classes of very different size before a model learns.

use clap::ValueEnum;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::RngCore;
use serde::{Deserialize, Serialize};

use super::table::Table;

/// Neighbours between which SMOTE places a record, as its authors chose (Chawla et al., 2002).
const NEIGHBOURS: usize = 5;

/// What is done about classes of very different size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Balance {
    /// Nothing.
    None,
    /// Records of a class together weigh as much as those of any other. Forests, and boosting in bags, draw as many records of
    /// each class instead.
    Weights,
    /// Of a class with more records than the median class, as many as that has.
    Undersample,
    /// Records of a class with fewer than the median class are repeated until there are as many.
    Oversample,
    /// As oversample, but with records between neighbours of the class rather than repeated ones.
    Smote,
}

impl Balance {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::None, Self::Weights, Self::Undersample, Self::Oversample, Self::Smote];

    /// As the command line spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Weights => "weights",
            Self::Undersample => "undersample",
            Self::Oversample => "oversample",
            Self::Smote => "smote",
        }
    }
}

/// What a model learns from.
#[derive(Clone, Debug)]
pub struct Sample {
    /// One row for each record.
    pub table: Table,
    /// The class of each row.
    pub classes: Vec<usize>,
    /// How much each row counts; 1 on average.
    pub weights: Vec<f64>,
}

impl Sample {
    /// Of each row, 1 when it is of `class`, or 0.
    #[must_use]
    pub fn is_class(&self, class: usize) -> Vec<f64> {
        self.classes.iter().map(|own| f64::from(u8::from(*own == class))).collect()
    }
}

/// The sample that a model learns from, of `table` with the class of each row; of a class without rows there is nothing to
/// balance.
pub fn balanced(
    table: &Table,
    classes: &[usize],
    class_count: usize,
    balance: Balance,
    rng: &mut Xoshiro256PlusPlus,
) -> Sample {
    let rows = rows_of(classes, class_count);
    let plain = |table: Table, classes: Vec<usize>| {
        let weights = vec![1.0; classes.len()];
        Sample { table, classes, weights }
    };
    let select = |selected: Vec<usize>| {
        plain(table.select(&selected), selected.iter().map(|row| classes[*row]).collect())
    };
    match balance {
        Balance::None => plain(table.clone(), classes.to_vec()),
        Balance::Weights => {
            Sample { table: table.clone(), classes: classes.to_vec(), weights: weights(classes, class_count) }
        }
        Balance::Undersample => {
            let target = median_size(&rows);
            select(rows.into_iter().flat_map(|rows| drawn_without_return(rows, target, rng)).collect())
        }
        Balance::Oversample => {
            let target = median_size(&rows);
            let filled = rows.into_iter().flat_map(|mut rows| {
                let lacking = if rows.is_empty() { 0 } else { target.saturating_sub(rows.len()) };
                let repeated: Vec<usize> = (0..lacking).map(|_| rows[below(rows.len(), rng)]).collect();
                rows.extend(repeated);
                rows
            });
            select(filled.collect())
        }
        Balance::Smote => {
            let target = median_size(&rows);
            let mut classes = classes.to_vec();
            let mut added = Vec::new();
            for (class, rows) in rows.iter().enumerate().filter(|(_, rows)| rows.len() > 1) {
                let lacking = target.saturating_sub(rows.len());
                added.extend(between_neighbours(table, rows, lacking, rng));
                classes.extend(std::iter::repeat_n(class, lacking));
            }
            plain(table.with_rows(&added), classes)
        }
    }
}

/// Weights with which each class that has rows counts as much as any other; 1 on average.
#[must_use]
pub fn weights(classes: &[usize], class_count: usize) -> Vec<f64> {
    let rows = rows_of(classes, class_count);
    let present = rows.iter().filter(|rows| !rows.is_empty()).count();
    classes.iter().map(|class| as_f64(classes.len()) / as_f64(present * rows[*class].len())).collect()
}

/// Rows drawn with return, as many of each class as of any other, `count` together.
pub fn drawn_alike(
    classes: &[usize],
    class_count: usize,
    count: usize,
    rng: &mut Xoshiro256PlusPlus,
) -> Vec<usize> {
    let rows: Vec<Vec<usize>> =
        rows_of(classes, class_count).into_iter().filter(|rows| !rows.is_empty()).collect();
    (0..count)
        .map(|number| {
            let rows = &rows[number % rows.len()];
            rows[below(rows.len(), rng)]
        })
        .collect()
}

/// `count` of so many rows, drawn with return.
pub fn drawn(rows: usize, count: usize, rng: &mut Xoshiro256PlusPlus) -> Vec<usize> {
    (0..count).map(|_| below(rows, rng)).collect()
}

/// `count` of these, or all when there are fewer, none of them twice.
pub fn drawn_without_return(mut these: Vec<usize>, count: usize, rng: &mut Xoshiro256PlusPlus) -> Vec<usize> {
    for place in 0..count.min(these.len()) {
        let other = place + below(these.len() - place, rng);
        these.swap(place, other);
    }
    these.truncate(count);
    these
}

/// The rows of each class.
fn rows_of(classes: &[usize], class_count: usize) -> Vec<Vec<usize>> {
    let mut rows = vec![Vec::new(); class_count];
    for (row, class) in classes.iter().enumerate() {
        rows[*class].push(row);
    }
    rows
}

/// Of the classes that have rows.
fn median_size(rows: &[Vec<usize>]) -> usize {
    let mut sizes: Vec<usize> = rows.iter().map(Vec::len).filter(|size| *size > 0).collect();
    sizes.sort_unstable();
    sizes.get(sizes.len() / 2).copied().unwrap_or(0)
}

/// Records on the lines between records and their nearest neighbours among `rows`, by Euclidean distance of the columns
/// divided by their range there.
fn between_neighbours(
    table: &Table,
    rows: &[usize],
    count: usize,
    rng: &mut Xoshiro256PlusPlus,
) -> Vec<Vec<f64>> {
    let ranges: Vec<f64> = (0..table.columns())
        .map(|column| {
            let values = rows.iter().map(|row| table.value(*row, column));
            let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (low.min(value), high.max(value))
            });
            high - low
        })
        .collect();
    let used: Vec<usize> = (0..table.columns()).filter(|column| ranges[*column] > 0.0).collect();
    let distance = |a: usize, b: usize| -> f64 {
        used.iter()
            .map(|column| (table.value(a, *column) - table.value(b, *column)) / ranges[*column])
            .map(|apart| apart * apart)
            .sum()
    };
    let mut nearest: Vec<Option<Vec<usize>>> = vec![None; rows.len()];
    (0..count)
        .map(|_| {
            let start = below(rows.len(), rng);
            let neighbours = nearest[start].get_or_insert_with(|| {
                let others = rows.iter().copied().filter(|row| *row != rows[start]);
                let mut others: Vec<(f64, usize)> =
                    others.map(|row| (distance(rows[start], row), row)).collect();
                others.sort_by(|a, b| a.0.total_cmp(&b.0));
                others.into_iter().take(NEIGHBOURS).map(|(_, row)| row).collect()
            });
            let neighbour = neighbours[below(neighbours.len(), rng)];
            let share = share(rng);
            (0..table.columns())
                .map(|column| {
                    let from = table.value(rows[start], column);
                    from + share * (table.value(neighbour, column) - from)
                })
                .collect()
        })
        .collect()
}

/// A number in 0..`bound`; the bias of the remainder is below 2^-40 for any table that fits into memory.
fn below(bound: usize, rng: &mut Xoshiro256PlusPlus) -> usize {
    usize::try_from(rng.next_u64() % bound as u64).expect("below a usize")
}

/// A number in 0..1.
#[expect(clippy::cast_precision_loss, reason = "53 bits of chance are enough")]
pub(super) fn share(rng: &mut Xoshiro256PlusPlus) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

#[expect(clippy::cast_precision_loss, reason = "numbers of records")]
fn as_f64(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use rand_xoshiro::rand_core::SeedableRng;

    use super::*;

    /// Sizes 9, 3 and 2; one column, in which class 2 is far from the others.
    fn sample() -> (Table, Vec<usize>) {
        let classes: Vec<usize> = [vec![0; 9], vec![1; 3], vec![2; 2]].concat();
        let values = (0..9).chain(20..23).chain(40..42).map(f64::from).collect();
        (Table::new(vec!["x".to_owned()], 14, values), classes)
    }

    fn sizes(classes: &[usize]) -> Vec<usize> {
        rows_of(classes, 4).iter().map(Vec::len).collect()
    }

    #[test]
    fn classes_become_as_large_as_promised() {
        let (table, classes) = sample();
        for (balance, expected) in [
            (Balance::None, [9, 3, 2, 0]),
            (Balance::Weights, [9, 3, 2, 0]),
            (Balance::Undersample, [3, 3, 2, 0]),
            (Balance::Oversample, [9, 3, 3, 0]),
            (Balance::Smote, [9, 3, 3, 0]),
        ] {
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
            let sample = balanced(&table, &classes, 4, balance, &mut rng);
            assert_eq!(sizes(&sample.classes), expected, "{balance:?}");
            assert_eq!(
                (sample.table.rows(), sample.weights.len()),
                (sample.classes.len(), sample.classes.len())
            );
            for (value, class) in sample.table.column(0).iter().zip(&sample.classes) {
                let home = [0.0..=8.0, 20.0..=22.0, 40.0..=41.0];
                assert!(home[*class].contains(value), "{balance:?}: {value} in class {class}");
            }
        }
    }

    #[test]
    fn weights_make_classes_count_alike() {
        let (_, classes) = sample();
        let weights = weights(&classes, 4);
        for class in 0..3 {
            let total: f64 =
                classes.iter().zip(&weights).filter(|(own, _)| **own == class).map(|(_, w)| w).sum();
            assert!((total - 14.0 / 3.0).abs() < 1e-9, "{class}: {total}");
        }
    }

    #[test]
    fn classes_are_drawn_alike() {
        let (_, classes) = sample();
        let drawn = drawn_alike(&classes, 4, 30, &mut Xoshiro256PlusPlus::seed_from_u64(1));
        let drawn: Vec<usize> = drawn.into_iter().map(|row| classes[row]).collect();
        assert_eq!(sizes(&drawn), [10, 10, 10, 0]);
    }
}
