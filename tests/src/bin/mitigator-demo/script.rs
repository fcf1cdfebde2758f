//! The script: who enters when. Three phases, with the visitors on stage all the time.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use mitigator_tests::traffic::{HttpClients, Lookups, Manner, Side};

use crate::agent::Agent;
use crate::arguments::Arguments;
use crate::attack::{Aim, Attack, Running};
use crate::clock::{chance_below, now, pause, pause_until};
use crate::connections::ConnectionWatch;
use crate::kind::{Answer, AttackKind};
use crate::machine;
use crate::measure::{self, Reading};
use crate::progress::Progress;
use crate::recording::{AgentRecord, Phase, Recording, Verdict};
use crate::sampler::Sampler;
use crate::stage::{self, Cores, Stage, covers};

const WARM_UP: Duration = Duration::from_secs(1);
const QUIET: Duration = Duration::from_secs(5);
/// For every request of an attack without mitigator to fail or succeed before the next phase begins.
const RECOVERY: Duration = HttpClients::PATIENCE.saturating_add(Duration::from_secs(1));
/// Between phases that leave nobody waiting.
const BREATH: Duration = Duration::from_secs(1);
/// What the agent sees of normal traffic before the attack; it learns what is usual in a little over three seconds.
const BEFORE_ATTACK: Duration = Duration::from_secs(4);
/// The attack begins at any moment of the agent's default interval.
const TICK: Duration = Duration::from_millis(250);
/// When new visitors come, counted from the beginning of an attack that is no crowd.
const BEFORE_NEWCOMERS: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(5);
/// A bound for the visitors, should anything hang.
const AT_MOST: Duration = Duration::from_secs(59);
/// Looking at the machine, setting the stage and clearing it.
const AROUND: Duration = Duration::from_secs(2);

/// About how long a run takes.
pub(crate) fn length(kind: &AttackKind) -> Duration {
    WARM_UP + QUIET + BREATH + RECOVERY + BEFORE_ATTACK + BREATH + kind.length() * 2 + AROUND
}

/// Plays all of it.
pub(crate) fn play(
    arguments: &Arguments,
    kind: &AttackKind,
    cores: Cores,
    progress: &Progress,
) -> Result<Recording> {
    progress.say("looking whether the machine is idle");
    let busy_share_before = machine::busy_share()?;
    progress.say("setting the stage");
    let stage = Stage::set(kind, arguments.queues(kind), cores)?;
    let attack = Attack::prepare(kind, arguments.rate, &stage)?;
    let origin = now();
    let clients: Vec<_> = stage::clients().into_iter().map(IpAddr::from).collect();
    let visitors = visit(&stage, &clients, AT_MOST)?;
    let strangers = strangers(kind, &stage)?;
    let lookups = look_up(kind, &stage)?;
    let queue = watch_victims_queue(&stage, origin);
    // Whoever reads that table walks through all of it, half-open connections included, on the visitors' core.
    let connections = (*kind == AttackKind::Slow).then(|| ConnectionWatch::start(&stage.victim));
    pause(WARM_UP);

    progress.say("quiet: the attack goes into a sink");
    let from = now();
    let quiet = Phase::end(from, QUIET, attack.start(&stage, Aim::Sink, QUIET, origin)?, None)?;
    pause(BREATH);
    progress.say("attack without mitigator");
    let from = now();
    let running = attack.start(&stage, Aim::Victim, kind.length(), origin)?;
    let newcomers = newcomers_at(from + BEFORE_NEWCOMERS, kind, &stage, from + kind.length())?;
    let unprotected = Phase::end(from, kind.length(), running, newcomers)?;
    progress.say("recovering");
    pause(RECOVERY);

    progress.say("attack with mitigator");
    let started = now();
    let agent = Agent::start(arguments, &stage)?;
    let questions = agent.questions();
    let drops = Sampler::start(origin, move || Ok([measure::dropped(&questions)?]));
    pause_until(now() + BEFORE_ATTACK + chance_below(TICK));
    let counter = Counter { kind, stage: &stage, agent: &agent, attackers: &attack.attackers };
    let lost_before = counter.lost()?;
    let from = now();
    let running = attack.start(&stage, Aim::Victim, kind.length(), origin)?;
    wait_until_answered(kind, &agent, &attack.attackers, from + kind.patience());
    let first = counter.read(running.sent_so_far(), lost_before)?;
    let newcomers = newcomers_at(from + BEFORE_NEWCOMERS, kind, &stage, from + kind.length())?;
    let protected = Phase::end(from, kind.length(), running, newcomers)?;
    let last = counter.read(protected.flood.sent.total(), lost_before)?;
    let dropped_packets = measure::dropped(&agent.questions())?;
    pause(BREATH);

    progress.say("clearing the stage");
    let [dropped] = drops.stop()?;
    let [received, lost] = queue.stop()?;
    let agent_record = AgentRecord {
        xdp_mode: agent.xdp_mode().unwrap_or_default(),
        started,
        verdicts: agent.verdicts(),
        after_answer: last.since(first),
        dropped_packets,
    };
    let lookups = lookups.map(Lookups::stop).transpose()?;
    let connections = connections.map(ConnectionWatch::stop).transpose()?.unwrap_or_default();
    let requests = visitors.stop()?;
    let strangers = strangers.map(HttpClients::stop).transpose()?;
    agent.leave()?;
    Ok(Recording {
        kind: kind.clone(),
        queues: arguments.queues(kind),
        busy_share_before,
        origin,
        requests,
        clients,
        attackers: attack.attackers,
        strangers,
        newcomers: stage::newcomers(kind),
        quiet,
        unprotected,
        protected,
        received,
        lost,
        dropped,
        lookups,
        connections,
        agent: agent_record,
    })
}

