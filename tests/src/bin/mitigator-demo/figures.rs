//! The figures of a run, as `--json` prints them, and the one sentence that sums them up.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use mitigator_tests::traffic::Requests;
use serde::Serialize;

use crate::clock::unix_ms;
use crate::measure::AfterBlock;
use crate::recording::{Phase, Recording};
use crate::stage::covers;

/// Other work beyond this is worth a word: a stall of the server's core of a millisecond overruns its receive queue.
const NOTICEABLY_BUSY: f64 = 0.1;

/// A lost packet costs a visitor this long, until TCP sends it again.
const SLOW: Duration = Duration::from_secs(1);

/// What came out. Shares are 0 to 1; times in milliseconds since the first attack packet left.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) attack: &'static str,
    pub(crate) attackers: usize,
    pub(crate) attackers_blocked: usize,
    pub(crate) clients: usize,
    pub(crate) clients_blocked: usize,
    /// `None`: nobody was blocked.
    pub(crate) time_to_first_block_ms: Option<f64>,
    /// `None`: not all were.
    pub(crate) time_to_all_blocked_ms: Option<f64>,
    pub(crate) quiet: Service,
    pub(crate) unprotected: Service,
    /// From the last block to the end of the attack.
    pub(crate) protected: Service,
    /// From the first attack packet to the end of the attack.
    pub(crate) protected_whole_attack: Service,
    /// Requests that began after the last block and failed.
    pub(crate) failed_after_last_block: usize,
    /// Requests that began after the last block and took more than a second, failed ones among them.
    pub(crate) slow_after_last_block: usize,
    pub(crate) attack_packets_per_s: f64,
    /// Answers the attackers got per second without mitigator, if they asked for any.
    pub(crate) attack_requests_per_s: Option<f64>,
    /// Of the packets for the victim, those that its full receive queue lost, without mitigator and with it.
    pub(crate) queue_lost_share_unprotected: f64,
    pub(crate) queue_lost_share_protected: f64,
    /// `None`: no attack packet arrived after the last block.
    pub(crate) dropped_share_after_block: Option<f64>,
    pub(crate) xdp_mode: String,
    /// How busy other programs kept the machine just before.
    pub(crate) busy_share_before: f64,
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
        let is_blocked = |address: &IpAddr| agent.blocks.iter().any(|block| covers(&block.target, *address));
        let attackers_blocked = recording.attackers.iter().filter(|address| is_blocked(address)).count();
        let all_blocked = attackers_blocked == recording.attackers.len();
        let times = block_times(recording);
        let first_ms = times.iter().copied().reduce(f64::min);
        let last_ms = times.iter().copied().reduce(f64::max);
        let (from, to) = (attack_began(recording), recording.protected.to);
        let since_last_block =
            from + last_ms.map_or(Duration::ZERO, |ms| Duration::from_secs_f64(ms / 1000.0));
        let after_last_block = recording.requests.begun_between(since_last_block.min(to), to);
        let mut figures = Self {
            attack: recording.attack,
            attackers: recording.attackers.len(),
            attackers_blocked,
            clients: recording.clients.len(),
            clients_blocked: recording.clients.iter().filter(|address| is_blocked(address)).count(),
            time_to_first_block_ms: first_ms.map(rounded),
            time_to_all_blocked_ms: last_ms.filter(|_| all_blocked).map(rounded),
            quiet: Service::of(&recording.requests, recording.quiet.from, recording.quiet.to),
            unprotected: Service::of(
                &recording.requests,
                recording.unprotected.from,
                recording.unprotected.to,
            ),
            protected: Service::of(&recording.requests, since_last_block.min(to), to),
            protected_whole_attack: Service::of(&recording.requests, from, to),
            failed_after_last_block: after_last_block.failed(),
            slow_after_last_block: after_last_block.slower_than(SLOW),
            attack_packets_per_s: rounded(attack_packets_per_s(recording)),
            attack_requests_per_s: sends_requests(recording)
                .then(|| rounded(recording.unprotected.flood.per_second())),
            queue_lost_share_unprotected: lost_share(recording, &recording.unprotected),
            queue_lost_share_protected: lost_share(recording, &recording.protected),
            dropped_share_after_block: agent.after_block.and_then(AfterBlock::dropped_share),
            xdp_mode: agent.xdp_mode.clone(),
            busy_share_before: recording.busy_share_before,
            conclusion: String::new(),
        };
        figures.conclusion = figures.conclude();
        if recording.busy_share_before > NOTICEABLY_BUSY {
            figures.conclusion += &format!(
                " Other programs kept {} of this machine busy when it began, which disturbs the figures.",
                percent(recording.busy_share_before)
            );
        }
        figures
    }

    /// What the run shows, in one or two honest sentences.
    fn conclude(&self) -> String {
        let share = |service: Service| percent(service.requests_per_s / self.quiet.requests_per_s);
        if self.clients_blocked > 0 {
            return format!(
                "mitigator blocked {} of {} legitimate visitors.",
                self.clients_blocked, self.clients
            );
        }
        let Some(all_ms) = self.time_to_all_blocked_ms else {
            return format!(
                "mitigator blocked {} of {} attackers; the server answered {} of its quiet requests without it and {} with it.",
                self.attackers_blocked,
                self.attackers,
                share(self.unprotected),
                share(self.protected_whole_attack),
            );
        };
        if !self.unprotected.suffers_beside(self.quiet) {
            return format!(
                "On this machine the server hardly noticed this attack even without mitigator: {} of its quiet requests were \
                 answered (with mitigator: {}). A larger --rate may show more.",
                share(self.unprotected),
                share(self.protected),
            );
        }
        format!(
            "Under attack the server answered {} of its quiet requests; with mitigator {}, from {:.0} ms after the first \
             attack packet on.",
            share(self.unprotected),
            share(self.protected),
            all_ms,
        )
    }
}

