//! `mitigator replay` over real captures: a report for each, and nobody blocked in the benign ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

use anyhow::{Context, Result, ensure};
use mitigator::capture::PcapWriter;
use mitigator::flows::features::Spelling;
use mitigator::learn::flows::model::{Classes, DEFAULT_BALANCE};
use mitigator::learn::flows::shapes::FeatureSet;
use mitigator::learn::flows::{FlowModel, Labelled, Training};
use mitigator::learn::model_file::VERSION;
use mitigator_tests::labelled_flows::labelled_flows;
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
        Trial::new("a_second_opinion_joins_the_evidence_of_an_http_flood", Needs::CicAndCaptures, opinion),
        Trial::new(
            "no_decision_is_another_one_with_a_second_opinion",
            Needs::Captures,
            opinion_decides_nothing,
        ),
        Trial::new(
            "a_flow_model_that_cannot_be_used_is_refused_at_the_start",
            Needs::Nothing,
            bad_flow_models,
        ),
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

/// Runs a verb that has to end well.
fn done(arguments: &[&str]) -> Result<()> {
    let output = Command::new(PROGRAM).args(arguments).output()?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is text")
}

fn opinion() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let model = directory.path().join("flows.model");
    // Every fourth flow of 2017.
    let of_2017 = Labelled::read(&[suite::cic().context("the data sets")?.join(suite::CIC_FILES[0])])?;
    let rows: Vec<usize> = (0..of_2017.categories.len()).step_by(4).collect();
    let (learned, validation) = of_2017.select(&rows).part(0.2, 0);
    let training = Training::new(FeatureSet::Transferable, Classes::Categories, DEFAULT_BALANCE, 0);
    let header =
        FlowModel::fit(&learned, &validation, &training, |_, _| {})?.write(&model, &training, &learned)?;
    let with_model = ["--flow-model", text(&model)?];
    let report = report(&path_of("attack_hulk.pcap.zst")?, &with_model)?;
    let mut blocks = 0;
    for verdict in report["verdicts"].as_array().context("verdicts")? {
        let opinion = &verdict["evidence"]["second_opinion"];
        if verdict["decision"] != "block" {
            continue;
        }
        blocks += 1;
        let (flows, class_flows) = (opinion["flows"].as_u64(), opinion["class_flows"].as_u64());
        ensure!(flows > Some(0) && flows <= opinion["seen_flows"].as_u64(), "{opinion}");
        ensure!(class_flows > Some(0) && class_flows <= flows, "{opinion}");
        ensure!(opinion["model"] == "flows.model" && opinion["learned_flows"] == header.records, "{opinion}");
        ensure!(opinion["live_flows"].as_u64() <= flows, "{opinion}");
        ensure!(opinion["source_share"] == 1.0 && opinion["lost_packets"] == 0, "{opinion}");
        // Which attack it is, it does not see: most of the flows have hardly begun. That it is one, it does.
        ensure!(opinion["agrees"] == true && opinion["class"] != "benign", "{opinion}");
        let probability = opinion["probability"].as_f64().context("a probability")?;
        ensure!((0.0..=1.0).contains(&probability) && probability > 0.3, "{opinion}");
    }
    ensure!(blocks > 0, "nobody was blocked: {report}");

    let attacker = report["verdicts"][0]["target"].as_str().context("a target")?;
    let explain = [&with_model[..], &["--explain", attacker]].concat();
    let told = replay(&path_of("attack_hulk.pcap.zst")?, &explain)?.stdout;
    let told = String::from_utf8(told)?.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in ["Second opinion, which decides nothing: an attack, too. Of ", " over yet. The flow model is"]
    {
        ensure!(told.contains(part), "{part}: {told}");
    }
    let table = String::from_utf8(replay(&path_of("attack_hulk.pcap.zst")?, &with_model)?.stdout)?;
    ensure!(table.contains("SECOND OPINION") && table.contains(" flows)"), "{table}");

    // Whom nobody blames, nobody is asked about.
    let twin =
        replay(&path_of("benign_browsing_office.pcap.zst")?, &[&with_model[..], &["--json"]].concat())?;
    ensure!(!String::from_utf8(twin.stdout)?.contains("second_opinion"));
    Ok(())
}

/// A model that learned from flows that are made up.
fn made_up_model(directory: &Path) -> Result<PathBuf> {
    let (flows, model) = (directory.join("flows.csv"), directory.join("flows.model"));
    std::fs::write(&flows, labelled_flows(Spelling::Original2018, 0))?;
    done(&["train", "flows", text(&flows)?, "--output", text(&model)?])?;
    Ok(model)
}

fn opinion_decides_nothing() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let model = made_up_model(directory.path())?;
    let config = directory.path().join("config.toml");
    std::fs::write(&config, format!("[flow_model]\npath = \"{}\"\n", text(&model)?))?;
    let mut opinions = 0;
    for (name, label) in captures()? {
        let without = report(&path_of(&name)?, &[])?;
        let mut with = report(&path_of(&name)?, &["--flow-model", text(&model)?])?;
        let verdicts = with["verdicts"].as_array_mut().context("verdicts")?;
        for verdict in verdicts {
            let evidence = verdict["evidence"].as_object_mut().context("evidence")?;
            let opinion = evidence.remove("second_opinion");
            opinions += usize::from(opinion.is_some_and(|opinion| opinion["flows"].as_u64() > Some(0)));
        }
        ensure!(with == without, "{name}: another report with a second opinion");
        if label["kind"] == "http-flood" {
            let configured = report(&path_of(&name)?, &["--config", text(&config)?])?;
            let of_file = report(&path_of(&name)?, &["--flow-model", text(&model)?])?;
            ensure!(configured == of_file, "{name}: the configuration names the same model");
        }
    }
    ensure!(opinions > 0, "nobody was asked about");
    Ok(())
}

fn bad_flow_models() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let place = |name: &str| directory.path().join(name);
    std::fs::write(place("text"), "no model\n")?;
    let header = |version: u32, data_set: &str| {
        let line = format!(
            "{{\"format\":\"mitigator model\",\"version\":{version},\"written_by\":\"9.9\",\"data_set\":\"{data_set}\"}}\n{{}}\n"
        );
        zstd::encode_all(line.as_bytes(), 1)
    };
    std::fs::write(place("nsl-kdd"), header(VERSION, "nsl-kdd")?)?;
    std::fs::write(place("newer"), header(VERSION + 1, "flows")?)?;
    std::fs::write(place("damaged"), header(VERSION, "flows")?)?;
    std::fs::write(place("capture.pcap"), PcapWriter::new(Vec::new())?.finish()?)?;
    let (capture, pins) = (place("capture.pcap"), place("pins"));
    for (name, hint) in [
        ("missing", "cannot open the model"),
        ("text", "is no model; `mitigator train flows` writes one"),
        ("nsl-kdd", "is a model of nsl-kdd, not of flows"),
        ("newer", "train it again"),
        ("damaged", "is damaged"),
    ] {
        let model = place(name);
        // It is refused before anything is asked for that takes rights, or attached.
        let run = ["run", "-i", "nowhere0", "--pin-dir", text(&pins)?, "--flow-model", text(&model)?];
        let replay = ["replay", text(&capture)?, "--flow-model", text(&model)?];
        for arguments in [&run[..], &replay[..]] {
            let output = Command::new(PROGRAM).args(arguments).output()?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.code() == Some(2) && said.contains(hint), "{arguments:?}: {said}");
            ensure!(said.contains(text(&model)?) && output.stdout.is_empty(), "{arguments:?}: {said}");
        }
    }
    Ok(())
}
