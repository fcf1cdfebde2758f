//! The figures of a model on labelled flows.

use std::collections::BTreeMap;

use serde::Serialize;

use super::category::Category;
use super::data::Labelled;
use super::model::{FlowModel, Thresholds, attack_of};
use crate::learn::classifier::Probabilities;
use crate::learn::confusion::{ClassFigures, Confusion};

/// Thresholds that are told of beside the model's own.
const THRESHOLDS: [f64; 9] = [0.1, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95];
/// Ranges of probability whose promise is compared with what came true.
const BINS: usize = 10;

/// What a model made of labelled flows.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// Flows.
    pub flows: usize,
    /// SHA-256 of their files as they lie there, one behind the other.
    pub data_sha256: String,
    /// From which probabilities on a flow is what.
    pub model_thresholds: Thresholds,
    /// Any attack against benign.
    pub attack: Detection,
    /// Flows of the categories dos and ddos against all others, benign or not: taken for one of the two.
    pub denial_of_service: Detection,
    /// Mean square of the difference between the probability of an attack and what it is; 0 is best.
    pub brier_score: f64,
    /// How often what was held for an attack with some probability is one.
    pub reliability: Vec<Reliability>,
    /// What would be found at other thresholds.
    pub thresholds: Vec<AtThreshold>,
    /// What the categories of the flows, and the model's, are called.
    pub classes: Vec<String>,
    /// Shape (true class, predicted class), in the order of `classes`: numbers of flows.
    pub confusion: Vec<Vec<f64>>,
    /// Figures of each class that has flows.
    pub categories: BTreeMap<String, CategoryFigures>,
    /// What became of each label.
    pub labels: Vec<LabelFigures>,
}

/// How well something is found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Detection {
    /// Flows that are it.
    pub flows: usize,
    /// Share of what was called so that is it; 0 when nothing was.
    pub precision: f64,
    /// Share of it that was called so.
    pub recall: f64,
    /// Harmonic mean of both.
    pub f1: f64,
    /// Share of the benign flows that were called so; 0 when there are none.
    pub false_positive_share: f64,
    /// Mean precision over all recalls, whatever the threshold.
    pub average_precision: f64,
}

/// Figures of one category.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CategoryFigures {
    /// By the class that the model decides for.
    #[serde(flatten)]
    pub class: ClassFigures,
    /// Of its probability, against all other flows; `None` when the model does not know it.
    pub average_precision: Option<f64>,
    /// Share of its flows that were taken for some attack.
    pub detected_share: f64,
}

/// What became of the flows of one label.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LabelFigures {
    /// As the file has it.
    pub label: String,
    /// What it means.
    pub category: Category,
    /// Flows.
    pub flows: usize,
    /// Of them, those that were taken for some attack.
    pub detected: usize,
    /// Of them, those that were taken for dos or ddos.
    pub denial_of_service: usize,
}

/// A range of probability.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Reliability {
    /// Where it begins; the next one's begin is its end.
    pub from: f64,
    /// Flows whose probability of an attack is in it.
    pub flows: usize,
    /// Mean of their probabilities.
    pub promised_share: f64,
    /// Share of them that are attacks.
    pub attack_share: f64,
}

/// What would be found from one probability on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AtThreshold {
    /// The probability.
    pub threshold: f64,
    /// Share of what is over it as any attack that is one.
    pub attack_precision: f64,
    /// Share of the attacks that are over it.
    pub attack_recall: f64,
    /// Share of the benign flows that are over it as any attack.
    pub attack_false_positive_share: f64,
    /// Share of what is over it as dos or ddos that is one of the two.
    pub denial_of_service_precision: f64,
    /// Share of dos and ddos that is over it.
    pub denial_of_service_recall: f64,
    /// Share of the benign flows that are over it as dos or ddos.
    pub denial_of_service_false_positive_share: f64,
}

