//! What mitigator costs: a packet in the kernel, the same from end to end, a tick in user space, a feed in between, the
//! agent itself the machine; a line of an access log, a packet of a capture.

mod agent;
mod bpf;
mod comparison;
mod dataplane;
mod e2e;
mod feeds;
mod flows;
mod logs;
mod measured;
mod page;
mod pins;
mod pipeline;
mod plot;
mod quartiles;
mod subject;
mod table;
mod xdp_firewall;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use mitigator_tests::machine::MeasuredWith;
use serde_json::{Map, Value};

use self::comparison::Run;
use self::measured::Measured;

/// Measures what mitigator costs, beside its peers as far as they are installed: all parts, or one of them.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    /// Write the figures into this page, the sections of other parts staying as they are, and plots beside it
    #[arg(long, global = true, value_name = "FILE.md")]
    output: Option<PathBuf>,
    /// Print one JSON object; of several parts, an object with one for each
    #[arg(long, global = true)]
    json: bool,
    /// Show what changed since the last run
    #[arg(long, global = true)]
    compare: bool,
    /// Where the figures are kept for the next run
    #[arg(long, global = true, value_name = "DIR", default_value = "target/bench")]
    results: PathBuf,
    /// Source folder of XDP-Firewall, to be measured as well by `dataplane`; needs clang and the headers of libbpf and
    /// libxdp
    #[arg(long, global = true, value_name = "DIR")]
    xdp_firewall: Option<PathBuf>,
}

#[derive(clap::Subcommand)]
enum Part {
    /// Nanoseconds per packet by the kernel's own test run, over bare drop, beside xdp-filter and XDP-Firewall; needs
    /// root.
    ///
    /// Every packet comes from another source, so that tables are as cold as they are in a flood.
    Dataplane(dataplane::Arguments),
    /// Nanoseconds per packet from end to end through a veth pair, on one core, beside xdp-filter, nftables and
    /// iptables with ipset; needs root.
    ///
    /// All packets come from blocked sources, and nothing leaves this machine.
    E2e(e2e::Arguments),
    /// Milliseconds of one core per tick, from the counters to the changes of the block list, beside plain K-Means
    /// over all sources; needs no rights.
    ///
    /// Populations of up to a million sources, quiet and under attack. Criterion's samples go beside the kept figures.
    Pipeline(pipeline::Arguments),
    /// Milliseconds from a feed's file to the kernel, beside nftables and ipset where they are installed, of an urgent
    /// block meanwhile, and of many that are taken back; and of a snapshot of all sources; needs root.
    Feeds(feeds::Arguments),
    /// Memory and CPU of the agent with a million sources in its table, and with ten thousand; needs root.
    ///
    /// While they come, while they are quiet, and while a few of them send. Nothing leaves this machine.
    Agent(agent::Arguments),
    /// Lines of an access log per second and core, beside awk and GoAccess; needs no rights.
    Logs(logs::Arguments),
    /// Packets per second from a capture in memory to a table of flows, on one core, beside the Python package
    /// cicflowmeter, whose features are compared; needs no rights, but python3 with venv, and pip's registry.
    Flows(flows::Arguments),
}

/// In the order in which all are measured.
const PARTS: [&str; 7] = ["dataplane", "e2e", "pipeline", "feeds", "agent", "logs", "flows"];

impl Part {
    /// The part of that name, with nothing said about it.
    fn with_defaults(name: &str) -> Result<Self> {
        let arguments = Arguments::try_parse_from(["mitigator-bench", name])?;
        arguments.part.ok_or_else(|| anyhow::anyhow!("there is no part {name}"))
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Dataplane(_) => PARTS[0],
            Self::E2e(_) => PARTS[1],
            Self::Pipeline(_) => PARTS[2],
            Self::Feeds(_) => PARTS[3],
            Self::Agent(_) => PARTS[4],
            Self::Logs(_) => PARTS[5],
            Self::Flows(_) => PARTS[6],
        }
    }
}

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    let result = match arguments.part.take() {
        Some(part) => measure(&arguments, &part).and_then(|(text, json)| print(&arguments, &text, &json)),
        None => measure_all(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("The bench broke off: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// One part after the other; what is measured is printed and kept even if a later one fails.
fn measure_all(arguments: &Arguments) -> Result<()> {
    let mut all = Map::new();
    for name in PARTS {
        eprintln!("{name}");
        let (text, json) = measure(arguments, &Part::with_defaults(name)?)?;
        if arguments.json {
            all.insert(name.to_owned(), json);
        } else {
            print(arguments, &format!("{name}: {text}\n"), &Value::Null)?;
        }
    }
    if arguments.json { print(arguments, "", &all.into()) } else { Ok(()) }
}

/// Measures a part, compares it with its last run, and writes what is to be written; what is to be printed.
fn measure(arguments: &Arguments, part: &Part) -> Result<(String, Value)> {
    let mut measured = match part {
        Part::Dataplane(own) => dataplane::measure(own, arguments.xdp_firewall.as_deref()),
        Part::E2e(own) => e2e::measure(own),
        Part::Pipeline(own) => pipeline::measure(own, &arguments.results.join("criterion")),
        Part::Feeds(own) => feeds::measure(own),
        Part::Agent(own) => agent::measure(own),
        Part::Logs(own) => logs::measure(own),
        Part::Flows(own) => flows::measure(own, &arguments.results),
    }?;
    let name = part.name();
    let run = Run::new(MeasuredWith::this().to_string(), &measured.figures);
    if arguments.compare {
        compare(&run, Run::read(&arguments.results, name)?, &mut measured)?;
    }
    run.write(&arguments.results, name)?;
    if let Some(file) = &arguments.output {
        page::write(file, name, &measured)?;
    }
    Ok((measured.text, measured.json))
}

/// Adds what changed since the run before.
fn compare(run: &Run, before: Option<Run>, measured: &mut Measured) -> Result<()> {
    let Some(before) = before else {
        measured.text.push_str("\nThere is no last run to compare with.\n");
        return Ok(());
    };
    let changes = run.compared_with(&before);
    measured.text.push('\n');
    measured.text.push_str(&comparison::text(&before, &changes));
    if let Value::Object(object) = &mut measured.json {
        object.insert("changes".to_owned(), serde_json::to_value(&changes)?);
    }
    Ok(())
}

fn print(arguments: &Arguments, text: &str, json: &Value) -> Result<()> {
    let printed = if arguments.json { serde_json::to_string_pretty(json)? + "\n" } else { text.to_owned() };
    Ok(std::io::stdout().write_all(printed.as_bytes())?)
}

/// On a terminal alone.
fn progress() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}");
    ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}
