//! What is learned to be normal, and what cannot be taught: hours, days and weeks of synthetic traffic, in seconds.
//!
//! Gates see one row per kind of traffic; the last tests run the whole loop from counters to blocks.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use mitigator::control_loop::ControlLoop;
use mitigator::kernel::DataPlane;
use mitigator::pipeline::activity::Activity;
use mitigator::pipeline::allowlist::AllowList;
use mitigator::pipeline::baseline::saved::Learned;
use mitigator::pipeline::blocklist::Changes;
use mitigator::pipeline::gates::{Alarm, Gates};
use mitigator::pipeline::rows::Rows;
use mitigator::pipeline::settings::{BlockingSettings, DetectionSettings};
use mitigator::pipeline::snapshot::Snapshot;
use mitigator::pipeline::target::Target;
use mitigator::pipeline::time::{Timestamp, WallClock};
use mitigator::pipeline::vectors::{Span, Vector};
use mitigator_common::{Source, SourceCounters};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// A Monday, 00:00 UTC.
const MONDAY_UNIX_S: u64 = 1_767_571_200;

/// Sources of a kind, and how many requests each sends per second at a second.
type Kind = (u8, u16, fn(f64) -> f64);

/// Gates over ticks, fed with rates.
#[derive(Clone)]
struct Bench {
    gates: Gates,
    settings: DetectionSettings,
    at_s: u64,
    tick_s: u64,
    noise: u64,
}

impl Bench {
    fn new(tick_s: u64) -> Self {
        let mut gates = Gates::over(Span::Tick);
        gates.set_wall_clock(Some(WallClock { zero_unix_ns: MONDAY_UNIX_S * 1_000_000_000 }));
        Self { gates, settings: DetectionSettings::default(), at_s: 0, tick_s, noise: 1 }
    }

    /// One tick in which packets of vectors came to ports at these rates.
    fn tick(&mut self, traffic: &[(Vector, u16, f64)]) -> Vec<Alarm> {
        self.at_s += self.tick_s;
        let at = Timestamp::from_ns(self.at_s * 1_000_000_000);
        let mut rows = Rows::at(at);
        for ((vector, port, rate), number) in traffic.iter().zip(1_u8..) {
            let counters = packets(*vector, *port, whole(rate * self.tick_s as f64));
            rows.push(Source::from_v4_bytes([192, 0, 2, number]), None, &counters, 0);
        }
        let interval = Duration::from_secs(self.tick_s);
        let activity = Activity { at, interval, rows, ..Activity::default() };
        self.gates.check(&activity, &self.settings)
    }

    /// Ticks for a while at a rate that varies by a tenth; returns in how many there was an alarm.
    fn run(&mut self, seconds: u64, vector: Vector, port: u16, rate: impl Fn(u64) -> f64) -> u64 {
        let mut alarms = 0;
        for _ in 0..seconds / self.tick_s {
            let rate = rate(self.at_s) * self.vary();
            alarms += u64::from(!self.tick(&[(vector, port, rate)]).is_empty());
        }
        alarms
    }

    /// Between 0.9 and 1.1, evenly.
    fn vary(&mut self) -> f64 {
        self.noise =
            self.noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        0.9 + (self.noise >> 33) as f64 / f64::from(1_u32 << 31) * 0.2
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counters are of 32 bits, and saturate"
)]
fn whole(count: f64) -> u32 {
    count as u32
}

fn packets(vector: Vector, port: u16, count: u32) -> SourceCounters {
    let mut change = SourceCounters {
        packets: u64::from(count),
        bytes: u64::from(count) * 120,
        destination_port: port,
        ..SourceCounters::EMPTY
    };
    match vector {
        Vector::UdpFlood => change.udp_packets = count,
        Vector::HttpFlood => (change.tcp_push_packets, change.tcp_ack_packets) = (count, count),
        Vector::SynFlood => change.tcp_syn_packets = count,
        Vector::Reflection => {
            (change.udp_packets, change.reflection_packets) = (count, count);
            change.reflection_port = port;
        }
        other => panic!("no packets for {}", other.name()),
    }
    change
}

