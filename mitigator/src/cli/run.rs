//! `mitigator run`: the agent. Attaches, ticks, tells, leaves cleanly.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use ipnet::IpNet;
use mitigator_common::{BlockOrigin, PrefixKey, SourceTable};
use rustc_hash::FxHashMap;

use super::blocklist::standing;
use super::memory::{Memory, News};
use super::stop_signals::StopSignals;
use super::{Answer, Places};
use crate::clock::Clock;
use crate::config::{Capacities, Config, ModeChoice, parse_interval};
use crate::control_loop::{ControlLoop, Tick};
use crate::guard::Guard;
use crate::kernel::agent_lock::AgentLock;
use crate::kernel::attachment::{self, Attachment, ForeignProgram};
use crate::kernel::blocks::BlockTables;
use crate::kernel::privileges;
use crate::kernel::syn_cookies::SynCookies;
use crate::kernel::xdp::XdpDataPlane;
use crate::opinion::{Listener, News as Hearing, Opinions};
use crate::pipeline::allowlist::is_too_wide;
use crate::pipeline::baseline::saved::Learned;
use crate::pipeline::blocklist::Changes;
use crate::pipeline::target::Target;
use crate::pipeline::time::Timestamp;
use crate::pipeline::verdict::{Decision, Subject, Verdict};
use crate::report::events::{Event, Style, Summary, tell};
use crate::report::units;
use crate::store::{Store, StoredBaseline, StoredDecision};
use crate::watch::{Change, Terms, Watch};

/// Between two looks at what must never be blocked, and at the interfaces.
const GUARD_PERIOD: Duration = Duration::from_secs(2);
/// Between two looks at what was heard for the second opinion: some hundred packets, within the budget.
const LISTEN_PERIOD: Duration = Duration::from_millis(50);
/// Between two sweeps of blocks that are over.
const SWEEP_PERIOD: Duration = Duration::from_secs(30);

/// Between two writings of what was learned: it may be a megabyte, and losing minutes of weeks is no harm.
const KEEP_PERIOD: Duration = Duration::from_mins(5);

/// Arguments of `mitigator run`.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Interface to protect; may be given several times
    #[arg(short, long = "interface", value_name = "IFACE", required = true)]
    interfaces: Vec<String>,
    /// Only report who would be blocked; blocks made by hand still work
    #[arg(long)]
    observe: bool,
    /// Time between looks at the counters, 50ms to 10s [default: 250ms]
    #[arg(long, value_name = "TIME", value_parser = parse_interval)]
    interval: Option<Duration>,
    /// How to attach: in the driver (native), in the network stack (generic), or whichever works (auto)
    #[arg(long, value_name = "MODE", default_value = "auto")]
    xdp_mode: ModeChoice,
    /// Take off another XDP program that is on the interface
    #[arg(long)]
    replace: bool,
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Tell with each verdict what this model, of `mitigator train flows`, says of the flows of who is blamed; it decides
    /// nothing
    #[arg(long, value_name = "FILE")]
    flow_model: Option<PathBuf>,
    /// Tell events as JSON lines on standard output
    #[arg(long)]
    json: bool,
}

