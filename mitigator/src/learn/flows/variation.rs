//! `Conversation`: what shapes are computed from; and what another network and another tool would have made of it.
//!
//! A model that has seen one server learns how long that server's page is. So it learns from each conversation several times:
//! with an answer of another length, at another pace, with other acknowledgements, and cut or joined where versions of
//! CICFlowMeter end a flow differently. Benign flows and attacks are varied alike, so that what is varied tells nothing of the
//! one or the other, and what is left has to.

use std::sync::LazyLock;

use mitigator_ebpf::packet::protocol;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::quantities;
use crate::learn::balance::share;

/// What the answer's length is multiplied with, as powers of 2: from the smallest error page to a page four times as large.
const ANSWER: std::ops::Range<f64> = -4.0..2.0;
/// Packets of an answer grow slower than its bytes: there are acknowledgements, and they start small.
const PACKETS_PER_BYTES: f64 = 0.3;
/// Deviation of the pace, in decades. More of it hides how long clients and servers wait before they give up, which is much alike
/// everywhere.
const PACE: f64 = 0.1;
/// The pause after which the rest of a connection follows, in powers of 10 of a microsecond: 30 ms to 30 s.
const REST: std::ops::Range<f64> = 4.5..7.5;

/// What shapes are computed from. Every field is 0 or more.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Conversation {
    /// Number of the transport protocol.
    pub protocol: f64,
    /// Packets of who began.
    pub forward_packets: f64,
    /// Packets of who was asked.
    pub backward_packets: f64,
    /// Payload of who began.
    pub forward_bytes: f64,
    /// Payload of who was asked.
    pub backward_bytes: f64,
    /// Packets with payload of who began.
    pub data_packets: f64,
    /// From the first packet to the last.
    pub duration_us: f64,
    /// Between two packets.
    pub longest_pause_us: f64,
    /// The most payload in one packet of who began.
    pub largest_forward_bytes: f64,
    /// Whether somebody said that it is over.
    pub has_fin: bool,
}

static PLACES: LazyLock<[usize; 10]> = LazyLock::new(|| {
    [
        quantities::PROTOCOL,
        "Tot Fwd Pkts",
        "Tot Bwd Pkts",
        "TotLen Fwd Pkts",
        "TotLen Bwd Pkts",
        "Fwd Act Data Pkts",
        "Flow Duration",
        "Flow IAT Max",
        "Fwd Pkt Len Max",
        "FIN Flag Cnt",
    ]
    .map(quantities::place)
});

impl Conversation {
    /// Of all quantities of a flow, none of them missing. Shape of `row`: (quantities).
    #[must_use]
    pub fn of(row: &[f64]) -> Self {
        // The data sets have durations below 0 where a clock was set back.
        let [
            protocol,
            forward_packets,
            backward_packets,
            forward_bytes,
            backward_bytes,
            data_packets,
            rest @ ..,
        ] = PLACES.map(|place| row[place].max(0.0));
        let [duration_us, longest_pause_us, largest_forward_bytes, fin] = rest;
        Self {
            protocol,
            forward_packets,
            backward_packets,
            forward_bytes,
            backward_bytes,
            data_packets,
            duration_us,
            longest_pause_us,
            largest_forward_bytes,
            has_fin: fin > 0.0,
        }
    }

    /// In both directions.
    #[must_use]
    pub fn packets(&self) -> f64 {
        self.forward_packets + self.backward_packets
    }

    /// Packets with payload of who began, and at least 1 to divide by.
    #[must_use]
    pub fn requests(&self) -> f64 {
        self.data_packets.max(1.0)
    }

    /// Whether it is TCP.
    #[must_use]
    pub fn is_tcp(&self) -> bool {
        self.protocol == f64::from(protocol::TCP)
    }

    /// Whether it is UDP.
    #[must_use]
    pub fn is_udp(&self) -> bool {
        self.protocol == f64::from(protocol::UDP)
    }

    /// The same between other machines, as another tool would have told it.
    #[must_use]
    pub fn varied(&self, rng: &mut Xoshiro256PlusPlus) -> Self {
        let mut other = *self;
        other.answer_otherwise(rng);
        if other.is_tcp() {
            other.acknowledge_otherwise(rng);
            other.end_otherwise(rng);
        }
        let pace = 10_f64.powf(PACE * normal(rng));
        other.duration_us *= pace;
        other.longest_pause_us *= pace;
        other
    }

    fn answer_otherwise(&mut self, rng: &mut Xoshiro256PlusPlus) {
        let factor = between(&ANSWER, rng).exp2();
        if self.backward_bytes > 0.0 {
            self.backward_bytes = (self.backward_bytes * factor).round();
            self.backward_packets = (self.backward_packets * factor.powf(PACKETS_PER_BYTES)).round().max(1.0);
        }
    }

