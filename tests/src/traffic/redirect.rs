//! A captured attack turned on the lab's victim: what went to the capture's busiest destination goes to the victim
//! instead, with the lab's hardware addresses and checksums that are right again.
//!
//! Input is any iterator of captured frames, so that this does not depend on how captures are read.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use etherparse::checksum::Sum16BitWords;

use super::LONGEST;
use super::frames::{Frames, Pace};

/// More frames than this are not taken from a capture.
const MOST_FRAMES: usize = 1_000_000;
const ETHERNET_HEADER: usize = 14;
/// The lab's links carry packets of this size.
const LARGEST_PACKET: usize = 1500;

/// One Ethernet frame of a capture.
#[derive(Clone, Debug)]
pub struct Captured {
    /// Since the first frame of the capture.
    pub at: Duration,
    /// From the destination's hardware address on; may be cut short.
    pub frame: Vec<u8>,
}

/// Frames for the victim, and when each is due.
#[derive(Clone, Debug)]
pub struct Redirection {
    /// Ready to be sent.
    pub frames: Frames,
    /// As captured, counted from the first of these frames.
    pub pace: Pace,
    /// The address they went to in the capture.
    pub original_destination: IpAddr,
    /// Frames of the capture that are not among them.
    pub left_out: usize,
}

/// Where redirected frames leave and arrive.
#[derive(Clone, Copy, Debug)]
pub struct Destination {
    /// The hardware address they leave from.
    pub from_mac: [u8; 6],
    /// The victim's hardware address.
    pub to_mac: [u8; 6],
    /// The victim's address for IPv4 frames.
    pub ipv4: Ipv4Addr,
    /// The victim's address for IPv6 frames.
    pub ipv6: Ipv6Addr,
}

impl Redirection {
    /// Takes the frames to the capture's busiest destination. `None` when there is no IP packet in it.
    #[must_use]
    pub fn towards(destination: Destination, captured: impl IntoIterator<Item = Captured>) -> Option<Self> {
        let captured: Vec<_> =
            captured.into_iter().take(MOST_FRAMES).take_while(|frame| frame.at < LONGEST).collect();
        let mut packets_to: HashMap<IpAddr, usize> = HashMap::new();
        for address in captured.iter().filter_map(|captured| destination_of(ip_packet(&captured.frame)?)) {
            *packets_to.entry(address).or_default() += 1;
        }
        // The address decides between equals, so that the same capture gives the same frames.
        let busiest = packets_to
            .iter()
            .max_by_key(|&(address, count)| (*count, *address))
            .map(|(&address, _)| address)?;
        let (frames, times): (Vec<_>, Vec<_>) = captured
            .iter()
            .filter_map(|captured| {
                let packet = ip_packet(&captured.frame)?;
                let ours = destination_of(packet)? == busiest && packet.len() <= LARGEST_PACKET;
                ours.then(|| Some((redirected(packet, destination)?, captured.at)))?
            })
            .unzip();
        let first = *times.first()?;
        Some(Self {
            left_out: captured.len() - frames.len(),
            frames: Frames::new(frames)?,
            pace: Pace::At(times.iter().map(|&at| at.saturating_sub(first)).collect()),
            original_destination: busiest,
        })
    }
}

/// What follows the Ethernet header and up to two VLAN tags, if that is IP.
fn ip_packet(frame: &[u8]) -> Option<&[u8]> {
    let mut rest = frame.get(ETHERNET_HEADER - 2..)?;
    for _ in 0..3 {
        let (ethertype, after) = rest.split_first_chunk::<2>()?;
        match u16::from_be_bytes(*ethertype) {
            0x0800 | 0x86dd => return Some(after),
            0x8100 | 0x88a8 => rest = after.get(2..)?,
            _ => return None,
        }
    }
    None
}

fn destination_of(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => packet.get(16..)?.first_chunk::<4>().map(|&address| Ipv4Addr::from(address).into()),
        6 => packet.get(24..)?.first_chunk::<16>().map(|&address| Ipv6Addr::from(address).into()),
        _ => None,
    }
}

