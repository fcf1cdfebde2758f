//! The judge: for each alarm, which sources, prefixes or traffic get a verdict in this tick.
//!
//! A source of an attacking group is blocked when it shows the evidence itself, for long enough. Floods of many
//! light sources never lead to blocks of their sources: the verdict names the traffic, or the prefix that sends
//! nothing else. Remembers how long each source has shown evidence and what was reported lately.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use mitigator_common::{Signature, Source};
use rustc_hash::{FxHashMap, FxHashSet};

use super::activity::Activity;
use super::allowlist::AllowList;
use super::asked::{Asked, Closest};
use super::case::{COVERS_ALLOWED, Case, Room};
use super::features::FeatureTable;
use super::gates::{self, Alarm, Gate, Look};
use super::paced::{self, Group, Member};
use super::prefixes;
use super::rows::SourceActivity;
use super::settings::DetectionSettings;
use super::suspects::Suspects;
use super::swarm::SWARM;
use super::target::Target;
use super::time::Timestamp;
use super::vectors::{Comparison, Span, Vector};
use super::verdict::{CaseEvidence, Decision, Evidence, Subject, Verdict};

/// Remembers how long each source has shown evidence.
#[derive(Clone, Debug, Default)]
pub struct Judge {
    suspects: Suspects,
    reported: FxHashMap<(Vector, Option<Target>), Timestamp>,
    asked: Asked,
    room: Room,
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
        self.blocks().collect()
    }

    fn blocks(&self) -> impl Iterator<Item = Source> + '_ {
        let blocks = self.verdicts.iter().filter(|verdict| verdict.decision == Decision::Block);
        blocks.filter_map(|verdict| match verdict.subject {
            Subject::Target(Target::Source(source)) => Some(source),
            Subject::Target(_) | Subject::Signature(_) => None,
        })
    }

    /// Whether so many sources are to be blocked for a vector that a window would add none, and nothing about them all
    /// that a tick does not say either: of forged SYN packets it says more.
    fn is_full_of(&self, vector: Vector) -> bool {
        let is_block = |verdict: &&Verdict| verdict.vector == vector && verdict.decision == Decision::Block;
        vector != Vector::SynFlood && self.verdicts.iter().filter(is_block).count() >= MOST_SUSPECTS / 2
    }

    /// The vectors for which somebody is blamed.
    #[must_use]
    pub fn attacks(&self) -> BTreeSet<Vector> {
        self.verdicts.iter().filter(|verdict| verdict.is_attack()).map(|verdict| verdict.vector).collect()
    }

    /// Adds what another judgement of the same tick says; of two verdicts about the same the stronger stands, or else
    /// the first.
    pub fn add(&mut self, mut other: Self) {
        self.is_suspicious |= other.is_suspicious;
        if other.verdicts.is_empty() {
            return;
        }
        let known: FxHashMap<&Subject, Decision> =
            self.verdicts.iter().map(|verdict| (&verdict.subject, verdict.decision)).collect();
        other.verdicts.retain(|verdict| {
            known.get(&verdict.subject).is_none_or(|decision| *decision < verdict.decision)
        });
        self.verdicts.append(&mut other.verdicts);
    }
}

