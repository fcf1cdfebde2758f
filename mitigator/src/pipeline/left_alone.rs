//! `LeftAlone`: whom the agent leaves alone, because somebody took its block back before the end.

use rustc_hash::FxHashMap;

use super::agenda::Agenda;
use super::target::Target;
use super::time::Timestamp;

/// Targets, each until its block would have ended.
#[derive(Clone, Debug, Default)]
pub(super) struct LeftAlone {
    targets: FxHashMap<Target, Left>,
    /// Ends; one that is not its target's does not count.
    ends: Agenda,
}

#[derive(Clone, Copy, Debug)]
struct Left {
    until: Timestamp,
    /// When it was last said that the target attacks all the same.
    told: Option<Timestamp>,
}

impl LeftAlone {
    /// Leaves a target alone; one that is left alone already keeps its end.
    pub fn add(&mut self, target: Target, until: Timestamp, told: Option<Timestamp>) {
        self.targets.entry(target).or_insert_with(|| {
            self.ends.add(until, target);
            Left { until, told }
        });
    }

    pub fn remove(&mut self, target: &Target) {
        self.targets.remove(target);
    }

    /// When it was last said that the target attacks all the same; `None` when it is not left alone.
    pub fn told(&mut self, target: &Target) -> Option<&mut Option<Timestamp>> {
        self.targets.get_mut(target).map(|left| &mut left.told)
    }

    /// Forgets those whose time is over.
    pub fn release(&mut self, now: Timestamp) {
        for (end, target) in self.ends.take_due(now) {
            if self.targets.get(&target).is_some_and(|left| left.until == end) {
                self.targets.remove(&target);
            }
        }
    }
}
