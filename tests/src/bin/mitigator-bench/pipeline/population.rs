//! Sources and what they send: a table of counters that a state moves on, tick by tick.
//!
//! Rows stand in an order that has nothing to do with addresses, as in the kernel's table, and keep their place.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use mitigator::pipeline::time::Timestamp;
use mitigator_common::{Source, SourceCounters};

/// What the sources of a population do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Clients of a web server, all of them busy with a connection.
    Quiet,
    /// A SYN packet from each of as many forged sources, new ones in every tick.
    SpoofedSyn,
    /// Clients that connect, ask and leave, many times as many requests as usual.
    Crowd,
    /// Loud senders of UDP, each of them to be blocked; who is blocked is replaced.
    UdpFlood,
    /// Reflectors, most of them light, with large answers in fragments.
    Reflection,
}

impl State {
    /// Every state.
    pub(crate) const ALL: [Self; 5] =
        [Self::Quiet, Self::SpoofedSyn, Self::Crowd, Self::UdpFlood, Self::Reflection];

    /// Stable name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::SpoofedSyn => "spoofed-syn",
            Self::Crowd => "crowd",
            Self::UdpFlood => "udp-flood",
            Self::Reflection => "reflection",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for State {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let names = || Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|state| state.name() == text);
        found.ok_or_else(|| format!("a state is one of {}", names()))
    }
}

/// The part of a population that was there before an attack: one in so many.
const CLIENTS_ONE_IN: usize = 100;
/// The part that is there before a crowd comes.
const EARLY_ONE_IN: usize = 10;
/// Spreads numbers evenly over 32 bits, each to another one.
const SPREAD: u32 = 0x9e37_79b1;

/// A table of counters.
pub(crate) struct Population {
    state: State,
    rows: Vec<(Source, SourceCounters)>,
    /// Rows at the start that hold clients.
    clients: usize,
    size: usize,
    /// Number of the next source.
    next: u32,
}

impl Population {
    /// Before the attack, or the crowd: clients alone.
    pub(crate) fn before(state: State, size: u32, now: Timestamp) -> Self {
        let size = size as usize;
        let clients = match state {
            State::Quiet => size,
            State::Crowd => size / EARLY_ONE_IN,
            _ => size / CLIENTS_ONE_IN,
        };
        let mut population = Self { state, rows: Vec::with_capacity(size), clients, size, next: 0 };
        for _ in 0..clients {
            let row = population.stranger(now);
            population.rows.push(row);
        }
        population
    }

    /// The rest of the population appears.
    pub(crate) fn fill(&mut self, now: Timestamp) {
        while self.rows.len() < self.size {
            let row = self.stranger(now);
            self.rows.push(row);
        }
    }

    pub(crate) fn rows(&self) -> &[(Source, SourceCounters)] {
        &self.rows
    }

    /// Puts others in the place of blocked sources.
    pub(crate) fn replace(&mut self, blocked: &[Source], now: Timestamp) {
        if blocked.is_empty() {
            return;
        }
        let blocked: std::collections::HashSet<Source> = blocked.iter().copied().collect();
        for index in self.clients..self.rows.len() {
            if self.rows.get(index).is_some_and(|(source, _)| blocked.contains(source)) {
                let row = self.stranger(now);
                self.rows[index] = row;
            }
        }
    }

    /// What happens in `elapsed` before `now`.
    pub(crate) fn advance(&mut self, elapsed: Duration, now: Timestamp) {
        let (state, clients, is_full) = (self.state, self.clients, self.rows.len() == self.size);
        if state == State::SpoofedSyn {
            for index in clients..self.rows.len() {
                let row = self.stranger(now);
                self.rows[index] = row;
            }
        }
        for (index, (source, row)) in self.rows.iter_mut().enumerate() {
            let level = level_of(*source);
            let count = |per_second: f64| at_least_one(per_second * elapsed.as_secs_f64());
            row.last_seen_ns = now.ns;
            match state {
                State::Crowd if is_full => ask(row, count(4.0 * (1.0 + 9.0 * level))),
                _ if index < clients => go_on(row, count(16.0 * (1.0 + level))),
                State::Quiet | State::Crowd => go_on(row, count(16.0)),
                State::SpoofedSyn => knock(row),
                State::UdpFlood => flood(row, count(2_000.0 * (1.0 + 3.0 * level))),
                State::Reflection => reflect(row, count(20.0 * 30_f64.powf(level))),
            }
        }
    }

    /// A source that was never there before.
    fn stranger(&mut self, now: Timestamp) -> (Source, SourceCounters) {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        let address = number.wrapping_mul(SPREAD).to_be_bytes();
        let [a, b, c, d] = address;
        let source = if number.is_multiple_of(5) {
            Source::from_v6_upper_half([0x2a, 0, 0, 0, a, b, c, d])
        } else {
            Source::from_v4_bytes(address)
        };
        (source, SourceCounters { first_seen_ns: now.ns, ..SourceCounters::EMPTY })
    }
}

/// How much of its state a source does, 0..1, always the same.
#[expect(clippy::cast_precision_loss, reason = "ten bits")]
fn level_of(source: Source) -> f64 {
    (source.number().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54) as f64 / 1024.0
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "packets of one tick")]
fn at_least_one(count: f64) -> u32 {
    count.round().max(1.0) as u32
}

fn arrive(row: &mut SourceCounters, packets: u32, bytes_each: u64) {
    row.packets += u64::from(packets);
    row.bytes += u64::from(packets) * bytes_each;
}

/// A connection that stands: one request in four packets.
fn go_on(row: &mut SourceCounters, packets: u32) {
    arrive(row, packets, 120);
    let requests = packets.div_ceil(4);
    row.tcp_ack_packets += packets;
    row.tcp_push_packets += requests;
    (row.destination_port, row.port_bits) = (443, 1);
    row.sent_packets += packets;
    row.sent_data_packets += requests * 2;
}

/// Connections, a request on each.
fn ask(row: &mut SourceCounters, requests: u32) {
    arrive(row, requests * 5, 110);
    row.tcp_syn_packets += requests;
    row.tcp_ack_packets += requests * 4;
    row.tcp_push_packets += requests;
    row.tcp_fin_packets += requests;
    (row.destination_port, row.port_bits) = (443, 1);
    row.sent_packets += requests * 4;
    row.sent_syn_ack_packets += requests;
    row.sent_data_packets += requests * 2;
    row.sent_closing_packets += requests;
}

fn knock(row: &mut SourceCounters) {
    arrive(row, 1, 60);
    row.tcp_syn_packets += 1;
    (row.destination_port, row.port_bits) = (443, 1);
}

fn flood(row: &mut SourceCounters, packets: u32) {
    arrive(row, packets, 142);
    row.udp_packets = row.udp_packets.wrapping_add(packets);
    (row.destination_port, row.port_bits) = (27_015, 2);
}

fn reflect(row: &mut SourceCounters, answers: u32) {
    arrive(row, answers * 2, 1_200);
    row.udp_packets += answers;
    row.reflection_packets += answers;
    row.fragment_packets += answers * 2;
    row.other_packets += answers;
    (row.reflection_port, row.destination_port, row.port_bits) = (53, 40_000, 4);
}
