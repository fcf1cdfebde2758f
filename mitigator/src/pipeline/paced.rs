//! Paced sources: new ones that ask for something every second or so, all alike.
//!
//! A browser loads a page in a rush and is silent while it is read; a program that asks again and again does neither.
//! Many such that come at once and bring most of the requests are bots that one program drives (Yu et al. 2012, as in
//! `swarm`): each is a light visitor by its rate, and only together, over seconds, they are told from a flash crowd.
//!
//! Requests of each source are remembered while there are far more than usual, of as many sources as there is room for.
//! K-Means groups those with an even pace; what is done about a group is for the judge to say.

use std::time::Duration;

use mitigator_common::Source;
use ndarray::Array2;
use rustc_hash::FxHashMap;

use super::activity::{Activity, SourceActivity};
use super::clustering;
use super::gates::Carried;
use super::settings::DetectionSettings;
use super::time::Timestamp;

/// Sources that ask at an even pace, and all alike.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    /// Those that asked in the interval, in the order of their rows.
    pub members: Vec<Member>,
    /// How many there are, with those that are silent at the moment.
    pub sources: usize,
    /// Of the requests of all who are there for long enough to tell, those that are theirs, 0..=1.
    pub share: f64,
    /// Requests of all of them per second.
    pub per_second: f64,
}

/// A source of a group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Member {
    /// Its row of the activity.
    pub row: usize,
    /// Seconds in which it asked.
    pub seconds: u32,
    /// Its requests per second.
    pub per_second: f64,
    /// Whether it is answered. The pace of who is not is that of its repetitions, which all clients have alike.
    pub is_served: bool,
}

/// Of the requests of all who are there for long enough to tell, the share that a group has to have.
pub const SHARE: f64 = 0.5;
/// How many times the usual requests it has to send.
pub const FAR_OVER_USUAL: f64 = 10.0;
/// Seconds in which a source has to ask.
pub const SECONDS: u32 = 3;
/// Requests per second, at least: a reader goes on to the next page after a while.
pub const SLOWEST: f64 = 0.5;
/// From the first to the last of these requests, at least.
const SHORTEST: Duration = Duration::from_millis(1_500);
/// Requests in a second that are no rush: a page with a style and a picture is one.
const CALM: u32 = 2;
/// The same of who asked in so many seconds: two of them meet in what is a second here now and then.
const CALM_OF_MANY: u32 = 3;
const MANY_SECONDS: u32 = 8;
/// After so long who asked calmly has either shown an even pace or has none.
const TOLD_AFTER: Duration = Duration::from_millis(2_500);
/// Of the points that are grouped, the root mean square distance from the centroid up to which a group is tight. That
/// of bots with pauses of 0.5 to 1.5 s and requests of 300 to 500 bytes is half of it after three requests.
const TIGHT: f64 = 0.15;
/// Members are at most so many times farther off.
const FARTHEST: f64 = 2.0;
/// Who was seen this long before there were more requests than usual is no part of what is on.
const NEW: Duration = Duration::from_secs(5);
/// Who asked for nothing for so long is forgotten, as is all of it when there are no more requests than usual.
const REMEMBERED: Duration = Duration::from_secs(30);
const OVER: Duration = Duration::from_secs(5);
/// Sources that are remembered at a time.
const MOST_SOURCES: usize = 131_072;
const SECOND_NS: u64 = 1_000_000_000;
/// Decades of requests/s, and of bytes per packet times two, which programs vary less than people's browsers do.
const POINT_COLUMNS: usize = 2;

/// Who asked for how much since there are more requests than usual.
#[derive(Clone, Debug, Default)]
pub struct Paced {
    /// When that began, and when it was last so; `None` while it is not.
    busy: Option<(Timestamp, Timestamp)>,
    askers: FxHashMap<Source, Asker>,
    /// Requests of sources that there was no room for.
    others: u64,
}

#[derive(Clone, Copy, Debug)]
struct Asker {
    first: Timestamp,
    last: Timestamp,
    requests: u32,
    /// The latest second in which it asked, and how often.
    second: u64,
    in_second: u32,
    seconds: u32,
    /// The most in one second.
    most: u32,
    mean_bytes: f64,
    is_new: bool,
    is_served: bool,
}

