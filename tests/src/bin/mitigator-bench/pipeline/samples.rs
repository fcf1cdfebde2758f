//! What criterion measured, from the file it leaves for each benchmark.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::quartiles::Quartiles;

/// Each sample: so many iterations, and how long they took together.
#[derive(Deserialize)]
struct Samples {
    iters: Vec<f64>,
    times: Vec<f64>,
}

/// Milliseconds per iteration of the benchmark with the name `parts`.
pub(crate) fn quartiles_ms(directory: &Path, parts: &[&str]) -> Result<Quartiles> {
    let mut file = directory.to_owned();
    file.extend(parts);
    file.extend(["new", "sample.json"]);
    let text = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let Samples { iters, times } = serde_json::from_slice(&text)
        .with_context(|| format!("{} is not what criterion writes", file.display()))?;
    Ok(Quartiles::of(iters.iter().zip(&times).map(|(iters, ns)| ns / iters / 1e6).collect()))
}
