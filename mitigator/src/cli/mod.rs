//! What the operator may say: one file per verb. Each verb reads its arguments, calls the parts, and
//! reports; it decides nothing.

use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::kernel::pins::{self, Pins};
use crate::kernel::privileges;
use crate::kernel::xdp::XdpDataPlane;
use crate::report::output::complain;
use crate::store::{self, Store};

mod allow;
mod block;
mod blocked_prefixes;
mod blocklist;
mod completions;
mod dataset;
mod detach;
mod evaluate;
mod evaluate_flows;
mod evaluate_nsl_kdd;
mod evaluate_nsl_kdd_text;
mod explain;
mod explained;
mod flows;
mod learning;
mod logs;
mod logs_apply;
mod logs_follow;
mod logs_report;
mod logs_tell;
mod memory;
mod predict;
mod progress;
mod replay;
mod run;
mod serve;
mod sources;
mod status;
mod stop_signals;
mod train;
mod unblock;

/// Reads the command line, starts logging, does what was asked, and says how it went.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(log_filter())
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        // It would report a closed standard error there, and end the agent by that.
        .log_internal_errors(false)
        .init();
    match cli.run() {
        Ok(answer) => answer.into(),
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format_args!("mitigator: {error:#}"));
            ExitCode::from(2)
        }
    }
}

fn log_filter() -> EnvFilter {
    env_unless_empty("MITIGATOR_LOG")
        .and_then(|filter| EnvFilter::try_new(filter.to_str()?).ok())
        .unwrap_or_else(|| EnvFilter::new("info"))
}

/// The reader of our output went away, as `head` does.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Blocks denial-of-service attacks in the kernel, before they cost anything, and says why.
///
/// An XDP program on the network interface counts packets per source and drops blocked ones; the
/// agent (`mitigator run`) decides several times a second who is attacking.
///
/// Exit status: 0 done, 1 negative answer (for example: not blocked), 2 wrong use or failure.
#[derive(Debug, Parser)]
#[command(
    name = "mitigator",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    places: Places,
}

/// Where an installation keeps its things.
#[derive(Clone, Debug, Args)]
pub struct Places {
    /// Directory in a BPF file system for pinned maps and links; the variable MITIGATOR_PIN_DIR sets the default
    #[arg(long, global = true, value_name = "DIR", default_value_os_t = place("MITIGATOR_PIN_DIR", pins::DEFAULT_ROOT), help_heading = "Places")]
    pub pin_dir: PathBuf,
    /// Directory for the history of decisions; the variable MITIGATOR_STATE_DIR sets the default
    #[arg(long, global = true, value_name = "DIR", default_value_os_t = place("MITIGATOR_STATE_DIR", store::DEFAULT_DIRECTORY), help_heading = "Places")]
    pub state_dir: PathBuf,
}

/// What an environment variable says; clap's own `env` shows such an option in every usage line, as if required.
fn place(variable: &str, default: &str) -> PathBuf {
    env_unless_empty(variable).map_or_else(|| PathBuf::from(default), PathBuf::from)
}

/// An environment variable; one that is empty is as good as none.
fn env_unless_empty(variable: &str) -> Option<OsString> {
    env::var_os(variable).filter(|value| !value.is_empty())
}

impl Places {
    /// The pins of this installation.
    #[must_use]
    pub fn pins(&self) -> Pins {
        Pins::below(&self.pin_dir)
    }

    /// The pinned maps, or a sentence that says why they cannot be had.
    ///
    /// # Errors
    ///
    /// When rights are missing or nothing is attached.
    pub fn open_data_plane(&self) -> Result<XdpDataPlane> {
        privileges::require(&self.pin_dir)?;
        XdpDataPlane::open(&self.pins())
    }

    /// The store, when there is one.
    ///
    /// # Errors
    ///
    /// When there is one that cannot be opened.
    pub fn open_store(&self) -> Result<Option<Store>> {
        Store::open_existing(&self.state_dir)
    }
}