impl Asker {
    /// Who is seen for the first time, with what it asked for before as if it had been at once.
    fn new(row: &SourceActivity, requests: u32, now: Timestamp, busy_for: Duration) -> Self {
        let before = row.totals.tcp_push_packets.saturating_sub(requests);
        Self {
            first: now,
            last: now,
            requests: before,
            second: now.ns / SECOND_NS,
            in_second: before,
            seconds: 1,
            most: before,
            mean_bytes: 0.0,
            is_new: row.age <= busy_for + NEW,
            is_served: false,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "packets of a light source are far below 2^52")]
    fn add(&mut self, row: &SourceActivity, requests: u32, now: Timestamp) {
        let second = now.ns / SECOND_NS;
        if second != self.second {
            (self.second, self.in_second) = (second, 0);
            self.seconds += 1;
        }
        self.in_second = self.in_second.saturating_add(requests);
        self.most = self.most.max(self.in_second);
        self.requests = self.requests.saturating_add(requests);
        self.last = now;
        self.mean_bytes = row.totals.bytes as f64 / row.totals.packets.max(1) as f64;
        self.is_served = row.totals.sent_data_packets.saturating_mul(2) >= row.totals.tcp_push_packets;
    }

    /// Requests per second between the first and the last one.
    fn per_second(&self) -> f64 {
        let lasted = self.last.since(self.first).max(SHORTEST);
        f64::from(self.requests.saturating_sub(1)) / lasted.as_secs_f64()
    }

    fn is_even(&self) -> bool {
        let calm = if self.seconds >= MANY_SECONDS { CALM_OF_MANY } else { CALM };
        self.is_new
            && self.seconds >= SECONDS
            && self.most <= calm
            && self.last.since(self.first) >= SHORTEST
            && self.per_second() >= SLOWEST
    }

    /// Whether it is there for long enough that its pace is known, or asked in a rush.
    fn has_shown_its_pace(&self, now: Timestamp) -> bool {
        self.most > CALM || now.since(self.first) >= TOLD_AFTER
    }

    fn point(&self) -> [f64; POINT_COLUMNS] {
        [self.per_second().max(SLOWEST).log10(), self.mean_bytes.max(1.0).log10() * 2.0]
    }
}

impl Paced {
    /// Takes in who asked for how much (`carried`); `is_busy` says whether there are far more requests than usual.
    pub fn advance(&mut self, activity: &Activity, carried: &Carried, is_busy: bool) {
        let now = activity.at;
        if is_busy {
            let since = self.busy.map_or(now, |(since, _)| since);
            self.busy = Some((since, now));
        }
        let Some((since, _)) = self.busy.filter(|(_, last)| now.since(*last) < OVER) else {
            *self = Self::default();
            return;
        };
        self.askers.retain(|_, asker| now.since(asker.last) < REMEMBERED);
        for (index, requests) in carried.iter() {
            let Some(row) = activity.rows.get(index) else {
                continue;
            };
            let has_room = self.askers.len() < MOST_SOURCES || self.askers.contains_key(&row.source);
            if !has_room {
                self.others = self.others.saturating_add(requests);
                continue;
            }
            let requests = u32::try_from(requests).unwrap_or(u32::MAX);
            let asker = self
                .askers
                .entry(row.source)
                .or_insert_with(|| Asker::new(row, requests, now, now.since(since)));
            asker.add(row, requests, now);
        }
    }

    /// The sources with an even pace that are all alike, if they bring most of the requests.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
    pub fn group(
        &self,
        activity: &Activity,
        carried: &Carried,
        settings: &DetectionSettings,
    ) -> Option<Group> {
        let is_told = |asker: &&Asker| asker.has_shown_its_pace(activity.at);
        let all = requests(self.askers.values().filter(is_told)).saturating_add(self.others).max(1) as f64;
        let share_of = |members: &[(Source, &Asker)]| {
            requests(members.iter().map(|(_, asker)| *asker).filter(is_told)) as f64 / all
        };
        let askers = self.askers.iter().map(|(source, asker)| (*source, asker));
        let mut even: Vec<(Source, &Asker)> = askers.filter(|(_, asker)| asker.is_even()).collect();
        if even.len() < settings.crowd || share_of(&even) < SHARE {
            return None;
        }
        even.sort_unstable_by_key(|(source, _)| *source);
        let members = alike(&even, settings)?;
        let active = carried.iter().filter_map(|(row, _)| {
            let source = activity.rows.get(row)?.source;
            let place = members.binary_search_by_key(&source, |(source, _)| *source).ok()?;
            let (_, asker) = members.get(place)?;
            let Asker { seconds, is_served, .. } = **asker;
            Some(Member { row, seconds, per_second: asker.per_second(), is_served })
        });
        Some(Group {
            members: active.collect(),
            sources: members.len(),
            share: share_of(&members),
            per_second: members.iter().map(|(_, asker)| asker.per_second()).sum(),
        })
    }
}

