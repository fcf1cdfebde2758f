//! What a packet costs in the XDP program: nanoseconds over bare `XDP_DROP`, with sources that vary, beside xdp-filter.
//!
//! Programs take turns, burst by burst, so that a disturbance hits all alike; a burst counts when the bare drops right
//! before and after it took about as long as at best.

mod report;
mod subject;
mod traffic;

use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use mitigator_tests::lab::{leave_nothing_behind, missing_for_bpf, remove_at_end};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use self::report::{Case, Report};
use self::subject::{OURS, Subject};
use self::traffic::{Form, Generator, Senders};

/// What to measure, and how often.
#[derive(clap::Args)]
#[group(id = "dataplane")]
pub(crate) struct Arguments {
    /// Blocked sources
    #[arg(long, value_name = "NUMBER", value_delimiter = ',', default_values_t = [1, 10_000, 100_000, 1_000_000],
        value_parser = clap::value_parser!(u32).range(1..=4_000_000))]
    entries: Vec<u32>,
    /// Bursts per case, of which the median and the quartiles are shown
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(3..=1000))]
    bursts: u32,
    /// How long a burst is to take, in milliseconds
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=1000))]
    burst_ms: u32,
    /// Write the figures as Markdown, too
    #[arg(long, value_name = "FILE.md")]
    output: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Blocked sources with which the forms of packets are compared.
const FORMS_AT: u32 = 10_000;
/// Packets of a burst of bare drops, which tells whether the machine is quiet.
const CALIBRATION: u32 = 20_000;
/// On the least time of those, what is still quiet.
const QUIET: f64 = 1.2;
/// Packets that bring the tables near after another program ran.
const WARM_UP: u32 = 10_000;
/// As many times as many bursts as are wanted are tried for that they be quiet.
const TRIES: u32 = 3;
const MOST_PACKETS: f64 = 5e6;

/// The report, as text or JSON.
pub(crate) fn measure(arguments: &Arguments) -> Result<String> {
    let missing = missing_for_bpf();
    ensure!(missing.is_empty(), "it cannot run here: {}", missing.join("; "));
    leave_nothing_behind()?;
    stay_on_one_core()?;
    let directory = PathBuf::from(format!("/sys/fs/bpf/mitigator-bench-{}", std::process::id()));
    remove_at_end(&directory);
    let measured = measure_in(&directory, arguments);
    if directory.exists() {
        fs::remove_dir(&directory).with_context(|| format!("cannot remove {}", directory.display()))?;
    }
    let report = measured?;
    if let Some(file) = &arguments.output {
        fs::write(file, report.markdown()).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if arguments.json { Ok(serde_json::to_string_pretty(&report)? + "\n") } else { Ok(report.text()) }
}

/// The last one: the first serves most interrupts.
fn stay_on_one_core() -> Result<()> {
    let count = std::thread::available_parallelism().context("cannot count the cores")?.get();
    let mut cores = CpuSet::new();
    cores.set(count - 1)?;
    sched_setaffinity(Pid::from_raw(0), &cores).context("cannot stay on one core")
}

fn measure_in(directory: &Path, arguments: &Arguments) -> Result<Report> {
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let mut bench =
        Bench { generator: Generator::load()?, best_drop_ns: f64::INFINITY, arguments, progress: progress() };
    let mut cases = Vec::new();
    let mut verified_instructions = None;
    for entries in &arguments.entries {
        bench.progress.set_message(format!("{entries} blocked sources: filling the tables"));
        let (ours, instructions) = subject::ours(&directory.join("ours"), *entries)?;
        verified_instructions = instructions;
        let peer = subject::xdp_filter(&directory.join("xdp-filter"), *entries)?;
        let subjects: Vec<Subject> = std::iter::once(ours).chain(peer).collect();
        let mut traffics = vec![("blocked", Form::Ipv4, Senders::Blocked(*entries))];
        if *entries == FORMS_AT {
            let forms = Form::ALL.into_iter().skip(1);
            traffics.extend(forms.map(|form| ("blocked", form, Senders::Blocked(*entries))));
        }
        traffics.extend([("good", Form::Ipv4, Senders::Good), ("forged", Form::Ipv4, Senders::Forged)]);
        for (senders, form, traffic) in traffics {
            bench.progress.set_message(format!("{entries} blocked sources: {senders}, {}", form.name()));
            // The peer keeps IPv6 sources as whole addresses in a table of its own, which is not filled.
            let taking_part: Vec<&Subject> =
                subjects.iter().filter(|subject| subject.name == OURS || form != Form::Ipv6).collect();
            cases.push(bench.compare(*entries, senders, form, traffic, &taking_part)?);
        }
    }
    bench.progress.finish_and_clear();
    Ok(Report::new(bench.best_drop_ns, verified_instructions, arguments.bursts, cases))
}

struct Bench<'a> {
    generator: Generator,
    best_drop_ns: f64,
    arguments: &'a Arguments,
    progress: ProgressBar,
}

