//! Who belongs together? K-Means over the sources that carry an alarm's traffic.
//!
//! K-Means draws lines between groups; it never says that there is an attack. The number of groups,
//! 1 to a small bound, is the smallest whose mean simplified silhouette (Vendramin, Campello and
//! Hruschka 2010) is close to the best, or 1 when no division is convincing. Seeded, so equal input gives equal groups.

use linfa::DatasetBase;
use linfa::traits::Fit;
use linfa_clustering::KMeans;
use ndarray::Array2;
use rand_xoshiro::Xoshiro256Plus;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::settings::DetectionSettings;

/// Attempts with different starting points; the best counts.
const RUNS: usize = 3;
const MAX_ITERATIONS: u64 = 30;
const TOLERANCE: f64 = 1e-3;
/// Of the sample, the part that each decade of rates gets at least, if it has as many sources: one in so many.
const LEAST_SHARE_OF_DECADE: usize = 20;
/// Decades of rates that are told apart.
const DECADES: usize = 16;
/// More groups have to raise the silhouette by this; a few sources are always told apart a little
/// better one by one.
const MORE_GROUPS_GAIN: f64 = 0.05;

thread_local! {
    /// The calling thread alone. linfa hands its loops over to rayon, which would spread a few thousand points over
    /// all cores: handing over takes longer than the work, and the agent is to take one core. `None` where the thread
    /// works for another pool.
    static THIS_THREAD: Option<ThreadPool> =
        ThreadPoolBuilder::new().num_threads(1).use_current_thread().build().ok();
}

/// Groups of points of so many columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Clusters<const COLUMNS: usize> {
    /// The mean of each cluster.
    pub centroids: Vec<[f64; COLUMNS]>,
    /// The cluster of each point.
    pub members: Vec<usize>,
    /// Points per cluster.
    pub sizes: Vec<usize>,
    /// Mean simplified silhouette, 0..=1; 1 for a single group.
    pub silhouette: f64,
}

impl<const COLUMNS: usize> Clusters<COLUMNS> {
    /// Distance of a point from the centroid of a cluster.
    #[must_use]
    pub fn distance(&self, point: &[f64; COLUMNS], cluster: usize) -> f64 {
        let centroid = self.centroids.get(cluster);
        centroid.map_or(f64::INFINITY, |centroid| squared_distance(point, centroid).sqrt())
    }
}

/// Points divided into a given number of groups.
#[derive(Clone, Debug, PartialEq)]
pub struct Division<const COLUMNS: usize> {
    /// The mean of each group.
    pub centroids: Vec<[f64; COLUMNS]>,
    /// Mean simplified silhouette, 0..=1; 0 for a single group, which is apart from nothing.
    pub silhouette: f64,
    /// Sum of the squared distances from the nearest centroid: what the elbow is looked for in.
    pub inertia: f64,
}

impl<const COLUMNS: usize> Division<COLUMNS> {
    /// The group of a point, and its distance from the centroid of that.
    #[must_use]
    pub fn nearest(&self, point: &[f64; COLUMNS]) -> (usize, f64) {
        let near = nearest_two(point, &self.centroids).0;
        (near.cluster, near.squared.sqrt())
    }
}

/// Divides points into `k` groups; `None` when there are fewer different points.
#[must_use]
pub fn division<const COLUMNS: usize>(
    points: &[[f64; COLUMNS]],
    k: usize,
    seed: u64,
) -> Option<Division<COLUMNS>> {
    if k == 0 || distinct(points, k) < k {
        return None;
    }
    let centroids = if k == 1 { vec![mean_of(points)] } else { k_means(points, k, seed)? };
    let silhouette = if k == 1 { 0.0 } else { mean_simplified_silhouette(points, &centroids) };
    let inertia = points.iter().map(|point| nearest_two(point, &centroids).0.squared).sum();
    Some(Division { centroids, silhouette, inertia })
}

/// Of divisions with a silhouette each, the first that is convincing and close to the best.
#[must_use]
pub fn smallest_convincing(silhouettes: &[f64], min_silhouette: f64) -> Option<usize> {
    let best = silhouettes.iter().copied().fold(min_silhouette, f64::max);
    let enough = (best - MORE_GROUPS_GAIN).max(min_silhouette);
    silhouettes.iter().position(|silhouette| *silhouette >= enough)
}

