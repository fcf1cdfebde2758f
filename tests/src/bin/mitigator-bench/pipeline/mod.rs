//! What a tick costs: one core's milliseconds from counters that were read to the changes that follow, over
//! populations and states, each beside plain K-Means over all sources.

mod cpu_time;
mod plain;
mod plane;
mod population;
mod report;
mod samples;

use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use criterion::{BenchmarkId, Criterion, SamplingMode};
use nix::unistd;

use self::cpu_time::CpuTime;
use self::plane::Scene;
use self::population::State;
use self::report::{Case, Report};
use crate::measured::Measured;

/// What to measure, and where to.
#[derive(clap::Args)]
#[group(id = "pipeline")]
pub(crate) struct Arguments {
    /// Sources in a tick
    #[arg(long, value_name = "NUMBER", value_delimiter = ',', default_values_t = [10_000, 100_000, 1_000_000],
        value_parser = clap::value_parser!(u32).range(1_000..=2_000_000))]
    sources: Vec<u32>,
    /// States to measure
    #[arg(long, value_name = "STATE", value_delimiter = ',', default_values_t = State::ALL.to_vec())]
    states: Vec<State>,
    /// Samples per case
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(10..=1000))]
    samples: u32,
    /// Leave out plain K-Means
    #[arg(long)]
    without_plain: bool,
}

/// What takes long is sampled as often as asked, and no more.
const MEASURED_FOR: Duration = Duration::from_secs(2);

/// Windows that close in each case at least; ticks beyond criterion's samples are taken for it.
const WINDOWS: usize = 2;

/// Measures all states of all populations; criterion keeps its samples in that directory.
pub(crate) fn measure(arguments: &Arguments, criterion: &Path) -> Result<Measured> {
    let output = unistd::dup(io::stdout()).context("cannot duplicate the standard output")?;
    // Criterion prints on the standard output, which is the report's alone.
    unistd::dup2_stdout(io::stderr()).context("cannot redirect criterion's words")?;
    let cases = measure_all(arguments, criterion);
    unistd::dup2_stdout(&output).context("cannot restore the standard output")?;
    Report::new(arguments.samples, cases?).measured()
}

fn measure_all(arguments: &Arguments, directory: &Path) -> Result<Vec<Case>> {
    let mut criterion = Criterion::default()
        .with_measurement(CpuTime)
        .output_directory(directory)
        .without_plots()
        .sample_size(arguments.samples as usize)
        .warm_up_time(Duration::from_millis(1))
        .measurement_time(MEASURED_FOR);
    let mut cases = Vec::new();
    for state in &arguments.states {
        for sources in &arguments.sources {
            cases.push(measure_case(&mut criterion, directory, arguments, *state, *sources)?);
        }
    }
    Ok(cases)
}

fn measure_case(
    criterion: &mut Criterion<CpuTime>,
    directory: &Path,
    arguments: &Arguments,
    state: State,
    sources: u32,
) -> Result<Case> {
    let quartiles =
        |part: &str| samples::quartiles_ms(directory, &[&state.to_string(), part, &sources.to_string()]);
    let mut group = criterion.benchmark_group(state.to_string());
    group.sampling_mode(SamplingMode::Flat);
    let mut scene = Scene::new(state, sources)?;
    let mut failure = None;
    group.bench_function(BenchmarkId::new("tick", sources), |bencher| {
        bencher.iter_custom(|ticks| {
            scene.run(ticks).unwrap_or_else(|error| {
                failure = Some(error);
                Duration::from_nanos(1)
            })
        });
    });
    if let Some(error) = failure {
        return Err(error);
    }
    scene.run_until_windows_close(WINDOWS)?;
    let points = scene.points();
    let times = scene.times();
    let plain_ms = if arguments.without_plain {
        None
    } else {
        group.bench_function(BenchmarkId::new("plain", sources), |bencher| {
            bencher.iter(|| plain::k_means(&points));
        });
        Some(quartiles("plain")?)
    };
    group.finish();
    Ok(Case::new(state, sources, quartiles("tick")?, times, plain_ms))
}
