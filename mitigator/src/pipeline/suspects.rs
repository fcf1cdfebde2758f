//! Suspects: how long each source or prefix has shown evidence.

use std::time::Duration;

use rustc_hash::FxHashMap;

use super::target::Target;
use super::time::Timestamp;
use super::vectors::Vector;

/// Evidence older than this is no longer "consecutive".
const LASTS: Duration = Duration::from_secs(2);

/// Whoever showed evidence of a vector lately.
#[derive(Clone, Debug, Default)]
pub(super) struct Suspects {
    suspicions: FxHashMap<(Target, Vector), Suspicion>,
}

/// How long one of them has shown it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suspicion {
    pub ticks: u32,
    pub first: Timestamp,
    last: Timestamp,
}

impl Suspects {
    /// Forgets whoever showed nothing lately.
    pub fn forget_old(&mut self, now: Timestamp) {
        self.suspicions.retain(|_, suspicion| now.since(suspicion.last) <= LASTS);
    }

    pub fn contains(&self, target: Target, vector: Vector) -> bool {
        self.suspicions.contains_key(&(target, vector))
    }

    /// Forgets what a target has shown, which was answered.
    pub fn forget(&mut self, target: Target, vector: Vector) {
        self.suspicions.remove(&(target, vector));
    }

    /// Adds a tick to what a target has shown.
    pub fn note(&mut self, target: Target, vector: Vector, now: Timestamp) -> Suspicion {
        let suspicion =
            self.suspicions.entry((target, vector)).or_insert(Suspicion { ticks: 0, first: now, last: now });
        suspicion.ticks += 1;
        suspicion.last = now;
        *suspicion
    }
}
