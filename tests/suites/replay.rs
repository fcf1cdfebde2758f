//! `mitigator replay` over real captures: a report for each, and nobody blocked in the benign ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

use anyhow::{Context, Result, ensure};
use mitigator_tests::suite::{self, Needs, Trial};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mitigator-under-test");

fn main() -> ExitCode {
    suite::run(vec![
        Trial::new("every_capture_gets_a_verdict_or_a_reason", Needs::Captures, every_capture),
        Trial::new("naming_the_victim_blocks_nobody_in_benign_captures", Needs::Captures, named_victims),
        Trial::new("a_stream_is_judged_whole_and_says_so", Needs::Captures, stream),
        Trial::new("a_report_is_the_same_twice_over", Needs::Captures, same_twice),
        Trial::new("a_cut_capture_is_reported_as_far_as_it_goes", Needs::Captures, cut_capture),
    ])
}

fn replay(file: &Path, more: &[&str]) -> Result<Output> {
    Ok(Command::new(PROGRAM).arg("replay").arg(file).args(more).output()?)
}

fn report(file: &Path, more: &[&str]) -> Result<Value> {
    let output = replay(file, &[&["--json"], more].concat())?;
    ensure!(output.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn captures() -> Result<BTreeMap<String, Value>> {
    let directory = suite::captures().context("there are no captures")?;
    let labels = std::fs::read(directory.join("labels.json"))?;
    Ok(serde_json::from_slice(&labels)?)
}

fn path_of(name: &str) -> Result<PathBuf> {
    let directory = suite::captures().context("there are no captures")?;
    Ok(directory.join(Path::new(name).file_name().context("a file name")?))
}

fn every_capture() -> Result<()> {
    for (name, label) in captures()? {
        let report = report(&path_of(&name)?, &[])?;
        let is_benign = label["kind"] == "benign";
        let verdicts = report["verdicts"].as_array().context("verdicts")?;
        ensure!(
            verdicts.is_empty() == report["nothing_to_decide"].is_string(),
            "{name}: neither verdict nor reason"
        );
        if is_benign {
            ensure_quiet(&report).context(name.clone())?;
        }
        let outcomes = report["outcomes"].as_object().context("outcomes")?;
        let arrived: u64 = outcomes.values().filter_map(Value::as_u64).sum();
        ensure!(
            Some(arrived + report["outgoing_packets"].as_u64().unwrap_or(0)) == report["packets"].as_u64(),
            "{name}: packets got lost"
        );
    }
    Ok(())
}

fn ensure_quiet(report: &Value) -> Result<()> {
    ensure!(report["dropped_packets"] == 0, "packets dropped");
    ensure!(report["attack"] == false, "called an attack");
    let verdicts = report["verdicts"].as_array().context("verdicts")?;
    ensure!(verdicts.iter().all(|verdict| verdict["decision"] != "block"), "somebody blocked");
    Ok(())
}

fn named_victims() -> Result<()> {
    let mut judged = 0;
    for (name, label) in captures()? {
        let victims: Vec<&str> =
            label["victims"].as_array().context("victims")?.iter().filter_map(Value::as_str).collect();
        if victims.is_empty() {
            continue;
        }
        let report = report(&path_of(&name)?, &["--victim", &victims.join(",")])?;
        ensure!(report["protected_by"] == "--victim", "{name}: {}", report["protected_by"]);
        if label["kind"] == "benign" {
            ensure_quiet(&report).context(name)?;
            judged += 1;
        }
    }
    ensure!(judged > 0, "no benign capture names a victim");
    Ok(())
}

fn stream() -> Result<()> {
    let name = captures()?.into_keys().next().context("a capture")?;
    let from_stdin = |more: &[&str]| {
        let file = std::fs::File::open(path_of(&name)?)?;
        Ok::<_, anyhow::Error>(Command::new(PROGRAM).args(["replay", "-"]).args(more).stdin(file).output()?)
    };
    let streamed: Value = serde_json::from_slice(&from_stdin(&["--json"])?.stdout)?;
    let read = report(&path_of(&name)?, &[])?;
    ensure!(streamed["packets"] == read["packets"], "{name}: {} packets", streamed["packets"]);
    ensure!(streamed["protected_by"] == "none", "{name}: {}", streamed["protected_by"]);
    let text = String::from_utf8(from_stdin(&[])?.stdout)?;
    ensure!(text.contains("a stream is read once"), "{text}");
    Ok(())
}

fn same_twice() -> Result<()> {
    for name in captures()?.into_keys() {
        let file = path_of(&name)?;
        let (first, second) = (replay(&file, &["--json"])?, replay(&file, &["--json"])?);
        ensure!(first.stdout == second.stdout, "{name}: two reports");
    }
    Ok(())
}

fn cut_capture() -> Result<()> {
    let name = captures()?.into_keys().next().context("a capture")?;
    let bytes = std::fs::read(path_of(&name)?)?;
    let directory = tempfile::tempdir()?;
    let cut = directory.path().join("cut");
    std::fs::write(&cut, bytes.get(..bytes.len() / 2).context("half of it")?)?;
    let output = replay(&cut, &["--json"])?;
    ensure!(output.status.code() == Some(2), "{output:?}");
    ensure!(String::from_utf8_lossy(&output.stderr).contains("damaged at byte"), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(
        report["packets"].as_u64() > Some(0) && report["damage"]["offset_bytes"].as_u64() > Some(0),
        "{report}"
    );
    Ok(())
}
