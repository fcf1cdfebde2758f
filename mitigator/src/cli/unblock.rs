//! `mitigator unblock`: takes blocks back.

use anyhow::Result;
use clap::Args;
use mitigator_common::BlockOrigin;
use serde::Serialize;

use super::{Answer, Places};
use crate::clock::Clock;
use crate::kernel::blocks::StandingBlock;
use crate::pipeline::target::Target;
use crate::pipeline::time::Timestamp;
use crate::report::output::print_report;
use crate::store::{LiftedBlock, Store};

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
        let mut report = Report { unblocked: Vec::new(), not_blocked: Vec::new() };
        let mut lifted = Vec::new();
        for target in &self.targets {
            let entry = plane.blocks().get(target)?.filter(|entry| !entry.is_expired(now.ns));
            plane.blocks().unblock_all(&[*target])?;
            if let Some(entry) = entry {
                report.unblocked.push(*target);
                lifted.push(StandingBlock { target: *target, entry });
            } else {
                let covering = plane.blocks().covering(target.parts().0, now.ns)?;
                let covered_by = covering.into_iter().map(|block| block.target).collect();
                report.not_blocked.push(NotBlocked { target: *target, covered_by });
            }
        }
        remember_lifted(places, &lifted, &clock);
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

/// Lets the next agent know too which of the agent's blocks somebody took back.
pub(super) fn remember_lifted(places: &Places, blocks: &[StandingBlock], clock: &Clock) {
    let of_agent = blocks.iter().filter(|block| block.entry.origin() == BlockOrigin::Agent);
    let lifted: Vec<LiftedBlock> = of_agent
        .map(|block| LiftedBlock {
            target: block.target,
            until_unix_ms: clock.to_unix_ms(Timestamp::from_ns(block.entry.expires_at_ns)),
        })
        .collect();
    if lifted.is_empty() {
        return;
    }
    let kept = Store::open(&places.state_dir).and_then(|mut store| store.record_lifted(&lifted));
    if let Err(error) = kept {
        tracing::warn!(
            "the blocks are lifted and the running agent leaves their sources alone, but one that is started anew may \
             block them again, because this could not be kept: {error:#}"
        );
    }
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for target in &report.unblocked {
        text.push_str(&format!("unblocked {target}\n"));
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
