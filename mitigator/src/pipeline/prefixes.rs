//! Prefixes that attack as one: many members send the flood, and nobody there does anything else.
//!
//! Who has a whole prefix at hand, or forges its addresses, sends little from each. A prefix is only
//! blocked with evidence from its members: many of them carry the flood, nearly all that are active do,
//! and this host neither answered one of them nor knew it before.

use std::net::IpAddr;

use mitigator_common::{PrefixKey, Source};

use super::activity::{Activity, SourceActivity};
use super::gates::Carried;

/// Members that have to carry the flood.
pub const MEMBERS: usize = 32;
/// Of the active members, the share that has to.
const MOST: f64 = 0.95;
/// Of a member's packets, the share that has to be the flood's.
const OF_ITS_PACKETS: f64 = 0.8;
/// Prefixes that are looked at, narrow before wide: an IPv4 /24, the IPv6 prefixes that sites are given.
const LENGTHS_V4: [u8; 1] = [24];
const LENGTHS_V6: [u8; 2] = [56, 48];
/// Bits of a source's number past those prefixes: an IPv4 address has 32 bits, an IPv6 source 64.
const HOST_BITS: [u32; 2] = [8, 16];

/// A prefix that attacks.
#[derive(Clone, Debug, PartialEq)]
pub struct AttackingPrefix {
    /// Which.
    pub prefix: PrefixKey,
    /// Rows of the activity that are its members, ascending.
    pub members: Vec<usize>,
    /// Packets of the flood that they sent.
    pub carried: u64,
}

#[derive(Clone, Debug, Default)]
struct Tally {
    members: Vec<usize>,
    active: usize,
    carried: u64,
    has_innocent: bool,
}

/// Prefixes of which `carried`, the flood's packets per row, says that they attack as one, sorted; a wide one
/// only where it takes in more members than a narrow one inside it. Members are only those that are too
/// light to be blocked one by one.
#[must_use]
pub fn attacking(
    activity: &Activity,
    carried: &Carried,
    is_light: impl Fn(&SourceActivity, u64) -> bool,
    is_known: impl Fn(&SourceActivity) -> bool,
) -> Vec<AttackingPrefix> {
    if carried.iter().len() < MEMBERS {
        return Vec::new();
    }
    let mut found = Vec::new();
    // Rows are sorted, so that the sources of a prefix stand together; most stand alone.
    for index in 0..LENGTHS_V6.len() {
        let prefix_of = |row: &SourceActivity| around(row.source).nth(index);
        let bits = HOST_BITS.get(index).copied().unwrap_or(0);
        let mut counts = carried.iter().peekable();
        let mut start = 0;
        for rows in activity.rows.chunk_by(|a, b| a.source.number() >> bits == b.source.number() >> bits) {
            let first = start;
            start += rows.len();
            let Some(prefix) = rows.first().filter(|_| rows.len() >= MEMBERS).and_then(prefix_of) else {
                continue;
            };
            while counts.next_if(|(carrier, _)| *carrier < first).is_some() {}
            let mut tally = Tally::default();
            for (row, source) in (first..).zip(rows) {
                let carried = counts.next_if(|(carrier, _)| *carrier == row).map_or(0, |(_, count)| count);
                if source.change.packets == 0 {
                    continue;
                }
                tally.active += 1;
                tally.has_innocent |= is_known(source);
                if is_light(source, carried) && carries(carried, source.change.packets) {
                    tally.members.push(row);
                    tally.carried += carried;
                }
            }
            if tally.is_attacking() {
                found.push(AttackingPrefix { prefix, members: tally.members, carried: tally.carried });
            }
        }
    }
    found.sort_unstable_by_key(|found| (found.prefix.length, found.prefix));
    let narrowest = found.clone();
    found.retain(|wide| !narrowest.iter().any(|narrow| narrow.is_in(wide) && narrow.members == wide.members));
    // What lies in a wide prefix that attacks needs no entry of its own.
    let widest = found.clone();
    found.retain(|narrow| !widest.iter().any(|wide| narrow.is_in(wide)));
    found
}

