//! `mitigator explain`: why an address is blocked, or why it is not.

use std::ffi::OsStr;
use std::fmt::Write;
use std::fs;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, CommandFactory};
use mitigator_common::{
    BlockOrigin, Limit, NEVER_EXPIRES, PacketKind, PrefixKey, RowMarks, Signature, Source, SourceCounters,
};
use serde::Serialize;
use tracing::warn;

use super::sources::{self, pause};
use super::{Answer, Cli, Places};
use crate::clock::Clock;
use crate::config::Config;
use crate::kernel::DataPlane;
use crate::kernel::agent_lock::AgentLock;
use crate::kernel::xdp::XdpDataPlane;
use crate::pipeline::asked::closeness;
use crate::pipeline::features::{self, Features};
use crate::pipeline::history::{History as Snapshots, Scope};
use crate::pipeline::prefixes;
use crate::pipeline::settings::DetectionSettings;
use crate::pipeline::standing::{self, Standing};
use crate::pipeline::target::Target;
use crate::pipeline::time::Timestamp;
use crate::pipeline::vectors::Vector;
use crate::pipeline::verdict::Decision;
use crate::report::explanation::{self, Tense, Told};
use crate::report::output::{Ink, print_report, printable};
use crate::report::units;
use crate::store::StoredDecision;

/// Decisions about an address that are shown.
const SHOWN_DECISIONS: u32 = 5;
/// Decisions about traffic of many sources are shown that are not older.
const LATELY: Duration = Duration::from_hours(6);
/// The decision of a block, as the history spells it.
const BLOCK: &str = Decision::Block.name();
/// The shortest time to measure over.
const SHORTEST: Duration = Duration::from_millis(1);
/// Whose limits hold without a configuration file.
const DEFAULTS: &str = "defaults";

/// Arguments of `mitigator explain`.
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// The address
    #[arg(value_name = "ADDR")]
    address: IpAddr,
    /// Time over which the traffic of an address that is not blocked is measured, 1ms to 60s
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_over)]
    over: Duration,
    /// Configuration file (TOML) whose limits the traffic is held against [default: that of the running agent]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Of nothing there is nothing to tell.
fn parse_over(text: &str) -> Result<Duration> {
    let over = sources::parse_over(text)?;
    anyhow::ensure!(over >= SHORTEST, "at least 1ms: over less, there is nothing to judge an address by");
    Ok(over)
}

#[derive(Serialize)]
struct Report {
    address: IpAddr,
    /// What the address is counted as.
    source: String,
    blocked: bool,
    allowed_by: Vec<Allowed>,
    blocks: Vec<Block>,
    /// Until when the agent does not block it, because its block was taken back; null when it may.
    left_alone_until_unix_ms: Option<u64>,
    /// Limits that stand, whoever sends such packets.
    limits: Vec<StandingLimit>,
    /// About the address or a prefix around it, newest first.
    decisions: Vec<StoredDecision>,
    /// Of the last hours, about the traffic of many sources, newest first; none when the address is blocked.
    traffic_decisions: Vec<StoredDecision>,
    /// What the source does right now; null when it is blocked or sends nothing.
    traffic: Option<Traffic>,
    /// What would have had to be different, in a sentence or two.
    conclusion: String,
}

#[derive(Serialize)]
struct Allowed {
    prefix: String,
    reason: &'static str,
}

#[derive(Serialize)]
struct Block {
    target: Target,
    origin: &'static str,
    hits: u64,
    until_unix_ms: Option<u64>,
    /// In the operator's words; of the operator's blocks only.
    reason: Option<String>,
}

#[derive(Serialize)]
struct StandingLimit {
    packets: String,
    packets_per_second: f64,
    passed: u64,
    dropped: u64,
    answered: u64,
    /// Whether what is beyond it is answered with SYN cookies.
    answers: bool,
    until_unix_ms: u64,
    /// Whether the address was seen to send such packets.
    sends: bool,
    /// Why the limit does not hold for this address; null when it does.
    exempt: Option<&'static str>,
}

#[derive(Serialize)]
struct Traffic {
    window_s: f64,
    features: Features,
    /// Whose limits the gates have: a configuration file, or `defaults`.
    limits_of: String,
    /// How far the source is from each verdict.
    vectors: Vec<Standing>,
}

