//! `mitigator status`: what is attached, what it saw and what it dropped.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use mitigator_common::Outcome;
use serde::Serialize;

use super::{Answer, Places};
use crate::kernel::agent_lock::{AgentLock, Holder};
use crate::kernel::attachment::{self, Attachment};
use crate::kernel::blocks::Fill;
use crate::kernel::privileges;
use crate::kernel::syn_cookies::SynCookies;
use crate::kernel::xdp::XdpDataPlane;
use crate::pipeline::snapshot::OutcomeTotals;
use crate::report::output::{print_report, printable};
use crate::report::units;

/// Arguments of `mitigator status`.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Status {
    attached: Vec<Attachment>,
    agent: AgentStatus,
    packets: u64,
    dropped_packets: u64,
    outcomes: BTreeMap<&'static str, u64>,
    sources: Fill,
    blocked_sources: Fill,
    blocked_prefixes: Fill,
    allowed_prefixes: usize,
    syn_cookies: SynCookies,
    baseline: Option<BaselineStatus>,
}

/// What the agent had learned when it last wrote it down.
#[derive(Serialize)]
struct BaselineStatus {
    quiet_s: u64,
    saved_unix_ms: u64,
}

#[derive(Serialize)]
struct AgentStatus {
    running: bool,
    pid: Option<u32>,
}

const NOT_ATTACHED: &str =
    "attached   to no interface: nothing is filtered; `mitigator run -i INTERFACE` attaches\n";

impl StatusArgs {
    pub(super) fn run(&self, places: &Places) -> Result<Answer> {
        privileges::require(&places.pin_dir)?;
        let holder = AgentLock::holder(&places.pins())?;
        let agent = AgentStatus { running: holder.is_some(), pid: holder.and_then(|holder| holder.pid) };
        let attached = attachment::list(&places.pins())?;
        // Before the first `run` and after `detach`: an answer, not a failure.
        if attached.is_empty() && !places.pins().exist() {
            print_report(self.json, &Status::without_tables(agent), || NOT_ATTACHED.to_owned())?;
            return Ok(Answer::Negative);
        }
        let mut status = Status::read(&places.open_data_plane()?, attached, agent)?;
        status.baseline = baseline(places, &status.attached);
        print_report(self.json, &status, || text(&status))?;
        // Pinned maps without a link filter nothing: not attached is a negative answer.
        Ok(if status.attached.is_empty() { Answer::Negative } else { Answer::Done })
    }
}

impl Status {
    fn read(plane: &XdpDataPlane, attached: Vec<Attachment>, agent: AgentStatus) -> Result<Self> {
        let totals = plane.outcomes()?;
        let dropped = Outcome::ALL.iter().zip(totals).filter(|(outcome, _)| outcome.is_drop());
        let (blocked_sources, blocked_prefixes) = plane.blocks().fill()?;
        Ok(Self {
            attached,
            agent,
            packets: totals.iter().sum(),
            dropped_packets: dropped.map(|(_, count)| count).sum(),
            outcomes: by_name(totals),
            sources: Fill { used: plane.sources().count(), capacity: plane.sources().capacity() },
            blocked_sources,
            blocked_prefixes,
            allowed_prefixes: plane.blocks().allow_list()?.entries().len(),
            syn_cookies: SynCookies::here(),
            baseline: None,
        })
    }

    fn without_tables(agent: AgentStatus) -> Self {
        let no_table = Fill { used: 0, capacity: 0 };
        Self {
            attached: Vec::new(),
            agent,
            packets: 0,
            dropped_packets: 0,
            outcomes: by_name(OutcomeTotals::default()),
            sources: no_table,
            blocked_sources: no_table,
            blocked_prefixes: no_table,
            allowed_prefixes: 0,
            syn_cookies: SynCookies::here(),
            baseline: None,
        }
    }
}

/// A store that cannot be read hides no more than this.
fn baseline(places: &Places, attached: &[Attachment]) -> Option<BaselineStatus> {
    let store = places.open_store().ok()??;
    let interfaces = attached.iter().map(|attachment| attachment.interface.as_str());
    let stored = store.baseline(interfaces).ok()??;
    Some(BaselineStatus { quiet_s: stored.quiet_s, saved_unix_ms: stored.at_unix_ms })
}

fn by_name(totals: OutcomeTotals) -> BTreeMap<&'static str, u64> {
    Outcome::ALL.iter().map(|outcome| outcome.name()).zip(totals).collect()
}

fn text(status: &Status) -> String {
    let mut text = String::new();
    if status.attached.is_empty() {
        text.push_str(NOT_ATTACHED);
    }
    for attachment in &status.attached {
        let Attachment { interface, mode, program_id, .. } = attachment;
        // Writing to a string cannot fail.
        let _ =
            writeln!(text, "attached   {}, {} mode, program {program_id}", printable(interface), mode.name());
    }
    let _ = if status.agent.running {
        writeln!(text, "agent      running, {}", Holder { pid: status.agent.pid })
    } else {
        writeln!(text, "agent      not running: blocks stay until they expire, no new ones are decided")
    };
    let _ = writeln!(
        text,
        "packets    {} seen, {} dropped",
        count(status.packets),
        count(status.dropped_packets)
    );
    for outcome in Outcome::ALL {
        let packets = status.outcomes.get(outcome.name()).copied().unwrap_or(0);
        if packets > 0 {
            let _ = writeln!(text, "           {:>8}  {}", count(packets), meaning(outcome));
        }
    }
    for (name, fill) in [
        ("sources", status.sources),
        ("blocked", status.blocked_sources),
        ("prefixes", status.blocked_prefixes),
    ] {
        let _ = writeln!(text, "{name:<10} {} of {}", fill.used, fill.capacity);
    }
    let _ = writeln!(text, "allowed    {} prefixes", status.allowed_prefixes);
    let _ = writeln!(text, "SYN floods {}, beyond their limit, when forged", status.syn_cookies.meaning());
    if let Some(baseline) = &status.baseline {
        let quiet = units::duration(Duration::from_secs(baseline.quiet_s));
        let _ = writeln!(text, "baseline   learned from {quiet} of quiet traffic");
    }
    text
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn count(packets: u64) -> String {
    units::count(packets as f64)
}

const fn meaning(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::PassNotIp => "passed: not IP",
        Outcome::PassUnparsed => "passed: cut short or malformed",
        Outcome::PassAllowed => "passed: blocked, but on the allow list",
        Outcome::PassCounted => "passed and counted for their source",
        Outcome::PassUncounted => "passed: of a crowd, not counted by source",
        Outcome::DropBlocked => "dropped: source blocked",
        Outcome::DropBlockedPrefix => "dropped: prefix blocked",
        Outcome::DropLimited => "dropped: beyond the limit of its signature",
        Outcome::AnswerCookie => "answered with a SYN cookie: beyond the limit of its signature",
    }
}
