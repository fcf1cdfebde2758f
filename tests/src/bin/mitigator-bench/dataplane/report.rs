//! What was measured, as text, JSON and Markdown.

use std::fmt::Write;

use mitigator_tests::machine;
use mitigator_tests::numbers::thousands;
use serde::Serialize;

use super::subject::{OURS, XDP_FILTER};
use super::traffic::{Form, GOOD_SOURCES};

/// Everything that was measured, and with what.
#[derive(Serialize)]
pub(crate) struct Report {
    version: &'static str,
    commit: Option<String>,
    processor: String,
    kernel: String,
    /// The least that a packet took in bare `XDP_DROP`.
    best_bare_drop_ns: f64,
    /// Instructions that the verifier walked through.
    verified_instructions: Option<u32>,
    bursts: u32,
    cases: Vec<Case>,
}

/// The same traffic through each program.
#[derive(Serialize)]
pub(crate) struct Case {
    blocked_sources: u32,
    senders: &'static str,
    form: Form,
    bare_drop_ns: f64,
    programs: Vec<Program>,
    /// What mitigator takes as a share of what the peer does, both over bare drop.
    ratio: Option<f64>,
}

/// One program, in nanoseconds per packet over the median of bare drop.
#[derive(Serialize)]
struct Program {
    name: &'static str,
    net_ns: f64,
    lower_quartile_ns: f64,
    upper_quartile_ns: f64,
    /// Bursts that the figures are of; those while the machine was quiet, if there were enough.
    bursts: usize,
    are_quiet: bool,
}

/// Quiet bursts that are enough.
const ENOUGH: usize = 3;

impl Case {
    /// Of the bursts of each program, bare drop first: those while the machine was quiet, and all.
    pub(crate) fn new(
        blocked_sources: u32,
        senders: &'static str,
        form: Form,
        bursts: Vec<(&'static str, Vec<f64>, Vec<f64>)>,
    ) -> Self {
        let mut bare_drop_ns = 0.0;
        let mut programs = Vec::new();
        for (place, (name, quiet, all)) in bursts.into_iter().enumerate() {
            let are_quiet = quiet.len() >= ENOUGH;
            let mut samples = if are_quiet { quiet } else { all };
            samples.sort_by(f64::total_cmp);
            let at = |quarter: usize| {
                samples.get(samples.len().saturating_sub(1) * quarter / 4).copied().unwrap_or(f64::NAN)
            };
            if place == 0 {
                bare_drop_ns = at(2);
                continue;
            }
            programs.push(Program {
                name,
                net_ns: at(2) - bare_drop_ns,
                lower_quartile_ns: at(1) - bare_drop_ns,
                upper_quartile_ns: at(3) - bare_drop_ns,
                bursts: samples.len(),
                are_quiet,
            });
        }
        let net =
            |wanted: &str| programs.iter().find(|program| program.name == wanted).map(|found| found.net_ns);
        let ratio = net(OURS).zip(net(XDP_FILTER)).map(|(ours, peer)| ours / peer);
        Self { blocked_sources, senders, form, bare_drop_ns, programs, ratio }
    }

    /// The columns of its row.
    fn columns(&self) -> [String; 7] {
        let of = |wanted: &str| {
            let found = self.programs.iter().find(|program| program.name == wanted);
            found.map_or_else(|| "–".to_owned(), Program::cell)
        };
        [
            self.senders.to_owned(),
            self.form.name().to_owned(),
            thousands(f64::from(self.blocked_sources)),
            format!("{:.1}", self.bare_drop_ns),
            of(OURS),
            of(XDP_FILTER),
            self.ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}")),
        ]
    }
}

impl Program {
    fn cell(&self) -> String {
        let Self { net_ns, lower_quartile_ns, upper_quartile_ns, .. } = self;
        let mark = if self.are_quiet { "" } else { " ~" };
        format!("{net_ns:.1} ({lower_quartile_ns:.1}–{upper_quartile_ns:.1}){mark}")
    }
}

const HEADINGS: [&str; 7] =
    ["sources", "packets", "blocked", "bare drop", "mitigator, net ns", "xdp-filter, net ns", "ratio"];

impl Report {
    pub(crate) fn new(
        best_bare_drop_ns: f64,
        verified_instructions: Option<u32>,
        bursts: u32,
        cases: Vec<Case>,
    ) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            commit: machine::commit(),
            processor: machine::processor(),
            kernel: machine::kernel(),
            best_bare_drop_ns,
            verified_instructions,
            bursts,
            cases,
        }
    }

    /// A table for people.
    pub(crate) fn text(&self) -> String {
        let rows: Vec<[String; 7]> = std::iter::once(HEADINGS.map(str::to_owned))
            .chain(self.cases.iter().map(Case::columns))
            .collect();
        let mut text = format!("{}\n\n", self.origin());
        for row in &rows {
            for (column, cell) in row.iter().enumerate() {
                let width = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
                let padding = " ".repeat(width - cell.chars().count());
                let _ = if column < 2 {
                    write!(text, "{cell}{padding}  ")
                } else {
                    write!(text, "{padding}{cell}  ")
                };
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        let _ = writeln!(text, "\n{}", self.notes());
        text
    }

    /// The page of the documentation.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!(
            "# What a packet costs, measured\n\nThis page is written by `cargo xtask bench dataplane`; nothing in it is by \
             hand.\n\n{}\n\n| {} |\n|{}\n",
            self.origin(),
            HEADINGS.join(" | "),
            "---|".repeat(HEADINGS.len()),
        );
        for case in &self.cases {
            let _ = writeln!(text, "| {} |", case.columns().join(" | "));
        }
        let _ = writeln!(text, "\n{}\n\n{METHOD}", self.notes());
        text
    }

    fn origin(&self) -> String {
        format!(
            "mitigator {}{}, {}, Linux {}, {} bursts per case",
            self.version,
            self.commit.as_ref().map_or_else(String::new, |commit| format!(" ({commit})")),
            self.processor,
            self.kernel,
            self.bursts
        )
    }

    fn notes(&self) -> String {
        let noisy =
            self.cases.iter().flat_map(|case| &case.programs).filter(|program| !program.are_quiet).count();
        let mut notes = format!(
            "Net: the median over that of bare XDP_DROP with the same traffic (quartiles), which took {:.1} ns at best.",
            self.best_bare_drop_ns
        );
        if noisy > 0 {
            let _ = write!(
                notes,
                " ~: the machine was hardly ever quiet, so that these {noisy} are of all bursts."
            );
        }
        if let Some(instructions) = self.verified_instructions {
            let _ = write!(notes, " The verifier walked through {instructions} instructions.");
        }
        if self.cases.iter().all(|case| case.ratio.is_none()) {
            notes.push_str(
                " xdp-filter is not installed (Debian's package xdp-tools), so that there is no peer.",
            );
        }
        let _ = write!(
            notes,
            "\nblocked: each packet of one of the blocked sources, at random. good: of one of {} others that send, each \
             counted by mitigator. forged: of one that was never there before.",
            thousands(f64::from(GOOD_SOURCES))
        );
        notes
    }
}

const METHOD: &str = "\
Packets go through the kernel's own test run on one core. A program of the bench writes another source into each, with \
addresses that are no neighbours in any table, and goes on with the program under test, which is as it is used; bare drop \
goes the same way. Programs take turns burst by burst, and a burst counts when the bare drops right before and after it \
took at most 1.2 times the least seen.

Not measured here: a network card, several cores that receive at once, the kernel's work around the program.
";
