//! Counts one packet for its source, in place.
//!
//! [`LiveRow`] is the row of a source while packets arrive on several CPUs, in two values of maps of their own. The CPU on
//! which its packets arrive, as a rule, owns [`OwnersLine`] and adds to it alone, without the atomic additions that would
//! make each packet wait for the one before; all others add to [`RowDetails`], atomically. Both are summed by who reads: no
//! packet is lost, and memory goes by the sources alone, however many CPUs there are. Nearly every packet touches the
//! first alone, so that those of all sources lie side by side: in few pages and caches.

use mitigator_common::{RowMarks, Source, SourceCounters};

use crate::content::Content;
use crate::packet::{TransportKind, flags};
use crate::shared::{SharedU32, SharedU64};

/// Where the owner stands beside an epoch: the number of its CPU and one, or 0 for nobody.
const OWNER_SHIFT: u32 = 16;
const EPOCH_MASK: u32 = 0xffff;
/// Of the two ports, the one of reflection stands above.
const PORT_SHIFT: u32 = 16;
/// Ports that Linux takes for questions, from here on; services that answer strangers are below, as a rule.
const ASKING_PORTS: u16 = 32_768;
/// Flags by which TCP packets are told apart, but for that of a request.
const KINDS_OF_TCP: u8 = flags::FIN | flags::SYN | flags::RST | flags::ACK;
/// More than a packet ever has.
const MOST_BYTES: u64 = 65_535;

/// What packets of a source come to on the CPU that owns the row, or on all others.
#[repr(C)]
#[derive(Debug, Default)]
struct Part {
    packets: SharedU64,
    bytes: SharedU64,
    last_seen_ns: SharedU64,
    port_bits: SharedU64,
    tcp_syn_packets: SharedU32,
    tcp_ack_packets: SharedU32,
    tcp_push_packets: SharedU32,
    udp_packets: SharedU32,
    /// Destination port of the latest packet, and source port of the latest reflection above it.
    ports: SharedU32,
    /// Lower half: the epoch of `port_bits`, cut. Upper half: in the owner's part, who that is.
    epoch: SharedU32,
}

/// Whose a row is, and what the CPU that owns it counts: one cache line.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct OwnersLine {
    source: SharedU64,
    own: Part,
}

/// What all other CPUs count of a row's source, and what is rare: two cache lines.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct RowDetails {
    others: Part,
    tcp_fin_packets: SharedU32,
    tcp_syn_ack_packets: SharedU32,
    first_seen_ns: SharedU64,
    tcp_rst_packets: SharedU32,
    tcp_odd_packets: SharedU32,
    reflection_packets: SharedU32,
    icmp_packets: SharedU32,
    fragment_packets: SharedU32,
    extension_packets: SharedU32,
    other_packets: SharedU32,
    sent_packets: SharedU32,
    sent_syn_packets: SharedU32,
    sent_syn_ack_packets: SharedU32,
    sent_data_packets: SharedU32,
    sent_udp_packets: SharedU32,
    sent_closing_packets: SharedU32,
    /// [`RowMarks`].
    marks: SharedU32,
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<OwnersLine>() == 64 && size_of::<RowDetails>() == 128);
    assert!(offset_of!(RowDetails, first_seen_ns) == 64);
};

/// A row of the source table; [`SourceCounters`] tells what it counts.
#[derive(Clone, Copy, Debug)]
pub struct LiveRow<'t> {
    line: &'t OwnersLine,
    details: &'t RowDetails,
}

/// The memory of one row.
#[derive(Debug, Default)]
pub struct RowMemory {
    line: OwnersLine,
    details: RowDetails,
}

impl RowMemory {
    /// Of a source first seen at `now_ns`.
    #[must_use]
    pub fn starting_at(now_ns: u64) -> Self {
        let memory = Self::default();
        memory.row().begin(Source::default(), now_ns, RowMarks::NONE);
        memory
    }

