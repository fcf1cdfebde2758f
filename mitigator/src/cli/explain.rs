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
use mitigator_common::{BlockOrigin, NEVER_EXPIRES, PrefixKey, Source};
use serde::Serialize;
use tracing::warn;

use super::sources::pause;
use super::{Answer, Cli, Places};
use crate::clock::Clock;
use crate::config::Config;
use crate::kernel::DataPlane;
use crate::kernel::agent_lock::AgentLock;
use crate::kernel::xdp::XdpDataPlane;
use crate::pipeline::activity::History;
use crate::pipeline::features::{self, Feature};
use crate::pipeline::gates::Gate;
use crate::pipeline::settings::DetectionSettings;
use crate::pipeline::target::Target;
use crate::pipeline::time::Timestamp;
use crate::pipeline::verdict::{self, Standing};
use crate::report::output::print_report;
use crate::report::units;
use crate::store::StoredDecision;

/// Decisions about an address that are shown.
const SHOWN_DECISIONS: u32 = 5;
/// Whose limits hold without a configuration file.
const DEFAULTS: &str = "defaults";

/// Arguments of `mitigator explain`.
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// The address
    #[arg(value_name = "ADDR")]
    address: IpAddr,
    /// Time over which the traffic of an address that is not blocked is measured
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = super::sources::parse_over)]
    over: Duration,
    /// Configuration file (TOML) whose limits the traffic is held against [default: that of the running agent]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    address: IpAddr,
    /// What the address is counted as.
    source: String,
    blocked: bool,
    allowed_by: Vec<Allowed>,
    blocks: Vec<Block>,
    /// Newest first.
    decisions: Vec<StoredDecision>,
    /// What the source does right now; null when it was not measured or sends nothing.
    traffic: Option<Traffic>,
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
struct Traffic {
    window_s: f64,
    features: std::collections::BTreeMap<&'static str, f64>,
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
        // What the kernel does is the answer; why, the history only adds.
        let decisions = history(places, source, &mut blocks).unwrap_or_else(|error| {
            warn!("the history cannot be read, so reasons and decisions are missing here: {error:#}");
            Vec::new()
        });
        let blocked = !blocks.is_empty() && allowed_by.is_empty();
        let traffic = if blocked { None } else { self.measure(places, &mut plane, source)? };
        let report =
            Report { address, source: source.to_string(), blocked, allowed_by, blocks, decisions, traffic };
        print_report(self.json, &report, || text(&report, self.over))?;
        Ok(if blocked { Answer::Done } else { Answer::Negative })
    }

    fn measure(&self, places: &Places, plane: &mut XdpDataPlane, source: Source) -> Result<Option<Traffic>> {
        if self.over.is_zero() {
            return Ok(None);
        }
        let (limits, limits_of) = self.limits(places)?;
        let shortest = Duration::from_millis(1);
        let mut history = History::default();
        history.advance(plane.read_counters(Clock::now().monotonic())?, &[], shortest);
        pause(self.over);
        let activity = history.advance(plane.read_counters(Clock::now().monotonic())?, &[], shortest);
        let Ok(row) = activity.rows.binary_search_by_key(&source, |row| row.source) else {
            return Ok(None);
        };
        Ok(Some(Traffic {
            window_s: activity.interval.as_secs_f64(),
            features: features::extract(&activity).named(row).collect(),
            limits_of,
            vectors: verdict::standings(&activity, row, &limits),
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

/// The decisions about a source; gives the operator's blocks their words.
fn history(places: &Places, source: Source, blocks: &mut [Block]) -> Result<Vec<StoredDecision>> {
    let Some(store) = places.open_store()? else { return Ok(Vec::new()) };
    for block in blocks.iter_mut().filter(|block| block.origin == BlockOrigin::Operator.name()) {
        // Every block of the operator sets or removes the words, so they are about this one.
        block.reason = store.reason(&block.target.to_string())?;
    }
    store.decisions_about(&source.to_string(), SHOWN_DECISIONS)
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

fn text(report: &Report, over: Duration) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = match (report.blocked, report.blocks.is_empty(), report.allowed_by.is_empty()) {
        (true, ..) => writeln!(text, "{} is blocked.", report.address),
        (false, false, false) => writeln!(
            text,
            "{} gets through: a block covers it, the allow list beats the block.",
            report.address
        ),
        _ => writeln!(text, "{} is not blocked.", report.address),
    };
    if report.source != report.address.to_string() {
        let _ = writeln!(text, "It is counted as {}.", report.source);
    }
    for allowed in &report.allowed_by {
        let _ = writeln!(text, "Always allowed: {} ({}).", allowed.prefix, allowed.reason);
    }
    for block in &report.blocks {
        let until = block.until_unix_ms.map_or_else(
            || "until it is unblocked".to_owned(),
            |end| format!("until {}", units::unix_ms(end)),
        );
        #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
        let dropped = units::count(block.hits as f64);
        let reason = block.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
        let _ = writeln!(
            text,
            "Block of {} by {} {until}, {dropped} packets dropped{reason}.",
            block.target, block.origin
        );
    }
    for decision in &report.decisions {
        tell_decision(&mut text, decision);
    }
    if let Some(traffic) = &report.traffic {
        tell_traffic(&mut text, traffic);
    } else if !report.blocked && !over.is_zero() {
        let _ = writeln!(text, "It sent nothing in the last {}.", units::duration(over));
    }
    text
}

fn tell_decision(text: &mut String, decision: &StoredDecision) {
    let until =
        decision.until_unix_ms.map_or_else(String::new, |end| format!(" until {}", units::unix_ms(end)));
    let _ = writeln!(
        text,
        "\n{}: {} ({}){until}",
        units::unix_ms(decision.at_unix_ms),
        decision.decision,
        decision.vector
    );
    let evidence = &decision.evidence;
    let number = |value: &serde_json::Value| value.as_f64().map_or_else(|| "-".to_owned(), units::count);
    for gate in evidence.get("gates").and_then(|gates| gates.as_array()).into_iter().flatten() {
        let name = gate.get("name").and_then(|name| name.as_str()).unwrap_or_default();
        let unit = gate.get("unit").and_then(|unit| unit.as_str()).unwrap_or_default();
        let _ = writeln!(
            text,
            "  {:<52} {:>8} of {:>8} {unit}",
            meaning_of_gate(name),
            gate.get("value").map(number).unwrap_or_default(),
            gate.get("limit").map(number).unwrap_or_default(),
        );
    }
    let clusters = evidence.get("clusters").and_then(|clusters| clusters.as_array());
    let own = evidence.get("cluster").and_then(serde_json::Value::as_u64);
    for (index, cluster) in clusters.into_iter().flatten().enumerate() {
        let field = |name: &str| cluster.get(name).map(number).unwrap_or_default();
        let is_own = own == u64::try_from(index).ok();
        let is_attacking = cluster.get("is_attacking").and_then(serde_json::Value::as_bool).unwrap_or(false);
        let _ = writeln!(
            text,
            "  group of {} sources around {} packets/s, {} bytes each: {}{}",
            field("sources"),
            field("packets_per_second"),
            field("mean_bytes"),
            if is_attacking { "attacking" } else { "innocent" },
            if is_own { ", this source's group" } else { "" },
        );
    }
    if let Some(note) = evidence.get("note").and_then(|note| note.as_str()).filter(|note| !note.is_empty()) {
        let _ = writeln!(text, "  {note}");
    }
}

fn tell_traffic(text: &mut String, traffic: &Traffic) {
    let value = |feature: Feature| {
        traffic.features.get(feature.name()).copied().map(units::count).unwrap_or_default()
    };
    let _ = writeln!(
        text,
        "\nIn the last {}: {} packets/s, {} bytes/s, {} bytes per packet, {} port classes, known for {} s.",
        units::duration(Duration::from_secs_f64(traffic.window_s)),
        value(Feature::PacketsPerSecond),
        value(Feature::BytesPerSecond),
        value(Feature::MeanBytes),
        value(Feature::DistinctPorts),
        value(Feature::AgeSeconds),
    );
    for standing in &traffic.vectors {
        let _ = writeln!(text, "\nFor {} it lacks:", standing.vector.name());
        for Gate { name, value, limit, unit, passed } in &standing.gates {
            if !passed {
                let (value, limit) = (units::count(*value), units::count(*limit));
                let _ = writeln!(text, "  {:<52} {value:>8} of {limit:>8} {unit}", meaning_of_gate(name));
            }
        }
        if standing.gates.iter().all(|gate| gate.passed) {
            let _ = writeln!(
                text,
                "  nothing: the agent blocks it when it goes on and stands out from its peers"
            );
        }
    }
    if traffic.vectors.is_empty() {
        let _ = writeln!(text, "None of its traffic is of a kind that attacks are made of.");
    } else if traffic.limits_of == DEFAULTS {
        let _ = writeln!(text, "\nThe limits are the defaults.");
    } else {
        let _ = writeln!(text, "\nThe limits are those of {}.", traffic.limits_of);
    }
}

/// A gate in plain words.
fn meaning_of_gate(name: &str) -> &str {
    match name {
        "total_floor" => "all sources together, against the fixed floor",
        "total_over_median" => "all sources together, against the usual level",
        "total_over_noise" => "all sources together, against the usual variation",
        "service_floor" => "all sources of this service, against the fixed floor",
        "service_over_median" => "all sources of this service, against its usual level",
        "service_over_noise" => "all sources of this service, against its usual variation",
        "source_floor" => "this source, against the floor for one source",
        "source_packets" => "packets seen of it, enough to judge",
        "in_attacking_cluster" => "in a group that stands out (1 = yes)",
        "has_quieter_peers" => "others do the same at a normal rate (1 = yes)",
        "has_baseline" => "the usual level is known (1 = yes)",
        "overwhelming" => "so much that one look is enough",
        "ticks" => "looks in a row that showed it",
        "light_sources" => "sources too light to be blocked",
        "light_share" => "their share",
        other => other,
    }
}
