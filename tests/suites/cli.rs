//! Flags, messages and exit codes, and the schema of what reports print.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mitigator::capture::PcapWriter;
use mitigator_tests::installation::Installation;
use mitigator_tests::lab::{Core, Lab};
use mitigator_tests::packet;
use mitigator_tests::suite::{self, Needs, Trial};
use mitigator_tests::traffic::{Addressing, Flood, Frames, Pace};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mitigator-under-test");
const VERBS: [&str; 18] = [
    "run",
    "status",
    "sources",
    "block",
    "unblock",
    "allow",
    "blocklist",
    "explain",
    "detach",
    "replay",
    "train",
    "evaluate",
    "predict",
    "logs",
    "flows",
    "serve",
    "dataset",
    "completions",
];

fn main() -> ExitCode {
    suite::run(vec![
        Trial::new("every_verb_has_help", Needs::Nothing, help),
        Trial::new("wrong_use_gets_a_sentence_and_status_2", Needs::Nothing, wrong_use),
        Trial::new("places_may_come_from_variables", Needs::Nothing, places_from_variables),
        Trial::new("a_victim_that_a_capture_does_not_have_is_told", Needs::Nothing, absent_victim),
        Trial::new("a_capture_whose_clock_jumps_is_told", Needs::Nothing, jumping_clock),
        Trial::new("a_capture_tells_why_an_address_was_blocked_or_not", Needs::Nothing, explained_captures),
        Trial::new("a_reader_that_goes_away_is_no_error", Needs::Nothing, closed_pipe),
        Trial::new("an_unwritable_standard_error_is_no_crash", Needs::Nothing, unwritable_stderr),
        Trial::new("what_a_file_says_or_is_called_does_not_steer_the_terminal", Needs::Nothing, foreign_text),
        Trial::new("without_rights_it_says_which_are_missing", Needs::Root, without_rights),
        Trial::new("without_an_attachment_it_says_how_to_attach", Needs::Root, not_attached),
        Trial::new("after_detach_status_answers_no", Needs::Root, after_detach),
        Trial::new("import_is_all_or_nothing_and_names_bad_lines", Needs::Root, import),
        Trial::new("an_export_keeps_the_ends_of_blocks", Needs::Root, export),
        Trial::new("a_million_addresses_import_and_export", Needs::Root, million),
        Trial::new("an_expired_block_hides_no_wider_one", Needs::Root, nested_blocks),
        Trial::new("a_reason_is_that_of_the_block_that_stands", Needs::Root, reasons),
        Trial::new("blocks_stand_and_are_told_without_a_usable_state", Needs::Root, unusable_state),
        Trial::new("explain_holds_traffic_against_the_agents_limits", Needs::Root, limits),
        Trial::new("who_allows_everybody_is_asked_and_told", Needs::Root, everybody_allowed),
        Trial::new("reports_have_their_documented_keys", Needs::Root, schema),
    ])
}

fn call(arguments: &[&str]) -> Result<(i32, String, String)> {
    let output = Command::new(PROGRAM).args(arguments).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.status.code().context("ended by a signal")?, text(&output.stdout), text(&output.stderr)))
}

fn help() -> Result<()> {
    for verb in VERBS {
        let (status, stdout, _) = call(&[verb, "--help"])?;
        ensure!(status == 0 && stdout.contains("Usage: mitigator"), "{verb}: {stdout}");
        ensure!(!stdout.contains("Arguments of"), "{verb}: the help speaks of the source code: {stdout}");
    }
    for (verb, hint) in [
        (&["status"][..], "Exit status 1"),
        (&["unblock"], "leaves the source alone until the block would have ended"),
        (&["unblock"], "`mitigator block` ends that"),
        (&["blocklist", "clear"], "are left alone, by the next agent too, until each block would have ended"),
        (&["block"], "is so no longer"),
        (&["detach"], "left alone after `mitigator unblock` is forgotten too"),
        (&["sources"], "starts again from 0 after 4,294,967,295"),
        (&["unblock"], "Exit status 1"),
        (&["allow", "remove"], "Exit status 1"),
        (&["blocklist", "import"], "# until 2026-01-31T12:00:00Z"),
        (&["explain"], "Exit status 0 when the address is blocked, 1"),
        (&["detach"], "Exit status 1"),
        (&["logs"], "In a log without an attack nobody is blamed"),
        (&["replay"], "the host that takes part in most packets"),
        (&["replay"], "2 when the capture is damaged"),
        (&["replay"], "why this address was blocked, or why not"),
        (&["flows"], "Exit status 1 when no packet is in a flow"),
        (&["serve"], "To listen elsewhere it wants a token"),
    ] {
        let (_, stdout, _) = call(&[verb, &["--help"]].concat())?;
        // The width of the terminal breaks lines anywhere.
        let words: Vec<&str> = stdout.split_whitespace().collect();
        ensure!(words.join(" ").contains(hint), "{verb:?} does not say `{hint}`: {stdout}");
    }
    for shell in ["bash", "zsh", "fish"] {
        ensure!(call(&["completions", shell])?.1.contains("blocklist"), "{shell}");
    }
    ensure!(call(&["--version"])?.1.starts_with("mitigator "));
    Ok(())
}

