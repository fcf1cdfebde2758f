//! The answer to a SYN: a SYN+ACK whose sequence number is a cookie, in place of the SYN in its own frame.
//!
//! Pure: the cookie comes from the kernel, and who calls decides whether to answer at all. Options other than the
//! segment size are not offered: a listener looks for them in the timestamp that comes back, less an offset that
//! only it knows. Answered are plain SYNs, as one host sends them to another: an IPv4 header without options, or an IPv6
//! header without extensions, and an address to which an answer can go.

use crate::cursor::Cursor;
use crate::transport::{flags, protocol};

/// Bytes of a TCP header with the segment size as its only option.
pub const TCP_LENGTH: usize = TCP_BYTES as usize;
/// Bytes of an IPv4 packet that answers.
pub const V4_LENGTH: usize = V4_BYTES as usize;
/// Bytes of an IPv6 packet that answers.
pub const V6_LENGTH: usize = 40 + TCP_LENGTH;

const TCP_BYTES: u32 = 24;
const V4_BYTES: u32 = 20 + TCP_BYTES;
/// The fourth word of such headers: the length in words, the flags, and no window yet.
const SYN: u32 = 0x6000_0000 | (flags::SYN as u32) << 16;
const SYN_ACK: u32 = 0x6000_0000 | ((flags::SYN | flags::ACK) as u32) << 16;
/// Offered until the listener speaks for itself: what is not scaled, in whole segments of Ethernet.
const WINDOW: u32 = 64_240;
/// As Linux sends.
const HOPS: u32 = 64;
/// Kind and length of the option for the segment size.
const SEGMENT_SIZE: u32 = 0x0204_0000;

/// What of a SYN its answer rests on; addresses and ports as they lie in the packet, other numbers as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening<const WORDS: usize> {
    /// Who opens.
    pub client: [u32; WORDS],
    /// With whom.
    pub server: [u32; WORDS],
    /// Of both, the client's first.
    pub ports: u32,
    /// The client's first sequence number.
    pub sequence: u32,
    /// The largest segment that the client takes, when that is its first option; 0 otherwise.
    pub segment_size: u16,
}

/// Over IPv4.
pub type OpeningV4 = Opening<1>;
/// Over IPv6.
pub type OpeningV6 = Opening<4>;

impl OpeningV4 {
    /// Reads a plain SYN over IPv4, or says that it is none.
    #[inline(always)]
    #[must_use]
    pub fn read(bytes: &Cursor<'_>, start: usize) -> Option<Self> {
        let header = bytes.span::<40>(start)?;
        let is_plain = header.u8::<0>() == 0x45
            && header.u16::<6>() & 0x3fff == 0
            && header.u8::<9>() == protocol::TCP
            && is_syn(header.u8::<33>());
        let lengths = u32::from(header.u16::<2>()) >= 20 + length_of_tcp(header.u8::<32>());
        // Neither of this network, nor a loop, nor a group or what is reserved, everybody among it.
        let network = header.u8::<12>();
        if !is_plain || !lengths || network == 0 || network == 127 || network >= 224 {
            return None;
        }
        Some(Self {
            client: [header.u32::<12>().to_be()],
            server: [header.u32::<16>().to_be()],
            ports: header.u32::<20>().to_be(),
            sequence: header.u32::<24>(),
            segment_size: segment_size(bytes, start + 40, header.u8::<32>()),
        })
    }

    /// The packet that answers, as it is to lie in the frame.
    #[inline(always)]
    #[must_use]
    pub fn answer(&self, cookie: u32, segment_size: u16) -> [u32; V4_LENGTH / 4] {
        let [client] = self.client;
        let [server] = self.server;
        let [ports, sequence, acknowledged, kind, tcp_sum, option] =
            self.tcp(cookie, segment_size, u64::from(client) + u64::from(server));
        let first = (0x4500_0000 | V4_BYTES).to_be();
        let second = 0x0000_4000_u32.to_be();
        let third = (HOPS << 24 | (protocol::TCP as u32) << 16).to_be();
        let sum = [first, second, third, client, server].iter().fold(0, |sum, word| sum + u64::from(*word));
        [
            first,
            second,
            with_lower_half(third, checksum(sum)),
            server,
            client,
            ports,
            sequence,
            acknowledged,
            kind,
            tcp_sum,
            option,
        ]
    }
}

