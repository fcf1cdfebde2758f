//! What may be said on the command line.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result};
use clap::Parser;

/// Shows mitigator at work: a real web server, 40 visitors, 60 attackers, in network namespaces of this machine.
///
/// Three phases are measured: quiet, attack without mitigator, attack with it. Takes about half a minute.
#[derive(Clone, Debug, Parser)]
#[command(name = "mitigator-demo")]
pub(crate) struct Arguments {
    /// What the attackers send: udp, syn, http, or replay:FILE with a capture
    #[arg(long, default_value = "udp", value_name = "KIND")]
    pub(crate) attack: AttackKind,
    /// Packets per second over all attackers (http: requests per second), or `max`
    ///
    /// Default: 300000 for udp and syn, max for http, the capture's own pace for replay.
    #[arg(long, value_name = "N|max")]
    pub(crate) rate: Option<Rate>,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    /// Where the time line goes
    #[arg(long, value_name = "FILE.svg")]
    output: Option<PathBuf>,
    /// The program to show; default: `mitigator` beside this one
    #[arg(long, value_name = "PATH")]
    mitigator: Option<PathBuf>,
    /// A configuration file for the agent
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// What the attackers send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AttackKind {
    Udp,
    Syn,
    Http,
    Replay(PathBuf),
}

/// How fast they send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rate {
    PerSecond(u32),
    Max,
}

impl Arguments {
    pub(crate) fn output(&self) -> PathBuf {
        let default = || PathBuf::from(format!("mitigator-demo-{}.svg", self.attack.name()));
        self.output.clone().unwrap_or_else(default)
    }

    pub(crate) fn mitigator(&self) -> Result<PathBuf> {
        match &self.mitigator {
            Some(path) => Ok(path.clone()),
            None => Ok(std::env::current_exe()
                .context("cannot find this program's own place")?
                .with_file_name("mitigator")),
        }
    }
}

impl AttackKind {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Syn => "syn",
            Self::Http => "http",
            Self::Replay(_) => "replay",
        }
    }
}

impl FromStr for AttackKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("replay:")) {
            ("udp", _) => Ok(Self::Udp),
            ("syn", _) => Ok(Self::Syn),
            ("http", _) => Ok(Self::Http),
            (_, Some(file)) if !file.is_empty() => Ok(Self::Replay(file.into())),
            _ => Err("it must be udp, syn, http or replay:FILE".to_owned()),
        }
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            _ if text == "max" => Ok(Self::Max),
            Ok(rate @ 1..=10_000_000) => Ok(Self::PerSecond(rate)),
            _ => Err("it must be `max` or between 1 and 10000000".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attacks_and_rates_are_checked() {
        for (text, expected) in [
            ("udp", Some(AttackKind::Udp)),
            ("replay:a.pcap", Some(AttackKind::Replay("a.pcap".into()))),
            ("replay:", None),
            ("icmp", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
        for (text, expected) in [
            ("max", Some(Rate::Max)),
            ("300000", Some(Rate::PerSecond(300_000))),
            ("0", None),
            ("fast", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
    }
}
