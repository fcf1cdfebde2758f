//! Runs many scenarios side by side, on every core.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::catalogue::Scenario;
use super::figures::Figures;
use super::run::run;

/// Runs scenarios, in their order, on all cores; `done` hears of each that is over.
///
/// # Errors
///
/// When one of them fails to run.
pub fn run_all(
    scenarios: &[Scenario],
    longest: Option<Duration>,
    done: impl Fn(&Figures) + Sync,
) -> Result<Vec<Figures>> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, Result<Figures>)>> = Mutex::default();
    let work = || {
        while let Some((position, scenario)) = {
            let position = next.fetch_add(1, Ordering::Relaxed);
            scenarios.get(position).map(|scenario| (position, scenario))
        } {
            let figures = run(scenario, longest).with_context(|| format!("scenario `{}`", scenario.name));
            if let Ok(figures) = &figures {
                done(figures);
            }
            results.lock().unwrap_or_else(PoisonError::into_inner).push((position, figures));
        }
    };
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..workers.min(scenarios.len()) {
            scope.spawn(work);
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(position, _)| *position);
    results.into_iter().map(|(_, figures)| figures).collect()
}
