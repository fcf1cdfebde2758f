//! `mitigator allow`: what is never blocked.

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use ipnet::IpNet;
use mitigator_common::{AllowReason, PrefixKey};
use serde::Serialize;

use super::{Answer, Places};
use crate::kernel::xdp::XdpDataPlane;
use crate::pipeline::allowlist::is_too_wide;
use crate::pipeline::target::Target;
use crate::report::output::{Align, print_json, print_text, table};

/// Arguments of `mitigator allow`.
#[derive(Debug, Args)]
pub(super) struct AllowArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Never block these again, and let them through any block that stands
    Add {
        /// Addresses or prefixes
        #[arg(value_name = "ADDR|PREFIX", required = true, value_parser = parse_prefix)]
        prefixes: Vec<PrefixKey>,
        /// Allow prefixes wider than /8 (IPv4) or /16 (IPv6) too, against which nothing is defended then
        #[arg(long)]
        force: bool,
    },
    /// Take prefixes off the list
    ///
    /// Exit status 1 when one was not on it.
    Remove {
        /// Addresses or prefixes, as `mitigator allow list` shows them
        #[arg(value_name = "ADDR|PREFIX", required = true, value_parser = parse_prefix)]
        prefixes: Vec<PrefixKey>,
    },
    /// Show what is never blocked, and why
    List {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

fn parse_prefix(text: &str) -> Result<PrefixKey> {
    let prefix = text
        .parse::<IpNet>()
        .or_else(|_| text.parse::<std::net::IpAddr>().map(|address| IpNet::from(address.to_canonical())))
        .map_err(|_| anyhow::anyhow!("neither an IP address nor a prefix such as 192.0.2.0/24"))?;
    Ok(PrefixKey::new(prefix.network(), prefix.prefix_len()))
}

#[derive(Serialize)]
struct Report {
    allowed: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    prefix: String,
    reason: &'static str,
}

impl AllowArgs {
    pub(super) fn run(&self, places: &Places) -> Result<Answer> {
        if let Action::Add { prefixes, force: false } = &self.action {
            prefixes.iter().copied().try_for_each(check)?;
        }
        let plane = places.open_data_plane()?;
        match &self.action {
            Action::Add { prefixes, .. } => add(&plane, prefixes),
            Action::Remove { prefixes } => remove(&plane, prefixes),
            Action::List { json } => list(&plane, *json),
        }
    }
}

/// Refuses what would switch the defence off by mistake.
fn check(prefix: PrefixKey) -> Result<()> {
    if is_too_wide(prefix) {
        bail!(
            "{} is wider than /8 (IPv4) or /16 (IPv6), and nobody in it would be blocked, whatever they send; `--force` \
             allows it all the same",
            shown(prefix)
        );
    }
    Ok(())
}

fn add(plane: &XdpDataPlane, prefixes: &[PrefixKey]) -> Result<Answer> {
    for prefix in prefixes {
        plane.blocks().allow(*prefix, AllowReason::Operator)?;
        print_text(&format!("allowed {}\n", shown(*prefix)))?;
    }
    Ok(Answer::Done)
}

fn remove(plane: &XdpDataPlane, prefixes: &[PrefixKey]) -> Result<Answer> {
    let list = plane.blocks().allow_list()?;
    let mut answer = Answer::Done;
    for prefix in prefixes {
        let reason = list.entries().iter().find(|(key, _)| key == prefix).map(|(_, reason)| *reason);
        match reason {
            None => {
                print_text(&format!("{} is not on the allow list\n", shown(*prefix)))?;
                answer = Answer::Negative;
            }
            Some(AllowReason::Operator) => {
                plane.blocks().disallow(*prefix)?;
                print_text(&format!("removed {}\n", shown(*prefix)))?;
            }
            Some(reason) => bail!(
                "{} is allowed because of: {}; the agent would put it back, so it stays",
                shown(*prefix),
                reason.name()
            ),
        }
    }
    Ok(answer)
}

fn list(plane: &XdpDataPlane, json: bool) -> Result<Answer> {
    let list = plane.blocks().allow_list()?;
    let allowed = list
        .entries()
        .iter()
        .map(|(key, reason)| Row { prefix: shown(*key), reason: reason.name() })
        .collect();
    let report = Report { allowed };
    if json {
        print_json(&report)?;
    } else {
        let rows: Vec<Vec<String>> =
            report.allowed.iter().map(|row| vec![row.prefix.clone(), row.reason.to_owned()]).collect();
        print_text(&table(&[("PREFIX", Align::Left), ("REASON", Align::Left)], &rows))?;
    }
    Ok(Answer::Done)
}

/// A full-length prefix as the address alone.
fn shown(key: PrefixKey) -> String {
    let (address, length) = key.parts();
    let full = if address.is_ipv4() { 32 } else { 128 };
    if length == full { address.to_string() } else { Target::Prefix(key).to_string() }
}
