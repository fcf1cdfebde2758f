//! `mitigator replay`: the same decisions on a capture, without rights, in the capture's time.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs::File;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use indicatif::ProgressBar;
use mitigator_common::Source;
use serde::Serialize;

use super::Answer;
use super::explained::{Explanation, Watched};
use super::progress::byte_bar;
use crate::capture::{Capture, Damage, protected_host};
use crate::config::Config;
use crate::opinion::Opinions;
use crate::replay::{Event, Protected, Questions, replay_asked};
use crate::report::explanation;
use crate::report::output::{Align, Ink, print_report, printable, table};
use crate::report::replayed::{
    ClockReport, Listed, ReplayReport, SourceRow, TimedVerdict, as_f64, goes_to_nobody,
};
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
    /// Tell with each verdict what this model, of `mitigator train flows`, says of the flows of who is blamed; it decides
    /// nothing
    #[arg(long, value_name = "FILE")]
    flow_model: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl ReplayArgs {
    pub(super) fn run(&self) -> Result<Answer> {
        let config = Config::load(self.config.as_deref())?;
        let model = self.flow_model.as_deref().or(config.flow_model.path.as_deref());
        let opinions = model.map(Opinions::open).transpose()?;
        let protected = self.protected()?;
        let bar = self.progress_bar();
        let capture = self.open(&bar)?;
        let mut watched: Vec<Watched> = self.explain.iter().copied().map(Watched::new).collect();
        let asked: Vec<Source> = watched.iter().map(Watched::source).collect();
        let questions = Questions { asked, opinions };
        let progress = |packets| bar.set_message(format!("{} packets", units::count(as_f64(packets))));
        let replayed = replay_asked(capture, &protected, &config, questions, progress, |event| {
            if let Event::Arrived(arrival) = event {
                watched.iter_mut().for_each(|watched| watched.take(&arrival));
            }
        })?;
        let settings = &config.detection;
        let explained =
            watched.iter().map(|watched| watched.explain(&replayed, &protected, settings)).collect();
        bar.finish_and_clear();
        let damage = replayed.damage.clone();
        let capture = self.file.display().to_string();
        let listed = if self.all_sources { Listed::All } else { Listed::WithDrops };
        let report =
            Report { replayed: ReplayReport::new(capture, replayed, &protected, &config, listed), explained };
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
}

/// What is printed: the report, and what was asked about single addresses.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    replayed: ReplayReport,
    /// Of the addresses that were asked about.
    explained: Vec<Explanation>,
}

fn text(Report { replayed: report, explained }: &Report) -> String {
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
    for explanation in explained {
        let _ = write!(text, "\n{}", explanation.text(Ink::of_stdout()));
    }
    if !explained.is_empty() {
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
fn protected_text(report: &ReplayReport) -> String {
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
        ("SECOND OPINION", Align::Left),
    ];
    // Without a model there is no such column.
    let is_asked = verdicts.iter().any(|timed| timed.verdict.evidence.second_opinion.is_some());
    let width = if is_asked { heading.len() } else { heading.len() - 1 };
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
                timed.verdict.evidence.second_opinion.as_deref().map_or_else(String::new, units::opinion),
            ]
        })
        .map(|mut row| {
            row.truncate(width);
            row
        })
        .collect();
    let mut text = table(&heading[..width], &rows);
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