impl Service {
    fn of(requests: &Requests, from: Instant, to: Instant) -> Self {
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
    fn suffers_beside(self, quiet: Self) -> bool {
        let p99 = |service: Self| service.p99_ms.unwrap_or(0.0);
        self.requests_per_s < 0.9 * quiet.requests_per_s
            || self.failed_share > quiet.failed_share + 0.01
            || p99(self) > (5.0 * p99(quiet)).max(100.0)
    }
}

/// When each block that concerns an attacker was decided, in milliseconds since the first attack packet.
fn block_times(recording: &Recording) -> Vec<f64> {
    let Some((_, began)) = recording.protected_attack_began() else {
        return Vec::new();
    };
    let concerns = |target: &str| recording.attackers.iter().any(|&attacker| covers(target, attacker));
    let blocks = recording.agent.blocks.iter().filter(|block| concerns(&block.target));
    // An attacker that is blocked again later has been blocked all the while.
    let mut targets = Vec::new();
    let first_time = blocks.filter(|block| {
        let is_new = !targets.contains(&block.target.as_str());
        targets.push(block.target.as_str());
        is_new
    });
    first_time.map(|block| (block.at_unix_ms - unix_ms(began)).max(0.0)).collect()
}

/// When the first attack packet left under protection.
pub(crate) fn attack_began(recording: &Recording) -> Instant {
    recording.protected_attack_began().map_or(recording.protected.from, |(began, _)| began)
}

/// Of a flood of frames, what its sender sent with mitigator at work; of requests, what arrived while they were answered.
fn attack_packets_per_s(recording: &Recording) -> f64 {
    if !sends_requests(recording) {
        return recording.protected.flood.per_second();
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
    let step = |at: Instant| {
        let since =
            at.duration_since(recording.origin).as_millis() / mitigator_tests::traffic::BIN.as_millis();
        usize::try_from(since).unwrap_or(usize::MAX).min(counts.len())
    };
    counts[step(phase.from)..step(phase.to)].iter().sum()
}

/// Whether the attack consists of requests rather than of packets.
pub(crate) fn sends_requests(recording: &Recording) -> bool {
    recording.attack == "http"
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn rounded(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

#[expect(clippy::cast_precision_loss, reason = "seconds of packets are far below 2^52")]
fn as_f64(count: u64) -> f64 {
    count as f64
}