/// The comments are what `--help` shows; those of the arguments' structures are not.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Attach to interfaces and defend them until stopped
    ///
    /// Ctrl-C, SIGTERM or SIGHUP ends it. The filter stays attached with all blocks, and the next `run` takes it over
    /// without a gap; `mitigator detach` removes it. An interface that is deleted is protected again when it is back.
    Run(run::RunArgs),
    /// Show what is attached, what it saw and what it dropped
    ///
    /// Packets are counted since the first `run` after the machine's start or a `detach`.
    ///
    /// Exit status 1 when attached to no interface.
    Status(status::StatusArgs),
    /// Show who sends what, loudest first
    ///
    /// What a blocked source sends is dropped, and counted as DROPPED alone: of its own block, or of all that a blocked
    /// prefix holds, from when the block was last written. Of a block of a single source the count starts again from 0
    /// after 4,294,967,295.
    Sources(sources::SourcesArgs),
    /// Block addresses or prefixes
    ///
    /// Who is left alone after `mitigator unblock` is so no longer: when this block is over, the agent decides again.
    Block(block::BlockArgs),
    /// Take blocks back
    ///
    /// Of its own blocks, the agent, and the next one too, leaves the source alone until the block would have ended.
    /// `mitigator block` ends that, within half a minute; `mitigator allow add` keeps the agent from ever blocking it.
    ///
    /// Exit status 1 when something was not blocked.
    Unblock(unblock::UnblockArgs),
    /// Show or change what is never blocked
    Allow(allow::AllowArgs),
    /// Show, import, export or clear all blocks
    Blocklist(blocklist::BlocklistArgs),
    /// Say why an address is blocked, or why it is not
    ///
    /// Tells what was seen, what was compared with which limit and by how much it was over or under it, what was
    /// done and until when, and what would have had to be different. When the address is not blocked, what it sends
    /// is measured and held against what the agent blocks for.
    ///
    /// Exit status 0 when the address is blocked, 1 when it is not.
    Explain(explain::ExplainArgs),
    /// Take the filter off every interface and forget all blocks
    ///
    /// Who is left alone after `mitigator unblock` is forgotten too. The agent has to be stopped before. Exit status 1 when nothing was attached.
    Detach(detach::DetachArgs),
    /// Run the same decisions on a capture; needs no rights
    ///
    /// Reads pcap and pcapng, plain or compressed with gzip or zstd, in the capture's own time. Without
    /// `--victim` the host that takes part in most packets is taken as the protected one, whose own packets
    /// are left out; with it, those to others too. On standard input, and when no host stands out, every packet is judged.
    ///
    /// With `--explain` it tells of single addresses what `mitigator explain` tells of a running machine.
    ///
    /// Exit status 0 with or without an attack, 2 when the capture is damaged: what stands before is reported.
    Replay(replay::ReplayArgs),
    /// Learn to classify records, from labelled ones
    Train(train::TrainArgs),
    /// Tell how well a classifier does on records that it has not seen
    Evaluate(evaluate::EvaluateArgs),
    /// Classify records with a trained model
    Predict(predict::PredictArgs),
    /// Find who attacks in the access logs of a web server, and keep a list of them
    ///
    /// Reads the common, combined and virtual-host formats of Apache and nginx, and JSON lines; plain or compressed with
    /// gzip or zstd. Judges each client by what it asks, how fast, and what it is answered: floods of one page, and scans
    /// for what is weak or not there. In a log without an attack nobody is blamed. Changes nothing unless told to:
    /// `--blocklist FILE` keeps a list in a file, `--apply` blocks in the kernel (needs root, and `mitigator run` once
    /// before).
    ///
    /// Exit status 0 with or without an attack, 2 when a log cannot be read to its end: what stands before is reported,
    /// and nobody is blocked by it.
    Logs(logs::LogsArgs),
    /// Turn captures into flows with the features of CICFlowMeter; needs no rights
    ///
    /// Reads pcap and pcapng, plain or compressed with gzip or zstd, one after another as one capture. A row is one
    /// conversation of two endpoints, written when it ends: docs/flows.md explains every column. Without `--output` the
    /// table goes to standard output; how many packets and flows there were, to standard error.
    ///
    /// Exit status 1 when no packet is in a flow, 2 when a capture is damaged: what stands before is written.
    ///
    /// Examples: `mitigator flows day.pcap.zst --output day.csv`, `mitigator flows - --sessions < day.pcap`.
    Flows(flows::FlowsArgs),
    /// Judge captures and flows for other programs, by HTTP; needs no rights
    ///
    /// Captures go in, plain or compressed, whole or as they are made; flows, their classes and verdicts come out, as
    /// `mitigator flows` and `mitigator replay` find them. Who listens to events hears of each malicious flow and each
    /// verdict as it is found. `GET /openapi.json` describes all of it, and so does docs/serve.md.
    ///
    /// It listens on loopback, for programs of this machine. To listen elsewhere it wants a token that callers have to
    /// show, and a TLS proxy in front of it: it speaks plain HTTP.
    ///
    /// Ctrl-C, SIGTERM or SIGHUP ends it, after what is under way.
    ///
    /// Example: `mitigator serve &`, then `curl --data-binary @day.pcap.zst http://127.0.0.1:8080/api/captures`.
    Serve(serve::ServeArgs),
    /// Make data sets of labelled rows ready for training; needs no rights
    Dataset(dataset::DatasetArgs),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
}

/// What a verb came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done, or yes.
    Done,
    /// No: for example not blocked.
    Negative,
}

impl From<Answer> for ExitCode {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Done => Self::SUCCESS,
            Answer::Negative => Self::from(1),
        }
    }
}

impl Cli {
    /// Does what was asked.
    ///
    /// # Errors
    ///
    /// When it cannot be done; the chain says what was attempted, on what, and what to try.
    pub fn run(&self) -> Result<Answer> {
        match &self.verb {
            Verb::Run(args) => args.run(&self.places),
            Verb::Status(args) => args.run(&self.places),
            Verb::Sources(args) => args.run(&self.places),
            Verb::Block(args) => args.run(&self.places),
            Verb::Unblock(args) => args.run(&self.places),
            Verb::Allow(args) => args.run(&self.places),
            Verb::Blocklist(args) => args.run(&self.places),
            Verb::Explain(args) => args.run(&self.places),
            Verb::Detach(args) => args.run(&self.places),
            Verb::Replay(args) => args.run(),
            Verb::Train(args) => args.run(),
            Verb::Evaluate(args) => args.run(),
            Verb::Predict(args) => args.run(),
            Verb::Logs(args) => args.run(&self.places),
            Verb::Flows(args) => args.run(),
            Verb::Serve(args) => args.run(),
            Verb::Dataset(args) => args.run(),
            Verb::Completions(args) => args.run(),
        }
    }
}
