//! The whole decision, from counters to blocks, over a data plane that is a list of snapshots.
//!
//! Two kinds of input. Any state at all, with counters at the ends of their ranges and a clock that
//! stands still or runs backwards: nothing panics, nobody allowed is blocked, no cap is passed, equal
//! input gives equal verdicts. And floods among ordinary clients: every attacker is blocked within
//! two ticks, no client and nobody allowed ever is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use mitigator::control_loop::{ControlLoop, Tick};
use mitigator::kernel::DataPlane;
use mitigator::kernel::replay::ReplayDataPlane;
use mitigator::pipeline::allowlist::{AllowList, Relation};
use mitigator::pipeline::blocklist::Changes;
use mitigator::pipeline::settings::{BlockingSettings, DetectionSettings};
use mitigator::pipeline::snapshot::{OutcomeTotals, Snapshot};
use mitigator::pipeline::target::Target;
use mitigator::pipeline::time::Timestamp;
use mitigator_common::{AllowReason, Outcome, PrefixKey, RowMarks, Source, SourceCounters};
use mitigator_ebpf::cursor::Cursor;
use mitigator_ebpf::packet::Packet;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

const TICK: Duration = Duration::from_millis(250);

/// Those who send in any state. Some share a prefix, two are not senders at all.
const SENDERS: [&str; 12] = [
    "192.0.2.7",
    "192.0.2.8",
    "192.0.3.7",
    "198.51.100.1",
    "203.0.113.66",
    "255.255.255.255",
    "0.0.0.0",
    "2001:db8:1:2::7",
    "2001:db8:1:3::7",
    "2001:db8:2::7",
    "fe80::1",
    "::1",
];

/// What may be allowed: addresses and prefixes around the senders, some apart from all.
const ALLOWED: [&str; 13] = [
    "192.0.2.7/32",
    "192.0.2.0/24",
    "192.0.2.0/23",
    "198.51.100.0/28",
    "203.0.113.66/32",
    "203.0.113.67/32",
    "2001:db8:1:2::7/128",
    "2001:db8:1:2::8/128",
    "2001:db8:1::/48",
    "fe80::/10",
    "::1/128",
    "0.0.0.0/0",
    "::/0",
];

/// A data plane that is a list.
#[derive(Clone, Debug)]
struct Script {
    steps: Vec<Step>,
    position: usize,
}

/// What one tick finds.
#[derive(Clone, Debug)]
struct Step {
    at: Timestamp,
    rows: Vec<(Source, SourceCounters)>,
    outcomes: OutcomeTotals,
    allowed: AllowList,
    /// Of whichever block is asked about.
    hits: u64,
    is_write_refused: bool,
}

impl Script {
    fn step(&self) -> Result<&Step> {
        self.steps.get(self.position).context("the script is over")
    }
}

impl DataPlane for Script {
    fn read_counters(&mut self, now: Timestamp, _watched: &[Source]) -> Result<Snapshot> {
        let step = self.step()?;
        Ok(Snapshot { at: now, rows: step.rows.clone(), outcomes: step.outcomes, ..Snapshot::default() })
    }

    fn allow_list(&mut self) -> Result<AllowList> {
        Ok(self.step()?.allowed.clone())
    }

    fn hits_of(&mut self, targets: &[Target]) -> Result<Vec<(Target, u64)>> {
        let hits = self.step()?.hits;
        Ok(targets.iter().map(|target| (*target, hits)).collect())
    }

    fn apply(&mut self, _now: Timestamp, _changes: &Changes) -> Result<()> {
        anyhow::ensure!(!self.step()?.is_write_refused, "the table is full");
        Ok(())
    }
}

/// Everything a run depends on.
#[derive(Clone, Debug)]
struct Scene {
    script: Script,
    detection: DetectionSettings,
    blocking: BlockingSettings,
    adopted: Vec<(Target, Timestamp)>,
}

/// One tick, with what stood after it; `None` for a tick whose blocks could not be written.
type Run = Vec<(Option<Tick>, usize)>;

