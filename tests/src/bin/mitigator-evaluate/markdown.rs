//! The report as Markdown.

use std::fmt::Write as _;

use mitigator_tests::numbers::thousands;

use crate::comparison::{Comparison, Score};
use crate::figures::Figures;
use crate::kinds;
use crate::report::{Report, Row};
use crate::rivals::Stopped;
use crate::share::share;
use crate::summary::{Count, Line};
use crate::synthetic;
use crate::tally::Packets;

/// A chart beside the text: where it is, and what it shows.
pub(crate) struct Chart {
    pub(crate) path: String,
    pub(crate) caption: String,
}

pub(crate) const NOTHING: &str = "–";

/// The whole text, ending in a line feed.
pub(crate) fn of(report: &Report, charts: &[Chart]) -> String {
    let mut text = String::new();
    for part in [
        "# Detection, measured\n".to_owned(),
        format!(
            "This page is written by `{}`; nothing in it is by hand. What visitors of a real server notice is in\n\
             [detection-live.md](detection-live.md).\n",
            report.origin.command
        ),
        summary(report),
        captures(report),
        mixes(report),
        comparison(report),
        if report.scenarios.is_empty() { String::new() } else { synthetic::section(&report.scenarios) },
        pictures(charts),
        method(report),
    ] {
        if !part.is_empty() {
            text.push_str(&part);
            text.push('\n');
        }
    }
    text.truncate(text.trim_end().len());
    text + "\n"
}

fn summary(report: &Report) -> String {
    let captures = report.summary.captures.lines();
    let mixes = report.summary.mixes.lines();
    let rows = captures.iter().zip(&mixes).map(|(alone, mixed)| {
        vec![alone.what.to_owned(), alone.target.to_owned(), counted(alone), counted(mixed)]
    });
    let heading = [
        "",
        "target",
        &format!("{} captures", report.summary.captures.runs),
        &format!("{} mixes", report.summary.mixes.runs),
    ];
    format!("## Summary\n\n{}", table(&heading, rows))
}

fn counted(line: &Line) -> String {
    let Count { of, count } = line.count;
    let share = if of > 1 { format!(" ({})", percent(Some(line.count.share()))) } else { String::new() };
    match line.is_met {
        None => NOTHING.to_owned(),
        Some(is_met) => {
            format!("{} {} of {}{share}", if is_met { "✓" } else { "✗" }, number(count), number(of))
        }
    }
}

fn captures(report: &Report) -> String {
    let row = |run: &Figures| {
        let after = run.attack_after_verdict;
        let mut cells = vec![
            run.capture.clone(),
            run.kind.clone(),
            vectors(run),
            named_after(run),
            number(run.attack.arrived),
            if run.verdict_after_s.is_some() { number(after.arrived) } else { NOTHING.to_owned() },
            stopped_share(after),
            lost(run.innocents_blocked, run.innocents),
            lost(run.benign.dropped, run.benign.arrived),
        ];
        cells.extend([run.k_means, run.threshold, run.ours()].map(|stopped| in_all(run, stopped)));
        cells
    };
    let threshold = format!("pps > {}", report.comparison.best_threshold);
    let heading = [
        "capture",
        "kind",
        "verdicts",
        "named after",
        "attack packets",
        "after the verdict",
        "of them stopped",
        "innocents blocked",
        "benign packets lost",
        "K-Means",
        &threshold,
        "ours",
    ];
    let mut text = format!("## Captures\n\n{}", table(&heading, report.captures.iter().map(row)));
    text.push_str(
        "\nVerdicts in bold are right for the kind. In brackets: since the very first packet of an attacker, where that is \
         longer. Scans and password guessing are reported, not stopped. The last three columns are the share of all attack packets that a \
         method stops, over the whole capture, and the innocents that it blocks.\n",
    );
    for run in &report.captures {
        if let Some(damage) = &run.damage {
            let _ = writeln!(text, "\n`{}` is damaged: {damage}.", run.capture);
        }
    }
    text
}

