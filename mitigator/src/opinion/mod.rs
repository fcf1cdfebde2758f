//! `Opinions`: what a flow model says of those who have a verdict, live and in replay.
//!
//! Packets that the filter let through go in, and make flows as `mitigator flows` makes them; once the blocks of a tick are
//! written, each verdict about a source or a prefix gets a [`SecondOpinion`] on its flows. Nothing here decides, and nothing
//! is computed while there is no verdict. What is held, and what is asked at a time, is bounded.

mod listener;
mod recent;

use std::path::Path;

use anyhow::Result;
use mitigator_common::{PrefixKey, Source};
use ndarray::ArrayView1;
use rustc_hash::FxHashMap;

pub use self::listener::{Listener, News};
use self::recent::{Recent, RecentFlows};
use crate::flows::{Flow, FlowPacket};
use crate::learn::flows::{FeatureTable, FlowModel};
use crate::pipeline::second_opinion::SecondOpinion;
use crate::pipeline::target::Target;
use crate::pipeline::verdict::{Subject, Verdict};

/// Targets of one tick that the model is asked about; those behind them get no second opinion.
const MOST_TARGETS: usize = 256;
/// Flows that it is asked about in one tick, shared out evenly.
const MOST_FLOWS: usize = 1_024;
/// Of one target.
const MOST_FLOWS_EACH: usize = 64;

/// What is to be said of how flows were come by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Completeness {
    /// Of how many sources packets were taken in, 0..=1.
    pub source_share: f64,
    /// Packets of these that were lost lately.
    pub lost_packets: u64,
    /// Interfaces that could not be listened to.
    pub deaf_interfaces: usize,
}

impl Completeness {
    /// Every packet was taken in.
    pub const WHOLE: Self = Self { source_share: 1.0, lost_packets: 0, deaf_interfaces: 0 };
}

/// A flow model with the flows that it may be asked about.
#[derive(Debug)]
pub struct Opinions {
    model: FlowModel,
    name: String,
    learned_flows: usize,
    flows: RecentFlows,
}

impl Opinions {
    /// With the model of a file, and no flows.
    ///
    /// # Errors
    ///
    /// When there is none that fits this mitigator.
    pub fn open(model: &Path) -> Result<Self> {
        let name = model.file_name().unwrap_or(model.as_os_str()).to_string_lossy().into_owned();
        let (header, model) = FlowModel::read(model)?;
        Ok(Self { model, name, learned_flows: header.records, flows: RecentFlows::default() })
    }

    /// Takes in the next packet that the filter let through, or that this host sent.
    pub fn take(&mut self, packet: FlowPacket) {
        self.flows.take(packet);
    }

    /// Adds to the evidence of each verdict about a target what the model says of its flows.
    pub fn join(&self, verdicts: &mut [Verdict], completeness: Completeness) {
        let mut accused = Accused::default();
        for target in verdicts.iter().filter_map(target_of) {
            accused.add(target);
        }
        if accused.targets.is_empty() {
            return;
        }
        let most_each = (MOST_FLOWS / accused.targets.len()).clamp(1, MOST_FLOWS_EACH);
        let mut cases = vec![Case::default(); accused.targets.len()];
        let mut asked = FeatureTable::default();
        for Recent { flow, is_over } in self.flows.latest_first() {
            accused.places_of(flow, |place| {
                let Some(case) = cases.get_mut(place) else { return };
                case.seen_flows += 1;
                if case.rows.len() < most_each {
                    case.rows.push(asked.rows());
                    case.live_flows += usize::from(!is_over);
                    asked.push_flow(flow);
                }
            });
        }
        let probabilities = self.model.probabilities(&asked);
        let opinions: Vec<SecondOpinion> = cases
            .iter()
            .map(|case| {
                let rows: Vec<_> = case.rows.iter().map(|row| probabilities.row(*row)).collect();
                self.opinion(case, &rows, completeness)
            })
            .collect();
        for verdict in verdicts {
            let place = target_of(verdict).and_then(|target| accused.places.get(&target));
            let opinion = place.and_then(|place| opinions.get(*place));
            verdict.evidence.second_opinion = opinion.cloned().map(Box::new);
        }
    }

    /// `probabilities`: of each flow that was asked about, shape (classes).
    fn opinion(
        &self,
        case: &Case,
        probabilities: &[ArrayView1<'_, f64>],
        completeness: Completeness,
    ) -> SecondOpinion {
        let decided: Vec<usize> = probabilities.iter().map(|row| self.model.decide(*row)).collect();
        let attack_flows = decided.iter().filter(|class| **class > 0).count();
        let agrees = 2 * attack_flows > decided.len();
        let sided: Vec<usize> = decided.into_iter().filter(|class| (*class > 0) == agrees).collect();
        let common = most_common(&sided, probabilities);
        SecondOpinion {
            model: self.name.clone(),
            learned_flows: self.learned_flows,
            seen_flows: case.seen_flows,
            flows: probabilities.len(),
            live_flows: case.live_flows,
            class: common.and_then(|common| self.model.classes().get(common.class)).cloned(),
            class_flows: common.map_or(0, |common| common.flows),
            probability: common.map(|common| common.probability),
            attack_flows,
            agrees: common.map(|_| agrees),
            source_share: completeness.source_share,
            lost_packets: completeness.lost_packets,
            deaf_interfaces: completeness.deaf_interfaces,
        }
    }
}

/// The class that most flows of a target have.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Common {
    class: usize,
    flows: usize,
    /// Of that class, on average over all flows.
    probability: f64,
}