impl ExplainArgs {
    pub(super) fn run(&self, places: &Places) -> Result<Answer> {
        let mut plane = places.open_data_plane()?;
        let address = self.address.to_canonical();
        let clock = Clock::now();
        let whole = Target::Prefix(PrefixKey::new(address, 128));
        let allowed_by: Vec<Allowed> = plane
            .allow_list()?
            .meeting(&whole)
            .map(|(key, reason)| Allowed { prefix: Target::Prefix(*key).to_string(), reason: reason.name() })
            .collect();
        let source = Source::from(address);
        let mut blocks: Vec<Block> = plane
            .blocks()
            .covering(address, clock.monotonic().ns)?
            .into_iter()
            .map(|block| Block {
                target: block.target,
                origin: block.entry.origin().name(),
                hits: block.entry.hits,
                until_unix_ms: (block.entry.expires_at_ns != NEVER_EXPIRES)
                    .then(|| clock.to_unix_ms(Timestamp::from_ns(block.entry.expires_at_ns))),
                reason: None,
            })
            .collect();
        let limits = standing_limits(&plane, source, &allowed_by, &clock)?;
        let blocked = !blocks.is_empty() && allowed_by.is_empty();
        // What the kernel does is the answer; why, the history only adds.
        let history = history(places, address, &mut blocks, clock.unix_ms()).unwrap_or_else(|error| {
            warn!("the history cannot be read, so reasons and decisions are missing here: {error:#}");
            History::default()
        });
        let (limits_of_agent, limits_of) = if blocked { Default::default() } else { self.limits(places)? };
        let traffic =
            if blocked { None } else { self.measure(&mut plane, source, &limits_of_agent, limits_of)? };
        let mut report = Report {
            address,
            source: source.to_string(),
            blocked,
            allowed_by,
            blocks,
            left_alone_until_unix_ms: history.left_alone_until_unix_ms,
            limits,
            decisions: history.decisions,
            traffic_decisions: if blocked { Vec::new() } else { history.traffic_decisions },
            traffic,
            conclusion: String::new(),
        };
        report.conclusion = conclusion(&report, &limits_of_agent);
        print_report(self.json, &report, || text(&report, self.over, clock.unix_ms(), Ink::of_stdout()))?;
        Ok(if blocked { Answer::Done } else { Answer::Negative })
    }

    fn measure(
        &self,
        plane: &mut XdpDataPlane,
        source: Source,
        limits: &DetectionSettings,
        limits_of: String,
    ) -> Result<Option<Traffic>> {
        let mut history = Snapshots::default();
        history.advance(plane.read_counters(Clock::now().monotonic(), &[])?, &Scope::default(), SHORTEST);
        pause(self.over);
        let activity =
            history.advance(plane.read_counters(Clock::now().monotonic(), &[])?, &Scope::default(), SHORTEST);
        let Some(row) = activity.rows.sources().position(|known| known == source) else {
            return Ok(None);
        };
        let Some(features) = features::extract(&activity).of(row) else {
            return Ok(None);
        };
        Ok(Some(Traffic {
            window_s: activity.interval.as_secs_f64(),
            features,
            limits_of,
            vectors: standing::standings(&activity, row, limits),
        }))
    }

    /// The settings that decide about the source, and where they are from.
    fn limits(&self, places: &Places) -> Result<(DetectionSettings, String)> {
        if let Some(file) = &self.config {
            return Ok((Config::load(Some(file))?.detection, file.display().to_string()));
        }
        if let Some(file) = config_of_agent(places) {
            match Config::load(Some(&file)) {
                Ok(config) => return Ok((config.detection, file.display().to_string())),
                Err(error) => warn!("the limits are the defaults, not the agent's: {error:#}"),
            }
        }
        Ok((DetectionSettings::default(), DEFAULTS.to_owned()))
    }
}

