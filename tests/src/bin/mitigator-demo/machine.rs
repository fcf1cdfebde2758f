//! How busy the machine is with things other than the demo.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::clock::pause;

const LOOK: Duration = Duration::from_millis(500);

/// Time that all processors together have spent, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks {
    idle: u64,
    all: u64,
}

/// The share of all processors that is in use, 0 to 1; watches for half a second.
pub(crate) fn busy_share() -> Result<f64> {
    let before = Ticks::read()?;
    pause(LOOK);
    Ok(Ticks::read()?.busy_share_since(before))
}

impl Ticks {
    fn read() -> Result<Self> {
        let table = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        Self::parse(&table).context("/proc/stat has no line for all processors")
    }

    /// From the line `cpu  user nice system idle iowait irq softirq steal ...`.
    fn parse(table: &str) -> Option<Self> {
        let line = table.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks: Vec<u64> = line.split_whitespace().take(8).map_while(|tick| tick.parse().ok()).collect();
        let idle = ticks.get(3..5)?.iter().sum();
        Some(Self { idle, all: ticks.iter().sum() })
    }

    #[expect(clippy::cast_precision_loss, reason = "half a second of ticks is a small number")]
    fn busy_share_since(self, before: Self) -> f64 {
        let (idle, all) = (self.idle.saturating_sub(before.idle), self.all.saturating_sub(before.all));
        if all == 0 { 0.0 } else { 1.0 - idle as f64 / all as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_for_disks_is_idle() {
        let before = Ticks::parse("cpu  10 0 10 100 20 0 0 0 0 0\ncpu0 1 1 1 1 1 1 1 1\n").unwrap();
        let after = Ticks::parse("cpu  30 0 20 150 40 0 0 0 0 0\n").unwrap();
        assert_eq!(before, Ticks { idle: 120, all: 140 });
        assert!((after.busy_share_since(before) - 0.3).abs() < 1e-9);
        assert_eq!(Ticks::parse("intr 5"), None);
    }
}
