//! `mitigator evaluate`: the figures of models on labelled records.

use anyhow::Result;
use clap::{Args, Subcommand};

use super::Answer;
use super::evaluate_flows::FlowsArgs;
use super::evaluate_nsl_kdd::NslKddArgs;

/// Arguments of `mitigator evaluate`.
#[derive(Debug, Args)]
pub(super) struct EvaluateArgs {
    #[command(subcommand)]
    data_set: DataSet,
}

/// The comments are what `--help` shows.
#[derive(Debug, Subcommand)]
enum DataSet {
    /// Train on KDDTrain+ and tell the figures on KDDTest+
    ///
    /// With `--cross-validate` the test file is not read: each attack of the training file is once left out of training, and
    /// what models make of it is told. Choose by that; what was chosen by the test file is no figure of the test file.
    NslKdd(NslKddArgs),
    /// Tell the figures of a model of flows on others, or what a model of one data set is worth on another
    ///
    /// With `--model`: what that model makes of the labelled flows. With `--cross`: models learn from a part of one set, and
    /// answer for another part of it and for all of the other set, in both directions, with transferable and with all
    /// features. On flows of the set that it was trained on, a model is better than anywhere else.
    Flows(FlowsArgs),
}

impl EvaluateArgs {
    pub(super) fn run(&self) -> Result<Answer> {
        match &self.data_set {
            DataSet::NslKdd(args) => args.run(),
            DataSet::Flows(args) => args.run(),
        }
    }
}
