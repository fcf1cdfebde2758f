//! What criterion found, from the file it leaves for each benchmark.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Median of the samples, with its 95 % confidence interval.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Median {
    pub(crate) median_ms: f64,
    pub(crate) lower_ms: f64,
    pub(crate) upper_ms: f64,
}

#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    confidence_interval: Interval,
    point_estimate: f64,
}

#[derive(Deserialize)]
struct Interval {
    lower_bound: f64,
    upper_bound: f64,
}

/// The median of the benchmark with the name `parts`.
pub(crate) fn median_ms(directory: &Path, parts: &[&str]) -> Result<Median> {
    let mut file = directory.to_owned();
    file.extend(parts);
    file.extend(["new", "estimates.json"]);
    let text = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let Estimates { median } = serde_json::from_slice(&text)
        .with_context(|| format!("{} is not what criterion writes", file.display()))?;
    let ms = |ns: f64| ns / 1e6;
    Ok(Median {
        median_ms: ms(median.point_estimate),
        lower_ms: ms(median.confidence_interval.lower_bound),
        upper_ms: ms(median.confidence_interval.upper_bound),
    })
}
