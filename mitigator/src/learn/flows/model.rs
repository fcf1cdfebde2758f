//! `FlowModel`: learned from labelled flows, kept in a file, asked about others.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, ensure};
use clap::ValueEnum;
use ndarray::ArrayView1;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

use super::category::Category;
use super::data::Labelled;
use super::evaluation::lowest_threshold;
use super::quantities;
use super::shapes::{FeatureSet, imputed};
use super::table::FeatureTable;
use super::variation::Conversation;
use crate::learn::balance::{Balance, Sample, balanced};
use crate::learn::boosting::{Boosters, BoostingSettings};
use crate::learn::classifier::Probabilities;
use crate::learn::model_file::{self, Header};
use crate::learn::table::Table;

/// As the command line and model files spell it.
pub const DATA_SET: &str = "flows";

/// What is done about categories of different size unless something else is asked for.
pub const DEFAULT_BALANCE: Balance = Balance::Weights;
/// Share of what is called an attack that has to be one, unless another is asked for.
pub const DEFAULT_PRECISION: f64 = 0.9;
/// What a model that knows no categories calls all of them.
const ATTACK: &str = "attack";
/// How often each flow is learned from in another form, in each bag anew.
const VARIATIONS: usize = 2;
/// Models whose mean decides.
const BAGS: usize = 4;
/// The lowest threshold: below it, benign is the more probable.
const LEAST_THRESHOLD: f64 = 0.5;

/// Which classes a model tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Classes {
    /// Benign, and each category of attacks
    Categories,
    /// Benign and attack
    Binary,
}

/// How a model is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// What it sees.
    pub features: FeatureSet,
    /// What it tells apart.
    pub classes: Classes,
    /// What is done about categories of different size.
    pub balance: Balance,
    /// Of all chance.
    pub seed: u64,
    /// How often each flow is learned from in another form; the full features have no other form.
    pub variations: usize,
    /// Share of what it calls an attack on validation flows that has to be one.
    pub precision: f64,
    /// Of the models whose mean decides.
    pub boosting: BoostingSettings,
}

/// What a model's file says of how it was trained, and of what came out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trained {
    /// How it was trained.
    #[serde(flatten)]
    pub training: Training,
    /// From which probabilities on a flow is what.
    pub thresholds: Thresholds,
}

impl Training {
    /// How a model is trained unless something else is asked for.
    #[must_use]
    pub fn new(features: FeatureSet, classes: Classes, balance: Balance, seed: u64) -> Self {
        Self {
            features,
            classes,
            balance,
            seed,
            variations: if features == FeatureSet::Transferable { VARIATIONS } else { 0 },
            precision: DEFAULT_PRECISION,
            boosting: BoostingSettings {
                bags: BAGS,
                bag_rows: None,
                rounds: 100,
                learning_rate: 0.15,
                max_depth: 5,
                max_leaves: 15,
                min_leaf_weight: 5.0,
                l2: 5.0,
                column_share: 0.5,
                patience: Some(15),
            },
        }
    }
}

/// From which probabilities on a flow is what; each is 0.5..=1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// Any attack, of the probability of all attacks together.
    pub attack: f64,
    /// Dos or ddos, of the probability of both together; as `attack` when a model knows no categories.
    pub denial_of_service: f64,
}

impl Thresholds {
    fn are_sound(self) -> bool {
        [self.attack, self.denial_of_service].iter().all(|share| (LEAST_THRESHOLD..=1.0).contains(share))
    }
}

/// A trained model.
#[derive(Debug, Serialize, Deserialize)]
pub struct FlowModel {
    features: FeatureSet,
    classes: Vec<String>,
    /// Of the quantities that were learned from, in the order of [`quantities::names`].
    medians: Vec<f64>,
    thresholds: Thresholds,
    /// Their mean decides; each has learned from variations of its own.
    bags: Vec<Boosters>,
}

