//! `mitigator flows`: features of flows that were worked out by hand, names, formats, and what becomes of bad input.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};

use anyhow::{Context, Result, ensure};
use etherparse::{IpFragOffset, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, TcpHeader, UdpHeader};
use mitigator::capture::PcapWriter;
use mitigator_tests::suite::{self, Needs, Trial};
use serde_json::Value;

use self::Going::{Back, Forth};
use self::Wire::{First, Icmp, Later, Tcp, Udp};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mitigator-under-test");
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/flows.md");

fn main() -> ExitCode {
    suite::run(vec![
        Trial::new("features_are_those_worked_out_by_hand", Needs::Nothing, by_hand),
        Trial::new("what_bears_a_flow_does_not_change_its_features", Needs::Nothing, whatever_bears_them),
        Trial::new("columns_are_called_as_in_the_data_sets", Needs::Nothing, names),
        Trial::new("every_column_is_explained", Needs::Nothing, explained),
        Trial::new("a_session_says_who_asked_whom_for_what", Needs::Nothing, sessions),
        Trial::new("timeouts_and_room_end_flows", Needs::Nothing, ends),
        Trial::new("clocks_that_stand_or_jump_give_finite_features", Needs::Nothing, clocks),
        Trial::new("bad_input_gets_a_sentence_and_loses_nothing", Needs::Nothing, bad_input),
        Trial::new("a_file_is_replaced_whole_or_not_at_all", Needs::Nothing, output),
        Trial::new("captures_go_on_from_one_to_the_next", Needs::Nothing, several),
        Trial::new("every_capture_becomes_the_same_table_in_every_format", Needs::Captures, every_capture),
    ])
}

/// Which way a packet goes, seen from the one who sends the first.
#[derive(Clone, Copy, PartialEq)]
enum Going {
    Forth,
    Back,
}

/// What a packet is.
#[derive(Clone, Copy)]
enum Wire {
    /// Flags (F, S, R, P, A, U, E, C), window, bytes of payload.
    Tcp(&'static str, u16, usize),
    /// Bytes of payload.
    Udp(usize),
    /// Type, and bytes behind the header.
    Icmp(u8, usize),
    /// The first fragment of a UDP datagram, and its bytes of payload.
    First(usize),
    /// A later one: its offset and its bytes.
    Later(u16, usize),
}

/// Microseconds since the capture's begin, direction, content.
type Packet = (u64, Going, Wire);

/// What a flow is to be: every feature that is not 0.
type Features = &'static [(&'static str, f64)];

type Case = (&'static str, &'static [Packet], &'static [Features]);

/// What bears the packets.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bearer {
    Ipv4,
    /// Frames of at least 60 bytes, and more than the packet at any length.
    Padded,
    /// Of each packet, 54 bytes were captured.
    Cut,
    Ipv6,
    /// IPv6 behind two tags.
    TaggedIpv6,
}

const BEGIN_US: u64 = 1_700_000_000_000_000;
const CLIENT: (u16, u8) = (40_000, 1);
const SERVER: (u16, u8) = (80, 2);

impl Wire {
    fn transport(self, from: u16, to: u16) -> (IpNumber, Vec<u8>) {
        match self {
            Tcp(flags, window, payload) => {
                let mut header = TcpHeader::new(from, to, 1, window);
                let has = |flag| flags.contains(flag);
                (header.fin, header.syn, header.rst, header.psh) = (has('F'), has('S'), has('R'), has('P'));
                (header.ack, header.urg, header.ece, header.cwr) = (has('A'), has('U'), has('E'), has('C'));
                (IpNumber::TCP, [&header.to_bytes()[..], &vec![7; payload]].concat())
            }
            Udp(payload) | First(payload) => {
                let length = u16::try_from(payload + 8).unwrap_or(u16::MAX);
                let header = UdpHeader { source_port: from, destination_port: to, length, checksum: 0 };
                (IpNumber::UDP, [&header.to_bytes()[..], &vec![7; payload]].concat())
            }
            Icmp(kind, payload) => {
                (IpNumber::ICMP, [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &vec![7; payload]].concat())
            }
            Later(_, payload) => (IpNumber::UDP, vec![7; payload]),
        }
    }

    fn frame(self, going: Going, bearer: Bearer) -> Result<Vec<u8>> {
        let (from, to) = if going == Forth { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
        let (protocol, transport) = self.transport(from.0, to.0);
        let length = u16::try_from(transport.len())?;
        let mut frame = vec![2; 12];
        if let Bearer::Ipv6 | Bearer::TaggedIpv6 = bearer {
            if bearer == Bearer::TaggedIpv6 {
                frame.extend([0x88, 0xa8, 0, 7, 0x81, 0, 0, 9]);
            }
            frame.extend([0x86, 0xdd]);
            let address = |host: u8| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host.into()).octets();
            let header = Ipv6Header {
                traffic_class: 0,
                flow_label: Ipv6FlowLabel::ZERO,
                payload_length: length,
                next_header: protocol,
                hop_limit: 64,
                source: address(from.1),
                destination: address(to.1),
            };
            frame.extend(header.to_bytes());
        } else {
            frame.extend([0x08, 0x00]);
            let address = |host: u8| Ipv4Addr::new(192, 0, 2, host).octets();
            let mut header = Ipv4Header::new(length, 64, protocol, address(from.1), address(to.1))?;
            header.identification = 4711;
            header.dont_fragment = false;
            if let Later(offset, _) = self {
                header.fragment_offset = IpFragOffset::try_new(offset / 8)?;
            }
            header.more_fragments = matches!(self, First(_) | Later(1480, _));
            frame.extend(header.to_bytes());
        }
        frame.extend(transport);
        if bearer == Bearer::Padded {
            frame.resize(frame.len().max(50) + 10, 0);
        }
        Ok(frame)
    }
}

/// A capture below `directory`.
fn capture(directory: &Path, packets: &[Packet], bearer: Bearer) -> Result<PathBuf> {
    let file = directory.join("capture.pcap");
    let mut writer = PcapWriter::new(fs::File::create(&file)?)?;
    for (at_us, going, wire) in packets {
        let frame = wire.frame(*going, bearer)?;
        let captured = if bearer == Bearer::Cut { &frame[..frame.len().min(54)] } else { &frame[..] };
        writer.write_cut((BEGIN_US + at_us) * 1_000, captured, u32::try_from(frame.len())?)?;
    }
    writer.finish()?;
    Ok(file)
}

