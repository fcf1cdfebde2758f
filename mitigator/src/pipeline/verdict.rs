//! Verdicts: who is attacking, what is done about it, and the evidence. Made by the judge.

use std::collections::BTreeMap;
use std::sync::Arc;

use mitigator_common::{PacketKind, Signature};
use serde::Serialize;
use serde::ser::SerializeStruct;

use super::features::Features;
use super::gates::Gate;
use super::second_opinion::SecondOpinion;
use super::target::Target;
use super::time::Timestamp;
use super::vectors::Vector;

/// What is done about a target, the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
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
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// What all verdicts of the same alarm in the same tick rest on: thousands of sources share it.
    pub case: Arc<CaseEvidence>,
    /// Comparisons of this verdict alone, passed or not.
    pub own_gates: Vec<Gate>,
    /// Features of the source; `None` for a prefix or a signature.
    pub features: Option<Features>,
    /// Which of the clusters of the case the source belongs to.
    pub cluster: Option<usize>,
    /// From its centroid, in decades of packets/s and shares.
    pub distance: Option<f64>,
    /// In plain words, what else decided.
    pub note: &'static str,
    /// What a flow model says, which is asked after all is decided; `None` when there is none, or it was not asked.
    pub second_opinion: Option<Box<SecondOpinion>>,
}

/// What the evidence of all sources behind an alarm has in common.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CaseEvidence {
    /// Length of the interval that was judged, in seconds.
    pub window_s: f64,
    /// The port that was judged by itself, because it stood out where all together did not.
    pub service: Option<u16>,
    /// What all sources together were held against.
    pub gates: Vec<Gate>,
    /// The groups of the sources that carry the traffic, loudest first.
    pub clusters: Vec<ClusterSummary>,
    /// Mean simplified silhouette of the groups.
    pub silhouette: f64,
    /// Sources that carry the traffic.
    pub sources: usize,
    /// Of them, those too light to be blocked.
    pub light_sources: usize,
}

impl Verdict {
    /// Whether its target is blocked.
    #[must_use]
    pub const fn is_block(&self) -> bool {
        matches!(self.decision, Decision::Block)
    }

    /// Whether what is beyond its limit on `signature` is answered with SYN cookies, where that is possible: openings
    /// of a flood whose senders may all be forged.
    #[must_use]
    pub fn answers(&self, signature: Signature) -> bool {
        self.vector == Vector::SynFlood
            && self.since != Timestamp::default()
            && signature.kind() == Some(PacketKind::TcpSyn)
    }

    /// Whether somebody is blamed for something that is worth a block: such traffic must not become normal.
    #[must_use]
    pub fn is_attack(&self) -> bool {
        let is_unexplained =
            self.evidence.own_gates.iter().any(|gate| {
                gate.name == "overwhelming_total" || gate.name == "paced_unevenness" && !gate.passed
            });
        self.vector.is_blocked() && !is_unexplained && self.evidence.note != ON_ALLOW_LIST
    }
}

impl Evidence {
    /// Every comparison: those of the case first, then its own.
    pub fn gates(&self) -> impl Iterator<Item = &Gate> {
        self.case.gates.iter().chain(&self.own_gates)
    }

    /// The comparison that decided: of the prefix's or the source's own, or of all sources for a signature.
    #[must_use]
    pub fn measure(&self) -> Option<&Gate> {
        ["prefix_floor", "source_floor", "source_pace", "service_floor", "total_floor"]
            .into_iter()
            .find_map(|name| self.gates().find(|gate| gate.name == name))
    }

    /// What [`Self::measure`] saw, in the unit of the vector.
    #[must_use]
    pub fn measured(&self) -> f64 {
        self.measure().map_or(0.0, |gate| gate.value)
    }
}

/// As one flat object.
impl Serialize for Evidence {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { case, features, cluster, distance, note, second_opinion, .. } = self;
        let mut fields = serializer.serialize_struct("Evidence", 13)?;
        fields.serialize_field("window_s", &case.window_s)?;
        match case.service {
            Some(port) => fields.serialize_field("service", &port)?,
            None => fields.skip_field("service")?,
        }
        fields.serialize_field("gates", &self.gates().collect::<Vec<_>>())?;
        match features {
            Some(features) => fields.serialize_field("features", features)?,
            None => fields.serialize_field("features", &BTreeMap::<&str, f64>::new())?,
        }
        fields.serialize_field("clusters", &case.clusters)?;
        fields.serialize_field("cluster", cluster)?;
        fields.serialize_field("distance", distance)?;
        fields.serialize_field("silhouette", &case.silhouette)?;
        fields.serialize_field("sources", &case.sources)?;
        fields.serialize_field("light_sources", &case.light_sources)?;
        fields.serialize_field("note", note)?;
        match second_opinion {
            Some(opinion) => fields.serialize_field("second_opinion", opinion)?,
            None => fields.skip_field("second_opinion")?,
        }
        fields.serialize_field("version", env!("CARGO_PKG_VERSION"))?;
        fields.end()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::activity::Activity;
    use crate::pipeline::features;
    use crate::pipeline::rows::Rows;

    #[test]
    fn what_a_case_has_in_common_stands_in_the_evidence_of_each() {
        let source = mitigator_common::Source::from_v4_bytes([192, 0, 2, 7]);
        let counters = mitigator_common::SourceCounters { packets: 5, ..Default::default() };
        let mut rows = Rows::at(Timestamp::from_ns(3_000_000_000));
        rows.push(source, None, &counters, 0);
        let activity = Activity { rows, interval: std::time::Duration::from_secs(1), ..Activity::default() };
        let gate = |name| Gate::at_least(name, 2.0, 1.0, "packets/s");
        let case = CaseEvidence {
            window_s: 0.25,
            service: None,
            gates: vec![gate("total_floor")],
            clusters: Vec::new(),
            silhouette: 1.0,
            sources: 2,
            light_sources: 1,
        };
        let evidence = Evidence {
            case: Arc::new(case),
            own_gates: vec![gate("source_floor")],
            features: features::extract(&activity).of(0),
            cluster: Some(0),
            distance: None,
            note: "a note",
            second_opinion: None,
        };
        let of_gate = |name| serde_json::json!({"name": name, "value": 2.0, "limit": 1.0, "unit": "packets/s", "passed": true});
        let mut expected = serde_json::json!({
            "window_s": 0.25,
            "gates": [of_gate("total_floor"), of_gate("source_floor")],
            "features": {
                "age_s": 3.0, "bytes_per_second": 0.0, "distinct_ports": 0.0, "fragment_share": 0.0, "icmp_share": 0.0,
                "mean_bytes": 0.0, "packets_per_second": 5.0, "push_share": 0.0, "reflection_share": 0.0,
                "syn_per_ack": 0.0, "syn_share": 0.0, "udp_share": 0.0,
            },
            "clusters": [], "cluster": 0, "distance": null, "silhouette": 1.0, "sources": 2, "light_sources": 1,
            "note": "a note", "version": env!("CARGO_PKG_VERSION"),
        });
        assert_eq!(serde_json::to_value(&evidence).unwrap(), expected);
        let of_service = CaseEvidence { service: Some(53), ..CaseEvidence::clone(&evidence.case) };
        let nobody = Evidence { case: Arc::new(of_service), features: None, ..evidence };
        (expected["service"], expected["features"]) = (53.into(), serde_json::json!({}));
        assert_eq!(serde_json::to_value(&nobody).unwrap(), expected);
    }
}
