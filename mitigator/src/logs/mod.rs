//! Access logs as input: lines in, who attacks out, by the same steps as for packets.
//!
//! `lines -> entries -> clients -> features -> evidence -> clusters -> verdicts -> list`. Everything here is pure but
//! [`reading`], [`list`] and [`follow`], which read and write files.

pub mod busy;
pub mod client;
pub mod clients;
pub mod distinct;
pub mod entry;
pub mod evidence;
pub mod fault;
pub mod features;
pub mod follow;
pub mod format;
pub mod gates;
pub mod grouping;
pub mod json;
pub mod judge;
pub mod list;
pub mod observed;
pub mod pages;
pub mod plots;
pub mod reading;
pub mod splitter;
pub mod text;
pub mod when;
