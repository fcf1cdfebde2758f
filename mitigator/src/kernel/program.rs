//! Loads the XDP program over the pinned maps, making the maps that are not there yet.

use std::path::Path;

use anyhow::{Context, Result};
use aya::programs::{ProgramFd, ProgramType, SchedClassifier, TestRun, TestRunOptions, Xdp};
use aya::sys::{BpfHelper, is_helper_supported};
use aya::{Ebpf, EbpfLoader};
use mitigator_common::{BlockRegion, DataPlaneSettings, Outcome, SourceTable};

use super::blocked_sources::BlockedSources;
use super::cpu_states::{CpuStates, possible_cpus};
use super::jiffies::JiffyClock;
use super::maps;
use super::pins::Pins;
use super::source_rows::SourceRows;
use super::syn_cookies::SynCookies;
use crate::config::Capacities;

/// The compiled program; aligned, because the loader reads structures in place.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/mitigator.o"));

/// The program's name in the object.
const PROGRAM: &str = "mitigate";
/// The name of the program that tells jiffies.
const CLOCK: &str = "tell_jiffies";
/// The name of the program that counts what is sent.
pub(super) const CLASSIFIER: &str = "count_sent";

/// The program in the kernel, not necessarily attached.
#[derive(Debug)]
pub struct LoadedProgram {
    ebpf: Ebpf,
}

/// What a packet came to in the kernel's own test run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRunResult {
    /// What the program did with the packet.
    pub action: Action,
    /// The packet as the last run left it.
    pub packet: Vec<u8>,
    /// Mean time per run.
    pub duration: std::time::Duration,
}

impl LoadedProgram {
    /// Loads the program. Maps that are pinned are taken as they are, with their capacities.
    ///
    /// # Errors
    ///
    /// When rights are missing, memory is short, or the verifier refuses.
    pub fn load(pins: &Pins, capacities: &Capacities) -> Result<Self> {
        let mut loaded = Self { ebpf: open(pins, capacities)? };
        loaded.program_mut()?.load().context(
            "the kernel refused the XDP program; mitigator needs Linux 5.15 or newer with BPF enabled, and \
             CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON",
        )?;
        match loaded.jiffy_clock() {
            Ok(Some(clock)) => BlockedSources::set_clock(pins, clock)?,
            Ok(None) => {}
            Err(error) => tracing::warn!("packets cost some nanoseconds more without jiffies: {error:#}"),
        }
        Ok(loaded)
    }

    fn jiffy_clock(&mut self) -> Result<Option<JiffyClock>> {
        let program: &mut Xdp = self
            .ebpf
            .program_mut(CLOCK)
            .context("the embedded object has no program `tell_jiffies`")?
            .try_into()?;
        program.load().context("the kernel refused the program that tells jiffies")?;
        let clock = JiffyClock::find_out(program);
        program.unload()?;
        clock
    }

    /// The program itself, for whoever attaches it without leaving anything behind.
    ///
    /// # Errors
    ///
    /// Never: it is loaded.
    pub fn program_mut(&mut self) -> Result<&mut Xdp> {
        let program =
            self.ebpf.program_mut(PROGRAM).context("the embedded object has no program `mitigate`")?;
        Ok(program.try_into()?)
    }

    /// The program's descriptor, for another program that goes on with it.
    ///
    /// # Errors
    ///
    /// Never: it is loaded.
    pub fn descriptor(&mut self) -> Result<&ProgramFd> {
        Ok(self.program_mut()?.fd()?)
    }

    /// Number of the program in the kernel.
    ///
    /// # Errors
    ///
    /// When the kernel does not say.
    pub fn id(&mut self) -> Result<u32> {
        Ok(self.program_mut()?.info()?.id())
    }

    /// Instructions that the verifier walked through, where the kernel says so (5.16).
    ///
    /// # Errors
    ///
    /// When the kernel does not answer.
    pub fn verified_instructions(&mut self) -> Result<Option<u32>> {
        Ok(self.program_mut()?.info()?.verified_instruction_count())
    }

    /// Runs the program on one packet, as the kernel's `BPF_PROG_TEST_RUN` does it. Maps change as
    /// they would by a real packet.
    ///
    /// # Errors
    ///
    /// When the kernel refuses; packets under 14 bytes or over a page it cannot run.
    pub fn test_run(&mut self, packet: &[u8], repeat: u32) -> Result<TestRunResult> {
        let mut output = vec![0_u8; packet.len() + 512];
        let mut options = TestRunOptions::new();
        options.data_in = Some(packet);
        options.data_out = Some(&mut output);
        options.repeat = repeat;
        let result = self.program_mut()?.test_run(options).context("the kernel's test run failed")?;
        output.truncate(usize::try_from(result.data_size_out)?);
        let action = Action::of(result.return_value)?;
        Ok(TestRunResult { action, packet: output, duration: result.duration })
    }
}

