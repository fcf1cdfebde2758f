//! The table: this packet, with these tables, has this outcome and is counted as this.

use mitigator_tests::packet::protocol::{
    AUTHENTICATION, DESTINATION_OPTIONS, ESP, GRE, HOP_BY_HOP, MOBILITY, NO_NEXT_HEADER, ROUTING,
};
use mitigator_tests::packet::{ACK, FIN, PSH, Packet, RST, SYN, URG, icmp, other, tcp, tcp_syn, udp};

use mitigator_common::Outcome;

use super::bench::Change::{self, Allow, Block, Disallow, Expired, Guard, GuardNobody, Unblock};
use super::count::Count;
use super::count::Count::{
    Ack, Extension, Fin, Fragment, Icmp, Odd, Other, Push, Reflection, Rst, Syn, SynAck, Udp,
};
use super::count::Expected::{self, Counted, Is};

/// One case.
pub struct Row {
    pub description: &'static str,
    /// Changes of empty tables, in this order.
    pub tables: Vec<Change>,
    pub packet: Packet,
    pub expected: Expected,
}

/// A sender of each family, and the source that the second one is.
const V4: &str = "192.0.2.7";
const V6: &str = "2001:db8:1:2::7";
const V6_SOURCE: &str = "2001:db8:1:2::/64";
/// All senders inside `::/32`.
const RESERVED: &str = "::/32";

const BLOCKED: Expected = Is(Outcome::DropBlocked);
const BLOCKED_PREFIX: Expected = Is(Outcome::DropBlockedPrefix);
const ALLOWED: Expected = Is(Outcome::PassAllowed);
const NOT_IP: Expected = Is(Outcome::PassNotIp);
const UNPARSED: Expected = Is(Outcome::PassUnparsed);

fn row(description: &'static str, tables: &[Change], packet: Packet, expected: Expected) -> Row {
    Row { description, tables: tables.to_vec(), packet, expected }
}

