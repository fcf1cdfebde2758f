//! `mitigator flows`: captures as a table of flows, for whoever counts, plots or learns.

use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use indicatif::ProgressBar;

use super::Answer;
use super::progress::byte_bar;
use crate::capture::{Capture, Damage};
use crate::flows::features::{self, Spelling};
use crate::flows::{ClockFaults, Extraction, Flow, FlowSettings, LONGEST_TIMEOUT, Tally, sessions};
use crate::report::file::write_file;
use crate::report::output::complain;
use crate::report::units::counted;
use crate::tabular::{self, Cell, Column, Format};

/// Arguments of `mitigator flows`.
#[derive(Debug, Args)]
pub(super) struct FlowsArgs {
    /// The captures, in the order of their time; `-` for standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Write CSV with a heading [default]
    #[arg(long, group = "format")]
    csv: bool,
    /// Write Apache Parquet
    #[arg(long, group = "format")]
    parquet: bool,
    /// Write JSON lines: an object a flow
    #[arg(long, group = "format")]
    json: bool,
    /// Where to write; the file is replaced when the table is whole, or not at all [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// As which data set the columns are called
    #[arg(long, value_enum, value_name = "SPELLING", default_value = "2018", conflicts_with = "sessions")]
    names: Spelling,
    /// Instead of all features, a few plain columns: when, who, how much each way, handshake, service
    #[arg(long)]
    sessions: bool,
    /// A longer pause ends a flow; 1s to 24h
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = parse_timeout)]
    idle_timeout: Duration,
    /// A flow that lasts longer is cut there, and goes on as another; 1s to 24h
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = parse_timeout)]
    active_timeout: Duration,
    /// Flows in memory at a time, some 1 KiB each; of more, those end early that were quiet the longest
    #[arg(long, value_name = "N", default_value = "1000000", value_parser = parse_most)]
    max_flows: usize,
}

fn parse_timeout(text: &str) -> Result<Duration> {
    let timeout = humantime::parse_duration(text).map_err(|_| anyhow::anyhow!("write it like 15s or 2m"))?;
    ensure!((Duration::from_secs(1)..=LONGEST_TIMEOUT).contains(&timeout), "it must be between 1s and 24h");
    Ok(timeout)
}

fn parse_most(text: &str) -> Result<usize> {
    let most = text.parse().ok().filter(|most| *most > 0);
    most.context("it must be a whole number of at least 1")
}

/// What came of all captures.
struct Done {
    tally: Tally,
    clock: ClockFaults,
    damages: Vec<String>,
}

impl FlowsArgs {
    pub(super) fn run(&self) -> Result<Answer> {
        self.check_files()?;
        let bar = self.progress_bar();
        let done = match &self.output {
            None => {
                let is_unreadable = self.format() == Format::Parquet && io::stdout().is_terminal();
                ensure!(
                    !is_unreadable,
                    "Parquet is nothing for a terminal; `--output FILE` puts it into a file"
                );
                let mut out = BufWriter::new(io::stdout());
                self.write(&mut out, &bar)
            }
            Some(file) => {
                let mut done = None;
                write_file(file, |out| {
                    done = Some(self.write(out, &bar)?);
                    Ok(())
                })
                .with_context(|| format!("{} was not written", file.display()))?;
                done.context("what was written has a summary")
            }
        };
        bar.finish_and_clear();
        let Done { tally, clock, damages } = done?;
        complain(summary(&tally));
        for warning in warnings(&tally, &clock) {
            complain(format_args!("Warning: {warning}."));
        }
        if !damages.is_empty() {
            bail!(damages.join("\n"));
        }
        Ok(if tally.flows == 0 { Answer::Negative } else { Answer::Done })
    }

    fn format(&self) -> Format {
        if self.parquet {
            Format::Parquet
        } else if self.json {
            Format::JsonLines
        } else {
            Format::Csv
        }
    }

    fn columns(&self) -> Vec<Column> {
        if self.sessions { sessions::columns() } else { features::columns(self.names) }
    }

