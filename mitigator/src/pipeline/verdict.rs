//! Verdicts: who is attacking, what is done about it, and the evidence.
//!
//! For each alarm the sources that carry its traffic are grouped by K-Means; a group attacks when
//! its centroid is over the vector's floor and well apart from the quieter groups; a source of it is
//! blocked when it shows the evidence itself. Floods of many light sources never lead to blocks of
//! their sources: the verdict names the traffic instead.

use ndarray::Array2;
use rustc_hash::{FxHashMap, FxHashSet};
use serde::Serialize;

use mitigator_common::{PacketKind, Signature, Source, SourceCounters};

use super::activity::{Activity, SourceActivity};
use super::allowlist::{AllowList, Relation};
use super::asked::{Asked, Closest};
use super::clustering::{self, Clusters};
use super::features::FeatureTable;
use super::gates::{self, Alarm, Gate, Look};
use super::prefixes::{self, AttackingPrefix};
use super::settings::DetectionSettings;
use super::swarm::SWARM;
use super::target::Target;
use super::time::Timestamp;
use super::vectors::{Comparison, ManyPorts, Span, Vector};

/// What is done about a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// Reported, nothing else.
    Observe,
    /// Only so many of its packets pass.
    Limit,
    /// Dropped until the block is over.
    Block,
}

impl Decision {
    /// Stable name, as reports and JSON spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Limit => "limit",
            Self::Block => "block",
        }
    }
}

/// What a verdict is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A source or prefix.
    Target(Target),
    /// Traffic of many sources, described.
    Signature(String),
}

impl Serialize for Subject {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Target(target) => serializer.collect_str(target),
            Self::Signature(text) => serializer.serialize_str(text),
        }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Target(target) => target.fmt(f),
            Self::Signature(text) => f.write_str(text),
        }
    }
}

/// A judgement, with its reasons.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// Who or what.
    #[serde(rename = "target")]
    pub subject: Subject,
    /// The kind of attack.
    pub vector: Vector,
    /// What is done.
    pub decision: Decision,
    /// For a limit: which packets, and how many of them pass per second.
    #[serde(serialize_with = "limits_as_text", skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<(Signature, f64)>,
    /// When the attack began; for a limit, who was first seen before is exempt, and nobody is for zero.
    #[serde(skip)]
    pub since: Timestamp,
    /// Why.
    pub evidence: Evidence,
}

/// Everything a verdict rests on.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Evidence {
    /// Length of the interval that was judged, in seconds.
    pub window_s: f64,
    /// The port that was judged by itself, because it stood out where all together did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<u16>,
    /// Every comparison, passed or not.
    pub gates: Vec<Gate>,
    /// Features of the source, by name; empty for a signature.
    pub features: std::collections::BTreeMap<&'static str, f64>,
    /// The groups of the sources that carry the traffic, loudest first.
    pub clusters: Vec<ClusterSummary>,
    /// Which of `clusters` the source belongs to.
    pub cluster: Option<usize>,
    /// From its centroid, in decades of packets/s and shares.
    pub distance: Option<f64>,
    /// Mean simplified silhouette of the groups.
    pub silhouette: f64,
    /// Sources that carry the traffic.
    pub sources: usize,
    /// Of them, those too light to be blocked.
    pub light_sources: usize,
    /// In plain words, what else decided.
    pub note: &'static str,
    /// Of mitigator.
    pub version: &'static str,
}

impl Verdict {
    /// Whether somebody is blamed for something that is worth a block: such traffic must not become normal.
    #[must_use]
    pub fn is_attack(&self) -> bool {
        let is_unexplained = self.evidence.gates.iter().any(|gate| gate.name == "overwhelming_total");
        self.vector.is_blocked() && !is_unexplained && self.evidence.note != ON_ALLOW_LIST
    }
}

impl Evidence {
    /// The rate that decided: the source's own, or that of all sources for a signature.
    #[must_use]
    pub fn packets_per_second(&self) -> f64 {
        let value_of = |name: &str| self.gates.iter().find(|gate| gate.name == name).map(|gate| gate.value);
        ["source_floor", "service_floor", "total_floor"].into_iter().find_map(value_of).unwrap_or(0.0)
    }
}

/// One group of sources.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClusterSummary {
    /// Sources in it.
    pub sources: usize,
    /// Its centroid's rate of the vector's packets.
    pub packets_per_second: f64,
    /// Its centroid's share of the vector in all packets of a source.
    pub share: f64,
    /// Its centroid's bytes per packet.
    pub mean_bytes: f64,
    /// Whether it attacks.
    pub is_attacking: bool,
}

/// Remembers how long each source has shown evidence.
#[derive(Clone, Debug, Default)]
pub struct Judge {
    suspects: FxHashMap<(Target, Vector), Suspicion>,
    reported: FxHashMap<(Vector, Option<Target>), Timestamp>,
    asked: Asked,
}

#[derive(Clone, Copy, Debug)]
struct Suspicion {
    ticks: u32,
    first: Timestamp,
    last: Timestamp,
}