fn wrong_use() -> Result<()> {
    for (arguments, hint) in [
        (&["frobnicate"][..], "unrecognized subcommand"),
        (&["run"], "--interface"),
        (&["run", "-i", "lo", "--interval", "1ms"], "between 50ms and 10s"),
        (&["run", "-i", "lo", "--interval", "soon"], "write it like"),
        (
            &["run", "-i", "lo", "--config", "/nonexistent.toml"],
            "cannot read the configuration /nonexistent.toml",
        ),
        (&["block", "example.org"], "neither an IP address nor a prefix"),
        (&["block", "192.0.2.7", "--for", "0s"], "at least 1s"),
        (&["block", "192.0.2.7", "--reason", "two\nlines"], "control character"),
        (&["allow", "add", "192.0.2.7", "0.0.0.0/0"], "0.0.0.0/0 is wider than /8 (IPv4) or /16 (IPv6)"),
        (&["allow", "add", "2000::/3"], "`--force` allows it all the same"),
        (&["sources", "--sort", "beauty"], "possible values"),
        (&["explain", "192.0.2.0/24"], "invalid IP address"),
        (&["explain", "192.0.2.7", "--over", "0s"], "at least 1ms: over less, there is nothing to judge"),
        (&["logs", "/nonexistent.log"], "cannot open the log /nonexistent.log"),
        (&["logs", "/tmp"], "/tmp is a directory"),
        (&["logs", "x", "--clusters", "9"], "a number from 1 to 8"),
        (&["logs", "x", "--trusted-proxy", "here"], "neither an IP address nor a prefix"),
        (&["logs", "x", "--notify"], "--notify has nobody to tell"),
        (&["replay", "/nonexistent.pcap"], "cannot open /nonexistent.pcap"),
        (&["train"], "Learn the five classes of NSL-KDD"),
        (&["train", "nsl-kdd", "--data", "/nonexistent"], "--output"),
        (
            &[
                "train",
                "nsl-kdd",
                "--data",
                "/nonexistent",
                "--output",
                "/nonexistent/model",
                "--benign-factor",
                "0",
            ],
            "--benign-factor is 0; it has to be more than 0",
        ),
        (&["train", "nsl-kdd", "--data", "/nonexistent", "--output", "model"], "cannot open /nonexistent"),
        (&["evaluate", "nsl-kdd", "--data", "/nonexistent", "--seeds", "0"], "between 1 and 100"),
        (&["evaluate", "nsl-kdd", "--data", "/", "--compare", "--model", "tree"], "cannot be used with"),
        (&["predict", "nsl-kdd"], "--model-file"),
        (&["predict", "nsl-kdd", "--model-file", "/nonexistent"], "cannot open the model /nonexistent"),
        (&["completions", "tcsh"], "possible values"),
    ] {
        let (status, _, stderr) = call(arguments)?;
        ensure!(status == 2 && stderr.contains(hint), "{arguments:?}: {status}, {stderr}");
    }
    Ok(())
}

fn places_from_variables() -> Result<()> {
    let call = |arguments: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.env("MITIGATOR_PIN_DIR", "/pins").env("MITIGATOR_STATE_DIR", "").env("MITIGATOR_LOG", "");
        Ok::<_, anyhow::Error>(command.args(arguments).output()?)
    };
    let help = String::from_utf8(call(&["status", "--help"])?.stdout)?;
    for default in ["[default: /pins]", "[default: /var/lib/mitigator]"] {
        ensure!(help.contains(default), "{default}: {help}");
    }
    let usage = String::from_utf8(call(&["block"])?.stderr)?;
    ensure!(usage.contains("Usage:") && !usage.contains("--pin-dir"), "not of the user's making: {usage}");
    Ok(())
}

