//! Connections that sources opened and nobody served: what slow attacks and connection floods pile up.
//!
//! A client opens a connection, asks, is answered and closes it within moments; only who waits, or makes
//! the server wait, holds many at a time. Counted from totals alone: a SYN opens one, an answer to a
//! request serves one, FIN or RST from either side ends one.

use std::time::Duration;

use mitigator_common::{Source, SourceCounters};
use rustc_hash::FxHashMap;

use super::activity::SourceActivity;
use super::features::distinct_ports;

/// Connections of each source that were opened and not served.
#[derive(Clone, Debug, Default)]
pub struct Connections {
    sources: FxHashMap<Source, Waiting>,
}

/// Connections of one source.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Waiting {
    /// Opened, and neither served nor closed.
    pub connections: f64,
    /// SYN packets lately.
    opened: f64,
    /// ACK packets lately.
    acknowledged: f64,
}

/// What the connections of all sources say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pile {
    /// Whether many sources pile up connections together, each less than one would alone.
    pub is_of_a_crowd: bool,
    /// Whether, of the sources with few connections, most are not served either: then it is the server that is slow.
    pub everybody_waits: bool,
}

/// Classes of ports that a client of one host uses in a second or two.
const FEW_PORTS: u32 = 3;
/// Waiting connections from which a source holds more than a client has under way.
const MANY: f64 = 30.0;
/// The same while very many wait in all, and who has few is served.
const MANY_OF_A_CROWD: f64 = 10.0;
/// Waiting connections of all who hold more than a browser opens, from which they are very many.
const VERY_MANY: f64 = 300.0;
/// Sources that pile them up together.
const A_CROWD: usize = 10;
/// From how many connections on a source is looked at while it sends nothing.
const WATCHED: f64 = MANY_OF_A_CROWD;
/// Pushes in a tick on each connection whose request is not finished, at most.
const PUSHES: f64 = 4.0;
/// Unserved connections from which they say anything.
const A_FEW: f64 = 6.0;
/// Connections opened lately from which they tell whether the server is slow.
const ENOUGH: f64 = 10.0;
/// What is older counts for little: a server gives up a half-open connection after about as long.
const MEMORY_S: f64 = 60.0;
/// What is left of one connection after a minute and a half: it tells nothing any more.
const FORGOTTEN: f64 = 0.2;
/// Sources remembered at a time: in a flood of forged ones, that a server answers, more would come.
const MOST_SOURCES: usize = 131_072;

impl Waiting {
    /// Whether the connections were established before they began to wait.
    #[must_use]
    pub fn are_established(&self) -> bool {
        self.acknowledged >= self.opened * 0.5
    }

    /// Whether more wait than a client has under way, and most of what the source opened lately: browsers open
    /// a connection or two in advance, which nobody serves either.
    #[must_use]
    pub fn are_many(&self, is_of_a_crowd: bool) -> bool {
        let many = if is_of_a_crowd { MANY_OF_A_CROWD } else { MANY };
        self.connections >= many && self.are_most()
    }

    fn are_most(&self) -> bool {
        self.connections >= self.opened * 0.5
    }

    /// Whether so many pushes come of connections that are begun and not finished.
    #[must_use]
    pub fn explains(&self, pushes: u32) -> bool {
        self.connections >= A_FEW && self.are_most() && f64::from(pushes) <= self.connections * PUSHES
    }

    fn add(&mut self, change: &SourceCounters) {
        let served = change.sent_data_packets.min(change.tcp_push_packets);
        let closed =
            change.sent_closing_packets.max(change.tcp_fin_packets.saturating_add(change.tcp_rst_packets));
        let ended = f64::from(served) + f64::from(closed);
        self.opened += f64::from(change.tcp_syn_packets);
        self.acknowledged += f64::from(change.tcp_ack_packets);
        self.connections = (self.connections + f64::from(change.tcp_syn_packets) - ended).max(0.0);
    }

    fn fade(&mut self, kept: f64) {
        for value in [&mut self.connections, &mut self.opened, &mut self.acknowledged] {
            *value *= kept;
        }
    }
}

impl Connections {
    /// What is older counts for less.
    pub fn fade(&mut self, interval: Duration) {
        let kept = (-interval.as_secs_f64() / MEMORY_S).exp();
        self.sources.retain(|_, waiting| {
            waiting.fade(kept);
            waiting.connections.max(waiting.opened) >= FORGOTTEN
        });
    }

