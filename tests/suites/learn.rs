//! `mitigator train`, `evaluate` and `predict`: on records made here, and on NSL-KDD.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Output, Stdio};

use anyhow::{Context, Result, ensure};
use mitigator::flows::features::Spelling;
use mitigator::learn::balance::Balance;
use mitigator::learn::classifier::Kind;
use mitigator::learn::flows::cross::cross_evaluate;
use mitigator::learn::flows::model::{Classes, DEFAULT_BALANCE, Training};
use mitigator::learn::flows::shapes::FeatureSet;
use mitigator::learn::flows::{FeatureTable, FlowModel, Labelled as Flows};
use mitigator::learn::nsl_kdd::attack::{ATTACKS, Class};
use mitigator::learn::nsl_kdd::evaluation::Evaluation;
use mitigator::learn::nsl_kdd::model::{self, Model};
use mitigator::learn::nsl_kdd::record::Labelled;
use mitigator_tests::labelled_flows::labelled_flows;
use mitigator_tests::suite::{self, Needs, Trial};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mitigator-under-test");
/// Of each attack of the training file.
const RECORDS: usize = 40;
const CLASSES: [&str; 5] = ["benign", "dos", "probe", "r2l", "u2r"];

fn main() -> ExitCode {
    suite::run(vec![
        Trial::new("a_model_tells_classes_apart_that_differ", Needs::Nothing, classes_that_differ),
        Trial::new("a_model_file_decides_as_the_model_did", Needs::Nothing, model_file),
        Trial::new("a_model_that_does_not_fit_is_refused", Needs::Nothing, other_models),
        Trial::new("records_that_are_bad_get_file_and_line", Needs::Nothing, bad_records),
        Trial::new("cross_validation_does_without_the_test_file", Needs::Nothing, cross_validation),
        Trial::new("the_spread_over_seeds_is_told", Needs::Nothing, spread),
        Trial::new("a_stream_is_answered_before_it_ends", Needs::Nothing, streams),
        Trial::new("a_tenth_of_nsl_kdd_is_enough_for_what_is_known", Needs::NslKdd, known_attacks),
        Trial::new("nsl_kdd_is_classified_as_promised", Needs::NslKdd, promised),
        Trial::new("flows_that_differ_are_told_apart", Needs::Nothing, flows_that_differ),
        Trial::new("flows_are_read_however_they_are_written", Needs::Nothing, flows_as_written),
        Trial::new("flows_that_are_bad_get_a_sentence", Needs::Nothing, bad_flows),
        Trial::new("an_attack_is_found_on_a_network_that_was_not_learned_from", Needs::Cic, cross_set),
        Trial::new("quantities_alone_find_next_to_nothing_elsewhere", Needs::Cic, cross_set_of_quantities),
    ])
}

/// Records of every attack that training has; what differs between the classes is what the service is and how many bytes
/// are sent.
fn records(first: usize) -> String {
    let mut text = String::new();
    for attack in ATTACKS.iter().filter(|attack| attack.is_in_training) {
        for number in first..first + RECORDS {
            let class = attack.class as usize;
            let service = ["http", "private", "eco_i", "ftp", "telnet"][class];
            let bytes = 100 * class + number % 50;
            let zeros = vec!["0"; 36].join(",");
            text.push_str(&format!("{number},tcp,{service},SF,{bytes},{zeros},{},20\n", attack.name));
        }
    }
    text
}

fn data(directory: &Path) -> Result<()> {
    fs::write(directory.join("KDDTrain+.txt"), records(0))?;
    fs::write(directory.join("KDDTest+.txt.zst"), zstd::encode_all(records(7).as_bytes(), 1)?)?;
    Ok(())
}

fn call(arguments: &[&str], directory: &Path, input: &str) -> Result<Output> {
    let mut child = Command::new(PROGRAM)
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // Who does not read it may end before it is written.
    let _ = child.stdin.take().context("a pipe")?.write_all(input.as_bytes());
    Ok(child.wait_with_output()?)
}

