//! A population behind the control loop: counters are there when the tick asks, and only the tick is timed.

use std::time::Duration;

use anyhow::Result;
use mitigator::control_loop::ControlLoop;
use mitigator::kernel::DataPlane;
use mitigator::pipeline::allowlist::AllowList;
use mitigator::pipeline::blocklist::Changes;
use mitigator::pipeline::settings::{BlockingSettings, DetectionSettings};
use mitigator::pipeline::snapshot::{Order, Snapshot};
use mitigator::pipeline::target::Target;
use mitigator::pipeline::time::Timestamp;
use mitigator::pipeline::verdict::Decision;
use mitigator_common::Source;
use ndarray::Array2;

use super::cpu_time::spent;
use super::population::{Population, State};
use super::report::{TickTime, Times};

const INTERVAL: Duration = Duration::from_millis(250);
/// Quiet ticks before what is measured: more than the baseline needs, and some seconds for its first alarms to be
/// over.
const QUIET_TICKS: u32 = 40;

/// A control loop with a population.
pub(crate) struct Scene {
    control: ControlLoop<Prepared>,
    population: Population,
    now: Timestamp,
    next_in: Duration,
    /// Of the window that fills.
    window: Duration,
    times: Times,
}

/// A data plane whose counters were read beforehand.
#[derive(Default)]
struct Prepared {
    snapshot: Snapshot,
    blocked: Vec<Source>,
}

impl DataPlane for Prepared {
    fn read_counters(&mut self, _now: Timestamp, _watched: &[Source]) -> Result<Snapshot> {
        Ok(std::mem::take(&mut self.snapshot))
    }

    fn allow_list(&mut self) -> Result<AllowList> {
        Ok(AllowList::default())
    }

    fn hits_of(&mut self, _targets: &[Target]) -> Result<Vec<(Target, u64)>> {
        Ok(Vec::new())
    }

    fn apply(&mut self, _now: Timestamp, changes: &Changes) -> Result<()> {
        self.blocked.extend(changes.blocks.iter().filter_map(|block| match block.target {
            Target::Source(source) => Some(source),
            Target::Prefix(_) => None,
        }));
        Ok(())
    }
}

impl Scene {
    /// After some quiet seconds, the state begins.
    pub(crate) fn new(state: State, sources: u32) -> Result<Self> {
        let now = Timestamp::from_ns(1_000_000_000_000);
        let control = ControlLoop::new(
            Prepared::default(),
            INTERVAL,
            DetectionSettings::default(),
            BlockingSettings::default(),
        );
        let population = Population::before(state, sources, now);
        let mut scene = Self {
            control,
            population,
            now,
            next_in: INTERVAL,
            window: Duration::ZERO,
            times: Times::default(),
        };
        scene.run(u64::from(QUIET_TICKS))?;
        scene.population.fill(scene.now);
        scene.times = Times::default();
        // The first tick meets a population that was not there before. What it finds counts; its time does not, because
        // no later tick is like it.
        scene.run(1)?;
        scene.times.ticks.clear();
        Ok(scene)
    }

    /// So many ticks; the time that they took.
    pub(crate) fn run(&mut self, ticks: u64) -> Result<Duration> {
        let mut sum = Duration::ZERO;
        for _ in 0..ticks {
            sum += self.tick()?;
        }
        Ok(sum)
    }

    /// Goes on until so many windows have closed since the state began.
    pub(crate) fn run_until_windows_close(&mut self, windows: usize) -> Result<()> {
        while self.times.ticks.iter().filter(|tick| tick.closes_window).count() < windows {
            self.tick()?;
        }
        Ok(())
    }

    fn tick(&mut self) -> Result<Duration> {
        let elapsed = self.next_in;
        self.now = self.now + elapsed;
        self.population.advance(elapsed, self.now);
        let (rows, at) = (self.population.rows().to_vec(), self.now);
        let order = Order::ByPlace((0..).take(rows.len()).collect());
        self.control.plane().snapshot = Snapshot { at, rows, order, ..Snapshot::default() };
        let began = spent();
        let tick = self.control.tick(self.now)?;
        let took = spent().saturating_sub(began);
        self.next_in = tick.next_in;
        self.window += elapsed;
        let closes_window = self.window >= DetectionSettings::default().window / 2;
        if closes_window {
            self.window = Duration::ZERO;
        }
        self.times.ticks.push(TickTime { took, closes_window });
        for verdict in &tick.verdicts {
            let found = self.times.found.entry(verdict.vector.name()).or_default();
            match verdict.decision {
                Decision::Block => found.blocks += 1,
                Decision::Limit => found.limits += 1,
                Decision::Observe => found.observations += 1,
            }
        }
        let blocked = std::mem::take(&mut self.control.plane().blocked);
        self.population.replace(&blocked, self.now);
        Ok(took)
    }

    /// What was measured so far.
    pub(crate) fn times(&self) -> Times {
        self.times.clone()
    }

    /// All sources as points, in the columns that detection groups its carriers by: decades of packets per second,
    /// twice the share of the state's packets, decades of bytes per packet. Over the sources' whole life.
    #[expect(clippy::cast_precision_loss, reason = "counts of a bench are far below 2^52")]
    pub(crate) fn points(&self) -> Array2<f64> {
        let rows = self.population.rows();
        let mut points = Array2::zeros((rows.len(), 3));
        for (mut point, (_, row)) in points.rows_mut().into_iter().zip(rows) {
            let age = self.now.since(Timestamp::from_ns(row.first_seen_ns)).max(INTERVAL).as_secs_f64();
            let (packets, bytes) = (row.packets.max(1) as f64, row.bytes.max(1) as f64);
            let carried = row.tcp_push_packets + row.udp_packets;
            let carried = f64::from(carried + row.tcp_syn_packets.saturating_sub(row.tcp_ack_packets));
            let columns = [(packets / age).log10(), carried / packets * 2.0, (bytes / packets).log10()];
            for (value, column) in point.iter_mut().zip(columns) {
                *value = column;
            }
        }
        points
    }
}
