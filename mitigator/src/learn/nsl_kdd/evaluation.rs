//! The figures of a model on labelled records.

use std::collections::BTreeMap;

use serde::Serialize;

use super::attack::{Attack, Class};
use super::model::Model;
use super::record::Labelled;
use crate::learn::confusion::{ClassFigures, Confusion};

/// What a model made of labelled records.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// Records.
    pub records: usize,
    /// SHA-256 of their file, uncompressed.
    pub data_sha256: String,
    /// Share of records whose class was told rightly.
    pub accuracy: f64,
    /// Mean of the classes' F1.
    pub macro_f1: f64,
    /// Share of records whose class was told wrongly.
    pub zero_one_error: f64,
    /// Share of records of which it was told rightly whether they are an attack.
    pub binary_accuracy: f64,
    /// Figures of each class.
    pub classes: BTreeMap<&'static str, ClassFigures>,
    /// Shape (true class, predicted class), in the order of [`Class::ALL`]: numbers of records.
    pub confusion: Vec<Vec<f64>>,
    /// What became of each attack.
    pub attacks: Vec<AttackFigures>,
}

/// What became of the records of one attack.
#[derive(Clone, Debug, Serialize)]
pub struct AttackFigures {
    /// As the data set spells it.
    pub name: &'static str,
    /// What it counts as.
    pub class: Class,
    /// Whether `KDDTrain+` has it.
    pub is_in_training: bool,
    /// Its records.
    pub records: u64,
    /// Of them, those whose class was told.
    pub classified: u64,
    /// Of them, those that were taken for some attack.
    pub detected: u64,
}

impl Evaluation {
    /// Asks `model` about all records.
    #[must_use]
    pub fn of(model: &Model, data: &Labelled) -> Self {
        let predicted = model.decide(&model.probabilities(&data.records));
        let confusion = Confusion::of(Class::ALL.len(), &data.classes(), &predicted);
        let attacks = data.records.iter().filter_map(|record| record.attack);
        Self {
            records: data.records.len(),
            data_sha256: data.digest.clone(),
            accuracy: confusion.accuracy(),
            macro_f1: confusion.macro_f1(),
            zero_one_error: confusion.zero_one_error(),
            binary_accuracy: confusion.binary_accuracy(),
            classes: Class::ALL.map(|class| (class.name(), confusion.class(class as usize))).into(),
            confusion: confusion.counts().to_vec(),
            attacks: by_attack(attacks, &predicted),
        }
    }

    /// Share of the records of attacks that were taken for some attack, of those that training has or has not; `None`
    /// without such records.
    #[must_use]
    pub fn detected_share(&self, is_in_training: bool) -> Option<f64> {
        let of = |count: fn(&AttackFigures) -> u64| -> u64 {
            self.attacks.iter().filter(|attack| attack.is_in_training == is_in_training).map(count).sum()
        };
        let records = of(|attack| attack.records);
        (records > 0).then(|| as_f64(of(|attack| attack.detected)) / as_f64(records))
    }
}

fn by_attack(attacks: impl Iterator<Item = &'static Attack>, predicted: &[usize]) -> Vec<AttackFigures> {
    let mut figures: BTreeMap<(Class, &str), AttackFigures> = BTreeMap::new();
    for (attack, predicted) in attacks.zip(predicted).filter(|(attack, _)| attack.class != Class::Benign) {
        let own = figures.entry((attack.class, attack.name)).or_insert(AttackFigures {
            name: attack.name,
            class: attack.class,
            is_in_training: attack.is_in_training,
            records: 0,
            classified: 0,
            detected: 0,
        });
        own.records += 1;
        own.classified += u64::from(*predicted == attack.class as usize);
        own.detected += u64::from(*predicted != Class::Benign as usize);
    }
    figures.into_values().collect()
}

#[expect(clippy::cast_precision_loss, reason = "numbers of records")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attacks_are_detected_or_classified() {
        let attacks =
            ["normal", "neptune", "neptune", "neptune", "mscan"].map(|name| Attack::named(name).unwrap());
        let figures = by_attack(attacks.into_iter(), &[1, 0, 1, 2, 1]);
        let counted: Vec<_> = figures
            .iter()
            .map(|own| (own.name, own.is_in_training, own.records, own.classified, own.detected))
            .collect();
        assert_eq!(counted, [("neptune", true, 3, 1, 2), ("mscan", false, 1, 0, 1)]);
    }
}
