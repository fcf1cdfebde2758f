//! What a packet is expected to come to, in the words of the rows.

use mitigator_common::{Outcome, SourceCounters};
use mitigator_tests::packet::{Header, HeaderKind, Packet};

/// What one packet comes to.
#[derive(Clone, Copy, Debug)]
pub enum Expected {
    /// Counted for this source (as it is displayed), and raising these counters by one.
    Counted(&'static str, &'static [Count]),
    /// This outcome, and nothing is counted.
    Is(Outcome),
}

/// A counter that one packet raises beside `packets` and `bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    Syn,
    SynAck,
    Ack,
    Rst,
    Odd,
    Push,
    Fin,
    Udp,
    /// With the source port that is remembered.
    Reflection(u16),
    Icmp,
    Fragment,
    Extension,
    Other,
}

impl Count {
    /// Whether such a packet has a destination port.
    fn has_port(self) -> bool {
        matches!(self, Self::Syn | Self::SynAck | Self::Ack | Self::Rst | Self::Odd | Self::Udp)
    }
}

/// The row of a source after its one packet, a copy of `found` in what depends on the clock.
pub fn counters_of_one(
    counts: &[Count],
    packet: &Packet,
    bytes: usize,
    found: &SourceCounters,
) -> SourceCounters {
    let has_port = counts.iter().any(|count| count.has_port());
    let is_one_bit = has_port && found.port_bits.count_ones() == 1;
    let mut row = SourceCounters {
        packets: 1,
        bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
        first_seen_ns: found.last_seen_ns,
        last_seen_ns: found.last_seen_ns,
        port_bits: if is_one_bit { found.port_bits } else { 0 },
        destination_port: if has_port { packet.destination_port() } else { 0 },
        ports_epoch: if has_port { SourceCounters::ports_epoch_of(found.last_seen_ns) } else { 0 },
        ..SourceCounters::EMPTY
    };
    for count in counts {
        match count {
            Count::Syn => row.tcp_syn_packets = 1,
            Count::SynAck => row.tcp_syn_ack_packets = 1,
            Count::Ack => row.tcp_ack_packets = 1,
            Count::Rst => row.tcp_rst_packets = 1,
            Count::Odd => row.tcp_odd_packets = 1,
            Count::Push => row.tcp_push_packets = 1,
            Count::Fin => row.tcp_fin_packets = 1,
            Count::Udp => row.udp_packets = 1,
            Count::Reflection(port) => {
                row.reflection_packets = 1;
                row.reflection_port = *port;
            }
            Count::Icmp => row.icmp_packets = 1,
            Count::Fragment => row.fragment_packets = 1,
            Count::Extension => row.extension_packets = 1,
            Count::Other => row.other_packets = 1,
        }
    }
    row
}

/// What a packet that is cut to `length` comes to; `None` stands for unparsed. It is that until its IP
/// header is whole, then it counts as `network`, and as `transport` as soon as that is whole too.
pub fn counts_when_cut(
    headers: &[Header],
    network: &[Count],
    transport: Count,
    length: usize,
) -> Option<Vec<Count>> {
    let is_whole =
        |kind| headers.iter().filter(|header| header.kind == kind).all(|header| header.end <= length);
    if !is_whole(HeaderKind::Network) {
        return None;
    }
    let mut counts = network.to_vec();
    let has_fragment = headers.iter().any(|header| header.kind == HeaderKind::Fragment);
    if has_fragment && is_whole(HeaderKind::Fragment) {
        counts.push(Count::Fragment);
    }
    counts.push(if is_whole(HeaderKind::Transport) { transport } else { Count::Other });
    Some(counts)
}
