//! Who belongs together? K-Means over the sources that carry an alarm's traffic.
//!
//! K-Means draws lines between groups; it never says that there is an attack. The number of groups,
//! 1 to a small bound, is the smallest whose mean simplified silhouette (Vendramin, Campello and
//! Hruschka 2010) is close to the best, or 1 when no division is convincing. Seeded, so equal input gives equal groups.

use linfa::DatasetBase;
use linfa::traits::Fit;
use linfa_clustering::KMeans;
use ndarray::{Array1, Array2, ArrayView1, Axis};
use rand_xoshiro::Xoshiro256Plus;
use rand_xoshiro::rand_core::SeedableRng;

use super::settings::DetectionSettings;

/// Attempts with different starting points; the best counts.
const RUNS: usize = 3;
const MAX_ITERATIONS: u64 = 60;
const TOLERANCE: f64 = 1e-3;
/// More groups have to raise the silhouette by this; a few sources are always told apart a little
/// better one by one.
const MORE_GROUPS_GAIN: f64 = 0.05;

/// Groups of the rows of a table of points.
#[derive(Clone, Debug, PartialEq)]
pub struct Clusters {
    /// Shape: clusters x columns of the points.
    pub centroids: Array2<f64>,
    /// The cluster of each row.
    pub members: Vec<usize>,
    /// Rows per cluster.
    pub sizes: Vec<usize>,
    /// Mean simplified silhouette, 0..=1; 1 for a single group.
    pub silhouette: f64,
}

impl Clusters {
    /// Distance of a row's point from the centroid of a cluster.
    #[must_use]
    pub fn distance(&self, points: &Array2<f64>, row: usize, cluster: usize) -> f64 {
        if row >= points.nrows() || cluster >= self.centroids.nrows() {
            return f64::INFINITY;
        }
        squared_distance(points.row(row), self.centroids.row(cluster)).sqrt()
    }
}

/// Groups the rows of `points` (shape: rows x features, in comparable units).
#[must_use]
pub fn group(points: &Array2<f64>, settings: &DetectionSettings) -> Clusters {
    let sample = sample_of(points, settings.sample);
    let single = Clusters {
        centroids: mean_of(points),
        members: vec![0; points.nrows()],
        sizes: vec![points.nrows()],
        silhouette: 1.0,
    };
    let most = settings.max_clusters.min(distinct_rows(&sample, settings.max_clusters));
    let divisions: Vec<(f64, Array2<f64>)> = (2..=most)
        .filter_map(|k| k_means(&sample, k, settings.seed))
        .map(|centroids| (mean_simplified_silhouette(&sample, &centroids), centroids))
        .collect();
    let best = divisions.iter().map(|(silhouette, _)| *silhouette).fold(settings.min_silhouette, f64::max);
    let is_good_enough =
        |silhouette: f64| silhouette >= (best - MORE_GROUPS_GAIN).max(settings.min_silhouette);
    let Some((silhouette, centroids)) =
        divisions.into_iter().find(|(silhouette, _)| is_good_enough(*silhouette))
    else {
        return single;
    };
    let members: Vec<usize> =
        points.rows().into_iter().map(|point| nearest_two(point, &centroids).0.cluster).collect();
    let mut sizes = vec![0; centroids.nrows()];
    for cluster in &members {
        if let Some(size) = sizes.get_mut(*cluster) {
            *size += 1;
        }
    }
    Clusters { centroids, members, sizes, silhouette }
}

/// Every n-th row, which keeps the order of sources and so all their prefixes represented.
fn sample_of(points: &Array2<f64>, most: usize) -> Array2<f64> {
    let step = points.nrows().div_ceil(most.max(1)).max(1);
    let rows: Vec<usize> = (0..points.nrows()).step_by(step).collect();
    points.select(Axis(0), &rows)
}

