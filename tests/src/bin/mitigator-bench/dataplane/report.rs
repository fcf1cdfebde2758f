//! What was measured, as text, JSON and Markdown.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::Result;
use mitigator_tests::machine::MeasuredWith;
use mitigator_tests::numbers::thousands;
use serde::Serialize;

use super::FORMS_AT;
use super::traffic::{Form, Senders};
use crate::measured::{Figure, Measured};
use crate::plot::{self, Axis, Plot, Series};
use crate::quartiles::Quartiles;
use crate::subject::{BARE_DROP, OURS, XDP_FILTER};
use crate::table;
use crate::xdp_firewall::XDP_FIREWALL;

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
    /// Who took no part, and why.
    absent: BTreeMap<&'static str, String>,
}

impl Origin {
    /// This machine, with so many bursts per case.
    pub(crate) fn new(bursts: u32) -> Self {
        Self { with: MeasuredWith::this(), verified_instructions: None, bursts, absent: BTreeMap::new() }
    }

    pub(crate) fn is_absent(&mut self, peer: &'static str, why: String) {
        self.absent.insert(peer, why);
    }
}

/// The same traffic through each program.
#[derive(Serialize)]
pub(crate) struct Case {
    blocked_sources: u32,
    senders: &'static str,
    /// Sources that send; `None` where each packet has its own.
    sending_sources: Option<u32>,
    form: Form,
    bare_drop_ns: f64,
    /// Whether bare drop was measured while the machine was quiet.
    is_quiet: bool,
    programs: Vec<Program>,
}

/// One program, in nanoseconds per packet over the median of bare drop.
#[derive(Serialize)]
struct Program {
    name: &'static str,
    net_ns: Quartiles,
    /// Bursts that the figures are of; those while the machine was quiet, if there were enough.
    bursts: usize,
    are_quiet: bool,
    /// What mitigator takes as a share of this, both over bare drop.
    ours_as_share: Option<f64>,
    /// What that share is to be at most.
    most_share: Option<f64>,
    /// What it is to take at most itself.
    most_net_ns: Option<f64>,
    /// Whether it keeps what it is to be at most.
    is_kept: Option<bool>,
}

/// Nanoseconds per packet by burst: of those while the machine was quiet, and of all.
pub(crate) struct Samples {
    pub(crate) quiet: Vec<f64>,
    pub(crate) all: Vec<f64>,
}

/// Quiet bursts that are enough.
const ENOUGH: usize = 3;

/// What mitigator may take as a share of a peer: the peer, who sends, with how many blocked, at most. With those who send a
/// packet and are never seen again, by whatever is blocked.
const TARGETS: [(&str, &str, Option<u32>, f64); 8] = [
    (XDP_FILTER, "blocked", Some(1), 0.5),
    (XDP_FILTER, "blocked", Some(10_000), 0.75),
    (XDP_FILTER, "blocked", Some(100_000), 0.3),
    (XDP_FILTER, "blocked", Some(1_000_000), 0.3),
    (XDP_FILTER, "good", Some(1), 1.1),
    (XDP_FILTER, "good", Some(10_000), 0.7),
    (XDP_FILTER, "good", Some(1_000_000), 0.6),
    (XDP_FIREWALL, "forged", None, 0.15),
];

/// What a packet of a source never seen before may take, in ns, and with how many blocked.
const MOST_FORGED: (u32, f64) = (10_000, 70.0);
/// What a packet with VLAN tags, or of IPv6, may take as a multiple of plain IPv4.
const MOST_TIMES_IPV4: f64 = 1.5;
/// As many as the good sources with which the targets are judged.
const JUDGED_GOOD: u32 = 10_000;

impl Case {
    fn has_senders_of(&self, other: &Self) -> bool {
        (self.senders, self.sending_sources) == (other.senders, other.sending_sources)
    }

