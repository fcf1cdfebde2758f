//! `CpuStates`: what the program keeps for each CPU.

use std::os::fd::AsFd;

use anyhow::{Context, Result};
use aya::maps::MapData;
use aya::util::nr_cpus;
use bytemuck::Zeroable;
use mitigator_common::CpuState;

use super::pins::Pins;
use super::{bpf_call, maps};
use crate::pipeline::snapshot::OutcomeTotals;

const KEY: [u8; 4] = [0; 4];

/// The state of every CPU that there may be.
#[derive(Debug)]
pub struct CpuStates {
    map: MapData,
    cpus: usize,
}

impl CpuStates {
    /// Opens the pinned map.
    ///
    /// # Errors
    ///
    /// When it is not pinned or may not be opened.
    pub fn open(pins: &Pins) -> Result<Self> {
        let path = pins.maps().join(maps::CPU_STATE);
        let map =
            MapData::from_pin(&path).with_context(|| format!("cannot open the map at {}", path.display()))?;
        let value =
            map.info().context("cannot ask the kernel about the map CPU_STATE")?.value_size() as usize;
        anyhow::ensure!(value == size_of::<CpuState>(), "the map CPU_STATE has values of {value} bytes");
        Ok(Self { map, cpus: possible_cpus()? })
    }

    /// Tells each CPU its number, where the map was just made.
    pub(super) fn prepare(pins: &Pins) -> Result<()> {
        let states = Self::open(pins)?;
        let mut found = states.read()?;
        let is_numbered = found.iter().zip(0..).all(|(state, cpu)| state.cpu == cpu);
        if is_numbered {
            return Ok(());
        }
        for (state, cpu) in found.iter_mut().zip(0..) {
            state.cpu = cpu;
        }
        states.write(&found)
    }

    /// The states, by the numbers of the CPUs.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn read(&self) -> Result<Vec<CpuState>> {
        let mut states = vec![CpuState::zeroed(); self.cpus];
        let is_there = bpf_call::lookup(self.map.fd().as_fd(), &KEY, bytemuck::cast_slice_mut(&mut states))
            .context("cannot read the map CPU_STATE")?;
        anyhow::ensure!(is_there, "the map CPU_STATE is empty");
        Ok(states)
    }

    /// Writes them, one for each CPU. Only where no packet arrives.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn write(&self, states: &[CpuState]) -> Result<()> {
        anyhow::ensure!(states.len() == self.cpus, "{} states for {} CPUs", states.len(), self.cpus);
        bpf_call::update(self.map.fd().as_fd(), &KEY, bytemuck::cast_slice(states))
            .context("cannot write to the map CPU_STATE")
    }

    /// Packets per outcome since the maps were made.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn outcomes(&self) -> Result<OutcomeTotals> {
        let mut totals = OutcomeTotals::default();
        for state in self.read()? {
            for (total, count) in totals.iter_mut().zip(state.outcomes) {
                *total += count;
            }
        }
        Ok(totals)
    }
}

/// How many CPUs the kernel has room for, each of which has its own value in a map per CPU.
pub(super) fn possible_cpus() -> Result<usize> {
    nr_cpus().map_err(|(file, error)| anyhow::anyhow!("cannot read {file}: {error}"))
}

// As the kernel lays out the values of CPUs.
const _: () = assert!(size_of::<CpuState>().is_multiple_of(8));
