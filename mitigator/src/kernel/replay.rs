//! The data plane of a capture: the kernel's own parser and counters over tables in memory.
//!
//! Packets are decided in the kernel's order (block, then count) with the same outcomes. Memory is
//! bounded by the capacities, whatever the capture's length.

use std::net::IpAddr;

use anyhow::Result;
use mitigator_common::{Limit, Outcome, PrefixKey, Signature, Source};
use mitigator_ebpf::counters::{LiveRow, RowMemory, asks};
use mitigator_ebpf::packet::{Packet, Unparsed};
use mitigator_ebpf::signature::{LiveLimit, signature_of};

use super::DataPlane;
use crate::pipeline::allowlist::{AllowList, Relation};
use crate::pipeline::blocklist::Changes;
use crate::pipeline::keyed::{KeyedMap, KeyedSet};
use crate::pipeline::snapshot::{Order, OutcomeTotals, Snapshot};
use crate::pipeline::target::Target;
use crate::pipeline::time::Timestamp;

/// Full addresses that are told apart in the report; of more, the rest is counted together.
const MAX_ADDRESSES: usize = 1_000_000;

/// Tables in memory that a capture's packets go through.
#[derive(Debug)]
pub struct ReplayDataPlane {
    capacity: usize,
    allowed: AllowList,
    rows: KeyedMap<Source, Row>,
    /// Sources counted since the last reading, each once.
    changed: Vec<Source>,
    /// Sources evicted since the last reading that had been read before.
    gone: Vec<Source>,
    blocks: KeyedMap<Source, ReplayBlock>,
    /// A handful at most.
    prefixes: KeyedMap<PrefixKey, ReplayBlock>,
    limits: KeyedMap<Signature, LiveLimit>,
    /// How many blocks there may be before those that are over are forgotten.
    blocks_to_sweep: usize,
    /// When each source was first blocked; at most [`MAX_ADDRESSES`].
    first_blocks: KeyedMap<Source, Timestamp>,
    /// The same of prefixes.
    first_prefixes: KeyedMap<PrefixKey, Timestamp>,
    outcomes: OutcomeTotals,
    addresses: KeyedMap<IpAddr, AddressTotals>,
    unlisted_packets: u64,
}

#[derive(Debug)]
struct Row {
    memory: RowMemory,
    /// Whether the source is in `changed`.
    is_changed: bool,
    /// Whether it was ever read.
    was_read: bool,
}

#[derive(Clone, Copy, Debug)]
struct ReplayBlock {
    until: Timestamp,
    hits: u64,
}

/// Blocks before the first sweep.
const FIRST_SWEEP: usize = 65_536;

/// What became of the packets of one full address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressTotals {
    /// All that arrived.
    pub packets: u64,
    /// Of them, dropped.
    pub dropped: u64,
    /// When its source was first blocked.
    pub blocked_at: Option<Timestamp>,
}

impl ReplayDataPlane {
    /// Empty tables for at most `capacity` sources, with what no block may touch.
    #[must_use]
    pub fn new(capacity: usize, allowed: AllowList) -> Self {
        Self {
            capacity: capacity.max(1),
            allowed,
            rows: KeyedMap::default(),
            changed: Vec::new(),
            gone: Vec::new(),
            blocks: KeyedMap::default(),
            prefixes: KeyedMap::default(),
            limits: KeyedMap::default(),
            blocks_to_sweep: FIRST_SWEEP,
            first_blocks: KeyedMap::default(),
            first_prefixes: KeyedMap::default(),
            outcomes: OutcomeTotals::default(),
            addresses: KeyedMap::default(),
            unlisted_packets: 0,
        }
    }

    /// Decides one packet that arrived at `now`, as the kernel would.
    pub fn arrive(&mut self, packet: &Result<Packet, Unparsed>, wire_bytes: u64, now: Timestamp) -> Outcome {
        let outcome = match packet {
            Ok(packet) => self.decide(packet, wire_bytes, now),
            Err(Unparsed::NotIp) => Outcome::PassNotIp,
            Err(Unparsed::Malformed) => Outcome::PassUnparsed,
        };
        if let Some(count) = self.outcomes.get_mut(outcome as usize) {
            *count += 1;
        }
        outcome
    }

    fn decide(&mut self, packet: &Packet, wire_bytes: u64, now: Timestamp) -> Outcome {
        let outcome = self.judge(packet, now).unwrap_or_else(|| {
            if self.is_beyond_limit(packet, now) {
                return Outcome::DropLimited;
            }
            self.row(packet.source, now).record(0, packet.into(), wire_bytes, now.ns);
            Outcome::PassCounted
        });
        self.note_address(IpAddr::from(packet.address), outcome);
        outcome
    }