fn requests<'a>(askers: impl Iterator<Item = &'a Asker>) -> u64 {
    askers.map(|asker| u64::from(asker.requests)).sum()
}

/// Of sources with an even pace, those of the largest group and who is as close to its centroid; `None` when they are
/// scattered.
#[expect(clippy::cast_precision_loss, reason = "counts of sources are far below 2^52")]
fn alike<'a>(even: &[(Source, &'a Asker)], settings: &DetectionSettings) -> Option<Vec<(Source, &'a Asker)>> {
    let mut points = Array2::zeros((even.len(), POINT_COLUMNS));
    for (mut point, (_, asker)) in points.rows_mut().into_iter().zip(even) {
        for (value, coordinate) in point.iter_mut().zip(asker.point()) {
            *value = coordinate;
        }
    }
    let clusters = clustering::group(&points, settings);
    let largest = (0..clusters.sizes.len()).max_by_key(|cluster| clusters.sizes.get(*cluster))?;
    let mut squares = 0.0;
    let mut members = Vec::with_capacity(even.len());
    for (place, member) in even.iter().enumerate() {
        let distance = clusters.distance(&points, place, largest);
        if distance <= TIGHT * FARTHEST {
            squares += distance * distance;
            members.push(*member);
        }
    }
    let spread = (squares / members.len().max(1) as f64).sqrt();
    (spread <= TIGHT).then_some(members)
}

#[cfg(test)]
mod tests {
    use mitigator_common::SourceCounters;

    use super::*;

    /// What one source asks for in its `tick`-th quarter of a second.
    type Asks = fn(number: u64, tick: u64) -> u32;

    /// Once in every second, earlier or later in it.
    fn bot(number: u64, tick: u64) -> u32 {
        let quarter = (number + tick / 4 * 3) % 4;
        u32::from(tick % 4 == quarter)
    }

    /// A page of some files at once, then silence.
    fn visitor(number: u64, tick: u64) -> u32 {
        if tick % 40 == number % 40 { 8 } else { 0 }
    }

    /// A page, and from then on a request each second.
    fn ticker(number: u64, tick: u64) -> u32 {
        if tick == 0 { 9 } else { bot(number, tick) }
    }

    /// A request each second, or none for the next half of a minute: each has a pace of its own.
    fn readers(number: u64, tick: u64) -> u32 {
        u32::from(tick % (4 * (2 + number % 30)) == 0)
    }

    struct Crowd {
        sources: u64,
        asks: Asks,
        bytes: fn(number: u64) -> u64,
        /// When they were first seen, after the requests became many.
        since: Duration,
        answers: u32,
    }

    const BOTS: Crowd = Crowd {
        sources: 400,
        asks: bot,
        bytes: |number| 440 + number % 40,
        since: Duration::ZERO,
        answers: 1,
    };