impl RunArgs {
    pub(super) fn run(&self, places: &Places) -> Result<Answer> {
        let mut config = Config::load(self.config.as_deref())?;
        config.interval = self.interval.unwrap_or(config.interval);
        config.detection.observe_only = self.observe;
        config.flow_model.path = self.flow_model.clone().or(config.flow_model.path);
        let (opinions, no_opinion) = self.opinions(&config)?;
        privileges::require(&places.pin_dir)?;
        can_be_directory(&places.state_dir)?;
        let _lock = AgentLock::take(&places.pins())?.map_err(|holder| {
            anyhow!(
                "an agent is running already ({holder}); stop it first, or give this one another --pin-dir and \
                 --state-dir"
            )
        })?;
        let style = if self.json { Style::JsonLines } else { Style::Log };
        take_precedence();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        runtime.block_on(async {
            // Before anything is attached, so that a stop at any time is a clean one.
            let stop = StopSignals::listen()?;
            let interfaces = self.interfaces();
            let terms = self.terms(places, &config);
            let attached = attach(&interfaces, &terms)?;
            let watch = Watch::over(&interfaces, terms);
            let undefended = undefended(&config.allow);
            let budget = config.flow_model.packets_per_second;
            let listener = opinions.map(|opinions| listener(opinions, &interfaces, budget)).transpose()?;
            let mut agent = Agent::new(places, config, interfaces, watch, style)?;
            agent.listener = listener;
            agent.guard()?;
            agent.open_ears();
            let news = agent.recall();
            tracing::info!(
                "forged SYN floods are limited; what is beyond is {}",
                SynCookies::here().meaning()
            );
            for attachment in attached {
                tell(&Event::Attached(attachment), style);
            }
            undefended.into_iter().chain(no_opinion).for_each(|message| agent.alarm(message));
            agent.tell_news(news);
            agent.run(stop).await
        })?;
        Ok(Answer::Done)
    }

    /// As given; what is given twice is meant once.
    fn interfaces(&self) -> Vec<String> {
        let mut known = BTreeSet::new();
        self.interfaces.iter().filter(|name| known.insert(*name)).cloned().collect()
    }

    /// The model, or an alarm where the configuration names one that cannot be had: that is no reason to defend nobody. One
    /// that is named on the command line has to be there.
    fn opinions(&self, config: &Config) -> Result<(Option<Opinions>, Option<String>)> {
        match config.flow_model.path.as_deref().map(Opinions::open) {
            Some(Err(error)) if self.flow_model.is_none() => Ok((
                None,
                Some(format!(
                    "attacks are blocked, but there is no second opinion, because of flow_model.path in the \
                     configuration: {error:#}; the model is read when mitigator starts"
                )),
            )),
            opinions => Ok((opinions.transpose()?, None)),
        }
    }

    fn terms(&self, places: &Places, config: &Config) -> Terms {
        let foreign = if self.replace { ForeignProgram::Replace } else { ForeignProgram::Refuse };
        Terms { pins: places.pins(), mode: self.xdp_mode, foreign, capacities: config.capacities }
    }
}

/// Refuses a place that can never hold a store. A store that cannot be had for now, as on a full disk, is no
/// reason to defend nobody; a path that was never right shows at the first start, when no attack is on.
fn can_be_directory(path: &Path) -> Result<()> {
    match path.ancestors().find(|ancestor| ancestor.exists()) {
        Some(ancestor) if !ancestor.is_dir() => bail!(
            "cannot keep a history in {}: {} is no directory; give another `--state-dir`",
            path.display(),
            ancestor.display()
        ),
        _ => Ok(()),
    }
}

/// What hears the interfaces for the second opinion; nobody outside knows whom it hears under load.
fn listener(opinions: Opinions, interfaces: &[String], budget: u32) -> Result<Listener> {
    let mut key = [0_u8; 4];
    rustix::rand::getrandom(&mut key[..], rustix::rand::GetRandomFlags::empty())
        .context("the kernel gives no random numbers")?;
    Ok(Listener::new(opinions, interfaces, u32::from_ne_bytes(key), budget))
}

/// One warning for each configured prefix that switches most of the defence off.
fn undefended(allow: &[IpNet]) -> Vec<String> {
    let wide =
        allow.iter().filter(|prefix| is_too_wide(PrefixKey::new(prefix.network(), prefix.prefix_len())));
    wide.map(|prefix| {
        format!(
            "`allow` in the configuration holds {prefix}: nobody in it is ever blocked, whatever they send, and no block \
             that stands holds for them"
        )
    })
    .collect()
}