impl OpeningV6 {
    /// Reads a plain SYN over IPv6, or says that it is none.
    #[inline(always)]
    #[must_use]
    pub fn read(bytes: &Cursor<'_>, start: usize) -> Option<Self> {
        let header = bytes.span::<60>(start)?;
        let lengths = u32::from(header.u16::<4>()) >= length_of_tcp(header.u8::<52>());
        if header.u8::<6>() != protocol::TCP || !is_syn(header.u8::<53>()) || !lengths {
            return None;
        }
        // Neither of a group nor of `::/32`, where loops and the IPv4 addresses that no host sends by are.
        if header.u8::<8>() == 0xff || header.u32::<8>() == 0 {
            return None;
        }
        Some(Self {
            client: [
                header.u32::<8>().to_be(),
                header.u32::<12>().to_be(),
                header.u32::<16>().to_be(),
                header.u32::<20>().to_be(),
            ],
            server: [
                header.u32::<24>().to_be(),
                header.u32::<28>().to_be(),
                header.u32::<32>().to_be(),
                header.u32::<36>().to_be(),
            ],
            ports: header.u32::<40>().to_be(),
            sequence: header.u32::<44>(),
            segment_size: segment_size(bytes, start + 60, header.u8::<52>()),
        })
    }

    /// The packet that answers, as it is to lie in the frame.
    #[inline(always)]
    #[must_use]
    pub fn answer(&self, cookie: u32, segment_size: u16) -> [u32; V6_LENGTH / 4] {
        let [c0, c1, c2, c3] = self.client;
        let [s0, s1, s2, s3] = self.server;
        let addresses = [c0, c1, c2, c3, s0, s1, s2, s3];
        let addresses = addresses.iter().fold(0, |sum, word| sum + u64::from(*word));
        let [ports, sequence, acknowledged, kind, tcp_sum, option] =
            self.tcp(cookie, segment_size, addresses);
        let first = 0x6000_0000_u32.to_be();
        let second = (TCP_BYTES << 16 | (protocol::TCP as u32) << 8 | HOPS).to_be();
        [first, second, s0, s1, s2, s3, c0, c1, c2, c3, ports, sequence, acknowledged, kind, tcp_sum, option]
    }
}

impl<const WORDS: usize> Opening<WORDS> {
    /// The TCP header of a SYN that says the same, of a length that is always the same.
    #[inline(always)]
    #[must_use]
    pub const fn header(&self) -> [u32; TCP_LENGTH / 4] {
        let option = if self.segment_size == 0 { 0 } else { SEGMENT_SIZE | self.segment_size as u32 };
        [self.ports, self.sequence.to_be(), 0, SYN.to_be(), 0, option.to_be()]
    }

    /// The TCP header that answers; `addresses` is the sum of the words of both.
    #[inline(always)]
    fn tcp(&self, cookie: u32, segment_size: u16, addresses: u64) -> [u32; TCP_LENGTH / 4] {
        // Halves change places, in either byte order.
        let ports = self.ports.rotate_left(16);
        let words = [
            ports,
            cookie.to_be(),
            self.sequence.wrapping_add(1).to_be(),
            (SYN_ACK | WINDOW).to_be(),
            (SEGMENT_SIZE | u32::from(segment_size)).to_be(),
            // The end of the pseudo header, of which all else is zero.
            ((protocol::TCP as u32) << 16 | TCP_BYTES).to_be(),
        ];
        let sum = words.iter().fold(addresses, |sum, word| sum + u64::from(*word));
        let [ports, sequence, acknowledged, kind, option, _] = words;
        [ports, sequence, acknowledged, kind, with_upper_half(0, checksum(sum)), option]
    }
}

/// The first 12 bytes of the frame that answers: back to who sent it. `None` when there are none, or when either is not
/// one host.
#[inline(always)]
#[must_use]
pub fn turned_round(bytes: &Cursor<'_>) -> Option<[u32; 3]> {
    let frame = bytes.span::<12>(0)?;
    let (receiver, sender) = ((frame.u16::<0>(), frame.u32::<2>()), (frame.u32::<6>(), frame.u16::<10>()));
    if (frame.u8::<0>() | frame.u8::<6>()) & 1 != 0 {
        return None;
    }
    let middle = u32::from(sender.1) << 16 | u32::from(receiver.0);
    Some([sender.0.to_be(), middle.to_be(), receiver.1.to_be()])
}

