//! Forged senders: gives a TCP frame another source address, source port and sequence number each time it leaves,
//! so that a flood never shows the same sender twice.

use std::net::Ipv4Addr;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};

// Offsets into an Ethernet frame with IPv4 without options and TCP.
const IP_CHECKSUM: usize = 24;
const SOURCE: usize = 26;
const SOURCE_PORT: usize = 34;
const SEQUENCE: usize = 38;
const TCP_CHECKSUM: usize = 50;

/// First bytes of addresses that are private, local, no host's, or the lab's own.
const NEVER_FORGED: [u8; 8] = [0, 10, 100, 127, 169, 172, 192, 198];

/// Draws senders from a seed.
#[derive(Clone, Debug)]
pub(super) struct Forger {
    random: Xoshiro256PlusPlus,
}

impl Forger {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: Xoshiro256PlusPlus::seed_from_u64(seed) }
    }

    /// An address of the public internet: none of the lab.
    pub(super) fn address(&mut self) -> Ipv4Addr {
        loop {
            let [first, second, third, last, ..] = self.random.next_u64().to_be_bytes();
            if first < 224 && !NEVER_FORGED.contains(&first) {
                return Ipv4Addr::new(first, second, third, last);
            }
        }
    }

    /// Makes the frame somebody else's; its checksums stay correct.
    pub(super) fn renew(&mut self, frame: &mut [u8]) {
        let source = self.address().octets();
        let [p0, p1, s0, s1, s2, s3, ..] = self.random.next_u64().to_be_bytes();
        replace(frame, SOURCE, source, &[IP_CHECKSUM, TCP_CHECKSUM]);
        replace(frame, SOURCE_PORT, [p0 | 0x80, p1], &[TCP_CHECKSUM]);
        replace(frame, SEQUENCE, [s0, s1, s2, s3], &[TCP_CHECKSUM]);
    }
}

/// Writes `bytes` at `offset` and corrects the checksums that cover them (RFC 1624).
fn replace<const N: usize>(frame: &mut [u8], offset: usize, bytes: [u8; N], checksums: &[usize]) {
    let Some(place) = frame.get_mut(offset..offset + N) else { return };
    let change: u32 = place
        .chunks(2)
        .map(|old| u32::from(!word(old)))
        .chain(bytes.chunks(2).map(|new| word(new).into()))
        .sum();
    place.copy_from_slice(&bytes);
    for checksum in checksums {
        if let Some(place) = frame.get_mut(*checksum..*checksum + 2) {
            let corrected = !folded(u32::from(!word(place)) + change);
            place.copy_from_slice(&corrected.to_be_bytes());
        }
    }
}

/// Two bytes as a number.
fn word(bytes: &[u8]) -> u16 {
    bytes.try_into().map_or(0, u16::from_be_bytes)
}

/// A sum in ones' complement.
fn folded(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    u16::try_from((once & 0xffff) + (once >> 16)).unwrap_or(u16::MAX)
}