    /// What cannot be read is told before anything is written. A pipe cannot be looked into first.
    fn check_files(&self) -> Result<()> {
        let streams = self.files.iter().filter(|file| is_stream(file)).count();
        ensure!(streams < 2, "standard input can be read once, and `-` is given {streams} times");
        let output = self.output.as_ref().and_then(|file| fs::canonicalize(file).ok());
        for file in self.files.iter().filter(|file| file.is_file() || !is_stream(file) && !file.exists()) {
            Capture::open(file)?;
            if output.is_some() && output == fs::canonicalize(file).ok() {
                bail!("{} is a capture to be read; it is not replaced by its flows", file.display());
            }
        }
        Ok(())
    }

    fn write(&self, out: impl Write + Send, bar: &ProgressBar) -> Result<Done> {
        let cannot_write = || "cannot write the table";
        let mut writer = tabular::writer(self.format(), self.columns(), out).with_context(cannot_write)?;
        let mut row: Vec<Cell> = Vec::new();
        let mut ended = |flow: &Flow| {
            if self.sessions {
                sessions::write_row(flow, &mut row);
            } else {
                features::write_row(flow, self.names, &mut row);
            }
            writer.write(&row).with_context(cannot_write)
        };
        let settings = FlowSettings {
            idle_timeout: self.idle_timeout,
            active_timeout: self.active_timeout,
            most_live: self.max_flows,
        };
        let mut extraction = Extraction::new(&settings);
        let mut damages = Vec::new();
        for file in &self.files {
            let mut capture = open(file, bar)?;
            let progress = |tally: &Tally| bar.set_message(format!("{} flows", tally.flows));
            if let Some(Damage { offset_bytes, packet, what }) =
                extraction.read(&mut capture, progress, &mut ended)?
            {
                damages.push(format!(
                    "{} is damaged at byte {offset_bytes} (uncompressed), after {packet} packets: {what}; what stands \
                     before was written",
                    file.display()
                ));
            }
        }
        let (tally, clock) = extraction.finish(&mut ended)?;
        writer.finish().with_context(cannot_write)?;
        Ok(Done { tally, clock, damages })
    }

    /// Over the bytes of all files, when their sizes are known.
    fn progress_bar(&self) -> ProgressBar {
        let sizes = self.files.iter().map(|file| file.metadata().map_or(0, |metadata| metadata.len()));
        byte_bar(sizes.sum())
    }
}

fn is_stream(file: &Path) -> bool {
    file == Path::new("-")
}

fn open(file: &Path, bar: &ProgressBar) -> Result<Capture> {
    if is_stream(file) {
        return Capture::open(file);
    }
    let reader = File::open(file).with_context(|| format!("cannot open capture `{}`", file.display()))?;
    Capture::from_reader(bar.wrap_read(reader), &format!("`{}`", file.display()))
}

fn summary(tally: &Tally) -> String {
    let Tally { packets, not_ip, malformed, flows, .. } = *tally;
    let mut text =
        format!("{} from {}", counted(flows, "flow", "flows"), counted(packets, "packet", "packets"));
    if not_ip + malformed > 0 {
        text += &format!(
            "; left out: {not_ip} that are not IP, {malformed} whose IP header is cut, malformed or behind too many VLAN \
             tags"
        );
    }
    text
}

/// What makes features less than they seem.
fn warnings(tally: &Tally, clock: &ClockFaults) -> Vec<String> {
    let Tally { crowded_out, with_pauses, without_duration, .. } = *tally;
    let ClockFaults { jumps_back, late_packets } = *clock;
    let mut warnings = Vec::new();
    if crowded_out > 0 {
        warnings.push(format!(
            "{} ended early, because there were more than `--max-flows` at a time",
            counted(crowded_out, "flow was", "flows were")
        ));
    }
    if jumps_back > 0 {
        warnings.push(format!(
            "the clock of the captures jumped back by more than the idle timeout {}, and all flows were ended there",
            counted(jumps_back, "time", "times")
        ));
    }
    if late_packets > 0 {
        warnings.push(format!(
            "{} dated before others that precede them; within a flow they count as simultaneous with the latest before",
            counted(late_packets, "packet is", "packets are")
        ));
    }
    if without_duration > 0 && without_duration == with_pauses {
        warnings.push(
            "all packets of each flow have the same time, so no duration, rate or pause can be known: they are 0".to_owned(),
        );
    }
    warnings
}