    /// The row.
    #[must_use]
    pub const fn row(&self) -> LiveRow<'_> {
        LiveRow { line: &self.line, details: &self.details }
    }
}

/// How to add to a part.
trait Adds {
    fn add(number: &SharedU32, amount: u32);
    fn add_long(number: &SharedU64, amount: u64);
}

/// On the CPU that owns it.
struct Alone;
/// On any other.
struct AmongOthers;

impl Adds for Alone {
    #[inline(always)]
    fn add(number: &SharedU32, amount: u32) {
        number.add_alone(amount);
    }

    #[inline(always)]
    fn add_long(number: &SharedU64, amount: u64) {
        number.add_alone(amount);
    }
}

impl Adds for AmongOthers {
    #[inline(always)]
    fn add(number: &SharedU32, amount: u32) {
        number.add(amount);
    }

    #[inline(always)]
    fn add_long(number: &SharedU64, amount: u64) {
        number.add(amount);
    }
}

impl Part {
    #[inline(always)]
    fn begin(&self, now_ns: u64) {
        self.packets.set(0);
        self.bytes.set(0);
        self.last_seen_ns.set(now_ns);
        self.port_bits.set(0);
        self.tcp_syn_packets.set(0);
        self.tcp_ack_packets.set(0);
        self.tcp_push_packets.set(0);
        self.udp_packets.set(0);
        self.ports.set(0);
        // An epoch of which there are no ports yet.
        self.epoch.set(!SourceCounters::ports_epoch_of(now_ns) & EPOCH_MASK);
    }

    /// Counts a packet, but for what is rare in it; whether anything is. `has_epoch`: its port bits are of the
    /// epoch of `now_ns`, and nobody else writes them.
    #[inline(always)]
    fn record<A: Adds>(&self, content: Content, wire_bytes: u64, now_ns: u64, has_epoch: bool) -> bool {
        A::add_long(&self.packets, 1);
        A::add_long(&self.bytes, wire_bytes);
        self.last_seen_ns.set(now_ns);
        let transport = content.transport();
        let is_rare = match transport.kind() {
            TransportKind::Tcp => {
                self.note_destination(transport.destination_port(), now_ns, has_epoch);
                let flags = transport.flags();
                if flags & flags::RST != 0 {
                } else if flags & flags::SYN != 0 {
                    if flags & flags::ACK == 0 {
                        A::add(&self.tcp_syn_packets, 1);
                    }
                } else if flags & flags::ACK != 0 {
                    A::add(&self.tcp_ack_packets, 1);
                    if transport.has_payload() && flags & flags::PSH != 0 {
                        A::add(&self.tcp_push_packets, 1);
                    }
                }
                !matches!(flags & KINDS_OF_TCP, flags::ACK | flags::SYN)
            }
            TransportKind::Udp => {
                self.note_destination(transport.destination_port(), now_ns, has_epoch);
                A::add(&self.udp_packets, 1);
                is_reflection_port(transport.source_port())
            }
            TransportKind::Icmp | TransportKind::Other => true,
        };
        is_rare || content.is_unusual()
    }

    /// Two CPUs that meet in the part that is nobody's own may lose a port or a bit of the sketch, which only ever makes
    /// the estimate smaller; the next packet to the port sets it again.
    #[inline(always)]
    fn note_destination(&self, port: u16, now_ns: u64, has_epoch: bool) {
        let ports = self.ports.get();
        if (ports ^ u32::from(port)) & 0xffff != 0 {
            self.ports.set(ports >> PORT_SHIFT << PORT_SHIFT | u32::from(port));
        } else if has_epoch {
            // The class was noted with the port, or with another packet to it in this epoch.
            return;
        }
        self.note_port_class(port, now_ns);
    }

    #[inline(always)]
    fn note_reflection(&self, port: u16) {
        let ports = self.ports.get();
        if ports >> PORT_SHIFT != u32::from(port) {
            self.ports.set(u32::from(port) << PORT_SHIFT | ports & 0xffff);
        }
    }