impl FlowModel {
    /// Learns from `data`; `validation` says when to stop, and from which probability on a flow is an attack. Its flows of
    /// categories that `data` has not are left out.
    ///
    /// # Errors
    ///
    /// When one of the two has no benign flows or no attacks, or the library refuses.
    pub fn fit(
        data: &Labelled,
        validation: &Labelled,
        training: &Training,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Self> {
        let classes = classes_of(data, training.classes);
        let medians = data.table.medians();
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(training.seed);
        let validation = known(validation, &classes);
        for (name, flows) in [("to learn from", data), ("to validate with", &validation)] {
            let benign = flows.categories.iter().filter(|category| **category == Category::Benign).count();
            let all = flows.categories.len();
            ensure!(
                benign > 0 && benign < all,
                "there is nothing to tell apart: {benign} of {all} flows {name} are benign; it takes benign flows and attacks"
            );
        }
        let seen = training.varied(&training.seen(&validation, &classes, &medians), &mut rng);
        let boosting = BoostingSettings { bags: 1, ..training.boosting };
        let steps = (training.boosting.bags * classes.len()) as u64;
        let mut done = 0;
        let mut bags = Vec::new();
        for _ in 0..training.boosting.bags {
            let learned = training.learned(data, &classes, &medians, &mut rng);
            let learned = training.varied(&learned, &mut rng);
            let step = || {
                done += 1;
                progress(done, steps);
            };
            bags.push(Boosters::fit(&learned, Some(&seen), classes.len(), &boosting, &mut rng, step)?);
        }
        let mut model = Self {
            features: training.features,
            classes,
            medians,
            thresholds: Thresholds { attack: LEAST_THRESHOLD, denial_of_service: LEAST_THRESHOLD },
            bags,
        };
        model.thresholds = model.choose_thresholds(&seen, training.precision);
        Ok(model)
    }

    /// The lowest that are precise on `seen`, where what is looked for weighs as much as all else; with none of it there, the
    /// least that may be.
    fn choose_thresholds(&self, seen: &Sample, precision: f64) -> Thresholds {
        let probabilities = self.mean(&seen.table);
        let choose = |score: &dyn Fn(ArrayView1<'_, f64>) -> f64, is_it: &dyn Fn(usize) -> bool| {
            let scores: Vec<f64> = probabilities.rows().into_iter().map(score).collect();
            let is_it: Vec<bool> = seen.classes.iter().map(|class| is_it(*class)).collect();
            if !is_it.contains(&true) {
                return LEAST_THRESHOLD;
            }
            let lowest = lowest_threshold(&scores, &is_it, &even_odds(&is_it, &seen.weights), precision);
            lowest.map_or(1.0, |lowest| lowest.max(LEAST_THRESHOLD))
        };
        Thresholds {
            attack: choose(&attack_of, &|class| class > 0),
            denial_of_service: choose(&|row| self.denial_of_service_of(row), &|class| {
                self.is_denial_of_service(class)
            }),
        }
    }

    /// The probabilities of each flow's classes. Shape (rows, [`FlowModel::classes`]); each row sums to 1.
    #[must_use]
    pub fn probabilities(&self, table: &FeatureTable) -> Probabilities {
        self.mean(&self.features.table(table, &self.medians))
    }

    fn mean(&self, table: &Table) -> Probabilities {
        let mut mean = Probabilities::zeros((table.rows(), self.classes.len()));
        let mut bags = 0.0;
        for bag in &self.bags {
            mean += &bag.probabilities(table);
            bags += 1.0;
        }
        mean / bags
    }

    /// Names of the classes; the first is `benign`.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// How many flows are of each category that the model has not learned, and says nothing right of.
    #[must_use]
    pub fn not_learned(&self, flows: &Labelled) -> BTreeMap<Category, usize> {
        let mut counts = BTreeMap::new();
        for category in flows.categories.iter().filter(|own| class_of(**own, &self.classes).is_none()) {
            *counts.entry(*category).or_default() += 1;
        }
        counts
    }

    /// Names of the features that decide.
    #[must_use]
    pub fn features(&self) -> Vec<&'static str> {
        self.features.features()
    }

    /// Which set of features decides.
    #[must_use]
    pub const fn feature_set(&self) -> FeatureSet {
        self.features
    }

    /// From which probabilities on a flow is what.
    #[must_use]
    pub const fn thresholds(&self) -> Thresholds {
        self.thresholds
    }

    /// Whether a class is one of those that keep a service from answering; of a model that knows no categories, any attack.
    #[must_use]
    pub fn is_denial_of_service(&self, class: usize) -> bool {
        [ATTACK, Category::Dos.name(), Category::Ddos.name()].contains(&self.classes[class].as_str())
    }

    /// The probability of dos and ddos together. Shape (classes).
    #[must_use]
    pub fn denial_of_service_of(&self, probabilities: ArrayView1<'_, f64>) -> f64 {
        self.sum(probabilities, |class| self.is_denial_of_service(class))
    }

    /// Whether a flow with these probabilities is an attack. Shape (classes).
    #[must_use]
    pub fn is_attack(&self, probabilities: ArrayView1<'_, f64>) -> bool {
        self.decide(probabilities) > 0
    }

