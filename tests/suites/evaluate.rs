//! `mitigator-evaluate` over a directory of captures made here: figures that can be counted by hand, and sentences for
//! what is wrong.

use std::fs;
use std::io::BufWriter;
use std::path::Path;
use std::process::{Command, ExitCode, Output};

use anyhow::{Result, ensure};
use mitigator::capture::PcapWriter;
use mitigator_tests::packet;
use mitigator_tests::suite::{self, Needs, Trial};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mitigator-evaluate");
const SECOND: u64 = 1_000_000_000;
/// Flood packets per second, and for how long.
const FLOOD: (u64, u64) = (5_000, 4);
const VISITORS: u64 = 20;
/// Visitors' packets.
const VISITS: u64 = 20 * VISITORS;

fn main() -> ExitCode {
    suite::run(vec![
        Trial::new("a_directory_ends_in_figures_that_add_up", Needs::Nothing, figures),
        Trial::new("scenarios_run_alone_and_alike_twice", Needs::Nothing, scenarios),
        Trial::new("wrong_use_gets_a_sentence_and_status_2", Needs::Nothing, wrong_use),
    ])
}

/// `flood.pcap`, UDP from one source, `scan.pcap`, which is no more than a packet, and `quiet.pcap`, some visitors.
fn captures(directory: &Path) -> Result<()> {
    let (rate, length) = FLOOD;
    let flood = |number| (number * SECOND / rate, packet::udp("203.0.113.7", 4_000).bytes());
    write(&directory.join("flood.pcap"), (0..rate * length).map(flood))?;
    write(&directory.join("scan.pcap"), [(0, packet::tcp_syn("203.0.113.8").bytes())])?;
    // The visitor with the address of the flood's source is another in a mix.
    let visitor = |number: u64| format!("203.0.113.{}", 1 + number % VISITORS);
    let visit =
        |number: u64| (number * SECOND / VISITORS, packet::tcp(&visitor(number), packet::ACK).bytes());
    write(&directory.join("quiet.pcap"), (0..VISITS).map(visit))?;
    let labels = json!({
        "pcap/flood.pcap": {"kind": "udp-flood", "victims": ["198.51.100.1"], "attackers": "every source except the victims"},
        "pcap/scan.pcap": {"kind": "scan", "victims": ["198.51.100.1"], "attackers": ["203.0.113.8"]},
        "pcap/quiet.pcap": {"kind": "benign", "victims": [], "attackers": []},
    });
    fs::write(directory.join("labels.json"), labels.to_string())?;
    Ok(())
}

fn write(file: &Path, packets: impl IntoIterator<Item = (u64, Vec<u8>)>) -> Result<()> {
    let mut writer = PcapWriter::new(BufWriter::new(fs::File::create(file)?))?;
    for (at_ns, frame) in packets {
        writer.write(SECOND + at_ns, &frame)?;
    }
    writer.finish()?;
    Ok(())
}

fn evaluate(directory: &Path, more: &[&str]) -> Result<Output> {
    let mut command = Command::new(PROGRAM);
    Ok(command.arg("--data").arg(directory).args(more).current_dir(directory).output()?)
}

