//! What writing blocks costs: a feed from its file into the kernel, beside nftables and ipset where they are
//! installed; one urgent block while a feed loads; many blocks taken back at once. And what reading all sources costs.
//!
//! Programs take turns, round by round, each with an empty table. Feeds are of random addresses, the same for all.

mod report;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mitigator::config::Capacities;
use mitigator::kernel::blocks::{BlockTables, NewBlock};
use mitigator::kernel::pins::Pins;
use mitigator::kernel::program::LoadedProgram;
use mitigator::kernel::xdp::XdpDataPlane;
use mitigator::pipeline::target::Target;
use mitigator_common::{BlockOrigin, InsertionBudget, NEVER_EXPIRES, Source};
use mitigator_tests::installation::Installation;
use mitigator_tests::lab::{Host, Lab, find_program, missing_for_bpf};
use tempfile::TempDir;

use self::report::{Report, Task};
use crate::dataplane::traffic::{Form, Generator, Senders};
use crate::measured::Measured;

/// What to measure, and how often.
#[derive(clap::Args)]
#[group(id = "feeds")]
pub(crate) struct Arguments {
    /// Rounds, of which the median and the extremes are shown
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Addresses of the large feed; while one of half as many loads, the urgent blocks are written
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_000..=1_000_000))]
    addresses: u32,
}

/// Blocks that are taken back at once.
const TAKEN_BACK: u32 = 5_000;
/// Snapshots a round.
const SNAPSHOTS: u32 = 3;
/// Between two urgent blocks.
const PAUSE: Duration = Duration::from_millis(5);
/// Number of the first of the addresses that are blocked urgently, which are in no feed.
const URGENT: u32 = 100_000_000;

/// Has each program write its blocks.
pub(crate) fn measure(arguments: &Arguments) -> Result<Measured> {
    let missing = missing_for_bpf();
    ensure!(missing.is_empty(), "it cannot run here: {}", missing.join("; "));
    let bench = Bench::new(arguments)?;
    let mut ours = Task::new("mitigator", "a feed into an empty table", arguments.addresses, Some(500.0));
    let mut again = Task::new("mitigator", "the same feed again", arguments.addresses, None);
    let mut nftables = Task::new("nftables", "a feed into an empty set", arguments.addresses, None);
    let mut ipset = Task::new("ipset", "a feed into an empty set", arguments.addresses, None);
    let mut urgent =
        Task::new("mitigator", "one urgent block while a feed of half the size loads", 1, Some(1.0));
    let mut back = Task::new("mitigator", "blocks taken back at once", TAKEN_BACK, Some(10.0));
    for round in 0..arguments.rounds {
        eprintln!("round {} of {}", round + 1, arguments.rounds);
        bench.with_empty_table(|installation, tables| {
            ours.took.push(bench.import(installation, &bench.feed)?);
            again.took.push(bench.import(installation, &bench.feed)?);
            let targets: Vec<Target> = (0..TAKEN_BACK).map(target).collect();
            let began = now();
            let removed = tables.unblock_all(&targets)?;
            back.took.push(began.elapsed());
            ensure!(removed == targets.len(), "{removed} of {TAKEN_BACK} blocks were taken back");
            Ok(())
        })?;
        bench.with_empty_table(|installation, tables| {
            urgent.took.extend(bench.urgent_blocks(installation, tables)?);
            Ok(())
        })?;
        if find_program("nft").is_some() {
            nftables.took.push(bench.nftables()?);
        }
        if find_program("ipset").is_some() {
            ipset.took.push(bench.ipset()?);
        }
    }
    let sources = arguments.addresses;
    let mut snapshot = Task::new("mitigator", "a snapshot of all sources", sources, Some(150.0));
    eprintln!("{sources} sources");
    snapshot.took = bench.snapshots(sources, arguments.rounds)?;
    Report::new(arguments.rounds, vec![ours, again, nftables, ipset, urgent, back, snapshot]).measured()
}

#[expect(clippy::disallowed_methods, reason = "a bench asks the clock")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "a bench that paces itself")]
fn wait() {
    std::thread::sleep(PAUSE);
}

fn target(number: u32) -> Target {
    Target::Source(Source::from_v4_bytes(unicast(number).to_be_bytes()))
}

/// One of the 2^30 addresses of 128.0.0.0/2, in no order; of those below 2^30 no two numbers have the same.
const fn unicast(number: u32) -> u32 {
    0x8000_0000 | number.wrapping_mul(0x9e37_79b1) & 0x3fff_ffff
}

struct Bench {
    program: PathBuf,
    directory: TempDir,
    feed: PathBuf,
    half: PathBuf,
    addresses: u32,
}

impl Bench {
    fn new(arguments: &Arguments) -> Result<Self> {
        let program =
            std::env::current_exe().context("cannot tell where the bench is")?.with_file_name("mitigator");
        ensure!(program.exists(), "{} is not built", program.display());
        let directory = tempfile::tempdir().context("cannot make a directory for the feeds")?;
        let write = |name: &str, count: u32| -> Result<PathBuf> {
            let mut text = String::new();
            for number in 0..count {
                writeln!(text, "{}", std::net::Ipv4Addr::from(unicast(number)))?;
            }
            let file = directory.path().join(name);
            fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
            Ok(file)
        };
        let feed = write("feed", arguments.addresses)?;
        let half = write("half", arguments.addresses / 2)?;
        Ok(Self { program, feed, half, addresses: arguments.addresses, directory })
    }

