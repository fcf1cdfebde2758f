//! What turning packets into flows costs, from a capture in memory to rows of CSV, on one core; and the Python package
//! `cicflowmeter` beside it, whose features are compared one by one.

mod comparison;
mod peer;
mod report;
mod rustiflow;

use std::io::{Cursor, sink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mitigator::capture::{Capture, Network, PcapWriter};
use mitigator::flows::features::{self, Spelling};
use mitigator::flows::{Extraction, FlowSettings, Tally};
use mitigator::tabular::{self, Format};

use self::peer::Peer;
use self::report::{Case, Report};
use crate::measured::Measured;

/// What to measure, and how often.
#[derive(clap::Args)]
#[group(id = "flows")]
pub(crate) struct Arguments {
    /// Rounds, of which the median and the quartiles are shown
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Packets of each load
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    packets: u32,
    /// Packets of the load that the Python package gets, which takes a millisecond for each
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    peer_packets: u32,
    /// Compare features with the Python package on this capture too, or on those of a folder; may be given several times
    #[arg(long, value_name = "FILE|DIR")]
    compare_on: Vec<PathBuf>,
    /// A program `rustiflow` that was built from its source, to be measured as well
    #[arg(long, value_name = "PROGRAM")]
    rustiflow: Option<PathBuf>,
}

/// What the capture holds.
#[derive(Clone, Copy)]
enum Load {
    /// TCP connections of twenty packets, 500 at a time.
    Connections,
    /// SYNs, each of another sender.
    Forged,
}

impl Load {
    const fn name(self) -> &'static str {
        match self {
            Self::Connections => "TCP connections of 20 packets, 500 at a time",
            Self::Forged => "SYNs of forged senders, a flow each",
        }
    }
}

/// Has both read their captures; `results` is where the package is installed.
pub(crate) fn measure(arguments: &Arguments, results: &Path) -> Result<Measured> {
    let mut cases = Vec::new();
    for load in [Load::Connections, Load::Forged] {
        let bytes: Arc<[u8]> = capture(load, arguments.packets)?.into();
        for format in [Format::Csv, Format::Parquet] {
            let mut took = Vec::new();
            let mut flows = 0;
            for _ in 0..arguments.rounds {
                let (tally, duration) = extract(&bytes, format)?;
                ensure!(tally.packets == u64::from(arguments.packets), "packets got lost");
                flows = tally.flows;
                took.push(duration);
            }
            cases.push(Case::new("mitigator", load.name(), format, arguments.packets, flows, &took));
        }
    }
    let directory = tempfile::tempdir()?;
    if let Some(program) = &arguments.rustiflow {
        for load in [Load::Connections, Load::Forged] {
            let file = directory.path().join("rustiflow.pcap");
            std::fs::write(&file, capture(load, arguments.packets)?)?;
            let runs = (0..arguments.rounds).map(|_| rustiflow::flows(program, &file));
            let runs = runs.collect::<Result<Vec<_>>>()?;
            let took: Vec<Duration> = runs.iter().map(|(_, took)| *took).collect();
            let flows = runs.last().map_or(0, |(flows, _)| *flows);
            let name = rustiflow::NAME;
            cases.push(Case::new(name, load.name(), Format::Csv, arguments.packets, flows, &took));
        }
    }
    let (comparison, without_peer) = match Peer::install(results) {
        Ok(peer) => {
            let cut = directory.path().join("cut.pcap");
            std::fs::write(&cut, capture(Load::Connections, arguments.peer_packets)?)?;
            let file = plain(&cut, directory.path().join("connections.pcap"))?;
            let (flows, took) = peer.flows(&file)?;
            let count = flows.len() as u64;
            let load = Load::Connections.name();
            cases.push(Case::new(peer::NAME, load, Format::Csv, arguments.peer_packets, count, &[took]));
            let mut files = vec![file];
            for capture in captures(&arguments.compare_on)? {
                let name = format!("{}.pcap", files.len());
                files.push(plain(&capture, directory.path().join(name))?);
            }
            (Some(comparison::compare(&peer, &files)?), None)
        }
        Err(error) => (None, Some(format!("{error:#}"))),
    };
    Report::new(arguments.rounds, cases, comparison, without_peer).measured()
}

#[expect(clippy::disallowed_methods, reason = "a bench asks the clock")]
fn now() -> Instant {
    Instant::now()
}

/// All of it on the calling thread.
fn extract(bytes: &Arc<[u8]>, format: Format) -> Result<(Tally, Duration)> {
    let began = now();
    let mut capture = Capture::from_reader(Cursor::new(Arc::clone(bytes)), "the load")?;
    let mut writer = tabular::writer(format, features::columns(Spelling::default()), sink())?;
    let mut row = Vec::new();
    let mut ended = |flow: &mitigator::flows::Flow| {
        features::write_row(flow, Spelling::default(), &mut row);
        writer.write(&row)
    };
    let mut extraction = Extraction::new(&FlowSettings::default());
    let damage = extraction.read(&mut capture, |_| {}, &mut ended)?;
    ensure!(damage.is_none(), "the load is damaged");
    let (tally, _) = extraction.finish(&mut ended)?;
    writer.finish()?;
    Ok((tally, began.elapsed()))
}

const AT_A_TIME: u32 = 500;
const PER_CONNECTION: u32 = 20;

