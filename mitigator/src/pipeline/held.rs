//! What sources sent that were blocked a moment ago: an attack does not end because half of it was stopped.
//!
//! The rest of a flood would else fall below the floor of all together and be left alone. Fed with the blocks of each
//! tick, added to what passes where totals are held against their floors; whether a source is to blame is not judged
//! by it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::time::Timestamp;

/// How long a block keeps the attack on that it was part of.
const HELD_FOR: Duration = Duration::from_secs(5);

/// Rates of sources that were blocked a moment ago, by the service that was judged.
#[derive(Clone, Debug, Default)]
pub struct Held {
    rates: BTreeMap<Option<u16>, Vec<(Timestamp, f64)>>,
}

impl Held {
    /// Takes note of a block and of what its source sent until then, per second; `service` as the alarm had it.
    pub fn add(&mut self, service: Option<u16>, per_second: f64, now: Timestamp) {
        let rates = self.rates.entry(service).or_default();
        match rates.last_mut() {
            // One entry for each tick, however many are blocked in it.
            Some((at, sum)) if *at == now => *sum += per_second,
            _ => rates.push((now, per_second)),
        }
    }

    /// Forgets what is too long ago.
    pub fn fade(&mut self, now: Timestamp) {
        self.rates.retain(|_, rates| {
            rates.retain(|(at, _)| now.since(*at) < HELD_FOR);
            !rates.is_empty()
        });
    }

    /// What blocked sources of a service sent per second; without a service, those of all together.
    #[must_use]
    pub fn of(&self, service: Option<u16>) -> f64 {
        self.rates.get(&service).into_iter().flatten().map(|(_, rate)| rate).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_counts_for_some_seconds_and_for_its_service_alone() {
        let second = |second: u64| Timestamp::from_ns(second * 1_000_000_000);
        let mut held = Held::default();
        for (service, per_second, at) in
            [(None, 300.0, 1), (None, 200.0, 1), (None, 100.0, 3), (Some(443), 70.0, 3)]
        {
            held.add(service, per_second, second(at));
        }
        for (description, at, of_all, of_443, of_80) in [
            ("all of them", 3, 600.0, 70.0, 0.0),
            ("a moment before the first are over", 5, 600.0, 70.0, 0.0),
            ("when they are", 6, 100.0, 70.0, 0.0),
            ("when all are", 8, 0.0, 0.0, 0.0),
        ] {
            held.fade(second(at));
            let seen = [None, Some(443), Some(80)].map(|service| held.of(service));
            assert_eq!(seen, [of_all, of_443, of_80], "{description}");
        }
    }
}