/// Sources that are judged one by one for a vector in one tick: twice as many as are blocked in one by default,
/// so that as many others wait for their second tick meanwhile.
const MOST_SUSPECTS: usize = 8_192;
/// The same observation is reported again after this.
const REPORT_AGAIN: Duration = Duration::from_secs(30);
/// How long an overwhelming total nobody can be blamed for goes unreported.
const WORTH_A_WORD_AFTER: Duration = Duration::from_secs(1);
/// On the floor of all sources for a flood of many whose packets may yet be followed by an ACK.
const SUDDEN_FACTOR: f64 = 4.0;

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

    /// Forgets what led to blocks that were written: who is blocked shows nothing more.
    pub fn forget_blocked(&mut self, verdicts: &[Verdict]) {
        for verdict in verdicts.iter().filter(|verdict| verdict.decision == Decision::Block) {
            if let Subject::Target(target) = verdict.subject {
                self.suspects.forget(target, verdict.vector);
            }
        }
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
            let case = CaseEvidence {
                window_s: activity.interval.as_secs_f64(),
                gates: look.gates.clone(),
                ..CaseEvidence::default()
            };
            let evidence = Evidence {
                case: Arc::new(case),
                own_gates: source_gates(activity, look, floor, settings),
                features: features.of(look.row),
                ..Evidence::default()
            };
            self.asked.note(row.source, Closest { at: activity.at, vector: look.vector, evidence });
        }
    }

    /// Judges the sources behind each alarm. Allowed sources are never blocked. Of very many no more are judged than
    /// with the `earlier` judgement of the same tick make what is judged in one.
    pub fn judge(
        &mut self,
        activity: &Activity,
        features: FeatureTable<'_>,
        alarms: &[Alarm],
        allowed: &AllowList,
        settings: &DetectionSettings,
        earlier: &Judgement,
    ) -> Judgement {
        let now = activity.at;
        let earlier_blocks = earlier.blocks().count();
        self.suspects.forget_old(now);
        self.reported.retain(|_, at| now.since(*at) <= REPORT_AGAIN);
        let mut judgement = Judgement { is_suspicious: !alarms.is_empty(), ..Judgement::default() };
        for alarm in alarms {
            let most = match alarm.span {
                Span::Tick => MOST_SUSPECTS,
                // There nobody waits for a second tick.
                Span::Window => MOST_SUSPECTS / 2,
            };
            let most = most.saturating_sub(earlier_blocks);
            if earlier.is_full_of(alarm.vector) {
                continue;
            }
            let room = std::mem::take(&mut self.room);
            let mut case = Case::new(activity, features, alarm, settings, room);
            let before = judgement.verdicts.len();
            let covered = self.judge_prefixes(&case, allowed, &mut judgement);
            case.leave_out(&covered);
            self.judge_sources(&case, allowed, most, &mut judgement);
            self.judge_paced(&case, allowed, &mut judgement);
            self.judge_crowd(&case, &mut judgement);
            if judgement.verdicts.len() == before {
                self.judge_rest(&case, &mut judgement);
            }
            self.room = case.close();
        }
        judgement
    }

    /// Prefixes whose members attack as one; returns the rows of those that are blocked, or soon may be.
    fn judge_prefixes(
        &mut self,
        case: &Case<'_>,
        allowed: &AllowList,
        judgement: &mut Judgement,
    ) -> Vec<usize> {
        let mut covered = Vec::new();
        if !case.settings.widen || !case.alarm.vector.is_widened() {
            return covered;
        }
        let (vector, now) = (case.alarm.vector, case.activity.at);
        let is_light = |row: &SourceActivity<'_>, carried| case.is_light(row, carried);
        let is_known = |row: &SourceActivity<'_>| case.is_known(row);
        let sources: Vec<Source> = case.carriers.iter().map(|carrier| carrier.source).collect();
        for found in prefixes::attacking(case.activity, &case.alarm.carried, &sources, is_light, is_known) {
            let mut gates = case.prefix_gates(&found);
            if !gates.iter().all(|gate| gate.passed) {
                continue;
            }
            let target = Target::Prefix(found.prefix);
            let suspicion = self.suspects.note(target, vector, now);
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

    fn judge_sources(
        &mut self,
        case: &Case<'_>,
        allowed: &AllowList,
        most: usize,
        judgement: &mut Judgement,
    ) {
        let vector = case.alarm.vector;
        let is_suspect = self.suspects.of(vector);
        let suspects = case.suspects(most, |source| is_suspect(Target::Source(source)));
        drop(is_suspect);
        judgement.verdicts.reserve(suspects.len());
        for position in suspects {
            let Some(carrier) = case.carriers.get(position).filter(|carrier| !carrier.is_covered) else {
                continue;
            };
            let source = carrier.source;
            let mut gates = case.source_gates(position, carrier);
            let is_early = gates.iter().any(|gate| !gate.passed);
            let is_asked = self.asked.is_about(source);
            if is_asked {
                let evidence = case.evidence(Some(position), gates.clone(), "");
                self.asked.note(source, Closest { at: case.activity.at, vector, evidence });
            }
            if is_early && !case.is_worth_a_word(carrier) {
                continue;
            }
            let now = case.activity.at;
            let target = Target::Source(source);
            let suspicion = self.suspects.note(target, vector, now);
            if is_early {
                gates.push(case.ticks_gate(suspicion.ticks));
                self.tell_early(case, position, target, gates, judgement);
                continue;
            }
            let patience_gate = case.patience_gate(carrier, &suspicion);
            gates.push(patience_gate.clone());
            if is_asked {
                let evidence = case.evidence(Some(position), gates.clone(), "");
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
                evidence: case.evidence(Some(position), gates, note),
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
            judgement.verdicts.push(Verdict {
                subject: Subject::Target(target),
                vector,
                decision: Decision::Observe,
                limits: Vec::new(),
                since: case.alarm.since,
                evidence: case.evidence(
                    Some(position),
                    gates,
                    "it builds up, and is not enough for a block yet",
                ),
            });
        }
    }

    /// Many new sources that ask at the same even pace, of which none is loud: bots of one program.
    fn judge_paced(&mut self, case: &Case<'_>, allowed: &AllowList, judgement: &mut Judgement) {
        let (vector, now) = (case.alarm.vector, case.activity.at);
        let Some(group) = &case.alarm.paced else {
            return;
        };
        let of_all = group_gates(case, group);
        if !of_all.iter().all(|gate| gate.passed) {
            return;
        }
        let uneven = Gate::at_least("paced_unevenness", group.unevenness, paced::UNEVEN, "of a pause");
        let note = if uneven.passed {
            "new sources ask at the same pace: each that is answered is blocked once it has shown it"
        } else {
            "new sources ask like clockwork: they may be machines of one owner, and none is blocked"
        };
        let of_all: Vec<Gate> = of_all.into_iter().chain([uneven]).collect();
        self.judge_all(case, Vec::new, of_all.clone(), note, judgement);
        for member in group.members.iter().take(MOST_SUSPECTS) {
            let Some((position, carrier)) = case.carrier_in(member.row) else {
                continue;
            };
            let source = carrier.source;
            let gates: Vec<Gate> = of_all.iter().cloned().chain(member_gates(member)).collect();
            let is_shown = gates.iter().all(|gate| gate.passed);
            let target = Target::Source(source);
            let (decision, note) = case.decide(&target, allowed.relation_to(&target));
            if self.asked.is_about(source) {
                let evidence = case.evidence(Some(position), gates.clone(), note);
                self.asked.note(source, Closest { at: now, vector, evidence });
            }
            if !is_shown || (decision != Decision::Block && !self.is_news(vector, Some(target), now)) {
                continue;
            }
            judgement.verdicts.push(Verdict {
                subject: Subject::Target(target),
                vector,
                decision,
                limits: Vec::new(),
                since: case.alarm.since,
                evidence: case.evidence(Some(position), gates, note),
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
            let limits = || if case.may_limit() { case.limits(0..case.carriers.len()) } else { Vec::new() };
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
            self.judge_all(case, Vec::new, gates, note, judgement);
        }
    }

    /// A verdict about the traffic of all sources, unless it was given lately.
    fn judge_all(
        &mut self,
        case: &Case<'_>,
        limits: impl FnOnce() -> Vec<(Signature, f64)>,
        gates: Vec<Gate>,
        note: &'static str,
        judgement: &mut Judgement,
    ) {
        let vector = case.alarm.vector;
        if self.is_news(vector, None, case.activity.at) {
            let limits = limits();
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

/// What sources with the same even pace are held against together.
fn group_gates(case: &Case<'_>, group: &Group) -> Vec<Gate> {
    let usual = case.alarm.normal.map_or(f64::INFINITY, |normal| normal.median);
    let unit = case.alarm.vector.unit();
    vec![
        count_gate("paced_sources", group.sources, case.settings.crowd),
        Gate::at_least("paced_share", group.share, paced::SHARE, "of the requests"),
        Gate::at_least("paced_over_median", group.per_second, usual * paced::FAR_OVER_USUAL, unit),
    ]
}

/// What a source with an even pace shows itself.
fn member_gates(member: &Member) -> [Gate; 3] {
    let is_served = f64::from(u8::from(member.is_served));
    [
        Gate::at_least("source_pace", member.per_second, paced::SLOWEST, "requests/s"),
        Gate::at_least("paced_seconds", f64::from(member.seconds), f64::from(paced::SECONDS), "seconds"),
        Gate::at_least("is_served", is_served, 1.0, ""),
    ]
}

/// What a source itself is held against, before it is compared with others.
#[expect(clippy::cast_precision_loss, reason = "counts in one interval are far below 2^52")]
fn source_gates(activity: &Activity, look: &Look, floor: f64, settings: &DetectionSettings) -> Vec<Gate> {
    let rate = gates::amount(look.vector, activity, look.carried);
    vec![
        Gate::at_least("source_floor", rate, floor, look.vector.unit()),
        Gate::at_least("source_packets", look.carried as f64, settings.min_packets as f64, ""),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_left_out_only_where_its_tick_blocks_as_many_for_the_same_vector() {
        let blocks = |vector: Vector, count: usize| {
            (0..count).map(move |number| {
                let source = Source::from_v4_bytes(u32::try_from(number).unwrap().to_be_bytes());
                Verdict {
                    subject: Subject::Target(Target::Source(source)),
                    vector,
                    decision: Decision::Block,
                    limits: Vec::new(),
                    since: Timestamp::default(),
                    evidence: Evidence::default(),
                }
            })
        };
        let observed = |verdict| Verdict { decision: Decision::Observe, ..verdict };
        let many = MOST_SUSPECTS / 2;
        for (description, verdicts, expected) in [
            ("nobody", Vec::new(), false),
            ("many", blocks(Vector::UdpFlood, many).collect(), true),
            ("one too few", blocks(Vector::UdpFlood, many - 1).collect(), false),
            ("many of another vector", blocks(Vector::AckFlood, many).collect(), false),
            ("many that are only observed", blocks(Vector::UdpFlood, many).map(observed).collect(), false),
        ] {
            let judgement = Judgement { verdicts, is_suspicious: true };
            assert_eq!(judgement.is_full_of(Vector::UdpFlood), expected, "{description}");
        }
        let forged = Judgement { verdicts: blocks(Vector::SynFlood, many).collect(), is_suspicious: true };
        assert!(!forged.is_full_of(Vector::SynFlood));
    }
}
