//! Runs a scenario: its packets through the data plane of replay, ticks of the control loop in between, as live.

use std::time::Duration;

use anyhow::Result;
use mitigator::config::Config;
use mitigator::control_loop::ControlLoop;
use mitigator::kernel::replay::ReplayDataPlane;
use mitigator::pipeline::allowlist::AllowList;
use mitigator::pipeline::time::Timestamp;
use mitigator_ebpf::packet::Direction;

use super::catalogue::Scenario;
use super::figures::Figures;
use super::measure::Measure;
use super::traffic::Traffic;

/// The machine has been up for a while when a scenario begins.
const UP_FOR: Duration = Duration::from_hours(1);

/// Runs a scenario with the default configuration, for at most as long as `longest`.
///
/// # Errors
///
/// When a tick fails, which in replay it never should.
pub fn run(scenario: &Scenario, longest: Option<Duration>) -> Result<Figures> {
    let lasts = longest.map_or(scenario.lasts, |longest| scenario.lasts.min(longest));
    let config = Config::default();
    let capacity = usize::try_from(config.capacities.sources).unwrap_or(usize::MAX);
    let plane = ReplayDataPlane::new(capacity, AllowList::default());
    let start = Timestamp::default() + UP_FOR;
    let mut run = Run {
        control: ControlLoop::new(plane, config.interval, config.detection.clone(), config.blocking.clone()),
        measure: Measure::new(scenario, &config, start),
        due: start,
    };
    run.tick_until(start)?;
    let mut traffic = Traffic::new(&scenario.populations, scenario.seed, lasts);
    while let Some(transit) = traffic.next_packet() {
        let now = start + Duration::from_nanos(transit.at_ns);
        run.tick_until(now)?;
        let plane = run.control.plane();
        match transit.direction {
            Direction::Arriving => {
                let outcome = plane.arrive(&Ok(transit.packet), transit.wire_bytes, now);
                run.measure.arrived(&transit, outcome);
                if outcome.is_drop() {
                    traffic.lose();
                }
            }
            Direction::Leaving => {
                plane.leave(&transit.packet, now);
                run.measure.left();
            }
        }
    }
    run.tick_until(start + lasts)?;
    Ok(run.measure.finish(lasts))
}

struct Run<'s> {
    control: ControlLoop<ReplayDataPlane>,
    measure: Measure<'s>,
    /// When the next tick is.
    due: Timestamp,
}

impl Run<'_> {
    /// The ticks up to `now`.
    fn tick_until(&mut self, now: Timestamp) -> Result<()> {
        while self.due <= now {
            let tick = self.control.tick(self.due)?;
            self.due = self.due + tick.next_in;
            self.measure.ticked(&tick);
        }
        Ok(())
    }
}
