//! The frames of a capture file, as the generators take them.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use mitigator::capture::{Capture, CapturedPacket, Network};
use mitigator_tests::traffic::{Captured, LONGEST};

/// More are not read; the attack lasts seconds.
const MOST_FRAMES: usize = 1_000_000;

/// The Ethernet frames of a capture's first minute. Packets captured behind another link header get an Ethernet
/// header without addresses. Of a damaged capture, what comes before the damage.
pub(crate) fn frames_of(file: &Path) -> Result<Vec<Captured>> {
    let mut capture = Capture::open(file)?;
    let mut frames: Vec<Captured> = Vec::new();
    let mut first_ns = None;
    while frames.len() < MOST_FRAMES {
        let packet = match capture.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => break,
            Err(damage) => {
                eprintln!("`{}` is used up to its damage: {damage}", file.display());
                break;
            }
        };
        let first_ns = *first_ns.get_or_insert(packet.at_ns);
        let at = Duration::from_nanos(packet.at_ns.saturating_sub(first_ns));
        if at >= LONGEST {
            break;
        }
        // Captures of several interfaces go back by microseconds now and then.
        let at = frames.last().map_or(at, |last| last.at.max(at));
        frames.extend(frame_of(&packet).map(|frame| Captured { at, frame }));
    }
    Ok(frames)
}

fn frame_of(packet: &CapturedPacket<'_>) -> Option<Vec<u8>> {
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
