//! This packet in, this outcome out: the XDP program in the kernel's own test run.
//!
//! Needs bpf(2) and a BPF file system (mounted here when it is missing) and nothing else, no file of
//! the workspace either, so that the same executable runs inside virtual machines with other kernels.
//! The kernel refuses to test packets under 14 bytes; those are the host parser's (`mitigator-ebpf`).

#[path = "data_plane/bench.rs"]
mod bench;
#[path = "data_plane/capacity.rs"]
mod capacity;
#[path = "data_plane/cookies.rs"]
mod cookies;
#[path = "data_plane/count.rs"]
mod count;
#[path = "data_plane/crowd.rs"]
mod crowd;
#[path = "data_plane/rows.rs"]
mod rows;
#[path = "data_plane/verified.rs"]
mod verified;

use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mitigator::clock::Clock;
use mitigator::kernel::verification::Verified;
use mitigator::pipeline::limits::NewLimit;
use mitigator::pipeline::time::Timestamp;
use mitigator_common::{BlockTerms, Outcome, PacketKind, Signature, Source};
use mitigator_ebpf::counters::RowMemory;
use mitigator_ebpf::cursor::Cursor;
use mitigator_ebpf::packet::{Packet as ParsedPacket, Unparsed};
use mitigator_tests::packet::{Packet, WEB_PORT, tcp_syn, udp};
use mitigator_tests::suite::{self, Needs, Trial};
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use bench::{BPF_FILE_SYSTEM, Bench, Change, difference};
use count::{Expected, counters_of_one, counts_when_cut};
use rows::{Row, Shape};

fn main() -> ExitCode {
    mount_bpf_file_system();
    let shared = SharedBench::default();
    let tables = [("parses", rows::headers()), ("judges", rows::tables()), ("twins", rows::twins())];
    let mut trials: Vec<Trial> = tables
        .into_iter()
        .flat_map(|(table, rows)| rows.into_iter().map(move |row| (table, row)))
        .map(|(table, row)| {
            let name = format!("{table}: {}", row.description);
            shared.trial(name, move |bench| check_row(bench, &row))
        })
        .collect();
    trials.extend(rows::to_be_cut().into_iter().map(|shape| {
        shared.trial(format!("cut to every length: {}", shape.description), move |bench| {
            check_cuts(bench, &shape)
        })
    }));
    trials.extend([
        shared.trial("kernel_and_host_say_the_same_of_mangled_packets", agrees_with_the_host),
        shared.trial("the_sum_of_outcomes_is_the_packets_seen", outcomes_add_up),
        shared.trial("repeated_packets_are_counted_exactly", counts_repeats),
        shared.trial("hits_are_counted_exactly", counts_hits),
        shared.trial("a_block_ends_by_itself_at_its_time", ends_at_its_time),
        shared.trial("expired_blocks_are_cleared_and_live_ones_stay", clears_expired),
        shared.trial("a_limit_lets_its_share_pass_and_whoever_was_there_before", limits),
        Trial::new(
            "who_was_asked_meets_no_limit_and_who_was_answered_does",
            Needs::Bpf,
            crowd::asked_and_answered,
        ),
        shared.trial("port_0_is_limited_alone", limit_of_port_0),
        shared.trial("openings_beyond_a_limit_are_answered_with_cookies", cookies::answers),
        shared.trial("who_cannot_be_answered_with_a_cookie_meets_the_limit", cookies::hindrances),
        Trial::new("a_full_table_says_how_many_it_holds", Needs::Bpf, capacity::full_tables_say_so),
        Trial::new(
            "a_flood_of_sources_never_outgrows_the_table",
            Needs::Bpf,
            capacity::stays_within_capacity,
        ),
        shared.trial("of_a_crowd_known_and_heavy_sources_are_counted_one_by_one", crowd::light_and_heavy),
        shared.trial("rows_are_made_as_the_budget_has_it", crowd::budget),
        Trial::new("cpus_that_meet_at_one_source_lose_no_packet", Needs::Bpf, crowd::many_cpus),
        Trial::new("cpus_that_meet_at_one_block_lose_no_hit", Needs::Bpf, crowd::many_cpus_drop),
        Trial::new("a_hundred_thousand_blocks_in_a_table_that_grows", Needs::Bpf, capacity::many_blocks),
        Trial::new("blocked_packets_meet_a_table_that_grows", Needs::Bpf, capacity::growth_under_fire),
        Trial::new("sources_that_stand_for_none_are_blocked_too", Needs::Bpf, capacity::reserved_sources),
        Trial::new("ten_thousand_prefixes_in_batches", Needs::Bpf, capacity::batches_of_prefixes),
    ]);
    let verified = Arc::new(Mutex::new(Vec::new()));
    trials.push(verification(&verified));
    let code = suite::run(trials);
    drop(shared);
    // After the results, which it would tear apart.
    verified::print(&verified.lock().unwrap_or_else(PoisonError::into_inner));
    code
}

