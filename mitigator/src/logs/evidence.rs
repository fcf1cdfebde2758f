//! The evidence of each kind of attack, as data: what a client is held against. All of it must be there, and one of those
//! rows of which one is enough.

use serde::Serialize;

use super::busy::as_f64;
use super::client::Client;
use super::clients::Clients;
use super::features::{Features, decade};
use super::gates::{Gate, Need};

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
const FLOOD_NO_HABIT_ALIKE: usize = 20;
/// Seconds within which somebody who asks evenly is seen after the log begins.
const AT_ONCE_S: u64 = 10;
/// Seconds before the log's end in which a flood may go on: servers write lines late.
const ENDED_S: u64 = 120;

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
const OTHERS: Errors = Errors { requests: 1_000.0, errors: 20.0 };
/// The same of those who do not look like scanners, who are few while many scan.
const CALM: Errors = Errors { requests: 100.0, errors: 2.0 };

/// The kinds of attack that a log shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Vector {
    /// One page, again and again.
    HttpFlood,
    /// What is weak or not there.
    HttpScan,
}

/// What is known of a client beside what it did itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Around {
    /// Factor on every floor.
    pub(super) patience: f64,
    /// Clients that flood the same page in the same minute, itself included.
    pub(super) alike: usize,
    /// The share of errors that is out of the ordinary here.
    pub(super) error_share: f64,
}

/// One row of the evidence.
struct Row {
    name: &'static str,
    need: Need,
    value: fn(&Features, &Around) -> f64,
    limit: Limit,
    unit: &'static str,
    what: &'static str,
}

/// What a value is held against.
enum Limit {
    AtLeast(f64),
    AtMost(f64),
    /// At least so much, times the patience.
    Floor(f64),
    /// At least what it comes to; where that is nothing, the row is not asked for.
    Of(fn(&Features, &Around) -> Option<f64>),
}

const FLOOD: [Row; 8] = [
    Row {
        name: "flood_rate",
        need: Need::All,
        value: |features, _| features.page_per_second,
        limit: Limit::Floor(FLOOD_RATE),
        unit: "requests/s",
        what: "for its most asked page, over its busiest 10 s",
    },
    Row {
        name: "flood_minute",
        need: Need::All,
        value: |features, _| features.busiest_minute,
        limit: Limit::Floor(FLOOD_MINUTE),
        unit: "requests",
        what: "in its busiest minute",
    },
    Row {
        name: "flood_page_share",
        need: Need::All,
        value: |features, _| features.page_share,
        limit: Limit::AtLeast(FLOOD_PAGE_SHARE),
        unit: "of its requests",
        what: "for one page; visitors ask for many",
    },
    Row {
        name: "flood_surge",
        need: Need::All,
        value: |features, _| features.surge,
        limit: Limit::AtLeast(FLOOD_SURGE),
        unit: "times",
        what: "its busiest 10 s over its mean; who polls keeps an even rate",
    },
    Row {
        name: "flood_minutes",
        need: Need::All,
        value: |features, _| features.loud_minutes,
        limit: Limit::AtMost(FLOOD_LONGEST),
        unit: "minutes",
        what: "as loud as that; what lasts longer is a habit",
    },
    Row {
        name: "flood_agents",
        need: Need::OneOf,
        value: |features, _| features.agents,
        limit: Limit::AtLeast(FLOOD_AGENTS),
        unit: "user agents",
        what: "of one address for one page (one of three)",
    },
    Row {
        name: "flood_alike",
        need: Need::OneOf,
        value: |_, around| as_f64(around.alike as u64),
        limit: Limit::AtLeast(FLOOD_ALIKE),
        unit: "clients",
        what: "flood the same page in the same minute (one of three)",
    },
    Row {
        name: "flood_alone",
        need: Need::OneOf,
        value: |features, _| features.page_per_second,
        limit: Limit::Floor(FLOOD_ALONE),
        unit: "requests/s",
        what: "for one page, by itself (one of three)",
    },
];