#[test]
fn no_ramp_teaches_it_an_attack() {
    for (vector, normal, percent_a_minute, quiet, alarm_by) in [
        // The gates ask for three times the normal level; the reference rises by a tenth an hour meanwhile.
        (Vector::HttpFlood, 500.0, 5.0, 30 * MINUTE, 3.4),
        (Vector::HttpFlood, 500.0, 5.0, 2 * DAY, 3.4),
        (Vector::HttpFlood, 500.0, 1.0, 30 * MINUTE, 4.2),
        (Vector::HttpFlood, 500.0, 1.0, 2 * DAY, 4.2),
        (Vector::UdpFlood, 2_000.0, 5.0, 30 * MINUTE, 3.4),
        (Vector::UdpFlood, 2_000.0, 1.0, 2 * DAY, 4.2),
        // Far below the floor, which is 5,000 of these and 200 of those.
        (Vector::UdpFlood, 100.0, 5.0, HOUR, 50.0 * 1.12),
        (Vector::SynFlood, 20.0, 5.0, HOUR, 10.0 * 1.12),
    ] {
        let case = format!("{} from {normal}/s by {percent_a_minute} % a minute", vector.name());
        let mut bench = Bench::new(1);
        assert_eq!(bench.run(quiet, vector, 443, |_| normal), 0, "{case}: quiet");
        let growth = |second: u64| (1.0 + percent_a_minute / 100.0_f64).powf(second as f64 / 60.0);
        let (mut first_alarm, mut missed) = (None, 0);
        for second in 0..6 * HOUR {
            let times = growth(second);
            let rate = normal * times * bench.vary();
            let has_alarm = bench.tick(&[(vector, 443, rate)]).iter().any(|alarm| alarm.vector == vector);
            match first_alarm {
                None if has_alarm => first_alarm = Some(times),
                // Noise of a tenth may take single ticks below the gates in the first minutes.
                Some(first) if !has_alarm && times > first * 1.3 => missed += 1,
                _ => {}
            }
        }
        let first_alarm = first_alarm.unwrap_or(f64::INFINITY);
        assert!(first_alarm <= alarm_by, "{case}: first alarm at {first_alarm:.2} times the normal level");
        assert_eq!(missed, 0, "{case}: ticks without an alarm later on");
    }
}

/// Night, a slow morning, a busy day, a slow evening; at weekends half as much.
fn day_curve(at_s: u64) -> f64 {
    let hour = (at_s % DAY) as f64 / HOUR as f64;
    let day = match hour {
        ..6.0 => 0.0,
        ..12.0 => (hour - 6.0) / 6.0,
        ..18.0 => 1.0,
        _ => (24.0 - hour) / 6.0,
    };
    let is_weekend = at_s / DAY % 7 >= 5;
    500.0 * (1.0 + 3.0 * if is_weekend { day / 2.0 } else { day })
}

#[test]
fn what_comes_every_day_is_normal_at_its_hour_and_not_at_night() {
    for (description, stretch) in [("in phase", 0), ("nine hours east", 9 * HOUR)] {
        let mut bench = Bench::new(10);
        let curve = |at_s: u64| day_curve(at_s + stretch);
        bench.run(14 * DAY, Vector::HttpFlood, 443, curve);
        assert_eq!(bench.run(7 * DAY, Vector::HttpFlood, 443, curve), 0, "{description}: the third week");
        // What is usual by day.
        for (hour, is_attack) in [(3, true), (15, false)] {
            let mut bench = bench.clone();
            let hours = (hour * HOUR + DAY - stretch) % DAY;
            assert_eq!(bench.run(hours, Vector::HttpFlood, 443, curve), 0);
            let alarms = bench.run(MINUTE, Vector::HttpFlood, 443, |_| 2_000.0);
            assert_eq!(alarms, if is_attack { 6 } else { 0 }, "{description}, 2,000/s at {hour}:00");
        }
    }
}

/// A shop that opens at eight and closes at fifteen, within twenty minutes.
fn opening_hours(at_s: u64) -> f64 {
    let minute = (at_s % DAY / MINUTE) as f64;
    let opened = ((minute - 8.0 * 60.0) / 20.0).clamp(0.0, 1.0);
    let closed = ((minute - 15.0 * 60.0) / 20.0).clamp(0.0, 1.0);
    400.0 * (1.0 + 2.5 * (opened - closed))
}

#[test]
fn what_comes_suddenly_at_the_same_hour_is_learned_in_time() {
    let mut bench = Bench::new(10);
    let first_days = bench.run(2 * DAY, Vector::HttpFlood, 443, opening_hours);
    assert!(first_days > 0, "3.5 times as much within twenty minutes is an alarm");
    bench.run(19 * DAY, Vector::HttpFlood, 443, opening_hours);
    assert_eq!(bench.run(7 * DAY, Vector::HttpFlood, 443, opening_hours), 0, "the fourth week");
}

