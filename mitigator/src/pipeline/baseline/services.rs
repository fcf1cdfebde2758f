//! `Services`: what is normal for each service of one kind of traffic.
//!
//! A service is a port, as a signature of the data plane names it. Only the busiest are known; who comes later takes
//! the place of the lightest when it is busier, as in Space-Saving (Metwally et al., "Efficient Computation of
//! Frequent and Top-k Elements in Data Streams", ICDT 2005).

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Baseline, Normal, Pace, Situation};
use crate::pipeline::time::UnixMinute;

/// Services known per kind of traffic.
pub(super) const MOST: usize = 64;

/// Packets by port of one kind of traffic in one tick.
#[derive(Clone, Debug, Default)]
pub struct ByPort {
    /// One for each port, or none before the first packet.
    counts: Vec<u64>,
    /// Ports with packets.
    ports: Vec<u16>,
}

impl ByPort {
    /// Forgets all.
    pub fn clear(&mut self) {
        for port in self.ports.drain(..) {
            if let Some(count) = self.counts.get_mut(usize::from(port)) {
                *count = 0;
            }
        }
    }

    /// Adds packets; those to port 0 are to no service.
    pub fn add(&mut self, port: u16, packets: u64) {
        if port == 0 || packets == 0 {
            return;
        }
        if self.counts.is_empty() {
            self.counts.resize(usize::from(u16::MAX) + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(usize::from(port)) {
            if *count == 0 {
                self.ports.push(port);
            }
            *count = count.saturating_add(packets);
        }
    }

    /// Packets to a port.
    #[must_use]
    pub fn count(&self, port: u16) -> u64 {
        self.counts.get(usize::from(port)).copied().unwrap_or(0)
    }

    /// Ports with packets, each once.
    pub fn counts(&self) -> impl Iterator<Item = (u16, u64)> {
        self.ports.iter().map(|port| (*port, self.count(*port)))
    }
}

/// What is normal for each service.
#[derive(Clone, Debug, Default)]
pub struct Services {
    known: BTreeMap<u16, Service>,
    /// The busiest of the others in this tick.
    newcomer: Option<(u16, f64)>,
}

#[derive(Clone, Debug, Default)]
struct Service {
    baseline: Baseline,
    /// Of this tick.
    rate: f64,
}

impl Services {
    /// Takes in what came in this tick; `rate` makes the rate of a count.
    pub fn note(&mut self, packets: &ByPort, rate: impl Fn(u64) -> f64) {
        for (port, service) in &mut self.known {
            service.rate = rate(packets.count(*port));
        }
        let mut busiest: Option<(u16, u64)> = None;
        for (port, count) in packets.counts() {
            let is_busier = busiest.is_none_or(|(best, most)| (count, best) > (most, port));
            if is_busier && !self.known.contains_key(&port) {
                busiest = Some((port, count));
            }
        }
        self.newcomer = busiest.map(|(port, count)| (port, rate(count)));
    }

    /// What is normal for a service; `None` when it is not known.
    #[must_use]
    pub fn normal(&self, port: u16, now: Option<UnixMinute>) -> Option<Normal> {
        self.known.get(&port)?.baseline.normal(now)
    }

    /// Learns what came in this tick.
    pub fn learn(&mut self, interval: Duration, situation: Situation, pace: &Pace, now: Option<UnixMinute>) {
        for service in self.known.values_mut() {
            service.baseline.learn(service.rate, interval, situation, pace, now);
        }
    }

    /// Makes the busiest of the others known, with what there is of it before, unless all that are known are busier.
    pub fn admit_newcomer(&mut self, baseline: impl FnOnce() -> Baseline) {
        if let Some((port, rate)) = self.newcomer.take() {
            self.admit(port, rate, baseline);
        }
    }

    /// Makes a service known that has this rate, unless all that are known are busier.
    pub fn admit(&mut self, port: u16, rate: f64, baseline: impl FnOnce() -> Baseline) {
        if self.known.contains_key(&port) {
            return;
        }
        if self.known.len() >= MOST {
            let weight = |service: &Service| service.baseline.weight().max(service.rate);
            let weights = self.known.iter().map(|(port, service)| (*port, weight(service)));
            let lightest = weights.min_by(|(_, a), (_, b)| a.total_cmp(b));
            match lightest {
                Some((port, weight)) if weight < rate => self.known.remove(&port),
                _ => return,
            };
        }
        self.known.insert(port, Service { baseline: baseline(), rate });
    }

    /// The baselines of services that were ever more than idle, by port.
    #[must_use]
    pub fn baselines(&self) -> BTreeMap<u16, Baseline> {
        let used = self.known.iter().filter(|(_, service)| service.baseline.weight() > 0.0);
        used.map(|(port, service)| (*port, service.baseline.clone())).collect()
    }
}

impl FromIterator<(u16, Baseline)> for Services {
    fn from_iter<T: IntoIterator<Item = (u16, Baseline)>>(baselines: T) -> Self {
        let known = |(port, baseline)| (port, Service { baseline, rate: 0.0 });
        Self { known: baselines.into_iter().take(MOST).map(known).collect(), newcomer: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    fn the_busiest_stay_and_memory_is_bounded() {
        let pace = Pace { rise_per_hour: 0.1, harmless: Normal::default() };
        let (mut services, mut packets) = (Services::default(), ByPort::default());
        for tick in 0..2_000_u16 {
            packets.clear();
            packets.add(443, 500);
            packets.add(25, 300);
            packets.add(0, 9_000);
            // A client's port, another one in each tick.
            packets.add(30_000 + tick, 20);
            services.note(&packets, |count| count as f64);
            services.learn(Duration::from_secs(1), Situation::Quiet, &pace, None);
            services.admit_newcomer(Baseline::default);
        }
        assert_eq!(services.known.len(), MOST);
        for (port, expected) in [(443, Some(500.0)), (25, Some(300.0)), (0, None), (30_001, None)] {
            assert_eq!(services.normal(port, None).map(|normal| normal.median), expected, "port {port}");
        }
    }

    #[test]
    fn packets_of_one_tick_are_gone_in_the_next() {
        let mut packets = ByPort::default();
        packets.add(53, 4);
        packets.add(53, 3);
        assert_eq!(packets.counts().collect::<Vec<_>>(), [(53, 7)]);
        packets.clear();
        assert_eq!((packets.count(53), packets.counts().count()), (0, 0));
    }
}
