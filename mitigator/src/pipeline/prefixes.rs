//! Prefixes that attack as one: many members send the flood, and nobody there does anything else.
//!
//! Who has a whole prefix at hand, or forges its addresses, sends little from each. A prefix is only
//! blocked with evidence from its members: many of them carry the flood, nearly all that are active do,
//! and this host neither answered one of them nor knew it before.

use std::net::IpAddr;

use mitigator_common::{PrefixKey, Source};
use rustc_hash::FxHashSet;

use super::activity::Activity;
use super::gates::Carried;
use super::rows::SourceActivity;

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
const HOST_BITS: [u32; LENGTHS_V6.len()] = [8, 16];
/// Counters of carriers by prefix, at most two to the power of this.
const MOST_COUNTER_BITS: u32 = 20;
/// Spreads numbers of prefixes over the counters (Knuth, "Sorting and Searching", 6.4).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

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

/// Prefixes of which `carried`, the flood's packets per row, of `carriers`, says that they attack as one, sorted; a
/// wide one only where it takes in more members than a narrow one inside it. Members are only those that are too
/// light to be blocked one by one.
#[must_use]
pub fn attacking(
    activity: &Activity,
    carried: &Carried,
    carriers: &[Source],
    is_light: impl Fn(&SourceActivity<'_>, u64) -> bool,
    is_known: impl Fn(&SourceActivity<'_>) -> bool,
) -> Vec<AttackingPrefix> {
    if carriers.len() < MEMBERS {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (index, bits) in HOST_BITS.into_iter().enumerate() {
        // IPv4 has one length.
        let has_length = |source: Source| index < LENGTHS_V4.len() || source.number() > u64::from(u32::MAX);
        let group_of = |source: Source| has_length(source).then(|| source.number() >> bits);
        let rows = crowded(activity, carriers, group_of);
        for rows in rows.chunk_by(|(a, _), (b, _)| group_of(*a) == group_of(*b)) {
            let Some(prefix) = rows.first().and_then(|(source, _)| around(*source).nth(index)) else {
                continue;
            };
            let mut tally = Tally::default();
            for (_, index) in rows {
                let Some(row) = activity.rows.get(*index).filter(|row| row.change.packets > 0) else {
                    continue;
                };
                let carried = carried.of(*index);
                tally.active += 1;
                tally.has_innocent |= is_known(&row);
                if is_light(&row, carried) && carries(carried, row.change.packets) {
                    tally.members.push(*index);
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

/// The rows of all groups that enough carriers are in, those of a group together.
fn crowded(
    activity: &Activity,
    carriers: &[Source],
    group_of: impl Fn(Source) -> Option<u64>,
) -> Vec<(Source, usize)> {
    let groups = || carriers.iter().filter_map(|source| group_of(*source));
    // Groups share counters, so that a few too many come out, which are told apart after.
    let bits = (carriers.len() * 2).next_power_of_two().ilog2().clamp(1, MOST_COUNTER_BITS);
    let place = |group: u64| usize::try_from(group.wrapping_mul(SPREAD) >> (u64::BITS - bits)).unwrap_or(0);
    let mut counters = vec![0_u16; 1 << bits];
    for group in groups() {
        if let Some(counter) = counters.get_mut(place(group)) {
            *counter = counter.saturating_add(1);
        }
    }
    let is_crowded =
        |group: &u64| counters.get(place(*group)).is_some_and(|count| usize::from(*count) >= MEMBERS);
    let groups: FxHashSet<u64> = groups().filter(is_crowded).collect();
    if groups.is_empty() {
        return Vec::new();
    }
    let rows = activity.rows.sources().zip(0..);
    let mut rows: Vec<_> =
        rows.filter(|(source, _)| group_of(*source).is_some_and(|group| groups.contains(&group))).collect();
    rows.sort_unstable_by_key(|(source, index)| (group_of(*source), *index));
    rows
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
    use super::*;
    use crate::pipeline::rows::Rows;
    use crate::pipeline::time::Timestamp;
    use mitigator_common::SourceCounters;

    /// A source with its packets, those of the flood, and whether it is known.
    type Member = (String, u64, u64, bool);

    fn found(members: &[Member]) -> Vec<String> {
        let mut members = members.to_vec();
        members.sort();
        let mut rows = Rows::at(Timestamp::from_ns(1));
        for (address, packets, _, known) in &members {
            let source = Source::from(address.parse::<IpAddr>().unwrap());
            let first_seen_ns = u64::from(!known);
            let now = SourceCounters { packets: *packets, first_seen_ns, ..SourceCounters::EMPTY };
            rows.push(source, None, &now, 0);
        }
        let carried: Carried = members.iter().map(|(_, _, carried, _)| *carried).enumerate().collect();
        let activity = Activity { rows, ..Activity::default() };
        let sources: Vec<Source> = carried.iter().filter_map(|(row, _)| activity.rows.source(row)).collect();
        let found =
            attacking(&activity, &carried, &sources, |_, count| count < 100, |row| !row.age.is_zero());
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