/// Groups points, whose columns are in comparable units.
#[must_use]
pub fn group<const COLUMNS: usize>(
    points: &[[f64; COLUMNS]],
    settings: &DetectionSettings,
) -> Clusters<COLUMNS> {
    let sample = sample_of(points, settings.sample, settings.seed);
    let most = settings.max_clusters.min(distinct(&sample, settings.max_clusters));
    let Some((silhouette, centroids)) = divide(&sample, most, settings) else {
        return Clusters {
            centroids: vec![mean_of(points)],
            members: vec![0; points.len()],
            sizes: vec![points.len()],
            silhouette: 1.0,
        };
    };
    let mut sizes = vec![0; centroids.len()];
    let members = points.iter().map(|point| nearest_two(point, &centroids).0.cluster);
    let members = members
        .inspect(|cluster| {
            if let Some(size) = sizes.get_mut(*cluster) {
                *size += 1;
            }
        })
        .collect();
    Clusters { centroids, members, sizes, silhouette }
}

/// The fewest centroids, from 2 to `most`, whose silhouette is convincing and close to the best, with that.
fn divide<const COLUMNS: usize>(
    sample: &[[f64; COLUMNS]],
    most: usize,
    settings: &DetectionSettings,
) -> Option<(f64, Vec<[f64; COLUMNS]>)> {
    let mut divisions: Vec<(f64, Vec<[f64; COLUMNS]>)> = Vec::new();
    for k in 2..=most {
        let Some(centroids) = k_means(sample, k, settings.seed) else {
            continue;
        };
        let silhouette = mean_simplified_silhouette(sample, &centroids);
        divisions.push((silhouette, centroids));
        // No silhouette is over 1, so that more groups cannot be better by enough.
        if silhouette >= (1.0 - MORE_GROUPS_GAIN).max(settings.min_silhouette) {
            break;
        }
    }
    let silhouettes: Vec<f64> = divisions.iter().map(|(silhouette, _)| *silhouette).collect();
    let chosen = smallest_convincing(&silhouettes, settings.min_silhouette)?;
    divisions.into_iter().nth(chosen)
}

/// All points, or about `most` of them: every n-th of each decade of the first column from a seeded start, and enough
/// of each decade that a few loud sources among a million light ones are seen.
fn sample_of<const COLUMNS: usize>(points: &[[f64; COLUMNS]], most: usize, seed: u64) -> Vec<[f64; COLUMNS]> {
    if points.len() <= most {
        return points.to_vec();
    }
    let mut sizes = [0_usize; DECADES];
    for point in points {
        if let Some(size) = sizes.get_mut(decade_of(point)) {
            *size += 1;
        }
    }
    let mut random = Xoshiro256Plus::seed_from_u64(seed);
    let mut strides = sizes.map(|size| {
        let wanted = (size.saturating_mul(most) / points.len()).max(most / LEAST_SHARE_OF_DECADE);
        let step = size.div_ceil(wanted.max(1)).max(1);
        // Decades without members draw no start.
        let start = if size > 0 { usize::try_from(random.next_u64()).unwrap_or(0) % step } else { 0 };
        Stride { step, until_next: start }
    });
    let is_drawn = |point: &&[f64; COLUMNS]| strides.get_mut(decade_of(*point)).is_some_and(Stride::take);
    points.iter().filter(is_drawn).copied().collect()
}

/// Every so many-th.
struct Stride {
    step: usize,
    until_next: usize,
}

impl Stride {
    fn take(&mut self) -> bool {
        let is_next = self.until_next == 0;
        self.until_next = if is_next { self.step } else { self.until_next } - 1;
        is_next
    }
}

/// Of the first column: 0 for less than ten.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and decades are few")]
fn decade_of(point: &[f64]) -> usize {
    point.first().map_or(0, |value| *value as usize).min(DECADES - 1)
}

#[expect(clippy::cast_precision_loss, reason = "counts of sources are far below 2^52")]
fn mean_of<const COLUMNS: usize>(points: &[[f64; COLUMNS]]) -> [f64; COLUMNS] {
    let mut sum = [0.0; COLUMNS];
    for point in points {
        for (sum, value) in sum.iter_mut().zip(point) {
            *sum += value;
        }
    }
    sum.map(|sum| sum / points.len().max(1) as f64)
}

/// How many different points there are, counted up to `enough`: K-Means cannot make more groups.
fn distinct<const COLUMNS: usize>(points: &[[f64; COLUMNS]], enough: usize) -> usize {
    let mut seen: Vec<&[f64; COLUMNS]> = Vec::with_capacity(enough);
    for point in points {
        if !seen.contains(&point) {
            seen.push(point);
            if seen.len() >= enough {
                break;
            }
        }
    }
    seen.len()
}

