//! What a packet costs in the XDP program: nanoseconds over bare `XDP_DROP`, with sources that vary, beside xdp-filter
//! and XDP-Firewall.
//!
//! Programs take turns, burst by burst, so that a disturbance hits all alike; a burst counts when the bare drops right
//! before and after it took about as long as at best.

mod report;
pub(crate) mod traffic;

use std::iter;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use indicatif::ProgressBar;
use mitigator_tests::lab::{Core, leave_nothing_behind, missing_for_bpf, remove_at_end};
use mitigator_tests::numbers::thousands;

use self::report::{Case, Origin, Report, Samples};
use self::traffic::{Form, Generator, Senders};
use crate::measured::Measured;
use crate::pins::{self, remove};
use crate::subject::{self, BARE_DROP, OURS, Subject, XDP_FILTER};
use crate::xdp_firewall::{Build, XDP_FIREWALL};

/// What to measure, and how often.
#[derive(clap::Args)]
#[group(id = "dataplane")]
pub(crate) struct Arguments {
    /// Blocked sources
    #[arg(long, value_name = "NUMBER", value_delimiter = ',', default_values_t = [1, 1_000, 10_000, 100_000, 1_000_000],
        value_parser = clap::value_parser!(u32).range(1..=4_000_000))]
    entries: Vec<u32>,
    /// Good sources, that is, others that send, each time so many
    #[arg(long, value_name = "NUMBER", value_delimiter = ',', default_values_t = [10_000],
        value_parser = clap::value_parser!(u32).range(1..=4_000_000))]
    good: Vec<u32>,
    /// Bursts per case, of which the median and the quartiles are shown
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(3..=1000))]
    bursts: u32,
    /// How long a burst is to take, in milliseconds
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=1000))]
    burst_ms: u32,
}

/// Blocked sources with which the forms of packets are compared.
const FORMS_AT: u32 = 10_000;
/// Packets of a burst of bare drops, which tells whether the machine is quiet.
const CALIBRATION: u32 = 20_000;
/// On the least time of those with the same traffic, what is still quiet.
const QUIET: f64 = 1.2;
/// Packets that bring the tables near after another program ran: one for each entry, within this.
const LEAST_WARM_UP: u32 = 10_000;
const MOST_WARM_UP: u32 = 100_000;
/// Of each good source on average, so that all but one in twenty have been there before.
const PACKETS_TO_BE_KNOWN: u32 = 3;
/// As many times as many bursts as are wanted are tried for that they be quiet.
const TRIES: u32 = 3;
const MOST_PACKETS: f64 = 5e6;
/// How often the good sources send before what is measured, and how far apart.
const INTRODUCTIONS: u32 = 60;
const BETWEEN_INTRODUCTIONS: Duration = Duration::from_millis(10);
const INTRODUCED: u32 = 10_000;
/// Longer than sources count as a crowd after the last new ones came.
const CROWD_IS_OVER: Duration = Duration::from_millis(700);

/// Measures every program with every population.
pub(crate) fn measure(arguments: &Arguments, xdp_firewall: Option<&Path>) -> Result<Measured> {
    let missing = missing_for_bpf();
    ensure!(missing.is_empty(), "it cannot run here: {}", missing.join("; "));
    leave_nothing_behind()?;
    // The first core serves most interrupts.
    Core::usable()?.pop().context("there is no core to run on")?.pin_this_thread()?;
    let directory = pins::directory();
    remove_at_end(&directory);
    let measured = measure_in(&directory, arguments, xdp_firewall);
    let removed = remove(&directory);
    let report = measured?;
    removed?;
    report.measured()
}

fn measure_in(directory: &Path, arguments: &Arguments, xdp_firewall: Option<&Path>) -> Result<Report> {
    let xdp_firewall = xdp_firewall.map(Build::of).transpose().context("XDP-Firewall cannot be measured")?;
    let mut bench = Bench { generator: Generator::load()?, arguments, progress: crate::progress() };
    let mut cases = Vec::new();
    let mut origin = Origin::new(arguments.bursts);
    for entries in &arguments.entries {
        let at = |form: Form| format!("{} blocked sources, {}", thousands(f64::from(*entries)), form.name());
        bench.progress.set_message(at(Form::Ipv4) + ": filling the tables");
        let (ours, instructions) = subject::ours(&directory.join(OURS), Form::Ipv4, *entries)?;
        origin.verified_instructions = instructions;
        let mut subjects = vec![ours];
        match subject::xdp_filter(&directory.join(XDP_FILTER), *entries) {
            Ok(peer) => subjects.push(peer),
            Err(error) => origin.is_absent(XDP_FILTER, format!("{error:#}")),
        }
        match &xdp_firewall {
            Some(build) => subjects.push(build.subject(*entries).context("XDP-Firewall cannot be measured")?),
            None => origin.is_absent(XDP_FIREWALL, "its source folder was not given".to_owned()),
        }
        let good = arguments.good.iter().map(|number| Senders::Good(*number));
        let senders: Vec<Senders> =
            iter::once(Senders::Blocked(*entries)).chain(good).chain([Senders::Forged]).collect();
        let with_tags = if *entries == FORMS_AT { &[Form::OneVlanTag, Form::TwoVlanTags][..] } else { &[] };
        let forms = iter::once(Form::Ipv4).chain(with_tags.iter().copied());
        for (form, traffic) in forms.flat_map(|form| senders.iter().map(move |traffic| (form, *traffic))) {
            bench.progress.set_message(format!("{}: {}", at(form), traffic.name()));
            let able: Vec<&Subject> = subjects.iter().filter(|subject| reads(subject.name, form)).collect();
            cases.push(bench.compare(*entries, form, traffic, &able)?);
        }
        drop(subjects);
        remove(directory)?;
        if *entries == FORMS_AT {
            bench.progress.set_message(at(Form::Ipv6) + ": filling the tables");
            // The peers keep IPv6 sources as whole addresses in another table.
            let (ours, _) = subject::ours(&directory.join(OURS), Form::Ipv6, *entries)?;
            for traffic in &senders {
                cases.push(bench.compare(*entries, Form::Ipv6, *traffic, &[&ours])?);
            }
            remove(directory)?;
        }
    }
    bench.progress.finish_and_clear();
    Ok(Report::new(origin, cases))
}

