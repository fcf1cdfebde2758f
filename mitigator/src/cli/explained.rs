//! `mitigator replay --explain`: what a capture says of one address, blocked or not.

use std::fmt::Write;
use std::net::IpAddr;

use mitigator_common::{Outcome, PrefixKey, Source};
use serde::Serialize;

use crate::pipeline::asked::Closest;
use crate::pipeline::settings::DetectionSettings;
use crate::pipeline::target::Target;
use crate::pipeline::time::Timestamp;
use crate::pipeline::vectors::Vector;
use crate::pipeline::verdict::{Decision, Subject};
use crate::replay::{Arrival, Protected, Replayed};
use crate::report::explanation::{self, Tense, Told};
use crate::report::output::Ink;
use crate::report::replayed::{TimedVerdict, seconds};
use crate::report::units;

/// Kinds of attack that are shown of an address that was not blocked.
const SHOWN_VECTORS: usize = 3;

/// What became of an address.
#[derive(Serialize)]
pub(super) struct Explanation {
    address: IpAddr,
    /// What the address is counted as.
    source: String,
    /// Whether it is the host that is protected, whose own packets are not judged.
    is_protected: bool,
    packets: u64,
    /// Dropped because of a block.
    blocked_packets: u64,
    /// Dropped because of a limit.
    limited_packets: u64,
    first_at_s: Option<f64>,
    blocked_at_s: Option<f64>,
    /// About the address or a prefix around it.
    decisions: Vec<TimedVerdict>,
    /// About the traffic of many sources.
    traffic_decisions: Vec<TimedVerdict>,
    /// Per kind of attack the moment that came closest to a verdict, the closest first.
    closest: Vec<Moment>,
    /// What would have had to be different, in a sentence or two.
    conclusion: String,
}

#[derive(Serialize)]
struct Moment {
    at_s: f64,
    #[serde(flatten)]
    closest: Closest,
}

/// What is counted of one address while the capture runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watched {
    address: IpAddr,
    first: Option<Timestamp>,
    packets: u64,
    blocked: u64,
    limited: u64,
}

impl Watched {
    pub(super) fn new(address: IpAddr) -> Self {
        Self { address: address.to_canonical(), first: None, packets: 0, blocked: 0, limited: 0 }
    }

    pub(super) fn source(&self) -> Source {
        Source::from(self.address)
    }

    /// Takes in a packet that arrived.
    pub(super) fn take(&mut self, arrival: &Arrival) {
        if arrival.source.map(|source| source.to_canonical()) != Some(self.address) {
            return;
        }
        self.first = self.first.or(Some(arrival.at));
        self.packets += 1;
        self.blocked += u64::from(arrival.outcome == Outcome::DropBlocked);
        self.limited += u64::from(arrival.outcome == Outcome::DropLimited);
    }

    /// What the capture came to for it. `settings` decided.
    pub(super) fn explain(
        &self,
        replayed: &Replayed,
        protected: &Protected,
        settings: &DetectionSettings,
    ) -> Explanation {
        let source = self.source();
        let is_about = |subject: &Subject| match subject {
            Subject::Target(Target::Source(target)) => *target == source,
            Subject::Target(Target::Prefix(key)) => PrefixKey::new(self.address, key.parts().1) == *key,
            Subject::Signature(_) => false,
        };
        let verdicts = |is_wanted: &dyn Fn(&Subject) -> bool| -> Vec<TimedVerdict> {
            let wanted = replayed.verdicts.iter().filter(|(_, verdict)| is_wanted(&verdict.subject));
            wanted.map(|(at, verdict)| TimedVerdict::new(*at, verdict.clone())).collect()
        };
        let decisions = verdicts(&is_about);
        let is_blocked = |timed: &&TimedVerdict| timed.verdict.decision == Decision::Block;
        let mut explanation = Explanation {
            address: self.address,
            source: source.to_string(),
            is_protected: protected.is_own(self.address),
            packets: self.packets,
            blocked_packets: self.blocked,
            limited_packets: self.limited,
            first_at_s: self.first.map(seconds),
            blocked_at_s: decisions.iter().find(is_blocked).map(|timed| timed.at_s),
            decisions,
            traffic_decisions: verdicts(&|subject| matches!(subject, Subject::Signature(_))),
            closest: replayed
                .asked
                .closest(source)
                .into_iter()
                .map(|closest| Moment { at_s: seconds(closest.at), closest })
                .collect(),
            conclusion: String::new(),
        };
        explanation.conclusion = explanation.conclude(self, settings);
        explanation
    }

    fn was_there_before(&self, since: Timestamp) -> bool {
        self.first.is_some_and(|first| first < since)
    }
}