#[test]
fn a_service_is_judged_by_itself_where_the_total_is_busy() {
    let busy = [(Vector::UdpFlood, 27_015, 20_000.0)];
    let mut bench = Bench::new(1);
    // There is no quiet to learn from, and nobody to blame.
    for _ in 0..40 * HOUR {
        bench.tick(&busy);
    }
    assert_eq!(bench.tick(&busy), [], "it takes time, but is learned");
    for (description, port, rate, service) in [
        ("a little more to the game", 27_015, 8_000.0, None),
        ("little to another port", 4_444, 3_000.0, None),
        ("much to another port", 4_444, 8_000.0, Some(4_444)),
    ] {
        let mut bench = bench.clone();
        let alarms = bench.tick(&[busy[0], (Vector::UdpFlood, port, rate)]);
        let carried = |alarm: &Alarm| alarm.carried.iter().collect::<Vec<_>>();
        let shown: Vec<_> = alarms.iter().map(|alarm| (alarm.service, alarm.total, carried(alarm))).collect();
        match service {
            Some(_) => assert_eq!(shown, [(service, 8_000.0, vec![(1, 8_000)])], "{description}"),
            None => assert_eq!(shown, [], "{description}"),
        }
        if service.is_some() {
            bench.tick(&[busy[0]]);
            let alarms = bench.tick(&[busy[0], (Vector::UdpFlood, port, rate)]);
            let began = alarms.first().map(|alarm| alarm.since.ns / 1_000_000_000);
            assert_eq!(began, Some(bench.at_s - 3), "{description}: one attack with a pause");
        }
    }
    // Answers are of the service they come from.
    let mut bench = Bench::new(1);
    let answers = |port, rate| (Vector::Reflection, port, rate);
    for rate in 4..40 * 4 {
        for _ in 0..HOUR / 4 {
            bench.tick(&[answers(53, 100.0 * f64::from(rate / 4))]);
        }
    }
    let alarms = bench.tick(&[answers(53, 4_000.0), answers(123, 900.0)]);
    assert_eq!(alarms.iter().map(|alarm| alarm.service).collect::<Vec<_>>(), [Some(123)]);
}

#[test]
fn a_verdict_stops_learning_and_an_alarm_alone_does_not() {
    for (has_verdict, expected) in [(true, 0.98..=1.02), (false, 1.5..=1.9)] {
        let mut bench = Bench::new(1);
        bench.run(HOUR, Vector::HttpFlood, 443, |_| 600.0);
        let mut level = 0.0;
        for _ in 0..6 * HOUR {
            let alarms = bench.tick(&[(Vector::HttpFlood, 443, 6_000.0)]);
            let alarm = alarms.first().expect("ten times the normal level");
            level = alarm.normal.expect("an hour was learned").median / 600.0;
            if has_verdict {
                bench.gates.note_verdict(Vector::HttpFlood, alarm_at(&bench));
            }
        }
        assert!(expected.contains(&level), "with a verdict: {has_verdict}: {level} times as high");
    }
}

fn alarm_at(bench: &Bench) -> Timestamp {
    Timestamp::from_ns(bench.at_s * 1_000_000_000)
}

#[test]
fn what_was_learned_decides_the_same_after_a_restart() {
    let mut bench = Bench::new(10);
    bench.run(5 * DAY, Vector::HttpFlood, 443, day_curve);
    let text = Learned::new(1, bench.gates.learned(), bench.gates.learned()).to_json();
    let mut gates = Gates::over(Span::Tick);
    gates.set_wall_clock(Some(WallClock { zero_unix_ns: MONDAY_UNIX_S * 1_000_000_000 }));
    gates.restore(Learned::from_json(&text).expect("it was just written").ticks);
    let again = Bench { gates, ..bench.clone() };
    let (mut alarms, mut quiet) = (0, 0);
    for rate in (400..20_000).step_by(20) {
        let [before, after] =
            [&bench, &again].map(|bench| bench.clone().tick(&[(Vector::HttpFlood, 443, f64::from(rate))]));
        assert_eq!(before, after, "{rate} requests/s");
        if before.is_empty() { quiet += 1 } else { alarms += 1 }
    }
    assert!(alarms > 30 && quiet > 30, "{alarms} alarms, {quiet} quiet ticks");
}

/// Clients that ask over open connections, each at its own rate; who is blocked is heard no more.
struct Clients {
    kinds: Vec<Kind>,
    counters: Vec<(Source, SourceCounters, f64)>,
    last_s: f64,
    blocked: BTreeSet<Target>,
}