fn foreign_text() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let place = |name: &str| directory.path().join(name);
    let (feed, capture, missing) =
        (place("feed\u{1b}[31m"), place("capture\u{1b}[31m"), place("missing\u{1b}[31m"));
    fs::write(&feed, "\u{1b}]0;title\u{7}\n192.0.2.7 # until 2\u{1b}[2J\n")?;
    let mut writer = PcapWriter::new(fs::File::create(&capture)?)?;
    writer.write(0, &packet::tcp_syn("192.0.2.7").bytes())?;
    writer.finish()?;
    let text = |path: &Path| path.to_str().map(str::to_owned).context("the path is text");
    for (verb, file, hints) in [
        (
            &["blocklist", "import"][..],
            &feed,
            &["\\u{1b}]0;title\\u{7}", "feed\\u{1b}[31m", "2\\u{1b}[2J"][..],
        ),
        (&["blocklist", "import"], &missing, &["cannot open", "missing\\u{1b}[31m"]),
        (&["replay"], &capture, &["capture\\u{1b}[31m: 1 packets"]),
        (&["replay"], &feed, &["feed\\u{1b}[31m is not a capture"]),
        (&["run", "-i", "lo", "--config"], &feed, &["in the configuration", "feed\\u{1b}[31m"]),
    ] {
        let (_, stdout, stderr) = call(&[verb, &[&text(file)?]].concat())?;
        let said = stdout + &stderr;
        ensure!(!said.contains(['\u{1b}', '\u{7}']), "{verb:?}: {said:?}");
        for hint in hints {
            ensure!(said.contains(hint), "{verb:?} does not say {hint}: {said:?}");
        }
    }
    Ok(())
}

fn absent_victim() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("one.pcap");
    let mut writer = PcapWriter::new(fs::File::create(&file)?)?;
    writer.write(0, &packet::tcp_syn("192.0.2.7").bytes())?;
    writer.finish()?;
    let path = file.to_str().context("the path is text")?;
    let (status, stdout, stderr) = call(&["replay", path, "--victim", "203.0.113.9"])?;
    ensure!(
        status == 0 && stdout.contains("no packet of the capture goes to 203.0.113.9\n"),
        "{stdout} {stderr}"
    );
    ensure!(!stdout.contains("left out"), "{stdout}");
    Ok(())
}

fn jumping_clock() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("clock.pcap");
    let second = 1_000_000_000;
    for (description, stamps, expected, words) in [
        ("in order", vec![0, second, 2 * second], Value::Null, None),
        (
            "one packet years ahead",
            vec![0, 2_000_000_000 * second, second, 2 * second],
            serde_json::json!([1, 2, false]),
            Some(
                "Warning: the clock of the capture jumped back 1 time: 2 of 4 packets are dated before others",
            ),
        ),
        (
            "all at once",
            vec![second, second],
            serde_json::json!([0, 0, true]),
            Some("Warning: none of the 2 packets of the capture is dated after the first"),
        ),
        (
            "the first a little after the others",
            vec![second, second - 50_000_000, second - 40_000_000],
            serde_json::json!([0, 0, true]),
            Some("Warning: none of the 3 packets of the capture is dated after the first"),
        ),
    ] {
        let mut writer = PcapWriter::new(fs::File::create(&file)?)?;
        for at_ns in stamps {
            writer.write(at_ns, &packet::tcp_syn("192.0.2.7").bytes())?;
        }
        writer.finish()?;
        let arguments = ["replay", file.to_str().context("the path is text")?];
        let (status, stdout, _) = call(&arguments)?;
        let shown = stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        ensure!(status == 0 && stdout.contains("Warning") == words.is_some(), "{description}: {stdout}");
        ensure!(words.is_none_or(|words| shown.contains(words)), "{description}: {stdout}");
        let report: Value = serde_json::from_str(&call(&[&arguments[..], &["--json"]].concat())?.1)?;
        let fault = &report["clock_fault"];
        let seen = fault.as_object().map_or(Value::Null, |fault| {
            serde_json::json!([fault["jumps_back"], fault["packets_behind"], fault["stands_still"]])
        });
        ensure!(seen == expected, "{description}: {fault}");
    }
    Ok(())
}

/// What some sources send: the frame of each, packets per second of each, from and until when in milliseconds.
struct Stream {
    frames: Vec<Vec<u8>>,
    each_per_second: u64,
    span_ms: std::ops::Range<u64>,
}

fn stream(packets: &[packet::Packet], each_per_second: u64, span_ms: std::ops::Range<u64>) -> Stream {
    Stream { frames: packets.iter().map(packet::Packet::bytes).collect(), each_per_second, span_ms }
}

