//! What a packet costs in the XDP program: nanoseconds by the kernel's own test run, beside the cheapest packet there
//! is. One packet is run over and over, so every table is hot in the cache: these are lower bounds, good for
//! comparing before with after; costs with cold tables need packets that vary.

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use etherparse::PacketBuilder;
use mitigator::config::Capacities;
use mitigator::kernel::blocks::NewBlock;
use mitigator::kernel::pins::Pins;
use mitigator::kernel::program::LoadedProgram;
use mitigator::kernel::xdp::XdpDataPlane;
use mitigator::pipeline::target::Target;
use mitigator_common::{BlockOrigin, NEVER_EXPIRES, Source};
use mitigator_tests::lab::{leave_nothing_behind, missing_for_bpf, remove_at_end};
use serde::Serialize;

/// What to measure, and how often.
#[derive(clap::Args)]
#[group(id = "dataplane")]
pub(crate) struct Arguments {
    /// Bursts per case, of which the median and the quartiles are shown
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(3..=1000))]
    bursts: u32,
    /// Runs per burst
    #[arg(long, default_value_t = 500_000, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    runs: u32,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    kernel: String,
    verified_instructions: Option<u32>,
    runs_per_burst: u32,
    cases: Vec<Case>,
}

#[derive(Serialize)]
struct Case {
    packet: &'static str,
    blocked_entries: usize,
    median_ns: u64,
    lower_quartile_ns: u64,
    upper_quartile_ns: u64,
}

const BLOCKED: [u8; 4] = [11, 0, 0, 0];
const GOOD: [u8; 4] = [198, 18, 1, 1];

fn packets() -> Result<Vec<(&'static str, Vec<u8>)>> {
    let udp = |builder: etherparse::PacketBuilderStep<etherparse::IpHeaders>| -> Result<Vec<u8>> {
        let mut frame = Vec::new();
        builder.udp(40_000, 53).write(&mut frame, &[0; 18])?;
        Ok(frame)
    };
    let ethernet = || PacketBuilder::ethernet2([2; 6], [4; 6]);
    let to = [198, 18, 0, 1];
    let mut arp = vec![0; 60];
    arp[12..14].copy_from_slice(&[8, 6]);
    let id = |number: u16| etherparse::VlanId::try_new(number).context("a VLAN id");
    Ok(vec![
        ("not IP", arp),
        ("good, IPv4", udp(ethernet().ipv4(GOOD, to, 64))?),
        ("good, one VLAN tag", udp(ethernet().single_vlan(id(7)?).ipv4(GOOD, to, 64))?),
        ("good, two VLAN tags", udp(ethernet().double_vlan(id(7)?, id(8)?).ipv4(GOOD, to, 64))?),
        ("good, IPv6", udp(ethernet().ipv6([0x20; 16], [0x30; 16], 64))?),
        ("blocked, IPv4", udp(ethernet().ipv4(BLOCKED, to, 64))?),
    ])
}

/// The report, as text or JSON.
pub(crate) fn measure(arguments: &Arguments) -> Result<String> {
    let missing = missing_for_bpf();
    anyhow::ensure!(missing.is_empty(), "it cannot run here: {}", missing.join("; "));
    leave_nothing_behind()?;
    let directory = PathBuf::from(format!("/sys/fs/bpf/mitigator-bench-{}", std::process::id()));
    remove_at_end(&directory);
    let pins = Pins::below(&directory);
    let result = measure_in(&pins, arguments);
    pins.remove()?;
    let report = result?;
    if arguments.json { Ok(serde_json::to_string_pretty(&report)? + "\n") } else { Ok(text(&report)) }
}

fn measure_in(pins: &Pins, arguments: &Arguments) -> Result<Report> {
    let capacities = Capacities { blocks: 2_097_152, ..Capacities::default() };
    let mut program = LoadedProgram::load(pins, &capacities)?;
    let plane = XdpDataPlane::open(pins)?;
    let packets = packets()?;
    let mut cases = Vec::new();
    let mut standing = 0_u32;
    for entries in [1_u32, 10_000, 1_000_000] {
        let fresh: Vec<NewBlock> = (standing..entries).map(block).collect();
        plane.blocks().block_all(&fresh, |_| {})?;
        standing = entries;
        let mut samples: Vec<Vec<u64>> = vec![Vec::new(); packets.len()];
        // In turn, burst by burst, so that a disturbance hits all cases alike.
        for _ in 0..arguments.bursts {
            for ((_, packet), samples) in packets.iter().zip(&mut samples) {
                let run = program.test_run(packet, arguments.runs)?;
                samples.push(u64::try_from(run.duration.as_nanos())?);
            }
        }
        for ((packet, _), samples) in packets.iter().zip(&mut samples) {
            samples.sort_unstable();
            let at = |share: usize| samples[(samples.len() - 1) * share / 4];
            cases.push(Case {
                packet,
                blocked_entries: entries as usize,
                median_ns: at(2),
                lower_quartile_ns: at(1),
                upper_quartile_ns: at(3),
            });
        }
    }
    Ok(Report {
        kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        verified_instructions: program.verified_instructions()?,
        runs_per_burst: arguments.runs,
        cases,
    })
}

fn block(number: u32) -> NewBlock {
    let address = Ipv4Addr::from(u32::from_be_bytes(BLOCKED) + number);
    let target = Target::Source(Source::from(std::net::IpAddr::from(address)));
    NewBlock { target, expires_at_ns: NEVER_EXPIRES, origin: BlockOrigin::Import }
}

fn text(report: &Report) -> String {
    let mut text = format!(
        "ns per packet by BPF_PROG_TEST_RUN on Linux {}, one packet over and over (hot tables); median (quartiles)\n\n{:<22}{:>18}{:>18}{:>18}\n",
        report.kernel, "blocked entries:", "1", "10000", "1000000"
    );
    let mut names: Vec<&str> = report.cases.iter().map(|case| case.packet).collect();
    names.dedup();
    names.truncate(report.cases.len() / 3);
    for name in names {
        let _ = write!(text, "{name:<22}");
        for case in report.cases.iter().filter(|case| case.packet == name) {
            let cell = format!("{} ({}..{})", case.median_ns, case.lower_quartile_ns, case.upper_quartile_ns);
            let _ = write!(text, "{cell:>18}");
        }
        text.push('\n');
    }
    if let Some(instructions) = report.verified_instructions {
        let _ = writeln!(text, "\nthe verifier walked through {instructions} instructions");
    }
    text
}
