//! `Vector`: the kinds of attack, each with the packets that carry it, the floors below which it is
//! none, and what a source must look like to be part of it. A table.

use mitigator_common::{PacketKind, SourceCounters};

use super::features::distinct_ports;

/// A kind of attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Vector {
    /// SYN packets that no ACK follows.
    SynFlood,
    /// SYN+ACK answers to forged SYN packets.
    TcpReflection,
    /// RST packets and flag combinations that no connection has.
    TcpFlagFlood,
    /// ACK packets of sources that never opened a connection.
    AckFlood,
    /// Requests over established connections.
    HttpFlood,
    /// Answers of abused UDP services, with their fragments.
    Reflection,
    /// UDP that is not reflection.
    UdpFlood,
    /// ICMP and ICMPv6.
    IcmpFlood,
    /// IPv6 with extension headers.
    ExtensionFlood,
    /// Fragments that belong to no reflection.
    FragmentFlood,
    /// Many destination ports in a second: reported, not blocked.
    Scan,
    /// Established connections that ask for nothing, or never to the end.
    SlowConnections,
    /// Connections opened and left: half-open, or never served.
    ConnectionFlood,
    /// Short connections to a service that asks for a password, one after the other: reported, not blocked.
    PasswordGuessing,
}

/// Over how long an activity is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// One tick: what is loud.
    Tick,
    /// A window of some seconds: what lasts.
    Window,
}

/// The numbers of a vector, in packets per second that carry it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Floors {
    /// Over all sources: less is no attack.
    pub total: f64,
    /// Of one source: less is not worth a block.
    pub source: f64,
}

impl Floors {
    /// Nothing reaches them: the vector is not judged over the span.
    pub const NONE: Self = Self { total: f64::INFINITY, source: f64::INFINITY };
}

/// What there must be to compare a source with before it is blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// The floors are enough: nobody innocent sends so much of it.
    Floors,
    /// A learned baseline and quieter peers, because a busy client sends the same packets.
    Peers,
}

/// What packets to many ports are taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManyPorts {
    /// A scan: it asks each port once or twice, and is over.
    Scan,
    /// A flood to random ports: more than a scan has to ask.
    Flood,
}

/// How many port classes of a second make a scan, of 64; 25 different ports fill about 20.
const SCAN_PORTS: u32 = 20;
/// Port classes of a second that who guesses passwords asks at most: a service, its encrypted port, and one more.
const GUESSED_PORTS: u32 = 3;
/// Bytes per packet from which UDP looks like a bulk transfer.
const BULK_BYTES: u64 = 800;
/// Up to this many times the floor of a source passes as a bulk transfer: some 200 Mbit/s.
const BULK_FACTOR: f64 = 20.0;
/// Packets of an answer, for each packet this host asked with.
const ANSWERS: u32 = 4;

impl Vector {
    /// Every vector, in the order they are judged: the more specific first.
    pub const ALL: [Self; 14] = [
        Self::Scan,
        Self::PasswordGuessing,
        Self::SlowConnections,
        Self::ConnectionFlood,
        Self::SynFlood,
        Self::TcpReflection,
        Self::TcpFlagFlood,
        Self::AckFlood,
        Self::HttpFlood,
        Self::Reflection,
        Self::UdpFlood,
        Self::IcmpFlood,
        Self::ExtensionFlood,
        Self::FragmentFlood,
    ];

