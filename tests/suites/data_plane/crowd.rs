//! Who is counted one by one when more sources come than there is a budget for, and by several CPUs.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use mitigator::clock::Clock;
use mitigator::config::Capacities;
use mitigator::pipeline::limits::NewLimit;
use mitigator::pipeline::time::Timestamp;
use mitigator_common::{InsertionBudget, Outcome, PacketKind, Signature, Source};
use mitigator_tests::packet::{WEB_PORT, tcp_syn, udp};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use super::bench::{Bench, Change, difference};

/// From now on, sources are a crowd, for half a second.
fn begin_crowd(bench: &Bench) -> Result<()> {
    let tick = InsertionBudget::tick_of(Clock::now().monotonic().ns);
    bench.change_cpus(|state| state.crowded_until = tick.wrapping_add(InsertionBudget::CROWD_TICKS))
}

/// Packets counted for their source, and others, of so many alike.
fn counted(bench: &mut Bench, packet: &[u8], repeat: u32) -> Result<(u64, u64)> {
    let before = bench.plane().outcomes()?;
    bench.program().test_run(packet, repeat)?;
    let change = difference(&bench.plane().outcomes()?, &before);
    let (counted, others) = (change[Outcome::PassCounted as usize], change[Outcome::PassUncounted as usize]);
    ensure!(counted + others == u64::from(repeat), "{change:?}");
    Ok((counted, others))
}

pub fn light_and_heavy(bench: &mut Bench) -> Result<()> {
    let (light, heavy) = (udp("192.0.2.7", 40_000).bytes(), udp("192.0.2.8", 40_000).bytes());
    let row = |bench: &Bench, last| bench.counters_of(Source::from_v4_bytes([192, 0, 2, last]));
    ensure!(counted(bench, &light, 3)? == (3, 0), "while sources are few, each is counted");
    begin_crowd(bench)?;
    ensure!(counted(bench, &light, 3)? == (0, 3), "a light source of a crowd is counted");
    ensure!(row(bench, 7)?.packets == 3, "and in its row");
    // Nobody knows this one, until it has sent so much.
    let (in_row, before) = counted(bench, &heavy, 5_000)?;
    ensure!((in_row, row(bench, 8)?.packets) == (in_row, in_row), "{in_row} and another row");
    ensure!(in_row >= 4_900, "found heavy after {before} packets");
    // From then on it is known: also in another epoch of the sketch, each packet counts.
    for _ in 0..50 {
        begin_crowd(bench)?;
        ensure!(counted(bench, &heavy, 1_000)? == (1_000, 0), "a heavy source is counted");
    }
    ensure!(row(bench, 8)?.packets == in_row + 50_000, "its row counts as many");
    // So it is with one that had its row before it was heavy.
    let (in_row, before) = counted(bench, &light, 5_000)?;
    ensure!(in_row >= 4_900 && row(bench, 7)?.packets == 3 + in_row, "found heavy after {before} packets");
    // When the crowd is gone, all are counted.
    bench.change_cpus(|state| state.crowded_until = 0)?;
    let other = udp("192.0.2.9", 40_000).bytes();
    ensure!(counted(bench, &other, 1)? == (1, 0) && counted(bench, &light, 1)? == (1, 0), "one is not");
    Ok(())
}

/// Who sends UDP first, and so asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asking {
    Host,
    Stranger,
}

/// Questions may be forged, so that an answer makes nobody known, whatever he sends afterwards.
pub fn asked_and_answered() -> Result<()> {
    let mut bench = Bench::small()?;
    let mut classifier = bench.classifier()?;
    // Those in a crowd come last: what it leaves behind is to be told from a crowd.
    for (description, asking, host_port, is_crowd, expected) in [
        ("asked", Asking::Host, 53, false, Outcome::PassCounted),
        ("asked from a port for questions", Asking::Host, 40_000, false, Outcome::PassCounted),
        ("answered", Asking::Stranger, 53, false, Outcome::DropLimited),
        ("in a call, from a port for questions", Asking::Stranger, 40_000, false, Outcome::PassCounted),
        ("asked from a port for questions in a crowd", Asking::Host, 40_000, true, Outcome::PassCounted),
        ("answered in a crowd", Asking::Stranger, 53, true, Outcome::DropLimited),
    ] {
        bench.clear()?;
        if is_crowd {
            begin_crowd(&bench)?;
        }
        let arriving = udp("198.51.100.7", 40_001).to_port(host_port).bytes();
        let to = [(16, 198), (17, 51), (18, 100), (19, 7)];
        let leaving =
            to.into_iter().fold(udp("192.0.2.1", host_port).to_port(40_001), |packet, (at, byte)| {
                packet.network_byte(at, byte)
            });
        if asking == Asking::Stranger {
            bench.outcome_of(&arriving)?;
        }
        classifier.test_run(&leaving.bytes())?;
        let row = bench.counters_of(Source::from_v4_bytes([198, 51, 100, 7]))?;
        ensure!(row.sent_udp_packets == 1, "{description}: {row:?}");
        // Older than the row, by whatever clock.
        let since = Timestamp::from_ns(Clock::now().monotonic().ns.saturating_sub(1 << 30));
        let until = Timestamp::from_ns(u64::MAX);
        let limits = [(PacketKind::Udp, host_port), (PacketKind::TcpSyn, WEB_PORT)].map(|(kind, port)| {
            let signature = Signature::new(kind, port);
            NewLimit { signature, packets_per_second: 0.0, since, until, answers: false }
        });
        bench.plane().blocks().set_limits(&limits, &[])?;
        for packet in [arriving, tcp_syn("198.51.100.7").bytes()] {
            let outcome = bench.outcome_of(&packet)?;
            ensure!(outcome == expected, "{description}: {}", outcome.name());
        }
    }
    Ok(())
}

