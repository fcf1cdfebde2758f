//! The method as usually told: K-Means with two groups over all sources, nothing before it and nothing after.

use linfa::DatasetBase;
use linfa::traits::{Fit, Predict};
use linfa_clustering::KMeans;
use ndarray::{Array1, Array2};
use rand_xoshiro::Xoshiro256Plus;
use rand_xoshiro::rand_core::SeedableRng;

const SEED: u64 = 7;
/// As many as the pipeline makes, each as long at most.
const RUNS: usize = 3;
const MAX_ITERATIONS: u64 = 30;
const TOLERANCE: f64 = 1e-3;

/// The group of each row of `points`; `None` when linfa finds none.
pub(crate) fn k_means(points: &Array2<f64>) -> Option<Array1<usize>> {
    let model = KMeans::params_with_rng(2, Xoshiro256Plus::seed_from_u64(SEED))
        .n_runs(RUNS)
        .max_n_iterations(MAX_ITERATIONS)
        .tolerance(TOLERANCE)
        .fit(&DatasetBase::from(points.clone()))
        .ok()?;
    Some(model.predict(points))
}
