//! Records of NSL-KDD: a connection as 41 features, perhaps the name of the attack that it was, perhaps a difficulty.
//!
//! Text, a record a line, separated by commas, plain or compressed with gzip or zstd. What is wrong is told with file and
//! line; nothing is guessed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use super::attack::{Attack, Class};
use crate::capture::compression::uncompressed;

/// Features of a record, as the data set has them.
pub const FEATURES: usize = 41;
/// The longest line of the data set has 196 bytes.
const LONGEST_LINE_BYTES: u64 = 4_096;
/// Their places in a line.
const CATEGORIES: [usize; 3] = [1, 2, 3];

/// The names of the features that are numbers, in the data set's order, without the three that are words.
pub const NUMBERS: [&str; FEATURES - CATEGORIES.len()] = [
    "duration",
    "src_bytes",
    "dst_bytes",
    "land",
    "wrong_fragment",
    "urgent",
    "hot",
    "num_failed_logins",
    "logged_in",
    "num_compromised",
    "root_shell",
    "su_attempted",
    "num_root",
    "num_file_creations",
    "num_shells",
    "num_access_files",
    "num_outbound_cmds",
    "is_host_login",
    "is_guest_login",
    "count",
    "srv_count",
    "serror_rate",
    "srv_serror_rate",
    "rerror_rate",
    "srv_rerror_rate",
    "same_srv_rate",
    "diff_srv_rate",
    "srv_diff_host_rate",
    "dst_host_count",
    "dst_host_srv_count",
    "dst_host_same_srv_rate",
    "dst_host_diff_srv_rate",
    "dst_host_same_src_port_rate",
    "dst_host_srv_diff_host_rate",
    "dst_host_serror_rate",
    "dst_host_srv_serror_rate",
    "dst_host_rerror_rate",
    "dst_host_srv_rerror_rate",
];

/// One connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// As [`NUMBERS`] names them; all finite, none below 0.
    pub numbers: [f64; NUMBERS.len()],
    /// `tcp`, `udp`, `icmp`.
    pub protocol: String,
    /// The service at its destination port, such as `http`.
    pub service: String,
    /// How the connection ended, such as `SF`.
    pub flag: String,
    /// What it was; `None` when the line does not say.
    pub attack: Option<&'static Attack>,
}

impl Record {
    /// Its class; `None` when the line did not say what it was.
    #[must_use]
    pub fn class(&self) -> Option<Class> {
        self.attack.map(|attack| attack.class)
    }

    /// Reads a line.
    ///
    /// # Errors
    ///
    /// When it has not 41 columns, or 42 with the attack, or 43 with the difficulty too; when a number is none, or the
    /// attack is unknown.
    pub fn parse(line: &str) -> Result<Self> {
        let columns: Vec<&str> = line.split(',').map(str::trim).collect();
        ensure!(
            (FEATURES..=FEATURES + 2).contains(&columns.len()),
            "{} columns; a record has {FEATURES}, or {} with the name of the attack, or {} with the difficulty too",
            columns.len(),
            FEATURES + 1,
            FEATURES + 2
        );
        let mut numbers = [0.0; NUMBERS.len()];
        let columns_of_numbers = (0..FEATURES).filter(|column| !CATEGORIES.contains(column));
        for ((column, name), number) in columns_of_numbers.zip(NUMBERS).zip(&mut numbers) {
            *number = parse_number(columns[column])
                .with_context(|| format!("column {}, {name}, is `{}`", column + 1, columns[column]))?;
        }
        let word = |column: usize, name: &str| {
            let word = columns[column];
            ensure!(!word.is_empty(), "column {}, {name}, is empty", column + 1);
            Ok(word.to_owned())
        };
        let attack = columns.get(FEATURES).map(|name| {
            Attack::named(name).with_context(|| {
                format!("`{name}` is no label of NSL-KDD; it has `normal` and 39 names of attacks, such as `neptune`")
            })
        });
        Ok(Self {
            numbers,
            protocol: word(CATEGORIES[0], "protocol_type")?,
            service: word(CATEGORIES[1], "service")?,
            flag: word(CATEGORIES[2], "flag")?,
            attack: attack.transpose()?,
        })
    }
}

fn parse_number(text: &str) -> Result<f64> {
    let number: f64 = text.parse().context("not a number")?;
    ensure!(number.is_finite() && number >= 0.0, "it has to be a finite number, and not below 0");
    Ok(number)
}

/// Records of a stream, one by one.
pub struct Records {
    lines: BufReader<Box<dyn Read + Send>>,
    name: String,
    line: u64,
    digest: Sha256,
}

impl Records {
    /// Opens a file; `-` is standard input.
    ///
    /// # Errors
    ///
    /// When it cannot be opened or read.
    pub fn open(path: &Path) -> Result<Self> {
        if path == Path::new("-") {
            return Self::from_reader(io::stdin(), "standard input");
        }
        let name = path.display().to_string();
        let file = File::open(path).with_context(|| format!("cannot open {name}"))?;
        Self::from_reader(file, &name)
    }

