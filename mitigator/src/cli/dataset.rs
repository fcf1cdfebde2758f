//! `mitigator dataset`: data sets of labelled rows, made ready for training.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::Answer;
use super::progress::byte_bar;
use crate::dataset::{Part, Source, Split, SplitSettings, write_split};
use crate::report::output::{Align, print_report, printable, table};

/// Arguments of `mitigator dataset`.
#[derive(Debug, Args)]
pub(super) struct DatasetArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Share the rows of CSV files out into train.parquet, validation.parquet and test.parquet
    ///
    /// Rows are drawn at random within each label, so that every part has about the same mixture. Rows that are equal
    /// but for the label stay in one part. The same rows and the same seed give the same parts.
    ///
    /// Example: `mitigator dataset split cic2018/ --output cic2018-split`
    Split(SplitArgs),
}

/// Arguments of `mitigator dataset split`.
#[derive(Debug, Args)]
struct SplitArgs {
    /// A directory of .csv, .csv.gz or .csv.zst files with the same columns, or one such file
    #[arg(value_name = "DIR|FILE")]
    data: PathBuf,
    /// The directory to make, with a Parquet file for each part
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
    /// Share of the rows to learn from
    #[arg(long, value_name = "PARTS", default_value_t = 80)]
    train: u32,
    /// Share of the rows to choose settings by
    #[arg(long, value_name = "PARTS", default_value_t = 10)]
    validation: u32,
    /// Share of the rows to judge by
    #[arg(long, value_name = "PARTS", default_value_t = 10)]
    test: u32,
    /// The column of labels [default: the one called Label]
    #[arg(long, value_name = "COLUMN")]
    label: Option<String>,
    /// Columns that do not make rows different, as a running number; may be given several times, or separated by commas
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    ignore: Vec<String>,
    /// Of the draw; another seed shares out otherwise
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    output: String,
    seed: u64,
    parts: [&'static str; 3],
    #[serde(flatten)]
    split: Split,
}

impl DatasetArgs {
    pub(super) fn run(&self) -> Result<Answer> {
        match &self.action {
            Action::Split(args) => args.run(),
        }
    }
}

impl SplitArgs {
    fn run(&self) -> Result<Answer> {
        let settings = SplitSettings {
            shares: [self.train, self.validation, self.test],
            seed: self.seed,
            label: self.label.clone(),
            ignored: self.ignore.clone(),
        };
        let split = Source::open(&self.data)
            .and_then(|source| {
                // The files are read three times.
                let bar = byte_bar(3 * source.bytes());
                let split = write_split(&source, &settings, &self.output, |bytes| bar.set_position(bytes));
                bar.finish_and_clear();
                split
            })
            .with_context(|| format!("cannot split {}", self.data.display()))?;
        let report = Report {
            output: self.output.display().to_string(),
            seed: self.seed,
            parts: Part::ALL.map(Part::name),
            split,
        };
        print_report(self.json, &report, || text(&report))?;
        Ok(Answer::Done)
    }
}

fn text(report: &Report) -> String {
    let heading = [
        ("LABEL", Align::Left),
        ("TRAIN", Align::Right),
        ("VALIDATION", Align::Right),
        ("TEST", Align::Right),
    ];
    let row = |(label, counts): (&String, &[u64; 3])| {
        std::iter::once(printable(label)).chain(counts.iter().map(u64::to_string)).collect()
    };
    let rows: Vec<Vec<String>> = report.split.labels.iter().map(row).collect();
    let Split { repeated_rows, unlabelled_rows, repeated_headings, missing_cells, .. } = report.split;
    let mut text = table(&heading, &rows);
    text += &format!(
        "\nwritten to {}; {repeated_rows} rows are equal to others, but for the label",
        printable(&report.output)
    );
    if unlabelled_rows > 0 {
        text += &format!("; {unlabelled_rows} rows without a label are left out");
    }
    if repeated_headings > 0 {
        text +=
            &format!("; the heading stands {repeated_headings} times among the rows, and is left out there");
    }
    if missing_cells > 0 {
        text += &format!("; {missing_cells} cells that are no finite number are missing there");
    }
    text + "\n"
}