/// A capture of streams, in the order of time.
fn capture_of(streams: &[Stream], file: &Path) -> Result<()> {
    let mut packets: Vec<(u64, &[u8])> = Vec::new();
    for Stream { frames, each_per_second, span_ms } in streams {
        let (gap_ns, count) = (1_000_000_000 / each_per_second, frames.len() as u64);
        let rounds = (span_ms.end - span_ms.start) * each_per_second / 1_000;
        for (number, frame) in frames.iter().enumerate() {
            let first_ns = span_ms.start * 1_000_000 + gap_ns * number as u64 / count;
            packets.extend((0..rounds).map(|round| (first_ns + round * gap_ns, frame.as_slice())));
        }
    }
    packets.sort_unstable_by_key(|(at_ns, _)| *at_ns);
    let mut writer = PcapWriter::new(fs::File::create(file)?)?;
    for (at_ns, frame) in packets {
        writer.write(at_ns, frame)?;
    }
    writer.finish()?;
    Ok(())
}

fn explained_captures() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let forged: Vec<_> =
        (1..=1_000).map(|n| packet::tcp_syn(&format!("10.{}.{}.9", n % 250, n / 250))).collect();
    let members: Vec<_> = (1..=100).map(|last| packet::tcp_syn(&format!("203.0.113.{last}"))).collect();
    let visitor = || stream(&[packet::tcp_syn("192.0.2.1")], 4, 0..4_000);
    let request = packet::tcp("192.0.2.7", packet::ACK | packet::PSH).payload(300);
    for (description, streams, address, expected) in [
        (
            "a loud source",
            vec![visitor(), stream(&[packet::udp("198.51.100.7", 4_000)], 8_000, 1_000..3_000)],
            "198.51.100.7",
            &[
                "198.51.100.7 was blocked at 1.",
                "blocked for udp-flood",
                "✓ this source",
                "times the limit",
                "of them, UDP 100 %",
                "would not have been blocked below 1.00k packets/s (UDP packets)",
                "`mitigator allow add 198.51.100.7`",
            ][..],
        ),
        (
            "a limited flood, and who was there before",
            vec![visitor(), stream(&forged, 2, 2_000..4_000)],
            "192.0.2.1",
            &[
                "192.0.2.1 was not blocked.",
                "16 packets from 0.00 s on; 0 dropped by a block, 0 by a limit.",
                "limited for syn-flood",
                "SYN packets to port",
                "did not hold for it, because it was seen before the flood began",
            ],
        ),
        (
            "a limited flood, and who came with it",
            vec![visitor(), stream(&forged, 2, 2_000..4_000)],
            "10.7.3.9",
            &["10.7.3.9 was not blocked, but limited.", "had it been seen before the flood began"],
        ),
        (
            "an address inside a blocked prefix",
            vec![visitor(), stream(&members, 40, 1_000..3_000)],
            "203.0.113.5",
            &[
                "203.0.113.5 was blocked at 1.",
                "203.0.113.0/24 blocked for syn-flood",
                "✓ the whole prefix",
                "✓ addresses of the prefix that take part",
                "packets/s from the whole prefix",
            ],
        ),
        (
            "close to the floor",
            vec![visitor(), stream(&[packet::icmp("192.0.2.9")], 450, 0..4_000)],
            "192.0.2.9",
            &[
                "192.0.2.9 was not blocked.",
                "< 500 packets/s 90 % of the limit",
                "≥ 200 packets/s 2.3 times the limit",
                "To be blocked for icmp-flood it would have taken at least 500 packets/s from all sources together",
            ],
        ),
        (
            "a busy innocent",
            vec![visitor(), stream(&[request], 200, 0..4_000)],
            "192.0.2.7",
            &[
                "192.0.2.7 was not blocked.",
                "http-flood (requests on established connections)",
                "✗ all sources together",
                "≥ 60 packets/s 3.4 times the limit",
                "others that do the same at a normal rate",
            ],
        ),
        (
            "who is not there",
            vec![visitor()],
            "192.0.2.99",
            &["192.0.2.99 was not seen.", "No packet that was judged came from it."],
        ),
        (
            "the protected host",
            vec![visitor()],
            "198.51.100.1",
            &["198.51.100.1 is the protected host.", "its own packets are left out, and it is never blocked"],
        ),
    ] {
        let file = directory.path().join("scene.pcap");
        capture_of(&streams, &file)?;
        let arguments =
            ["replay", file.to_str().context("text")?, "--victim", "198.51.100.1", "--explain", address];
        let (status, stdout, stderr) = call(&arguments)?;
        let words = stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        for expected in expected {
            ensure!(status == 0 && words.contains(expected), "{description}: `{expected}`: {stdout}{stderr}");
        }
        let (_, stdout, _) = call(&[&arguments[..], &["--json"]].concat())?;
        let report: Value = serde_json::from_str(&stdout)?;
        let explained = &report["explained"][0];
        ensure!(explained["address"] == address, "{description}: {report}");
        let conclusion = explained["conclusion"].as_str().context("a conclusion")?;
        ensure!(words.ends_with(conclusion), "{description}: {conclusion}");
    }
    Ok(())
}

