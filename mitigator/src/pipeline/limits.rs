//! The agent's limits: how many packets of a signature pass while a flood of many light sources is on.
//!
//! Such sources may be forged, so they are never blocked; what they have in common is. A limit is short,
//! and goes on for as long as it drops something.

use std::collections::BTreeMap;
use std::time::Duration;

use mitigator_common::{Limit, PacketKind, Signature};

use super::settings::BlockingSettings;
use super::time::Timestamp;
use super::verdict::{Decision, Verdict};

/// A limit to write.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NewLimit {
    /// Of which packets.
    pub signature: Signature,
    /// How many pass.
    pub packets_per_second: f64,
    /// Sources seen before pass in any case; zero exempts nobody.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// Whether those beyond it, which are SYNs, are to be answered with cookies.
    pub answers: bool,
}

impl NewLimit {
    /// The entry of the data plane's table, which starts counting at zero. Those beyond it are dropped.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rate is positive, and saturates far above what a network carries"
    )]
    pub fn entry(&self) -> Limit {
        let per_window = self.packets_per_second * (Limit::WINDOW_NS as f64 / 1e9);
        // New clients must be able to open a connection now and then; what else is new can wait.
        let opens = self.signature.kind() == Some(PacketKind::TcpSyn);
        let per_window = if opens { per_window.ceil() } else { per_window.round() };
        Limit {
            expires_at_ns: self.until.ns,
            since_ns: self.since.ns,
            packets_per_window: per_window as u64,
            ..Limit::default()
        }
    }
}

/// What to do about limits after one tick.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LimitChanges {
    /// To write, in place of older ones of the same signature.
    pub written: Vec<NewLimit>,
    /// To remove: they dropped nothing lately.
    pub ended: Vec<Signature>,
}

/// The limits that stand.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    standing: BTreeMap<Signature, Standing>,
}

#[derive(Clone, Copy, Debug)]
struct Standing {
    limit: NewLimit,
    /// When it last dropped more than a few packets.
    last_drop: Timestamp,
}

/// Limits at a time; the data plane's table has room for as many.
const MOST: usize = 64;
/// How long a limit is written for.
const LASTS: Duration = Duration::from_secs(60);
/// A standing limit is written anew when less than this is left of it.
const RENEWED_BEFORE: Duration = Duration::from_secs(30);

impl Limits {
    /// What follows from this tick's verdicts and from `dropped`, the packets that each limit kept away since
    /// the tick before.
    pub fn update(
        &mut self,
        verdicts: &[Verdict],
        dropped: &[(Signature, u64)],
        now: Timestamp,
        settings: &BlockingSettings,
    ) -> LimitChanges {
        let mut changes = LimitChanges::default();
        for (signature, _) in dropped.iter().filter(|(_, packets)| *packets > 0) {
            if let Some(standing) = self.standing.get_mut(signature) {
                standing.last_drop = now;
            }
        }
        for verdict in verdicts.iter().filter(|verdict| verdict.decision == Decision::Limit) {
            for (signature, packets_per_second) in &verdict.limits {
                let known = self.standing.contains_key(signature);
                if known || self.standing.len() >= MOST {
                    continue;
                }
                let limit = NewLimit {
                    signature: *signature,
                    packets_per_second: *packets_per_second,
                    since: verdict.since,
                    until: now + LASTS,
                    answers: verdict.answers(*signature),
                };
                self.standing.insert(*signature, Standing { limit, last_drop: now });
                changes.written.push(limit);
            }
        }
        self.standing.retain(|signature, standing| {
            let is_over = now.since(standing.last_drop) >= settings.limit_quiet;
            if is_over {
                changes.ended.push(*signature);
            } else if standing.limit.until.since(now) < RENEWED_BEFORE {
                standing.limit.until = now + LASTS;
                changes.written.push(standing.limit);
            }
            !is_over
        });
        changes
    }

    /// Forgets limits that could not be written, so that the next verdict asks for them again.
    pub fn forget(&mut self, changes: &LimitChanges) {
        for limit in &changes.written {
            self.standing.remove(&limit.signature);
        }
    }

    /// How many stand.
    #[must_use]
    pub fn len(&self) -> usize {
        self.standing.len()
    }

    /// Whether none stands.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.standing.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::vectors::Vector;
    use crate::pipeline::verdict::{Evidence, Subject};

    #[test]
    fn a_limit_goes_on_while_it_drops_and_ends_when_it_does_not() {
        let signature = Signature::new(PacketKind::TcpSyn, 443);
        let start = Timestamp::from_ns(1_000_000_000);
        let verdict = Verdict {
            subject: Subject::Signature(signature.to_string()),
            vector: Vector::SynFlood,
            decision: Decision::Limit,
            limits: vec![(signature, 20.0)],
            since: start,
            evidence: Evidence::default(),
        };
        let settings = BlockingSettings::default();
        let mut limits = Limits::default();
        let changes = limits.update(&[verdict], &[], start, &settings);
        let [written] = changes.written[..] else { panic!("one limit") };
        assert_eq!(written.entry().packets_per_window, 3);
        assert!(written.answers, "newcomers are answered");
        let mut renewals = 0;
        for second in 1..=200_u64 {
            let dropped = [(signature, u64::from(second <= 120))];
            let now = start + Duration::from_secs(second);
            let changes = limits.update(&[], &dropped, now, &settings);
            renewals += changes.written.len();
            if !changes.ended.is_empty() {
                assert_eq!((second, changes.ended), (120 + settings.limit_quiet.as_secs(), vec![signature]));
            }
        }
        assert!(limits.is_empty() && renewals >= 3, "{renewals} renewals");
    }
}
