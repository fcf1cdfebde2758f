//! What a blocked packet costs from end to end: made, sent through a veth pair, received and dropped on one core, beside
//! bare `XDP_DROP`, xdp-filter, nftables and iptables with ipset.
//!
//! Contenders take turns within seconds, round by round, in changing order, each with its tables as they were; what
//! they cost is compared within a round, so that a disturbance of some seconds hits all alike.

mod contender;
mod flood;
mod report;
mod stage;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use indicatif::ProgressBar;
use mitigator_tests::lab::{missing_for_bpf, remove_at_end};
use mitigator_tests::numbers::thousands;

use self::contender::Contender;
use self::flood::Generator;
use self::report::{Case, Report, Turn};
use self::stage::Stage;
use crate::dataplane::traffic::Form;
use crate::measured::Measured;
use crate::pins::{self, remove};
use crate::subject::{self, OURS, XDP_FILTER};

/// What to measure, and how often.
#[derive(clap::Args)]
#[group(id = "e2e")]
pub(crate) struct Arguments {
    /// Blocked sources, all of which send
    #[arg(long, value_name = "NUMBER", value_delimiter = ',', default_values_t = [1, 10_000, 1_000_000],
        value_parser = clap::value_parser!(u32).range(1..=4_000_000))]
    entries: Vec<u32>,
    /// Rounds, of which the median and the quartiles are shown
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(3..=1000))]
    rounds: u32,
    /// How long a flood is to take, in milliseconds
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=2000))]
    flood_ms: u32,
    /// Measure mitigator in generic mode as well
    #[arg(long)]
    generic: bool,
}

/// Of the packets that were sent, so many are to arrive.
const LEAST_SEEN: f64 = 0.999;
/// Packets that bring the tables near after another contender's turn: one for each entry, within this.
const LEAST_WARM_UP: u32 = 10_000;
const MOST_WARM_UP: u32 = 200_000;
const LEAST_PACKETS: f64 = 1e4;
const MOST_PACKETS: f64 = 5e6;

/// Floods every contender.
pub(crate) fn measure(arguments: &Arguments) -> Result<Measured> {
    let missing = missing_for_bpf();
    ensure!(missing.is_empty(), "it cannot run here: {}", missing.join("; "));
    let core = stage::core()?;
    core.pin_this_thread()?;
    let directory = pins::directory();
    remove_at_end(&directory);
    let measured = measure_in(&directory, arguments, Generator::load(core)?);
    let removed = remove(&directory);
    let report = measured?;
    removed?;
    report.measured()
}

fn measure_in(directory: &Path, arguments: &Arguments, generator: Generator) -> Result<Report> {
    let mut bench = Bench { generator, arguments, progress: crate::progress(), absent: BTreeMap::new() };
    let mut cases = Vec::new();
    for entries in &arguments.entries {
        // A stage of its own, so that nobody's tables are in the way of the next.
        let stage = Stage::new()?;
        bench.generator.hold(&stage.idle)?;
        stage.try_meter(&mut bench.generator)?;
        let contenders = bench.contenders(&stage, directory, *entries)?;
        cases.push(bench.compare(&stage, *entries, contenders)?);
        drop(stage);
        remove(directory)?;
    }
    bench.progress.finish_and_clear();
    Ok(Report::new(arguments.rounds, bench.absent, cases))
}

struct Bench<'a> {
    generator: Generator,
    arguments: &'a Arguments,
    progress: ProgressBar,
    /// Who took no part, and why.
    absent: BTreeMap<String, String>,
}

