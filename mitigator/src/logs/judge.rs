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
use super::features::{COLUMNS, Features, decade};
use super::gates::Gate;
use super::grouping::{self, Grouping, Wanted};

/// Requests/s for one page, over 10 s, from which a client may be a flood; a page with all it holds is asked once each.
const FLOOD_RATE: f64 = 3.0;
/// Of all such clients together: less is no load for any server.
const FLOOD_TOTAL: f64 = 10.0;
/// Requests in the busiest minute: fewer are a person who reloads.
const FLOOD_MINUTE: f64 = 50.0;
/// Of the requests, for one page: visitors, and proxies full of them, ask for many.
const FLOOD_PAGE_SHARE: f64 = 0.8;
/// Over the mean: who polls asks the same all day.
const FLOOD_SURGE: f64 = 3.0;
/// Minutes: what goes on for longer is a habit, however loud.
const FLOOD_LONGEST: f64 = 60.0;
/// User agents of one address that asks for one page: a tool that forges them.
const FLOOD_AGENTS: f64 = 5.0;
/// Clients that flood the same page in the same minute.
const FLOOD_ALIKE: f64 = 3.0;
/// Requests/s for one page that need nothing to bear them out.
const FLOOD_ALONE: f64 = 20.0;
/// Minutes as loud from which a flood may be a habit that began or is seldom: people of one address, a probe.
const FLOOD_MAY_BE_HABIT: f64 = 10.0;
/// The same of what goes on at the log's end.
const FLOOD_GOES_ON: f64 = 5.0;
/// Requests/s for one page of one client that no habit comes to.
const FLOOD_NO_HABIT: f64 = 60.0;
/// Clients that flood the same page in the same minute, as no habit has it.
const FLOOD_NO_HABIT_ALIKE: f64 = 20.0;
/// Seconds within which somebody who asks evenly is seen after the log begins.
const AT_ONCE_S: u64 = 10;
/// Seconds before the log's end in which a flood may go on: servers write lines late.
const ENDED_S: u64 = 120;
/// Seconds within which floods of one page belong together.
const SAME_TIME_S: i64 = 60;

/// Errors of a scan, in all and for all scans.
const SCAN_ERRORS: f64 = 100.0;
/// Of its requests.
const SCAN_ERROR_SHARE: f64 = 0.1;
/// In parts of what others get, so that a broken site makes no scanners of its visitors.
const SCAN_OVER_OTHERS: f64 = 3.0;
/// Different addresses that were errors: one dead link is asked for again and again.
const SCAN_ERROR_URLS: f64 = 20.0;
/// No more than this is asked for, so that scanners do not shield each other, or half as much again as those get who do
/// not look like scanners: of a broken site errors are the rule.
const SCAN_MOST_ERROR_SHARE: f64 = 0.5;
const SCAN_OVER_BROKEN: f64 = 1.5;
/// Requests in the busiest minute: crawlers wait between two.
const SCAN_MINUTE: f64 = 60.0;
/// Different statuses from 400 on, with requests that send something.
const SCAN_KINDS: f64 = 3.0;
/// Of the requests, POST, PUT, PATCH and DELETE: crawlers send nothing.
const SCAN_SENDS_SHARE: f64 = 0.02;
/// Different statuses that need nothing to bear them out.
const SCAN_KINDS_ALONE: f64 = 5.0;
/// Of the requests, sent and taken: who uploads asks first what is there, and is told 404.
const SCAN_TAKEN_SHARE: f64 = 0.1;
/// Of the requests, answered 5xx: who uploads breaks nothing, and who tries forms does.
const SCAN_BREAKS_SHARE: f64 = 0.05;
/// 404 and 410 in a minute: somebody who also sends reads a list of names.
const SCAN_MISSING: f64 = 180.0;
/// The same of who only reads: a crawler asks several times a second for what a site had before it was made anew.
const SCAN_MISSING_READER: f64 = 500.0;
/// What others get is unknown while they ask little: so many requests with so many errors are taken for granted.
const OTHERS_REQUESTS: f64 = 1_000.0;
const OTHERS_ERRORS: f64 = 20.0;
/// The same of those who do not look like scanners, who are few while many scan.
const CALM_REQUESTS: f64 = 100.0;
const CALM_ERRORS: f64 = 2.0;

/// Part of its floor from which a client carries a kind of attack and is grouped.
const CARRIES: f64 = 0.1;

/// The kinds of attack that a log shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Vector {
    /// One page, again and again.
    HttpFlood,
    /// What is weak or not there.
    HttpScan,
}