/// Bursts of one program.
#[derive(Default)]
struct Bursts {
    packets: u32,
    quiet: Vec<f64>,
    all: Vec<f64>,
}

impl Bench<'_> {
    /// The same traffic through bare drop and each program in turn.
    fn compare(
        &mut self,
        entries: u32,
        senders: &'static str,
        form: Form,
        traffic: Senders,
        subjects: &[&Subject],
    ) -> Result<Case> {
        let mut bursts: Vec<Bursts> = Vec::new();
        bursts.resize_with(subjects.len() + 1, Bursts::default);
        for (place, bursts) in bursts.iter_mut().enumerate() {
            self.send(place, form, traffic, subjects, WARM_UP)?;
            let ns = self.send(place, form, traffic, subjects, WARM_UP)?.max(1.0);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded")]
            let packets = (f64::from(self.arguments.burst_ms) * 1e6 / ns).clamp(1e3, MOST_PACKETS) as u32;
            bursts.packets = packets;
        }
        let wanted = self.arguments.bursts as usize;
        let mut before = self.calibrate(form, traffic)?;
        for _ in 0..self.arguments.bursts * TRIES {
            if bursts.iter().all(|bursts| bursts.quiet.len() >= wanted) {
                break;
            }
            for (place, bursts) in bursts.iter_mut().enumerate() {
                self.send(place, form, traffic, subjects, bursts.packets / 20 + 1_000)?;
                let ns = self.send(place, form, traffic, subjects, bursts.packets)?;
                let after = self.calibrate(form, traffic)?;
                bursts.all.push(ns);
                if before.max(after) <= self.best_drop_ns * QUIET {
                    bursts.quiet.push(ns);
                }
                before = after;
                self.progress.tick();
            }
        }
        let names = std::iter::once("bare drop").chain(subjects.iter().map(|subject| subject.name));
        let measured = names.zip(bursts).map(|(name, bursts)| (name, bursts.quiet, bursts.all));
        Ok(Case::new(entries, senders, form, measured.collect()))
    }

    /// A burst through bare drop, or the program at the place after it; nanoseconds per packet.
    fn send(
        &mut self,
        place: usize,
        form: Form,
        traffic: Senders,
        subjects: &[&Subject],
        packets: u32,
    ) -> Result<f64> {
        let Some(subject) = place.checked_sub(1).and_then(|place| subjects.get(place)) else {
            return Ok(self.generator.drop_all(form, traffic, packets)?.ns_per_packet);
        };
        let took = self.generator.send(&subject.program, form, traffic, packets)?;
        let is_blocked = matches!(traffic, Senders::Blocked(_));
        ensure!(
            took.is_dropped == is_blocked,
            "{}: a packet of a source that is {}blocked was {}dropped, so that nothing is measured",
            subject.name,
            if is_blocked { "" } else { "not " },
            if took.is_dropped { "" } else { "not " }
        );
        Ok(took.ns_per_packet)
    }

    fn calibrate(&mut self, form: Form, traffic: Senders) -> Result<f64> {
        let ns = self.generator.drop_all(form, traffic, CALIBRATION)?.ns_per_packet;
        self.best_drop_ns = self.best_drop_ns.min(ns);
        Ok(ns)
    }
}

/// On a terminal alone.
fn progress() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}");
    ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}
