//! What the agent costs the machine it defends: memory and CPU of a `mitigator run` whose source table holds many sources,
//! while they are quiet, while a few of them send, and while they come.
//!
//! The agent runs as it does on a server, on one end of a veth pair of a lab. Packets reach its program by the kernel's
//! own test run, each from another source. It only observes, so that no limit keeps sources out of the table.

mod process;
mod report;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aya::programs::{ProgramFd, loaded_programs};
use mitigator::kernel::attachment;
use mitigator::kernel::pins::Pins;
use mitigator::kernel::xdp::XdpDataPlane;
use mitigator_common::InsertionBudget;
use mitigator_tests::installation::{Agent, Installation};
use mitigator_tests::lab::{Interface, Lab, missing_for_bpf};

use self::process::Observed;
use self::report::{Case, Limits, Report};
use crate::dataplane::traffic::{Form, Generator, Senders};
use crate::measured::Measured;

/// How much to measure.
#[derive(clap::Args)]
#[group(id = "agent")]
pub(crate) struct Arguments {
    /// Sources of the large table
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(65_536..=1_000_000))]
    sources: u32,
    /// Seconds for which each state is looked at
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(2..=600))]
    seconds: u32,
}

/// Sources of an idle server.
const FEW: u32 = 10_000;
/// Packets a second while a few sources send.
const FEW_PACKETS: u32 = 1_000;
/// Bursts a second that they come in.
const BURSTS: u32 = 20;
/// Until the windows in which the sources came are over, and memory of them was given back.
const SETTLES: Duration = Duration::from_secs(5);
/// Between two bursts of sources that come.
const PAUSE: Duration = Duration::from_millis(5);
/// Between two looks at the memory.
const LOOK: Duration = Duration::from_millis(200);
/// What the agent may take with as many sources as the large table holds.
const MOST_MEMORY_MIB: f64 = 100.0;
/// What it may take of a core while nothing arrives and the few sources are in the table, in percent.
const MOST_CPU_PERCENT: f64 = 1.0;

/// Starts an agent for each table and looks at it in each state.
pub(crate) fn measure(arguments: &Arguments) -> Result<Measured> {
    let missing = missing_for_bpf();
    ensure!(missing.is_empty(), "it cannot run here: {}", missing.join("; "));
    let lab = Lab::new()?;
    let (outside, victim) = (lab.host("outside")?, lab.host("victim")?);
    for host in [&outside, &victim] {
        // Hosts that have no IPv6 do not announce it, so that quiet is quiet.
        let _there_may_be_none = host.sysctl("net/ipv6/conf/default/disable_ipv6", "1");
    }
    let (_, protected) = lab.link(&outside, &victim)?;
    let length = Duration::from_secs(arguments.seconds.into());
    let mut cases = Vec::new();
    let mut few = Scene::new(&protected, arguments.sources)?;
    eprintln!("{FEW} sources");
    few.fill(FEW, Senders::Good(FEW))?;
    let idle = Limits { cpu_percent: Some(MOST_CPU_PERCENT), ..Limits::default() };
    cases.push(Case::new("quiet", FEW, &few.quiet(length)?, idle));
    cases.push(Case::new("1 000 packets/s", FEW, &few.busy(Senders::Good(FEW), length)?, Limits::default()));
    few.end()?;
    let (sources, known) =
        (arguments.sources, Limits { memory_mib: Some(MOST_MEMORY_MIB), ..Limits::default() });
    let mut many = Scene::new(&protected, sources)?;
    eprintln!("{sources} sources");
    cases.push(Case::new(
        "all of them come",
        sources,
        &many.fill(sources, Senders::Forged)?,
        Limits::default(),
    ));
    cases.push(Case::new("quiet", sources, &many.quiet(length)?, known));
    many.generator.begin_again();
    cases.push(Case::new("1 000 packets/s", sources, &many.busy(Senders::Forged, length)?, known));
    many.end()?;
    Report::new(arguments.seconds, cases).measured()
}

/// An agent, and who sends to what it protects.
struct Scene {
    agent: Agent,
    installation: Installation,
    plane: XdpDataPlane,
    program: ProgramFd,
    generator: Generator,
}

impl Scene {
    /// Starts an agent whose table has room for so many sources.
    fn new(protected: &Interface, sources: u32) -> Result<Self> {
        let program: PathBuf =
            std::env::current_exe().context("cannot tell where the bench is")?.with_file_name("mitigator");
        ensure!(program.exists(), "{} is not built", program.display());
        let installation = Installation::new(&program, Some(protected.host()))?;
        let config = installation.state().join("bench.toml");
        fs::write(&config, format!("[capacities]\nsources = {sources}\n"))
            .with_context(|| format!("cannot write {}", config.display()))?;
        let config = config.to_str().context("the scratch directory has a name that is not valid UTF-8")?;
        let agent = installation.start(&["-i", protected.name(), "--observe", "--config", config])?;
        let pins = Pins::below(installation.pins());
        let attached = attachment::list(&pins)?;
        let id = attached.first().context("the agent attached nothing")?.program_id;
        let program = loaded_programs()
            .filter_map(Result::ok)
            .find(|program| program.id() == id)
            .with_context(|| format!("there is no program {id}"))?
            .fd()
            .context("cannot open the agent's program")?;
        Ok(Self {
            agent,
            plane: XdpDataPlane::open(&pins)?,
            installation,
            program,
            generator: Generator::load()?,
        })
    }

    /// So many sources come, no faster than rows are made, until each has its row.
    fn fill(&mut self, sources: u32, senders: Senders) -> Result<Observed> {
        let mut observed = Observed::begin(self.agent.pid())?;
        let mut looked = now();
        for _ in 0..sources.div_ceil(InsertionBudget::ROWS) * 20 {
            if self.plane.sources().count() >= sources as usize {
                return observed.end();
            }
            self.generator.send(&self.program, Form::Ipv4, senders, InsertionBudget::ROWS)?;
            wait(PAUSE);
            if looked.elapsed() >= LOOK {
                looked = now();
                observed.look()?;
            }
        }
        let counted = self.plane.sources().count();
        anyhow::bail!("only {counted} of {sources} sources have rows")
    }

    fn quiet(&self, length: Duration) -> Result<Observed> {
        wait(SETTLES);
        let mut observed = Observed::begin(self.agent.pid())?;
        while observed.took() < length {
            wait(LOOK);
            observed.look()?;
        }
        observed.end()
    }

    fn busy(&mut self, senders: Senders, length: Duration) -> Result<Observed> {
        let mut observed = Observed::begin(self.agent.pid())?;
        let mut bursts = 0;
        while observed.took() < length {
            self.generator.send(&self.program, Form::Ipv4, senders, FEW_PACKETS / BURSTS)?;
            bursts += 1;
            wait((Duration::from_secs(1) / BURSTS * bursts).saturating_sub(observed.took()));
            observed.look()?;
        }
        observed.end()
    }

    fn end(self) -> Result<()> {
        let Self { agent, installation, .. } = self;
        agent.end()?;
        installation.done(&["detach"]).map(drop)
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench asks the clock")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "a bench that paces itself")]
fn wait(pause: Duration) {
    std::thread::sleep(pause);
}
