//! Gradient boosting (forust): for each class, trees that tell it from all others.
//!
//! Several boosters may be trained on records that are drawn anew, as many of each class; their mean is steadier than one of
//! them. Sums are added in one order on one thread: equal seeds give equal models.

use std::fmt;

use anyhow::{Context, Result};
use forust_ml::gradientbooster::ImportanceMethod;
use forust_ml::{GradientBooster, Matrix};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::RngCore;
use serde::{Deserialize, Serialize};

use super::balance::{Sample, drawn_alike};
use super::classifier::Probabilities;
use super::table::Table;

/// How boosters are trained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BoostingSettings {
    /// Boosters for each class.
    pub bags: usize,
    /// Records that each of them learns from, as many of each class, drawn with return; `None` is the sample as it is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bag_rows: Option<usize>,
    /// Trees of each booster.
    pub rounds: usize,
    /// How far each tree goes.
    pub learning_rate: f32,
    /// Splits from the root to a leaf, at most.
    pub max_depth: usize,
    /// Leaves of a tree, at most.
    pub max_leaves: usize,
    /// Sum of the loss's second derivative in a leaf, at least.
    pub min_leaf_weight: f32,
    /// Penalty on large leaves.
    pub l2: f32,
    /// Share of the features that each tree learns from.
    pub column_share: f64,
    /// Trees after the best one, by the logarithmic loss on a validation sample, with which training stops; `None` goes on to
    /// the last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub patience: Option<usize>,
}

/// For each class, what tells it from the others.
#[derive(Serialize, Deserialize)]
pub struct Boosters {
    /// Shape (bags, classes).
    bags: Vec<Vec<GradientBooster>>,
}

impl fmt::Debug for Boosters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Boosters").field("bags", &self.bags.len()).finish_non_exhaustive()
    }
}

impl Boosters {
    /// Trains; `progress` is called after each booster, of which there are as many as bags times classes. With a `validation`
    /// sample and patience, a booster keeps the trees up to where it was best there.
    ///
    /// # Errors
    ///
    /// When the library refuses.
    pub fn fit(
        sample: &Sample,
        validation: Option<&Sample>,
        class_count: usize,
        settings: &BoostingSettings,
        rng: &mut Xoshiro256PlusPlus,
        mut progress: impl FnMut(),
    ) -> Result<Self> {
        let mut bags = Vec::with_capacity(settings.bags);
        for _ in 0..settings.bags {
            let drawn = settings.bag_rows.map(|count| {
                let rows = drawn_alike(&sample.classes, class_count, count, rng);
                Sample {
                    table: sample.table.select(&rows),
                    classes: rows.iter().map(|row| sample.classes[*row]).collect(),
                    weights: vec![1.0; rows.len()],
                }
            });
            let bag = drawn.as_ref().unwrap_or(sample);
            let matrix = Matrix::new(bag.table.values(), bag.table.rows(), bag.table.columns());
            let mut boosters = Vec::with_capacity(class_count);
            for class in 0..class_count {
                let is_class = bag.is_class(class);
                let unseen = validation.map(|sample| (sample, sample.is_class(class)));
                let unseen = unseen.as_ref().map(|(sample, is_class)| {
                    let table = &sample.table;
                    let matrix = Matrix::new(table.values(), table.rows(), table.columns());
                    vec![(matrix, &is_class[..], &sample.weights[..])]
                });
                let mut booster = settings.booster(rng.next_u64());
                booster
                    .fit(&matrix, &is_class, &bag.weights, unseen)
                    .with_context(|| format!("cannot train the booster of class {class}"))?;
                boosters.push(booster);
                progress();
            }
            bags.push(boosters);
        }
        Ok(Self { bags })
    }

    /// Whether it tells so many classes apart in each bag, as one that was trained does.
    #[must_use]
    pub fn tells_apart(&self, classes: usize) -> bool {
        !self.bags.is_empty() && self.bags.iter().all(|bag| bag.len() == classes)
    }

    /// The mean of the bags, each with its classes' odds made to sum to 1. Shape (rows, classes).
    #[must_use]
    pub fn probabilities(&self, table: &Table) -> Probabilities {
        let matrix = Matrix::new(table.values(), table.rows(), table.columns());
        let classes = self.class_count();
        let mut mean = Probabilities::zeros((table.rows(), classes));
        for bag in &self.bags {
            let mut own = Probabilities::zeros((table.rows(), classes));
            for (class, booster) in bag.iter().enumerate() {
                for (row, log_odds) in booster.predict(&matrix, false).into_iter().enumerate() {
                    own[[row, class]] = 1.0 / (1.0 + (-log_odds).exp());
                }
            }
            for mut row in own.rows_mut() {
                let sum = row.sum();
                if sum > 0.0 {
                    row /= sum;
                }
            }
            mean += &own;
        }
        let bags = self.bags.iter().fold(0.0, |bags, _| bags + 1.0);
        mean / bags
    }

    fn class_count(&self) -> usize {
        self.bags.first().map_or(0, Vec::len)
    }

    /// How much each column improved the loss, in all trees. Shape (columns).
    #[must_use]
    pub fn importance(&self, columns: usize) -> Vec<f64> {
        let mut importance = vec![0.0; columns];
        for booster in self.bags.iter().flatten() {
            for (column, gain) in booster.calculate_feature_importance(ImportanceMethod::TotalGain, true) {
                importance[column] += f64::from(gain);
            }
        }
        importance
    }
}

impl BoostingSettings {
    fn booster(&self, seed: u64) -> GradientBooster {
        GradientBooster::default()
            .set_iterations(self.rounds)
            .set_learning_rate(self.learning_rate)
            .set_max_depth(self.max_depth)
            .set_max_leaves(self.max_leaves)
            .set_min_leaf_weight(self.min_leaf_weight)
            .set_l2(self.l2)
            .set_colsample_bytree(self.column_share)
            .set_early_stopping_rounds(self.patience)
            .set_parallel(false)
            .set_seed(seed)
    }
}