/// What the judge says of one tick.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    /// In the order of the vectors, then of the sources.
    pub verdicts: Vec<Verdict>,
    /// Whether somebody needs another look soon.
    pub is_suspicious: bool,
}

impl Judgement {
    /// The sources to be blocked.
    #[must_use]
    pub fn blocked(&self) -> FxHashSet<Source> {
        let blocks = self.verdicts.iter().filter(|verdict| verdict.decision == Decision::Block);
        blocks
            .filter_map(|verdict| match verdict.subject {
                Subject::Target(Target::Source(source)) => Some(source),
                Subject::Target(_) | Subject::Signature(_) => None,
            })
            .collect()
    }

    /// Adds what another judgement of the same tick says; of two verdicts about the same the first stands.
    pub fn add(&mut self, other: Self) {
        let known: FxHashSet<Subject> = self.verdicts.iter().map(|verdict| verdict.subject.clone()).collect();
        self.verdicts.extend(other.verdicts.into_iter().filter(|verdict| !known.contains(&verdict.subject)));
        self.is_suspicious |= other.is_suspicious;
    }
}

/// Evidence older than this is no longer "consecutive".
const SUSPICION_LASTS: std::time::Duration = std::time::Duration::from_secs(2);
/// The same observation is reported again after this.
const REPORT_AGAIN: std::time::Duration = std::time::Duration::from_secs(30);
/// How long connections must stand before their source is blocked.
const STANDS_FOR: std::time::Duration = std::time::Duration::from_millis(500);
/// The same for a source that was served before: perhaps the server is slow for a moment.
const STANDS_FOR_ONCE_SERVED: std::time::Duration = std::time::Duration::from_millis(1_500);
/// The same while other sources are not served either.
const STANDS_FOR_WHEN_EVERYBODY_WAITS: std::time::Duration = std::time::Duration::from_secs(10);
/// How long an overwhelming total nobody can be blamed for goes unreported.
const WORTH_A_WORD_AFTER: std::time::Duration = std::time::Duration::from_secs(1);
/// Sources that are judged one by one for a vector in one tick: twice as many as are blocked in one by default,
/// because some were blocked the tick before and have packets on the way.
const MOST_SUSPECTS: usize = 8_192;
/// Columns of the points that are clustered: decades of the vector's packets/s, its share times two,
/// decades of mean bytes. All of the order of 1, so that none drowns the others.
const POINT_COLUMNS: usize = 3;
/// Ports that a limit names, at most.
const MOST_PORTS: usize = 4;
/// A few ports are named when they take this share of the flood.
const NAMED_SHARE: f64 = 0.9;
/// On the floor of all sources for a flood of many whose packets may yet be followed by an ACK.
const SUDDEN_FACTOR: f64 = 4.0;
/// A prefix has to send this many times what one source of it had to.
const PREFIX_FACTOR: f64 = 4.0;
const ON_ALLOW_LIST: &str = "the source is on the allow list";
const COVERS_ALLOWED: &str = "an allowed address lies inside the source";
/// A group whose mean is a little under the floor may hold members over it.
const CENTROID_TOLERANCE: f64 = 0.8;

impl Judge {
    /// From now on, remembers how close each of these sources came to a verdict.
    pub fn ask(&mut self, sources: Vec<Source>) {
        self.asked = Asked::about(sources);
    }

    /// What is remembered of those that were asked about.
    #[must_use]
    pub const fn asked(&self) -> &Asked {
        &self.asked
    }

    /// Takes note of what the gates saw of those that were asked about.
    pub fn note(
        &mut self,
        activity: &Activity,
        features: &FeatureTable<'_>,
        looks: &[Look],
        settings: &DetectionSettings,
    ) {
        for look in looks {
            let Some(row) = activity.rows.get(look.row) else {
                continue;
            };
            let factor = look.vector.floor_factor(&row.change, activity.hears_sent);
            let floor = look.floors.source * settings.patience * factor;
            if floor.is_infinite() {
                continue;
            }
            let gates = look.gates.iter().cloned().chain(source_gates(activity, look, floor, settings));
            let evidence = Evidence {
                window_s: activity.interval.as_secs_f64(),
                gates: gates.collect(),
                features: features.named(look.row).collect(),
                version: env!("CARGO_PKG_VERSION"),
                ..Evidence::default()
            };
            self.asked.note(row.source, Closest { at: activity.at, vector: look.vector, evidence });
        }
    }

    /// Judges the sources behind each alarm. Allowed sources are never blocked.
    pub fn judge(
        &mut self,
        activity: &Activity,
        features: FeatureTable<'_>,
        alarms: &[Alarm],
        allowed: &AllowList,
        settings: &DetectionSettings,
    ) -> Judgement {
        let now = activity.at;
        self.suspects.retain(|_, suspicion| now.since(suspicion.last) <= SUSPICION_LASTS);
        self.reported.retain(|_, at| now.since(*at) <= REPORT_AGAIN);
        let mut judgement = Judgement { is_suspicious: !alarms.is_empty(), ..Judgement::default() };
        for alarm in alarms {
            let mut case = Case::new(activity, features, alarm, settings);
            let before = judgement.verdicts.len();
            let covered = self.judge_prefixes(&case, allowed, &mut judgement);
            case.leave_out(covered);
            self.judge_sources(&case, allowed, &mut judgement);
            self.judge_crowd(&case, &mut judgement);
            if judgement.verdicts.len() == before {
                self.judge_rest(&case, &mut judgement);
            }
        }
        judgement
    }

