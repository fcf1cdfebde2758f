//! `mitigator logs`: who is blamed and who is not, what is made of bad input, the list, the rotation, who is told.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use mitigator_tests::access_log::{AccessLog, BEGIN_S, Request};
use mitigator_tests::installation::Installation;
use mitigator_tests::lab::{Child, Lab, find_program};
use mitigator_tests::suite::{self, Needs, Trial};
use serde_json::Value;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mitigator-under-test");
const HOUR_S: u64 = 3_600;

fn main() -> ExitCode {
    suite::run(vec![
        Trial::new("attackers_are_blamed_and_their_twins_are_not", Needs::Nothing, twins),
        Trial::new("the_faults_of_the_usual_recipe_are_absent", Needs::Nothing, recipe),
        Trial::new("the_verdict_depends_neither_on_seed_nor_on_order", Needs::Nothing, seeds),
        Trial::new("every_verdict_has_its_reasons", Needs::Nothing, reasons),
        Trial::new("formats_compression_and_streams_come_to_the_same", Needs::Nothing, formats),
        Trial::new("of_a_crowd_everybody_is_listed_who_is_asked_for", Needs::Nothing, crowd),
        Trial::new("bad_input_gets_a_sentence_and_no_ban", Needs::Nothing, bad_input),
        Trial::new("a_client_hides_neither_itself_nor_behind_others", Needs::Nothing, hidden),
        Trial::new("what_cannot_be_done_whole_is_not_begun", Needs::Nothing, wholes),
        Trial::new("a_proxys_clients_are_judged_when_it_is_trusted", Needs::Nothing, proxies),
        Trial::new("the_list_is_exact_sorted_and_lets_go", Needs::Nothing, list),
        Trial::new("old_logs_block_nobody", Needs::Nothing, stale),
        Trial::new("plots_are_drawn", Needs::Nothing, plots),
        Trial::new("a_log_is_followed_through_its_rotation", Needs::Nothing, followed),
        Trial::new("a_command_and_a_webhook_are_told", Needs::Nothing, told),
        Trial::new("a_mail_server_gets_the_list_by_tls", Needs::MailServer, mailed),
        Trial::new("blocks_in_the_kernel_keep_to_the_allow_list", Needs::Root, applied),
        Trial::new("the_real_logs_blame_who_attacked_and_nobody_else", Needs::AccessLogs, real_logs),
    ])
}

struct Logs(TempDir);

impl Logs {
    fn new() -> Result<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> Result<PathBuf> {
        fs::write(self.path(name), bytes)?;
        Ok(self.path(name))
    }
}

fn call(file: &Path, more: &[&str]) -> Result<Output> {
    Ok(Command::new(PROGRAM).arg("logs").arg(file).args(more).stdin(Stdio::null()).output()?)
}

fn report(file: &Path, more: &[&str]) -> Result<Value> {
    let output = call(file, &[&["--json"], more].concat())?;
    ensure!(output.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn blamed(report: &Value) -> BTreeSet<String> {
    let verdicts = report["verdicts"].as_array().into_iter().flatten();
    let blocks = verdicts.filter(|verdict| verdict["decision"] == "block");
    blocks.filter_map(|verdict| Some(verdict["client"].as_str()?.to_owned())).collect()
}

fn judged(text: &str, more: &[&str]) -> Result<Value> {
    let logs = Logs::new()?;
    report(&logs.write("access.log", text)?, more)
}

fn asks<'text>(client: &'text str, what: &'text str, agent: &'text str) -> Request<'text> {
    Request { client, what, status: 200, agent }
}

const EVIL: &str = "203.0.113.66";

fn site() -> AccessLog {
    AccessLog::seeded(7).visitors(300, HOUR_S)
}

/// Adds requests of one client, so many a second for `seconds` from `from_s` on.
fn each(
    mut log: AccessLog,
    client: &str,
    (from_s, seconds, per_second): (u64, u64, u64),
    ask: impl Fn(u64) -> (String, u16),
) -> AccessLog {
    for number in 0..seconds * per_second {
        let (what, status) = ask(number);
        let at_s = from_s + number / per_second;
        log.add(at_s, Request { client, what: &what, status, agent: "an agent" });
    }
    log
}

fn upload(number: u64) -> (String, u16) {
    match number % 3 {
        0 => (format!("HEAD /v2/app/blobs/{number}"), 404),
        1 => ("POST /v2/app/blobs/uploads".to_owned(), 202),
        _ => (format!("PUT /v2/app/blobs/uploads/{number}"), 201),
    }
}

fn synchronisation(number: u64) -> (String, u16) {
    let status = match number % 15 {
        0 | 3 => 404,
        9 => 401,
        1 => 405,
        12 => 207,
        _ => 201,
    };
    let method = ["PROPFIND", "MKCOL", "PUT"].get(usize::try_from(number % 3).unwrap_or(0)).unwrap_or(&"GET");
    (format!("{method} /dav/{number}"), status)
}

/// A site that fails: three of eight requests are errors, of several kinds.
fn broken(log: AccessLog, client: &str, seconds: u64) -> AccessLog {
    each(log, client, (600, seconds, 1), |number| {
        let status = match number % 8 {
            0 => 500,
            1 => 502,
            2 => 503,
            _ => 200,
        };
        let method = if number.is_multiple_of(9) { "POST" } else { "GET" };
        (format!("{method} /page/{}", number % 97), status)
    })
}

