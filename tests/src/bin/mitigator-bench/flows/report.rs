//! What was measured, as text, JSON and Markdown.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use anyhow::Result;
use mitigator::tabular::Format;
use mitigator_tests::machine::MeasuredWith;
use mitigator_tests::numbers::thousands;
use serde::Serialize;

use super::comparison::Comparison;
use crate::measured::{Figure, Measured};
use crate::quartiles::Quartiles;
use crate::table;

/// Packets per second on one core that are promised for connections.
const LEAST: f64 = 1_000_000.0;

/// Everything that was measured, and with what.
#[derive(Serialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    with: MeasuredWith,
    rounds: u32,
    cases: Vec<Case>,
    comparison: Option<Comparison>,
    /// Why the package took no part.
    without_peer: Option<String>,
}

/// A load that a program read several times.
#[derive(Serialize)]
pub(crate) struct Case {
    program: &'static str,
    load: &'static str,
    format: &'static str,
    packets: u32,
    flows: u64,
    packets_per_second: Quartiles,
}

impl Case {
    pub(crate) fn new(
        program: &'static str,
        load: &'static str,
        format: Format,
        packets: u32,
        flows: u64,
        took: &[Duration],
    ) -> Self {
        let format = match format {
            Format::Csv => "csv",
            Format::JsonLines => "json",
            Format::Parquet => "parquet",
        };
        let rates = took.iter().map(|took| f64::from(packets) / took.as_secs_f64()).collect();
        Self { program, load, format, packets, flows, packets_per_second: Quartiles::of(rates) }
    }
}

const HEADINGS: [&str; 6] = ["program", "packets", "as", "how many", "flows", "packets/s (quartiles)"];

impl Report {
    pub(crate) fn new(
        rounds: u32,
        cases: Vec<Case>,
        comparison: Option<Comparison>,
        without_peer: Option<String>,
    ) -> Self {
        Self { with: MeasuredWith::this(), rounds, cases, comparison, without_peer }
    }

    fn rows(&self) -> impl Iterator<Item = [String; 6]> {
        self.cases.iter().map(|case| {
            let is_promised = case.program == "mitigator" && case.flows < u64::from(case.packets) / 2;
            let target = match (is_promised, case.packets_per_second.median >= LEAST) {
                (false, _) => "",
                (true, true) => " (≥ 1 000 000 ✓)",
                (true, false) => " (≥ 1 000 000 ✗)",
            };
            [
                case.program.to_owned(),
                case.load.to_owned(),
                case.format.to_owned(),
                thousands(f64::from(case.packets)),
                case.flows.to_string(),
                case.packets_per_second.text(thousands) + target,
            ]
        })
    }

    fn origin(&self) -> String {
        format!("{}, {} rounds", self.with, self.rounds)
    }

    /// Which features agree, and why others do not.
    fn compared(&self) -> String {
        let Some(Comparison { flows, unmatched, features }) = &self.comparison else {
            let why = self.without_peer.as_deref().unwrap_or_default();
            return format!("The package was not measured: {why}\n");
        };
        let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut same = Vec::new();
        for feature in features {
            match feature.reason {
                None => same.push(feature.name.as_str()),
                Some(reason) => reasons.entry(reason).or_default().push(&feature.name),
            }
        }
        let mut text = format!(
            "Of {flows} flows that both have ({unmatched} of the package's are cut otherwise), these are the same to 1e-6: {}.\n\n\
             These are not, because the package's\n\n",
            same.join(", ")
        );
        for (reason, names) in reasons {
            let _ = writeln!(text, "- {reason}: {}.", names.join(", "));
        }
        text
    }

    /// In all forms.
    pub(crate) fn measured(&self) -> Result<Measured> {
        let figure = |case: &Case| {
            let name = format!("{}, {}, {}", case.program, case.load, case.format);
            Figure::new(name, "packets/s", case.packets_per_second)
        };
        let origin = self.origin();
        let columns = table::columns(HEADINGS, self.rows(), &[0, 1, 2]);
        let markdown = table::markdown(HEADINGS, self.rows());
        let compared = self.compared();
        Ok(Measured {
            text: format!("{origin}\n\n{columns}\n{compared}"),
            json: serde_json::to_value(self)?,
            section: format!("{origin}\n\n{METHOD}\n\n{markdown}\n{compared}"),
            plots: Vec::new(),
            figures: self.cases.iter().map(figure).collect(),
        })
    }
}

const METHOD: &str = "\
A capture in memory, of which the headers were captured, becomes a table that is thrown away; all on one thread. The package \
(`cicflowmeter` of PyPI) reads a smaller capture of the same kind from a file; the time to start Python is left out. RustiFlow, \
where a program built from its source is given (`--rustiflow`), goes from a file to a file, started anew each time, with one worker, on one core.";