    /// Prefixes whose members attack as one; returns the rows of those that are blocked, or soon may be.
    fn judge_prefixes(
        &mut self,
        case: &Case<'_>,
        allowed: &AllowList,
        judgement: &mut Judgement,
    ) -> FxHashSet<usize> {
        let mut covered = FxHashSet::default();
        if !case.settings.widen || !case.alarm.vector.is_widened() {
            return covered;
        }
        let (vector, now) = (case.alarm.vector, case.activity.at);
        let is_light = |row: &SourceActivity, carried| case.is_light(row, carried);
        let is_known = |row: &SourceActivity| case.is_known(row);
        for found in prefixes::attacking(case.activity, &case.alarm.carried, is_light, is_known) {
            let mut gates = case.prefix_gates(&found);
            if !gates.iter().all(|gate| gate.passed) {
                continue;
            }
            let target = Target::Prefix(found.prefix);
            let suspicion = self.suspect(target, vector, now);
            let patience_gate = match case.alarm.span {
                Span::Tick => case.ticks_gate(suspicion.ticks),
                Span::Window => case.window_gate(),
            };
            if !patience_gate.passed {
                // A limit in the first tick would hide them from the next; prefixes that take turns wait for it
                // in vain.
                if case.is_first_tick() {
                    covered.extend(found.members);
                }
                continue;
            }
            gates.push(patience_gate);
            let (decision, note) = match case.decide(&target, allowed.relation_to(&target)) {
                (Decision::Block, _) => {
                    (Decision::Block, "nearly all that is active in the prefix sends it, and nothing else")
                }
                // The limit of the whole flood follows.
                (Decision::Limit, _) => (Decision::Observe, COVERS_ALLOWED),
                observed => observed,
            };
            let is_blocked = decision == Decision::Block;
            if !is_blocked && !self.is_news(vector, Some(target), now) {
                continue;
            }
            judgement.verdicts.push(Verdict {
                subject: Subject::Target(target),
                vector,
                decision,
                limits: Vec::new(),
                since: case.alarm.since,
                evidence: case.evidence(None, gates, note),
            });
            if is_blocked {
                covered.extend(found.members);
            }
        }
        covered
    }

    fn suspect(&mut self, target: Target, vector: Vector, now: Timestamp) -> Suspicion {
        let suspicion =
            self.suspects.entry((target, vector)).or_insert(Suspicion { ticks: 0, first: now, last: now });
        suspicion.ticks += 1;
        suspicion.last = now;
        *suspicion
    }

    fn judge_sources(&mut self, case: &Case<'_>, allowed: &AllowList, judgement: &mut Judgement) {
        let vector = case.alarm.vector;
        let suspects = case.suspects(|source| self.suspects.contains_key(&(Target::Source(source), vector)));
        for position in suspects {
            let Some(row) = case.carriers.get(position) else {
                continue;
            };
            let Some(source_row) = case.activity.rows.get(*row) else {
                continue;
            };
            if case.covered.contains(row) {
                continue;
            }
            let source = source_row.source;
            let mut gates = case.source_gates(position, source_row);
            let is_early = gates.iter().any(|gate| !gate.passed);
            let is_asked = self.asked.is_about(source);
            if is_asked {
                let evidence = case.evidence(Some((position, *row)), gates.clone(), "");
                self.asked.note(source, Closest { at: case.activity.at, vector, evidence });
            }
            if is_early && !case.is_worth_a_word(position, source_row) {
                continue;
            }
            let now = case.activity.at;
            let target = Target::Source(source);
            let suspicion = self.suspect(target, vector, now);
            if is_early {
                gates.push(case.ticks_gate(suspicion.ticks));
                self.tell_early(case, position, target, gates, judgement);
                continue;
            }
            let patience_gate = case.patience_gate(position, source_row, &suspicion);
            gates.push(patience_gate.clone());
            if is_asked {
                let evidence = case.evidence(Some((position, *row)), gates.clone(), "");
                self.asked.note(source, Closest { at: case.activity.at, vector, evidence });
            }
            if !patience_gate.passed {
                continue;
            }
            let relation = allowed.relation_to(&target);
            let (decision, note) = case.decide(&target, relation);
            let limits = if decision == Decision::Limit { case.limits([position]) } else { Vec::new() };
            if decision != Decision::Block && !self.is_news(vector, Some(target), now) {
                continue;
            }
            judgement.verdicts.push(Verdict {
                subject: Subject::Target(target),
                vector,
                decision,
                limits,
                // The source itself is known, and what is limited is what it sends.
                since: if decision == Decision::Limit { Timestamp::default() } else { case.alarm.since },
                evidence: case.evidence(Some((position, *row)), gates, note),
            });
        }
    }

