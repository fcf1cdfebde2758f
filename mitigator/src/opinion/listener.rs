//! `Listener`: what the agent hears of its interfaces, for [`Opinions`]. Where nothing can be heard, that is told once, and
//! tried again.

use std::collections::VecDeque;

use anyhow::Error;

use super::{Completeness, Opinions};
use crate::pipeline::time::Timestamp;
use crate::pipeline::verdict::Verdict;
use crate::tap::Tap;

/// How long lost packets and sources that were not heard are told: as long as flows are remembered.
const TOLD_NS: u64 = 10_000_000_000;

/// What the operator should hear.
#[derive(Debug)]
pub enum News {
    /// From here on nothing is heard of an interface.
    Deaf(String, Error),
    /// What was heard no longer is heard again.
    Hears(String),
}

/// The taps of the interfaces, and whom they feed.
#[derive(Debug)]
pub struct Listener {
    opinions: Opinions,
    places: Vec<Place>,
    key: u32,
    /// Of each interface.
    packets_per_second: u32,
    /// Those of the last seconds.
    looks: VecDeque<Look>,
}

/// What a look at all queues came to.
#[derive(Debug)]
struct Look {
    at: Timestamp,
    lost_packets: u64,
    source_share: f64,
}

/// An interface.
#[derive(Debug)]
struct Place {
    interface: String,
    tap: Option<Tap>,
    is_told: bool,
}

impl Listener {
    /// Hears nothing yet. `key` chooses who is heard when the interfaces bring more than `packets_per_second` together.
    #[must_use]
    pub fn new(opinions: Opinions, interfaces: &[String], key: u32, packets_per_second: u32) -> Self {
        let place = |name: &String| Place { interface: name.clone(), tap: None, is_told: false };
        let count = u32::try_from(interfaces.len()).unwrap_or(u32::MAX).max(1);
        Self {
            opinions,
            places: interfaces.iter().map(place).collect(),
            key,
            packets_per_second: (packets_per_second / count).max(1),
            looks: VecDeque::new(),
        }
    }

    /// Listens to the interfaces that are not heard.
    pub fn open(&mut self, now: Timestamp) -> Vec<News> {
        let mut news = Vec::new();
        for place in self.places.iter_mut().filter(|place| place.tap.is_none()) {
            match Tap::open(&place.interface, self.key, self.packets_per_second, now) {
                Ok(tap) => {
                    place.tap = Some(tap);
                    if std::mem::take(&mut place.is_told) {
                        news.push(News::Hears(place.interface.clone()));
                    }
                }
                Err(error) => news.extend(place.deaf(error)),
            }
        }
        news
    }

    /// Takes in what came since.
    pub fn listen(&mut self, now: Timestamp) -> Vec<News> {
        let mut news = Vec::new();
        let mut lost_packets = 0;
        for place in &mut self.places {
            let Some(tap) = &mut place.tap else { continue };
            match tap.hear(now, |packet| self.opinions.take(packet)) {
                Ok(heard) => lost_packets += heard.lost,
                Err(error) => {
                    place.tap = None;
                    news.extend(place.deaf(error));
                }
            }
        }
        let is_old = |look: &Look| now.ns.saturating_sub(look.at.ns) >= TOLD_NS;
        while self.looks.front().is_some_and(is_old) {
            self.looks.pop_front();
        }
        self.looks.push_back(Look { at: now, lost_packets, source_share: self.source_share() });
        news
    }

    /// Adds to the evidence of each verdict about a target what the model says of its flows.
    pub fn join(&self, verdicts: &mut [Verdict]) {
        let completeness = Completeness {
            source_share: self.looks.iter().map(|look| look.source_share).fold(self.source_share(), f64::min),
            lost_packets: self.looks.iter().map(|look| look.lost_packets).sum(),
            deaf_interfaces: self.places.iter().filter(|place| place.tap.is_none()).count(),
        };
        self.opinions.join(verdicts, completeness);
    }

    /// The least of the interfaces that are heard.
    fn source_share(&self) -> f64 {
        self.places.iter().filter_map(|place| place.tap.as_ref().map(Tap::source_share)).fold(1.0, f64::min)
    }
}

impl Place {
    /// News, unless it was told.
    fn deaf(&mut self, error: Error) -> Option<News> {
        let is_told = std::mem::replace(&mut self.is_told, true);
        (!is_told).then(|| News::Deaf(self.interface.clone(), error))
    }
}
