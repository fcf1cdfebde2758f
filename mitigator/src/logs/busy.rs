//! `Busy`: when a client asked, in bins of time, so that its busiest moments can be told.
//!
//! Lines need not be in order: a log is written when answers end, and some are sorted by other things. Bins are kept
//! sorted; the last one is nearly always the one that grows. Memory is bounded: past the limit the quieter half goes,
//! which is not where a peak will be.

use std::collections::VecDeque;

/// Seconds of a fine bin: two neighbours are the 10 s that rates are told over.
pub const FINE_S: i64 = 5;
/// Seconds of a coarse bin.
pub const MINUTE_S: i64 = 60;
/// Bins of one kind that are kept.
const MOST_BINS: usize = 1_024;

/// Counts by bin.
#[derive(Clone, Debug, Default)]
pub struct Bins {
    /// Number and count, sorted. Numbers before the epoch are that of the epoch: no log is from then.
    bins: Vec<(u32, u32)>,
}

impl Bins {
    /// Adds one to a bin.
    pub fn add(&mut self, bin: i64) {
        let bin = u32::try_from(bin.max(0)).unwrap_or(u32::MAX);
        match self.bins.last_mut() {
            Some((last, count)) if *last == bin => *count = count.saturating_add(1),
            Some((last, _)) if *last > bin => self.add_late(bin),
            _ => self.insert(self.bins.len(), bin),
        }
    }

    fn add_late(&mut self, bin: u32) {
        match self.bins.binary_search_by_key(&bin, |(known, _)| *known) {
            Ok(place) => {
                if let Some((_, count)) = self.bins.get_mut(place) {
                    *count = count.saturating_add(1);
                }
            }
            Err(place) => self.insert(place, bin),
        }
    }

    fn insert(&mut self, place: usize, bin: u32) {
        self.bins.insert(place, (bin, 1));
        if self.bins.len() >= MOST_BINS {
            self.drop_quieter_half(bin);
        }
    }

    /// All but the one that grows, which has had no time to.
    fn drop_quieter_half(&mut self, growing: u32) {
        let mut counts: Vec<u32> = self.bins.iter().map(|(_, count)| *count).collect();
        counts.sort_unstable();
        let middle = counts.get(counts.len() / 2).copied().unwrap_or(0);
        let mut spare =
            counts.len() / 2 - counts.iter().filter(|count| **count > middle).count().min(counts.len() / 2);
        self.bins.retain(|(bin, count)| {
            let is_kept = *bin == growing || *count > middle || (*count == middle && spare > 0);
            if is_kept && *count == middle {
                spare = spare.saturating_sub(1);
            }
            is_kept
        });
    }

    /// The most of any `width` neighbouring bins, with the first of them.
    #[must_use]
    pub fn busiest(&self, width: i64) -> (u64, i64) {
        let mut window: VecDeque<(i64, u32)> = VecDeque::new();
        let (mut sum, mut most) = (0_u64, (0, 0));
        for (bin, count) in &self.bins {
            let bin = i64::from(*bin);
            while window.front().is_some_and(|(first, _)| bin - first >= width) {
                sum -= window.pop_front().map_or(0, |(_, count)| u64::from(count));
            }
            window.push_back((bin, *count));
            sum += u64::from(*count);
            if sum > most.0 {
                most = (sum, window.front().map_or(bin, |(first, _)| *first));
            }
        }
        most
    }

    /// Bins with at least so many.
    #[must_use]
    pub fn at_least(&self, least: u64) -> usize {
        self.bins.iter().filter(|(_, count)| u64::from(*count) >= least).count()
    }

    /// First and last of the bins with at least so many.
    #[must_use]
    pub fn stretch(&self, least: u64) -> Option<(i64, i64)> {
        let mut loud = self.bins.iter().filter(|(_, count)| u64::from(*count) >= least).map(|(bin, _)| *bin);
        let first = loud.next()?;
        Some((i64::from(first), i64::from(loud.next_back().unwrap_or(first))))
    }

    /// The middle of the bins that have any.
    #[must_use]
    pub fn median(&self) -> u64 {
        let mut counts: Vec<u32> = self.bins.iter().map(|(_, count)| *count).collect();
        counts.sort_unstable();
        counts.get(counts.len() / 2).map_or(0, |count| u64::from(*count))
    }
}

/// When a client, or all of them, asked.
#[derive(Clone, Debug, Default)]
pub struct Busy {
    fine: Bins,
    minutes: Bins,
    second: (i64, u32),
    most_in_a_second: u32,
    /// First and last time, in seconds since the Unix epoch.
    span: Option<(i64, i64)>,
    gaps: Gaps,
}

/// Of the pauses between two requests, in the order of the lines: number, mean and sum of squares (Welford 1962).
#[derive(Clone, Copy, Debug, Default)]
struct Gaps {
    count: u32,
    mean: f64,
    squares: f64,
    last: i64,
}

impl Busy {
    /// Adds a request; says whether it is dated before one that precedes it.
    pub fn add(&mut self, at_s: i64) -> bool {
        self.fine.add(at_s.div_euclid(FINE_S));
        self.minutes.add(at_s.div_euclid(MINUTE_S));
        if self.second.0 != at_s {
            self.second = (at_s, 0);
        }
        self.second.1 = self.second.1.saturating_add(1);
        self.most_in_a_second = self.most_in_a_second.max(self.second.1);
        let is_first = self.span.is_none();
        let (first, last) = self.span.get_or_insert((at_s, at_s));
        let is_late = at_s < *last;
        (*first, *last) = ((*first).min(at_s), (*last).max(at_s));
        if !is_first && at_s >= self.gaps.last {
            self.gaps.add(at_s - self.gaps.last);
        }
        self.gaps.last = at_s;
        is_late
    }