fn flows(files: &[&Path], more: &[&str]) -> Result<Output> {
    Ok(Command::new(PROGRAM).arg("flows").args(files).args(more).output()?)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The rows of a table, as JSON has them.
fn rows(files: &[&Path], more: &[&str]) -> Result<Vec<BTreeMap<String, Value>>> {
    let output = flows(files, &[&["--json"], more].concat())?;
    ensure!(output.status.success(), "{}", stderr(&output));
    String::from_utf8(output.stdout)?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// The first columns tell flows apart.
const IDENTITY: [&str; 7] = ["Flow ID", "Src IP", "Src Port", "Dst IP", "Dst Port", "Protocol", "Timestamp"];

fn check(case: &Case, bearer: Bearer) -> Result<()> {
    let (description, packets, expected) = case;
    let directory = tempfile::tempdir()?;
    let file = capture(directory.path(), packets, bearer)?;
    let read = rows(&[&file], &["--names", "2017-corrected"])?;
    ensure!(read.len() == expected.len(), "{description}, {bearer:?}: {} flows", read.len());
    for (number, (row, features)) in read.iter().zip(*expected).enumerate() {
        for (name, _) in *features {
            ensure!(row.contains_key(*name), "{description}: there is no `{name}`");
        }
        for (name, value) in row.iter().filter(|(name, _)| !IDENTITY.contains(&name.as_str())) {
            let expected = features.iter().find(|(named, _)| named == name).map_or(0.0, |(_, value)| *value);
            let value = value.as_f64().context("a number")?;
            let error = (value - expected).abs() / expected.abs().max(1.0);
            ensure!(
                error <= 1e-9,
                "{description}, {bearer:?}, flow {number}: {name} is {value}, not {expected}"
            );
        }
    }
    Ok(())
}

fn by_hand() -> Result<()> {
    CASES.iter().try_for_each(|case| check(case, Bearer::Ipv4))
}

/// ICMP and fragments are IPv4's here, and a cut one has no second fragment to tell.
fn whatever_bears_them() -> Result<()> {
    for case in &CASES {
        let is_plain = case.1.iter().all(|(_, _, wire)| matches!(wire, Tcp(..) | Udp(_)));
        check(case, Bearer::Padded)?;
        check(case, Bearer::Cut)?;
        if is_plain {
            check(case, Bearer::Ipv6)?;
            check(case, Bearer::TaggedIpv6)?;
        }
    }
    Ok(())
}

fn names() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = capture(directory.path(), &[(0, Forth, Udp(1))], Bearer::Ipv4)?;
    for (spelling, columns, first, some) in [
        ("2018", 83, "Flow ID", &["Tot Fwd Pkts", "Flow Byts/s", "CWE Flag Count", "Fwd Byts/b Avg"][..]),
        (
            "2018-converted",
            83,
            "Flow ID",
            &["Total Backward Packets", "Avg Packet Size", "Fwd Act Data Packets"],
        ),
        (
            "2017-corrected",
            88,
            "Flow ID",
            &["Total Bwd packets", "FWD Init Win Bytes", "Total TCP Flow Time"],
        ),
        ("snake-case", 83, "flow_id", &["tot_fwd_pkts", "flow_byts_s", "down_up_ratio", "fwd_byts_b_avg"]),
    ] {
        let output = flows(&[&file], &["--names", spelling])?;
        let text = String::from_utf8(output.stdout)?;
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
        ensure!(lines.len() == 2 && lines[0].len() == columns, "{spelling}: {text}");
        ensure!(lines[1].len() == columns && lines[0][0] == first, "{spelling}: {text}");
        for name in some {
            ensure!(lines[0].contains(name), "{spelling}: no {name}");
        }
        let mut different = lines[0].clone();
        different.sort_unstable();
        different.dedup();
        ensure!(different.len() == columns, "{spelling}: a name twice");
    }
    Ok(())
}

fn explained() -> Result<()> {
    let page = fs::read_to_string(PAGE)?;
    let directory = tempfile::tempdir()?;
    let file = capture(directory.path(), &[(0, Forth, Udp(1))], Bearer::Ipv4)?;
    for more in [
        &["--names", "2018"][..],
        &["--names", "2018-converted"],
        &["--names", "2017-corrected"],
        &["--sessions"],
    ] {
        let output = flows(&[&file], more)?;
        let heading = String::from_utf8(output.stdout)?.lines().next().context("a heading")?.to_owned();
        for name in heading.split(',') {
            ensure!(page.contains(&format!("`{name}`")), "{more:?}: the page has no `{name}`");
        }
    }
    Ok(())
}

fn sessions() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = capture(directory.path(), CASES[2].1, Bearer::Ipv4)?;
    let read = rows(&[&file], &["--sessions"])?;
    ensure!(read.len() == 1, "{read:?}");
    for (name, expected) in [
        ("started", "2023-11-14T22:13:20.000000Z".into()),
        ("duration_s", 0.014.into()),
        ("protocol", "tcp".into()),
        ("service", "http".into()),
        ("initiator", "192.0.2.1".into()),
        ("initiator_port", 40_000.into()),
        ("responder", "192.0.2.2".into()),
        ("responder_port", 80.into()),
        ("packets", 10.into()),
        ("forward_packets", 5.into()),
        ("backward_packets", 5.into()),
        // 54 bytes of headers each, with 100 bytes of payload forth and 300 back.
        ("bytes", 940.into()),
        ("forward_bytes", 370.into()),
        ("backward_bytes", 570.into()),
        ("handshake_completed", true.into()),
        ("ack_packets", 9.into()),
        ("end", "fin".into()),
    ] as [(&str, Value); 17]
    {
        ensure!(read[0].get(name) == Some(&expected), "{name} is {:?}", read[0].get(name));
    }
    let file = capture(directory.path(), CASES[3].1, Bearer::Ipv4)?;
    let refused = rows(&[&file], &["--sessions"])?;
    ensure!(refused[0]["handshake_completed"] == false && refused[0]["end"] == "rst", "{refused:?}");
    Ok(())
}