    /// Something builds up: it is reported before it is enough for a block.
    fn tell_early(
        &mut self,
        case: &Case<'_>,
        position: usize,
        target: Target,
        gates: Vec<Gate>,
        judgement: &mut Judgement,
    ) {
        let (vector, now) = (case.alarm.vector, case.activity.at);
        let has_lasted = gates.last().is_some_and(|ticks| ticks.passed);
        if has_lasted && self.is_news(vector, Some(target), now) {
            let row = case.carriers.get(position).copied().unwrap_or_default();
            judgement.verdicts.push(Verdict {
                subject: Subject::Target(target),
                vector,
                decision: Decision::Observe,
                limits: Vec::new(),
                since: case.alarm.since,
                evidence: case.evidence(
                    Some((position, row)),
                    gates,
                    "it builds up, and is not enough for a block yet",
                ),
            });
        }
    }

    /// Many sources that each send too little to be blocked.
    fn judge_crowd(&mut self, case: &Case<'_>, judgement: &mut Judgement) {
        let vector = case.alarm.vector;
        if vector.comparison() == Comparison::Peers {
            // Many that each ask for little are visitors.
            return;
        }
        // Answers that nobody asked for are of no use, whoever sends them.
        let is_certain = vector == Vector::Reflection && case.hears_sent;
        let mut gates = if is_certain {
            vec![Gate::at_least("unsolicited", case.alarm.total, case.alarm.floors.total, vector.unit())]
        } else if vector.is_stock() {
            vec![count_gate("alike_sources", case.alarm.alike, SWARM)]
        } else {
            vec![
                count_gate("light_sources", case.light_sources, case.crowd()),
                Gate::at_least("light_share", case.light_share, case.crowd_share(), "of the packets"),
            ]
        };
        if vector == Vector::SynFlood && case.alarm.span == Span::Tick {
            // In one tick it cannot be told from a crowd of visitors who are far away.
            let floor = case.alarm.floors.total * case.settings.patience * SUDDEN_FACTOR;
            gates.push(Gate::at_least("sudden_total", case.alarm.total, floor, vector.unit()));
        }
        if gates.iter().all(|gate| gate.passed) {
            let note = "none of the sources stands out, and sources of a packet or two may be forged: none is blocked";
            let limits = if case.may_limit() { case.limits(0..case.carriers.len()) } else { Vec::new() };
            self.judge_all(case, limits, gates, note, judgement);
        }
    }

    /// So much of it, for so long, that it is worth a word although nobody can be blamed.
    fn judge_rest(&mut self, case: &Case<'_>, judgement: &mut Judgement) {
        let vector = case.alarm.vector;
        let overwhelming =
            case.alarm.floors.total * case.settings.patience * case.settings.overwhelming_factor;
        let lasted = case.activity.at.since(case.alarm.since).as_secs_f64();
        let gates = vec![
            Gate::at_least("overwhelming_total", case.alarm.total, overwhelming, vector.unit()),
            Gate::at_least("lasted", lasted, WORTH_A_WORD_AFTER.as_secs_f64(), "s"),
        ];
        let is_due = vector.comparison() == Comparison::Floors && gates.iter().all(|gate| gate.passed);
        if is_due {
            let note = "no source sends clearly more of it than an innocent one may";
            self.judge_all(case, Vec::new(), gates, note, judgement);
        }
    }

    /// A verdict about the traffic of all sources, unless it was given lately.
    fn judge_all(
        &mut self,
        case: &Case<'_>,
        limits: Vec<(Signature, f64)>,
        gates: Vec<Gate>,
        note: &'static str,
        judgement: &mut Judgement,
    ) {
        let vector = case.alarm.vector;
        if self.is_news(vector, None, case.activity.at) {
            judgement.verdicts.push(Verdict {
                subject: case.signature(),
                vector,
                decision: if limits.is_empty() { Decision::Observe } else { Decision::Limit },
                limits,
                since: case.known_until(),
                evidence: case.evidence(None, gates, note),
            });
        }
    }

