//! Keeps the addresses of two recordings apart: what both know moves to another prefix in one of them.
//!
//! Apart are *sources*, so for IPv6 whole /64s move. Checksums are left alone, because nothing checks them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};
use mitigator_common::Source;
use mitigator_ebpf::packet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, MAX_VLAN_TAGS};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::recording::Recording;

/// The byte of an IPv4 address that changes: it keeps the first, and so what kind of address it is.
const V4_BYTE: usize = 1;
/// The byte of an IPv6 address that changes, for the same reason; link-local stays link-local.
const V6_BYTE: usize = 3;

/// Which sources move, and how: bits to flip in one byte of their addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moves(FxHashMap<Source, u8>);

impl Moves {
    /// Moves of `addresses` that keep them apart from `others`.
    ///
    /// # Errors
    ///
    /// When all 255 places that an address could move to are taken.
    pub(crate) fn away_from(others: &BTreeSet<IpAddr>, addresses: &BTreeSet<IpAddr>) -> Result<Self> {
        let foreign: FxHashSet<Source> = hosts(others).map(Source::from).collect();
        let mut taken: FxHashSet<Source> = foreign.clone();
        taken.extend(hosts(addresses).map(Source::from));
        let mut moves = Self::default();
        for address in hosts(addresses) {
            let source = Source::from(address);
            if !foreign.contains(&source) || moves.0.contains_key(&source) {
                continue;
            }
            let flip = (1..=u8::MAX)
                .find(|flip| taken.insert(Source::from(flipped(address, *flip))))
                .with_context(|| format!("there is no room to move {address} to"))?;
            moves.0.insert(source, flip);
        }
        Ok(moves)
    }

    /// Where an address is after the moves.
    pub(crate) fn place_of(&self, address: IpAddr) -> IpAddr {
        match self.0.get(&Source::from(address)) {
            Some(flip) if is_host(address) => flipped(address, *flip),
            _ => address,
        }
    }

    /// Moves sender and receiver of every packet.
    pub(crate) fn apply(&self, recording: &mut Recording) {
        if self.0.is_empty() {
            return;
        }
        for packet in &mut recording.packets {
            self.apply_to(&mut packet.frame);
        }
    }

    fn apply_to(&self, frame: &mut [u8]) -> Option<()> {
        let (ethertype, header) = network_header(frame)?;
        match ethertype {
            ETHERTYPE_IPV4 => [12, 16].into_iter().try_for_each(|offset| {
                let bytes = header.get_mut(offset..)?.first_chunk_mut::<4>()?;
                if let IpAddr::V4(moved) = self.place_of(IpAddr::from(*bytes)) {
                    *bytes = moved.octets();
                }
                Some(())
            }),
            ETHERTYPE_IPV6 => [8, 24].into_iter().try_for_each(|offset| {
                let bytes = header.get_mut(offset..)?.first_chunk_mut::<16>()?;
                if let IpAddr::V6(moved) = self.place_of(IpAddr::from(*bytes)) {
                    *bytes = moved.octets();
                }
                Some(())
            }),
            _ => None,
        }
    }
}

/// Groups and everybody stay what they are.
fn hosts(addresses: &BTreeSet<IpAddr>) -> impl Iterator<Item = IpAddr> {
    addresses.iter().copied().filter(|address| is_host(*address))
}

fn is_host(address: IpAddr) -> bool {
    !address.is_multicast() && address != IpAddr::V4(Ipv4Addr::BROADCAST)
}

fn flipped(address: IpAddr, flip: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mut octets = address.octets();
            octets[V4_BYTE] ^= flip;
            Ipv4Addr::from(octets).into()
        }
        IpAddr::V6(address) => {
            let mut octets = address.octets();
            octets[V6_BYTE] ^= flip;
            Ipv6Addr::from(octets).into()
        }
    }
}

/// Ethertype and bytes of the network header, past as many VLAN tags as the XDP program reads.
fn network_header(frame: &mut [u8]) -> Option<(u16, &mut [u8])> {
    let mut offset = 12;
    let mut tags = 0;
    loop {
        let ethertype = u16::from_be_bytes(*frame.get(offset..)?.first_chunk()?);
        if !matches!(ethertype, 0x8100 | 0x88a8 | 0x9100) || tags == MAX_VLAN_TAGS {
            return Some((ethertype, frame.get_mut(offset + 2..)?));
        }
        offset += 4;
        tags += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::Recorded;
    use mitigator_tests::packet;

    fn addresses(texts: &[&str]) -> BTreeSet<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn only_what_both_know_moves_and_nowhere_else_is_somebody() {
        let others = addresses(&["10.0.0.1", "10.1.0.9", "2001:db8::1", "255.255.255.255", "ff02::1"]);
        let mine = addresses(&[
            "10.0.0.1",
            "10.0.0.2",
            "10.1.0.1",
            "2001:db8::7",
            "2001:db8::8",
            "255.255.255.255",
            "ff02::1",
        ]);
        let moves = Moves::away_from(&others, &mine).unwrap();
        for (address, expected) in [
            ("10.0.0.1", "10.2.0.1"),
            ("10.0.0.2", "10.0.0.2"),
            ("10.1.0.1", "10.1.0.1"),
            ("2001:db8::7", "2001:db9::7"),
            ("2001:db8::8", "2001:db9::8"),
            ("255.255.255.255", "255.255.255.255"),
            ("ff02::1", "ff02::1"),
        ] {
            assert_eq!(moves.place_of(address.parse().unwrap()).to_string(), expected, "{address}");
        }
    }

    #[test]
    fn no_source_is_in_both_afterwards() {
        let others = ["192.0.2.7", "2001:db8:1::7", "0.0.0.0", "fe80::1", "::", "127.0.0.1"];
        let frames = others.map(|source| packet::udp(source, 53).vlan(7).bytes());
        let recorded = |frame| Recorded { at_ns: 0, wire_bytes: 60, frame };
        let mut recording = Recording { packets: frames.map(recorded).into() };
        let before = recording.addresses();
        Moves::away_from(&addresses(&others), &before).unwrap().apply(&mut recording);
        let sources: Vec<Source> = others.iter().map(|text| text.parse::<IpAddr>().unwrap().into()).collect();
        assert_eq!(recording.addresses().len(), before.len());
        let stayed: Vec<IpAddr> = recording
            .senders()
            .into_iter()
            .filter(|address| sources.contains(&Source::from(*address)))
            .collect();
        assert_eq!(stayed, Vec::<IpAddr>::new());
    }

    #[test]
    fn what_is_no_ip_stays_as_it_is() {
        let moves = Moves::away_from(&addresses(&["10.0.0.1"]), &addresses(&["10.0.0.1"])).unwrap();
        for frame in [vec![], vec![0; 13], [&[0; 12][..], &[8, 6], &[10, 0, 0, 1]].concat()] {
            let mut moved = frame.clone();
            moves.apply_to(&mut moved);
            assert_eq!(moved, frame);
        }
    }
}
