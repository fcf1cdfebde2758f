//! Suspects: how long each source or prefix has shown evidence.

use std::collections::BTreeMap;
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
    of: BTreeMap<Vector, FxHashMap<Target, Suspicion>>,
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
        for suspicions in self.of.values_mut() {
            suspicions.retain(|_, suspicion| now.since(suspicion.last) <= LASTS);
        }
    }

    /// Tells who has shown evidence of a vector.
    pub fn of(&self, vector: Vector) -> impl Fn(Target) -> bool + '_ {
        let suspicions = self.of.get(&vector);
        move |target| suspicions.is_some_and(|suspicions| suspicions.contains_key(&target))
    }

    /// Forgets what a target has shown, which was answered.
    pub fn forget(&mut self, target: Target, vector: Vector) {
        if let Some(suspicions) = self.of.get_mut(&vector) {
            suspicions.remove(&target);
        }
    }

    /// Adds a tick to what a target has shown.
    pub fn note(&mut self, target: Target, vector: Vector, now: Timestamp) -> Suspicion {
        let suspicions = self.of.entry(vector).or_default();
        let suspicion = suspicions.entry(target).or_insert(Suspicion { ticks: 0, first: now, last: now });
        suspicion.ticks += 1;
        suspicion.last = now;
        *suspicion
    }
}
