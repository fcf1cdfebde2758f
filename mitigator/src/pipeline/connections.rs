//! Connections that sources opened and nobody served: what slow attacks and connection floods pile up.
//!
//! A client opens a connection, asks, is answered and closes it within moments; only who waits, or makes
//! the server wait, holds many at a time. Counted from totals alone: a SYN opens one, an answer to a
//! request serves one, FIN or RST from either side ends one.

use std::hint::black_box;
use std::time::Duration;

use mitigator_common::{Source, SourceCounters};

use super::features::distinct_ports;
use super::keyed::KeyedMap;
use super::rows::SourceActivity;

/// Connections of each source that were opened and not served.
#[derive(Clone, Debug, Default)]
pub struct Connections {
    sources: KeyedMap<Source, Waiting>,
    /// Of those that were blocked lately.
    blocked: Blocked,
}

/// What sources pile up together. Fades, and so is not whole.
#[derive(Clone, Copy, Debug, Default)]
struct Blocked {
    sources: f64,
    connections: f64,
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
    /// Ends of requests lately that were not answered.
    unanswered: f64,
    /// Seconds in which there were as many as one of a crowd has.
    stood_s: f64,
}

/// A sum that is the same in whatever order its parts come, which a rounded one is not. None is negative.
#[derive(Clone, Copy, Debug, Default)]
struct Sum(u64);

/// What the connections of all sources say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pile {
    /// Whether many sources pile up connections together, each less than one would alone. Those that were blocked
    /// lately are of them, so that the last ones do not look like the only ones.
    pub is_of_a_crowd: bool,
    /// Whether, of the sources with few connections, most are not served either: then it is the server that is slow.
    pub everybody_waits: bool,
}

/// Classes of ports that a client of one host uses in a second or two.
const FEW_PORTS: u32 = 3;
/// Waiting connections from which a source holds more than a client has under way.
const MANY: f64 = 30.0;
/// The same while very many wait in all, and who has few is served: more than browsers open in advance.
pub(super) const MANY_OF_A_CROWD: f64 = 12.0;
/// Waiting connections of all who hold more than a browser opens, from which they are very many.
const VERY_MANY: f64 = 300.0;
/// Sources that pile them up together.
const A_CROWD: f64 = 10.0;
/// Ends of requests on each connection from which they do not end the request: over a bad link some come twice.
const ENDLESS: f64 = 1.15;
/// How long a server may keep a request until there is something to say, or a client a connection in advance.
const LONG_POLL_S: f64 = 30.0;
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
        let are_many = self.connections >= MANY || is_of_a_crowd && self.are_many_of_a_crowd();
        are_many && self.are_most()
    }

    /// Whether there are as many as an attacker of a crowd has. Who asked at most once on each may be answered yet;
    /// requests that go on and on never are.
    fn are_many_of_a_crowd(&self) -> bool {
        let is_endless = self.unanswered >= self.opened * ENDLESS;
        self.connections >= MANY_OF_A_CROWD && (is_endless || self.stood_s >= LONG_POLL_S)
    }

    fn is_pile(&self) -> bool {
        self.connections > A_FEW && self.are_most()
    }

    fn are_most(&self) -> bool {
        self.connections >= self.opened * 0.5
    }

    /// Whether so many pushes come of connections that are begun and not finished.
    ///
    /// Asked of few sources. Inlined, it would be worked out in advance for those who hold no connections, on numbers
    /// that are none: a multiplication of denormal ones takes longer than all else about a source.
    #[must_use]
    #[inline(never)]
    pub fn explains(&self, pushes: u32) -> bool {
        self.connections >= A_FEW && self.are_most() && f64::from(pushes) <= self.connections * PUSHES
    }

    fn add(&mut self, change: &SourceCounters) {
        let served = change.sent_data_packets.min(change.tcp_push_packets);
        let late = f64::from(change.sent_data_packets - served).min(self.unanswered);
        let closed =
            change.sent_closing_packets.max(change.tcp_fin_packets.saturating_add(change.tcp_rst_packets));
        let ended = f64::from(served) + late + f64::from(closed);
        self.opened += f64::from(change.tcp_syn_packets);
        self.acknowledged += f64::from(change.tcp_ack_packets);
        self.unanswered += f64::from(change.tcp_push_packets - served) - late;
        self.connections = (self.connections + f64::from(change.tcp_syn_packets) - ended).max(0.0);
    }

    fn fade(&mut self, seconds: f64, kept: f64) {
        self.stood_s = if self.connections >= MANY_OF_A_CROWD { self.stood_s + seconds } else { 0.0 };
        for value in [&mut self.connections, &mut self.opened, &mut self.acknowledged, &mut self.unanswered] {
            *value *= kept;
        }
    }
}

impl Connections {
    /// What is older counts for less.
    pub fn fade(&mut self, interval: Duration) {
        let seconds = interval.as_secs_f64();
        let kept = (-seconds / MEMORY_S).exp();
        self.blocked.sources *= kept;
        self.blocked.connections *= kept;
        self.sources.retain(|_, waiting| {
            waiting.fade(seconds, kept);
            waiting.connections.max(waiting.opened) >= FORGOTTEN
        });
    }

