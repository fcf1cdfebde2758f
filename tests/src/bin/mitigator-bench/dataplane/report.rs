//! What was measured, as text, JSON and Markdown.

use std::fmt::Write;

use mitigator_tests::machine::MeasuredWith;
use mitigator_tests::numbers::thousands;
use serde::Serialize;

use super::subject::{OURS, XDP_FILTER};
use super::traffic::{Form, GOOD_SOURCES, Senders};
use crate::table;

/// Everything that was measured, and with what.
#[derive(Serialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    origin: Origin,
    cases: Vec<Case>,
}

/// What it was measured with.
#[derive(Serialize)]
pub(crate) struct Origin {
    #[serde(flatten)]
    with: MeasuredWith,
    /// Instructions that the verifier walked through.
    pub(crate) verified_instructions: Option<u32>,
    bursts: u32,
    /// Why xdp-filter took no part.
    pub(crate) without_peer: Option<String>,
}

impl Origin {
    /// This machine, with so many bursts per case.
    pub(crate) fn new(bursts: u32) -> Self {
        Self { with: MeasuredWith::this(), verified_instructions: None, bursts, without_peer: None }
    }
}

/// The same traffic through each program.
#[derive(Serialize)]
pub(crate) struct Case {
    blocked_sources: u32,
    senders: &'static str,
    form: Form,
    bare_drop_ns: f64,
    /// Whether bare drop was measured while the machine was quiet.
    is_quiet: bool,
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

/// Nanoseconds per packet by burst: of those while the machine was quiet, and of all.
pub(crate) struct Samples {
    pub(crate) quiet: Vec<f64>,
    pub(crate) all: Vec<f64>,
}

/// Quiet bursts that are enough.
const ENOUGH: usize = 3;

impl Case {
    /// Of the bursts of each program, bare drop first: those while the machine was quiet, and all.
    pub(crate) fn new(
        blocked_sources: u32,
        senders: Senders,
        form: Form,
        bursts: Vec<(&'static str, Samples)>,
    ) -> Self {
        let (mut bare_drop_ns, mut is_quiet) = (0.0, false);
        let mut programs = Vec::new();
        for (name, Samples { quiet, all }) in bursts {
            let are_quiet = quiet.len() >= ENOUGH;
            let mut samples = if are_quiet { quiet } else { all };
            samples.sort_by(f64::total_cmp);
            let at = |quarter: usize| {
                samples.get(samples.len().saturating_sub(1) * quarter / 4).copied().unwrap_or(f64::NAN)
            };
            if name == BARE_DROP {
                (bare_drop_ns, is_quiet) = (at(2), are_quiet);
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
        Self { blocked_sources, senders: senders.name(), form, bare_drop_ns, is_quiet, programs, ratio }
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
            format!("{:.1}{}", self.bare_drop_ns, noise_mark(self.is_quiet)),
            of(OURS),
            of(XDP_FILTER),
            self.ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}")),
        ]
    }
}

impl Program {
    fn cell(&self) -> String {
        let Self { net_ns, lower_quartile_ns, upper_quartile_ns, .. } = self;
        let mark = noise_mark(self.are_quiet);
        format!("{net_ns:.1} ({lower_quartile_ns:.1}–{upper_quartile_ns:.1}){mark}")
    }
}

const fn noise_mark(is_quiet: bool) -> &'static str {
    if is_quiet { "" } else { " ~" }
}

const HEADINGS: [&str; 7] =
    ["sources", "packets", "blocked", "bare drop", "mitigator, net ns", "xdp-filter, net ns", "ratio"];

impl Report {
    pub(crate) const fn new(origin: Origin, cases: Vec<Case>) -> Self {
        Self { origin, cases }
    }

    /// A table for people.
    pub(crate) fn text(&self) -> String {
        let rows = self.cases.iter().map(Case::columns);
        format!("{}\n\n{}\n{}\n", self.origin(), table::columns(HEADINGS, rows, &[0, 1]), self.notes())
    }

    /// The page of the documentation.
    pub(crate) fn markdown(&self) -> String {
        format!(
            "# What a packet costs, measured\n\nThis page is written by `cargo xtask bench dataplane`; nothing in it is by \
             hand.\n\n{}\n\n{}\n{}\n\n{METHOD}",
            self.origin(),
            table::markdown(HEADINGS, self.cases.iter().map(Case::columns)),
            self.notes()
        )
    }

    fn origin(&self) -> String {
        format!("{}, {} bursts per case", self.origin.with, self.origin.bursts)
    }

    fn notes(&self) -> String {
        let is_noisy = |case: &Case| !case.is_quiet || case.programs.iter().any(|program| !program.are_quiet);
        let mut notes =
            "Net: nanoseconds per packet, the median over that of bare XDP_DROP with the same traffic \
                         (quartiles)."
                .to_owned();
        if self.cases.iter().any(is_noisy) {
            notes.push_str(" ~: the machine was hardly ever quiet, so that this is of all bursts.");
        }
        if let Some(instructions) = self.origin.verified_instructions {
            let _ = write!(notes, " The verifier walked through {instructions} instructions.");
        }
        if let Some(why) = &self.origin.without_peer {
            let _ = write!(notes, " xdp-filter took no part: {why}.");
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

/// What bare `XDP_DROP` is called among the programs.
pub(crate) const BARE_DROP: &str = "bare drop";

const METHOD: &str = "\
Packets go through the kernel's own test run on one core. A program of the bench writes another source into each, with \
addresses that are no neighbours in any table, and goes on with the program under test, which is as it is used; bare drop \
goes the same way. Programs take turns burst by burst, each after a packet for every entry, 100,000 at most; a burst counts \
when the bare drops right before and after it took at most 1.2 times the least with the same traffic.

Not measured here: a network card, several cores that receive at once, the kernel's work around the program.
";