/// Every header that the program knows, alone and combined, and what it does not know.
pub fn headers() -> Vec<Row> {
    let parsed = |description, packet, expected| row(description, &[], packet, expected);
    vec![
        parsed("IPv4, SYN", tcp_syn(V4), Counted(V4, &[Syn])),
        parsed("IPv4, SYN and ACK", tcp(V4, SYN | ACK), Counted(V4, &[SynAck])),
        parsed("IPv4, ACK", tcp(V4, ACK), Counted(V4, &[Ack])),
        parsed("IPv4, RST", tcp(V4, RST), Counted(V4, &[Rst])),
        parsed("IPv4, RST and ACK", tcp(V4, RST | ACK), Counted(V4, &[Rst])),
        parsed("IPv4, RST and SYN", tcp(V4, RST | SYN), Counted(V4, &[Rst])),
        parsed("IPv4, FIN and ACK", tcp(V4, FIN | ACK), Counted(V4, &[Ack, Fin])),
        parsed("IPv4, no flag", tcp(V4, 0), Counted(V4, &[Odd])),
        parsed("IPv4, FIN alone", tcp(V4, FIN), Counted(V4, &[Odd, Fin])),
        parsed("IPv4, Xmas", tcp(V4, FIN | PSH | URG), Counted(V4, &[Odd, Fin])),
        parsed("IPv4, a request", tcp(V4, PSH | ACK).payload(80), Counted(V4, &[Ack, Push])),
        parsed("IPv4, PSH without payload", tcp(V4, PSH | ACK), Counted(V4, &[Ack])),
        parsed(
            "IPv4, PSH before Ethernet's padding is no payload",
            tcp(V4, PSH | ACK).padded_by(6),
            Counted(V4, &[Ack]),
        ),
        parsed("IPv4, payload without PSH", tcp(V4, ACK).payload(80), Counted(V4, &[Ack])),
        parsed(
            "IPv4, payload after TCP options is there",
            request_after_tcp_options(20),
            Counted(V4, &[Ack, Push]),
        ),
        parsed("IPv4, TCP options are no payload", request_after_tcp_options(0), Counted(V4, &[Ack])),
        parsed("IPv4, UDP", udp(V4, 40_000), Counted(V4, &[Udp])),
        parsed("IPv4, answer of a resolver", udp(V4, 53), Counted(V4, &[Udp, Reflection(53)])),
        parsed("IPv4, answer of memcached", udp(V4, 11_211), Counted(V4, &[Udp, Reflection(11_211)])),
        parsed("IPv4, question to a resolver", udp(V4, 40_000).to_port(53), Counted(V4, &[Udp])),
        parsed("IPv4, ICMP", icmp(V4), Counted(V4, &[Icmp])),
        parsed("IPv4, GRE", other(V4, GRE), Counted(V4, &[Other])),
        parsed("IPv4, ESP", other(V4, ESP), Counted(V4, &[Other])),
        parsed("IPv4, authentication header", other(V4, AUTHENTICATION), Counted(V4, &[Other])),
        parsed("IPv4, don't fragment", tcp_syn(V4).dont_fragment(), Counted(V4, &[Syn])),
        parsed("IPv4, options", tcp_syn(V4).options(4), Counted(V4, &[Syn])),
        parsed("IPv4, most options", udp(V4, 53).options(40), Counted(V4, &[Udp, Reflection(53)])),
        parsed(
            "IPv4, first fragment",
            udp(V4, 53).fragment(0, true),
            Counted(V4, &[Fragment, Udp, Reflection(53)]),
        ),
        parsed("IPv4, middle fragment", udp(V4, 53).fragment(185, true), Counted(V4, &[Fragment, Other])),
        parsed("IPv4, last fragment", tcp_syn(V4).fragment(185, false), Counted(V4, &[Fragment, Other])),
        parsed(
            "IPv4, options and first fragment",
            tcp_syn(V4).options(12).fragment(0, true),
            Counted(V4, &[Fragment, Syn]),
        ),
        parsed(
            "IPv4, smallest TCP fragment hides no flags",
            tcp_syn(V4).fragment(1, false),
            Counted(V4, &[Fragment, Other]),
        ),
        parsed(
            "IPv4, total length 0 of an offloaded segment",
            tcp(V4, PSH | ACK).payload(9).claiming(0),
            Counted(V4, &[Ack, Push]),
        ),
        parsed("IPv4, total length under the header's", tcp_syn(V4).claiming(19), UNPARSED),
        parsed("IPv4, total length ends before the ports", tcp_syn(V4).claiming(39), Counted(V4, &[Other])),
        parsed("IPv4, total length past the bytes", tcp_syn(V4).claiming(1_500), Counted(V4, &[Syn])),
        parsed("IPv4, header length under 20", tcp_syn(V4).network_byte(0, 0x44), UNPARSED),
        parsed("IPv4, header length past the bytes", tcp_syn(V4).network_byte(0, 0x4f), UNPARSED),
        parsed("IPv4 says version 6", tcp_syn(V4).network_byte(0, 0x65), UNPARSED),
        parsed(
            "IPv4, TCP header length under 20",
            tcp_syn(V4).transport_byte(12, 0x40),
            Counted(V4, &[Other]),
        ),
        parsed("one tag", tcp_syn(V4).vlan(10), Counted(V4, &[Syn])),
        parsed("two tags", tcp_syn(V4).service_vlan(100).vlan(10), Counted(V4, &[Syn])),
        parsed("two tags, old style", udp(V4, 9).tag(0x9100, 1).vlan(2), Counted(V4, &[Udp])),
        parsed("priority tag", icmp(V4).vlan(0xe000), Counted(V4, &[Icmp])),
        parsed(
            "two tags, options, first fragment",
            udp(V4, 9).vlan(1).vlan(2).options(40).fragment(0, true),
            Counted(V4, &[Fragment, Udp]),
        ),
        parsed("three tags", tcp_syn(V4).vlan(1).vlan(2).vlan(3), UNPARSED),
        parsed("one tag, IPv6", tcp_syn(V6).vlan(10), Counted(V6_SOURCE, &[Syn])),
        parsed(
            "two tags, IPv6, extension",
            udp(V6, 9).service_vlan(1).vlan(2).extension(DESTINATION_OPTIONS),
            Counted(V6_SOURCE, &[Extension, Udp]),
        ),
        parsed("three tags, IPv6", udp(V6, 9).vlan(1).vlan(2).vlan(3), UNPARSED),
        parsed("ARP", tcp_syn(V4).ethertype(0x0806), NOT_IP),
        parsed("ARP inside a tag", tcp_syn(V4).ethertype(0x0806).vlan(10), NOT_IP),
        parsed("LLDP", tcp_syn(V4).ethertype(0x88cc), NOT_IP),
        parsed("802.3 length in place of an ethertype", tcp_syn(V4).ethertype(40), NOT_IP),
        parsed("IPv6, SYN", tcp_syn(V6), Counted(V6_SOURCE, &[Syn])),
        parsed("IPv6, a request", tcp(V6, PSH | ACK).payload(80), Counted(V6_SOURCE, &[Ack, Push])),
        parsed("IPv6, UDP", udp(V6, 40_000), Counted(V6_SOURCE, &[Udp])),
        parsed("IPv6, answer of a time server", udp(V6, 123), Counted(V6_SOURCE, &[Udp, Reflection(123)])),
        parsed("IPv6, ICMPv6", icmp(V6), Counted(V6_SOURCE, &[Icmp])),
        parsed("IPv6, nothing follows", other(V6, NO_NEXT_HEADER), Counted(V6_SOURCE, &[Other])),
        parsed("IPv6, ESP", other(V6, ESP), Counted(V6_SOURCE, &[Other])),
        parsed(
            "IPv6, hop-by-hop options",
            icmp(V6).extension(HOP_BY_HOP),
            Counted(V6_SOURCE, &[Extension, Icmp]),
        ),
        parsed(
            "IPv6, routing header",
            tcp_syn(V6).extension_of(ROUTING, 24),
            Counted(V6_SOURCE, &[Extension, Syn]),
        ),
        parsed(
            "IPv6, destination options",
            udp(V6, 9).extension(DESTINATION_OPTIONS),
            Counted(V6_SOURCE, &[Extension, Udp]),
        ),
        parsed(
            "IPv6, authentication header",
            tcp_syn(V6).extension_of(AUTHENTICATION, 12),
            Counted(V6_SOURCE, &[Extension, Syn]),
        ),
        parsed(
            "IPv6, mobility header",
            other(V6, NO_NEXT_HEADER).extension(MOBILITY),
            Counted(V6_SOURCE, &[Extension, Other]),
        ),
        parsed(
            "IPv6, longest extension header",
            udp(V6, 9).extension_of(DESTINATION_OPTIONS, 2_048),
            Counted(V6_SOURCE, &[Extension, Udp]),
        ),
        parsed(
            "IPv6, every extension header",
            tcp_syn(V6)
                .extension(HOP_BY_HOP)
                .extension(DESTINATION_OPTIONS)
                .extension(ROUTING)
                .fragment(0, true)
                .extension_of(AUTHENTICATION, 24)
                .extension(DESTINATION_OPTIONS),
            Counted(V6_SOURCE, &[Extension, Fragment, Syn]),
        ),
        parsed("IPv6, eight extension headers", extended(8), Counted(V6_SOURCE, &[Extension, Syn])),
        parsed("IPv6, nine extension headers", extended(9), Counted(V6_SOURCE, &[Extension, Other])),
        parsed(
            "IPv6, first fragment",
            udp(V6, 53).fragment(0, true),
            Counted(V6_SOURCE, &[Extension, Fragment, Udp, Reflection(53)]),
        ),
        parsed(
            "IPv6, later fragment",
            udp(V6, 53).fragment(181, false),
            Counted(V6_SOURCE, &[Extension, Fragment, Other]),
        ),
        parsed(
            "IPv6, atomic fragment is whole",
            tcp_syn(V6).fragment(0, false),
            Counted(V6_SOURCE, &[Extension, Syn]),
        ),
        parsed(
            "IPv6, a later fragment's bytes are no headers",
            tcp_syn(V6).fragment(9, true).extension(DESTINATION_OPTIONS),
            Counted(V6_SOURCE, &[Extension, Fragment, Other]),
        ),
        parsed(
            "IPv6, an atomic fragment inside a first one",
            tcp_syn(V6).fragment(0, true).fragment(0, false),
            Counted(V6_SOURCE, &[Extension, Fragment, Syn]),
        ),
        parsed(
            "IPv6, payload length 0 of a jumbogram",
            tcp(V6, PSH | ACK).payload(9).claiming(0),
            Counted(V6_SOURCE, &[Ack, Push]),
        ),
        parsed(
            "IPv6, payload length ends inside the ports",
            tcp_syn(V6).claiming(3),
            Counted(V6_SOURCE, &[Other]),
        ),
        parsed(
            "IPv6, payload length ends inside an extension header",
            tcp_syn(V6).extension(ROUTING).claiming(7),
            Counted(V6_SOURCE, &[Extension, Other]),
        ),
        parsed("IPv6 says version 4", tcp_syn(V6).network_byte(0, 0x45), UNPARSED),
        parsed("the unspecified IPv6 address", tcp_syn("::"), Counted(RESERVED, &[Syn])),
        parsed("the IPv6 loopback address", tcp_syn("::1"), Counted(RESERVED, &[Syn])),
        parsed("an IPv4 address mapped into IPv6", tcp_syn("::ffff:192.0.2.7"), Counted(RESERVED, &[Syn])),
        parsed("a link-local address", icmp("fe80::1"), Counted("fe80::/64", &[Icmp])),
        parsed("the unspecified IPv4 address", udp("0.0.0.0", 68).to_port(67), Counted("0.0.0.0", &[Udp])),
    ]
}

