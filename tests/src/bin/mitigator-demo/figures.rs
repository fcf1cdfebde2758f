//! The figures of a run, as `--json` prints them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use mitigator_tests::traffic::Requests;
use serde::Serialize;

use crate::arguments::Queues;
use crate::clock::unix_ms;
use crate::conclusion;
use crate::kind::{Answer, AttackKind};
use crate::measure::AfterAnswer;
use crate::particulars::{Connections, Lookups, Newcomers, Pulse, Strangers, answered_from};
use crate::promises;
use crate::recording::{Phase, Recording, Verdict};
use crate::stage::covers;

/// Other work beyond this is worth a word: a stall of the server's core of a millisecond overruns its receive queue.
const NOTICEABLY_BUSY: f64 = 0.1;

/// A lost packet costs a visitor this long, until TCP sends it again.
const SLOW: Duration = Duration::from_secs(1);

/// What came out. Shares are 0 to 1; times in milliseconds since the first attack packet left.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) attack: &'static str,
    pub(crate) queues: Queues,
    /// 0 when the senders are forged anew for each packet, and when there is no attack.
    pub(crate) attackers: usize,
    pub(crate) attackers_blocked: usize,
    /// Sources and prefixes blocked, whoever they are.
    pub(crate) sources_blocked: usize,
    pub(crate) clients: usize,
    pub(crate) clients_blocked: usize,
    /// `None`: nobody was blocked.
    pub(crate) time_to_first_block_ms: Option<f64>,
    /// `None`: not all were.
    pub(crate) time_to_all_blocked_ms: Option<f64>,
    /// Until what the packets have in common was limited. `None`: it was not.
    pub(crate) time_to_limit_ms: Option<f64>,
    /// What was limited.
    pub(crate) limits: Vec<String>,
    /// Vector and decision of every verdict, each once.
    pub(crate) verdicts: BTreeSet<String>,
    pub(crate) quiet: Service,
    pub(crate) unprotected: Service,
    /// From the answer (the last block, or the limit) to the end of the attack.
    pub(crate) protected: Service,
    /// From the first attack packet to the end of the attack.
    pub(crate) protected_whole_attack: Service,
    pub(crate) newcomers: Option<Newcomers>,
    pub(crate) strangers: Option<Strangers>,
    /// Established connections of visitors on which a request failed, in each phase; with mitigator, from the answer on.
    pub(crate) lost_connections: [usize; 3],
    pub(crate) lookups: Option<Lookups>,
    /// With mitigator, and without.
    pub(crate) pulses: Vec<Pulse>,
    pub(crate) pulses_unprotected: Vec<Pulse>,
    pub(crate) server_connections: Option<Connections>,
    /// Requests that began after the answer and failed.
    pub(crate) failed_after_last_block: usize,
    /// Requests that began after the answer and took more than a second, failed ones among them.
    pub(crate) slow_after_last_block: usize,
    /// With mitigator at work.
    pub(crate) attack_packets_per_s: f64,
    /// Without it: a generator without a pace sends as many as its core has time for beside what comes back.
    pub(crate) attack_packets_per_s_unprotected: f64,
    /// Answers the attackers got per second without mitigator, if they asked for any.
    pub(crate) attack_requests_per_s: Option<f64>,
    /// Of the packets for the victim, those that its full receive queue lost, without mitigator and with it.
    pub(crate) queue_lost_share_unprotected: f64,
    pub(crate) queue_lost_share_protected: f64,
    /// `None`: no attack packet arrived after the answer.
    pub(crate) dropped_share_after_block: Option<f64>,
    /// With mitigator, from whomever.
    pub(crate) dropped_packets: u64,
    pub(crate) xdp_mode: String,
    /// How busy other programs kept the machine just before.
    pub(crate) busy_share_before: f64,
    /// What should have been and was not, one sentence each.
    pub(crate) broken_promises: Vec<String>,
    pub(crate) conclusion: String,
}

/// What legitimate visitors got.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Service {
    /// Pages that came.
    pub(crate) requests_per_s: f64,
    /// Failed requests count with the time they were waited for. `None`: nobody asked.
    pub(crate) p99_ms: Option<f64>,
    pub(crate) failed_share: f64,
}