impl Scene {
    fn run(&self) -> Run {
        let mut control =
            ControlLoop::new(self.script.clone(), TICK, self.detection.clone(), self.blocking.clone());
        control.adopt(self.adopted.iter().copied());
        let run_step = |(position, step): (usize, &Step)| {
            control.plane().position = position;
            let tick = control.tick(step.at).ok();
            (tick, control.standing_blocks())
        };
        self.script.steps.iter().enumerate().map(run_step).collect()
    }
}

fn allow_list(prefixes: &[&str]) -> AllowList {
    let entries = prefixes.iter().map(|prefix| {
        let (address, length) = prefix.split_once('/').expect("a prefix");
        let key = PrefixKey::new(address.parse().expect("an address"), length.parse().expect("a length"));
        (key, AllowReason::Operator)
    });
    AllowList::new(entries.collect())
}

fn source(address: &str) -> Source {
    Source::from(address.parse::<IpAddr>().expect("an address"))
}

/// A number of any size, often at an end of the range or where an attack begins.
fn any_u64() -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => Just(0),
        1 => Just(u64::MAX),
        1 => Just(u64::MAX - 1),
        2 => 0..100_u64,
        6 => 1_000..1_000_000_u64,
        1 => any::<u64>(),
    ]
}

fn any_u32() -> impl Strategy<Value = u32> {
    prop_oneof![
        6 => Just(0),
        1 => Just(u32::MAX),
        1 => Just(u32::MAX - 1),
        2 => 0..100_u32,
        6 => 1_000..1_000_000_u32,
        1 => any::<u32>(),
    ]
}

fn any_counters() -> impl Strategy<Value = SourceCounters> {
    (vec(any_u64(), 5), vec(any_u32(), 21), any::<[u16; 2]>()).prop_map(|(wide, narrow, ports)| {
        let mut wide = wide.into_iter();
        let mut narrow = narrow.into_iter();
        let mut long = || wide.next().unwrap_or(0);
        let mut short = || narrow.next().unwrap_or(0);
        SourceCounters {
            packets: long(),
            bytes: long(),
            first_seen_ns: long(),
            last_seen_ns: long(),
            port_bits: long(),
            ports_epoch: short(),
            tcp_syn_packets: short(),
            tcp_syn_ack_packets: short(),
            tcp_ack_packets: short(),
            tcp_rst_packets: short(),
            tcp_odd_packets: short(),
            tcp_push_packets: short(),
            udp_packets: short(),
            reflection_packets: short(),
            icmp_packets: short(),
            fragment_packets: short(),
            extension_packets: short(),
            other_packets: short(),
            reflection_port: ports[0],
            destination_port: ports[1],
            tcp_fin_packets: short(),
            marks: RowMarks::from_bits(short() & 3),
            sent_packets: short(),
            sent_syn_packets: short(),
            sent_syn_ack_packets: short(),
            sent_data_packets: short(),
            sent_udp_packets: short(),
            sent_closing_packets: short(),
        }
    })
}

/// Each sender at most once, as in the kernel's table.
fn any_rows() -> impl Strategy<Value = Vec<(Source, SourceCounters)>> {
    vec(proptest::option::of(any_counters()), SENDERS.len()).prop_map(|counters| {
        let rows = SENDERS.iter().zip(counters);
        rows.filter_map(|(sender, counters)| Some((source(sender), counters?))).collect()
    })
}

/// Clocks go forward by a tick for the most part, and by anything at times.
fn any_step() -> impl Strategy<Value = (Step, u64)> {
    let allowed = vec(select(&ALLOWED[..]), 0..4).prop_map(|prefixes| allow_list(&prefixes));
    let forward_ns = prop_oneof![
        1 => Just(0),
        6 => Just(250_000_000),
        2 => Just(1_000_000_000),
        2 => Just(600_000_000_000),
        1 => any::<u64>(),
    ];
    (any_rows(), vec(any_u64(), Outcome::COUNT), allowed, any_u64(), any::<u8>(), forward_ns).prop_map(
        |(rows, outcomes, allowed, hits, refusal, forward_ns)| {
            let outcomes = OutcomeTotals::try_from(outcomes).expect("one number for each outcome");
            let is_write_refused = refusal < 20;
            let at = Timestamp::default();
            (Step { at, rows, outcomes, allowed, hits, is_write_refused }, forward_ns)
        },
    )
}