/// All interfaces or none: when one fails, those that were protected before this run are, and no others.
fn attach(interfaces: &[String], terms: &Terms) -> Result<Vec<Attachment>> {
    let pins = &terms.pins;
    let made_maps = !pins.exist();
    if let Ok(standing) = XdpDataPlane::capacities(pins) {
        tell_of_capacities(&standing, &terms.capacities);
    }
    let protected: Vec<String> =
        attachment::list(pins)?.into_iter().map(|attachment| attachment.interface).collect();
    let attached: Result<_> = interfaces.iter().map(|interface| terms.attach(interface)).collect();
    if attached.is_err() {
        let fresh: Vec<String> =
            interfaces.iter().filter(|name| !protected.contains(name)).cloned().collect();
        if let Err(error) = attachment::undo(pins, &fresh, made_maps) {
            tracing::error!("cannot take off what was attached before the failure: {error:#}");
        }
    }
    attached
}

/// Maps that are pinned are taken as they are.
fn tell_of_capacities(standing: &Capacities, configured: &Capacities) {
    let different = differences(standing, configured);
    if !different.is_empty() {
        tracing::warn!(
            "the tables that are pinned keep their capacities: {}; to change them, stop the agent, then \
             `mitigator detach`, which forgets all blocks, and `mitigator run`",
            different.join(", ")
        );
    }
}

fn differences(standing: &Capacities, configured: &Capacities) -> Vec<String> {
    [
        ("sources", standing.sources, SourceTable::rounded(configured.sources)),
        ("blocks", standing.blocks, configured.blocks),
        ("prefixes", standing.prefixes, configured.prefixes),
    ]
    .into_iter()
    .filter(|(_, standing, configured)| standing != configured)
    .map(|(name, standing, configured)| format!("{name} {standing}, not {configured}"))
    .collect()
}

/// The running agent: the control loop with its surroundings.
struct Agent {
    control: ControlLoop<XdpDataPlane>,
    /// Of the second opinion, when there is to be one.
    listener: Option<Listener>,
    memory: Memory,
    /// No block lasts longer.
    longest_block: Duration,
    guard: Guard,
    watch: Watch,
    /// Whose normal traffic is learned.
    interfaces: Vec<String>,
    /// Until the next tick.
    pause: Duration,
    style: Style,
    started: Clock,
    summary: Summary,
}

impl Agent {
    fn new(
        places: &Places,
        config: Config,
        interfaces: Vec<String>,
        watch: Watch,
        style: Style,
    ) -> Result<Self> {
        let plane = XdpDataPlane::open(&places.pins())?;
        let started = Clock::now();
        let left: Vec<_> = standing(&plane, started.monotonic())?
            .into_iter()
            .filter(|block| block.entry.origin() == BlockOrigin::Agent)
            .map(|block| (block.target, Timestamp::from_ns(block.entry.expires_at_ns)))
            .collect();
        let longest_block = config.blocking.max_duration;
        let mut control = ControlLoop::new(plane, config.interval, config.detection, config.blocking);
        control.adopt(left);
        let configured = config.allow.iter();
        let guard =
            Guard::new(configured.map(|prefix| PrefixKey::new(prefix.network(), prefix.prefix_len())));
        let pause = config.interval;
        let summary = Summary::default();
        let memory = Memory::of(places.state_dir.clone());
        Ok(Self {
            control,
            listener: None,
            memory,
            longest_block,
            guard,
            watch,
            interfaces,
            pause,
            style,
            started,
            summary,
        })
    }

    async fn run(mut self, mut stop: StopSignals) -> Result<()> {
        let mut guard = tokio::time::interval(GUARD_PERIOD);
        let mut sweep = tokio::time::interval(SWEEP_PERIOD);
        let mut keep = tokio::time::interval(KEEP_PERIOD);
        let mut listen = tokio::time::interval(LISTEN_PERIOD);
        listen.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The first one comes at once, when nothing was learned yet.
        keep.reset();
        let mut next_tick = tokio::time::Instant::now();
        loop {
            tokio::select! {
                biased;
                () = stop.received() => break,
                () = tokio::time::sleep_until(next_tick) => {
                    self.tick();
                    next_tick = tokio::time::Instant::now() + self.pause;
                }
                _ = guard.tick() => {
                    if let Err(error) = self.guard() {
                        tracing::error!("cannot refresh what must never be blocked: {error:#}");
                    }
                    if let Err(error) = self.watch() {
                        tracing::error!("cannot see whether the filter is still attached: {error:#}");
                    }
                    self.open_ears();
                }
                _ = listen.tick(), if self.listener.is_some() => self.listen(),
                _ = sweep.tick() => self.sweep(),
                _ = keep.tick() => self.keep(),
            }
        }
        self.finish();
        Ok(())
    }

