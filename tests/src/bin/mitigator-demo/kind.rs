//! `AttackKind`: what can be sent, with how long it lasts and what mitigator is to do about it. A table.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use mitigator_tests::traffic::Pace;
use mitigator_tests::web_server::Size;

use crate::arguments::{Queues, Rate};

const DEFAULT_RATE: u32 = 300_000;
/// A pulse and the silence after it.
pub(crate) const PULSE_ON: Duration = Duration::from_secs(1);
pub(crate) const PULSE_OFF: Duration = Duration::from_secs(5);
const PULSES: u32 = 3;

/// What the attackers send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AttackKind {
    /// Datagrams to a port where nobody listens.
    Udp,
    /// Connection requests from the attackers' own addresses.
    Syn,
    /// Requests over real connections.
    Http,
    /// Connection requests, each from another forged address.
    SynSpoofed,
    /// Large DNS answers in fragments, from thousands of name servers that were never asked.
    DnsReflection,
    /// Real connections that never finish their request.
    Slow,
    /// The UDP flood, on for a second and off for five.
    Pulse,
    /// No attack: hundreds of new visitors at once.
    FlashCrowd,
    /// The packets of a capture.
    Replay(PathBuf),
}

/// What has to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Every attacker is blocked.
    Blocks,
    /// The senders are forged or abused, so what their packets have in common is limited.
    Limits,
    /// Nothing: nobody is blocked and nothing dropped.
    Nothing,
    /// Nobody knows what is in a capture.
    Unknown,
}

impl AttackKind {
    /// Every kind that needs no file, in the order they are shown.
    pub(crate) const ALL: [Self; 8] = [
        Self::Udp,
        Self::Syn,
        Self::Http,
        Self::SynSpoofed,
        Self::DnsReflection,
        Self::Slow,
        Self::Pulse,
        Self::FlashCrowd,
    ];

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Syn => "syn",
            Self::Http => "http",
            Self::SynSpoofed => "syn-spoofed",
            Self::DnsReflection => "dns-reflection",
            Self::Slow => "slow",
            Self::Pulse => "pulse",
            Self::FlashCrowd => "flash-crowd",
            Self::Replay(_) => "replay",
        }
    }

    pub(crate) fn answer(&self) -> Answer {
        match self {
            Self::Udp | Self::Syn | Self::Http | Self::Slow | Self::Pulse => Answer::Blocks,
            Self::SynSpoofed | Self::DnsReflection => Answer::Limits,
            Self::FlashCrowd => Answer::Nothing,
            Self::Replay(_) => Answer::Unknown,
        }
    }

    /// How long it goes on.
    pub(crate) fn length(&self) -> Duration {
        match self {
            // Long enough for all connections to be opened, and for the server to end those of the blocked.
            Self::Slow => Duration::from_secs(15),
            // Up to the end of the last pulse.
            Self::Pulse => (PULSE_ON + PULSE_OFF) * (PULSES - 1) + PULSE_ON,
            _ => Duration::from_secs(6),
        }
    }

    /// Until when after its beginning the answer is waited for; what is dropped is counted from then on at the latest.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(if matches!(self, Self::Slow) { 8 } else { 2 })
    }

    /// Whether it consists of real connections: what it sends depends on how it is answered.
    pub(crate) fn is_conversation(&self) -> bool {
        matches!(self, Self::Http | Self::Slow | Self::FlashCrowd)
    }

    /// Whether the operator may say how fast.
    pub(crate) fn has_rate(&self) -> bool {
        !matches!(self, Self::Slow | Self::FlashCrowd)
    }

    /// How fast, as far as the operator says; a capture without a word goes at its own pace, which is not this one.
    pub(crate) fn pace(&self, rate: Option<Rate>) -> Pace {
        match (self, rate) {
            (Self::Pulse, _) => Pace::Pulses {
                per_second: match rate {
                    Some(Rate::PerSecond(rate)) => rate,
                    // As fast as a paced sender gets.
                    Some(Rate::Max) => Rate::HIGHEST,
                    None => DEFAULT_RATE,
                },
                on: PULSE_ON,
                off: PULSE_OFF,
            },
            (_, Some(Rate::PerSecond(rate))) => Pace::PerSecond(rate),
            (_, Some(Rate::Max)) | (Self::Http, None) => Pace::Max,
            (_, None) => Pace::PerSecond(DEFAULT_RATE),
        }
    }

    /// By which queues, unless the operator says: what is promised of forged floods is about new connections, and each
    /// packet of them that a full queue loses makes a visitor wait for a second.
    pub(crate) fn queues(&self) -> Queues {
        if matches!(self, Self::SynSpoofed) { Queues::Apart } else { Queues::Shared }
    }

    /// What the web server is made for: slow connections are an attack on how many it serves at once.
    pub(crate) fn web_server(&self) -> Size {
        if matches!(self, Self::Slow) { Size::Usual } else { Size::Ample }
    }
}

impl FromStr for AttackKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let replay = text.strip_prefix("replay:").filter(|file| !file.is_empty());
        let known = Self::ALL.into_iter().find(|kind| kind.name() == text);
        known.or_else(|| replay.map(|file| Self::Replay(file.into()))).ok_or_else(|| {
            let names = Self::ALL.map(|kind| kind.name()).join(", ");
            format!("it must be {names}, replay:FILE or all")
        })
    }
}
