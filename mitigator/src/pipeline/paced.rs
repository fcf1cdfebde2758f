//! Paced sources: new ones that ask for something every second or so, all alike.
//!
//! A browser loads a page in a rush and is silent while it is read, and a machine that reports keeps time. Many sources
//! that do neither, come at once and bring most of the requests are bots that one program drives (Yu et al. 2012, as in
//! `swarm`): each is a light visitor by its rate, and only together, over seconds, they are told from a flash crowd.
//! Those that keep time cannot be told from somebody's own fleet.
//!
//! Requests of each source are remembered while there are far more than usual, of as many sources as there is room for.
//! K-Means groups those with an even pace; what is done about a group is for the judge to say.

use std::time::Duration;

use mitigator_common::Source;

use super::activity::Activity;
use super::clustering;
use super::gates::Carried;
use super::keyed::{KeyedMap, KeyedSet};
use super::rows::SourceActivity;
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
    /// By how much one pause differs from the next, as a share of both, 0..=1; 0 of machines that keep time.
    pub unevenness: f64,
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
/// How uneven the pauses of bots are: of pauses between 0.5 and 1.5 s a sixth, of a clock with a delay of 50 ms more or
/// less 0.02, of machines that add a fifth at random 0.07.
pub const UNEVEN: f64 = 0.13;
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
/// The square of the distance up to which a source is a member: twice of that.
const FARTHEST: f64 = 4.0 * TIGHT * TIGHT;
/// Who was seen this long before there were more requests than usual is no part of what is on.
const NEW: Duration = Duration::from_secs(5);
/// Who asked for nothing for so long is forgotten, as is all of it when there are no more requests than usual.
const REMEMBERED: Duration = Duration::from_secs(30);
const OVER: Duration = Duration::from_secs(5);
/// Sources that are remembered at a time.
const MOST_SOURCES: usize = 131_072;
const SECOND_NS: u64 = 1_000_000_000;
/// Sources that K-Means looks at.
const GROUPED: usize = 1_024;

/// Decades of requests/s, and of bytes per packet times two, which programs vary less than people's browsers do.
type Point = [f64; 2];

/// Who asked for how much since there are more requests than usual.
#[derive(Clone, Debug, Default)]
pub struct Paced {
    /// When that began, and when it was last so; `None` while it is not.
    busy: Option<(Timestamp, Timestamp)>,
    askers: KeyedMap<Source, Asker>,
    /// Who asked in a rush, and is no part of a group any more.
    hasty: KeyedSet<Source>,
    /// Requests of those, and of sources that there was no room for, lately.
    others: f64,
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
    /// When it last sent anything of its latest request, if that was a single one, and the pause before that.
    sent_ns: Option<u64>,
    pause_ns: Option<u64>,
    /// Differences of one pause to the next, as shares of both, and how many.
    unevenness: (f64, u32),
    is_new: bool,
    is_served: bool,
}

impl Asker {
    /// Who is seen for the first time, with what it asked for before as if it had been at once.
    fn new(row: &SourceActivity<'_>, requests: u32, now: Timestamp, busy_for: Duration) -> Self {
        let before = row.totals.tcp_push_packets.saturating_sub(requests);
        Self {
            first: now,
            last: now,
            requests: 0,
            second: now.ns / SECOND_NS,
            in_second: before,
            seconds: 1,
            most: before,
            mean_bytes: 0.0,
            sent_ns: None,
            pause_ns: None,
            unevenness: (0.0, 0),
            is_new: row.age <= busy_for + NEW,
            is_served: false,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "packets of a light source are far below 2^52")]
    fn add(&mut self, row: &SourceActivity<'_>, requests: u32, now: Timestamp) {
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
        self.add_pause((requests == 1).then_some(row.totals.last_seen_ns));
        self.is_served = row.totals.sent_data_packets.saturating_mul(2) >= row.totals.tcp_push_packets;
    }

