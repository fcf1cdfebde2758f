//! What may be said on the command line.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use serde::Serialize;

use crate::kind::AttackKind;

/// Shows mitigator at work: a real web server, 40 visitors, an attack, in network namespaces of this machine.
///
/// Three phases are measured: quiet, attack without mitigator, attack with it. Takes about half a minute, `slow` and
/// `pulse` three quarters. Exit status 0 when all that is promised was kept, 1 when something was not, 2 when the
/// demo cannot run.
#[derive(Clone, Debug, Parser)]
#[command(name = "mitigator-demo")]
pub(crate) struct Arguments {
    /// What is sent: udp, syn, http, syn-spoofed, dns-reflection, slow, pulse, flash-crowd, replay:FILE with a
    /// capture, or all but the last in turn
    ///
    /// udp, syn: floods from 60 addresses. http: as many requests as the server answers. syn-spoofed: each SYN from
    /// another forged address; 20 new visitors come in the middle. dns-reflection: answers in fragments from 4000
    /// name servers nobody asked, while the server asks others. slow: 10 addresses keep 150 connections each waiting.
    /// pulse: udp, 1 s on, 5 s off. flash-crowd: 800 new visitors at once, of whom none may be blocked.
    #[arg(long, default_value = "udp", value_name = "KIND|all")]
    attack: Choice,
    /// Packets per second over all attackers (http: requests per second), or `max`
    ///
    /// Default: 300000, of http max, of replay the capture's own pace. slow and flash-crowd have a pace of their own.
    #[arg(long, value_name = "N|max")]
    pub(crate) rate: Option<Rate>,
    /// How visitors and floods reach the victim: `shared`, all by one receive queue; `apart`, the frames of a flood by
    /// one of their own
    ///
    /// Default: shared, of syn-spoofed apart. A flood that fills the 256 places of a veth's queue costs visitors their
    /// packets before any program sees them. A network card would spread both over larger queues; apart, what is
    /// measured is what the server and mitigator make of the flood, and not the veth's queue.
    #[arg(long, value_enum, value_name = "LAYOUT")]
    queues: Option<Queues>,
    /// Print one JSON object per run instead of tables
    #[arg(long)]
    pub(crate) json: bool,
    /// Where the time line goes; of several runs, that of the last of each kind, with the kind's name added
    #[arg(long, value_name = "FILE.svg")]
    output: Option<PathBuf>,
    /// How often each attack is shown
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=20))]
    pub(crate) runs: u8,
    /// Write the figures of all runs as Markdown, and the time lines into a directory of the same name without `.md`
    #[arg(long, value_name = "FILE.md", conflicts_with = "output")]
    pub(crate) record: Option<PathBuf>,
    /// The program to show; default: `mitigator` beside this one
    #[arg(long, value_name = "PATH")]
    mitigator: Option<PathBuf>,
    /// A configuration file for the agent
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// What is to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Choice {
    One(AttackKind),
    All,
}

/// By which of the victim's receive queues who comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Queues {
    /// There is one.
    Shared,
    /// Frames of a flood by one; visitors, and attackers that hold conversations, by another.
    Apart,
}

/// How fast they send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rate {
    PerSecond(u32),
    Max,
}

impl Rate {
    /// More than any machine sends.
    pub(crate) const HIGHEST: u32 = 10_000_000;
}

impl Arguments {
    /// The attacks, in the order they are shown.
    pub(crate) fn kinds(&self) -> Result<Vec<AttackKind>> {
        let Choice::One(kind) = &self.attack else {
            ensure!(self.rate.is_none(), "--rate is for one attack, not for all of them");
            return Ok(AttackKind::ALL.to_vec());
        };
        let paces_itself = self.rate.is_some() && !kind.has_rate();
        ensure!(!paces_itself, "--attack {} has a pace of its own; leave --rate away", kind.name());
        ensure!(
            !(kind.is_conversation() && self.queues == Some(Queues::Apart)),
            "--attack {} holds conversations, which come by the visitors' queue; leave --queues away",
            kind.name()
        );
        Ok(vec![kind.clone()])
    }

    /// Where the time line of an attack goes.
    pub(crate) fn output(&self, kind: &AttackKind) -> PathBuf {
        let name = kind.name();
        match (&self.record, &self.output, &self.attack) {
            (Some(record), ..) => record.with_extension("").join(format!("{name}.svg")),
            (None, None, _) => PathBuf::from(format!("mitigator-demo-{name}.svg")),
            (None, Some(output), Choice::One(_)) => output.clone(),
            (None, Some(output), Choice::All) => {
                let stem = output.file_stem().unwrap_or_default().to_string_lossy();
                output.with_file_name(format!("{stem}-{name}.svg"))
            }
        }
    }