    fn is_news(&mut self, vector: Vector, target: Option<Target>, now: Timestamp) -> bool {
        let is_news = !self.reported.contains_key(&(vector, target));
        if is_news {
            self.reported.insert((vector, target), now);
        }
        is_news
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of sources are far below 2^52")]
fn count_gate(name: &'static str, count: usize, limit: usize) -> Gate {
    Gate::at_least(name, count as f64, limit as f64, "sources")
}

/// One alarm in one tick, with the sources behind it grouped.
struct Case<'a> {
    activity: &'a Activity,
    features: FeatureTable<'a>,
    alarm: &'a Alarm,
    settings: &'a DetectionSettings,
    /// Rows of the activity that carry the vector.
    carriers: Vec<usize>,
    /// Packets of the vector, by carrier.
    carried: Vec<u64>,
    /// Packets/s of the vector, by carrier.
    rates: Vec<f64>,
    /// Shape: carriers x [`POINT_COLUMNS`].
    points: Array2<f64>,
    clusters: Clusters,
    /// By cluster.
    is_attacking: Vec<bool>,
    hears_sent: bool,
    /// Rows that a blocked prefix covers.
    covered: FxHashSet<usize>,
    light_sources: usize,
    /// Share of the vector's packets that light sources sent.
    light_share: f64,
}

impl<'a> Case<'a> {
    #[expect(clippy::cast_precision_loss, reason = "counts in one interval are far below 2^52")]
    fn new(
        activity: &'a Activity,
        features: FeatureTable<'a>,
        alarm: &'a Alarm,
        settings: &'a DetectionSettings,
    ) -> Self {
        let carriers: Vec<usize> = alarm.carried.iter().map(|(row, _)| row).collect();
        let carried: Vec<u64> = alarm.carried.iter().map(|(_, packets)| packets).collect();
        let rates: Vec<f64> =
            carried.iter().map(|packets| gates::amount(alarm.vector, activity, *packets)).collect();
        let mut points = Array2::zeros((carriers.len(), POINT_COLUMNS));
        let sent = carriers.iter().zip(&carried).zip(&rates);
        for (mut point, ((row, carried), rate)) in points.rows_mut().into_iter().zip(sent) {
            let Some(change) = activity.rows.get(*row).map(|row| &row.change) else {
                continue;
            };
            let share = *carried as f64 / change.packets.max(1) as f64;
            let mean_bytes = change.bytes as f64 / change.packets.max(1) as f64;
            for (value, coordinate) in
                point.iter_mut().zip([rate.max(1.0).log10(), share * 2.0, mean_bytes.max(1.0).log10()])
            {
                *value = coordinate;
            }
        }
        let clusters = clustering::group(&points, settings);
        let floor = alarm.floors.source * settings.patience;
        let is_attacking = attacking_clusters(&clusters, floor, settings.min_separation);
        let hears_sent = activity.hears_sent;
        let mut case = Self {
            hears_sent,
            covered: FxHashSet::default(),
            light_sources: 0,
            light_share: 0.0,
            activity,
            features,
            alarm,
            settings,
            carriers,
            carried,
            rates,
            points,
            clusters,
            is_attacking,
        };
        case.leave_out(FxHashSet::default());
        case
    }

    /// Counts the light sources anew, without the rows that a blocked prefix covers.
    fn leave_out(&mut self, covered: FxHashSet<usize>) {
        let is_light = |position: &usize| {
            let row = self.carriers.get(*position).filter(|row| !covered.contains(*row));
            row.and_then(|row| self.activity.rows.get(*row)).is_some_and(|row| {
                self.has_few(*position) || self.own_rate(*position, row) < self.floor_of_new(row)
            })
        };
        let light: Vec<f64> =
            (0..self.carriers.len()).filter(is_light).map(|position| self.rate(position)).collect();
        self.light_sources = light.len();
        self.light_share = light.iter().sum::<f64>() / self.alarm.total.max(f64::MIN_POSITIVE);
        self.covered = covered;
    }

    /// Whether the attack began in this tick.
    fn is_first_tick(&self) -> bool {
        self.activity.at.since(self.alarm.since) <= self.activity.interval
    }

    fn has_few(&self, position: usize) -> bool {
        self.carried.get(position).is_none_or(|packets| *packets < self.settings.min_packets)
    }

    /// The rate of a source while it was there: who came in the last moments of a tick only looks light.
    fn own_rate(&self, position: usize, row: &SourceActivity) -> f64 {
        let rate = self.rate(position);
        let was_there = row.age.min(self.activity.interval);
        if self.alarm.vector.is_stock() || was_there.is_zero() {
            return rate;
        }
        rate * self.activity.interval.as_secs_f64() / was_there.as_secs_f64()
    }

    /// Whether a source that shows the evidence is too light for a block. What may be a bulk transfer is not.
    fn is_light(&self, row: &SourceActivity, carried: u64) -> bool {
        let rate = gates::amount(self.alarm.vector, self.activity, carried);
        let looks_innocent = self.alarm.vector.floor_factor(&row.change, self.hears_sent) > 1.0;
        !looks_innocent && rate < self.alarm.floors.source * self.settings.patience
    }

    /// Whether this host answered the source, asked it, or saw it before the attack.
    fn is_known(&self, row: &SourceActivity) -> bool {
        let totals = &row.totals;
        let answered = [totals.sent_data_packets, totals.sent_udp_packets, totals.sent_syn_packets];
        let attack_age = self.activity.at.since(self.alarm.since);
        answered.iter().any(|count| *count > 0) || row.age > attack_age
    }

    #[expect(clippy::cast_precision_loss, reason = "counts in one interval are far below 2^52")]
    fn prefix_gates(&self, found: &AttackingPrefix) -> Vec<Gate> {
        let rate = gates::amount(self.alarm.vector, self.activity, found.carried);
        let floor = self.alarm.floors.source * self.settings.patience * PREFIX_FACTOR;
        vec![
            Gate::at_least("prefix_floor", rate, floor, self.alarm.vector.unit()),
            Gate::at_least("prefix_members", found.members.len() as f64, prefixes::MEMBERS as f64, "sources"),
        ]
    }