fn vectors(run: &Figures) -> String {
    let spelled = |(name, is_right)| if is_right { format!("**{name}**") } else { String::from(name) };
    let names: Vec<String> = run.named_vectors().into_iter().map(spelled).collect();
    if names.is_empty() { NOTHING.to_owned() } else { names.join(", ") }
}

/// From the beginning of the attack; where attackers sent something long before, from there as well.
fn named_after(run: &Figures) -> String {
    match (run.verdict_after_s, run.verdict_after_first_packet_s) {
        (Some(after), Some(longer)) if longer - after > 0.1 => format!("{after:.2} s ({longer:.2} s)"),
        (after, _) => seconds(after),
    }
}

fn in_all(run: &Figures, stopped: Stopped) -> String {
    format!("{} / {}", percent(share(stopped.attack_packets, run.attack.arrived)), stopped.innocents)
}

fn mixes(report: &Report) -> String {
    let row = |row: &Row| {
        vec![
            row.half.clone(),
            format!("{} of {}", row.named, row.mixes),
            seconds(row.median_verdict_after_s),
            seconds(row.latest_verdict_after_s),
            percent(row.least_stopped_share),
            percent(row.median_stopped_share),
            lost(row.innocents_blocked.count, row.innocents_blocked.of),
            lost(row.benign_packets_lost.count, row.benign_packets_lost.of),
        ]
    };
    let columns = [
        "named",
        "after, median",
        "after, latest",
        "stopped, least",
        "stopped, median",
        "innocents blocked",
        "benign packets lost",
    ];
    let heading = |half| [&[half][..], &columns].concat();
    format!(
        "## Mixes\n\nEach attack over each benign capture. Stopped is the share of the attack packets after the verdict \
         that were dropped.\n\n{}\n{}",
        table(&heading("attack"), report.attacks_in_mixes.iter().map(row)),
        table(&heading("benign half"), report.benign_halves.iter().map(row))
    )
}

fn comparison(report: &Report) -> String {
    let threshold = format!("a source over {} packets/s", report.comparison.best_threshold);
    let rows = |runs: &'static str, comparison: &Comparison| {
        let offered = comparison.offered;
        let row = |method: &str, score: &Score| {
            vec![
                runs.to_owned(),
                method.to_owned(),
                percent(score.precision),
                percent(score.recall),
                lost(score.stopped.innocents, offered.innocents),
                lost(score.stopped.benign_packets, offered.benign_packets),
            ]
        };
        [
            row("K-Means, k = 2, on packets per source", &comparison.k_means),
            row(&threshold, &comparison.threshold),
            row("mitigator", &comparison.ours),
        ]
    };
    let heading = [
        "runs",
        "method",
        "precision (packets)",
        "recall (packets)",
        "innocents blocked",
        "benign packets lost",
    ];
    let all = rows("captures", &report.comparison.captures).into_iter();
    format!(
        "## Comparison\n\nRecall is over all attack packets, those before the verdict included; scans and password \
         guessing, which are reported and not stopped, do not count in it. The other two get more than they would in \
         life: K-Means sees a whole capture before it decides and then blocks the cluster with the larger centroid from \
         its first packet; the threshold is the best one in hindsight, over all runs together (share of attack packets \
         stopped less share of benign packets lost), and blocks a source from the packet on that exceeds it in one \
         second.\n\n{}",
        table(&heading, all.chain(rows("mixes", &report.comparison.mixes)))
    )
}

fn pictures(charts: &[Chart]) -> String {
    let mut text = String::from(
        "## Charts\n\nTime lines show the attack and ten seconds around it. The others show every source in its loudest \
         second, a cross for an attacker and a disc for an innocent, in the colours of the groups that mitigator's \
         K-Means finds among all of them. mitigator itself groups only the sources that carry an alarm's traffic, by \
         the rate of that traffic, its share and the size.\n",
    );
    for chart in charts {
        let _ = writeln!(text, "\n![{}]({})", chart.caption, chart.path);
    }
    text
}

