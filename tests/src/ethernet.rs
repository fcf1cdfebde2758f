//! Packets of captures as Ethernet frames, whatever link they were captured on.

use mitigator::capture::{CapturedPacket, Network};

/// The packet from an Ethernet header on; one that was captured behind another link header gets one without
/// addresses. `None` when its own link header is cut.
#[must_use]
pub fn frame_of(packet: &CapturedPacket<'_>) -> Option<Vec<u8>> {
    match packet.network {
        Network::Ethernet => Some(packet.bytes.to_vec()),
        Network::At { ethertype, offset } => {
            Some([&[0; 12], &ethertype.to_be_bytes()[..], packet.bytes.get(offset..)?].concat())
        }
        Network::Cut => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_without_an_ethernet_header_get_one() {
        let packet = |bytes, network| CapturedPacket { at_ns: 0, wire_bytes: 60, bytes, network };
        let raw_ip = Network::At { ethertype: 0x0800, offset: 1 };
        let expected = [&[0; 12][..], &[8, 0, 0x45, 0x00]].concat();
        assert_eq!(frame_of(&packet(&[9, 0x45, 0x00], raw_ip)), Some(expected));
        assert_eq!(frame_of(&packet(&[1, 2, 3], Network::Ethernet)), Some(vec![1, 2, 3]));
        assert_eq!(frame_of(&packet(&[1], Network::Cut)), None);
    }
}
