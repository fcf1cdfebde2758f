//! `Baseline`: what is normal for this server, per vector, by median and MAD over quiet ticks.
//!
//! Median and median absolute deviation ignore up to half of the samples, so a burst does not move
//! them (Hampel 1974; Leys et al. 2013). It learns nothing while an attack is on.

use std::collections::VecDeque;

/// Quiet ticks remembered: five minutes at four a second.
const WINDOW: usize = 1_200;
/// Quiet ticks before the baseline counts as learned: three seconds.
const ENOUGH: usize = 12;
/// A MAD times this estimates the standard deviation of normal noise.
const MAD_TO_DEVIATION: f64 = 1.4826;

/// Rates of one kind of traffic over the last quiet ticks.
#[derive(Clone, Debug, Default)]
pub struct Baseline {
    rates: VecDeque<f64>,
}

/// What is normal.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Normal {
    /// Packets per second.
    pub median: f64,
    /// Spread around the median, as a standard deviation.
    pub deviation: f64,
}

impl Baseline {
    /// Learns the rate of one quiet tick.
    pub fn learn(&mut self, packets_per_second: f64) {
        if self.rates.len() == WINDOW {
            self.rates.pop_front();
        }
        self.rates.push_back(packets_per_second);
    }

    /// What is normal, or `None` until enough was learned. Sorts what was learned, so it is for suspicious
    /// ticks only.
    #[must_use]
    pub fn normal(&self) -> Option<Normal> {
        (self.rates.len() >= ENOUGH).then(|| summarize(&self.rates))
    }
}

fn summarize(rates: &VecDeque<f64>) -> Normal {
    let mut sorted: Vec<f64> = rates.iter().copied().collect();
    let median = median(&mut sorted);
    for rate in &mut sorted {
        *rate = (*rate - median).abs();
    }
    Normal { median, deviation: self::median(&mut sorted) * MAD_TO_DEVIATION }
}

fn median(values: &mut [f64]) -> f64 {
    let middle = values.len() / 2;
    if values.is_empty() { 0.0 } else { *values.select_nth_unstable_by(middle, f64::total_cmp).1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_some_quiet_before_it_knows() {
        let mut baseline = Baseline::default();
        for _ in 1..ENOUGH {
            baseline.learn(100.0);
            assert_eq!(baseline.normal(), None);
        }
        baseline.learn(100.0);
        assert_eq!(baseline.normal(), Some(Normal { median: 100.0, deviation: 0.0 }));
    }

    #[test]
    fn a_burst_does_not_move_it() {
        let mut baseline = Baseline::default();
        for tick in 0..100 {
            baseline.learn(if tick % 10 == 0 { 1e6 } else { 100.0 + f64::from(tick % 3) });
        }
        let normal = baseline.normal().unwrap();
        assert!((100.0..=102.0).contains(&normal.median) && normal.deviation < 3.0, "{normal:?}");
    }
}