fn done(arguments: &[&str], directory: &Path, input: &str) -> Result<String> {
    let output = call(arguments, directory, input)?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

fn refused(arguments: &[&str], directory: &Path, input: &str, hint: &str) -> Result<()> {
    let output = call(arguments, directory, input)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(2) && said.contains(hint), "{arguments:?}: {said}");
    Ok(())
}

fn classes_that_differ() -> Result<()> {
    let directory = tempfile::tempdir()?;
    data(directory.path())?;
    for kind in Kind::ALL {
        let arguments = ["evaluate", "nsl-kdd", "--data", ".", "--json", "--model", kind.name()];
        let report: Value = serde_json::from_str(&done(&arguments, directory.path(), "")?)?;
        let run = &report["runs"][0];
        for key in ["accuracy", "macro_f1", "binary_accuracy"] {
            ensure!(run[key].as_f64() > Some(0.99), "{}: {key} is {}", kind.name(), run[key]);
        }
        ensure!(run["zero_one_error"].as_f64() < Some(0.01), "{run}");
        for class in CLASSES {
            ensure!(run["classes"][class]["recall"].as_f64() > Some(0.9), "{}: {class}", kind.name());
        }
        let decided_by = run["importance"][0][0].as_str().context("a feature")?;
        ensure!(["service", "src_bytes"].contains(&decided_by), "{}: {decided_by}", kind.name());
    }
    let arguments = ["evaluate", "nsl-kdd", "--data", ".", "--model", "tree", "--charts", "charts"];
    let text = done(&arguments, directory.path(), "")?;
    ensure!(text.contains("zero-one error") && text.contains("RECALL"), "{text}");
    for chart in ["classes.svg", "confusion.svg"] {
        ensure!(fs::read_to_string(directory.path().join("charts").join(chart))?.contains("r2l"), "{chart}");
    }
    Ok(())
}

fn model_file() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let directory = directory.path();
    data(directory)?;
    let evaluated = |arguments: &[&str]| -> Result<Value> {
        let arguments = [&["evaluate", "nsl-kdd", "--data", ".", "--json"], arguments].concat();
        Ok(serde_json::from_str::<Value>(&done(&arguments, directory, "")?)?["runs"][0]["confusion"].clone())
    };
    let settings = ["--model", "boosting", "--seed", "3"];
    let train = [&["train", "nsl-kdd", "--data", ".", "--output", "model", "--json"][..], &settings].concat();
    let report: Value = serde_json::from_str(&done(&train, directory, "")?)?;
    for key in
        ["format", "version", "written_by", "data_set", "classes", "columns", "settings", "data_sha256"]
    {
        ensure!(!report[key].is_null(), "{key}: {report}");
    }
    ensure!(report["settings"]["seed"] == 3 && report["records"] == RECORDS * 23, "{report}");
    ensure!(evaluated(&["--model-file", "model"])? == evaluated(&settings)?);

    let first = fs::read(directory.join("model"))?;
    done(&train, directory, "")?;
    ensure!(first == fs::read(directory.join("model"))?, "equal seeds give equal models");

    // A service that was not in training, and records with and without a label.
    let zeros = vec!["0"; 36].join(",");
    let line = |service: &str, bytes: u32, end: &str| format!("1,tcp,{service},SF,{bytes},{zeros}{end}\n");
    let input = line("http", 10, "") + &line("ftp", 310, ",normal") + &line("gopher", 110, ",neptune,9");
    let predict = ["predict", "nsl-kdd", "--model-file", "model"];
    let answers = done(&predict, directory, &input)?;
    let answers: Vec<&str> = answers.lines().collect();
    ensure!(answers.len() == 3 && answers[..2] == ["benign", "r2l"], "{answers:?}");
    let answers = done(&[&predict[..], &["--json", "-"]].concat(), directory, &input)?;
    for answer in answers.lines() {
        let answer: Value = serde_json::from_str(answer)?;
        let sum: f64 = CLASSES.iter().filter_map(|class| answer["probabilities"][class].as_f64()).sum();
        ensure!(
            (sum - 1.0).abs() < 1e-9 && CLASSES.contains(&answer["class"].as_str().unwrap_or("")),
            "{answer}"
        );
    }
    Ok(())
}

