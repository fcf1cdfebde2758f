//! `Bench`: the XDP program on maps of its own, fed by the kernel's test run.
//!
//! Nothing is attached, so no packet but the test's own is seen. The pins carry the process id in
//! their name and vanish with the bench; those of a run that was killed go when the next bench is made.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use mitigator::config::Capacities;
use mitigator::kernel::blocks::NewBlock;
use mitigator::kernel::pins::Pins;
use mitigator::kernel::program::{Action, LoadedClassifier, LoadedProgram};
use mitigator::kernel::xdp::XdpDataPlane;
use mitigator::pipeline::snapshot::OutcomeTotals;
use mitigator::pipeline::target::Target;
use mitigator_common::{
    AllowReason, BlockOrigin, CpuState, NEVER_EXPIRES, Outcome, PrefixKey, Source, SourceCounters,
};
use mitigator_tests::packet::RECEIVERS;

pub const BPF_FILE_SYSTEM: &str = "/sys/fs/bpf";
const DIRECTORY_PREFIX: &str = "mitigator-test-";

static BENCHES_MADE: AtomicUsize = AtomicUsize::new(0);

/// The XDP program on maps of its own.
pub struct Bench {
    program: LoadedProgram,
    plane: XdpDataPlane,
    directory: PinDirectory,
}

