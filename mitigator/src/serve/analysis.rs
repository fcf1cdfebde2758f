//! A capture read once: each packet goes to the replay, for verdicts, and to the flows, for their classes. What is
//! found is handed over as it is found.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::value::RawValue;

use super::limits;
use super::models::{Chosen, Judged};
use crate::capture::Capture;
use crate::config::Config;
use crate::flows::features::{self, Spelling};
use crate::flows::{ClockFaults, Extraction, Flow, FlowSettings, Tally, sessions};
use crate::pipeline::time::Timestamp;
use crate::pipeline::verdict::Verdict;
use crate::replay::{Event, Protected, Replay, Replayed};
use crate::report::replayed::seconds;
use crate::tabular::{self, Cell, Column, Format, Kind};

/// Flows that are classified at a time.
const BATCH: usize = 256;
/// Packets after which what is left of a batch is classified, so that a slow stream's flows do not wait for others.
const PATIENCE_PACKETS: u64 = 4_096;
const SPELLING: Spelling = Spelling::Original2018;

/// What a capture is held against.
pub(super) struct Terms<'run> {
    pub(super) config: &'run Config,
    pub(super) protected: &'run Protected,
    pub(super) model: Option<&'run Chosen>,
}

/// Something that was found.
pub(super) enum Finding {
    /// At this time since the first packet.
    Verdict(Timestamp, Box<Verdict>),
    Flow(FoundFlow),
}

/// A flow that has ended.
pub(super) struct FoundFlow {
    /// Its session's columns, and its class when there is a model.
    pub(super) row: Box<RawValue>,
    pub(super) is_attack: bool,
}

/// What came of all packets.
pub(super) struct Analysed {
    /// Without the verdicts, which were handed over.
    pub(super) replayed: Replayed,
    pub(super) tally: Tally,
    pub(super) clock: ClockFaults,
    /// Flows by class; `None` without a model.
    pub(super) classes: Option<BTreeMap<String, u64>>,
    pub(super) attacks: u64,
}

/// Reads a capture to its end, or to where it is damaged.
///
/// # Errors
///
/// Those of `found`, and of the model.
pub(super) fn analyse(
    mut capture: Capture,
    terms: &Terms<'_>,
    mut found: impl FnMut(Finding) -> Result<()>,
) -> Result<Analysed> {
    let mut replay = Replay::new(terms.protected, terms.config, |_: Event<'_>| {});
    let mut flows = Flows::new(terms.model);
    let mut extraction =
        Extraction::new(&FlowSettings { most_live: limits::LIVE_FLOWS, ..FlowSettings::default() });
    let mut packets = 0_u64;
    let damage = loop {
        match capture.next_packet() {
            Ok(Some(packet)) => {
                replay.take(&packet)?;
                extraction.take(&packet, &mut |flow| flows.take(flow, &mut found))?;
            }
            Ok(None) => break None,
            Err(damage) => break Some(damage),
        }
        hand_over(replay.take_verdicts(), &mut found)?;
        packets += 1;
        if packets.is_multiple_of(PATIENCE_PACKETS) {
            flows.classify(&mut found)?;
        }
    };
    let (tally, clock) = extraction.finish(|flow| flows.take(flow, &mut found))?;
    flows.classify(&mut found)?;
    let mut replayed = replay.finish(damage)?;
    hand_over(std::mem::take(&mut replayed.verdicts), &mut found)?;
    let Flows { classes, attacks, model, .. } = flows;
    Ok(Analysed { replayed, tally, clock, classes: model.map(|_| classes), attacks })
}

fn hand_over(
    verdicts: Vec<(Timestamp, Verdict)>,
    found: &mut impl FnMut(Finding) -> Result<()>,
) -> Result<()> {
    verdicts.into_iter().try_for_each(|(at, verdict)| found(Finding::Verdict(at, Box::new(verdict))))
}

/// Flows that wait to be classified.
struct Flows<'run> {
    model: Option<&'run Chosen>,
    names: Vec<String>,
    class_names: Vec<String>,
    columns: Vec<Column>,
    sessions: Vec<Vec<Cell>>,
    features: Vec<Vec<f64>>,
    /// Of the flow at hand.
    cells: Vec<Cell>,
    classes: BTreeMap<String, u64>,
    attacks: u64,
}

