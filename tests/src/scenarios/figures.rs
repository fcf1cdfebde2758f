//! `Figures`: what a scenario came to, and whether that is what was asked.

use std::collections::BTreeMap;

use serde::Serialize;

/// Packets of one kind, and those of them that were dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Packets {
    /// All that arrived.
    pub arrived: u64,
    /// Of them, dropped.
    pub dropped: u64,
}

impl Packets {
    pub(super) fn add(&mut self, is_drop: bool) {
        self.arrived += 1;
        self.dropped += u64::from(is_drop);
    }

    /// 0 to 1; `None` of nothing.
    #[must_use]
    pub fn dropped_share(self) -> Option<f64> {
        (self.arrived > 0).then(|| self.dropped as f64 / self.arrived as f64)
    }
}

/// Conversations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Exchanges {
    /// All that began.
    pub begun: u64,
    /// Of them, those that lost a packet, with which they end.
    pub lost: u64,
}

/// What became of the second pulse of a pulsing attack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SecondPulse {
    /// Up to the first tick that ends in it.
    pub first_tick: Packets,
    /// All of it.
    pub all: Packets,
}

/// What a scenario came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    /// Of the scenario.
    pub scenario: String,
    /// In a sentence.
    pub about: String,
    /// Names of the vectors of which one has to be named; none for benign traffic.
    pub expected: Vec<&'static str>,
    /// The benign scenario that looks like it.
    pub twin: Option<String>,
    /// Of simulated time.
    pub hours: f64,
    /// That arrived or left.
    pub packets: u64,
    /// Ticks of the control loop.
    pub ticks: u64,
    /// How many there were, by vector and decision.
    pub verdicts: BTreeMap<String, u64>,
    /// Sources that were blocked.
    pub blocks: u64,
    /// Sources that do not attack.
    pub innocents: u64,
    /// Of them, blocked.
    pub innocents_blocked: u64,
    /// Of who does not attack.
    pub benign: Packets,
    /// Of `benign`, those that came after the attack began from sources that were there before.
    pub benign_known: Packets,
    /// Of who does not attack, from the first packet of the attack on.
    pub benign_exchanges: Exchanges,
    /// Of who attacks.
    pub attack: Packets,
    /// Of `attack`, those after the first right verdict.
    pub attack_after_verdict: Packets,
    /// From the first packet of the attack to the first right verdict; `None` without one.
    pub verdict_after_s: Option<f64>,
    /// From the first packet of the attack to the end of the tick that was the first over the floor of its evidence.
    pub crossed_after_s: Option<f64>,
    /// Intervals of the configuration from there to the first right verdict, begun ones included; 0 for the same
    /// tick or an earlier one. A suspicion makes ticks come sooner, which is no fault.
    pub ticks_to_verdict: Option<u64>,
    /// Of a pulsing attack.
    pub second_pulse: Option<SecondPulse>,
    /// The first thing that was done to somebody innocent, with the evidence.
    pub first_wrong: Option<String>,
    /// What was asked and not kept, in sentences; none when all was.
    pub failures: Vec<String>,
    /// Why it fails at present, as the file has it.
    pub known_fault: Option<String>,
}

impl Figures {
    /// Whether all that was asked was kept.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.failures.is_empty()
    }
}
