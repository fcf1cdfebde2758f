//! The figures for people: what visitors noticed in each phase, what was blocked and when, one sentence.

use std::fmt::Write as _;

use mitigator_tests::numbers::thousands;
use mitigator_tests::traffic::HttpClients;

use crate::figures::{Figures, Service};

/// The whole text, ending in a line feed.
pub(crate) fn of(figures: &Figures) -> String {
    let mut text = format!(
        "\n{} visitors of a web server; {} attackers: {}, {}\n\n",
        figures.clients,
        figures.attackers,
        figures.attack,
        rate_of(figures)
    );
    let columns = [figures.quiet, figures.unprotected, figures.protected];
    row(&mut text, "", ["quiet", "attacked", "with mitigator"].map(str::to_owned));
    row(&mut text, "pages per second", columns.map(|service| format!("{:.0}", service.requests_per_s)));
    row(&mut text, "slowest 1 % takes", columns.map(p99));
    row(&mut text, "failed", columns.map(|service| percent(service.failed_share)));
    text.push('\n');
    for (name, value) in [
        ("attackers blocked", format!("{} of {}", figures.attackers_blocked, figures.attackers)),
        ("visitors blocked", format!("{} of {}", figures.clients_blocked, figures.clients)),
        ("first block after", milliseconds(figures.time_to_first_block_ms)),
        ("all blocked after", milliseconds(figures.time_to_all_blocked_ms)),
        ("dropped from then on", figures.dropped_share_after_block.map_or("-".to_owned(), exact_percent)),
        ("failed from then on", requests(figures.failed_after_last_block)),
        ("over 1 s from then on", requests(figures.slow_after_last_block)),
        ("XDP mode", figures.xdp_mode.clone()),
    ] {
        line(&mut text, format_args!("  {name:<22}{value}"));
    }
    text.push('\n');
    text.push_str(&legend());
    line(&mut text, format_args!("\n{}\n", figures.conclusion));
    text
}

/// What the figures do not say about how they came about.
fn legend() -> String {
    format!(
        "  A visitor waits {} seconds for a page; one that takes longer has failed.\n  \
         The kernel's thread that receives for the victim (NAPI) runs at real-time priority, before nginx.\n",
        HttpClients::PATIENCE.as_secs()
    )
}

fn rate_of(figures: &Figures) -> String {
    let packets = format!("{} packets/s", thousands(figures.attack_packets_per_s));
    match figures.attack_requests_per_s {
        Some(requests) => format!("{} requests/s answered, {packets}", thousands(requests)),
        None => packets,
    }
}

fn row(text: &mut String, name: &str, [quiet, unprotected, protected]: [String; 3]) {
    line(text, format_args!("  {name:<22}{quiet:>10}{unprotected:>14}{protected:>18}"));
}

fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{what}");
}

fn p99(service: Service) -> String {
    service.p99_ms.map_or("-".to_owned(), |ms| format!("{ms:.1} ms"))
}

fn requests(count: usize) -> String {
    format!("{count} request{}", if count == 1 { "" } else { "s" })
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn exact_percent(share: f64) -> String {
    format!("{:.3} % of attack packets", share * 100.0)
}

fn milliseconds(time: Option<f64>) -> String {
    time.map_or("never".to_owned(), |ms| format!("{ms:.0} ms"))
}
