//! A run packet by packet, for charts.

use std::time::Duration;

use anyhow::Result;
use mitigator::capture::Capture;
use mitigator::config::Config;
use mitigator::pipeline::time::Timestamp;
use mitigator::replay::{Arrival, Event, replay_watched};

use crate::scene::{Role, Scene};
use crate::tally::Tally;

/// Every packet that arrived, and when the attack was named.
pub(crate) struct Trace {
    pub(crate) arrivals: Vec<(Role, Arrival)>,
    pub(crate) first_attack_at: Option<Timestamp>,
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
            &Config::default(),
            |_| {},
            |event| {
                tally.take(&event);
                if let Event::Arrived(arrival @ Arrival { source: Some(source), .. }) = event {
                    arrivals.push((scene.role_of(source), arrival));
                }
            },
        )?;
        let Tally { first_attack_at, right_at, .. } = tally;
        Ok(Self { arrivals, first_attack_at, right_at, duration: replayed.duration })
    }
}