const SCAN: [Row; 6] = [
    Row {
        name: "scan_errors",
        need: Need::All,
        value: |features, _| features.errors,
        limit: Limit::Floor(SCAN_ERRORS),
        unit: "errors",
        what: "answers 4xx and 5xx",
    },
    Row {
        name: "scan_error_share",
        need: Need::All,
        value: |features, _| features.error_share,
        limit: Limit::Of(|_, around| Some(around.error_share)),
        unit: "of its requests",
        what: "errors, against a tenth and three times what others get",
    },
    Row {
        name: "scan_error_urls",
        need: Need::All,
        value: |features, _| features.error_urls,
        limit: Limit::AtLeast(SCAN_ERROR_URLS),
        unit: "addresses",
        what: "different ones that were errors; a dead link is one",
    },
    Row {
        name: "scan_minute",
        need: Need::All,
        value: |features, _| features.busiest_minute,
        limit: Limit::Floor(SCAN_MINUTE),
        unit: "requests",
        what: "in its busiest minute; crawlers wait between two",
    },
    Row {
        name: "scan_kinds",
        need: Need::OneOf,
        value: |features, _| features.error_kinds,
        limit: Limit::Of(|features, _| {
            let tries = sends(features) && !uploads(features);
            Some(if tries { SCAN_KINDS } else { SCAN_KINDS_ALONE })
        }),
        unit: "statuses",
        what: "different ones of them; fewer are enough of who sends what is not taken (one of two)",
    },
    Row {
        name: "scan_missing",
        need: Need::OneOf,
        value: |features, _| features.missing_in_a_minute,
        // Of who uploads, what is not there tells nothing.
        limit: Limit::Of(|features, around| {
            let errors = if sends(features) { SCAN_MISSING } else { SCAN_MISSING_READER };
            (!uploads(features)).then_some(errors * around.patience)
        }),
        unit: "errors",
        what: "404 and 410 in a minute; fewer are enough of who sends data (one of two)",
    },
];

fn sends(features: &Features) -> bool {
    features.sends_share >= SCAN_SENDS_SHARE
}

fn uploads(features: &Features) -> bool {
    features.taken_share >= SCAN_TAKEN_SHARE.max(features.sends_share / 2.0)
        && features.server_error_share < SCAN_BREAKS_SHARE
}

impl Row {
    fn gate(&self, features: &Features, around: &Around) -> Option<Gate> {
        let value = (self.value)(features, around);
        let at_least = |limit| Gate::at_least(self.name, value, limit, self.unit, self.what);
        let gate = match self.limit {
            Limit::AtLeast(limit) => at_least(limit),
            Limit::Floor(floor) => at_least(floor * around.patience),
            Limit::Of(limit) => at_least(limit(features, around)?),
            Limit::AtMost(limit) => Gate::at_most(self.name, value, limit, self.unit, self.what),
        };
        Some(gate.needed(self.need))
    }
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
    pub(super) const fn key(self, features: &Features) -> f64 {
        match self {
            Self::HttpFlood => features.page_per_second,
            Self::HttpScan => features.errors,
        }
    }

    /// What those who carry it are grouped by: counts and rates by their decade, because they differ by factors.
    pub(super) fn point(self, features: &Features) -> [f64; 3] {
        let share = match self {
            Self::HttpFlood => features.page_share,
            Self::HttpScan => features.error_share,
        };
        [decade(10.0 * self.key(features)), share, decade(features.requests)]
    }

    /// Whether a client's part in it counts for the alarm.
    pub(super) fn counts(self, features: &Features, patience: f64) -> bool {
        let is_far_off = match self {
            Self::HttpFlood => features.surge >= FLOOD_SURGE,
            Self::HttpScan => features.error_share >= SCAN_ERROR_SHARE,
        };
        is_far_off && self.key(features) >= self.floor() * patience
    }

    pub(super) const fn floor(self) -> f64 {
        match self {
            Self::HttpFlood => FLOOD_RATE,
            Self::HttpScan => SCAN_ERRORS,
        }
    }