impl Clients {
    fn new(kinds: Vec<Kind>) -> Self {
        let counters = kinds.iter().flat_map(|(kind, count, _)| {
            (0..*count).map(|number| {
                let [high, low] = number.to_be_bytes();
                (Source::from_v4_bytes([192, *kind, high, low]), SourceCounters::EMPTY, 0.0)
            })
        });
        Self { counters: counters.collect(), kinds, last_s: 0.0, blocked: BTreeSet::new() }
    }
}

impl DataPlane for Clients {
    fn read_counters(&mut self, now: Timestamp, _watched: &[Source]) -> Result<Snapshot> {
        let (now_s, last_s) = (now.ns as f64 / 1e9, self.last_s);
        self.last_s = now_s;
        let rates = self.kinds.iter().flat_map(|(_, count, rate)| {
            let rate = rate(now_s);
            (0..*count).map(move |number| rate * (1.0 + f64::from(number % 8) / 10.0))
        });
        for ((source, row, requests), rate) in self.counters.iter_mut().zip(rates) {
            *requests += rate * (now_s - last_s);
            let asked = whole(*requests);
            if asked > 0 && !self.blocked.contains(&Target::Source(*source)) {
                *requests -= f64::from(asked);
                if row.packets == 0 {
                    row.first_seen_ns = now.ns;
                    (row.packets, row.bytes, row.tcp_syn_packets) = (1, 74, 1);
                }
                row.tcp_push_packets += asked;
                row.tcp_ack_packets += asked * 3;
                row.packets += u64::from(asked) * 3;
                row.bytes += u64::from(asked) * 400;
                row.destination_port = 443;
                row.last_seen_ns = now.ns;
            }
        }
        let seen = self.counters.iter().filter(|(_, row, _)| row.packets > 0);
        Ok(Snapshot {
            at: now,
            rows: seen.map(|(source, row, _)| (*source, *row)).collect(),
            ..Snapshot::default()
        })
    }

    fn allow_list(&mut self) -> Result<AllowList> {
        Ok(AllowList::default())
    }

    fn hits_of(&mut self, targets: &[Target]) -> Result<Vec<(Target, u64)>> {
        // Whoever is blocked goes on.
        Ok(targets.iter().map(|target| (*target, u64::MAX / 2)).collect())
    }

    fn apply(&mut self, _now: Timestamp, changes: &Changes) -> Result<()> {
        self.blocked.extend(changes.blocks.iter().map(|block| block.target));
        Ok(())
    }
}

/// Runs the loop to an end, or until so many are blocked; returns who is, by kind, and when.
fn blocked_of(kinds: Vec<Kind>, end_s: u64, until: usize) -> (Vec<String>, u64) {
    let (detection, blocking) = (DetectionSettings::default(), BlockingSettings::default());
    let interval = Duration::from_millis(250);
    let mut control = ControlLoop::new(Clients::new(kinds), interval, detection, blocking);
    let mut now = Timestamp::from_ns(0);
    while now.ns < end_s * 1_000_000_000 && control.plane().blocked.len() < until {
        let tick = control.tick(now).expect("nothing is refused");
        now = now + tick.next_in;
    }
    let blocked = control.plane().blocked.iter().map(ToString::to_string).collect();
    (blocked, now.ns / 1_000_000_000)
}

#[test]
fn forty_that_ramp_up_among_forty_visitors_are_blocked_and_nobody_else() {
    let visit: fn(f64) -> f64 = |_| 30.0;
    // A quarter of an hour like the visitors, then 5 % more each minute.
    let ramp: fn(f64) -> f64 = |second| 30.0 * 1.05_f64.powf((second - 900.0).max(0.0) / 60.0);
    let (blocked, at_s) = blocked_of(vec![(1, 40, visit), (2, 40, ramp)], 900 + 6 * HOUR, 40);
    let expected: BTreeSet<String> = (0..40).map(|number| format!("192.2.0.{number}")).collect();
    assert_eq!(blocked.into_iter().collect::<BTreeSet<_>>(), expected, "after {} minutes", at_s / MINUTE);
    assert!(at_s < 900 + 2 * HOUR, "only after {} minutes", at_s / MINUTE);
}

#[test]
fn a_flash_crowd_of_clients_is_no_attack() {
    let visit: fn(f64) -> f64 = |_| 5.0;
    let arrive: fn(f64) -> f64 = |second| if second < 900.0 { 0.0 } else { 3.0 };
    let (blocked, _) = blocked_of(vec![(1, 40, visit), (2, 2_000, arrive)], 1_200, usize::MAX);
    assert_eq!(blocked, Vec::<String>::new());
}