/// Each attack stands beside what is innocent and looks like it.
fn twins() -> Result<()> {
    let probe = || asks("192.0.2.9", "GET /health", "probe/1.0");
    let api = || asks("192.0.2.9", "GET /api/items", "client/2.0");
    let rows: Vec<(&str, AccessLog, &[&str])> = vec![
        ("visitors alone", site(), &[]),
        ("a flood with forged agents", site().flood(EVIL, 17, 12, 600, 30), &[EVIL]),
        ("its twin: an office whose people all poll", site().flood("192.0.2.9", 200, 12, 0, HOUR_S), &[]),
        ("a loud flood with one agent", site().flood(EVIL, 1, 60, 600, 60), &[EVIL]),
        ("its twin: an API client that polls", site().one_page(api(), 5, 0, HOUR_S), &[]),
        ("its twin: an API client that polls for a while", site().one_page(api(), 10, 600, 900), &[]),
        ("its twin: a monitoring probe", site().one_page(probe(), 1, 0, HOUR_S), &[]),
        ("its twin: a person who reloads", site().one_page(probe(), 2, 600, 15), &[]),
        ("a flood during a flash crowd", site().visitors(4_000, 300).flood(EVIL, 17, 20, 100, 60), &[EVIL]),
        ("its twin: a flash crowd", site().visitors(4_000, 300), &[]),
        ("a scanner", site().scanner(EVIL, 600, 300), &[EVIL]),
        ("its twin: a crawler with old addresses", site().crawler("192.0.2.9", HOUR_S), &[]),
        ("a scanner alone in the log", AccessLog::seeded(7).scanner(EVIL, 0, 300), &[EVIL]),
        ("a list of names, read fast", site().sweep(EVIL, 600, 2_000), &[EVIL]),
        (
            "its twin: a dead link that is asked for again and again",
            site().one_page(Request { status: 404, ..probe() }, 1, 0, HOUR_S),
            &[],
        ),
        (
            "a scanner behind whom a proxy is busy",
            site().proxy("192.0.2.9", 400, HOUR_S).scanner(EVIL, 600, 300),
            &[EVIL],
        ),
        ("its twin: a busy proxy", site().proxy("192.0.2.9", 400, HOUR_S), &[]),
        (
            "its twin: a busy proxy and hardly anybody else",
            AccessLog::seeded(3).proxy("192.0.2.9", 400, 600),
            &[],
        ),
    ];
    let scanners: Vec<String> = (1..=6).map(|last| format!("203.0.113.{last}")).collect();
    let names: Vec<&str> = scanners.iter().map(String::as_str).collect();
    let few = || AccessLog::seeded(7).visitors(20, HOUR_S);
    let failing = |log| {
        (1..=9).fold(log, |log, last| {
            // A proxy, and people of their own.
            let log = broken(log, &format!("198.18.0.{last}"), 300);
            broken(broken(log, &format!("198.18.1.{last}"), 16), &format!("198.18.2.{last}"), 16)
        })
    };
    let day = || AccessLog::seeded(7).visitors(600, 24 * HOUR_S);
    let poll = |_| ("GET /api/items".to_owned(), 200);
    let old = |number: u64| (format!("GET /old/{number}"), if number.is_multiple_of(5) { 200 } else { 404 });
    let rows: Vec<(&str, AccessLog, &[&str])> = [
        (
            "its twin: an even client of a log that has just begun",
            each(AccessLog::seeded(7), "192.0.2.9", (0, 90, 20), poll),
            &[][..],
        ),
        (
            "a flood of a log that has just begun",
            AccessLog::seeded(7).visitors(30, 90).flood(EVIL, 17, 80, 10, 60),
            &[EVIL][..],
        ),
        (
            "a flood as soon as the log tells it",
            AccessLog::seeded(7).visitors(30, 120).flood(EVIL, 17, 20, 90, 30),
            &[EVIL][..],
        ),
        (
            "its twin: an even client that ends as the log begins",
            each(site(), "192.0.2.9", (0, 60, 22), poll),
            &[][..],
        ),
        ("its twin: a class behind one address", day().flood("192.0.2.9", 30, 15, 40_000, 2_700), &[][..]),
        ("a flood of a day's log", day().flood(EVIL, 30, 15, 40_000, 400), &[EVIL][..]),
        (
            "its twin: a probe that is ten minutes old",
            each(site(), "192.0.2.9", (3_010, 590, 25), poll),
            &[][..],
        ),
        ("a flood that is a minute old", site().flood(EVIL, 1, 25, 3_540, 60), &[EVIL][..]),
        (
            "a flood of a quarter of an hour, loud beyond doubt",
            site().flood(EVIL, 1, 70, 2_700, 900),
            &[EVIL][..],
        ),
        ("its twin: a crawler after a relaunch", each(site(), "192.0.2.9", (0, 600, 4), old), &[][..]),
        ("its twin: images that are pushed", each(site(), "192.0.2.9", (600, 100, 12), upload), &[][..]),
        (
            "its twin: files that are synchronised",
            each(site(), "192.0.2.9", (600, 250, 6), synchronisation),
            &[][..],
        ),
        (
            "six scanners and few visitors",
            names.iter().fold(few(), |log, client| log.scanner(client, 600, 120)),
            &names[..],
        ),
        ("their twins: proxies of a broken site", failing(few()), &[][..]),
        ("a scanner of a broken site", failing(few()).scanner(EVIL, 600, 300), &[EVIL][..]),
    ]
    .into_iter()
    .chain(rows)
    .collect();
    for (description, log, expected) in rows {
        let report = judged(&log.text(), &[])?;
        let expected: BTreeSet<String> = expected.iter().map(|client| (*client).to_owned()).collect();
        ensure!(blamed(&report) == expected, "{description}: {:?}", blamed(&report));
        ensure!(report["nothing_to_decide"].is_null() != expected.is_empty(), "{description}");
    }
    let sources: Vec<String> = (1..=8).map(|last| format!("203.0.113.{last}")).collect();
    let flood = sources.iter().fold(site(), |log, client| log.flood(client, 1, 5, 600, 30));
    ensure!(
        blamed(&judged(&flood.text(), &[])?) == sources.iter().cloned().collect(),
        "many with one agent each"
    );
    Ok(())
}