/// The limits that stand, and whether they hold for the source.
fn standing_limits(
    plane: &XdpDataPlane,
    source: Source,
    allowed_by: &[Allowed],
    clock: &Clock,
) -> Result<Vec<StandingLimit>> {
    let row = plane.sources().get(source)?;
    let standing = plane.blocks().limits()?.into_iter();
    let standing = standing.filter(|(_, limit)| limit.expires_at_ns > clock.monotonic().ns);
    let told = |(signature, limit): (Signature, Limit)| StandingLimit {
        packets: signature.to_string(),
        #[expect(clippy::cast_precision_loss, reason = "packets of a window, for people")]
        packets_per_second: limit.packets_per_window as f64 * 1e9 / Limit::WINDOW_NS as f64,
        passed: limit.passed,
        dropped: limit.dropped,
        answered: limit.answered,
        answers: limit.queue_length > 0,
        until_unix_ms: clock.to_unix_ms(Timestamp::from_ns(limit.expires_at_ns)),
        sends: row.is_some_and(|row| sends(&row, signature)),
        exempt: if allowed_by.is_empty() {
            row.and_then(|row| exemption(&row, limit.since_ns))
        } else {
            Some("it is on the allow list")
        },
    };
    Ok(standing.map(told).collect())
}

/// Whether packets of the signature's kind were counted of a source.
fn sends(row: &SourceCounters, signature: Signature) -> bool {
    let count = match signature.kind() {
        Some(PacketKind::Extension) => row.extension_packets,
        Some(PacketKind::Fragment) => row.fragment_packets,
        Some(PacketKind::TcpSyn) => row.tcp_syn_packets,
        Some(PacketKind::TcpSynAck) => row.tcp_syn_ack_packets,
        Some(PacketKind::TcpRst) => row.tcp_rst_packets,
        Some(PacketKind::TcpOdd) => row.tcp_odd_packets,
        Some(PacketKind::TcpAck) => row.tcp_ack_packets,
        Some(PacketKind::UdpReflection) => row.reflection_packets,
        Some(PacketKind::Udp) => row.udp_packets.saturating_sub(row.reflection_packets),
        Some(PacketKind::Icmp) => row.icmp_packets,
        Some(PacketKind::Other) => row.other_packets,
        None => 0,
    };
    count > 0
}

/// Why a limit that exempts who was there before `since_ns` does not hold for a source, as the kernel decides.
fn exemption(row: &SourceCounters, since_ns: u64) -> Option<&'static str> {
    match row {
        _ if since_ns == 0 => None,
        row if row.first_seen_ns < since_ns => Some("it was seen before the flood began"),
        row if row.sent_data_packets > 0 => Some("this host answered it over a connection"),
        row if row.sent_syn_packets > 0 => Some("this host opened a connection to it"),
        row if row.marks.has(RowMarks::ASKED) => {
            Some("this host asked it over UDP, first or from a port for questions")
        }
        _ => None,
    }
}

/// What is remembered of an address.
#[derive(Default)]
struct History {
    /// About it and the prefixes around it.
    decisions: Vec<StoredDecision>,
    /// About traffic of many sources lately.
    traffic_decisions: Vec<StoredDecision>,
    left_alone_until_unix_ms: Option<u64>,
}

/// Reads what is remembered of an address, and gives the operator's blocks their words.
fn history(places: &Places, address: IpAddr, blocks: &mut [Block], now_unix_ms: u64) -> Result<History> {
    let Some(store) = places.open_store()? else { return Ok(History::default()) };
    for block in blocks.iter_mut().filter(|block| block.origin == BlockOrigin::Operator.name()) {
        // Every block of the operator sets or removes the words, so they are about this one.
        block.reason = store.reason(&block.target.to_string())?;
    }
    let source = Source::from(address);
    let around = prefixes::around(source).map(|key| Target::Prefix(key).to_string());
    let mut decisions = Vec::new();
    for target in std::iter::once(source.to_string()).chain(around) {
        decisions.extend(store.decisions_about(&target, SHOWN_DECISIONS)?);
    }
    decisions.sort_by_key(|decision| std::cmp::Reverse(decision.at_unix_ms));
    decisions.truncate(usize::try_from(SHOWN_DECISIONS).unwrap_or(usize::MAX));
    let lately_ms = u64::try_from(LATELY.as_millis()).unwrap_or(u64::MAX);
    Ok(History {
        decisions,
        traffic_decisions: store
            .decisions_about_traffic(now_unix_ms.saturating_sub(lately_ms), SHOWN_DECISIONS)?,
        left_alone_until_unix_ms: store.left_alone_until(&Target::Source(source), now_unix_ms)?,
    })
}