impl Vector {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::HttpFlood, Self::HttpScan];

    /// Stable name, as reports and JSON spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HttpFlood => "http-flood",
            Self::HttpScan => "http-scan",
        }
    }

    /// What centroids are told apart by, and from where it is an attack.
    fn key(self, features: &Features) -> f64 {
        match self {
            Self::HttpFlood => features.page_per_second,
            Self::HttpScan => features.errors,
        }
    }

    /// What those who carry it are grouped by: counts and rates by their decade, because they differ by factors.
    fn point(self, features: &Features) -> [f64; 3] {
        let share = match self {
            Self::HttpFlood => features.page_share,
            Self::HttpScan => features.error_share,
        };
        [decade(10.0 * self.key(features)), share, decade(features.requests)]
    }

    /// Whether a client's part in it counts for the alarm.
    fn counts(self, features: &Features, patience: f64) -> bool {
        let is_far_off = match self {
            Self::HttpFlood => features.surge >= FLOOD_SURGE,
            Self::HttpScan => features.error_share >= SCAN_ERROR_SHARE,
        };
        is_far_off && self.key(features) >= self.floor() * patience
    }

    const fn floor(self) -> f64 {
        match self {
            Self::HttpFlood => FLOOD_RATE,
            Self::HttpScan => SCAN_ERRORS,
        }
    }

    const fn unit(self) -> &'static str {
        match self {
            Self::HttpFlood => "requests/s",
            Self::HttpScan => "errors",
        }
    }
}

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
    /// The clients of `everybody`, by their place among all.
    pub grouped: Vec<usize>,
    features: Vec<Features>,
    /// Requests and errors of all.
    totals: (f64, f64),
    /// Of all who do not look like scanners themselves.
    calm: (f64, f64),
}