/// In bytes, as the header says; 20 at least, or more than any packet has.
#[inline(always)]
const fn length_of_tcp(data_offset: u8) -> u32 {
    let words = (data_offset >> 4) as u32;
    if words < 5 { u32::MAX / 2 } else { words * 4 }
}

#[inline(always)]
const fn is_syn(bits: u8) -> bool {
    bits & (flags::SYN | flags::ACK | flags::RST | flags::FIN) == flags::SYN
}

/// Of the option at `place`, when the header reaches as far and it is the option for the segment size.
#[inline(always)]
fn segment_size(bytes: &Cursor<'_>, place: usize, data_offset: u8) -> u16 {
    let option = if data_offset >> 4 > 5 { bytes.read::<4>(place) } else { None };
    match option {
        Some([2, 4, upper, lower]) => u16::from_be_bytes([upper, lower]),
        _ => 0,
    }
}

/// Of a sum of words; its bytes lie as those of the words do.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "it is folded into as many bits")]
const fn checksum(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    !(sum as u16)
}

/// A word in network order, whose last two bytes are zero, with those of `half` there.
#[inline(always)]
const fn with_lower_half(word: u32, half: u16) -> u32 {
    word | (u16::from_be(half) as u32).to_be()
}

/// A word in network order, whose first two bytes are zero, with those of `half` there.
#[inline(always)]
const fn with_upper_half(word: u32, half: u16) -> u32 {
    word | ((u16::from_be(half) as u32) << 16).to_be()
}

