//! `mitigator unblock`: takes blocks back.

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::{Answer, Places};
use crate::clock::Clock;
use crate::pipeline::target::Target;
use crate::report::output::print_report;

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
        let now = Clock::now().monotonic();
        let mut report = Report { unblocked: Vec::new(), not_blocked: Vec::new() };
        for target in &self.targets {
            let was_blocked = plane.blocks().get(target)?.is_some_and(|entry| !entry.is_expired(now.ns));
            plane.blocks().unblock_all(&[*target])?;
            if was_blocked {
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