/// As many as the budget has in each tick.
pub fn budget(bench: &mut Bench) -> Result<()> {
    let tick = || InsertionBudget::tick_of(Clock::now().monotonic().ns);
    // All but three rows of this tick are made; the clock of packets may be a tick behind, or go on.
    for _ in 0..5_000 {
        bench.forget_sources()?;
        let now = tick();
        bench.change_cpus(|state| (state.budget_tick, state.made) = (now, InsertionBudget::ROWS - 3))?;
        let outcomes = (0..5)
            .map(|last| counted(bench, &tcp_syn(&format!("198.51.100.{last}")).bytes(), 1))
            .collect::<Result<Vec<_>>>()?;
        let states = bench.plane().cpus().read()?;
        if states.iter().any(|state| state.budget_tick == now && state.made == InsertionBudget::ROWS) {
            ensure!(outcomes == [(1, 0), (1, 0), (1, 0), (0, 1), (0, 1)], "{outcomes:?}");
            ensure!(bench.plane().sources().count() == 3, "{} rows", bench.plane().sources().count());
            let crowded = states.iter().filter(|state| state.crowded_until != 0).count();
            ensure!(crowded == 1, "{crowded} CPUs have a crowd");
            return Ok(());
        }
    }
    anyhow::bail!("no five packets came in one tick")
}

/// Each CPU sends to one source; one owns its row, and all of the packets are there in the end.
pub fn many_cpus() -> Result<()> {
    let bench = Bench::small()?;
    let packet = tcp_syn(SOURCE).bytes();
    let before = bench.plane().outcomes()?;
    let sent = send_on_each_cpu(&bench, &packet)?;
    let change = difference(&bench.plane().outcomes()?, &before);
    let counted = change[Outcome::PassCounted as usize];
    ensure!(change.iter().sum::<u64>() == sent, "{change:?} of {sent}");
    let row = bench.counters_of(Source::from_v4_bytes([192, 0, 2, 7]))?;
    // While one CPU makes the row, the other has none to count into.
    ensure!(sent - counted <= 8, "{} were not counted", sent - counted);
    ensure!(row.packets == counted && u64::from(row.tcp_syn_packets) == counted, "{row:?} of {counted}");
    ensure!(row.bytes == counted * u64::try_from(packet.len())?, "{row:?}");
    ensure!(bench.plane().sources().count() == 1, "one source has several rows");
    bench.clear()
}

/// Each CPU drops by one block; one owns its hits, and all of them are there in the end, however often they are carried.
pub fn many_cpus_drop() -> Result<()> {
    let bench = Bench::small()?;
    bench.change(Change::Block(SOURCE))?;
    let target = SOURCE.parse()?;
    let hits = || -> Result<u64> {
        bench.plane().blocks().get(&target)?.map(|entry| entry.hits).context("the block is gone")
    };
    let is_over = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| -> Result<u64> {
        let reader = scope.spawn(|| -> Result<()> {
            let mut before = 0;
            while !is_over.load(Ordering::Relaxed) {
                let now = hits()?;
                ensure!(now >= before, "{now} hits after {before}");
                before = now;
            }
            Ok(())
        });
        let sent = send_on_each_cpu(&bench, &tcp_syn(SOURCE).bytes());
        is_over.store(true, Ordering::Relaxed);
        reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))??;
        sent
    })?;
    ensure!(hits()? == sent, "{} hits of {sent}", hits()?);
    bench.clear()
}

const SOURCE: &str = "192.0.2.7";

/// How many packets were sent.
fn send_on_each_cpu(bench: &Bench, packet: &[u8]) -> Result<u64> {
    const PACKETS: u32 = 300_000;
    const ROUNDS: u64 = 4;
    let allowed = sched_getaffinity(Pid::from_raw(0)).context("cannot tell the CPUs")?;
    let cpus: Vec<usize> =
        (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false)).take(4).collect();
    // So that the programs are several and their maps are the same.
    let capacities = Capacities { sources: 4_096, blocks: 1_024, prefixes: 256 };
    let pins = bench.pins();
    std::thread::scope(|scope| -> Result<()> {
        let senders: Vec<_> = cpus
            .iter()
            .map(|cpu| {
                let pins = &pins;
                scope.spawn(move || -> Result<()> {
                    let mut only = CpuSet::new();
                    only.set(*cpu)?;
                    sched_setaffinity(Pid::from_raw(0), &only).context("cannot stay on one CPU")?;
                    let mut program = mitigator::kernel::program::LoadedProgram::load(pins, &capacities)?;
                    for _ in 0..ROUNDS {
                        program.test_run(packet, PACKETS)?;
                    }
                    Ok(())
                })
            })
            .collect();
        senders
            .into_iter()
            .try_for_each(|sender| sender.join().map_err(|_| anyhow::anyhow!("a sender panicked"))?)
    })?;
    Ok(cpus.len() as u64 * ROUNDS * u64::from(PACKETS))
}