impl Evaluation {
    /// Asks `model` about all flows.
    #[must_use]
    pub fn of(model: &FlowModel, data: &Labelled) -> Self {
        let probabilities = model.probabilities(&data.table);
        let own = classes(model, data);
        let predicted: Vec<usize> =
            probabilities.rows().into_iter().map(|row| own.of_model[model.decide(row)]).collect();
        let truly: Vec<usize> = data.categories.iter().map(|category| own.of(*category)).collect();
        let attack: Vec<f64> = probabilities.rows().into_iter().map(attack_of).collect();
        let is_attack: Vec<bool> = truly.iter().map(|class| *class > 0).collect();
        let is_benign: Vec<bool> = truly.iter().map(|class| *class == 0).collect();
        let is_called: Vec<bool> = predicted.iter().map(|class| *class > 0).collect();
        let rows = || probabilities.rows().into_iter();
        let called_dos: Vec<bool> = rows().map(|row| model.is_denial_of_service(model.decide(row))).collect();
        let is_dos: Vec<bool> =
            data.categories.iter().map(|category| category.is_denial_of_service()).collect();
        let dos: Vec<f64> = rows().map(|row| model.denial_of_service_of(row)).collect();
        let confusion = Confusion::of(own.names.len(), &truly, &predicted);
        let thresholds = THRESHOLDS.map(|threshold| {
            let both = Thresholds { attack: threshold, denial_of_service: threshold };
            let decided: Vec<usize> = rows().map(|row| model.decide_by(both, row)).collect();
            let called = |is_called: &dyn Fn(usize) -> bool, scores: &[f64], is_it: &[bool]| {
                let is_called: Vec<bool> = decided.iter().map(|class| is_called(*class)).collect();
                detection(&is_called, scores, is_it, &is_benign)
            };
            let any = called(&|class| class > 0, &attack, &is_attack);
            let dos = called(&|class| model.is_denial_of_service(class), &dos, &is_dos);
            AtThreshold {
                threshold,
                attack_precision: any.precision,
                attack_recall: any.recall,
                attack_false_positive_share: any.false_positive_share,
                denial_of_service_precision: dos.precision,
                denial_of_service_recall: dos.recall,
                denial_of_service_false_positive_share: dos.false_positive_share,
            }
        });
        Self {
            flows: truly.len(),
            data_sha256: data.digest.clone(),
            model_thresholds: model.thresholds(),
            attack: detection(&is_called, &attack, &is_attack, &is_benign),
            denial_of_service: detection(&called_dos, &dos, &is_dos, &is_benign),
            brier_score: brier_score(&attack, &is_attack),
            reliability: reliability(&attack, &is_attack),
            thresholds: thresholds.to_vec(),
            categories: own.figures(&probabilities, &truly, &is_called, &confusion),
            labels: by_label(data, &is_called, &called_dos),
            confusion: confusion.counts().to_vec(),
            classes: own.names,
        }
    }
}

/// The classes of a model and of flows, as one list.
struct JoinedClasses {
    names: Vec<String>,
    /// Where in `names` each class of the model stands.
    of_model: Vec<usize>,
}

fn classes(model: &FlowModel, data: &Labelled) -> JoinedClasses {
    let known = model.classes();
    let is_binary = known.iter().any(|name| name == "attack");
    let names: Vec<String> = if is_binary {
        known.to_vec()
    } else {
        let is_there = |category: &Category| {
            known.iter().any(|name| name == category.name()) || data.categories.contains(category)
        };
        let there = Category::ALL.into_iter().filter(is_there);
        there.map(|category| category.name().to_owned()).collect()
    };
    let place = |name: &String| names.iter().position(|own| own == name).unwrap_or(0);
    let of_model = known.iter().map(place).collect();
    JoinedClasses { names, of_model }
}

impl JoinedClasses {
    /// Of a model that knows no categories, every attack is the second.
    fn of(&self, category: Category) -> usize {
        let own = self.names.iter().position(|name| name == category.name());
        own.unwrap_or(usize::from(category != Category::Benign))
    }