/// Leaves in `told` what the verifier says.
fn verification(told: &Arc<Mutex<Vec<Verified>>>) -> Trial {
    let told = Arc::clone(told);
    // `cargo xtask vm` calls it by its name.
    Trial::new("the_verifier_accepts_every_program", Needs::Bpf, move || -> Result<()> {
        *told.lock().unwrap_or_else(PoisonError::into_inner) = verified::ask()?;
        Ok(())
    })
}

/// Each case on empty tables, with 20 packets of a source nobody knows.
fn limits(bench: &mut Bench) -> Result<()> {
    const PACKETS: u64 = 20;
    let syn = |port| Signature::new(PacketKind::TcpSyn, port);
    let syns = Signature::of_kind(PacketKind::TcpSyn);
    let ever = Timestamp::from_ns(u64::MAX);
    let over = Timestamp::from_ns(1);
    for (description, signature, packets_per_second, until, packet, passed) in [
        ("none passes", syn(WEB_PORT), 0.0, ever, tcp_syn("198.51.100.1"), 0),
        ("another port", syn(WEB_PORT + 1), 0.0, ever, tcp_syn("198.51.100.1"), PACKETS),
        ("every port", syns, 0.0, ever, tcp_syn("198.51.100.1"), 0),
        ("another kind", syns, 0.0, ever, udp("198.51.100.1", 9), PACKETS),
        ("it is over", syns, 0.0, over, tcp_syn("198.51.100.1"), PACKETS),
        ("IPv6", syns, 0.0, ever, tcp_syn("2001:db8::1"), 0),
        ("answers", Signature::new(PacketKind::UdpReflection, 53), 0.0, ever, udp("198.51.100.1", 53), 0),
        ("room for all", syns, 1e9, ever, tcp_syn("198.51.100.1"), PACKETS),
    ] {
        bench.clear()?;
        let since = Clock::now().monotonic();
        let limit = NewLimit { signature, packets_per_second, since, until, answers: false };
        bench.plane().blocks().set_limits(&[limit], &[])?;
        let before = bench.plane().outcomes()?;
        bench.program().test_run(&packet.bytes(), u32::try_from(PACKETS)?)?;
        let change = difference(&bench.plane().outcomes()?, &before);
        let found = (change[Outcome::PassCounted as usize], change[Outcome::DropLimited as usize]);
        ensure!(found == (passed, PACKETS - passed), "{description}: {found:?}");
        let [(_, limit)] = bench.plane().blocks().limits()?[..] else { anyhow::bail!("one limit") };
        ensure!(limit.dropped == PACKETS - passed, "{description}: {limit:?}");
    }
    // A part of each window passes, and who was there before passes in any case.
    bench.clear()?;
    let known = tcp_syn("192.0.2.7").bytes();
    bench.outcome_of(&known)?;
    // The kernel's coarse clock may be a timer tick behind.
    #[expect(clippy::disallowed_methods, reason = "suites watch real time")]
    std::thread::sleep(Duration::from_millis(20));
    let since = Clock::now().monotonic();
    let limit = NewLimit { signature: syns, packets_per_second: 20.0, since, until: ever, answers: false };
    bench.plane().blocks().set_limits(&[limit], &[])?;
    ensure!(bench.outcome_of_all(&known, 100)? == Outcome::PassCounted, "somebody known is limited");
    let before = bench.plane().outcomes()?;
    bench.program().test_run(&tcp_syn("198.51.100.1").bytes(), 1_000)?;
    let change = difference(&bench.plane().outcomes()?, &before);
    let passed = change[Outcome::PassCounted as usize];
    ensure!((3..=6).contains(&passed), "{passed} passed in one or two windows, of 3 each");
    bench.change(Change::Allow("198.51.100.3"))?;
    let allowed = bench.outcome_of_all(&tcp_syn("198.51.100.3").bytes(), 100)?;
    ensure!(allowed == Outcome::PassCounted, "the allow list beats no limit: {}", allowed.name());
    bench.plane().blocks().set_limits(&[], &[syns])?;
    ensure!(bench.plane().blocks().limits()?.is_empty(), "a limit is left");
    ensure!(bench.outcome_of(&tcp_syn("198.51.100.2").bytes())? == Outcome::PassCounted, "still limited");
    Ok(())
}