/// The program that counts what is sent in the kernel, not necessarily attached.
#[derive(Debug)]
pub struct LoadedClassifier {
    ebpf: Ebpf,
}

impl LoadedClassifier {
    /// Loads it. Maps that are pinned are taken as they are, with their capacities.
    ///
    /// # Errors
    ///
    /// When rights are missing, memory is short, or the verifier refuses.
    pub fn load(pins: &Pins, capacities: &Capacities) -> Result<Self> {
        let mut loaded = Self { ebpf: open(pins, capacities)? };
        loaded.program_mut()?.load().context("the kernel refused the classifier")?;
        Ok(loaded)
    }

    pub(super) fn program_mut(&mut self) -> Result<&mut SchedClassifier> {
        let program = self
            .ebpf
            .program_mut(CLASSIFIER)
            .with_context(|| format!("the embedded object has no program `{CLASSIFIER}`"))?;
        Ok(program.try_into()?)
    }

    /// Counts a packet as one that is sent, in the kernel's test run. Maps change as they would by a real packet.
    ///
    /// # Errors
    ///
    /// When the kernel refuses; packets under 14 bytes or over a page it cannot run.
    pub fn test_run(&mut self, packet: &[u8]) -> Result<()> {
        let mut options = TestRunOptions::new();
        options.data_in = Some(packet);
        options.repeat = 1;
        self.program_mut()?.test_run(options).context("the kernel's test run failed")?;
        Ok(())
    }
}

/// What an XDP program does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It goes no further.
    Drop,
    /// It goes on to the kernel.
    Pass,
    /// It goes back to where it came from.
    Answer,
}

impl Action {
    /// By the number that the program returned.
    ///
    /// # Errors
    ///
    /// When it is none of these.
    pub fn of(number: u32) -> Result<Self> {
        match number {
            1 => Ok(Self::Drop),
            2 => Ok(Self::Pass),
            3 => Ok(Self::Answer),
            other => anyhow::bail!("the program returned the XDP action {other}"),
        }
    }
}

impl From<Outcome> for Action {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            dropped if dropped.is_drop() => Self::Drop,
            answered if answered.is_answer() => Self::Answer,
            _ => Self::Pass,
        }
    }
}

/// Opens the object over the pinned maps, making the maps that are not there yet; no program is loaded.
pub(super) fn open(pins: &Pins, capacities: &Capacities) -> Result<Ebpf> {
    pins.create()?;
    let directory = pins.maps();
    let settings = DataPlaneSettings {
        coarse_clock: u32::from(has_coarse_clock()),
        syn_cookies: u32::from(SynCookies::are_in_kernel()),
    };
    let buckets = SourceTable::buckets_for(capacities.sources);
    let mut loader = EbpfLoader::new();
    loader
        .override_global("SETTINGS", bytemuck::bytes_of(&settings), true)
        .map_max_entries(maps::SOURCE_BUCKETS, buckets)
        .map_max_entries(maps::SOURCE_ROWS, SourceTable::new(buckets).rows())
        .map_max_entries(maps::SOURCE_DETAILS, SourceTable::new(buckets).rows())
        .map_max_entries(maps::SKETCHES, u32::try_from(possible_cpus()?)?)
        .map_max_entries(maps::BLOCK_TABLE, BlockRegion::map_lines_for(capacities.blocks))
        .map_max_entries(maps::BLOCK_HITS, BlockRegion::map_lines_for(capacities.blocks))
        .map_max_entries(
            maps::BLOCK_MARKS,
            BlockRegion::words_for(BlockRegion::map_lines_for(capacities.blocks)),
        )
        .map_max_entries(maps::BLOCK_OVERFLOW, BlockRegion::overflow_for(capacities.blocks))
        .map_max_entries(maps::BLOCK_PREFIXES, capacities.prefixes)
        .map_max_entries(maps::ALLOWLIST, capacities.prefixes);
    for name in maps::ALL {
        loader.map_pin_path(name, directory.join(name));
    }
    let ebpf = load_object(&mut loader, &directory)?;
    BlockedSources::prepare(pins, capacities.blocks)?;
    SourceRows::prepare(pins)?;
    CpuStates::prepare(pins)?;
    Ok(ebpf)
}

fn load_object(loader: &mut EbpfLoader<'_>, directory: &Path) -> Result<Ebpf> {
    loader
        .load(OBJECT)
        .with_context(|| format!("cannot make or open the BPF maps under {}", directory.display()))
}

/// `bpf_ktime_get_coarse_ns` came with kernel 5.11.
fn has_coarse_clock() -> bool {
    is_helper_supported(ProgramType::Xdp, BpfHelper::BPF_FUNC_ktime_get_coarse_ns).unwrap_or(false)
}
