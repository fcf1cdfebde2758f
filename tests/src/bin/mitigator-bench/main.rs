//! What mitigator costs: a packet in the kernel, a tick in user space, a feed in between.

mod dataplane;
mod feeds;
mod pipeline;
mod table;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

/// Measures what mitigator costs: a packet in the kernel (`dataplane`, what is measured by default), a tick of the
/// control loop (`pipeline`), the writing of blocks (`feeds`).
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    dataplane: dataplane::Arguments,
}

#[derive(clap::Subcommand)]
enum Part {
    /// Nanoseconds per packet by the kernel's own test run, over bare drop, beside xdp-filter where it is installed;
    /// needs root.
    ///
    /// Every packet comes from another source, so that tables are as cold as they are in a flood.
    Dataplane(dataplane::Arguments),
    /// Milliseconds of one core per tick, from the counters to the changes of the block list, beside plain K-Means
    /// over all sources; needs no rights.
    ///
    /// Populations of up to a million sources, quiet and under attack. Criterion's samples go below target/.
    Pipeline(pipeline::Arguments),
    /// Milliseconds from a feed's file to the kernel, beside nftables and ipset where they are installed, of an urgent
    /// block meanwhile, and of many that are taken back; needs root.
    Feeds(feeds::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match &arguments.part {
        None => dataplane::measure(&arguments.dataplane),
        Some(Part::Dataplane(arguments)) => dataplane::measure(arguments),
        Some(Part::Pipeline(arguments)) => pipeline::measure(arguments),
        Some(Part::Feeds(arguments)) => feeds::measure(arguments),
    };
    let printed = result.and_then(|report| Ok(std::io::stdout().write_all(report.as_bytes())?));
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("The bench broke off: {error:#}");
            ExitCode::from(2)
        }
    }
}
