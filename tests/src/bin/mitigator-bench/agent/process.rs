//! What the kernel says of a process: its memory, of whichever kind, and its CPU time.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use serde::Serialize;

use super::now;

/// Resident memory in MiB, as `/proc/PID/status` tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Memory {
    /// All of it.
    pub(crate) rss_mib: f64,
    /// Of no file: heap and stack, which nobody else has.
    pub(crate) anon_mib: f64,
    /// Of files and of memory that others have too: the program itself, and what is mapped of BPF maps, each page of
    /// which the kernel counts as long as it is mapped, touched or not.
    pub(crate) mapped_mib: f64,
}

impl Memory {
    fn of(pid: Pid) -> Result<Self> {
        let file = format!("/proc/{pid}/status");
        let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
        Self::read(&text).with_context(|| format!("{file} tells no memory"))
    }

    fn read(text: &str) -> Option<Self> {
        let mib = |name: &str| -> Option<f64> {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            Some(value.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? / 1024.0)
        };
        Some(Self {
            rss_mib: mib("VmRSS")?,
            anon_mib: mib("RssAnon")?,
            mapped_mib: mib("RssFile")? + mib("RssShmem")?,
        })
    }
}

/// A process that was looked at for a while.
pub(crate) struct Observed {
    pid: Pid,
    clock: ClockId,
    cpu_at_first: Duration,
    began: Instant,
    looks: Vec<Memory>,
    cpu: Duration,
    length: Duration,
}

impl Observed {
    pub(crate) fn begin(pid: Pid) -> Result<Self> {
        let clock = clock_getcpuclockid(pid).context("cannot read the agent's CPU time")?;
        let cpu_at_first = cpu_time(clock)?;
        let (looks, cpu, length) = (Vec::new(), Duration::ZERO, Duration::ZERO);
        Ok(Self { pid, clock, cpu_at_first, began: now(), looks, cpu, length })
    }

    pub(crate) fn took(&self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) fn look(&mut self) -> Result<()> {
        self.looks.push(Memory::of(self.pid)?);
        Ok(())
    }

    pub(crate) fn end(mut self) -> Result<Self> {
        self.cpu = cpu_time(self.clock)?.saturating_sub(self.cpu_at_first);
        self.length = self.took();
        self.look()?;
        Ok(self)
    }

    /// Share of one core, in percent.
    pub(crate) fn cpu_percent(&self) -> f64 {
        self.cpu.as_secs_f64() / self.length.as_secs_f64() * 100.0
    }

    /// The look at which it had most.
    pub(crate) fn most(&self) -> Memory {
        let looks = self.looks.iter().copied();
        looks.max_by(|a, b| a.rss_mib.total_cmp(&b.rss_mib)).unwrap_or_default()
    }

    /// All looks.
    pub(crate) fn looks(&self) -> &[Memory] {
        &self.looks
    }
}

fn cpu_time(clock: ClockId) -> Result<Duration> {
    Ok(clock_gettime(clock).context("cannot read the agent's CPU time")?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_tells_of_memory() {
        let text = "Name:\tmitigator\nVmHWM:\t  9216 kB\nVmRSS:\t    8192 kB\nRssAnon:\t    4096 kB\n\
                    RssFile:\t    3072 kB\nRssShmem:\t    1024 kB\n";
        let expected = Memory { rss_mib: 8.0, anon_mib: 4.0, mapped_mib: 4.0 };
        assert_eq!(Memory::read(text), Some(expected));
        assert_eq!(Memory::read("Name:\tkthreadd\n"), None);
    }
}
