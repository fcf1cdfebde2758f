//! `SourceCounters`: what the data plane knows of one source, in both directions.

use bytemuck::{Pod, Zeroable};

/// Totals of one source since `first_seen_ns`. They only grow (32-bit ones wrap), so that the
/// change between two readings of the same row is what the source did in between.
///
/// A row that was evicted and made anew has another `first_seen_ns`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct SourceCounters {
    /// All packets of the source that were neither dropped nor excepted.
    pub packets: u64,
    /// On the wire, Ethernet header included.
    pub bytes: u64,
    /// Monotonic time of the first packet.
    pub first_seen_ns: u64,
    /// Monotonic time of the last packet.
    pub last_seen_ns: u64,
    /// One bit for each of 64 classes of TCP and UDP destination ports seen in `ports_epoch`, and of the ports
    /// of the source that this host asked for a connection.
    pub port_bits: u64,
    /// Epoch of `port_bits`: monotonic time in units of 2^30 ns (1.07 s), cut to 32 bits.
    pub ports_epoch: u32,
    /// SYN set, ACK clear.
    pub tcp_syn_packets: u32,
    /// SYN and ACK set.
    pub tcp_syn_ack_packets: u32,
    /// ACK set, SYN and RST clear.
    pub tcp_ack_packets: u32,
    /// RST set.
    pub tcp_rst_packets: u32,
    /// Neither SYN, ACK nor RST: null, FIN and Xmas scans, odd floods.
    pub tcp_odd_packets: u32,
    /// With payload and PSH: the end of a request or of a burst of data.
    pub tcp_push_packets: u32,
    /// UDP, first fragments included.
    pub udp_packets: u32,
    /// UDP from a source port known for reflection, first fragments included.
    pub reflection_packets: u32,
    /// ICMP and ICMPv6.
    pub icmp_packets: u32,
    /// Fragments of any protocol, first and later ones.
    pub fragment_packets: u32,
    /// IPv6 with a header between the fixed one and the transport.
    pub extension_packets: u32,
    /// Other protocols than TCP, UDP and ICMP, and later fragments.
    pub other_packets: u32,
    /// Source port of the latest reflection packet, 0 for none.
    pub reflection_port: u16,
    /// Destination port of the latest TCP or UDP packet, 0 for none.
    pub destination_port: u16,
    /// FIN set, RST clear; most of them have ACK and count there too.
    pub tcp_fin_packets: u32,
    /// What is known of the row beside numbers.
    pub marks: RowMarks,
    /// All packets that this host sent to the source. Offloaded segments count as one.
    pub sent_packets: u32,
    /// Of them: connections asked for.
    pub sent_syn_packets: u32,
    /// Of them: connections accepted.
    pub sent_syn_ack_packets: u32,
    /// Of them: TCP with payload.
    pub sent_data_packets: u32,
    /// Of them: UDP.
    pub sent_udp_packets: u32,
    /// Of them: FIN or RST.
    pub sent_closing_packets: u32,
}

const _: () = assert!(size_of::<SourceCounters>() == 128);

/// What is known of a row beside numbers, a bit each.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct RowMarks(u32);

impl RowMarks {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// This host sent the source UDP before anything came of it, which an answer to a forged question is not, or from a port
    /// for questions.
    pub const ASKED: Self = Self(1);
    /// Another source had the row before. A CPU that was counting a packet of that one when the row was emptied may have
    /// put back one number of it, the one that it was adding to.
    pub const HAD_ANOTHER: Self = Self(2);

    /// Those that a number stands for.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The number that stands for them.
    #[inline(always)]
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether these are among them.
    #[inline(always)]
    #[must_use]
    pub const fn has(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }
}

impl SourceCounters {
    /// A row before its first packet.
    pub const EMPTY: Self = Self {
        packets: 0,
        bytes: 0,
        first_seen_ns: 0,
        last_seen_ns: 0,
        port_bits: 0,
        ports_epoch: 0,
        tcp_syn_packets: 0,
        tcp_syn_ack_packets: 0,
        tcp_ack_packets: 0,
        tcp_rst_packets: 0,
        tcp_odd_packets: 0,
        tcp_push_packets: 0,
        udp_packets: 0,
        reflection_packets: 0,
        icmp_packets: 0,
        fragment_packets: 0,
        extension_packets: 0,
        other_packets: 0,
        reflection_port: 0,
        destination_port: 0,
        tcp_fin_packets: 0,
        marks: RowMarks::NONE,
        sent_packets: 0,
        sent_syn_packets: 0,
        sent_syn_ack_packets: 0,
        sent_data_packets: 0,
        sent_udp_packets: 0,
        sent_closing_packets: 0,
    };

    /// Whether this host asked the source for something, or has a connection with it: a forged address can be
    /// neither.
    #[inline(always)]
    #[must_use]
    pub const fn was_asked(&self) -> bool {
        self.sent_syn_packets > 0 || self.sent_data_packets > 0 || self.marks.has(RowMarks::ASKED)
    }

    /// The epoch of `port_bits` that `now_ns` falls into.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "epochs are compared for equality only")]
    pub const fn ports_epoch_of(now_ns: u64) -> u32 {
        (now_ns >> 30) as u32
    }
}
