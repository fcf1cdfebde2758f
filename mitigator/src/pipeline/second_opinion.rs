//! `SecondOpinion`: what somebody else says of a target that has a verdict. It joins the evidence, and nothing reads it to
//! decide: it is asked for when the blocks are written.

use serde::Serialize;

/// What a flow model says of the flows of a target, those with it as either end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SecondOpinion {
    /// Name of the model's file.
    pub model: String,
    /// Flows that the model learned from.
    pub learned_flows: usize,
    /// Flows of the target that were seen: those that are not over, and those that ended within the last seconds.
    pub seen_flows: usize,
    /// Of them, those that the model was asked about: those that were over, and then the others, of each the latest ones.
    pub flows: usize,
    /// Of these, those that were not over: the model learned from whole ones.
    pub live_flows: usize,
    /// How many of them it calls attacks, of whatever kind.
    pub attack_flows: usize,
    /// Of those on the side of the more, the class that most have; `None` when there are no flows.
    pub class: Option<String>,
    /// How many it gives that class to.
    pub class_flows: usize,
    /// The probability of that class, on average over all `flows`, 0..=1.
    pub probability: Option<f64>,
    /// Whether more than half are attacks.
    pub agrees: Option<bool>,
    /// Of how many sources packets were looked at, the least of the last seconds; below 1 under load.
    pub source_share: f64,
    /// Packets of these that there was no room for lately, whosever: flows may be longer than they look.
    pub lost_packets: u64,
    /// Interfaces of the agent that could not be listened to.
    pub deaf_interfaces: usize,
}
