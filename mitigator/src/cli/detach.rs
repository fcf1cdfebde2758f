//! `mitigator detach`: takes the filter off and forgets all blocks.

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;

use super::run::AgentLock;
use super::{Answer, Places};
use crate::kernel::{attachment, privileges};
use crate::report::output::{print_json, print_text};

/// Arguments of `mitigator detach`.
#[derive(Debug, Args)]
pub(super) struct DetachArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    detached: Vec<String>,
}

impl DetachArgs {
    pub(super) fn run(&self, places: &Places) -> Result<Answer> {
        privileges::require(&places.pin_dir)?;
        if let Some(pid) = AgentLock::holder(places) {
            bail!(
                "the agent is running (process {pid}) and would go on without its filter; stop it first: `kill {pid}`"
            );
        }
        let pins = places.pins();
        let was_there = pins.root().exists();
        let report = Report { detached: attachment::detach(&pins)? };
        if self.json {
            print_json(&report)?;
        } else if was_there {
            let interfaces = if report.detached.is_empty() {
                "no interface".to_owned()
            } else {
                report.detached.join(", ")
            };
            print_text(&format!("detached from {interfaces}; all blocks and counters are gone\n"))?;
        } else {
            print_text("nothing is attached\n")?;
        }
        Ok(if was_there { Answer::Done } else { Answer::Negative })
    }
}