fn mean_of(points: &Array2<f64>) -> Array2<f64> {
    points.mean_axis(Axis(0)).unwrap_or_else(|| Array1::zeros(points.ncols())).insert_axis(Axis(0))
}

/// How many different rows there are, counted up to `enough`: K-Means cannot make more groups.
fn distinct_rows(points: &Array2<f64>, enough: usize) -> usize {
    let mut seen: Vec<ArrayView1<'_, f64>> = Vec::with_capacity(enough);
    for point in points.rows() {
        if !seen.contains(&point) {
            seen.push(point);
            if seen.len() >= enough {
                break;
            }
        }
    }
    seen.len()
}

fn k_means(points: &Array2<f64>, k: usize, seed: u64) -> Option<Array2<f64>> {
    let model = KMeans::params_with_rng(k, Xoshiro256Plus::seed_from_u64(seed))
        .n_runs(RUNS)
        .max_n_iterations(MAX_ITERATIONS)
        .tolerance(TOLERANCE)
        .fit(&DatasetBase::from(points.clone()))
        .ok()?;
    let centroids = model.centroids().clone();
    centroids.iter().all(|value| value.is_finite()).then_some(centroids)
}

#[derive(Clone, Copy)]
struct Near {
    cluster: usize,
    squared: f64,
}

/// The nearest centroid and the next one.
fn nearest_two(point: ArrayView1<'_, f64>, centroids: &Array2<f64>) -> (Near, Near) {
    let far = Near { cluster: 0, squared: f64::INFINITY };
    let mut two = (far, far);
    for (cluster, centroid) in centroids.rows().into_iter().enumerate() {
        let near = Near { cluster, squared: squared_distance(point, centroid) };
        if near.squared < two.0.squared {
            two = (near, two.0);
        } else if near.squared < two.1.squared {
            two.1 = near;
        }
    }
    two
}

fn squared_distance(a: ArrayView1<'_, f64>, b: ArrayView1<'_, f64>) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

#[expect(clippy::cast_precision_loss, reason = "the sample has thousands of rows")]
fn mean_simplified_silhouette(points: &Array2<f64>, centroids: &Array2<f64>) -> f64 {
    let sum: f64 = points
        .rows()
        .into_iter()
        .map(|point| {
            let (own, next) = nearest_two(point, centroids);
            let (own, next) = (own.squared.sqrt(), next.squared.sqrt());
            if next > 0.0 { (next - own) / next } else { 0.0 }
        })
        .sum();
    sum / points.nrows().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(values: &[f64]) -> Array2<f64> {
        Array2::from_shape_vec((values.len(), 1), values.to_vec()).unwrap()
    }

    #[test]
    fn finds_the_groups_that_are_there() {
        for (description, values, groups) in [
            ("two loud among quiet ones", vec![1.0, 1.1, 0.9, 1.0, 4.0, 4.1], 2),
            ("three levels", vec![0.0, 0.1, 2.0, 2.1, 5.0, 5.1], 3),
            ("all alike", vec![1.0, 1.0, 1.0, 1.0], 1),
            ("one source", vec![3.0], 1),
        ] {
            let clusters = group(&column(&values), &DetectionSettings::default());
            assert_eq!(clusters.sizes.len(), groups, "{description}: {clusters:?}");
            assert_eq!(clusters.sizes.iter().sum::<usize>(), values.len(), "{description}");
        }
    }

    #[test]
    fn nobody_is_no_group_and_no_panic() {
        let clusters = group(&Array2::zeros((0, 3)), &DetectionSettings::default());
        assert_eq!(clusters.members, Vec::<usize>::new());
    }

    #[test]
    fn equal_input_gives_equal_groups() {
        let values: Vec<f64> = (0..500).map(|n| f64::from(n % 7) + f64::from(n % 3) * 10.0).collect();
        let settings = DetectionSettings::default();
        assert_eq!(group(&column(&values), &settings), group(&column(&values), &settings));
    }
}