fn other_models() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let directory = directory.path();
    data(directory)?;
    done(&["train", "nsl-kdd", "--data", ".", "--output", "model", "--model", "tree"], directory, "")?;
    let bytes = fs::read(directory.join("model"))?;
    let text = String::from_utf8(zstd::decode_all(&bytes[..])?)?;
    let changed = |from: &str, to: &str| -> Result<Vec<u8>> {
        ensure!(text.contains(from), "{from}");
        Ok(zstd::encode_all(text.replacen(from, to, 1).as_bytes(), 1)?)
    };
    for (bytes, hint) in [
        (b"some text".to_vec(), "is no model; `mitigator train nsl-kdd` writes one"),
        (zstd::encode_all(&b"{}\n{}"[..], 1)?, "is no model"),
        (changed("\"version\":2", "\"version\":1")?, "is a model of version 1, written by mitigator"),
        (
            changed("\"data_set\":\"nsl-kdd\"", "\"data_set\":\"flows\"")?,
            "is a model of flows, not of nsl-kdd",
        ),
        (changed("\"src_bytes\"", "\"sent_bytes\"")?, "has other classes or features"),
        (bytes[..bytes.len() / 2].to_vec(), "other is damaged"),
    ] {
        fs::write(directory.join("other"), bytes)?;
        refused(&["predict", "nsl-kdd", "--model-file", "other"], directory, "", hint)?;
    }
    refused(&["predict", "nsl-kdd", "--model-file", "model"], directory, "\n", "has no records")?;
    let train = ["train", "nsl-kdd", "--model", "tree", "--data"];
    let nowhere = [&train[..], &[".", "--output", "no/such/model"]].concat();
    refused(&nowhere, directory, "", "there is no directory no/such")?;
    done(&[&train[..], &["KDDTest+.txt.zst", "--output", "of-test"]].concat(), directory, "")?;
    let by_heart = ["evaluate", "nsl-kdd", "--data", ".", "--model-file", "of-test"];
    refused(&by_heart, directory, "", "trained on the very records")
}

fn bad_records() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let directory = directory.path();
    data(directory)?;
    done(&["train", "nsl-kdd", "--data", ".", "--output", "model", "--model", "tree"], directory, "")?;
    let good = records(0).lines().next().context("a line")?.to_owned();
    let predict = ["predict", "nsl-kdd", "--model-file", "model"];
    refused(&predict, directory, &format!("{good}\n1,2,3\n"), "standard input, line 2: 3 columns")?;
    let answered = call(&predict, directory, &format!("{good}\n1,2,3\n"))?;
    ensure!(answered.stdout == b"benign\n", "what stands before is answered");
    for (text, hint) in [
        (String::new(), "KDDTrain+.txt has no records"),
        (good.clone(), "nothing to tell apart: all 1 records are of one class"),
        (good.replace("normal", "magic"), "line 1: `magic` is no label"),
        (good.replacen("0,tcp", "NaN,tcp", 1), "line 1: column 1, duration, is `NaN`"),
    ] {
        fs::write(directory.join("KDDTrain+.txt"), text)?;
        let train = ["train", "nsl-kdd", "--data", ".", "--output", "never", "--model", "tree"];
        refused(&train, directory, "", hint)?;
        ensure!(!directory.join("never").exists(), "{hint}: half a model");
    }
    Ok(())
}

fn cross_validation() -> Result<()> {
    let directory = tempfile::tempdir()?;
    fs::write(directory.path().join("KDDTrain+.txt"), records(0))?;
    let arguments = ["evaluate", "nsl-kdd", "--data", ".", "--cross-validate", "--model", "tree", "--json"];
    let report: Value = serde_json::from_str(&done(&arguments, directory.path(), "")?)?;
    let factor = &report["cross_validation"][0]["factors"][0];
    ensure!(factor["accuracy"].as_f64() > Some(0.99), "classes differ, attacks of a class do not: {factor}");
    let some = records(0)
        .lines()
        .filter(|line| !line.contains("spy"))
        .fold(String::new(), |all, line| all + line + "\n");
    fs::write(directory.path().join("KDDTrain+.txt"), some)?;
    refused(&arguments, directory.path(), "", "takes all of KDDTrain+; `spy` is missing")
}