/// The configuration file that the running agent was given, as its command line says; `None` when there is no
/// agent, or it runs with the defaults.
fn config_of_agent(places: &Places) -> Option<PathBuf> {
    let process = PathBuf::from(format!("/proc/{}", AgentLock::holder(&places.pins()).ok()??.pid?));
    let line = fs::read(process.join("cmdline")).ok()?;
    let words = line.split(|byte| *byte == 0).filter(|word| !word.is_empty()).map(OsStr::from_bytes);
    let matches = Cli::command().try_get_matches_from(words).ok()?;
    let file = matches.subcommand_matches("run")?.get_one::<PathBuf>("config")?;
    // What is relative is so to the agent's directory, not to ours.
    Some(if file.is_absolute() { file.clone() } else { process.join("cwd").join(file) })
}

/// What would have had to be different.
fn conclusion(report: &Report, settings: &DetectionSettings) -> String {
    let source = &report.source;
    if !report.allowed_by.is_empty() {
        return "Whatever it sends passes, because it is on the allow list; `mitigator allow list` shows why.".to_owned();
    }
    if let Some(block) = report.blocks.first() {
        let unblock = format!("`mitigator unblock {}` takes the block back.", block.target);
        let target = block.target.to_string();
        let is_why = |decision: &&StoredDecision| decision.target == target && decision.decision == BLOCK;
        return match report.decisions.iter().find(is_why) {
            Some(why) if block.origin == BlockOrigin::Agent.name() => {
                let kept = Told::read(&why.evidence)
                    .what_would_have_kept(&report.address.to_string(), Vector::of_name(&why.vector));
                format!("{kept} {unblock}")
            }
            _ => format!("It is blocked whatever it sends. {unblock}"),
        };
    }
    let limited = report.limits.iter().find(|limit| limit.sends && limit.exempt.is_none());
    let limited = limited.map_or(String::new(), |limit| {
        let rest = if limit.answers { ", and are answered with SYN cookies beyond it" } else { "" };
        format!(
            "Its {} share what the limit lets pass{rest}; the limit would not hold for it had this host answered it, or \
             on the allow list: `mitigator allow add {source}`. ",
            limit.packets
        )
    });
    if let Some(until) = report.left_alone_until_unix_ms {
        return format!(
            "{limited}Whatever it sends, the agent does not block {source} before {}, because its block was taken back; \
             `mitigator block {source}` blocks it and ends that.",
            units::unix_ms(until)
        );
    }
    let nearness = |standing: &&Standing| closeness(&standing.gates);
    let vectors = report.traffic.iter().flat_map(|traffic| &traffic.vectors);
    let closest = vectors.max_by(|a, b| nearness(a).total_cmp(&nearness(b)));
    let closest = closest.map_or_else(
        || match &report.traffic {
            Some(_) => "None of what it sends is of a kind that attacks are made of.".to_owned(),
            None => "There is nothing to judge it by: it sent nothing meanwhile.".to_owned(),
        },
        |standing| Told::read(standing).what_it_would_take(standing.vector, settings, Tense::Now),
    );
    limited + &closest
}