    fn figures(
        &self,
        probabilities: &Probabilities,
        truly: &[usize],
        is_called: &[bool],
        confusion: &Confusion,
    ) -> BTreeMap<String, CategoryFigures> {
        let mut figures = BTreeMap::new();
        for (class, name) in self.names.iter().enumerate() {
            let is_own: Vec<bool> = truly.iter().map(|own| *own == class).collect();
            let flows = count(is_own.iter().copied());
            if flows == 0 {
                continue;
            }
            let column = self.of_model.iter().position(|own| *own == class);
            let average_precision =
                column.map(|column| average_precision(&probabilities.column(column).to_vec(), &is_own));
            let detected = count(is_own.iter().zip(is_called).map(|(own, called)| *own && *called));
            let own = CategoryFigures {
                class: confusion.class(class),
                average_precision,
                detected_share: share(detected, flows),
            };
            figures.insert(name.clone(), own);
        }
        figures
    }
}

fn by_label(data: &Labelled, is_called: &[bool], called_dos: &[bool]) -> Vec<LabelFigures> {
    let mut figures: BTreeMap<(Category, &str), LabelFigures> = BTreeMap::new();
    for (row, (label, category)) in data.labels.iter().zip(&data.categories).enumerate() {
        let own = figures.entry((*category, label)).or_insert_with(|| LabelFigures {
            label: label.clone(),
            category: *category,
            flows: 0,
            detected: 0,
            denial_of_service: 0,
        });
        own.flows += 1;
        own.detected += usize::from(is_called[row]);
        own.denial_of_service += usize::from(called_dos[row]);
    }
    figures.into_values().collect()
}

fn detection(is_called: &[bool], scores: &[f64], is_it: &[bool], is_benign: &[bool]) -> Detection {
    let flows = count(is_it.iter().copied());
    let called = count(is_called.iter().copied());
    let both = |of: &[bool]| count(is_called.iter().zip(of).map(|(called, is)| *called && *is));
    let right = both(is_it);
    Detection {
        flows,
        precision: share(right, called),
        recall: share(right, flows),
        f1: share(2 * right, flows + called),
        false_positive_share: share(both(is_benign), count(is_benign.iter().copied())),
        average_precision: average_precision(scores, is_it),
    }
}

/// A threshold with what is over it: shares are of the weight.
struct Step {
    threshold: f64,
    precision: f64,
    recall: f64,
}

/// One for each score that occurs, highest first; equal scores are one step.
fn steps(scores: &[f64], is_it: &[bool], weights: &[f64]) -> Vec<Step> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let all: f64 = is_it.iter().zip(weights).filter(|(is, _)| **is).map(|(_, weight)| weight).sum();
    let (mut right, mut called) = (0.0, 0.0);
    let mut steps = Vec::new();
    for (place, row) in order.iter().enumerate() {
        called += weights[*row];
        right += if is_it[*row] { weights[*row] } else { 0.0 };
        let is_last = order.get(place + 1).is_none_or(|next| scores[*next] < scores[*row]);
        if is_last && called > 0.0 && all > 0.0 {
            steps.push(Step { threshold: scores[*row], precision: right / called, recall: right / all });
        }
    }
    steps
}

/// The lowest score from which on `precision` of the weight is it; `None` when there is no such score. Shapes (rows).
#[must_use]
pub fn lowest_threshold(scores: &[f64], is_it: &[bool], weights: &[f64], precision: f64) -> Option<f64> {
    let reached = steps(scores, is_it, weights).into_iter().filter(|step| step.precision >= precision);
    reached.map(|step| step.threshold).reduce(f64::min)
}

/// The area below precision over recall, as steps; 0 when nothing is it. Shapes (rows).
#[must_use]
pub fn average_precision(scores: &[f64], is_it: &[bool]) -> f64 {
    let mut before = 0.0;
    let mut area = 0.0;
    for step in steps(scores, is_it, &vec![1.0; scores.len()]) {
        area += step.precision * (step.recall - before);
        before = step.recall;
    }
    area
}

