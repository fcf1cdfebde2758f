//! `mitigator replay`: the same decisions on a capture, without rights, in the capture's time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs::File;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use indicatif::ProgressBar;
use mitigator_common::{Outcome, Source};
use serde::Serialize;

use super::Answer;
use super::explained::{Explanation, Watched};
use super::progress::byte_bar;
use crate::capture::{Capture, ClockFault, Damage, protected_host};
use crate::config::Config;
use crate::kernel::replay::AddressTotals;
use crate::pipeline::time::Timestamp;
use crate::pipeline::vectors::{Comparison, Vector};
use crate::pipeline::verdict::Verdict;
use crate::replay::{Event, Protected, Replayed, replay_asked};
use crate::report::explanation;
use crate::report::output::{Align, Ink, print_report, printable, table};
use crate::report::units;

/// Rows of a table that are shown to people.
const SHOWN_ROWS: usize = 20;

/// Arguments of `mitigator replay`.
#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// The capture; `-` for standard input
    file: PathBuf,
    /// Judge only packets to this address; may be given several times, or separated by commas
    #[arg(long = "victim", value_name = "ADDR", value_delimiter = ',')]
    victims: Vec<IpAddr>,
    /// Tell in full why this address was blocked, or why not; may be given several times, or separated by commas
    #[arg(long, value_name = "ADDR", value_delimiter = ',')]
    explain: Vec<IpAddr>,
    /// List every source, not only those with drops
    #[arg(long)]
    all_sources: bool,
    /// Configuration file (TOML), as for `mitigator run`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    capture: String,
    packets: u64,
    bytes: u64,
    duration_s: f64,
    source_count: usize,
    protected: Vec<IpAddr>,
    protected_by: &'static str,
    /// A verdict of something that is blocked or limited.
    attack: bool,
    verdicts: Vec<TimedVerdict>,
    /// Why there is no verdict; null when there is one.
    nothing_to_decide: Option<String>,
    /// Highest rate of any tick, in the vector's unit, of each vector that was seen.
    peaks: BTreeMap<&'static str, f64>,
    outgoing_packets: u64,
    /// Of them, those that who is protected sent.
    own_packets: u64,
    /// Of the victims, those that no packet goes to.
    absent: Vec<IpAddr>,
    passed_packets: u64,
    dropped_packets: u64,
    outcomes: BTreeMap<&'static str, u64>,
    sources: Vec<SourceRow>,
    /// Packets of sources past the million that are told apart.
    unlisted_packets: u64,
    /// Of the addresses that were asked about.
    explained: Vec<Explanation>,
    clock_fault: Option<ClockReport>,
    damage: Option<DamageReport>,
}

#[derive(Serialize)]
pub(super) struct TimedVerdict {
    pub(super) at_s: f64,
    #[serde(flatten)]
    pub(super) verdict: Verdict,
}

impl TimedVerdict {
    pub(super) fn new(at: Timestamp, verdict: Verdict) -> Self {
        Self { at_s: seconds(at), verdict }
    }
}

#[derive(Serialize)]
struct SourceRow {
    source: IpAddr,
    packets: u64,
    dropped: u64,
    blocked_at_s: Option<f64>,
}

#[derive(Serialize)]
struct ClockReport {
    #[serde(flatten)]
    fault: ClockFault,
    /// In words, with what it means.
    what: String,
}

#[derive(Serialize)]
struct DamageReport {
    offset_bytes: u64,
    packet: u64,
    what: String,
}

