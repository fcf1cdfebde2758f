//! `BlockTables`: the one place that writes blocks and allowed prefixes, so that the allow list beats
//! every block whoever writes it.
//!
//! A block that shares an address with the allow list carries an exception mark; only packets that
//! hit such a block ask the allow list. Every change holds the lock of [`Pins`], and a change of the
//! allow list revises the marks of all blocks before it lets go.

use std::fs::File;

use anyhow::Result;
use mitigator_common::{
    AllowEntry, AllowReason, BLOCKED_PREFIXES, BLOCKED_SOURCES, BlockEntry, BlockOrigin, LIMITS, Limit,
    PrefixKey, Signature, Source,
};
use nix::fcntl::Flock;

use super::maps;
use super::pins::Pins;
use super::table::Table;
use crate::pipeline::allowlist::{AllowList, Relation};
use crate::pipeline::limits::NewLimit;
use crate::pipeline::target::Target;

/// Blocks written under one lock: some ten milliseconds.
const AT_ONCE: usize = 16_384;

/// The tables of blocks and of what they may not touch.
#[derive(Debug)]
pub struct BlockTables {
    pins: Pins,
    sources: Table<Source, BlockEntry>,
    prefixes: Table<PrefixKey, BlockEntry>,
    counts: Table<u32, u32>,
    allowed: Table<PrefixKey, AllowEntry>,
    limits: Table<Signature, Limit>,
}

/// A block to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewBlock {
    /// What to block.
    pub target: Target,
    /// Monotonic time of its end; [`mitigator_common::NEVER_EXPIRES`] for none.
    pub expires_at_ns: u64,
    /// Who asks for it.
    pub origin: BlockOrigin,
}

/// A block as it stands in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandingBlock {
    /// What is blocked.
    pub target: Target,
    /// Until when, by whom, and what it dropped.
    pub entry: BlockEntry,
}

/// Entries used and room for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Fill {
    /// Entries in the table, expired ones included.
    pub used: usize,
    /// How many fit.
    pub capacity: usize,
}

impl BlockTables {
    /// Opens the pinned tables.
    ///
    /// # Errors
    ///
    /// When they are not pinned or may not be opened.
    pub fn open(pins: &Pins) -> Result<Self> {
        let directory = pins.maps();
        Ok(Self {
            sources: Table::open(&directory, maps::BLOCKLIST)?,
            prefixes: Table::open(&directory, maps::BLOCK_PREFIXES)?,
            counts: Table::open(&directory, maps::BLOCK_COUNTS)?,
            allowed: Table::open(&directory, maps::ALLOWLIST)?,
            limits: Table::open(&directory, maps::SIGNATURE_LIMITS)?,
            pins: pins.clone(),
        })
    }