    /// Stable name, as reports and JSON spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SynFlood => "syn-flood",
            Self::TcpReflection => "tcp-reflection",
            Self::TcpFlagFlood => "tcp-flag-flood",
            Self::AckFlood => "ack-flood",
            Self::HttpFlood => "http-flood",
            Self::Reflection => "udp-reflection",
            Self::UdpFlood => "udp-flood",
            Self::IcmpFlood => "icmp-flood",
            Self::ExtensionFlood => "ipv6-extension-flood",
            Self::FragmentFlood => "fragment-flood",
            Self::Scan => "scan",
            Self::SlowConnections => "slow-connections",
            Self::ConnectionFlood => "connection-flood",
            Self::PasswordGuessing => "password-guessing",
        }
    }

    /// The vector of a stable name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|vector| vector.name() == name)
    }

    /// Its packets in the operator's words.
    #[must_use]
    pub const fn traffic(self) -> &'static str {
        match self {
            Self::SynFlood => "SYN packets without a following ACK",
            Self::TcpReflection => "SYN+ACK packets",
            Self::TcpFlagFlood => "RST and odd-flag packets",
            Self::AckFlood => "ACK packets without a connection",
            Self::HttpFlood => "requests on established connections",
            Self::Reflection => "answers of UDP services",
            Self::UdpFlood => "UDP packets",
            Self::IcmpFlood => "ICMP packets",
            Self::ExtensionFlood => "IPv6 packets with extension headers",
            Self::FragmentFlood => "fragments",
            Self::Scan => "packets to many ports",
            Self::SlowConnections => "established connections that are not served",
            Self::ConnectionFlood => "connections opened and left",
            Self::PasswordGuessing => "short connections to a service that asks for a password",
        }
    }

    /// Whether a source is blocked for it.
    #[must_use]
    pub const fn is_blocked(self) -> bool {
        !matches!(self, Self::Scan | Self::PasswordGuessing)
    }

    /// Whether a flood of many light sources is answered by a limit.
    #[must_use]
    pub const fn is_limited(self) -> bool {
        !self.kinds().is_empty() && !self.is_stock()
    }

    /// Whether a prefix that sends nothing else is blocked for it. Reflectors are real hosts, whose neighbours
    /// may be anybody's.
    #[must_use]
    pub const fn is_widened(self) -> bool {
        self.is_limited() && !matches!(self, Self::Reflection | Self::TcpReflection)
    }

    /// Whether a flood of another kind brings it along: errors and refusals of those whose answers were
    /// asked for in this host's name.
    #[must_use]
    pub const fn is_wake(self) -> bool {
        matches!(self, Self::IcmpFlood | Self::TcpFlagFlood)
    }

    /// Whether it is counted in things that stand rather than in packets that come.
    #[must_use]
    pub const fn is_stock(self) -> bool {
        matches!(self, Self::SlowConnections | Self::ConnectionFlood)
    }

    /// Share of its floor from which a source is reported before it is blocked.
    #[must_use]
    pub const fn early_share(self) -> f64 {
        if self.is_stock() { 0.5 } else { 1.0 }
    }

    /// What its numbers are.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::SlowConnections | Self::ConnectionFlood => "connections",
            Self::PasswordGuessing => "connections/s",
            _ => "packets/s",
        }
    }

    /// The floors over a span. What lasts for seconds is told from noise at lower rates; UDP, where this host
    /// is heard (`hears_sent`), only counts from new senders that it does not answer, and so has the lowest.
    #[must_use]
    pub const fn floors_over(self, span: Span, hears_sent: bool) -> Floors {
        match (span, self) {
            (Span::Tick, _) => self.floors(),
            (_, Self::UdpFlood) if !hears_sent => self.floors(),
            // Of new sources, only those of the first half of the window count: of forged ones it takes 40/s.
            (_, Self::SynFlood) => Floors { total: 20.0, source: 50.0 },
            (_, Self::TcpReflection) => Floors { total: 250.0, source: 50.0 },
            (_, Self::TcpFlagFlood) => Floors { total: 200.0, source: 60.0 },
            (_, Self::AckFlood) => Floors { total: 300.0, source: 150.0 },
            (_, Self::Reflection) if hears_sent => Floors { total: 40.0, source: 20.0 },
            (_, Self::Reflection) => Floors { total: 100.0, source: 20.0 },
            (_, Self::UdpFlood) => Floors { total: 50.0, source: 1_000.0 },
            (_, Self::IcmpFlood) => Floors { total: 500.0, source: 200.0 },
            (_, Self::ExtensionFlood) => Floors { total: 300.0, source: 100.0 },
            (_, Self::FragmentFlood) => Floors { total: 300.0, source: 150.0 },
            (_, Self::Scan) => Floors { total: 10.0, source: 10.0 },
            (_, Self::PasswordGuessing) => Floors { total: 4.0, source: 4.0 },
            (_, Self::HttpFlood | Self::SlowConnections | Self::ConnectionFlood) => Floors::NONE,
        }
    }

    /// Below which there is no attack, whatever the baseline says. Chosen well above what one busy
    /// client, one monitoring probe or one page load sends, and below what hurts a small server.
    #[must_use]
    pub const fn floors(self) -> Floors {
        match self {
            Self::SynFlood => Floors { total: 200.0, source: 50.0 },
            Self::TcpReflection => Floors { total: 1_000.0, source: 200.0 },
            Self::TcpFlagFlood => Floors { total: 500.0, source: 200.0 },
            Self::AckFlood => Floors { total: 1_000.0, source: 500.0 },
            Self::HttpFlood => Floors { total: 1_000.0, source: 60.0 },
            Self::Reflection => Floors { total: 500.0, source: 200.0 },
            Self::UdpFlood => Floors { total: 5_000.0, source: 1_000.0 },
            Self::IcmpFlood => Floors { total: 1_000.0, source: 500.0 },
            Self::ExtensionFlood => Floors { total: 1_000.0, source: 500.0 },
            Self::FragmentFlood => Floors { total: 1_000.0, source: 500.0 },
            Self::Scan => Floors { total: 50.0, source: 50.0 },
            // Nobody shares these: what stands in total says nothing of one source.
            Self::SlowConnections | Self::ConnectionFlood => Floors { total: 30.0, source: 60.0 },
            Self::PasswordGuessing => Floors::NONE,
        }
    }

    /// What a block needs beside the floors.
    #[must_use]
    pub const fn comparison(self) -> Comparison {
        if matches!(self, Self::HttpFlood) { Comparison::Peers } else { Comparison::Floors }
    }

    /// The factor on the floor of a source. A file, a film or a tunnel that comes in over UDP is made of large
    /// packets by the thousand per second; without a word of what this host sends (`hears_sent`) nobody can
    /// tell whether it answers them.
    #[must_use]
    pub fn floor_factor(self, change: &SourceCounters, hears_sent: bool) -> f64 {
        if matches!(self, Self::UdpFlood) && !hears_sent && is_bulk(change) { BULK_FACTOR } else { 1.0 }
    }

    /// The packets that a limit would have to stop; none where sources are judged one by one.
    #[must_use]
    pub const fn kinds(self) -> &'static [PacketKind] {
        match self {
            Self::SynFlood => &[PacketKind::TcpSyn],
            Self::TcpReflection => &[PacketKind::TcpSynAck],
            Self::TcpFlagFlood => &[PacketKind::TcpRst, PacketKind::TcpOdd],
            Self::AckFlood => &[PacketKind::TcpAck],
            // Of a swarm, whose members are too light to be judged one by one.
            Self::SlowConnections => &[PacketKind::TcpSyn, PacketKind::TcpAck, PacketKind::TcpRst],
            Self::Reflection => &[PacketKind::UdpReflection, PacketKind::Fragment],
            Self::UdpFlood => &[PacketKind::Udp],
            Self::IcmpFlood => &[PacketKind::Icmp],
            Self::ExtensionFlood => &[PacketKind::Extension],
            Self::FragmentFlood => &[PacketKind::Fragment],
            Self::HttpFlood | Self::Scan | Self::ConnectionFlood | Self::PasswordGuessing => &[],
        }
    }

    /// Packets of a source's activity that carry the vector; 0 when the source does not look like it.
    #[must_use]
    pub fn carried_by(self, change: &SourceCounters, many_ports: ManyPorts) -> u64 {
        let is_scan = |change| many_ports == ManyPorts::Scan && has_many_ports(change);
        let count = match self {
            Self::SynFlood if is_scan(change) => 0,
            Self::SynFlood => change.tcp_syn_packets.saturating_sub(change.tcp_ack_packets),
            // A client's own connections bring data after the SYN+ACK.
            Self::TcpReflection if change.tcp_syn_ack_packets < change.tcp_ack_packets => 0,
            // One answer to each connection this host asked for, and repetitions.
            Self::TcpReflection => {
                change.tcp_syn_ack_packets.saturating_sub(change.sent_syn_packets.saturating_mul(ANSWERS))
            }
            Self::TcpFlagFlood if is_scan(change) => 0,
            // A client that aborts its connections sends ACKs too.
            Self::TcpFlagFlood => change
                .tcp_rst_packets
                .saturating_add(change.tcp_odd_packets)
                // One refusal of each connection that this host asked for.
                .saturating_sub(change.tcp_ack_packets.saturating_add(change.sent_syn_packets)),
            // Large packets are an upload, whose pushes are not requests.
            Self::HttpFlood if mean_bytes(change) > 800 => 0,
            Self::HttpFlood => change.tcp_push_packets,
            Self::Reflection if change.reflection_packets == 0 => 0,
            Self::Reflection => change
                .reflection_packets
                .max(change.fragment_packets)
                .saturating_sub(change.sent_udp_packets.saturating_mul(ANSWERS)),
            Self::UdpFlood if is_bulk(change) && is_acknowledged(change) => 0,
            Self::UdpFlood => change.udp_packets.saturating_sub(change.reflection_packets),
            Self::IcmpFlood => change.icmp_packets,
            // A partner that speaks through an authentication header is answered, and so is a neighbour that
            // writes files in large datagrams.
            Self::ExtensionFlood | Self::FragmentFlood if is_answered(change) => 0,
            Self::ExtensionFlood => change.extension_packets.saturating_sub(change.fragment_packets),
            Self::FragmentFlood if change.reflection_packets > 0 => 0,
            Self::FragmentFlood => change.fragment_packets,
            Self::Scan if is_scan(change) => {
                let udp = change.udp_packets.saturating_sub(change.reflection_packets);
                let asked = change.tcp_syn_packets.saturating_add(change.tcp_odd_packets).saturating_add(udp);
                asked.saturating_add(refused(change))
            }
            Self::Scan => 0,
            // Who asks many services in turn looks whether they are there.
            Self::PasswordGuessing
                if asks_for_password(change.destination_port) && distinct_ports(change) <= GUESSED_PORTS =>
            {
                change.tcp_syn_packets.min(change.tcp_ack_packets).min(change.tcp_fin_packets)
            }
            Self::AckFlood => change.tcp_ack_packets,
            // What waits is remembered from tick to tick, see `connections`.
            Self::PasswordGuessing | Self::SlowConnections | Self::ConnectionFlood => 0,
        };
        u64::from(count)
    }
}