impl Explanation {
    fn conclude(&self, watched: &Watched, settings: &DetectionSettings) -> String {
        if self.packets == 0 && self.is_protected {
            return "It is who is defended: its own packets are left out, and it is never blocked. `--victim` names \
                    another host."
                .to_owned();
        }
        if self.packets == 0 {
            return "No packet that was judged came from it.".to_owned();
        }
        let is_block = |timed: &&TimedVerdict| timed.verdict.decision == Decision::Block;
        if let Some(block) = self.decisions.iter().find(is_block) {
            return Told::read(&block.verdict.evidence)
                .what_would_have_kept(&self.address.to_string(), Some(block.verdict.vector));
        }
        let is_limit = |timed: &&TimedVerdict| timed.verdict.decision == Decision::Limit;
        let limit = self.traffic_decisions.iter().find(is_limit);
        let limited = match limit {
            Some(limit)
                if self.limited_packets == 0
                    && self.sends(limit.verdict.vector)
                    && watched.was_there_before(limit.verdict.since) =>
            {
                format!(
                    "The limit at {:.2} s did not hold for it, because it was seen before the flood began. ",
                    limit.at_s
                )
            }
            Some(_) if self.limited_packets > 0 => format!(
                "Limits dropped {}: they would not have held for it, had it been seen before the flood began or had \
                 this host answered it. ",
                of_packets(self.limited_packets)
            ),
            _ => String::new(),
        };
        let closest = self.closest.first().map_or_else(
            || match limited.is_empty() {
                true => "None of what it sent is of a kind that attacks are made of.".to_owned(),
                false => String::new(),
            },
            |moment| {
                let Closest { vector, evidence, .. } = &moment.closest;
                Told::read(evidence).what_it_would_take(*vector, settings, Tense::Then)
            },
        );
        (limited + &closest).trim_end().to_owned()
    }

    fn sends(&self, vector: Vector) -> bool {
        self.closest.iter().any(|moment| moment.closest.vector == vector)
    }

    /// For people.
    pub(super) fn text(&self, ink: Ink) -> String {
        let mut text = String::new();
        let headline = match (self.blocked_at_s, self.packets, self.limited_packets) {
            (Some(at), ..) => format!("was blocked at {at:.2} s"),
            (None, 0, _) if self.is_protected => "is the protected host".to_owned(),
            (None, 0, _) => "was not seen".to_owned(),
            (None, _, 0) => "was not blocked".to_owned(),
            (None, ..) => "was not blocked, but limited".to_owned(),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", ink.strong(&format!("{} {headline}.", self.address)));
        if self.source != self.address.to_string() {
            let _ = writeln!(text, "It is counted as {}.", self.source);
        }
        if let Some(first) = self.first_at_s {
            let _ = writeln!(
                text,
                "{} from {first:.2} s on; {} dropped by a block, {} by a limit.",
                of_packets(self.packets),
                whole(self.blocked_packets),
                whole(self.limited_packets)
            );
        }
        let main = self.decisions.iter().position(|timed| timed.verdict.decision == Decision::Block);
        if let Some(timed) = self.decisions.get(main.unwrap_or(0)) {
            tell(&mut text, timed, ink);
        }
        if self.decisions.len() > 1 {
            let _ = writeln!(text, "\nAll that was decided about it:");
            for timed in &self.decisions {
                let _ = writeln!(text, "  {}", headline_of(timed));
            }
        }
        if self.packets > 0 && self.blocked_at_s.is_none() {
            self.tell_traffic(&mut text, ink);
        }
        let _ = writeln!(text, "\n{}", explanation::wrapped(&self.conclusion));
        text
    }

    fn tell_traffic(&self, text: &mut String, ink: Ink) {
        for (index, timed) in self.traffic_decisions.iter().enumerate() {
            if index == 0 {
                let _ = writeln!(text, "\nDecided about traffic of many sources:");
            }
            let _ = writeln!(text, "  {}", headline_of(timed));
            for (signature, passing) in &timed.verdict.limits {
                let rest = if timed.verdict.answers(*signature) {
                    "; live, the rest would be answered with SYN cookies where the kernel can"
                } else {
                    ""
                };
                let _ = writeln!(text, "    {} {signature} pass each second{rest}", units::count(*passing));
            }
        }
        for (index, Moment { at_s, closest }) in self.closest.iter().take(SHOWN_VECTORS).enumerate() {
            if index == 0 {
                let _ = writeln!(text, "\nHow close it came:");
            }
            let (name, traffic) = (closest.vector.name(), closest.vector.traffic());
            let _ = writeln!(text, "{} ({traffic}), closest at {at_s:.2} s", ink.strong(name));
            let told = Told::read(&closest.evidence);
            text.push_str(&if index == 0 { told.text(ink) } else { told.gates(ink) });
        }
        let more = self.closest.len().saturating_sub(SHOWN_VECTORS);
        if more > 0 {
            let _ = writeln!(
                text,
                "and {more} kinds of attack that it was further from; `--json` lists them all"
            );
        }
    }
}

fn tell(text: &mut String, timed: &TimedVerdict, ink: Ink) {
    let _ = writeln!(text, "\n{}", ink.strong(&headline_of(timed)));
    text.push_str(&Told::read(&timed.verdict.evidence).text(ink));
}

fn headline_of(timed: &TimedVerdict) -> String {
    let TimedVerdict { at_s, verdict } = timed;
    let done = explanation::done(verdict.decision.name());
    format!("{at_s:.2} s: {} {done} for {}", verdict.subject, verdict.vector.name())
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn whole(count: u64) -> String {
    units::count(count as f64)
}

fn of_packets(count: u64) -> String {
    format!("{} {}", whole(count), if count == 1 { "packet" } else { "packets" })
}