/// XDP-Firewall lets by what has a VLAN tag.
fn reads(program: &str, form: Form) -> bool {
    program != XDP_FIREWALL || !matches!(form, Form::OneVlanTag | Form::TwoVlanTags)
}

struct Bench<'a> {
    generator: Generator,
    arguments: &'a Arguments,
    progress: ProgressBar,
}

/// Bursts of one program.
#[derive(Default)]
struct Bursts {
    packets: u32,
    taken: Vec<Burst>,
}

/// What a packet of a burst took, and of the bare drops right before and after it the slower.
#[derive(Clone, Copy)]
struct Burst {
    ns: f64,
    disturbance_ns: f64,
}

impl Bench<'_> {
    /// The same traffic through bare drop and each program in turn.
    fn compare(&mut self, entries: u32, form: Form, traffic: Senders, subjects: &[&Subject]) -> Result<Case> {
        let mut bursts: Vec<Bursts> = Vec::new();
        bursts.resize_with(subjects.len() + 1, Bursts::default);
        // Tables are near as far as the cache holds them: each entry was asked for about once, up to so many.
        let warm_up = entries.max(traffic.known()).clamp(LEAST_WARM_UP, MOST_WARM_UP);
        for (place, bursts) in bursts.iter_mut().enumerate() {
            self.send(
                place,
                form,
                traffic,
                subjects,
                traffic.known().saturating_mul(PACKETS_TO_BE_KNOWN).max(2),
            )?;
            let ns = self.send(place, form, traffic, subjects, warm_up)?.max(1.0);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded")]
            let packets = (f64::from(self.arguments.burst_ms) * 1e6 / ns).clamp(1e3, MOST_PACKETS) as u32;
            bursts.packets = packets;
        }
        if matches!(traffic, Senders::Good(_)) {
            self.introduce(form, traffic, subjects)?;
        }
        let wanted = self.arguments.bursts as usize;
        let mut before = self.calibrate(form, traffic)?;
        let mut best = before;
        for _ in 0..self.arguments.bursts * TRIES {
            let is_quiet = |burst: &&Burst| burst.disturbance_ns <= best * QUIET;
            if bursts.iter().all(|bursts| bursts.taken.iter().filter(is_quiet).count() >= wanted) {
                break;
            }
            for (place, bursts) in bursts.iter_mut().enumerate() {
                self.send(place, form, traffic, subjects, warm_up)?;
                let ns = self.send(place, form, traffic, subjects, bursts.packets)?;
                let after = self.calibrate(form, traffic)?;
                bursts.taken.push(Burst { ns, disturbance_ns: before.max(after) });
                best = best.min(after);
                before = after;
                self.progress.tick();
            }
        }
        let names = iter::once(BARE_DROP).chain(subjects.iter().map(|subject| subject.name));
        let samples = |bursts: Bursts| {
            let quiet = bursts.taken.iter().filter(|burst| burst.disturbance_ns <= best * QUIET);
            Samples {
                quiet: quiet.map(|burst| burst.ns).collect(),
                all: bursts.taken.iter().map(|burst| burst.ns).collect(),
            }
        };
        let measured = names.zip(bursts.into_iter().map(samples));
        Ok(Case::new(entries, traffic, form, measured.collect()))
    }

    /// Lets the good sources come one after the other, as they would, so that each is counted in a row: so many at once
    /// are a crowd. More than there are rows for stay one.
    #[expect(clippy::disallowed_methods, reason = "the kernel's clock is to go on")]
    fn introduce(&mut self, form: Form, traffic: Senders, subjects: &[&Subject]) -> Result<()> {
        for _ in 0..INTRODUCTIONS {
            for place in 1..=subjects.len() {
                self.send(place, form, traffic, subjects, INTRODUCED)?;
            }
            std::thread::sleep(BETWEEN_INTRODUCTIONS);
        }
        std::thread::sleep(CROWD_IS_OVER);
        Ok(())
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

    /// What a packet takes in bare drop right now.
    fn calibrate(&mut self, form: Form, traffic: Senders) -> Result<f64> {
        Ok(self.generator.drop_all(form, traffic, CALIBRATION)?.ns_per_packet)
    }
}