fn k_means<const COLUMNS: usize>(
    points: &[[f64; COLUMNS]],
    k: usize,
    seed: u64,
) -> Option<Vec<[f64; COLUMNS]>> {
    let dataset = DatasetBase::from(Array2::from(points.to_vec()));
    let fit = || {
        KMeans::params_with_rng(k, Xoshiro256Plus::seed_from_u64(seed))
            .n_runs(RUNS)
            .max_n_iterations(MAX_ITERATIONS)
            .tolerance(TOLERANCE)
            .fit(&dataset)
            .ok()
    };
    let model = THIS_THREAD.with(|pool| pool.as_ref().map_or_else(fit, |pool| pool.install(fit)))?;
    let (centroids, _) = model.centroids().as_slice()?.as_chunks::<COLUMNS>();
    centroids.iter().flatten().all(|value| value.is_finite()).then(|| centroids.to_vec())
}

#[derive(Clone, Copy)]
struct Near {
    cluster: usize,
    squared: f64,
}

/// The nearest centroid and the next one.
fn nearest_two<const COLUMNS: usize>(point: &[f64; COLUMNS], centroids: &[[f64; COLUMNS]]) -> (Near, Near) {
    let far = Near { cluster: 0, squared: f64::INFINITY };
    let mut two = (far, far);
    for (cluster, centroid) in centroids.iter().enumerate() {
        let near = Near { cluster, squared: squared_distance(point, centroid) };
        if near.squared < two.0.squared {
            two = (near, two.0);
        } else if near.squared < two.1.squared {
            two.1 = near;
        }
    }
    two
}

fn squared_distance<const COLUMNS: usize>(a: &[f64; COLUMNS], b: &[f64; COLUMNS]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

#[expect(clippy::cast_precision_loss, reason = "the sample has thousands of points")]
fn mean_simplified_silhouette<const COLUMNS: usize>(
    points: &[[f64; COLUMNS]],
    centroids: &[[f64; COLUMNS]],
) -> f64 {
    let sum: f64 = points
        .iter()
        .map(|point| {
            let (own, next) = nearest_two(point, centroids);
            let (own, next) = (own.squared.sqrt(), next.squared.sqrt());
            if next > 0.0 { (next - own) / next } else { 0.0 }
        })
        .sum();
    sum / points.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(values: &[f64]) -> Vec<[f64; 1]> {
        values.iter().map(|value| [*value]).collect()
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
        let clusters = group::<3>(&[], &DetectionSettings::default());
        assert_eq!(clusters.members, Vec::<usize>::new());
    }

    #[test]
    fn a_few_loud_ones_among_very_many_are_seen() {
        let is_loud = |row: usize| row % 20_000 == 7_777;
        let points: Vec<[f64; 1]> =
            (0..100_000).map(|row| if is_loud(row) { [4.2] } else { [0.5] }).collect();
        let clusters = group(&points, &DetectionSettings::default());
        assert_eq!(clusters.members.len(), points.len());
        let loud: Vec<usize> =
            (0..points.len()).filter(|row| clusters.members.get(*row) != clusters.members.first()).collect();
        assert_eq!(loud, (0..points.len()).filter(|row| is_loud(*row)).collect::<Vec<_>>());
    }

    #[test]
    fn a_sample_has_its_size_and_something_of_each_decade() {
        let points: Vec<[f64; 1]> =
            (0..50_000).map(|row| if row < 3 { [5.0] } else { [f64::from(row % 2)] }).collect();
        let sample = sample_of(&points, 1_000, 7);
        assert!((900..=1_100).contains(&sample.len()), "{}", sample.len());
        assert_eq!(sample.iter().flatten().filter(|value| **value > 4.0).count(), 3);
        assert_eq!(sample, sample_of(&points, 1_000, 7));
        assert_eq!(sample_of(&points, 50_000, 7), points);
    }

    #[test]
    fn equal_input_gives_equal_groups() {
        let values: Vec<f64> = (0..500).map(|n| f64::from(n % 7) + f64::from(n % 3) * 10.0).collect();
        let settings = DetectionSettings::default();
        assert_eq!(group(&column(&values), &settings), group(&column(&values), &settings));
    }

    #[test]
    fn takes_no_other_thread() {
        THIS_THREAD.with(|pool| {
            let pool = pool.as_ref().unwrap();
            assert_eq!(pool.install(rayon::current_num_threads), 1);
            assert_eq!(pool.install(|| std::thread::current().id()), std::thread::current().id());
        });
    }
}