    /// The class of a flow with these probabilities: the more probable of dos and ddos when both together reach their
    /// threshold; or the most probable other attack, when it is more probable than those two together, and all attacks together
    /// reach theirs; or benign. So what looks like dos or ddos, and not surely enough, is given no other name. Shape (classes).
    #[must_use]
    pub fn decide(&self, probabilities: ArrayView1<'_, f64>) -> usize {
        self.decide_by(self.thresholds, probabilities)
    }

    /// The same with other thresholds.
    #[must_use]
    pub fn decide_by(&self, thresholds: Thresholds, probabilities: ArrayView1<'_, f64>) -> usize {
        let denial_of_service = self.denial_of_service_of(probabilities);
        if denial_of_service >= thresholds.denial_of_service {
            return self.most_probable(probabilities, |class| self.is_denial_of_service(class));
        }
        let other = self.most_probable(probabilities, |class| class > 0 && !self.is_denial_of_service(class));
        let is_it = probabilities[other] > denial_of_service && attack_of(probabilities) >= thresholds.attack;
        if is_it { other } else { 0 }
    }

    fn sum(&self, probabilities: ArrayView1<'_, f64>, is_wanted: impl Fn(usize) -> bool) -> f64 {
        probabilities.iter().enumerate().filter(|(class, _)| is_wanted(*class)).map(|(_, own)| own).sum()
    }

    /// Of the wanted classes; benign when there is none.
    fn most_probable(&self, probabilities: ArrayView1<'_, f64>, is_wanted: impl Fn(usize) -> bool) -> usize {
        let wanted = probabilities.iter().enumerate().filter(|(class, _)| is_wanted(*class));
        wanted.max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(class, _)| class)
    }

    /// The share of each feature in the decisions, largest first.
    #[must_use]
    pub fn importance(&self) -> Vec<(String, f64)> {
        let names = self.features();
        let mut own = vec![0.0; names.len()];
        for bag in &self.bags {
            own.iter_mut().zip(bag.importance(names.len())).for_each(|(sum, own)| *sum += own);
        }
        let sum: f64 = own.iter().sum::<f64>().max(f64::MIN_POSITIVE);
        let mut shares: Vec<(String, f64)> =
            names.into_iter().zip(own).map(|(name, own)| (name.to_owned(), own / sum)).collect();
        shares.sort_by(|a, b| b.1.total_cmp(&a.1));
        shares
    }

    /// Writes the model with what it was trained on.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write(&self, path: &Path, training: &Training, data: &Labelled) -> Result<Header<Trained>> {
        let columns = self.features().into_iter().map(str::to_owned).collect();
        let header = Header::new(
            DATA_SET,
            self.classes.clone(),
            columns,
            Trained { training: training.clone(), thresholds: self.thresholds },
            data.categories.len(),
            data.digest.clone(),
        );
        model_file::write(path, &header, self)?;
        Ok(header)
    }

    /// Reads a model.
    ///
    /// # Errors
    ///
    /// When there is none that fits this mitigator.
    pub fn read(path: &Path) -> Result<(Header<Trained>, Self)> {
        let (header, model): (Header<Trained>, Self) = model_file::read(path, DATA_SET)?;
        ensure!(
            header.classes == model.classes
                && header.columns == model.features()
                && header.settings.thresholds == model.thresholds
                && model.classes.first().is_some_and(|class| class == Category::Benign.name())
                && model.medians.len() == quantities::names().len()
                && model.thresholds.are_sound()
                && !model.bags.is_empty()
                && model.bags.iter().all(|bag| bag.tells_apart(model.classes.len())),
            "the model {} has other classes or features than this mitigator; train it again with `mitigator train {DATA_SET}`",
            path.display()
        );
        Ok((header, model))
    }
}

/// The probability that it is any attack. Shape (classes).
#[must_use]
pub fn attack_of(probabilities: ArrayView1<'_, f64>) -> f64 {
    probabilities.iter().skip(1).sum()
}

/// Benign, then what there is of attacks.
fn classes_of(data: &Labelled, classes: Classes) -> Vec<String> {
    let has = |category: &Category| *category == Category::Benign || data.categories.contains(category);
    match classes {
        Classes::Binary => vec![Category::Benign.name().to_owned(), ATTACK.to_owned()],
        Classes::Categories => {
            Category::ALL.into_iter().filter(has).map(|category| category.name().to_owned()).collect()
        }
    }
}