/// 12 bytes of TCP options, then the payload.
fn request_after_tcp_options(payload: usize) -> Packet {
    tcp(V4, PSH | ACK).transport_byte(12, 8 << 4).payload(12 + payload)
}

fn extended(count: usize) -> Packet {
    (0..count).fold(tcp_syn(V6), |packet, _| packet.extension(DESTINATION_OPTIONS))
}

/// Whom the tables hit and whom they miss.
pub fn tables() -> Vec<Row> {
    let nested = "2001:db8:1:2::/96";
    vec![
        row("blocked IPv4 source", &[Block(V4)], tcp_syn(V4), BLOCKED),
        row("its neighbour", &[Block("192.0.2.6"), Block("192.0.2.8")], tcp_syn(V4), Counted(V4, &[Syn])),
        row("blocked behind a tag", &[Block(V4)], tcp_syn(V4).vlan(10), BLOCKED),
        row(
            "blocked behind two tags and options",
            &[Block(V4)],
            udp(V4, 9).service_vlan(1).vlan(2).options(40),
            BLOCKED,
        ),
        row("blocked with a later fragment", &[Block(V4)], udp(V4, 9).fragment(100, false), BLOCKED),
        row("blocked with a cut transport", &[Block(V4)], tcp_syn(V4).cut_to(36), BLOCKED),
        row("blocked with an unknown protocol", &[Block(V4)], other(V4, GRE), BLOCKED),
        row("blocked, but cut inside the IP header", &[Block(V4)], tcp_syn(V4).cut_to(33), UNPARSED),
        row(
            "blocked destination, innocent source",
            &[Block("198.51.100.1")],
            tcp_syn(V4),
            Counted(V4, &[Syn]),
        ),
        row("expired IPv4 source", &[Expired(V4)], tcp_syn(V4), Counted(V4, &[Syn])),
        row("expired, then blocked again", &[Expired(V4), Block(V4)], tcp_syn(V4), BLOCKED),
        row(
            "blocked, then replaced by an expired block",
            &[Block(V4), Expired(V4)],
            tcp_syn(V4),
            Counted(V4, &[Syn]),
        ),
        row("blocked and unblocked", &[Block(V4), Unblock(V4)], tcp_syn(V4), Counted(V4, &[Syn])),
        row("blocked IPv6 source", &[Block(V6)], tcp_syn(V6), BLOCKED),
        row("another address of a blocked /64", &[Block("2001:db8:1:2:aaaa::1")], tcp_syn(V6), BLOCKED),
        row(
            "the /64 beside a blocked one",
            &[Block("2001:db8:1:3::7"), Block("2001:db8:1:1::7")],
            tcp_syn(V6),
            Counted(V6_SOURCE, &[Syn]),
        ),
        row("blocked IPv6 behind extension headers", &[Block(V6)], extended(9), BLOCKED),
        row("blocked IPv6 with a later fragment", &[Block(V6)], udp(V6, 9).fragment(9, true), BLOCKED),
        row("expired IPv6 source", &[Expired(V6)], tcp_syn(V6), Counted(V6_SOURCE, &[Syn])),
        row(
            "unblocked IPv6 source",
            &[Block(V6), Unblock(V6_SOURCE)],
            tcp_syn(V6),
            Counted(V6_SOURCE, &[Syn]),
        ),
        row("blocked /24", &[Block("192.0.2.0/24")], tcp_syn(V4), BLOCKED_PREFIX),
        row(
            "beside a blocked /24",
            &[Block("192.0.3.0/24"), Block("192.0.1.0/24")],
            tcp_syn(V4),
            Counted(V4, &[Syn]),
        ),
        row("last address of a blocked /29", &[Block("192.0.2.0/29")], tcp_syn(V4), BLOCKED_PREFIX),
        row(
            "first address past a blocked /30",
            &[Block("192.0.2.0/30")],
            tcp_syn("192.0.2.4"),
            Counted("192.0.2.4", &[Syn]),
        ),
        row("blocked /0 of IPv4", &[Block("0.0.0.0/0")], tcp_syn(V4), BLOCKED_PREFIX),
        row("blocked /0 of IPv4 spares IPv6", &[Block("0.0.0.0/0")], tcp_syn(V6), Counted(V6_SOURCE, &[Syn])),
        row("expired /24", &[Expired("192.0.2.0/24")], tcp_syn(V4), Counted(V4, &[Syn])),
        row(
            "unblocked /24",
            &[Block("192.0.2.0/24"), Unblock("192.0.2.0/24")],
            tcp_syn(V4),
            Counted(V4, &[Syn]),
        ),
        row(
            "one of two prefixes unblocked",
            &[Block("192.0.2.0/24"), Block("192.0.0.0/16"), Unblock("192.0.2.0/24")],
            tcp_syn(V4),
            BLOCKED_PREFIX,
        ),
        row(
            "source and prefix blocked: the source counts",
            &[Block("192.0.2.0/24"), Block(V4)],
            tcp_syn(V4),
            BLOCKED,
        ),
        row(
            "source expired, prefix blocked",
            &[Expired(V4), Block("192.0.2.0/24")],
            tcp_syn(V4),
            BLOCKED_PREFIX,
        ),
        row("blocked /48", &[Block("2001:db8:1::/48")], tcp_syn(V6), BLOCKED_PREFIX),
        row("beside a blocked /48", &[Block("2001:db8:2::/48")], tcp_syn(V6), Counted(V6_SOURCE, &[Syn])),
        row("blocked /128", &[Block("2001:db8:1:2::7/128")], tcp_syn(V6), BLOCKED_PREFIX),
        row(
            "beside a blocked /128",
            &[Block("2001:db8:1:2::6/128")],
            tcp_syn(V6),
            Counted(V6_SOURCE, &[Syn]),
        ),
        row("blocked /0 of IPv6", &[Block("::/0")], tcp_syn(V6), BLOCKED_PREFIX),
        row(
            "nested prefixes, both live",
            &[Block("2001:db8:1::/48"), Block(nested)],
            tcp_syn(V6),
            BLOCKED_PREFIX,
        ),
        row(
            "nested prefixes, the longer one elsewhere",
            &[Block("2001:db8:1::/48"), Block("2001:db8:1:3::/96")],
            tcp_syn(V6),
            BLOCKED_PREFIX,
        ),
        row(
            "an expired longer prefix hides no live shorter one",
            &[Block("2001:db8:1::/48"), Expired(nested)],
            tcp_syn(V6),
            BLOCKED_PREFIX,
        ),
        row(
            "a live longer prefix beats an expired shorter one",
            &[Expired("2001:db8:1::/48"), Block(nested)],
            tcp_syn(V6),
            BLOCKED_PREFIX,
        ),
        row(
            "nested prefixes, both expired",
            &[Expired("192.0.0.0/16"), Expired("192.0.2.0/24")],
            tcp_syn(V4),
            Counted(V4, &[Syn]),
        ),
        row("seven expired prefixes hide no live one", &hidden_by_expired(7), tcp_syn(V4), BLOCKED_PREFIX),
        row("allowed without any block is counted", &[Allow(V4)], tcp_syn(V4), Counted(V4, &[Syn])),
        row("allowed before the block", &[Allow(V4), Block(V4)], tcp_syn(V4), ALLOWED),
        row("allowed after the block", &[Block(V4), Allow(V4)], tcp_syn(V4), ALLOWED),
        row(
            "allowed after the block and removed again",
            &[Block(V4), Allow(V4), Disallow(V4)],
            tcp_syn(V4),
            BLOCKED,
        ),
        row(
            "allowed, then blocked, then no more allowed",
            &[Allow(V4), Block(V4), Disallow(V4)],
            tcp_syn(V4),
            BLOCKED,
        ),
        row(
            "allowed with an expired block is counted",
            &[Allow(V4), Expired(V4)],
            tcp_syn(V4),
            Counted(V4, &[Syn]),
        ),
        row("allowed by a prefix", &[Allow("192.0.2.0/24"), Block(V4)], tcp_syn(V4), ALLOWED),
        row(
            "allowed by one of two prefixes",
            &[Allow("192.0.2.0/24"), Allow("192.0.0.0/16"), Block(V4), Disallow("192.0.2.0/24")],
            tcp_syn(V4),
            ALLOWED,
        ),
        row("an exception inside a blocked /24", &[Block("192.0.2.0/24"), Allow(V4)], tcp_syn(V4), ALLOWED),
        row(
            "beside the exception inside a blocked /24",
            &[Block("192.0.2.0/24"), Allow(V4)],
            tcp_syn("192.0.2.8"),
            BLOCKED_PREFIX,
        ),
        row(
            "an exception inside a blocked /24, removed again",
            &[Block("192.0.2.0/24"), Allow(V4), Disallow(V4)],
            tcp_syn(V4),
            BLOCKED_PREFIX,
        ),
        row(
            "an exception inside nested prefixes",
            &[Block("192.0.0.0/16"), Block("192.0.2.0/24"), Allow(V4)],
            tcp_syn(V4),
            ALLOWED,
        ),
        row(
            "an exception hidden by an expired prefix",
            &[Block("192.0.0.0/16"), Expired("192.0.2.0/24"), Allow(V4)],
            tcp_syn(V4),
            ALLOWED,
        ),
        row(
            "allowed, source and prefix blocked",
            &[Block(V4), Block("192.0.2.0/24"), Allow(V4)],
            tcp_syn(V4),
            ALLOWED,
        ),
        row(
            "allowed, blocked source expired, prefix live",
            &[Expired(V4), Block("192.0.2.0/24"), Allow(V4)],
            tcp_syn(V4),
            ALLOWED,
        ),
        row(
            "an exception inside a blocked /64",
            &[Block(V6), Allow("2001:db8:1:2::7/128")],
            tcp_syn(V6),
            ALLOWED,
        ),
        row(
            "beside the exception inside a blocked /64",
            &[Block(V6), Allow("2001:db8:1:2::7/128")],
            tcp_syn("2001:db8:1:2::8"),
            BLOCKED,
        ),
        row(
            "an exception inside a blocked /48",
            &[Block("2001:db8:1::/48"), Allow(V6_SOURCE)],
            tcp_syn(V6),
            ALLOWED,
        ),
        row(
            "beside the exception inside a blocked /48",
            &[Block("2001:db8:1::/48"), Allow(V6_SOURCE)],
            tcp_syn("2001:db8:1:3::7"),
            BLOCKED_PREFIX,
        ),
        row(
            "everything blocked, one /48 allowed",
            &[Block("::/0"), Allow("2001:db8:1::/48")],
            tcp_syn(V6),
            ALLOWED,
        ),
        row("everybody is allowed", &[Block(V4), Allow("0.0.0.0/0")], tcp_syn(V4), ALLOWED),
        row("allowing all of IPv4 spares no IPv6", &[Block(V6), Allow("0.0.0.0/0")], tcp_syn(V6), BLOCKED),
        row("guarded before the block", &[Guard(V4), Block(V4)], tcp_syn(V4), ALLOWED),
        row("guarded after the block", &[Block("192.0.2.0/24"), Guard(V4)], tcp_syn(V4), ALLOWED),
        row("guarded no more", &[Block(V4), Guard(V4), GuardNobody], tcp_syn(V4), BLOCKED),
        row(
            "another one is guarded instead",
            &[Block(V4), Guard(V4), Guard("192.0.2.8")],
            tcp_syn(V4),
            BLOCKED,
        ),
        row(
            "what the operator allowed outlives the guard",
            &[Block(V4), Allow(V4), GuardNobody],
            tcp_syn(V4),
            ALLOWED,
        ),
        row(
            "mapped IPv6 is not the blocked IPv4 source",
            &[Block(V4)],
            tcp_syn("::ffff:192.0.2.7"),
            Counted(RESERVED, &[Syn]),
        ),
        row(
            "IPv6 forged to look like a blocked IPv4 source",
            &[Block(V4)],
            tcp_syn("0:0:c000:207::1"),
            Counted(RESERVED, &[Syn]),
        ),
        row(
            "IPv6 forged to look like an allowed IPv4 source",
            &[Block("::/0"), Allow(V4)],
            tcp_syn("0:0:c000:207::1"),
            BLOCKED_PREFIX,
        ),
        row(
            "mapped IPv6 is not inside the blocked IPv4 prefix",
            &[Block("192.0.2.0/24")],
            tcp_syn("::ffff:192.0.2.7"),
            Counted(RESERVED, &[Syn]),
        ),
        row("all of IPv6 blocked spares IPv4", &[Block("::/0")], tcp_syn(V4), Counted(V4, &[Syn])),
        row("all of IPv6 blocked", &[Block("::/0")], tcp_syn(V6), BLOCKED_PREFIX),
        row("bogons of IPv6 blocked spare IPv4", &[Block("::/8")], tcp_syn(V4), Counted(V4, &[Syn])),
        row(
            "all of IPv4 blocked spares IPv6",
            &[Block("0.0.0.0/0")],
            tcp_syn(V6),
            Counted(V6_SOURCE, &[Syn]),
        ),
        row("all of IPv6 allowed, IPv4 blocked", &[Block(V4), Allow("::/0")], tcp_syn(V4), BLOCKED),
        row("reserved IPv6 blocked as one", &[Block("::/32")], tcp_syn("::1"), BLOCKED),
        row("reserved IPv6 blocked spares IPv4", &[Block("::/32")], tcp_syn(V4), Counted(V4, &[Syn])),
        row(
            "tables do not concern ARP",
            &[Block("0.0.0.0/0"), Block("::/0")],
            tcp_syn(V4).ethertype(0x0806),
            NOT_IP,
        ),
    ]
}