/// A port like any other.
fn limit_of_port_0(bench: &mut Bench) -> Result<()> {
    let signature = Signature::new(PacketKind::Udp, 0);
    let (since, until) = (Clock::now().monotonic(), Timestamp::from_ns(u64::MAX));
    let limit = NewLimit { signature, packets_per_second: 0.0, since, until, answers: false };
    bench.plane().blocks().set_limits(&[limit], &[])?;
    for (port, expected) in [(0, Outcome::DropLimited), (53, Outcome::PassCounted)] {
        let outcome = bench.outcome_of(&udp("198.51.100.1", 40_000).to_port(port).bytes())?;
        ensure!(outcome == expected, "port {port}: {}", outcome.name());
    }
    Ok(())
}

/// As an init system would; what keeps it from being there is for the trials to say.
fn mount_bpf_file_system() {
    let path = Path::new(BPF_FILE_SYSTEM);
    let is_there = statfs(path).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC);
    if !is_there && nix::unistd::geteuid().is_root() {
        let nothing: Option<&str> = None;
        if let Err(error) = mount(Some("bpf"), path, Some("bpf"), MsFlags::empty(), nothing) {
            eprintln!("cannot mount a BPF file system at {BPF_FILE_SYSTEM}: {error}");
        }
    }
}

/// One loaded program for all trials that begin with empty tables.
#[derive(Clone, Default)]
struct SharedBench(Arc<Mutex<Option<Bench>>>);

impl SharedBench {
    fn trial(
        &self,
        name: impl Into<String>,
        run: impl FnOnce(&mut Bench) -> Result<()> + Send + 'static,
    ) -> Trial {
        let shared = Self(Arc::clone(&self.0));
        Trial::new(name, Needs::Bpf, move || {
            // The tables are emptied below, whatever a trial that panicked has left in them.
            let mut slot = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
            let bench = match &mut *slot {
                Some(bench) => bench,
                empty => empty.insert(Bench::small()?),
            };
            bench.clear()?;
            run(bench)
        })
    }
}

fn check_row(bench: &mut Bench, row: &Row) -> Result<()> {
    for change in &row.tables {
        bench.change(*change).with_context(|| format!("{change:?}"))?;
    }
    check(bench, &row.packet, &row.expected)
}

/// One packet: its outcome, the table of counters after it, and the hits of the blocks.
fn check(bench: &mut Bench, packet: &Packet, expected: &Expected) -> Result<()> {
    let bytes = packet.bytes();
    let outcome = bench.outcome_of(&bytes)?;
    let counted = bench.plane().sources().read_all()?;
    let hits = bench.hits()?;
    match expected {
        Expected::Is(expected) => {
            ensure!(outcome == *expected, "{} instead of {}", outcome.name(), expected.name());
            ensure!(counted.is_empty(), "counted all the same: {counted:?}");
        }
        Expected::Counted(source, counts) => {
            ensure!(outcome == Outcome::PassCounted, "{} instead of pass_counted", outcome.name());
            let [(found_source, found)] = counted.as_slice() else {
                anyhow::bail!("one row of counters is expected: {counted:?}")
            };
            ensure!(found_source.to_string() == *source, "counted for {found_source} instead of {source}");
            let expected = counters_of_one(counts, packet, bytes.len(), found);
            ensure!(*found == expected, "counted {found:?}\nexpected {expected:?}");
            ensure!(found.last_seen_ns > 0, "the time is unknown");
        }
    }
    let expected_hits = u64::from(outcome.is_drop());
    ensure!(hits == expected_hits, "{hits} hits instead of {expected_hits}");
    Ok(())
}

fn check_cuts(bench: &mut Bench, shape: &Shape) -> Result<()> {
    let bytes = shape.packet.bytes();
    let headers = shape.packet.headers();
    for length in 14..=bytes.len() {
        let cut = bytes.get(..length).context("inside the packet")?;
        let at = || format!("cut to {length} of {} bytes", bytes.len());
        bench.forget_sources()?;
        let outcome = bench.outcome_of(cut).with_context(at)?;
        let counted = bench.plane().sources().read_all()?;
        let Some(counts) = counts_when_cut(&headers, shape.counts, shape.transport, length) else {
            ensure!(outcome == Outcome::PassUnparsed && counted.is_empty(), "{}: {}", at(), outcome.name());
            continue;
        };
        let [(_, found)] = counted.as_slice() else {
            anyhow::bail!("{}: {} and not one row: {counted:?}", at(), outcome.name())
        };
        let expected = counters_of_one(&counts, &shape.packet, length, found);
        ensure!(*found == expected, "{}: counted {found:?}\nexpected {expected:?}", at());
    }
    Ok(())
}