fn spread() -> Result<()> {
    let directory = tempfile::tempdir()?;
    data(directory.path())?;
    let evaluate = ["evaluate", "nsl-kdd", "--data", ".", "--model", "tree", "--seeds", "2"];
    let report: Value =
        serde_json::from_str(&done(&[&evaluate[..], &["--json"]].concat(), directory.path(), "")?)?;
    let figures: Vec<f64> = (0..2).filter_map(|run| report["runs"][run]["macro_f1"].as_f64()).collect();
    let spread = &report["spread"][0];
    ensure!(spread["seeds"] == 2 && spread["model"] == "tree" && figures.len() == 2, "{spread}");
    let told = |key: &str| spread["macro_f1"][key].as_f64().context("a figure");
    ensure!((told("mean")? - f64::midpoint(figures[0], figures[1])).abs() < 1e-12, "{spread}");
    ensure!(told("min")? == figures[0].min(figures[1]) && told("max")? == figures[0].max(figures[1]));
    let text = done(&evaluate, directory.path(), "")?;
    ensure!(text.contains("SEEDS") && text.contains(" to "), "{text}");
    Ok(())
}

/// Who asks about one record waits for its answer before sending the next.
fn streams() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let directory = directory.path();
    data(directory)?;
    fs::write(directory.join("train.csv"), labelled_flows(Spelling::Original2018, 0))?;
    done(&["train", "nsl-kdd", "--data", ".", "--output", "records", "--model", "tree"], directory, "")?;
    done(&["train", "flows", "train.csv", "--output", "flows", "--balance", "none"], directory, "")?;
    let text = labelled_flows(Spelling::Original2018, 0);
    let lines: Vec<&str> = text.lines().take(3).collect();
    let record = records(0).lines().next().context("a line")?.to_owned();
    for (arguments, pieces) in [
        (["predict", "nsl-kdd", "--model-file", "records"], [record.clone(), record]),
        (
            ["predict", "flows", "--model", "flows"],
            [format!("{}\n{}", lines[0], lines[1]), lines[2].to_owned()],
        ),
    ] {
        let mut child = Command::new(PROGRAM)
            .args(arguments)
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut input = child.stdin.take().context("a pipe")?;
        let mut answers = BufReader::new(child.stdout.take().context("a pipe")?).lines();
        for piece in pieces {
            writeln!(input, "{piece}")?;
            let answer = answers.next().context("an answer")??;
            ensure!(!answer.is_empty(), "{arguments:?}");
        }
        drop(input);
        ensure!(answers.next().is_none() && child.wait()?.success(), "{arguments:?}");
    }
    Ok(())
}

fn known_attacks() -> Result<()> {
    let directory = suite::nsl_kdd().context("the data set")?;
    let whole = Labelled::read(&directory.join("KDDTrain+.txt"))?;
    let tenth = |which: usize| Labelled {
        records: whole
            .records
            .iter()
            .enumerate()
            .filter(|(number, _)| number % 10 == which)
            .map(|(_, record)| record.clone())
            .collect(),
        digest: whole.digest.clone(),
    };
    let settings = model::settings(model::DEFAULT_KIND, Balance::Weights, 0);
    let model = Model::fit(&tenth(0), &settings, |_, _| {})?;
    let figures = Evaluation::of(&model, &tenth(1));
    ensure!(figures.accuracy > 0.97 && figures.binary_accuracy > 0.97, "{figures:?}");
    for class in [Class::Benign, Class::Dos, Class::Probe, Class::R2l] {
        ensure!(figures.classes[class.name()].recall > 0.85, "{class}: {figures:?}");
    }
    Ok(())
}