/// The class of a category; `None` when the model has learned no flow of it.
fn class_of(category: Category, classes: &[String]) -> Option<usize> {
    let is_binary = classes.last().is_some_and(|class| class == ATTACK);
    if is_binary {
        return Some(usize::from(category != Category::Benign));
    }
    classes.iter().position(|class| class == category.name())
}

/// The flows of categories that have a class: of others nothing can be right.
fn known(flows: &Labelled, classes: &[String]) -> Labelled {
    let is_known = |row: &usize| class_of(flows.categories[*row], classes).is_some();
    flows.select(&(0..flows.categories.len()).filter(is_known).collect::<Vec<_>>())
}

/// The flows as they are: all quantities, and weights of 1. All of them have a class.
fn plain(flows: &Labelled, classes: &[String], medians: &[f64]) -> Sample {
    let rows: Vec<Vec<f64>> =
        (0..flows.table.rows()).map(|row| imputed(flows.table.row(row), medians)).collect();
    let names: Vec<String> = quantities::names().iter().map(|name| (*name).to_owned()).collect();
    let values = (0..names.len()).flat_map(|column| rows.iter().map(move |row| row[column])).collect();
    Sample {
        table: Table::new(names, rows.len(), values),
        classes: flows.categories.iter().filter_map(|category| class_of(*category, classes)).collect(),
        weights: vec![1.0; rows.len()],
    }
}

impl Training {
    /// What boosters learn from: balanced. Shape of its table: (rows, quantities).
    fn learned(
        &self,
        flows: &Labelled,
        classes: &[String],
        medians: &[f64],
        rng: &mut Xoshiro256PlusPlus,
    ) -> Sample {
        let plain = plain(flows, classes, medians);
        if self.balance == Balance::Weights {
            return Sample { weights: weights(&plain.classes, &flows.labels), ..plain };
        }
        balanced(&plain.table, &plain.classes, classes.len(), self.balance, rng)
    }

    /// What boosters stop by and thresholds are chosen with: each flow once, as it is. Where classes are balanced to be
    /// learned, they weigh alike here: stopping minimises the loss that is learned by.
    fn seen(&self, flows: &Labelled, classes: &[String], medians: &[f64]) -> Sample {
        let plain = plain(flows, classes, medians);
        if self.balance == Balance::None {
            return plain;
        }
        Sample { weights: weights(&plain.classes, &flows.labels), ..plain }
    }

    /// With the variations of each flow, as the features that a model sees.
    fn varied(&self, sample: &Sample, rng: &mut Xoshiro256PlusPlus) -> Sample {
        if self.features == FeatureSet::Full {
            return sample.clone();
        }
        let table = &sample.table;
        let row = |row: usize| -> Vec<f64> {
            (0..table.columns()).map(|column| table.value(row, column)).collect()
        };
        let plain: Vec<Conversation> =
            (0..table.rows()).map(|number| Conversation::of(&row(number))).collect();
        let mut all = plain.clone();
        for _ in 0..self.variations {
            all.extend(plain.iter().map(|of| of.varied(rng)));
        }
        let times = self.variations + 1;
        Sample {
            table: FeatureSet::of_conversations(&all),
            classes: sample.classes.repeat(times),
            weights: sample.weights.repeat(times),
        }
    }
}

/// The weights, with those that are it as heavy together as all others.
fn even_odds(is_it: &[bool], weights: &[f64]) -> Vec<f64> {
    let sum = |wanted: bool| -> f64 {
        is_it.iter().zip(weights).filter(|(is, _)| **is == wanted).map(|(_, weight)| weight).sum()
    };
    let (it, rest) = (sum(true), sum(false));
    let scaled = |(is, weight): (&bool, &f64)| if *is { weight / it } else { weight / rest };
    is_it.iter().zip(weights).map(scaled).collect()
}

