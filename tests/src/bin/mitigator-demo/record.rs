//! The figures of several runs as a page of Markdown.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use mitigator_tests::numbers::thousands;

use crate::arguments::Queues;
use crate::figures::{Figures, Service, percent};
use crate::particulars::{Guests, Newcomers, Pulse, Strangers};
use crate::table;

/// The whole page, of runs with these arguments; the time lines lie in a directory of the page's name.
pub(crate) fn of(runs: &[Figures], shown: &str, file: &Path) -> Result<String> {
    let mut page = format!(
        "# Live figures\n\nThis page is written by `cargo xtask demo {shown} --record FILE.md`; nothing in it is by hand.\n\n"
    );
    page.push_str(
        "A real web server, 40 visitors, and an attack, in network namespaces of one machine: senders on one core, server and \
         agent on the other. A row is a run. *Quiet* is before the attack; *kept* is the visitors' share of their quiet \
         requests per second, without mitigator and with it from its answer (the last block, or the limit) to the end of the \
         attack. *Dropped* is the share of the attack packets that arrived after the answer. All reach the victim by one \
         receive queue where nothing else is said.\n\n",
    );
    writeln!(page, "{}\n", machine(runs)?)?;
    page.push_str(
        "| attack | packets/s | quiet requests/s | kept without | kept with | answered after | dropped | sources blocked | \
         visitors blocked | slowest 1 % with | as promised | beside |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|---|\n",
    );
    for figures in runs {
        writeln!(page, "{}", row(figures))?;
    }
    let directory = file.file_stem().context("the record needs a file name")?.to_string_lossy();
    let mut kinds: Vec<&Figures> = Vec::new();
    for figures in runs {
        kinds.retain(|shown| shown.attack != figures.attack);
        kinds.push(figures);
    }
    for figures in kinds {
        let name = figures.attack;
        writeln!(
            page,
            "\n## {name}\n\n{}. Of the last run: {}\n",
            table::title(figures),
            figures.conclusion
        )?;
        for promise in &figures.broken_promises {
            writeln!(page, "Not as promised: {promise}.\n")?;
        }
        writeln!(page, "![Time line of {name}]({directory}/{name}.svg)")?;
    }
    Ok(page)
}

fn machine(runs: &[Figures]) -> Result<String> {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").context("cannot tell the kernel")?;
    // This thread keeps to one of them.
    let processors = std::fs::read_to_string("/proc/cpuinfo").context("cannot count the cores")?;
    let cores = processors.lines().filter(|line| line.starts_with("processor")).count();
    let busiest = runs.iter().map(|figures| figures.busy_share_before).fold(0.0, f64::max);
    Ok(format!(
        "Linux {}, {cores} cores; other programs kept at most {} of the machine busy just before a run.",
        kernel.trim(),
        percent(busiest)
    ))
}

fn row(figures: &Figures) -> String {
    let kept = |service: Service| percent(service.requests_per_s / figures.quiet.requests_per_s);
    let answered_ms = figures.time_to_all_blocked_ms.or(figures.time_to_limit_ms);
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "–".to_owned());
    let as_promised = if figures.broken_promises.is_empty() { "✓" } else { "✗" };
    [
        "",
        figures.attack,
        &thousands(figures.attack_packets_per_s),
        &format!("{:.0}", figures.quiet.requests_per_s),
        &kept(figures.unprotected),
        &kept(figures.protected),
        &or_dash(answered_ms.map(|ms| format!("{ms:.0} ms"))),
        &or_dash(figures.dropped_share_after_block.map(|share| format!("{:.2} %", share * 100.0))),
        &figures.sources_blocked.to_string(),
        &figures.clients_blocked.to_string(),
        &or_dash(figures.protected.p99_ms.map(|ms| format!("{ms:.0} ms"))),
        as_promised,
        &particulars(figures),
        "",
    ]
    .join(" | ")
    .trim()
    .to_owned()
}

/// What only this kind of attack has.
fn particulars(figures: &Figures) -> String {
    let mut parts = Vec::new();
    if figures.queues == Queues::Apart {
        parts.push("the flood by a receive queue of its own".to_owned());
    }
    if let Some(newcomers) = figures.newcomers {
        let Newcomers { addresses, blocked, unprotected, protected } = newcomers;
        let failed = |guests: Guests| percent(guests.service.failed_share);
        parts.push(format!(
            "of {addresses} new visitors {blocked} blocked, {} served without ({} of their requests failed), {} with ({})",
            unprotected.served,
            failed(unprotected),
            protected.served,
            failed(protected),
        ));
    }
    if let Some(strangers) = figures.strangers {
        let Strangers { quiet, unprotected, protected } = strangers;
        let [quiet, without, with] = [quiet, unprotected, protected].map(|service| service.requests_per_s);
        parts.push(format!("new connections/s: {quiet:.0} quiet, {without:.0} without, {with:.0} with"));
    }
    if let Some(lookups) = figures.lookups {
        let [quiet, without, with] = [lookups.quiet, lookups.unprotected, lookups.protected].map(percent);
        parts.push(format!("look-ups answered: quiet {quiet}, without {without}, with {with}"));
    }
    if !figures.pulses.is_empty() {
        let dropped = figures.pulses.iter().map(|pulse| pulse.dropped_share.map_or("–".to_owned(), exactly));
        let rates =
            |pulses: &[Pulse]| pulses.iter().map(|pulse| pulse.requests_per_s).fold(f64::MAX, f64::min);
        parts.push(format!(
            "dropped of each pulse: {}; least requests/s in a pulse: {:.0} without, {:.0} with",
            dropped.collect::<Vec<_>>().join(", "),
            rates(&figures.pulses_unprotected),
            rates(&figures.pulses),
        ));
    }
    if let Some(held) = figures.server_connections {
        parts.push(format!(
            "connections held: {} quiet, {} without, {} with, {} at the end",
            held.quiet_most, held.unprotected_most, held.protected_most, held.protected_at_end
        ));
    }
    parts.join("; ")
}

fn exactly(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}
