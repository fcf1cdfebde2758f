//! Who attacks? As for packets: is there an alarm; who carries it; which groups do they make, and which of these attacks
//! by its centroid; and does each who is blamed show the evidence itself. Without an alarm nobody is blamed.
//!
//! Two kinds of attack show in a log. A flood asks for one page, again and again, far above its own mean. A scan looks
//! for what is weak or not there, and is told so by the errors that it gets and others do not.

use std::collections::BTreeMap;

use anyhow::Result;
use mitigator_common::Source;
use rustc_hash::FxHashMap;
use serde::Serialize;

use super::busy::as_f64;
use super::client::{Client, Who};
use super::clients::Clients;
use super::evidence::{self, Usual, Vector};
use super::features::{COLUMNS, Features};
use super::gates::Gate;
use super::grouping::{self, Grouping, Wanted};

/// Part of its floor from which a client carries a kind of attack and is grouped.
const CARRIES: f64 = 0.1;
/// Seconds within which floods of one page belong together.
const SAME_TIME_S: i64 = 60;

/// What is done about a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// Shows the evidence, and cannot or must not be blocked.
    Observe,
    /// Goes on the list.
    Block,
}

/// Everything that a judgement depends on beside the log.
#[derive(Clone, Debug)]
pub struct Terms {
    /// How many groups are made.
    pub wanted: Wanted,
    /// From which silhouette groups count as separate.
    pub min_silhouette: f64,
    /// How many times more the least attacking centroid must have than the most innocent one.
    pub min_separation: f64,
    /// Factor on every floor.
    pub patience: f64,
    /// Of K-Means.
    pub seed: u64,
    /// Whether everybody is grouped too, which nobody is judged by.
    pub everybody: bool,
}

/// A judgement of one client, with its reasons.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// Who.
    pub client: Who,
    /// The kind of attack.
    pub vector: Vector,
    /// What is done.
    pub decision: Decision,
    /// What the client itself was held against; of those of which one is enough, some may have failed.
    pub gates: Vec<Gate>,
    /// Its group, an index into those of the case.
    pub group: usize,
    /// From the group's centroid, in standard deviations.
    pub distance: f64,
    /// What it does, in numbers.
    pub features: Features,
    /// The page that it asked for most; `None` when there is no such.
    pub page: Option<String>,
    /// First and last request, in seconds since the Unix epoch.
    pub first_s: i64,
    /// See `first_s`.
    pub last_s: i64,
    /// The last evidence, in seconds since the Unix epoch: the end of its loudest minutes, or its last error.
    pub evidence_s: i64,
    /// Why it is not blocked all the same; `None` when it is.
    pub kept: Option<&'static str>,
}

/// One kind of attack: was there an alarm, and what groups do those make who carry it?
#[derive(Clone, Debug, Serialize)]
pub struct Case {
    /// The kind.
    pub vector: Vector,
    /// Whether all of `gates` passed.
    pub alarm: bool,
    /// What all who carry it were held against together.
    pub gates: Vec<Gate>,
    /// Who carries it.
    pub carriers: usize,
    /// How they were divided.
    pub grouping: Grouping,
    /// The groups, by their number.
    pub groups: Vec<Group>,
    /// Of each client that carries it, by its place among all: its place in the grouping.
    #[serde(skip)]
    places: FxHashMap<usize, usize>,
}

/// A group of clients.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Group {
    /// Clients in it.
    pub clients: usize,
    /// The mean of what groups are told apart by: requests/s for one page, or errors.
    pub centroid: f64,
    /// Of `centroid`.
    pub unit: &'static str,
    /// Mean requests.
    pub requests: f64,
    /// Mean share of the most asked page.
    pub page_share: f64,
    /// Mean share of errors.
    pub error_share: f64,
    /// Whether it attacks, by its centroid.
    pub is_attacking: bool,
}

/// What a log comes to.
#[derive(Debug)]
pub struct Judgement {
    /// Of each kind of attack.
    pub cases: Vec<Case>,
    /// Who shows the evidence: first who is blocked, worst first.
    pub verdicts: Vec<Verdict>,
    /// How everybody divides, for tables and plots; nobody is judged by it.
    pub everybody: Grouping,
    /// All clients, the loudest first, by their place among all; `everybody` is of the first of them.
    pub loudest: Vec<usize>,
    features: Vec<Features>,
    usual: Usual,
}

/// Clients that everybody's grouping is made of, the loudest.
const MOST_GROUPED: usize = 2_000;