    #[expect(clippy::cast_precision_loss, reason = "pauses of seconds are far below 2^52 ns")]
    fn add_pause(&mut self, sent_ns: Option<u64>) {
        let pause_ns = self.sent_ns.zip(sent_ns).map(|(before, sent)| sent.saturating_sub(before));
        if let Some((before, pause)) = self.pause_ns.zip(pause_ns) {
            let (sum, count) = self.unevenness;
            let both = before.saturating_add(pause).max(1);
            self.unevenness = (sum + before.abs_diff(pause) as f64 / both as f64, count + 1);
        }
        (self.sent_ns, self.pause_ns) = (sent_ns, pause_ns);
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

    fn point(&self) -> Point {
        [self.per_second().max(SLOWEST).log10(), self.mean_bytes.max(1.0).log10() * 2.0]
    }
}

impl Paced {
    /// Takes in who asked for how much (`carried`); `is_busy` says whether there are far more requests than usual.
    #[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
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
        self.others *= (-activity.interval.as_secs_f64() / REMEMBERED.as_secs_f64()).exp();
        self.askers.retain(|_, asker| now.since(asker.last) < REMEMBERED);
        for (index, requests) in carried.iter() {
            let Some(row) = activity.rows.get(index) else {
                continue;
            };
            let has_room = || self.askers.len() < MOST_SOURCES || self.askers.contains_key(&row.source);
            if self.hasty.contains(&row.source) || !has_room() {
                self.others += requests as f64;
                continue;
            }
            let requests = u32::try_from(requests).unwrap_or(u32::MAX);
            let asker = self
                .askers
                .entry(row.source)
                .or_insert_with(|| Asker::new(&row, requests, now, now.since(since)));
            asker.add(&row, requests, now);
            if asker.most > CALM_OF_MANY && self.hasty.len() < MOST_SOURCES {
                self.others += f64::from(asker.requests);
                self.askers.remove(&row.source);
                self.hasty.insert(row.source);
            }
        }
    }

    /// The sources with an even pace that are all alike, if they bring most of the requests; `members` are those that
    /// carry some in this interval.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
    pub fn group(
        &self,
        activity: &Activity,
        carried: &Carried,
        settings: &DetectionSettings,
    ) -> Option<Group> {
        let is_told = |asker: &&Asker| asker.has_shown_its_pace(activity.at);
        let requests = |askers: &mut dyn Iterator<Item = &Asker>| -> u64 {
            askers.filter(is_told).map(|asker| u64::from(asker.requests)).sum()
        };
        let all = (requests(&mut self.askers.values()) as f64 + self.others).max(1.0);
        let mut even: Vec<(&Source, &Asker)> =
            self.askers.iter().filter(|(_, asker)| asker.is_even()).collect();
        // Grouping is for when it may come to something.
        let of_even = requests(&mut even.iter().map(|(_, asker)| *asker)) as f64;
        if even.len() < settings.crowd || of_even / all < SHARE {
            return None;
        }
        even.sort_unstable_by_key(|(source, _)| **source);
        let points: Vec<Point> = even.iter().map(|(_, asker)| asker.point()).collect();
        let centroid = densest(&points, settings)?;
        let near =
            |point: &Point| Some(squared_distance(point, &centroid)).filter(|square| *square <= FARTHEST);
        let (mut group, mut squares, mut theirs, mut pauses) = (Group::default(), 0.0, 0_u64, 0);
        for (asker, square) in
            even.iter().zip(&points).filter_map(|((_, asker), point)| Some((*asker, near(point)?)))
        {
            squares += square;
            group.sources += 1;
            group.per_second += asker.per_second();
            group.unevenness += asker.unevenness.0;
            pauses += asker.unevenness.1;
            theirs += if is_told(&asker) { u64::from(asker.requests) } else { 0 };
        }
        if squares > TIGHT * TIGHT * group.sources as f64 {
            return None;
        }
        group.share = theirs as f64 / all;
        group.unevenness /= f64::from(pauses.max(1));
        group.members = carried
            .iter()
            .filter_map(|(row, _)| {
                let asker = self.askers.get(&activity.rows.source(row)?).filter(|asker| asker.is_even())?;
                near(&asker.point())?;
                let Asker { seconds, is_served, .. } = *asker;
                Some(Member { row, seconds, per_second: asker.per_second(), is_served })
            })
            .collect();
        Some(group)
    }
}

