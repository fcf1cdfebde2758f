//! `mitigator replay`: the same decisions on a capture, without rights, in the capture's time.

use anyhow::{Result, bail};
use clap::Args;

use super::Answer;

/// Arguments of `mitigator replay`.
#[derive(Debug, Args)]
pub(super) struct ReplayArgs {}

impl ReplayArgs {
    pub(super) fn run(&self) -> Result<Answer> {
        bail!("replay has no arguments yet")
    }
}