/// Count per client, two clusters, the bad one's members into a file: what is wrong with it.
fn recipe() -> Result<()> {
    let logs = Logs::new()?;
    // Somebody is always blocked: here two clients differ, and none attacks.
    let quiet = AccessLog::seeded(1).one_page(asks("192.0.2.1", "GET /", "a"), 1, 0, 40).one_page(
        asks("192.0.2.2", "GET /", "a"),
        1,
        0,
        4,
    );
    let quiet = logs.write("quiet.log", quiet.text())?;
    for clusters in ["2", "3", "auto"] {
        ensure!(blamed(&report(&quiet, &["--clusters", clusters])?).is_empty(), "{clusters} groups");
    }
    // The number of the bad group is arbitrary: whichever it is, the same is blamed.
    let attack = logs.write("attack.log", site().scanner(EVIL, 600, 300).text())?;
    for clusters in ["1", "2", "3", "4", "8"] {
        let blamed = blamed(&report(&attack, &["--clusters", clusters])?);
        let expected: BTreeSet<String> = [EVIL.to_owned()].into();
        ensure!(clusters == "1" || blamed == expected, "{clusters} groups: {blamed:?}");
    }
    // A proxy and a crawler are the loudest by far, and stay.
    let benign = site().proxy("192.0.2.9", 300, HOUR_S).crawler("192.0.2.10", HOUR_S).text();
    let benign = report(&logs.write("benign.log", benign)?, &["--clusters", "2"])?;
    ensure!(benign["clients"][0]["client"] == "192.0.2.9" && blamed(&benign).is_empty(), "{benign}");
    // 203.0.113.6 is not on a list that has 203.0.113.66, and what has ended goes.
    let list =
        logs.write("blocked_ips.txt", "203.0.113.66\n198.51.100.1 # until 2020-01-01T00:00:00Z, by logs\n")?;
    let short = logs.write("short.log", site().scanner("203.0.113.6", 600, 300).text())?;
    let path = list.to_str().context("a path")?;
    report(&short, &["--blocklist", path, "--force"])?;
    let lines = fs::read_to_string(&list)?;
    let entries: Vec<&str> = lines.lines().map(|line| line.split(' ').next().unwrap_or_default()).collect();
    ensure!(entries == ["203.0.113.6", "203.0.113.66"], "{lines}");
    Ok(())
}

fn seeds() -> Result<()> {
    let logs = Logs::new()?;
    let text = site().scanner(EVIL, 600, 300).flood("203.0.113.9", 17, 12, 100, 30).text();
    let in_order = logs.write("in-order.log", &text)?;
    let mut lines: Vec<&str> = text.lines().collect();
    lines.reverse();
    let reversed = logs.write("reversed.log", lines.join("\n"))?;
    let expected: BTreeSet<String> = [EVIL.to_owned(), "203.0.113.9".to_owned()].into();
    for seed in 1..6 {
        let config = logs.write("config.toml", format!("[detection]\nseed = {seed}\n"))?;
        let more = ["--config", config.to_str().context("a path")?];
        ensure!(blamed(&report(&in_order, &more)?) == expected, "seed {seed}");
        let backwards = report(&reversed, &more)?;
        ensure!(blamed(&backwards) == expected, "seed {seed}, reversed: {:?}", blamed(&backwards));
        ensure!(backwards["late_requests"].as_u64() > Some(1_000), "it is told that times go backwards");
    }
    let twice = || Ok::<_, anyhow::Error>(call(&in_order, &["--json"])?.stdout);
    ensure!(twice()? == twice()?, "two reports");
    Ok(())
}

fn reasons() -> Result<()> {
    let logs = Logs::new()?;
    let file =
        logs.write("access.log", site().scanner(EVIL, 600, 300).crawler("192.0.2.10", HOUR_S).text())?;
    let report = report(&file, &["--explain", "203.0.113.66,192.0.2.10,192.0.2.200"])?;
    let verdict = &report["verdicts"][0];
    ensure!(verdict["vector"] == "http-scan" && verdict["distance"].is_f64(), "{verdict}");
    for gate in verdict["gates"].as_array().context("gates")? {
        ensure!(gate["value"].is_number() && gate["limit"].is_number() && gate["unit"].is_string(), "{gate}");
    }
    let group = &report["cases"][1]["groups"][usize::try_from(verdict["group"].as_u64().context("group")?)?];
    ensure!(group["is_attacking"] == true && group["centroid"].as_f64() >= Some(100.0), "{group}");
    let explained =
        |place: usize| report["explained"][place]["conclusion"].as_str().unwrap_or_default().to_owned();
    ensure!(explained(0).contains("blocked, for http-scan"), "{}", explained(0));
    ensure!(explained(1).contains("not blocked") && explained(2).contains("no request"), "{report}");
    let why = report["explained"][1]["vectors"][1]["conclusion"].as_str().unwrap_or_default();
    ensure!(
        why.contains("in its busiest minute; crawlers wait between two: 30 requests, at least 60"),
        "{why}"
    );
    let text = String::from_utf8(call(&file, &["--explain", EVIL])?.stdout)?;
    for hint in [
        "203.0.113.66  http-scan  block",
        "standard deviations",
        "SILHOUETTE",
        "attacks",
        "Nothing was changed",
    ] {
        ensure!(text.contains(hint), "{hint}: {text}");
    }
    Ok(())
}

fn formats() -> Result<()> {
    let logs = Logs::new()?;
    let text = site().flood(EVIL, 17, 12, 600, 30).text();
    let plain = logs.write("plain.log", &text)?;
    let expected = report(&plain, &[])?;
    let common: String =
        text.lines().map(|line| line.split(" \"-\" ").next().unwrap_or(line).to_owned() + "\n").collect();
    let wrapped: String = text.lines().map(|line| format!("\"{line}\"\r\n")).collect();
    let hosted: String = text.lines().map(|line| format!("www.example.org:443 {line}\n")).collect();
    let json: String = text
        .lines()
        .map(|line| json_of(line).map(|line| line + "\n"))
        .collect::<Option<_>>()
        .context("json")?;
    let half = text.len() / 2 + text[text.len() / 2..].find('\n').context("a line")? + 1;
    let compress = |program: &str, text: &str| -> Result<Vec<u8>> {
        let mut out = Vec::new();
        match program {
            "gzip" => {
                let mut encoder = flate2::write::GzEncoder::new(&mut out, flate2::Compression::fast());
                encoder.write_all(text.as_bytes())?;
                encoder.finish()?;
            }
            _ => zstd::stream::copy_encode(text.as_bytes(), &mut out, 1)?,
        }
        Ok(out)
    };
    for (description, bytes, format) in [
        ("wrapped", wrapped.clone().into_bytes(), "combined"),
        ("virtual host", hosted.clone().into_bytes(), "virtual-host"),
        ("json", json.clone().into_bytes(), "json"),
        ("gzip", compress("gzip", &text)?, "combined"),
        ("zstd", compress("zstd", &text)?, "combined"),
        (
            "mixed",
            [
                &text[..half],
                &json[json.len() / 2 + json[json.len() / 2..].find('\n').context("a line")? + 1..],
            ]
            .concat()
            .into_bytes(),
            "json",
        ),
    ] {
        let found = report(&logs.write("other.log", bytes)?, &[])?;
        ensure!(
            found["formats"][format].as_u64() > Some(0) && found["bad_lines"] == 0,
            "{description}: {}",
            found["formats"]
        );
        ensure!(blamed(&found) == blamed(&expected), "{description}");
        ensure!(description == "mixed" || found["clients"] == expected["clients"], "{description}");
    }
    // Without agents there is less evidence: nobody is blamed by a guess.
    let found = report(&logs.write("common.log", common)?, &[])?;
    ensure!(
        found["formats"]["common"].as_u64() == expected["lines"].as_u64() && blamed(&found).is_empty(),
        "common"
    );
    let (first, second) =
        (logs.write("first", &text[..half])?, logs.write("second.gz", compress("gzip", &text[half..])?)?);
    let both = report(&first, &[second.to_str().context("a path")?])?;
    ensure!(both["clients"] == expected["clients"], "two files");
    let streamed =
        Command::new(PROGRAM).args(["logs", "-", "--json"]).stdin(fs::File::open(&plain)?).output()?;
    let streamed: Value = serde_json::from_slice(&streamed.stdout)?;
    ensure!(
        streamed["clients"] == expected["clients"] && streamed["logs"][0] == "standard input",
        "a stream"
    );
    Ok(())
}

