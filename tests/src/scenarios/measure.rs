//! Counts what happens in a run, and holds it against what is asked of the scenario.

use std::time::Duration;

use mitigator::config::Config;
use mitigator::control_loop::Tick;
use mitigator::pipeline::features::Features;
use mitigator::pipeline::target::Target;
use mitigator::pipeline::time::Timestamp;
use mitigator::pipeline::vectors::{Floors, Span, Vector};
use mitigator::pipeline::verdict::{Decision, Subject, Verdict};
use mitigator_common::{Outcome, Source};
use rustc_hash::{FxHashMap, FxHashSet};

use super::catalogue::{Expected, Population, Scenario};
use super::figures::{Figures, Packets, SecondPulse};
use super::traffic::Transit;

/// A verdict has to come this many ticks after the one that crossed the floor, at the latest.
const IN_TIME: u64 = 2;
/// Share of the attack packets after the verdict that has to be dropped.
const STOPPED_SHARE: f64 = 0.95;

pub(super) struct Measure<'s> {
    scenario: &'s Scenario,
    start: Timestamp,
    figures: Figures,
    /// By population.
    attacks: Vec<bool>,
    innocents: FxHashSet<Source>,
    blocked: FxHashSet<Source>,
    tick_spans: Spans,
    window_spans: Spans,
    window: Duration,
    interval: Duration,
    crowd: usize,
    /// Innocents that were there before the attack.
    known: FxHashSet<Source>,
    /// Connections that attackers opened, by source.
    opened: FxHashMap<Source, u32>,
    first_attack_ns: Option<u64>,
    crossed: Option<Moment>,
    named: Option<Moment>,
    second_pulse_ticks: u64,
}

#[derive(Clone, Copy)]
struct Moment {
    at: Timestamp,
    tick: u64,
}

/// What an attack sends over spans of one kind.
struct Spans {
    span: Span,
    lasted: Duration,
    /// By vector that is expected: the sum of its totals, each times its seconds.
    carried: Vec<f64>,
    /// Packets by source.
    attackers: FxHashMap<Source, u32>,
}

impl<'s> Measure<'s> {
    pub(super) fn new(scenario: &'s Scenario, config: &Config, start: Timestamp) -> Self {
        let innocents: FxHashSet<Source> = scenario
            .populations
            .iter()
            .filter(|population| !population.attacks)
            .flat_map(Population::addresses)
            .collect();
        let spans = |span| Spans {
            span,
            lasted: Duration::ZERO,
            carried: vec![0.0; scenario.expected.vectors().len()],
            attackers: FxHashMap::default(),
        };
        Self {
            figures: Figures {
                scenario: scenario.name.clone(),
                about: scenario.about.clone(),
                expected: scenario.expected.vectors().iter().map(|vector| vector.name()).collect(),
                twin: scenario.twin.clone(),
                innocents: innocents.len() as u64,
                second_pulse: scenario.pulses().map(|_| SecondPulse::default()),
                known_fault: scenario.known_fault.clone(),
                ..Figures::default()
            },
            scenario,
            start,
            attacks: scenario.populations.iter().map(|population| population.attacks).collect(),
            innocents,
            blocked: FxHashSet::default(),
            tick_spans: spans(Span::Tick),
            window_spans: spans(Span::Window),
            window: config.detection.window,
            interval: config.interval,
            crowd: config.detection.crowd,
            known: FxHashSet::default(),
            opened: FxHashMap::default(),
            first_attack_ns: None,
            crossed: None,
            named: None,
            second_pulse_ticks: 0,
        }
    }

    pub(super) fn left(&mut self) {
        self.figures.packets += 1;
    }

    pub(super) fn arrived(&mut self, transit: &Transit, outcome: Outcome) {
        let is_drop = outcome.is_drop();
        self.figures.packets += 1;
        if !self.attacks.get(transit.population).copied().unwrap_or(false) {
            self.figures.benign.add(is_drop);
            self.arrived_innocent(transit, is_drop);
            return;
        }
        self.first_attack_ns.get_or_insert(transit.at_ns);
        self.figures.attack.add(is_drop);
        if self.named.is_some() {
            self.figures.attack_after_verdict.add(is_drop);
        }
        if self.crossed.is_none() {
            *self.tick_spans.attackers.entry(transit.packet.source).or_default() += 1;
            *self.window_spans.attackers.entry(transit.packet.source).or_default() += 1;
            if transit.packet.transport.opens() {
                *self.opened.entry(transit.packet.source).or_default() += 1;
            }
        }
        if let (Some(second), true) =
            (&mut self.figures.second_pulse, is_second_pulse(self.scenario, transit.at_ns))
        {
            second.all.add(is_drop);
            if self.second_pulse_ticks == 0 {
                second.first_tick.add(is_drop);
            }
        }
    }