/// Vectors that a source sent any packet for; most sources send few kinds, and need not be asked for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Possible {
    /// One bit for each, in the order of [`Vector::ALL`].
    bits: u32,
}

impl Possible {
    /// For what a source sent in an interval. What stands without packets is not among it.
    #[must_use]
    #[inline]
    pub fn of(change: &SourceCounters) -> Self {
        let asked = change.tcp_syn_packets | change.tcp_rst_packets | change.tcp_odd_packets;
        let sent = Vector::ALL.map(|vector| match vector {
            Vector::Scan => asked | change.udp_packets,
            Vector::PasswordGuessing => change.tcp_fin_packets,
            Vector::SlowConnections | Vector::ConnectionFlood => 0,
            Vector::SynFlood => change.tcp_syn_packets,
            Vector::TcpReflection => change.tcp_syn_ack_packets,
            Vector::TcpFlagFlood => change.tcp_rst_packets | change.tcp_odd_packets,
            Vector::AckFlood => change.tcp_ack_packets,
            Vector::HttpFlood => change.tcp_push_packets,
            Vector::Reflection => change.reflection_packets,
            Vector::UdpFlood => change.udp_packets,
            Vector::IcmpFlood => change.icmp_packets,
            Vector::ExtensionFlood => change.extension_packets,
            Vector::FragmentFlood => change.fragment_packets,
        });
        let bits = sent.iter().rev().fold(0, |bits, sent| bits << 1 | u32::from(*sent > 0));
        Self { bits }
    }
}

