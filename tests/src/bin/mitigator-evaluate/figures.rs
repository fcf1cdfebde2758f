//! The figures of one run: replays it and counts.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::Result;
use mitigator::capture::Capture;
use mitigator::replay::replay_watched;
use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::kinds::Answer;
use crate::rivals::{self, Stopped};
use crate::scene::{Role, Scene};
use crate::tally::{Packets, SourceTally, Tally};

/// Attackers with so many packets each on average are loud.
const LOUD_PACKETS: u64 = 100;

/// What a capture or a mix came to.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    /// In a mix, the one with the attack.
    pub(crate) capture: String,
    /// In a mix, the other one.
    pub(crate) benign_half: Option<String>,
    pub(crate) kind: String,
    #[serde(skip)]
    pub(crate) answer: Answer,
    pub(crate) duration_s: f64,
    pub(crate) attackers: u64,
    pub(crate) attackers_blocked: u64,
    pub(crate) innocents: u64,
    pub(crate) innocents_blocked: u64,
    pub(crate) attack: Packets,
    /// Of `attack`, those after the first right verdict.
    pub(crate) attack_after_verdict: Packets,
    pub(crate) benign: Packets,
    /// By the name of their vector.
    pub(crate) verdicts: BTreeMap<&'static str, u64>,
    /// From the beginning of the attack to the first right verdict after it; `None` without one.
    pub(crate) verdict_after_s: Option<f64>,
    /// The same from the very first packet of an attacker.
    pub(crate) verdict_after_first_packet_s: Option<f64>,
    pub(crate) k_means: Stopped,
    /// With the threshold that is best over all runs.
    pub(crate) threshold: Stopped,
    /// For each of [`rivals::limits`].
    #[serde(skip)]
    pub(crate) thresholds: Vec<Stopped>,
    /// Why reading stopped early.
    pub(crate) damage: Option<String>,
}

impl Figures {
    /// Replays `capture` as the scene has it.
    ///
    /// # Errors
    ///
    /// When the replay fails.
    pub(crate) fn of(
        name: &str,
        benign_half: Option<&str>,
        capture: Capture,
        scene: &Scene<'_>,
    ) -> Result<Self> {
        let mut tally = Tally::new(scene);
        let config = scene.config();
        let replayed =
            replay_watched(capture, &scene.protected, &config, |_| {}, |event| tally.take(&event))?;
        let blocked = replayed.addresses.iter().filter(|(_, totals)| totals.blocked_at.is_some());
        let mut blocked_of = [0, 0, 0];
        for (address, _) in blocked {
            blocked_of[scene.role_of(*address) as usize] += 1;
        }
        let senders = |role: Role| tally.sources.values().filter(|source| source.role == role).count() as u64;
        Ok(Self {
            capture: name.to_owned(),
            benign_half: benign_half.map(str::to_owned),
            kind: scene.kind.name.clone(),
            answer: scene.kind.answer,
            duration_s: replayed.duration.as_secs_f64(),
            attackers: senders(Role::Attacker),
            attackers_blocked: blocked_of[Role::Attacker as usize],
            innocents: senders(Role::Innocent),
            innocents_blocked: blocked_of[Role::Innocent as usize],
            attack: tally.attack,
            attack_after_verdict: tally.attack_after_verdict,
            benign: tally.benign,
            verdict_after_s: tally.verdict_after().map(|after| after.as_secs_f64()),
            verdict_after_first_packet_s: tally.verdict_after_first_packet().map(|after| after.as_secs_f64()),
            k_means: rivals::k_means(&tally.sources),
            threshold: Stopped::default(),
            thresholds: thresholds(&tally.sources),
            verdicts: tally.verdicts,
            damage: replayed.damage.map(|damage| damage.to_string()),
        })
    }

    /// What mitigator took away.
    pub(crate) fn ours(&self) -> Stopped {
        Stopped {
            attack_packets: self.attack.dropped,
            benign_packets: self.benign.dropped,
            innocents: self.innocents_blocked,
        }
    }

    pub(crate) fn is_loud(&self) -> bool {
        self.attack.arrived >= LOUD_PACKETS * self.attackers.max(1)
    }
}

fn thresholds(sources: &FxHashMap<IpAddr, SourceTally>) -> Vec<Stopped> {
    rivals::limits().into_iter().map(|limit| rivals::threshold(sources, limit)).collect()
}