fn json_of(line: &str) -> Option<String> {
    let (client, rest) = line.split_once(' ')?;
    let (time, rest) = rest.split_once('[')?.1.split_once("] \"")?;
    let (request, rest) = rest.split_once("\" ")?;
    let mut words = rest.split(' ');
    let (status, bytes) = (words.next()?, words.next()?);
    let agent = line.trim_end_matches('"').rsplit('"').next()?;
    Some(
        serde_json::json!({"remote_addr": client, "time_local": time, "request": request, "status": status,
            "body_bytes_sent": bytes.parse::<u64>().ok()?, "http_user_agent": agent})
        .to_string(),
    )
}

/// More than are grouped, and more than are fetched at once.
fn crowd() -> Result<()> {
    const CLIENTS: u32 = 6_000;
    let logs = Logs::new()?;
    let line = |client: u32| {
        let client = std::net::Ipv4Addr::from_bits(0x0a00_0000 + client);
        format!("{client} - - [17/May/2015:10:05:03 +0000] \"GET / HTTP/1.1\" 200 1 \"-\" \"a\"\n")
    };
    // The last third asks once, the others twice.
    let text: String = (0..CLIENTS).chain(0..CLIENTS * 2 / 3).map(line).collect();
    let file = logs.write("crowd.log", &text)?;
    for (limit, expected) in [("0", CLIENTS as usize), ("3000", 3_000)] {
        let found = report(&file, &["--limit", limit])?;
        let rows = found["clients"].as_array().context("clients")?;
        ensure!(rows.len() == expected, "{} of {limit}", rows.len());
        let twice = rows.iter().filter(|row| row["requests"].as_f64() == Some(2.0)).count();
        ensure!(twice == expected.min(4_000), "{twice} asked twice");
        ensure!(rows[0]["group"].is_number() && rows[expected - 1]["group"].is_null(), "{}", rows[0]);
    }
    Ok(())
}

fn bad_input() -> Result<()> {
    let logs = Logs::new()?;
    let good = AccessLog::seeded(2).scanner(EVIL, 0, 300).text();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(good.as_bytes())?;
    let gzip = gzip.finish()?;
    let noise: Vec<u8> = (0..100_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let list = logs.path("blocked_ips.txt");
    let list_path = list.to_str().context("a path")?.to_owned();
    for (description, bytes, hint) in [
        ("binary", noise, "is no access log"),
        ("zeros", vec![0; 10_000], "binary, not text"),
        (
            "tab-separated",
            b"host\tlogname\ttime\n192.0.2.7\t-\t804571201\n".to_vec(),
            "line 1 is: no [time]; accepted are",
        ),
        ("one line of 10 MB", vec![b'x'; 10 << 20], "longer than 64 KiB"),
        ("cut gzip", gzip.get(..gzip.len() / 2).unwrap_or_default().to_vec(), "nobody was blocked by it"),
        ("gzip, cut in its head", gzip.get(..5).unwrap_or_default().to_vec(), "cannot read"),
    ] {
        let file = logs.write("bad.log", bytes)?;
        let output = call(&file, &["--blocklist", &list_path, "--force"])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.code() == Some(2) && said.contains(hint),
            "{description}: {:?} {said}",
            output.status
        );
        ensure!(!said.contains("panicked") && !list.exists(), "{description}: {said}");
    }
    // A log that has just been begun is empty, and what has ended goes off the list all the same.
    fs::write(&list, "192.0.2.1 # until 2020-01-01T00:00:00Z, by logs\n")?;
    for empty in ["", "\n\n\n"] {
        let found = report(&logs.write("empty.log", empty)?, &["--blocklist", &list_path])?;
        ensure!(found["requests"] == 0 && found["blocklist"]["standing"] == 0, "{found}");
        ensure!(found["nothing_to_decide"] == "there is no request in it", "{found}");
    }
    fs::remove_file(&list)?;
    report(&logs.write("empty.log", "")?, &["--blocklist", &list_path])?;
    ensure!(fs::read(&list)?.is_empty(), "a list of nobody is an empty file");
    fs::remove_file(&list)?;
    // Bad lines among good ones are counted and told, and the rest counts.
    let long = "y".repeat(10 << 20);
    let mixed = format!(
        "{good}garbage\n{long}\n192.0.2.7 - - [31/Jan/2026:12:00:05 +0000] \"GET / HTTP/1.1\" 999 1\n{{\n\u{1b}[31m\n"
    );
    let file = logs.write("mixed.log", mixed)?;
    let found = report(&file, &["--show-bad"])?;
    ensure!(found["bad_lines"] == 5 && found["bad"].as_array().map(Vec::len) == Some(5), "{}", found["bad"]);
    ensure!(blamed(&found) == [EVIL.to_owned()].into(), "{found}");
    let shown = String::from_utf8(call(&file, &["--show-bad"])?.stdout)?;
    ensure!(shown.contains("begins like JSON and is not") && !shown.contains('\u{1b}'), "{shown}");
    // Without times nobody can be judged.
    let undated: String = good
        .lines()
        .map(|line| {
            let (before, rest) = line.split_once('[').unwrap_or_default();
            format!("{before}[-]{}\n", rest.split_once(']').unwrap_or_default().1)
        })
        .collect();
    let found = judged(&undated, &[])?;
    ensure!(
        blamed(&found).is_empty() && found["undated_requests"].as_u64() == found["requests"].as_u64(),
        "{found}"
    );
    ensure!(
        found["nothing_to_decide"].as_str().is_some_and(|why| why.contains("no line has a time")),
        "{found}"
    );
    // Names cannot be blocked, and it is said.
    let named = judged(&good.replace(EVIL, "host.example"), &[])?;
    ensure!(named["verdicts"][0]["decision"] == "observe" && blamed(&named).is_empty(), "{named}");
    ensure!(named["verdicts"][0]["kept"].as_str().is_some_and(|why| why.contains("host name")), "{named}");
    Ok(())
}

