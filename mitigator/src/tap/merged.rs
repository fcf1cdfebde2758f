//! Packets that are several in one: the kernel merges what arrives (GRO), and cuts what leaves behind the tap (TSO, GSO).
//!
//! On the wire none is longer than the interface's MTU, so what is longer is counted as full packets and a rest, all at one
//! time. Merged packets that together are no longer stay one.

use mitigator_ebpf::packet::flags;

use super::ETHERNET_BYTES;
use crate::flows::FlowPacket;

/// The packets of the wire that `packet` was made of.
pub(super) fn pieces(packet: FlowPacket, mtu: u32) -> impl Iterator<Item = FlowPacket> {
    let payload = packet.payload_bytes;
    let headers = packet.wire_bytes.saturating_sub(payload);
    let room = (mtu + ETHERNET_BYTES).saturating_sub(headers);
    // Where no transport header was found, nothing says what a piece would be.
    let is_merged = payload > room && room > 0 && packet.header_bytes > 0 && packet.fragment.is_none();
    let (count, room) = if is_merged { (payload.div_ceil(room), room) } else { (1, payload) };
    (0..count).map(move |number| {
        let is_last = number + 1 == count;
        let own = if is_last { payload - number * room } else { room };
        let mut piece = FlowPacket { wire_bytes: headers + own, payload_bytes: own, ..packet };
        if let Some(tcp) = piece.tcp.as_mut().filter(|_| !is_last) {
            tcp.flags &= !(flags::FIN | flags::PSH);
        }
        piece
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::{Endpoint, TcpHeader};

    fn packet(payload_bytes: u32) -> FlowPacket {
        let endpoint = |address| Endpoint { address, is_v4: true, port: 80 };
        FlowPacket {
            at_ns: 7,
            protocol: 6,
            sender: endpoint(1),
            receiver: endpoint(2),
            wire_bytes: 14 + 20 + 20 + payload_bytes,
            header_bytes: 20,
            payload_bytes,
            tcp: Some(TcpHeader { flags: flags::ACK | flags::PSH | flags::FIN, window: 1 }),
            icmp: None,
            fragment: None,
        }
    }

    #[test]
    fn what_is_longer_than_the_mtu_is_several_packets() {
        for (description, payload, mtu, expected) in [
            ("none", 0, 1_500, vec![0]),
            ("one", 1_460, 1_500, vec![1_460]),
            ("one and a byte", 1_461, 1_500, vec![1_460, 1]),
            ("three", 4_000, 1_500, vec![1_460, 1_460, 1_080]),
            ("a jumbo frame", 4_000, 9_000, vec![4_000]),
            ("no room at all", 4_000, 20, vec![4_000]),
        ] {
            let pieces: Vec<FlowPacket> = pieces(packet(payload), mtu).collect();
            let lengths: Vec<u32> = pieces.iter().map(|piece| piece.payload_bytes).collect();
            assert_eq!(lengths, expected, "{description}");
            assert!(pieces.iter().all(|piece| piece.wire_bytes == piece.payload_bytes + 54), "{description}");
            let ends = pieces.iter().filter(|piece| piece.tcp.unwrap().flags & flags::FIN != 0).count();
            assert_eq!(ends, 1, "{description}");
        }
    }
}