    /// One tick; a failed one is reported, and tried again after the pause of the last good one.
    fn tick(&mut self) {
        let clock = Clock::now();
        self.control.set_wall_clock(Some(clock.wall_clock()));
        match self.control.tick(clock.monotonic()) {
            Ok(mut tick) => {
                self.ask_for_second_opinions(&mut tick);
                self.summary.ticks += 1;
                self.summary.packets += tick.packets;
                self.summary.dropped_packets += tick.dropped_packets;
                if let Err(error) = self.report(&tick, &clock) {
                    tracing::error!("cannot tell what was decided: {error:#}");
                }
                self.pause = tick.next_in;
            }
            Err(error) => tracing::error!("a tick failed, the next one tries again: {error:#}"),
        }
    }

    /// After all is decided and written. Without verdicts there is nothing to ask.
    fn ask_for_second_opinions(&mut self, tick: &mut Tick) {
        if tick.verdicts.is_empty() {
            return;
        }
        self.listen();
        if let Some(listener) = &self.listener {
            listener.join(&mut tick.verdicts);
        }
    }

    fn open_ears(&mut self) {
        let now = Clock::now().monotonic();
        let news = self.listener.as_mut().map(|listener| listener.open(now));
        self.tell_hearing(news.unwrap_or_default());
    }

    fn listen(&mut self) {
        let now = Clock::now().monotonic();
        let news = self.listener.as_mut().map(|listener| listener.listen(now));
        self.tell_hearing(news.unwrap_or_default());
    }

    fn tell_hearing(&self, news: Vec<Hearing>) {
        for news in news {
            match news {
                Hearing::Deaf(interface, why) => self.alarm(format!(
                    "attacks are blocked, but there is no second opinion on those that come by `{interface}`, because of \
                     this: {why:#}; it is tried again every {}",
                    humantime::format_duration(GUARD_PERIOD)
                )),
                Hearing::Hears(interface) => {
                    let message = format!("there is a second opinion again on what comes by `{interface}`");
                    tell(&Event::Recovered { at_unix_ms: Clock::now().unix_ms(), message }, self.style);
                }
            }
        }
    }

    fn report(&mut self, tick: &Tick, clock: &Clock) -> Result<()> {
        // Writing took time; the moment of a decision is when it was in force.
        let at_unix_ms = Clock::now().unix_ms();
        let mut stored = Vec::with_capacity(tick.verdicts.len());
        let ends = ends_of(&tick.changes);
        for verdict in &tick.verdicts {
            let until_unix_ms = end_of(verdict, &ends).map(|end| clock.to_unix_ms(end));
            self.summary.blocked += u64::from(until_unix_ms.is_some());
            stored.push(stored_decision(verdict, at_unix_ms, until_unix_ms)?);
            tell(
                &Event::Verdict { at_unix_ms, verdict: Box::new(verdict.clone()), until_unix_ms },
                self.style,
            );
        }
        for block in tick.changes.blocks.iter().filter(|block| block.is_renewal) {
            let until_unix_ms = Some(clock.to_unix_ms(block.until));
            let target = block.target.to_string();
            tell(&Event::Block { at_unix_ms, target, change: "renewed", until_unix_ms }, self.style);
        }
        for target in &tick.changes.released {
            let target = target.to_string();
            tell(&Event::Block { at_unix_ms, target, change: "released", until_unix_ms: None }, self.style);
        }
        if tick.changes.capped > 0 {
            let message = format!(
                "{} attackers were not blocked, because a cap is reached: see max_per_tick and max_standing under \
                 [blocking] in the configuration",
                tick.changes.capped
            );
            tell(&Event::Alarm { at_unix_ms, message }, self.style);
        }
        let news = self.memory.with(|store| store.record(&stored));
        self.tell_news(news);
        Ok(())
    }