/// Judges everybody; `kept` says why somebody must not be blocked.
///
/// # Errors
///
/// When clients cannot be grouped.
pub fn judge(
    clients: &Clients,
    terms: &Terms,
    kept: impl Fn(Source) -> Option<&'static str>,
) -> Result<Judgement> {
    let observed_s = as_f64(clients.observed.seconds());
    let features: Vec<Features> =
        clients.all().iter().map(|client| Features::of(client, observed_s)).collect();
    let usual = Usual::of(&features, terms.patience);
    let mut loudest: Vec<usize> = (0..features.len()).collect();
    let requests = |place: &usize| clients.all().get(*place).map_or(0, |client| client.requests);
    loudest.sort_by_key(|place| (std::cmp::Reverse(requests(place)), *place));
    let grouped = loudest.get(..MOST_GROUPED).unwrap_or(&loudest);
    let grouped = if terms.everybody { grouped } else { &[] };
    let everybody =
        grouping::group(&points(&features, grouped), terms.wanted, terms.min_silhouette, terms.seed)?;
    let mut judgement =
        Judgement { cases: Vec::new(), verdicts: Vec::new(), everybody, loudest, features, usual };
    for vector in Vector::ALL {
        let case = judgement.case(vector, clients, terms)?;
        if case.alarm {
            judgement.blame(&case, clients, &kept);
        }
        judgement.cases.push(case);
    }
    judgement.verdicts.sort_by(|a, b| {
        let over = |verdict: &Verdict| verdict.vector.key(&verdict.features) / verdict.vector.floor();
        let is_kept = |verdict: &Verdict| verdict.decision != Decision::Block;
        is_kept(a)
            .cmp(&is_kept(b))
            .then_with(|| over(b).total_cmp(&over(a)))
            .then_with(|| a.client.cmp(&b.client))
    });
    // One client, one verdict on the list: of two kinds the worse.
    let mut seen = std::collections::BTreeSet::new();
    judgement.verdicts.retain(|verdict| seen.insert(verdict.client.clone()));
    Ok(judgement)
}

fn points(features: &[Features], places: &[usize]) -> Vec<[f64; COLUMNS]> {
    places.iter().filter_map(|place| features.get(*place)).map(Features::point).collect()
}

impl Judgement {
    /// The features of a client, by its place among all.
    #[must_use]
    pub fn features(&self, place: usize) -> Option<&Features> {
        self.features.get(place)
    }

    /// Who goes on the list.
    pub fn blocked(&self) -> impl Iterator<Item = &Verdict> {
        self.verdicts.iter().filter(|verdict| verdict.decision == Decision::Block)
    }

    fn case(&self, vector: Vector, clients: &Clients, terms: &Terms) -> Result<Case> {
        let least = vector.floor() * CARRIES * terms.patience;
        let carriers: Vec<usize> = (0..self.features.len())
            .filter(|place| self.features.get(*place).is_some_and(|features| vector.key(features) >= least))
            .collect();
        let features = carriers.iter().filter_map(|place| self.features.get(*place));
        let counting = features.filter(|features| vector.counts(features, terms.patience));
        let total = counting.fold(0.0, |total, features| total + vector.key(features));
        let gate = vector.alarm_gate(total, terms.patience);
        let is_dated = clients.span().is_some();
        let points: Vec<[f64; 3]> = carriers
            .iter()
            .filter_map(|place| self.features.get(*place))
            .map(|features| vector.point(features))
            .collect();
        let grouping = grouping::group(&points, terms.wanted, terms.min_silhouette, terms.seed)?;
        let groups = self.groups(vector, &carriers, &grouping, terms);
        Ok(Case {
            vector,
            alarm: is_dated && gate.passed,
            gates: vec![gate],
            carriers: carriers.len(),
            groups,
            grouping,
            places: carriers.iter().enumerate().map(|(place, carrier)| (*carrier, place)).collect(),
        })
    }

    /// The groups of those who carry a kind of attack. One attacks when its centroid is over the floor and so many times
    /// over the loudest that is not.
    fn groups(&self, vector: Vector, carriers: &[usize], grouping: &Grouping, terms: &Terms) -> Vec<Group> {
        let mut groups: Vec<Group> = (0..grouping.chosen)
            .map(|number| {
                let members: Vec<&Features> = carriers
                    .iter()
                    .zip(&grouping.members)
                    .filter(|(_, member)| member.group == number)
                    .filter_map(|(place, _)| self.features.get(*place))
                    .collect();
                let mean = |of: &dyn Fn(&Features) -> f64| {
                    members.iter().map(|features| of(features)).sum::<f64>()
                        / as_f64(members.len().max(1) as u64)
                };
                Group {
                    clients: members.len(),
                    centroid: mean(&|features| vector.key(features)),
                    unit: vector.unit(),
                    requests: mean(&|features| features.requests),
                    page_share: mean(&|features| features.page_share),
                    error_share: mean(&|features| features.error_share),
                    is_attacking: false,
                }
            })
            .collect();
        let floor = vector.floor() * terms.patience;
        let quieter = |group: &&Group| group.centroid < floor;
        let loudest = groups.iter().filter(quieter).map(|group| group.centroid).fold(0.0, f64::max);
        for group in &mut groups {
            group.is_attacking =
                group.clients > 0 && group.centroid >= floor.max(loudest * terms.min_separation);
        }
        groups
    }