/// Clients that everybody's grouping is made of, the loudest.
const MOST_GROUPED: usize = 5_000;

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
    let sum = |(requests, errors): (f64, f64), features: &Features| {
        (requests + features.requests, errors + features.errors)
    };
    let totals = features.iter().fold((0.0, 0.0), sum);
    let calm = features.iter().filter(|features| !looks_like_a_scanner(features, terms));
    let calm = calm.fold((0.0, 0.0), sum);
    let mut grouped: Vec<usize> = (0..features.len()).collect();
    let requests = |place: &usize| clients.all().get(*place).map_or(0, |client| client.requests);
    grouped.sort_by_key(|place| (std::cmp::Reverse(requests(place)), *place));
    grouped.truncate(if terms.everybody { MOST_GROUPED } else { 0 });
    let everybody =
        grouping::group(&points(&features, &grouped), terms.wanted, terms.min_silhouette, terms.seed)?;
    let mut judgement =
        Judgement { cases: Vec::new(), verdicts: Vec::new(), everybody, grouped, features, totals, calm };
    for vector in Vector::ALL {
        let case = judgement.case(vector, clients, terms)?;
        if case.alarm {
            judgement.blame(&case, clients, terms, &kept);
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
        let gates = match vector {
            Vector::HttpFlood => vec![Gate::at_least(
                "flood_total",
                total,
                FLOOD_TOTAL * terms.patience,
                "requests/s",
                "for one page, of all who ask for one 3 times a second or more and far above their mean",
            )],
            Vector::HttpScan => vec![Gate::at_least(
                "scan_total",
                total,
                SCAN_ERRORS * terms.patience,
                "errors",
                "answers 4xx and 5xx of all who get as many and to whom they are a tenth or more",
            )],
        };
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
            alarm: is_dated && gates.iter().all(|gate| gate.passed),
            gates,
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

    fn blame(
        &mut self,
        case: &Case,
        clients: &Clients,
        terms: &Terms,
        kept: &impl Fn(Source) -> Option<&'static str>,
    ) {
        let alike = self.alike(case, clients, terms);
        for (place, client) in clients.all().iter().enumerate() {
            let Some(member) = case.places.get(&place).and_then(|place| case.grouping.members.get(*place))
            else {
                continue;
            };
            let Some(features) = self.features.get(place) else { continue };
            let gates = self.gates_of(case.vector, features, alike.get(&place).copied().unwrap_or(0), terms);
            let is_attacking = case.groups.get(member.group).is_some_and(|group| group.is_attacking);
            if !is_attacking || !shows(case.vector, &gates) {
                continue;
            }
            let why = match &client.who {
                Who::Name(_) => Some("a host name cannot be blocked; log addresses (HostnameLookups Off)"),
                Who::Source(source) => kept(*source),
            };
            let why = why.or_else(|| doubt(case.vector, client, features, &gates, clients));
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
    fn alike(&self, case: &Case, clients: &Clients, terms: &Terms) -> FxHashMap<usize, usize> {
        let mut times: BTreeMap<u64, Vec<(i64, usize)>> = BTreeMap::new();
        if case.vector != Vector::HttpFlood {
            return FxHashMap::default();
        }
        for (place, client) in clients.all().iter().enumerate() {
            let Some(features) = self.features.get(place) else { continue };
            let gates = self.gates_of(case.vector, features, 0, terms);
            if case.places.contains_key(&place)
                && gates.iter().filter(|gate| !is_one_of(gate.name)).all(|gate| gate.passed)
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

    /// What a client is held against for a kind of attack; `alike` flood the same page at the same time.
    fn gates_of(&self, vector: Vector, features: &Features, alike: usize, terms: &Terms) -> Vec<Gate> {
        let patience = terms.patience;
        match vector {
            Vector::HttpFlood => vec![
                Gate::at_least(
                    "flood_rate",
                    features.page_per_second,
                    FLOOD_RATE * patience,
                    "requests/s",
                    "for its most asked page, over its busiest 10 s",
                ),
                Gate::at_least(
                    "flood_minute",
                    features.busiest_minute,
                    FLOOD_MINUTE * patience,
                    "requests",
                    "in its busiest minute",
                ),
                Gate::at_least(
                    "flood_page_share",
                    features.page_share,
                    FLOOD_PAGE_SHARE,
                    "of its requests",
                    "for one page; visitors ask for many",
                ),
                Gate::at_least(
                    "flood_surge",
                    features.surge,
                    FLOOD_SURGE,
                    "times",
                    "its busiest 10 s over its mean; who polls keeps an even rate",
                ),
                Gate::at_most(
                    "flood_minutes",
                    features.loud_minutes,
                    FLOOD_LONGEST,
                    "minutes",
                    "as loud as that; what lasts longer is a habit",
                ),
                Gate::at_least(
                    "flood_agents",
                    features.agents,
                    FLOOD_AGENTS,
                    "user agents",
                    "of one address for one page (one of three)",
                ),
                Gate::at_least(
                    "flood_alike",
                    as_f64(alike as u64),
                    FLOOD_ALIKE,
                    "clients",
                    "flood the same page in the same minute (one of three)",
                ),
                Gate::at_least(
                    "flood_alone",
                    features.page_per_second,
                    FLOOD_ALONE * patience,
                    "requests/s",
                    "for one page, by itself (one of three)",
                ),
            ],
            Vector::HttpScan => {
                let (requests, errors) = self.totals;
                let others = (errors - features.errors + OTHERS_ERRORS)
                    / (requests - features.requests + OTHERS_REQUESTS);
                let (mut requests, mut errors) = self.calm;
                if !looks_like_a_scanner(features, terms) {
                    (requests, errors) = (requests - features.requests, errors - features.errors);
                }
                let calm = (errors + CALM_ERRORS) / (requests + CALM_REQUESTS);
                let most = SCAN_MOST_ERROR_SHARE.max(calm * SCAN_OVER_BROKEN);
                let share = SCAN_ERROR_SHARE.max(others * SCAN_OVER_OTHERS).min(most);
                let mut gates = vec![
                    Gate::at_least(
                        "scan_errors",
                        features.errors,
                        SCAN_ERRORS * patience,
                        "errors",
                        "answers 4xx and 5xx",
                    ),
                    Gate::at_least(
                        "scan_error_share",
                        features.error_share,
                        share,
                        "of its requests",
                        "errors, against a tenth and three times what others get",
                    ),
                    Gate::at_least(
                        "scan_error_urls",
                        features.error_urls,
                        SCAN_ERROR_URLS,
                        "addresses",
                        "different ones that were errors; a dead link is one",
                    ),
                    Gate::at_least(
                        "scan_minute",
                        features.busiest_minute,
                        SCAN_MINUTE * patience,
                        "requests",
                        "in its busiest minute; crawlers wait between two",
                    ),
                ];
                gates.extend(scan_ways(features, patience));
                gates
            }
        }
    }

    /// What a client was held against, for each kind of attack, and in words what kept it from being blocked.
    #[must_use]
    pub fn explain(&self, clients: &Clients, client: &Client, terms: &Terms) -> Vec<Explained> {
        let Some(place) = clients.all().iter().position(|other| other.who == client.who) else {
            return Vec::new();
        };
        let explain = |case: &Case| {
            let features = self.features.get(place)?;
            let alike = self.alike(case, clients, terms).get(&place).copied().unwrap_or(0);
            let gates = self.gates_of(case.vector, features, alike, terms);
            let member = case.places.get(&place).and_then(|place| case.grouping.members.get(*place));
            let group = member.and_then(|member| case.groups.get(member.group));
            let conclusion = if !shows(case.vector, &gates) {
                let missing: Vec<String> = failing(&gates).map(Gate::sentence).collect();
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

/// Of a scan, the gates of which one is enough.
fn scan_ways(features: &Features, patience: f64) -> Vec<Gate> {
    let sends = features.sends_share >= SCAN_SENDS_SHARE;
    // Of who uploads, what is not there tells nothing.
    let uploads = features.taken_share >= SCAN_TAKEN_SHARE.max(features.sends_share / 2.0)
        && features.server_error_share < SCAN_BREAKS_SHARE;
    let kinds = Gate::at_least(
        "scan_kinds",
        features.error_kinds,
        if sends && !uploads { SCAN_KINDS } else { SCAN_KINDS_ALONE },
        "statuses",
        "different ones of them; fewer are enough of who sends what is not taken (one of two)",
    );
    let missing = Gate::at_least(
        "scan_missing",
        features.missing_in_a_minute,
        if sends { SCAN_MISSING } else { SCAN_MISSING_READER } * patience,
        "errors",
        "404 and 410 in a minute; fewer are enough of who sends data (one of two)",
    );
    if uploads { vec![kinds] } else { vec![kinds, missing] }
}

/// Whether it is a scanner by all but the comparison with others.
fn looks_like_a_scanner(features: &Features, terms: &Terms) -> bool {
    features.errors >= SCAN_ERRORS * terms.patience
        && features.error_share >= SCAN_ERROR_SHARE
        && features.error_urls >= SCAN_ERROR_URLS
        && features.busiest_minute >= SCAN_MINUTE * terms.patience
        && scan_ways(features, terms.patience).iter().any(|gate| gate.passed)
}

/// Why somebody who shows a flood may have a habit instead, of which the log shows too little.
fn doubt(
    vector: Vector,
    client: &Client,
    features: &Features,
    gates: &[Gate],
    clients: &Clients,
) -> Option<&'static str> {
    let value = |name: &str| gates.iter().find(|gate| gate.name == name).map_or(0.0, |gate| gate.value);
    let is_no_habit =
        features.page_per_second >= FLOOD_NO_HABIT || value("flood_alike") >= FLOOD_NO_HABIT_ALIKE;
    if vector != Vector::HttpFlood || is_no_habit {
        return None;
    }
    let (first_s, last_s) = client.busy.span()?;
    let (begin_s, _) = clients.observed.around(first_s)?;
    let (_, end_s) = clients.observed.around(last_s)?;
    let is_even_over = |seconds: u64| {
        features.peak_per_second * as_f64(seconds.max(AT_ONCE_S)) < FLOOD_SURGE * features.requests
    };
    if is_even_over(clients.observed.seconds()) {
        return Some("the log is too short to tell whether it always asks as much; read more of it");
    }
    if first_s.abs_diff(begin_s) < AT_ONCE_S && is_even_over(first_s.abs_diff(last_s)) {
        return Some("it asked as much when the log begins, and may have done so before; read more of it");
    }
    let goes_on = last_s.abs_diff(end_s) < ENDED_S;
    if goes_on && features.loud_minutes > FLOOD_GOES_ON {
        return Some("it has been as loud for minutes and goes on, as people of one address and probes do");
    }
    let alone = gates.iter().any(|gate| gate.name == "flood_alone" && gate.passed);
    (!alone && features.loud_minutes > FLOOD_MAY_BE_HABIT)
        .then_some("it was as loud for more than ten minutes, as people of one address are")
}

/// Gates of which one is enough.
fn is_one_of(name: &str) -> bool {
    matches!(name, "flood_agents" | "flood_alike" | "flood_alone" | "scan_kinds" | "scan_missing")
}

/// Whether the evidence is there: all gates, and one of those of which one is enough.
fn shows(vector: Vector, gates: &[Gate]) -> bool {
    debug_assert!(gates.iter().any(|gate| is_one_of(gate.name)), "{vector:?}");
    gates.iter().filter(|gate| !is_one_of(gate.name)).all(|gate| gate.passed)
        && gates.iter().any(|gate| is_one_of(gate.name) && gate.passed)
}

/// The gates that kept somebody.
fn failing(gates: &[Gate]) -> impl Iterator<Item = &Gate> {
    let has_one = gates.iter().any(|gate| is_one_of(gate.name) && gate.passed);
    gates.iter().filter(move |gate| !(gate.passed || is_one_of(gate.name) && has_one))
}

fn page_of(client: &Client) -> Option<String> {
    client.top.top().and_then(|top| top.name.map(str::to_owned))
}
