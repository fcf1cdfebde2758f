//! What `mitigator logs` does about who it blames: the list in a file, the kernel's blocks.

use std::path::Path;

use anyhow::Result;
use mitigator_common::BlockOrigin;
use serde::Serialize;

use super::{Places, block};
use crate::clock::Clock;
use crate::guard::guard;
use crate::kernel::blocks::NewBlock;
use crate::logs::judge::Verdict;
use crate::logs::list::{self, Change};
use crate::pipeline::target::Target;
use crate::report::units;
use crate::store::Store;

/// A block to be made.
pub(super) struct Block<'verdicts> {
    pub(super) target: Target,
    pub(super) verdict: &'verdicts Verdict,
    pub(super) until_unix_ms: u64,
}

/// What was done.
pub(super) struct Deeds {
    pub(super) list: Option<Change>,
    pub(super) applied: Option<Applied>,
}

/// What became of blocks in the kernel.
#[derive(Debug, Default, Serialize)]
pub(super) struct Applied {
    /// Written.
    pub(super) blocked: Vec<Target>,
    /// Left as they stand, because they end later.
    pub(super) standing: Vec<Target>,
    /// Not written, and why.
    pub(super) refused: Vec<Refused>,
}

impl Applied {
    /// Whether a target is blocked now.
    pub(super) fn holds(&self, target: &Target) -> bool {
        self.blocked.contains(target) || self.standing.contains(target)
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Refused {
    pub(super) target: Target,
    pub(super) why: String,
    /// Whether it is only for now that it is refused.
    #[serde(skip)]
    pub(super) is_for_now: bool,
}

/// Puts them on the list in `file`, and lets go of what has ended there.
pub(super) fn list(file: &Path, blocks: &[&Block<'_>]) -> Result<Change> {
    let ends = blocks.iter().map(|block| (block.target, block.until_unix_ms));
    Ok(list::update_file(file, ends, Clock::now().unix_ms())?.1)
}

/// Blocks them in the kernel, as `mitigator block` does: what must stay reachable is refused one by one, and so is who
/// is left alone because somebody took its block back, and what is beyond `most`. A block that ends later stays.
pub(super) fn block_in_kernel(places: &Places, blocks: &[Block<'_>], most: usize) -> Result<Applied> {
    let plane = places.open_data_plane()?;
    guard(plane.blocks())?;
    let allowed = plane.blocks().allow_list()?;
    let clock = Clock::now();
    let store = places.open_store()?;
    let mut applied = Applied::default();
    let (mut writes, mut reasons) = (Vec::new(), Vec::new());
    for Block { target, verdict, until_unix_ms } in blocks {
        let mut refuse = |why: String, is_for_now: bool| {
            applied.refused.push(Refused { target: *target, why, is_for_now });
        };
        if let Err(error) = block::check(target, &allowed, false) {
            refuse(error.to_string(), false);
            continue;
        }
        let left_alone =
            store.as_ref().map(|store| store.left_alone_until(target, clock.unix_ms())).transpose()?;
        if let Some(until) = left_alone.flatten() {
            let until = units::unix_ms(until);
            let why = format!(
                "left alone until {until}, because its block was taken back; `mitigator block {target}` ends that"
            );
            refuse(why, false);
            continue;
        }
        let expires_at_ns = clock.from_unix_ms(*until_unix_ms).ns;
        let standing = plane.blocks().get(target)?.filter(|entry| !entry.is_expired(clock.monotonic().ns));
        if standing.is_some_and(|entry| entry.expires_at_ns >= expires_at_ns) {
            applied.standing.push(*target);
            continue;
        }
        if writes.len() >= most {
            refuse(format!("blocking.max_per_tick allows {most} blocks at once"), true);
            continue;
        }
        applied.blocked.push(*target);
        writes.push(NewBlock { target: *target, expires_at_ns, origin: BlockOrigin::Operator });
        reasons.push((*target, format!("logs: {}", verdict.vector.name())));
    }
    plane.blocks().block_all(&writes, |_| {})?;
    if let Err(error) = remember(places, &reasons, &clock) {
        tracing::warn!("the blocks stand, but their reasons could not be kept: {error:#}");
    }
    Ok(applied)
}

fn remember(places: &Places, reasons: &[(Target, String)], clock: &Clock) -> Result<()> {
    if reasons.is_empty() {
        return Ok(());
    }
    let store = Store::open(&places.state_dir)?;
    for (target, reason) in reasons {
        store.set_reason(&target.to_string(), reason, clock.unix_ms())?;
    }
    Ok(())
}