fn any_settings() -> impl Strategy<Value = (DetectionSettings, BlockingSettings)> {
    (0..3_u32, 0..20_u64, 1..9_usize, 0..6_usize, 0..8_usize, any::<[bool; 2]>()).prop_map(
        |(ticks, min_packets, max_clusters, max_per_tick, max_standing, [is_patient, is_brief])| {
            let patience = if is_patient { 1.0 } else { 0.01 };
            let detection = DetectionSettings {
                ticks,
                min_packets,
                max_clusters,
                patience,
                ..DetectionSettings::default()
            };
            // Brief blocks come to their end, and to their renewal, within a few ticks.
            let duration = if is_brief { Duration::from_secs(2) } else { Duration::from_mins(10) };
            let blocking =
                BlockingSettings { duration, max_per_tick, max_standing, ..BlockingSettings::default() };
            (detection, blocking)
        },
    )
}

fn any_scene() -> impl Strategy<Value = Scene> {
    let adopted = vec((select(&SENDERS[..]), any_u64()), 0..3);
    (vec(any_step(), 1..10), any_settings(), adopted).prop_map(|(steps, (detection, blocking), adopted)| {
        let mut now_ns = 0_u64;
        let timed = steps.into_iter().map(|(step, forward_ns)| {
            now_ns = now_ns.wrapping_add(forward_ns);
            Step { at: Timestamp::from_ns(now_ns), ..step }
        });
        let script = Script { steps: timed.collect(), position: 0 };
        let adopted = adopted
            .into_iter()
            .map(|(sender, until)| (Target::Source(source(sender)), Timestamp::from_ns(until)));
        Scene { script, detection, blocking, adopted: adopted.collect() }
    })
}

fn config(cases: u32) -> ProptestConfig {
    // Failing input is printed; a file beside the source would be one that nobody asked for.
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(250))]

    #[test]
    fn nobody_allowed_is_blocked_in_any_state(scene in any_scene()) {
        for (step, (tick, _)) in scene.script.steps.iter().zip(scene.run()) {
            for block in tick.iter().flat_map(|tick| &tick.changes.blocks) {
                let relation = step.allowed.relation_to(&block.target);
                prop_assert_eq!(relation, Relation::Apart, "{} is blocked", block.target);
            }
        }
    }

    #[test]
    fn caps_hold_in_any_state(scene in any_scene()) {
        let adopted = scene.adopted.iter().map(|(source, _)| *source).collect::<BTreeSet<_>>().len();
        for (tick, standing) in scene.run() {
            let written = tick.map_or(0, |tick| tick.changes.blocks.len());
            prop_assert!(written <= scene.blocking.max_per_tick, "{} blocks in one tick", written);
            prop_assert!(standing <= scene.blocking.max_standing.max(adopted), "{} blocks stand", standing);
        }
    }

    #[test]
    fn equal_input_gives_equal_verdicts_byte_for_byte(scene in any_scene()) {
        let print = |run: Run| -> Vec<String> {
            let print_tick = |(tick, standing): (Option<Tick>, usize)| match tick {
                None => format!("refused, {standing} stand"),
                Some(tick) => {
                    let verdicts = serde_json::to_string(&tick.verdicts).expect("verdicts are JSON");
                    format!("{verdicts} {:?} {:?} {standing} stand", tick.changes, tick.next_in)
                }
            };
            run.into_iter().map(print_tick).collect()
        };
        prop_assert_eq!(print(scene.run()), print(scene.run()));
    }

    #[test]
    fn every_packet_of_a_capture_has_one_outcome(
        packets in vec(vec(any::<u8>(), 0..80), 0..60),
        ethertypes in vec(select(vec![[0x08, 0x00], [0x86, 0xdd], [0x81, 0x00]]), 60),
        versions in vec(select(vec![0x45_u8, 0x60, 0x46]), 60),
        capacity in 0..20_usize,
    ) {
        let mut plane = ReplayDataPlane::new(capacity, AllowList::default());
        let mut by_outcome = OutcomeTotals::default();
        for ((mut bytes, ethertype), version) in packets.iter().cloned().zip(ethertypes).zip(versions) {
            for (byte, wanted) in bytes.iter_mut().skip(12).zip(ethertype.into_iter().chain([version])) {
                *byte = wanted;
            }
            let outcome = plane.arrive(&Packet::parse(&Cursor::over(&bytes)), 60, Timestamp::from_ns(1));
            by_outcome[outcome as usize] += 1;
        }
        let outcomes = plane.outcomes();
        prop_assert_eq!(outcomes, by_outcome);
        prop_assert_eq!(outcomes.iter().sum::<u64>(), u64::try_from(packets.len()).expect("60 packets"));
    }
}

