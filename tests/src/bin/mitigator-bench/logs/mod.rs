//! What reading an access log costs, beside awk, which counts the first column and nothing else, and GoAccess, where it is
//! installed. Each runs on one core; programs take turns, round by round.

mod report;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mitigator_tests::access_log::{BEGIN_S, clf};
use mitigator_tests::lab::find_program;
use rand_xoshiro::Xoshiro256Plus;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};

use self::report::{Report, Task};
use crate::measured::Measured;

/// What to measure, and how often.
#[derive(clap::Args)]
#[group(id = "logs")]
pub(crate) struct Arguments {
    /// Rounds, of which the median and the extremes are shown
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Lines of the log, some 170 bytes each
    #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u32).range(1_000..=100_000_000))]
    lines: u32,
    /// Of the generated log
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Clients of each log; a few ask for most. What is kept of the fewer fits into the caches of most processors.
const CLIENTS: [u64; 2] = [2_000, 20_000];
const PAGES: u64 = 5_000;
const AGENTS: u64 = 200;
/// Requests per second of the log's own time.
const PER_SECOND: u64 = 200;
/// Lines/s that are wanted of one core.
const WANTED: f64 = 1e6;

/// Has each program read the same log.
pub(crate) fn measure(arguments: &Arguments) -> Result<Measured> {
    let directory = tempfile::tempdir().context("cannot make a directory for the log")?;
    let log = directory.path().join("access.log");
    let program =
        std::env::current_exe().context("cannot tell where the bench is")?.with_file_name("mitigator");
    ensure!(program.exists(), "{} is not built", program.display());
    let (mut tasks, mut bytes) = (Vec::new(), 0);
    for clients in CLIENTS {
        eprintln!("generating {} lines of {clients} clients", arguments.lines);
        generate(&log, clients, arguments)?;
        bytes = log.metadata().context("the log is gone")?.len();
        tasks.extend(read_by_each(&log, clients, &program, arguments)?);
    }
    Report::new(arguments.rounds, arguments.lines, bytes, tasks).measured()
}

fn read_by_each(log: &Path, clients: u64, program: &Path, arguments: &Arguments) -> Result<[Task; 3]> {
    let mut ours = Task::new("mitigator", clients, "who attacks, and why", Some(WANTED));
    let mut awk = Task::new("awk", clients, "requests per client, nothing else", None);
    let mut goaccess = Task::new("GoAccess", clients, "its report as JSON", None);
    for round in 0..arguments.rounds {
        eprintln!("round {} of {}", round + 1, arguments.rounds);
        ours.took.push(run(program, |command| command.arg("logs").arg(log).arg("--json"))?);
        if let Some(program) = find_program("awk") {
            let counting = "{ count[$1]++ } END { for (client in count) print count[client], client }";
            awk.took.push(run(&program, |command| command.arg(counting).arg(log))?);
        }
        if let Some(program) = find_program("goaccess") {
            let report = log.with_extension("json");
            goaccess.took.push(run(&program, |command| {
                command
                    .arg(log)
                    .args(["--log-format=COMBINED", "--no-global-config", "--no-progress", "-o"])
                    .arg(&report)
            })?);
        }
    }
    Ok([ours, awk, goaccess])
}

/// How long a program takes, on the first core alone.
fn run(program: &Path, arguments: impl FnOnce(&mut Command) -> &mut Command) -> Result<Duration> {
    let pinned: PathBuf = find_program("taskset").context("the program `taskset` is missing")?;
    let mut command = Command::new(pinned);
    arguments(command.args(["-c", "0"]).arg(program));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let began = now();
    let status = command.status().with_context(|| format!("cannot start {}", program.display()))?;
    let took = began.elapsed();
    ensure!(status.success(), "{} ended with {status}", program.display());
    Ok(took)
}

#[expect(clippy::disallowed_methods, reason = "a bench asks the clock")]
fn now() -> Instant {
    Instant::now()
}

/// A combined log of visitors: clients and pages by a long-tailed law, one of thirty requests an error.
fn generate(file: &Path, clients: u64, arguments: &Arguments) -> Result<()> {
    let cannot_write = || format!("cannot write {}", file.display());
    let mut out = BufWriter::with_capacity(1 << 20, File::create(file).with_context(cannot_write)?);
    let mut random = Xoshiro256Plus::seed_from_u64(arguments.seed);
    let mut below = move |end: u64| (random.next_u64() >> 11) % end;
    // The product of two even draws is small more often than not.
    let tail = |below: &mut dyn FnMut(u64) -> u64, end: u64| below(end) * below(end) / end;
    let mut time = (0, String::new());
    for line in 0..u64::from(arguments.lines) {
        let at_s = BEGIN_S + line / PER_SECOND;
        if time.0 != at_s {
            time = (at_s, clf(at_s));
        }
        let client = tail(&mut below, clients);
        let page = tail(&mut below, PAGES);
        let status = if below(30) == 0 { 404 } else { 200 };
        let (bytes, agent) = (below(60_000), client % AGENTS);
        writeln!(
            out,
            "198.{}.{}.{} - - [{}] \"GET /articles/{page}/index.html HTTP/1.1\" {status} {bytes} \
             \"https://www.example.org/\" \"Mozilla/5.0 (X11; Linux x86_64; rv:{agent}.0) Gecko/20100101 \
             Firefox/{agent}.0\"",
            18 + client / 65_536,
            client / 256 % 256,
            client % 256,
            time.1
        )
        .with_context(cannot_write)?;
    }
    out.flush().with_context(cannot_write)
}
