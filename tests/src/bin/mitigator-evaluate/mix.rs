//! A mix: an attack laid over benign traffic.
//!
//! The attack keeps its rate and its addresses, and begins a third of the way into the benign part.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::Result;

use crate::apart::Moves;
use crate::recording::Recording;

/// Shorter benign parts are repeated until they last so long, in nanoseconds.
const SHORTEST_NS: u64 = 15_000_000_000;

/// One half of a mix, made ready once for all mixes that it is part of.
pub(crate) struct Half {
    recording: Recording,
    addresses: BTreeSet<IpAddr>,
}

/// An attack laid over benign traffic.
pub(crate) struct Mix {
    pub(crate) recording: Recording,
    /// Where addresses of the benign half went.
    pub(crate) moves: Moves,
}

impl Half {
    pub(crate) fn attack(recording: Recording) -> Self {
        Self::of(recording.without_gaps())
    }

    pub(crate) fn benign(recording: Recording) -> Self {
        Self::of(recording.without_gaps().repeated(SHORTEST_NS))
    }

    fn of(recording: Recording) -> Self {
        let addresses = recording.addresses();
        Self { recording, addresses }
    }
}

impl Mix {
    /// # Errors
    ///
    /// When the addresses cannot be kept apart.
    pub(crate) fn of(attack: &Half, benign: &Half) -> Result<Self> {
        let moves = Moves::away_from(&attack.addresses, &benign.addresses)?;
        let mut recording = benign.recording.clone();
        moves.apply(&mut recording);
        let begins_ns = benign.recording.duration_ns() / 3;
        for packet in &attack.recording.packets {
            let mut packet = packet.clone();
            packet.at_ns += begins_ns;
            recording.packets.push(packet);
        }
        // Stable, so that each half keeps its order.
        recording.packets.sort_by_key(|packet| packet.at_ns);
        Ok(Self { recording, moves })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::tests::{SECOND, recording};

    fn sent_by(source: &str, mix: &Mix) -> Vec<u64> {
        let sender: IpAddr = source.parse().unwrap();
        let is_from = |frame: &[u8]| {
            frame[26..30] == sender.to_string().parse::<std::net::Ipv4Addr>().unwrap().octets()
        };
        let from = mix.recording.packets.iter().filter(|packet| is_from(&packet.frame));
        from.map(|packet| packet.at_ns).collect()
    }

    #[test]
    fn an_attack_begins_after_a_third_at_its_own_rate() {
        let benign: Vec<_> = (0..=30).map(|second| (second * SECOND, "192.0.2.1")).collect();
        let attack: Vec<_> = (0..1_000).map(|number| (number * 1_234_567, "203.0.113.7")).collect();
        let mix = Mix::of(&Half::attack(recording(&attack)), &Half::benign(recording(&benign))).unwrap();
        let expected: Vec<u64> = (0..1_000).map(|number| 10 * SECOND + number * 1_234_567).collect();
        assert_eq!(sent_by("203.0.113.7", &mix), expected);
        assert_eq!(sent_by("192.0.2.1", &mix), (0..=30).map(|second| second * SECOND).collect::<Vec<_>>());
        assert!(mix.recording.packets.is_sorted_by_key(|packet| packet.at_ns));
    }

    #[test]
    fn a_short_benign_half_is_repeated_and_a_gap_in_either_shortened() {
        let benign = recording(&[(0, "192.0.2.1"), (SECOND, "192.0.2.1")]);
        let attack = recording(&[(0, "203.0.113.7"), (3_600 * SECOND, "203.0.113.7")]);
        let mix = Mix::of(&Half::attack(attack), &Half::benign(benign)).unwrap();
        let benign = sent_by("192.0.2.1", &mix);
        assert_eq!((benign.len(), benign.last()), (16, Some(&(15 * SECOND))));
        assert_eq!(sent_by("203.0.113.7", &mix), [5 * SECOND, 15 * SECOND]);
    }

    #[test]
    fn whoever_is_in_both_halves_is_two() {
        let both = recording(&[(0, "192.0.2.1"), (9 * SECOND, "192.0.2.1"), (18 * SECOND, "192.0.2.1")]);
        let mix = Mix::of(&Half::attack(both.clone()), &Half::benign(both)).unwrap();
        let moved = mix.moves.place_of("192.0.2.1".parse().unwrap()).to_string();
        assert_eq!(moved, "192.1.2.1");
        assert_eq!(sent_by(&moved, &mix), [0, 9 * SECOND, 18 * SECOND]);
        assert_eq!(sent_by("192.0.2.1", &mix), [6 * SECOND, 15 * SECOND, 24 * SECOND]);
        assert_eq!(mix.recording.addresses().len(), 4, "the receiver moves as well");
    }
}