    #[inline(always)]
    fn note_port_class(&self, port: u16, now_ns: u64) {
        let epoch = SourceCounters::ports_epoch_of(now_ns) & EPOCH_MASK;
        let bit = port_bit(port);
        let found = self.epoch.get();
        if found & EPOCH_MASK != epoch {
            self.epoch.set(found & !EPOCH_MASK | epoch);
            self.port_bits.set(bit);
            return;
        }
        let bits = self.port_bits.get();
        if bits & bit == 0 {
            self.port_bits.set(bits | bit);
        }
    }

    /// The classes of ports, and their epoch, whole: it is near that of the source's last packet. 0 when there are none.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "the lower half, with a sign"
    )]
    fn ports_seen(&self, last_seen_ns: u64) -> (u64, u32) {
        let bits = self.port_bits.get();
        if bits == 0 {
            return (0, 0);
        }
        let last = SourceCounters::ports_epoch_of(last_seen_ns);
        let later = self.epoch.get().wrapping_sub(last) as u16 as i16;
        (bits, last.wrapping_add_signed(i32::from(later)))
    }
}

impl OwnersLine {
    /// Whether the row is the source's.
    #[inline(always)]
    #[must_use]
    pub fn is_of(&self, source: Source) -> bool {
        self.source.get() == source.number()
    }

    /// Adds one packet of `wire_bytes` bytes that arrived at `now_ns` on the CPU `cpu`, less than 65,535, here or in the
    /// row's `details`.
    #[inline(always)]
    pub fn record<'t>(
        &self,
        cpu: u32,
        content: Content,
        wire_bytes: u64,
        now_ns: u64,
        details: impl Fn() -> Option<&'t RowDetails>,
    ) {
        let found = self.own.epoch.get();
        let epoch = SourceCounters::ports_epoch_of(now_ns) & EPOCH_MASK;
        if found >> OWNER_SHIFT == cpu + 1 || self.becomes_of(cpu, found) {
            let has_epoch = found & EPOCH_MASK == epoch;
            if self.own.record::<Alone>(content, wire_bytes, now_ns, has_epoch)
                && let Some(details) = details()
            {
                details.record_rare(content, &self.own);
            }
        } else if let Some(details) = details() {
            details.others.record::<AmongOthers>(content, wire_bytes, now_ns, false);
            details.record_rare(content, &details.others);
        }
    }

    /// The first CPU on which a packet arrives owns the row from then on.
    #[inline(always)]
    fn becomes_of(&self, cpu: u32, found: u32) -> bool {
        found >> OWNER_SHIFT == 0 && self.own.epoch.replace(found, found | (cpu + 1) << OWNER_SHIFT)
    }
}

impl RowDetails {
    /// Counts as what few packets are, atomically whoever it is. `part` is where the packet was counted.
    #[inline(always)]
    fn record_rare(&self, content: Content, part: &Part) {
        if content.is_fragment() {
            self.fragment_packets.add(1);
        }
        if content.has_extensions() {
            self.extension_packets.add(1);
        }
        let transport = content.transport();
        match transport.kind() {
            TransportKind::Tcp => {
                let flags = transport.flags();
                if flags & (flags::FIN | flags::RST) == flags::FIN {
                    self.tcp_fin_packets.add(1);
                }
                if flags & flags::RST != 0 {
                    self.tcp_rst_packets.add(1);
                } else if flags & (flags::SYN | flags::ACK) == flags::SYN | flags::ACK {
                    self.tcp_syn_ack_packets.add(1);
                } else if flags & (flags::SYN | flags::ACK) == 0 {
                    self.tcp_odd_packets.add(1);
                }
            }
            TransportKind::Udp => {
                let source_port = transport.source_port();
                if is_reflection_port(source_port) && !content.is_to_group() {
                    self.reflection_packets.add(1);
                    part.note_reflection(source_port);
                }
            }
            TransportKind::Icmp => self.icmp_packets.add(1),
            TransportKind::Other => self.other_packets.add(1),
        }
    }
}