/// A client does not hide by what it sends, and names nobody else by it.
fn hidden() -> Result<()> {
    let text = site().scanner(EVIL, 600, 300).text();
    let of = |change: &dyn Fn(&str) -> String| -> Result<BTreeSet<String>> {
        let lines =
            text.lines().map(|line| if line.starts_with(EVIL) { change(line) } else { line.to_owned() });
        let text: String = lines.map(|line| line + "\n").collect();
        Ok(blamed(&judged(&text, &[])?))
    };
    let evil: BTreeSet<String> = [EVIL.to_owned()].into();
    let cut = |line: &str| line.rsplit_once(" \"").unwrap_or_default().0.to_owned();
    ensure!(of(&|line| line.replacen(" - - [", " - [ [", 1))? == evil, "a bracket in the user");
    ensure!(of(&|line| format!("{} \"{}\"", cut(line), "\\x80".repeat(20_000)))? == evil, "80 KB of agent");
    let json = |line: &str| json_of(line).unwrap_or_default();
    ensure!(of(&|line| json(line).replace("a scanner", "\\x22"))? == evil, "a quote, as nginx writes it");
    let long = |line: &str| json(line).replace("a scanner", &"z".repeat(80_000));
    let long_last = |line: &str| {
        let (head, agent) = (json(line).replace("\"http_user_agent\"", "\"other\""), "z".repeat(80_000));
        format!("{},\"http_user_agent\":\"{agent}\"}}", head.trim_end_matches('}'))
    };
    ensure!(of(&long_last)? == evil && of(&long)? == evil, "80 KB of agent in JSON");
    let quoted = |line: &str| format!("\"{}\"", line.replace('"', "\"\""));
    ensure!(of(&quoted)? == evil, "as spreadsheets write it");
    ensure!(of(&|line| format!("198.51.100.9 {line}"))?.is_empty(), "another host");
    ensure!(of(&|line| format!("198.51.100.9 x, {line}"))?.is_empty(), "another X-Forwarded-For");
    // One line with a wrong clock makes nobody an attacker.
    let office = AccessLog::seeded(7).visitors(300, HOUR_S).flood("192.0.2.9", 30, 12, 0, HOUR_S).text();
    for wrong in ["01/Jan/1970:00:01:40", "01/Jan/2036:00:01:40"] {
        let line = format!("198.51.100.1 - - [{wrong} +0000] \"GET / HTTP/1.1\" 200 1 \"-\" \"a\"\n");
        ensure!(blamed(&judged(&(line + &office), &[])?).is_empty(), "{wrong}");
    }
    let logs = Logs::new()?;
    let odd = logs.write("odd.log", text.replace(&format!("{EVIL} "), "- "))?;
    let shown = String::from_utf8(call(&odd, &[])?.stdout)?;
    ensure!(shown.contains("more than 1 % of the lines could not be read"), "{shown}");
    Ok(())
}

/// What cannot be done whole is not begun, and what is only looked at changes nothing.
fn wholes() -> Result<()> {
    let logs = Logs::new()?;
    let (list, plots) = (logs.path("blocked_ips.txt"), logs.path("plots"));
    let (path, directory) = (list.to_str().context("a path")?, plots.to_str().context("a path")?);
    let attack = logs.write("attack.log", site().scanner(EVIL, 600, 300).text())?;
    let output = call(&attack, &["--blocklist", path, "--force", "--plots", "/proc/nope"])?;
    ensure!(output.status.code() == Some(2) && !list.exists(), "{output:?}");
    let dry = report(&attack, &["--blocklist", path, "--force", "--dry-run", "--plots", directory])?;
    ensure!(!list.exists() && !plots.exists() && dry["dry_run"] == true, "{dry}");
    ensure!(dry["blocklist"]["added"] == 1 && dry["planned"][0] == EVIL, "{dry}");
    for wrong in [
        &["--follow", "--limit", "3"][..],
        &["--follow", "--show-bad"],
        &["--follow", "--explain", EVIL],
        &["--follow", "--plots", "x"],
        &["--every", "3s"],
    ] {
        ensure!(call(&attack, wrong)?.status.code() == Some(2), "{wrong:?}");
    }
    Ok(())
}

fn proxies() -> Result<()> {
    let text = site().scanner(EVIL, 600, 300).text();
    let proxied: String = text
        .lines()
        .filter_map(|line| {
            let (client, rest) = line.split_once(' ')?;
            Some(format!("10.0.0.1 {rest} \"10.9.9.9, {client}\"\n"))
        })
        .collect();
    let logs = Logs::new()?;
    let file = logs.write("proxied.log", proxied)?;
    ensure!(!blamed(&report(&file, &[])?).contains(EVIL), "nobody vouches for the header");
    let trusted = report(&file, &["--trusted-proxy", "10.0.0.0/24"])?;
    ensure!(blamed(&trusted) == [EVIL.to_owned()].into(), "{:?}", blamed(&trusted));
    let direct = logs.write("direct.log", site().scanner("10.0.0.1", 600, 300).text())?;
    let kept = report(&direct, &["--trusted-proxy", "10.0.0.1"])?;
    ensure!(blamed(&kept).is_empty() && kept["verdicts"][0]["decision"] == "observe", "{kept}");
    let config = logs.write("config.toml", "allow = [\"10.0.0.0/8\"]\n")?;
    let allowed = report(&direct, &["--config", config.to_str().context("a path")?])?;
    ensure!(blamed(&allowed).is_empty(), "{allowed}");
    Ok(())
}

