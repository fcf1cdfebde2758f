//! Watches totals that only grow, and records in which tenth of a second they grew.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context, Result};
use mitigator_tests::traffic::{BIN, Series};

use crate::clock::{now, pause_until};

/// A watcher of `N` totals, on a thread of its own.
pub(crate) struct Sampler<const N: usize> {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<[Series; N]>>>,
}

impl<const N: usize> Sampler<N> {
    /// Calls `read` ten times a second from here on.
    pub(crate) fn start(
        origin: Instant,
        mut read: impl FnMut() -> Result<[u64; N]> + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut series: [Series; N] = std::array::from_fn(|_| Series::new(origin));
            let (mut before, mut due) = (read()?, now());
            while !stopped.load(Ordering::Relaxed) {
                due = (due + BIN).max(now());
                pause_until(due);
                // What grew since the last look grew in the tenth of a second that ends here.
                let middle = now().checked_sub(BIN / 2).unwrap_or(origin);
                let totals = read()?;
                for ((series, total), before) in series.iter_mut().zip(totals).zip(before) {
                    series.add(middle, total.saturating_sub(before));
                }
                before = totals;
            }
            Ok(series)
        });
        Self { stop, thread: Some(thread) }
    }

    /// One last look, then what was seen.
    pub(crate) fn stop(mut self) -> Result<[Series; N]> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("a sampler stops once")?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl<const N: usize> Drop for Sampler<N> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
