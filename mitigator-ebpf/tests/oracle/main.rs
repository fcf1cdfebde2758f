//! The kernel's parser against `etherparse`, an independent one: the same packets, and no disagreement
//! about source, protocol, ports, flags, payload and fragment state.
//!
//! 200,000 packets per run, most of them nearly valid: built, then mangled. The seed is printed;
//! `MITIGATOR_ORACLE_SEED` repeats a run, `MITIGATOR_ORACLE_PACKETS` makes it longer. Where the two
//! parsers differ by definition is listed in [`reference::Difference`], and nowhere else. Every class
//! of packet, every kind of damage and every such difference must have been met often enough.

mod generator;
mod reference;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;

use mitigator_ebpf::cursor::Cursor;
use mitigator_ebpf::packet::{Fragment, Packet, TransportKind, Unparsed};

use generator::{Damage, Generator};
use reference::Difference;

const PACKETS: u64 = 200_000;
/// Of all packets, what each class must reach: one in two thousand.
const RAREST: u64 = 2_000;

/// Every class that is counted beside kinds of damage and differences.
const CLASSES: [&str; 20] = [
    "not IP",
    "malformed",
    "IPv4",
    "IPv4 with options",
    "IPv6",
    "IPv6 with extensions",
    "no tag",
    "one tag",
    "two tags",
    "whole",
    "first fragment",
    "later fragment",
    "TCP",
    "TCP with payload",
    "UDP",
    "ICMP",
    "other transport",
    "reserved IPv6 source",
    "under 14 bytes",
    "TCP, UDP or ICMP out of reach",
];

#[test]
fn agrees_with_etherparse_about_every_packet() {
    let seed = number_from("MITIGATOR_ORACLE_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
    let packets = number_from("MITIGATOR_ORACLE_PACKETS").unwrap_or(PACKETS);
    // Past the capture of the test harness, so that a run that passed can be repeated too.
    writeln!(std::io::stderr(), "oracle: {packets} packets, MITIGATOR_ORACLE_SEED={seed}").unwrap();
    let mut generator = Generator::seeded(seed);
    let mut met: BTreeMap<String, u64> = BTreeMap::new();
    for number in 0..packets {
        let made = generator.packet();
        let mut differences = Vec::new();
        let ours = Packet::parse(&Cursor::over(&made.bytes));
        let theirs = reference::parse(&made.bytes, &mut differences);
        assert_eq!(
            ours, theirs,
            "packet {number} of seed {seed}: ours, then etherparse's, after {:?} with {differences:?}\n{:02x?}",
            made.damage, made.bytes
        );
        let mut meet = |name: String| *met.entry(name).or_default() += 1;
        made.damage.iter().for_each(|damage| meet(format!("{damage:?}")));
        differences.iter().for_each(|difference| meet(format!("{difference:?}")));
        classes_of(&made.bytes, ours).into_iter().for_each(|class| meet(class.to_owned()));
    }
    let damages = Damage::ALL.iter().map(|damage| format!("{damage:?}"));
    let differences = Difference::ALL.iter().map(|difference| format!("{difference:?}"));
    let wanted = CLASSES.iter().map(|class| (*class).to_owned()).chain(damages).chain(differences);
    let starved: Vec<String> = wanted
        .filter(|class| met.get(class).copied().unwrap_or(0) * RAREST < packets)
        .map(|class| format!("{class}: {}", met.get(&class).copied().unwrap_or(0)))
        .collect();
    println!("{met:#?}");
    assert!(starved.is_empty(), "seed {seed}: too few packets of these classes: {starved:?}");
}

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is `{text}`; it must be a number")))
}

fn classes_of(bytes: &[u8], parsed: Result<Packet, Unparsed>) -> Vec<&'static str> {
    let mut classes = Vec::new();
    if bytes.len() < 14 {
        classes.push("under 14 bytes");
    }
    let packet = match parsed {
        Err(Unparsed::NotIp) => return vec!["not IP"],
        Err(Unparsed::Malformed) => {
            classes.push("malformed");
            return classes;
        }
        Ok(packet) => packet,
    };
    let ethertype = |offset: usize| bytes.get(offset..offset + 2);
    let is_tag = |offset| matches!(ethertype(offset), Some([0x81, 0] | [0x88, 0xa8] | [0x91, 0]));
    let (tags, start) = match (is_tag(12), is_tag(16)) {
        (true, true) => ("two tags", 22),
        (true, false) => ("one tag", 18),
        (false, _) => ("no tag", 14),
    };
    classes.push(tags);
    if packet.source.is_v4() {
        classes.push("IPv4");
        if bytes.get(start).is_some_and(|first| first & 0x0f > 5) {
            classes.push("IPv4 with options");
        }
    } else {
        classes.push(if packet.has_extensions { "IPv6 with extensions" } else { "IPv6" });
    }
    if packet.source == mitigator_common::Source::RESERVED_V6 {
        classes.push("reserved IPv6 source");
    }
    classes.push(match packet.fragment {
        Fragment::Whole => "whole",
        Fragment::First => "first fragment",
        Fragment::Later => "later fragment",
    });
    classes.push(match packet.transport.kind() {
        TransportKind::Tcp if packet.transport.has_payload() => "TCP with payload",
        TransportKind::Tcp => "TCP",
        TransportKind::Udp => "UDP",
        TransportKind::Icmp => "ICMP",
        TransportKind::Other if matches!(packet.protocol, 1 | 6 | 17 | 58) => "TCP, UDP or ICMP out of reach",
        TransportKind::Other => "other transport",
    });
    classes
}
