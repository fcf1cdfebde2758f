//! `Exchange`: the packets of one conversation, of both sides, as a small program. What it says is in the head of
//! `tests/scenarios.toml`.

use anyhow::{Context, Result, bail, ensure};
use mitigator_common::{Source, WideAddress};
use mitigator_ebpf::packet::{Direction, Fragment, Packet, Transport, flags, protocol};
use serde::Deserialize;

use super::drawn::Drawn;

/// One step as the file has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Step {
    /// A packet, or some with a name.
    Words(String),
    /// Several, over and over.
    Repeated { times: String, steps: Vec<Step> },
}

/// What one conversation sends and receives.
#[derive(Clone, Debug, Default)]
pub(super) struct Exchange {
    pub(super) operations: Vec<Operation>,
}

/// One instruction.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    /// A packet, this many nanoseconds after the one before; `None` for as long as the way takes.
    Packet { direction: Direction, kind: Kind, bytes: Drawn, after: Option<Drawn> },
    /// What follows up to the matching [`Operation::Again`], which is at `end`, so many times.
    Repeat { times: Drawn, end: usize },
    /// Back to the innermost [`Operation::Repeat`] that is not over.
    Again,
}

/// Repetitions inside repetitions.
pub(super) const DEPTH: usize = 3;

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Tcp {
        flags: u8,
        has_payload: bool,
    },
    Udp,
    Icmp,
    /// The first fragment of a UDP datagram.
    First,
    /// A later fragment of one.
    Later,
    /// UDP behind IPv6 extension headers.
    Extended,
    /// Neither TCP, UDP nor ICMP: ESP.
    Other,
}

/// Name, kind, usual bytes on the wire.
const KINDS: [(&str, Kind, u16); 16] = {
    const fn tcp(flags: u8, has_payload: bool) -> Kind {
        Kind::Tcp { flags, has_payload }
    }
    const ACK: u8 = flags::ACK;
    [
        ("syn", tcp(flags::SYN, false), 74),
        ("synack", tcp(flags::SYN | ACK, false), 74),
        ("ack", tcp(ACK, false), 66),
        ("push", tcp(ACK | flags::PSH, true), 500),
        ("data", tcp(ACK, true), 1_514),
        ("fin", tcp(ACK | flags::FIN, false), 66),
        ("rst", tcp(flags::RST, false), 60),
        ("null", tcp(0, false), 60),
        ("xmas", tcp(flags::FIN | flags::PSH, false), 60),
        ("udp", Kind::Udp, 120),
        ("icmp", Kind::Icmp, 98),
        ("first", Kind::First, 1_514),
        ("later", Kind::Later, 1_514),
        ("extended", Kind::Extended, 120),
        ("other", Kind::Other, 1_000),
        ("rstack", tcp(flags::RST | ACK, false), 60),
    ]
};

/// Names for packets that belong together.
const PHRASES: [(&str, &[&str]); 3] = [
    ("connect", &["> syn", "< synack", "> ack"]),
    // The server closes.
    ("close", &["< fin", "> fin", "< ack"]),
    // The client closes.
    ("leave", &["> fin", "< fin", "> ack"]),
];

impl Exchange {
    /// What the steps of the file say.
    ///
    /// # Errors
    ///
    /// When a step is not understood, says which.
    pub(super) fn compile(steps: &[Step]) -> Result<Self> {
        let mut exchange = Self::default();
        exchange.add(steps, 0)?;
        ensure!(
            matches!(exchange.operations.first(), Some(Operation::Packet { .. } | Operation::Repeat { .. })),
            "there is no step"
        );
        Ok(exchange)
    }

    fn add(&mut self, steps: &[Step], depth: usize) -> Result<()> {
        for step in steps {
            match step {
                Step::Words(words) => match PHRASES.iter().find(|(name, _)| name == words) {
                    Some((_, packets)) => {
                        for packet in *packets {
                            self.operations.push(parse(packet)?);
                        }
                    }
                    None => self
                        .operations
                        .push(parse(words).with_context(|| format!("the step `{words}` is not understood"))?),
                },
                Step::Repeated { times, steps } => {
                    ensure!(depth < DEPTH, "repetitions are more than {DEPTH} deep");
                    ensure!(!steps.is_empty(), "nothing is repeated");
                    let times = Drawn::number(times)?;
                    let start = self.operations.len();
                    self.operations.push(Operation::Again);
                    self.add(steps, depth + 1)?;
                    let end = self.operations.len();
                    self.operations.push(Operation::Again);
                    self.operations[start] = Operation::Repeat { times, end };
                }
            }
        }
        Ok(())
    }
}

