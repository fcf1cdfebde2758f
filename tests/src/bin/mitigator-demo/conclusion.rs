//! What a run shows, in a few honest sentences.

use mitigator_tests::numbers::thousands;

use crate::figures::{Figures, Service, percent};
use crate::kind::Answer;
use crate::particulars::{Newcomers, Pulse};

pub(crate) fn of(figures: &Figures, answer: Answer) -> String {
    if figures.clients_blocked > 0 {
        return format!(
            "mitigator blocked {} of {} legitimate visitors.",
            figures.clients_blocked, figures.clients
        );
    }
    let mut text = match answer {
        Answer::Blocks | Answer::Unknown => of_blocks(figures),
        Answer::Limits => of_limits(figures),
        Answer::Nothing => of_crowd(figures),
    };
    if let Some(connections) = figures.server_connections {
        text += &format!(
            " The server held up to {} connections without mitigator, up to {} with it, and {} at the end.",
            connections.unprotected_most, connections.protected_most, connections.protected_at_end
        );
    }
    if let [_, later @ ..] = &figures.pulses[..]
        && let Some(least) = later.iter().filter_map(dropped_share).reduce(f64::min)
    {
        text += &format!(
            " Of each pulse after the first, at least {:.2} % was dropped, from its first packet on.",
            least * 100.0
        );
    }
    text
}

fn dropped_share(pulse: &Pulse) -> Option<f64> {
    pulse.dropped_share
}

fn of_blocks(figures: &Figures) -> String {
    let Some(all_ms) = figures.time_to_all_blocked_ms else {
        return format!(
            "mitigator blocked {} of {} attackers; the server answered {} of its quiet requests without it and {} with it.",
            figures.attackers_blocked,
            figures.attackers,
            kept(figures, figures.unprotected),
            kept(figures, figures.protected_whole_attack),
        );
    };
    if let Some(sentence) = hardly_noticed(figures) {
        return sentence;
    }
    format!(
        "Under attack the server answered {} of its quiet requests; with mitigator {}, from {all_ms:.0} ms after the first \
         attack packet on.",
        kept(figures, figures.unprotected),
        kept(figures, figures.protected),
    )
}

fn of_limits(figures: &Figures) -> String {
    let Some(limit_ms) = figures.time_to_limit_ms else {
        return format!(
            "mitigator did not limit the flood; the server answered {} of its quiet requests without it and {} with it.",
            kept(figures, figures.unprotected),
            kept(figures, figures.protected_whole_attack),
        );
    };
    let mut text = hardly_noticed(figures).unwrap_or_else(|| {
        format!(
            "Under attack the server answered {} of its quiet requests; with mitigator {}.",
            kept(figures, figures.unprotected),
            kept(figures, figures.protected),
        )
    });
    text += &format!(
        " From {limit_ms:.0} ms after the first attack packet on, limited was: {}; {} sources were blocked.",
        figures.limits.join(", "),
        figures.sources_blocked
    );
    if let Some(Newcomers { addresses, unprotected, protected, .. }) = figures.newcomers {
        text += &format!(
            " Of {addresses} visitors who came for the first time during the attack, {} got a page without mitigator and \
             {} with it.",
            unprotected.served, protected.served
        );
    }
    if let Some(strangers) = figures.strangers {
        text += &format!(
            " Strangers, each there for the first time, opened {:.0} connections a second in quiet times, {:.0} under attack \
             ({} packets/s), and {:.0} with mitigator ({} packets/s).",
            strangers.quiet.requests_per_s,
            strangers.unprotected.requests_per_s,
            thousands(figures.attack_packets_per_s_unprotected),
            strangers.protected.requests_per_s,
            thousands(figures.attack_packets_per_s)
        );
    }
    if let Some(lookups) = figures.lookups {
        text += &format!(
            " Of the server's own look-ups, {} were answered under attack, with mitigator {}.",
            percent(lookups.unprotected),
            percent(lookups.protected)
        );
    }
    text
}

fn of_crowd(figures: &Figures) -> String {
    let Some(crowd) = figures.newcomers else { return String::new() };
    let total = crowd.protected.service.requests_per_s + figures.protected.requests_per_s;
    format!(
        "{} new visitors came at once, and with them {:.1} times the usual requests. mitigator blocked {} of them and dropped \
         {} packets; the regular visitors got {} of their quiet requests without it and {} with it.",
        crowd.addresses,
        total / figures.quiet.requests_per_s,
        crowd.blocked,
        figures.dropped_packets,
        kept(figures, figures.unprotected),
        kept(figures, figures.protected),
    )
}

fn hardly_noticed(figures: &Figures) -> Option<String> {
    let sentence = || {
        format!(
            "On this machine the server hardly noticed this attack even without mitigator: {} of its quiet requests were \
             answered (with mitigator: {}). A larger --rate may show more.",
            kept(figures, figures.unprotected),
            kept(figures, figures.protected),
        )
    };
    let suffers_in_pulses = figures
        .pulses_unprotected
        .iter()
        .any(|pulse| pulse.requests_per_s < 0.9 * figures.quiet.requests_per_s);
    let suffers = suffers_in_pulses || figures.unprotected.suffers_beside(figures.quiet);
    (!suffers).then(sentence)
}

fn kept(figures: &Figures, service: Service) -> String {
    percent(service.requests_per_s / figures.quiet.requests_per_s)
}
