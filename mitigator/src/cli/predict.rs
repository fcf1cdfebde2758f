//! `mitigator predict`: the class of each record, by a model that was trained before.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::Answer;
use crate::learn::nsl_kdd::attack::Class;
use crate::learn::nsl_kdd::model::Model;
use crate::learn::nsl_kdd::record::{Record, Records};

/// Records that are asked about at a time.
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
struct Prediction {
    class: &'static str,
    probabilities: BTreeMap<&'static str, f64>,
}

impl PredictArgs {
    pub(super) fn run(&self) -> Result<Answer> {
        let DataSet::NslKdd(args) = &self.data_set;
        args.run()
    }
}

impl NslKddArgs {
    fn run(&self) -> Result<Answer> {
        let (_, model) = Model::read(&self.model_file)?;
        let mut stream = Records::open(&self.file)?;
        let mut out = BufWriter::new(io::stdout().lock());
        let mut answered = false;
        loop {
            let mut batch = Vec::with_capacity(BATCH);
            let end = loop {
                match stream.read() {
                    Ok(Some(record)) if batch.len() + 1 < BATCH => batch.push(record),
                    Ok(Some(record)) => {
                        batch.push(record);
                        break None;
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
            let class = Class::ALL[class].name();
            if self.json {
                let names = Class::ALL.iter().map(|class| class.name());
                let prediction =
                    Prediction { class, probabilities: names.zip(row.iter().copied()).collect() };
                serde_json::to_writer(&mut *out, &prediction)?;
                writeln!(out)?;
            } else {
                writeln!(out, "{class}")?;
            }
        }
        out.flush()
    }
}