    /// Of the bursts of each program, bare drop first: those while the machine was quiet, and all.
    pub(crate) fn new(
        blocked_sources: u32,
        senders: Senders,
        form: Form,
        bursts: Vec<(&'static str, Samples)>,
    ) -> Self {
        let (mut bare_drop_ns, mut is_quiet) = (0.0, false);
        let mut ours = None;
        let mut programs = Vec::new();
        for (name, Samples { quiet, all }) in bursts {
            let are_quiet = quiet.len() >= ENOUGH;
            let samples = if are_quiet { quiet } else { all };
            let bursts = samples.len();
            let ns = Quartiles::of(samples);
            if name == BARE_DROP {
                (bare_drop_ns, is_quiet) = (ns.median, are_quiet);
                continue;
            }
            let net_ns = ns.minus(bare_drop_ns);
            if name == OURS {
                ours = Some(net_ns.median);
            }
            let ours_as_share = ours.filter(|_| name != OURS).map(|ours| ours / net_ns.median);
            let is_meant = |(peer, who, blocked, _): &&(&str, &str, Option<u32>, f64)| {
                *peer == name
                    && *who == senders.name()
                    && blocked.is_none_or(|blocked| blocked == blocked_sources)
            };
            let is_judged = form == Form::Ipv4 && matches!(senders.known(), 0 | JUDGED_GOOD);
            let target = TARGETS.iter().find(is_meant).filter(|_| is_judged);
            let most_share = target.map(|(.., most)| *most);
            let is_forged = senders == Senders::Forged && form == Form::Ipv4;
            let is_of_forged = name == OURS && is_forged && blocked_sources == MOST_FORGED.0;
            let most_net_ns = is_of_forged.then_some(MOST_FORGED.1);
            let keeps_share = ours_as_share.zip(most_share).map(|(share, most)| share <= most);
            let is_kept = keeps_share.or(most_net_ns.map(|most| net_ns.median <= most));
            programs.push(Program {
                name,
                net_ns,
                bursts,
                are_quiet,
                ours_as_share,
                most_share,
                most_net_ns,
                is_kept,
            });
        }
        Self {
            blocked_sources,
            senders: senders.name(),
            sending_sources: senders.number(),
            form,
            bare_drop_ns,
            is_quiet,
            programs,
        }
    }

    fn of(&self, wanted: &str) -> Option<&Program> {
        self.programs.iter().find(|program| program.name == wanted)
    }

    /// Who sends, how many there are, and what.
    fn senders(&self) -> String {
        self.sending_sources.map_or_else(
            || self.senders.to_owned(),
            |number| format!("{} {}", thousands(f64::from(number)), self.senders),
        )
    }

    /// The columns of its row.
    fn columns(&self) -> [String; 8] {
        let cell = |wanted: &str| self.of(wanted).map_or_else(|| "–".to_owned(), Program::cell);
        let share = |wanted: &str| self.of(wanted).map_or_else(|| "–".to_owned(), Program::share);
        [
            self.senders(),
            self.form.name().to_owned(),
            thousands(f64::from(self.blocked_sources)),
            format!("{:.1}{}", self.bare_drop_ns, noise_mark(self.is_quiet)),
            cell(OURS),
            cell(XDP_FILTER),
            share(XDP_FILTER),
            if self.of(XDP_FIREWALL).is_some() {
                format!("{}; {}", cell(XDP_FIREWALL), share(XDP_FIREWALL))
            } else {
                "–".to_owned()
            },
        ]
    }

    fn figures(&self) -> impl Iterator<Item = Figure> {
        self.programs.iter().map(|program| {
            let blocked = thousands(f64::from(self.blocked_sources));
            let name =
                format!("{}, {}, {}, {blocked} blocked", program.name, self.senders(), self.form.name());
            Figure::new(name, "net ns", program.net_ns)
        })
    }
}

impl Program {
    fn cell(&self) -> String {
        let ns = self.net_ns.text(|ns| format!("{ns:.1}"));
        format!("{ns}{}{}", noise_mark(self.are_quiet), self.target(self.most_net_ns))
    }

    fn share(&self) -> String {
        let share = self.ours_as_share.map_or_else(|| "–".to_owned(), |share| format!("{share:.2}"));
        share + &self.target(self.most_share)
    }

    fn target(&self, most: Option<f64>) -> String {
        let kept = most.zip(self.is_kept);
        kept.map_or_else(String::new, |(most, is_kept)| format!(" (≤ {most} {})", mark(is_kept)))
    }
}

const fn mark(is_kept: bool) -> char {
    if is_kept { '✓' } else { '✗' }
}

const fn noise_mark(is_quiet: bool) -> &'static str {
    if is_quiet { "" } else { " ~" }
}

const HEADINGS: [&str; 8] = [
    "sources",
    "packets",
    "blocked",
    "bare drop",
    "mitigator, net ns",
    "xdp-filter, net ns",
    "ours / xdp-filter",
    "XDP-Firewall, net ns; ours / it",
];

