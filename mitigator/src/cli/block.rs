//! `mitigator block`: blocks addresses or prefixes by hand.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use mitigator_common::{BlockOrigin, NEVER_EXPIRES};
use serde::Serialize;

use super::{Answer, Places};
use crate::clock::Clock;
use crate::guard::guard;
use crate::kernel::blocks::NewBlock;
use crate::pipeline::allowlist::{AllowList, Relation};
use crate::pipeline::target::Target;
use crate::report::output::print_report;
use crate::report::units;
use crate::store::Store;

/// Arguments of `mitigator block`.
#[derive(Debug, Args)]
pub(super) struct BlockArgs {
    /// What to block: 192.0.2.7, 192.0.2.0/24, 2001:db8::7 (its whole /64), 2001:db8::7/128
    #[arg(value_name = "ADDR|PREFIX", required = true)]
    targets: Vec<Target>,
    /// End of the block, for example 90s, 10m or 2h; without it, until `mitigator unblock`
    #[arg(long = "for", value_name = "TIME", value_parser = parse_time)]
    duration: Option<Duration>,
    /// Remembered for `mitigator explain`, in place of the words of an earlier block
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Block a very wide prefix, or one that covers an allowed address (which stays reachable)
    #[arg(long)]
    force: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// A time of at least a second, as people write it.
pub(super) fn parse_time(text: &str) -> Result<Duration> {
    let time =
        humantime::parse_duration(text).map_err(|_| anyhow::anyhow!("write it like 90s, 10m or 2h"))?;
    anyhow::ensure!(time >= Duration::from_secs(1), "at least 1s");
    anyhow::ensure!(time <= Duration::from_hours(24 * 3650), "at most ten years; leave it out for no end");
    Ok(time)
}

#[derive(Serialize)]
struct Report {
    blocked: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    target: Target,
    until_unix_ms: Option<u64>,
    excepted: bool,
}

impl BlockArgs {
    pub(super) fn run(&self, places: &Places) -> Result<Answer> {
        let plane = places.open_data_plane()?;
        guard(plane.blocks())?;
        let allowed = plane.blocks().allow_list()?;
        for target in &self.targets {
            check(target, &allowed, self.force)?;
        }
        let clock = Clock::now();
        let end = self.duration.map(|duration| clock.monotonic() + duration);
        let blocks: Vec<NewBlock> = self
            .targets
            .iter()
            .map(|target| NewBlock {
                target: *target,
                expires_at_ns: end.map_or(NEVER_EXPIRES, |end| end.ns),
                origin: BlockOrigin::Operator,
            })
            .collect();
        plane.blocks().block_all(&blocks, |_| {})?;
        self.remember(places, &clock)?;
        let report = Report {
            blocked: self
                .targets
                .iter()
                .map(|target| Row {
                    target: *target,
                    until_unix_ms: end.map(|end| clock.to_unix_ms(end)),
                    excepted: allowed.relation_to(target) != Relation::Apart,
                })
                .collect(),
        };
        print_report(self.json, &report, || text(&report))?;
        Ok(Answer::Done)
    }

    /// A block without words takes those of an earlier one away: they were not about this one.
    fn remember(&self, places: &Places, clock: &Clock) -> Result<()> {
        let store = match &self.reason {
            Some(_) => Some(Store::open(&places.state_dir)?),
            None => places.open_store()?,
        };
        let Some(store) = store else { return Ok(()) };
        for target in &self.targets {
            match &self.reason {
                Some(reason) => store.set_reason(&target.to_string(), reason, clock.unix_ms())?,
                None => store.remove_reason(&target.to_string())?,
            }
        }
        Ok(())
    }
}

/// Refuses what would lock somebody out by mistake.
pub(super) fn check(target: &Target, allowed: &AllowList, force: bool) -> Result<()> {
    if force {
        return Ok(());
    }
    if target.is_too_wide() {
        bail!("{target} is wider than /16 (IPv4) or /32 (IPv6); `--force` blocks it all the same");
    }
    if allowed.relation_to(target) != Relation::Apart {
        let entries: Vec<String> = allowed
            .meeting(target)
            .take(3)
            .map(|(key, reason)| format!("{} ({})", Target::Prefix(*key), reason.name()))
            .collect();
        bail!(
            "{target} covers {}, which must stay reachable; `--force` blocks the rest of it, \
             `mitigator allow remove` takes an entry of the operator off the allow list",
            entries.join(", ")
        );
    }
    Ok(())
}

fn text(report: &Report) -> String {
    report
        .blocked
        .iter()
        .map(|row| {
            let until = row
                .until_unix_ms
                .map_or_else(|| "until unblocked".to_owned(), |end| format!("until {}", units::unix_ms(end)));
            let excepted = if row.excepted { ", except what is on the allow list" } else { "" };
            format!("blocked {} {until}{excepted}\n", row.target)
        })
        .collect()
}