    /// The block of exactly this target, over or not.
    fn block_of(&self, target: &Target) -> Option<&ReplayBlock> {
        match target {
            Target::Source(source) => self.blocks.get(source),
            Target::Prefix(key) => self.prefixes.get(key),
        }
    }

    /// The outcome of a packet that a block covers, its source's or the narrowest prefix's.
    fn judge(&mut self, packet: &Packet, now: Timestamp) -> Option<Outcome> {
        let stands = |block: &&mut ReplayBlock| now < block.until;
        let block = match self.blocks.get_mut(&packet.source).filter(stands) {
            Some(block) => block,
            None => {
                let address = IpAddr::from(packet.address);
                let covers = |key: &&PrefixKey| PrefixKey::new(address, key.parts().1) == **key;
                let standing = self.prefixes.iter().filter(|(_, block)| now < block.until);
                let key = *standing.map(|(key, _)| key).filter(covers).max_by_key(|key| key.length)?;
                self.prefixes.get_mut(&key)?
            }
        };
        let address = Target::Prefix(PrefixKey::new(packet.address.into(), 128));
        if self.allowed.relation_to(&address) == Relation::Inside {
            return Some(Outcome::PassAllowed);
        }
        block.hits += 1;
        Some(Outcome::DropBlocked)
    }

    /// Counts one packet that was sent at `now`, as the kernel would.
    pub fn leave(&mut self, packet: &Packet, now: Timestamp) {
        if self.rows.contains_key(&packet.source) || asks(packet.into()) {
            self.row(packet.source, now).record_sent(packet.into(), now.ns, || true);
        }
    }

    fn is_beyond_limit(&self, packet: &Packet, now: Timestamp) -> bool {
        if self.limits.is_empty() {
            return false;
        }
        let signature = signature_of(packet.into());
        let limit = self.limits.get(&signature).or_else(|| self.limits.get(&signature.on_every_port()));
        let Some(limit) = limit.filter(|limit| !limit.is_expired(now.ns)) else {
            return false;
        };
        let address = Target::Prefix(PrefixKey::new(packet.address.into(), 128));
        let is_allowed = || self.allowed.relation_to(&address) == Relation::Inside;
        let since_ns = limit.since_ns.get();
        let row = self.rows.get(&packet.source);
        let is_known = since_ns != 0 && row.is_some_and(|row| row.memory.row().is_known(since_ns));
        let is_beyond = !is_known && !limit.admit(now.ns, is_allowed);
        if is_beyond {
            limit.dropped.add(1);
        }
        is_beyond
    }

    /// The row of a source, made when there is none, marked as changed.
    fn row(&mut self, source: Source, now: Timestamp) -> LiveRow<'_> {
        if self.rows.len() >= self.capacity && !self.rows.contains_key(&source) {
            self.evict();
        }
        let row = self.rows.entry(source).or_insert_with(|| Row {
            memory: RowMemory::starting_at(now.ns),
            is_changed: false,
            was_read: false,
        });
        if !row.is_changed {
            row.is_changed = true;
            self.changed.push(source);
        }
        row.memory.row()
    }

    fn note_address(&mut self, address: IpAddr, outcome: Outcome) {
        if self.addresses.len() >= MAX_ADDRESSES && !self.addresses.contains_key(&address) {
            self.unlisted_packets += 1;
            return;
        }
        let totals = self.addresses.entry(address).or_default();
        totals.packets += 1;
        totals.dropped += u64::from(outcome.is_drop());
    }

    /// Forgets the quarter of the sources that was quiet for the longest time.
    fn evict(&mut self) {
        let mut ages: Vec<(u64, Source)> =
            self.rows.iter().map(|(source, row)| (row.memory.row().last_seen_ns(), *source)).collect();
        let quarter = (ages.len() / 4).clamp(1, ages.len());
        ages.select_nth_unstable(quarter - 1);
        ages.truncate(quarter);
        // Who goes first decides who gets which place when it comes back.
        ages.sort_unstable();
        for (_, source) in ages {
            if self.rows.remove(&source).is_some_and(|row| row.was_read) {
                self.gone.push(source);
            }
        }
        self.changed.retain(|source| self.rows.contains_key(source));
    }

    /// Packets per outcome so far.
    #[must_use]
    pub fn outcomes(&self) -> OutcomeTotals {
        self.outcomes
    }

    /// What became of each full address's packets, sorted by address.
    #[must_use]
    pub fn addresses(&self) -> Vec<(IpAddr, AddressTotals)> {
        let with_block = |(address, totals): (&IpAddr, &AddressTotals)| {
            let by_source = self.first_blocks.get(&Source::from(*address)).copied();
            let covers = |key: &PrefixKey| PrefixKey::new(*address, key.parts().1) == *key;
            let by_prefix = self.first_prefixes.iter().filter(|(key, _)| covers(key)).map(|(_, at)| *at);
            let blocked_at = by_source.into_iter().chain(by_prefix).min();
            (*address, AddressTotals { blocked_at, ..*totals })
        };
        let mut addresses: Vec<_> = self.addresses.iter().map(with_block).collect();
        addresses.sort_unstable_by_key(|(address, _)| *address);
        addresses
    }

    /// Packets of addresses that there was no room to tell apart.
    #[must_use]
    pub fn unlisted_packets(&self) -> u64 {
        self.unlisted_packets
    }
}