/// Weights with which benign flows count as much as all attacks, kinds of attacks alike, and labels of a kind alike; 1 on
/// average. Shapes (rows).
fn weights(classes: &[usize], labels: &[String]) -> Vec<f64> {
    let mut flows: BTreeMap<(usize, &str), f64> = BTreeMap::new();
    for (class, label) in classes.iter().zip(labels) {
        *flows.entry((*class, if *class == 0 { "" } else { label })).or_default() += 1.0;
    }
    let mut kinds: BTreeMap<usize, f64> = BTreeMap::new();
    for (class, _) in flows.keys() {
        *kinds.entry(*class).or_default() += 1.0;
    }
    let attacks = kinds.keys().filter(|class| **class > 0).fold(0.0, |sum, _| sum + 1.0);
    let half = flows.values().sum::<f64>() / 2.0;
    let weight = |(class, label): (&usize, &String)| {
        let alike = if *class == 0 { 1.0 } else { attacks * kinds[class] };
        half / alike / flows[&(*class, if *class == 0 { "" } else { label })]
    };
    classes.iter().zip(labels).map(weight).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_weight_is_benign_and_the_rest_is_shared_alike() {
        let flows = [(0, "a"), (0, "b"), (0, "b"), (1, "c"), (1, "c"), (1, "d"), (2, "e"), (2, "e")];
        let classes = flows.map(|(class, _)| class);
        let labels = flows.map(|(_, label)| label.to_owned());
        let weights = weights(&classes, &labels);
        let sum = |wanted: &dyn Fn(usize) -> bool| -> f64 {
            weights.iter().enumerate().filter(|(row, _)| wanted(*row)).map(|(_, weight)| weight).sum()
        };
        let kind = |class: usize| sum(&|row| classes[row] == class);
        for (weight, expected) in [
            (kind(0), 4.0),
            (kind(1), 2.0),
            (kind(2), 2.0),
            (sum(&|row| labels[row] == "c"), 1.0),
            (sum(&|row| labels[row] == "d"), 1.0),
            (weights[1], 4.0 / 3.0),
        ] {
            assert!((weight - expected).abs() < 1e-9, "{weight} is not {expected}: {weights:?}");
        }
    }

    #[test]
    fn an_attack_is_called_what_it_most_likely_is_or_nothing() {
        let model = |classes: &[&str], attack, denial_of_service| FlowModel {
            features: FeatureSet::Full,
            classes: classes.iter().map(|class| (*class).to_owned()).collect(),
            medians: Vec::new(),
            thresholds: Thresholds { attack, denial_of_service },
            bags: Vec::new(),
        };
        let known = ["benign", "dos", "ddos", "port-scan"];
        for (description, probabilities, expected) in [
            ("dos and ddos together", [0.4, 0.2, 0.4, 0.0], "ddos"),
            ("below their threshold", [0.45, 0.5, 0.0, 0.05], "benign"),
            ("which another attack beside them does not change", [0.05, 0.3, 0.2, 0.45], "benign"),
            ("unless it is more likely than both", [0.05, 0.25, 0.1, 0.6], "port-scan"),
            ("and all together are enough", [0.55, 0.0, 0.0, 0.45], "benign"),
        ] {
            let model = model(&known, 0.5, 0.6);
            let decided = model.decide(ndarray::aview1(&probabilities));
            assert_eq!(known[decided], expected, "{description}");
        }
        let binary = model(&["benign", "attack"], 0.7, 0.7);
        assert_eq!(binary.decide(ndarray::aview1(&[0.31, 0.69])), 0);
        assert_eq!(binary.decide(ndarray::aview1(&[0.29, 0.71])), 1);
    }

    #[test]
    fn validation_flows_stay_as_they_are() {
        let mut row = vec![1.0; quantities::names().len()];
        let mut flows = Labelled {
            table: FeatureTable::default(),
            labels: Vec::new(),
            categories: Vec::new(),
            digest: String::new(),
            texts: Vec::new(),
        };
        for (number, label) in
            (0_u32..).zip(["BENIGN", "BENIGN", "BENIGN", "BENIGN", "DoS", "PortScan", "PortScan"])
        {
            row[0] = f64::from(number);
            flows.table.push(row.iter().copied());
            flows.labels.push(label.to_owned());
            flows.categories.extend(Category::of_label(label));
        }
        let classes = ["benign", "dos"].map(str::to_owned);
        let known = known(&flows, &classes);
        assert_eq!(known.labels.len(), 5, "what was not learned is left out");
        for balance in Balance::ALL {
            let training = Training::new(FeatureSet::Full, Classes::Categories, balance, 0);
            let seen = training.seen(&known, &classes, &row);
            assert_eq!(seen.table.column(0), [0.0, 1.0, 2.0, 3.0, 4.0], "{balance:?}");
            assert_eq!(seen.classes, [0, 0, 0, 0, 1]);
            assert_eq!(seen.weights[4] > seen.weights[0], balance != Balance::None, "{balance:?}");
        }
    }

    #[test]
    fn what_is_looked_for_is_as_heavy_as_all_else() {
        assert_eq!(even_odds(&[true, false, false], &[4.0, 1.0, 3.0]), [1.0, 0.25, 0.75]);
    }
}
