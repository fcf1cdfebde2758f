//! Figures that only some kinds of attack have: of new visitors, of the server's own look-ups, of each pulse, and of
//! the connections that the server held.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::figures::{Service, attack_began, sum_between};
use crate::kind::{AttackKind, PULSE_OFF, PULSE_ON};
use crate::recording::{Phase, Recording};
use crate::stage::covers;

/// Counts of a tenth of a second lie in its middle; some begin before what they count.
const BLUR: Duration = Duration::from_millis(200);

/// Those who came for the first time during the attack.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Newcomers {
    pub(crate) addresses: usize,
    pub(crate) blocked: usize,
    pub(crate) unprotected: Guests,
    pub(crate) protected: Guests,
}

/// What those got who are never there twice: a new connection for each request.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Strangers {
    pub(crate) quiet: Service,
    pub(crate) unprotected: Service,
    /// From the answer on.
    pub(crate) protected: Service,
}

/// What newcomers got in one phase.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Guests {
    /// Addresses that got at least one file.
    pub(crate) served: usize,
    #[serde(flatten)]
    pub(crate) service: Service,
}

/// The shares of the server's own questions that were answered, 0 to 1.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Lookups {
    pub(crate) quiet: f64,
    pub(crate) unprotected: f64,
    pub(crate) protected: f64,
}

/// One pulse of a pulsing attack.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Pulse {
    pub(crate) packets: u64,
    /// Of those that the victim's queue had room for. `None`: there were none.
    pub(crate) dropped_share: Option<f64>,
    /// Files that visitors got while it lasted.
    pub(crate) requests_per_s: f64,
}

/// Connections that the server held at a time.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Connections {
    pub(crate) quiet_most: u32,
    pub(crate) unprotected_most: u32,
    pub(crate) protected_most: u32,
    /// When the attack ended.
    pub(crate) protected_at_end: u32,
}

impl Newcomers {
    pub(crate) fn of(recording: &Recording) -> Option<Self> {
        let is_blocked = |address: &&IpAddr| {
            let mut verdicts = recording.agent.verdicts.iter();
            verdicts.any(|verdict| verdict.is_block() && covers(&verdict.target, **address))
        };
        Some(Self {
            addresses: recording.newcomers.len(),
            blocked: recording.newcomers.iter().filter(is_blocked).count(),
            unprotected: Guests::of(&recording.unprotected)?,
            protected: Guests::of(&recording.protected)?,
        })
    }
}

impl Strangers {
    /// `None` where there are none.
    pub(crate) fn of(recording: &Recording, answered_from: Instant) -> Option<Self> {
        let requests = recording.strangers.as_ref()?;
        let during = |phase: &Phase| Service::of(requests, phase.from, phase.to);
        Some(Self {
            quiet: during(&recording.quiet),
            unprotected: during(&recording.unprotected),
            protected: Service::of(requests, answered_from, recording.protected.to),
        })
    }

    /// The share of their quiet connections that they open under protection.
    pub(crate) fn kept(self) -> f64 {
        self.protected.requests_per_s / self.quiet.requests_per_s
    }
}

impl Guests {
    fn of(phase: &Phase) -> Option<Self> {
        let requests = phase.newcomers.as_ref()?;
        let first = requests.iter().map(|request| request.began).min()?;
        Some(Self { served: requests.clients_answered(), service: Service::of(requests, first, phase.to) })
    }
}

impl Lookups {
    pub(crate) fn of(recording: &Recording, answered_from: Instant) -> Option<Self> {
        let lookups = recording.lookups.as_ref()?;
        let share = |from, to| 1.0 - lookups.begun_between(from, to).failed_share();
        Some(Self {
            quiet: share(recording.quiet.from, recording.quiet.to),
            unprotected: share(recording.unprotected.from, recording.unprotected.to),
            protected: share(answered_from, recording.protected.to),
        })
    }
}

impl Pulse {
    /// Those of one phase; none when the attack does not pulse.
    pub(crate) fn all(recording: &Recording, phase: &Phase) -> Vec<Self> {
        let Some((began, _)) = phase.flood.began.filter(|_| recording.kind == AttackKind::Pulse) else {
            return Vec::new();
        };
        let begins = std::iter::successors(Some(began), |at| Some(*at + PULSE_ON + PULSE_OFF));
        begins.take_while(|at| *at < phase.to).map(|at| Self::at(at, recording, phase)).collect()
    }

    fn at(began: Instant, recording: &Recording, phase: &Phase) -> Self {
        let (from, to) = (began - BLUR, began + PULSE_ON + BLUR * 2);
        let sum = |counts| sum_between(recording, from, to, counts);
        let packets = sum(phase.flood.sent.counts());
        let arrived = packets.saturating_sub(sum(recording.lost.counts()));
        let dropped = sum(recording.dropped.counts()).min(arrived);
        let during = Service::of(&recording.requests, began, began + PULSE_ON);
        #[expect(clippy::cast_precision_loss, reason = "seconds of packets are far below 2^52")]
        let dropped_share = (arrived > 0).then_some(dropped as f64 / arrived as f64);
        Self { packets, dropped_share, requests_per_s: during.requests_per_s }
    }
}

impl Connections {
    /// `None` where connections are not what is attacked.
    pub(crate) fn of(recording: &Recording) -> Option<Self> {
        let during = |phase: &Phase| {
            let phase = phase.from..phase.to;
            let levels = recording.connections.iter().filter(move |level| phase.contains(&level.at));
            levels.map(|level| level.connections)
        };
        (recording.kind == AttackKind::Slow).then_some(())?;
        Some(Self {
            quiet_most: during(&recording.quiet).max()?,
            unprotected_most: during(&recording.unprotected).max()?,
            protected_most: during(&recording.protected).max()?,
            protected_at_end: during(&recording.protected).next_back()?,
        })
    }
}

/// When the attack under protection had been answered: at the last block or the limit, at its begin when neither came.
pub(crate) fn answered_from(recording: &Recording, answered_ms: Option<f64>) -> Instant {
    let since = answered_ms.map_or(Duration::ZERO, |ms| Duration::from_secs_f64(ms / 1000.0));
    (attack_began(recording) + since).min(recording.protected.to)
}