impl DataPlane for ReplayDataPlane {
    fn read_counters(&mut self, now: Timestamp, watched: &[Source]) -> Result<Snapshot> {
        let mut rows = Vec::with_capacity(self.changed.len());
        let read: KeyedSet<Source> =
            if watched.is_empty() { KeyedSet::default() } else { self.changed.iter().copied().collect() };
        for source in self.changed.drain(..) {
            if let Some(row) = self.rows.get_mut(&source) {
                row.is_changed = false;
                row.was_read = true;
                rows.push((source, row.memory.row().totals()));
            }
        }
        let silent = watched.iter().filter(|source| !read.contains(source));
        rows.extend(
            silent.filter_map(|source| Some((*source, self.rows.get(source)?.memory.row().totals()))),
        );
        let order = Order::BySource { gone: std::mem::take(&mut self.gone) };
        let mut limits: Vec<(Signature, Limit)> =
            self.limits.iter().map(|(signature, limit)| (*signature, limit.read())).collect();
        limits.sort_unstable_by_key(|(signature, _)| *signature);
        Ok(Snapshot { at: now, rows, order, outcomes: self.outcomes, limits })
    }

    fn allow_list(&mut self) -> Result<AllowList> {
        Ok(self.allowed.clone())
    }

    fn hits_of(&mut self, targets: &[Target]) -> Result<Vec<(Target, u64)>> {
        let hits = |target: &Target| self.block_of(target).map(|block| (*target, block.hits));
        Ok(targets.iter().filter_map(hits).collect())
    }

