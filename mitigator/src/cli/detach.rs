//! `mitigator detach`: takes the filter off and forgets all blocks, also those that were taken back.

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;

use super::{Answer, Places};
use crate::kernel::agent_lock::AgentLock;
use crate::kernel::pins::Pins;
use crate::kernel::{attachment, privileges};
use crate::report::output::{print_json, print_text, printable};

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
        let pins = places.pins();
        let was_there = pins.root().exists();
        let report = Report { detached: if was_there { detach(&pins)? } else { Vec::new() } };
        if was_there && let Err(error) = forget_lifted(places) {
            tracing::warn!("who was unblocked is left alone by the next agent all the same: {error:#}");
        }
        if self.json {
            print_json(&report)?;
        } else if was_there {
            let interfaces = if report.detached.is_empty() {
                "no interface".to_owned()
            } else {
                printable(&report.detached.join(", "))
            };
            print_text(&format!("detached from {interfaces}; all blocks and counters are gone\n"))?;
        } else {
            print_text("nothing is attached\n")?;
        }
        Ok(if was_there { Answer::Done } else { Answer::Negative })
    }
}

/// Who starts anew after that starts with nothing.
fn forget_lifted(places: &Places) -> Result<()> {
    places.open_store()?.map_or(Ok(()), |store| store.forget_lifted())
}

fn detach(pins: &Pins) -> Result<Vec<String>> {
    match AgentLock::take(pins)? {
        Ok(_lock) => attachment::detach(pins),
        Err(holder) => {
            let how = holder.pid.map_or_else(String::new, |pid| format!(": `kill {pid}`"));
            bail!("the agent is running ({holder}) and would go on without its filter; stop it first{how}")
        }
    }
}
