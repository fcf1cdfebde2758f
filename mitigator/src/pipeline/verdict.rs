//! Verdicts: who is attacking, what is done about it, and the evidence. Made by the judge.

use mitigator_common::Signature;
use serde::Serialize;

use super::gates::Gate;
use super::target::Target;
use super::time::Timestamp;
use super::vectors::Vector;

/// What is done about a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// Reported, nothing else.
    Observe,
    /// Only so many of its packets pass.
    Limit,
    /// Dropped until the block is over.
    Block,
}

impl Decision {
    /// Stable name, as reports and JSON spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Limit => "limit",
            Self::Block => "block",
        }
    }
}

/// What a verdict is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A source or prefix.
    Target(Target),
    /// Traffic of many sources, described.
    Signature(String),
}

impl Serialize for Subject {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Target(target) => serializer.collect_str(target),
            Self::Signature(text) => serializer.serialize_str(text),
        }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Target(target) => target.fmt(f),
            Self::Signature(text) => f.write_str(text),
        }
    }
}

/// A judgement, with its reasons.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// Who or what.
    #[serde(rename = "target")]
    pub subject: Subject,
    /// The kind of attack.
    pub vector: Vector,
    /// What is done.
    pub decision: Decision,
    /// For a limit: which packets, and how many of them pass per second.
    #[serde(serialize_with = "limits_as_text", skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<(Signature, f64)>,
    /// When the attack began; for a limit, who was first seen before is exempt, and nobody is for zero.
    #[serde(skip)]
    pub since: Timestamp,
    /// Why.
    pub evidence: Evidence,
}

/// Everything a verdict rests on.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Evidence {
    /// Length of the interval that was judged, in seconds.
    pub window_s: f64,
    /// The port that was judged by itself, because it stood out where all together did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<u16>,
    /// Every comparison, passed or not.
    pub gates: Vec<Gate>,
    /// Features of the source, by name; empty for a signature.
    pub features: std::collections::BTreeMap<&'static str, f64>,
    /// The groups of the sources that carry the traffic, loudest first.
    pub clusters: Vec<ClusterSummary>,
    /// Which of `clusters` the source belongs to.
    pub cluster: Option<usize>,
    /// From its centroid, in decades of packets/s and shares.
    pub distance: Option<f64>,
    /// Mean simplified silhouette of the groups.
    pub silhouette: f64,
    /// Sources that carry the traffic.
    pub sources: usize,
    /// Of them, those too light to be blocked.
    pub light_sources: usize,
    /// In plain words, what else decided.
    pub note: &'static str,
    /// Of mitigator.
    pub version: &'static str,
}

impl Verdict {
    /// Whether somebody is blamed for something that is worth a block: such traffic must not become normal.
    #[must_use]
    pub fn is_attack(&self) -> bool {
        let is_unexplained = self.evidence.gates.iter().any(|gate| gate.name == "overwhelming_total");
        self.vector.is_blocked() && !is_unexplained && self.evidence.note != ON_ALLOW_LIST
    }
}

impl Evidence {
    /// The rate that decided: the source's own, or that of all sources for a signature.
    #[must_use]
    pub fn packets_per_second(&self) -> f64 {
        let value_of = |name: &str| self.gates.iter().find(|gate| gate.name == name).map(|gate| gate.value);
        ["source_floor", "service_floor", "total_floor"].into_iter().find_map(value_of).unwrap_or(0.0)
    }
}

/// One group of sources.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClusterSummary {
    /// Sources in it.
    pub sources: usize,
    /// Its centroid's rate of the vector's packets.
    pub packets_per_second: f64,
    /// Its centroid's share of the vector in all packets of a source.
    pub share: f64,
    /// Its centroid's bytes per packet.
    pub mean_bytes: f64,
    /// Whether it attacks.
    pub is_attacking: bool,
}

/// Why nothing is done about an allowed source.
pub(super) const ON_ALLOW_LIST: &str = "the source is on the allow list";

fn limits_as_text<S: serde::Serializer>(
    limits: &[(Signature, f64)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(limits.iter().map(|(signature, rate)| (signature.to_string(), *rate)))
}