impl ReplayArgs {
    pub(super) fn run(&self) -> Result<Answer> {
        let config = Config::load(self.config.as_deref())?;
        let protected = self.protected()?;
        let bar = self.progress_bar();
        let capture = self.open(&bar)?;
        let mut watched: Vec<Watched> = self.explain.iter().copied().map(Watched::new).collect();
        let asked: Vec<Source> = watched.iter().map(Watched::source).collect();
        let progress = |packets| bar.set_message(format!("{} packets", units::count(as_f64(packets))));
        let replayed = replay_asked(capture, &protected, &config, &asked, progress, |event| {
            if let Event::Arrived(arrival) = event {
                watched.iter_mut().for_each(|watched| watched.take(&arrival));
            }
        })?;
        let settings = &config.detection;
        let explained =
            watched.iter().map(|watched| watched.explain(&replayed, &protected, settings)).collect();
        bar.finish_and_clear();
        let damage = replayed.damage.clone();
        let report = self.report(replayed, explained, &protected, &config);
        print_report(self.json, &report, || text(&report))?;
        match damage {
            None => Ok(Answer::Done),
            Some(Damage { offset_bytes, packet, what }) => bail!(
                "{} is damaged at byte {offset_bytes} (uncompressed), after {packet} packets: {what}; what stands \
                 before was reported",
                self.file.display()
            ),
        }
    }

    fn protected(&self) -> Result<Protected> {
        if !self.victims.is_empty() {
            return Ok(Protected::Named(self.victims.iter().map(IpAddr::to_canonical).collect()));
        }
        if !self.file.is_file() {
            return Ok(Protected::Everybody);
        }
        let bar = self.progress_bar();
        bar.set_message("looking for the protected host");
        let host = protected_host(self.open(&bar)?);
        bar.finish_and_clear();
        Ok(host.map_or(Protected::Everybody, Protected::Inferred))
    }

    fn progress_bar(&self) -> ProgressBar {
        byte_bar(self.file.metadata().map_or(0, |metadata| metadata.len()))
    }

    fn open(&self, bar: &ProgressBar) -> Result<Capture> {
        if self.file == Path::new("-") {
            return Capture::open(&self.file);
        }
        let file = File::open(&self.file).with_context(|| format!("cannot open {}", self.file.display()))?;
        Capture::from_reader(bar.wrap_read(file), &self.file.display().to_string())
    }

    fn report(
        &self,
        replayed: Replayed,
        explained: Vec<Explanation>,
        protected: &Protected,
        config: &Config,
    ) -> Report {
        let (addresses, protected_by) = match protected {
            Protected::Named(addresses) => (addresses.clone(), "--victim"),
            Protected::Inferred(address) => (vec![*address], "inferred"),
            Protected::Everybody => (Vec::new(), "none"),
        };
        let dropped = |(outcome, count): (Outcome, u64)| if outcome.is_drop() { count } else { 0 };
        let dropped_packets = Outcome::ALL.into_iter().zip(replayed.outcomes).map(dropped).sum();
        let arrived: u64 = replayed.outcomes.iter().sum();
        let nothing_to_decide = replayed.verdicts.is_empty().then(|| {
            let nobody_is_there =
                replayed.packets > 0 && !addresses.is_empty() && replayed.absent == addresses;
            if nobody_is_there { goes_to_nobody(&addresses) } else { nothing(&replayed, config) }
        });
        Report {
            capture: self.file.display().to_string(),
            packets: replayed.packets,
            bytes: replayed.bytes,
            duration_s: replayed.duration.as_secs_f64(),
            source_count: replayed.addresses.len(),
            protected: addresses,
            protected_by,
            attack: replayed.verdicts.iter().any(|(_, verdict)| verdict.vector.is_blocked()),
            nothing_to_decide,
            outgoing_packets: replayed.outgoing_packets,
            own_packets: replayed.own_packets,
            absent: replayed.absent.clone(),
            passed_packets: arrived - dropped_packets,
            dropped_packets,
            outcomes: Outcome::ALL.iter().map(|outcome| outcome.name()).zip(replayed.outcomes).collect(),
            sources: self.sources(&replayed),
            unlisted_packets: replayed.unlisted_packets,
            peaks: peaks(&replayed),
            explained,
            verdicts: replayed
                .verdicts
                .into_iter()
                .map(|(at, verdict)| TimedVerdict::new(at, verdict))
                .collect(),
            clock_fault: replayed.clock_fault.map(|fault| ClockReport { fault, what: fault.to_string() }),
            damage: replayed.damage.map(|Damage { offset_bytes, packet, what }| DamageReport {
                offset_bytes,
                packet,
                what,
            }),
        }
    }