    fn blame(&mut self, case: &Case, clients: &Clients, kept: &impl Fn(Source) -> Option<&'static str>) {
        let alike = self.alike(case, clients);
        for (place, client) in clients.all().iter().enumerate() {
            let Some(member) = case.places.get(&place).and_then(|place| case.grouping.members.get(*place))
            else {
                continue;
            };
            let Some(features) = self.features.get(place) else { continue };
            let around = self.usual.around(features, alike.get(&place).copied().unwrap_or(0));
            let gates = case.vector.gates(features, &around);
            let is_attacking = case.groups.get(member.group).is_some_and(|group| group.is_attacking);
            if !is_attacking || !evidence::shows(&gates) {
                continue;
            }
            let why = match &client.who {
                Who::Name(_) => Some("a host name cannot be blocked; log addresses (HostnameLookups Off)"),
                Who::Source(source) => kept(*source),
            };
            let why = why.or_else(|| case.vector.doubt(client, features, &around, clients));
            let (first_s, last_s) = client.busy.span().unwrap_or_default();
            let evidence_s = match case.vector {
                Vector::HttpFlood => client.busy.loud_until(),
                Vector::HttpScan => client.last_error_s,
            };
            self.verdicts.push(Verdict {
                client: client.who.clone(),
                vector: case.vector,
                decision: if why.is_some() { Decision::Observe } else { Decision::Block },
                gates,
                group: member.group,
                distance: member.distance,
                features: features.clone(),
                page: page_of(client),
                first_s,
                last_s,
                evidence_s: evidence_s.unwrap_or(last_s),
                kept: why,
            });
        }
    }

    /// Of each client that floods: how many flood the same page in the same minute, itself included.
    fn alike(&self, case: &Case, clients: &Clients) -> FxHashMap<usize, usize> {
        let mut times: BTreeMap<u64, Vec<(i64, usize)>> = BTreeMap::new();
        if case.vector != Vector::HttpFlood {
            return FxHashMap::default();
        }
        for (place, client) in clients.all().iter().enumerate() {
            let Some(features) = self.features.get(place) else { continue };
            let gates = case.vector.gates(features, &self.usual.around(features, 0));
            if case.places.contains_key(&place)
                && evidence::shows_by_itself(&gates)
                && let Some(top) = client.top.top()
            {
                times.entry(top.hash).or_default().push((client.busy.peak().1, place));
            }
        }
        let mut alike = FxHashMap::default();
        for floods in times.values_mut() {
            floods.sort_unstable();
            for (at_s, place) in floods.iter() {
                let first = floods.partition_point(|(other, _)| *other < at_s - SAME_TIME_S);
                let end = floods.partition_point(|(other, _)| *other <= at_s + SAME_TIME_S);
                alike.insert(*place, end - first);
            }
        }
        alike
    }

    /// What a client was held against, for each kind of attack, and in words what kept it from being blocked.
    #[must_use]
    pub fn explain(&self, clients: &Clients, client: &Client) -> Vec<Explained> {
        let Some(place) = clients.all().iter().position(|other| other.who == client.who) else {
            return Vec::new();
        };
        let explain = |case: &Case| {
            let features = self.features.get(place)?;
            let alike = self.alike(case, clients).get(&place).copied().unwrap_or(0);
            let gates = case.vector.gates(features, &self.usual.around(features, alike));
            let member = case.places.get(&place).and_then(|place| case.grouping.members.get(*place));
            let group = member.and_then(|member| case.groups.get(member.group));
            let conclusion = if !evidence::shows(&gates) {
                let missing: Vec<String> = evidence::failing(&gates).map(Gate::sentence).collect();
                format!("not blamed: {}", missing.join("; "))
            } else if !case.alarm {
                "not blamed: there is no alarm of this kind".to_owned()
            } else if group.is_some_and(|group| group.is_attacking) {
                "blamed: it shows all of the evidence, and its group attacks by its centroid".to_owned()
            } else {
                "not blamed: its group's centroid is not over the floor, or not well apart from quieter groups".to_owned()
            };
            Some(Explained {
                vector: case.vector,
                alarm: case.alarm,
                group: member.map(|member| member.group),
                distance: member.map(|member| member.distance),
                is_attacking_group: group.is_some_and(|group| group.is_attacking),
                gates,
                conclusion,
            })
        };
        self.cases.iter().filter_map(explain).collect()
    }
}

/// What one client was held against for one kind of attack.
#[derive(Clone, Debug, Serialize)]
pub struct Explained {
    /// The kind.
    pub vector: Vector,
    /// Whether there was an alarm of it at all.
    pub alarm: bool,
    /// Its group among those who carry it; `None` when it does not.
    pub group: Option<usize>,
    /// From that group's centroid, in standard deviations.
    pub distance: Option<f64>,
    /// Whether that group attacks.
    pub is_attacking_group: bool,
    /// Each comparison.
    pub gates: Vec<Gate>,
    /// In words.
    pub conclusion: String,
}

fn page_of(client: &Client) -> Option<String> {
    client.top.top().and_then(|top| top.name.map(str::to_owned))
}
