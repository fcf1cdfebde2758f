//! A flood of frames from a thread of its own: paced in small bursts, counted, bounded in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use nix::sys::prctl::set_timerslack;

use super::frames::{Frames, Pace};
use super::permit::Permit;
use super::series::Series;
use crate::lab::{Core, FRAMES_PER_CALL, FrameSocket, Interface};

/// A sender that has fallen further behind its schedule than this lets the rest go: a stated rate is not made up for by a burst.
const LARGEST_DEBT: Duration = Duration::from_millis(20);

/// Up to this rate, in packets per second, a sender sleeps most of the time, and keeps its rate on a busy machine too. A
/// faster one would take the core from the visitors that share it.
const MOST_FAVOURED: u32 = 50_000;

/// A flood under way; dropping it stops it.
#[derive(Debug)]
pub struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    sender: Option<JoinHandle<Result<FloodRecord>>>,
}

/// What a flood did.
#[derive(Clone, Debug)]
pub struct FloodRecord {
    /// When the first frame was handed to the kernel, by the monotonic clock and by the calendar. `None`: none was.
    pub began: Option<(Instant, SystemTime)>,
    /// When the last had been.
    pub ended: Instant,
    /// Frames (of an HTTP flood: requests answered) per step.
    pub sent: Series,
}

impl FloodRecord {
    /// Mean rate between the first and the last, per second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        let Some((began, _)) = self.began else { return 0.0 };
        let seconds = self.ended.duration_since(began).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a count of some seconds is far below 2^52")]
        let total = self.sent.total() as f64;
        if seconds > 0.0 { total / seconds } else { 0.0 }
    }
}

impl Flood {
    /// Starts to send `frames` out of `interface`, from `core`, for `duration`, or until the last frame of a
    /// [`Pace::At`]. Steps are counted from `origin`.
    ///
    /// # Errors
    ///
    /// When the interface is not a lab's veth, or the time is longer than [`super::LONGEST`].
    pub fn start(
        interface: &Interface,
        frames: Frames,
        pace: Pace,
        duration: Duration,
        core: Core,
        origin: Instant,
    ) -> Result<Self> {
        if let Pace::At(times) = &pace {
            let expected = frames.as_slice().len();
            ensure!(times.len() == expected, "{} times for {expected} frames", times.len());
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, readiness) = std::sync::mpsc::channel();
        let sent = Arc::new(AtomicU64::new(0));
        let (stopped, interface, so_far) = (Arc::clone(&stop), interface.clone(), Arc::clone(&sent));
        let sender = thread::Builder::new().name("flood".to_owned()).spawn(move || {
            let socket = prepare(&interface, &pace, duration, core);
            let (socket, told) = match socket {
                Ok(socket) => (Some(socket), ready.send(Ok(()))),
                Err(error) => (None, ready.send(Err(error))),
            };
            let (Some(socket), Ok(())) = (socket, told) else { anyhow::bail!("the flood could not start") };
            let mut sending = Sending { socket, frames, next: 0, so_far, record: FloodRecord::new(origin) };
            match pace {
                Pace::PerSecond(rate) => sending.at_rate(rate, duration, &stopped),
                Pace::Max => sending.at_full_speed(duration, &stopped),
                Pace::At(times) => sending.at_times(&times, duration, &stopped),
                Pace::Pulses { per_second, on, off } => {
                    sending.in_pulses(per_second, on, off, duration, &stopped)
                }
            }
            .context("the flood broke off")?;
            sending.record.ended = now();
            Ok(sending.record)
        })?;
        readiness.recv().context("the flood could not start")??;
        Ok(Self { stop, sent, sender: Some(sender) })
    }