/// A capture of so many packets, a microsecond apart, of which the headers were captured.
fn capture(load: Load, packets: u32) -> Result<Vec<u8>> {
    let mut writer = PcapWriter::new(Vec::new())?;
    for number in 0..packets {
        let at_ns = 1_700_000_000_000_000_000 + u64::from(number) * 1_000;
        let (client, step) = match load {
            Load::Forged => (number, 0),
            Load::Connections => {
                let wave = number / (AT_A_TIME * PER_CONNECTION);
                (wave * AT_A_TIME + number % AT_A_TIME, number / AT_A_TIME % PER_CONNECTION)
            }
        };
        let (frame, wire_bytes) = frame(client, step)?;
        writer.write_cut(at_ns, &frame, wire_bytes)?;
    }
    Ok(writer.finish()?)
}

const FIN_ACK: u8 = 0x11;

/// The packet of a client's connection at that step: three of a handshake, data each way by turns, two FINs, an ACK.
fn frame(client: u32, step: u32) -> Result<([u8; 54], u32)> {
    let (is_forth, flags, payload): (bool, u8, u16) = match step {
        0 => (true, 0x02, 0),
        1 => (false, 0x12, 0),
        2 => (true, 0x10, 0),
        17 => (true, FIN_ACK, 0),
        18 => (false, FIN_ACK, 0),
        19 => (true, 0x10, 0),
        step if step % 3 == 0 => (true, 0x18, 300),
        _ => (false, 0x10, 1_400),
    };
    let [a, b, c, d] = (0x0a00_0000 | client & 0x00ff_ffff).to_be_bytes();
    let server = [192, 0, 2, 1];
    let port = u16::try_from(1_024 + client % 60_000)?.to_be_bytes();
    let (from, to, from_port, to_port) =
        if is_forth { ([a, b, c, d], server, port, [0, 80]) } else { (server, [a, b, c, d], [0, 80], port) };
    let mut frame = [0; 54];
    let mut put = |offset: usize, bytes: &[u8]| frame[offset..offset + bytes.len()].copy_from_slice(bytes);
    put(0, &[2; 12]);
    put(12, &[0x08, 0x00, 0x45, 0]);
    put(16, &(40 + payload).to_be_bytes());
    put(22, &[64, 6]);
    put(26, &from);
    put(30, &to);
    put(34, &from_port);
    put(36, &to_port);
    put(46, &[0x50, flags, 0x72, 0x10]);
    Ok((frame, 54 + u32::from(payload)))
}

/// The files, and those in the folders, by name; of a folder, what is called like a capture.
fn captures(places: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut captures = Vec::new();
    for place in places {
        if !place.is_dir() {
            captures.push(place.clone());
            continue;
        }
        let listed = place.read_dir().with_context(|| format!("cannot list {}", place.display()))?;
        let mut files = listed.map(|file| Ok(file?.path())).collect::<Result<Vec<_>>>()?;
        files.retain(|file| file.file_name().is_some_and(|name| name.to_string_lossy().contains(".pcap")));
        files.sort();
        ensure!(!files.is_empty(), "there is no capture in {}", place.display());
        captures.extend(files);
    }
    Ok(captures)
}

/// The same packets as the package reads them: on Ethernet, neither compressed nor as pcapng.
fn plain(file: &Path, copy: PathBuf) -> Result<PathBuf> {
    let mut capture = Capture::open(file)?;
    let out = std::fs::File::create(&copy).with_context(|| format!("cannot make {}", copy.display()))?;
    let mut writer = PcapWriter::new(std::io::BufWriter::new(out))?;
    while let Some(packet) = capture.next_packet()? {
        let mut frame = match packet.network {
            Network::Ethernet => packet.bytes.to_vec(),
            Network::At { ethertype, offset } => {
                let network = packet.bytes.get(offset..).unwrap_or_default();
                [&[0; 12], ethertype.to_be_bytes().as_slice(), network].concat()
            }
            Network::Cut => continue,
        };
        // The package takes what was captured for all there was, and the padding of short frames for payload.
        let whole = ip_frame_bytes(&frame).unwrap_or(packet.wire_bytes.max(1) as usize);
        frame.resize(whole, 0);
        writer.write_cut(packet.at_ns, &frame, packet.wire_bytes)?;
    }
    writer.finish()?;
    Ok(copy)
}

/// How long an untagged frame of IP is without padding; `None` of others, and where the header does not say.
fn ip_frame_bytes(frame: &[u8]) -> Option<usize> {
    let number = |at: usize| frame.get(at..at + 2)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes));
    let bytes = match number(12)? {
        0x0800 => usize::from(number(16)?),
        0x86dd => 40 + usize::from(number(18).filter(|payload| *payload > 0)?),
        _ => return None,
    };
    (bytes >= 20).then_some(14 + bytes)
}

/// The features of every flow of a file, by name, as ours has them.
fn ours(file: &Path) -> Result<Vec<comparison::Row>> {
    let mut out = Vec::new();
    let mut capture = Capture::open(file)?;
    let mut writer = tabular::writer(Format::Csv, features::columns(Spelling::SnakeCase), &mut out)?;
    let mut row = Vec::new();
    let mut ended = |flow: &mitigator::flows::Flow| {
        features::write_row(flow, Spelling::SnakeCase, &mut row);
        writer.write(&row)
    };
    let mut extraction = Extraction::new(&FlowSettings::default());
    extraction.read(&mut capture, |_| {}, &mut ended)?;
    extraction.finish(&mut ended)?;
    writer.finish()?;
    comparison::rows(&out).with_context(|| format!("the flows of {}", file.display()))
}
