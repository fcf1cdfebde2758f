//! `mitigator sources`: who sends what, loudest first.

use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};
use mitigator_common::{Source, SourceCounters};
use rustc_hash::FxHashMap;
use serde::Serialize;

use super::blocked_prefixes::BlockedPrefixes;
use super::{Answer, Places};
use crate::clock::Clock;
use crate::kernel::DataPlane;
use crate::kernel::blocks::StandingBlock;
use crate::kernel::xdp::XdpDataPlane;
use crate::pipeline::activity::Activity;
use crate::pipeline::allowlist::Relation;
use crate::pipeline::history::{History, Scope};
use crate::pipeline::target::Target;
use crate::pipeline::time::Timestamp;
use crate::report::output::{Align, print_report, table};
use crate::report::units;

/// Arguments of `mitigator sources`.
#[derive(Debug, Args)]
pub(super) struct SourcesArgs {
    /// Order, largest first
    #[arg(long, value_name = "KEY", default_value = "pps")]
    sort: Key,
    /// How many to show; 0 for all
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Measure rates over this time; 0s shows totals only, at once
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_over)]
    over: Duration,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// A time to measure over, 0s to 60s.
pub(super) fn parse_over(text: &str) -> Result<Duration> {
    let over = humantime::parse_duration(text).map_err(|_| anyhow::anyhow!("write it like 500ms or 5s"))?;
    anyhow::ensure!(over <= Duration::from_mins(1), "at most 60s");
    Ok(over)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Key {
    /// Packets per second
    Pps,
    /// Bytes per second
    Bps,
    /// Packets since first seen
    Packets,
    /// Bytes since first seen
    Bytes,
    /// SYN packets since first seen
    Syn,
    /// UDP packets since first seen
    Udp,
    /// ICMP packets since first seen
    Icmp,
    /// Time since first seen
    Age,
    /// Packets dropped since the block was last written
    Dropped,
}

#[derive(Serialize)]
struct Report {
    sources: Vec<Row>,
    /// Sources in the table.
    known: usize,
    /// Seconds over which rates were measured; null with `--over 0s`.
    over_s: Option<f64>,
}

#[derive(Serialize)]
struct Row {
    source: String,
    packets_per_second: Option<f64>,
    bytes_per_second: Option<f64>,
    packets: u64,
    bytes: u64,
    tcp_syn_packets: u32,
    tcp_syn_ack_packets: u32,
    tcp_ack_packets: u32,
    tcp_rst_packets: u32,
    tcp_odd_packets: u32,
    tcp_push_packets: u32,
    udp_packets: u32,
    reflection_packets: u32,
    icmp_packets: u32,
    fragment_packets: u32,
    extension_packets: u32,
    other_packets: u32,
    tcp_fin_packets: u32,
    sent_packets: u32,
    sent_syn_packets: u32,
    sent_syn_ack_packets: u32,
    sent_data_packets: u32,
    sent_udp_packets: u32,
    sent_closing_packets: u32,
    age_s: f64,
    idle_s: f64,
    blocked: bool,
    /// The block that drops its packets: its own, or that of a prefix; null when it is not blocked.
    blocked_by: Option<Target>,
    /// By that block, since it was last written; null when it is not blocked.
    dropped_packets: Option<u64>,
    allowed: bool,
    #[serde(skip)]
    key: Source,
}

impl SourcesArgs {
    pub(super) fn run(&self, places: &Places) -> Result<Answer> {
        let mut plane = places.open_data_plane()?;
        let mut history = History::default();
        let shortest = Duration::from_millis(1);
        let mut activity = None;
        if !self.over.is_zero() {
            history.advance(plane.read_counters(Clock::now().monotonic(), &[])?, &Scope::default(), shortest);
            pause(self.over);
        }
        let now = Clock::now().monotonic();
        if !self.over.is_zero() {
            let snapshot = plane.read_counters(now, &[])?;
            activity = Some(history.advance(snapshot, &Scope::default(), shortest));
        }
        let rows = plane.sources().read_all()?;
        let known = rows.len();
        let changes: FxHashMap<Source, SourceCounters> = activity
            .iter()
            .flat_map(|activity| activity.rows.iter())
            .map(|row| (row.source, row.change))
            .collect();
        let mut rows: Vec<Row> = rows
            .iter()
            .map(|(source, totals)| {
                let change = changes.get(source).unwrap_or(&SourceCounters::EMPTY);
                row(*source, totals, activity.as_ref().map(|activity| (activity, change)), now)
            })
            .collect();
        if self.sort == Key::Dropped {
            mark(&mut rows, &mut plane, now)?;
        }
        rows.sort_by(|a, b| self.sort.of(b).total_cmp(&self.sort.of(a)).then(a.key.cmp(&b.key)));
        if self.limit > 0 {
            rows.truncate(self.limit);
        }
        if self.sort != Key::Dropped {
            mark(&mut rows, &mut plane, now)?;
        }
        let report =
            Report { sources: rows, known, over_s: activity.map(|activity| activity.interval.as_secs_f64()) };
        print_report(self.json, &report, || text(&report))?;
        Ok(Answer::Done)
    }
}

/// Waits while traffic is measured.
#[expect(clippy::disallowed_methods, reason = "a measurement over time, at the edge")]
pub(super) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

impl Key {
    #[expect(clippy::cast_precision_loss, reason = "for sorting")]
    fn of(self, row: &Row) -> f64 {
        match self {
            Self::Pps => row.packets_per_second.unwrap_or(row.packets as f64),
            Self::Bps => row.bytes_per_second.unwrap_or(row.bytes as f64),
            Self::Packets => row.packets as f64,
            Self::Bytes => row.bytes as f64,
            Self::Syn => f64::from(row.tcp_syn_packets),
            Self::Udp => f64::from(row.udp_packets),
            Self::Icmp => f64::from(row.icmp_packets),
            Self::Age => row.age_s,
            Self::Dropped => row.dropped_packets.map_or(-1.0, |dropped| dropped as f64),
        }
    }
}

fn row(
    source: Source,
    totals: &SourceCounters,
    change: Option<(&Activity, &SourceCounters)>,
    now: Timestamp,
) -> Row {
    let change = change
        .map(|(activity, change)| (activity.per_second(change.packets), activity.per_second(change.bytes)));
    let since = |ns: u64| now.since(Timestamp::from_ns(ns)).as_secs_f64();
    Row {
        source: source.to_string(),
        packets_per_second: change.map(|(packets, _)| packets),
        bytes_per_second: change.map(|(_, bytes)| bytes),
        packets: totals.packets,
        bytes: totals.bytes,
        tcp_syn_packets: totals.tcp_syn_packets,
        tcp_syn_ack_packets: totals.tcp_syn_ack_packets,
        tcp_ack_packets: totals.tcp_ack_packets,
        tcp_rst_packets: totals.tcp_rst_packets,
        tcp_odd_packets: totals.tcp_odd_packets,
        tcp_push_packets: totals.tcp_push_packets,
        udp_packets: totals.udp_packets,
        reflection_packets: totals.reflection_packets,
        icmp_packets: totals.icmp_packets,
        fragment_packets: totals.fragment_packets,
        extension_packets: totals.extension_packets,
        other_packets: totals.other_packets,
        tcp_fin_packets: totals.tcp_fin_packets,
        sent_packets: totals.sent_packets,
        sent_syn_packets: totals.sent_syn_packets,
        sent_syn_ack_packets: totals.sent_syn_ack_packets,
        sent_data_packets: totals.sent_data_packets,
        sent_udp_packets: totals.sent_udp_packets,
        sent_closing_packets: totals.sent_closing_packets,
        age_s: since(totals.first_seen_ns),
        idle_s: since(totals.last_seen_ns),
        blocked: false,
        blocked_by: None,
        dropped_packets: None,
        allowed: false,
        key: source,
    }
}

/// Looks up which of the rows are blocked, by what and with how many drops, or allowed.
fn mark(rows: &mut [Row], plane: &mut XdpDataPlane, now: Timestamp) -> Result<()> {
    let allowed = plane.allow_list()?;
    let (_, prefixes) = plane.blocks().fill()?;
    let all = if prefixes.used > 0 { plane.blocks().standing()? } else { Vec::new() };
    let prefixes = BlockedPrefixes::among(all, now.ns);
    for row in rows {
        let target = Target::Source(row.key);
        row.allowed = allowed.relation_to(&target) == Relation::Inside;
        if row.allowed {
            continue;
        }
        let own = plane.blocks().get(&target)?.filter(|entry| !entry.is_expired(now.ns));
        let own = own.map(|entry| StandingBlock { target, entry });
        let block = own.or_else(|| prefixes.covering(row.key));
        row.blocked = block.is_some();
        row.blocked_by = block.map(|block| block.target);
        row.dropped_packets = block.map(|block| block.entry.hits);
    }
    Ok(())
}

fn text(report: &Report) -> String {
    if report.sources.is_empty() {
        return "no packet has been counted yet\n".to_owned();
    }
    let heading = [
        ("SOURCE", Align::Left),
        ("PACKETS/S", Align::Right),
        ("BITS/S", Align::Right),
        ("PACKETS", Align::Right),
        ("BYTES", Align::Right),
        ("SYN", Align::Right),
        ("UDP", Align::Right),
        ("ICMP", Align::Right),
        ("AGE", Align::Right),
        ("DROPPED", Align::Right),
        ("STATE", Align::Left),
    ];
    let rate = |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), units::count);
    #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
    let rows: Vec<Vec<String>> = report
        .sources
        .iter()
        .map(|row| {
            vec![
                row.source.clone(),
                rate(row.packets_per_second),
                rate(row.bytes_per_second.map(|bytes| bytes * 8.0)),
                units::count(row.packets as f64),
                units::count(row.bytes as f64),
                units::count(row.tcp_syn_packets.into()),
                units::count(row.udp_packets.into()),
                units::count(row.icmp_packets.into()),
                units::duration(Duration::from_secs_f64(row.age_s)),
                row.dropped_packets.map_or_else(|| "-".to_owned(), |dropped| units::count(dropped as f64)),
                match (&row.blocked_by, row.allowed) {
                    (Some(prefix @ Target::Prefix(_)), _) => format!("in blocked {prefix}"),
                    (Some(Target::Source(_)), _) => "blocked".to_owned(),
                    (None, true) => "allowed".to_owned(),
                    (None, false) => String::new(),
                },
            ]
        })
        .collect();
    let more = report.known - report.sources.len();
    let note = if more > 0 { format!("and {more} more; `--limit 0` shows all\n") } else { String::new() };
    let dropped = if report.sources.iter().any(|row| row.blocked) {
        "what a blocked source sends is dropped, and counted as DROPPED alone, from when its block was last written\n"
    } else {
        ""
    };
    let is_in_prefix = |row: &Row| matches!(row.blocked_by, Some(Target::Prefix(_)));
    let of_prefix = if report.sources.iter().any(is_in_prefix) {
        "of a blocked prefix, DROPPED is what all in it sent\n"
    } else {
        ""
    };
    table(&heading, &rows) + &note + dropped + of_prefix
}
