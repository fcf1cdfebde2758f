//! A denial-of-service mitigator for Linux servers: an XDP program that counts and drops, and the
//! agent that decides what to drop.
//!
//! `ARCHITECTURE.md` tells how the parts fit; [`control_loop`] is the diagram in code.

pub mod capture;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control_loop;
pub mod dataset;
pub mod flows;
pub mod guard;
pub mod host;
pub mod kernel;
pub mod learn;
pub mod logs;
pub mod notify;
pub mod opinion;
pub mod pipeline;
pub mod replay;
pub mod report;
pub mod serve;
pub mod store;
pub mod tabular;
pub mod tap;
pub mod watch;