fn brier_score(scores: &[f64], is_it: &[bool]) -> f64 {
    let squares = scores.iter().zip(is_it).map(|(score, is)| (score - f64::from(u8::from(*is))).powi(2));
    squares.sum::<f64>() / as_f64(scores.len().max(1))
}

fn reliability(scores: &[f64], is_it: &[bool]) -> Vec<Reliability> {
    let bins = (0..BINS).map(|bin| {
        let (from, to) = (as_f64(bin) / as_f64(BINS), as_f64(bin + 1) / as_f64(BINS));
        let is_in = |score: f64| score >= from && (score < to || bin + 1 == BINS);
        let own: Vec<(f64, bool)> =
            scores.iter().copied().zip(is_it.iter().copied()).filter(|(score, _)| is_in(*score)).collect();
        let sum: f64 = own.iter().map(|(score, _)| score).sum();
        Reliability {
            from,
            flows: own.len(),
            promised_share: if own.is_empty() { 0.0 } else { sum / as_f64(own.len()) },
            attack_share: share(count(own.iter().map(|(_, is)| *is)), own.len()),
        }
    });
    bins.filter(|bin| bin.flows > 0).collect()
}

fn count(flags: impl Iterator<Item = bool>) -> usize {
    flags.filter(|is_set| *is_set).count()
}

fn share(part: usize, whole: usize) -> f64 {
    if whole > 0 { as_f64(part) / as_f64(whole) } else { 0.0 }
}

#[expect(clippy::cast_precision_loss, reason = "numbers of flows")]
fn as_f64(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCORES: [f64; 6] = [0.9, 0.8, 0.8, 0.6, 0.3, 0.1];
    const IS_IT: [bool; 6] = [true, true, false, true, false, false];

    fn near(value: f64, expected: f64) {
        assert!((value - expected).abs() < 1e-12, "{value} is not {expected}");
    }

    #[test]
    fn figures_are_those_counted_by_hand() {
        // Steps: 1 of 1, 2 of 3, 3 of 4, 3 of 5, 3 of 6.
        near(average_precision(&SCORES, &IS_IT), (1.0 + 2.0 / 3.0 + 3.0 / 4.0) / 3.0);
        // The third is another attack.
        let is_benign = [false, false, false, false, true, true];
        let found = detection(&SCORES.map(|score| score >= 0.2), &SCORES, &IS_IT, &is_benign);
        near(found.false_positive_share, 0.5);
        let found = detection(&SCORES.map(|score| score >= 0.7), &SCORES, &IS_IT, &is_benign);
        near(found.false_positive_share, 0.0);
        near(found.precision, 2.0 / 3.0);
        near(found.recall, 2.0 / 3.0);
        near(found.f1, 2.0 / 3.0);
        near(brier_score(&[1.0, 0.5], &[true, false]), 0.125);
        assert_eq!(average_precision(&SCORES, &[false; 6]), 0.0);
    }

    #[test]
    fn the_threshold_is_the_lowest_that_is_precise() {
        let weights = [1.0; 6];
        for (precision, expected) in [(0.95, Some(0.9)), (0.75, Some(0.6)), (0.5, Some(0.1))] {
            assert_eq!(lowest_threshold(&SCORES, &IS_IT, &weights, precision), expected, "{precision}");
        }
        assert_eq!(lowest_threshold(&SCORES, &[false; 6], &weights, 0.5), None);
        // What is wrong weighs next to nothing.
        let weights = [1.0, 1.0, 0.01, 1.0, 0.01, 0.01];
        assert_eq!(lowest_threshold(&SCORES, &IS_IT, &weights, 0.95), Some(0.1));
    }

    #[test]
    fn promises_are_compared_with_what_came_true() {
        let bins = reliability(&[0.05, 0.95, 1.0, 0.93], &[false, true, true, false]);
        assert_eq!(bins.iter().map(|bin| bin.flows).collect::<Vec<_>>(), [1, 3]);
        near(bins[1].attack_share, 2.0 / 3.0);
        near(bins[1].promised_share, 0.96);
    }
}
