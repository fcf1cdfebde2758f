//! Swarms: new sources that open connections and behave all alike, to the byte.
//!
//! Visitors of a flash crowd differ in what they send, and come one after the other; bots that one
//! program drives do not (Yu et al. 2012, "Discriminating DDoS attacks from flash crowds using flow
//! correlation coefficient"). A fleet of equal machines does not either, but is served.

use std::time::Duration;

use mitigator_common::SourceCounters;
use rustc_hash::FxHashMap;

use super::rows::SourceActivity;

/// Sources from which equal behaviour is a swarm.
pub const SWARM: usize = 100;
/// Who was seen before is no part of one.
const NEW: Duration = Duration::from_secs(1);
/// Share of the new sources with connections that have to be alike.
const ALIKE_SHARE: f64 = 0.5;

/// What the members of a swarm have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Behaviour {
    port: u16,
    packets: u64,
    bytes: u64,
    connections: u32,
    pushes: u32,
}

impl Behaviour {
    /// Of a new source that opened connections and was not served; `None` for others.
    fn of(row: &SourceActivity<'_>) -> Option<Self> {
        let SourceCounters { tcp_syn_packets, tcp_ack_packets, .. } = *row.totals;
        let has_connections = tcp_syn_packets > 0 && tcp_ack_packets > tcp_syn_packets;
        (has_connections && row.totals.sent_data_packets == 0 && row.age <= NEW).then_some(Self {
            port: row.totals.destination_port,
            packets: row.totals.packets,
            bytes: row.totals.bytes,
            connections: tcp_syn_packets,
            pushes: row.totals.tcp_push_packets,
        })
    }
}

/// New sources with connections, by what they do.
#[derive(Clone, Debug, Default)]
pub struct Crowd {
    groups: FxHashMap<Behaviour, Vec<usize>>,
    sources: usize,
}

impl Crowd {
    /// Takes in a row of the activity, each one in order.
    pub fn note(&mut self, index: usize, row: &SourceActivity<'_>) {
        if let Some(behaviour) = Behaviour::of(row) {
            self.sources += 1;
            self.groups.entry(behaviour).or_default().push(index);
        }
    }

    /// The rows that are members of its largest swarm, ascending; empty when there is none.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of sources are far below 2^52")]
    pub fn swarm(self) -> Vec<usize> {
        let largest = self.groups.into_iter().max_by_key(|(behaviour, rows)| (rows.len(), *behaviour));
        let rows = largest.map(|(_, rows)| rows).unwrap_or_default();
        let is_swarm = rows.len() >= SWARM && rows.len() as f64 >= self.sources as f64 * ALIKE_SHARE;
        if is_swarm { rows } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mitigator_common::Source;

    #[test]
    fn only_many_unserved_sources_that_are_all_alike_make_one() {
        let visitor = |bytes: u64, served: u32| SourceCounters {
            packets: 6,
            bytes,
            tcp_syn_packets: 1,
            tcp_ack_packets: 5,
            tcp_push_packets: 1,
            sent_data_packets: served,
            destination_port: 443,
            ..SourceCounters::EMPTY
        };
        let minute = Duration::from_mins(1);
        for (description, sources, spread, served, age, expected) in [
            ("bots", 300_u64, 1, 0, Duration::ZERO, 300),
            ("a few bots", 90, 1, 0, Duration::ZERO, 0),
            ("visitors", 300, 150, 0, Duration::ZERO, 0),
            ("a fleet that is served", 300, 1, 4, Duration::ZERO, 0),
            ("a fleet that was there before", 300, 1, 0, minute, 0),
        ] {
            let mut crowd = Crowd::default();
            for number in 0..sources {
                let totals = visitor(800 + number % spread, served);
                let [high, low] = u16::try_from(number).unwrap().to_be_bytes();
                let source = Source::from_v4_bytes([192, 0, high, low]);
                let index = usize::try_from(number).unwrap();
                crowd.note(index, &SourceActivity { source, change: totals, totals: &totals, age });
            }
            assert_eq!(crowd.swarm().len(), expected, "{description}");
        }
    }
}