impl Bench<'_> {
    /// All that are installed, with their tables filled; bare drop and mitigator first.
    fn contenders(&mut self, stage: &Stage, directory: &Path, entries: u32) -> Result<Vec<Contender>> {
        self.progress
            .set_message(format!("{} blocked sources: filling the tables", thousands(f64::from(entries))));
        let pins = |name: &str| -> PathBuf { directory.join(name) };
        let ours = |name: &str| subject::ours(&pins(name), Form::Ipv4, entries).map(|(ours, _)| ours);
        let mut present = vec![
            Contender::native(subject::bare_drop()?),
            Contender::native(ours(OURS).context("cannot load mitigator")?),
        ];
        let others = [
            (XDP_FILTER, subject::xdp_filter(&pins(XDP_FILTER), entries).map(Contender::native)),
            (contender::NFTABLES, Contender::nftables(stage, entries)),
            (contender::IPSET, Contender::ipset(stage, entries)),
        ];
        for (name, contender) in others {
            match contender {
                Ok(contender) => present.push(contender),
                Err(error) => {
                    self.absent.insert(name.to_owned(), format!("{error:#}"));
                }
            }
        }
        if self.arguments.generic {
            present.push(Contender::generic(ours("generic")?));
        }
        Ok(present)
    }

    fn compare(&mut self, stage: &Stage, entries: u32, mut contenders: Vec<Contender>) -> Result<Case> {
        let warm_up = entries.clamp(LEAST_WARM_UP, MOST_WARM_UP);
        let mut packets = Vec::new();
        let mut turns: Vec<Vec<Turn>> = Vec::new();
        let mut place = 0;
        while let Some(contender) = contenders.get_mut(place) {
            self.progress.set_message(format!(
                "{} blocked sources: trying {}",
                thousands(f64::from(entries)),
                contender.name
            ));
            match self.turn(stage, contender, entries, warm_up, u64::from(warm_up)) {
                Ok(turn) => {
                    let wanted = f64::from(self.arguments.flood_ms) * 1e6 / turn.ns_per_packet;
                    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded")]
                    packets.push(wanted.clamp(LEAST_PACKETS, MOST_PACKETS) as u64);
                    turns.push(Vec::new());
                    place += 1;
                }
                // Peers may lack a part of the kernel.
                Err(error) if place >= 2 => {
                    self.absent.insert(contender.name.clone(), format!("{error:#}"));
                    contenders.remove(place);
                }
                Err(error) => return Err(error),
            }
        }
        for round in 0..self.arguments.rounds {
            self.progress.set_message(format!(
                "{} blocked sources: round {} of {}",
                thousands(f64::from(entries)),
                round + 1,
                self.arguments.rounds
            ));
            for step in 0..contenders.len() {
                let place = if round % 2 == 0 { step } else { contenders.len() - 1 - step };
                let turn = self.turn(stage, &mut contenders[place], entries, warm_up, packets[place])?;
                turns[place].push(turn);
                self.progress.tick();
            }
        }
        let names = contenders.into_iter().map(|contender| contender.name);
        Ok(Case::new(entries, &names.zip(turns).collect::<Vec<_>>()))
    }

    /// Switches a contender on, brings its table near, and floods it.
    fn turn(
        &mut self,
        stage: &Stage,
        contender: &mut Contender,
        entries: u32,
        warm_up: u32,
        packets: u64,
    ) -> Result<Turn> {
        let generator = &mut self.generator;
        let flooded = contender.while_on(&stage.receiver, || {
            stage.flood(generator, entries, warm_up.into())?;
            stage.flood(generator, entries, packets)
        })?;
        ensure!(
            flooded.leaked == 0,
            "{} let {} of {} packets through, so that nothing is measured",
            contender.name,
            flooded.leaked,
            flooded.sent.packets
        );
        // A frame for which there was no room costs less.
        ensure!(
            flooded.seen as f64 >= flooded.sent.packets as f64 * LEAST_SEEN,
            "{}: {} of {} packets arrived, so that nothing is measured",
            contender.name,
            flooded.seen,
            flooded.sent.packets
        );
        // Kernels that account interrupts apart would leave out what is received.
        ensure!(
            flooded.sent.cpu >= flooded.sent.wall / 4,
            "{}: {:?} of CPU time in {:?}, so that the machine is too busy, or its kernel does not count receiving as this \
             bench reads it (CONFIG_IRQ_TIME_ACCOUNTING)",
            contender.name,
            flooded.sent.cpu,
            flooded.sent.wall
        );
        Ok(Turn::of(&flooded))
    }
}
