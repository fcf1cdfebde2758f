//! `Traffic`: the packets of a scenario, one at a time, in the order of time.
//!
//! Populations begin exchanges; an exchange that is under way knows no more than where in its program it is, so that
//! memory depends on how many are under way, not on how long they last.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::IpAddr;
use std::time::Duration;

use mitigator_common::{Source, WideAddress};
use mitigator_ebpf::packet::{Direction, Packet};

use super::catalogue::{Pace, Population, host_bits};
use super::chance::Chance;
use super::exchange::{Address, DEPTH, Operation};

/// One packet.
#[derive(Clone, Copy, Debug)]
pub struct Transit {
    /// Since the beginning.
    pub at_ns: u64,
    /// Whether it arrives or leaves.
    pub direction: Direction,
    /// What it says.
    pub packet: Packet,
    /// As Ethernet would count it.
    pub wire_bytes: u64,
    /// Position of its population.
    pub population: usize,
    /// Whether it is the first of its exchange.
    pub begins: bool,
}

/// The packets of populations, up to a time.
#[derive(Debug)]
pub struct Traffic<'a> {
    populations: Vec<Sender<'a>>,
    exchanges: Vec<UnderWay>,
    free: Vec<u32>,
    /// When to look at which: populations first, then exchanges.
    due: BinaryHeap<Reverse<(u64, u32)>>,
    /// The exchange that sent the latest packet.
    latest: Option<(u64, u32)>,
    end_ns: u64,
}

#[derive(Debug)]
struct Sender<'a> {
    population: &'a Population,
    chance: Chance,
    /// How many exchanges it has begun.
    begun: u64,
}

/// An exchange between two packets.
#[derive(Clone, Copy, Debug)]
struct UnderWay {
    population: usize,
    address: Address,
    theirs: u16,
    ours: u16,
    round_trip_ns: u64,
    /// The operation that is next.
    position: usize,
    /// Where the repetitions begin that it is in, and how many are left.
    repeats: [(usize, u64); DEPTH],
    depth: usize,
    last: Option<Direction>,
    /// Whether its last packet did not get through, so that nothing answers it.
    is_cut: bool,
}

/// From a packet that arrives to the answer.
const ANSWER_NS: u64 = 300_000;
/// From a packet to one in the same direction right behind it.
const BEHIND_NS: u64 = 60_000;

impl<'a> Traffic<'a> {
    /// What the populations send until `end`.
    #[must_use]
    pub fn new(populations: &'a [Population], seed: u64, end: Duration) -> Self {
        let mut traffic = Self {
            populations: Vec::with_capacity(populations.len()),
            exchanges: Vec::new(),
            free: Vec::new(),
            due: BinaryHeap::new(),
            latest: None,
            end_ns: as_ns(end.as_secs_f64()),
        };
        for (position, population) in populations.iter().enumerate() {
            let mut sender = Sender { population, chance: Chance::new(seed, position), begun: 0 };
            let first = sender.after(0.0);
            traffic.populations.push(sender);
            traffic.push(first, u32::try_from(position).unwrap_or(u32::MAX));
        }
        traffic
    }

    /// The next packet; `None` at the end.
    pub fn next_packet(&mut self) -> Option<Transit> {
        if let Some((at_ns, exchange)) = self.latest.take() {
            self.advance(at_ns, exchange);
        }
        loop {
            let Reverse((at_ns, id)) = self.due.pop()?;
            if at_ns >= self.end_ns {
                return None;
            }
            let population = id as usize;
            if population < self.populations.len() {
                self.begin(at_ns, population);
            } else if let Some(transit) = self.emit(at_ns, id) {
                self.latest = Some((at_ns, id));
                return Some(transit);
            }
        }
    }

    /// Says that the packet that came last did not get through. Attackers go on without an answer; others give up.
    pub fn lose(&mut self) {
        let Some((_, id)) = self.latest else { return };
        let Some(exchange) = self.exchange(id) else { return };
        exchange.is_cut = true;
        let population = exchange.population;
        if self.populations.get(population).is_some_and(|sender| !sender.population.attacks) {
            self.latest = None;
            self.free.push(id);
        }
    }

    fn push(&mut self, at_ns: u64, id: u32) {
        if at_ns < self.end_ns {
            self.due.push(Reverse((at_ns, id)));
        }
    }

    fn exchange(&mut self, id: u32) -> Option<&mut UnderWay> {
        let position = (id as usize).checked_sub(self.populations.len())?;
        self.exchanges.get_mut(position)
    }

