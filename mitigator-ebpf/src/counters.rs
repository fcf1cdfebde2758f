//! Counts one packet for its source, in place.
//!
//! [`LiveCounters`] is a row of `SOURCE_COUNTERS` while packets arrive on several CPUs: the same
//! layout as [`SourceCounters`], with atomic additions, so that no packet is lost to a race.

use mitigator_common::SourceCounters;

use crate::packet::{Fragment, Packet, Transport, TransportKind, flags};
use crate::shared::{SharedU32, SharedU64};

/// [`SourceCounters`] while it is being counted into; field by field the same.
#[repr(C)]
#[derive(Debug, Default)]
#[expect(missing_docs, reason = "documented at SourceCounters, field by field")]
pub struct LiveCounters {
    pub packets: SharedU64,
    pub bytes: SharedU64,
    pub first_seen_ns: SharedU64,
    pub last_seen_ns: SharedU64,
    pub port_bits: SharedU64,
    pub ports_epoch: SharedU32,
    pub tcp_syn_packets: SharedU32,
    pub tcp_syn_ack_packets: SharedU32,
    pub tcp_ack_packets: SharedU32,
    pub tcp_rst_packets: SharedU32,
    pub tcp_odd_packets: SharedU32,
    pub tcp_push_packets: SharedU32,
    pub udp_packets: SharedU32,
    pub reflection_packets: SharedU32,
    pub icmp_packets: SharedU32,
    pub fragment_packets: SharedU32,
    pub extension_packets: SharedU32,
    pub other_packets: SharedU32,
    pub reflection_port: SharedU32,
    pub tcp_fin_packets: SharedU32,
    pub destination_port: SharedU32,
    pub sent_packets: SharedU32,
    pub sent_syn_packets: SharedU32,
    pub sent_syn_ack_packets: SharedU32,
    pub sent_data_packets: SharedU32,
    pub sent_udp_packets: SharedU32,
    pub sent_closing_packets: SharedU32,
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<LiveCounters>() == size_of::<SourceCounters>());
    assert!(align_of::<LiveCounters>() == align_of::<SourceCounters>());
    assert!(offset_of!(LiveCounters, port_bits) == offset_of!(SourceCounters, port_bits));
    assert!(offset_of!(LiveCounters, tcp_syn_packets) == offset_of!(SourceCounters, tcp_syn_packets));
    assert!(offset_of!(LiveCounters, udp_packets) == offset_of!(SourceCounters, udp_packets));
    assert!(offset_of!(LiveCounters, reflection_port) == offset_of!(SourceCounters, reflection_port));
    assert!(offset_of!(LiveCounters, sent_packets) == offset_of!(SourceCounters, sent_packets));
    assert!(
        offset_of!(LiveCounters, sent_closing_packets) == offset_of!(SourceCounters, sent_closing_packets)
    );
};

impl LiveCounters {
    /// A row for a source first seen at `now_ns`.
    #[must_use]
    pub fn starting_at(now_ns: u64) -> Self {
        Self { first_seen_ns: now_ns.into(), last_seen_ns: now_ns.into(), ..Self::default() }
    }

    /// Adds one packet of `wire_bytes` bytes that arrived at `now_ns`.
    #[inline(always)]
    pub fn record(&self, packet: &Packet, wire_bytes: u64, now_ns: u64) {
        self.packets.add(1);
        self.bytes.add(wire_bytes);
        self.last_seen_ns.set(now_ns);
        if !matches!(packet.fragment, Fragment::Whole) {
            self.fragment_packets.add(1);
        }
        if packet.has_extensions {
            self.extension_packets.add(1);
        }
        let Transport { kind, source_port, destination_port, flags, has_payload } = packet.transport;
        match kind {
            TransportKind::Tcp => {
                self.note_port(destination_port, now_ns);
                self.record_tcp(flags, has_payload);
            }
            TransportKind::Udp => {
                self.note_port(destination_port, now_ns);
                self.udp_packets.add(1);
                if is_reflection_port(source_port) && !packet.is_to_group {
                    self.reflection_packets.add(1);
                    self.reflection_port.set(u32::from(source_port));
                }
            }
            TransportKind::Icmp => self.icmp_packets.add(1),
            TransportKind::Other => self.other_packets.add(1),
        }
    }

    /// Adds one packet that this host sent to the source at `now_ns`.
    #[inline(always)]
    pub fn record_sent(&self, packet: &Packet, now_ns: u64) {
        self.sent_packets.add(1);
        let Transport { kind, destination_port, flags, has_payload, .. } = packet.transport;
        match kind {
            TransportKind::Tcp => {
                if flags & (flags::FIN | flags::RST) != 0 {
                    self.sent_closing_packets.add(1);
                }
                if packet.transport.opens() {
                    self.sent_syn_packets.add(1);
                    self.note_port_class(destination_port, now_ns);
                } else if flags & flags::SYN != 0 {
                    self.sent_syn_ack_packets.add(1);
                } else if has_payload {
                    self.sent_data_packets.add(1);
                }
            }
            TransportKind::Udp => self.sent_udp_packets.add(1),
            TransportKind::Icmp | TransportKind::Other => {}
        }
    }

    #[inline(always)]
    fn record_tcp(&self, flags: u8, has_payload: bool) {
        if flags & (flags::FIN | flags::RST) == flags::FIN {
            self.tcp_fin_packets.add(1);
        }
        if flags & flags::RST != 0 {
            self.tcp_rst_packets.add(1);
        } else if flags & flags::SYN != 0 {
            if flags & flags::ACK != 0 {
                self.tcp_syn_ack_packets.add(1);
            } else {
                self.tcp_syn_packets.add(1);
            }
        } else if flags & flags::ACK != 0 {
            self.tcp_ack_packets.add(1);
            if has_payload && flags & flags::PSH != 0 {
                self.tcp_push_packets.add(1);
            }
        } else {
            self.tcp_odd_packets.add(1);
        }
    }

