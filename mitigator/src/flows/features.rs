//! The features of CICFlowMeter, a column each, under the names of three data sets. `docs/flows.md` explains each, with
//! its formula and where the tools that made the data sets differ.
//!
//! Every feature is finite: what is per second of a flow without duration, and the mean of nothing, is 0.

use mitigator_ebpf::packet::{flags, protocol};

use self::Value::{Count, IfAny, MeanNs, Ns, Real};
use super::flow::{CWR, ECE, Endpoint, Flow, URG};
use super::summary::Summary;
use crate::tabular::{Cell, Column, Kind};

/// Which names the columns bear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Spelling {
    /// As in the CSV files of CSE-CIC-IDS2018: `Tot Fwd Pkts`
    #[default]
    #[value(name = "2018")]
    Original2018,
    /// As in the converted files of CSE-CIC-IDS2018: `Total Fwd Packets`
    #[value(name = "2018-converted")]
    Converted2018,
    /// As in the corrected CICIDS2017, with its five more columns: `Total Fwd Packet`
    #[value(name = "2017-corrected")]
    Corrected2017,
    /// As 2018, but `tot_fwd_pkts`
    #[value(name = "snake-case")]
    SnakeCase,
}

/// One feature of a flow.
#[derive(Debug)]
pub struct Feature {
    /// In the CSV files of CSE-CIC-IDS2018, in the converted ones, and in the corrected CICIDS2017; `None` where it is
    /// not.
    names: [Option<&'static str>; 3],
    value: Value,
}

/// What a feature is, and how it is had from a flow.
#[derive(Debug)]
enum Value {
    /// A number of packets or bytes.
    Count(fn(&Flow) -> u64),
    /// A whole number that not every flow has; −1 for none.
    IfAny(fn(&Flow) -> Option<u16>),
    /// Nanoseconds, written as microseconds.
    Ns(fn(&Flow) -> u64),
    /// The same, of several.
    MeanNs(fn(&Flow) -> f64),
    /// Any other.
    Real(fn(&Flow) -> f64),
}

impl Feature {
    /// What it is called; `None` when files of that spelling do not have it.
    #[must_use]
    pub const fn name(&self, spelling: Spelling) -> Option<&'static str> {
        match spelling {
            Spelling::Original2018 | Spelling::SnakeCase => self.names[0],
            Spelling::Converted2018 => self.names[1],
            Spelling::Corrected2017 => self.names[2],
        }
    }

    const fn kind(&self) -> Kind {
        match self.value {
            Count(_) | IfAny(_) => Kind::Integer,
            Ns(_) | MeanNs(_) | Real(_) => Kind::Real,
        }
    }

    /// Its value for a flow.
    #[must_use]
    pub fn of(&self, flow: &Flow) -> Cell {
        match self.value {
            Count(of) => count(of(flow)),
            IfAny(of) => Cell::Integer(of(flow).map_or(-1, i64::from)),
            Ns(of) => Cell::Real(as_f64(of(flow)) / 1e3),
            MeanNs(of) => Cell::Real(of(flow) / 1e3),
            Real(of) => Cell::Real(of(flow)),
        }
    }
}

