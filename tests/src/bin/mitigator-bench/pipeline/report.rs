//! What was measured, as text, JSON and Markdown.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use mitigator_tests::machine::MeasuredWith;
use mitigator_tests::numbers::thousands;
use serde::Serialize;

use super::population::State;
use crate::measured::{Figure, Measured};
use crate::quartiles::Quartiles;
use crate::table;

/// Sources in a tick, and what it may take of one core.
const LIMITS: [(u32, f64); 2] = [(100_000, 50.0), (1_000_000, 500.0)];

/// Everything that was measured, and with what.
#[derive(Serialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    with: MeasuredWith,
    mode: &'static str,
    samples: u32,
    /// Cases whose median tick is over the limit, and those whose worst tick is.
    misses: usize,
    worst_misses: usize,
    cases: Vec<Case>,
}

/// One state of one population.
#[derive(Serialize)]
pub(crate) struct Case {
    state: &'static str,
    sources: u32,
    tick: Quartiles,
    worst_tick_ms: f64,
    /// Of those at which a window closes; `None` when there was none.
    worst_window_tick_ms: Option<f64>,
    ticks: usize,
    window_ticks: usize,
    limit_ms: Option<f64>,
    is_median_within_limit: Option<bool>,
    is_worst_within_limit: Option<bool>,
    plain_k_means: Option<Quartiles>,
    /// By vector.
    verdicts: BTreeMap<&'static str, Found>,
}

/// Verdicts about one vector.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Found {
    pub(crate) blocks: usize,
    pub(crate) limits: usize,
    pub(crate) observations: usize,
}

/// Ticks, one by one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times {
    pub(crate) ticks: Vec<TickTime>,
    pub(crate) found: BTreeMap<&'static str, Found>,
}

/// One tick.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TickTime {
    pub(crate) took: Duration,
    /// Whether what lasts was judged, too.
    pub(crate) closes_window: bool,
}

impl Times {
    fn worst_ms(&self, is_meant: impl Fn(&TickTime) -> bool) -> Option<f64> {
        self.ticks
            .iter()
            .filter(|tick| is_meant(tick))
            .map(|tick| tick.took)
            .max()
            .map(|took| took.as_secs_f64() * 1e3)
    }
}

impl Case {
    pub(crate) fn new(
        state: State,
        sources: u32,
        tick: Quartiles,
        times: Times,
        plain_k_means: Option<Quartiles>,
    ) -> Self {
        let limit_ms = LIMITS.iter().find(|(number, _)| *number == sources).map(|(_, limit)| *limit);
        let worst_tick_ms = times.worst_ms(|_| true).unwrap_or_default();
        Self {
            state: state.name(),
            sources,
            tick,
            worst_tick_ms,
            worst_window_tick_ms: times.worst_ms(|tick| tick.closes_window),
            ticks: times.ticks.len(),
            window_ticks: times.ticks.iter().filter(|tick| tick.closes_window).count(),
            limit_ms,
            is_median_within_limit: limit_ms.map(|limit| tick.median <= limit),
            is_worst_within_limit: limit_ms.map(|limit| worst_tick_ms <= limit),
            plain_k_means,
            verdicts: times.found,
        }
    }

    /// The columns of its row.
    fn columns(&self) -> [String; 8] {
        let ms = |value: f64| if value < 10.0 { format!("{value:.2}") } else { format!("{value:.0}") };
        let mark = |is_within_limit: Option<bool>| match is_within_limit {
            None => "",
            Some(true) => " ✓",
            Some(false) => " ✗",
        };
        let median_mark = mark(self.is_median_within_limit);
        [
            self.state.to_owned(),
            thousands(f64::from(self.sources)),
            format!("{}{median_mark}", self.tick.text(ms)),
            self.worst_window_tick_ms.map_or_else(|| "–".to_owned(), ms),
            format!("{}{}", ms(self.worst_tick_ms), mark(self.is_worst_within_limit)),
            self.limit_ms.map_or_else(|| "–".to_owned(), |limit| format!("{limit:.0}")),
            self.plain_k_means.map_or_else(|| "–".to_owned(), |plain| plain.text(ms)),
            self.found(),
        ]
    }