fn closed_pipe() -> Result<()> {
    for arguments in [&["completions", "bash"][..], &["completions", "zsh"], &["completions", "fish"]] {
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let output = Command::new(PROGRAM).args(arguments).stdout(writer).stderr(Stdio::piped()).output()?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() && stderr.is_empty(), "{arguments:?}: {}, {stderr}", output.status);
    }
    Ok(())
}

fn unwritable_stderr() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let cut = directory.path().join("cut.pcap");
    // A header that promises a packet, and three bytes of it.
    fs::write(
        &cut,
        [&[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0][..], &[0; 8], &[0, 0, 4, 0, 1, 0, 0, 0, 1, 2, 3]].concat(),
    )?;
    let cut = cut.to_str().context("the path is text")?;
    for (description, arguments, wanted) in [
        ("a damaged capture", &["replay", "--json", cut][..], 2),
        ("a configuration that is not there", &["run", "-i", "lo", "--config", "/nonexistent.toml"], 2),
        ("wrong use", &["run"], 2),
    ] {
        let (reader, closed) = std::io::pipe()?;
        drop(reader);
        for stderr in [Stdio::from(closed), Stdio::from(fs::File::create("/dev/full")?)] {
            let output = Command::new(PROGRAM).args(arguments).stderr(stderr).output()?;
            ensure!(output.status.code() == Some(wanted), "{description}: {}", output.status);
        }
    }
    Ok(())
}

fn without_rights() -> Result<()> {
    for arguments in [&["status"][..], &["run", "-i", "lo"], &["block", "192.0.2.7"], &["detach"]] {
        let output = Command::new("setpriv")
            .args([
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                "--bounding-set=-all",
                "--inh-caps=-all",
            ])
            .arg(PROGRAM)
            .args(arguments)
            .output()?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(2), "{arguments:?}: {output:?}");
        ensure!(stderr.contains("CAP_BPF") && stderr.trim().lines().count() == 1, "{arguments:?}: {stderr}");
    }
    Ok(())
}

fn not_attached() -> Result<()> {
    let installation = Installation::new(Path::new(PROGRAM), None)?;
    for arguments in [&["sources"][..], &["explain", "192.0.2.7"], &["blocklist", "list"], &["allow", "list"]]
    {
        let answer = installation.run(arguments)?;
        ensure!(
            answer.status == 2 && answer.stderr.contains("mitigator run -i"),
            "{arguments:?}: {answer:?}"
        );
    }
    let answer = installation.run(&["status"])?;
    ensure!(answer.status == 1 && answer.stdout.contains("mitigator run -i"), "{answer:?}");
    ensure!(installation.run(&["detach"])?.status == 1, "detached nothing");
    let answer = installation.run(&["run", "-i", "no-such-if"])?;
    ensure!(answer.status == 2 && answer.stderr.contains("no interface `no-such-if`"), "{answer:?}");
    ensure!(!installation.pins().exists(), "a failed run left pins");
    Ok(())
}

/// An installation that has been attached once, in a namespace of its own.
fn attached() -> Result<(Installation, Lab)> {
    let lab = Lab::new()?;
    let (a, b) = (lab.host("a")?, lab.host("b")?);
    let (_, interface) = lab.link(&a, &b)?;
    let installation = Installation::new(Path::new(PROGRAM), Some(&b))?;
    installation.start(&["-i", interface.name()])?.end()?;
    Ok((installation, lab))
}

fn standing(installation: &Installation) -> Result<u64> {
    installation.json(&["blocklist", "list"])?["standing"].as_u64().context("standing")
}

fn import() -> Result<()> {
    let (installation, _lab) = attached()?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("feed.txt");
    let path = file.to_str().context("the path is text")?;
    fs::write(
        &file,
        "\u{feff}# feed\n192.0.2.7\n\nnonsense\n198.51.100.9/24 # net\n10.0.0.0/8\n2001:db8::1\n192.0.2.7\n",
    )?;
    let answer = installation.run(&["blocklist", "import", path])?;
    ensure!(answer.status == 2, "{answer:?}");
    for hint in ["line 4: `nonsense`", "line 6: 10.0.0.0/8 is wider", "nothing was imported", "--skip-bad"] {
        ensure!(answer.stderr.contains(hint), "{hint}: {answer:?}");
    }
    ensure!(standing(&installation)? == 0, "something was imported");
    let report = installation.json(&["blocklist", "import", path, "--skip-bad"])?;
    ensure!(report["imported"] == 3 && report["skipped_lines"] == 2, "{report}");
    ensure!(report["masked_lines"] == 1, "{report}");
    ensure!(standing(&installation)? == 3, "not all were imported");
    let exported = installation.done(&["blocklist", "export", "-"])?;
    for target in ["192.0.2.7", "198.51.100.0/24", "2001:db8::/64"] {
        ensure!(exported.lines().any(|line| line.starts_with(target)), "{target}: {exported}");
    }
    ensure!(installation.json(&["blocklist", "clear", "--origin", "operator"])?["removed"] == 0);
    ensure!(installation.json(&["blocklist", "clear"])?["removed"] == 3);
    let blocked = installation.done(&["block", "198.51.100.9/24"])?;
    ensure!(blocked.contains("blocked 198.51.100.0/24"), "{blocked}");
    Ok(())
}

