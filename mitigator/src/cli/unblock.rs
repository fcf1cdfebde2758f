//! `mitigator unblock`: takes blocks back.

use anyhow::{Context, Result};
use clap::Args;
use mitigator_common::BlockOrigin;
use serde::Serialize;

use super::{Answer, Places};
use crate::clock::Clock;
use crate::kernel::blocks::StandingBlock;
use crate::pipeline::target::Target;
use crate::pipeline::time::Timestamp;
use crate::report::output::print_report;
use crate::report::units;
use crate::store::LiftedBlock;

/// Arguments of `mitigator unblock`.
#[derive(Debug, Args)]
pub(super) struct UnblockArgs {
    /// What to unblock, as `mitigator blocklist list` shows it
    #[arg(value_name = "ADDR|PREFIX", required = true)]
    targets: Vec<Target>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    unblocked: Vec<Target>,
    /// Of them, those that the agent had blocked.
    left_alone: Vec<LiftedBlock>,
    not_blocked: Vec<NotBlocked>,
}

#[derive(Serialize)]
struct NotBlocked {
    target: Target,
    /// Wider blocks that cover it.
    covered_by: Vec<Target>,
}

impl UnblockArgs {
    pub(super) fn run(&self, places: &Places) -> Result<Answer> {
        let plane = places.open_data_plane()?;
        let clock = Clock::now();
        let now = clock.monotonic();
        let mut report = Report { unblocked: Vec::new(), left_alone: Vec::new(), not_blocked: Vec::new() };
        let mut blocks = Vec::new();
        for target in &self.targets {
            let entry = plane.blocks().get(target)?.filter(|entry| !entry.is_expired(now.ns));
            blocks.extend(entry.map(|entry| StandingBlock { target: *target, entry }));
        }
        report.left_alone = remember_lifted(places, &blocks, &clock);
        plane.blocks().unblock_all(&self.targets)?;
        for target in &self.targets {
            if blocks.iter().any(|block| block.target == *target) {
                report.unblocked.push(*target);
            } else {
                let covering = plane.blocks().covering(target.parts().0, now.ns)?;
                let covered_by = covering.into_iter().map(|block| block.target).collect();
                report.not_blocked.push(NotBlocked { target: *target, covered_by });
            }
        }
        if let Err(error) = self.forget_reasons(places) {
            tracing::warn!("the reasons of these blocks could not be forgotten: {error:#}");
        }
        print_report(self.json, &report, || text(&report))?;
        Ok(if report.not_blocked.is_empty() { Answer::Done } else { Answer::Negative })
    }

    fn forget_reasons(&self, places: &Places) -> Result<()> {
        let Some(store) = places.open_store()? else { return Ok(()) };
        self.targets.iter().try_for_each(|target| store.remove_reason(&target.to_string()))
    }
}

/// Lets the next agent know too which of the agent's blocks somebody takes back, and returns these. It comes before
/// they are taken back, so that none is forgotten when that fails half-way: of a block that stands, it changes nothing.
pub(super) fn remember_lifted(places: &Places, blocks: &[StandingBlock], clock: &Clock) -> Vec<LiftedBlock> {
    let of_agent = blocks.iter().filter(|block| block.entry.origin() == BlockOrigin::Agent);
    let lifted: Vec<LiftedBlock> = of_agent
        .map(|block| LiftedBlock {
            target: block.target,
            until_unix_ms: clock.to_unix_ms(Timestamp::from_ns(block.entry.expires_at_ns)),
        })
        .collect();
    if !lifted.is_empty()
        && let Err(error) = keep(places, &lifted)
    {
        tracing::warn!(
            "a running agent leaves the sources of these blocks alone, but one that is started anew may block them \
             again, because this could not be kept: {error:#}"
        );
    }
    lifted
}

/// A store is where an agent is, which made it; of another place it would not hear.
fn keep(places: &Places, lifted: &[LiftedBlock]) -> Result<()> {
    let directory = places.state_dir.display();
    let store = places.open_store()?;
    store.with_context(|| format!("no agent keeps a history in {directory}"))?.record_lifted(lifted)
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for target in &report.unblocked {
        let left_alone = report.left_alone.iter().find(|block| block.target == *target);
        let left_alone = left_alone.map_or_else(String::new, |block| {
            let until = units::unix_ms(block.until_unix_ms);
            format!("; the agent leaves it alone until {until}, `mitigator block {target}` ends that")
        });
        text.push_str(&format!("unblocked {target}{left_alone}\n"));
    }
    for NotBlocked { target, covered_by } in &report.not_blocked {
        let wider: Vec<String> = covered_by.iter().map(ToString::to_string).collect();
        let note = if wider.is_empty() {
            String::new()
        } else {
            format!(" itself; the block of {} covers it", wider.join(", "))
        };
        text.push_str(&format!("{target} is not blocked{note}\n"));
    }
    text
}