impl Report {
    pub(crate) const fn new(origin: Origin, cases: Vec<Case>) -> Self {
        Self { origin, cases }
    }

    fn text(&self) -> String {
        let rows = self.cases.iter().map(Case::columns);
        let table = table::columns(HEADINGS, rows, &[0, 1]);
        format!("{}\n\n{table}\n{}\n{}\n", self.origin(), self.notes(), self.conclusion())
    }

    /// In all forms.
    pub(crate) fn measured(&self) -> Result<Measured> {
        Ok(Measured {
            text: self.text(),
            json: serde_json::to_value(self)?,
            section: self.section(),
            plots: self.plots()?,
            figures: self.cases.iter().flat_map(Case::figures).collect(),
        })
    }

    fn section(&self) -> String {
        format!(
            "{}\n\n{METHOD}\n\n{}\n{}\n\n{}\n",
            self.origin(),
            table::markdown(HEADINGS, self.cases.iter().map(Case::columns)),
            self.notes(),
            self.conclusion()
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
        for (peer, why) in &self.origin.absent {
            let _ = write!(notes, " {peer} took no part: {why}.");
        }
        notes.push_str(
            "\nblocked: each packet of one of the blocked sources, at random. good: of one of so many others that send, each counted by \
             mitigator. forged: of one that was never there before. ours / peer: of net ns; ≤: what it is to be at most.",
        );
        notes
    }

    /// What other packets cost beside plain IPv4 of such senders, and what is missed.
    fn conclusion(&self) -> String {
        let ours = |case: &Case| case.of(OURS).map(|program| program.net_ns.median);
        let at_forms = || self.cases.iter().filter(|case| case.blocked_sources == FORMS_AT);
        let mut text = String::new();
        for case in at_forms().filter(|case| case.form != Form::Ipv4) {
            let plain = at_forms().find(|plain| plain.form == Form::Ipv4 && plain.has_senders_of(case));
            if let Some((ns, plain)) = ours(case).zip(plain.and_then(ours)) {
                let times = ns / plain;
                let mark = mark(times <= MOST_TIMES_IPV4);
                let _ = write!(
                    text,
                    "{}, {}: {times:.2} times plain IPv4 (≤ {MOST_TIMES_IPV4} {mark}). ",
                    case.form.name(),
                    case.senders,
                );
            }
        }
        let judged =
            || self.cases.iter().flat_map(|case| &case.programs).filter_map(|program| program.is_kept);
        let missed = judged().filter(|is_kept| !is_kept).count();
        match missed {
            0 => text + &format!("✓ All {} targets in the table are kept.", judged().count()),
            _ => text + &format!("✗ {missed} of {} targets in the table are missed.", judged().count()),
        }
    }

    /// What IPv4 packets cost, by who sends them.
    fn plots(&self) -> Result<Vec<Plot>> {
        let plot = |senders: &str, name: &'static str, title: &str| {
            let mut series: Vec<Series> = Vec::new();
            let cases = self.cases.iter().filter(|case| case.senders == senders && case.form == Form::Ipv4);
            for case in cases {
                for program in &case.programs {
                    let of = case.sending_sources.filter(|_| senders == "good");
                    let of = of.map_or_else(String::new, |number| {
                        format!(", {} good", thousands(f64::from(number)))
                    });
                    let point = (f64::from(case.blocked_sources), program.net_ns);
                    let name = format!("{}{of}", program.name);
                    match series.iter_mut().find(|series| series.name == name) {
                        Some(series) => series.points.push(point),
                        None => series.push(Series { name, points: vec![point] }),
                    }
                }
            }
            let axis = Axis { what: "net ns per packet", is_logarithmic: true };
            plot::over_blocked_sources(name, title, &axis, &series)
        };
        Ok(vec![
            plot("blocked", "dataplane-blocked", "A packet of a blocked source, over bare drop")?,
            plot("good", "dataplane-good", "A packet of a good source, over bare drop")?,
            plot("forged", "dataplane-forged", "A packet of a source never seen before, over bare drop")?,
        ])
    }
}

const METHOD: &str = "\
Packets go through the kernel's own test run on one core. A program of the bench writes another source into each, with \
addresses that are no neighbours in any table, and goes on with the program under test, which is as it is used; bare drop \
goes the same way. Programs take turns burst by burst, each after a packet for every entry, 100,000 at most; a burst counts \
when the bare drops right before and after it took at most 1.2 times the least with the same traffic.";