/// Properties of scenes in which nothing happens would hold for no reason.
#[test]
fn any_state_is_one_in_which_things_happen() {
    let mut runner = TestRunner::deterministic();
    let mut met: BTreeMap<&str, u32> = BTreeMap::new();
    for _ in 0..250 {
        let scene = any_scene().new_tree(&mut runner).expect("scenes can be made").current();
        for (tick, _) in scene.run() {
            let mut meet = |what, count: usize| *met.entry(what).or_default() += u32::from(count > 0);
            let Some(tick) = tick else {
                meet("refused writes", 1);
                continue;
            };
            let noted = |note: &str| tick.verdicts.iter().filter(|v| v.evidence.note.contains(note)).count();
            meet("new blocks", tick.changes.blocks.iter().filter(|block| !block.is_renewal).count());
            meet("renewals", tick.changes.blocks.iter().filter(|block| block.is_renewal).count());
            meet("releases", tick.changes.released.len());
            meet("capped blocks", tick.changes.capped);
            meet("spared: allowed", noted("the source is on the allow list"));
            meet("spared: an allowed neighbour", noted("an allowed address lies inside"));
            meet("still clocks", noted("no time passed"));
        }
    }
    println!("{met:?}");
    assert!(met.len() == 8 && met.values().all(|ticks| *ticks >= 5), "too rare: {met:?}");
}

/// A flood among ordinary clients.
#[derive(Clone, Copy, Debug)]
struct Flood {
    /// Packets per second of one attacker.
    rate: u32,
    attackers: u8,
    clients: u8,
    kind: FloodKind,
}

#[derive(Clone, Copy, Debug)]
enum FloodKind {
    Syn,
    Udp,
    Icmp,
    Reflection,
    /// SYN packets that ask for every port in turn, or at random.
    SynToManyPorts,
    /// Full packets, as an upload or a tunnel over UDP sends them.
    BulkUdp,
}

impl FloodKind {
    fn count(self, counters: &mut SourceCounters, packets: u32) {
        match self {
            Self::Syn => counters.tcp_syn_packets += packets,
            Self::Udp => counters.udp_packets += packets,
            Self::Icmp => counters.icmp_packets += packets,
            Self::Reflection => {
                counters.udp_packets += packets;
                counters.reflection_packets += packets;
                counters.reflection_port = 123;
            }
            Self::SynToManyPorts => {
                counters.tcp_syn_packets += packets;
                counters.port_bits = u64::MAX;
            }
            Self::BulkUdp => counters.udp_packets += packets,
        }
        let mean_bytes = if matches!(self, Self::BulkUdp) { 1_292 } else { 90 };
        counters.packets += u64::from(packets);
        counters.bytes += u64::from(packets) * mean_bytes;
    }
}

