//! Our features beside those of the Python package: which are the same, which cannot be, and why.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::peer::Peer;

/// A flow: its features by name.
pub(super) type Row = BTreeMap<String, String>;

/// Greatest error of a feature that is called the same, as a share of the larger value (or of 1).
const TOLERANCE: f64 = 1e-6;

/// What was compared.
#[derive(Serialize)]
pub(crate) struct Comparison {
    /// Flows that both have, with the same endpoints, begin and packets each way.
    pub(crate) flows: usize,
    /// Of the package's flows, those that ours cuts otherwise.
    pub(crate) unmatched: usize,
    pub(crate) features: Vec<Compared>,
}

#[derive(Serialize)]
pub(crate) struct Compared {
    pub(crate) name: String,
    /// Greatest error of any flow.
    pub(crate) error: f64,
    /// Why it differs; `None` when it is to be the same.
    pub(crate) reason: Option<&'static str>,
}

const FRAMES: &str =
    "counts whole frames, with link and IP headers and padding, where CICFlowMeter counts payload";
const SAMPLE: &str =
    "divides by n, where CICFlowMeter (and ours) divides by n - 1; and is 0 for a single pause";
const SINGLE: &str = "is 0 where there is a single pause";
const PAUSES: &str = "has limits of 1 ms and 5 ms, where CICFlowMeter has 1 s and 5 s";

/// Why the package's feature is another one.
fn reason(name: &str) -> Option<&'static str> {
    Some(match name {
        "flow_byts_s" | "totlen_fwd_pkts" | "totlen_bwd_pkts" | "pkt_size_avg" => FRAMES,
        "fwd_seg_size_avg" | "bwd_seg_size_avg" | "subflow_fwd_byts" | "subflow_bwd_byts" => FRAMES,
        "flow_iat_std" | "fwd_iat_std" | "bwd_iat_std" => SAMPLE,
        "fwd_header_len" | "bwd_header_len" | "fwd_seg_size_min" => {
            "has the length of the IP header where the transport is TCP"
        }
        "init_fwd_win_byts" | "init_bwd_win_byts" => {
            "is 0 without TCP; and backward it is the window of the last packet"
        }
        "subflow_fwd_pkts" | "subflow_bwd_pkts" => "has the packets of the whole flow",
        "cwr_flag_count" => "has the forward packets with URG",
        "timestamp" => return None,
        name if name.contains("pkt_len") => FRAMES,
        name if name.contains("_iat_") => SINGLE,
        name if name.starts_with("active") || name.starts_with("idle") || name.contains("_b_avg") => PAUSES,
        name if name.contains("blk_rate") => PAUSES,
        _ => return None,
    })
}

/// The rows of a CSV table.
pub(super) fn rows(csv: &[u8]) -> Result<Vec<Row>> {
    let text = std::str::from_utf8(csv)?;
    let mut lines = text.lines();
    let heading: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let row = |line: &str| -> Row {
        heading
            .iter()
            .zip(line.split(','))
            .map(|(name, cell)| ((*name).to_owned(), cell.to_owned()))
            .collect()
    };
    Ok(lines.map(row).collect())
}

/// What tells flows apart. Times are compared with the microsecond.
fn key(row: &Row) -> Result<String> {
    let cell = |name: &str| row.get(name).with_context(|| format!("there is no column {name}"));
    let begin = cell("timestamp")?;
    let begin_us: u128 = match begin.parse() {
        Ok(number) => number,
        Err(_) => humantime::parse_rfc3339(begin)?.duration_since(std::time::UNIX_EPOCH)?.as_micros(),
    };
    let names = ["src_ip", "src_port", "dst_ip", "dst_port", "protocol", "tot_fwd_pkts", "tot_bwd_pkts"];
    let cells = names.iter().map(|name| cell(name).map(String::as_str)).collect::<Result<Vec<_>>>()?;
    Ok(format!("{begin_us} {}", cells.join(" ")))
}

/// Compares every feature of every flow that both find in these captures.
///
/// # Errors
///
/// When a feature differs that is to be the same.
pub(super) fn compare(peer: &Peer, files: &[PathBuf]) -> Result<Comparison> {
    let (mut flows, mut unmatched) = (0, 0);
    let mut errors: BTreeMap<String, f64> = BTreeMap::new();
    for file in files {
        let mut ours: HashMap<String, Row> = HashMap::new();
        for row in super::ours(file)? {
            ours.insert(key(&row)?, row);
        }
        for theirs in peer.flows(file)?.0 {
            let Some(ours) = ours.get(&key(&theirs)?) else {
                unmatched += 1;
                continue;
            };
            flows += 1;
            for (name, cell) in &theirs {
                let ours = ours.get(if name == "cwr_flag_count" { "cwe_flag_count" } else { name });
                let ours: Option<f64> = ours.and_then(|cell| cell.parse().ok());
                // Addresses and times are no numbers; they are in the key.
                if let (Ok(theirs), Some(ours)) = (cell.parse::<f64>(), ours) {
                    let error = (theirs - ours).abs() / theirs.abs().max(ours.abs()).max(1.0);
                    let worst = errors.entry(name.clone()).or_default();
                    *worst = worst.max(error);
                }
            }
        }
    }
    ensure!(flows > 0, "no flow is in both");
    let compared = |(name, error): (String, f64)| Compared { reason: reason(&name), name, error };
    let features: Vec<Compared> = errors.into_iter().map(compared).collect();
    for Compared { name, error, reason } in &features {
        ensure!(
            reason.is_some() || *error <= TOLERANCE,
            "`{name}` of the package is to be the same as ours, and differs by {error:e}"
        );
    }
    Ok(Comparison { flows, unmatched, features })
}
