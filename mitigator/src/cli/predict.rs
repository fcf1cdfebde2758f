//! `mitigator predict`: the class of each record, by a model that was trained before.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::Answer;
use crate::learn::flows::FlowModel;
use crate::learn::flows::data::{Batch, FlowRows};
use crate::learn::nsl_kdd::attack::Class;
use crate::learn::nsl_kdd::model::Model;
use crate::learn::nsl_kdd::record::{Record, Records};
use crate::report::output::complain;

/// Records that are asked about at a time, at most; of a stream that pauses, those that are there.
const BATCH: usize = 1_024;

/// Arguments of `mitigator predict`.
#[derive(Debug, Args)]
pub(super) struct PredictArgs {
    #[command(subcommand)]
    data_set: DataSet,
}

/// The comments are what `--help` shows.
#[derive(Debug, Subcommand)]
enum DataSet {
    /// Print the class of each record of NSL-KDD, one a line
    ///
    /// A record has 41 columns; a label and a difficulty after them are passed over. When a record is bad, those before it
    /// are answered, and the exit status is 2.
    NslKdd(NslKddArgs),
    /// Print of each flow whether it is an attack, and of what kind, one a line
    ///
    /// Reads what `mitigator flows` writes, and files of the data sets; a label is passed over. When a row cannot be read,
    /// those before it are answered, and the exit status is 2.
    ///
    /// Example: `mitigator flows day.pcap | mitigator predict flows --model flows.model`
    Flows(FlowsArgs),
}

#[derive(Debug, Args)]
struct FlowsArgs {
    /// The flows: CSV, plain or compressed with zstd or gzip, or Parquet; `-` for standard input, without Parquet
    #[arg(default_value = "-")]
    file: PathBuf,
    /// The model, of `mitigator train flows`
    #[arg(long, alias = "model-file", value_name = "FILE")]
    model: PathBuf,
    /// Print one JSON object a flow, with the probabilities of all classes
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct NslKddArgs {
    /// The records, plain or compressed with zstd or gzip; `-` for standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    /// The model, of `mitigator train`
    #[arg(long, value_name = "FILE")]
    model_file: PathBuf,
    /// Print one JSON object a record, with the probabilities of all classes
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Prediction<'names> {
    class: &'names str,
    probabilities: BTreeMap<&'names str, f64>,
}

impl Prediction<'_> {
    fn write(&self, json: bool, out: &mut impl Write) -> io::Result<()> {
        if !json {
            return writeln!(out, "{}", self.class);
        }
        serde_json::to_writer(&mut *out, self)?;
        writeln!(out)
    }
}

impl PredictArgs {
    pub(super) fn run(&self) -> Result<Answer> {
        match &self.data_set {
            DataSet::NslKdd(args) => args.run(),
            DataSet::Flows(args) => args.run(),
        }
    }
}

impl NslKddArgs {
    fn run(&self) -> Result<Answer> {
        let (_, model) = Model::read(&self.model_file)?;
        let mut stream = Records::open(&self.file)?;
        let mut out = BufWriter::new(io::stdout().lock());
        let mut answered = false;
        loop {
            let mut batch = Vec::new();
            let end = loop {
                match stream.read() {
                    Ok(Some(record)) => {
                        batch.push(record);
                        if batch.len() == BATCH || !stream.is_at_hand() {
                            break None;
                        }
                    }
                    Ok(None) => break Some(Ok(())),
                    Err(error) => break Some(Err(error)),
                }
            };
            answered |= !batch.is_empty();
            self.answer(&model, &batch, &mut out).context("cannot write the predictions")?;
            if let Some(end) = end {
                end?;
                ensure!(answered, "{} has no records", self.file.display());
                return Ok(Answer::Done);
            }
        }
    }

    fn answer(&self, model: &Model, batch: &[Record], out: &mut impl Write) -> io::Result<()> {
        let probabilities = model.probabilities(batch);
        for (class, row) in model.decide(&probabilities).into_iter().zip(probabilities.rows()) {
            let names = Class::ALL.iter().map(|class| class.name());
            let probabilities = names.zip(row.iter().copied()).collect();
            Prediction { class: Class::ALL[class].name(), probabilities }.write(self.json, out)?;
        }
        out.flush()
    }
}

impl FlowsArgs {
    fn run(&self) -> Result<Answer> {
        let (_, model) = FlowModel::read(&self.model)?;
        let mut rows = FlowRows::open(&self.file)?;
        let mut out = BufWriter::new(io::stdout().lock());
        let mut answered = false;
        loop {
            let (batch, end) = rows.read_at_hand(BATCH);
            for text in &batch.texts {
                complain(format_args!(
                    "warning: {text}; such cells are taken for the median of what was learned"
                ));
            }
            answered |= batch.table.rows() > 0;
            self.answer(&model, &batch, &mut out).context("cannot write the predictions")?;
            if let Some(end) = end {
                end?;
                ensure!(answered, "{} has no flows", self.file.display());
                return Ok(Answer::Done);
            }
        }
    }

    fn answer(&self, model: &FlowModel, batch: &Batch, out: &mut impl Write) -> io::Result<()> {
        for row in model.probabilities(&batch.table).rows() {
            let names = model.classes().iter().map(String::as_str);
            let class = &model.classes()[model.decide(row)];
            let probabilities = names.zip(row.iter().copied()).collect();
            Prediction { class, probabilities }.write(self.json, out)?;
        }
        out.flush()
    }
}