impl Figures {
    pub(crate) fn of(recording: &Recording) -> Self {
        let agent = &recording.agent;
        let answer = recording.kind.answer();
        let blocks: Vec<_> = agent.verdicts.iter().filter(|verdict| verdict.is_block()).collect();
        let is_blocked = |address: &IpAddr| blocks.iter().any(|block| covers(&block.target, *address));
        let attackers_blocked = recording.attackers.iter().filter(|address| is_blocked(address)).count();
        let all_blocked = attackers_blocked > 0 && attackers_blocked == recording.attackers.len();
        let times = block_times(recording);
        let first_ms = times.iter().copied().reduce(f64::min);
        let last_ms = times.iter().copied().reduce(f64::max);
        let limit = agent.verdicts.iter().find(|verdict| !verdict.limits.is_empty());
        let limit_ms = limit.and_then(|limit| since_attack_began(recording, limit));
        let (from, to) = (attack_began(recording), recording.protected.to);
        let answered = answered_from(recording, if answer == Answer::Limits { limit_ms } else { last_ms });
        let after_answer = recording.requests.begun_between(answered, to);
        let service = |from, to| Service::of(&recording.requests, from, to);
        let limits = agent.verdicts.iter().flat_map(|verdict| verdict.limits.keys().cloned());
        let of_all_verdicts = |verdict: &Verdict| format!("{}: {}", verdict.vector, verdict.decision);
        let mut figures = Self {
            attack: recording.kind.name(),
            queues: recording.queues,
            attackers: recording.attackers.len(),
            attackers_blocked,
            sources_blocked: blocks.iter().map(|block| &block.target).collect::<BTreeSet<_>>().len(),
            clients: recording.clients.len(),
            clients_blocked: recording.clients.iter().filter(|address| is_blocked(address)).count(),
            time_to_first_block_ms: first_ms.map(rounded),
            time_to_all_blocked_ms: last_ms.filter(|_| all_blocked).map(rounded),
            time_to_limit_ms: limit_ms.map(rounded),
            limits: limits.collect::<BTreeSet<_>>().into_iter().collect(),
            verdicts: agent.verdicts.iter().map(of_all_verdicts).collect(),
            quiet: service(recording.quiet.from, recording.quiet.to),
            unprotected: service(recording.unprotected.from, recording.unprotected.to),
            protected: service(answered, to),
            protected_whole_attack: service(from, to),
            newcomers: Newcomers::of(recording),
            strangers: Strangers::of(recording, answered),
            lost_connections: [
                (recording.quiet.from, recording.quiet.to),
                (recording.unprotected.from, recording.unprotected.to),
                (answered, to),
            ]
            .map(|(from, to)| recording.requests.begun_between(from, to).lost_connections()),
            lookups: Lookups::of(recording, answered),
            pulses: Pulse::all(recording, &recording.protected),
            pulses_unprotected: Pulse::all(recording, &recording.unprotected),
            server_connections: Connections::of(recording),
            failed_after_last_block: after_answer.failed(),
            slow_after_last_block: after_answer.slower_than(SLOW),
            attack_packets_per_s: rounded(attack_packets_per_s(recording, &recording.protected)),
            attack_packets_per_s_unprotected: rounded(attack_packets_per_s(
                recording,
                &recording.unprotected,
            )),
            attack_requests_per_s: (recording.kind == AttackKind::Http)
                .then(|| rounded(recording.unprotected.flood.per_second())),
            queue_lost_share_unprotected: lost_share(recording, &recording.unprotected),
            queue_lost_share_protected: lost_share(recording, &recording.protected),
            dropped_share_after_block: Some(agent.after_answer)
                .filter(|_| answer != Answer::Nothing)
                .and_then(AfterAnswer::dropped_share),
            dropped_packets: agent.dropped_packets,
            xdp_mode: agent.xdp_mode.clone(),
            busy_share_before: recording.busy_share_before,
            broken_promises: Vec::new(),
            conclusion: String::new(),
        };
        figures.broken_promises = promises::broken(&figures, answer);
        figures.conclusion = conclusion::of(&figures, answer);
        if recording.busy_share_before > NOTICEABLY_BUSY {
            figures.conclusion += &format!(
                " Other programs kept {} of this machine busy when it began, which disturbs the figures.",
                percent(recording.busy_share_before)
            );
        }
        figures
    }
}

