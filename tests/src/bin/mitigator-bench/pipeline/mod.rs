//! What a tick costs: one core's milliseconds from counters that were read to the changes that follow, over
//! populations and states, each beside plain K-Means over all sources.

mod cpu_time;
mod estimates;
mod plain;
mod plane;
mod population;
mod report;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use criterion::{BenchmarkId, Criterion, SamplingMode};
use nix::unistd;

use self::cpu_time::CpuTime;
use self::plane::Scene;
use self::population::State;
use self::report::{Case, Report};

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
    /// Where criterion keeps its samples
    #[arg(long, value_name = "DIR", default_value = "target/criterion")]
    criterion: PathBuf,
    /// Write the figures as Markdown, too
    #[arg(long, value_name = "FILE.md")]
    output: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What takes long is sampled as often as asked, and no more.
const MEASURED_FOR: Duration = Duration::from_secs(2);

/// Windows that close in each case at least; ticks beyond criterion's samples are taken for it.
const WINDOWS: usize = 2;

/// The report, as text or JSON.
pub(crate) fn measure(arguments: &Arguments) -> Result<String> {
    let output = unistd::dup(io::stdout()).context("cannot duplicate the standard output")?;
    // Criterion prints on the standard output, which is the report's alone.
    unistd::dup2_stdout(io::stderr()).context("cannot redirect criterion's words")?;
    let cases = measure_all(arguments);
    unistd::dup2_stdout(&output).context("cannot restore the standard output")?;
    let report = Report::new(arguments.samples, cases?);
    if let Some(file) = &arguments.output {
        fs::write(file, report.markdown()).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if arguments.json { Ok(serde_json::to_string_pretty(&report)? + "\n") } else { Ok(report.text()) }
}

fn measure_all(arguments: &Arguments) -> Result<Vec<Case>> {
    let mut criterion = Criterion::default()
        .with_measurement(CpuTime)
        .output_directory(&arguments.criterion)
        .without_plots()
        .sample_size(arguments.samples as usize)
        .warm_up_time(Duration::from_millis(1))
        .measurement_time(MEASURED_FOR);
    let mut cases = Vec::new();
    for state in &arguments.states {
        for sources in &arguments.sources {
            cases.push(measure_case(&mut criterion, arguments, *state, *sources)?);
        }
    }
    Ok(cases)
}

fn measure_case(
    criterion: &mut Criterion<CpuTime>,
    arguments: &Arguments,
    state: State,
    sources: u32,
) -> Result<Case> {
    let estimate = |part: &str| {
        estimates::median_ms(&arguments.criterion, &[&state.to_string(), part, &sources.to_string()])
    };
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
        Some(estimate("plain")?)
    };
    group.finish();
    Ok(Case::new(state, sources, estimate("tick")?, times, plain_ms))
}