    fn sources(&self, replayed: &Replayed) -> Vec<SourceRow> {
        let row = |(address, totals): &(IpAddr, AddressTotals)| SourceRow {
            source: *address,
            packets: totals.packets,
            dropped: totals.dropped,
            blocked_at_s: totals.blocked_at.map(seconds),
        };
        replayed
            .addresses
            .iter()
            .filter(|(_, totals)| self.all_sources || totals.dropped > 0)
            .map(row)
            .collect()
    }
}

fn peaks(replayed: &Replayed) -> BTreeMap<&'static str, f64> {
    let seen = Vector::ALL.iter().zip(&replayed.peaks).filter(|(_, peak)| **peak > 0.0);
    seen.map(|(vector, peak)| (vector.name(), *peak)).collect()
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of a capture, shown as seconds")]
pub(super) fn seconds(at: Timestamp) -> f64 {
    at.ns as f64 / 1e9
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

fn goes_to_nobody(absent: &[IpAddr]) -> String {
    let absent: Vec<String> = absent.iter().map(ToString::to_string).collect();
    format!("no packet of the capture goes to {}", absent.join(" or "))
}

/// Which vector came closest to its floor.
fn nothing(replayed: &Replayed, config: &Config) -> String {
    if replayed.packets == 0 {
        return "the capture has no packets".to_owned();
    }
    let floor = |vector: Vector| vector.floors().total * config.detection.patience;
    let closest = Vector::ALL
        .into_iter()
        .zip(&replayed.peaks)
        .filter(|(_, peak)| **peak > 0.0)
        .max_by(|(a, peak_a), (b, peak_b)| (*peak_a / floor(*a)).total_cmp(&(*peak_b / floor(*b))));
    match closest {
        None => "no packet that arrived is of a kind that attacks are made of".to_owned(),
        Some((vector, peak)) if *peak < floor(vector) => format!(
            "no kind of traffic reached the floor below which it is no attack; the closest were {}: {} {} at the \
             peak, the floor is {}",
            vector.traffic(),
            units::count(*peak),
            vector.unit(),
            units::count(floor(vector))
        ),
        Some((vector, peak)) => format!(
            "{} reached {} {}, over the floor of {}, but {}",
            vector.traffic(),
            units::count(*peak),
            vector.unit(),
            units::count(floor(vector)),
            match vector.comparison() {
                Comparison::Peers =>
                    "without quieter clients and a quiet time before, there is nothing to tell an attacker from a \
                     busy client by",
                Comparison::Floors =>
                    "no source sent enough of it for long enough, and they were too few for a flood of many",
            }
        ),
    }
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{}: {} packets, {} bytes, {} sources, {:.1} s",
        printable(&report.capture),
        units::count(as_f64(report.packets)),
        units::count(as_f64(report.bytes)),
        report.source_count,
        report.duration_s
    );
    text.push_str(&protected_text(report));
    if let Some(ClockReport { what, .. }) = &report.clock_fault {
        let _ = writeln!(text, "{}", explanation::wrapped(&format!("Warning: {what}.")));
    }
    for explanation in &report.explained {
        let _ = write!(text, "\n{}", explanation.text(Ink::of_stdout()));
    }
    if !report.explained.is_empty() {
        return text;
    }
    if let Some(reason) = &report.nothing_to_decide {
        let _ = writeln!(text, "\nnothing to decide: {reason}");
        return text;
    }
    text.push('\n');
    text.push_str(&verdict_table(&report.verdicts));
    let _ = writeln!(
        text,
        "\ndropped {} of {} packets that arrived, from {} addresses",
        units::count(as_f64(report.dropped_packets)),
        units::count(as_f64(report.dropped_packets + report.passed_packets)),
        report.sources.iter().filter(|row| row.dropped > 0).count()
    );
    text.push_str(&source_table(&report.sources));
    text
}