impl Service {
    pub(crate) fn of(requests: &Requests, from: Instant, to: Instant) -> Self {
        let (begun, ended) = (requests.begun_between(from, to), requests.ended_between(from, to));
        let seconds = to.duration_since(from).as_secs_f64();
        let answered = f64::from(u32::try_from(ended.answered()).unwrap_or(u32::MAX));
        Self {
            requests_per_s: if seconds > 0.0 { rounded(answered / seconds) } else { 0.0 },
            p99_ms: begun.quantile(0.99).map(|took| rounded(took.as_secs_f64() * 1000.0)),
            failed_share: begun.failed_share(),
        }
    }

    /// Whether visitors would notice the difference.
    pub(crate) fn suffers_beside(self, quiet: Self) -> bool {
        let p99 = |service: Self| service.p99_ms.unwrap_or(0.0);
        self.requests_per_s < 0.9 * quiet.requests_per_s
            || self.failed_share > quiet.failed_share + 0.01
            || p99(self) > (5.0 * p99(quiet)).max(100.0)
    }
}

/// When each block that concerns an attacker was decided, in milliseconds since the first attack packet.
fn block_times(recording: &Recording) -> Vec<f64> {
    let concerns = |target: &str| recording.attackers.iter().any(|&attacker| covers(target, attacker));
    let blocks = recording.agent.verdicts.iter();
    let blocks = blocks.filter(|verdict| verdict.is_block() && concerns(&verdict.target));
    // An attacker that is blocked again later has been blocked all the while.
    let mut targets = Vec::new();
    let first_time = blocks.filter(|block| {
        let is_new = !targets.contains(&block.target.as_str());
        targets.push(block.target.as_str());
        is_new
    });
    first_time.filter_map(|block| since_attack_began(recording, block)).collect()
}

/// In milliseconds.
fn since_attack_began(recording: &Recording, verdict: &Verdict) -> Option<f64> {
    let (_, began) = recording.protected_attack_began()?;
    Some((verdict.at_unix_ms - unix_ms(began)).max(0.0))
}

/// When the first attack packet left under protection.
pub(crate) fn attack_began(recording: &Recording) -> Instant {
    recording.protected_attack_began().map_or(recording.protected.from, |(began, _)| began)
}

/// Of a flood of frames, what its sender sent in `phase`; of requests, what arrived while they were answered.
fn attack_packets_per_s(recording: &Recording, phase: &Phase) -> f64 {
    if !recording.kind.is_conversation() {
        return phase.flood.per_second();
    }
    per_second(recording, &recording.unprotected) - per_second(recording, &recording.quiet)
}

fn per_second(recording: &Recording, phase: &Phase) -> f64 {
    as_f64(sum_during(recording, phase, recording.received.counts())) / phase.length().as_secs_f64()
}

fn lost_share(recording: &Recording, phase: &Phase) -> f64 {
    let lost = sum_during(recording, phase, recording.lost.counts());
    let received = sum_during(recording, phase, recording.received.counts());
    as_f64(lost) / as_f64((lost + received).max(1))
}

fn sum_during(recording: &Recording, phase: &Phase, counts: &[u64]) -> u64 {
    sum_between(recording, phase.from, phase.to, counts)
}

/// The sum of a series' steps from that of `from` to that before `to`.
pub(crate) fn sum_between(recording: &Recording, from: Instant, to: Instant, counts: &[u64]) -> u64 {
    let step = |at: Instant| {
        let since = at.saturating_duration_since(recording.origin).as_millis()
            / mitigator_tests::traffic::BIN.as_millis();
        usize::try_from(since).unwrap_or(usize::MAX).min(counts.len())
    };
    counts[step(from)..step(to)].iter().sum()
}

pub(crate) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

pub(crate) fn rounded(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

#[expect(clippy::cast_precision_loss, reason = "seconds of packets are far below 2^52")]
fn as_f64(count: u64) -> f64 {
    count as f64
}
