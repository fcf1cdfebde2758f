//! A model of NSL-KDD: trained, kept in a file, asked, evaluated, and cross-validated.

use std::path::Path;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::attack::Class;
use super::encoding::Encoding;
use super::folds::{Answers, folds};
use super::record::{Labelled, Record};
use crate::learn::balance::Balance;
use crate::learn::boosting::BoostingSettings;
use crate::learn::classifier::{Classifier, Kind, Probabilities, Settings};
use crate::learn::model_file::{self, Header};
use crate::learn::trees::{ForestSettings, TreeSettings};

/// As the command line and model files spell it.
pub const DATA_SET: &str = "nsl-kdd";

/// The kind of model that is trained unless another is asked for.
pub const DEFAULT_KIND: Kind = Kind::Ensemble;
/// What is done about classes of different size unless something else is asked for.
pub const DEFAULT_BALANCE: Balance = Balance::Weights;

/// How a kind of model is trained unless something else is asked for. The benign factor is that of the ensemble, chosen by
/// cross-validation within `KDDTrain+` that leaves attacks out (docs/nsl-kdd.md); sizes are what trains in a minute.
#[must_use]
pub fn settings(kind: Kind, balance: Balance, seed: u64) -> Settings {
    Settings {
        kind,
        balance,
        seed,
        benign_factor: if kind != Kind::Tree && balance == Balance::Weights { 0.3 } else { 1.0 },
        tree: TreeSettings { max_depth: 30, min_leaf_weight: 1.0 },
        forest: ForestSettings {
            trees: 50,
            tree: TreeSettings { max_depth: 20, min_leaf_weight: 2.0 },
            rows: 10_000,
            column_share: 0.3,
        },
        boosting: BoostingSettings {
            bags: if balance == Balance::Weights { 8 } else { 1 },
            bag_rows: (balance == Balance::Weights).then_some(20_000),
            rounds: 50,
            learning_rate: 0.15,
            max_depth: 6,
            max_leaves: 15,
            min_leaf_weight: 1.0,
            l2: 1.0,
            column_share: 0.5,
            patience: None,
        },
    }
}

/// A trained model with what turns records into its table.
#[derive(Debug, Serialize, Deserialize)]
pub struct Model {
    encoding: Encoding,
    classifier: Classifier,
}

impl Model {
    /// Trains on all records.
    ///
    /// # Errors
    ///
    /// When records of two classes are missing, or a library refuses.
    pub fn fit(data: &Labelled, settings: &Settings, progress: impl FnMut(u64, u64)) -> Result<Self> {
        let rows: Vec<usize> = (0..data.records.len()).collect();
        Self::fit_rows(data, &rows, settings, progress)
    }

    fn fit_rows(
        data: &Labelled,
        rows: &[usize],
        settings: &Settings,
        progress: impl FnMut(u64, u64),
    ) -> Result<Self> {
        let records: Vec<&Record> = rows.iter().map(|row| &data.records[*row]).collect();
        let all = data.classes();
        let classes: Vec<usize> = rows.iter().map(|row| all[*row]).collect();
        ensure!(
            classes.windows(2).any(|pair| pair[0] != pair[1]),
            "there is nothing to tell apart: all {} records are of one class",
            classes.len()
        );
        let encoding = Encoding::of(&records);
        let table = encoding.encode(records);
        let classifier = Classifier::fit(&table, &classes, Class::ALL.len(), settings, progress)?;
        Ok(Self { encoding, classifier })
    }

    /// The probabilities of each record's classes. Shape (records, [`Class::ALL`]).
    pub fn probabilities<'a>(&self, records: impl IntoIterator<Item = &'a Record>) -> Probabilities {
        self.classifier.probabilities(&self.encoding.encode(records))
    }

    /// The number of the class of each row of `probabilities`.
    #[must_use]
    pub fn decide(&self, probabilities: &Probabilities) -> Vec<usize> {
        self.classifier.decide(probabilities)
    }

    /// The share of each feature in the decisions, largest first; those of a word's columns are one.
    #[must_use]
    pub fn importance(&self) -> Vec<(String, f64)> {
        let mut features: Vec<(String, f64)> = Vec::new();
        for (column, share) in self.encoding.names().iter().zip(self.classifier.importance()) {
            let feature = column.split('=').next().unwrap_or(column);
            match features.iter_mut().find(|(name, _)| name == feature) {
                Some((_, sum)) => *sum += share,
                None => features.push((feature.to_owned(), share)),
            }
        }
        features.sort_by(|a, b| b.1.total_cmp(&a.1));
        features
    }

    /// Writes the model with what it was trained on.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write(&self, path: &Path, settings: &Settings, data: &Labelled) -> Result<Header> {
        let classes = Class::ALL.iter().map(|class| class.name().to_owned()).collect();
        let names = self.encoding.names();
        let records = data.records.len();
        let header = Header::new(DATA_SET, classes, names, settings.clone(), records, data.digest.clone());
        model_file::write(path, &header, self)?;
        Ok(header)
    }

    /// Reads a model.
    ///
    /// # Errors
    ///
    /// When there is none that fits this mitigator.
    pub fn read(path: &Path) -> Result<(Header, Self)> {
        let (header, model): (Header, Self) = model_file::read(path, DATA_SET)?;
        let classes = Class::ALL.iter().map(|class| class.name());
        ensure!(
            header.classes.iter().map(String::as_str).eq(classes)
                && header.columns == model.encoding.names()
                && model.classifier.columns() == header.columns.len(),
            "the model {} has other classes or features than this mitigator; train it again with `mitigator train {DATA_SET}`",
            path.display()
        );
        Ok((header, model))
    }
}

/// Asks a model of each fold about what it has not seen; `progress` is told the records that are left to train on.
///
/// # Errors
///
/// When a fold cannot be trained.
pub fn cross_validate(
    data: &Labelled,
    settings: &Settings,
    mut progress: impl FnMut(u64, u64),
) -> Result<Answers> {
    let mut answers = Answers::default();
    let folds = folds(&data.records, settings.seed);
    let count = folds.len() as u64;
    for (number, fold) in (0_u64..).zip(folds) {
        let model = Model::fit_rows(data, &fold.training, settings, |done, all| {
            progress(number * all + done, count * all);
        })?;
        for (rows, is_unseen) in [(&fold.known, false), (&fold.unseen, true)] {
            let said = model.probabilities(rows.iter().map(|row| &data.records[*row]));
            answers.add(&data.records, rows, is_unseen, said);
        }
    }
    Ok(answers)
}
