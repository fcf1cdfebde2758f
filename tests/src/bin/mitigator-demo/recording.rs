//! Everything the demo saw, before anything is computed from it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use mitigator_tests::traffic::{FloodRecord, Requests, Series};

use serde::Deserialize;

use crate::arguments::Queues;
use crate::connections::Level;
use crate::kind::AttackKind;
use crate::measure::AfterAnswer;

/// One run of the demo. All series count from `origin`.
pub(crate) struct Recording {
    pub(crate) kind: AttackKind,
    pub(crate) queues: Queues,
    /// How busy the machine was with other things before anything began, 0 to 1.
    pub(crate) busy_share_before: f64,
    pub(crate) origin: Instant,
    pub(crate) requests: Requests,
    pub(crate) clients: Vec<IpAddr>,
    /// Nobody when they forge their addresses.
    pub(crate) attackers: Vec<IpAddr>,
    /// What those asked for who were never there before, each over a connection of its own.
    pub(crate) strangers: Option<Requests>,
    /// Who comes for the first time during the attack.
    pub(crate) newcomers: Vec<IpAddr>,
    pub(crate) quiet: Phase,
    pub(crate) unprotected: Phase,
    pub(crate) protected: Phase,
    /// Taken from the victim's receive queue, whoever sent it.
    pub(crate) received: Series,
    /// Lost because that queue was full.
    pub(crate) lost: Series,
    /// Dropped by mitigator, for whatever reason.
    pub(crate) dropped: Series,
    /// The server's own questions to name servers, if it asked any.
    pub(crate) lookups: Option<Requests>,
    /// Connections that the server held, where they are what is attacked.
    pub(crate) connections: Vec<Level>,
    pub(crate) agent: AgentRecord,
}

/// A stretch of time during which an attack (of the quiet phase: on the sink) went on.
pub(crate) struct Phase {
    pub(crate) from: Instant,
    pub(crate) to: Instant,
    pub(crate) flood: FloodRecord,
    /// What those asked for who came for the first time.
    pub(crate) newcomers: Option<Requests>,
}

/// What the agent said and did.
pub(crate) struct AgentRecord {
    pub(crate) xdp_mode: String,
    pub(crate) started: Instant,
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) after_answer: AfterAnswer,
    /// All packets dropped.
    pub(crate) dropped_packets: u64,
}

/// Something that the agent decided.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) at_unix_ms: f64,
    /// A source, a prefix, or a description of traffic.
    pub(crate) target: String,
    pub(crate) vector: String,
    pub(crate) decision: String,
    /// Packets per second that pass, by what they have in common.
    #[serde(default)]
    pub(crate) limits: BTreeMap<String, f64>,
}

impl Verdict {
    pub(crate) fn is_block(&self) -> bool {
        self.decision == "block"
    }
}

impl Phase {
    pub(crate) fn length(&self) -> Duration {
        self.to.duration_since(self.from)
    }
}

impl Recording {
    /// When the first packet left that was meant for the victim under protection.
    pub(crate) fn protected_attack_began(&self) -> Option<(Instant, SystemTime)> {
        self.protected.flood.began
    }
}