impl<'run> Flows<'run> {
    fn new(model: Option<&'run Chosen>) -> Self {
        let mut columns = sessions::columns();
        if model.is_some() {
            columns.push(Column::new("class", Kind::Text));
            columns.push(Column::new("attack_probability", Kind::Real));
        }
        Self {
            model,
            names: features::columns(SPELLING).into_iter().map(|column| column.name.into_owned()).collect(),
            class_names: model.map_or_else(Vec::new, |model| model.classes().to_vec()),
            columns,
            sessions: Vec::new(),
            features: Vec::new(),
            cells: Vec::new(),
            classes: BTreeMap::new(),
            attacks: 0,
        }
    }

    fn take(&mut self, flow: &Flow, found: &mut impl FnMut(Finding) -> Result<()>) -> Result<()> {
        let mut session = Vec::with_capacity(self.columns.len());
        sessions::write_row(flow, &mut session);
        self.sessions.push(session);
        if self.model.is_some() {
            features::write_row(flow, SPELLING, &mut self.cells);
            self.features.push(self.cells.iter().map(Cell::number).collect());
        }
        if self.sessions.len() >= BATCH { self.classify(found) } else { Ok(()) }
    }

    fn classify(&mut self, found: &mut impl FnMut(Finding) -> Result<()>) -> Result<()> {
        let features = std::mem::take(&mut self.features);
        let mut sessions = std::mem::take(&mut self.sessions);
        let mut are_attacks = vec![false; sessions.len()];
        if let Some(model) = self.model.filter(|_| !sessions.is_empty()) {
            let judged = model.judge(&self.names, &features)?;
            for (row, (session, Judged { class, attack_probability, is_attack })) in
                sessions.iter_mut().zip(judged).enumerate()
            {
                let class = self.class_names.get(class).context("a class that the model has")?;
                *self.classes.entry(class.clone()).or_default() += 1;
                self.attacks += u64::from(is_attack);
                are_attacks[row] = is_attack;
                session.push(Cell::Text(class.clone().into()));
                session.push(Cell::Real(attack_probability));
            }
        }
        let mut lines = Vec::new();
        let mut writer = tabular::writer(Format::JsonLines, self.columns.clone(), &mut lines)?;
        sessions.iter().try_for_each(|session| writer.write(session))?;
        writer.finish()?;
        let lines = String::from_utf8(lines).context("JSON is text")?;
        for (line, is_attack) in lines.lines().zip(are_attacks) {
            found(Finding::Flow(FoundFlow { row: RawValue::from_string(line.to_owned())?, is_attack }))?;
        }
        Ok(())
    }
}

/// As everybody hears it who listens.
#[derive(Serialize)]
pub(super) struct VerdictEvent<'found> {
    event: &'static str,
    capture: u64,
    at_s: f64,
    #[serde(flatten)]
    verdict: &'found Verdict,
}

/// As everybody hears it who listens.
#[derive(Serialize)]
pub(super) struct FlowEvent<'found> {
    event: &'static str,
    capture: u64,
    flow: &'found RawValue,
}

impl<'found> VerdictEvent<'found> {
    pub(super) const KIND: &'static str = "verdict";

    pub(super) fn new(capture: u64, at: Timestamp, verdict: &'found Verdict) -> Self {
        Self { event: Self::KIND, capture, at_s: seconds(at), verdict }
    }
}

impl<'found> FlowEvent<'found> {
    pub(super) const KIND: &'static str = "flow";

    pub(super) const fn new(capture: u64, flow: &'found RawValue) -> Self {
        Self { event: Self::KIND, capture, flow }
    }
}
