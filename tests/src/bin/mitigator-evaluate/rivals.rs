//! What simpler methods would have done with the same packets.
//!
//! Both get more than they would in life: K-Means sees the whole capture before it decides, and the threshold is
//! the best one in hindsight.

use std::net::IpAddr;

use linfa::DatasetBase;
use linfa::traits::{Fit, Predict};
use linfa_clustering::KMeans;
use ndarray::Array2;
use rand_xoshiro::Xoshiro256Plus;
use rand_xoshiro::rand_core::SeedableRng;
use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::scene::Role;
use crate::tally::SourceTally;

const SEED: u64 = 7;
const RUNS: usize = 5;
/// Thresholds per power of ten.
const STEPS: u32 = 10;
/// The highest threshold is ten to this power.
const DECADES: u32 = 5;

/// What a method took away from whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Stopped {
    pub(crate) attack_packets: u64,
    pub(crate) benign_packets: u64,
    pub(crate) innocents: u64,
}

impl Stopped {
    pub(crate) fn add(&mut self, other: Self) {
        self.attack_packets += other.attack_packets;
        self.benign_packets += other.benign_packets;
        self.innocents += other.innocents;
    }

    fn take(&mut self, role: Role, packets: u64) {
        match role {
            Role::Attacker => self.attack_packets += packets,
            Role::Innocent => {
                self.benign_packets += packets;
                self.innocents += 1;
            }
            Role::Own => {}
        }
    }
}

/// Packets in a second that are tried as thresholds: ten per power of ten, without repetitions.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 100 000")]
pub(crate) fn limits() -> Vec<usize> {
    let limit = |step: u32| 10_f64.powf(f64::from(step) / f64::from(STEPS)).round() as usize;
    let mut limits: Vec<usize> = (0..=STEPS * DECADES).map(limit).collect();
    limits.dedup();
    limits
}

/// Blocks each source from the packet with which it exceeds `limit` packets in a second.
pub(crate) fn threshold(sources: &FxHashMap<IpAddr, SourceTally>, limit: usize) -> Stopped {
    let mut stopped = Stopped::default();
    for source in sources.values() {
        let packets = source.packets_beyond(limit);
        if packets > 0 {
            stopped.take(source.role, packets);
        }
    }
    stopped
}

/// Plain K-Means with two clusters over the packets per source; the cluster with the larger centroid is blocked.
/// Nobody is when all sources sent the same number.
#[expect(clippy::cast_precision_loss, reason = "packets of a capture")]
pub(crate) fn k_means(sources: &FxHashMap<IpAddr, SourceTally>) -> Stopped {
    // In the order of addresses, because the seeded start depends on it.
    let mut rows: Vec<(&IpAddr, &SourceTally)> = sources.iter().collect();
    rows.sort_unstable_by_key(|(address, _)| **address);
    let counts: Vec<f64> = rows.iter().map(|(_, source)| source.packets as f64).collect();
    if counts.iter().all(|count| counts.first() == Some(count)) {
        return Stopped::default();
    }
    let points = Array2::from_shape_fn((counts.len(), 1), |(row, _)| counts[row]);
    let params = KMeans::params_with_rng(2, Xoshiro256Plus::seed_from_u64(SEED)).n_runs(RUNS);
    let Ok(model) = params.fit(&DatasetBase::from(points.clone())) else {
        return Stopped::default();
    };
    let loud = usize::from(model.centroids()[[1, 0]] > model.centroids()[[0, 0]]);
    let mut stopped = Stopped::default();
    for ((_, source), cluster) in rows.iter().zip(model.predict(&points)) {
        if cluster == loud {
            stopped.take(source.role, source.packets);
        }
    }
    stopped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::tests::source;

    fn sources(rows: &[(u8, Role, u64)]) -> FxHashMap<IpAddr, SourceTally> {
        let row = |(last, role, packets): &(u8, Role, u64)| {
            (IpAddr::from([192, 0, 2, *last]), source(*role, (0..*packets).map(|at_ns| at_ns * 1_000)))
        };
        rows.iter().map(row).collect()
    }

    #[test]
    fn limits_rise_from_one_and_have_no_repetition() {
        let limits = limits();
        assert_eq!((limits.first(), limits.last()), (Some(&1), Some(&100_000)));
        assert!(limits.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn methods_take_from_whom_they_block() {
        use Role::{Attacker, Innocent, Own};
        for (description, rows, by_k_means, by_threshold) in [
            ("nobody", &[][..], (0, 0, 0), (0, 0, 0)),
            ("all alike", &[(1, Attacker, 30), (2, Innocent, 30)], (0, 0, 0), (10, 10, 1)),
            (
                "a loud attacker",
                &[(1, Attacker, 500), (2, Innocent, 5), (3, Innocent, 9)],
                (500, 0, 0),
                (480, 0, 0),
            ),
            (
                "a loud innocent",
                &[(1, Attacker, 2), (2, Innocent, 500), (3, Own, 499)],
                (0, 500, 1),
                (0, 480, 1),
            ),
        ] {
            let sources = sources(rows);
            let of = |(attack_packets, benign_packets, innocents)| Stopped {
                attack_packets,
                benign_packets,
                innocents,
            };
            assert_eq!(k_means(&sources), of(by_k_means), "{description}");
            assert_eq!(threshold(&sources, 20), of(by_threshold), "{description}");
        }
    }
}