/// One change of the tables, as rows write it. Texts are addresses or prefixes.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    Block(&'static str),
    BlockUntil(&'static str, u64),
    /// A block that ended long ago and was not cleared away.
    Expired(&'static str),
    Unblock(&'static str),
    Allow(&'static str),
    Disallow(&'static str),
    /// The automatic part of the allow list becomes this prefix alone.
    Guard(&'static str),
    /// The automatic part of the allow list becomes the addresses that packets are for.
    OwnAddresses,
    /// The automatic part of the allow list becomes empty.
    GuardNobody,
}

impl Bench {
    pub fn new(capacities: &Capacities) -> Result<Self> {
        remove_leftovers()?;
        let number = BENCHES_MADE.fetch_add(1, Ordering::Relaxed);
        let directory = PinDirectory(
            Path::new(BPF_FILE_SYSTEM).join(format!("{DIRECTORY_PREFIX}{}-{number}", std::process::id())),
        );
        let pins = directory.pins();
        Ok(Self {
            program: LoadedProgram::load(&pins, capacities)?,
            plane: XdpDataPlane::open(&pins)?,
            directory,
        })
    }

    /// Tables of a few thousand entries: loads at once even in an emulated machine.
    pub fn small() -> Result<Self> {
        Self::new(&Capacities { sources: 4_096, blocks: 1_024, prefixes: 256 })
    }

    pub fn pins(&self) -> Pins {
        self.directory.pins()
    }

    pub fn plane(&self) -> &XdpDataPlane {
        &self.plane
    }

    pub fn program(&mut self) -> &mut LoadedProgram {
        &mut self.program
    }

    /// The program that counts what is sent, on the same maps, whatever their capacities.
    pub fn classifier(&self) -> Result<LoadedClassifier> {
        LoadedClassifier::load(&self.pins(), &Capacities { sources: 4_096, blocks: 1_024, prefixes: 256 })
    }

    /// What becomes of the packet. Exactly one outcome is counted, exactly once, and the action agrees.
    pub fn outcome_of(&mut self, packet: &[u8]) -> Result<Outcome> {
        self.outcome_of_all(packet, 1)
    }

    /// What becomes of the packet, `repeat` times alike.
    pub fn outcome_of_all(&mut self, packet: &[u8], repeat: u32) -> Result<Outcome> {
        let before = self.plane.outcomes()?;
        let result = self.program.test_run(packet, repeat)?;
        let change = difference(&self.plane.outcomes()?, &before);
        let (outcome, count) = Outcome::ALL
            .into_iter()
            .zip(change)
            .max_by_key(|(_, count)| *count)
            .context("there are outcomes")?;
        ensure!(
            count == u64::from(repeat) && change.iter().sum::<u64>() == count,
            "{repeat} packets were counted as {change:?}"
        );
        ensure!(
            result.action == Action::from(outcome),
            "counted as {}, but the action was {:?}",
            outcome.name(),
            result.action
        );
        Ok(outcome)
    }

    /// What is counted for a source; empty when there is no row.
    pub fn counters_of(&self, source: Source) -> Result<SourceCounters> {
        Ok(self.plane.sources().get(source)?.unwrap_or_default())
    }

    /// Packets dropped by all blocks that stand.
    pub fn hits(&self) -> Result<u64> {
        Ok(self.plane.blocks().standing()?.iter().map(|block| block.entry.hits).sum())
    }

    pub fn change(&self, change: Change) -> Result<()> {
        let blocks = self.plane.blocks();
        match change {
            Change::Block(target) => self.block(target, NEVER_EXPIRES),
            Change::BlockUntil(target, end_ns) => self.block(target, end_ns),
            Change::Expired(target) => self.block(target, 1),
            Change::Unblock(target) => {
                let removed = blocks.unblock_all(&[target.parse()?])?;
                ensure!(removed == 1, "{removed} blocks of {target} removed");
                Ok(())
            }
            Change::Allow(prefix) => blocks.allow(key(prefix)?, AllowReason::Operator),
            Change::Disallow(prefix) => {
                ensure!(blocks.disallow(key(prefix)?)?, "{prefix} was not allowed");
                Ok(())
            }
            Change::Guard(prefix) => blocks.set_guarded(&[(key(prefix)?, AllowReason::SshPeer)]).map(drop),
            Change::OwnAddresses => {
                let own = RECEIVERS.map(|address| (PrefixKey::new(address, 128), AllowReason::LocalAddress));
                blocks.set_guarded(&own).map(drop)
            }
            Change::GuardNobody => blocks.set_guarded(&[]).map(drop),
        }
    }

    fn block(&self, target: &str, expires_at_ns: u64) -> Result<()> {
        let block = NewBlock { target: target.parse()?, expires_at_ns, origin: BlockOrigin::Operator };
        self.plane.blocks().block_all(&[block], |_| {}).map(drop)
    }

    /// No block, nobody allowed, nothing counted; outcomes go on.
    pub fn clear(&self) -> Result<()> {
        let blocks = self.plane.blocks();
        let targets: Vec<Target> = blocks.standing()?.iter().map(|block| block.target).collect();
        blocks.unblock_all(&targets)?;
        let limits: Vec<_> = blocks.limits()?.iter().map(|(signature, _)| *signature).collect();
        blocks.set_limits(&[], &limits)?;
        blocks.set_guarded(&[])?;
        for (key, _) in blocks.allow_list()?.entries() {
            blocks.disallow(*key)?;
        }
        self.forget_sources()
    }

    /// No source has a row, and as many may be made as ever.
    pub fn forget_sources(&self) -> Result<()> {
        self.plane.sources().clear();
        self.change_cpus(|state| {
            (state.made, state.promoted, state.asked, state.crowded_until) = (0, 0, 0, 0);
        })
    }

    /// Changes the state of every CPU.
    pub fn change_cpus(&self, change: impl FnMut(&mut CpuState)) -> Result<()> {
        let mut states = self.plane.cpus().read()?;
        states.iter_mut().for_each(change);
        self.plane.cpus().write(&states)
    }
}

/// What was counted between two readings.
pub fn difference(now: &OutcomeTotals, before: &OutcomeTotals) -> OutcomeTotals {
    let mut change = *now;
    for (change, before) in change.iter_mut().zip(before) {
        *change -= before;
    }
    change
}

fn key(prefix: &str) -> Result<PrefixKey> {
    let (address, length) = prefix.parse::<Target>()?.parts();
    Ok(PrefixKey::new(address, length))
}

/// Removes itself with all pins.
struct PinDirectory(PathBuf);

impl PinDirectory {
    fn pins(&self) -> Pins {
        Pins::below(&self.0)
    }
}

impl Drop for PinDirectory {
    fn drop(&mut self) {
        if let Err(error) = self.pins().remove() {
            eprintln!("pins stay behind: {error:#}");
        }
    }
}

fn remove_leftovers() -> Result<()> {
    let entries = fs::read_dir(BPF_FILE_SYSTEM).with_context(|| format!("cannot read {BPF_FILE_SYSTEM}"))?;
    for entry in entries {
        let path = entry?.path();
        let owner = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_prefix(DIRECTORY_PREFIX))
            .and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            Pins::below(&path).remove()?;
        }
    }
    Ok(())
}