    /// A population begins its next exchanges.
    fn begin(&mut self, at_ns: u64, position: usize) {
        let Some(sender) = self.populations.get_mut(position) else { return };
        let first = sender.start(position);
        let more = sender.population.at_once.draw(&mut sender.chance).saturating_sub(1);
        let next = sender.after(at_ns as f64 / 1e9);
        let is_over = sender.population.stop.is_some_and(|stop| next >= as_ns(stop.as_secs_f64()));
        self.place(at_ns, first);
        for number in 1..=more {
            let Some(sender) = self.populations.get_mut(position) else { return };
            // The first port is the client's next one.
            let theirs = sender.population.their_port.draw(&mut sender.chance);
            let ours = sender.population.port.beside(first.ours, number);
            self.place(at_ns + number * BEHIND_NS, UnderWay { theirs, ours, ..first });
        }
        if !is_over {
            self.push(next, u32::try_from(position).unwrap_or(u32::MAX));
        }
    }

    fn place(&mut self, at_ns: u64, exchange: UnderWay) {
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                let id = self.populations.len() + self.exchanges.len();
                self.exchanges.push(exchange);
                u32::try_from(id).unwrap_or(u32::MAX)
            }
        };
        if let Some(place) = self.exchange(id) {
            *place = exchange;
        }
        self.advance(at_ns, id);
    }

    /// Moves an exchange on to its next packet, or ends it.
    fn advance(&mut self, at_ns: u64, id: u32) {
        let senders = self.populations.len();
        let Some(exchange) = self.exchanges.get_mut((id as usize).wrapping_sub(senders)) else { return };
        let Some(sender) = self.populations.get_mut(exchange.population) else { return };
        match exchange.advance(sender) {
            Some(after_ns) => self.push(at_ns + after_ns, id),
            None => self.free.push(id),
        }
    }

    fn emit(&mut self, at_ns: u64, id: u32) -> Option<Transit> {
        let senders = self.populations.len();
        let exchange = self.exchanges.get_mut((id as usize).checked_sub(senders)?)?;
        let sender = self.populations.get_mut(exchange.population)?;
        let operation = sender.population.does.operations.get(exchange.position)?;
        let Operation::Packet { direction, kind, bytes, .. } = operation else { return None };
        exchange.position += 1;
        let begins = exchange.last.is_none();
        exchange.last = Some(*direction);
        exchange.is_cut &= *direction == Direction::Leaving;
        Some(Transit {
            at_ns,
            direction: *direction,
            packet: kind.packet(*direction, exchange.address, exchange.theirs, exchange.ours),
            wire_bytes: bytes.draw(&mut sender.chance),
            population: exchange.population,
            begins,
        })
    }
}

impl UnderWay {
    /// Goes to the next packet; returns how long until then, or `None` at the end.
    fn advance(&mut self, sender: &mut Sender<'_>) -> Option<u64> {
        let mut waited = 0;
        loop {
            match sender.population.does.operations.get(self.position)? {
                Operation::Packet { direction, after, .. } => {
                    waited += match after {
                        Some(after) => after.draw(&mut sender.chance),
                        None => self.usual_pause(*direction),
                    };
                    if self.is_cut && *direction == Direction::Leaving {
                        self.position += 1;
                    } else {
                        return Some(waited);
                    }
                }
                Operation::Repeat { times, end } => {
                    let times = times.draw(&mut sender.chance);
                    self.position += 1;
                    if times == 0 {
                        self.position = end + 1;
                    } else if let Some(place) = self.repeats.get_mut(self.depth) {
                        *place = (self.position, times - 1);
                        self.depth += 1;
                    }
                }
                Operation::Again => {
                    let (start, left) = self.repeats.get_mut(self.depth.checked_sub(1)?)?;
                    if *left > 0 {
                        *left -= 1;
                        self.position = *start;
                    } else {
                        self.depth -= 1;
                        self.position += 1;
                    }
                }
            }
        }
    }

    fn usual_pause(&self, direction: Direction) -> u64 {
        match (self.last, direction) {
            (None, _) => 0,
            (Some(Direction::Leaving), Direction::Arriving) => self.round_trip_ns,
            (Some(Direction::Arriving), Direction::Leaving) => ANSWER_NS,
            _ => BEHIND_NS,
        }
    }
}