const QUIET_TICKS: u32 = 40;
const FLOOD_TICKS: u32 = 6;

impl Flood {
    fn attacker(number: u8) -> Source {
        Source::from_v4_bytes([203, 0, 113, number])
    }

    fn client(number: u8) -> Source {
        Source::from_v4_bytes([198, 51, 100, number])
    }

    /// Clients open connections and ask over them throughout; attackers come after the quiet ticks.
    fn scene(&self, allowed: &AllowList) -> Scene {
        let steps = (0..=QUIET_TICKS + FLOOD_TICKS).map(|tick| {
            let start_ns = 1_000_000_000;
            let at = Timestamp::from_ns(start_ns + u64::from(tick) * 250_000_000);
            let clients = (0..self.clients).map(|number| {
                let mut counters = SourceCounters { first_seen_ns: start_ns, ..SourceCounters::EMPTY };
                counters.tcp_syn_packets = tick;
                counters.tcp_ack_packets = tick * (4 + u32::from(number % 3));
                counters.tcp_push_packets = tick;
                counters.packets = u64::from(counters.tcp_syn_packets + counters.tcp_ack_packets);
                counters.bytes = counters.packets * 200;
                (Self::client(number), counters)
            });
            let attacked_for = tick.saturating_sub(QUIET_TICKS);
            let attackers = (0..self.attackers).filter(|_| attacked_for > 0).map(|number| {
                let first_seen_ns = start_ns + u64::from(QUIET_TICKS) * 250_000_000 + 1;
                let mut counters = SourceCounters { first_seen_ns, ..SourceCounters::EMPTY };
                self.kind.count(&mut counters, attacked_for * self.rate / 4);
                (Self::attacker(number), counters)
            });
            let rows: Vec<_> = clients.chain(attackers).filter(|(_, row)| row.packets > 0).collect();
            let mut outcomes = OutcomeTotals::default();
            outcomes[Outcome::PassCounted as usize] = rows.iter().map(|(_, row)| row.packets).sum();
            Step { at, rows, outcomes, allowed: allowed.clone(), hits: 0, is_write_refused: false }
        });
        Scene {
            script: Script { steps: steps.collect(), position: 0 },
            detection: DetectionSettings::default(),
            blocking: BlockingSettings::default(),
            adopted: Vec::new(),
        }
    }
}

#[test]
fn what_looks_like_a_flood_and_is_none() {
    for (description, kind, rate, attackers, are_blocked) in [
        ("an upload over QUIC at 90 Mbit/s", FloodKind::BulkUdp, 9_000, 1, false),
        ("40 tunnels with 3,000 packets/s each", FloodKind::BulkUdp, 3_000, 40, false),
        ("full packets at 600 Mbit/s", FloodKind::BulkUdp, 60_000, 3, true),
        ("small packets at the rate of the tunnels", FloodKind::Udp, 3_000, 40, true),
        ("a scan of 1,000 ports per second", FloodKind::SynToManyPorts, 1_000, 1, false),
        ("SYN packets to random ports, one source", FloodKind::SynToManyPorts, 20_000, 1, true),
        ("SYN packets to random ports, 50 sources", FloodKind::SynToManyPorts, 1_000, 50, true),
    ] {
        let flood = Flood { rate, attackers, clients: 10, kind };
        let run = flood.scene(&AllowList::default()).run();
        let blocked: BTreeSet<Target> = run
            .into_iter()
            .flat_map(|(tick, _)| tick.expect("nothing is refused").changes.blocks)
            .map(|block| block.target)
            .collect();
        let sources =
            (0..attackers).filter(|_| are_blocked).map(|number| Target::Source(Flood::attacker(number)));
        assert_eq!(blocked, sources.collect(), "{description}");
    }
}

