//! What a flood sends: frames built beforehand, each with correct checksums, and the pace at which they leave.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context, Result};
use etherparse::{PacketBuilder, TcpOptionElement};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};

use super::forged::Forger;

/// Frames per source; they may differ in more than their source.
const VARIANTS: usize = 256;
/// Frames whose senders are forged anew are reused; times [`VARIANTS`].
const FORGED_AT_ONCE: usize = 8;
/// Bytes after the UDP header.
const UDP_PAYLOAD: [u8; 64] = [0x6d; 64];

/// Between which machines frames travel.
#[derive(Clone, Copy, Debug)]
pub struct Addressing {
    /// The hardware address they leave from.
    pub from_mac: [u8; 6],
    /// The hardware address they go to.
    pub to_mac: [u8; 6],
    /// The address they go to.
    pub to: Ipv4Addr,
}

/// Frames to send in order, over and over; never empty.
#[derive(Clone, Debug)]
pub struct Frames {
    frames: Vec<Vec<u8>>,
    /// Gives each frame another sender before it leaves.
    forger: Option<Forger>,
}

/// How fast frames leave.
#[derive(Clone, Debug)]
pub enum Pace {
    /// So many per second over all sources.
    PerSecond(u32),
    /// As fast as the sender can.
    Max,
    /// Each at its time since the first, once, in rising order; one entry per frame.
    At(Vec<Duration>),
    /// At a rate per second for a while, then nothing, and so on.
    Pulses {
        /// While it is on.
        per_second: u32,
        /// How long it is on.
        on: Duration,
        /// How long it is off.
        off: Duration,
    },
}

impl Frames {
    /// Frames as they are. `None` when there are none.
    #[must_use]
    pub fn new(frames: Vec<Vec<u8>>) -> Option<Self> {
        (!frames.is_empty()).then_some(Self { frames, forger: None })
    }

    /// UDP datagrams to `port`, from each of `sources` in turn.
    ///
    /// # Errors
    ///
    /// When there are no sources.
    pub fn udp(addressing: Addressing, sources: &[Ipv4Addr], port: u16) -> Result<Self> {
        // As many as for a SYN flood: one call sends at most what is left of the list.
        let frames = (0..VARIANTS).flat_map(|_| sources).map(|&source| {
            let mut frame = Vec::new();
            ipv4(addressing, source).udp(40_000, port).write(&mut frame, &UDP_PAYLOAD)?;
            Ok(frame)
        });
        Self::new(frames.collect::<Result<_>>()?).context("a flood needs sources")
    }

    /// TCP connection requests to `port`, from each of `sources` in turn, with source ports and sequence numbers
    /// drawn from `seed`.
    ///
    /// # Errors
    ///
    /// When there are no sources.
    pub fn syn(addressing: Addressing, sources: &[Ipv4Addr], port: u16, seed: u64) -> Result<Self> {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let frames = (0..VARIANTS).flat_map(|_| sources).map(|&source| {
            let [a, b, c, d, e, f, ..] = random.next_u64().to_be_bytes();
            let source_port = u16::from_be_bytes([a, b]) | 0x8000;
            let mut frame = Vec::new();
            ipv4(addressing, source)
                .tcp(source_port, port, u32::from_be_bytes([c, d, e, f]), 64_240)
                .syn()
                .options(&[TcpOptionElement::MaximumSegmentSize(1460)])
                .context("one option fits")?
                .write(&mut frame, &[])?;
            Ok(frame)
        });
        Self::new(frames.collect::<Result<_>>()?).context("a flood needs sources")
    }

    /// TCP connection requests to `port`, each from another address of the public internet, drawn from `seed`.
    ///
    /// # Errors
    ///
    /// Never with the sizes of this program.
    pub fn syn_of_forged_sources(addressing: Addressing, port: u16, seed: u64) -> Result<Self> {
        let mut forger = Forger::new(seed);
        let sources: Vec<_> = (0..FORGED_AT_ONCE).map(|_| forger.address()).collect();
        Ok(Self { forger: Some(forger), ..Self::syn(addressing, &sources, port, seed)? })
    }