/// Whose packets were judged, and what was left out.
fn protected_text(report: &Report) -> String {
    let protected: Vec<String> = report.protected.iter().map(ToString::to_string).collect();
    let protected = protected.join(", ");
    let own = units::count(as_f64(report.own_packets));
    match report.protected_by {
        "none" if report.capture == "-" => {
            "a stream is read once, so every packet is judged; `--victim ADDR` names a host to protect\n"
                .to_owned()
        }
        "none" => {
            "no single host stands out, so every packet is judged; `--victim ADDR` names one\n".to_owned()
        }
        "inferred" => format!(
            "protected: {protected} (takes part in most packets; `--victim` names another), {own} of its own packets \
             left out\n"
        ),
        // The reason says it all.
        _ if report.absent == report.protected && report.nothing_to_decide.is_some() => String::new(),
        _ => {
            let others = units::count(as_f64(report.outgoing_packets - report.own_packets));
            let absent = if report.absent.is_empty() {
                String::new()
            } else {
                format!("{}\n", goes_to_nobody(&report.absent))
            };
            format!(
                "protected: {protected} (named), {own} of its own packets and {others} to others left out\n{absent}"
            )
        }
    }
}

fn verdict_table(verdicts: &[TimedVerdict]) -> String {
    let heading = [
        ("AT", Align::Right),
        ("VECTOR", Align::Left),
        ("DECISION", Align::Left),
        ("SEEN", Align::Right),
        ("TARGET", Align::Left),
    ];
    let rows: Vec<Vec<String>> = verdicts
        .iter()
        .take(SHOWN_ROWS)
        .map(|timed| {
            vec![
                format!("{:.2}s", timed.at_s),
                timed.verdict.vector.name().to_owned(),
                timed.verdict.decision.name().to_owned(),
                units::measured(&timed.verdict),
                timed.verdict.subject.to_string(),
            ]
        })
        .collect();
    let mut text = table(&heading, &rows);
    if verdicts.len() > SHOWN_ROWS {
        let vectors: BTreeSet<&str> = verdicts.iter().map(|timed| timed.verdict.vector.name()).collect();
        let vectors: Vec<&str> = vectors.into_iter().collect();
        let _ = writeln!(
            text,
            "and {} more verdicts ({}); `--json` lists them all",
            verdicts.len() - SHOWN_ROWS,
            vectors.join(", ")
        );
    }
    text
}

fn source_table(sources: &[SourceRow]) -> String {
    if sources.is_empty() {
        return String::new();
    }
    let mut loudest: Vec<&SourceRow> = sources.iter().collect();
    loudest.sort_by(|a, b| {
        b.dropped.cmp(&a.dropped).then(b.packets.cmp(&a.packets)).then(a.source.cmp(&b.source))
    });
    let heading = [
        ("SOURCE", Align::Left),
        ("PACKETS", Align::Right),
        ("DROPPED", Align::Right),
        ("BLOCKED AT", Align::Right),
    ];
    let rows: Vec<Vec<String>> = loudest
        .iter()
        .take(SHOWN_ROWS)
        .map(|row| {
            vec![
                row.source.to_string(),
                units::count(as_f64(row.packets)),
                units::count(as_f64(row.dropped)),
                row.blocked_at_s.map_or_else(|| "-".to_owned(), |at| format!("{at:.2}s")),
            ]
        })
        .collect();
    let more = sources.len().saturating_sub(SHOWN_ROWS);
    let note = if more > 0 { format!("and {more} more; `--json` lists them all\n") } else { String::new() };
    table(&heading, &rows) + &note
}
