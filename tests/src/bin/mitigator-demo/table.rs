//! The figures for people: what visitors noticed in each phase, what was blocked and when, one sentence.

use std::fmt::Write as _;

use mitigator_tests::numbers::thousands;
use mitigator_tests::traffic::HttpClients;

use crate::arguments::Queues;
use crate::figures::{Figures, Service};
use crate::particulars::{Guests, Strangers};

/// The whole text, ending in a line feed.
pub(crate) fn of(figures: &Figures) -> String {
    let mut text = format!("\n{}\n\n", title(figures));
    let columns = [figures.quiet, figures.unprotected, figures.protected];
    row(&mut text, "", ["quiet", "attacked", "with mitigator"].map(str::to_owned));
    row(&mut text, "pages per second", columns.map(|service| format!("{:.0}", service.requests_per_s)));
    row(&mut text, "slowest 1 % takes", columns.map(p99));
    row(&mut text, "failed", columns.map(|service| percent(service.failed_share)));
    text.push('\n');
    for (name, value) in facts(figures) {
        line(&mut text, format_args!("  {name:<22}{value}"));
    }
    text.push('\n');
    text.push_str(&legend(figures.queues));
    line(&mut text, format_args!("\n{}\n", figures.conclusion));
    for promise in &figures.broken_promises {
        line(&mut text, format_args!("Not as promised: {promise}."));
    }
    text
}

/// Who meets whom, in one line.
pub(crate) fn title(figures: &Figures) -> String {
    let attackers = match (figures.attackers, figures.newcomers) {
        (0, Some(crowd)) if figures.attack == "flash-crowd" => format!("{} more at once", crowd.addresses),
        (0, _) => "forged attackers".to_owned(),
        (number, _) => format!("{number} attackers"),
    };
    format!(
        "{} visitors of a web server; {attackers}: {}, {}",
        figures.clients,
        figures.attack,
        rate_of(figures)
    )
}

/// The figures below the table, those that this kind of attack has.
fn facts(figures: &Figures) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if figures.attackers > 0 {
        facts.push(("attackers blocked", format!("{} of {}", figures.attackers_blocked, figures.attackers)));
    }
    facts.push(("visitors blocked", format!("{} of {}", figures.clients_blocked, figures.clients)));
    if let Some(newcomers) = figures.newcomers {
        let served =
            |guests: Guests| format!("{} ({} failed)", guests.served, percent(guests.service.failed_share));
        facts.extend([
            ("new visitors blocked", format!("{} of {}", newcomers.blocked, newcomers.addresses)),
            ("served when attacked", served(newcomers.unprotected)),
            ("with mitigator", served(newcomers.protected)),
        ]);
    }
    if let Some(strangers) = figures.strangers {
        let Strangers { quiet, unprotected, protected } = strangers;
        facts.push((
            "attack packets/s",
            format!(
                "{} attacked, {} with mitigator",
                thousands(figures.attack_packets_per_s_unprotected),
                thousands(figures.attack_packets_per_s)
            ),
        ));
        facts.push((
            "new connections/s",
            format!(
                "{:.0} quiet, {:.0} attacked, {:.0} with mitigator ({} failed, {} failed)",
                quiet.requests_per_s,
                unprotected.requests_per_s,
                protected.requests_per_s,
                percent(unprotected.failed_share),
                percent(protected.failed_share)
            ),
        ));
        let [quiet, unprotected, protected] = figures.lost_connections;
        facts.push((
            "connections lost",
            format!("{quiet} quiet, {unprotected} attacked, {protected} with mitigator"),
        ));
    }
    if figures.attackers > 0 && figures.limits.is_empty() || figures.sources_blocked > 0 {
        facts.extend([
            ("first block after", milliseconds(figures.time_to_first_block_ms)),
            ("all blocked after", milliseconds(figures.time_to_all_blocked_ms)),
        ]);
    }
    facts.push(("sources blocked", figures.sources_blocked.to_string()));
    if figures.time_to_limit_ms.is_some() {
        facts.extend([
            ("limited", figures.limits.join(", ")),
            ("limited after", milliseconds(figures.time_to_limit_ms)),
        ]);
    }
    if let Some(lookups) = figures.lookups {
        let shares = [lookups.quiet, lookups.unprotected, lookups.protected].map(percent);
        facts.push(("look-ups answered", shares.join(", then ")));
    }
    for (pulses, name) in
        [(&figures.pulses_unprotected, "pages/s in pulses"), (&figures.pulses, "with mitigator")]
    {
        let rates: Vec<_> = pulses.iter().map(|pulse| format!("{:.0}", pulse.requests_per_s)).collect();
        if !rates.is_empty() {
            facts.push((name, rates.join(", ")));
        }
    }
    let dropped = |share: Option<f64>| share.map_or("-".to_owned(), exact_percent);
    for pulse in &figures.pulses {
        facts.push(("dropped of a pulse", dropped(pulse.dropped_share)));
    }
    if let Some(connections) = figures.server_connections {
        facts.push((
            "connections held",
            format!(
                "{} quiet, {} attacked, {} with mitigator, {} at the end",
                connections.quiet_most,
                connections.unprotected_most,
                connections.protected_most,
                connections.protected_at_end
            ),
        ));
    }
    facts.extend([
        ("dropped from then on", dropped(figures.dropped_share_after_block)),
        ("packets dropped", thousands_of(figures.dropped_packets)),
        ("failed from then on", requests(figures.failed_after_last_block)),
        ("over 1 s from then on", requests(figures.slow_after_last_block)),
        ("XDP mode", figures.xdp_mode.clone()),
    ]);
    facts
}

#[expect(clippy::cast_precision_loss, reason = "seconds of packets are far below 2^52")]
fn thousands_of(count: u64) -> String {
    thousands(count as f64)
}

/// What the figures do not say about how they came about.
fn legend(queues: Queues) -> String {
    let threads = match queues {
        Queues::Shared => "The kernel's thread that receives for the victim (NAPI) runs",
        Queues::Apart => {
            "The flood's frames come by a queue of their own, received after that of the visitors (--queues shared: by the same).\n  \
             The kernel's threads that receive for the victim (NAPI) run"
        }
    };
    format!(
        "  A visitor waits {} seconds for a page; one that takes longer has failed.\n  \
         {threads} at real-time priority, before nginx.\n",
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