    fn guard(&mut self) -> Result<()> {
        let change = self.guard.refresh(self.control.plane().blocks())?;
        for (key, reason) in change.added {
            tracing::debug!(prefix = %Target::Prefix(key), reason = reason.name(), "guarded");
        }
        Ok(())
    }

    fn watch(&mut self) -> Result<()> {
        let (changes, outcome) = self.watch.look();
        for change in changes {
            match change {
                Change::Alarm(message) => self.alarm(message),
                Change::Attached(attachment) => tell(&Event::Attached(attachment), self.style),
            }
        }
        outcome
    }

    fn sweep(&mut self) {
        let clock = Clock::now();
        let blocks: &BlockTables = self.control.plane().blocks();
        if let Err(error) = blocks.remove_expired(clock.monotonic().ns) {
            tracing::error!("cannot remove blocks that are over: {error:#}");
        }
        let news = if self.memory.is_open() {
            self.memory.with(|store| {
                self.control.resume(store.resumed()?);
                store.forget_old(clock.unix_ms()).map(drop)
            })
        } else {
            self.recall()
        };
        self.tell_news(news);
    }

    /// Opens the store and takes up what it remembers.
    fn recall(&mut self) -> Option<News> {
        let Self { memory, control, interfaces, longest_block, .. } = self;
        memory.open(|store| {
            recall_normal(control, store, interfaces);
            if let Err(error) = leave_alone(control, store, *longest_block) {
                tracing::warn!(
                    "sources that `mitigator unblock` asked to be left alone may be blocked again: {error:#}"
                );
            }
        })
    }

    fn tell_news(&self, news: Option<News>) {
        let directory = self.memory.directory().display();
        match news {
            None => {}
            Some(News::Lost(why)) => self.alarm(format!(
                "attacks are blocked, but nothing is remembered: why somebody was blocked, what is normal here, and who \
                 is to be left alone after `mitigator unblock`, because of this: {why}; make room in {directory}, make it \
                 writable, or move a damaged file away: it is tried again every {}",
                humantime::format_duration(SWEEP_PERIOD)
            )),
            Some(News::Regained) => {
                let message = format!("what happens is remembered from here on, in {directory}");
                tell(&Event::Recovered { at_unix_ms: Clock::now().unix_ms(), message }, self.style);
            }
        }
    }

    fn alarm(&self, message: String) {
        tell(&Event::Alarm { at_unix_ms: Clock::now().unix_ms(), message }, self.style);
    }

    /// Writes what was learned.
    fn keep(&mut self) {
        let learned = self.control.learned();
        let baseline = StoredBaseline {
            at_unix_ms: Clock::now().unix_ms(),
            quiet_s: learned.quiet_s,
            learned: learned.to_json(),
        };
        let interfaces = &self.interfaces;
        let news =
            self.memory.with(|store| store.set_baseline(interfaces.iter().map(String::as_str), &baseline));
        self.tell_news(news);
    }

    fn finish(mut self) {
        self.keep();
        let now = Clock::now().monotonic();
        self.summary.duration_s = now.since(self.started.monotonic()).as_secs_f64();
        match standing(self.control.plane(), now) {
            Ok(blocks) => self.summary.standing_blocks = u64::try_from(blocks.len()).unwrap_or(u64::MAX),
            Err(error) => tracing::error!("cannot count the blocks that stand: {error:#}"),
        }
        tell(&Event::Summary(self.summary), self.style);
    }
}

/// Takes over what was learned before; without it the agent learns anew.
fn recall_normal(control: &mut ControlLoop<XdpDataPlane>, store: &Store, interfaces: &[String]) {
    match learned_before(store, interfaces) {
        Ok(Some(learned)) => {
            let quiet = units::duration(Duration::from_secs(learned.quiet_s));
            if control.restore(learned) {
                tracing::info!("what is normal is known from {quiet} of quiet traffic");
            }
        }
        Ok(None) => {}
        Err(error) => {
            tracing::warn!("what was learned to be normal is ignored, and learned anew: {error:#}");
        }
    }
}

