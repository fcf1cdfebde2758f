//! The contract between the XDP program and user space, and nothing else: the types that live in
//! BPF maps, the outcomes a packet can have and the settings fixed at load time.
//!
//! Every shared type is `#[repr(C)]`, has no padding (`bytemuck` proves it) and pins its size.
#![no_std]

mod address;
mod allow;
mod block;
mod block_table;
mod counters;
mod cpu_state;
mod outcome;
mod settings;
mod signature;
mod source;
mod source_table;

pub use address::{PrefixKey, WideAddress};
pub use allow::{AllowEntry, AllowReason};
pub use block::{BlockEntry, BlockOrigin, BlockTerms, NEVER_EXPIRES, PlacedBlock};
pub use block_table::{BlockMark, BlockRegion, ENTRIES_PER_LINE, Seeds};
pub use counters::{RowMarks, SourceCounters};
pub use cpu_state::{CpuState, InsertionBudget, OUTCOME_ROOM};
pub use outcome::Outcome;
pub use settings::{DataPlaneSettings, SCHEMA};
pub use signature::{Limit, PacketKind, Signature};
pub use source::Source;
pub use source_table::{SourcePlace, SourceTable};