    fn apply(&mut self, now: Timestamp, changes: &Changes) -> Result<()> {
        if self.blocks.len() >= self.blocks_to_sweep {
            self.blocks.retain(|_, block| now < block.until);
            self.blocks_to_sweep = (self.blocks.len() * 2).max(FIRST_SWEEP);
        }
        for signature in &changes.limits.ended {
            self.limits.remove(signature);
        }
        for limit in &changes.limits.written {
            self.limits.insert(limit.signature, LiveLimit::from(limit.entry()));
        }
        for block in &changes.blocks {
            let entry = ReplayBlock { until: block.until, hits: 0 };
            match block.target {
                Target::Source(source) => {
                    self.blocks.insert(source, entry);
                    if self.first_blocks.len() < MAX_ADDRESSES {
                        self.first_blocks.entry(source).or_insert(now);
                    }
                }
                Target::Prefix(key) => {
                    self.prefixes.insert(key, entry);
                    self.first_prefixes.entry(key).or_insert(now);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::blocklist::Block;
    use mitigator_common::{AllowReason, WideAddress};
    use mitigator_ebpf::packet::{Fragment, Transport};

    fn packet(last: u8) -> Result<Packet, Unparsed> {
        Ok(Packet {
            source: Source::from_v4_bytes([192, 0, 2, last]),
            address: WideAddress::from_v4_bytes([192, 0, 2, last]),
            protocol: 17,
            transport: Transport::udp(1, 2),
            fragment: Fragment::Whole,
            has_extensions: false,
            is_to_group: false,
        })
    }

    fn at(ns: u64) -> Timestamp {
        Timestamp::from_ns(ns)
    }

    fn blocks(blocks: &[(u8, u64)]) -> Changes {
        let block = |(last, until): &(u8, u64)| {
            let target = Target::Source(Source::from_v4_bytes([192, 0, 2, *last]));
            Block { target, until: at(*until), is_renewal: false }
        };
        Changes { blocks: blocks.iter().map(block).collect(), ..Changes::default() }
    }

    #[test]
    fn a_block_drops_until_its_end_and_allow_beats_it() {
        let allowed =
            AllowList::new(vec![(PrefixKey::new("192.0.2.9".parse().unwrap(), 32), AllowReason::Operator)]);
        let mut plane = ReplayDataPlane::new(10, allowed);
        plane.apply(at(5), &blocks(&[(7, 20), (9, 20)])).unwrap();
        for (description, packet, now, expected) in [
            ("blocked", packet(7), 10, Outcome::DropBlocked),
            ("its neighbour", packet(8), 10, Outcome::PassCounted),
            ("blocked, but allowed", packet(9), 10, Outcome::PassAllowed),
            ("after the end", packet(7), 20, Outcome::PassCounted),
            ("ARP", Err(Unparsed::NotIp), 21, Outcome::PassNotIp),
            ("cut", Err(Unparsed::Malformed), 21, Outcome::PassUnparsed),
        ] {
            assert_eq!(plane.arrive(&packet, 60, at(now)), expected, "{description}");
        }
        assert_eq!(plane.outcomes().iter().sum::<u64>(), 6);
        let seven = AddressTotals { packets: 2, dropped: 1, blocked_at: Some(at(5)) };
        assert_eq!(plane.addresses().first().map(|(_, totals)| *totals), Some(seven));
    }

    #[test]
    fn a_full_table_forgets_the_quietest() {
        let mut plane = ReplayDataPlane::new(8, AllowList::default());
        for number in 0..100 {
            plane.arrive(&packet(number), 60, at(u64::from(number)));
            assert!(plane.rows.len() <= 8 && plane.changed.len() <= 8);
        }
        assert!(plane.rows.contains_key(&Source::from_v4_bytes([192, 0, 2, 99])));
    }

    #[test]
    fn the_same_packets_give_the_same_in_every_table() {
        let run = || {
            let mut plane = ReplayDataPlane::new(64, AllowList::default());
            let mut readings = Vec::new();
            for number in 0..250 {
                // Many of one time, of whom some have to go.
                plane.arrive(&packet(number), 60, at(u64::from(number) / 100));
                if number % 20 == 0 {
                    let snapshot = plane.read_counters(at(u64::from(number)), &[]).unwrap();
                    let Order::BySource { gone } = snapshot.order else { panic!("places") };
                    readings
                        .push((snapshot.rows.iter().map(|(source, _)| *source).collect::<Vec<_>>(), gone));
                }
            }
            readings
        };
        let first = run();
        assert!(first.iter().any(|(_, gone)| gone.len() > 8), "{first:?}");
        for _ in 0..8 {
            assert_eq!(run(), first);
        }
    }

    #[test]
    fn each_reading_has_what_changed_and_who_went() {
        let mut plane = ReplayDataPlane::new(4, AllowList::default());
        let mut reading = |numbers: &[u8], now: u64| {
            for number in numbers {
                plane.arrive(&packet(*number), 60, at(now));
            }
            let snapshot = plane.read_counters(at(now), &[]).unwrap();
            let Order::BySource { gone } = snapshot.order else { panic!("places") };
            let last = |source: &Source| source.number() & 0xff;
            let rows =
                snapshot.rows.iter().map(|(source, row)| (last(source), row.packets)).collect::<Vec<_>>();
            (rows, gone.iter().map(last).collect::<Vec<_>>())
        };
        assert_eq!(reading(&[1, 2, 3, 2], 1), (vec![(1, 1), (2, 2), (3, 1)], vec![]));
        assert_eq!(reading(&[], 2), (vec![], vec![]));
        assert_eq!(reading(&[2, 4], 3), (vec![(2, 3), (4, 1)], vec![]));
        assert_eq!(reading(&[5, 1], 4), (vec![(5, 1), (1, 1)], vec![1, 3]), "1 came back, for which 3 went");
        assert_eq!(reading(&[6, 7, 8, 9], 5).0.len(), 4, "never more than there is room for");
    }

    #[test]
    fn blocks_that_are_over_are_forgotten_and_the_first_one_is_remembered() {
        let mut plane = ReplayDataPlane::new(10, AllowList::default());
        plane.blocks_to_sweep = 2;
        plane.arrive(&packet(1), 60, at(1));
        for round in 0..100_u64 {
            let last = u8::try_from(round).unwrap();
            let until = round * 10 + 5;
            plane.apply(at(round * 10), &blocks(&[(1, until), (100 + last / 2, until)])).unwrap();
        }
        plane.blocks_to_sweep = 0;
        plane.apply(at(10_000), &Changes::default()).unwrap();
        assert!(plane.blocks.is_empty());
        assert_eq!(plane.addresses().first().and_then(|(_, totals)| totals.blocked_at), Some(at(0)));
    }
}