impl Phase {
    /// Waits for the end of an attack and of those who came during it.
    fn end(
        from: Instant,
        length: Duration,
        running: Running,
        newcomers: Option<HttpClients>,
    ) -> Result<Self> {
        let finished = running.finish()?;
        // A capture may be over early; the phase is then as long as it would have been.
        pause_until(from + length);
        let newcomers = newcomers.map(HttpClients::finish).transpose()?.or(finished.crowd);
        Ok(Self { from, to: from + length, flood: finished.flood, newcomers })
    }
}

/// Takes readings of what mitigator did about the attack.
struct Counter<'a> {
    kind: &'a AttackKind,
    stage: &'a Stage,
    agent: &'a Agent,
    attackers: &'a [IpAddr],
}

impl Counter<'_> {
    /// After `sent` attack packets left, and `lost_before` packets were lost before the attack.
    fn read(&self, sent: u64, lost_before: u64) -> Result<Reading> {
        let questions = self.agent.questions();
        if self.kind.answer() == Answer::Limits {
            let lost = self.lost()?.saturating_sub(lost_before);
            Reading::of_all(&questions, sent.saturating_sub(lost))
        } else {
            Reading::of_sources(&questions, self.attackers)
        }
    }

    /// Packets for the victim that its full queue has lost so far.
    fn lost(&self) -> Result<u64> {
        Ok(self.stage.outside.counters()?.undelivered_packets)
    }
}

fn visit(stage: &Stage, visitors: &[IpAddr], at_most: Duration) -> Result<HttpClients> {
    let target = stage::pages_of(stage.to_victim().to);
    HttpClients::start(&stage.outside, visitors, &target, Manner::Steady, at_most, stage.cores.senders)
}

/// From the beginning on, where new connections are what is attacked.
fn strangers(kind: &AttackKind, stage: &Stage) -> Result<Option<HttpClients>> {
    let strangers = stage::strangers(kind);
    if strangers.is_empty() {
        return Ok(None);
    }
    let target = stage::pages_of(stage.to_victim().to);
    let core = stage.cores.senders;
    HttpClients::start(&stage.outside, &strangers, &target, Manner::Strangers, AT_MOST, core).map(Some)
}

/// Visitors who come at `from` and stay until `to`, where the kind of attack has them come.
fn newcomers_at(from: Instant, kind: &AttackKind, stage: &Stage, to: Instant) -> Result<Option<HttpClients>> {
    if *kind != AttackKind::SynSpoofed {
        return Ok(None);
    }
    pause_until(from);
    let at_most = to.saturating_duration_since(now());
    visit(stage, &stage::newcomers(kind), at_most).map(Some)
}

fn look_up(kind: &AttackKind, stage: &Stage) -> Result<Option<Lookups>> {
    let name_servers = stage::name_servers(kind);
    if name_servers.is_empty() {
        return Ok(None);
    }
    let asker = Side { interface: &stage.victim_side, core: stage.cores.servers };
    let answerer = Side { interface: &stage.outside, core: stage.cores.senders };
    Lookups::start(asker, answerer, &name_servers, AT_MOST).map(Some)
}

/// Waits until the attack is answered, or until `at_last`.
fn wait_until_answered(kind: &AttackKind, agent: &Agent, attackers: &[IpAddr], at_last: Instant) {
    let is_answered = || match kind.answer() {
        Answer::Blocks | Answer::Unknown => all_blocked(&agent.verdicts(), attackers),
        Answer::Limits => agent.verdicts().iter().any(|verdict| !verdict.limits.is_empty()),
        // What is done from the first packet on counts.
        Answer::Nothing => true,
    };
    while now() < at_last && !is_answered() {
        pause(POLL);
    }
}

/// Whether each of `addresses` is covered by a block.
fn all_blocked(verdicts: &[Verdict], addresses: &[IpAddr]) -> bool {
    let blocks: Vec<_> = verdicts.iter().filter(|verdict| verdict.is_block()).collect();
    addresses.iter().all(|&address| blocks.iter().any(|block| covers(&block.target, address)))
}

fn watch_victims_queue(stage: &Stage, origin: Instant) -> Sampler<2> {
    let (victim_side, outside) = (stage.victim_side.clone(), stage.outside.clone());
    Sampler::start(origin, move || {
        Ok([victim_side.counters()?.received_packets, outside.counters()?.undelivered_packets])
    })
}
