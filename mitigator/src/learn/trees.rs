//! A decision tree (linfa), the reference, and a random forest of them.
//!
//! linfa's trees break ties by the order of a hash map, so that two runs with one seed may differ by a few records.

use anyhow::{Context, Result};
use linfa::DatasetBase;
use linfa::traits::{Fit, Predict};
use linfa_trees::DecisionTree;
use ndarray::{Array1, Array2, Axis};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

use super::balance::{Sample, drawn, drawn_alike, drawn_without_return};
use super::classifier::Probabilities;
use super::table::Table;

/// How a tree grows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TreeSettings {
    /// Splits from the root to a leaf, at most.
    pub max_depth: usize,
    /// Weight of the records in a leaf, at least.
    pub min_leaf_weight: f32,
}

/// How a forest grows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForestSettings {
    /// Trees.
    pub trees: usize,
    /// Each of them.
    pub tree: TreeSettings,
    /// Records that each tree learns from, drawn with return.
    pub rows: usize,
    /// Share of the features that each tree learns from.
    pub column_share: f64,
}

/// A decision tree with the columns that it reads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tree {
    tree: DecisionTree<f64, usize>,
    /// Its features as columns of the table.
    columns: Vec<usize>,
}

impl Tree {
    /// Learns one tree of all columns.
    ///
    /// # Errors
    ///
    /// When linfa refuses.
    pub fn fit(sample: &Sample, settings: TreeSettings) -> Result<Self> {
        let weights = exact(&sample.weights);
        let data = DatasetBase::new(sample.table.to_array(), Array1::from(sample.classes.clone()))
            .with_weights(weights);
        let tree = parameters(settings).fit(&data).context("cannot train the decision tree")?;
        Ok(Self { tree, columns: (0..sample.table.columns()).collect() })
    }

    /// `rows` has shape (rows, columns).
    fn add_votes(&self, rows: &Array2<f64>, votes: &mut Probabilities, vote: f64) {
        let rows = rows.select(Axis(1), &self.columns);
        for (row, class) in self.tree.predict(&rows).iter().enumerate() {
            votes[[row, *class]] += vote;
        }
    }

    fn add_importance(&self, importance: &mut [f64]) {
        for node in self.tree.iter_nodes().filter(|node| !node.is_leaf()) {
            let (column, _, decrease) = node.split();
            importance[self.columns[column]] += decrease;
        }
    }
}

/// Learns a forest. Each tree is given as many records of each class when the sample weighs classes.
///
/// # Errors
///
/// When linfa refuses.
pub fn fit_forest(
    sample: &Sample,
    class_count: usize,
    settings: &ForestSettings,
    rng: &mut Xoshiro256PlusPlus,
    mut progress: impl FnMut(),
) -> Result<Vec<Tree>> {
    let is_weighted = sample.weights.iter().any(|weight| (weight - 1.0).abs() > f64::EPSILON);
    let columns: Vec<usize> = (0..sample.table.columns()).collect();
    let column_count = share_of(columns.len(), settings.column_share);
    let mut forest = Vec::with_capacity(settings.trees);
    for _ in 0..settings.trees {
        let rows = if is_weighted {
            drawn_alike(&sample.classes, class_count, settings.rows, rng)
        } else {
            drawn(sample.table.rows(), settings.rows.min(sample.table.rows()), rng)
        };
        let columns = drawn_without_return(columns.clone(), column_count, rng);
        let records = sample.table.select(&rows).to_array().select(Axis(1), &columns);
        let classes: Array1<usize> = rows.iter().map(|row| sample.classes[*row]).collect();
        let tree = parameters(settings.tree)
            .fit(&DatasetBase::new(records, classes))
            .context("cannot train the random forest")?;
        forest.push(Tree { tree, columns });
        progress();
    }
    Ok(forest)
}

/// The share of the trees' votes for each class. Shape (rows, classes).
#[must_use]
pub fn votes(trees: &[Tree], table: &Table, class_count: usize) -> Probabilities {
    let mut votes = Probabilities::zeros((table.rows(), class_count));
    let rows = table.to_array();
    for tree in trees {
        tree.add_votes(&rows, &mut votes, 1.0 / as_f64(trees.len()));
    }
    votes
}

/// How much each column decreased the impurity, in all trees. Shape (columns).
#[must_use]
pub fn importance(trees: &[Tree], columns: usize) -> Vec<f64> {
    let mut importance = vec![0.0; columns];
    for tree in trees {
        tree.add_importance(&mut importance);
    }
    importance
}

/// Weights of which all sums are exact in single precision: multiples of one power of 2, at least one of it each.
///
/// linfa moves weights from one side of a split to the other by adding and subtracting. With errors of rounding, a side
/// that is empty seems to weigh enough for a leaf, and linfa panics.
fn exact(weights: &[f64]) -> Array1<f32> {
    let sum: f64 = weights.iter().sum();
    // A mantissa has 24 bits; one is kept for what rounding adds.
    let unit = (sum.max(f64::MIN_POSITIVE).log2().ceil() - 23.0).exp2();
    weights.iter().map(|weight| as_f32((weight / unit).round().max(1.0) * unit)).collect()
}

fn parameters(settings: TreeSettings) -> linfa_trees::DecisionTreeParams<f64, usize> {
    DecisionTree::params()
        .max_depth(Some(settings.max_depth))
        .min_weight_leaf(settings.min_leaf_weight)
        .min_weight_split(2.0 * settings.min_leaf_weight)
}

/// At least 1.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a number of columns")]
fn share_of(count: usize, share: f64) -> usize {
    ((as_f64(count) * share).ceil() as usize).clamp(1, count.max(1))
}

#[expect(clippy::cast_precision_loss, reason = "numbers of records")]
fn as_f64(count: usize) -> f64 {
    count as f64
}

#[expect(clippy::cast_possible_truncation, reason = "linfa's weights have single precision")]
fn as_f32(weight: f64) -> f32 {
    weight as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::balance::weights;

    /// As of NSL-KDD, whose classes weigh 0.4 to 484 a record.
    #[test]
    fn weights_leave_nothing_when_all_are_taken_away() {
        let sizes = [67_343, 45_927, 11_656, 995, 52];
        let classes: Vec<usize> =
            sizes.iter().enumerate().flat_map(|(class, size)| std::iter::repeat_n(class, *size)).collect();
        let own = weights(&classes, sizes.len());
        let exact = exact(&own);
        // As linfa does: a sum for each class, and their sum, from which one record after the other goes.
        let left = |weights: &[f32]| {
            let mut sums = [0.0_f32; 5];
            classes.iter().zip(weights).for_each(|(class, weight)| sums[*class] += weight);
            weights.iter().fold(sums.iter().sum::<f32>(), |left, weight| left - weight)
        };
        assert_eq!(left(&exact.to_vec()), 0.0);
        let rounded: Vec<f32> = own.iter().map(|weight| as_f32(*weight)).collect();
        assert!(left(&rounded).abs() > 1.0, "a leaf's weight: {}", left(&rounded));
        for (weight, exact) in own.iter().zip(&exact) {
            assert!((weight / f64::from(*exact) - 1.0).abs() < 0.02, "{weight} {exact}");
        }
    }
}