/// The host runs the same parser and counters, so any difference is the compiler's or the verifier's.
fn agrees_with_the_host(bench: &mut Bench) -> Result<()> {
    let mut numbers = Numbers(0x6d69_7469_6761_7465);
    let packets: Vec<Vec<u8>> =
        rows::headers().into_iter().chain(rows::twins()).map(|row| row.packet.bytes()).collect();
    for round in 0..2_000 {
        let mut packet = packets.get(numbers.below(packets.len())).cloned().unwrap_or_default();
        for _ in 0..numbers.below(4) {
            let at = 12 + numbers.below(packet.len().min(90) - 12);
            if let Some(byte) = packet.get_mut(at) {
                *byte ^= 1 << numbers.below(8);
            }
        }
        if numbers.below(3) == 0 {
            packet.truncate(14 + numbers.below(packet.len() - 13));
        }
        let at = || format!("round {round}, packet {packet:02x?}");
        let outcome = bench.outcome_of(&packet).with_context(at)?;
        match ParsedPacket::parse(&Cursor::over(&packet)) {
            Err(Unparsed::NotIp) => ensure!(outcome == Outcome::PassNotIp, "{outcome:?}: {}", at()),
            Err(Unparsed::Malformed) => ensure!(outcome == Outcome::PassUnparsed, "{outcome:?}: {}", at()),
            Ok(parsed) => {
                ensure!(outcome == Outcome::PassCounted, "{outcome:?}: {}", at());
                let found = bench.counters_of(parsed.source)?;
                let memory = RowMemory::starting_at(found.first_seen_ns);
                let row = memory.row();
                row.record(0, (&parsed).into(), u64::try_from(packet.len())?, found.last_seen_ns);
                ensure!(found == row.totals(), "counted {found:?}\nhost {:?}: {}", row.totals(), at());
                bench.forget_sources()?;
            }
        }
    }
    Ok(())
}

fn outcomes_add_up(bench: &mut Bench) -> Result<()> {
    for change in [Change::Block("192.0.2.7"), Change::Block("2001:db8:1::/48"), Change::Allow("192.0.2.8")] {
        bench.change(change)?;
    }
    bench.change(Change::Block("192.0.2.8"))?;
    let limit = NewLimit {
        signature: Signature::of_kind(PacketKind::Icmp),
        packets_per_second: 0.0,
        since: Timestamp::default(),
        until: Timestamp::from_ns(u64::MAX),
        answers: false,
    };
    bench.plane().blocks().set_limits(&[limit], &[])?;
    let before = bench.plane().outcomes()?;
    let mut seen = 0;
    let allowed = [tcp_syn("192.0.2.8").bytes()];
    let packets = rows::headers().into_iter().chain(rows::twins()).map(|row| row.packet.bytes());
    for (number, packet) in packets.chain(allowed).enumerate() {
        let repeat = 1 + u32::try_from(number % 5)?;
        bench.outcome_of_all(&packet, repeat)?;
        seen += u64::from(repeat);
    }
    let change = difference(&bench.plane().outcomes()?, &before);
    ensure!(change.iter().sum::<u64>() == seen, "{seen} packets, {change:?}");
    for (outcome, count) in Outcome::ALL.into_iter().zip(change) {
        // A table with room has none of the one, nobody listens here for the other.
        let is_expected = !matches!(outcome, Outcome::PassUncounted | Outcome::AnswerCookie);
        ensure!((count > 0) == is_expected, "{}: {count}", outcome.name());
    }
    Ok(())
}

fn counts_repeats(bench: &mut Bench) -> Result<()> {
    let packet = udp("192.0.2.7", 53).bytes();
    for repeat in [1, 10, 1_000, 50_000] {
        bench.forget_sources()?;
        let outcome = bench.outcome_of_all(&packet, repeat)?;
        ensure!(outcome == Outcome::PassCounted, "{outcome:?}");
        let row = bench.counters_of(Source::from_v4_bytes([192, 0, 2, 7]))?;
        let bytes = u64::from(repeat) * u64::try_from(packet.len())?;
        ensure!((row.packets, row.bytes) == (u64::from(repeat), bytes), "{repeat}: {row:?}");
        ensure!((row.udp_packets, row.reflection_packets) == (repeat, repeat), "{repeat}: {row:?}");
        ensure!(row.first_seen_ns <= row.last_seen_ns, "{row:?}");
    }
    Ok(())
}