fn learned_before(store: &Store, interfaces: &[String]) -> Result<Option<Learned>> {
    let Some(stored) = store.baseline(interfaces.iter().map(String::as_str))? else {
        return Ok(None);
    };
    let learned = Learned::from_json(&stored.learned).map_err(anyhow::Error::msg)?;
    let pause = Duration::from_millis(Clock::now().unix_ms().saturating_sub(stored.at_unix_ms));
    learned.after(pause).map(Some).with_context(|| format!("it is {} old", units::duration(pause)))
}

/// Takes up which blocks of earlier agents somebody lifted.
fn leave_alone(control: &mut ControlLoop<XdpDataPlane>, store: &Store, longest: Duration) -> Result<()> {
    let clock = Clock::now();
    let lifted = store.lifted(clock.unix_ms())?;
    let lifted = lifted.into_iter().map(|block| (block.target, clock.from_unix_ms(block.until_unix_ms)));
    control.leave_alone(lifted, clock.monotonic());
    // Else each agent would take up for as long anew what a wall clock that was wrong put into the far future.
    store.bound_lifted(clock.to_unix_ms(clock.monotonic() + longest))
}

/// How the agent competes with the servers it protects, -20 (first) to 19.
const NICENESS: i32 = -10;

/// A flood keeps every core busy, and the agent, which hardly computes, has to be on time all the same.
fn take_precedence() {
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!("the agent keeps its usual priority: {error}");
    }
}

/// When each block that was written ends.
fn ends_of(changes: &Changes) -> FxHashMap<Target, Timestamp> {
    changes.blocks.iter().map(|block| (block.target, block.until)).collect()
}

/// When the block that a verdict asked for ends; `None` when it was not written.
fn end_of(verdict: &Verdict, ends: &FxHashMap<Target, Timestamp>) -> Option<Timestamp> {
    match (&verdict.subject, verdict.decision) {
        (Subject::Target(target), Decision::Block) => ends.get(target).copied(),
        _ => None,
    }
}

fn stored_decision(verdict: &Verdict, at_unix_ms: u64, until_unix_ms: Option<u64>) -> Result<StoredDecision> {
    Ok(StoredDecision {
        at_unix_ms,
        target: verdict.subject.to_string(),
        vector: verdict.vector.name().to_owned(),
        decision: verdict.decision.name().to_owned(),
        until_unix_ms,
        evidence: serde_json::to_value(&verdict.evidence)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_directory_may_be_missing_but_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        for (path, is_taken) in [
            (directory.path().to_owned(), true),
            (directory.path().join("missing/below"), true),
            (PathBuf::from("relative"), true),
            (file.join("below"), false),
            (file, false),
        ] {
            assert_eq!(can_be_directory(&path).is_ok(), is_taken, "{}", path.display());
        }
    }

    #[test]
    fn who_allows_nearly_everybody_is_warned_of_each_such_prefix() {
        let allow = ["10.0.0.0/7", "192.0.2.0/24", "10.0.0.0/8", "::/0", "2001:db8::/32", "0.0.0.0/0"];
        let allow: Vec<IpNet> = allow.iter().map(|prefix| prefix.parse().unwrap()).collect();
        let messages = undefended(&allow);
        let named = ["holds 10.0.0.0/7:", "holds ::/0:", "holds 0.0.0.0/0:"];
        assert_eq!(messages.len(), named.len(), "{messages:?}");
        for (message, name) in messages.iter().zip(named) {
            assert!(message.contains(name), "{message}");
        }
    }

    #[test]
    fn names_the_capacities_that_a_configuration_does_not_change() {
        let standing = Capacities::default();
        assert_eq!(differences(&standing, &standing), Vec::<String>::new());
        let configured = Capacities { blocks: 65_536, prefixes: 1_024, ..standing };
        assert_eq!(
            differences(&standing, &configured),
            ["blocks 1048576, not 65536", "prefixes 65536, not 1024"]
        );
    }
}