fn promised() -> Result<()> {
    let directory = suite::nsl_kdd().context("the data set")?;
    let training = Labelled::read(&directory.join("KDDTrain+.txt"))?;
    ensure!(training.records.len() == 125_973, "{} records", training.records.len());
    let settings = model::settings(model::DEFAULT_KIND, model::DEFAULT_BALANCE, 0);
    let model = Model::fit(&training, &settings, |_, _| {})?;
    let figures = Evaluation::of(&model, &Labelled::read(&directory.join("KDDTest+.txt"))?);
    ensure!(figures.records == 22_544);
    ensure!(figures.accuracy >= 0.80 && figures.macro_f1 >= 0.60, "{figures:?}");
    Ok(())
}

fn flows_that_differ() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let directory = directory.path();
    fs::write(directory.join("train.csv"), labelled_flows(Spelling::Original2018, 0))?;
    fs::write(directory.join("test.csv"), labelled_flows(Spelling::SnakeCase, 300))?;
    let train = ["train", "flows", "train.csv", "--output", "model", "--json"];
    let report: Value = serde_json::from_str(&done(&train, directory, "")?)?;
    ensure!(report["classes"] == serde_json::json!(["benign", "dos", "port-scan"]), "{report}");
    let settings = &report["settings"];
    ensure!(settings["features"] == "transferable" && settings["boosting"]["bags"] == 4, "{settings}");
    ensure!(settings["thresholds"]["attack"].as_f64() >= Some(0.5), "{settings}");
    ensure!(settings["tree"].is_null() && settings["forest"].is_null(), "of other models: {settings}");
    let columns = report["columns"].to_string();
    ensure!(!columns.contains("Port") && !columns.contains("Win") && !columns.contains("IP"), "{columns}");
    let first = fs::read(directory.join("model"))?;
    done(&train, directory, "")?;
    ensure!(first == fs::read(directory.join("model"))?, "equal seeds give equal models");

    let evaluate = ["evaluate", "flows", "--model", "model", "test.csv"];
    let json = done(&[&evaluate[..], &["--json", "--charts", "charts"]].concat(), directory, "")?;
    let figures = serde_json::from_str::<Value>(&json)?["evaluation"].clone();
    for found in ["attack", "denial_of_service"] {
        for figure in ["precision", "recall", "f1", "average_precision"] {
            ensure!(figures[found][figure].as_f64() > Some(0.95), "{found} {figure}: {}", figures[found]);
        }
        ensure!(figures[found]["false_positive_share"].as_f64() < Some(0.05), "{}", figures[found]);
    }
    ensure!(figures["brier_score"].as_f64() < Some(0.05), "{figures}");
    ensure!(figures["categories"]["port-scan"]["recall"].as_f64() > Some(0.95), "{figures}");
    ensure!(fs::read_to_string(directory.join("charts/confusion.svg"))?.contains("port-scan"));
    let text = done(&evaluate, directory, "")?;
    for part in ["dos or ddos", "FALSE POSITIVES", "Brier score", "DoS Hulk", "PROBABILITY FROM", "THRESHOLD"]
    {
        ensure!(text.contains(part), "{part}: {text}");
    }
    let binary = ["train", "flows", "train.csv", "--output", "binary", "--classes", "binary", "--json"];
    let report: Value = serde_json::from_str(&done(&binary, directory, "")?)?;
    ensure!(report["classes"] == serde_json::json!(["benign", "attack"]), "{report}");

    // The service's way in: columns of numbers under any spelling, in any order.
    let (_, model) = FlowModel::read(&directory.join("model"))?;
    let test = labelled_flows(Spelling::SnakeCase, 300);
    let mut lines = test.lines();
    let names: Vec<&str> = lines.next().context("a heading")?.split(',').collect();
    let row =
        |line: &str| -> Vec<f64> { line.split(',').map(|cell| cell.parse().unwrap_or(f64::NAN)).collect() };
    let table = FeatureTable::from_columns(&names, lines.take(3).map(row))?;
    let probabilities = model.probabilities(&table);
    let is_attack: Vec<bool> = probabilities.rows().into_iter().map(|row| model.is_attack(row)).collect();
    ensure!(is_attack == [false, true, true] && model.classes()[0] == "benign", "{probabilities}");
    Ok(())
}