impl Sender<'_> {
    /// When the next exchange begins after `second`.
    fn after(&mut self, second: f64) -> u64 {
        let start = self.population.start.as_secs_f64();
        let gap = match self.population.pace {
            // Not all populations at the same moment.
            Pace::Regular if self.begun == 0 => self.chance.share(),
            Pace::Regular => 1.0,
            Pace::Random => self.chance.gap(),
        };
        let since = (second - start).max(0.0);
        as_ns(start + self.population.rhythm.after(since, gap / self.population.per_second))
    }

    fn start(&mut self, position: usize) -> UnderWay {
        let number = match self.population.pace {
            _ if self.population.forged => self.chance.number(),
            Pace::Random => self.chance.below(self.population.sources),
            Pace::Regular => self.begun % self.population.sources,
        };
        self.begun += 1;
        UnderWay {
            population: position,
            address: self.population.address(number),
            theirs: self.population.their_port.draw(&mut self.chance),
            ours: self.population.port.draw(&mut self.chance),
            round_trip_ns: self.population.round_trip.draw(&mut self.chance),
            position: 0,
            repeats: [(0, 0); DEPTH],
            depth: 0,
            last: None,
            is_cut: false,
        }
    }
}

impl Population {
    /// Every source of it, unless they are forged.
    pub fn addresses(&self) -> impl Iterator<Item = Source> + '_ {
        let count = if self.forged { 0 } else { self.sources };
        (0..count).map(|number| self.address(number).source)
    }

    /// The `number`th address; neighbours in number lie apart.
    fn address(&self, number: u64) -> Address {
        let bits = host_bits(self.from);
        // Odd, so that different numbers stay different in any number of bits.
        let scattered = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let host = scattered & 1_u64.checked_shl(bits).map_or(u64::MAX, |end| end - 1);
        let full = match self.from.network() {
            IpAddr::V4(network) => {
                let bits = network.to_bits() | u32::try_from(host).unwrap_or(0);
                WideAddress::from_v4_bytes(bits.to_be_bytes())
            }
            IpAddr::V6(network) => {
                let bits = network.to_bits() | u128::from(host) << 64 | 0x2a;
                WideAddress::from_v6_bytes(bits.to_be_bytes())
            }
        };
        Address { source: Source::from(IpAddr::from(full)), full, is_v6: self.from.addr().is_ipv6() }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a time in the future, and saturates"
)]
fn as_ns(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios::Catalogue;

    const TEXT: &str = r#"
        background = {}
        [exchanges]
        visit = ["connect", { times = "2", steps = ["> push 300", "< data", "> ack"] }, "leave"]
        flood = ["> syn", "< synack"]
        [[scenario]]
        name = "test"
        about = "a test"
        expect = ["syn-flood"]
        seed = 5
        lasts = "1m"
        [[scenario.population]]
        name = "visitors"
        from = "198.18.0.0/24"
        sources = 200
        does = "visit"
        per-second = 20.0
        [[scenario.population]]
        name = "attacker"
        attacks = true
        from = "2001:db8::/32"
        forged = true
        does = "flood"
        per-second = 50.0
        start = "10s"
        stop = "20s"
    "#;

    #[test]
    fn packets_come_in_order_and_are_the_same_for_the_same_seed() {
        let scenarios = Catalogue::parse(TEXT).unwrap().scenarios;
        let populations = &scenarios[0].populations;
        let all = |seed| {
            let mut traffic = Traffic::new(populations, seed, Duration::from_mins(1));
            std::iter::from_fn(move || traffic.next_packet()).collect::<Vec<_>>()
        };
        let packets = all(5);
        assert!(packets.is_sorted_by_key(|transit| transit.at_ns));
        assert_eq!(format!("{packets:?}"), format!("{:?}", all(5)));
        assert_ne!(format!("{packets:?}"), format!("{:?}", all(6)));
        let of = |population| packets.iter().filter(move |transit| transit.population == population);
        let visits = of(0).filter(|transit| transit.begins).count();
        assert!((1_000..1_400).contains(&visits), "{visits}");
        let floods: Vec<_> = of(1).collect();
        assert!((800..1_200).contains(&floods.len()), "{}", floods.len());
        assert!(floods.iter().all(|transit| (10_000_000_000..20_001_000_000).contains(&transit.at_ns)));
        let sources = |population| of(population).map(|transit| transit.packet.source);
        assert!(sources(0).all(|source| populations[0].addresses().any(|known| known == source)));
        assert_eq!(sources(1).collect::<std::collections::BTreeSet<_>>().len() * 2, floods.len());
    }

    #[test]
    fn clients_give_up_and_attackers_go_on_without_answers() {
        let scenarios = Catalogue::parse(TEXT).unwrap().scenarios;
        let mut traffic = Traffic::new(&scenarios[0].populations, 5, Duration::from_mins(1));
        while let Some(transit) = traffic.next_packet() {
            assert_eq!(transit.direction, Direction::Arriving, "nothing that arrives is answered");
            assert!(transit.begins);
            traffic.lose();
        }
    }
}
