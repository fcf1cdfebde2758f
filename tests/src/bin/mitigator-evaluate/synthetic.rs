//! The synthetic scenarios of the evaluation: run beside the captures, shown as a section of the page.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use indicatif::ProgressBar;
use mitigator_tests::numbers::thousands;
use mitigator_tests::scenarios::{Catalogue, Figures, Packets, Scenario, run_all};

use crate::arguments::Arguments;
use crate::markdown::{NOTHING, lost, number, percent, seconds, stopped_share, table};

/// The scenarios that the arguments name, and how long each may last.
pub(crate) struct Chosen {
    pub(crate) scenarios: Vec<Scenario>,
    longest: Option<Duration>,
}

impl Chosen {
    /// # Errors
    ///
    /// When there is no scenario of a name.
    pub(crate) fn by(arguments: &Arguments) -> Result<Self> {
        let scenarios = if arguments.captures_only {
            Vec::new()
        } else {
            Catalogue::read()?.choose(&arguments.scenarios)?
        };
        Ok(Self { scenarios, longest: arguments.longest() })
    }

    /// Runs them, a step of the bar each.
    ///
    /// # Errors
    ///
    /// When one of them fails to run.
    pub(crate) fn run(&self, bar: &ProgressBar) -> Result<Vec<Figures>> {
        run_all(&self.scenarios, self.longest, |_| bar.inc(1))
    }
}

/// For a terminal, ending in a line feed; what was not kept is said.
pub(crate) fn short_summary(runs: &[Figures]) -> String {
    let mut text = String::new();
    for (what, runs) in [("benign", benign(runs)), ("attack", attacks(runs))] {
        let met = runs.iter().filter(|run| run.is_met()).count();
        let _ = writeln!(text, "{} synthetic {what} scenarios: as asked {met}", runs.len());
        for run in runs.iter().filter(|run| !run.is_met()) {
            let _ = writeln!(text, "  {:<24}{}", run.scenario, run.failures.join("; "));
        }
    }
    text
}

/// All that is known of some scenarios, for a terminal.
pub(crate) fn details(runs: &[Figures]) -> String {
    let mut text = String::new();
    for run in runs {
        let _ = writeln!(
            text,
            "{}: {}\n  {} packets in {:.2} h; verdicts: {}; {}",
            run.scenario,
            run.about,
            number(run.packets),
            run.hours,
            verdicts(run),
            if run.is_met() { "as asked".to_owned() } else { run.failures.join("; ") },
        );
        if let Some(wrong) = &run.first_wrong {
            let _ = writeln!(text, "  {wrong}");
        }
    }
    text
}

/// The section of the page.
pub(crate) fn section(runs: &[Figures]) -> String {
    let (benign, attacks) = (benign(runs), attacks(runs));
    let met = |runs: &[&Figures]| runs.iter().filter(|run| run.is_met()).count();
    let packets: u64 = runs.iter().map(|run| run.packets).sum();
    let mut text = format!(
        "## Synthetic scenarios\n\n{} of {} benign days and {} of {} attacks came out as asked, over {} simulated \
         packets. `tests/scenarios.toml` says who sends what; its packets, of both directions, go through the data \
         plane and the control loop of replay. In benign scenarios nobody is blocked and nothing is dropped. An attack \
         is named by a right vector at most two ticks after the one in which its evidence crossed the floor, 95 % of \
         what it sends from then on is dropped, and so is the second pulse from its first tick on; nobody innocent \
         is blocked, and who was there before the attack loses no packet. Scans and password guessing are reported only.\n\n",
        met(&benign),
        benign.len(),
        met(&attacks),
        attacks.len(),
        thousands(packets as f64),
    );
    let rows = benign.iter().map(|run| {
        vec![
            run.scenario.clone(),
            run.about.clone(),
            format!("{} h", (run.hours * 10.0).round() / 10.0),
            number(run.packets),
            verdicts(run),
            number(run.blocks),
            number(run.benign.dropped),
            mark(run),
        ]
    });
    let heading =
        ["benign", "what it is", "time", "packets", "verdicts", "blocks", "packets lost", "as asked"];
    text.push_str(&table(&heading, rows));
    text.push('\n');
    let rows = attacks.iter().map(|run| {
        vec![
            run.scenario.clone(),
            run.about.clone(),
            run.twin.clone().unwrap_or_else(|| NOTHING.to_owned()),
            verdicts(run),
            seconds(run.verdict_after_s),
            run.ticks_to_verdict.map_or_else(|| NOTHING.to_owned(), number),
            stopped_share(packets_of(run.attack_after_verdict)),
            run.second_pulse.map_or_else(
                || NOTHING.to_owned(),
                |second| {
                    let share = |packets: Packets| percent(packets.dropped_share());
                    format!("{} / {}", share(second.first_tick), share(second.all))
                },
            ),
            lost(run.innocents_blocked, run.innocents),
            lost(run.benign_known.dropped, run.benign_known.arrived),
            lost(run.benign_exchanges.lost, run.benign_exchanges.begun),
            mark(run),
        ]
    });
    let heading = [
        "attack",
        "what it is",
        "benign twin",
        "verdicts",
        "named after",
        "ticks after the floor",
        "stopped after the verdict",
        "second pulse dropped: first tick / all",
        "innocents blocked",
        "packets lost of who was there before",
        "benign exchanges lost",
        "as asked",
    ];
    text.push_str(&table(&heading, rows));
    text
}

fn benign(runs: &[Figures]) -> Vec<&Figures> {
    runs.iter().filter(|run| run.expected.is_empty()).collect()
}

fn attacks(runs: &[Figures]) -> Vec<&Figures> {
    runs.iter().filter(|run| !run.expected.is_empty()).collect()
}

fn packets_of(packets: Packets) -> crate::tally::Packets {
    crate::tally::Packets { arrived: packets.arrived, dropped: packets.dropped }
}

fn verdicts(run: &Figures) -> String {
    let verdicts: Vec<String> = run
        .verdicts
        .iter()
        .map(|(name, count)| {
            let is_right = run.expected.iter().any(|vector| name.starts_with(&format!("{vector}:")));
            if is_right {
                format!("**{name}** {}", number(*count))
            } else {
                format!("{name} {}", number(*count))
            }
        })
        .collect();
    if verdicts.is_empty() { NOTHING.to_owned() } else { verdicts.join(", ") }
}

fn mark(run: &Figures) -> String {
    match (&run.known_fault, run.is_met()) {
        (_, true) => "✓".to_owned(),
        (Some(fault), false) => format!("✗ {} ({fault})", run.failures.join("; ")),
        (None, false) => format!("✗ {}", run.failures.join("; ")),
    }
}