fn flows_as_written() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let directory = directory.path();
    let text = labelled_flows(Spelling::Original2018, 0);
    fs::create_dir(directory.join("day"))?;
    fs::write(directory.join("day/day.csv"), &text)?;
    fs::write(directory.join("day.csv.zst"), zstd::encode_all(text.as_bytes(), 1)?)?;
    done(&["dataset", "split", "day", "--output", "parts"], directory, "")?;
    let train = ["train", "flows", "parts/train.parquet", "--output", "model"];
    done(&[&train[..], &["--validation", "parts/validation.parquet"]].concat(), directory, "")?;
    let predict = ["predict", "flows", "--model", "model"];
    let from_pipe = done(&predict, directory, &text)?;
    ensure!(from_pipe.lines().count() == 600, "an answer a flow");
    let first: Vec<&str> = from_pipe.lines().take(3).collect();
    ensure!(first == ["benign", "dos", "port-scan"], "{first:?}");
    for file in ["day/day.csv", "day.csv.zst"] {
        ensure!(from_pipe == done(&[&predict[..], &[file]].concat(), directory, "")?, "{file}");
    }
    let of_parts = done(&[&predict[..], &["parts/test.parquet"]].concat(), directory, "")?;
    ensure!(of_parts.lines().count() == 60, "{}", of_parts.lines().count());
    let answers = done(&[&predict[..], &["--json", "-"]].concat(), directory, &text)?;
    for answer in answers.lines() {
        let answer: Value = serde_json::from_str(answer)?;
        let classes = answer["probabilities"].as_object().context("probabilities")?;
        let sum: f64 = classes.values().filter_map(Value::as_f64).sum();
        ensure!((sum - 1.0).abs() < 1e-9 && classes.len() == 3, "{answer}");
    }

    // Labelled flows may come from a pipe, too, and give the same model.
    done(&["train", "flows", "day/day.csv", "--output", "of-file"], directory, "")?;
    done(&["train", "flows", "-", "--output", "of-pipe"], directory, &text)?;
    ensure!(fs::read(directory.join("of-file"))? == fs::read(directory.join("of-pipe"))?);

    // What is no number is the median of training: a flow whose port and flags are unknown is what it was.
    let odd = text.replace(",0\n", ",NaN\n").replace(",0,0,0,0,", ",Infinity,,-inf,nan,");
    ensure!(from_pipe == done(&predict, directory, &odd)?, "missing cells of no weight changed the answers");
    Ok(())
}