/// Of classes that equally many flows have, the more probable one. `decided`: shape (flows); `None` without flows.
fn most_common(decided: &[usize], probabilities: &[ArrayView1<'_, f64>]) -> Option<Common> {
    let mean = |class: usize| {
        let (sum, flows) = probabilities
            .iter()
            .filter_map(|row| row.get(class))
            .fold((0.0, 0.0_f64), |(sum, flows), own| (sum + own, flows + 1.0));
        sum / flows.max(1.0)
    };
    let mut counts: Vec<usize> = Vec::new();
    for class in decided {
        counts.resize(counts.len().max(class + 1), 0);
        counts[*class] += 1;
    }
    let classes = counts.into_iter().enumerate().filter(|(_, flows)| *flows > 0);
    let common = classes.map(|(class, flows)| Common { class, flows, probability: mean(class) });
    common.max_by(|a, b| a.flows.cmp(&b.flows).then(a.probability.total_cmp(&b.probability)))
}

/// What was found of one target.
#[derive(Clone, Debug, Default)]
struct Case {
    seen_flows: usize,
    /// Of those that it is asked about, those that are not over.
    live_flows: usize,
    /// Of the table that the model is asked about.
    rows: Vec<usize>,
}

/// Who has a verdict, each once.
#[derive(Debug, Default)]
struct Accused {
    targets: Vec<Target>,
    places: FxHashMap<Target, usize>,
    /// Of those that are prefixes.
    prefixes: Vec<(PrefixKey, usize)>,
}

impl Accused {
    fn add(&mut self, target: Target) {
        let place = self.targets.len();
        if place >= MOST_TARGETS || self.places.contains_key(&target) {
            return;
        }
        self.targets.push(target);
        self.places.insert(target, place);
        if let Target::Prefix(key) = target {
            self.prefixes.push((key, place));
        }
    }

    /// Hands over the places of those who are an end of the flow.
    fn places_of(&self, flow: &Flow, mut found: impl FnMut(usize)) {
        let ends = [flow.initiator.ip(), flow.responder.ip()];
        let [initiator, responder] = ends.map(Source::from);
        let is_one = initiator == responder;
        for source in [Some(initiator), Some(responder).filter(|_| !is_one)].into_iter().flatten() {
            if let Some(place) = self.places.get(&Target::Source(source)) {
                found(*place);
            }
        }
        for (key, place) in &self.prefixes {
            let length = key.parts().1;
            if ends.iter().any(|end| PrefixKey::new(*end, length) == *key) {
                found(*place);
            }
        }
    }
}

fn target_of(verdict: &Verdict) -> Option<Target> {
    match &verdict.subject {
        Subject::Target(target) => Some(*target),
        Subject::Signature(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;

    #[test]
    fn the_class_of_most_flows_counts_with_its_mean_over_all() {
        let table: Array2<f64> = array![[0.1, 0.9, 0.0], [0.2, 0.8, 0.0], [0.6, 0.1, 0.3], [0.0, 0.1, 0.9]];
        let rows: Vec<ArrayView1<'_, f64>> = table.rows().into_iter().collect();
        for (description, decided, of, expected) in [
            ("no flows", vec![], 0, None),
            ("one", vec![1], 1, Some((1, 1, 0.9))),
            ("two of three", vec![1, 1, 0], 3, Some((1, 2, 0.6))),
            ("one each: the more probable", vec![1, 1, 0, 0], 4, Some((1, 2, 0.475))),
            ("all benign", vec![0, 0, 0, 0], 4, Some((0, 4, 0.225))),
        ] {
            let common = most_common(&decided, &rows[..of]);
            let shown =
                common.map(|common| (common.class, common.flows, (common.probability * 1e6).round() / 1e6));
            assert_eq!(shown, expected, "{description}");
        }
    }

    #[test]
    fn a_flow_is_of_whoever_is_an_end_of_it_and_of_the_prefix_around() {
        let target = |text: &str| Target::of_prefix(text.parse().unwrap());
        let mut accused = Accused::default();
        for text in ["192.0.2.7/32", "198.51.100.0/24", "192.0.2.7/32", "2001:db8::/64", "2001:db8:1::/56"] {
            accused.add(target(text));
        }
        assert_eq!(accused.targets.len(), 4, "each once");
        for (from, to, expected) in [
            ("192.0.2.7", "203.0.113.1", vec![0]),
            ("203.0.113.1", "192.0.2.7", vec![0]),
            ("192.0.2.8", "203.0.113.1", vec![]),
            ("198.51.100.9", "198.51.100.8", vec![1]),
            ("192.0.2.7", "198.51.100.8", vec![0, 1]),
            ("2001:db8::5", "2001:db8:2::1", vec![2]),
            ("2001:db8::5", "2001:db8::6", vec![2]),
            ("2001:db8:1:3::5", "2001:db8:2::1", vec![3]),
        ] {
            let flow = Flow::beginning(&recent::packet(from, to, 0, 0));
            let mut found = Vec::new();
            accused.places_of(&flow, |place| found.push(place));
            assert_eq!(found, expected, "{from} -> {to}");
        }
    }

    #[test]
    fn a_crowd_of_targets_is_bounded() {
        let mut accused = Accused::default();
        for number in 0..10_000 {
            accused.add(Target::Source(Source::from_number(number)));
        }
        assert_eq!(accused.targets.len(), MOST_TARGETS);
    }
}
