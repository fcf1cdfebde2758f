//! What a run must show: no visitor blocked, the service kept, the attack stopped by the right means.

use crate::figures::Figures;
use crate::kind::Answer;

/// Visitors keep this share of what they got in quiet times, from the answer on.
pub(crate) const LEAST_KEPT: f64 = 0.9;
/// Blocks of single sources that an attack with forged senders may lead to; reflectors are what they are.
const MOST_BLOCKS_OF_FORGED: usize = 10;
/// Of the attack packets that arrive after the answer, dropped.
const LEAST_DROPPED: f64 = 0.99;
/// The same where some have to pass so that somebody unknown gets through.
const LEAST_LIMITED: f64 = 0.95;
/// Of the connections that strangers open when it is quiet.
const LEAST_OPENED: f64 = 0.95;
/// The server's own questions that are answered.
const LEAST_LOOKUPS: f64 = 0.9;

/// What was not kept, one sentence each.
pub(crate) fn broken(figures: &Figures, answer: Answer) -> Vec<String> {
    let mut broken = Vec::new();
    let mut check = |is_kept: bool, sentence: String| {
        if !is_kept {
            broken.push(sentence);
        }
    };
    let (blocked, newcomers) = (figures.clients_blocked, figures.newcomers);
    check(blocked == 0, format!("{blocked} visitors were blocked"));
    let blocked = newcomers.map_or(0, |newcomers| newcomers.blocked);
    check(blocked == 0, format!("{blocked} new visitors were blocked"));
    if answer == Answer::Unknown {
        return broken;
    }
    let kept = figures.protected.requests_per_s / figures.quiet.requests_per_s;
    check(kept >= LEAST_KEPT, format!("visitors got {:.1} % of their quiet requests", kept * 100.0));
    let dropped = figures.dropped_share_after_block;
    let share =
        |share: Option<f64>| share.map_or("no".to_owned(), |share| format!("{:.2} % of", share * 100.0));
    match answer {
        Answer::Blocks => {
            let (attackers, blocked) = (figures.attackers, figures.attackers_blocked);
            check(blocked == attackers, format!("{blocked} of {attackers} attackers were blocked"));
            // A slow attacker that is blocked has nothing left to say.
            let is_kept = dropped.is_none_or(|dropped| dropped >= LEAST_DROPPED);
            check(is_kept, format!("{} attack packets were dropped after the last block", share(dropped)));
        }
        Answer::Limits => {
            check(figures.time_to_limit_ms.is_some(), "the flood was not limited".to_owned());
            let blocked = figures.sources_blocked.saturating_sub(figures.attackers_blocked);
            check(
                blocked <= MOST_BLOCKS_OF_FORGED,
                format!("{blocked} forged sources were blocked one by one"),
            );
            let is_kept = dropped.is_some_and(|dropped| dropped >= LEAST_LIMITED);
            check(is_kept, format!("{} attack packets were dropped after the limit", share(dropped)));
        }
        Answer::Nothing => {
            let (sources, packets) = (figures.sources_blocked, figures.dropped_packets);
            check(sources == 0, format!("{sources} sources were blocked"));
            check(packets == 0, format!("{packets} packets were dropped"));
        }
        Answer::Unknown => {}
    }
    if let Some(strangers) = figures.strangers {
        let opened = strangers.kept();
        check(
            opened >= LEAST_OPENED,
            format!("strangers opened {:.1} % of their quiet connections", opened * 100.0),
        );
        let [.., lost] = figures.lost_connections;
        check(lost == 0, format!("{lost} established connections were lost"));
    }
    if let Some(lookups) = figures.lookups {
        let kept = lookups.protected;
        check(kept >= LEAST_LOOKUPS, format!("{:.0} % of the server's look-ups were answered", kept * 100.0));
    }
    for (number, pulse) in figures.pulses.iter().enumerate().skip(1) {
        let is_kept = pulse.dropped_share.is_some_and(|dropped| dropped >= LEAST_DROPPED);
        check(
            is_kept,
            format!("{} packets of pulse {} were dropped", share(pulse.dropped_share), number + 1),
        );
    }
    if let Some(connections) = figures.server_connections {
        let (end, quiet) = (connections.protected_at_end, connections.quiet_most);
        check(end <= quiet * 2, format!("the server still held {end} connections, {quiet} in quiet times"));
    }
    broken
}