fn export() -> Result<()> {
    let (installation, _lab) = attached()?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("out.txt");
    let path = file.to_str().context("the path is text")?;
    let ends = || {
        let blocks = installation.json(&["blocklist", "list"])?["blocks"].take();
        let end_of = |target: &str| {
            let block = blocks.as_array().into_iter().flatten().find(|block| block["target"] == target);
            Ok::<_, anyhow::Error>(block.context("a block")?["until_unix_ms"].as_i64())
        };
        Ok::<_, anyhow::Error>((end_of("192.0.2.7")?, end_of("192.0.2.8")?, end_of("198.51.100.0/24")?))
    };
    installation.done(&["block", "192.0.2.7", "198.51.100.0/24", "--for", "1h"])?;
    installation.done(&["block", "192.0.2.8"])?;
    let before = ends()?;
    fs::write(&file, "")?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    chown(&file, Some(65_534), Some(65_534))?;
    installation.done(&["blocklist", "export", path])?;
    let kept = fs::metadata(&file)?;
    ensure!((kept.uid(), kept.gid(), kept.mode() & 0o777) == (65_534, 65_534, 0o600), "{kept:?}");
    installation.done(&["blocklist", "clear"])?;
    fs::write(&file, fs::read_to_string(&file)? + "192.0.2.9 # until 2020-01-31T12:00:00Z\n")?;
    let report = installation.json(&["blocklist", "import", path])?;
    ensure!(report["imported"] == 3 && report["ended_lines"] == 1, "{report}");
    let after = ends()?;
    let same = |before: Option<i64>, after: Option<i64>| match (before, after) {
        // The file is exact to the second.
        (Some(before), Some(after)) => (before - after).abs() <= 1_100,
        (before, after) => before == after,
    };
    ensure!(before.0.is_some() && same(before.0, after.0), "an address: {before:?} {after:?}");
    ensure!(before.1.is_none() && same(before.1, after.1), "without an end: {before:?} {after:?}");
    ensure!(same(before.2, after.2), "a prefix: {before:?} {after:?}");
    let stdout = directory.path().join("stdout");
    symlink("/dev/stdout", &stdout)?;
    let path = stdout.to_str().context("the path is text")?;
    let listed = installation.done(&["blocklist", "export", path])?;
    ensure!(listed.lines().count() == 4 && listed.contains("192.0.2.8 # by import"), "{listed}");
    ensure!(stdout.is_symlink(), "standard output was replaced");
    Ok(())
}

fn million() -> Result<()> {
    let (installation, _lab) = attached()?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("feed.txt");
    let path = file.to_str().context("the path is text")?;
    let lines: String = (0..1_000_000_u32)
        .map(|number| format!("{}\n", std::net::Ipv4Addr::from(0x0b00_0000 + number * 7)))
        .collect();
    fs::write(&file, lines)?;
    ensure!(installation.json(&["blocklist", "import", path])?["imported"] == 1_000_000);
    ensure!(standing(&installation)? == 1_000_000);
    let out = directory.path().join("out.txt");
    installation.done(&["blocklist", "export", out.to_str().context("the path is text")?])?;
    ensure!(fs::read_to_string(&out)?.lines().count() == 1_000_001);
    // 1,048,576 fit by default: another hundred thousand do not, and nothing of them may be written.
    let more: String = (0..100_000_u32)
        .map(|number| format!("{}\n", std::net::Ipv4Addr::from(0x6400_0000 + number)))
        .collect();
    fs::write(&file, more)?;
    let answer = installation.run(&["blocklist", "import", path])?;
    ensure!(answer.status == 2 && answer.stderr.contains("do not fit"), "{answer:?}");
    ensure!(standing(&installation)? == 1_000_000);
    Ok(())
}