    pub(super) const fn unit(self) -> &'static str {
        match self {
            Self::HttpFlood => "requests/s",
            Self::HttpScan => "errors",
        }
    }

    /// What those who count for the alarm are held against together.
    pub(super) fn alarm_gate(self, total: f64, patience: f64) -> Gate {
        let (name, floor, what) = match self {
            Self::HttpFlood => (
                "flood_total",
                FLOOD_TOTAL,
                "for one page, of all who ask for one 3 times a second or more and far above their mean",
            ),
            Self::HttpScan => (
                "scan_total",
                SCAN_ERRORS,
                "answers 4xx and 5xx of all who get as many and to whom they are a tenth or more",
            ),
        };
        Gate::at_least(name, total, floor * patience, self.unit(), what)
    }

    /// What a client is held against.
    pub(super) fn gates(self, features: &Features, around: &Around) -> Vec<Gate> {
        let rows = match self {
            Self::HttpFlood => FLOOD.as_slice(),
            Self::HttpScan => &SCAN,
        };
        rows.iter().filter_map(|row| row.gate(features, around)).collect()
    }

    /// Why somebody who shows it may have a habit instead, of which the log shows too little.
    pub(super) fn doubt(
        self,
        client: &Client,
        features: &Features,
        around: &Around,
        clients: &Clients,
    ) -> Option<&'static str> {
        let is_no_habit = features.page_per_second >= FLOOD_NO_HABIT || around.alike >= FLOOD_NO_HABIT_ALIKE;
        if self != Self::HttpFlood || is_no_habit {
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
            return Some(
                "it asked as much when the log begins, and may have done so before; read more of it",
            );
        }
        let goes_on = last_s.abs_diff(end_s) < ENDED_S;
        if goes_on && features.loud_minutes > FLOOD_GOES_ON {
            return Some(
                "it has been as loud for minutes and goes on, as people of one address and probes do",
            );
        }
        let alone = features.page_per_second >= FLOOD_ALONE * around.patience;
        (!alone && features.loud_minutes > FLOOD_MAY_BE_HABIT)
            .then_some("it was as loud for more than ten minutes, as people of one address are")
    }
}

/// Requests, and those of them that were answered 4xx or 5xx.
#[derive(Clone, Copy, Debug, Default)]
struct Errors {
    requests: f64,
    errors: f64,
}

impl Errors {
    fn of(features: &Features) -> Self {
        Self { requests: features.requests, errors: features.errors }
    }

    fn and(self, other: Self) -> Self {
        Self { requests: self.requests + other.requests, errors: self.errors + other.errors }
    }

    fn without(self, other: Self) -> Self {
        Self { requests: self.requests - other.requests, errors: self.errors - other.errors }
    }

    fn share(self) -> f64 {
        self.errors / self.requests
    }
}

/// What errors everybody gets, by which a scanner's are told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usual {
    all: Errors,
    /// Of all who do not look like scanners themselves.
    calm: Errors,
    patience: f64,
}

impl Usual {
    /// Of all clients; `patience` is a factor on every floor.
    pub(super) fn of(features: &[Features], patience: f64) -> Self {
        let mut usual = Self { all: Errors::default(), calm: Errors::default(), patience };
        for features in features {
            let errors = Errors::of(features);
            usual.all = usual.all.and(errors);
            if !usual.looks_like_a_scanner(features) {
                usual.calm = usual.calm.and(errors);
            }
        }
        usual
    }

    /// What is around one of those clients of whom `alike` flood the same page in the same minute.
    pub(super) fn around(&self, features: &Features, alike: usize) -> Around {
        let own = Errors::of(features);
        let others = self.all.without(own).and(OTHERS).share();
        let calm = if self.looks_like_a_scanner(features) { self.calm } else { self.calm.without(own) };
        let most = SCAN_MOST_ERROR_SHARE.max(calm.and(CALM).share() * SCAN_OVER_BROKEN);
        let error_share = SCAN_ERROR_SHARE.max(others * SCAN_OVER_OTHERS).min(most);
        Around { patience: self.patience, alike, error_share }
    }

    /// Whether it is a scanner by all but the comparison with others.
    fn looks_like_a_scanner(&self, features: &Features) -> bool {
        let around = Around { patience: self.patience, alike: 0, error_share: SCAN_ERROR_SHARE };
        shows(&Vector::HttpScan.gates(features, &around))
    }
}

/// Whether the evidence is there: all that is needed, and one of those of which one is enough.
pub(super) fn shows(gates: &[Gate]) -> bool {
    failing(gates).next().is_none()
}

/// Whether all is there that does not take others.
pub(super) fn shows_by_itself(gates: &[Gate]) -> bool {
    gates.iter().filter(|gate| gate.need == Need::All).all(|gate| gate.passed)
}

/// The gates that kept somebody.
pub(super) fn failing(gates: &[Gate]) -> impl Iterator<Item = &Gate> {
    let has_one = gates.iter().any(|gate| gate.need == Need::OneOf && gate.passed);
    gates.iter().filter(move |gate| !(gate.passed || gate.need == Need::OneOf && has_one))
}
