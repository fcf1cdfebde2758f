//! What `mitigator logs` says of a log: the report, and how people see it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use serde::Serialize;

use super::logs_apply::Applied;
use crate::logs::client::Who;
use crate::logs::features::{COLUMN_NAMES, Features};
use crate::logs::gates::number;
use crate::logs::grouping::Grouping;
use crate::logs::judge::{Case, Decision, Explained, Verdict};
use crate::logs::list::Change;
use crate::logs::reading::{BadLine, Damage};
use crate::pipeline::target::Target;
use crate::report::output::{Align, Ink, printable, table};
use crate::report::units;

/// Bad lines that are shown to people.
const SHOWN_BAD_LINES: usize = 20;
/// One bad line of so many is worth a warning.
const FEW_BAD_LINES: u64 = 100;

#[derive(Serialize)]
pub(super) struct Report {
    pub(super) logs: Vec<String>,
    pub(super) lines: u64,
    pub(super) bad_lines: u64,
    /// With `--show-bad`.
    pub(super) bad: Vec<BadLine>,
    pub(super) formats: BTreeMap<&'static str, u64>,
    pub(super) requests: u64,
    pub(super) first_unix_ms: Option<i64>,
    pub(super) last_unix_ms: Option<i64>,
    pub(super) undated_requests: u64,
    pub(super) late_requests: u64,
    pub(super) forwarded_requests: u64,
    pub(super) unlisted_requests: u64,
    pub(super) client_count: usize,
    /// Somebody is blamed.
    pub(super) attack: bool,
    pub(super) verdicts: Vec<Verdict>,
    /// Why nobody is blocked; null when somebody is.
    pub(super) nothing_to_decide: Option<String>,
    pub(super) cases: Vec<Case>,
    pub(super) everybody: Everybody,
    pub(super) clients: Vec<ClientRow>,
    pub(super) explained: Vec<Explanation>,
    /// Blamed, but by evidence that is too old.
    pub(super) stale: Vec<Target>,
    /// Who is blocked, or would be but for `dry_run`.
    pub(super) planned: Vec<Target>,
    pub(super) dry_run: bool,
    /// Of the file that was asked for.
    pub(super) blocklist: Option<Change>,
    pub(super) applied: Option<Applied>,
    pub(super) plots: Vec<PathBuf>,
    pub(super) damage: Option<Damage>,
}

