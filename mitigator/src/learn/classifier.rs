//! One way to train, ask and explain models of several kinds.

use anyhow::Result;
use clap::ValueEnum;
use ndarray::Array2;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

use super::balance::{Balance, balanced};
use super::boosting::{Boosters, BoostingSettings};
use super::table::Table;
use super::trees::{self, ForestSettings, Tree, TreeSettings};

/// Shape (rows, classes); each row sums to 1.
pub type Probabilities = Array2<f64>;

/// A kind of model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// One decision tree.
    Tree,
    /// A random forest.
    Forest,
    /// Gradient boosting.
    Boosting,
    /// The mean of a forest and boosting.
    Ensemble,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Tree, Self::Forest, Self::Boosting, Self::Ensemble];

    /// As the command line spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tree => "tree",
            Self::Forest => "forest",
            Self::Boosting => "boosting",
            Self::Ensemble => "ensemble",
        }
    }
}

/// What is trained, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The kind of model.
    pub kind: Kind,
    /// What is done about classes of different size.
    pub balance: Balance,
    /// Of all chance.
    pub seed: u64,
    /// What the probability of the first class is multiplied with before the largest decides: below 1, a record has to look
    /// more like no attack to be taken for none.
    pub benign_factor: f64,
    /// Of a tree alone.
    pub tree: TreeSettings,
    /// Of forests.
    pub forest: ForestSettings,
    /// Of boosting.
    pub boosting: BoostingSettings,
}

/// A trained model.
#[derive(Debug, Serialize, Deserialize)]
pub struct Classifier {
    class_count: usize,
    columns: usize,
    benign_factor: f64,
    /// Their mean decides.
    members: Vec<Member>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Member {
    Trees(Vec<Tree>),
    Boosters(Boosters),
}

impl Classifier {
    /// Trains on a table with the class of each row; `progress` is told what is done and how much there is to do.
    ///
    /// # Errors
    ///
    /// When a library refuses.
    pub fn fit(
        table: &Table,
        classes: &[usize],
        class_count: usize,
        settings: &Settings,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Self> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(settings.seed);
        let sample = balanced(table, classes, class_count, settings.balance, &mut rng);
        let (has_forest, has_boosting) = match settings.kind {
            Kind::Tree => (false, false),
            Kind::Forest => (true, false),
            Kind::Boosting => (false, true),
            Kind::Ensemble => (true, true),
        };
        let steps = if has_forest { settings.forest.trees } else { 0 }
            + if has_boosting { settings.boosting.bags * class_count } else { 0 };
        let mut done = 0;
        let mut step = || {
            done += 1;
            progress(done, steps as u64);
        };
        let mut members = Vec::new();
        if settings.kind == Kind::Tree {
            members.push(Member::Trees(vec![Tree::fit(&sample, settings.tree)?]));
        }
        if has_forest {
            let forest = trees::fit_forest(&sample, class_count, &settings.forest, &mut rng, &mut step)?;
            members.push(Member::Trees(forest));
        }
        if has_boosting {
            let boosters =
                Boosters::fit(&sample, None, class_count, &settings.boosting, &mut rng, &mut step)?;
            members.push(Member::Boosters(boosters));
        }
        Ok(Self { class_count, columns: table.columns(), benign_factor: settings.benign_factor, members })
    }

    /// The probabilities of each row's classes.
    ///
    /// # Panics
    ///
    /// When the table has other columns than the one that was learned from.
    #[must_use]
    pub fn probabilities(&self, table: &Table) -> Probabilities {
        assert_eq!(table.columns(), self.columns, "the columns that were learned from");
        let mut mean = Probabilities::zeros((table.rows(), self.class_count));
        let mut members = 0.0;
        for member in &self.members {
            mean += &match member {
                Member::Trees(trees) => trees::votes(trees, table, self.class_count),
                Member::Boosters(boosters) => boosters.probabilities(table),
            };
            members += 1.0;
        }
        mean / members
    }

    /// Columns of the tables that it reads.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The class of each row of `probabilities`.
    #[must_use]
    pub fn decide(&self, probabilities: &Probabilities) -> Vec<usize> {
        decide(probabilities, self.benign_factor)
    }

    /// What of the decisions each column carries; together 1. Shape (columns).
    #[must_use]
    pub fn importance(&self) -> Vec<f64> {
        let mut importance = vec![0.0; self.columns];
        for member in &self.members {
            let own = match member {
                Member::Trees(trees) => trees::importance(trees, self.columns),
                Member::Boosters(boosters) => boosters.importance(self.columns),
            };
            let sum: f64 = own.iter().sum();
            for (all, own) in importance.iter_mut().zip(own).filter(|_| sum > 0.0) {
                *all += own / sum;
            }
        }
        let sum: f64 = importance.iter().sum();
        importance.into_iter().map(|share| if sum > 0.0 { share / sum } else { 0.0 }).collect()
    }
}

/// The class with the largest probability of each row, that of the first class multiplied with `benign_factor`.
#[must_use]
pub fn decide(probabilities: &Probabilities, benign_factor: f64) -> Vec<usize> {
    let weighed = |(class, probability): (usize, &f64)| {
        (class, if class == 0 { probability * benign_factor } else { *probability })
    };
    let largest = |best: (usize, f64), next: (usize, f64)| if next.1 > best.1 { next } else { best };
    probabilities
        .rows()
        .into_iter()
        .map(|row| row.iter().enumerate().map(weighed).fold((0, f64::NEG_INFINITY), largest).0)
        .collect()
}