fn bad_flows() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let directory = directory.path();
    let good = labelled_flows(Spelling::Original2018, 0);
    let heading = good.lines().next().context("a heading")?.to_owned() + "\n";
    let of = |label: &str| -> String {
        good.lines().filter(|line| line.ends_with(label)).fold(heading.clone(), |all, line| all + line + "\n")
    };
    for (text, hint) in [
        (String::new(), "is empty"),
        (heading.clone(), "has no flows"),
        (
            good.replacen("Flow Duration,", "Flow Length,", 1),
            "1 of the 77 features of CICFlowMeter are missing: Flow Duration",
        ),
        (good.replacen(",Label", ",Kind", 1), "has no column `Label`"),
        (of(",BENIGN"), "there is nothing to tell apart: 160 of 160 flows to learn from are benign"),
        (of(",DoS Hulk"), "0 of 160 flows to learn from are benign"),
        (good.replacen("DoS Hulk", "magic", 1), "flow 2: `magic` is no label"),
        (good.clone() + "1,2\n", "cannot read train.csv"),
        (good.replace("\n0,0,0,0,0,6,", "\n0,0,0,0,0,tcp,"), "no flow has a number as `Protocol` (`tcp`)"),
    ] {
        fs::write(directory.join("train.csv"), text)?;
        refused(&["train", "flows", "train.csv", "--output", "never"], directory, "", hint)?;
        ensure!(!directory.join("never").exists(), "{hint}: half a model");
    }
    fs::write(directory.join("train.csv"), &good)?;
    done(&["train", "flows", "train.csv", "--output", "model", "--balance", "none"], directory, "")?;
    for (arguments, hint) in [
        (
            &["predict", "flows", "--model", "train.csv"][..],
            "is no model; `mitigator train flows` writes one",
        ),
        (&["predict", "nsl-kdd", "--model-file", "model"], "is a model of flows, not of nsl-kdd"),
        (&["predict", "flows", "--model", "model"], "standard input is empty"),
        (&["evaluate", "flows", "train.csv"], "--model"),
        (&["evaluate", "flows", "-", "--model", "model"], "standard input is empty"),
        (&["train", "flows", "train.csv", "--output", "never", "--precision", "0"], "--precision is 0"),
    ] {
        refused(arguments, directory, "", hint)?;
    }
    let odd = good.replacen("\n0,0,0,0,0,6,", "\n0,0,0,0,0,tcp,", 1);
    let answered = call(&["predict", "flows", "--model", "model"], directory, &odd)?;
    let said = String::from_utf8_lossy(&answered.stderr);
    ensure!(
        answered.status.success() && said.contains("flow 1: `Protocol` is `tcp`, which is no number"),
        "{said}"
    );
    fs::write(directory.join("odd.csv"), good.replace(",PortScan", ",Botnet"))?;
    fs::write(directory.join("some.csv"), of(",BENIGN") + &of(",DoS Hulk").replacen(&heading, "", 1))?;
    let train = ["train", "flows", "some.csv", "--validation", "odd.csv", "--output", "some"];
    let said = String::from_utf8(call(&train, directory, "")?.stderr)?;
    ensure!(
        said.contains("200 flows to validate with are botnet, of which there are none to learn from"),
        "{said}"
    );
    let before = good.lines().take(3).fold(String::new(), |all, line| all + line + "\n");
    let answered = call(&["predict", "flows", "--model", "model"], directory, &(before + "1,2\n"))?;
    ensure!(
        answered.status.code() == Some(2) && answered.stdout == b"benign\ndos\n",
        "what stands before is answered"
    );
    Ok(())
}

/// Every other flow of 2017, and all of 2018.
fn two_years() -> Result<(Flows, Flows)> {
    let directory = suite::cic().context("the data sets")?;
    let files = suite::CIC_FILES.map(|file| directory.join(file));
    let of_2017 = Flows::read(&files[..1])?;
    let half: Vec<usize> = (0..of_2017.categories.len()).step_by(2).collect();
    Ok((of_2017.select(&half), Flows::read(&files[1..])?))
}

fn cross_set() -> Result<()> {
    let (of_2017, of_2018) = two_years()?;
    let training = Training::new(FeatureSet::Transferable, Classes::Categories, DEFAULT_BALANCE, 0);
    for (year, own, other) in [("2017", &of_2017, &of_2018), ("2018", &of_2018, &of_2017)] {
        let figures = cross_evaluate(own, other, &training, |_, _| {})?;
        let (own, other) = (figures.in_set.denial_of_service, figures.cross_set.denial_of_service);
        ensure!(own.precision > 0.9 && own.recall > 0.9, "{year}: {own:?}");
        ensure!(
            other.precision >= 0.9 && other.recall >= 0.5 && other.average_precision > 0.8,
            "{year}: {other:?}"
        );
        ensure!(other.false_positive_share < 0.05, "{year}: {other:?}");
    }
    Ok(())
}

fn cross_set_of_quantities() -> Result<()> {
    let (of_2017, of_2018) = two_years()?;
    let training = Training::new(FeatureSet::Full, Classes::Categories, DEFAULT_BALANCE, 0);
    let figures = cross_evaluate(&of_2017, &of_2018, &training, |_, _| {})?;
    let (own, other) = (figures.in_set.denial_of_service, figures.cross_set.denial_of_service);
    ensure!(own.precision > 0.98 && own.recall > 0.98, "{own:?}");
    ensure!(other.recall < 0.3, "what transfers has to be looked for no longer: {other:?}");
    Ok(())
}