    /// Frames handed to the kernel so far.
    #[must_use]
    pub fn sent_so_far(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits until it has run its time.
    ///
    /// # Errors
    ///
    /// When sending failed midway.
    pub fn finish(mut self) -> Result<FloodRecord> {
        let sender = self.sender.take().context("a flood ends once")?;
        sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Stops it before its time.
    ///
    /// # Errors
    ///
    /// When sending failed before.
    pub fn stop(self) -> Result<FloodRecord> {
        self.stop.store(true, Ordering::Relaxed);
        self.finish()
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(sender) = self.sender.take() {
            // Its outcome has nobody to go to.
            let _ = sender.join();
        }
    }
}

impl FloodRecord {
    pub(super) fn new(origin: Instant) -> Self {
        Self { began: None, ended: origin, sent: Series::new(origin) }
    }
}

fn prepare(interface: &Interface, pace: &Pace, duration: Duration, core: Core) -> Result<FrameSocket> {
    let permit = Permit::obtain(interface, duration)?;
    match pace {
        Pace::PerSecond(..=MOST_FAVOURED) => core.favour_this_thread()?,
        Pace::PerSecond(_) | Pace::Pulses { .. } | Pace::At(_) | Pace::Max => core.pin_this_thread()?,
    }
    // Sleeps of a fifth of a millisecond would otherwise last a quarter longer.
    set_timerslack(1)?;
    FrameSocket::open(permit.interface_index).context("cannot open a packet socket")
}

struct Sending {
    socket: FrameSocket,
    frames: Frames,
    next: usize,
    so_far: Arc<AtomicU64>,
    record: FloodRecord,
}

impl Sending {
    fn at_rate(&mut self, rate: u32, duration: Duration, stop: &AtomicBool) -> Result<()> {
        ensure!(rate > 0, "a rate of 0 packets/s is no flood");
        let per_burst = usize::try_from(rate / 1000)?.clamp(1, FRAMES_PER_CALL);
        let time_of = |frames: usize| Duration::from_secs(1).mul_f64(as_f64(frames) / f64::from(rate));
        let shortest = time_of(per_burst) / 2;
        let start = now();
        let (mut due, mut last) = (start, start);
        while last.duration_since(start) < duration && !stop.load(Ordering::Relaxed) {
            // Catching up doubles the rate at most, so that it does not overrun the receiver's queue.
            sleep_until(due.max(last + shortest), now());
            last = now();
            if last > due + LARGEST_DEBT {
                due = last;
            }
            due += time_of(self.burst(per_burst)?);
        }
        Ok(())
    }

    fn in_pulses(
        &mut self,
        rate: u32,
        on: Duration,
        off: Duration,
        duration: Duration,
        stop: &AtomicBool,
    ) -> Result<()> {
        let start = now();
        let mut due = start;
        while due < start + duration && !stop.load(Ordering::Relaxed) {
            sleep_until(due, now());
            self.at_rate(rate, on.min(start + duration - due), stop)?;
            due += on + off;
        }
        Ok(())
    }

    fn at_full_speed(&mut self, duration: Duration, stop: &AtomicBool) -> Result<()> {
        let start = now();
        while now().duration_since(start) < duration && !stop.load(Ordering::Relaxed) {
            self.burst(FRAMES_PER_CALL)?;
        }
        Ok(())
    }

    fn at_times(&mut self, times: &[Duration], duration: Duration, stop: &AtomicBool) -> Result<()> {
        let start = now();
        while self.next < times.len() && times[self.next] < duration && !stop.load(Ordering::Relaxed) {
            let elapsed = now().duration_since(start);
            let due =
                times[self.next..].iter().take(FRAMES_PER_CALL).take_while(|&&at| at <= elapsed).count();
            if due == 0 {
                sleep_until(start + times[self.next], now());
            } else if self.burst(due)? == 0 || self.next == 0 {
                // The last frame wraps the position around: the capture is through.
                break;
            }
        }
        Ok(())
    }

    /// Sends up to `count` frames and moves on by as many as the kernel took.
    fn burst(&mut self, count: usize) -> Result<usize> {
        let mut batch: [&[u8]; FRAMES_PER_CALL] = [&[]; FRAMES_PER_CALL];
        let total = self.frames.as_slice().len();
        let count = count.min(total - self.next);
        for (slot, frame) in batch.iter_mut().zip(self.frames.batch(self.next, count)) {
            *slot = frame;
        }
        let began = || (now(), calendar());
        self.record.began.get_or_insert_with(began);
        let sent = self.socket.send(&batch[..count])?;
        self.next = (self.next + sent) % total;
        self.so_far.fetch_add(sent as u64, Ordering::Relaxed);
        self.record.sent.add(now(), sent as u64);
        Ok(sent)
    }
}

fn as_f64(frames: usize) -> f64 {
    u32::try_from(frames).map_or(f64::MAX, f64::from)
}

#[expect(clippy::disallowed_methods, reason = "a generator paces itself by the clock")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "the agent's verdicts carry calendar times to compare with")]
fn calendar() -> SystemTime {
    SystemTime::now()
}

#[expect(clippy::disallowed_methods, reason = "a generator paces itself by the clock")]
fn sleep_until(due: Instant, now: Instant) {
    if let Some(early) = due.checked_duration_since(now).filter(|early| !early.is_zero()) {
        thread::sleep(early);
    }
}
