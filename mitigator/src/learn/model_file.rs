//! The file of a trained model: compressed with zstd, a line of JSON that says what it is, and a line that is it.
//!
//! The first line is read and judged before the second, so that a model of another version, data set or shape is refused with
//! a sentence. A checksum covers both.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::classifier::Settings;
use crate::report::file::write_file;

const FORMAT: &str = "mitigator model";
/// Of the format; another one is refused.
pub const VERSION: u32 = 2;
const COMPRESSION_LEVEL: i32 = 9;
/// More than any header, less than what would hurt.
const LONGEST_HEADER_BYTES: u64 = 1 << 20;

/// What a model is; how it was trained is `S`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header<S = Settings> {
    format: String,
    version: u32,
    /// Version of mitigator that wrote it.
    pub written_by: String,
    /// Of which data set's records it speaks, such as `nsl-kdd`.
    pub data_set: String,
    /// Names of its classes.
    pub classes: Vec<String>,
    /// Names of the columns of the table that it reads.
    pub columns: Vec<String>,
    /// How it was trained.
    pub settings: S,
    /// Records that it was trained on.
    pub records: usize,
    /// SHA-256 of the file that it was trained on, uncompressed.
    pub data_sha256: String,
}

impl<S> Header<S> {
    /// Of a model that this mitigator writes.
    #[must_use]
    pub fn new(
        data_set: &str,
        classes: Vec<String>,
        columns: Vec<String>,
        settings: S,
        records: usize,
        data_sha256: String,
    ) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            written_by: env!("CARGO_PKG_VERSION").to_owned(),
            data_set: data_set.to_owned(),
            classes,
            columns,
            settings,
            records,
            data_sha256,
        }
    }
}

/// Of the header, what every version has.
#[derive(Deserialize)]
struct Origin {
    format: String,
    version: u32,
    written_by: String,
    data_set: String,
}

/// Writes a model; a file that stood there is replaced only by a whole one.
///
/// # Errors
///
/// When it cannot be written.
pub fn write<S: Serialize>(path: &Path, header: &Header<S>, model: &impl Serialize) -> Result<()> {
    write_file(path, |out| {
        let mut out = zstd::Encoder::new(out, COMPRESSION_LEVEL)?;
        out.include_checksum(true)?;
        serde_json::to_writer(&mut out, header)?;
        out.write_all(b"\n")?;
        serde_json::to_writer(&mut out, model)?;
        out.finish()?;
        Ok(())
    })
    .with_context(|| format!("cannot write the model {}", path.display()))
}

/// Reads a model of `data_set`.
///
/// # Errors
///
/// When it cannot be read, is no model, or one of another version or data set.
pub fn read<S, M>(path: &Path, data_set: &str) -> Result<(Header<S>, M)>
where
    S: DeserializeOwned,
    M: DeserializeOwned,
{
    let name = path.display();
    let file = File::open(path).with_context(|| format!("cannot open the model {name}"))?;
    let is_damaged =
        || format!("the model {name} is damaged; train it again with `mitigator train {data_set}`");
    let is_no_model = || format!("{name} is no model; `mitigator train {data_set}` writes one");
    let mut lines = BufReader::new(zstd::Decoder::new(file).with_context(is_no_model)?);
    let mut first = String::new();
    if let Err(error) = std::io::Read::take(&mut lines, LONGEST_HEADER_BYTES).read_line(&mut first) {
        let is_cut = error.kind() == ErrorKind::UnexpectedEof;
        return Err(error).with_context(|| if is_cut { is_damaged() } else { is_no_model() });
    }
    let origin: Origin = serde_json::from_str(&first).with_context(is_no_model)?;
    ensure!(origin.format == FORMAT, is_no_model());
    if origin.version != VERSION {
        bail!(
            "{name} is a model of version {}, written by mitigator {}; this one reads version {VERSION}: train it again with \
             `mitigator train {}`",
            origin.version,
            origin.written_by,
            origin.data_set
        );
    }
    ensure!(
        origin.data_set == data_set,
        "{name} is a model of {}, not of {data_set}; `mitigator train {data_set}` writes one",
        origin.data_set
    );
    let header = serde_json::from_str(&first).with_context(is_damaged)?;
    let model = serde_json::from_reader(lines).with_context(is_damaged)?;
    Ok((header, model))
}
