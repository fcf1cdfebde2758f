//! The frames of a capture file, as the generators take them.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use mitigator::capture::Capture;
use mitigator_tests::ethernet::frame_of;
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