    /// The next `count` frames from number `next` on, as they are to leave.
    pub(super) fn batch(&mut self, next: usize, count: usize) -> &[Vec<u8>] {
        let end = self.frames.len().min(next + count);
        let batch = self.frames.get_mut(next..end).unwrap_or_default();
        if let Some(forger) = &mut self.forger {
            batch.iter_mut().for_each(|frame| forger.renew(frame));
        }
        batch
    }

    /// The frames, in the order they leave; of forged senders, with their first ones.
    #[must_use]
    pub fn as_slice(&self) -> &[Vec<u8>] {
        &self.frames
    }

    /// The distinct source addresses.
    #[must_use]
    pub fn sources(&self) -> Vec<IpAddr> {
        let mut sources: Vec<_> = self.frames.iter().filter_map(|frame| source_of(frame)).collect();
        sources.sort_unstable();
        sources.dedup();
        sources
    }
}

fn ipv4(addressing: Addressing, source: Ipv4Addr) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    PacketBuilder::ethernet2(addressing.from_mac, addressing.to_mac).ipv4(
        source.octets(),
        addressing.to.octets(),
        64,
    )
}

fn source_of(frame: &[u8]) -> Option<IpAddr> {
    let sliced = etherparse::LaxSlicedPacket::from_ethernet(frame).ok()?;
    match sliced.net? {
        etherparse::LaxNetSlice::Ipv4(ip) => Some(ip.header().source_addr().into()),
        etherparse::LaxNetSlice::Ipv6(ip) => Some(ip.header().source_addr().into()),
        etherparse::LaxNetSlice::Arp(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    const ADDRESSING: Addressing =
        Addressing { from_mac: [2; 6], to_mac: [4; 6], to: Ipv4Addr::new(198, 18, 0, 1) };
    const SOURCES: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 18, 1, 1), Ipv4Addr::new(198, 18, 1, 2)];

    #[test]
    fn checksums_are_right_and_sources_take_turns() {
        for (description, frames) in [
            ("udp", Frames::udp(ADDRESSING, &SOURCES, 9).unwrap()),
            ("syn", Frames::syn(ADDRESSING, &SOURCES, 80, 1).unwrap()),
        ] {
            for (frame, expected_source) in frames.as_slice().iter().zip(SOURCES.iter().cycle()) {
                let packet = SlicedPacket::from_ethernet(frame).unwrap();
                let Some(NetSlice::Ipv4(ip)) = packet.net else { panic!("{description}: no IPv4") };
                assert_eq!(ip.header().source_addr(), *expected_source, "{description}");
                assert_eq!(
                    ip.header().header_checksum(),
                    ip.header().to_header().calc_header_checksum(),
                    "{description}"
                );
                match packet.transport.unwrap() {
                    TransportSlice::Udp(udp) => {
                        let expected =
                            udp.to_header().calc_checksum_ipv4(&ip.header().to_header(), udp.payload());
                        assert_eq!(udp.checksum(), expected.unwrap(), "{description}");
                    }
                    TransportSlice::Tcp(tcp) => {
                        assert!(tcp.syn() && !tcp.ack(), "{description}");
                        let expected =
                            tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination());
                        assert_eq!(tcp.checksum(), expected.unwrap(), "{description}");
                    }
                    other => panic!("{description}: {other:?}"),
                }
            }
            assert_eq!(frames.sources(), SOURCES.map(IpAddr::from), "{description}");
        }
    }

    #[test]
    fn forged_senders_never_return_and_their_checksums_are_right() {
        let mut frames = Frames::syn_of_forged_sources(ADDRESSING, 80, 1).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..20 {
            for frame in frames.batch(0, 64) {
                let packet = SlicedPacket::from_ethernet(frame).unwrap();
                let Some(NetSlice::Ipv4(ip)) = packet.net else { panic!("no IPv4") };
                let header = ip.header().to_header();
                assert_eq!(header.header_checksum, header.calc_header_checksum());
                let Some(TransportSlice::Tcp(tcp)) = packet.transport else { panic!("no TCP") };
                assert!(tcp.syn() && tcp.destination_port() == 80);
                let expected = tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination());
                assert_eq!(tcp.checksum(), expected.unwrap());
                assert!(ip.header().source_addr().octets()[0] != 198, "an address of the lab");
                seen.insert(ip.header().source_addr());
            }
        }
        // Of 1280 drawn from three billion, two are equal once in several thousand seeds.
        assert_eq!(seen.len(), 20 * 64);
    }
}