    fn acknowledge_otherwise(&mut self, rng: &mut Xoshiro256PlusPlus) {
        if self.forward_packets > 2.0 {
            let packets = self.forward_packets + between(&(-3.5..3.5), rng).round();
            self.forward_packets = packets.max(self.data_packets + 1.0);
        }
        if self.backward_packets > 2.0 {
            self.backward_packets = (self.backward_packets + between(&(-2.5..2.5), rng).round()).max(2.0);
        }
    }

    /// CICFlowMeter ended a flow at the first FIN: what follows, some acknowledgements and a RST after a pause, was a flow of
    /// its own. The corrected version, as ours, keeps both together.
    fn end_otherwise(&mut self, rng: &mut Xoshiro256PlusPlus) {
        let chance = share(rng);
        if self.has_fin && self.forward_packets >= 5.0 {
            if chance < 1.0 / 3.0 {
                self.duration_us = (self.duration_us - self.longest_pause_us).max(0.0);
                self.longest_pause_us = self.duration_us * between(&(0.3..1.0), rng);
                self.forward_packets = (self.forward_packets - 3.0).max(self.data_packets + 2.0);
                self.backward_packets = (self.backward_packets - 2.0).max(2.0);
            } else if chance < 2.0 / 3.0 {
                *self = Self {
                    protocol: self.protocol,
                    forward_packets: 2.0,
                    duration_us: self.longest_pause_us,
                    longest_pause_us: self.longest_pause_us,
                    ..Self::default()
                };
            }
        } else if !self.has_fin && self.data_packets > 0.0 && chance < 0.4 {
            let pause_us = 10_f64.powf(between(&REST, rng));
            self.duration_us += pause_us;
            self.longest_pause_us = self.longest_pause_us.max(pause_us);
            self.forward_packets += 2.0;
        }
    }
}

fn between(range: &std::ops::Range<f64>, rng: &mut Xoshiro256PlusPlus) -> f64 {
    range.start + (range.end - range.start) * share(rng)
}

/// Of mean 0 and deviation 1, by Box and Muller.
fn normal(rng: &mut Xoshiro256PlusPlus) -> f64 {
    let radius = (-2.0 * (1.0 - share(rng)).ln()).sqrt();
    radius * (std::f64::consts::TAU * share(rng)).cos()
}

#[cfg(test)]
mod tests {
    use rand_xoshiro::rand_core::SeedableRng;

    use super::*;

    const REQUEST: Conversation = Conversation {
        protocol: 6.0,
        forward_packets: 8.0,
        backward_packets: 6.0,
        forward_bytes: 20.0,
        backward_bytes: 11_595.0,
        data_packets: 1.0,
        duration_us: 6_000_000.0,
        longest_pause_us: 5_000_000.0,
        largest_forward_bytes: 20.0,
        has_fin: true,
    };

    fn varied(of: &Conversation) -> Vec<Conversation> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        (0..1_000).map(|_| of.varied(&mut rng)).collect()
    }

    #[test]
    fn variations_are_possible_conversations() {
        let query = Conversation { protocol: 17.0, has_fin: false, ..REQUEST };
        for of in [REQUEST, Conversation { has_fin: false, ..REQUEST }, query, Conversation::default()] {
            for other in varied(&of) {
                assert!(other.longest_pause_us <= other.duration_us, "{other:?}");
                assert!(other.data_packets <= other.forward_packets, "{other:?}");
                assert!(other.forward_bytes == 0.0 || other.forward_bytes == of.forward_bytes, "{other:?}");
                assert_eq!(other.protocol, of.protocol);
            }
        }
    }

    #[test]
    fn what_a_client_asks_stays_and_what_the_network_adds_varies() {
        let all = varied(&REQUEST);
        let rests = all.iter().filter(|other| other.packets() == 2.0).count();
        assert!((250..420).contains(&rests), "{rests} of 1000 are rests");
        let answers: Vec<f64> =
            all.iter().map(|other| other.backward_bytes).filter(|bytes| *bytes > 0.0).collect();
        let (least, most) =
            answers.iter().fold((f64::MAX, 0_f64), |(a, b), bytes| (a.min(*bytes), b.max(*bytes)));
        assert!(least < 1_000.0 && most > 40_000.0, "{least} to {most}");
        let query = Conversation { protocol: 17.0, ..REQUEST };
        assert!(varied(&query).iter().all(|other| other.forward_packets == query.forward_packets));
    }
}