    /// mitigator's maps, pinned for this installation alone and removed afterwards; nothing is attached.
    fn with_empty_table(&self, work: impl FnOnce(&Installation, &BlockTables) -> Result<()>) -> Result<()> {
        let installation = Installation::new(&self.program, None)?;
        let pins = Pins::below(installation.pins());
        let program = LoadedProgram::load(&pins, &Capacities::default())?;
        let done = work(&installation, &BlockTables::open(&pins)?);
        drop(program);
        pins.remove()?;
        done
    }

    fn import(&self, installation: &Installation, feed: &Path) -> Result<Duration> {
        let file = feed.to_str().context("the directory for the feeds has a name that is not valid UTF-8")?;
        let began = now();
        installation.done(&["blocklist", "import", file])?;
        Ok(began.elapsed())
    }

    fn urgent_blocks(&self, installation: &Installation, tables: &BlockTables) -> Result<Vec<Duration>> {
        let file = self.half.to_str().context("not valid UTF-8")?;
        let mut loading = installation
            .command(&["blocklist", "import", file])
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start mitigator")?;
        let mut took = Vec::new();
        for number in URGENT.. {
            if let Some(status) = loading.try_wait()? {
                ensure!(status.success(), "the feed ended with {status}");
                break;
            }
            let block =
                NewBlock { target: target(number), expires_at_ns: NEVER_EXPIRES, origin: BlockOrigin::Agent };
            let began = now();
            tables.block_all(&[block], |_| {})?;
            took.push(began.elapsed());
            wait();
        }
        Ok(took)
    }

    /// Reads so many sources, each counted by the program as it came.
    fn snapshots(&self, sources: u32, rounds: u32) -> Result<Vec<Duration>> {
        let installation = Installation::new(&self.program, None)?;
        let pins = Pins::below(installation.pins());
        let mut program = LoadedProgram::load(&pins, &Capacities { sources, ..Capacities::default() })?;
        let taken = self.snapshots_of(&mut program, &XdpDataPlane::open(&pins)?, sources, rounds);
        drop(program);
        pins.remove()?;
        taken
    }

    fn snapshots_of(
        &self,
        program: &mut LoadedProgram,
        plane: &XdpDataPlane,
        sources: u32,
        rounds: u32,
    ) -> Result<Vec<Duration>> {
        let mut generator = Generator::load()?;
        let program = program.descriptor()?.try_clone()?;
        // No faster than rows are made, and no longer than that takes at most.
        for _ in 0..sources.div_ceil(InsertionBudget::ROWS) * 4 {
            if plane.sources().count() >= sources as usize {
                break;
            }
            generator.send(&program, Form::Ipv4, Senders::Forged, InsertionBudget::ROWS)?;
            wait();
        }
        let counted = plane.sources().count();
        ensure!(counted >= sources as usize, "only {counted} of {sources} sources have rows");
        let mut took = Vec::new();
        for _ in 0..rounds * SNAPSHOTS {
            let began = now();
            let rows = plane.sources().read_all()?;
            took.push(began.elapsed());
            ensure!(rows.len() == counted, "{} of {counted} rows were read", rows.len());
        }
        Ok(took)
    }

    /// A set of addresses by `nft -f`, in a network namespace of its own.
    fn nftables(&self) -> Result<Duration> {
        let file = self.directory.path().join("nftables");
        if !file.exists() {
            let feed = fs::read_to_string(&self.feed)?;
            let elements: Vec<&str> = feed.lines().collect();
            let text = format!(
                "table inet bench {{\nset feed {{\ntype ipv4_addr\nelements = {{\n{}\n}}\n}}\n}}\n",
                elements.join(",\n")
            );
            fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        }
        in_a_namespace(|host| {
            let mut command = host.command("nft");
            command.arg("-f").arg(&file);
            timed(command)
        })
    }

    /// A set of addresses by `ipset restore`, in a network namespace of its own.
    fn ipset(&self) -> Result<Duration> {
        let file = self.directory.path().join("ipset");
        if !file.exists() {
            let feed = fs::read_to_string(&self.feed)?;
            let mut text = format!("create feed hash:ip maxelem {}\n", self.addresses);
            for address in feed.lines() {
                writeln!(text, "add feed {address}")?;
            }
            fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        }
        in_a_namespace(|host| {
            let mut command = host.command("ipset");
            command.arg("restore").arg("-file").arg(&file);
            timed(command)
        })
    }
}

fn in_a_namespace(work: impl FnOnce(&Host) -> Result<Duration>) -> Result<Duration> {
    let lab = Lab::new()?;
    work(&lab.host("feed")?)
}

fn timed(mut command: Command) -> Result<Duration> {
    let began = now();
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {command:?}"))?;
    let took = began.elapsed();
    // Some repeat the whole of their input.
    let said = String::from_utf8_lossy(output.stderr.get(..1_000).unwrap_or(&output.stderr)).into_owned();
    ensure!(output.status.success(), "{command:?}: {said}");
    Ok(took)
}
