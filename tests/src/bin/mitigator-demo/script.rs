//! The script: who enters when. Three phases, with the visitors on stage all the time.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use mitigator_tests::traffic::HttpClients;

use crate::agent::Agent;
use crate::arguments::{Arguments, AttackKind};
use crate::attack::{Aim, Attack};
use crate::clock::{chance_below, now, pause, pause_until};
use crate::machine;
use crate::measure::{self, Reading};
use crate::progress::Progress;
use crate::recording::{AgentRecord, Block, Phase, Recording};
use crate::sampler::Sampler;
use crate::stage::{self, Attackers, Cores, Stage, covers};

const WARM_UP: Duration = Duration::from_secs(1);
const QUIET: Duration = Duration::from_secs(5);
const ATTACK: Duration = Duration::from_secs(6);
/// For every request of an attack without mitigator to fail or succeed before the next phase begins.
const RECOVERY: Duration = HttpClients::PATIENCE.saturating_add(Duration::from_secs(1));
/// Between phases that leave nobody waiting.
const BREATH: Duration = Duration::from_secs(1);
/// What the agent sees of normal traffic before the attack; it learns what is usual in a little over three seconds.
const BEFORE_ATTACK: Duration = Duration::from_secs(4);
/// The attack begins at any moment of the agent's default interval.
const TICK: Duration = Duration::from_millis(250);
/// Without all attackers blocked by then, the share of dropped packets is counted from here on anyway.
const BLOCKED_BY_THEN: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(5);
/// A bound for the visitors, should anything hang.
const AT_MOST: Duration = Duration::from_secs(59);

/// About how long it takes.
pub(crate) const LENGTH: Duration = Duration::from_secs(31);

/// Plays all of it.
pub(crate) fn play(arguments: &Arguments, progress: &Progress) -> Result<Recording> {
    progress.say("looking whether the machine is idle");
    let busy_share_before = machine::busy_share()?;
    let cores = Cores::choose()?;
    cores.senders.pin_this_thread()?;
    progress.say("setting the stage");
    let attackers = match arguments.attack {
        AttackKind::Http => Attackers::Answer,
        _ => Attackers::AreSilent,
    };
    let stage = Stage::set(attackers, cores)?;
    let attack = Attack::prepare(arguments, &stage)?;
    let origin = now();
    let clients: Vec<_> = stage::clients().into_iter().map(IpAddr::from).collect();
    let target = stage::pages_of(stage.to_victim().to);
    let visitors = HttpClients::start(&stage.outside, &clients, &target, AT_MOST, cores.senders)?;
    let queue = watch_victims_queue(&stage, origin);
    pause(WARM_UP);

    progress.say("quiet: the attack goes into a sink");
    let quiet = attack_for(QUIET, &attack, &stage, Aim::Sink, origin)?;
    pause(BREATH);
    progress.say("attack without mitigator");
    let unprotected = attack_for(ATTACK, &attack, &stage, Aim::Victim, origin)?;
    progress.say("recovering");
    pause(RECOVERY);

    progress.say("attack with mitigator");
    let started = now();
    let agent = Agent::start(arguments, &stage)?;
    let questions = agent.questions();
    let drops = Sampler::start(origin, move || Ok([measure::dropped(&questions)?]));
    pause_until(now() + BEFORE_ATTACK + chance_below(TICK));
    let from = now();
    let running = attack.start(&stage, Aim::Victim, ATTACK, origin)?;
    let first = wait_until_blocked(&agent, &attack.attackers, from + BLOCKED_BY_THEN)?;
    let flood = running.finish()?;
    let to = flood.ended;
    let last = Reading::take(&agent.questions(), &attack.attackers)?;
    let protected = Phase { from, to, flood };
    pause(BREATH);

    progress.say("clearing the stage");
    let [dropped] = drops.stop()?;
    let [received, lost] = queue.stop()?;
    let agent_record = AgentRecord {
        xdp_mode: agent.xdp_mode().unwrap_or_default(),
        started,
        blocks: agent.blocks(),
        after_block: Some(last.since(first)),
    };
    let requests = visitors.stop()?;
    agent.leave()?;
    Ok(Recording {
        attack: arguments.attack.name(),
        busy_share_before,
        origin,
        requests,
        clients,
        attackers: attack.attackers,
        quiet,
        unprotected,
        protected,
        received,
        lost,
        dropped,
        agent: agent_record,
    })
}

fn attack_for(length: Duration, attack: &Attack, stage: &Stage, aim: Aim, origin: Instant) -> Result<Phase> {
    let from = now();
    let flood = attack.start(stage, aim, length, origin)?.finish()?;
    // A capture may be over early; the phase is then as long as it would have been.
    pause_until(from + length);
    Ok(Phase { from, to: from + length, flood })
}

/// Waits until every attacker is blocked, or until `at_last`, and reads the counters at once.
fn wait_until_blocked(agent: &Agent, attackers: &[IpAddr], at_last: Instant) -> Result<Reading> {
    while now() < at_last && !all_blocked(&agent.blocks(), attackers) {
        pause(POLL);
    }
    Reading::take(&agent.questions(), attackers)
}

/// Whether each of `addresses` is covered by a block.
fn all_blocked(blocks: &[Block], addresses: &[IpAddr]) -> bool {
    addresses.iter().all(|&address| blocks.iter().any(|block| covers(&block.target, address)))
}

fn watch_victims_queue(stage: &Stage, origin: Instant) -> Sampler<2> {
    let (victim_side, outside) = (stage.victim_side.clone(), stage.outside.clone());
    Sampler::start(origin, move || {
        Ok([victim_side.counters()?.received_packets, outside.counters()?.undelivered_packets])
    })
}