const fn common([original, converted, corrected]: [&'static str; 3], value: Value) -> Feature {
    Feature { names: [Some(original), Some(converted), Some(corrected)], value }
}

/// One that only the corrected CICIDS2017 has.
const fn corrected(name: &'static str, value: Value) -> Feature {
    Feature { names: [None, None, Some(name)], value }
}

/// A column's name, what is in it, and where it comes from.
type Identity = (&'static str, Kind, fn(&Flow) -> Cell);

/// What tells flows apart; the same in every spelling but that of [`Spelling::SnakeCase`].
static IDENTITY: [Identity; 7] = [
    ("Flow ID", Kind::Text, identifier),
    ("Src IP", Kind::Text, |flow| address(&flow.initiator)),
    ("Src Port", Kind::Integer, |flow| count(flow.initiator.port.into())),
    ("Dst IP", Kind::Text, |flow| address(&flow.responder)),
    ("Dst Port", Kind::Integer, |flow| count(flow.responder.port.into())),
    ("Protocol", Kind::Integer, |flow| count(flow.protocol.into())),
    ("Timestamp", Kind::Time, |flow| microseconds(flow.first_ns)),
];

/// All features, in the order of the data sets.
pub static FEATURES: [Feature; 81] = [
    common(["Flow Duration"; 3], Ns(Flow::duration_ns)),
    common(["Tot Fwd Pkts", "Total Fwd Packets", "Total Fwd Packet"], Count(|flow| flow.forward.packets())),
    common(
        ["Tot Bwd Pkts", "Total Backward Packets", "Total Bwd packets"],
        Count(|flow| flow.backward.packets()),
    ),
    common(
        ["TotLen Fwd Pkts", "Fwd Packets Length Total", "Total Length of Fwd Packet"],
        Count(|flow| flow.forward.lengths.total),
    ),
    common(
        ["TotLen Bwd Pkts", "Bwd Packets Length Total", "Total Length of Bwd Packet"],
        Count(|flow| flow.backward.lengths.total),
    ),
    common(
        ["Fwd Pkt Len Max", "Fwd Packet Length Max", "Fwd Packet Length Max"],
        Count(|flow| flow.forward.lengths.max),
    ),
    common(
        ["Fwd Pkt Len Min", "Fwd Packet Length Min", "Fwd Packet Length Min"],
        Count(|flow| flow.forward.lengths.min),
    ),
    common(
        ["Fwd Pkt Len Mean", "Fwd Packet Length Mean", "Fwd Packet Length Mean"],
        Real(|flow| flow.forward.lengths.mean()),
    ),
    common(
        ["Fwd Pkt Len Std", "Fwd Packet Length Std", "Fwd Packet Length Std"],
        Real(|flow| flow.forward.lengths.deviation()),
    ),
    common(
        ["Bwd Pkt Len Max", "Bwd Packet Length Max", "Bwd Packet Length Max"],
        Count(|flow| flow.backward.lengths.max),
    ),
    common(
        ["Bwd Pkt Len Min", "Bwd Packet Length Min", "Bwd Packet Length Min"],
        Count(|flow| flow.backward.lengths.min),
    ),
    common(
        ["Bwd Pkt Len Mean", "Bwd Packet Length Mean", "Bwd Packet Length Mean"],
        Real(|flow| flow.backward.lengths.mean()),
    ),
    common(
        ["Bwd Pkt Len Std", "Bwd Packet Length Std", "Bwd Packet Length Std"],
        Real(|flow| flow.backward.lengths.deviation()),
    ),
    common(
        ["Flow Byts/s", "Flow Bytes/s", "Flow Bytes/s"],
        Real(|flow| per_second(flow.forward.lengths.total + flow.backward.lengths.total, flow.duration_ns())),
    ),
    common(
        ["Flow Pkts/s", "Flow Packets/s", "Flow Packets/s"],
        Real(|flow| per_second(flow.packets(), flow.duration_ns())),
    ),
    common(["Flow IAT Mean"; 3], MeanNs(|flow| flow.intervals.mean())),
    common(["Flow IAT Std"; 3], MeanNs(|flow| flow.intervals.deviation())),
    common(["Flow IAT Max"; 3], Ns(|flow| flow.intervals.max)),
    common(["Flow IAT Min"; 3], Ns(|flow| flow.intervals.min)),
    common(["Fwd IAT Tot", "Fwd IAT Total", "Fwd IAT Total"], Ns(|flow| flow.forward.intervals.total)),
    common(["Fwd IAT Mean"; 3], MeanNs(|flow| flow.forward.intervals.mean())),
    common(["Fwd IAT Std"; 3], MeanNs(|flow| flow.forward.intervals.deviation())),
    common(["Fwd IAT Max"; 3], Ns(|flow| flow.forward.intervals.max)),
    common(["Fwd IAT Min"; 3], Ns(|flow| flow.forward.intervals.min)),
    common(["Bwd IAT Tot", "Bwd IAT Total", "Bwd IAT Total"], Ns(|flow| flow.backward.intervals.total)),
    common(["Bwd IAT Mean"; 3], MeanNs(|flow| flow.backward.intervals.mean())),
    common(["Bwd IAT Std"; 3], MeanNs(|flow| flow.backward.intervals.deviation())),
    common(["Bwd IAT Max"; 3], Ns(|flow| flow.backward.intervals.max)),
    common(["Bwd IAT Min"; 3], Ns(|flow| flow.backward.intervals.min)),
    common(["Fwd PSH Flags"; 3], Count(|flow| flow.forward.packets_with(flags::PSH))),
    common(["Bwd PSH Flags"; 3], Count(|flow| flow.backward.packets_with(flags::PSH))),
    common(["Fwd URG Flags"; 3], Count(|flow| flow.forward.packets_with(URG))),
    common(["Bwd URG Flags"; 3], Count(|flow| flow.backward.packets_with(URG))),
    corrected("Fwd RST Flags", Count(|flow| flow.forward.packets_with(flags::RST))),
    corrected("Bwd RST Flags", Count(|flow| flow.backward.packets_with(flags::RST))),
    common(
        ["Fwd Header Len", "Fwd Header Length", "Fwd Header Length"],
        Count(|flow| flow.forward.header_bytes),
    ),
    common(
        ["Bwd Header Len", "Bwd Header Length", "Bwd Header Length"],
        Count(|flow| flow.backward.header_bytes),
    ),
    common(
        ["Fwd Pkts/s", "Fwd Packets/s", "Fwd Packets/s"],
        Real(|flow| per_second(flow.forward.packets(), flow.duration_ns())),
    ),
    common(
        ["Bwd Pkts/s", "Bwd Packets/s", "Bwd Packets/s"],
        Real(|flow| per_second(flow.backward.packets(), flow.duration_ns())),
    ),
    common(["Pkt Len Min", "Packet Length Min", "Packet Length Min"], Count(|flow| lengths(flow).min)),
    common(["Pkt Len Max", "Packet Length Max", "Packet Length Max"], Count(|flow| lengths(flow).max)),
    common(["Pkt Len Mean", "Packet Length Mean", "Packet Length Mean"], Real(|flow| lengths(flow).mean())),
    common(["Pkt Len Std", "Packet Length Std", "Packet Length Std"], Real(|flow| lengths(flow).deviation())),
    common(
        ["Pkt Len Var", "Packet Length Variance", "Packet Length Variance"],
        Real(|flow| lengths(flow).variance()),
    ),
    common(["FIN Flag Cnt", "FIN Flag Count", "FIN Flag Count"], Count(|flow| flow.packets_with(flags::FIN))),
    common(["SYN Flag Cnt", "SYN Flag Count", "SYN Flag Count"], Count(|flow| flow.packets_with(flags::SYN))),
    common(["RST Flag Cnt", "RST Flag Count", "RST Flag Count"], Count(|flow| flow.packets_with(flags::RST))),
    common(["PSH Flag Cnt", "PSH Flag Count", "PSH Flag Count"], Count(|flow| flow.packets_with(flags::PSH))),
    common(["ACK Flag Cnt", "ACK Flag Count", "ACK Flag Count"], Count(|flow| flow.packets_with(flags::ACK))),
    common(["URG Flag Cnt", "URG Flag Count", "URG Flag Count"], Count(|flow| flow.packets_with(URG))),
    common(["CWE Flag Count", "CWE Flag Count", "CWR Flag Count"], Count(|flow| flow.packets_with(CWR))),
    common(["ECE Flag Cnt", "ECE Flag Count", "ECE Flag Count"], Count(|flow| flow.packets_with(ECE))),
    common(["Down/Up Ratio"; 3], Real(|flow| ratio(flow.backward.packets(), flow.forward.packets()))),
    common(["Pkt Size Avg", "Avg Packet Size", "Average Packet Size"], Real(|flow| lengths(flow).mean())),
    common(
        ["Fwd Seg Size Avg", "Avg Fwd Segment Size", "Fwd Segment Size Avg"],
        Real(|flow| flow.forward.lengths.mean()),
    ),
    common(
        ["Bwd Seg Size Avg", "Avg Bwd Segment Size", "Bwd Segment Size Avg"],
        Real(|flow| flow.backward.lengths.mean()),
    ),
    common(
        ["Fwd Byts/b Avg", "Fwd Avg Bytes/Bulk", "Fwd Bytes/Bulk Avg"],
        Real(|flow| ratio(flow.forward.bulk.bytes, flow.forward.bulk.bulks)),
    ),
    common(
        ["Fwd Pkts/b Avg", "Fwd Avg Packets/Bulk", "Fwd Packet/Bulk Avg"],
        Real(|flow| ratio(flow.forward.bulk.packets, flow.forward.bulk.bulks)),
    ),
    common(
        ["Fwd Blk Rate Avg", "Fwd Avg Bulk Rate", "Fwd Bulk Rate Avg"],
        Real(|flow| per_second(flow.forward.bulk.bytes, flow.forward.bulk.duration_ns)),
    ),
    common(
        ["Bwd Byts/b Avg", "Bwd Avg Bytes/Bulk", "Bwd Bytes/Bulk Avg"],
        Real(|flow| ratio(flow.backward.bulk.bytes, flow.backward.bulk.bulks)),
    ),
    common(
        ["Bwd Pkts/b Avg", "Bwd Avg Packets/Bulk", "Bwd Packet/Bulk Avg"],
        Real(|flow| ratio(flow.backward.bulk.packets, flow.backward.bulk.bulks)),
    ),
    common(
        ["Bwd Blk Rate Avg", "Bwd Avg Bulk Rate", "Bwd Bulk Rate Avg"],
        Real(|flow| per_second(flow.backward.bulk.bytes, flow.backward.bulk.duration_ns)),
    ),
    common(
        ["Subflow Fwd Pkts", "Subflow Fwd Packets", "Subflow Fwd Packets"],
        Real(|flow| ratio(flow.forward.packets(), flow.subflows)),
    ),
    common(
        ["Subflow Fwd Byts", "Subflow Fwd Bytes", "Subflow Fwd Bytes"],
        Real(|flow| ratio(flow.forward.lengths.total, flow.subflows)),
    ),
    common(
        ["Subflow Bwd Pkts", "Subflow Bwd Packets", "Subflow Bwd Packets"],
        Real(|flow| ratio(flow.backward.packets(), flow.subflows)),
    ),
    common(
        ["Subflow Bwd Byts", "Subflow Bwd Bytes", "Subflow Bwd Bytes"],
        Real(|flow| ratio(flow.backward.lengths.total, flow.subflows)),
    ),
    common(
        ["Init Fwd Win Byts", "Init Fwd Win Bytes", "FWD Init Win Bytes"],
        IfAny(|flow| flow.forward.first_window),
    ),
    common(
        ["Init Bwd Win Byts", "Init Bwd Win Bytes", "Bwd Init Win Bytes"],
        IfAny(|flow| flow.backward.first_window),
    ),
    common(
        ["Fwd Act Data Pkts", "Fwd Act Data Packets", "Fwd Act Data Pkts"],
        Count(|flow| flow.forward.data_packets),
    ),
    common(["Fwd Seg Size Min"; 3], Count(|flow| flow.forward.least_header_bytes.into())),
    common(["Active Mean"; 3], MeanNs(|flow| flow.active.mean())),
    common(["Active Std"; 3], MeanNs(|flow| flow.active.deviation())),
    common(["Active Max"; 3], Ns(|flow| flow.active.max)),
    common(["Active Min"; 3], Ns(|flow| flow.active.min)),
    common(["Idle Mean"; 3], MeanNs(|flow| flow.idle.mean())),
    common(["Idle Std"; 3], MeanNs(|flow| flow.idle.deviation())),
    common(["Idle Max"; 3], Ns(|flow| flow.idle.max)),
    common(["Idle Min"; 3], Ns(|flow| flow.idle.min)),
    corrected("ICMP Code", IfAny(|flow| flow.icmp.map(|(_, code)| code.into()))),
    corrected("ICMP Type", IfAny(|flow| flow.icmp.map(|(kind, _)| kind.into()))),
    corrected("Total TCP Flow Time", Ns(connection_ns)),
];

/// The columns of a table of flows: what tells them apart, then their features.
#[must_use]
pub fn columns(spelling: Spelling) -> Vec<Column> {
    let identity = IDENTITY.iter().map(|(name, kind, _)| (*name, *kind));
    let features =
        FEATURES.iter().filter_map(|feature| feature.name(spelling).map(|name| (name, feature.kind())));
    let spelled = |(name, kind): (&'static str, Kind)| match spelling {
        Spelling::SnakeCase => Column::new(name.to_ascii_lowercase().replace([' ', '/'], "_"), kind),
        _ => Column::new(name, kind),
    };
    identity.chain(features).map(spelled).collect()
}

/// The row of a flow, written over `row`.
pub fn write_row(flow: &Flow, spelling: Spelling, row: &mut Vec<Cell>) {
    row.clear();
    row.extend(IDENTITY.iter().map(|(_, _, of)| of(flow)));
    let features = FEATURES.iter().filter(|feature| feature.name(spelling).is_some());
    row.extend(features.map(|feature| feature.of(flow)));
}

/// As CICFlowMeter writes it: both addresses, both ports, the protocol.
fn identifier(flow: &Flow) -> Cell {
    let Endpoint { port: from, .. } = flow.initiator;
    let Endpoint { port: to, .. } = flow.responder;
    Cell::Text(
        format!("{}-{}-{from}-{to}-{}", flow.initiator.ip(), flow.responder.ip(), flow.protocol).into(),
    )
}

pub(super) fn address(endpoint: &Endpoint) -> Cell {
    Cell::Text(endpoint.ip().to_string().into())
}

pub(super) fn protocol_name(number: u8) -> Cell {
    Cell::Text(match number {
        protocol::TCP => "tcp".into(),
        protocol::UDP => "udp".into(),
        protocol::ICMP => "icmp".into(),
        protocol::ICMPV6 => "icmpv6".into(),
        other => other.to_string().into(),
    })
}

/// A moment, from nanoseconds.
pub(super) fn microseconds(unix_ns: u64) -> Cell {
    Cell::Time(i64::try_from(unix_ns / 1_000).unwrap_or(i64::MAX))
}

fn count(number: u64) -> Cell {
    Cell::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

fn per_second(number: u64, duration_ns: u64) -> f64 {
    if duration_ns == 0 { 0.0 } else { as_f64(number) / (as_f64(duration_ns) / 1e9) }
}

fn ratio(number: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { as_f64(number) / as_f64(of) }
}

fn lengths(flow: &Flow) -> Summary {
    flow.forward.lengths.with(&flow.backward.lengths)
}

/// From the connection's first packet, over active timeouts, to this flow's last one; 0 without TCP.
fn connection_ns(flow: &Flow) -> u64 {
    if flow.protocol == protocol::TCP { flow.last_ns - flow.connection_ns } else { 0 }
}

#[expect(clippy::cast_precision_loss, reason = "durations and sums of bytes are below 2^53 within a day")]
const fn as_f64(number: u64) -> f64 {
    number as f64
}