fn figures() -> Result<()> {
    let directory = tempfile::tempdir()?;
    captures(directory.path())?;
    let arguments = ["--captures-only", "--json", "--output", "figures.md"];
    let output = evaluate(directory.path(), &arguments)?;
    ensure!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report: Value = serde_json::from_slice(&output.stdout)?;
    let flood_packets = FLOOD.0 * FLOOD.1;
    for (run, attack, benign) in [
        (&report["captures"][0], flood_packets, 0),
        (&report["captures"][1], 0, VISITS),
        (&report["captures"][2], 1, 0),
        (&report["mixes"][0], flood_packets, VISITS),
        (&report["mixes"][1], 1, VISITS),
    ] {
        ensure!(run["attack"]["arrived"] == attack && run["benign"]["arrived"] == benign, "{run}");
        ensure!(run["innocents_blocked"] == 0 && run["benign"]["dropped"] == 0, "{run}");
    }
    for flood in [&report["captures"][0], &report["mixes"][0]] {
        ensure!(flood["verdict_after_s"].as_f64().is_some_and(|after| after < 1.0), "{flood}");
        ensure!(flood["attack_after_verdict"]["arrived"].as_u64() > Some(flood_packets / 2), "{flood}");
        ensure!(
            flood["attack_after_verdict"]["arrived"] == flood["attack_after_verdict"]["dropped"],
            "{flood}"
        );
        ensure!(
            flood["threshold"]["attack_packets"].as_u64() >= flood["attack"]["dropped"].as_u64(),
            "{flood}"
        );
    }
    ensure!(report["mixes"][0]["k_means"]["attack_packets"] == flood_packets, "{}", report["mixes"][0]);
    ensure!(
        report["summary"]["mixes"]["named_in_time"] == json!({"of": 1, "count": 1}),
        "{}",
        report["summary"]
    );
    let text = fs::read_to_string(directory.path().join("figures.md"))?;
    ensure!(text.contains("| flood | udp-flood | **udp-flood** |"), "{text}");
    let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let links = links.filter(|link| link.ends_with(".svg"));
    let mut charts = 0;
    for link in links {
        let svg = fs::read_to_string(directory.path().join(link))?;
        ensure!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{link}");
        charts += 1;
    }
    ensure!(charts == 2, "{charts} charts of one flood");
    let again = evaluate(directory.path(), &arguments)?;
    ensure!(again.stdout == output.stdout, "not the same twice");
    Ok(())
}

fn scenarios() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let arguments = ["--scenario", "udp-flood-one", "--scenario", "visitors", "--hours", "0.17"];
    let run = |more: &[&str]| evaluate(directory.path(), &[&arguments, more].concat());
    let output = run(&["--json"])?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout)?;
    let (visitors, flood) = (&report[0], &report[1]);
    ensure!(visitors["scenario"] == "visitors" && flood["scenario"] == "udp-flood-one", "{report}");
    ensure!(visitors["attack"]["arrived"] == 0 && visitors["blocks"] == 0, "{visitors}");
    // Twelve seconds of 8000 packets; the attack begins after ten minutes.
    let arrived = flood["attack"]["arrived"].as_f64().unwrap_or_default();
    ensure!((90_000.0..102_000.0).contains(&arrived) && flood["blocks"] == 1, "{flood}");
    ensure!(run(&["--json"])?.stdout == output.stdout, "not the same twice");
    let text = String::from_utf8(run(&[])?.stdout)?;
    ensure!(text.contains("udp-flood-one: one source, 8000 packets/s"), "{text}");
    Ok(())
}

fn wrong_use() -> Result<()> {
    let directory = tempfile::tempdir()?;
    captures(directory.path())?;
    let labels = |text: &str| fs::write(directory.path().join("labels.json"), text);
    let hint = |more: &[&str], hint: &str| {
        let output = evaluate(directory.path(), more)?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(2) && stderr.contains(hint),
            "{hint}: {}, {stderr}",
            output.status
        );
        Ok(())
    };
    hint(&["--frobnicate"], "unexpected argument")?;
    hint(&["--scenario", "weather"], "there is no scenario `weather`; there are visitors,")?;
    hint(&["--hours", "0"], "must be over 0")?;
    hint(&["--captures-only", "--output", "labels.json/figures.md"], "cannot write")?;
    labels("{}")?;
    hint(&[], "has no labels")?;
    labels(r#"{"pcap/away.pcap": {"kind": "benign", "attackers": []}}"#)?;
    hint(&[], "there is no file")?;
    labels(r#"{"pcap/flood.pcap": {"kind": "udp-flood", "attackers": "every second source"}}"#)?;
    hint(&[], "the rule `every second source` is unknown")?;
    fs::remove_file(directory.path().join("labels.json"))?;
    hint(&[], "cannot read the labels")
}
