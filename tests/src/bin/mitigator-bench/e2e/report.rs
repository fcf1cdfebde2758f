//! What was measured, as text, JSON and Markdown.

use std::collections::BTreeMap;

use anyhow::Result;
use mitigator_tests::machine::MeasuredWith;
use mitigator_tests::numbers::thousands;
use serde::Serialize;

use super::contender::NFTABLES;
use super::stage::Flooded;
use crate::measured::{Figure, Measured};
use crate::plot::{self, Axis, Plot, Series};
use crate::quartiles::Quartiles;
use crate::subject::{BARE_DROP, OURS, XDP_FILTER};
use crate::table;

/// Everything that was measured, and with what.
#[derive(Serialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    with: MeasuredWith,
    rounds: u32,
    /// Who took no part, and why.
    absent: BTreeMap<String, String>,
    cases: Vec<Case>,
}

/// So many blocked sources, all of which send.
#[derive(Serialize)]
pub(crate) struct Case {
    blocked_sources: u32,
    contenders: Vec<Figures>,
}

/// One contender.
#[derive(Serialize)]
struct Figures {
    name: String,
    /// CPU time of the core.
    ns_per_packet: Quartiles,
    wall_ns_per_packet: Quartiles,
    /// Over bare drop in the same round.
    times_bare_drop: Quartiles,
    /// Over mitigator in the same round.
    times_ours: Quartiles,
    /// What `times_ours` is to be at least.
    least_times_ours: Option<f64>,
    is_kept: Option<bool>,
    /// Of the packets of its worst round, those that arrived.
    least_seen_share: f64,
    /// Packets that got past it.
    leaked: u64,
}

/// One flood.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    pub(crate) ns_per_packet: f64,
    wall_ns_per_packet: f64,
    seen_share: f64,
    leaked: u64,
}

impl Turn {
    #[expect(clippy::cast_precision_loss, reason = "floods are short")]
    pub(crate) fn of(flooded: &Flooded) -> Self {
        let Flooded { sent, seen, leaked } = flooded;
        Self {
            ns_per_packet: sent.ns_per_packet(),
            wall_ns_per_packet: sent.wall.as_nanos() as f64 / sent.packets as f64,
            // Whatever else a host says on a link of its own, such as that it is there, does not count.
            seen_share: (*seen).min(sent.packets) as f64 / sent.packets as f64,
            leaked: *leaked,
        }
    }
}

/// How many times as much as mitigator a peer is to take, by blocked sources.
const TARGETS: [(&str, u32, f64); 4] = [
    (XDP_FILTER, 10_000, 1.15),
    (XDP_FILTER, 1_000_000, 2.0),
    (NFTABLES, 10_000, 2.7),
    (NFTABLES, 1_000_000, 2.2),
];

impl Case {
    /// Of the turns of each contender, as many as there were rounds.
    pub(crate) fn new(blocked_sources: u32, turns: &[(String, Vec<Turn>)]) -> Self {
        let ns_of = |wanted: &str| -> Vec<f64> {
            let found = turns.iter().find(|(name, _)| name == wanted);
            found.map_or_else(Vec::new, |(_, turns)| turns.iter().map(|turn| turn.ns_per_packet).collect())
        };
        let (bare, ours) = (ns_of(BARE_DROP), ns_of(OURS));
        let figures = |(name, turns): &(String, Vec<Turn>)| {
            let ns: Vec<f64> = turns.iter().map(|turn| turn.ns_per_packet).collect();
            let over =
                |other: &[f64]| Quartiles::of(ns.iter().zip(other).map(|(ns, other)| ns / other).collect());
            let target = TARGETS.iter().find(|(peer, at, _)| peer == name && *at == blocked_sources);
            let least_times_ours = target.map(|(.., least)| *least);
            let times_ours = over(&ours);
            Figures {
                name: name.clone(),
                times_bare_drop: over(&bare),
                times_ours,
                least_times_ours,
                is_kept: least_times_ours.map(|least| times_ours.median >= least),
                wall_ns_per_packet: Quartiles::of(turns.iter().map(|turn| turn.wall_ns_per_packet).collect()),
                least_seen_share: turns.iter().map(|turn| turn.seen_share).fold(1.0, f64::min),
                leaked: turns.iter().map(|turn| turn.leaked).sum(),
                ns_per_packet: Quartiles::of(ns),
            }
        };
        Self { blocked_sources, contenders: turns.iter().map(figures).collect() }
    }

    fn rows(&self) -> impl Iterator<Item = [String; 9]> {
        let ns = |ns: f64| format!("{ns:.0}");
        let times = |times: f64| format!("{times:.2}");
        self.contenders.iter().map(move |figures| {
            let target = figures.least_times_ours.zip(figures.is_kept).map_or_else(
                || "–".to_owned(),
                |(least, is_kept)| format!("≥ {least} {}", if is_kept { '✓' } else { '✗' }),
            );
            [
                thousands(f64::from(self.blocked_sources)),
                figures.name.clone(),
                figures.ns_per_packet.text(ns),
                ns(figures.ns_per_packet.least),
                format!("{:.2}", 1e3 / figures.ns_per_packet.median),
                figures.times_bare_drop.text(times),
                if figures.name == OURS { "1".to_owned() } else { figures.times_ours.text(times) },
                target,
                format!("{:.4}", figures.least_seen_share),
            ]
        })
    }
}

const HEADINGS: [&str; 9] = [
    "blocked",
    "contender",
    "ns per packet",
    "least",
    "Mpps",
    "times bare drop",
    "times mitigator",
    "target",
    "seen of sent",
];

impl Report {
    pub(crate) fn new(rounds: u32, absent: BTreeMap<String, String>, cases: Vec<Case>) -> Self {
        Self { with: MeasuredWith::this(), rounds, absent, cases }
    }