impl<'t> LiveRow<'t> {
    /// The row of these two values.
    #[inline(always)]
    #[must_use]
    pub const fn new(line: &'t OwnersLine, details: &'t RowDetails) -> Self {
        Self { line, details }
    }

    /// Whose it is.
    #[must_use]
    pub fn source(self) -> Source {
        Source::from_number(self.line.source.consult())
    }

    /// Empties the row for another source, first seen at `now_ns`. A CPU that is counting a packet of the former one at
    /// this very moment, after it was quiet for long, may add it to the new one, or put back what it had loaded before;
    /// that there was a former one, `marks` tells.
    #[inline(always)]
    pub fn begin(self, source: Source, now_ns: u64, marks: RowMarks) {
        let Self { line, details } = self;
        line.source.publish(Source::BEING_MADE.number());
        line.own.begin(now_ns);
        details.others.begin(now_ns);
        details.first_seen_ns.set(now_ns);
        for number in [
            &details.tcp_fin_packets,
            &details.tcp_syn_ack_packets,
            &details.tcp_rst_packets,
            &details.tcp_odd_packets,
            &details.reflection_packets,
            &details.icmp_packets,
            &details.fragment_packets,
            &details.extension_packets,
            &details.other_packets,
            &details.sent_packets,
            &details.sent_syn_packets,
            &details.sent_syn_ack_packets,
            &details.sent_data_packets,
            &details.sent_udp_packets,
            &details.sent_closing_packets,
        ] {
            number.set(0);
        }
        details.marks.set(marks.bits());
        line.source.publish(source.number());
    }

    /// A number that is another one as soon as one packet more was counted, in either direction. That of the row of another
    /// source, or of one that was made anew, is another one but for one in 2^64.
    #[must_use]
    pub fn fingerprint(self) -> u64 {
        let Self { line, details } = self;
        let packets = line.own.packets.get().wrapping_add(details.others.packets.get());
        let row = line.source.get().wrapping_mul(0x9e37_79b9_7f4a_7c15)
            ^ details.first_seen_ns.get().wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        // Both only grow, so that the sum of a row never comes back before 2^32 packets were sent.
        row.wrapping_add(packets).wrapping_add(u64::from(details.sent_packets.get()) << 32)
    }

    /// When the source sent last.
    #[inline(always)]
    #[must_use]
    pub fn last_seen_ns(self) -> u64 {
        let (own, others) = (self.line.own.last_seen_ns.get(), self.details.others.last_seen_ns.get());
        if own < others { others } else { own }
    }

    /// Adds one packet, as [`OwnersLine::record`].
    #[inline(always)]
    pub fn record(self, cpu: u32, content: Content, wire_bytes: u64, now_ns: u64) {
        self.line.record(cpu, content, wire_bytes, now_ns, || Some(self.details));
    }

    /// Adds one packet that this host sent to the source at `now_ns`; whether the source is known by that, and its
    /// address not forged: this host asked it for something, or goes on with a connection.
    ///
    /// UDP that leaves from a port for questions is one, as where both sides of a call speak first. From any other port it is
    /// one if nothing came before and the row `has_all`, every packet of the source.
    #[inline(always)]
    pub fn record_sent(self, content: Content, now_ns: u64, has_all: impl FnOnce() -> bool) -> bool {
        self.details.sent_packets.add(1);
        let transport = content.transport();
        match transport.kind() {
            TransportKind::Tcp => {
                let flags = transport.flags();
                if flags & (flags::FIN | flags::RST) != 0 {
                    self.details.sent_closing_packets.add(1);
                }
                if transport.opens() {
                    self.details.sent_syn_packets.add(1);
                    self.details.others.note_port_class(transport.destination_port(), now_ns);
                    return true;
                }
                if flags & flags::SYN != 0 {
                    self.details.sent_syn_ack_packets.add(1);
                } else if transport.has_payload() {
                    self.details.sent_data_packets.add(1);
                    return true;
                }
                false
            }
            TransportKind::Udp => {
                self.details.sent_udp_packets.add(1);
                // An answer to a forged question says nothing of who is there.
                let is_first = || self.line.own.packets.get() == 0 && self.details.others.packets.get() == 0;
                let asks = transport.source_port() >= ASKING_PORTS || is_first() && has_all();
                if asks {
                    self.note_asked();
                }
                asks
            }
            TransportKind::Icmp | TransportKind::Other => false,
        }
    }