    fn arrived_innocent(&mut self, transit: &Transit, is_drop: bool) {
        if self.scenario.expected == Expected::Nothing {
            return;
        }
        if self.first_attack_ns.is_none() {
            self.known.insert(transit.packet.source);
            return;
        }
        if self.known.contains(&transit.packet.source) {
            self.figures.benign_known.add(is_drop);
        }
        self.figures.benign_exchanges.begun += u64::from(transit.begins);
        self.figures.benign_exchanges.lost += u64::from(is_drop);
    }

    pub(super) fn ticked(&mut self, tick: &Tick) {
        self.figures.ticks += 1;
        let moment = Moment { at: tick.at, tick: self.figures.ticks };
        let since_start = tick.at.since(self.start).as_nanos();
        let ns = u64::try_from(since_start).unwrap_or(u64::MAX);
        if self.figures.second_pulse.is_some_and(|second| second.all.arrived > 0)
            && is_second_pulse(self.scenario, ns)
        {
            self.second_pulse_ticks += 1;
        }
        self.look_for_crossing(tick, moment);
        for verdict in &tick.verdicts {
            self.judged(verdict, moment);
        }
        for block in &tick.changes.blocks {
            let Target::Source(source) = block.target else { continue };
            if self.blocked.insert(source) {
                self.figures.blocks += 1;
                self.figures.innocents_blocked += u64::from(self.innocents.contains(&source));
            }
        }
    }

    /// Whether this tick is the first over the floor of the evidence: in total, and by one source or by a crowd.
    fn look_for_crossing(&mut self, tick: &Tick, moment: Moment) {
        if self.crossed.is_some() {
            return;
        }
        let vectors = self.scenario.expected.vectors();
        self.tick_spans.add(tick, vectors);
        self.window_spans.add(tick, vectors);
        let has_begun = self.first_attack_ns.is_some();
        let held = self.opened.values().copied().max().unwrap_or(0);
        let is_over = |spans: &Spans| has_begun && spans.is_over(vectors, held, self.crowd);
        let mut has_crossed = is_over(&self.tick_spans);
        self.tick_spans.clear();
        if self.window_spans.lasted >= self.window {
            has_crossed |= is_over(&self.window_spans);
            self.window_spans.clear();
        }
        if has_crossed {
            self.crossed = Some(moment);
        }
    }

    fn judged(&mut self, verdict: &Verdict, moment: Moment) {
        let name = format!("{}: {}", verdict.vector.name(), verdict.decision.name());
        *self.figures.verdicts.entry(name).or_default() += 1;
        let is_about_innocent = match &verdict.subject {
            Subject::Target(Target::Source(source)) => self.innocents.contains(source),
            Subject::Target(_) => false,
            Subject::Signature(_) => self.scenario.expected == Expected::Nothing,
        };
        let is_expected = self.scenario.expected.vectors().contains(&verdict.vector);
        if is_expected && !is_about_innocent && self.first_attack_ns.is_some() && self.named.is_none() {
            self.named = Some(moment);
        }
        if is_about_innocent && verdict.decision != Decision::Observe && self.figures.first_wrong.is_none() {
            self.figures.first_wrong = Some(self.describe(verdict, moment));
        }
    }

    fn describe(&self, verdict: &Verdict, moment: Moment) -> String {
        let evidence = &verdict.evidence;
        let gates =
            evidence.gates().map(|gate| format!("{} {:.4} of {:.4}", gate.name, gate.value, gate.limit));
        let features = evidence
            .features
            .iter()
            .flat_map(Features::iter)
            .map(|(name, value)| format!("{name} {value:.4}"));
        format!(
            "{} after {:.2} s (tick {}): {} {}; gates: {}; features: {}; {} sources, {} light; window {:.2} s",
            verdict.decision.name(),
            moment.at.since(self.start).as_secs_f64(),
            moment.tick,
            verdict.vector.name(),
            verdict.subject,
            gates.collect::<Vec<_>>().join(", "),
            features.collect::<Vec<_>>().join(", "),
            evidence.case.sources,
            evidence.case.light_sources,
            evidence.case.window_s,
        )
    }