    /// Reads from `reader`; `name` is for messages.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn from_reader(reader: impl Read + Send + 'static, name: &str) -> Result<Self> {
        let lines = uncompressed(reader).with_context(|| format!("cannot read {name}"))?;
        Ok(Self {
            lines: BufReader::with_capacity(1 << 16, lines),
            name: name.to_owned(),
            line: 0,
            digest: Sha256::new(),
        })
    }

    /// The next record; `None` at the end. Empty lines are passed over.
    ///
    /// # Errors
    ///
    /// With file and line, when a line is no record or the stream cannot be read.
    pub fn read(&mut self) -> Result<Option<Record>> {
        loop {
            let mut bytes = Vec::with_capacity(256);
            self.line += 1;
            let place = |name: &str, line| format!("{name}, line {line}");
            let read = self
                .lines
                .by_ref()
                .take(LONGEST_LINE_BYTES)
                .read_until(b'\n', &mut bytes)
                .with_context(|| format!("cannot read {}", place(&self.name, self.line)))?;
            if read == 0 {
                return Ok(None);
            }
            self.digest.update(&bytes);
            let place = || place(&self.name, self.line);
            if read as u64 == LONGEST_LINE_BYTES {
                bail!("{}: longer than {LONGEST_LINE_BYTES} bytes; is this NSL-KDD?", place());
            }
            let line = str::from_utf8(&bytes).with_context(|| format!("{}: not text", place()))?.trim();
            if !line.is_empty() {
                return Record::parse(line).with_context(place).map(Some);
            }
        }
    }

    /// Whether the next line is there and need not be waited for.
    #[must_use]
    pub fn is_at_hand(&self) -> bool {
        self.lines.buffer().contains(&b'\n')
    }

    /// SHA-256 of what was read so far, uncompressed, in hexadecimal digits.
    #[must_use]
    pub fn digest(&self) -> String {
        self.digest.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A whole file of labelled records.
#[derive(Debug)]
pub struct Labelled {
    /// In the file's order; each has its attack.
    pub records: Vec<Record>,
    /// SHA-256 of the file, uncompressed, in hexadecimal digits.
    pub digest: String,
}

impl Labelled {
    /// Reads a file to its end; `name` without its compression's ending finds the compressed file, too.
    ///
    /// # Errors
    ///
    /// As [`Records::read`], and when the file has no records or one without a label.
    pub fn read(path: &Path) -> Result<Self> {
        Self::read_from(Records::open(&existing(path))?)
    }

    fn read_from(mut stream: Records) -> Result<Self> {
        let mut records = Vec::new();
        while let Some(record) = stream.read()? {
            ensure!(
                record.attack.is_some(),
                "{}, line {}: no label; to learn and to evaluate takes the attack's name in column {}",
                stream.name,
                stream.line,
                FEATURES + 1
            );
            records.push(record);
        }
        ensure!(!records.is_empty(), "{} has no records", stream.name);
        Ok(Self { records, digest: stream.digest() })
    }

    /// The number of each record's class in [`Class::ALL`].
    #[must_use]
    pub fn classes(&self) -> Vec<usize> {
        self.records.iter().map(|record| record.class().expect("checked when read") as usize).collect()
    }
}

/// `path`, or the compressed file beside it.
fn existing(path: &Path) -> std::path::PathBuf {
    let with = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        std::path::PathBuf::from(name)
    };
    [path.to_owned(), with(".zst"), with(".gz")]
        .into_iter()
        .find(|path| path.exists())
        .unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
pub(in crate::learn) mod tests {
    use super::*;

    /// A line with these bytes sent, service and end.
    pub(in crate::learn) fn line(src_bytes: f64, service: &str, end: &str) -> String {
        let zeros = vec!["0"; FEATURES - 5].join(",");
        format!("0,tcp,{service},SF,{src_bytes},{zeros}{end}")
    }

    fn read(text: &str) -> Result<Labelled> {
        let stream = Records::from_reader(io::Cursor::new(text.to_owned().into_bytes()), "FILE")?;
        Labelled::read_from(stream)
    }

    #[test]
    fn a_record_may_have_its_attack_and_a_difficulty() {
        for (end, attack) in [("", None), (",neptune", Some("neptune")), (",normal,21", Some("normal"))] {
            let record = Record::parse(&line(491.0, "http", end)).unwrap();
            assert_eq!(record.attack.map(|attack| attack.name), attack, "{end}");
            assert_eq!((record.numbers[1], record.service.as_str()), (491.0, "http"));
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_file_and_line() {
        let good = line(1.0, "http", ",normal,20");
        let nan = line(f64::NAN, "http", ",normal");
        let long = "1,".repeat(3_000);
        for (description, text, hint) in [
            ("cut", format!("{good}\n0,tcp,http\n"), "FILE, line 2: 3 columns; a record has 41"),
            ("too wide", format!("{good},1"), "FILE, line 1: 44 columns"),
            ("no number", nan, "column 5, src_bytes, is `NaN`"),
            ("negative", line(-1.0, "http", ",normal"), "not below 0"),
            ("unknown attack", format!("\n{}", line(1.0, "http", ",magic")), "line 2: `magic` is no label"),
            ("no label", line(1.0, "http", ""), "line 1: no label"),
            ("no service", line(1.0, "", ",normal"), "column 3, service, is empty"),
            ("endless", long, "longer than 4096 bytes"),
            ("empty", "\n\n".to_owned(), "FILE has no records"),
        ] {
            let error = format!("{:#}", read(&text).unwrap_err());
            assert!(error.contains(hint), "{description}: {error}");
        }
    }

    #[test]
    fn compression_changes_neither_records_nor_digest() {
        let text = [line(1.0, "http", ",normal,20"), line(2.0, "smtp", ",back,3")].join("\r\n");
        let plain = read(&text).unwrap();
        assert_eq!(plain.classes(), [0, 1]);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("KDDTrain+.txt");
        std::fs::write(
            directory.path().join("KDDTrain+.txt.zst"),
            zstd::encode_all(text.as_bytes(), 1).unwrap(),
        )
        .unwrap();
        let compressed = Labelled::read(&path).unwrap();
        assert_eq!((compressed.records, compressed.digest), (plain.records, plain.digest));
    }
}
