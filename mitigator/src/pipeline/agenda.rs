//! `Agenda`: targets by the moment at which something is due, so that what is not due yet is not looked at.

use std::collections::BTreeMap;

use super::target::Target;
use super::time::Timestamp;

/// Targets, each with a moment. An entry is never taken back: who holds the agenda knows whether it still counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Agenda {
    entries: BTreeMap<Timestamp, Vec<Target>>,
}

impl Agenda {
    pub fn add(&mut self, at: Timestamp, target: Target) {
        self.entries.entry(at).or_default().push(target);
    }

    /// What is due up to `now`, the earliest first.
    pub fn due(&self, now: Timestamp) -> impl Iterator<Item = (Timestamp, Target)> + '_ {
        let due = self.entries.range(..=now);
        due.flat_map(|(at, targets)| targets.iter().map(|target| (*at, *target)))
    }

    /// Takes out what is due up to `now`, the earliest first.
    pub fn take_due(&mut self, now: Timestamp) -> Vec<(Timestamp, Target)> {
        let mut taken = Vec::new();
        while let Some(entry) = self.entries.first_entry().filter(|entry| *entry.key() <= now) {
            let (at, targets) = entry.remove_entry();
            taken.extend(targets.into_iter().map(|target| (at, target)));
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_is_found_and_taken_once() {
        let target = |text: &str| text.parse::<Target>().unwrap();
        let at = Timestamp::from_ns;
        let mut agenda = Agenda::default();
        for (ns, text) in [(30, "192.0.2.3"), (10, "192.0.2.9"), (10, "192.0.2.1"), (20, "192.0.2.2")] {
            agenda.add(at(ns), target(text));
        }
        let expected =
            [(at(10), target("192.0.2.9")), (at(10), target("192.0.2.1")), (at(20), target("192.0.2.2"))];
        assert_eq!(agenda.due(at(20)).collect::<Vec<_>>(), expected);
        assert_eq!(agenda.take_due(at(20)), expected);
        assert_eq!(agenda.take_due(at(29)), []);
        assert_eq!(agenda.due(at(30)).collect::<Vec<_>>(), [(at(30), target("192.0.2.3"))]);
    }
}