    /// In all forms.
    pub(crate) fn measured(&self) -> Result<Measured> {
        Ok(Measured {
            text: self.text(),
            json: serde_json::to_value(self)?,
            section: self.section(),
            plots: self.plots()?,
            figures: self.figures(),
        })
    }

    fn rows(&self) -> impl Iterator<Item = [String; 9]> {
        self.cases.iter().flat_map(Case::rows)
    }

    fn text(&self) -> String {
        let table = table::columns(HEADINGS, self.rows(), &[1]);
        format!("{}\n\n{table}\n{}\n{}\n", self.origin(), self.notes(), self.conclusion())
    }

    fn section(&self) -> String {
        let table = table::markdown(HEADINGS, self.rows());
        format!("{}\n\n{METHOD}\n\n{table}\n{}\n\n{}\n", self.origin(), self.notes(), self.conclusion())
    }

    fn origin(&self) -> String {
        format!("{}, {} rounds, native XDP unless said otherwise", self.with, self.rounds)
    }

    fn notes(&self) -> String {
        let mut notes = "ns per packet: CPU time of the core for a packet that is made, sent, received and dropped, the median of the \
             rounds (quartiles), and the least. Mpps: as many millions of packets a second fill the core. times: against another in \
             the same round, median (quartiles)."
            .to_owned();
        let leaked: u64 =
            self.cases.iter().flat_map(|case| &case.contenders).map(|figures| figures.leaked).sum();
        notes.push_str(&format!(" Packets that reached the victim's stack: {leaked}."));
        for (name, why) in &self.absent {
            notes.push_str(&format!(" {name} took no part: {why}."));
        }
        notes
    }

    fn conclusion(&self) -> String {
        let all = || self.cases.iter().flat_map(|case| &case.contenders);
        let judged = all().filter(|figures| figures.is_kept.is_some()).count();
        match all().filter(|figures| figures.is_kept == Some(false)).count() {
            0 => format!("✓ All {judged} targets that could be judged are kept."),
            missed => format!("✗ {missed} of {judged} targets that could be judged are missed."),
        }
    }

    fn figures(&self) -> Vec<Figure> {
        let of = |case: &Case| -> Vec<Figure> {
            let name = |figures: &Figures| {
                format!("{}, {} blocked", figures.name, thousands(f64::from(case.blocked_sources)))
            };
            let all = case
                .contenders
                .iter()
                .map(|figures| Figure::new(name(figures), "ns per packet", figures.ns_per_packet));
            all.collect()
        };
        self.cases.iter().flat_map(of).collect()
    }

    fn plots(&self) -> Result<Vec<Plot>> {
        let mut names: Vec<&str> = Vec::new();
        for figures in self.cases.iter().flat_map(|case| &case.contenders) {
            if !names.contains(&figures.name.as_str()) {
                names.push(&figures.name);
            }
        }
        let series = |value: fn(Quartiles) -> Quartiles| -> Vec<Series> {
            let points = |name: &str| {
                let of = |case: &Case| {
                    let found = case.contenders.iter().find(|figures| figures.name == name)?;
                    Some((f64::from(case.blocked_sources), value(found.ns_per_packet)))
                };
                self.cases.iter().filter_map(of).collect()
            };
            names.iter().map(|name| Series { name: (*name).to_owned(), points: points(name) }).collect()
        };
        let mpps = |ns: Quartiles| Quartiles {
            least: 1e3 / ns.upper,
            lower: 1e3 / ns.upper,
            median: 1e3 / ns.median,
            upper: 1e3 / ns.lower,
        };
        let cost = Axis { what: "ns per packet, end to end", is_logarithmic: true };
        let rate = Axis { what: "million packets dropped per second of one core", is_logarithmic: false };
        Ok(vec![
            plot::over_blocked_sources(
                "e2e-cost",
                "A packet of a blocked source from end to end",
                &cost,
                &series(|ns| ns),
            )?,
            plot::over_blocked_sources(
                "e2e-rate",
                "Packets of blocked sources that one core makes and drops",
                &rate,
                &series(mpps),
            )?,
        ])
    }
}

const METHOD: &str = "\
Two network namespaces, a veth pair between them, one core for everything. In the one, the kernel itself makes frames (live \
frames of its test run), into each of which a program of the bench writes another of the blocked sources and the checksum that \
belongs to it, and puts them into the veth; at the other end one contender at a time is on. Its table is as it was all the \
time; each turn begins with a packet for each entry, 200,000 at most. Counters of the receiving interface say that everything sent \
arrived, and those of the victim's stack, which were tried without a contender, that nothing got through.";

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(ns: &[f64]) -> Vec<Turn> {
        let turn =
            |ns: &f64| Turn { ns_per_packet: *ns, wall_ns_per_packet: *ns, seen_share: 1.0, leaked: 0 };
        ns.iter().map(turn).collect()
    }

    #[test]
    fn ratios_are_of_the_same_round_and_judged_by_their_median() {
        let case = |peer: &[f64]| {
            Case::new(
                10_000,
                &[
                    (BARE_DROP.to_owned(), turns(&[50.0, 100.0, 50.0])),
                    (OURS.to_owned(), turns(&[100.0, 200.0, 100.0])),
                    (XDP_FILTER.to_owned(), turns(peer)),
                ],
            )
        };
        let kept = case(&[120.0, 240.0, 110.0]);
        assert_eq!(kept.contenders[2].times_ours.median, 1.2);
        assert_eq!(kept.contenders[1].times_bare_drop.median, 2.0);
        assert_eq!((kept.contenders[2].is_kept, kept.contenders[1].is_kept), (Some(true), None));
        assert_eq!(case(&[120.0, 220.0, 110.0]).contenders[2].is_kept, Some(false));
    }
}