#[derive(Serialize)]
pub(super) struct Everybody {
    pub(super) columns: [&'static str; COLUMN_NAMES.len()],
    #[serde(flatten)]
    pub(super) grouping: Grouping,
}

#[derive(Serialize)]
pub(super) struct ClientRow {
    pub(super) client: Who,
    pub(super) group: Option<usize>,
    pub(super) distance: Option<f64>,
    pub(super) decision: Option<Decision>,
    #[serde(flatten)]
    pub(super) features: Features,
}

#[derive(Serialize)]
pub(super) struct Explanation {
    pub(super) client: String,
    /// Whether the log has it.
    pub(super) seen: bool,
    pub(super) features: Option<Features>,
    pub(super) vectors: Vec<Explained>,
    pub(super) conclusion: String,
}

pub(super) fn headline(report: &Report) -> String {
    let blocked = report.verdicts.iter().filter(|verdict| verdict.decision == Decision::Block).count();
    format!(
        "{} of {} in {}: {} to block",
        units::counted(report.requests, "request", "requests"),
        units::counted(report.client_count as u64, "client", "clients"),
        units::counted(report.lines, "line", "lines"),
        if blocked == 0 { "nobody".to_owned() } else { units::counted(blocked as u64, "client", "clients") },
    )
}

pub(super) fn text(report: &Report, show_bad: bool) -> String {
    let ink = Ink::of_stdout();
    let mut text = format!("{}\n", ink.strong(&headline(report)));
    if let (Some(first), Some(last)) = (report.first_unix_ms, report.last_unix_ms) {
        let shown = |at: i64| u64::try_from(at).map_or_else(|_| "before 1970".to_owned(), units::unix_ms);
        let _ = writeln!(text, "from {} to {}", shown(first), shown(last));
    }
    write_faults(&mut text, report, show_bad);
    text.push('\n');
    match &report.nothing_to_decide {
        Some(why) => {
            let _ = writeln!(text, "Nobody is blocked: {why}.");
        }
        None => text.push_str(&ink.bad("Blamed:\n")),
    }
    for verdict in &report.verdicts {
        write_verdict(&mut text, verdict);
    }
    for case in report.cases.iter().filter(|case| case.alarm) {
        write_case(&mut text, case);
    }
    write_clients(&mut text, report);
    write_trials(&mut text, &report.everybody.grouping);
    for explanation in &report.explained {
        write_explanation(&mut text, explanation);
    }
    write_deeds(&mut text, report);
    text
}

fn write_faults(text: &mut String, report: &Report, show_bad: bool) {
    let mut fault = |count: u64, what: &str| {
        if count > 0 {
            let _ = writeln!(text, "{count} {what}");
        }
    };
    fault(
        report.bad_lines,
        if show_bad { "lines could not be read:" } else { "lines could not be read; --show-bad shows them" },
    );
    fault(report.undated_requests, "requests have no time and count to no rate");
    fault(
        report.late_requests,
        "requests are dated before one that precedes them, and counted by their time",
    );
    fault(report.unlisted_requests, "requests are of clients past the first 1,048,576, who are not judged");
    for line in report.bad.iter().take(SHOWN_BAD_LINES) {
        let _ = writeln!(
            text,
            "  {}, line {}: {}: {}",
            printable(&line.file),
            line.line,
            line.what,
            printable(&line.text)
        );
    }
    if report.bad.len() > SHOWN_BAD_LINES {
        let _ = writeln!(
            text,
            "  and {} more; --json shows up to 1,000",
            report.bad_lines - SHOWN_BAD_LINES as u64
        );
    }
    if report.bad_lines * FEW_BAD_LINES > report.lines {
        text.push_str("more than 1 % of the lines could not be read: who wrote them is not judged\n");
    }
}

fn write_verdict(text: &mut String, verdict: &Verdict) {
    let Verdict { client, vector, decision, features, page, .. } = verdict;
    let deed = match decision {
        Decision::Block => "block",
        Decision::Observe => "only shown",
    };
    let page = page.as_deref().map_or_else(String::new, |page| format!(", mostly {}", printable(page)));
    let _ = writeln!(
        text,
        "\n{}  {}  {deed}: {} requests{page}; group {}, {} standard deviations from its centroid",
        printable(&client.to_string()),
        vector.name(),
        number(features.requests),
        verdict.group,
        number(verdict.distance)
    );
    for gate in verdict.gates.iter().filter(|gate| gate.passed) {
        let _ = writeln!(text, "  {}", gate.sentence());
    }
    if let Some(why) = verdict.kept {
        let _ = writeln!(text, "  not blocked: {why}");
    }
}

fn write_case(text: &mut String, case: &Case) {
    let _ = writeln!(
        text,
        "\nAlarm: {}, carried by {}",
        case.vector.name(),
        units::counted(case.carriers as u64, "client", "clients")
    );
    for gate in &case.gates {
        let _ = writeln!(text, "  {}", gate.sentence());
    }
    let heading = [
        ("GROUP", Align::Right),
        ("CLIENTS", Align::Right),
        ("CENTROID", Align::Right),
        ("", Align::Left),
        ("REQUESTS", Align::Right),
        ("ONE PAGE", Align::Right),
        ("ERRORS", Align::Right),
        ("", Align::Left),
    ];
    let rows: Vec<Vec<String>> = case
        .groups
        .iter()
        .enumerate()
        .map(|(place, group)| {
            vec![
                place.to_string(),
                group.clients.to_string(),
                number(group.centroid),
                group.unit.to_owned(),
                number(group.requests),
                percent(group.page_share),
                percent(group.error_share),
                if group.is_attacking { "attacks".to_owned() } else { String::new() },
            ]
        })
        .collect();
    text.push_str(&table(&heading, &rows));
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn write_clients(text: &mut String, report: &Report) {
    let heading = [
        ("CLIENT", Align::Left),
        ("REQUESTS", Align::Right),
        ("PEAK/s", Align::Right),
        ("PAGES", Align::Right),
        ("ONE PAGE", Align::Right),
        ("ERRORS", Align::Right),
        ("POST", Align::Right),
        ("AGENTS", Align::Right),
        ("BYTES", Align::Right),
        ("GROUP", Align::Right),
        ("", Align::Left),
    ];
    let rows: Vec<Vec<String>> = report
        .clients
        .iter()
        .map(|row| {
            let features = &row.features;
            vec![
                printable(&row.client.to_string()),
                number(features.requests),
                number(features.peak_per_second),
                number(features.pages),
                percent(features.page_share),
                percent(features.error_share),
                percent(features.post_share),
                number(features.agents),
                units::count(features.bytes),
                row.group.map_or_else(String::new, |group| group.to_string()),
                match row.decision {
                    Some(Decision::Block) => "block".to_owned(),
                    Some(Decision::Observe) => "only shown".to_owned(),
                    None => String::new(),
                },
            ]
        })
        .collect();
    let _ = writeln!(
        text,
        "\nThe loudest of {} (--limit 0 lists all):",
        units::counted(report.client_count as u64, "client", "clients")
    );
    text.push_str(&table(&heading, &rows));
}

fn write_trials(text: &mut String, grouping: &Grouping) {
    if grouping.trials.len() < 2 {
        return;
    }
    let heading = [
        ("GROUPS", Align::Right),
        ("INERTIA", Align::Right),
        ("SILHOUETTE", Align::Right),
        ("", Align::Left),
    ];
    let rows: Vec<Vec<String>> = grouping
        .trials
        .iter()
        .map(|trial| {
            vec![
                trial.groups.to_string(),
                number(trial.inertia),
                format!("{:.2}", trial.silhouette),
                if trial.groups == grouping.chosen { "chosen".to_owned() } else { String::new() },
            ]
        })
        .collect();
    text.push_str("\nHow all of them divide (nobody is judged by it):\n");
    text.push_str(&table(&heading, &rows));
}

fn write_explanation(text: &mut String, explanation: &Explanation) {
    let _ = writeln!(text, "\n{}: {}", printable(&explanation.client), explanation.conclusion);
    for explained in &explanation.vectors {
        let _ = writeln!(text, "  {}: {}", explained.vector.name(), explained.conclusion);
        for gate in &explained.gates {
            let _ = writeln!(text, "    {} {}", if gate.passed { "✓" } else { "✗" }, gate.sentence());
        }
    }
}

fn write_deeds(text: &mut String, report: &Report) {
    text.push('\n');
    for target in &report.stale {
        let _ = writeln!(
            text,
            "{target} is left alone: a block would be over by now, counted from the last evidence, or that is more than 24 hours \
             old, and the address may be somebody else's by now; --force blocks it from now on"
        );
    }
    if let Some(Change { added, prolonged, ended, standing }) = &report.blocklist {
        let list = if report.dry_run { "the list would change" } else { "list" };
        let _ =
            writeln!(text, "{list}: {added} added, {prolonged} prolonged, {ended} ended, {standing} stand");
    }
    if let Some(Applied { blocked, standing, refused }) = &report.applied {
        let _ = writeln!(text, "blocked in the kernel: {}", blocked.len());
        for target in standing {
            let _ = writeln!(text, "blocked for longer already: {target}");
        }
        for refused in refused {
            let _ = writeln!(text, "not blocked: {}: {}", refused.target, refused.why);
        }
    }
    for plot in &report.plots {
        let _ = writeln!(text, "drew {}", printable(&plot.display().to_string()));
    }
    if !report.dry_run {
        return;
    }
    for target in &report.planned {
        let _ = writeln!(text, "would block {target}");
    }
    if report.verdicts.iter().any(|verdict| verdict.decision == Decision::Block) {
        text.push_str("Nothing was changed: --blocklist FILE keeps a list, --apply blocks in the kernel.\n");
    }
}