/// A live /8 under `count` expired prefixes.
fn hidden_by_expired(count: usize) -> Vec<Change> {
    const EXPIRED: [&str; 7] = [
        "192.0.0.0/16",
        "192.0.0.0/17",
        "192.0.0.0/18",
        "192.0.0.0/19",
        "192.0.0.0/20",
        "192.0.2.0/24",
        "192.0.2.0/25",
    ];
    let expired = EXPIRED.into_iter().take(count).map(Expired);
    expired.chain([Block("192.0.0.0/8")]).collect()
}

/// The attack, its twin, the packet of both, and what the twin's counts as.
type Twins = (&'static str, &'static str, fn(&str) -> Packet, Expected);

/// Each attack beside its benign twin: the same packet, from a blocked source and from its neighbour.
pub fn twins() -> Vec<Row> {
    const ATTACKER: &str = "203.0.113.66";
    const TWIN: &str = "203.0.113.67";
    const ATTACKER_V6: &str = "2001:db8:66::66";
    const TWIN_V6: &str = "2001:db8:67::66";
    const TWIN_V6_SOURCE: &str = "2001:db8:67::/64";
    let make_v4: [Twins; 9] = [
        ("SYN flood", "a client that connects", tcp_syn, Counted(TWIN, &[Syn])),
        (
            "SYN+ACK reflection",
            "a server that answers",
            |from| tcp(from, SYN | ACK),
            Counted(TWIN, &[SynAck]),
        ),
        ("RST flood", "a client that hangs up", |from| tcp(from, RST), Counted(TWIN, &[Rst])),
        ("null scan", "an odd stack", |from| tcp(from, 0), Counted(TWIN, &[Odd])),
        ("HTTP flood", "a reader", |from| tcp(from, PSH | ACK).payload(200), Counted(TWIN, &[Ack, Push])),
        (
            "DNS reflection",
            "our resolver",
            |from| udp(from, 53).payload(1_200),
            Counted(TWIN, &[Udp, Reflection(53)]),
        ),
        ("UDP flood", "a call", |from| udp(from, 40_000).payload(160), Counted(TWIN, &[Udp])),
        ("ICMP flood", "a ping", icmp, Counted(TWIN, &[Icmp])),
        (
            "fragment flood",
            "a large datagram",
            |from| udp(from, 9).fragment(100, true),
            Counted(TWIN, &[Fragment, Other]),
        ),
    ];
    let make_v6: [Twins; 3] = [
        ("IPv6 SYN flood", "an IPv6 client", tcp_syn, Counted(TWIN_V6_SOURCE, &[Syn])),
        (
            "extension flood",
            "multicast listener reports",
            |from| icmp(from).extension(HOP_BY_HOP),
            Counted(TWIN_V6_SOURCE, &[Extension, Icmp]),
        ),
        (
            "IPv6 fragment flood",
            "a large IPv6 datagram",
            |from| udp(from, 9).fragment(0, true),
            Counted(TWIN_V6_SOURCE, &[Extension, Fragment, Udp]),
        ),
    ];
    let v4 = make_v4.into_iter().map(|case| (case, ATTACKER, TWIN));
    let v6 = make_v6.into_iter().map(|case| (case, ATTACKER_V6, TWIN_V6));
    v4.chain(v6)
        .flat_map(|((attack, benign, packet_from, counted), attacker, twin)| {
            [
                row(attack, &[Block(attacker)], packet_from(attacker), BLOCKED),
                row(benign, &[Block(attacker)], packet_from(twin), counted),
            ]
        })
        .collect()
}

