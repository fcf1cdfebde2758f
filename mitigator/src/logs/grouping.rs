//! Who belongs together? linfa's StandardScaler, then K-Means with 1 to 8 groups; the elbow and the silhouettes of all
//! of them, and the division that was chosen. The numbers of groups mean nothing: who attacks is told by centroids.

use anyhow::{Context, Result};
use linfa::DatasetBase;
use linfa::traits::{Fit, Transformer};
use linfa_preprocessing::linear_scaling::LinearScaler;
use ndarray::{Array2, Axis};
use serde::Serialize;

use crate::pipeline::clustering::{Division, division, smallest_convincing};

/// A column whose standard deviation is less tells nobody apart: a ninth more or less requests, a twentieth of a share.
const ALIKE: f64 = 0.05;
/// Most groups that are tried.
pub const MOST_GROUPS: usize = 8;

/// How many groups are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The fewest with a convincing silhouette close to the best; one when none is.
    Auto,
    /// So many, or as many as there are different points.
    Exactly(usize),
}

/// Points in groups.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Grouping {
    /// What was tried, from one group on.
    pub trials: Vec<Trial>,
    /// How many groups were chosen.
    pub chosen: usize,
    /// Of each point.
    #[serde(skip)]
    pub members: Vec<Member>,
}

/// A number of groups.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Trial {
    /// Groups.
    pub groups: usize,
    /// Sum of squared distances from the centroids, in standard deviations.
    pub inertia: f64,
    /// Mean simplified silhouette, 0..=1.
    pub silhouette: f64,
}

/// Where a point stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Member {
    /// Its group.
    pub group: usize,
    /// From its centroid, in standard deviations.
    pub distance: f64,
}

/// Groups points.
///
/// # Errors
///
/// When linfa refuses to scale them.
pub fn group<const COLUMNS: usize>(
    points: &[[f64; COLUMNS]],
    wanted: Wanted,
    min_silhouette: f64,
    seed: u64,
) -> Result<Grouping> {
    if points.is_empty() {
        return Ok(Grouping { trials: Vec::new(), chosen: 0, members: Vec::new() });
    }
    let points = scaled(points)?;
    let divisions: Vec<Division<COLUMNS>> =
        (1..=MOST_GROUPS).map_while(|k| division(&points, k, seed)).collect();
    let trials: Vec<Trial> = divisions
        .iter()
        .map(|division| Trial {
            groups: division.centroids.len(),
            inertia: division.inertia,
            silhouette: division.silhouette,
        })
        .collect();
    let place = match wanted {
        Wanted::Exactly(groups) => groups.clamp(1, divisions.len().max(1)) - 1,
        Wanted::Auto => {
            let silhouettes: Vec<f64> = trials.iter().skip(1).map(|trial| trial.silhouette).collect();
            smallest_convincing(&silhouettes, min_silhouette).map_or(0, |place| place + 1)
        }
    };
    let division = divisions.get(place).context("one group can always be made")?;
    let member = |point: &[f64; COLUMNS]| {
        let (group, distance) = division.nearest(point);
        Member { group, distance }
    };
    Ok(Grouping { trials, chosen: place + 1, members: points.iter().map(member).collect() })
}

/// Each column with mean 0 and standard deviation 1; one in which all are nearly alike is all 0, because scaling would
/// make differences of what is noise.
fn scaled<const COLUMNS: usize>(points: &[[f64; COLUMNS]]) -> Result<Vec<[f64; COLUMNS]>> {
    let dataset = DatasetBase::from(Array2::from(points.to_vec()));
    let is_noise = dataset.records.std_axis(Axis(0), 0.0).mapv(|deviation| deviation < ALIKE);
    let scaler = LinearScaler::standard().fit(&dataset).context("cannot scale the features")?;
    let records = scaler.transform(dataset).records;
    let rows = records.outer_iter().map(|row| {
        let mut point = [0.0; COLUMNS];
        for ((place, value), is_noise) in point.iter_mut().zip(row).zip(&is_noise) {
            *place = if value.is_finite() && !is_noise { *value } else { 0.0 };
        }
        point
    });
    Ok(rows.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(requests: f64) -> [f64; 6] {
        [requests, 1.0, 0.5, 0.0, 0.0, 2.0]
    }

    #[test]
    fn groups_are_found_whatever_the_order_and_the_seed() {
        let quiet = (0..50).map(|n| point(1.0 + f64::from(n % 3) / 100.0));
        let points: Vec<_> = quiet.chain([point(4.0), point(4.1)]).collect();
        for seed in [1, 2, 3] {
            let grouping = group(&points, Wanted::Auto, 0.6, seed).unwrap();
            assert_eq!(grouping.chosen, 2, "{:?}", grouping.trials);
            let loud = grouping.members[51].group;
            let count = grouping.members.iter().filter(|member| member.group == loud).count();
            assert_eq!((grouping.members[50].group, count), (loud, 2), "seed {seed}");
            assert!(grouping.trials[0].inertia > grouping.trials[1].inertia);
        }
    }

    #[test]
    fn as_many_groups_as_wanted_and_possible() {
        let points: Vec<_> = (0..5).map(|n| point(f64::from(n))).collect();
        for (wanted, chosen) in [(Wanted::Exactly(3), 3), (Wanted::Exactly(8), 5), (Wanted::Exactly(1), 1)] {
            assert_eq!(group(&points, wanted, 0.6, 7).unwrap().chosen, chosen, "{wanted:?}");
        }
        for nearly in [0.0, 0.01] {
            let alike: Vec<_> = (0..4).map(|n| point(1.0 + nearly * f64::from(n))).collect();
            assert_eq!(group(&alike, Wanted::Exactly(2), 0.6, 7).unwrap().chosen, 1, "{nearly}");
        }
        assert_eq!(group::<3>(&[], Wanted::Auto, 0.6, 7).unwrap().chosen, 0);
    }
}