fn redirected(packet: &[u8], destination: Destination) -> Option<Vec<u8>> {
    let mut packet = packet.to_vec();
    let ethertype: u16 = match packet.first()? >> 4 {
        4 => {
            redirect_ipv4(&mut packet, destination.ipv4)?;
            0x0800
        }
        _ => {
            redirect_ipv6(&mut packet, destination.ipv6)?;
            0x86dd
        }
    };
    let mut frame = Vec::with_capacity(ETHERNET_HEADER + packet.len());
    frame.extend(destination.to_mac);
    frame.extend(destination.from_mac);
    frame.extend(ethertype.to_be_bytes());
    frame.append(&mut packet);
    Some(frame)
}

fn redirect_ipv4(packet: &mut Vec<u8>, to: Ipv4Addr) -> Option<()> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes(*packet.get(2..)?.first_chunk()?));
    if header < 20 || packet.len() < header || total < header || total > LARGEST_PACKET {
        return None;
    }
    // What the capture cut off comes back as zeros; what Ethernet padded goes.
    packet.resize(total, 0);
    packet[16..20].copy_from_slice(&to.octets());
    let (head, transport) = packet.split_at_mut(header);
    put_checksum(head, 10, Sum16BitWords::new());
    let is_fragment = head[6] & 0x3f != 0 || head[7] != 0;
    if !is_fragment {
        let pseudo_header = Sum16BitWords::new().add_slice(&head[12..20]);
        fix_transport_checksum(transport, head[9], pseudo_header);
    }
    Some(())
}

fn redirect_ipv6(packet: &mut Vec<u8>, to: Ipv6Addr) -> Option<()> {
    let payload = usize::from(u16::from_be_bytes(*packet.get(4..)?.first_chunk()?));
    if packet.len() < 40 || 40 + payload > LARGEST_PACKET {
        return None;
    }
    packet.resize(40 + payload, 0);
    packet[24..40].copy_from_slice(&to.octets());
    let (head, transport) = packet.split_at_mut(40);
    // Behind extension headers the checksum stays as it was.
    let pseudo_header = Sum16BitWords::new().add_slice(&head[8..40]);
    fix_transport_checksum(transport, head[6], pseudo_header);
    Some(())
}

/// `pseudo_header` is the sum over both addresses. Leaves alone what is too short or has no checksum.
fn fix_transport_checksum(segment: &mut [u8], protocol: u8, pseudo_header: Sum16BitWords) {
    const TCP: u8 = 6;
    const UDP: u8 = 17;
    const ICMPV6: u8 = 58;
    let (at, least) = match protocol {
        TCP => (16, 20),
        UDP => (6, 8),
        ICMPV6 => (2, 4),
        _ => return,
    };
    if segment.len() < least || (protocol == UDP && segment[at..at + 2] == [0, 0]) {
        return;
    }
    let length = u16::try_from(segment.len()).expect("a packet of at most 1500 bytes");
    put_checksum(segment, at, pseudo_header.add_2bytes([0, protocol]).add_2bytes(length.to_be_bytes()));
    if protocol == UDP && segment[at..at + 2] == [0, 0] {
        // Zero would mean that there is none.
        segment[at..at + 2].copy_from_slice(&[0xff, 0xff]);
    }
}