fn nested_blocks() -> Result<()> {
    let (installation, _lab) = attached()?;
    installation.done(&["block", "192.0.2.0/24"])?;
    installation.done(&["block", "192.0.2.0/28", "--for", "1s"])?;
    let covering = || {
        let report = installation.json(&["explain", "192.0.2.7"])?;
        Ok::<_, anyhow::Error>((report["blocked"].clone(), report["blocks"][0]["target"].clone()))
    };
    ensure!(covering()? == (true.into(), "192.0.2.0/28".into()), "the longest prefix is named");
    pause(Duration::from_millis(1_100));
    ensure!(covering()? == (true.into(), "192.0.2.0/24".into()), "{:?}", covering()?);
    Ok(())
}

fn reasons() -> Result<()> {
    let (installation, _lab) = attached()?;
    let directory = tempfile::tempdir()?;
    let feed = directory.path().join("feed.txt");
    fs::write(&feed, "192.0.2.7\n")?;
    let import = ["blocklist", "import", feed.to_str().context("the path is text")?];
    let with_words = ["block", "192.0.2.7", "--reason", "words"];
    for (description, verbs, expected) in [
        ("a block with words", &[&with_words[..]][..], Value::from("words")),
        ("then one without", &[&with_words, &["block", "192.0.2.7"]], Value::Null),
        ("then one of a file", &[&with_words, &import], Value::Null),
        ("a clear between", &[&with_words, &["blocklist", "clear"], &["block", "192.0.2.7"]], Value::Null),
        ("empty words", &[&with_words, &["block", "192.0.2.7", "--reason", ""]], Value::Null),
        ("other words", &[&with_words, &["block", "192.0.2.7", "--reason", "other"]], "other".into()),
    ] {
        for verb in verbs {
            installation.done(verb)?;
        }
        let report = installation.json(&["explain", "192.0.2.7"])?;
        ensure!(report["blocks"][0]["reason"] == expected, "{description}: {report}");
    }
    Ok(())
}

/// What the kernel does, it does whether or not anything can be remembered.
fn unusable_state() -> Result<()> {
    let (installation, _lab) = attached()?;
    let directory = tempfile::tempdir()?;
    let place = |name: &str| directory.path().join(name);
    fs::write(place("file"), "")?;
    fs::create_dir(place("corrupt"))?;
    fs::write(place("corrupt").join("mitigator.sqlite"), "no data base ".repeat(1_000))?;
    for description in ["file", "corrupt"] {
        let state = place(description);
        let call = |arguments: &[&str]| installation.run_with_state(arguments, &state);
        for (arguments, status, hint) in [
            (&["block", "192.0.2.7", "--reason", "words"][..], 0, "reason could not be kept"),
            (&["explain", "192.0.2.7"], 0, "history cannot be read"),
            (&["unblock", "192.0.2.7"], 0, "could not be forgotten"),
            (&["explain", "192.0.2.7", "--over", "10ms"], 1, "history cannot be read"),
            (&["block", "192.0.2.7"], 0, "could not be forgotten"),
        ] {
            let answer = call(arguments)?;
            ensure!(
                answer.status == status && answer.stderr.contains(hint),
                "{description}, {arguments:?}: {answer:?}"
            );
        }
    }
    ensure!(standing(&installation)? == 1, "the block stands");
    Ok(())
}

fn limits() -> Result<()> {
    let lab = Lab::new()?;
    let (a, b) = (lab.host("a")?, lab.host("b")?);
    let (outside, victim) = lab.link(&a, &b)?;
    let addressing = Addressing { from_mac: outside.mac(), to_mac: victim.mac(), to: [198, 18, 0, 1].into() };
    let frames = Frames::udp(addressing, &[[198, 18, 1, 1].into()], 9)?;
    let installation = Installation::new(Path::new(PROGRAM), Some(&b))?;
    let directory = tempfile::tempdir()?;
    let file = |name: &str, patience: u32| {
        let path = directory.path().join(name);
        fs::write(&path, format!("[detection]\npatience = {patience}.0\n"))?;
        path.into_os_string().into_string().map_err(|path| anyhow::anyhow!("{path:?} is no text"))
    };
    let (agents, own) = (file("agents.toml", 3)?, file("own.toml", 2)?);
    let source_floor = |more: &[&str]| {
        let report = installation.json(&[&["explain", "198.18.1.1", "--over", "300ms"], more].concat())?;
        let traffic = &report["traffic"];
        let gates = traffic["vectors"][0]["gates"].as_array().with_context(|| report.to_string())?;
        let gate = gates.iter().find(|gate| gate["name"] == "source_floor").context("source_floor")?;
        Ok::<_, anyhow::Error>((traffic["limits_of"].clone(), gate["limit"].as_f64()))
    };

    let agent = installation.start(&["-i", victim.name(), "--config", &agents])?;
    let pace = Pace::PerSecond(200);
    let _traffic = Flood::start(&outside, frames, pace, Duration::from_secs(20), Core::usable()?[0], now())?;
    ensure!(source_floor(&[])? == (agents.clone().into(), Some(3_000.0)), "{:?}", source_floor(&[])?);
    let given = source_floor(&["--config", &own])?;
    ensure!(given == (own.clone().into(), Some(2_000.0)), "{given:?}");
    fs::write(&agents, "patience = \"none\"")?;
    ensure!(source_floor(&[])? == ("defaults".into(), Some(1_000.0)), "{:?}", source_floor(&[])?);
    agent.end()?;
    ensure!(source_floor(&[])? == ("defaults".into(), Some(1_000.0)), "{:?}", source_floor(&[])?);
    Ok(())
}

