//! What the agent says while it runs: log lines for people, JSON lines for machines.

use std::io::{self, Write};

use serde::Serialize;
use tracing::{info, warn};

use super::output::printable;
use super::units;
use crate::kernel::attachment::Attachment;
use crate::kernel::syn_cookies::SynCookies;
use crate::pipeline::verdict::{Decision, Verdict};

/// One thing that happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// An interface is protected.
    Attached(Attachment),
    /// A judgement.
    Verdict {
        /// Milliseconds since the Unix epoch.
        at_unix_ms: u64,
        /// The judgement with its evidence.
        #[serde(flatten)]
        verdict: Box<Verdict>,
        /// End of the block.
        until_unix_ms: Option<u64>,
    },
    /// A block of the agent ended, or went on.
    Block {
        /// Milliseconds since the Unix epoch.
        at_unix_ms: u64,
        /// What is or was blocked.
        target: String,
        /// `released` or `renewed`.
        change: &'static str,
        /// End of a renewed block.
        until_unix_ms: Option<u64>,
    },
    /// Something the operator should act on.
    Alarm {
        /// Milliseconds since the Unix epoch.
        at_unix_ms: u64,
        /// In plain words.
        message: String,
    },
    /// What an alarm was about is over.
    Recovered {
        /// Milliseconds since the Unix epoch.
        at_unix_ms: u64,
        /// In plain words.
        message: String,
    },
    /// The agent stops.
    Summary(Summary),
}

/// A run in numbers.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Summary {
    /// How long it was.
    pub duration_s: f64,
    /// Ticks.
    pub ticks: u64,
    /// Packets that arrived.
    pub packets: u64,
    /// Of them, dropped.
    pub dropped_packets: u64,
    /// Blocks decided.
    pub blocked: u64,
    /// Blocks that stand on, whoever asked for them.
    pub standing_blocks: u64,
}

/// How events are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As log lines, on standard error.
    Log,
    /// As JSON lines, on standard output.
    JsonLines,
}

/// Tells one event. A reader of JSON lines that went away is not an error of the agent.
pub fn tell(event: &Event, style: Style) {
    match style {
        Style::Log => log(event),
        Style::JsonLines => {
            let mut out = io::stdout().lock();
            let told = serde_json::to_writer(&mut out, event).map_err(io::Error::from);
            if told.and_then(|()| writeln!(out)).and_then(|()| out.flush()).is_err() {
                tracing::debug!("nobody reads the events");
            }
        }
    }
}

fn log(event: &Event) {
    match event {
        Event::Attached(attachment) => info!(
            interface = %printable(&attachment.interface),
            mode = attachment.mode.name(),
            program = attachment.program_id,
            "attached{}{}",
            if attachment.why.is_empty() { "" } else { ": " },
            attachment.why
        ),
        Event::Verdict { verdict, until_unix_ms, .. } => log_verdict(verdict, *until_unix_ms),
        Event::Block { target, change, until_unix_ms, .. } => match until_unix_ms {
            Some(until) => info!(%target, until = %units::unix_ms(*until), "{change}: still attacking"),
            None => info!(%target, "{change}: the block is over"),
        },
        Event::Alarm { message, .. } => warn!("{message}"),
        Event::Recovered { message, .. } => info!("{message}"),
        Event::Summary(summary) => info!(
            duration = %units::duration(std::time::Duration::from_secs_f64(summary.duration_s.max(0.0))),
            packets = summary.packets,
            dropped = summary.dropped_packets,
            blocked = summary.blocked,
            "stopped; the filter stays attached, {} blocks stand until they end or are taken back, `mitigator detach` removes it all",
            summary.standing_blocks
        ),
    }
}

fn log_verdict(verdict: &Verdict, until_unix_ms: Option<u64>) {
    let target = &verdict.subject;
    let vector = verdict.vector.name();
    let measured = units::measured(verdict);
    let opinion = verdict.evidence.second_opinion.as_deref();
    let opinion =
        opinion.map_or_else(String::new, |opinion| format!("; second opinion: {}", units::opinion(opinion)));
    match (verdict.decision, until_unix_ms) {
        (Decision::Block, Some(until)) => {
            info!(%target, vector, until = %units::unix_ms(until), "blocked at {measured}{opinion}");
        }
        (Decision::Limit, _) => {
            let limits: Vec<String> = verdict
                .limits
                .iter()
                .map(|(signature, passing)| format!("{} {signature}", units::count(*passing)))
                .collect();
            let answers = verdict.limits.iter().any(|(signature, _)| verdict.answers(*signature));
            let rest = if answers {
                format!("; the rest is {}", SynCookies::here().meaning())
            } else {
                String::new()
            };
            info!(%target, vector, "limited at {measured}; what passes per second: {}{rest}", limits.join(", "));
        }
        (Decision::Block, None) | (Decision::Observe, _) => {
            info!(%target, vector, "seen at {measured}: {}{opinion}", verdict.evidence.note);
        }
    }
}
