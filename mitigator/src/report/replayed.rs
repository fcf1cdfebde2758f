//! `ReplayReport`: what a replayed capture came to, as JSON has it; the same whoever asked for the replay.

use std::collections::BTreeMap;
use std::net::IpAddr;

use mitigator_common::Outcome;
use serde::Serialize;

use super::units;
use crate::capture::{ClockFault, Damage};
use crate::config::Config;
use crate::kernel::replay::AddressTotals;
use crate::pipeline::time::Timestamp;
use crate::pipeline::vectors::{Comparison, Vector};
use crate::pipeline::verdict::Verdict;
use crate::replay::{Protected, Replayed};

/// Which sources a report lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// Those of which something was dropped.
    WithDrops,
    /// Every one.
    All,
}

/// What a replayed capture came to.
#[derive(Debug, Serialize)]
pub struct ReplayReport {
    /// What the capture is called.
    pub capture: String,
    /// Packets in the capture.
    pub packets: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
    /// From the first to the last packet.
    pub duration_s: f64,
    /// Addresses that packets arrived from.
    pub source_count: usize,
    /// Whose arriving packets were judged; empty when everybody's were.
    pub protected: Vec<IpAddr>,
    /// `--victim` when named, `inferred`, or `none`.
    pub protected_by: &'static str,
    /// A verdict of something that is blocked or limited.
    pub attack: bool,
    /// All of them, in the order of their time.
    pub verdicts: Vec<TimedVerdict>,
    /// Why there is no verdict; null when there is one.
    pub nothing_to_decide: Option<String>,
    /// Highest rate of any tick, in the vector's unit, of each vector that was seen.
    pub peaks: BTreeMap<&'static str, f64>,
    /// Packets that did not arrive at who is protected.
    pub outgoing_packets: u64,
    /// Of them, those that who is protected sent.
    pub own_packets: u64,
    /// Of the victims, those that no packet goes to.
    pub absent: Vec<IpAddr>,
    /// Of those that arrived.
    pub passed_packets: u64,
    /// Of those that arrived.
    pub dropped_packets: u64,
    /// Packets by what became of them.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Those that were asked for, sorted by address.
    pub sources: Vec<SourceRow>,
    /// Packets of sources past the million that are told apart.
    pub unlisted_packets: u64,
    /// What is wrong with the time stamps.
    pub clock_fault: Option<ClockReport>,
    /// Where reading stopped early.
    pub damage: Option<DamageReport>,
}

/// A verdict, and when it fell.
#[derive(Debug, Serialize)]
pub struct TimedVerdict {
    /// Since the first packet.
    pub at_s: f64,
    #[serde(flatten)]
    /// The judgement, with its evidence.
    pub verdict: Verdict,
}

impl TimedVerdict {
    /// A verdict that fell at this time since the first packet.
    #[must_use]
    pub fn new(at: Timestamp, verdict: Verdict) -> Self {
        Self { at_s: seconds(at), verdict }
    }
}

/// What came from an address.
#[derive(Debug, Serialize)]
pub struct SourceRow {
    /// Who sent.
    pub source: IpAddr,
    /// Packets that arrived from it.
    pub packets: u64,
    /// Of them, those that were dropped.
    pub dropped: u64,
    /// When it was blocked first, since the first packet.
    pub blocked_at_s: Option<f64>,
}

/// What is wrong with the time stamps.
#[derive(Debug, Serialize)]
pub struct ClockReport {
    #[serde(flatten)]
    /// In numbers.
    pub fault: ClockFault,
    /// In words, with what it means.
    pub what: String,
}

/// Where and why reading stopped early.
#[derive(Debug, Serialize)]
pub struct DamageReport {
    /// Where the record starts that cannot be read, in the uncompressed capture.
    pub offset_bytes: u64,
    /// Packets read before.
    pub packet: u64,
    /// What is wrong there.
    pub what: String,
}

impl From<Damage> for DamageReport {
    fn from(Damage { offset_bytes, packet, what }: Damage) -> Self {
        Self { offset_bytes, packet, what }
    }
}