fn ends() -> Result<()> {
    let directory = tempfile::tempdir()?;
    const SECOND: u64 = 1_000_000;
    let udp = |seconds: &[u64]| seconds.iter().map(|at| (at * SECOND, Forth, Udp(1))).collect::<Vec<_>>();
    for (description, packets, more, expected) in [
        ("a short pause", udp(&[0, 120]), &[][..], &["capture"][..]),
        ("a long one", udp(&[0, 121]), &[], &["idle", "capture"]),
        ("a long one for this run", udp(&[0, 11]), &["--idle-timeout", "10s"], &["idle", "capture"]),
        ("long talk", udp(&[0, 60, 120, 180]), &[], &["active", "capture"]),
        ("long talk, cut later", udp(&[0, 60, 120, 180]), &["--active-timeout", "1h"], &["capture"]),
        ("a clock that jumps back", udp(&[1_000, 1_001, 5]), &[], &["clock", "capture"]),
        ("one that is late", udp(&[1_000, 1_001, 990, 1_002]), &[], &["capture"]),
        (
            "a SYN that is sent again",
            vec![
                (0, Forth, Tcp("S", 1, 0)),
                (SECOND, Forth, Tcp("S", 1, 0)),
                (SECOND + 9, Back, Tcp("SA", 1, 0)),
            ],
            &[],
            &["capture"],
        ),
        (
            "one side's last word, and the other goes on",
            vec![
                (0, Forth, Tcp("FA", 1, 0)),
                (SECOND, Back, Tcp("A", 1, 9)),
                (30 * SECOND, Back, Tcp("A", 1, 9)),
            ],
            &[],
            &["capture"],
        ),
        (
            "an abort, sent again and again",
            (0..20).map(|number| (number * SECOND, Back, Tcp("R", 0, 0))).collect(),
            &[],
            &["rst"],
        ),
        (
            "what comes long after the end",
            vec![(0, Forth, Tcp("RA", 0, 0)), (6 * SECOND, Back, Tcp("A", 1, 0))],
            &[],
            &["rst", "capture"],
        ),
        (
            "no room",
            vec![(0, Forth, Udp(1)), (1, Forth, Icmp(8, 1)), (2, Forth, Tcp("S", 1, 0))],
            &["--max-flows", "2"],
            &["crowd", "capture", "capture"],
        ),
    ] {
        let file = capture(directory.path(), &packets, Bearer::Ipv4)?;
        let read = rows(&[&file], &[&["--sessions"], more].concat())?;
        let ends: Vec<&str> = read.iter().filter_map(|row| row["end"].as_str()).collect();
        ensure!(ends == expected, "{description}: {ends:?}");
        let packets_of: u64 = read.iter().filter_map(|row| row["packets"].as_u64()).sum();
        ensure!(packets_of == packets.len() as u64, "{description}: {packets_of} packets");
    }
    Ok(())
}

fn clocks() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let year = 31_557_600_000_000;
    for (description, times, hint) in [
        ("equal", [0, 0, 0, 0], "all packets of each flow have the same time"),
        ("backwards", [4_000_000, 3_000_000, 2_000_000, 1_000_000], "3 packets are dated before others"),
        ("years apart", [0, 10, year, year + 10], "2 flows"),
        ("years back", [year, year + 10, 0, 10], "jumped back by more than the idle timeout 1 time"),
    ] {
        let packets = times.map(|at| (at, Forth, Tcp("A", 1, 5)));
        let file = capture(directory.path(), &packets, Bearer::Ipv4)?;
        let output = flows(&[&file], &[])?;
        ensure!(
            output.status.success() && stderr(&output).contains(hint),
            "{description}: {}",
            stderr(&output)
        );
        ensure_finite(&String::from_utf8(output.stdout)?).with_context(|| description.to_owned())?;
    }
    Ok(())
}

/// No cell of a table of flows but the first columns is anything else than a number, and none is negative but windows.
fn ensure_finite(csv: &str) -> Result<()> {
    let heading: Vec<&str> = csv.lines().next().context("a heading")?.split(',').collect();
    for line in csv.lines().skip(1) {
        for (name, cell) in heading.iter().zip(line.split(',')).skip(IDENTITY.len()) {
            let number: f64 = cell.parse().with_context(|| format!("{name} is `{cell}`"))?;
            ensure!(number.is_finite() && (number >= 0.0 || name.starts_with("Init")), "{name} is {cell}");
        }
    }
    Ok(())
}

fn bad_input() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let place = |name: &str| directory.path().join(name);
    let good = capture(directory.path(), CASES[1].1, Bearer::Ipv4)?;
    let bytes = fs::read(&good)?;
    fs::write(place("cut"), &bytes[..bytes.len() - 3])?;
    fs::write(place("empty"), "")?;
    fs::write(place("text"), "GET / HTTP/1.1")?;
    fs::write(place("no-packets"), &bytes[..24])?;
    let mut writer = PcapWriter::new(fs::File::create(place("arp"))?)?;
    writer.write(0, &[&[2; 12][..], &[0x08, 0x06], &[0; 28]].concat())?;
    writer.finish()?;
    for (name, status, lines, hint) in [
        ("missing", 2, 0, "cannot open capture"),
        ("empty", 2, 0, "is empty; accepted are pcap and pcapng"),
        ("text", 2, 0, "is not a capture: it looks like text"),
        ("no-packets", 1, 1, "0 flows from 0 packets"),
        ("arp", 1, 1, "0 flows from 1 packet; left out: 1 that are not IP"),
        ("cut", 2, 2, "after 1 packets: the file ends within a packet"),
    ] {
        let output = flows(&[&place(name)], &[])?;
        let written = String::from_utf8_lossy(&output.stdout).lines().count();
        ensure!(
            output.status.code() == Some(status) && written == lines && stderr(&output).contains(hint),
            "{name}: {:?}, {written} lines, {}",
            output.status,
            stderr(&output)
        );
        ensure!(!stderr(&output).contains("panicked"), "{name}: {}", stderr(&output));
    }
    // One that is no capture is found before anything is written.
    let output = flows(&[&good, &place("text")], &[])?;
    ensure!(output.stdout.is_empty() && output.status.code() == Some(2), "{}", stderr(&output));
    for (more, hint) in [
        (&["--idle-timeout", "0s"][..], "between 1s and 24h"),
        (&["--active-timeout", "2days"], "between 1s and 24h"),
        (&["--max-flows", "0"], "at least 1"),
        (&["--names", "2019"], "possible values"),
        (&["--csv", "--json"], "cannot be used with"),
        (&["--sessions", "--names", "2018"], "cannot be used with"),
        (&["-", "-"], "standard input can be read once"),
    ] {
        let output = flows(&[&good], more)?;
        ensure!(
            output.status.code() == Some(2) && stderr(&output).contains(hint),
            "{more:?}: {}",
            stderr(&output)
        );
    }
    Ok(())
}