    fn found(&self) -> String {
        let words = |(vector, found): (&&str, &Found)| {
            let counts =
                [("blocks", found.blocks), ("limits", found.limits), ("observed", found.observations)];
            let counts: Vec<String> = counts
                .iter()
                .filter(|(_, count)| *count > 0)
                .map(|(name, count)| format!("{count} {name}"))
                .collect();
            format!("{vector}: {}", counts.join(", "))
        };
        let all: Vec<String> = self.verdicts.iter().map(words).collect();
        if all.is_empty() { "–".to_owned() } else { all.join("; ") }
    }
}

const HEADINGS: [&str; 8] = [
    "state",
    "sources",
    "tick ms (quartiles)",
    "worst with window",
    "worst",
    "limit",
    "K-Means on all",
    "verdicts",
];

impl Report {
    pub(crate) fn new(samples: u32, cases: Vec<Case>) -> Self {
        Self {
            with: MeasuredWith::this(),
            mode: if cfg!(debug_assertions) { "debug build" } else { "release build" },
            samples,
            misses: cases.iter().filter(|case| case.is_median_within_limit == Some(false)).count(),
            worst_misses: cases.iter().filter(|case| case.is_worst_within_limit == Some(false)).count(),
            cases,
        }
    }

    /// In all forms.
    pub(crate) fn measured(&self) -> Result<Measured> {
        let figures = |case: &Case| {
            let name = |what: &str| {
                format!("{what}, {}, {} sources", case.state, thousands(f64::from(case.sources)))
            };
            let plain = case.plain_k_means.map(|plain| Figure::new(name("K-Means on all"), "ms", plain));
            std::iter::once(Figure::new(name("tick"), "ms", case.tick)).chain(plain)
        };
        Ok(Measured {
            text: self.text(),
            json: serde_json::to_value(self)?,
            section: self.section(),
            plots: Vec::new(),
            figures: self.cases.iter().flat_map(figures).collect(),
        })
    }

    fn text(&self) -> String {
        let rows = self.cases.iter().map(Case::columns);
        format!(
            "{}\n\n{}\n{}\n",
            self.origin(),
            table::columns(HEADINGS, rows, &[0, HEADINGS.len() - 1]),
            self.conclusion()
        )
    }

    fn section(&self) -> String {
        let limits = LIMITS
            .map(|(sources, ms)| format!("{ms:.0} ms with {} sources", thousands(f64::from(sources))))
            .join(", ");
        format!(
            "{}\n\n{METHOD}\n\nThe limit: {limits}. K-Means on all: linfa, k = 2, all sources, the columns that detection uses.\n\n\
             {}\n{}\n\n{STATES}",
            self.origin(),
            table::markdown(HEADINGS, self.cases.iter().map(Case::columns)),
            self.conclusion()
        )
    }

    fn origin(&self) -> String {
        format!("{}, {}, {} samples per case", self.with, self.mode, self.samples)
    }

    fn conclusion(&self) -> String {
        let judged = self.cases.iter().filter(|case| case.limit_ms.is_some()).count();
        let says = |misses: usize, what: &str| match misses {
            0 => format!("✓ {what} keeps the limit in all {judged} cases with one."),
            misses => format!("✗ {what} is over the limit in {misses} of {judged} cases with one."),
        };
        format!("{} {}", says(self.misses, "The median"), says(self.worst_misses, "The worst tick"))
    }
}

const METHOD: &str = "\
A tick is everything between counters that were read and changes to be written: activity, gates, groups, verdicts, blocks. Its \
time is CPU time of the whole process in milliseconds, so that helper threads count and other processes do not: the median of the \
samples with their quartiles, and the worst of all ticks. Every half second a window of one second closes, and what lasts is \
judged beside what is loud: the worst of those ticks has a column of its own.";

const STATES: &str = "\
The states:

- `quiet`: web clients with a connection each, all of them active in every tick.
- `spoofed-syn`: a SYN packet from each source, others in every tick; one source in a hundred is a client.
- `crowd`: each source connects, asks and leaves, several times a second; a tenth of them were there before.
- `udp-flood`: each source but one in a hundred sends 2,000 to 8,000 packets/s and is to be blocked; who is, is replaced by another.
- `reflection`: each source but one in a hundred sends 20 to 600 answers/s that nobody asked for, in fragments.

Before each, ten seconds with the clients alone.
";
