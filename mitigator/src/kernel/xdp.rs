//! The live data plane: the pinned maps of the XDP program.

use anyhow::{Context, Result};
use aya::maps::MapData;
use mitigator_common::{BlockOrigin, Source, SourceTable};

use super::DataPlane;
use super::blocks::{BlockTables, NewBlock};
use super::cpu_states::CpuStates;
use super::maps;
use super::pins::Pins;
use super::source_rows::{ChangedRows, SourceRows};
use crate::config::Capacities;
use crate::pipeline::allowlist::AllowList;
use crate::pipeline::blocklist::Changes;
use crate::pipeline::snapshot::{Order, OutcomeTotals, Snapshot};
use crate::pipeline::target::Target;
use crate::pipeline::time::Timestamp;

/// The pinned maps of the XDP program.
pub struct XdpDataPlane {
    sources: SourceRows,
    cpus: CpuStates,
    blocks: BlockTables,
}

impl XdpDataPlane {
    /// Opens the pinned maps, whether or not an agent runs.
    ///
    /// # Errors
    ///
    /// When nothing is pinned: no interface has been protected since boot or the last detach.
    pub fn open(pins: &Pins) -> Result<Self> {
        anyhow::ensure!(
            pins.exist(),
            "mitigator is not attached: there are no maps below {}; `mitigator run -i INTERFACE` attaches it",
            pins.maps().display()
        );
        Ok(Self {
            sources: SourceRows::open(pins)?,
            cpus: CpuStates::open(pins)?,
            blocks: BlockTables::open(pins)?,
        })
    }

    /// The capacities of the pinned maps, which are those that they were made with.
    ///
    /// # Errors
    ///
    /// When a map is not pinned or may not be opened.
    pub fn capacities(pins: &Pins) -> Result<Capacities> {
        let entries = |name: &str| -> Result<u32> {
            let map = MapData::from_pin(pins.maps().join(name))
                .with_context(|| format!("cannot open the map {name}"))?;
            Ok(map.info()?.max_entries())
        };
        Ok(Capacities {
            sources: SourceTable::new(entries(maps::SOURCE_BUCKETS)?).sources(),
            blocks: BlockTables::open(pins)?.room(),
            prefixes: entries(maps::BLOCK_PREFIXES)?,
        })
    }

    /// Totals per source.
    #[must_use]
    pub fn sources(&self) -> &SourceRows {
        &self.sources
    }

    /// What the program keeps for each CPU.
    #[must_use]
    pub fn cpus(&self) -> &CpuStates {
        &self.cpus
    }

    /// Blocks and allowed prefixes.
    #[must_use]
    pub fn blocks(&self) -> &BlockTables {
        &self.blocks
    }

    /// Packets per outcome since the maps were made.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn outcomes(&self) -> Result<OutcomeTotals> {
        self.cpus.outcomes()
    }
}

impl DataPlane for XdpDataPlane {
    fn read_counters(&mut self, now: Timestamp, watched: &[Source]) -> Result<Snapshot> {
        // What may fail comes first: rows that were read and reach nobody would not be read again.
        let (outcomes, limits) = (self.outcomes()?, self.blocks.limits()?);
        let ChangedRows { rows, places } = self.sources.read_changed(watched)?;
        Ok(Snapshot { at: now, rows, order: Order::ByPlace(places), outcomes, limits })
    }

    fn allow_list(&mut self) -> Result<AllowList> {
        self.blocks.allow_list()
    }

    fn hits_of(&mut self, targets: &[Target]) -> Result<Vec<(Target, u64)>> {
        let mut hits = Vec::with_capacity(targets.len());
        for target in targets {
            let entry = self.blocks.get(target)?;
            if let Some(entry) = entry.filter(|entry| entry.origin() == BlockOrigin::Agent) {
                hits.push((*target, entry.hits));
            }
        }
        Ok(hits)
    }

    fn apply(&mut self, now: Timestamp, changes: &Changes) -> Result<()> {
        self.blocks.set_limits(&changes.limits.written, &changes.limits.ended)?;
        if changes.blocks.is_empty() {
            return Ok(());
        }
        let mut blocks = Vec::with_capacity(changes.blocks.len());
        for block in &changes.blocks {
            let standing = self.blocks.get(&block.target)?;
            let is_anothers = standing
                .is_some_and(|entry| entry.origin() != BlockOrigin::Agent && !entry.is_expired(now.ns));
            if !is_anothers {
                blocks.push(NewBlock {
                    target: block.target,
                    expires_at_ns: block.until.ns,
                    origin: BlockOrigin::Agent,
                });
            }
        }
        self.blocks.block_all(&blocks, |_| {})?;
        Ok(())
    }
}