impl Iterator for Possible {
    type Item = usize;

    /// The place of the next one in [`Vector::ALL`].
    fn next(&mut self) -> Option<usize> {
        let place = self.bits.trailing_zeros();
        self.bits &= self.bits.wrapping_sub(1);
        usize::try_from(place).ok().filter(|place| *place < Vector::ALL.len())
    }
}

/// Services that ask whoever connects for a password before anything else.
const fn asks_for_password(port: u16) -> bool {
    matches!(
        port,
        21..=23 | 25 | 110 | 143 | 389 | 445 | 465 | 587 | 993 | 995 | 1433 | 3306 | 3389 | 5432 | 5900
    )
}

/// TCP packets without a connection from a source that asks many ports; 0 from any other.
#[must_use]
pub fn packets_to_many_ports(change: &SourceCounters) -> u64 {
    if has_many_ports(change) {
        u64::from(change.tcp_syn_packets)
            + u64::from(change.tcp_rst_packets)
            + u64::from(change.tcp_odd_packets)
    } else {
        0
    }
}

/// Connections that this host asked for and the source refused.
#[must_use]
pub fn refused(change: &SourceCounters) -> u32 {
    change.tcp_rst_packets.min(change.sent_syn_packets)
}

/// Many ports, and hardly an established connection on them.
fn has_many_ports(change: &SourceCounters) -> bool {
    let opened = u64::from(change.tcp_ack_packets);
    distinct_ports(change) >= SCAN_PORTS && opened * 2 < change.packets
}