fn output() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let good = capture(directory.path(), CASES[2].1, Bearer::Ipv4)?;
    let bytes = fs::read(&good)?;
    let table = directory.path().join("table");
    let to = |file: &Path| file.to_str().map(str::to_owned).context("the path is text");
    for (format, start) in [("--csv", &b"Flow ID,"[..]), ("--json", b"{\"Flow ID\":"), ("--parquet", b"PAR1")]
    {
        let written = flows(&[&good], &[format, "--output", &to(&table)?])?;
        ensure!(written.status.success() && written.stdout.is_empty(), "{format}: {}", stderr(&written));
        let direct = flows(&[&good], &[format])?;
        ensure!(fs::read(&table)? == direct.stdout && direct.stdout.starts_with(start), "{format}");
    }
    fs::write(&table, "old")?;
    let text = directory.path().join("text");
    fs::write(&text, "no capture")?;
    let failed = flows(&[&good, &text], &["--output", &to(&table)?])?;
    ensure!(failed.status.code() == Some(2) && fs::read(&table)? == b"old", "{}", stderr(&failed));
    let itself = flows(&[&good], &["--output", &to(&good)?])?;
    ensure!(
        stderr(&itself).contains("is a capture to be read") && fs::read(&good)? == bytes,
        "{}",
        stderr(&itself)
    );
    for format in ["--csv", "--json", "--parquet"] {
        let full = flows(&[&good], &[format, "--output", "/dev/full"])?;
        ensure!(
            full.status.code() == Some(2) && stderr(&full).contains("/dev/full was not written: "),
            "{format}: {}",
            stderr(&full)
        );
        ensure!(stderr(&full).contains("No space left"), "{format}: {}", stderr(&full));
        let mut gone = Command::new(PROGRAM)
            .args(["flows", &to(&good)?, format])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        drop(gone.stdout.take());
        let status = gone.wait()?;
        ensure!(status.success(), "{format}: a reader that went away is no error: {status}");
    }
    Ok(())
}

fn several() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (first, second) = (directory.path().join("1"), directory.path().join("2"));
    let packets = CASES[2].1;
    fs::rename(capture(directory.path(), &packets[..4], Bearer::Ipv4)?, &first)?;
    fs::rename(capture(directory.path(), &packets[4..], Bearer::Ipv4)?, &second)?;
    let whole = capture(directory.path(), packets, Bearer::Ipv4)?;
    let together = flows(&[&first, &second], &[])?;
    ensure!(together.stdout == flows(&[&whole], &[])?.stdout, "{}", stderr(&together));
    let streamed = Command::new(PROGRAM).args(["flows", "-"]).stdin(fs::File::open(&whole)?).output()?;
    ensure!(streamed.stdout == together.stdout, "{}", stderr(&streamed));
    Ok(())
}

fn every_capture() -> Result<()> {
    let directory = suite::captures().context("there are no captures")?;
    let mut seen = 0;
    for entry in fs::read_dir(directory)? {
        let file = entry?.path();
        if file.extension().is_none_or(|extension| extension != "zst") {
            continue;
        }
        seen += 1;
        let csv = flows(&[&file], &[])?;
        ensure!(csv.status.success(), "{}: {}", file.display(), stderr(&csv));
        ensure!(csv.stdout == flows(&[&file], &[])?.stdout, "{}: two tables", file.display());
        let csv = String::from_utf8(csv.stdout)?;
        ensure_finite(&csv).with_context(|| file.display().to_string())?;
        let json = rows(&[&file], &[])?;
        ensure!(json.len() == csv.lines().count() - 1, "{}: {} flows as JSON", file.display(), json.len());
        let sessions = rows(&[&file], &["--sessions"])?;
        let packets = |row: &BTreeMap<String, Value>, names: [&str; 2]| -> u64 {
            names.iter().filter_map(|name| row.get(*name)).filter_map(Value::as_u64).sum()
        };
        for (flow, session) in json.iter().zip(&sessions) {
            ensure!(
                packets(flow, ["Tot Fwd Pkts", "Tot Bwd Pkts"]) == packets(session, ["packets", ""]),
                "{}: {flow:?} is not {session:?}",
                file.display()
            );
        }
    }
    ensure!(seen > 0, "there is no capture");
    Ok(())
}