fn squared_distance(one: &Point, other: &Point) -> f64 {
    one.iter().zip(other).map(|(one, other)| (one - other).powi(2)).sum()
}

/// The centroid of the largest group that K-Means finds.
fn densest(points: &[Point], settings: &DetectionSettings) -> Option<Point> {
    let step = points.len().div_ceil(GROUPED);
    let points: Vec<Point> = points.iter().step_by(step).copied().collect();
    let clusters = clustering::group(&points, settings);
    let largest = (0..clusters.sizes.len()).max_by_key(|cluster| clusters.sizes.get(*cluster))?;
    clusters.centroids.get(largest).copied()
}

#[cfg(test)]
mod tests {
    use mitigator_common::SourceCounters;

    use super::*;
    use crate::pipeline::rows::Rows;

    /// What one source asks for in its `tick`-th quarter of a second.
    type Asks = fn(number: u64, tick: u64) -> u32;

    /// Once in every second, earlier or later in it.
    fn bot(number: u64, tick: u64) -> u32 {
        let quarter = (number + tick / 4 * 3) % 4;
        u32::from(tick % 4 == quarter)
    }

    /// Every second.
    fn clock(number: u64, tick: u64) -> u32 {
        u32::from(tick % 4 == number % 4)
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
        u32::from(tick.is_multiple_of(4 * (2 + number % 30)))
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
        let mut totals: KeyedMap<Source, SourceCounters> = KeyedMap::default();
        let mut latest = None;
        for tick in 0..24_u64 {
            let at = Timestamp::from_ns((480 + tick) * 250_000_000);
            let mut rows = Rows::at(at);
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
                    let before = *sum;
                    sum.last_seen_ns = at.ns;
                    sum.packets += change.packets;
                    sum.bytes += change.bytes;
                    sum.tcp_push_packets += change.tcp_push_packets;
                    sum.sent_data_packets += change.sent_data_packets;
                    let age = crowd.since + Duration::from_millis(250 * (tick + 1));
                    sum.first_seen_ns = at.ns - u64::try_from(age.as_nanos()).ok()?;
                    rows.push(source, (before.packets > 0).then_some(&before), sum, 0);
                }
            }
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
    fn a_group_is_told_with_its_pace_and_a_member_with_whether_it_is_served() {
        for (description, asks, answers, is_uneven, is_served) in [
            ("bots", bot as Asks, 1, true, true),
            ("bots that are not served", bot, 0, true, false),
            ("machines that keep time", clock, 1, false, true),
        ] {
            let group = group_of(&[Crowd { asks, answers, ..BOTS }]).unwrap();
            assert!(group.share > 0.99, "{description}: {group:?}");
            assert!((300.0..700.0).contains(&group.per_second), "{description}: {group:?}");
            assert_eq!(group.unevenness >= UNEVEN, is_uneven, "{description}: {}", group.unevenness);
            let Some(member) = group.members.first() else { panic!("{description}: nobody asked") };
            assert_eq!((member.is_served, member.seconds >= SECONDS), (is_served, true), "{description}");
        }
    }

    #[test]
    fn what_is_remembered_ends_with_the_flood() {
        let mut paced = Paced::default();
        for (description, second, is_busy, expected) in
            [("quiet", 1, false, 0), ("busy", 2, true, 2), ("a pause", 5, false, 2), ("over", 8, false, 0)]
        {
            let at = Timestamp::from_ns(second * SECOND_NS);
            let mut rows = Rows::at(at);
            for last in 1..=2 {
                let now = SourceCounters {
                    packets: 1,
                    tcp_push_packets: 1,
                    first_seen_ns: at.ns,
                    ..SourceCounters::EMPTY
                };
                rows.push(Source::from_v4_bytes([10, 0, 0, last]), None, &now, 0);
            }
            let activity = Activity { at, rows, ..Activity::default() };
            paced.advance(&activity, &[(0, 1), (1, 1)].into_iter().collect(), is_busy);
            assert_eq!(paced.askers.len(), expected, "{description}");
        }
    }
}