    /// Reads of each cache line; what comes out means nothing.
    #[must_use]
    pub fn fetch(&self) -> u64 {
        let (second, _) = self.second;
        let first = self.span.map_or(0, |(first, _)| first);
        (second ^ first ^ self.gaps.last).cast_unsigned()
            ^ (self.fine.bins.len() ^ self.minutes.bins.len()) as u64
    }

    /// The same of the bins that grow.
    #[must_use]
    pub fn fetch_behind(&self) -> u64 {
        let last = |bins: &Bins| bins.bins.last().map_or(0, |(bin, _)| u64::from(*bin));
        last(&self.fine) ^ last(&self.minutes)
    }

    /// First and last time; `None` when no line had one.
    #[must_use]
    pub const fn span(&self) -> Option<(i64, i64)> {
        self.span
    }

    /// Requests per second in the busiest 10 s, in which it begins.
    #[must_use]
    pub fn peak(&self) -> (f64, i64) {
        let (count, bin) = self.fine.busiest(2);
        (as_f64(count) / 10.0, bin * FINE_S)
    }

    /// Requests in the busiest minute.
    #[must_use]
    pub fn busiest_minute(&self) -> u64 {
        self.fine.busiest(MINUTE_S / FINE_S).0.max(self.minutes.busiest(1).0)
    }

    /// Requests in the busiest second, of neighbouring lines.
    #[must_use]
    pub const fn busiest_second(&self) -> u32 {
        self.most_in_a_second
    }

    /// Minutes with at least a quarter as many requests as the busiest, and at least one.
    #[must_use]
    pub fn loud_minutes(&self) -> usize {
        self.minutes.at_least(self.loud())
    }

    /// The end of the last such minute, or the last request when that was before; in seconds since the Unix epoch.
    #[must_use]
    pub fn loud_until(&self) -> Option<i64> {
        let (_, minute) = self.minutes.stretch(self.loud())?;
        let (_, last) = self.span?;
        Some(last.min((minute + 1) * MINUTE_S - 1))
    }

    fn loud(&self) -> u64 {
        (self.minutes.busiest(1).0 / 4).max(1)
    }

    /// Requests per second of the middle of the minutes in which there were any.
    #[must_use]
    pub fn usual(&self) -> f64 {
        as_f64(self.minutes.median()) / 60.0
    }

    /// How far pauses differ from their mean, in parts of it (the coefficient of variation): near 0 for what keeps
    /// time, 1 for what comes by chance. `None` for fewer than 10 pauses, and when all are below the log's second.
    #[must_use]
    pub fn unevenness(&self) -> Option<f64> {
        let Gaps { count, mean, squares, .. } = self.gaps;
        (count >= 10 && mean > 0.0).then(|| (squares / f64::from(count)).sqrt() / mean)
    }
}

impl Gaps {
    #[expect(clippy::cast_precision_loss, reason = "seconds of a log are far below 2^52")]
    fn add(&mut self, gap: i64) {
        self.count = self.count.saturating_add(1);
        let off = gap as f64 - self.mean;
        self.mean += off / f64::from(self.count);
        self.squares += off * (gap as f64 - self.mean);
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
pub(super) const fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(times: impl IntoIterator<Item = i64>) -> Busy {
        let mut busy = Busy::default();
        for at_s in times {
            busy.add(at_s);
        }
        busy
    }

    #[test]
    fn the_order_of_lines_does_not_change_the_peaks() {
        let mut times: Vec<i64> =
            (0..2_000).map(|n| 1_000_000 + n * 7 % 3_600).chain((0..90).map(|n| 1_002_000 + n / 5)).collect();
        let sorted = {
            let mut times = times.clone();
            times.sort_unstable();
            busy(times)
        };
        times.reverse();
        let shuffled = busy(times);
        assert_eq!(sorted.peak(), shuffled.peak());
        assert_eq!(sorted.busiest_minute(), shuffled.busiest_minute());
        assert!(sorted.peak().0 >= 5.0, "{:?}", sorted.peak());
        assert_eq!(sorted.span(), shuffled.span());
    }

    #[test]
    fn memory_is_bounded_and_the_peak_is_kept() {
        let times = (0..100_000)
            .map(|n| n * 60)
            .chain(std::iter::repeat_n(600_000, 500))
            .chain((100_000..200_000).map(|n| n * 60));
        let busy = busy(times);
        assert!(busy.fine.bins.len() <= MOST_BINS && busy.minutes.bins.len() <= MOST_BINS);
        assert!((busy.peak().0 - 50.1).abs() < 0.2, "{:?}", busy.peak());
    }

    #[test]
    fn what_keeps_time_is_even() {
        assert!(busy((0..100).map(|n| n * 30)).unevenness().unwrap() < 0.01);
        assert!(busy((0..100).map(|n| n * 30 + (n * n) % 29)).unevenness().unwrap() > 0.2);
        assert_eq!(busy(0..5).unevenness(), None);
        assert_eq!(busy(std::iter::repeat_n(7, 50)).unevenness(), None);
    }
}