/// Worked out apart from the program, from lists of the packets' times and lengths, by the formulas of docs/flows.md.
/// What is not named is 0.
#[rustfmt::skip]
const CASES: [Case; 11] = [
        (
            "one datagram",
            &[(0, Forth, Udp(35))],
            &[&[("Total Fwd Packet", 1.0), ("Total Length of Fwd Packet", 35.0), ("Fwd Packet Length Max", 35.0), ("Fwd Packet Length Min", 35.0), ("Fwd Packet Length Mean", 35.0), ("Fwd Segment Size Avg", 35.0), ("Fwd Header Length", 8.0), ("Packet Length Min", 35.0), ("Packet Length Max", 35.0), ("Packet Length Mean", 35.0), ("Average Packet Size", 35.0), ("Subflow Fwd Packets", 1.0), ("Subflow Fwd Bytes", 35.0), ("FWD Init Win Bytes", -1.0), ("Bwd Init Win Bytes", -1.0), ("Fwd Act Data Pkts", 1.0), ("Fwd Seg Size Min", 8.0), ("ICMP Type", -1.0), ("ICMP Code", -1.0)]],
        ),
        (
            "a question and its answer",
            &[(0, Forth, Udp(35)), (330, Back, Udp(99))],
            &[&[("Flow Duration", 330.0), ("Total Fwd Packet", 1.0), ("Total Bwd packets", 1.0), ("Total Length of Fwd Packet", 35.0), ("Total Length of Bwd Packet", 99.0), ("Fwd Packet Length Max", 35.0), ("Fwd Packet Length Min", 35.0), ("Fwd Packet Length Mean", 35.0), ("Fwd Segment Size Avg", 35.0), ("Fwd Header Length", 8.0), ("Fwd Packets/s", 3030.3030303030305), ("Bwd Packet Length Max", 99.0), ("Bwd Packet Length Min", 99.0), ("Bwd Packet Length Mean", 99.0), ("Bwd Segment Size Avg", 99.0), ("Bwd Header Length", 8.0), ("Bwd Packets/s", 3030.3030303030305), ("Flow Bytes/s", 406060.6060606061), ("Flow Packets/s", 6060.606060606061), ("Flow IAT Mean", 330.0), ("Flow IAT Max", 330.0), ("Flow IAT Min", 330.0), ("Packet Length Min", 35.0), ("Packet Length Max", 99.0), ("Packet Length Mean", 67.0), ("Packet Length Std", 45.254833995939045), ("Packet Length Variance", 2048.0), ("Average Packet Size", 67.0), ("Down/Up Ratio", 1.0), ("Subflow Fwd Packets", 1.0), ("Subflow Fwd Bytes", 35.0), ("Subflow Bwd Packets", 1.0), ("Subflow Bwd Bytes", 99.0), ("FWD Init Win Bytes", -1.0), ("Bwd Init Win Bytes", -1.0), ("Fwd Act Data Pkts", 1.0), ("Fwd Seg Size Min", 8.0), ("ICMP Type", -1.0), ("ICMP Code", -1.0)]],
        ),
        (
            "a connection with all that belongs to it",
            &[(0, Forth, Tcp("S", 64240, 0)), (1_000, Back, Tcp("SA", 65160, 0)), (2_000, Forth, Tcp("A", 502, 0)), (3_000, Forth, Tcp("PA", 502, 100)), (5_000, Back, Tcp("A", 509, 0)), (8_000, Back, Tcp("PA", 509, 300)), (9_000, Forth, Tcp("A", 501, 0)), (12_000, Back, Tcp("FA", 509, 0)), (13_000, Forth, Tcp("FA", 501, 0)), (14_000, Back, Tcp("A", 509, 0))],
            &[&[("Flow Duration", 14000.0), ("Total Fwd Packet", 5.0), ("Total Bwd packets", 5.0), ("Total Length of Fwd Packet", 100.0), ("Total Length of Bwd Packet", 300.0), ("Fwd Packet Length Max", 100.0), ("Fwd Packet Length Mean", 20.0), ("Fwd Packet Length Std", 44.721359549995796), ("Fwd Segment Size Avg", 20.0), ("Fwd IAT Total", 13000.0), ("Fwd IAT Mean", 3250.0), ("Fwd IAT Std", 2217.355782608345), ("Fwd IAT Max", 6000.0), ("Fwd IAT Min", 1000.0), ("Fwd PSH Flags", 1.0), ("Fwd Header Length", 100.0), ("Fwd Packets/s", 357.1428571428571), ("Bwd Packet Length Max", 300.0), ("Bwd Packet Length Mean", 60.0), ("Bwd Packet Length Std", 134.16407864998737), ("Bwd Segment Size Avg", 60.0), ("Bwd IAT Total", 13000.0), ("Bwd IAT Mean", 3250.0), ("Bwd IAT Std", 957.4271077563382), ("Bwd IAT Max", 4000.0), ("Bwd IAT Min", 2000.0), ("Bwd PSH Flags", 1.0), ("Bwd Header Length", 100.0), ("Bwd Packets/s", 357.1428571428571), ("Flow Bytes/s", 28571.428571428572), ("Flow Packets/s", 714.2857142857142), ("Flow IAT Mean", 1555.5555555555557), ("Flow IAT Std", 881.9171036881969), ("Flow IAT Max", 3000.0), ("Flow IAT Min", 1000.0), ("Packet Length Max", 300.0), ("Packet Length Mean", 40.0), ("Packet Length Std", 96.6091783079296), ("Packet Length Variance", 9333.333333333334), ("Average Packet Size", 40.0), ("FIN Flag Count", 2.0), ("SYN Flag Count", 2.0), ("PSH Flag Count", 2.0), ("ACK Flag Count", 9.0), ("Down/Up Ratio", 1.0), ("Subflow Fwd Packets", 5.0), ("Subflow Fwd Bytes", 100.0), ("Subflow Bwd Packets", 5.0), ("Subflow Bwd Bytes", 300.0), ("FWD Init Win Bytes", 64240.0), ("Bwd Init Win Bytes", 65160.0), ("Fwd Act Data Pkts", 1.0), ("Fwd Seg Size Min", 20.0), ("ICMP Type", -1.0), ("ICMP Code", -1.0), ("Total TCP Flow Time", 14000.0)]],
        ),
        (
            "a refused connection",
            &[(0, Forth, Tcp("S", 1024, 0)), (50, Back, Tcp("RA", 0, 0))],
            &[&[("Flow Duration", 50.0), ("Total Fwd Packet", 1.0), ("Total Bwd packets", 1.0), ("Fwd Header Length", 20.0), ("Fwd Packets/s", 20000.0), ("Bwd RST Flags", 1.0), ("Bwd Header Length", 20.0), ("Bwd Packets/s", 20000.0), ("Flow Packets/s", 40000.0), ("Flow IAT Mean", 50.0), ("Flow IAT Max", 50.0), ("Flow IAT Min", 50.0), ("SYN Flag Count", 1.0), ("RST Flag Count", 1.0), ("ACK Flag Count", 1.0), ("Down/Up Ratio", 1.0), ("Subflow Fwd Packets", 1.0), ("Subflow Bwd Packets", 1.0), ("FWD Init Win Bytes", 1024.0), ("Fwd Seg Size Min", 20.0), ("ICMP Type", -1.0), ("ICMP Code", -1.0), ("Total TCP Flow Time", 50.0)]],
        ),
        (
            "two pauses",
            &[(0, Forth, Tcp("A", 100, 10)), (2_000_000, Back, Tcp("A", 200, 20)), (9_000_000, Forth, Tcp("A", 100, 10)), (9_500_000, Forth, Tcp("A", 100, 30)), (20_500_000, Back, Tcp("A", 200, 40))],
            &[&[("Flow Duration", 20500000.0), ("Total Fwd Packet", 3.0), ("Total Bwd packets", 2.0), ("Total Length of Fwd Packet", 50.0), ("Total Length of Bwd Packet", 60.0), ("Fwd Packet Length Max", 30.0), ("Fwd Packet Length Min", 10.0), ("Fwd Packet Length Mean", 16.666666666666668), ("Fwd Packet Length Std", 11.547005383792515), ("Fwd Segment Size Avg", 16.666666666666668), ("Fwd IAT Total", 9500000.0), ("Fwd IAT Mean", 4750000.0), ("Fwd IAT Std", 6010407.640085654), ("Fwd IAT Max", 9000000.0), ("Fwd IAT Min", 500000.0), ("Fwd Header Length", 60.0), ("Fwd Packets/s", 0.14634146341463414), ("Bwd Packet Length Max", 40.0), ("Bwd Packet Length Min", 20.0), ("Bwd Packet Length Mean", 30.0), ("Bwd Packet Length Std", 14.142135623730951), ("Bwd Segment Size Avg", 30.0), ("Bwd IAT Total", 18500000.0), ("Bwd IAT Mean", 18500000.0), ("Bwd IAT Max", 18500000.0), ("Bwd IAT Min", 18500000.0), ("Bwd Header Length", 40.0), ("Bwd Packets/s", 0.0975609756097561), ("Flow Bytes/s", 5.365853658536586), ("Flow Packets/s", 0.24390243902439024), ("Flow IAT Mean", 5125000.0), ("Flow IAT Std", 4802343.1780746365), ("Flow IAT Max", 11000000.0), ("Flow IAT Min", 500000.0), ("Packet Length Min", 10.0), ("Packet Length Max", 40.0), ("Packet Length Mean", 22.0), ("Packet Length Std", 13.038404810405298), ("Packet Length Variance", 170.0), ("Average Packet Size", 22.0), ("ACK Flag Count", 5.0), ("Down/Up Ratio", 0.6666666666666666), ("Subflow Fwd Packets", 0.75), ("Subflow Fwd Bytes", 12.5), ("Subflow Bwd Packets", 0.5), ("Subflow Bwd Bytes", 15.0), ("FWD Init Win Bytes", 100.0), ("Bwd Init Win Bytes", 200.0), ("Fwd Act Data Pkts", 3.0), ("Fwd Seg Size Min", 20.0), ("Active Mean", 1250000.0), ("Active Std", 1060660.1717798214), ("Active Max", 2000000.0), ("Active Min", 500000.0), ("Idle Mean", 9000000.0), ("Idle Std", 2828427.12474619), ("Idle Max", 11000000.0), ("Idle Min", 7000000.0), ("ICMP Type", -1.0), ("ICMP Code", -1.0), ("Total TCP Flow Time", 20500000.0)]],
        ),
        (
            "a bulk of five, a run of three, a bulk of four",
            &[(0, Forth, Tcp("A", 50, 10)), (100_000, Back, Tcp("A", 60, 1000)), (200_000, Back, Tcp("A", 60, 1000)), (300_000, Forth, Tcp("A", 50, 0)), (400_000, Back, Tcp("A", 60, 1000)), (500_000, Back, Tcp("A", 60, 1000)), (600_000, Back, Tcp("A", 60, 500)), (700_000, Forth, Tcp("A", 50, 20)), (800_000, Back, Tcp("A", 60, 800)), (900_000, Back, Tcp("A", 60, 800)), (1_000_000, Back, Tcp("A", 60, 800)), (3_000_000, Back, Tcp("A", 60, 100)), (3_100_000, Back, Tcp("A", 60, 200)), (3_200_000, Back, Tcp("A", 60, 300)), (3_400_000, Back, Tcp("A", 60, 400))],
            &[&[("Flow Duration", 3400000.0), ("Total Fwd Packet", 3.0), ("Total Bwd packets", 12.0), ("Total Length of Fwd Packet", 30.0), ("Total Length of Bwd Packet", 7900.0), ("Fwd Packet Length Max", 20.0), ("Fwd Packet Length Mean", 10.0), ("Fwd Packet Length Std", 10.0), ("Fwd Segment Size Avg", 10.0), ("Fwd IAT Total", 700000.0), ("Fwd IAT Mean", 350000.0), ("Fwd IAT Std", 70710.67811865476), ("Fwd IAT Max", 400000.0), ("Fwd IAT Min", 300000.0), ("Fwd Header Length", 60.0), ("Fwd Packets/s", 0.8823529411764706), ("Bwd Packet Length Max", 1000.0), ("Bwd Packet Length Min", 100.0), ("Bwd Packet Length Mean", 658.3333333333334), ("Bwd Packet Length Std", 339.67453227875046), ("Bwd Segment Size Avg", 658.3333333333334), ("Bwd IAT Total", 3300000.0), ("Bwd IAT Mean", 300000.0), ("Bwd IAT Std", 565685.4249492381), ("Bwd IAT Max", 2000000.0), ("Bwd IAT Min", 100000.0), ("Bwd Header Length", 240.0), ("Bwd Packets/s", 3.5294117647058822), ("Flow Bytes/s", 2332.3529411764707), ("Flow Packets/s", 4.411764705882353), ("Flow IAT Mean", 242857.14285714287), ("Flow IAT Std", 506442.016901754), ("Flow IAT Max", 2000000.0), ("Flow IAT Min", 100000.0), ("Packet Length Max", 1000.0), ("Packet Length Mean", 528.6666666666666), ("Packet Length Std", 403.39393484120046), ("Packet Length Variance", 162726.66666666666), ("Average Packet Size", 528.6666666666666), ("ACK Flag Count", 15.0), ("Down/Up Ratio", 4.0), ("Bwd Bytes/Bulk Avg", 2750.0), ("Bwd Packet/Bulk Avg", 4.5), ("Bwd Bulk Rate Avg", 6111.111111111111), ("Subflow Fwd Packets", 1.5), ("Subflow Fwd Bytes", 15.0), ("Subflow Bwd Packets", 6.0), ("Subflow Bwd Bytes", 3950.0), ("FWD Init Win Bytes", 50.0), ("Bwd Init Win Bytes", 60.0), ("Fwd Act Data Pkts", 2.0), ("Fwd Seg Size Min", 20.0), ("ICMP Type", -1.0), ("ICMP Code", -1.0), ("Total TCP Flow Time", 3400000.0)]],
        ),
        (
            "pings",
            &[(0, Forth, Icmp(8, 56)), (20_000, Back, Icmp(0, 56)), (1_000_000, Forth, Icmp(8, 56)), (1_030_000, Back, Icmp(0, 56))],
            &[&[("Flow Duration", 1030000.0), ("Total Fwd Packet", 2.0), ("Total Bwd packets", 2.0), ("Total Length of Fwd Packet", 112.0), ("Total Length of Bwd Packet", 112.0), ("Fwd Packet Length Max", 56.0), ("Fwd Packet Length Min", 56.0), ("Fwd Packet Length Mean", 56.0), ("Fwd Segment Size Avg", 56.0), ("Fwd IAT Total", 1000000.0), ("Fwd IAT Mean", 1000000.0), ("Fwd IAT Max", 1000000.0), ("Fwd IAT Min", 1000000.0), ("Fwd Header Length", 16.0), ("Fwd Packets/s", 1.941747572815534), ("Bwd Packet Length Max", 56.0), ("Bwd Packet Length Min", 56.0), ("Bwd Packet Length Mean", 56.0), ("Bwd Segment Size Avg", 56.0), ("Bwd IAT Total", 1010000.0), ("Bwd IAT Mean", 1010000.0), ("Bwd IAT Max", 1010000.0), ("Bwd IAT Min", 1010000.0), ("Bwd Header Length", 16.0), ("Bwd Packets/s", 1.941747572815534), ("Flow Bytes/s", 217.4757281553398), ("Flow Packets/s", 3.883495145631068), ("Flow IAT Mean", 343333.3333333333), ("Flow IAT Std", 551392.1774321189), ("Flow IAT Max", 980000.0), ("Flow IAT Min", 20000.0), ("Packet Length Min", 56.0), ("Packet Length Max", 56.0), ("Packet Length Mean", 56.0), ("Average Packet Size", 56.0), ("Down/Up Ratio", 1.0), ("Subflow Fwd Packets", 2.0), ("Subflow Fwd Bytes", 112.0), ("Subflow Bwd Packets", 2.0), ("Subflow Bwd Bytes", 112.0), ("FWD Init Win Bytes", -1.0), ("Bwd Init Win Bytes", -1.0), ("Fwd Act Data Pkts", 2.0), ("Fwd Seg Size Min", 8.0), ("ICMP Type", 8.0)]],
        ),
        (
            "flags that are seldom",
            &[(0, Forth, Tcp("SEC", 8192, 0)), (10, Back, Tcp("SAE", 8192, 0)), (30, Forth, Tcp("UPA", 8192, 1)), (60, Forth, Tcp("UA", 8192, 3)), (100, Back, Tcp("UPA", 8192, 2))],
            &[&[("Flow Duration", 100.0), ("Total Fwd Packet", 3.0), ("Total Bwd packets", 2.0), ("Total Length of Fwd Packet", 4.0), ("Total Length of Bwd Packet", 2.0), ("Fwd Packet Length Max", 3.0), ("Fwd Packet Length Mean", 1.3333333333333333), ("Fwd Packet Length Std", 1.5275252316519468), ("Fwd Segment Size Avg", 1.3333333333333333), ("Fwd IAT Total", 60.0), ("Fwd IAT Mean", 30.0), ("Fwd IAT Max", 30.0), ("Fwd IAT Min", 30.0), ("Fwd PSH Flags", 1.0), ("Fwd URG Flags", 2.0), ("Fwd Header Length", 60.0), ("Fwd Packets/s", 30000.0), ("Bwd Packet Length Max", 2.0), ("Bwd Packet Length Mean", 1.0), ("Bwd Packet Length Std", std::f64::consts::SQRT_2), ("Bwd Segment Size Avg", 1.0), ("Bwd IAT Total", 90.0), ("Bwd IAT Mean", 90.0), ("Bwd IAT Max", 90.0), ("Bwd IAT Min", 90.0), ("Bwd PSH Flags", 1.0), ("Bwd URG Flags", 1.0), ("Bwd Header Length", 40.0), ("Bwd Packets/s", 20000.0), ("Flow Bytes/s", 60000.0), ("Flow Packets/s", 50000.0), ("Flow IAT Mean", 25.0), ("Flow IAT Std", 12.909944487358056), ("Flow IAT Max", 40.0), ("Flow IAT Min", 10.0), ("Packet Length Max", 3.0), ("Packet Length Mean", 1.2), ("Packet Length Std", 1.3038404810405297), ("Packet Length Variance", 1.7), ("Average Packet Size", 1.2), ("SYN Flag Count", 2.0), ("PSH Flag Count", 2.0), ("ACK Flag Count", 4.0), ("URG Flag Count", 3.0), ("CWR Flag Count", 1.0), ("ECE Flag Count", 2.0), ("Down/Up Ratio", 0.6666666666666666), ("Subflow Fwd Packets", 3.0), ("Subflow Fwd Bytes", 4.0), ("Subflow Bwd Packets", 2.0), ("Subflow Bwd Bytes", 2.0), ("FWD Init Win Bytes", 8192.0), ("Bwd Init Win Bytes", 8192.0), ("Fwd Act Data Pkts", 2.0), ("Fwd Seg Size Min", 20.0), ("ICMP Type", -1.0), ("ICMP Code", -1.0), ("Total TCP Flow Time", 100.0)]],
        ),
        (
            "a datagram in three fragments",
            &[(0, Forth, First(1472)), (5, Forth, Later(1480, 1480)), (10, Forth, Later(2960, 40)), (500, Back, Udp(12))],
            &[&[("Flow Duration", 500.0), ("Total Fwd Packet", 3.0), ("Total Bwd packets", 1.0), ("Total Length of Fwd Packet", 2992.0), ("Total Length of Bwd Packet", 12.0), ("Fwd Packet Length Max", 1480.0), ("Fwd Packet Length Min", 40.0), ("Fwd Packet Length Mean", 997.3333333333334), ("Fwd Packet Length Std", 829.084635808271), ("Fwd Segment Size Avg", 997.3333333333334), ("Fwd IAT Total", 10.0), ("Fwd IAT Mean", 5.0), ("Fwd IAT Max", 5.0), ("Fwd IAT Min", 5.0), ("Fwd Header Length", 8.0), ("Fwd Packets/s", 6000.0), ("Bwd Packet Length Max", 12.0), ("Bwd Packet Length Min", 12.0), ("Bwd Packet Length Mean", 12.0), ("Bwd Segment Size Avg", 12.0), ("Bwd Header Length", 8.0), ("Bwd Packets/s", 2000.0), ("Flow Bytes/s", 6008000.0), ("Flow Packets/s", 8000.0), ("Flow IAT Mean", 166.66666666666666), ("Flow IAT Std", 280.0148805569685), ("Flow IAT Max", 490.0), ("Flow IAT Min", 5.0), ("Packet Length Min", 12.0), ("Packet Length Max", 1480.0), ("Packet Length Mean", 751.0), ("Packet Length Std", 837.2422986607083), ("Packet Length Variance", 700974.6666666666), ("Average Packet Size", 751.0), ("Down/Up Ratio", 0.3333333333333333), ("Subflow Fwd Packets", 3.0), ("Subflow Fwd Bytes", 2992.0), ("Subflow Bwd Packets", 1.0), ("Subflow Bwd Bytes", 12.0), ("FWD Init Win Bytes", -1.0), ("Bwd Init Win Bytes", -1.0), ("Fwd Act Data Pkts", 3.0), ("ICMP Type", -1.0), ("ICMP Code", -1.0)]],
        ),
        (
            "a connection longer than the active timeout",
            &[(0, Forth, Tcp("S", 500, 0)), (60_000_000, Back, Tcp("SA", 600, 0)), (120_000_000, Forth, Tcp("A", 500, 0)), (180_000_000, Back, Tcp("PA", 600, 7)), (181_000_000, Forth, Tcp("A", 500, 0))],
            &[&[("Flow Duration", 120000000.0), ("Total Fwd Packet", 2.0), ("Total Bwd packets", 1.0), ("Fwd IAT Total", 120000000.0), ("Fwd IAT Mean", 120000000.0), ("Fwd IAT Max", 120000000.0), ("Fwd IAT Min", 120000000.0), ("Fwd Header Length", 40.0), ("Fwd Packets/s", 0.016666666666666666), ("Bwd Header Length", 20.0), ("Bwd Packets/s", 0.008333333333333333), ("Flow Packets/s", 0.025), ("Flow IAT Mean", 60000000.0), ("Flow IAT Max", 60000000.0), ("Flow IAT Min", 60000000.0), ("SYN Flag Count", 2.0), ("ACK Flag Count", 2.0), ("Down/Up Ratio", 0.5), ("Subflow Fwd Packets", 0.6666666666666666), ("Subflow Bwd Packets", 0.3333333333333333), ("FWD Init Win Bytes", 500.0), ("Bwd Init Win Bytes", 600.0), ("Fwd Seg Size Min", 20.0), ("Idle Mean", 60000000.0), ("Idle Max", 60000000.0), ("Idle Min", 60000000.0), ("ICMP Type", -1.0), ("ICMP Code", -1.0), ("Total TCP Flow Time", 120000000.0)], &[("Flow Duration", 1000000.0), ("Total Fwd Packet", 1.0), ("Total Bwd packets", 1.0), ("Total Length of Bwd Packet", 7.0), ("Fwd Header Length", 20.0), ("Fwd Packets/s", 1.0), ("Bwd Packet Length Max", 7.0), ("Bwd Packet Length Min", 7.0), ("Bwd Packet Length Mean", 7.0), ("Bwd Segment Size Avg", 7.0), ("Bwd PSH Flags", 1.0), ("Bwd Header Length", 20.0), ("Bwd Packets/s", 1.0), ("Flow Bytes/s", 7.0), ("Flow Packets/s", 2.0), ("Flow IAT Mean", 1000000.0), ("Flow IAT Max", 1000000.0), ("Flow IAT Min", 1000000.0), ("Packet Length Max", 7.0), ("Packet Length Mean", 3.5), ("Packet Length Std", 4.949747468305833), ("Packet Length Variance", 24.5), ("Average Packet Size", 3.5), ("PSH Flag Count", 1.0), ("ACK Flag Count", 2.0), ("Down/Up Ratio", 1.0), ("Subflow Fwd Packets", 1.0), ("Subflow Bwd Packets", 1.0), ("Subflow Bwd Bytes", 7.0), ("FWD Init Win Bytes", 500.0), ("Bwd Init Win Bytes", 600.0), ("Fwd Seg Size Min", 20.0), ("ICMP Type", -1.0), ("ICMP Code", -1.0), ("Total TCP Flow Time", 181000000.0)]],
        ),
        (
            "the same ports twice",
            &[(0, Forth, Tcp("S", 500, 0)), (10, Back, Tcp("SA", 600, 0)), (20, Forth, Tcp("A", 500, 0)), (30, Forth, Tcp("FA", 500, 0)), (40, Back, Tcp("FA", 600, 0)), (50, Forth, Tcp("A", 500, 0)), (1_000_000, Forth, Tcp("S", 700, 0)), (1_000_010, Back, Tcp("SA", 800, 0))],
            &[&[("Flow Duration", 50.0), ("Total Fwd Packet", 4.0), ("Total Bwd packets", 2.0), ("Fwd IAT Total", 50.0), ("Fwd IAT Mean", 16.666666666666668), ("Fwd IAT Std", 5.773502691896257), ("Fwd IAT Max", 20.0), ("Fwd IAT Min", 10.0), ("Fwd Header Length", 80.0), ("Fwd Packets/s", 80000.0), ("Bwd IAT Total", 30.0), ("Bwd IAT Mean", 30.0), ("Bwd IAT Max", 30.0), ("Bwd IAT Min", 30.0), ("Bwd Header Length", 40.0), ("Bwd Packets/s", 40000.0), ("Flow Packets/s", 120000.0), ("Flow IAT Mean", 10.0), ("Flow IAT Max", 10.0), ("Flow IAT Min", 10.0), ("FIN Flag Count", 2.0), ("SYN Flag Count", 2.0), ("ACK Flag Count", 5.0), ("Down/Up Ratio", 0.5), ("Subflow Fwd Packets", 4.0), ("Subflow Bwd Packets", 2.0), ("FWD Init Win Bytes", 500.0), ("Bwd Init Win Bytes", 600.0), ("Fwd Seg Size Min", 20.0), ("ICMP Type", -1.0), ("ICMP Code", -1.0), ("Total TCP Flow Time", 50.0)], &[("Flow Duration", 10.0), ("Total Fwd Packet", 1.0), ("Total Bwd packets", 1.0), ("Fwd Header Length", 20.0), ("Fwd Packets/s", 99999.99999999999), ("Bwd Header Length", 20.0), ("Bwd Packets/s", 99999.99999999999), ("Flow Packets/s", 199999.99999999997), ("Flow IAT Mean", 10.0), ("Flow IAT Max", 10.0), ("Flow IAT Min", 10.0), ("SYN Flag Count", 2.0), ("ACK Flag Count", 1.0), ("Down/Up Ratio", 1.0), ("Subflow Fwd Packets", 1.0), ("Subflow Bwd Packets", 1.0), ("FWD Init Win Bytes", 700.0), ("Bwd Init Win Bytes", 800.0), ("Fwd Seg Size Min", 20.0), ("ICMP Type", -1.0), ("ICMP Code", -1.0), ("Total TCP Flow Time", 10.0)]],
        ),];