    /// Positions of carriers that may pass the gates of a source, in order. Of very many, the loudest that were
    /// not suspects before come after all that were.
    fn suspects(&self, is_suspect: impl Fn(Source) -> bool) -> Vec<usize> {
        let is_loud = |position: &usize| {
            let row = self.carriers.get(*position).and_then(|row| self.activity.rows.get(*row));
            let is_attacking = self.is_attacking.get(self.cluster_of(*position)).copied().unwrap_or(false);
            let has_enough =
                self.carried.get(*position).is_some_and(|packets| *packets >= self.settings.min_packets);
            let is_told_early = row.is_some_and(|row| self.is_worth_a_word(*position, row));
            let is_over = is_attacking && row.is_some_and(|row| self.rate(*position) >= self.floor_for(row));
            has_enough && (is_over || is_told_early)
        };
        let mut positions: Vec<usize> = (0..self.carriers.len()).filter(is_loud).collect();
        if positions.len() > MOST_SUSPECTS {
            let source_at = |position: usize| {
                self.carriers.get(position).and_then(|row| self.activity.rows.get(*row)).map(|row| row.source)
            };
            let mut ranked: Vec<(bool, f64, usize)> = positions
                .iter()
                .map(|position| {
                    let is_new = !source_at(*position).is_some_and(&is_suspect);
                    (is_new, -self.rate(*position), *position)
                })
                .collect();
            ranked.select_nth_unstable_by(MOST_SUSPECTS, |a, b| {
                a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2))
            });
            positions = ranked.iter().take(MOST_SUSPECTS).map(|(.., position)| *position).collect();
            positions.sort_unstable();
        }
        positions
    }

    fn rate(&self, position: usize) -> f64 {
        self.rates.get(position).copied().unwrap_or(0.0)
    }

    fn cluster_of(&self, position: usize) -> usize {
        self.clusters.members.get(position).copied().unwrap_or(0)
    }

    /// The packets that make up the flood, with what may pass of them: as much as is usual, or a small share.
    #[expect(clippy::cast_precision_loss, reason = "counts in one interval are far below 2^52")]
    fn limits(&self, positions: impl IntoIterator<Item = usize>) -> Vec<(Signature, f64)> {
        let kinds = self.alarm.vector.kinds();
        let mut weights: FxHashMap<Signature, u64> = FxHashMap::default();
        for position in positions {
            let row = self.carriers.get(position).and_then(|row| self.activity.rows.get(*row));
            let (Some(source), Some(carried)) = (row, self.carried.get(position)) else {
                continue;
            };
            for kind in kinds {
                let (port, packets) = share_of(*kind, &source.change, *carried);
                // What a swarm has not sent yet it will.
                let packets = if self.alarm.vector.is_stock() { packets.max(1) } else { packets };
                *weights.entry(Signature::new(*kind, port)).or_default() += packets;
            }
        }
        weights.retain(|_, packets| *packets > 0);
        let total: u64 = weights.values().sum();
        let mut ranked: Vec<(Signature, u64)> = weights.into_iter().collect();
        ranked.sort_unstable_by_key(|(signature, packets)| (std::cmp::Reverse(*packets), *signature));
        // A few ports that take nearly all of it are named; many are one limit on every port.
        let named: u64 = ranked.iter().take(MOST_PORTS).map(|(_, packets)| *packets).sum();
        if named as f64 >= total as f64 * NAMED_SHARE {
            ranked.truncate(MOST_PORTS);
        } else {
            ranked = kinds.iter().map(|kind| (Signature::new(*kind, 0), total)).collect();
        }
        let usual = self.alarm.normal.map_or(0.0, |normal| normal.median * 1.5);
        let passing = usual.max(self.alarm.total * self.settings.limit_share);
        ranked
            .into_iter()
            .map(|(signature, packets)| (signature, passing * packets as f64 / total.max(1) as f64))
            .collect()
    }

    /// Light sources that make a flood of many. Reflectors are real hosts, of which fewer do; of those that send a
    /// SYN and nothing else, a window counts only who came in its first half.
    fn crowd(&self) -> usize {
        let crowd = self.settings.crowd;
        match (self.alarm.vector, self.alarm.span) {
            (Vector::Reflection, _) => crowd.div_ceil(5),
            (Vector::SynFlood, Span::Window) => crowd.div_ceil(2),
            _ => crowd,
        }
    }

    /// The share that they must have: the loud ones are blocked beside them.
    fn crowd_share(&self) -> f64 {
        if self.alarm.vector == Vector::Reflection { 0.2 } else { 0.5 }
    }

    /// Who was first seen before this is no part of the flood. A flood crosses its floor a moment after its first
    /// packets, which must not make its sources known.
    fn known_until(&self) -> Timestamp {
        let moment = u64::try_from(self.settings.window.as_nanos()).unwrap_or(u64::MAX);
        // Zero would exempt nobody.
        Timestamp::from_ns(self.alarm.since.ns.saturating_sub(moment).max(1))
    }

    fn may_limit(&self) -> bool {
        !self.alarm.vector.kinds().is_empty() && !self.settings.observe_only && !self.activity.is_clock_still
    }

    fn signature(&self) -> Subject {
        let (traffic, sources) = (self.alarm.vector.traffic(), self.carriers.len());
        Subject::Signature(match self.alarm.service {
            Some(port) => format!("{traffic}, port {port}, from {sources} sources"),
            None => format!("{traffic} from {sources} sources"),
        })
    }

    fn is_worth_a_word(&self, position: usize, row: &SourceActivity) -> bool {
        let share = self.alarm.vector.early_share();
        share < 1.0 && self.rate(position) >= self.floor_for(row) * share
    }

    fn ticks_gate(&self, ticks: u32) -> Gate {
        Gate::at_least("ticks", f64::from(ticks), f64::from(self.settings.ticks), "ticks")
    }

    fn window_gate(&self) -> Gate {
        let lasted = self.activity.interval.as_secs_f64();
        Gate::at_least("lasted", lasted, self.settings.window.as_secs_f64(), "s")
    }

    /// The floor of a source that was not there before.
    fn floor_of_new(&self, row: &SourceActivity) -> f64 {
        self.alarm.floors.source
            * self.alarm.vector.floor_factor(&row.change, self.hears_sent)
            * self.settings.patience
    }

    /// A source seen before the attack has to be louder.
    fn floor_for(&self, row: &SourceActivity) -> f64 {
        let floor = self.floor_of_new(row);
        let attack_age = self.activity.at.since(self.alarm.since);
        let age_before = row.age.saturating_sub(attack_age);
        if age_before >= self.settings.known_age { floor * self.settings.known_factor } else { floor }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts in one interval are far below 2^52")]
    fn source_gates(&self, position: usize, row: &SourceActivity) -> Vec<Gate> {
        let carried = self.carried.get(position).copied().unwrap_or(0);
        let is_attacking = self.is_attacking.get(self.cluster_of(position)).copied().unwrap_or(false);
        let mut gates = vec![
            Gate::at_least(
                "source_floor",
                self.rate(position),
                self.floor_for(row),
                self.alarm.vector.unit(),
            ),
            Gate::at_least("source_packets", carried as f64, self.settings.min_packets as f64, ""),
            Gate::at_least("in_attacking_cluster", f64::from(u8::from(is_attacking)), 1.0, ""),
        ];
        if self.alarm.vector.comparison() == Comparison::Peers {
            let has_peers = self.is_attacking.contains(&false);
            gates.push(Gate::at_least("has_quieter_peers", f64::from(u8::from(has_peers)), 1.0, ""));
            gates.push(Gate::at_least(
                "has_baseline",
                f64::from(u8::from(self.alarm.normal.is_some())),
                1.0,
                "",
            ));
        }
        gates
    }

    /// What may be done about a source that shows the evidence, and why not more.
    fn decide(&self, target: &Target, relation: Relation) -> (Decision, &'static str) {
        let hindrance = match relation {
            Relation::Inside => ON_ALLOW_LIST,
            Relation::Covers if self.may_limit() => {
                return (
                    Decision::Limit,
                    "an allowed address lies inside the source: its kind of packets is limited",
                );
            }
            Relation::Covers => COVERS_ALLOWED,
            Relation::Apart if !self.alarm.vector.is_blocked() => "this kind is reported, not blocked",
            Relation::Apart if target.parts().0.is_unspecified() => {
                "the unspecified address stands for every host that has none yet"
            }
            Relation::Apart if self.activity.is_clock_still => {
                "no time passed between the packets, so their rate is a guess"
            }
            Relation::Apart if self.settings.observe_only => {
                "observing only: with enforcement the source would be blocked"
            }
            Relation::Apart => return (Decision::Block, ""),
        };
        (Decision::Observe, hindrance)
    }

    /// Enough ticks, or so loud that one is enough.
    fn patience_gate(&self, position: usize, row: &SourceActivity, suspicion: &Suspicion) -> Gate {
        let overwhelming = self.floor_for(row) * self.settings.overwhelming_factor;
        if self.alarm.span == Span::Window {
            self.window_gate()
        } else if self.alarm.vector.is_stock() {
            // What stands for a moment is what a busy client has under way.
            let lasted = self.activity.at.since(suspicion.first).as_secs_f64();
            let stands_for = if self.alarm.everybody_waits {
                STANDS_FOR_WHEN_EVERYBODY_WAITS
            } else if row.totals.sent_data_packets > 0 {
                STANDS_FOR_ONCE_SERVED
            } else {
                STANDS_FOR
            };
            Gate::at_least("lasted", lasted, stands_for.as_secs_f64(), "s")
        } else if self.rate(position) >= overwhelming {
            Gate::at_least("overwhelming", self.rate(position), overwhelming, self.alarm.vector.unit())
        } else {
            self.ticks_gate(suspicion.ticks)
        }
    }

    fn evidence(&self, source: Option<(usize, usize)>, gates: Vec<Gate>, note: &'static str) -> Evidence {
        let mut order: Vec<usize> = (0..self.clusters.sizes.len()).collect();
        order.sort_by(|a, b| self.centroid(*b, 0).total_cmp(&self.centroid(*a, 0)));
        let cluster = source.map(|(position, _)| self.cluster_of(position));
        Evidence {
            window_s: self.activity.interval.as_secs_f64(),
            service: self.alarm.service,
            gates: self.alarm.gates.iter().cloned().chain(gates).collect(),
            features: source.map(|(_, row)| self.features.named(row).collect()).unwrap_or_default(),
            clusters: order
                .iter()
                .map(|cluster| ClusterSummary {
                    sources: self.clusters.sizes.get(*cluster).copied().unwrap_or(0),
                    packets_per_second: 10_f64.powf(self.centroid(*cluster, 0)),
                    share: self.centroid(*cluster, 1) / 2.0,
                    mean_bytes: 10_f64.powf(self.centroid(*cluster, 2)),
                    is_attacking: self.is_attacking.get(*cluster).copied().unwrap_or(false),
                })
                .collect(),
            cluster: cluster.and_then(|cluster| order.iter().position(|ordered| *ordered == cluster)),
            distance: source.map(|(position, _)| {
                self.clusters.distance(&self.points, position, self.cluster_of(position))
            }),
            silhouette: self.clusters.silhouette,
            sources: self.carriers.len(),
            light_sources: self.light_sources,
            note,
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    fn centroid(&self, cluster: usize, column: usize) -> f64 {
        self.clusters.centroids.get((cluster, column)).copied().unwrap_or(0.0)
    }
}

/// What a source itself is held against, before it is compared with others.
#[expect(clippy::cast_precision_loss, reason = "counts in one interval are far below 2^52")]
fn source_gates(activity: &Activity, look: &Look, floor: f64, settings: &DetectionSettings) -> [Gate; 2] {
    let rate = gates::amount(look.vector, activity, look.carried);
    [
        Gate::at_least("source_floor", rate, floor, look.vector.unit()),
        Gate::at_least("source_packets", look.carried as f64, settings.min_packets as f64, ""),
    ]
}

/// Packets/s of the vector that a source like this must send in one tick to be worth a block.
fn source_floor(
    vector: Vector,
    change: &SourceCounters,
    hears_sent: bool,
    settings: &DetectionSettings,
) -> f64 {
    vector.floors().source * vector.floor_factor(change, hears_sent) * settings.patience
}

/// Of the packets of a source that carry the vector, the port and number of those of one kind.
fn share_of(kind: PacketKind, change: &SourceCounters, carried: u64) -> (u16, u64) {
    let port = match kind {
        PacketKind::UdpReflection => change.reflection_port,
        PacketKind::Extension | PacketKind::Fragment | PacketKind::Icmp | PacketKind::Other => 0,
        _ => change.destination_port,
    };
    let packets = match kind {
        PacketKind::Fragment => u64::from(change.fragment_packets),
        PacketKind::UdpReflection => u64::from(change.reflection_packets),
        PacketKind::TcpRst => u64::from(change.tcp_rst_packets),
        PacketKind::TcpOdd => u64::from(change.tcp_odd_packets),
        PacketKind::TcpAck => u64::from(change.tcp_ack_packets),
        _ => carried,
    };
    (u16::try_from(port).unwrap_or(0), packets)
}

fn limits_as_text<S: serde::Serializer>(
    limits: &[(Signature, f64)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(limits.iter().map(|(signature, rate)| (signature.to_string(), *rate)))
}

/// How far a source is from the verdict of one vector.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standing {
    /// The kind of attack.
    pub vector: Vector,
    /// What it takes at least, without baseline and groups, which only the agent knows.
    pub gates: Vec<Gate>,
}

/// How far the source in `row` is from a verdict, for every vector that its traffic could carry.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts in one interval are far below 2^52")]
pub fn standings(activity: &Activity, row: usize, settings: &DetectionSettings) -> Vec<Standing> {
    let Some(source) = activity.rows.get(row) else {
        return Vec::new();
    };
    let standing = |vector: Vector| {
        let carried_by = |row| gates::carried_by(vector, row, activity.hears_sent, ManyPorts::Scan);
        let carried = carried_by(source);
        let total: u64 = activity.rows.iter().map(carried_by).sum();
        let mut gates =
            gates::total_gates(vector, vector.floors(), activity.per_second(total), None, settings);
        let floor = source_floor(vector, &source.change, activity.hears_sent, settings);
        gates.push(Gate::at_least("source_floor", activity.per_second(carried), floor, "packets/s"));
        gates.push(Gate::at_least("source_packets", carried as f64, settings.min_packets as f64, "packets"));
        (carried > 0).then_some(Standing { vector, gates })
    };
    Vector::ALL.into_iter().filter_map(standing).collect()
}

/// The clusters whose centroid is over the floor, from the loudest down to the first gap: what
/// follows without a gap of `separation` could be the same crowd as the innocents.
fn attacking_clusters(clusters: &Clusters, floor: f64, separation: f64) -> Vec<bool> {
    let rate = |cluster: usize| 10_f64.powf(clusters.centroids.get((cluster, 0)).copied().unwrap_or(0.0));
    let is_loud = |cluster: usize| rate(cluster) >= floor * CENTROID_TOLERANCE;
    let count = clusters.sizes.len();
    let loudest_quiet = (0..count).filter(|cluster| !is_loud(*cluster)).map(rate).fold(0.0, f64::max);
    (0..count).map(|cluster| is_loud(cluster) && rate(cluster) >= loudest_quiet * separation).collect()
}