    /// Takes in what a source did; returns what waits, if that is more than a few. Only connections that this host
    /// accepts are known to be connections: where it answers nothing, or is not heard, none waits.
    pub fn note(&mut self, row: &SourceActivity) -> Option<Waiting> {
        if row.totals.sent_syn_ack_packets == 0 {
            return None;
        }
        let known = match self.sources.get_mut(&row.source) {
            Some(known) => known,
            None => {
                // Who asks many ports scans, and holds no connections.
                let is_client = row.change.tcp_syn_packets > 0 && distinct_ports(&row.change) <= FEW_PORTS;
                if !is_client || self.sources.len() >= MOST_SOURCES {
                    return None;
                }
                self.sources.entry(row.source).or_default()
            }
        };
        known.add(&row.change);
        (known.connections >= A_FEW).then_some(*known)
    }

    /// What the connections of all sources say together.
    #[must_use]
    pub fn pile(&self) -> Pile {
        let (mut sources, mut connections) = (0, 0.0);
        let (mut others_wait, mut others_opened) = (0.0, 0.0);
        for waiting in self.sources.values() {
            if waiting.connections <= A_FEW {
                others_wait += waiting.connections;
                others_opened += waiting.opened;
            } else if waiting.are_most() {
                sources += 1;
                connections += waiting.connections;
            }
        }
        let everybody_waits = others_opened >= ENOUGH && others_wait >= others_opened * 0.5;
        let is_of_a_crowd = sources >= A_CROWD && connections >= VERY_MANY && !everybody_waits;
        Pile { is_of_a_crowd, everybody_waits }
    }

    /// Sources whose connections wait although they send nothing now, sorted.
    #[must_use]
    pub fn watched(&self) -> Vec<Source> {
        let is_watched = |(_, waiting): &(&Source, &Waiting)| waiting.connections >= WATCHED;
        let mut watched: Vec<Source> =
            self.sources.iter().filter(is_watched).map(|(source, _)| *source).collect();
        watched.sort_unstable();
        watched
    }

    /// Forgets the connections of a source, which has been blocked.
    pub fn forget(&mut self, source: Source) {
        self.sources.remove(&source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_not_served_piles_up_connections() {
        let client = |change: SourceCounters| change;
        for (description, per_tick, expected, are_established) in [
            (
                "asked and answered",
                client(SourceCounters {
                    tcp_syn_packets: 40,
                    tcp_ack_packets: 120,
                    tcp_push_packets: 40,
                    tcp_fin_packets: 40,
                    sent_data_packets: 80,
                    sent_closing_packets: 40,
                    ..SourceCounters::EMPTY
                }),
                0,
                true,
            ),
            (
                "kept open after the answer",
                client(SourceCounters {
                    tcp_syn_packets: 40,
                    tcp_ack_packets: 80,
                    tcp_push_packets: 40,
                    sent_data_packets: 400,
                    ..SourceCounters::EMPTY
                }),
                0,
                true,
            ),
            (
                "half a request",
                client(SourceCounters {
                    tcp_syn_packets: 40,
                    tcp_ack_packets: 120,
                    tcp_push_packets: 80,
                    ..SourceCounters::EMPTY
                }),
                156,
                true,
            ),
            (
                "never acknowledged",
                client(SourceCounters { tcp_syn_packets: 40, ..SourceCounters::EMPTY }),
                156,
                false,
            ),
        ] {
            let mut connections = Connections::default();
            let totals = SourceCounters { sent_syn_ack_packets: 1, ..SourceCounters::EMPTY };
            let row = SourceActivity {
                source: Source::from_v4_bytes([192, 0, 2, 7]),
                change: per_tick,
                totals,
                age: Duration::ZERO,
            };
            let mut tick = || {
                connections.fade(Duration::from_millis(250));
                connections.note(&row)
            };
            let waiting = (0..4).map(|_| tick()).last().flatten().unwrap_or_default();
            assert!((waiting.connections - f64::from(expected)).abs() < 4.0, "{description}: {waiting:?}");
            assert_eq!(waiting.are_established(), are_established, "{description}");
        }
    }
}
