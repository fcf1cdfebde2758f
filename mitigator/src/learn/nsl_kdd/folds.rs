//! Cross-validation that leaves attacks out: in each fold, some attacks of every class are never shown to the model.
//!
//! `KDDTest+` has 17 attacks that `KDDTrain+` has not. A split by chance has none, and tells nothing of how a model fares
//! with them; so each attack is left out once. Everything here happens within `KDDTrain+`.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};

use super::attack::{Attack, Class};
use super::record::Record;
use crate::learn::classifier::{Probabilities, decide};
use crate::learn::confusion::Confusion;

/// Number of folds, which is the number of attacks of the smallest classes.
pub const FOLDS: usize = 4;

/// The attacks that each fold leaves out; each of the 22 once.
const LEFT_OUT: [&[&str]; FOLDS] = [
    &["neptune", "ipsweep", "guess_passwd", "phf", "buffer_overflow"],
    &["smurf", "land", "nmap", "warezclient", "spy", "loadmodule"],
    &["back", "portsweep", "warezmaster", "imap", "perl"],
    &["teardrop", "pod", "satan", "ftp_write", "multihop", "rootkit"],
];

/// What one fold learns from and is asked about, as numbers of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    /// To learn from.
    pub training: Vec<usize>,
    /// A quarter of the records of attacks that are also learned from, and of benign ones.
    pub known: Vec<usize>,
    /// All records of the attacks that are left out.
    pub unseen: Vec<usize>,
}

/// The folds of these records.
#[must_use]
pub fn folds(records: &[Record], seed: u64) -> Vec<Fold> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let drawn: Vec<u64> = records.iter().map(|_| rng.next_u64() % FOLDS as u64).collect();
    (0_u64..)
        .zip(LEFT_OUT)
        .map(|(number, left_out)| {
            let mut fold = Fold { training: Vec::new(), known: Vec::new(), unseen: Vec::new() };
            for (row, record) in records.iter().enumerate() {
                if record.attack.is_some_and(|attack| left_out.contains(&attack.name)) {
                    fold.unseen.push(row);
                } else if drawn[row] == number {
                    fold.known.push(row);
                } else {
                    fold.training.push(row);
                }
            }
            fold
        })
        .collect()
}

/// What all folds said of records that they had not learned from.
#[derive(Debug, Default)]
pub struct Answers {
    attacks: Vec<&'static Attack>,
    is_unseen: Vec<bool>,
    probabilities: Vec<Probabilities>,
}

impl Answers {
    /// Takes what a fold said of the records `rows`.
    pub fn add(&mut self, records: &[Record], rows: &[usize], is_unseen: bool, said: Probabilities) {
        self.attacks.extend(rows.iter().filter_map(|row| records[*row].attack));
        self.is_unseen.extend(rows.iter().map(|_| is_unseen));
        self.probabilities.push(said);
    }

    /// The confusion for a factor on benign's probability. How frequent an attack is in the training file says nothing of
    /// how frequent it is elsewhere, so: half of the weight is benign; the other half is shared by the four classes of
    /// attacks alike, in each of them by known and unseen ones alike, in each of those by the attacks alike.
    #[must_use]
    pub fn confusion(&self, benign_factor: f64) -> Confusion {
        let weights = self.weights();
        let mut confusion = Confusion::new(Class::ALL.len());
        let predicted = self.probabilities.iter().flat_map(|said| decide(said, benign_factor));
        for ((attack, weight), predicted) in self.attacks.iter().zip(weights).zip(predicted) {
            confusion.add(attack.class as usize, predicted, weight);
        }
        confusion
    }

    fn weights(&self) -> Vec<f64> {
        let key = |row: usize| (self.attacks[row].class, self.is_unseen[row], self.attacks[row].name);
        let mut records = std::collections::BTreeMap::new();
        for row in 0..self.attacks.len() {
            *records.entry(key(row)).or_insert(0.0) += 1.0;
        }
        let attacks = |class: Class, is_unseen: bool| -> f64 {
            records.keys().filter(|key| (key.0, key.1) == (class, is_unseen)).map(|_| 1.0).sum()
        };
        (0..self.attacks.len())
            .map(|row| {
                let (class, is_unseen, _) = key(row);
                let group = if class == Class::Benign { 0.5 } else { 0.5 / 4.0 / 2.0 };
                group / attacks(class, is_unseen) / records[&key(row)]
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::attack::ATTACKS;
    use super::super::record::tests::line;
    use super::*;

    fn records() -> Vec<Record> {
        let of = |attack: &Attack| {
            let line = line(1.0, "http", &format!(",{}", attack.name));
            std::iter::repeat_n(Record::parse(&line).unwrap(), 8)
        };
        ATTACKS.iter().filter(|attack| attack.is_in_training).flat_map(of).collect()
    }

    #[test]
    fn each_attack_is_left_out_once_and_never_learned_from_then() {
        let records = records();
        let mut left_out = Vec::new();
        for fold in folds(&records, 1) {
            let names = |rows: &[usize]| -> BTreeSet<&str> {
                rows.iter().map(|row| records[*row].attack.unwrap().name).collect()
            };
            let unseen = names(&fold.unseen);
            assert!(unseen.is_disjoint(&names(&fold.training)) && unseen.is_disjoint(&names(&fold.known)));
            let rows: BTreeSet<usize> =
                [&fold.training, &fold.known, &fold.unseen].into_iter().flatten().copied().collect();
            assert_eq!(rows.len(), records.len());
            let classes: BTreeSet<_> = fold.training.iter().map(|row| records[*row].class()).collect();
            assert_eq!(classes.len(), Class::ALL.len(), "every class is learned");
            left_out.extend(unseen);
        }
        left_out.sort_unstable();
        let mut all: Vec<&str> =
            ATTACKS.iter().filter(|a| a.is_in_training && a.class != Class::Benign).map(|a| a.name).collect();
        all.sort_unstable();
        assert_eq!(left_out, all);
    }

    #[test]
    fn attacks_count_alike_however_frequent_they_are() {
        let records = records();
        let mut answers = Answers::default();
        for fold in folds(&records, 1) {
            // Whoever calls everything dos.
            let said = |rows: usize| {
                Probabilities::from_shape_fn((rows, 5), |(_, class)| f64::from(u8::from(class == 1)))
            };
            answers.add(&records, &fold.known, false, said(fold.known.len()));
            answers.add(&records, &fold.unseen, true, said(fold.unseen.len()));
        }
        let confusion = answers.confusion(1.0);
        let sum: f64 = confusion.counts().iter().flatten().sum();
        assert!((sum - 1.0).abs() < 1e-9);
        assert!((confusion.accuracy() - 0.125).abs() < 1e-9);
        assert!((confusion.class(0).records - 0.5).abs() < 1e-9);
    }
}