/// `> KIND [BYTES] [in DURATION]`, or the same with `<`.
fn parse(words: &str) -> Result<Operation> {
    let mut words = words.split_whitespace();
    let direction = match words.next() {
        Some(">") => Direction::Arriving,
        Some("<") => Direction::Leaving,
        _ => bail!("it begins neither with `>` for a packet that arrives nor with `<` for one that leaves"),
    };
    let name = words.next().unwrap_or_default();
    let (_, kind, usual) = KINDS.iter().find(|(known, ..)| *known == name).with_context(|| {
        let names = KINDS.map(|(name, ..)| name).join(", ");
        format!("there is no packet `{name}`; there are {names}")
    })?;
    let mut bytes = Drawn::fixed(f64::from(*usual));
    let mut after = None;
    while let Some(word) = words.next() {
        if word == "in" {
            after = Some(Drawn::duration(words.next().unwrap_or_default())?);
        } else {
            bytes = Drawn::number(word)?;
        }
    }
    Ok(Operation::Packet { direction, kind: *kind, bytes, after })
}

impl Kind {
    /// The packet as the data plane reads it; `theirs` and `ours` are the ports.
    pub(super) fn packet(self, direction: Direction, address: Address, theirs: u16, ours: u16) -> Packet {
        let (from, to) = match direction {
            Direction::Arriving => (theirs, ours),
            Direction::Leaving => (ours, theirs),
        };
        let (protocol, transport) = match self {
            Self::Tcp { flags, has_payload } => (protocol::TCP, Transport::tcp(from, to, flags, has_payload)),
            Self::Udp | Self::First | Self::Extended => (protocol::UDP, Transport::udp(from, to)),
            Self::Later => (protocol::UDP, Transport::OTHER),
            Self::Icmp if address.is_v6 => (protocol::ICMPV6, Transport::ICMP),
            Self::Icmp => (protocol::ICMP, Transport::ICMP),
            Self::Other => (50, Transport::OTHER),
        };
        let fragment = match self {
            Self::First => Fragment::First,
            Self::Later => Fragment::Later,
            _ => Fragment::Whole,
        };
        // IPv6 says in a header of its own that a packet is a fragment.
        let has_extensions = self == Self::Extended || address.is_v6 && fragment != Fragment::Whole;
        Packet {
            source: address.source,
            address: address.full,
            protocol,
            transport,
            fragment,
            has_extensions,
            is_to_group: false,
        }
    }
}

/// The other side of a conversation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Address {
    pub(super) source: Source,
    pub(super) full: WideAddress,
    pub(super) is_v6: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Step {
        Step::Words(text.to_owned())
    }

    #[test]
    fn steps_are_understood_or_named_in_the_refusal() {
        let repeated = |times: &str, steps| Step::Repeated { times: times.to_owned(), steps };
        let deep = repeated("1", vec![repeated("1", vec![repeated("1", vec![repeated("1", vec![])])])]);
        for (steps, expected) in [
            (vec![words("connect"), words("close")], Ok(6)),
            (vec![words("> push 300..900 in 1ms..2s")], Ok(1)),
            (vec![repeated("2..5", vec![words("< data"), words("> ack in 1ms")])], Ok(4)),
            (vec![], Err("no step")),
            (vec![words("push")], Err("begins neither")),
            (vec![words("> smoke")], Err("no packet `smoke`")),
            (vec![words("> push much")], Err("`much`")),
            (vec![words("> push in")], Err("not understood")),
            (vec![repeated("x", vec![words("> ack")])], Err("`x`")),
            (vec![repeated("2", vec![])], Err("nothing is repeated")),
            (vec![deep], Err("deep")),
        ] {
            let compiled = Exchange::compile(&steps).map(|exchange| exchange.operations.len());
            match expected {
                Ok(length) => assert_eq!(compiled.unwrap(), length, "{steps:?}"),
                Err(hint) => {
                    let error = format!("{:#}", compiled.unwrap_err());
                    assert!(error.contains(hint), "{steps:?}: {error}");
                }
            }
        }
    }
}