fn is_bulk(change: &SourceCounters) -> bool {
    mean_bytes(change) >= BULK_BYTES
}

/// Who receives a transfer over UDP sends something back now and then: QUIC for every second to tenth
/// packet, tunnels the acknowledgements of what they carry.
fn is_acknowledged(change: &SourceCounters) -> bool {
    u64::from(change.sent_udp_packets) * 50 >= u64::from(change.udp_packets)
}

/// Every second datagram or more gets an answer.
fn is_answered(change: &SourceCounters) -> bool {
    change.udp_packets > 0 && change.sent_udp_packets.saturating_mul(2) >= change.udp_packets
}

fn mean_bytes(change: &SourceCounters) -> u64 {
    change.bytes / change.packets.max(1)
}

impl serde::Serialize for Vector {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_at_the_end_of_their_range_saturate() {
        let change = SourceCounters {
            packets: u64::MAX,
            port_bits: u64::MAX,
            tcp_syn_packets: u32::MAX,
            tcp_rst_packets: u32::MAX,
            tcp_odd_packets: u32::MAX,
            udp_packets: u32::MAX,
            ..SourceCounters::EMPTY
        };
        assert_eq!(Vector::Scan.carried_by(&change, ManyPorts::Scan), u64::from(u32::MAX));
        assert_eq!(Vector::SynFlood.carried_by(&change, ManyPorts::Scan), 0);
        assert_eq!(Vector::SynFlood.carried_by(&change, ManyPorts::Flood), u64::from(u32::MAX));
        let few_ports = SourceCounters { port_bits: 1, ..change };
        assert_eq!(Vector::TcpFlagFlood.carried_by(&few_ports, ManyPorts::Scan), u64::from(u32::MAX));
    }
}
