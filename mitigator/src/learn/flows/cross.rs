//! What a model of one data set is worth on another: the figure that counts for a network nobody has labelled.

use anyhow::Result;
use serde::Serialize;

use super::data::Labelled;
use super::evaluation::Evaluation;
use super::model::{FlowModel, Training};

/// Share of a data set that is kept to validate with, and as much again to judge by.
pub const KEPT_SHARE: f64 = 0.2;

/// A model of one data set, asked about what was kept of it, and about another one.
#[derive(Clone, Debug, Serialize)]
pub struct CrossEvaluation {
    /// How it was trained.
    pub training: Training,
    /// Flows that it learned from.
    pub learned_flows: usize,
    /// On flows of the same data set that it has not seen.
    pub in_set: Evaluation,
    /// On all flows of the other one.
    pub cross_set: Evaluation,
}

/// Trains on a part of `own`, and asks about another part of it and about all of `other`.
///
/// # Errors
///
/// As [`FlowModel::fit`].
pub fn cross_evaluate(
    own: &Labelled,
    other: &Labelled,
    training: &Training,
    progress: impl FnMut(u64, u64),
) -> Result<CrossEvaluation> {
    let seed = training.seed;
    let (rest, test) = own.part(KEPT_SHARE, seed);
    let (learned, validation) = rest.part(KEPT_SHARE, seed.wrapping_add(1));
    let model = FlowModel::fit(&learned, &validation, training, progress)?;
    Ok(CrossEvaluation {
        training: training.clone(),
        learned_flows: learned.categories.len(),
        in_set: Evaluation::of(&model, &test),
        cross_set: Evaluation::of(&model, other),
    })
}