impl ReplayReport {
    /// The report on `capture`, which is what it is called.
    #[must_use]
    pub fn new(
        capture: String,
        replayed: Replayed,
        protected: &Protected,
        config: &Config,
        listed: Listed,
    ) -> Self {
        let (addresses, protected_by) = match protected {
            Protected::Named(addresses) => (addresses.clone(), "--victim"),
            Protected::Inferred(address) => (vec![*address], "inferred"),
            Protected::Everybody => (Vec::new(), "none"),
        };
        let dropped = |(outcome, count): (Outcome, u64)| if outcome.is_drop() { count } else { 0 };
        let dropped_packets = Outcome::ALL.into_iter().zip(replayed.outcomes).map(dropped).sum();
        let arrived: u64 = replayed.outcomes.iter().sum();
        let nothing_to_decide = replayed.verdicts.is_empty().then(|| {
            let nobody_is_there =
                replayed.packets > 0 && !addresses.is_empty() && replayed.absent == addresses;
            if nobody_is_there { goes_to_nobody(&addresses) } else { nothing(&replayed, config) }
        });
        Self {
            capture,
            packets: replayed.packets,
            bytes: replayed.bytes,
            duration_s: replayed.duration.as_secs_f64(),
            source_count: replayed.addresses.len(),
            protected: addresses,
            protected_by,
            attack: replayed.verdicts.iter().any(|(_, verdict)| verdict.vector.is_blocked()),
            nothing_to_decide,
            outgoing_packets: replayed.outgoing_packets,
            own_packets: replayed.own_packets,
            absent: replayed.absent.clone(),
            passed_packets: arrived - dropped_packets,
            dropped_packets,
            outcomes: Outcome::ALL.iter().map(|outcome| outcome.name()).zip(replayed.outcomes).collect(),
            sources: sources(&replayed, listed),
            unlisted_packets: replayed.unlisted_packets,
            peaks: peaks(&replayed),
            verdicts: replayed
                .verdicts
                .into_iter()
                .map(|(at, verdict)| TimedVerdict::new(at, verdict))
                .collect(),
            clock_fault: replayed.clock_fault.map(|fault| ClockReport { fault, what: fault.to_string() }),
            damage: replayed.damage.map(DamageReport::from),
        }
    }
}

fn sources(replayed: &Replayed, listed: Listed) -> Vec<SourceRow> {
    let row = |(address, totals): &(IpAddr, AddressTotals)| SourceRow {
        source: *address,
        packets: totals.packets,
        dropped: totals.dropped,
        blocked_at_s: totals.blocked_at.map(seconds),
    };
    replayed
        .addresses
        .iter()
        .filter(|(_, totals)| listed == Listed::All || totals.dropped > 0)
        .map(row)
        .collect()
}

fn peaks(replayed: &Replayed) -> BTreeMap<&'static str, f64> {
    let seen = Vector::ALL.iter().zip(&replayed.peaks).filter(|(_, peak)| **peak > 0.0);
    seen.map(|(vector, peak)| (vector.name(), *peak)).collect()
}

/// Of a capture's time.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "nanoseconds of a capture, shown as seconds")]
pub fn seconds(at: Timestamp) -> f64 {
    at.ns as f64 / 1e9
}

/// To be shown.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
pub fn as_f64(count: u64) -> f64 {
    count as f64
}

/// That nobody sends to any of these addresses.
#[must_use]
pub fn goes_to_nobody(absent: &[IpAddr]) -> String {
    let absent: Vec<String> = absent.iter().map(ToString::to_string).collect();
    format!("no packet of the capture goes to {}", absent.join(" or "))
}

/// Which vector came closest to its floor.
fn nothing(replayed: &Replayed, config: &Config) -> String {
    if replayed.packets == 0 {
        return "the capture has no packets".to_owned();
    }
    let floor = |vector: Vector| vector.floors().total * config.detection.patience;
    let closest = Vector::ALL
        .into_iter()
        .zip(&replayed.peaks)
        .filter(|(_, peak)| **peak > 0.0)
        .max_by(|(a, peak_a), (b, peak_b)| (*peak_a / floor(*a)).total_cmp(&(*peak_b / floor(*b))));
    match closest {
        None => "no packet that arrived is of a kind that attacks are made of".to_owned(),
        Some((vector, peak)) if *peak < floor(vector) => format!(
            "no kind of traffic reached the floor below which it is no attack; the closest were {}: {} {} at the \
             peak, the floor is {}",
            vector.traffic(),
            units::count(*peak),
            vector.unit(),
            units::count(floor(vector))
        ),
        Some((vector, peak)) => format!(
            "{} reached {} {}, over the floor of {}, but {}",
            vector.traffic(),
            units::count(*peak),
            vector.unit(),
            units::count(floor(vector)),
            match vector.comparison() {
                Comparison::Peers =>
                    "without quieter clients and a quiet time before, there is nothing to tell an attacker from a \
                     busy client by",
                Comparison::Floors =>
                    "no source sent enough of it for long enough, and they were too few for a flood of many",
            }
        ),
    }
}
