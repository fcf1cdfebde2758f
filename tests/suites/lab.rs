//! The lab itself: hosts that reach each other, and nothing left behind.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mitigator::kernel::maps;
use mitigator::kernel::pins::Pins;
use mitigator_tests::lab::{Child, Core, Lab, scratch_directory};
use mitigator_tests::suite::{self, Needs, Trial};
use mitigator_tests::traffic::{Addressing, Flood, Frames, Pace};
use nix::sys::signal::Signal;

/// Set for the copy of this program that is to be ended in the middle of its work.
const VICTIM_OF_SIGNALS: &str = "MITIGATOR_LAB_WAITS";

fn main() -> ExitCode {
    if std::env::var_os(VICTIM_OF_SIGNALS).is_some() {
        return wait_in_a_lab();
    }
    suite::run(vec![
        Trial::new("two_hosts_reach_each_other_over_both_families", Needs::Root, || reach_each_other(None)),
        Trial::new("a_host_that_receives_in_batches_is_reached_too", Needs::Root, || {
            reach_each_other(Some(Duration::from_millis(1)))
        }),
        Trial::new("a_dropped_lab_leaves_nothing", Needs::Root, dropped_lab_leaves_nothing),
        Trial::new("a_terminated_run_cleans_up", Needs::Root, || cleans_up_after(Signal::SIGTERM)),
        Trial::new("an_interrupted_run_cleans_up", Needs::Root, || cleans_up_after(Signal::SIGINT)),
        Trial::new("the_next_lab_cleans_up_after_a_killed_run", Needs::Root, || {
            cleans_up_after(Signal::SIGKILL)
        }),
        Trial::new("an_interrupted_bench_leaves_nothing", Needs::Root, || {
            bench_leaves_nothing("dataplane", Signal::SIGINT)
        }),
        Trial::new("an_interrupted_bench_of_floods_leaves_nothing", Needs::Root, || {
            bench_leaves_nothing("e2e", Signal::SIGINT)
        }),
        Trial::new("the_next_lab_removes_what_a_killed_bench_left", Needs::Root, || {
            bench_leaves_nothing("e2e", Signal::SIGKILL)
        }),
        Trial::new("a_full_queue_of_floods_costs_others_nothing_who_are_kept_apart", Needs::Root, || {
            fill_a_queue(Queues::Apart)
        }),
        Trial::new("a_full_queue_costs_everybody_who_shares_it", Needs::Root, || {
            fill_a_queue(Queues::Shared)
        }),
        Trial::new("a_flood_of_the_bench_arrives_and_nothing_gets_past", Needs::Root, flood_is_dropped),
    ])
}

/// With as much time between two batches, or packet by packet.
fn reach_each_other(batch: Option<Duration>) -> Result<()> {
    let lab = Lab::new()?;
    let (outside, victim) = (lab.host("outside")?, lab.host("victim")?);
    let (here, there) = lab.link(&outside, &victim)?;
    here.add_addresses(&["198.18.1.1/16".parse()?, "fd00:18::1:1/64".parse()?])?;
    there.add_addresses(&["198.18.0.1/16".parse()?, "fd00:18::1/64".parse()?])?;
    here.add_neighbours(&["198.18.0.1".parse()?, "fd00:18::1".parse()?], there.mac())?;
    there.receive_on(Core::usable()?[0])?;
    batch.map_or(Ok(()), |pause| there.receive_in_batches(pause))?;
    let before = there.counters()?;
    for address in ["198.18.0.1:9", "[fd00:18::1]:9"] {
        let sent = outside.enter(|| -> Result<usize> {
            let any = if address.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
            Ok(UdpSocket::bind(any)?.send_to(b"hello", address)?)
        })??;
        ensure!(sent == 5, "{address}: {sent} bytes sent");
    }
    wait_until("both datagrams arrive", || {
        Ok(there.counters()?.received_packets >= before.received_packets + 2)
    })
}

/// Of a link's two.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Queues {
    Shared,
    Apart,
}

/// While the receiver takes nothing from its queues, more frames are sent past the queueing discipline than one has
/// places for, and after them datagrams of others.
fn fill_a_queue(queues: Queues) -> Result<()> {
    const NOTHING_IS_TAKEN: Duration = Duration::from_secs(5);
    const OTHERS: u16 = 40;
    let lab = Lab::new()?;
    let (outside, victim) = (lab.host("outside")?, lab.host("victim")?);
    let (here, there) = lab.link_with_queues(&outside, &victim, 2)?;
    here.add_addresses(&["198.18.1.1/16".parse()?])?;
    there.add_addresses(&["198.18.0.1/16".parse()?])?;
    here.add_neighbours(&["198.18.0.1".parse()?], there.mac())?;
    let core = Core::usable()?[0];
    there.receive_on(core)?;
    let _apart = (queues == Queues::Apart).then(|| here.send_apart_from_floods(core)).transpose()?;
    there.receive_in_batches(NOTHING_IS_TAKEN)?;
    let addressing =
        Addressing { from_mac: here.mac(), to_mac: there.mac(), to: Ipv4Addr::new(198, 18, 0, 1) };
    let flood = |sources: &[Ipv4Addr]| -> Result<()> {
        let frames = Frames::udp(addressing, sources, 9)?;
        let at_once = Pace::At(vec![Duration::ZERO; frames.as_slice().len()]);
        Flood::start(&here, frames, at_once, Duration::from_secs(1), core, now())?.finish().map(drop)
    };
    // From as many ports, so that what is not told apart is spread over both queues.
    let others_speak = || -> Result<()> {
        outside.enter(|| {
            let sockets = (0..OTHERS).map(|_| UdpSocket::bind("0.0.0.0:0"));
            sockets.into_iter().try_for_each(|socket| socket?.send_to(b"hello", "198.18.0.1:9").map(drop))
        })??;
        Ok(())
    };
    // What comes first is taken at once, and then nothing.
    others_speak()?;
    wait_until("a datagram arrives", || Ok(there.counters()?.received_packets > 0))?;
    flood(&[1, 2, 3].map(|last| Ipv4Addr::new(198, 18, 2, last)))?;
    flood(&[1, 2, 3].map(|last| Ipv4Addr::new(198, 18, 2, last)))?;
    let lost_of_floods = here.counters()?.undelivered_packets;
    ensure!(lost_of_floods > 0, "a queue has places for all of the flood");
    others_speak()?;
    let lost_of_others = here.counters()?.undelivered_packets - lost_of_floods;
    ensure!(
        (lost_of_others == 0) == (queues == Queues::Apart),
        "lost of others: {lost_of_others} of {OTHERS}"
    );
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "steps of a flood are counted from some time")]
fn now() -> Instant {
    Instant::now()
}

