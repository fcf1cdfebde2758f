//! Who belongs together? K-Means over the sources that carry an alarm's traffic.
//!
//! K-Means draws lines between groups; it never says that there is an attack. The number of groups,
//! 1 to a small bound, is the smallest whose mean simplified silhouette (Vendramin, Campello and
//! Hruschka 2010) is close to the best, or 1 when no division is convincing. Seeded, so equal input gives equal groups.

use std::collections::BTreeMap;

use linfa::DatasetBase;
use linfa::traits::Fit;
use linfa_clustering::KMeans;
use ndarray::{Array1, Array2, Axis};
use rand_xoshiro::Xoshiro256Plus;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};

use super::settings::DetectionSettings;

/// Attempts with different starting points; the best counts.
const RUNS: usize = 3;
const MAX_ITERATIONS: u64 = 60;
const TOLERANCE: f64 = 1e-3;
/// Of the sample, the part that each decade of rates gets at least, if it has as many sources: one in so many.
const LEAST_SHARE_OF_DECADE: usize = 20;
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
        let mut pair = rows_of(points).nth(row).into_iter().zip(rows_of(&self.centroids).nth(cluster));
        pair.next().map_or(f64::INFINITY, |(point, centroid)| squared_distance(point, centroid).sqrt())
    }
}

/// Groups the rows of `points` (shape: rows x features, in comparable units).
#[must_use]
pub fn group(points: &Array2<f64>, settings: &DetectionSettings) -> Clusters {
    let sample = sample_of(points, settings.sample, settings.seed);
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
    let members: Vec<usize> = rows_of(points).map(|point| nearest_two(point, &centroids).0.cluster).collect();
    let mut sizes = vec![0; centroids.nrows()];
    for cluster in &members {
        if let Some(size) = sizes.get_mut(*cluster) {
            *size += 1;
        }
    }
    Clusters { centroids, members, sizes, silhouette }
}

/// All rows, or `most` of them: every n-th of each decade of the first column from a seeded start, which keeps the
/// order of sources and so all their prefixes represented, and enough of each decade that a few loud sources among
/// a million light ones are seen.
fn sample_of(points: &Array2<f64>, most: usize, seed: u64) -> Array2<f64> {
    if points.nrows() <= most {
        return points.clone();
    }
    let mut decades: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for (row, point) in rows_of(points).enumerate() {
        decades.entry(decade_of(point)).or_default().push(row);
    }
    let least = most / LEAST_SHARE_OF_DECADE;
    let mut random = Xoshiro256Plus::seed_from_u64(seed);
    let mut rows: Vec<usize> = Vec::with_capacity(most + least * decades.len());
    for members in decades.values() {
        let wanted = (members.len().saturating_mul(most) / points.nrows()).max(least);
        let step = members.len().div_ceil(wanted.max(1)).max(1);
        let start = usize::try_from(random.next_u64()).unwrap_or(0) % step;
        rows.extend(members.iter().skip(start).step_by(step));
    }
    rows.sort_unstable();
    points.select(Axis(0), &rows)
}

#[expect(clippy::cast_possible_truncation, reason = "saturates, and decades are few")]
fn decade_of(point: &[f64]) -> i64 {
    point.first().map_or(0, |value| value.floor() as i64)
}

/// The rows of a table, which are contiguous in all that this crate makes.
fn rows_of(points: &Array2<f64>) -> impl Iterator<Item = &[f64]> {
    let columns = points.ncols().max(1);
    points.as_slice().unwrap_or_default().chunks_exact(columns)
}

fn mean_of(points: &Array2<f64>) -> Array2<f64> {
    points.mean_axis(Axis(0)).unwrap_or_else(|| Array1::zeros(points.ncols())).insert_axis(Axis(0))
}

/// How many different rows there are, counted up to `enough`: K-Means cannot make more groups.
fn distinct_rows(points: &Array2<f64>, enough: usize) -> usize {
    let mut seen: Vec<&[f64]> = Vec::with_capacity(enough);
    for point in rows_of(points) {
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
fn nearest_two(point: &[f64], centroids: &Array2<f64>) -> (Near, Near) {
    let far = Near { cluster: 0, squared: f64::INFINITY };
    let mut two = (far, far);
    for (cluster, centroid) in rows_of(centroids).enumerate() {
        let near = Near { cluster, squared: squared_distance(point, centroid) };
        if near.squared < two.0.squared {
            two = (near, two.0);
        } else if near.squared < two.1.squared {
            two.1 = near;
        }
    }
    two
}

fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

#[expect(clippy::cast_precision_loss, reason = "the sample has thousands of rows")]
fn mean_simplified_silhouette(points: &Array2<f64>, centroids: &Array2<f64>) -> f64 {
    let sum: f64 = rows_of(points)
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
    fn a_few_loud_ones_among_very_many_are_seen() {
        let is_loud = |row: usize| row % 20_000 == 7_777;
        let points = Array2::from_shape_fn((100_000, 1), |(row, _)| if is_loud(row) { 4.2 } else { 0.5 });
        let clusters = group(&points, &DetectionSettings::default());
        assert_eq!(clusters.members.len(), points.nrows());
        let loud: Vec<usize> = (0..points.nrows())
            .filter(|row| clusters.members.get(*row) != clusters.members.first())
            .collect();
        assert_eq!(loud, (0..points.nrows()).filter(|row| is_loud(*row)).collect::<Vec<_>>());
    }

    #[test]
    fn a_sample_has_its_size_and_something_of_each_decade() {
        let points =
            Array2::from_shape_fn((50_000, 1), |(row, _)| if row < 3 { 5.0 } else { (row % 2) as f64 });
        let sample = sample_of(&points, 1_000, 7);
        assert!((900..=1_100).contains(&sample.nrows()), "{}", sample.nrows());
        assert_eq!(sample.iter().filter(|value| **value > 4.0).count(), 3);
        assert_eq!(sample, sample_of(&points, 1_000, 7));
        assert_eq!(sample_of(&points, 50_000, 7), points);
    }

    #[test]
    fn equal_input_gives_equal_groups() {
        let values: Vec<f64> = (0..500).map(|n| f64::from(n % 7) + f64::from(n % 3) * 10.0).collect();
        let settings = DetectionSettings::default();
        assert_eq!(group(&column(&values), &settings), group(&column(&values), &settings));
    }
}