fn now_s() -> Result<u64> {
    #[expect(clippy::disallowed_methods, reason = "a log of this moment")]
    let now = SystemTime::now();
    Ok(now.duration_since(UNIX_EPOCH)?.as_secs())
}

fn list() -> Result<()> {
    let logs = Logs::new()?;
    let list = logs.path("blocked_ips.txt");
    let path = list.to_str().context("a path")?.to_owned();
    // The scanners end now.
    let begin_s = now_s()? - 900;
    let recent = || AccessLog::seeded(7).beginning_at(begin_s).visitors(300, 900);
    let first =
        logs.write("first.log", recent().scanner(EVIL, 600, 300).scanner("9.0.0.1", 600, 300).text())?;
    let dry = report(&first, &["--blocklist", &path, "--dry-run"])?;
    ensure!(dry["dry_run"] == true && !list.exists(), "a dry run changes nothing");
    let found = report(&first, &["--blocklist", &path, "--for", "8s"])?;
    ensure!(found["blocklist"]["added"] == 2 && found["dry_run"] == false, "{}", found["blocklist"]);
    let text = fs::read_to_string(&list)?;
    let targets: Vec<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    ensure!(targets == ["9.0.0.1", EVIL] && text.contains(" # until "), "{text}");
    #[expect(clippy::disallowed_methods, reason = "the end of a block")]
    std::thread::sleep(Duration::from_secs(9));
    let quiet = logs.write("quiet.log", recent().text())?;
    let found = report(&quiet, &["--blocklist", &path])?;
    ensure!(
        found["blocklist"]["ended"] == 2 && found["blocklist"]["standing"] == 0,
        "{}",
        found["blocklist"]
    );
    ensure!(fs::read_to_string(&list)?.is_empty(), "what has ended is gone");
    fs::write(&list, "my notes\n")?;
    let output = call(&first, &["--blocklist", &path])?;
    ensure!(output.status.code() == Some(2) && fs::read_to_string(&list)? == "my notes\n", "{output:?}");
    Ok(())
}

fn stale() -> Result<()> {
    let logs = Logs::new()?;
    let list = logs.path("blocked_ips.txt");
    let path = list.to_str().context("a path")?.to_owned();
    let old =
        logs.write("old.log", site().beginning_at(BEGIN_S - 86_400 * 400).scanner(EVIL, 600, 300).text())?;
    let found = report(&old, &["--blocklist", &path])?;
    ensure!(found["stale"][0] == EVIL && found["blocklist"]["standing"] == 0, "{found}");
    let forced = report(&old, &["--blocklist", &path, "--force"])?;
    ensure!(forced["blocklist"]["standing"] == 1, "{}", forced["blocklist"]);
    // The evidence counts, not the last visit, and a block ends by it however often the log is read.
    let list = logs.path("other.txt");
    let path = list.to_str().context("a path")?.to_owned();
    let begin_s = now_s()? - HOUR_S;
    let visit = || {
        AccessLog::seeded(7).beginning_at(begin_s).visitors(300, HOUR_S).one_page(
            asks(EVIL, "GET /", "a"),
            1,
            3_590,
            1,
        )
    };
    let long_ago = AccessLog::seeded(7).beginning_at(begin_s - 20 * 86_400).scanner(EVIL, 600, 300).text();
    let visited = logs.write("visited.log", long_ago + &visit().text())?;
    let found = report(&visited, &["--blocklist", &path])?;
    ensure!(found["stale"][0] == EVIL && found["blocklist"]["standing"] == 0, "{found}");
    let scanned = logs.write("scanned.log", visit().scanner(EVIL, 600, 300).text())?;
    let found = report(&scanned, &["--blocklist", &path, "--for", "40m"])?;
    ensure!(found["stale"][0] == EVIL && found["blocklist"]["standing"] == 0, "{found}");
    let (first, second) = (
        report(&scanned, &["--blocklist", &path, "--for", "1h"])?,
        report(&scanned, &["--blocklist", &path, "--for", "1h"])?,
    );
    ensure!(first["blocklist"]["added"] == 1 && second["blocklist"]["prolonged"] == 0, "{second}");
    Ok(())
}

fn plots() -> Result<()> {
    let logs = Logs::new()?;
    for text in [
        site().scanner(EVIL, 600, 300).text(),
        AccessLog::seeded(1).one_page(asks(EVIL, "GET /", "a"), 1, 0, 1).text(),
    ] {
        let file = logs.write("access.log", text)?;
        let directory = logs.path("plots");
        let found = report(&file, &["--plots", directory.to_str().context("a path")?])?;
        ensure!(found["plots"].as_array().map(Vec::len) == Some(3), "{found}");
        for (name, hint) in [("requests", EVIL), ("elbow", "silhouette"), ("groups", "requests/s")] {
            let svg = fs::read_to_string(directory.join(name).with_extension("svg"))?;
            ensure!(
                svg.starts_with("<svg") && svg.contains(hint) && svg.trim_end().ends_with("</svg>"),
                "{name}: {svg}"
            );
        }
    }
    Ok(())
}

