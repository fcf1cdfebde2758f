//! `BlockTables`: the one place that writes blocks and allowed prefixes, so that the allow list beats
//! every block whoever writes it.
//!
//! A block that shares an address with the allow list carries an exception mark; only packets that
//! hit such a block ask the allow list. Every change holds the lock of [`Pins`], and a change of the
//! allow list revises the marks of all blocks before it lets go.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::num::NonZeroU64;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use mitigator_common::{
    AllowEntry, AllowReason, BlockEntry, BlockOrigin, BlockTerms, Limit, PrefixKey, Signature, Source,
};
use mitigator_ebpf::shared::SharedU32;
use nix::fcntl::Flock;
use rustix::thread::set_current_timer_slack;

use super::blocked_sources::{BlockedSources, NotWritten, count_of};
use super::maps;
use super::pins::Pins;
use super::syn_cookies::SynCookies;
use super::table::Table;
use crate::pipeline::allowlist::{AllowList, Relation};
use crate::pipeline::limits::NewLimit;
use crate::pipeline::target::Target;

/// Blocks written under one lock: less than a millisecond.
const AT_ONCE: usize = 2_048;
/// Between two parts of a long list, so that who waits for the lock gets it.
const TURN: Duration = Duration::from_micros(20);

/// The tables of blocks and of what they may not touch.
#[derive(Debug)]
pub struct BlockTables {
    pins: Pins,
    sources: BlockedSources,
    prefixes: Table<PrefixKey, BlockEntry>,
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

/// An order of targets in which their blocks lie side by side in a table of any size, so that who writes many goes through
/// its memory once.
#[derive(Clone, Copy, Debug)]
pub struct Ranks {
    first_seed: u64,
}

impl Ranks {
    /// The rank of a target. No two sources have the same; its highest bits tell the source's first line.
    #[must_use]
    pub const fn of(self, target: &Target) -> u64 {
        match target {
            Target::Source(source) => source.number().wrapping_mul(self.first_seed),
            Target::Prefix(_) => 0,
        }
    }
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

impl Fill {
    /// Room for more.
    #[must_use]
    pub const fn free(&self) -> usize {
        self.capacity.saturating_sub(self.used)
    }
}

/// What became of a part of a list.
enum Part {
    Written {
        excepted: usize,
    },
    /// The table of sources is to grow first.
    Crowded,
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
            sources: BlockedSources::open(pins)?,
            prefixes: Table::open(&directory, maps::BLOCK_PREFIXES)?,
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
        let sources = self.sources.read_all()?;
        let prefixes = self.prefixes.read_all()?;
        Ok(sources
            .into_iter()
            .map(|(source, entry)| StandingBlock { target: Target::Source(source), entry })
            .chain(
                prefixes.into_iter().map(|(key, entry)| StandingBlock { target: Target::Prefix(key), entry }),
            )
            .collect())
    }