fn everybody_allowed() -> Result<()> {
    let lab = Lab::new()?;
    let (a, b) = (lab.host("a")?, lab.host("b")?);
    let (_, interface) = lab.link(&a, &b)?;
    let installation = Installation::new(Path::new(PROGRAM), Some(&b))?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("mitigator.toml");
    fs::write(&file, "allow = [\"10.0.0.0/8\", \"::/0\"]\n")?;
    let config = file.to_str().context("the path is text")?;
    let mut agent = installation.start(&["-i", interface.name(), "--config", config])?;
    let message = agent.wait_for("alarm")?["message"].to_string();
    ensure!(message.contains("holds ::/0: nobody in it is ever blocked"), "{message}");
    let others = agent.end()?;
    ensure!(others.iter().all(|event| event["event"] != "alarm"), "{others:?}");
    ensure!(installation.run(&["allow", "add", "0.0.0.0/0"])?.status == 2, "allowed without a question");
    let allowed = || {
        let report = installation.json(&["allow", "list"])?;
        let rows = report["allowed"].as_array().context("rows")?;
        Ok::<_, anyhow::Error>(rows.iter().any(|row| row["prefix"] == "0.0.0.0/0"))
    };
    ensure!(!allowed()?, "refused and allowed");
    installation.done(&["allow", "add", "--force", "0.0.0.0/0"])?;
    ensure!(allowed()?, "forced and not allowed");
    Ok(())
}

fn after_detach() -> Result<()> {
    let (installation, _lab) = attached()?;
    let keys = |report: &Value| Some(report.as_object()?.keys().cloned().collect::<Vec<_>>());
    ensure!(installation.run(&["status"])?.status == 0, "attached");
    let before = installation.json(&["status"])?;
    installation.done(&["detach"])?;
    ensure!(installation.run(&["status"])?.status == 1, "a negative answer");
    let after = installation.json(&["status"])?;
    ensure!(keys(&before) == keys(&after), "{after}");
    ensure!(keys(&before["outcomes"]) == keys(&after["outcomes"]), "{after}");
    ensure!(after["attached"] == serde_json::json!([]) && after["sources"]["capacity"] == 0, "{after}");
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "traffic is sent in real time")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "the kernel's clock has to go on")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

fn schema() -> Result<()> {
    let (installation, _lab) = attached()?;
    installation.done(&["block", "192.0.2.7", "--for", "1h", "--reason", "words"])?;
    for (arguments, keys) in [
        (
            &["status"][..],
            &[
                "attached",
                "agent",
                "packets",
                "dropped_packets",
                "outcomes",
                "sources",
                "syn_cookies",
                "blocked_sources",
                "blocked_prefixes",
                "allowed_prefixes",
                "baseline",
            ][..],
        ),
        (&["sources", "--over", "0s"], &["sources", "known", "over_s"]),
        (&["block", "192.0.2.8"], &["blocked"]),
        (&["unblock", "192.0.2.8"], &["unblocked", "left_alone", "not_blocked"]),
        (&["allow", "list"], &["allowed"]),
        (&["blocklist", "list"], &["blocks", "standing"]),
        (&["blocklist", "clear", "--origin", "agent"], &["removed", "left_alone"]),
        (
            &["explain", "192.0.2.7"],
            &[
                "address",
                "source",
                "blocked",
                "allowed_by",
                "blocks",
                "left_alone_until_unix_ms",
                "limits",
                "decisions",
                "traffic_decisions",
                "traffic",
                "conclusion",
            ],
        ),
    ] {
        let report = installation.json(arguments)?;
        let found: Vec<&String> = report.as_object().context("an object")?.keys().collect();
        for key in keys {
            ensure!(found.iter().any(|name| name == key), "{arguments:?} lacks `{key}`: {report}");
        }
        ensure!(found.len() == keys.len(), "{arguments:?} has undocumented keys: {found:?}");
    }
    Ok(())
}