/// Waits for something, a while.
fn eventually(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    #[expect(clippy::disallowed_methods, reason = "another process is waited for")]
    let begin = Instant::now();
    while !is_so()? {
        ensure!(begin.elapsed() < Duration::from_secs(30), "{what}");
        #[expect(clippy::disallowed_methods, reason = "another process is waited for")]
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn followed() -> Result<()> {
    let logs = Logs::new()?;
    let (log, list) = (logs.path("access.log"), logs.path("blocked_ips.txt"));
    // The floods end now.
    let begin_s = now_s()? - 3_530;
    fs::write(&log, AccessLog::seeded(7).beginning_at(begin_s).visitors(200, 3_530).text())?;
    let mut command = Command::new(PROGRAM);
    command
        .arg("logs")
        .arg(&log)
        .args(["--follow", "--every", "1s", "--for", "15s", "--json", "--blocklist"])
        .arg(&list);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(fs::File::create(logs.path("stderr"))?);
    let mut child = Child::spawn(command)?;
    let (sender, events) = std::sync::mpsc::channel();
    child.for_each_line(move |line| sender.send(line).unwrap_or_default());
    let append = |name: &Path, log: AccessLog| -> Result<()> {
        let mut file = fs::OpenOptions::new().append(true).create(true).open(name)?;
        Ok(file.write_all(log.text().as_bytes())?)
    };
    let recent = |seed| AccessLog::seeded(seed).beginning_at(begin_s);
    let listed = || fs::read_to_string(&list).unwrap_or_default();
    append(&log, recent(1).flood("203.0.113.1", 17, 15, 3_500, 30))?;
    eventually("the flood is not listed", || Ok(listed().contains("203.0.113.1 ")))?;
    fs::rename(&log, logs.path("access.log.1"))?;
    append(&logs.path("access.log.1"), recent(2).flood("203.0.113.2", 17, 15, 3_500, 30))?;
    append(&log, recent(3).flood("203.0.113.3", 17, 15, 3_500, 30))?;
    // Somebody edits the list: it is told, and tried again.
    eventually("the first after the rotation is not listed", || Ok(listed().contains("203.0.113.3 ")))?;
    let standing = listed();
    fs::write(&list, format!("{standing}half a li"))?;
    append(&log, recent(4).flood("203.0.113.4", 17, 15, 3_500, 30))?;
    #[expect(clippy::disallowed_methods, reason = "time for a look at the list")]
    std::thread::sleep(Duration::from_secs(3));
    ensure!(listed().ends_with("half a li"), "{}", listed());
    fs::write(&list, standing)?;
    eventually("who was found meanwhile is not listed", || Ok(listed().contains("203.0.113.4 ")))?;
    eventually("what was written around the rotation is not listed", || {
        Ok(listed().contains("203.0.113.2 ") && listed().contains("203.0.113.3 "))
    })?;
    eventually("what has ended is still listed", || Ok(listed().is_empty()))?;
    let status = child.end()?;
    let events: Vec<Value> = events.iter().filter_map(|line| serde_json::from_str(&line).ok()).collect();
    let blamed: Vec<&str> = events.iter().filter_map(|event| event["verdict"]["client"].as_str()).collect();
    ensure!(
        status.success() && blamed.len() == 4,
        "{status}: {blamed:?}, {}",
        fs::read_to_string(logs.path("stderr"))?
    );
    for event in ["rotated", "failed"] {
        ensure!(events.iter().any(|told| told["event"] == event), "{event}: {events:?}");
    }
    Ok(())
}

/// Answers one HTTP request with `status`; what was asked.
fn serve_once(listener: TcpListener, status: &'static str) -> std::thread::JoinHandle<Result<String>> {
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let (mut text, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
            text.push_str(&line);
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        text.push_str(&String::from_utf8(body)?);
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
        Ok(text)
    })
}

fn told() -> Result<()> {
    let logs = Logs::new()?;
    let attack = logs.write("attack.log", site().scanner(EVIL, 600, 300).text())?;
    let config_with = |url: &str| {
        let told = logs.path("told");
        let command = format!("env > {0}.env; cat > {0}.list", told.display());
        logs.write("token", "a secret\n")?;
        let token = logs.path("token");
        logs.write(
            "config.toml",
            format!(
                "[notify.webhook]\nurl = \"{url}\"\ntoken_file = \"{}\"\n[notify.command]\ncommand = [\"/bin/sh\", \"-c\", \"{command}\"]\n",
                token.display()
            ),
        )
    };
    for (file, status, expected, code) in [
        (attack.clone(), "204 No Content", "success", 0),
        (attack, "500 No", "success", 2),
        (logs.path("missing.log"), "200 OK", "failure", 2),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let config = config_with(&format!("http://{}/hook", listener.local_addr()?))?;
        let server = serve_once(listener, status);
        let output = call(&file, &["--notify", "--config", config.to_str().context("a path")?])?;
        ensure!(output.status.code() == Some(code), "{status}: {output:?}");
        let asked = match server.join() {
            Ok(asked) => asked?,
            Err(_) => bail!("the server of the test failed"),
        };
        ensure!(asked.to_ascii_lowercase().contains("authorization: bearer a secret"), "{asked}");
        let body: Value = serde_json::from_str(asked.split("\r\n\r\n").nth(1).context("a body")?)?;
        ensure!(body["success"] == (expected == "success"), "{body}");
        let list = if expected == "success" { "203.0.113.66\n" } else { "" };
        ensure!(body["list"] == list && fs::read_to_string(logs.path("told.list"))? == list, "{body}");
        let env = fs::read_to_string(logs.path("told.env"))?;
        ensure!(env.contains(&format!("MITIGATOR_RESULT={expected}")), "{env}");
        if code == 2 && expected == "success" {
            ensure!(String::from_utf8_lossy(&output.stderr).contains("answered 500"), "{output:?}");
        }
    }
    Ok(())
}

fn mailed() -> Result<()> {
    let logs = Logs::new()?;
    let program = |name: &str| find_program(name).with_context(|| format!("{name} is gone"));
    let path = |name: &str| logs.path(name).display().to_string();
    // An authority may not be a server, so that the certificate must not be one's.
    let request = logs.write(
        "request.cnf",
        "[req]\ndistinguished_name = name\nx509_extensions = uses\nprompt = no\n[name]\nCN = localhost\n[uses]\n\
         basicConstraints = critical,CA:FALSE\nsubjectAltName = DNS:localhost\n",
    )?;
    let made = Command::new(program("openssl")?)
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-config"])
        .arg(request)
        .args(["-keyout", &path("key.pem"), "-out", &path("cert.pem")])
        .output()?;
    ensure!(made.status.success(), "{made:?}");
    // The port is free at this moment; nobody else on this machine takes ports at random.
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut server = Command::new(program("aiosmtpd")?);
    server.args(["--nosetuid", "--listen", &format!("127.0.0.1:{port}"), "--tlscert", &path("cert.pem")]);
    server.args(["--tlskey", &path("key.pem"), "--class", "aiosmtpd.handlers.Mailbox", &path("mails")]);
    server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(logs.path("server"))?);
    let mut server = Child::spawn(server)?;
    eventually("the mail server does not listen", || {
        Ok(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok())
    })?;
    let config = |more: &str| {
        logs.write(
            "config.toml",
            format!(
                "[notify.email]\nserver = \"localhost\"\nport = {port}\nfrom = \"mitigator <m@example.org>\"\n\
                 to = [\"you@example.org\"]\n{more}"
            ),
        )
    };
    let trusting = config(&format!("ca_file = \"{}\"\n", path("cert.pem")))?;
    let trusting = trusting.to_str().context("a path")?.to_owned();
    let attack = logs.write("attack.log", site().scanner(EVIL, 600, 300).text())?;
    let mails = || -> Result<Vec<String>> {
        let mut mails = Vec::new();
        for entry in fs::read_dir(logs.path("mails").join("new"))? {
            mails.push(fs::read_to_string(entry?.path())?);
        }
        Ok(mails)
    };
    let output = call(&attack, &["--notify", "--config", &trusting])?;
    ensure!(output.status.success(), "{output:?}, {}", fs::read_to_string(logs.path("server"))?);
    let mail = mails()?.pop().context("a mail")?;
    for hint in [
        "Subject: mitigator logs: 1 client attacks",
        "filename=\"blamed.txt\"",
        "203.0.113.66",
        "To: you@example.org",
    ] {
        ensure!(mail.contains(hint), "{hint}: {mail}");
    }
    let output = call(&logs.path("missing.log"), &["--notify", "--config", &trusting])?;
    ensure!(output.status.code() == Some(2), "{output:?}");
    let failures = mails()?.iter().filter(|mail| mail.contains("Subject: mitigator logs: failed")).count();
    ensure!(failures == 1 && mails()?.len() == 2, "a failure has a text of its own");
    let (before, list) = (mails()?, path("listed.txt"));
    let output = call(&attack, &["--notify", "--config", &trusting, "--blocklist", &list, "--force"])?;
    ensure!(output.status.success(), "{output:?}");
    let mut mails_then = mails()?;
    mails_then.retain(|mail| !before.contains(mail));
    ensure!(mails_then.iter().any(|mail| mail.contains("filename=\"blocked_ips.txt\"")), "{mails_then:?}");
    // A certificate that nobody vouches for gets no mail, and so does a server without TLS.
    let output = call(&attack, &["--notify", "--config", config("")?.to_str().context("a path")?])?;
    ensure!(output.status.code() == Some(2) && mails()?.len() == 3, "{output:?}");
    ensure!(
        String::from_utf8_lossy(&output.stderr).contains("notify.email: the mail server localhost"),
        "{output:?}"
    );
    server.end().map(drop)
}

