//! The edge to the kernel: load, attach, pin, read and write maps. The only place that knows aya,
//! and [`DataPlane`], behind which the kernel and a replayed capture look alike.

use anyhow::Result;
use mitigator_common::Source;

use crate::pipeline::allowlist::AllowList;
use crate::pipeline::blocklist::Changes;
use crate::pipeline::snapshot::Snapshot;
use crate::pipeline::target::Target;
use crate::pipeline::time::Timestamp;

mod adoption;
pub mod agent_lock;
pub mod attachment;
mod blocked_sources;
pub mod blocks;
mod bpf_call;
pub mod cpu_states;
mod jiffies;
mod mapped;
pub mod maps;
mod netlink;
pub mod pins;
pub mod privileges;
pub mod program;
pub mod replay;
mod sent;
pub mod source_rows;
pub mod syn_cookies;
pub mod table;
pub mod verification;
pub mod xdp;

/// What counts packets and drops them: the XDP program, or a capture that is replayed.
pub trait DataPlane {
    /// Counters as of `now`: of all sources that sent or were sent something since they were read before, and of those
    /// that are `watched`.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    fn read_counters(&mut self, now: Timestamp, watched: &[Source]) -> Result<Snapshot>;

    /// What no block may touch.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    fn allow_list(&mut self) -> Result<AllowList>;

    /// Packets dropped since the block was written, for each of `targets` that the agent's own block holds.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    fn hits_of(&mut self, targets: &[Target]) -> Result<Vec<(Target, u64)>>;

    /// Writes the blocks and limits that were decided at `now`, and removes limits that ended.
    ///
    /// # Errors
    ///
    /// When they cannot be written.
    fn apply(&mut self, now: Timestamp, changes: &Changes) -> Result<()>;
}