#[cfg(test)]
mod tests {
    extern crate std;
    use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TcpOptionElement, TransportSlice};
    use std::vec::Vec;

    use super::*;
    use crate::cursor::Sheet;

    const COOKIE: u32 = 0xfedc_ba98;

    fn sent(is_v4: bool, number: u32, options: &[TcpOptionElement]) -> Vec<u8> {
        let [a, b, c, d] = number.wrapping_mul(0x9e37_79b9).to_be_bytes();
        // Of a host.
        let network = a % 126 + 1;
        let frame = PacketBuilder::ethernet2([2, a, b, c, d, 1], [6, d, c, b, a, 2]);
        let packet = if is_v4 {
            frame.ipv4([network, b, c, d], [192, 0, d, 7], 60)
        } else {
            let mut client = [d; 16];
            client[..2].copy_from_slice(&[0x20, network]);
            client[8..12].copy_from_slice(&[a, b, c, d]);
            frame.ipv6(client, [c; 16], 60)
        };
        let ports = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let packet = packet.tcp(ports.0, ports.1, u32::MAX.wrapping_add(number), 1_024).syn();
        let mut bytes = Vec::new();
        packet.options(options).unwrap().write(&mut bytes, &[]).unwrap();
        bytes
    }

    /// The frame that answers.
    fn answered(mut frame: Vec<u8>, is_v4: bool, segment_size: u16) -> Option<Vec<u8>> {
        let cursor = Cursor::over(&frame);
        let turned = turned_round(&cursor)?;
        if is_v4 {
            let answer = OpeningV4::read(&cursor, 14)?.answer(COOKIE, segment_size);
            frame.resize(14 + V4_LENGTH, 0);
            assert!(Sheet::over(&mut frame).write(14, &answer));
        } else {
            let answer = OpeningV6::read(&cursor, 14)?.answer(COOKIE, segment_size);
            frame.resize(14 + V6_LENGTH, 0);
            assert!(Sheet::over(&mut frame).write(14, &answer));
        }
        assert!(Sheet::over(&mut frame).write(0, &turned));
        Some(frame)
    }

    #[test]
    fn an_answer_is_what_an_independent_reader_takes_for_one() {
        for number in 0..2_000 {
            for is_v4 in [true, false] {
                let question = sent(is_v4, number, &[TcpOptionElement::MaximumSegmentSize(1_460)]);
                let answer = answered(question.clone(), is_v4, 1_300).unwrap();
                let (asked, told) = (
                    SlicedPacket::from_ethernet(&question).unwrap(),
                    SlicedPacket::from_ethernet(&answer).unwrap(),
                );
                assert_eq!([&answer[0..6], &answer[6..12]], [&question[6..12], &question[0..6]]);
                let (Some(TransportSlice::Tcp(syn)), Some(TransportSlice::Tcp(tcp))) =
                    (&asked.transport, &told.transport)
                else {
                    panic!("TCP")
                };
                let sum = match (&asked.net, &told.net) {
                    (Some(NetSlice::Ipv4(asked)), Some(NetSlice::Ipv4(told))) => {
                        let header = told.header().to_header();
                        assert_eq!(header.header_checksum, header.calc_header_checksum());
                        assert_eq!(header.source, asked.header().destination());
                        assert_eq!(header.destination, asked.header().source());
                        assert!(header.dont_fragment && usize::from(header.total_len) == V4_LENGTH);
                        tcp.to_header().calc_checksum_ipv4(&header, &[]).unwrap()
                    }
                    (Some(NetSlice::Ipv6(asked)), Some(NetSlice::Ipv6(told))) => {
                        let header = told.header().to_header();
                        assert_eq!(header.source, asked.header().destination());
                        assert_eq!(header.destination, asked.header().source());
                        assert_eq!(usize::from(header.payload_length), TCP_LENGTH);
                        tcp.to_header().calc_checksum_ipv6(&header, &[]).unwrap()
                    }
                    _ => panic!("IP"),
                };
                assert_eq!(tcp.checksum(), sum, "number {number}, IPv4 {is_v4}");
                assert!(tcp.syn() && tcp.ack() && !tcp.rst() && !tcp.fin());
                assert_eq!(
                    (
                        tcp.source_port(),
                        tcp.destination_port(),
                        tcp.sequence_number(),
                        tcp.acknowledgment_number()
                    ),
                    (
                        syn.destination_port(),
                        syn.source_port(),
                        COOKIE,
                        syn.sequence_number().wrapping_add(1)
                    )
                );
                let options: Vec<_> = tcp.options_iterator().collect();
                assert_eq!(options, [Ok(TcpOptionElement::MaximumSegmentSize(1_300))]);
            }
        }
    }

    #[test]
    fn the_segment_size_is_found_where_every_stack_puts_it() {
        use TcpOptionElement::{MaximumSegmentSize, Noop, SelectiveAcknowledgementPermitted, WindowScale};
        for (options, expected) in [
            (&[][..], 0),
            (&[MaximumSegmentSize(1_440)], 1_440),
            (&[MaximumSegmentSize(536), Noop, WindowScale(7), SelectiveAcknowledgementPermitted], 536),
            (&[Noop, WindowScale(7), MaximumSegmentSize(1_440)], 0),
        ] {
            let v4 = sent(true, 1, options);
            let v6 = sent(false, 1, options);
            assert_eq!(OpeningV4::read(&Cursor::over(&v4), 14).unwrap().segment_size, expected);
            assert_eq!(OpeningV6::read(&Cursor::over(&v6), 14).unwrap().segment_size, expected);
        }
    }

    #[test]
    fn only_plain_syns_are_answered() {
        // Frame, and what is wrong with it: a byte and its value.
        for (description, is_v4, change) in [
            ("IPv4 with options", true, (14, 0x46)),
            ("a first fragment", true, (20, 0x20)),
            ("a later fragment", true, (21, 1)),
            ("UDP over IPv4", true, (23, 17)),
            ("an answer", true, (47, 0x12)),
            ("a reset", true, (47, 0x06)),
            ("an end", true, (47, 0x03)),
            ("hop-by-hop options", false, (20, 0)),
            ("to a group's hardware", true, (0, 3)),
            ("from a group's hardware", true, (6, 0xff)),
            ("from this network", true, (26, 0)),
            ("from a loop", true, (26, 127)),
            ("from a group", true, (26, 224)),
            ("from everybody", true, (26, 255)),
            ("shorter than its headers", true, (17, 39)),
            ("less than a TCP header", true, (46, 0x40)),
            ("from a group, over IPv6", false, (22, 0xff)),
            ("shorter than its TCP header", false, (19, 19)),
            ("an answer over IPv6", false, (67, 0x12)),
        ] {
            let mut frame = sent(is_v4, 3, &[]);
            assert!(answered(frame.clone(), is_v4, 1_460).is_some(), "{description}");
            let (place, value) = change;
            frame[place] = value;
            assert!(answered(frame.clone(), is_v4, 1_460).is_none(), "{description}");
            frame.truncate(place + 1);
            assert!(answered(frame, is_v4, 1_460).is_none(), "{description}, cut");
        }
    }
}