    /// Has memory brought near that is about to be needed for some rows: all of it at a time, and not one after the
    /// other.
    pub fn fetch<'a>(&self, rows: impl Iterator<Item = (Source, &'a SourceCounters)>) {
        for (source, _) in rows.filter(|(_, totals)| totals.sent_syn_ack_packets > 0) {
            black_box(self.sources.get(&source).map(|waiting| waiting.connections));
        }
    }

    /// Takes in what a source did; returns what waits, if that is more than a few. Only connections that this host
    /// accepts are known to be connections: where it answers nothing, or is not heard, none waits.
    pub fn note(&mut self, row: &SourceActivity<'_>) -> Option<Waiting> {
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
        let (mut piling, mut piled) = (0.0, Sum::default());
        let (mut others_wait, mut others_opened) = (Sum::default(), Sum::default());
        for waiting in self.sources.values() {
            if waiting.connections <= A_FEW {
                // Who never acknowledged may be forged, and says nothing of the server.
                if waiting.acknowledged <= 0.0 {
                    continue;
                }
                others_wait.add(waiting.connections);
                others_opened.add(waiting.opened);
            } else if waiting.are_most() {
                piling += 1.0;
                piled.add(waiting.connections);
            }
        }
        let sources = self.blocked.sources + piling;
        let connections = self.blocked.connections + piled.value();
        let (others_wait, others_opened) = (others_wait.value(), others_opened.value());
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
        if let Some(waiting) = self.sources.remove(&source).filter(Waiting::is_pile) {
            self.blocked.add(&waiting);
        }
    }
}

impl Sum {
    /// Of one connection: far less than any bound tells apart.
    const UNITS: f64 = 65_536.0;

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rounds to a unit; what is counted is never negative"
    )]
    fn add(&mut self, part: f64) {
        self.0 = self.0.saturating_add((part * Self::UNITS) as u64);
    }

    #[expect(clippy::cast_precision_loss, reason = "rounded once, after all parts")]
    fn value(self) -> f64 {
        self.0 as f64 / Self::UNITS
    }
}

impl Blocked {
    fn add(&mut self, pile: &Waiting) {
        self.sources += 1.0;
        self.connections += pile.connections;
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
                totals: &totals,
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

    /// Thirty sources of nearly thirty connections each, opened within ten seconds.
    fn crowd(seconds: u32, change_of: impl Fn(u32) -> SourceCounters) -> (Connections, Waiting) {
        let mut connections = Connections::default();
        let totals = SourceCounters { sent_syn_ack_packets: 1, ..SourceCounters::EMPTY };
        let mut last = Waiting::default();
        for second in 0..seconds {
            connections.fade(Duration::from_secs(1));
            let opened = if second < 10 { 3 } else { 0 };
            let asked = change_of(second);
            let change = SourceCounters { tcp_syn_packets: opened, tcp_ack_packets: opened, ..asked };
            for number in 0..30 {
                let source = Source::from_v4_bytes([192, 0, 2, number]);
                let row = SourceActivity { source, change, totals: &totals, age: Duration::from_secs(5) };
                last = connections.note(&row).unwrap_or_default();
            }
        }
        (connections, last)
    }

    #[test]
    fn of_a_crowd_only_requests_without_an_end_are_many_at_once() {
        let pushes = |tcp_push_packets| SourceCounters { tcp_push_packets, ..SourceCounters::EMPTY };
        let once = |second| pushes(if second < 10 { 3 } else { 0 });
        for (description, seconds, expected, change_of) in [
            ("asked once", 12, false, &once as &dyn Fn(u32) -> SourceCounters),
            ("asked once, long ago", 40, true, &once),
            ("not asked yet", 12, false, &|_| pushes(0)),
            ("asked on and on", 12, true, &|_| pushes(5)),
            ("answered a moment later", 12, false, &|second| SourceCounters {
                sent_data_packets: if second > 1 { 3 } else { 0 },
                ..once(second)
            }),
        ] {
            let (connections, waiting) = crowd(seconds, change_of);
            assert_eq!(waiting.are_many(true), expected, "{description}: {waiting:?}");
            assert!(!waiting.are_many(false), "{description}");
            assert_eq!(connections.pile().is_of_a_crowd, !description.contains("answered"), "{description}");
        }
    }

    #[test]
    fn a_sum_is_the_same_in_every_order() {
        let parts = || (1..1_000_u32).map(|number| 1e6 / f64::from(number));
        let (mut forth, mut back) = (Sum::default(), Sum::default());
        parts().for_each(|part| forth.add(part));
        parts().rev().for_each(|part| back.add(part));
        assert_eq!(forth.0, back.0);
        assert!((forth.value() - parts().sum::<f64>()).abs() < 0.1, "{forth:?}");
    }

    #[test]
    fn the_last_of_a_crowd_are_of_it_while_the_others_are_blocked() {
        let (mut connections, _) =
            crowd(12, |_| SourceCounters { tcp_push_packets: 3, ..SourceCounters::EMPTY });
        for number in 1..30 {
            connections.forget(Source::from_v4_bytes([192, 0, 2, number]));
        }
        assert!(connections.pile().is_of_a_crowd);
        connections.fade(Duration::from_mins(3));
        assert!(!connections.pile().is_of_a_crowd, "it is over");
    }
}