fn method(report: &Report) -> String {
    let origin = &report.origin;
    let kinds = kinds::rows().map(|(kind, right)| vec![kind.to_owned(), right]);
    format!(
        "## How it was measured\n\n\
         - `{}` on {} labelled captures; mitigator {}{}; {}, kernel {}. Figures do not depend on the machine.\n\
         - Each capture goes through the library's replay with the default configuration. Protected are the victims \
         that the label names, otherwise the host that `mitigator replay` infers. Only packets that arrive there count; \
         those of protected hosts, and those that cannot be parsed, count as neither attack nor benign.\n\
         - An attack is named by the first verdict after its first packet that has a right vector (below) and blames no \
         innocent; the time is from the beginning of the attack, which is the packet before which there was at most a \
         thousandth of the attack. Right for a kind that is not listed is the vector of that name.\n\
         - A source is innocent when the labels do not call it an attacker; it is blocked when there was a block of its \
         own (IPv6: of its /64) at any time. Attackers are loud when they send 100 packets or more each on average.\n\
         - In a mix the attack begins a third of the way into the benign capture, which is repeated until it lasts 15 s. \
         Pauses over 10 s become 10 s in both; otherwise times stay as they are. An address that is in both moves to \
         another prefix in the benign half. Protected are the hosts of both; where the benign half is about nobody in \
         particular, every packet arrives, and the victims are on the allow list.\n\n{}",
        origin.command,
        origin.captures,
        origin.version,
        origin.commit.as_ref().map(|commit| format!(", commit {commit}")).unwrap_or_default(),
        origin.processor,
        origin.kernel,
        table(&["kind", "right vectors"], kinds)
    )
}

pub(crate) fn table(heading: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = format!("| {} |\n|{}\n", heading.join(" | "), "---|".repeat(heading.len()));
    for row in rows {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text
}

#[expect(clippy::cast_precision_loss, reason = "shown in whole packets, of which there are fewer than 2^53")]
pub(crate) fn number(count: u64) -> String {
    thousands(count as f64)
}

pub(crate) fn lost(count: u64, of: u64) -> String {
    if of == 0 { NOTHING.to_owned() } else { format!("{} of {}", number(count), number(of)) }
}

pub(crate) fn stopped_share(packets: Packets) -> String {
    percent(share(packets.dropped, packets.arrived))
}

/// Rounded down, so that 100 % is all.
pub(crate) fn percent(share: Option<f64>) -> String {
    share.map_or(NOTHING.to_owned(), |share| format!("{} %", (share * 1_000.0).floor() / 10.0))
}

pub(crate) fn seconds(time: Option<f64>) -> String {
    time.map_or(NOTHING.to_owned(), |time| format!("{time:.2} s"))
}

/// The summary for a terminal, ending in a line feed.
pub(crate) fn short_summary(report: &Report) -> String {
    let summaries = [("captures", &report.summary.captures), ("mixes", &report.summary.mixes)];
    let mut text = String::new();
    for (runs, summary) in summaries {
        let _ = writeln!(text, "{} {runs}", summary.runs);
        for line in summary.lines() {
            let _ = writeln!(text, "  {:<42}{:<42} target {}", line.what, counted(&line), line.target);
        }
    }
    if !report.scenarios.is_empty() {
        text.push_str(&synthetic::short_summary(&report.scenarios));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_all_only_when_it_is() {
        for (share, expected) in [
            (None, "–"),
            (Some(1.0), "100 %"),
            (Some(0.9999), "99.9 %"),
            (Some(0.95), "95 %"),
            (Some(0.0), "0 %"),
        ] {
            assert_eq!(percent(share), expected, "{share:?}");
        }
    }
}