impl Tally {
    #[expect(clippy::cast_precision_loss, reason = "counts of sources are far below 2^52")]
    fn is_attacking(&self) -> bool {
        let most = self.members.len() as f64 >= self.active as f64 * MOST;
        !self.has_innocent && self.members.len() >= MEMBERS && most
    }
}

impl AttackingPrefix {
    fn is_in(&self, wide: &Self) -> bool {
        let (network, _) = self.prefix.parts();
        let (_, length) = wide.prefix.parts();
        wide.prefix.length < self.prefix.length && PrefixKey::new(network, length) == wide.prefix
    }
}

/// The prefixes around a source that are looked at, narrow before wide.
pub fn around(source: Source) -> impl Iterator<Item = PrefixKey> {
    let network = source.network();
    let lengths: &[u8] = match network {
        IpAddr::V4(_) => &LENGTHS_V4,
        IpAddr::V6(_) => &LENGTHS_V6,
    };
    lengths.iter().map(move |length| PrefixKey::new(network, *length))
}

#[expect(clippy::cast_precision_loss, reason = "counts in one interval are far below 2^52")]
fn carries(carried: u64, packets: u64) -> bool {
    carried as f64 >= packets as f64 * OF_ITS_PACKETS
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use mitigator_common::SourceCounters;

    /// A source with its packets, those of the flood, and whether it is known.
    type Member = (String, u64, u64, bool);

    fn found(members: &[Member]) -> Vec<String> {
        let mut members = members.to_vec();
        members.sort();
        let row = |(address, packets, _, known): &Member| SourceActivity {
            source: Source::from(address.parse::<IpAddr>().unwrap()),
            change: SourceCounters { packets: *packets, ..SourceCounters::EMPTY },
            totals: SourceCounters::EMPTY,
            age: Duration::from_secs(u64::from(*known)),
        };
        let rows = members.iter().map(row).collect();
        let carried = members.iter().map(|(_, _, carried, _)| *carried).enumerate().collect();
        let activity = Activity { rows, ..Activity::default() };
        let found = attacking(&activity, &carried, |_, count| count < 100, |row| !row.age.is_zero());
        let shown = |found: &AttackingPrefix| {
            let (network, length) = found.prefix.parts();
            format!("{network}/{length} {}", found.members.len())
        };
        found.iter().map(shown).collect()
    }

    fn v4(network: &str, count: usize, packets: u64, carried: u64, known: bool) -> Vec<Member> {
        (0..count).map(|host| (format!("{network}.{host}"), packets, carried, known)).collect()
    }

    #[test]
    fn a_prefix_needs_many_members_that_do_nothing_else_and_no_known_one() {
        for (description, members, expected) in [
            ("forty bots", v4("192.0.2", 40, 5, 5, false), vec!["192.0.2.0/24 40"]),
            ("forty that are loud", v4("192.0.2", 40, 500, 500, false), vec![]),
            ("thirty", v4("192.0.2", 30, 5, 5, false), vec![]),
            ("forty clients that send some of it", v4("192.0.2", 40, 5, 2, false), vec![]),
            (
                "forty bots and a visitor from before",
                [v4("192.0.2", 40, 5, 5, false), v4("192.0.2", 1, 9, 0, true)].concat(),
                vec![],
            ),
            (
                "forty bots and five others",
                [
                    v4("192.0.2", 40, 5, 5, false),
                    (100..105).map(|host| (format!("192.0.2.{host}"), 9, 0, false)).collect(),
                ]
                .concat(),
                vec![],
            ),
            (
                "two prefixes",
                [v4("192.0.2", 40, 5, 5, false), v4("192.0.3", 33, 1, 1, false)].concat(),
                vec!["192.0.2.0/24 40", "192.0.3.0/24 33"],
            ),
            (
                "one site of IPv6",
                (0..64).map(|net| (format!("2001:db8:1:{net:x}::1"), 3, 3, false)).collect(),
                vec!["2001:db8:1::/56 64"],
            ),
            (
                "many sites of one /48",
                (0..64).map(|net| (format!("2001:db8:1:{net:x}00::1"), 3, 3, false)).collect(),
                vec!["2001:db8:1::/48 64"],
            ),
        ] {
            assert_eq!(found(&members), expected, "{description}");
        }
    }
}