    /// By exchange, so that the mark of a row that has gone to another source for the first time meanwhile is not lost.
    #[inline(always)]
    fn note_asked(self) {
        let marks = self.details.marks.get();
        if !RowMarks::from_bits(marks).has(RowMarks::ASKED) {
            let _has_gone = !self.details.marks.replace(marks, marks | RowMarks::ASKED.bits());
        }
    }

    /// Whether this host asked the source for a connection, or answered it over one.
    #[inline(always)]
    #[must_use]
    pub fn has_connection(self) -> bool {
        self.details.sent_syn_packets.get() > 0 || self.details.sent_data_packets.get() > 0
    }

    #[inline(always)]
    fn has(self, marks: RowMarks) -> bool {
        RowMarks::from_bits(self.details.marks.get()).has(marks)
    }

    /// Whether a limit that began at `since_ns` exempts the source: it was there before, or this host asked
    /// it for something or answered it over a connection. A forged address can be none of these; UDP that is answered
    /// may be forged.
    #[inline(always)]
    #[must_use]
    pub fn is_known(self, since_ns: u64) -> bool {
        self.details.first_seen_ns.get() < since_ns || self.has_connection() || self.has(RowMarks::ASKED)
    }

    /// The row as it stands.
    #[must_use]
    pub fn totals(self) -> SourceCounters {
        let found = self.sums();
        if found.marks.has(RowMarks::HAD_ANOTHER) { as_others_tell(found) } else { found }
    }

    fn sums(self) -> SourceCounters {
        let Self { line: OwnersLine { own, .. }, details } = self;
        let others = &details.others;
        let both = |count: fn(&Part) -> &SharedU32| count(own).get().wrapping_add(count(others).get());
        let (own_ports, other_ports) = (own.ports.get(), others.ports.get());
        let is_others_latest = others.packets.get() > 0 && others.last_seen_ns.get() > own.last_seen_ns.get();
        let destination = if is_others_latest { other_ports } else { own_ports };
        let reflection = if own_ports >> PORT_SHIFT == 0 { other_ports } else { own_ports };
        let ((own_bits, own_epoch), (other_bits, other_epoch)) =
            (own.ports_seen(self.last_seen_ns()), others.ports_seen(self.last_seen_ns()));
        let (port_bits, ports_epoch) = if own_epoch == other_epoch {
            (own_bits | other_bits, own_epoch)
        } else if own_bits != 0 && (other_bits == 0 || own_epoch > other_epoch) {
            (own_bits, own_epoch)
        } else {
            (other_bits, other_epoch)
        };
        SourceCounters {
            packets: own.packets.get() + others.packets.get(),
            bytes: own.bytes.get() + others.bytes.get(),
            first_seen_ns: details.first_seen_ns.get(),
            last_seen_ns: self.last_seen_ns(),
            port_bits,
            ports_epoch,
            tcp_syn_packets: both(|part| &part.tcp_syn_packets),
            tcp_syn_ack_packets: details.tcp_syn_ack_packets.get(),
            tcp_ack_packets: both(|part| &part.tcp_ack_packets),
            tcp_rst_packets: details.tcp_rst_packets.get(),
            tcp_odd_packets: details.tcp_odd_packets.get(),
            tcp_push_packets: both(|part| &part.tcp_push_packets),
            udp_packets: both(|part| &part.udp_packets),
            reflection_packets: details.reflection_packets.get(),
            icmp_packets: details.icmp_packets.get(),
            fragment_packets: details.fragment_packets.get(),
            extension_packets: details.extension_packets.get(),
            other_packets: details.other_packets.get(),
            reflection_port: upper_half(reflection),
            destination_port: lower_half(destination),
            tcp_fin_packets: details.tcp_fin_packets.get(),
            marks: RowMarks::from_bits(details.marks.get()),
            sent_packets: details.sent_packets.get(),
            sent_syn_packets: details.sent_syn_packets.get(),
            sent_syn_ack_packets: details.sent_syn_ack_packets.get(),
            sent_data_packets: details.sent_data_packets.get(),
            sent_udp_packets: details.sent_udp_packets.get(),
            sent_closing_packets: details.sent_closing_packets.get(),
        }
    }
}

