//! `Sampling`: of how many sources packets are listened to, so that they are no more than a budget.

use std::time::Duration;

/// Rates are taken over as long, or over less when that is already too much.
const PERIOD: Duration = Duration::from_millis(250);
/// When the packets are fewer than this share of the budget, more sources are listened to.
const IDLE_SHARE: f64 = 0.4;
/// Fewer are as good as none.
const LEAST_SHARE: f64 = 1.0 / 65_536.0;

/// The share of sources that are listened to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sampling {
    share: f64,
    packets_per_second: f64,
    packets: f64,
    over: Duration,
}

impl Sampling {
    /// All sources, until that is more than `packets_per_second`.
    pub(super) fn new(packets_per_second: u32) -> Self {
        Self { share: 1.0, packets_per_second: packets_per_second.into(), packets: 0.0, over: Duration::ZERO }
    }

    /// 0..=1.
    pub(super) const fn share(&self) -> f64 {
        self.share
    }

    /// Takes in how many packets came of those that were listened to, lost ones among them, within `elapsed`, more than 0.
    /// Says whether the share is another one.
    pub(super) fn adapt(&mut self, packets: u32, elapsed: Duration) -> bool {
        self.packets += f64::from(packets);
        self.over += elapsed;
        let is_too_much = self.packets > self.packets_per_second * PERIOD.as_secs_f64();
        if self.over < PERIOD && !is_too_much {
            return false;
        }
        let load = self.packets / self.over.as_secs_f64() / self.packets_per_second;
        (self.packets, self.over) = (0.0, Duration::ZERO);
        let before = self.share;
        if load > 1.0 {
            self.share = (self.share / load).max(LEAST_SHARE);
        } else if load < IDLE_SHARE {
            self.share = (self.share * 2.0).min(1.0);
        }
        self.share != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(50);

    /// Shares over seconds in which this many packets come from everybody.
    fn shares(sampling: &mut Sampling, packets_per_second: f64, seconds: u32) -> Vec<f64> {
        (0..seconds * 20)
            .map(|_| {
                let heard = packets_per_second * TICK.as_secs_f64() * sampling.share();
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "few packets")]
                sampling.adapt(heard.round() as u32, TICK);
                sampling.share()
            })
            .collect()
    }

    #[test]
    fn a_flood_is_sampled_within_the_budget_and_the_calm_after_it_is_whole_again() {
        for (description, flood, expected) in [
            ("half the budget", 10_000.0, 1.0..=1.0),
            ("twice the budget", 40_000.0, 0.3..=0.5),
            ("a hundred times", 2_000_000.0, 0.004..=0.01),
        ] {
            let mut sampling = Sampling::new(20_000);
            assert!(shares(&mut sampling, 1_000.0, 2).iter().all(|share| *share == 1.0), "{description}");
            let during = shares(&mut sampling, flood, 10);
            // A twentieth of a second is all that may be too much.
            assert!(during[20..].iter().all(|share| expected.contains(share)), "{description}: {during:?}");
            let after = shares(&mut sampling, 1_000.0, 5);
            assert_eq!(after.last(), Some(&1.0), "{description}: {after:?}");
        }
    }

    #[test]
    fn too_much_at_once_is_cut_at_once() {
        let mut sampling = Sampling::new(20_000);
        assert!(!sampling.adapt(100, TICK));
        assert!(sampling.adapt(10_000, TICK) && sampling.share() < 0.25, "{sampling:?}");
        assert!(sampling.adapt(u32::MAX, TICK) && sampling.share() >= LEAST_SHARE);
    }
}
