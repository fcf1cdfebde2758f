//! Whether the answers of this host are seen: where they are not, silence means nothing.

use crate::pipeline::rows::SourceActivity;

/// Whether the answers of this host are seen. A load balancer whose servers answer past it, or a host with
/// another way out, is heard to send and yet not to answer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Answers {
    /// Whether anything was sent to who sent something.
    any: bool,
    /// Clients with a connection lately that were answered, and those that were not.
    answered: f64,
    unanswered: f64,
}

/// Clients that tell whether answers are seen.
const ENOUGH_CLIENTS: f64 = 5.0;
/// What is left of a client's word after another tick.
const KEPT: f64 = 0.98;

impl Answers {
    /// A tick is over.
    pub(super) fn fade(&mut self) {
        self.answered *= KEPT;
        self.unanswered *= KEPT;
    }

    /// Takes in what one source did.
    pub(super) fn note(&mut self, row: &SourceActivity<'_>) {
        let SourceActivity { change, totals, .. } = row;
        self.any |= totals.sent_packets > 0 && totals.packets > 0;
        // Only who was answered sends an ACK after its SYN, or forges it.
        if totals.tcp_syn_packets > 0 && change.tcp_ack_packets > 0 {
            let word = if totals.sent_packets > 0 { &mut self.answered } else { &mut self.unanswered };
            *word += 1.0;
        }
    }

    pub(super) fn are_heard(self) -> bool {
        let are_few = self.answered + self.unanswered < ENOUGH_CLIENTS;
        self.any && (are_few || self.answered >= self.unanswered)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mitigator_common::{Source, SourceCounters};

    use super::*;

    #[test]
    fn answers_are_heard_where_clients_are_answered() {
        let note = |answers: &mut Answers, sent_packets: u32| {
            let totals = SourceCounters {
                packets: 9,
                tcp_syn_packets: 1,
                tcp_ack_packets: 8,
                sent_packets,
                ..SourceCounters::EMPTY
            };
            let source = Source::from_v4_bytes([192, 0, 2, 7]);
            answers.note(&SourceActivity { source, change: totals, totals: &totals, age: Duration::ZERO });
        };
        for (description, answered, unanswered, expected) in [
            ("nobody there", 0, 0, false),
            ("a server", 20, 0, true),
            ("a server and forged connections", 20, 15, true),
            ("one-way capture", 0, 20, false),
            ("a balancer whose servers answer past it", 2, 20, false),
            ("a few that are not answered yet", 1, 3, true),
        ] {
            let mut answers = Answers::default();
            (0..answered).for_each(|_| note(&mut answers, 7));
            (0..unanswered).for_each(|_| note(&mut answers, 0));
            assert_eq!(answers.are_heard(), expected, "{description}");
        }
    }
}