/// A flood of requests that begins when the baseline is one tick short of being learned.
#[test]
fn a_request_flood_is_seen_however_little_quiet_there_was_before() {
    for quiet_ticks in [11, 12, 13, QUIET_TICKS] {
        let start_ns = 1_000_000_000;
        let steps = (0..quiet_ticks + 12).map(|tick| {
            let flooded_for = tick.saturating_sub(quiet_ticks);
            let row = |source, requests: u32| {
                let mut counters = SourceCounters { first_seen_ns: start_ns, ..SourceCounters::EMPTY };
                (counters.tcp_ack_packets, counters.tcp_push_packets) = (requests * 3, requests);
                (counters.packets, counters.bytes) = (u64::from(requests * 3), u64::from(requests) * 400);
                (source, counters)
            };
            let clients = (0..40).map(|number| row(Flood::client(number), (tick + 1) * 3));
            let attackers = (0..60)
                .filter(|_| flooded_for > 0)
                .map(|number| row(Flood::attacker(number), flooded_for * 170));
            Step {
                at: Timestamp::from_ns(start_ns + u64::from(tick) * 250_000_000),
                rows: clients.chain(attackers).collect(),
                outcomes: OutcomeTotals::default(),
                allowed: AllowList::default(),
                hits: 0,
                is_write_refused: false,
            }
        });
        let scene = Scene {
            script: Script { steps: steps.collect(), position: 0 },
            detection: DetectionSettings::default(),
            blocking: BlockingSettings::default(),
            adopted: Vec::new(),
        };
        let blocked: BTreeSet<Target> = scene
            .run()
            .into_iter()
            .flat_map(|(tick, _)| tick.expect("nothing is refused").changes.blocks)
            .map(|block| block.target)
            .collect();
        let attackers = (0..60).map(|number| Target::Source(Flood::attacker(number)));
        assert_eq!(blocked, attackers.collect(), "{quiet_ticks} quiet ticks");
    }
}

fn any_flood() -> impl Strategy<Value = Flood> {
    let kind = select(vec![FloodKind::Syn, FloodKind::Udp, FloodKind::Icmp, FloodKind::Reflection]);
    (5_000..100_000_u32, 1..60_u8, 0..60_u8, kind).prop_map(|(rate, attackers, clients, kind)| Flood {
        rate,
        attackers,
        clients,
        kind,
    })
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn a_flood_is_blocked_within_two_ticks_and_nobody_else(
        flood in any_flood(),
        allowed in vec(any::<bool>(), 60),
    ) {
        let (spared, expected): (Vec<u8>, Vec<u8>) =
            (0..flood.attackers).partition(|number| allowed[usize::from(*number)]);
        let sources = |numbers: Vec<u8>| numbers.into_iter().map(Flood::attacker).collect::<Vec<Source>>();
        let (spared, expected) = (sources(spared), sources(expected));
        let entries = spared.iter().map(|source| (PrefixKey::new(source.network(), 32), AllowReason::SshPeer));
        let run = flood.scene(&AllowList::new(entries.collect())).run();
        let mut blocked = BTreeSet::new();
        let mut seen = 0;
        for (number, (tick, _)) in (0..).zip(run) {
            let tick = tick.expect("nothing is refused");
            seen += tick.packets;
            let targets = tick.changes.blocks.iter().filter_map(|block| match block.target {
                Target::Source(source) => Some(source),
                Target::Prefix(_) => None,
            });
            blocked.extend(targets);
            if number == QUIET_TICKS {
                prop_assert!(blocked.is_empty(), "blocked in quiet times: {:?}", blocked);
            }
            if number == QUIET_TICKS + 2 {
                prop_assert_eq!(blocked.iter().copied().collect::<Vec<_>>(), expected.clone());
            }
        }
        prop_assert_eq!(blocked.into_iter().collect::<Vec<_>>(), expected, "nobody is added later");
        let sent = flood.scene(&AllowList::default()).script.steps.last().map(|step| step.outcomes.iter().sum::<u64>());
        prop_assert_eq!(Some(seen), sent, "ticks add up to what arrived");
    }
}