    #[inline(always)]
    fn note_port(&self, port: u16, now_ns: u64) {
        if self.destination_port.get() != u32::from(port) {
            self.destination_port.set(u32::from(port));
        }
        self.note_port_class(port, now_ns);
    }

    /// Two CPUs that meet here may lose a bit of the sketch, which only ever makes the estimate
    /// smaller; the next packet to the port sets it again.
    #[inline(always)]
    fn note_port_class(&self, port: u16, now_ns: u64) {
        let epoch = SourceCounters::ports_epoch_of(now_ns);
        let bit = port_bit(port);
        if self.ports_epoch.get() != epoch {
            self.ports_epoch.set(epoch);
            self.port_bits.set(bit);
            return;
        }
        let bits = self.port_bits.get();
        if bits & bit == 0 {
            self.port_bits.set(bits | bit);
        }
    }

    /// Whether a limit that began at `since_ns` exempts the source: it was there before, or this host asked
    /// it for something or answered it over a connection. A forged address can be none of these.
    #[inline(always)]
    #[must_use]
    pub fn is_known(&self, since_ns: u64) -> bool {
        self.first_seen_ns.get() < since_ns
            || self.sent_syn_packets.get() > 0
            || self.sent_udp_packets.get() > 0
            || self.sent_data_packets.get() > 0
    }

    /// The row as it stands.
    #[must_use]
    pub fn totals(&self) -> SourceCounters {
        SourceCounters {
            packets: self.packets.get(),
            bytes: self.bytes.get(),
            first_seen_ns: self.first_seen_ns.get(),
            last_seen_ns: self.last_seen_ns.get(),
            port_bits: self.port_bits.get(),
            ports_epoch: self.ports_epoch.get(),
            tcp_syn_packets: self.tcp_syn_packets.get(),
            tcp_syn_ack_packets: self.tcp_syn_ack_packets.get(),
            tcp_ack_packets: self.tcp_ack_packets.get(),
            tcp_rst_packets: self.tcp_rst_packets.get(),
            tcp_odd_packets: self.tcp_odd_packets.get(),
            tcp_push_packets: self.tcp_push_packets.get(),
            udp_packets: self.udp_packets.get(),
            reflection_packets: self.reflection_packets.get(),
            icmp_packets: self.icmp_packets.get(),
            fragment_packets: self.fragment_packets.get(),
            extension_packets: self.extension_packets.get(),
            other_packets: self.other_packets.get(),
            reflection_port: self.reflection_port.get(),
            tcp_fin_packets: self.tcp_fin_packets.get(),
            destination_port: self.destination_port.get(),
            sent_packets: self.sent_packets.get(),
            sent_syn_packets: self.sent_syn_packets.get(),
            sent_syn_ack_packets: self.sent_syn_ack_packets.get(),
            sent_data_packets: self.sent_data_packets.get(),
            sent_udp_packets: self.sent_udp_packets.get(),
            sent_closing_packets: self.sent_closing_packets.get(),
        }
    }
}

/// Whether a packet that this host sends asks its receiver for something, so that an answer is to come.
#[inline(always)]
#[must_use]
pub const fn asks(packet: &Packet) -> bool {
    match packet.transport.kind {
        TransportKind::Tcp => packet.transport.opens(),
        TransportKind::Udp | TransportKind::Icmp => true,
        TransportKind::Other => false,
    }
}

/// One of 64 classes of ports, by multiplicative hashing.
#[inline(always)]
const fn port_bit(port: u16) -> u64 {
    1 << ((port as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58)
}

/// UDP services that answer a small forged question with a large answer.
///
/// The list of US-CERT alert TA14-017A, with WS-Discovery, ARMS, CoAP, BACnet and ISAKMP added.
#[inline(always)]
#[must_use]
pub const fn is_reflection_port(port: u16) -> bool {
    matches!(
        port,
        17 | 19
            | 53
            | 69
            | 111
            | 123
            | 137
            | 161
            | 389
            | 500
            | 520
            | 1434
            | 1900
            | 3283
            | 3702
            | 5093
            | 5353
            | 5683
            | 10001
            | 11211
            | 27015
            | 27960
            | 37810
            | 47808
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use mitigator_common::{Source, WideAddress};

    fn packet(transport: Transport) -> Packet {
        Packet {
            source: Source::from_v4_bytes([192, 0, 2, 7]),
            address: WideAddress::from_v4_bytes([192, 0, 2, 7]),
            protocol: 0,
            transport,
            fragment: Fragment::Whole,
            has_extensions: false,
            is_to_group: false,
        }
    }

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
            let row = LiveCounters::starting_at(1);
            row.record(&packet(transport), 60, 2);
            let totals = row.totals();
            assert_eq!((totals.packets, totals.bytes), (1, 60), "{description}");
            assert_eq!((totals.first_seen_ns, totals.last_seen_ns), (1, 2), "{description}");
            assert_eq!(counter(&totals), 1, "{description}");
        }
    }

    #[test]
    fn ports_are_forgotten_when_their_epoch_is_over() {
        let row = LiveCounters::default();
        for destination_port in 1..=20 {
            row.record(&packet(Transport::udp(1, destination_port)), 60, 5);
        }
        assert!(row.totals().port_bits.count_ones() >= 12);
        row.record(&packet(udp(1)), 60, 5 + (1 << 30));
        assert_eq!(row.totals().port_bits.count_ones(), 1);
    }
}