/// A packet to be cut to every length.
pub struct Shape {
    pub description: &'static str,
    pub packet: Packet,
    /// What it counts as once its IP header is whole, beside a fragment header of IPv6.
    pub counts: &'static [Count],
    /// And once its transport header is whole.
    pub transport: Count,
}

pub fn to_be_cut() -> Vec<Shape> {
    let shape = |description, packet, counts, transport| Shape { description, packet, counts, transport };
    vec![
        shape("IPv4 TCP", tcp_syn(V4), &[], Syn),
        shape("IPv4 UDP", udp(V4, 40_000), &[], Udp),
        shape("IPv4 ICMP", icmp(V4), &[], Icmp),
        shape("one tag, IPv4 with options, TCP", tcp_syn(V4).vlan(1).options(20), &[], Syn),
        shape(
            "two tags, IPv4 with most options, UDP",
            udp(V4, 9).service_vlan(1).vlan(2).options(40),
            &[],
            Udp,
        ),
        shape("IPv4 first fragment", udp(V4, 9).fragment(0, true), &[Fragment], Udp),
        shape("IPv6 TCP", tcp_syn(V6), &[], Syn),
        shape("IPv6 UDP", udp(V6, 40_000), &[], Udp),
        shape("IPv6 ICMPv6", icmp(V6), &[], Icmp),
        shape("two tags, IPv6 TCP", tcp_syn(V6).service_vlan(1).vlan(2), &[], Syn),
        shape("IPv6 first fragment", tcp_syn(V6).fragment(0, true), &[Extension], Syn),
        shape(
            "IPv6 with every extension header",
            tcp_syn(V6)
                .extension(HOP_BY_HOP)
                .extension_of(DESTINATION_OPTIONS, 16)
                .extension_of(ROUTING, 24)
                .fragment(0, true)
                .extension_of(AUTHENTICATION, 24)
                .extension(DESTINATION_OPTIONS),
            &[Extension],
            Syn,
        ),
    ]
}
