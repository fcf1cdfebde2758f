//! The data plane of a capture: the kernel's own parser and counters over tables in memory.
//!
//! Packets are decided in the kernel's order (block, then count) with the same outcomes. Memory is
//! bounded by the capacities, whatever the capture's length.

use std::net::IpAddr;

use anyhow::Result;
use mitigator_common::{Outcome, Source};
use mitigator_ebpf::counters::LiveCounters;
use mitigator_ebpf::packet::{Packet, Unparsed};
use rustc_hash::FxHashMap;

use super::DataPlane;
use crate::pipeline::allowlist::{AllowList, Relation};
use crate::pipeline::blocklist::Block;
use crate::pipeline::snapshot::{OutcomeTotals, Snapshot};
use crate::pipeline::target::Target;
use crate::pipeline::time::Timestamp;

/// Full addresses that are told apart in the report; of more, the rest is counted together.
const MAX_ADDRESSES: usize = 1_000_000;

/// Tables in memory that a capture's packets go through.
#[derive(Debug)]
pub struct ReplayDataPlane {
    capacity: usize,
    allowed: AllowList,
    rows: FxHashMap<Source, LiveCounters>,
    blocks: FxHashMap<Source, ReplayBlock>,
    outcomes: OutcomeTotals,
    addresses: FxHashMap<IpAddr, AddressTotals>,
    uncounted_addresses: u64,
}

#[derive(Clone, Copy, Debug)]
struct ReplayBlock {
    written: Timestamp,
    until: Timestamp,
    hits: u64,
}

/// What became of the packets of one full address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressTotals {
    /// All that arrived.
    pub packets: u64,
    /// Of them, dropped.
    pub dropped: u64,
    /// When the first block that dropped one of them was written.
    pub blocked_at: Option<Timestamp>,
}

impl ReplayDataPlane {
    /// Empty tables for at most `capacity` sources, with what no block may touch.
    #[must_use]
    pub fn new(capacity: usize, allowed: AllowList) -> Self {
        Self {
            capacity: capacity.max(1),
            allowed,
            rows: FxHashMap::default(),
            blocks: FxHashMap::default(),
            outcomes: OutcomeTotals::default(),
            addresses: FxHashMap::default(),
            uncounted_addresses: 0,
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
        let drop = self.drop_by_block(packet, now);
        self.note_address(IpAddr::from(packet.address), drop);
        match drop {
            Verdict::Drop { .. } => Outcome::DropBlocked,
            Verdict::Excepted => Outcome::PassAllowed,
            Verdict::Pass => {
                if self.rows.len() >= self.capacity && !self.rows.contains_key(&packet.source) {
                    self.evict();
                }
                let row = self.rows.entry(packet.source).or_insert_with(|| LiveCounters::starting_at(now.ns));
                row.record(packet, wire_bytes, now.ns);
                Outcome::PassCounted
            }
        }
    }

    fn drop_by_block(&mut self, packet: &Packet, now: Timestamp) -> Verdict {
        let Some(block) = self.blocks.get_mut(&packet.source) else { return Verdict::Pass };
        if now >= block.until {
            return Verdict::Pass;
        }
        let address = Target::Prefix(mitigator_common::PrefixKey::of_address(packet.address));
        if self.allowed.relation_to(&address) == Relation::Inside {
            return Verdict::Excepted;
        }
        block.hits += 1;
        Verdict::Drop { blocked_at: block.written }
    }

    fn note_address(&mut self, address: IpAddr, verdict: Verdict) {
        if self.addresses.len() >= MAX_ADDRESSES && !self.addresses.contains_key(&address) {
            self.uncounted_addresses += 1;
            return;
        }
        let totals = self.addresses.entry(address).or_default();
        totals.packets += 1;
        if let Verdict::Drop { blocked_at } = verdict {
            totals.dropped += 1;
            totals.blocked_at.get_or_insert(blocked_at);
        }
    }

    /// Forgets the quarter of the sources that was quiet for the longest time.
    fn evict(&mut self) {
        let mut ages: Vec<(u64, Source)> =
            self.rows.iter().map(|(source, row)| (row.last_seen_ns.get(), *source)).collect();
        let quarter = (ages.len() / 4).clamp(1, ages.len());
        ages.select_nth_unstable(quarter - 1);
        for (_, source) in ages.into_iter().take(quarter) {
            self.rows.remove(&source);
        }
    }

    /// Packets per outcome so far.
    #[must_use]
    pub fn outcomes(&self) -> OutcomeTotals {
        self.outcomes
    }

    /// What became of each full address's packets, sorted by address.
    #[must_use]
    pub fn addresses(&self) -> Vec<(IpAddr, AddressTotals)> {
        let mut addresses: Vec<_> =
            self.addresses.iter().map(|(address, totals)| (*address, *totals)).collect();
        addresses.sort_unstable_by_key(|(address, _)| *address);
        addresses
    }

    /// Packets of addresses that there was no room to tell apart.
    #[must_use]
    pub fn uncounted_addresses(&self) -> u64 {
        self.uncounted_addresses
    }
}

#[derive(Clone, Copy)]
enum Verdict {
    Drop { blocked_at: Timestamp },
    Excepted,
    Pass,
}

impl DataPlane for ReplayDataPlane {
    fn read_counters(&mut self, now: Timestamp) -> Result<Snapshot> {
        let mut rows: Vec<_> = self.rows.iter().map(|(source, row)| (*source, row.totals())).collect();
        rows.sort_unstable_by_key(|(source, _)| *source);
        Ok(Snapshot { at: now, rows, outcomes: self.outcomes })
    }

    fn allow_list(&mut self) -> Result<AllowList> {
        Ok(self.allowed.clone())
    }

    fn hits_of(&mut self, sources: &[Source]) -> Result<Vec<(Source, u64)>> {
        let hits = |source: &Source| self.blocks.get(source).map(|block| (*source, block.hits));
        Ok(sources.iter().filter_map(hits).collect())
    }

    fn apply(&mut self, now: Timestamp, blocks: &[Block]) -> Result<()> {
        for block in blocks {
            if let Target::Source(source) = block.target {
                self.blocks.insert(source, ReplayBlock { written: now, until: block.until, hits: 0 });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mitigator_common::{AllowReason, PrefixKey, WideAddress};
    use mitigator_ebpf::packet::{Fragment, Transport};

    fn packet(last: u8) -> Result<Packet, Unparsed> {
        Ok(Packet {
            source: Source::from_v4_bytes([192, 0, 2, last]),
            address: WideAddress::from_v4_bytes([192, 0, 2, last]),
            protocol: 17,
            transport: Transport::Udp { source_port: 1, destination_port: 2 },
            fragment: Fragment::Whole,
            has_extensions: false,
        })
    }

    fn at(ns: u64) -> Timestamp {
        Timestamp::from_ns(ns)
    }

    fn block(last: u8, until: u64) -> Block {
        let target = Target::Source(Source::from_v4_bytes([192, 0, 2, last]));
        Block { target, until: at(until), is_renewal: false }
    }

    #[test]
    fn a_block_drops_until_its_end_and_allow_beats_it() {
        let allowed =
            AllowList::new(vec![(PrefixKey::new("192.0.2.9".parse().unwrap(), 32), AllowReason::Operator)]);
        let mut plane = ReplayDataPlane::new(10, allowed);
        plane.apply(at(5), &[block(7, 20), block(9, 20)]).unwrap();
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
            assert!(plane.rows.len() <= 8);
        }
        assert!(plane.rows.contains_key(&Source::from_v4_bytes([192, 0, 2, 99])));
    }
}