    pub(super) fn finish(mut self, lasted: Duration) -> Figures {
        self.figures.hours = lasted.as_secs_f64() / 3_600.0;
        let begun = self.start + Duration::from_nanos(self.first_attack_ns.unwrap_or(0));
        let after = |moment: Option<Moment>| moment.map(|moment| moment.at.since(begun).as_secs_f64());
        self.figures.verdict_after_s = after(self.named);
        self.figures.crossed_after_s = after(self.crossed);
        let interval_ns = self.interval.as_nanos().max(1);
        let ticks = |named: Moment| {
            let late = self.crossed.map_or(Duration::ZERO, |crossed| named.at.since(crossed.at));
            // A third of an interval is rounded down, so three of them are a little less than one.
            u64::try_from((late.as_nanos().saturating_sub(1_000)).div_ceil(interval_ns)).unwrap_or(u64::MAX)
        };
        self.figures.ticks_to_verdict = self.named.map(ticks);
        self.figures.failures = failures(&self.figures, &self.scenario.expected);
        self.figures
    }
}

/// What was asked and not kept.
fn failures(figures: &Figures, expected: &Expected) -> Vec<String> {
    let mut failures = Vec::new();
    let mut ask = |is_kept: bool, failure: String| {
        if !is_kept {
            failures.push(failure);
        }
    };
    let blocked = figures.innocents_blocked;
    ask(blocked == 0, format!("{blocked} innocents blocked"));
    let Packets { arrived, dropped } = figures.benign;
    if *expected == Expected::Nothing {
        ask(figures.blocks == blocked, format!("{} blocks", figures.blocks));
        ask(dropped == 0, format!("{dropped} of {arrived} benign packets lost"));
        return failures;
    }
    let Packets { arrived, dropped } = figures.benign_known;
    ask(dropped == 0, format!("{dropped} of {arrived} packets lost of who was there before the attack"));
    match figures.ticks_to_verdict {
        None => ask(false, "no right verdict".to_owned()),
        Some(ticks) => ask(ticks <= IN_TIME, format!("the verdict came {ticks} ticks after the floor")),
    }
    if let Expected::Report(_) = expected {
        ask(figures.blocks == 0, format!("{} blocks", figures.blocks));
        return failures;
    }
    let stopped = figures.attack_after_verdict.dropped_share().unwrap_or(1.0);
    ask(
        stopped >= STOPPED_SHARE,
        format!("{:.1} % of the attack stopped after the verdict", stopped * 100.0),
    );
    if let Some(second) = figures.second_pulse {
        let shares =
            [(second.first_tick, "the first tick of the second pulse"), (second.all, "the second pulse")];
        for (packets, what) in shares {
            let share = packets.dropped_share().unwrap_or(0.0);
            ask(share >= STOPPED_SHARE, format!("{:.1} % of {what} dropped", share * 100.0));
        }
    }
    failures
}

fn is_second_pulse(scenario: &Scenario, at_ns: u64) -> bool {
    scenario.pulses().is_some_and(|(start, on, off)| {
        let since = Duration::from_nanos(at_ns).saturating_sub(start);
        since >= on + off && since < (on + off) * 2
    })
}

impl Spans {
    fn add(&mut self, tick: &Tick, vectors: &[Vector]) {
        self.lasted += tick.interval;
        for (sum, vector) in self.carried.iter_mut().zip(vectors) {
            let position = Vector::ALL.iter().position(|known| known == vector);
            let total = position.and_then(|position| tick.totals.get(position)).copied().unwrap_or(0.0);
            // What stands is not a rate: what counts is the most there was.
            if vector.is_stock() {
                *sum = sum.max(total);
            } else {
                *sum += total * tick.interval.as_secs_f64();
            }
        }
    }

    fn clear(&mut self) {
        self.lasted = Duration::ZERO;
        self.carried.fill(0.0);
        self.attackers.clear();
    }

    /// `held` are the most connections that one attacker opened, `crowd` how many sources are one.
    fn is_over(&self, vectors: &[Vector], held: u32, crowd: usize) -> bool {
        let seconds = self.lasted.as_secs_f64();
        let loudest = self.attackers.values().copied().max().unwrap_or(0);
        self.carried.iter().zip(vectors).any(|(carried, vector)| {
            let Floors { total, source } = vector.floors_over(self.span, true);
            if vector.is_stock() {
                return *carried >= total && f64::from(held) >= source;
            }
            let is_loud = f64::from(loudest) / seconds >= source;
            let is_crowd = self.attackers.len() >= crowd;
            carried / seconds >= total && (is_loud || is_crowd)
        })
    }
}
