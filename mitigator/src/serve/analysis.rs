//! A capture read once: each packet goes to the replay, for verdicts, and to the flows, for their classes. What is
//! found is handed over as it is found.
//!
//! Two threads: one reads, and may wait for bytes at any time; the other classifies flows, many at a time while there are
//! many, and those that are there when a moment has passed.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::body::Wanted;
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
/// Longest that a flow waits for others to be classified with.
const PATIENCE: Duration = Duration::from_millis(500);
/// What the reader may be ahead; then it waits.
const AHEAD: usize = 1_024;
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

/// Reads a capture to its end, or to where it is damaged, or until it is not wanted any more, as when this fails.
///
/// # Errors
///
/// Those of `found`, and of the model.
pub(super) fn analyse(
    capture: Capture,
    terms: &Terms<'_>,
    wanted: &Wanted,
    mut found: impl FnMut(Finding) -> Result<()>,
) -> Result<Analysed> {
    let mut flows = Flows::new(terms.model);
    let (sender, findings) = sync_channel(AHEAD);
    let read = thread::scope(|threads| {
        let reading = thread::Builder::new()
            .name("capture".to_owned())
            .spawn_scoped(threads, move || read(capture, terms, &sender))
            .context("cannot start a thread")?;
        let mut telling = Telling { wanted, is_done: false };
        let told = flows.tell(&findings, &mut found);
        telling.is_done = told.is_ok();
        drop((telling, findings));
        let read = reading.join().unwrap_or_else(|panic| resume_unwind(panic));
        told.and(read)
    })?;
    let Read { replayed, tally, clock } = read;
    let Flows { classes, attacks, model, .. } = flows;
    Ok(Analysed { replayed, tally, clock, classes: model.map(|_| classes), attacks })
}

/// What fails to tell all that is found, be it by a panic, wants no more: whoever reads may be waiting for bytes.
struct Telling<'run> {
    wanted: &'run Wanted,
    is_done: bool,
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            self.wanted.lose();
        }
    }
}

/// What the reader hands over.
enum Raw {
    Verdict(Timestamp, Box<Verdict>),
    Flow(RawFlow),
}

/// A flow that has ended.
struct RawFlow {
    session: Vec<Cell>,
    /// Empty without a model.
    features: Vec<f64>,
}

/// What the reader knows at the end.
struct Read {
    replayed: Replayed,
    tally: Tally,
    clock: ClockFaults,
}

/// Reads all packets.
fn read(mut capture: Capture, terms: &Terms<'_>, findings: &SyncSender<Raw>) -> Result<Read> {
    let send = |raw: Raw| findings.send(raw).ok().context("what is found is not wanted any more");
    let verdicts = |verdicts: Vec<(Timestamp, Verdict)>| -> Result<()> {
        verdicts.into_iter().try_for_each(|(at, verdict)| send(Raw::Verdict(at, Box::new(verdict))))
    };
    let mut cells = Vec::new();
    let mut flow = |flow: &Flow| {
        let mut session = Vec::new();
        sessions::write_row(flow, &mut session);
        let mut numbers = Vec::new();
        if terms.model.is_some() {
            features::write_row(flow, SPELLING, &mut cells);
            numbers.extend(cells.iter().map(Cell::number));
        }
        send(Raw::Flow(RawFlow { session, features: numbers }))
    };
    let mut replay = Replay::new(terms.protected, terms.config, |_: Event<'_>| {});
    let mut extraction =
        Extraction::new(&FlowSettings { most_live: limits::LIVE_FLOWS, ..FlowSettings::default() });
    let damage = loop {
        match capture.next_packet() {
            Ok(Some(packet)) => {
                replay.take(&packet)?;
                extraction.take(&packet, &mut flow)?;
            }
            Ok(None) => break None,
            Err(damage) => break Some(damage),
        }
        verdicts(replay.take_verdicts())?;
    };
    let (tally, clock) = extraction.finish(&mut flow)?;
    let mut replayed = replay.finish(damage)?;
    verdicts(std::mem::take(&mut replayed.verdicts))?;
    Ok(Read { replayed, tally, clock })
}

/// Flows that wait to be classified.
struct Flows<'run> {
    model: Option<&'run Chosen>,
    names: Vec<String>,
    class_names: Vec<String>,
    columns: Vec<Column>,
    sessions: Vec<Vec<Cell>>,
    features: Vec<Vec<f64>>,
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
            classes: BTreeMap::new(),
            attacks: 0,
        }
    }

    /// Tells what the reader hands over until it has no more.
    fn tell(
        &mut self,
        findings: &Receiver<Raw>,
        found: &mut impl FnMut(Finding) -> Result<()>,
    ) -> Result<()> {
        // Of the flow that waits for the longest time.
        let mut due: Option<Instant> = None;
        loop {
            let next = match due {
                None => findings.recv().map_err(RecvTimeoutError::from),
                Some(due) => findings.recv_timeout(due.saturating_duration_since(Instant::now())),
            };
            match next {
                Ok(Raw::Verdict(at, verdict)) => found(Finding::Verdict(at, verdict))?,
                Ok(Raw::Flow(RawFlow { session, features })) => {
                    self.sessions.push(session);
                    self.features.push(features);
                    due.get_or_insert_with(|| Instant::now() + PATIENCE);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.classify(found),
            }
            if self.sessions.len() >= BATCH || due.is_some_and(|due| due <= Instant::now()) {
                self.classify(found)?;
                due = None;
            }
        }
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
