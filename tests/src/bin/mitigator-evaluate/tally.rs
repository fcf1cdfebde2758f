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
/// An attack has begun when so many of its packets are past: attackers look up their victim's hardware address, or try
/// the door, seconds before.
const PRELUDE_SHARE: u64 = 1_000;
/// Times of attack packets that are kept to find the beginning; enough for a hundred million of them.
const KEPT_TIMES: usize = 100_000;

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
    /// Of the first attack packets.
    attack_times: Vec<Timestamp>,
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
            attack_times: Vec::new(),
            right_at: None,
            verdicts: BTreeMap::new(),
        }
    }

    pub(crate) fn take(&mut self, event: &Event<'_>) {
        match event {
            Event::Arrived(arrival) => self.take_arrival(arrival),
            Event::Judged(at, verdict) => {
                *self.verdicts.entry(verdict.vector.name()).or_default() += 1;
                if self.right_at.is_none() && self.attack.arrived > 0 && self.scene.is_right(verdict) {
                    self.right_at = Some(*at);
                }
            }
        }
    }

    /// When the attack began: with the packet before which there was at most a thousandth of the attack.
    pub(crate) fn began_at(&self) -> Option<Timestamp> {
        let prelude = usize::try_from(self.attack.arrived / PRELUDE_SHARE).unwrap_or(usize::MAX);
        self.attack_times.get(prelude).or(self.attack_times.last()).copied()
    }

    /// From the beginning of the attack to the first right verdict.
    pub(crate) fn verdict_after(&self) -> Option<Duration> {
        Some(self.right_at?.since(self.began_at()?))
    }

    /// From the very first packet of an attacker to the first right verdict.
    pub(crate) fn verdict_after_first_packet(&self) -> Option<Duration> {
        Some(self.right_at?.since(*self.attack_times.first()?))
    }

    fn take_arrival(&mut self, arrival: &Arrival) {
        // What cannot be parsed always passes.
        let Some(address) = arrival.source else { return };
        let scene = self.scene;
        let source = self.sources.entry(address).or_insert_with(|| SourceTally::new(scene.role_of(address)));
        source.count(arrival.at);
        match source.role {
            Role::Attacker => {
                if self.attack_times.len() < KEPT_TIMES {
                    self.attack_times.push(arrival.at);
                }
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
    use crate::kinds::Kind;
    use mitigator::replay::Protected;
    use mitigator_common::Outcome;
    use rustc_hash::FxHashSet;

    /// A source that sent at these times.
    pub(crate) fn source(role: Role, times_ns: impl IntoIterator<Item = u64>) -> SourceTally {
        let mut source = SourceTally::new(role);
        times_ns.into_iter().for_each(|at_ns| source.count(Timestamp::from_ns(at_ns)));
        source
    }

    #[test]
    fn an_attack_begins_after_its_prelude() {
        let (kind, attackers) =
            (Kind::of("udp-flood").unwrap(), FxHashSet::from_iter([IpAddr::from([192, 0, 2, 1])]));
        let scene =
            Scene { kind: &kind, attackers: &attackers, protected: Protected::Everybody, own: Vec::new() };
        for (description, flood, expected_s) in [("few packets", 100, 0), ("one packet, then many", 5_000, 7)]
        {
            let mut tally = Tally::new(&scene);
            assert_eq!(tally.began_at(), None, "{description}");
            for at_ns in [0].into_iter().chain(std::iter::repeat_n(7 * SECOND_NS, flood)) {
                let source = attackers.iter().next().copied();
                let outcome = Outcome::PassCounted;
                let arrival = Arrival { at: Timestamp::from_ns(at_ns), source, wire_bytes: 60, outcome };
                tally.take(&Event::Arrived(arrival));
            }
            assert_eq!(tally.began_at(), Some(Timestamp::from_ns(expected_s * SECOND_NS)), "{description}");
        }
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
