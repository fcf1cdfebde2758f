//! Everything the demo saw, before anything is computed from it.

use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use mitigator_tests::traffic::{FloodRecord, Requests, Series};

use crate::measure::AfterBlock;

/// One run of the demo. All series count from `origin`.
pub(crate) struct Recording {
    pub(crate) attack: &'static str,
    /// How busy the machine was with other things before anything began, 0 to 1.
    pub(crate) busy_share_before: f64,
    pub(crate) origin: Instant,
    pub(crate) requests: Requests,
    pub(crate) clients: Vec<IpAddr>,
    pub(crate) attackers: Vec<IpAddr>,
    pub(crate) quiet: Phase,
    pub(crate) unprotected: Phase,
    pub(crate) protected: Phase,
    /// Taken from the victim's receive queue, whoever sent it.
    pub(crate) received: Series,
    /// Lost because that queue was full.
    pub(crate) lost: Series,
    /// Dropped by mitigator as coming from a blocked source.
    pub(crate) dropped: Series,
    pub(crate) agent: AgentRecord,
}

/// A stretch of time during which an attack (of the quiet phase: on the sink) went on.
pub(crate) struct Phase {
    pub(crate) from: Instant,
    pub(crate) to: Instant,
    pub(crate) flood: FloodRecord,
}

/// What the agent said and did.
pub(crate) struct AgentRecord {
    pub(crate) xdp_mode: String,
    pub(crate) started: Instant,
    pub(crate) blocks: Vec<Block>,
    pub(crate) after_block: Option<AfterBlock>,
}

/// A source or prefix that the agent decided to block.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) target: String,
    pub(crate) at_unix_ms: f64,
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