    /// The block of exactly this target, expired or not.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn get(&self, target: &Target) -> Result<Option<BlockEntry>> {
        match target {
            Target::Source(source) => self.sources.get(*source),
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
        let by_source = self.sources.get(source)?.filter(stands).map(|entry| (Target::Source(source), entry));
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

    /// How targets are to be sorted whose blocks are written at once.
    #[must_use]
    pub fn ranks(&self) -> Ranks {
        Ranks { first_seed: self.sources.header().first_seed.get() }
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
        let is_source = |block: &&NewBlock| matches!(block.target, Target::Source(_));
        self.sources.reserve(blocks.iter().filter(is_source).count())?;
        let mut excepted = 0;
        for (number, part) in blocks.chunks(AT_ONCE).enumerate() {
            if number > 0 {
                give_way();
            }
            excepted += loop {
                match self.block_part(part)? {
                    Part::Written { excepted } => break excepted,
                    Part::Crowded => {
                        let has_room = self.sources.double()? || self.sources.clear_away(0)?.freed > 0;
                        ensure!(has_room, "{}", self.full());
                    }
                }
            };
            progress(number * AT_ONCE + part.len());
        }
        Ok(excepted)
    }

    fn block_part(&self, blocks: &[NewBlock]) -> Result<Part> {
        let _lock = self.pins.lock()?;
        let allowed = self.allow_list()?;
        let mut excepted = 0;
        let mut sources = Vec::with_capacity(blocks.len());
        let mut prefixes = (Vec::new(), Vec::new());
        for block in blocks {
            let is_excepted = allowed.relation_to(&block.target) != Relation::Apart;
            excepted += usize::from(is_excepted);
            match block.target {
                Target::Source(source) => {
                    let terms = BlockTerms::new(block.expires_at_ns, block.origin);
                    sources.push((source, terms.with_exceptions(is_excepted)));
                }
                Target::Prefix(key) => {
                    let entry = BlockEntry::new(block.expires_at_ns, block.origin);
                    prefixes.0.push(key);
                    prefixes.1.push(entry.with_exceptions(is_excepted).with_prefix_length(key.length));
                }
            }
        }
        if !prefixes.0.is_empty() {
            // Blocks in place of older ones are counted twice until the next exact count.
            self.prefix_count().add(count_of(prefixes.0.len()));
            self.prefixes.insert_all(&prefixes.0, &prefixes.1, |_| {})?;
        }
        let table = self.sources.in_use()?;
        for (source, terms) in &sources {
            match self.sources.put(&table, *source, *terms) {
                Ok(()) => {}
                Err(NotWritten::Full) => bail!("{}", self.full()),
                Err(NotWritten::Crowded) => return Ok(Part::Crowded),
                Err(NotWritten::Failed(error)) => return Err(error),
            }
        }
        for (source, terms) in &sources {
            ensure!(
                self.sources.holds(&table, *source, *terms)?,
                "the block of {source} was written and is not there"
            );
        }
        Ok(Part::Written { excepted })
    }

    fn full(&self) -> String {
        format!(
            "the map {} is full: {} entries; raise its capacity in the configuration, then `mitigator detach` and \
             `mitigator run`",
            maps::BLOCK_TABLE,
            self.sources.capacity()
        )
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
        let mut removed = 0;
        for source in sources {
            removed += usize::from(self.sources.take_back(source)?);
        }
        if !prefixes.is_empty() {
            removed += self.prefixes.remove_all(&prefixes)?;
            self.prefix_count().set(count_of(self.prefixes.read_all()?.len()));
        }
        Ok(removed)
    }

    /// Removes blocks that are over, and makes room where blocks were taken back; returns how many were over.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn remove_expired(&self, now_ns: u64) -> Result<usize> {
        let sources = self.sources.clear_away(now_ns)?.over;
        let _lock = self.pins.lock()?;
        let prefixes = self.prefixes.read_all()?;
        self.prefix_count().set(count_of(prefixes.len()));
        let expired: Vec<Target> = prefixes
            .into_iter()
            .filter(|(_, entry)| entry.is_expired(now_ns))
            .map(|(key, _)| Target::Prefix(key))
            .collect();
        Ok(sources + self.remove(&expired)?)
    }

    /// The limits as they stand.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn limits(&self) -> Result<Vec<(Signature, Limit)>> {
        if self.limit_count().get() == 0 { Ok(Vec::new()) } else { self.limits.read_all() }
    }

    /// Writes limits, in place of older ones of the same signatures, and removes others. What is to be answered is
    /// dropped where it cannot be answered.
    ///
    /// # Errors
    ///
    /// When the table is full or the kernel refuses.
    pub fn set_limits(&self, written: &[NewLimit], ended: &[Signature]) -> Result<()> {
        if written.is_empty() && ended.is_empty() {
            return Ok(());
        }
        let _lock = self.pins.lock()?;
        self.limit_count().add(count_of(written.len()));
        let is_asked = written.iter().any(|limit| limit.answers);
        let longest_queue = if is_asked { SynCookies::longest_queue() } else { 0 };
        for limit in written {
            let queue_length = if limit.answers { longest_queue } else { 0 };
            self.limits.insert(&limit.signature, &Limit { queue_length, ..limit.entry() })?;
        }
        self.limits.remove_all(ended)?;
        self.limit_count().set(count_of(self.limits.read_all()?.len()));
        Ok(())
    }