fn applied() -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("server")?;
    let installation = Installation::new(Path::new(PROGRAM), Some(&host))?;
    let agent = installation.start(&["-i", "lo", "--xdp-mode", "generic"])?;
    installation.done(&["allow", "add", "203.0.113.9"])?;
    let logs = Logs::new()?;
    installation.done(&["block", "203.0.113.10"])?;
    let begin_s = now_s()? - 900;
    let log = AccessLog::seeded(7).beginning_at(begin_s).visitors(300, 900);
    let log = log.scanner(EVIL, 600, 300).scanner("203.0.113.9", 600, 300);
    let text = log.scanner("203.0.113.10", 600, 300).text();
    let file = logs.write("access.log", text)?;
    let (file, list) = (file.to_str().context("a path")?, logs.path("blocked_ips.txt"));
    let found = installation.json(&[
        "logs",
        file,
        "--apply",
        "--for",
        "10m",
        "--blocklist",
        list.to_str().context("a path")?,
    ])?;
    ensure!(found["applied"]["blocked"] == serde_json::json!([EVIL]), "{}", found["applied"]);
    ensure!(found["applied"]["refused"][0]["target"] == "203.0.113.9", "{}", found["applied"]);
    ensure!(!fs::read_to_string(&list)?.contains("203.0.113.9 "), "who is allowed is not listed");
    ensure!(found["applied"]["standing"] == serde_json::json!(["203.0.113.10"]), "{}", found["applied"]);
    let longer = installation.json(&["explain", "203.0.113.10"])?;
    ensure!(longer["blocks"][0]["until_unix_ms"].is_null(), "the operator's block stays: {longer}");
    let explained = installation.json(&["explain", EVIL])?;
    ensure!(
        explained["blocked"] == true && explained["blocks"][0]["reason"] == "logs: http-scan",
        "{explained}"
    );
    ensure!(installation.json(&["explain", "203.0.113.9"])?["blocked"] == false, "the allow list wins");
    agent.end().map(drop)
}

fn real_logs() -> Result<()> {
    let directory = suite::access_logs().context("there are no logs")?;
    let flood: Vec<String> = [
        "118.133.241.175",
        "142.94.222.141",
        "150.31.9.239",
        "211.188.214.36",
        "238.164.11.148",
        "240.163.130.99",
        "241.164.143.243",
        "73.173.0.163",
    ]
    .map(str::to_owned)
    .to_vec();
    for (name, expected) in [
        ("apache_combined_10k", vec![]),
        ("seed_like_mlops_access_log", vec![]),
        ("scan_acunetix", vec!["192.168.4.25".to_owned()]),
        ("scan_w3af", vec!["192.168.4.163".to_owned()]),
        ("http_flood_distributed_sample", flood),
    ] {
        let found = report(&directory.join(format!("{name}.log.zst")), &[])?;
        ensure!(found["bad_lines"] == 0, "{name}: {} bad lines", found["bad_lines"]);
        ensure!(blamed(&found) == expected.into_iter().collect(), "{name}: {:?}", blamed(&found));
    }
    let tabs = call(&directory.join("nasa_http_19950701.tsv.zst"), &[])?;
    ensure!(tabs.status.code() == Some(2), "{tabs:?}");
    ensure!(String::from_utf8_lossy(&tabs.stderr).contains("is no access log"), "{tabs:?}");
    Ok(())
}
