//! Counts what happens in a run, event by event: who sent what, what was dropped, and when the attack got its name.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use mitigator::pipeline::time::Timestamp;
use mitigator::replay::{Arrival, Event};
use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::scene::{Role, Scene};

const SECOND_NS: u64 = 1_000_000_000;

/// Packets, and how many of them were dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Packets {
    pub(crate) arrived: u64,
    pub(crate) dropped: u64,
}

/// What is counted over a run.
pub(crate) struct Tally<'scene> {
    scene: &'scene Scene<'scene>,
    pub(crate) sources: FxHashMap<IpAddr, SourceTally>,
    pub(crate) attack: Packets,
    /// Of `attack`, those after the first right verdict.
    pub(crate) attack_after_verdict: Packets,
    pub(crate) benign: Packets,
    pub(crate) first_attack_at: Option<Timestamp>,
    /// Of the first right verdict that follows the first attack packet.
    pub(crate) right_at: Option<Timestamp>,
    /// Verdicts by the name of their vector.
    pub(crate) verdicts: BTreeMap<&'static str, u64>,
}

/// What is counted of one source.
#[derive(Clone, Debug)]
pub(crate) struct SourceTally {
    pub(crate) role: Role,
    pub(crate) packets: u64,
    /// The second that it sent in last, and its packets in it.
    second: u64,
    in_second: usize,
    /// For each number of packets within a second, how many packets it had sent when it first exceeded it.
    exceeded_after: Vec<u64>,
}

impl Packets {
    fn add(&mut self, arrival: &Arrival) {
        self.arrived += 1;
        self.dropped += u64::from(arrival.outcome.is_drop());
    }
}

impl<'scene> Tally<'scene> {
    pub(crate) fn new(scene: &'scene Scene<'scene>) -> Self {
        Self {
            scene,
            sources: FxHashMap::default(),
            attack: Packets::default(),
            attack_after_verdict: Packets::default(),
            benign: Packets::default(),
            first_attack_at: None,
            right_at: None,
            verdicts: BTreeMap::new(),
        }
    }

    pub(crate) fn take(&mut self, event: &Event<'_>) {
        match event {
            Event::Arrived(arrival) => self.take_arrival(arrival),
            Event::Judged(at, verdict) => {
                *self.verdicts.entry(verdict.vector.name()).or_default() += 1;
                if self.right_at.is_none() && self.first_attack_at.is_some() && self.scene.is_right(verdict) {
                    self.right_at = Some(*at);
                }
            }
        }
    }

    /// From the first attack packet to the first right verdict.
    pub(crate) fn verdict_after(&self) -> Option<Duration> {
        Some(self.right_at?.since(self.first_attack_at?))
    }

    fn take_arrival(&mut self, arrival: &Arrival) {
        // What cannot be parsed always passes.
        let Some(address) = arrival.source else { return };
        let scene = self.scene;
        let source = self.sources.entry(address).or_insert_with(|| SourceTally::new(scene.role_of(address)));
        source.count(arrival.at);
        match source.role {
            Role::Attacker => {
                self.first_attack_at.get_or_insert(arrival.at);
                self.attack.add(arrival);
                if self.right_at.is_some() {
                    self.attack_after_verdict.add(arrival);
                }
            }
            Role::Innocent => self.benign.add(arrival),
            Role::Own => {}
        }
    }
}

impl SourceTally {
    fn new(role: Role) -> Self {
        Self { role, packets: 0, second: 0, in_second: 0, exceeded_after: Vec::new() }
    }

    fn count(&mut self, at: Timestamp) {
        let second = at.ns / SECOND_NS;
        if second != self.second {
            (self.second, self.in_second) = (second, 0);
        }
        self.in_second += 1;
        if self.in_second > self.exceeded_after.len() {
            self.exceeded_after.push(self.packets);
        }
        self.packets += 1;
    }

    /// Packets from the one on with which the source exceeded `limit` packets in a second; 0 if it never did.
    pub(crate) fn packets_beyond(&self, limit: usize) -> u64 {
        self.exceeded_after.get(limit).map_or(0, |before| self.packets - before)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A source that sent at these times.
    pub(crate) fn source(role: Role, times_ns: impl IntoIterator<Item = u64>) -> SourceTally {
        let mut source = SourceTally::new(role);
        times_ns.into_iter().for_each(|at_ns| source.count(Timestamp::from_ns(at_ns)));
        source
    }

    #[test]
    fn a_source_is_stopped_from_the_packet_that_exceeds_a_limit() {
        let times = [0, 1, SECOND_NS, SECOND_NS + 1, SECOND_NS + 2, 3 * SECOND_NS, 3 * SECOND_NS + 1];
        let source = source(Role::Attacker, times);
        for (limit, expected) in [(0, 7), (1, 6), (2, 3), (3, 0), (100, 0)] {
            assert_eq!(source.packets_beyond(limit), expected, "{limit}");
        }
    }
}