    /// Allows a prefix and revises every block.
    ///
    /// # Errors
    ///
    /// When the table is full or the kernel refuses.
    pub fn allow(&self, key: PrefixKey, reason: AllowReason) -> Result<()> {
        let lock = self.pins.lock()?;
        let is_own = self.allowed.read_all()?.iter().any(|(known, entry)| *known == key && entry.is_own());
        self.allowed.insert(&key, &AllowEntry::new(reason, is_own || reason == AllowReason::LocalAddress))?;
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
        let standing: BTreeMap<PrefixKey, AllowEntry> = self.allowed.read_all()?.into_iter().collect();
        let mut reasons: BTreeMap<PrefixKey, BTreeSet<AllowReason>> = BTreeMap::new();
        for (key, reason) in wanted {
            reasons.entry(*key).or_default().insert(*reason);
        }
        let mut change = GuardedChange::default();
        for (key, entry) in &standing {
            if entry.reason() != AllowReason::Operator && !reasons.contains_key(key) {
                self.allowed.remove(key)?;
                change.removed.push((*key, entry.reason()));
            } else if entry.is_own() && !reasons.contains_key(key) {
                self.allowed.insert(key, &AllowEntry::new(entry.reason(), false))?;
            }
        }
        for (key, reasons) in reasons {
            let known = standing.get(&key).map(|entry| entry.reason());
            // Whatever stands there, stays the reason while it is one.
            let kept = known.filter(|known| *known == AllowReason::Operator || reasons.contains(known));
            let Some(reason) = kept.or_else(|| reasons.first().copied()) else { continue };
            let entry = AllowEntry::new(reason, reasons.contains(&AllowReason::LocalAddress));
            if standing.get(&key) != Some(&entry) {
                self.allowed.insert(&key, &entry)?;
            }
            if known.is_none() {
                change.added.push((key, reason));
            }
        }
        if !change.added.is_empty() || !change.removed.is_empty() {
            self.revise(&lock)?;
        }
        Ok(change)
    }

    /// Sets the exception mark of every block by the allow list as it stands. Hits of a prefix that arrive between
    /// the reading and the writing of its changed entry are not counted.
    fn revise(&self, _lock: &Flock<File>) -> Result<()> {
        let allowed = self.allow_list()?;
        for StandingBlock { target, entry } in self.standing()? {
            let is_excepted = allowed.relation_to(&target) != Relation::Apart;
            if is_excepted == entry.has_exceptions() {
                continue;
            }
            let entry = entry.with_exceptions(is_excepted);
            match target {
                Target::Source(source) => {
                    let terms = BlockTerms::new(entry.expires_at_ns, entry.origin());
                    self.sources.change(source, terms.with_exceptions(is_excepted))?;
                }
                Target::Prefix(key) => self.prefixes.insert(&key, &entry)?,
            }
        }
        Ok(())
    }

    /// How many blocked prefixes there are, or more, never fewer.
    fn prefix_count(&self) -> &SharedU32 {
        &self.sources.header().prefixes
    }

    /// How many limits there are, or more, never fewer.
    fn limit_count(&self) -> &SharedU32 {
        &self.sources.header().limits
    }

    /// How many blocked sources fit.
    pub(super) fn room(&self) -> u32 {
        count_of(self.sources.capacity())
    }

    /// How many of these blocks are of sources, and of prefixes, that have none yet. Each target is there once.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn count_new(&self, blocks: &[NewBlock]) -> Result<(usize, usize)> {
        let known: HashSet<PrefixKey> = self.prefixes.read_all()?.into_iter().map(|(key, _)| key).collect();
        let (mut sources, mut prefixes) = (0, 0);
        for block in blocks {
            match block.target {
                Target::Source(source) => sources += usize::from(self.sources.get(source)?.is_none()),
                Target::Prefix(key) => prefixes += usize::from(!known.contains(&key)),
            }
        }
        Ok((sources, prefixes))
    }

    /// How full the two block tables are, sources first.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn fill(&self) -> Result<(Fill, Fill)> {
        let sources = Fill { used: self.sources.count(), capacity: self.sources.capacity() };
        let prefixes = Fill { used: self.prefixes.read_all()?.len(), capacity: self.prefixes.capacity() };
        Ok((sources, prefixes))
    }
}

#[expect(clippy::disallowed_methods, reason = "an edge that paces itself")]
fn give_way() {
    // The kernel adds 50 µs to a sleep otherwise (2.6.28); who may not ask for less waits so long.
    set_current_timer_slack(Some(NonZeroU64::MIN)).unwrap_or_default();
    std::thread::sleep(TURN);
    // What this thread starts later would have it, too.
    set_current_timer_slack(None).unwrap_or_default();
}

/// What [`BlockTables::set_guarded`] changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuardedChange {
    /// Prefixes that are allowed from this change on.
    pub added: Vec<(PrefixKey, AllowReason)>,
    /// Prefixes that were allowed until this change.
    pub removed: Vec<(PrefixKey, AllowReason)>,
}
