//! What reflectors send: large DNS answers, each a first fragment from port 53 and the fragments that follow.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use etherparse::{IpFragOffset, IpNumber, Ipv4Header, UdpHeader};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};

use super::forged::Forger;
use super::frames::{Addressing, Frames};

const DNS_PORT: u16 = 53;
/// Bytes of an answer with its UDP header; in fragments of at most 1480.
const ANSWER: usize = 3_608;
const FRAGMENT: usize = 1_480;
/// As a response with recursion: QR, RD, RA.
const DNS_FLAGS: [u8; 2] = [0x81, 0x80];

impl Frames {
    /// Answers to questions that nobody at `addressing.to` asked, from each of `reflectors` public addresses in
    /// turn, each in three fragments; all drawn from `seed`.
    ///
    /// # Errors
    ///
    /// When there are no reflectors.
    pub fn dns_answers(addressing: Addressing, reflectors: usize, seed: u64) -> Result<Self> {
        let mut forger = Forger::new(seed);
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut frames = Vec::with_capacity(reflectors * ANSWER.div_ceil(FRAGMENT));
        for _ in 0..reflectors {
            let [p0, p1, i0, i1, d0, d1, ..] = random.next_u64().to_be_bytes();
            let asker_port = u16::from_be_bytes([p0, p1]) | 0x8000;
            let answer = answer(forger.address(), addressing.to, asker_port, [d0, d1])?;
            frames.extend(fragments(addressing, &answer, u16::from_be_bytes([i0, i1]))?);
        }
        Self::new(frames).context("a reflection needs reflectors")
    }
}

/// A datagram and who sends it.
struct Answer {
    from: Ipv4Addr,
    /// UDP header and payload.
    datagram: Vec<u8>,
}

fn answer(from: Ipv4Addr, to: Ipv4Addr, asker_port: u16, id: [u8; 2]) -> Result<Answer> {
    let mut payload = vec![0x6d; ANSWER - UdpHeader::LEN];
    for (place, byte) in payload.iter_mut().zip(id.into_iter().chain(DNS_FLAGS).chain([0, 1, 0, 60])) {
        *place = byte;
    }
    let ip = Ipv4Header::new(0, 64, IpNumber::UDP, from.octets(), to.octets())?;
    let udp = UdpHeader::with_ipv4_checksum(DNS_PORT, asker_port, &ip, &payload)?;
    Ok(Answer { from, datagram: [&udp.to_bytes()[..], &payload].concat() })
}

fn fragments(addressing: Addressing, answer: &Answer, identification: u16) -> Result<Vec<Vec<u8>>> {
    let parts = answer.datagram.chunks(FRAGMENT);
    let last = parts.len() - 1;
    let fragment = |(number, part): (usize, &[u8])| {
        let length = u16::try_from(part.len())?;
        let mut ip =
            Ipv4Header::new(length, 64, IpNumber::UDP, answer.from.octets(), addressing.to.octets())?;
        ip.identification = identification;
        ip.dont_fragment = false;
        ip.more_fragments = number < last;
        ip.fragment_offset = IpFragOffset::try_new(u16::try_from(number * FRAGMENT / 8)?)?;
        ip.header_checksum = ip.calc_header_checksum();
        let ethernet = [&addressing.to_mac[..], &addressing.from_mac, &[8, 0]].concat();
        Ok([&ethernet[..], &ip.to_bytes(), part].concat())
    };
    parts.enumerate().map(fragment).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{NetSlice, SlicedPacket};

    #[test]
    fn fragments_make_one_answer() {
        let to = Ipv4Addr::new(198, 18, 0, 1);
        let addressing = Addressing { from_mac: [2; 6], to_mac: [4; 6], to };
        let frames = Frames::dns_answers(addressing, 5, 1).unwrap();
        assert_eq!((frames.as_slice().len(), frames.sources().len()), (15, 5));
        for answer in frames.as_slice().chunks(3) {
            let mut datagram = Vec::new();
            for (number, frame) in answer.iter().enumerate() {
                assert!(frame.len() <= 1_514);
                let packet = SlicedPacket::from_ethernet(frame).unwrap();
                let Some(NetSlice::Ipv4(ip)) = packet.net else { panic!("no IPv4") };
                assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum());
                assert_eq!(ip.header().more_fragments(), number < 2);
                assert_eq!(usize::from(ip.header().fragments_offset().value()) * 8, datagram.len());
                datagram.extend_from_slice(ip.payload().payload);
            }
            let (udp, payload) = UdpHeader::from_slice(&datagram).unwrap();
            assert_eq!((udp.source_port, usize::from(udp.length), datagram.len()), (53, ANSWER, ANSWER));
            let ip = SlicedPacket::from_ethernet(&answer[0]).unwrap();
            let Some(NetSlice::Ipv4(ip)) = ip.net else { panic!("no IPv4") };
            assert_eq!(udp.calc_checksum_ipv4(&ip.header().to_header(), payload).unwrap(), udp.checksum);
        }
    }
}