    /// The allow list as the kernel has it.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn allow_list(&self) -> Result<AllowList> {
        let entries = self.allowed.read_all()?;
        Ok(AllowList::new(entries.into_iter().map(|(key, entry)| (key, entry.reason())).collect()))
    }

    /// Every block, expired ones included, sources first.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn standing(&self) -> Result<Vec<StandingBlock>> {
        let sources = self.read_sources()?;
        let prefixes = self.prefixes.read_all()?;
        Ok(sources
            .into_iter()
            .map(|(source, entry)| StandingBlock { target: Target::Source(source), entry })
            .chain(
                prefixes.into_iter().map(|(key, entry)| StandingBlock { target: Target::Prefix(key), entry }),
            )
            .collect())
    }

    /// Walking a large empty table costs as much as a large full one.
    fn read_sources(&self) -> Result<Vec<(Source, BlockEntry)>> {
        if self.count(BLOCKED_SOURCES)? == 0 { Ok(Vec::new()) } else { self.sources.read_all() }
    }

    /// The block of exactly this target, expired or not.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn get(&self, target: &Target) -> Result<Option<BlockEntry>> {
        match target {
            Target::Source(source) => self.sources.get(source),
            // A trie answers with the longest match, which may be a shorter prefix.
            Target::Prefix(key) => Ok(self
                .prefixes
                .read_all()?
                .into_iter()
                .find_map(|(found, entry)| (found == *key).then_some(entry))),
        }
    }

    /// The unexpired blocks that cover an address: its source's, and the longest prefix. As in the kernel,
    /// an expired prefix hides no shorter one.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn covering(&self, address: std::net::IpAddr, now_ns: u64) -> Result<Vec<StandingBlock>> {
        let source = Source::from(address);
        let stands = |entry: &BlockEntry| !entry.is_expired(now_ns);
        let by_source =
            self.sources.get(&source)?.filter(stands).map(|entry| (Target::Source(source), entry));
        let wanted = Target::Prefix(PrefixKey::new(address, 128)).range();
        let by_prefix = self
            .prefixes
            .read_all()?
            .into_iter()
            .filter(|(key, entry)| {
                let range = crate::pipeline::target::range_of(*key);
                range.first <= wanted.first && wanted.last <= range.last && stands(entry)
            })
            .max_by_key(|(key, _)| key.length)
            .map(|(key, entry)| (Target::Prefix(key), entry));
        Ok(by_source
            .into_iter()
            .chain(by_prefix)
            .map(|(target, entry)| StandingBlock { target, entry })
            .collect())
    }

    /// Writes blocks, in place of older ones of the same targets; `progress` hears how many are in.
    /// Returns how many share an address with the allow list and so carry an exception mark.
    ///
    /// Others may write between the parts of a long list, so that an agent never waits for a feed.
    ///
    /// # Errors
    ///
    /// When a table is full or the kernel refuses.
    pub fn block_all(&self, blocks: &[NewBlock], mut progress: impl FnMut(usize)) -> Result<usize> {
        let mut excepted = 0;
        let mut done = 0;
        for part in blocks.chunks(AT_ONCE) {
            excepted += self.block_part(part, |written| progress(done + written))?;
            done += part.len();
        }
        Ok(excepted)
    }

    fn block_part(&self, blocks: &[NewBlock], mut progress: impl FnMut(usize)) -> Result<usize> {
        let _lock = self.pins.lock()?;
        let allowed = self.allow_list()?;
        let mut excepted = 0;
        let mut sources = (Vec::with_capacity(blocks.len()), Vec::with_capacity(blocks.len()));
        let mut prefixes = (Vec::new(), Vec::new());
        for block in blocks {
            let is_excepted = allowed.relation_to(&block.target) != Relation::Apart;
            excepted += usize::from(is_excepted);
            let entry = BlockEntry::new(block.expires_at_ns, block.origin).with_exceptions(is_excepted);
            match block.target {
                Target::Source(source) => {
                    sources.0.push(source);
                    sources.1.push(entry);
                }
                Target::Prefix(key) => {
                    prefixes.0.push(key);
                    prefixes.1.push(entry.with_prefix_length(key.length));
                }
            }
        }
        // Blocks in place of older ones are counted twice until the next exact count.
        self.set_count(BLOCKED_PREFIXES, self.count(BLOCKED_PREFIXES)?.saturating_add(prefixes.0.len()))?;
        self.prefixes.insert_all(&prefixes.0, &prefixes.1, &mut progress)?;
        self.set_count(BLOCKED_SOURCES, self.count(BLOCKED_SOURCES)?.saturating_add(sources.0.len()))?;
        let before = prefixes.0.len();
        self.sources.insert_all(&sources.0, &sources.1, |done| progress(before + done))?;
        Ok(excepted)
    }

    /// Removes the blocks of exactly these targets; returns how many there were.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn unblock_all(&self, targets: &[Target]) -> Result<usize> {
        let _lock = self.pins.lock()?;
        self.remove(targets)
    }

    fn remove(&self, targets: &[Target]) -> Result<usize> {
        let mut sources = Vec::new();
        let mut prefixes = Vec::new();
        for target in targets {
            match target {
                Target::Source(source) => sources.push(*source),
                Target::Prefix(key) => prefixes.push(*key),
            }
        }
        let removed_sources = self.sources.remove_all(&sources)?;
        self.set_count(BLOCKED_SOURCES, self.count(BLOCKED_SOURCES)?.saturating_sub(removed_sources))?;
        let removed_prefixes = self.prefixes.remove_all(&prefixes)?;
        if !prefixes.is_empty() {
            self.set_count(BLOCKED_PREFIXES, self.prefixes.read_all()?.len())?;
        }
        Ok(removed_sources + removed_prefixes)
    }

    /// Removes blocks that are over; returns how many.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn remove_expired(&self, now_ns: u64) -> Result<usize> {
        let _lock = self.pins.lock()?;
        let standing = self.standing()?;
        let sources = standing.iter().filter(|block| matches!(block.target, Target::Source(_))).count();
        self.set_count(BLOCKED_SOURCES, sources)?;
        self.set_count(BLOCKED_PREFIXES, standing.len() - sources)?;
        let expired: Vec<Target> = standing
            .into_iter()
            .filter(|block| block.entry.is_expired(now_ns))
            .map(|block| block.target)
            .collect();
        self.remove(&expired)
    }

    /// The limits as they stand.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn limits(&self) -> Result<Vec<(Signature, Limit)>> {
        if self.count(LIMITS)? == 0 { Ok(Vec::new()) } else { self.limits.read_all() }
    }

    /// Writes limits, in place of older ones of the same signatures, and removes others.
    ///
    /// # Errors
    ///
    /// When the table is full or the kernel refuses.
    pub fn set_limits(&self, written: &[NewLimit], ended: &[Signature]) -> Result<()> {
        if written.is_empty() && ended.is_empty() {
            return Ok(());
        }
        let _lock = self.pins.lock()?;
        self.set_count(LIMITS, self.count(LIMITS)?.saturating_add(written.len()))?;
        for limit in written {
            self.limits.insert(&limit.signature, &limit.entry())?;
        }
        self.limits.remove_all(ended)?;
        self.set_count(LIMITS, self.limits.read_all()?.len())
    }

    /// Allows a prefix and revises every block.
    ///
    /// # Errors
    ///
    /// When the table is full or the kernel refuses.
    pub fn allow(&self, key: PrefixKey, reason: AllowReason) -> Result<()> {
        let lock = self.pins.lock()?;
        self.allowed.insert(&key, &AllowEntry::new(reason))?;
        self.revise(&lock)
    }

    /// Takes a prefix off the allow list and revises every block; `false` when it was not on it.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn disallow(&self, key: PrefixKey) -> Result<bool> {
        let lock = self.pins.lock()?;
        let was_allowed = self.allowed.remove(&key)?;
        if was_allowed {
            self.revise(&lock)?;
        }
        Ok(was_allowed)
    }

    /// Makes the automatic part of the allow list equal to `wanted`; what the operator allowed stays.
    /// Returns the prefixes that came and went.
    ///
    /// # Errors
    ///
    /// When the table is full or the kernel refuses.
    pub fn set_guarded(&self, wanted: &[(PrefixKey, AllowReason)]) -> Result<GuardedChange> {
        let lock = self.pins.lock()?;
        let standing = self.allow_list()?;
        let mut change = GuardedChange::default();
        for (key, reason) in wanted {
            let known = standing.entries().iter().find(|(known, _)| known == key);
            if known.is_none() {
                self.allowed.insert(key, &AllowEntry::new(*reason))?;
                change.added.push((*key, *reason));
            }
        }
        for (key, reason) in standing.entries() {
            let is_wanted = wanted.iter().any(|(wanted, _)| wanted == key);
            if *reason != AllowReason::Operator && !is_wanted {
                self.allowed.remove(key)?;
                change.removed.push((*key, *reason));
            }
        }
        if !change.added.is_empty() || !change.removed.is_empty() {
            self.revise(&lock)?;
        }
        Ok(change)
    }

    /// Sets the exception mark of every block by the allow list as it stands. Hits that arrive between
    /// the reading and the writing of a changed entry are not counted.
    fn revise(&self, _lock: &Flock<File>) -> Result<()> {
        let allowed = self.allow_list()?;
        for StandingBlock { target, entry } in self.standing()? {
            let is_excepted = allowed.relation_to(&target) != Relation::Apart;
            if is_excepted == entry.has_exceptions() {
                continue;
            }
            let entry = entry.with_exceptions(is_excepted);
            match target {
                Target::Source(source) => self.sources.insert(&source, &entry)?,
                Target::Prefix(key) => self.prefixes.insert(&key, &entry)?,
            }
        }
        Ok(())
    }

    /// How many blocks stand of the kind counted at `place`, or more, never fewer.
    fn count(&self, place: u32) -> Result<usize> {
        Ok(self.counts.get(&place)?.unwrap_or_default() as usize)
    }

    fn set_count(&self, place: u32, count: usize) -> Result<()> {
        self.counts.insert(&place, &u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// How full the two block tables are, sources first.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn fill(&self) -> Result<(Fill, Fill)> {
        let sources = Fill { used: self.read_sources()?.len(), capacity: self.sources.capacity() };
        let prefixes = Fill { used: self.prefixes.read_all()?.len(), capacity: self.prefixes.capacity() };
        Ok((sources, prefixes))
    }
}

/// What [`BlockTables::set_guarded`] changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuardedChange {
    /// Prefixes that are allowed from this change on.
    pub added: Vec<(PrefixKey, AllowReason)>,
    /// Prefixes that were allowed until this change.
    pub removed: Vec<(PrefixKey, AllowReason)>,
}
