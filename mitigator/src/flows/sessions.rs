//! Sessions: what a person asks of a flow first, in few columns.

use super::features::{address, microseconds, protocol_name};
use super::flow::Flow;
use super::services;
use crate::tabular::{Cell, Column, Kind};
use mitigator_ebpf::packet::flags;

/// The name of a column, what its cells hold, and how they are worked out.
type Field = (&'static str, Kind, fn(&Flow) -> Cell);

const FIELDS: [Field; 17] = [
    ("started", Kind::Time, |flow| microseconds(flow.first_ns)),
    ("duration_s", Kind::Real, |flow| Cell::Real(seconds(flow.duration_ns()))),
    ("protocol", Kind::Text, |flow| protocol_name(flow.protocol)),
    ("service", Kind::Text, service),
    ("initiator", Kind::Text, |flow| address(&flow.initiator)),
    ("initiator_port", Kind::Integer, |flow| Cell::Integer(flow.initiator.port.into())),
    ("responder", Kind::Text, |flow| address(&flow.responder)),
    ("responder_port", Kind::Integer, |flow| Cell::Integer(flow.responder.port.into())),
    ("packets", Kind::Integer, |flow| count(flow.packets())),
    ("forward_packets", Kind::Integer, |flow| count(flow.forward.packets())),
    ("backward_packets", Kind::Integer, |flow| count(flow.backward.packets())),
    ("bytes", Kind::Integer, |flow| count(flow.forward.wire_bytes + flow.backward.wire_bytes)),
    ("forward_bytes", Kind::Integer, |flow| count(flow.forward.wire_bytes)),
    ("backward_bytes", Kind::Integer, |flow| count(flow.backward.wire_bytes)),
    ("handshake_completed", Kind::Flag, |flow| Cell::Flag(flow.has_completed_handshake())),
    ("ack_packets", Kind::Integer, |flow| count(flow.packets_with(flags::ACK))),
    ("end", Kind::Text, |flow| Cell::Text(flow.end.name().into())),
];

/// The columns of a table of sessions.
#[must_use]
pub fn columns() -> Vec<Column> {
    FIELDS.iter().map(|(name, kind, _)| Column::new(*name, *kind)).collect()
}

/// The row of a flow, written over `row`.
pub fn write_row(flow: &Flow, row: &mut Vec<Cell>) {
    row.clear();
    row.extend(FIELDS.iter().map(|(_, _, of)| of(flow)));
}

/// That of the responder's port, or else of the initiator's, for an answer whose question was not captured.
fn service(flow: &Flow) -> Cell {
    services::name_of(flow.protocol, flow.responder.port)
        .or_else(|| services::name_of(flow.protocol, flow.initiator.port))
        .map_or(Cell::Missing, |name| Cell::Text(name.into()))
}

fn count(number: u64) -> Cell {
    Cell::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

#[expect(clippy::cast_precision_loss, reason = "a duration is less than 2^53 ns, 104 days")]
fn seconds(duration_ns: u64) -> f64 {
    duration_ns as f64 / 1e9
}