fn dropped_lab_leaves_nothing() -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("short-lived")?;
    let namespace = Path::new("/run/netns").join(host.name());
    ensure!(namespace.exists(), "the namespace is there while the lab is");
    drop(lab);
    ensure!(!namespace.exists(), "the namespace is gone with the lab");
    Ok(())
}

/// Starts this program again to open a lab and wait, ends it with `signal`, and looks for what it left.
fn cleans_up_after(signal: Signal) -> Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env(VICTIM_OF_SIGNALS, "1").stdout(Stdio::piped());
    let mut run = Child::spawn(command)?;
    let (sender, receiver) = std::sync::mpsc::channel();
    run.for_each_line(move |line| drop(sender.send(line)));
    let line = receiver.recv_timeout(Duration::from_secs(10)).context("the other run opened no lab")?;
    let (namespace, sleeper) = line.split_once(' ').context("a namespace and a process")?;
    let (namespace, sleeper) = (Path::new("/run/netns").join(namespace), Path::new("/proc").join(sleeper));
    ensure!(namespace.exists() && sleeper.exists(), "the other run is at work");

    run.signal(signal)?;
    run.wait_for(Duration::from_secs(10))?.context("the other run goes on")?;
    drop(Lab::new()?);
    wait_until("its child is gone", || Ok(!sleeper.exists() || is_dead(&sleeper)))?;
    ensure!(!namespace.exists(), "`{}` was left behind", namespace.display());
    Ok(())
}

/// Ends a part of the bench with `signal` while it measures, and looks for its pins and its hosts.
fn bench_leaves_nothing(part: &str, signal: Signal) -> Result<()> {
    let results = scratch_directory("bench")?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_mitigator-bench"));
    command.arg(part).arg("--results").arg(results.path());
    let mut bench = Child::spawn(Child::piped(command))?;
    let pins = PathBuf::from(format!("/sys/fs/bpf/mitigator-bench-{}", bench.pid()));
    let maps = Pins::below(&pins.join("mitigator")).maps();
    wait_until("the bench has pinned its maps", || Ok(maps::ALL.iter().all(|map| maps.join(map).exists())))?;
    bench.signal(signal)?;
    bench.wait_for(Duration::from_secs(10))?.context("the bench goes on")?;
    if signal == Signal::SIGKILL {
        drop(Lab::new()?);
    }
    ensure!(!pins.exists(), "`{}` was left behind", pins.display());
    let hosts = format!("mitigator-lab-{}-", bench.pid());
    for namespace in std::fs::read_dir("/run/netns")?.flatten() {
        let name = namespace.file_name();
        ensure!(!name.to_string_lossy().starts_with(&hosts), "{} was left behind", name.display());
    }
    Ok(())
}

/// The bench itself ends with an error where a packet gets past a contender.
fn flood_is_dropped() -> Result<()> {
    let results = scratch_directory("bench")?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_mitigator-bench"));
    command.args([
        "e2e",
        "--json",
        "--entries",
        "100",
        "--rounds",
        "3",
        "--flood-ms",
        "1",
        "--generic",
        "--results",
    ]);
    let output = command.arg(results.path()).output().context("cannot start the bench")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let contenders = report["cases"][0]["contenders"].as_array().context("no contenders")?;
    for name in ["bare drop", "mitigator", "mitigator, generic"] {
        let contender = contenders.iter().find(|contender| contender["name"] == name);
        let contender = contender.with_context(|| format!("{name} took no part: {report}"))?;
        let (seen, leaked) = (contender["least_seen_share"].as_f64(), contender["leaked"].as_u64());
        ensure!(leaked == Some(0) && seen.is_some_and(|seen| seen > 0.9), "{name}: {contender}");
    }
    Ok(())
}

/// Prints a namespace and the id of a child that sleeps in it, then waits for its end.
fn wait_in_a_lab() -> ExitCode {
    let run = || -> Result<()> {
        let lab = Lab::new()?;
        let host = lab.host("waiting")?;
        let mut sleep = host.command("sleep");
        sleep.arg("30");
        let mut sleeper = Child::spawn(sleep)?;
        println!("{} {}", host.name(), sleeper.pid());
        sleeper.wait_for(Duration::from_secs(30))?;
        Ok(())
    };
    if run().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// An orphan whom nobody has waited for yet.
fn is_dead(process: &Path) -> bool {
    std::fs::read_to_string(process.join("stat")).is_ok_and(|stat| stat.contains(") Z "))
}

#[expect(clippy::disallowed_methods, reason = "waiting for the kernel and other processes")]
fn wait_until(what: &str, mut reached: impl FnMut() -> Result<bool>) -> Result<()> {
    for _ in 0..200 {
        if reached()? {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    anyhow::bail!("waited two seconds in vain: {what}")
}
