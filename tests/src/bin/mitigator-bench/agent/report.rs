//! What was measured, as text, JSON and Markdown.

use anyhow::Result;
use mitigator_tests::machine::MeasuredWith;
use mitigator_tests::numbers::thousands;
use serde::Serialize;

use super::process::{Memory, Observed};
use crate::measured::{Figure, Measured};
use crate::quartiles::Quartiles;
use crate::table;

/// Everything that was measured, and with what.
#[derive(Serialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    with: MeasuredWith,
    seconds: u32,
    cases: Vec<Case>,
}

/// What a state may cost; `None` for as much as it does.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Limits {
    pub(crate) memory_mib: Option<f64>,
    pub(crate) cpu_percent: Option<f64>,
}

/// An agent in one state.
#[derive(Serialize)]
pub(crate) struct Case {
    state: &'static str,
    sources: u32,
    /// The look at which it had most.
    memory: Memory,
    rss_mib: Quartiles,
    /// Of one core.
    cpu_percent: f64,
    limits: Limits,
}

impl Case {
    pub(crate) fn new(state: &'static str, sources: u32, observed: &Observed, limits: Limits) -> Self {
        let rss_mib = Quartiles::of(observed.looks().iter().map(|look| look.rss_mib).collect());
        let (memory, cpu_percent) = (observed.most(), observed.cpu_percent());
        Self { state, sources, memory, rss_mib, cpu_percent, limits }
    }
}

const HEADINGS: [&str; 9] = [
    "state",
    "sources",
    "RSS MiB (quartiles)",
    "most",
    "of it anonymous",
    "mapped",
    "limit",
    "CPU % of a core",
    "limit",
];

impl Report {
    pub(crate) fn new(seconds: u32, cases: Vec<Case>) -> Self {
        Self { with: MeasuredWith::this(), seconds, cases }
    }

    fn rows(&self) -> impl Iterator<Item = [String; 9]> {
        self.cases.iter().map(|case| {
            let Case { state, sources, memory, rss_mib, cpu_percent, limits } = case;
            let mib = |mib: f64| format!("{mib:.0}");
            [
                (*state).to_owned(),
                thousands(f64::from(*sources)),
                rss_mib.text(mib),
                mib(memory.rss_mib),
                mib(memory.anon_mib),
                mib(memory.mapped_mib),
                limit(memory.rss_mib, limits.memory_mib),
                format!("{cpu_percent:.2}"),
                limit(*cpu_percent, limits.cpu_percent),
            ]
        })
    }

    fn origin(&self) -> String {
        format!("{}, {} seconds per state", self.with, self.seconds)
    }

    fn text(&self) -> String {
        format!("{}\n\n{}", self.origin(), table::columns(HEADINGS, self.rows(), &[0]))
    }

    fn section(&self) -> String {
        format!("{}\n\n{METHOD}\n\n{}", self.origin(), table::markdown(HEADINGS, self.rows()))
    }

    /// In all forms.
    pub(crate) fn measured(&self) -> Result<Measured> {
        let figures = self.cases.iter().flat_map(|case| {
            let name = |what: &str| {
                format!("{what}, {}, {} sources", case.state, thousands(f64::from(case.sources)))
            };
            [
                Figure::new(name("RSS"), "MiB", case.rss_mib),
                Figure::new(name("CPU of a core"), "%", Quartiles::of(vec![case.cpu_percent])),
            ]
        });
        Ok(Measured {
            text: self.text(),
            json: serde_json::to_value(self)?,
            section: self.section(),
            plots: Vec::new(),
            figures: figures.collect(),
        })
    }
}

/// What is allowed, and whether that was kept.
fn limit(value: f64, limit: Option<f64>) -> String {
    limit.map_or_else(
        || "–".to_owned(),
        |limit| format!("≤ {limit:.0} {}", if value <= limit { '✓' } else { '✗' }),
    )
}

const METHOD: &str = "\
The agent runs as on a server, on one end of a veth pair, with room for the larger number of sources and a tick each 250 ms, \
and only observes. Packets come by the kernel's own test run of its program. RSS is all resident memory, looked at five times \
a second or more; a limit is for the most. Mapped is the program's file and what it maps of BPF maps: the kernel counts each page \
of those as long as it is mapped, touched or not, though the maps are there without the agent, too. The maps themselves, \
240 bytes for each source that is to fit, are the kernel's memory and not in RSS. CPU is user and system time of the \
process. In the state in which all come, as many arrive as a CPU makes rows for, about 61 000 a second; 1 000 packets/s \
come from as many of the sources, one after the other, or at random of the few. Quiet begins five seconds after the last packet.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_kept_or_missed() {
        assert_eq!(limit(99.0, Some(100.0)), "≤ 100 ✓");
        assert_eq!(limit(1.2, Some(1.0)), "≤ 1 ✗");
        assert_eq!(limit(1.2, None), "–");
    }
}
