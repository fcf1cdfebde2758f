//! A run packet by packet, for charts.

use std::time::Duration;

use anyhow::Result;
use mitigator::capture::Capture;
use mitigator::pipeline::time::Timestamp;
use mitigator::replay::{Arrival, Event, replay_watched};

use crate::scene::{Role, Scene};
use crate::tally::Tally;

/// Every packet that arrived, and when the attack was named.
pub(crate) struct Trace {
    pub(crate) arrivals: Vec<(Role, Arrival)>,
    pub(crate) began_at: Option<Timestamp>,
    pub(crate) right_at: Option<Timestamp>,
    pub(crate) duration: Duration,
}

impl Trace {
    /// # Errors
    ///
    /// When the replay fails.
    pub(crate) fn of(capture: Capture, scene: &Scene<'_>) -> Result<Self> {
        let mut tally = Tally::new(scene);
        let mut arrivals = Vec::new();
        let replayed = replay_watched(
            capture,
            &scene.protected,
            &scene.config(),
            |_| {},
            |event| {
                tally.take(&event);
                if let Event::Arrived(arrival @ Arrival { source: Some(source), .. }) = event {
                    arrivals.push((scene.role_of(source), arrival));
                }
            },
        )?;
        Ok(Self {
            arrivals,
            began_at: tally.began_at(),
            right_at: tally.right_at,
            duration: replayed.duration,
        })
    }
}