fn put_checksum(bytes: &mut [u8], at: usize, start: Sum16BitWords) {
    bytes[at..at + 2].fill(0);
    let checksum = start.add_slice(bytes).ones_complement();
    bytes[at..at + 2].copy_from_slice(&checksum.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};

    const DESTINATION: Destination = Destination {
        from_mac: [2; 6],
        to_mac: [4; 6],
        ipv4: Ipv4Addr::new(198, 18, 0, 1),
        ipv6: Ipv6Addr::new(0xfd00, 0x18, 0, 0, 0, 0, 0, 1),
    };

    fn built(builder: etherparse::PacketBuilderStep<etherparse::UdpHeader>, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        builder.write(&mut frame, payload).unwrap();
        frame
    }

    #[test]
    fn keeps_the_busiest_destination_and_mends_every_checksum() {
        let to = |last| PacketBuilder::ethernet2([1; 6], [3; 6]).ipv4([192, 0, 2, 7], [203, 0, 113, last], 9);
        let tagged = PacketBuilder::ethernet2([1; 6], [3; 6])
            .single_vlan(etherparse::VlanId::try_new(7).unwrap())
            .ipv4([192, 0, 2, 8], [203, 0, 113, 1], 9);
        let mut tcp = Vec::new();
        to(1).tcp(1000, 80, 5, 6).syn().write(&mut tcp, b"odd").unwrap();
        let captured: Vec<_> = [
            built(to(2).udp(53, 53), b"other"),
            built(to(1).udp(53, 53), b"x"),
            built(tagged.udp(53, 53), b"y"),
            tcp,
        ]
        .into_iter()
        .zip(1..)
        .map(|(frame, second)| Captured { at: Duration::from_secs(second), frame })
        .collect();

        let redirection = Redirection::towards(DESTINATION, captured).unwrap();

        assert_eq!(redirection.original_destination, IpAddr::from([203, 0, 113, 1]));
        assert_eq!((redirection.frames.as_slice().len(), redirection.left_out), (3, 1));
        let Pace::At(times) = redirection.pace else { panic!("a capture has its own pace") };
        assert_eq!(times, [0, 1, 2].map(Duration::from_secs));
        for frame in redirection.frames.as_slice() {
            assert!(frame.starts_with(&[4, 4, 4, 4, 4, 4, 2, 2, 2, 2, 2, 2]));
            let packet = SlicedPacket::from_ethernet(frame).unwrap();
            let Some(NetSlice::Ipv4(ip)) = packet.net else { panic!("no IPv4") };
            let header = ip.header().to_header();
            assert_eq!(Ipv4Addr::from(header.destination), DESTINATION.ipv4);
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            match packet.transport.unwrap() {
                TransportSlice::Udp(udp) => assert_eq!(
                    udp.checksum(),
                    udp.to_header().calc_checksum_ipv4(&header, udp.payload()).unwrap()
                ),
                TransportSlice::Tcp(tcp) => {
                    assert_eq!(
                        tcp.checksum(),
                        tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination()).unwrap()
                    );
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn mends_ipv6_and_pads_what_the_capture_cut() {
        let from = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
        let mut frame =
            built(PacketBuilder::ethernet2([1; 6], [3; 6]).ipv6(from, [7; 16], 9).udp(53, 53), &[9; 100]);
        frame.truncate(80);
        let captured = Captured { at: Duration::ZERO, frame };
        let redirection = Redirection::towards(DESTINATION, [captured]).unwrap();
        let packet = SlicedPacket::from_ethernet(&redirection.frames.as_slice()[0]).unwrap();
        let Some(NetSlice::Ipv6(ip)) = packet.net else { panic!("no IPv6") };
        let Some(TransportSlice::Udp(udp)) = packet.transport else { panic!("no UDP") };
        let header = ip.header().to_header();
        assert_eq!((Ipv6Addr::from(header.destination), udp.payload().len()), (DESTINATION.ipv6, 100));
        assert_eq!(udp.checksum(), udp.to_header().calc_checksum_ipv6(&header, udp.payload()).unwrap());
    }

    #[test]
    fn a_capture_without_ip_gives_nothing() {
        let arp = Captured { at: Duration::ZERO, frame: [&[1; 12][..], &[8, 6], &[0; 28]].concat() };
        let stub = Captured { at: Duration::ZERO, frame: vec![0x45; 13] };
        assert!(Redirection::towards(DESTINATION, [arp, stub]).is_none());
    }
}