/// A row's numbers without one that cannot be its source's, because the others tell otherwise: a CPU that was held up
/// after it had loaded that one, while the row went to another source, put it back. So the packets are right; a kind that
/// was put back is as many of them as it can be, at most. All of them grow still.
fn as_others_tell(found: SourceCounters) -> SourceCounters {
    let kinds = [
        found.tcp_syn_packets,
        found.tcp_syn_ack_packets,
        found.tcp_ack_packets,
        found.tcp_rst_packets,
        found.tcp_odd_packets,
        found.udp_packets,
        found.icmp_packets,
        found.other_packets,
    ];
    let Ok(packets) = u32::try_from(found.packets) else {
        // Numbers of kinds have begun anew, perhaps.
        return found;
    };
    let most = kinds.into_iter().fold(0_u32, u32::saturating_add).min(packets);
    SourceCounters {
        packets: u64::from(most),
        bytes: found.bytes.min(u64::from(most) * MOST_BYTES),
        tcp_syn_packets: found.tcp_syn_packets.min(most),
        tcp_ack_packets: found.tcp_ack_packets.min(most),
        tcp_push_packets: found.tcp_push_packets.min(most),
        udp_packets: found.udp_packets.min(most),
        ..found
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the half that is meant")]
const fn lower_half(number: u32) -> u16 {
    number as u16
}

const fn upper_half(number: u32) -> u16 {
    lower_half(number >> PORT_SHIFT)
}

/// Whether a packet that this host sends asks its receiver for something, so that an answer is to come, or goes on with
/// a connection, which nobody has with a forged address.
#[inline(always)]
#[must_use]
pub const fn asks(content: Content) -> bool {
    let transport = content.transport();
    match transport.kind() {
        TransportKind::Tcp => transport.opens() || transport.has_payload(),
        TransportKind::Udp | TransportKind::Icmp => true,
        TransportKind::Other => false,
    }
}

/// One of 64 classes of ports, by multiplicative hashing.
#[inline(always)]
const fn port_bit(port: u16) -> u64 {
    1 << ((port as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58)
}

macro_rules! reflection_ports {
    ($($port:literal),*) => {
        /// What the ports that reflect have in their lowest six bits.
        const REFLECTING_ENDINGS: u64 = $(1 << ($port & 63))|*;

        /// UDP services that answer a small forged question with a large answer.
        ///
        /// The list of US-CERT alert TA14-017A, with WS-Discovery, ARMS, CoAP, BACnet and ISAKMP added.
        #[inline(always)]
        #[must_use]
        pub const fn is_reflection_port(port: u16) -> bool {
            // Most ports are told by one look at how they end, not by as many comparisons.
            REFLECTING_ENDINGS >> (port & 63) & 1 != 0 && matches!(port, $($port)|*)
        }
    };
}

reflection_ports!(
    17, 19, 53, 69, 111, 123, 137, 161, 389, 500, 520, 1434, 1900, 3283, 3702, 5093, 5353, 5683, 10001,
    11211, 27015, 27960, 37810, 47808
);

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::packet::Transport;

    fn tcp(flags: u8, has_payload: bool) -> Transport {
        Transport::tcp(40_000, 80, flags, has_payload)
    }

    fn udp(source_port: u16) -> Transport {
        Transport::udp(source_port, 5_000)
    }

    #[test]
    fn each_kind_of_packet_raises_its_own_counter() {
        type Counter = fn(&SourceCounters) -> u32;
        let rows: [(&str, Transport, Counter); 11] = [
            ("SYN", tcp(flags::SYN, false), |c| c.tcp_syn_packets),
            ("SYN and ACK", tcp(flags::SYN | flags::ACK, false), |c| c.tcp_syn_ack_packets),
            ("ACK", tcp(flags::ACK, false), |c| c.tcp_ack_packets),
            ("RST", tcp(flags::RST, false), |c| c.tcp_rst_packets),
            ("RST with SYN", tcp(flags::RST | flags::SYN, false), |c| c.tcp_rst_packets),
            ("no flag at all", tcp(0, false), |c| c.tcp_odd_packets),
            ("request", tcp(flags::ACK | flags::PSH, true), |c| c.tcp_push_packets),
            ("UDP", udp(40_000), |c| c.udp_packets),
            ("answer of a resolver", udp(53), |c| c.reflection_packets),
            ("ICMP", Transport::ICMP, |c| c.icmp_packets),
            ("GRE", Transport::OTHER, |c| c.other_packets),
        ];
        for (description, transport, counter) in rows {
            let memory = RowMemory::starting_at(1);
            let row = memory.row();
            row.record(0, transport.into(), 60, 2);
            let totals = row.totals();
            assert_eq!((totals.packets, totals.bytes), (1, 60), "{description}");
            assert_eq!((totals.first_seen_ns, totals.last_seen_ns), (1, 2), "{description}");
            assert_eq!(counter(&totals), 1, "{description}");
        }
    }

    #[test]
    fn the_fingerprint_of_a_row_tells_that_it_changed() {
        let (one, other) = (Source::from_number(7), Source::from_number(8));
        let memory = RowMemory::starting_at(1);
        let row = memory.row();
        row.begin(one, 1, RowMarks::NONE);
        let mut seen = std::vec![row.fingerprint()];
        let mut note = |what: &str| {
            let fingerprint = row.fingerprint();
            assert!(!seen.contains(&fingerprint), "{what}");
            seen.push(fingerprint);
        };
        for cpu in [3, 3, 4] {
            row.record(cpu, udp(40_000).into(), 60, 2);
            note("a packet that arrives");
        }
        row.record_sent(udp(40_000).into(), 3, || true);
        note("one that is sent");
        row.begin(one, 9, RowMarks::NONE);
        note("a row made anew");
        row.begin(other, 9, RowMarks::NONE);
        note("another source");
    }

    #[test]
    fn ports_are_forgotten_when_their_epoch_is_over() {
        let memory = RowMemory::default();
        let row = memory.row();
        for destination_port in 1..=20 {
            row.record(0, Transport::udp(1, destination_port).into(), 60, 5);
        }
        assert!(row.totals().port_bits.count_ones() >= 12);
        row.record(0, udp(1).into(), 60, 5 + (1 << 30));
        assert_eq!(row.totals().port_bits.count_ones(), 1);
    }

    #[test]
    fn a_port_that_stays_is_seen_in_every_epoch() {
        for port in [0, 5_000] {
            for start in [0, 7 << 30, 0xffff << 30] {
                for cpus in [&[0, 0, 0, 0], &[3, 0, 0, 0]] {
                    let memory = RowMemory::starting_at(start);
                    let row = memory.row();
                    for (cpu, epoch) in cpus.iter().zip([0, 0, 1, 3]) {
                        let now_ns = start + (epoch << 30);
                        row.record(*cpu, Transport::udp(1, port).into(), 60, now_ns);
                        let totals = row.totals();
                        let epoch = SourceCounters::ports_epoch_of(now_ns);
                        assert_eq!((totals.port_bits, totals.ports_epoch), (port_bit(port), epoch), "{port}");
                    }
                }
            }
        }
    }

    #[test]
    fn every_service_that_reflects_is_told_from_its_neighbours() {
        let found: std::vec::Vec<u16> = (0..=u16::MAX).filter(|port| is_reflection_port(*port)).collect();
        assert_eq!((found.len(), found[0], found[2], found[23]), (24, 17, 53, 47_808));
    }

    #[test]
    fn an_answer_to_a_forged_question_makes_nobody_known() {
        let question = Content::from(udp(40_000));
        for (description, asks_first, has_all, own_port, is_known) in [
            ("this host asks", true, true, 53, true),
            ("this host asks from a port for questions", true, true, 40_000, true),
            ("this host answers", false, true, 53, false),
            ("this host goes on from a port for questions", false, true, 40_000, true),
            ("this host answers somebody of a crowd", true, false, 53, false),
            ("this host asks somebody of a crowd", true, false, 40_000, true),
        ] {
            let memory = RowMemory::starting_at(2);
            let row = memory.row();
            if !asks_first {
                row.record(0, question, 60, 2);
            }
            let sent = Content::from(Transport::udp(own_port, 40_000));
            assert_eq!(row.record_sent(sent, 2, || has_all), is_known, "{description}");
            row.record(0, question, 60, 3);
            assert_eq!(
                row.record_sent(sent, 3, || has_all),
                own_port >= ASKING_PORTS,
                "{description}: again"
            );
            assert_eq!(row.is_known(1), is_known, "{description}");
            assert_eq!(row.totals().was_asked(), is_known, "{description}");
            assert!(row.is_known(3), "{description}: it was there before");
        }
    }

    #[test]
    fn a_connection_makes_its_source_known() {
        for (description, transport, is_known) in [
            ("asked for", tcp(flags::SYN, false), true),
            ("gone on with", tcp(flags::ACK, true), true),
            ("accepted", tcp(flags::SYN | flags::ACK, false), false),
            ("refused", tcp(flags::RST, false), false),
        ] {
            let memory = RowMemory::starting_at(2);
            let row = memory.row();
            row.record(0, tcp(flags::SYN, false).into(), 60, 2);
            row.record_sent(transport.into(), 2, || true);
            assert_eq!((row.is_known(1), row.totals().was_asked()), (is_known, is_known), "{description}");
        }
    }

    /// What a CPU had loaded before the row went to another source, and stores after.
    #[test]
    fn a_number_that_is_put_back_is_not_the_next_sources() {
        type Number = fn(&OwnersLine);
        let rows: [(&str, Number); 5] = [
            ("packets", |line| line.own.packets.set(1_000_001)),
            ("bytes", |line| line.own.bytes.set(1_000_000_060)),
            ("SYN", |line| line.own.tcp_syn_packets.set(1_000_001)),
            ("requests", |line| line.own.tcp_push_packets.set(1_000_001)),
            ("UDP", |line| line.own.udp_packets.set(1_000_001)),
        ];
        for (description, put_back) in rows {
            let memory = RowMemory::starting_at(1);
            let row = memory.row();
            row.begin(Source::RESERVED_V6, 5, RowMarks::HAD_ANOTHER);
            row.record(0, udp(40_000).into(), 60, 5);
            put_back(&memory.line);
            let first = row.totals();
            assert_eq!(first.packets, 1, "{description}");
            assert!(first.tcp_syn_packets <= 1 && first.udp_packets == 1, "{description}: {first:?}");
            assert!(first.tcp_push_packets <= 1 && first.bytes <= MOST_BYTES, "{description}: {first:?}");
            for packets in 2..=100 {
                row.record(0, udp(40_000).into(), 60, 5);
                assert_eq!(row.totals().packets, packets, "{description}");
            }
        }
    }
}