fn counts_hits(bench: &mut Bench) -> Result<()> {
    for (target, packet, outcome) in [
        ("192.0.2.7", tcp_syn("192.0.2.7"), Outcome::DropBlocked),
        ("198.51.100.0/24", tcp_syn("198.51.100.9"), Outcome::DropBlockedPrefix),
        ("2001:db8:1:2::/64", tcp_syn("2001:db8:1:2::7"), Outcome::DropBlocked),
        ("2001:db8:9::/48", tcp_syn("2001:db8:9:2::7"), Outcome::DropBlockedPrefix),
    ] {
        bench.change(Change::Block(target))?;
        let blocked = bench.outcome_of_all(&packet.bytes(), 10_000)?;
        ensure!(blocked == outcome, "{target}: {blocked:?}");
        bench.outcome_of(&tcp_syn("203.0.113.1").bytes())?;
        bench.outcome_of_all(&packet.bytes(), 7)?;
        let hits = bench.plane().blocks().get(&target.parse()?)?.map(|entry| entry.hits);
        ensure!(hits == Some(10_007), "{target}: {hits:?} hits");
    }
    ensure!(bench.hits()? == 4 * 10_007, "every hit belongs to one block");
    // A block that is written again starts over.
    bench.change(Change::Block("192.0.2.7"))?;
    let hits = bench.plane().blocks().get(&"192.0.2.7".parse()?)?.map(|entry| entry.hits);
    ensure!(hits == Some(0), "{hits:?} hits of a block that was written anew");
    Ok(())
}

/// The kernel's own clock brackets each judgement: a neighbour's packet is counted before and after it.
fn ends_at_its_time(bench: &mut Bench) -> Result<()> {
    const LASTS_NS: u64 = 100_000_000;
    const ATTEMPTS: u32 = 5_000_000;
    let neighbour = tcp_syn("192.0.2.8").bytes();
    let blocked = tcp_syn("192.0.2.7").bytes();
    let kernel_time = |bench: &mut Bench| -> Result<u64> {
        bench.outcome_of(&neighbour)?;
        Ok(bench.counters_of(Source::from_v4_bytes([192, 0, 2, 8]))?.last_seen_ns)
    };
    let asked = kernel_time(bench)? + LASTS_NS;
    bench.change(Change::BlockUntil("192.0.2.7", asked))?;
    let end = bench.plane().blocks().get(&"192.0.2.7".parse()?)?.context("it stands")?.expires_at_ns;
    ensure!((asked..asked + BlockTerms::UNIT_NS).contains(&end), "{end} instead of {asked}");
    let mut dropped = 0_u32;
    for _ in 0..ATTEMPTS {
        let before = kernel_time(bench)?;
        let outcome = bench.outcome_of(&blocked)?;
        let after = kernel_time(bench)?;
        if after < end {
            ensure!(outcome == Outcome::DropBlocked, "{outcome:?} before the end");
            dropped += 1;
        } else if before >= end {
            ensure!(outcome == Outcome::PassCounted, "{outcome:?} after the end");
            ensure!(dropped > 0, "the block never held");
            return Ok(());
        }
    }
    anyhow::bail!("the kernel's clock stands still")
}

fn clears_expired(bench: &mut Bench) -> Result<()> {
    for change in [
        Change::Expired("192.0.2.7"),
        Change::Expired("198.51.100.0/24"),
        Change::Block("192.0.2.8"),
        Change::Block("203.0.113.0/24"),
    ] {
        bench.change(change)?;
    }
    let removed = bench.plane().blocks().remove_expired(BlockTerms::UNIT_NS)?;
    ensure!(removed == 2, "{removed} removed");
    for (source, expected) in [
        ("192.0.2.7", Outcome::PassCounted),
        ("198.51.100.7", Outcome::PassCounted),
        ("192.0.2.8", Outcome::DropBlocked),
        ("203.0.113.7", Outcome::DropBlockedPrefix),
    ] {
        let outcome = bench.outcome_of(&tcp_syn(source).bytes())?;
        ensure!(outcome == expected, "{source}: {}", outcome.name());
    }
    Ok(())
}

/// Xorshift64*: the same numbers in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap_or(0) % bound.max(1)
    }
}
