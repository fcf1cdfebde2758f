//! What `mitigator logs` does about who it blames: the list in a file, the kernel's blocks.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use mitigator_common::{BlockOrigin, Source};
use serde::Serialize;

use super::{Places, block};
use crate::clock::Clock;
use crate::guard::guard;
use crate::kernel::blocks::NewBlock;
use crate::logs::client::Who;
use crate::logs::judge::Verdict;
use crate::logs::list::{self, Change};
use crate::pipeline::target::Target;
use crate::store::Store;

/// What became of blocks in the kernel.
#[derive(Debug, Default, Serialize)]
pub(super) struct Applied {
    /// Written.
    pub(super) blocked: Vec<Target>,
    /// Not written, and why.
    pub(super) refused: Vec<Refused>,
}

#[derive(Debug, Serialize)]
pub(super) struct Refused {
    pub(super) target: Target,
    pub(super) why: String,
}

/// Who is blamed, as targets.
pub(super) fn targets<'verdicts>(
    verdicts: impl Iterator<Item = &'verdicts Verdict>,
) -> Vec<(Target, &'verdicts Verdict)> {
    let source = |who: &Who| -> Option<Source> {
        match who {
            Who::Source(source) => Some(*source),
            Who::Name(_) => None,
        }
    };
    verdicts.filter_map(|verdict| Some((Target::Source(source(&verdict.client)?), verdict))).collect()
}

/// Puts them on the list in `file` until `duration` from now, and lets go of what has ended there.
pub(super) fn list(file: &Path, targets: &[Target], duration: Duration) -> Result<Change> {
    let now = Clock::now().unix_ms();
    let until = now.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    Ok(list::update_file(file, targets.iter().map(|target| (*target, until)), now)?.1)
}

/// Blocks them in the kernel, as `mitigator block` does: what must stay reachable is refused one by one, and so is
/// what is beyond `most`.
pub(super) fn block_in_kernel(
    places: &Places,
    targets: &[(Target, &Verdict)],
    duration: Duration,
    most: usize,
) -> Result<Applied> {
    let plane = places.open_data_plane()?;
    guard(plane.blocks())?;
    let allowed = plane.blocks().allow_list()?;
    let clock = Clock::now();
    let mut applied = Applied::default();
    let mut reasons = Vec::new();
    for (target, verdict) in targets {
        let refusal = match block::check(target, &allowed, false) {
            Err(error) => Some(error.to_string()),
            Ok(()) if applied.blocked.len() >= most => {
                Some(format!("blocking.max_per_tick allows {most} blocks at once"))
            }
            Ok(()) => None,
        };
        match refusal {
            Some(why) => applied.refused.push(Refused { target: *target, why }),
            None => {
                applied.blocked.push(*target);
                reasons.push((*target, format!("logs: {}", verdict.vector.name())));
            }
        }
    }
    let expires_at_ns = (clock.monotonic() + duration).ns;
    let blocks: Vec<NewBlock> = applied
        .blocked
        .iter()
        .map(|target| NewBlock { target: *target, expires_at_ns, origin: BlockOrigin::Operator })
        .collect();
    plane.blocks().block_all(&blocks, |_| {})?;
    if let Err(error) = remember(places, &reasons, &clock) {
        tracing::warn!("the blocks stand, but their reasons could not be kept: {error:#}");
    }
    Ok(applied)
}

fn remember(places: &Places, reasons: &[(Target, String)], clock: &Clock) -> Result<()> {
    let mut store = Store::open(&places.state_dir)?;
    let targets: Vec<Target> = reasons.iter().map(|(target, _)| *target).collect();
    store.resume(&targets)?;
    for (target, reason) in reasons {
        store.set_reason(&target.to_string(), reason, clock.unix_ms())?;
    }
    Ok(())
}