    /// The group after six seconds of these, which began a minute after the source of `since`.
    fn group_of(crowds: &[Crowd]) -> Option<Group> {
        let mut paced = Paced::default();
        let mut totals: FxHashMap<Source, SourceCounters> = FxHashMap::default();
        let mut latest = None;
        for tick in 0..24_u64 {
            let mut rows: Vec<SourceActivity> = Vec::new();
            let at = Timestamp::from_ns((240 + tick) * 250_000_000);
            for (crowd, net) in crowds.iter().zip(0_u8..) {
                for number in 0..crowd.sources {
                    let requests = (crowd.asks)(number, tick);
                    if requests == 0 {
                        continue;
                    }
                    let [high, low] = u16::try_from(number).unwrap().to_be_bytes();
                    let source = Source::from_v4_bytes([10, net, high, low]);
                    let change = SourceCounters {
                        packets: u64::from(requests) * 2,
                        bytes: u64::from(requests) * ((crowd.bytes)(number) + 66),
                        tcp_push_packets: requests,
                        sent_data_packets: requests * crowd.answers,
                        ..SourceCounters::EMPTY
                    };
                    let sum = totals.entry(source).or_default();
                    sum.packets += change.packets;
                    sum.bytes += change.bytes;
                    sum.tcp_push_packets += change.tcp_push_packets;
                    sum.sent_data_packets += change.sent_data_packets;
                    let age = crowd.since + Duration::from_millis(250 * (tick + 1));
                    rows.push(SourceActivity { source, change, totals: *sum, age });
                }
            }
            rows.sort_unstable_by_key(|row| row.source);
            let carried: Carried =
                rows.iter().map(|row| u64::from(row.change.tcp_push_packets)).enumerate().collect();
            let interval = Duration::from_millis(250);
            let activity = Activity { at, rows, interval, ..Activity::default() };
            paced.advance(&activity, &carried, true);
            latest = Some((activity, carried));
        }
        let (activity, carried) = latest?;
        paced.group(&activity, &carried, &DetectionSettings::default())
    }

    #[test]
    fn only_many_new_sources_with_the_same_even_pace_are_a_group() {
        let minute = Duration::from_mins(1);
        let any_size = |number: u64| 200 + number * 37 % 1_100;
        for (description, crowds, expected) in [
            ("bots", vec![BOTS], Some(400)),
            (
                "bots beside a few visitors",
                vec![BOTS, Crowd { sources: 30, asks: visitor, ..BOTS }],
                Some(400),
            ),
            ("a few bots", vec![Crowd { sources: 40, ..BOTS }], None),
            (
                "bots in a crowd of visitors",
                vec![BOTS, Crowd { sources: 3_000, asks: visitor, ..BOTS }],
                None,
            ),
            ("visitors", vec![Crowd { asks: visitor, ..BOTS }], None),
            ("visitors whose page asks on", vec![Crowd { asks: ticker, ..BOTS }], None),
            ("visitors of single files", vec![Crowd { asks: readers, ..BOTS }], None),
            ("people who all ask again and again", vec![Crowd { bytes: any_size, ..BOTS }], None),
            ("machines that were there before", vec![Crowd { since: minute, ..BOTS }], None),
            ("bots beside busy machines", vec![BOTS, Crowd { since: minute, sources: 600, ..BOTS }], None),
        ] {
            let group = group_of(&crowds);
            assert_eq!(group.as_ref().map(|group| group.sources), expected, "{description}");
        }
    }

    #[test]
    fn a_member_is_told_with_its_pace_and_whether_it_is_served() {
        for (description, answers, is_served) in [("served", 1, true), ("not served", 0, false)] {
            let group = group_of(&[Crowd { answers, ..BOTS }]).unwrap();
            assert!(group.share > 0.99, "{description}: {group:?}");
            assert!((300.0..700.0).contains(&group.per_second), "{description}: {group:?}");
            let Some(member) = group.members.first() else { panic!("{description}: nobody asked") };
            assert_eq!((member.is_served, member.seconds >= SECONDS), (is_served, true), "{description}");
        }
    }

    #[test]
    fn what_is_remembered_ends_with_the_flood() {
        let mut paced = Paced::default();
        let row = |last: u8| SourceActivity {
            source: Source::from_v4_bytes([10, 0, 0, last]),
            change: SourceCounters { tcp_push_packets: 1, ..SourceCounters::EMPTY },
            totals: SourceCounters { tcp_push_packets: 1, ..SourceCounters::EMPTY },
            age: Duration::ZERO,
        };
        for (description, second, is_busy, expected) in
            [("quiet", 1, false, 0), ("busy", 2, true, 2), ("a pause", 5, false, 2), ("over", 8, false, 0)]
        {
            let at = Timestamp::from_ns(second * SECOND_NS);
            let activity = Activity { at, rows: vec![row(1), row(2)], ..Activity::default() };
            paced.advance(&activity, &[(0, 1), (1, 1)].into_iter().collect(), is_busy);
            assert_eq!(paced.askers.len(), expected, "{description}");
        }
    }
}