fn text(report: &Report, over: Duration, now_unix_ms: u64, ink: Ink) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let is_limited = report.limits.iter().any(|limit| limit.sends && limit.exempt.is_none());
    let headline = match (report.blocked, report.blocks.is_empty(), is_limited) {
        (true, ..) => "is blocked.",
        (false, false, _) => "gets through: a block covers it, the allow list beats the block.",
        (false, true, true) => "is not blocked; some of what it sends is limited.",
        (false, true, false) => "is not blocked.",
    };
    let _ = writeln!(text, "{}", ink.strong(&format!("{} {headline}", report.address)));
    if report.source != report.address.to_string() {
        let _ = writeln!(text, "It is counted as {}.", report.source);
    }
    for allowed in &report.allowed_by {
        let _ = writeln!(text, "Always allowed: {} ({}).", allowed.prefix, allowed.reason);
    }
    for block in &report.blocks {
        let until = block.until_unix_ms.map_or_else(
            || "until it is unblocked".to_owned(),
            |end| format!("until {} ({} left)", units::unix_ms(end), left(end, now_unix_ms)),
        );
        let reason =
            block.reason.as_ref().map_or_else(String::new, |reason| format!(": {}", printable(reason)));
        let _ = writeln!(
            text,
            "Block of {} by the {}, {until}, {} packets dropped{reason}.",
            block.target,
            match block.origin {
                "import" => "imported list",
                other => other,
            },
            whole(block.hits)
        );
    }
    for limit in &report.limits {
        tell_limit(&mut text, limit, now_unix_ms);
    }
    let mut decisions = report.decisions.iter();
    if let Some(latest) = decisions.next() {
        let _ = writeln!(text, "\n{}", ink.strong(&headline_of(latest)));
        text.push_str(&Told::read(&latest.evidence).text(ink));
    }
    tell_others(&mut text, "Before that:", decisions);
    tell_others(&mut text, "Lately, about traffic of many sources:", report.traffic_decisions.iter());
    if let Some(traffic) = &report.traffic {
        tell_traffic(&mut text, traffic, ink);
    } else if !report.blocked {
        let _ = writeln!(text, "\nIt sent nothing in the last {}.", units::duration(over));
    }
    let _ = writeln!(text, "\n{}", explanation::wrapped(&report.conclusion));
    text
}

fn left(end_unix_ms: u64, now_unix_ms: u64) -> String {
    units::duration(Duration::from_millis(end_unix_ms.saturating_sub(now_unix_ms)))
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn whole(count: u64) -> String {
    units::count(count as f64)
}

fn tell_limit(text: &mut String, limit: &StandingLimit, now_unix_ms: u64) {
    let holds = match (limit.exempt, limit.sends) {
        (Some(why), _) => format!("does not hold for it: {why}"),
        (None, true) => "holds for it".to_owned(),
        (None, false) => "it was not seen to send such".to_owned(),
    };
    let answered = if limit.answers {
        format!(", {} answered with SYN cookies", whole(limit.answered))
    } else {
        String::new()
    };
    let _ = writeln!(
        text,
        "Limit on {}, {} pass each second, for {} and as long as the flood goes on: {} passed, {} dropped{answered}; \
         {holds}.",
        limit.packets,
        units::count(limit.packets_per_second),
        left(limit.until_unix_ms, now_unix_ms),
        whole(limit.passed),
        whole(limit.dropped)
    );
}

fn headline_of(decision: &StoredDecision) -> String {
    let until =
        decision.until_unix_ms.map_or_else(String::new, |end| format!(" until {}", units::unix_ms(end)));
    let done = explanation::done(&decision.decision);
    format!(
        "{}: {} {done} for {}{until}",
        units::unix_ms(decision.at_unix_ms),
        decision.target,
        decision.vector
    )
}

fn tell_others<'a>(text: &mut String, heading: &str, others: impl Iterator<Item = &'a StoredDecision>) {
    for (index, other) in others.enumerate() {
        if index == 0 {
            let _ = writeln!(text, "\n{heading}");
        }
        let _ = writeln!(text, "  {}", headline_of(other));
    }
}

/// What it sends now against what it takes, the closest kind of attack in full.
fn tell_traffic(text: &mut String, traffic: &Traffic, ink: Ink) {
    let over = units::duration(Duration::from_secs_f64(traffic.window_s));
    let mut vectors: Vec<&Standing> = traffic.vectors.iter().collect();
    vectors.sort_by(|a, b| closeness(&b.gates).total_cmp(&closeness(&a.gates)));
    text.push('\n');
    text.push_str(&Told::read(traffic).text(ink));
    let limits =
        if traffic.limits_of == DEFAULTS { "the defaults".to_owned() } else { printable(&traffic.limits_of) };
    for (index, standing) in vectors.iter().enumerate() {
        if index == 0 {
            let _ = writeln!(text, "\nIn the last {over}, against the limits of {limits}:");
        }
        let _ = writeln!(text, "{} ({})", ink.strong(standing.vector.name()), standing.vector.traffic());
        text.push_str(&Told::read(standing).text(ink));
    }
}
