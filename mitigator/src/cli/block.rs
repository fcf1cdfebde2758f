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
use crate::pipeline::target::{Target, range_of};
use crate::report::output::print_report;
use crate::report::units;
use crate::store::Store;

/// The longest `--reason`.
const MAX_REASON_BYTES: usize = 500;

/// Arguments of `mitigator block`.
#[derive(Debug, Args)]
pub(super) struct BlockArgs {
    /// What to block: 192.0.2.7, 192.0.2.0/24, 2001:db8::7 (its whole /64), 2001:db8::7/128
    #[arg(value_name = "ADDR|PREFIX", required = true)]
    targets: Vec<Target>,
    /// End of the block, for example 90s, 10m or 2h; without it, until `mitigator unblock`
    #[arg(long = "for", value_name = "TIME", value_parser = parse_time)]
    duration: Option<Duration>,
    /// Remembered for `mitigator explain`, in place of the words of an earlier block; one line, up to 500 bytes
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
        let reason = self.reason.as_deref().filter(|reason| !reason.trim().is_empty());
        reason.map_or(Ok(()), check_reason)?;
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
        // A block holds without its words, and who is under attack needs the block.
        if let Err(error) = self.remember(places, reason, &clock) {
            tracing::warn!("{}: {error:#}", unremembered(reason));
        }
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

    /// A block without words takes those of an earlier one away: they were not about this one. Whom the agent leaves
    /// alone, because its block was taken back, is left alone no longer.
    fn remember(&self, places: &Places, reason: Option<&str>, clock: &Clock) -> Result<()> {
        let store = match reason {
            Some(_) => Some(Store::open(&places.state_dir)?),
            None => places.open_store()?,
        };
        let Some(mut store) = store else { return Ok(()) };
        store.resume(&self.targets)?;
        for target in &self.targets {
            match reason {
                Some(reason) => store.set_reason(&target.to_string(), reason, clock.unix_ms())?,
                None => store.remove_reason(&target.to_string())?,
            }
        }
        Ok(())
    }
}

/// Words that can be shown as they are, wherever they are shown.
fn check_reason(reason: &str) -> Result<()> {
    if reason.len() > MAX_REASON_BYTES {
        bail!("--reason has {} bytes; it must not have more than {MAX_REASON_BYTES}", reason.len());
    }
    if reason.chars().any(char::is_control) {
        bail!("--reason has a line break or another control character; write it as one line of plain text");
    }
    Ok(())
}

const fn unremembered(reason: Option<&str>) -> &'static str {
    match reason {
        Some(_) => "the block stands, but its reason could not be kept",
        None => "the block stands, but what is known of an earlier one could not be forgotten",
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
    let (lies, way_out) = match allowed.relation_to(target) {
        Relation::Apart => return Ok(()),
        Relation::Covers => ("covers", "`--force` blocks the rest of it, "),
        Relation::Inside => ("lies inside", ""),
    };
    let mut met: Vec<_> = allowed.meeting(target).collect();
    let range = target.range();
    let holds_it_all = |key| range_of(key).first <= range.first && range.last <= range_of(key).last;
    if met.iter().any(|(key, _)| holds_it_all(*key)) {
        met.retain(|(key, _)| holds_it_all(*key));
    }
    let entries: Vec<String> = met
        .into_iter()
        .take(3)
        .map(|(key, reason)| format!("{} ({})", Target::Prefix(*key), reason.name()))
        .collect();
    bail!(
        "{target} {lies} {}, which must stay reachable; {way_out}`mitigator allow remove` takes an entry of the \
         operator off the allow list",
        entries.join(", ")
    )
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

#[cfg(test)]
mod tests {
    use mitigator_common::{AllowReason, PrefixKey};

    use super::*;

    #[test]
    fn a_refusal_says_how_the_target_lies_to_what_is_allowed() {
        let allowed = AllowList::new(vec![
            (PrefixKey::new([192, 0, 2, 0].into(), 24), AllowReason::Operator),
            (PrefixKey::new([192, 0, 2, 7].into(), 32), AllowReason::SshPeer),
            (PrefixKey::new("::".parse().unwrap(), 0), AllowReason::Operator),
        ]);
        for (target, expected) in [
            (
                "192.0.2.7",
                Some(("192.0.2.7 lies inside 192.0.2.0/24 (operator), 192.0.2.7/32 (ssh session), ", false)),
            ),
            ("192.0.2.0/28", Some(("192.0.2.0/28 lies inside 192.0.2.0/24 (operator), which", false))),
            ("192.0.0.0/16", Some(("192.0.0.0/16 covers 192.0.2.0/24 (operator)", true))),
            ("2001:db8::7", Some(("2001:db8::/64 lies inside ::/0", false))),
            ("198.51.100.7", None),
        ] {
            let refusal = check(&target.parse().unwrap(), &allowed, false).map_err(|error| error.to_string());
            match (refusal, expected) {
                (Ok(()), None) => {}
                (Err(refusal), Some((start, offers_force))) => {
                    assert!(refusal.starts_with(start), "{target}: {refusal}");
                    assert_eq!(refusal.contains("--force"), offers_force, "{target}: {refusal}");
                }
                (refusal, _) => panic!("{target}: {refusal:?}"),
            }
        }
    }

    #[test]
    fn a_reason_is_one_line_of_plain_text() {
        for (reason, is_taken) in [
            ("scraper, ticket 7", true),
            ("Überlast", true),
            ("two\nlines", false),
            ("\u{1b}[31mred", false),
            ("\u{9b}31mred", false),
            (&"x".repeat(500), true),
            (&"x".repeat(501), false),
        ] {
            assert_eq!(check_reason(reason).is_ok(), is_taken, "{reason:?}");
        }
    }
}