    /// Attackers who hold conversations come by the visitors' queue in any case.
    pub(crate) fn queues(&self, kind: &AttackKind) -> Queues {
        if kind.is_conversation() { Queues::Shared } else { self.queues.unwrap_or_else(|| kind.queues()) }
    }

    /// What says what was shown, for a page that shall not tell where this machine keeps its files.
    pub(crate) fn shown(&self) -> String {
        let mut words = match &self.attack {
            Choice::All => "--attack all".to_owned(),
            Choice::One(kind) => format!("--attack {}", kind.name()),
        };
        match self.rate {
            Some(Rate::PerSecond(rate)) => words += &format!(" --rate {rate}"),
            Some(Rate::Max) => words += " --rate max",
            None => {}
        }
        match self.queues {
            Some(Queues::Shared) => words += " --queues shared",
            Some(Queues::Apart) => words += " --queues apart",
            None => {}
        }
        words + &format!(" --runs {}", self.runs)
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

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" { Ok(Self::All) } else { text.parse().map(Self::One) }
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            _ if text == "max" => Ok(Self::Max),
            Ok(rate @ 1..=Self::HIGHEST) => Ok(Self::PerSecond(rate)),
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
            ("udp", Some(Choice::One(AttackKind::Udp))),
            ("syn-spoofed", Some(Choice::One(AttackKind::SynSpoofed))),
            ("replay:a.pcap", Some(Choice::One(AttackKind::Replay("a.pcap".into())))),
            ("all", Some(Choice::All)),
            ("replay:", None),
            ("replay", None),
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

    #[test]
    fn time_lines_of_several_attacks_have_names_of_their_own() {
        for (line, expected) in [
            (&["--attack", "slow"][..], "mitigator-demo-slow.svg"),
            (&["--attack", "slow", "--output", "a/b.svg"], "a/b.svg"),
            (&["--attack", "all", "--output", "a/b.svg"], "a/b-slow.svg"),
            (&["--attack", "all", "--record", "docs/live.md"], "docs/live/slow.svg"),
        ] {
            let arguments = Arguments::parse_from(["demo"].iter().chain(line));
            assert_eq!(arguments.output(&AttackKind::Slow), PathBuf::from(expected), "{line:?}");
        }
    }

    #[test]
    fn only_floods_have_a_queue_of_their_own() {
        for (attack, layout, expected) in [
            ("syn-spoofed", None, Some(Queues::Apart)),
            ("syn-spoofed", Some("shared"), Some(Queues::Shared)),
            ("udp", None, Some(Queues::Shared)),
            ("udp", Some("apart"), Some(Queues::Apart)),
            ("http", None, Some(Queues::Shared)),
            ("http", Some("apart"), None),
            ("slow", Some("apart"), None),
        ] {
            let words = layout.map_or(Vec::new(), |layout| vec!["--queues", layout]);
            let arguments = Arguments::parse_from([&["demo", "--attack", attack][..], &words].concat());
            let queues = arguments.kinds().ok().map(|kinds| arguments.queues(&kinds[0]));
            assert_eq!(queues, expected, "{attack} {layout:?}");
        }
        let all = Arguments::parse_from(["demo", "--attack", "all", "--queues", "apart"]);
        let apart = all.kinds().unwrap().into_iter().filter(|kind| all.queues(kind) == Queues::Apart);
        assert_eq!(
            apart.map(|kind| kind.name()).collect::<Vec<_>>(),
            ["udp", "syn", "syn-spoofed", "dns-reflection", "pulse"]
        );
    }

    #[test]
    fn a_page_tells_what_was_shown_but_no_paths() {
        for (line, expected) in [
            (
                &["--attack", "all", "--runs", "2", "--mitigator", "/somewhere/mitigator"][..],
                "--attack all --runs 2",
            ),
            (
                &["--attack", "syn", "--rate", "max", "--queues", "apart"],
                "--attack syn --rate max --queues apart --runs 1",
            ),
            (&["--rate", "1000", "--queues", "shared"], "--attack udp --rate 1000 --queues shared --runs 1"),
        ] {
            assert_eq!(Arguments::parse_from(["demo"].iter().chain(line)).shown(), expected);
        }
    }

    #[test]
    fn a_rate_is_refused_where_it_would_mean_nothing() {
        for (attack, is_taken) in [("udp", true), ("flash-crowd", false), ("all", false)] {
            let arguments = Arguments::parse_from(["demo", "--attack", attack, "--rate", "1000"]);
            assert_eq!(arguments.kinds().is_ok(), is_taken, "{attack}");
        }
    }
}
