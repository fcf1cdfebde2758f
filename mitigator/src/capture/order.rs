//! `TimeOrder`: whether the time stamps of a capture go on as its packets do, which every rate rests on.

use std::fmt;
use std::time::Duration;

/// Packets that were captured on several queues are out of order by less.
const TOLERANCE: Duration = Duration::from_millis(100);

/// What the time stamps of a capture were like so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct TimeOrder {
    first_ns: Option<u64>,
    latest_ns: u64,
    is_behind: bool,
    fault: ClockFault,
}

/// What is wrong with the clock of a capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ClockFault {
    /// How often it jumped back.
    pub jumps_back: u64,
    /// Packets that it dates back behind one before them.
    pub packets_behind: u64,
    /// Packets in all.
    #[serde(skip)]
    packets: u64,
    /// Whether no packet is dated after the first: either all have the same time, or the rest is dated before it.
    pub stands_still: bool,
}

impl TimeOrder {
    /// Takes in the time stamp of the next packet.
    pub fn take(&mut self, at_ns: u64) {
        let is_first = self.first_ns.is_none();
        let first_ns = *self.first_ns.get_or_insert(at_ns);
        let is_behind = Duration::from_nanos(self.latest_ns.saturating_sub(at_ns)) > TOLERANCE;
        self.fault.jumps_back += u64::from(is_behind && !self.is_behind);
        self.fault.packets_behind += u64::from(is_behind);
        self.fault.packets += 1;
        self.is_behind = is_behind;
        self.latest_ns = self.latest_ns.max(at_ns);
        self.fault.stands_still = !is_first && self.latest_ns == first_ns;
    }

    /// What is wrong; `None` when the clock went on, or there was no second packet to tell by.
    #[must_use]
    pub fn fault(&self) -> Option<ClockFault> {
        (self.fault.packets_behind > 0 || self.fault.stands_still).then_some(self.fault)
    }
}

/// What is wrong, and what it means for verdicts.
impl fmt::Display for ClockFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { jumps_back, packets_behind, packets, stands_still } = self;
        if *packets_behind == 0 && *stands_still {
            return write!(
                formatter,
                "none of the {packets} packets of the capture is dated after the first: no rate can be known, so nobody is \
                 blocked and what is told of rates is a guess"
            );
        }
        write!(
            formatter,
            "the clock of the capture jumped back {jumps_back} {}: {packets_behind} of {packets} packets are dated before \
             others that precede them. They are judged as if they had come all at once, at the latest time before, so \
             attacks among them may be missed and rates are not to be trusted; correct the times and replay again",
            if *jumps_back == 1 { "time" } else { "times" }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_clock_is_true_of_its_time_stamps() {
        const MS: u64 = 1_000_000;
        for (description, stamps, expected) in [
            (
                "all at once",
                [7, 7, 7],
                "none of the 3 packets of the capture is dated after the first: no rate",
            ),
            (
                "the first a little after the others",
                [50 * MS, 7, 8],
                "none of the 3 packets of the capture is dated after the first: no rate",
            ),
            (
                "the first well after the others",
                [500 * MS, 7, 8],
                "the clock of the capture jumped back 1 time: 2 of 3 packets are dated before others",
            ),
            (
                "one back",
                [500 * MS, 7, 501 * MS],
                "the clock of the capture jumped back 1 time: 1 of 3 packets are dated before others",
            ),
        ] {
            let mut order = TimeOrder::default();
            stamps.into_iter().for_each(|at_ns| order.take(at_ns));
            let said = order.fault().unwrap().to_string();
            assert!(said.starts_with(expected), "{description}: {said}");
        }
    }

    #[test]
    fn a_clock_that_jumps_back_or_stands_still_is_a_fault() {
        const SECOND: u64 = 1_000_000_000;
        const YEAR: u64 = SECOND * 3_600 * 24 * 365;
        for (description, stamps, expected) in [
            ("no packet", vec![], None),
            ("one packet", vec![SECOND], None),
            ("in order, with a gap", vec![0, 5, SECOND, YEAR, YEAR + 5], None),
            ("a little out of order", vec![SECOND, SECOND + 5_000_000, SECOND + 1, 2 * SECOND], None),
            ("one years ahead", vec![1, 2, 75 * YEAR, 3, 4, 5], Some((1, 3, false))),
            ("one years back", vec![YEAR, YEAR + 1, 5, YEAR + 2], Some((1, 1, false))),
            (
                "two jumps",
                vec![SECOND, 3 * SECOND, SECOND, 2 * SECOND, 4 * SECOND, SECOND],
                Some((2, 3, false)),
            ),
            ("all at once", vec![7, 7, 7], Some((0, 0, true))),
            ("backwards", vec![3 * SECOND, 2 * SECOND, SECOND], Some((1, 2, true))),
        ] {
            let mut order = TimeOrder::default();
            stamps.into_iter().for_each(|at_ns| order.take(at_ns));
            let fault = order.fault();
            let seen = fault.map(|fault| (fault.jumps_back, fault.packets_behind, fault.stands_still));
            assert_eq!(seen, expected, "{description}");
        }
    }
}
