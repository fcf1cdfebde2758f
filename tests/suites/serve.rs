//! `mitigator serve`: asked by curl, by the Python example, by a WebSocket, and by schemathesis, over loopback.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use etherparse::PacketBuilder;
use mitigator::capture::PcapWriter;
use mitigator_tests::lab::Child;
use mitigator_tests::suite::{self, Needs, Trial};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::Message;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mitigator-under-test");
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/serve.py");
const PANDAS: &str = "Content-Type: application/json; format=pandas-split";
const PATIENCE: Duration = Duration::from_secs(30);
const TOKEN: &str = "correct-horse-battery-staple";
const EVIL: [u8; 4] = [203, 0, 113, 66];
const VICTIM: [u8; 4] = [192, 0, 2, 1];

fn main() -> ExitCode {
    suite::run(vec![
        Trial::new("it_says_that_it_is_there_and_what_it_can_do", Needs::WebClients, description),
        Trial::new("a_capture_is_judged_as_replay_and_flows_judge_it", Needs::WebClients, captures),
        Trial::new("what_is_no_capture_is_refused_by_name", Needs::WebClients, no_captures),
        Trial::new("limits_of_size_time_and_number_hold", Needs::WebClients, limits),
        Trial::new("plain_and_odd_requests_get_a_plain_answer", Needs::WebClients, requests),
        Trial::new(
            "an_answer_comes_across_also_when_its_sender_has_more_to_send",
            Needs::WebClients,
            damaged,
        ),
        Trial::new(
            "captures_and_tables_that_are_sent_slowly_do_not_stop_others",
            Needs::WebClients,
            slow_senders,
        ),
        Trial::new(
            "an_answer_that_is_not_read_holds_its_place_until_its_time_is_over",
            Needs::WebClients,
            unread,
        ),
        Trial::new("a_stream_that_stalls_has_been_told_all_that_it_sent", Needs::WebClients, stall),
        Trial::new("a_listener_that_does_not_read_costs_little_and_nobody_else", Needs::WebClients, deaf),
        Trial::new("verdicts_of_a_stream_fall_before_it_ends", Needs::WebClients, stream),
        Trial::new("events_are_heard_by_both_kinds_of_listeners", Needs::WebClients, events),
        Trial::new("the_python_example_hears_what_it_uploaded", Needs::WebClients, example),
        Trial::new("predictions_are_a_bare_array_and_faults_are_named", Needs::WebClients, predictions),
        Trial::new("without_a_model_captures_are_judged_all_the_same", Needs::WebClients, no_model),
        Trial::new("who_may_ask_is_who_shows_the_token_or_sits_on_loopback", Needs::WebClients, admission),
        Trial::new("a_stop_lets_what_is_under_way_come_to_its_end", Needs::WebClients, stop),
        Trial::new("wrong_use_gets_a_sentence", Needs::Nothing, wrong_use),
        Trial::new("the_clients_of_ml_ids_are_answered", Needs::CicAndWebClients, ml_ids),
        Trial::new("no_request_that_schemathesis_thinks_of_breaks_it", Needs::Schemathesis, schemathesis),
    ])
}

/// A directory with captures, and with a model that learned from them.
struct Stage(TempDir);

impl Stage {
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

    /// As far as two kinds of flows can be told apart, it does.
    fn model(&self) -> Result<PathBuf> {
        self.model_of("DDoS", "Benign")
    }

    /// What it is to take each of them for.
    fn model_of(&self, flood_is: &str, visitors_are: &str) -> Result<PathBuf> {
        let mut table = String::new();
        for (name, packets, label) in [("flood", flood(), flood_is), ("visitors", visitors(), visitors_are)] {
            let capture = self.write(name, pcap(&packets)?)?;
            let flows = run(Command::new(PROGRAM).arg("flows").arg(capture))?;
            let mut lines = flows.lines();
            let heading = lines.next().context("a heading")?;
            if table.is_empty() {
                table = format!("{heading},Label\n");
            }
            lines.for_each(|line| table.push_str(&format!("{line},{label}\n")));
        }
        let table = self.write("flows.csv", table)?;
        let model = self.path("small.model");
        run(Command::new(PROGRAM).args(["train", "flows"]).arg(table).arg("--output").arg(&model))?;
        Ok(model)
    }
}

/// Microseconds since the begin, and the frame.
type Packets = Vec<(u64, Vec<u8>)>;

fn address(number: u16) -> [u8; 4] {
    let [high, low] = number.to_be_bytes();
    [198, 51, 100_u8.wrapping_add(high), low]
}

/// One machine, 8,000 packets/s from 400 ports for 3 s.
fn flood() -> Packets {
    let packet = |number: u64| {
        let port = 10_000 + u16::try_from(number % 400).unwrap_or(0);
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(EVIL, VICTIM, 64).udp(port, 9_999);
        // Equal flows would be one to whoever learns from them.
        let payload = vec![7; 20 + usize::from(port % 400)];
        (number * 125, frame(|bytes| builder.write(bytes, &payload)))
    };
    (0..24_000).map(packet).collect()
}

/// 300 machines that ask a web server for something, and get it.
fn visitors() -> Packets {
    let mut packets = Vec::new();
    for visitor in 0..300_u16 {
        let (client, begin) = (address(visitor), u64::from(visitor) * 10_000);
        let port = 40_000 + visitor;
        let forth =
            || PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(client, VICTIM, 64).tcp(port, 443, 1, 64_000);
        let back =
            || PacketBuilder::ethernet2([4; 6], [2; 6]).ipv4(VICTIM, client, 64).tcp(443, port, 1, 64_000);
        let (request, answer) = (vec![7; 200 + usize::from(visitor % 50)], vec![7; 1_200]);
        let steps: [(u64, Vec<u8>); 7] = [
            (0, frame(|bytes| forth().syn().write(bytes, &[]))),
            (20_000, frame(|bytes| back().syn().ack(2).write(bytes, &[]))),
            (40_000, frame(|bytes| forth().ack(2).write(bytes, &[]))),
            (41_000, frame(|bytes| forth().ack(2).psh().write(bytes, &request))),
            (90_000, frame(|bytes| back().ack(2).psh().write(bytes, &answer))),
            (120_000, frame(|bytes| forth().ack(3).fin().write(bytes, &[]))),
            (140_000, frame(|bytes| back().ack(3).fin().write(bytes, &[]))),
        ];
        packets.extend(steps.map(|(at, bytes)| (begin + at + u64::from(visitor) * 7 % 911, bytes)));
    }
    packets.sort();
    packets
}

fn attack() -> Packets {
    let mut packets = [flood(), visitors()].concat();
    packets.sort();
    packets
}

fn frame<E: std::fmt::Debug>(write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes).expect("writing to memory");
    bytes
}

fn pcap(packets: &[(u64, Vec<u8>)]) -> Result<Vec<u8>> {
    let mut writer = PcapWriter::new(Vec::new())?;
    for (at_us, bytes) in packets {
        writer.write((1_700_000_000_000_000 + at_us) * 1_000, bytes)?;
    }
    Ok(writer.finish()?)
}

fn run(command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// A server on a port of its own.
struct Server {
    process: Child,
    address: SocketAddr,
    log: PathBuf,
    _directory: TempDir,
}

impl Server {
    fn start(more: &[&str]) -> Result<Self> {
        Self::start_with(more, &[])
    }

    fn start_with(more: &[&str], variables: &[(&str, &str)]) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let log = directory.path().join("log");
        let mut command = Command::new(PROGRAM);
        command.args(["serve", "--listen", "127.0.0.1:0", "--json"]).args(more);
        command.env_remove("MITIGATOR_TOKEN").envs(variables.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&log)?);
        let mut process = Child::spawn(command)?;
        let (sender, lines) = channel();
        process.for_each_line(move |line| drop(sender.send(line)));
        let line = lines.recv_timeout(PATIENCE).ok();
        let Some(line) = line else { bail!("it does not listen: {}", fs::read_to_string(&log)?) };
        let address =
            serde_json::from_str::<Value>(&line)?["address"].as_str().context("an address")?.parse()?;
        Ok(Self { process, address, log, _directory: directory })
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn ask(&self, path: &str, arguments: &[&str]) -> Result<Answer> {
        curl(&[arguments, &[&self.url(path)]].concat())
    }

    fn upload(&self, path: &str, file: &Path) -> Result<Answer> {
        let file = format!("@{}", file.display());
        self.ask(path, &["--data-binary", &file, "-H", "Content-Type: application/octet-stream"])
    }

    /// A connection on which this was said.
    fn say(&self, text: &str) -> Result<TcpStream> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(text.as_bytes())?;
        Ok(stream)
    }

    /// Resident memory.
    fn memory_kib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("memory")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ends it with SIGTERM, which has to be in good order.
    fn end(mut self) -> Result<()> {
        self.process.signal(Signal::SIGTERM)?;
        let status = self.process.wait_for(PATIENCE)?.context("it does not end")?;
        ensure!(status.success() && !self.log().contains("broken off"), "{status}: {}", self.log());
        Ok(())
    }
}

/// What came back.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: String,
    text: String,
}

impl Answer {
    fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.text).with_context(|| format!("{self:?}"))
    }

    /// A refusal says why, in one place.
    fn ensure_refusal(&self, status: u16, hint: &str) -> Result<()> {
        let error = self.json()?["error"].as_str().map(str::to_owned).context("an error")?;
        ensure!(self.status == status && error.contains(hint), "not {status} with `{hint}`: {self:?}");
        Ok(())
    }
}

fn curl(arguments: &[&str]) -> Result<Answer> {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--include", "--max-time", "60", "-H", "Expect:"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()?;
    ensure!(output.status.success(), "curl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let (headers, text) = text.split_once("\r\n\r\n").context("headers")?;
    let status = headers.split(' ').nth(1).context("a status")?.parse()?;
    Ok(Answer { status, headers: headers.to_ascii_lowercase(), text: text.to_owned() })
}

fn description() -> Result<()> {
    let server = Server::start(&[])?;
    let health = server.ask("/healthz", &[])?;
    ensure!(
        health.json()?["status"] == "ok" && health.headers.contains("x-content-type-options: nosniff"),
        "{health:?}"
    );
    let description = server.ask("/openapi.json", &[])?.json()?;
    ensure!(
        description["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")),
        "{description}"
    );
    let paths: BTreeSet<&str> =
        description["paths"].as_object().context("paths")?.keys().map(String::as_str).collect();
    let expected = [
        "/api/captures",
        "/api/captures/stream",
        "/api/events",
        "/api/models",
        "/api/predictions",
        "/healthz",
        "/openapi.json",
    ];
    ensure!(paths == expected.into(), "{paths:?}");
    ensure!(server.ask("/api/models", &[])?.json()? == json!({"models": []}), "models of nobody");
    server.ask("/nowhere", &[])?.ensure_refusal(404, "/openapi.json")?;
    server.ask("/api/captures", &[])?.ensure_refusal(405, "method")?;
    let listed = &description["paths"]["/api/captures"]["post"];
    ensure!(
        listed["responses"].get("403").is_some()
            && listed["responses"].get("421").is_some()
            && listed["responses"].get("401").is_none(),
        "{listed}"
    );
    ensure!(description["paths"]["/healthz"]["get"]["responses"].get("403").is_none(), "{description}");
    let parameters: Vec<_> = listed["parameters"].as_array().into_iter().flatten().collect();
    ensure!(
        parameters.iter().any(|one| one["name"] == "flows" && one["schema"]["maximum"] == 100_000),
        "{listed}"
    );
    ensure!(!health.headers.contains("access-control"), "{health:?}");
    server.end()
}

fn captures() -> Result<()> {
    let stage = Stage::new()?;
    let model = stage.model()?;
    let plain = pcap(&attack())?;
    let file = stage.write("attack.pcap", &plain)?;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain)?;
    let files = [
        file.clone(),
        stage.write("attack.pcap.gz", gzip.finish()?)?,
        stage.write("attack.pcap.zst", zstd::encode_all(&plain[..], 1)?)?,
    ];
    let replay = Command::new(PROGRAM).args(["replay", "-", "--json"]).stdin(File::open(&file)?).output()?;
    let mut expected: Value = serde_json::from_slice(&replay.stdout)?;
    ensure!(expected["attack"] == true, "there is an attack to be found: {expected}");
    let rows = run(Command::new(PROGRAM).arg("flows").arg(&file).args(["--sessions", "--json"]))?;
    let rows: Vec<Value> = rows.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    expected
        .as_object_mut()
        .context("an object")?
        .retain(|key, _| !["capture", "explained"].contains(&key.as_str()));
    let server = Server::start(&["--model", model.to_str().context("a path")?])?;
    for file in &files {
        let answer = server.upload("/api/captures?flows=100000", file)?;
        ensure!(answer.status == 200, "{}: {answer:?}", file.display());
        let mut answer = answer.json()?;
        answer["replay"].as_object_mut().context("an object")?.remove("capture");
        ensure!(answer["replay"] == expected, "{}: {} is not {expected}", file.display(), answer["replay"]);
        let flows = &answer["flows"];
        let given = flows["rows"].as_array().context("rows")?;
        ensure!(
            given.len() == rows.len() && flows["total"] == rows.len() && flows["unlisted"] == 0,
            "{flows}"
        );
        for (given, expected) in given.iter().zip(&rows) {
            let mut plain = given.clone();
            plain.as_object_mut().context("an object")?.retain(|key, _| expected.get(key).is_some());
            let is_evil = given["initiator"] == "203.0.113.66";
            ensure!(plain == *expected && (given["class"] == "ddos") == is_evil, "{given} is not {expected}");
        }
        ensure!(
            flows["model"] == "small" && flows["attacks"] == 400 && flows["classes"]["benign"] == 300,
            "{flows}"
        );
    }
    // Who is protected, and how many flows are listed, may be said.
    let few = server.upload("/api/captures?flows=2&victim=192.0.2.1", &file)?.json()?;
    ensure!(few["replay"]["protected"] == json!(["192.0.2.1"]) && few["replay"]["attack"] == true, "{few}");
    ensure!(
        few["flows"]["rows"].as_array().map(Vec::len) == Some(2) && few["flows"]["unlisted"] == 698,
        "{few}"
    );
    let benign = server.upload("/api/captures", &stage.path("visitors"))?.json()?;
    ensure!(
        benign["replay"]["attack"] == false && benign["flows"]["attacks"] == 0,
        "the benign twin: {benign}"
    );
    server.end()
}

fn no_captures() -> Result<()> {
    let stage = Stage::new()?;
    let server = Server::start(&[])?;
    let whole = pcap(&visitors())?;
    let good = stage.write("good", &whole)?;
    for path in ["/api/captures", "/api/captures/stream"] {
        for (bytes, hint) in [
            (&b""[..], "is empty"),
            (b"GET / HTTP/1.1 and so on", "looks like text"),
            (b"\x89PNG\r\n\x1a\n", "PNG"),
            (&whole[..20], "within"),
            (b"\x1f\x8b broken", "cannot read"),
        ] {
            let file = stage.write("bad", bytes)?;
            server
                .upload(path, &file)?
                .ensure_refusal(400, hint)
                .with_context(|| format!("{path}, {hint}"))?;
        }
        for (query, hint) in [
            ("?victim=nobody", "`nobody`, which is no IPv4 or IPv6 address"),
            ("?victim=", "no IPv4 or IPv6 address"),
            ("?model=other", "there is no model `other`"),
            ("?colour=red", "unknown field `colour`"),
        ] {
            server.upload(&format!("{path}{query}"), &good)?.ensure_refusal(400, hint)?;
        }
    }
    for query in ["?flows=many", "?flows=-1", "?flows=100001"] {
        server.upload(&format!("/api/captures{query}"), &good)?.ensure_refusal(400, "flows")?;
    }
    // What stands before the damage is judged, and the damage told.
    let cut = stage.write("cut", &whole[..whole.len() / 2])?;
    let answer = server.upload("/api/captures", &cut)?.json()?;
    ensure!(answer["replay"]["packets"].as_u64() > Some(500), "{answer}");
    ensure!(
        answer["replay"]["damage"]["what"].as_str().is_some_and(|what| what.contains("within")),
        "{answer}"
    );
    server.end()
}

fn limits() -> Result<()> {
    let stage = Stage::new()?;
    let server = Server::start(&[
        "--max-capture",
        "1MiB",
        "--max-unpacked",
        "2MiB",
        "--max-stream",
        "1MiB",
        "--max-captures",
        "1",
        "--max-connections",
        "4",
        "--idle-timeout",
        "1s",
        "--timeout",
        "3s",
    ])?;
    let good = pcap(&visitors())?;
    let good_file = stage.write("good", &good)?;
    ensure!(good.len() < 1 << 20, "{} bytes are within the limit", good.len());
    let long = pcap(&attack())?;
    let long = [&long[..], &long[24..]].concat();
    let long_file = stage.write("long", &long)?;
    let packed = stage.write("packed", zstd::encode_all(&long[..], 3)?)?;
    ensure!(packed.metadata()?.len() < 1 << 20 && long.len() > 2 << 20, "it is packed well enough");
    for path in ["/api/captures", "/api/captures/stream"] {
        server.upload(path, &long_file)?.ensure_refusal(413, "the limit is 1048576")?;
    }
    let chunked =
        ["-X", "POST", "-H", "Transfer-Encoding: chunked", "-T", long_file.to_str().context("a path")?];
    server.ask("/api/captures", &chunked)?.ensure_refusal(413, "longer than 1048576 bytes")?;
    server.upload("/api/captures", &packed)?.ensure_refusal(413, "longer than 2097152 bytes uncompressed")?;
    // A stream says at its end why it ended early.
    let answer = server.ask("/api/captures/stream", &chunked)?;
    let end: Value = serde_json::from_str(answer.text.lines().last().context("a line")?)?;
    ensure!(
        end["event"] == "end" && end["damage"]["what"].as_str().is_some_and(|what| what.contains("1048576")),
        "{end}"
    );
    ensure!(server.upload("/api/captures", &good_file)?.status == 200, "what is within the limits");
    let table = stage.write("table", vec![b' '; (64 << 20) + 1])?;
    let table = format!("@{}", table.display());
    server
        .ask("/api/predictions", &["--data-binary", &table, "-H", PANDAS])?
        .ensure_refusal(413, "67108864")?;
    let head = "POST /api/captures HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n";
    // Who pauses for longer than a second is told so, and until then no other capture is judged.
    let mut pausing = TcpStream::connect(server.address)?;
    pausing.write_all([head.as_bytes(), &good[..100]].concat().as_slice())?;
    std::thread::scope(|threads| {
        let other = threads.spawn(|| {
            let mut last = server.upload("/api/captures", &good_file)?;
            // The other may not have been heard yet.
            for _ in 0..20 {
                if last.status == 429 {
                    break;
                }
                last = server.upload("/api/captures", &good_file)?;
            }
            last.ensure_refusal(429, "which is the limit")?;
            ensure!(last.headers.contains("retry-after"), "{last:?}");
            Ok(())
        });
        ensure!(said(&mut pausing)?.starts_with("HTTP/1.1 408"), "a pause");
        other.join().map_err(|_| anyhow::anyhow!("a panic"))?
    })?;
    // Who sends a byte now and then is ended by the time for all.
    let mut dripping = TcpStream::connect(server.address)?;
    dripping.write_all(head.as_bytes())?;
    let mut drips = dripping.try_clone()?;
    let drip = std::thread::spawn(move || {
        for byte in good {
            if drips.write_all(&[byte]).is_err() {
                break;
            }
            pause(Duration::from_millis(200));
        }
    });
    ensure!(said(&mut dripping)?.starts_with("HTTP/1.1 408"), "a drip");
    dripping.shutdown(std::net::Shutdown::Both).ok();
    drop(drip.join());
    // Five cannot be there at a time, but one after the other.
    let mut four: Vec<TcpStream> =
        (0..4).map(|_| TcpStream::connect(server.address)).collect::<Result<_, _>>()?;
    for stream in &mut four {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let mut start = [0; 12];
        stream.read_exact(&mut start)?;
        ensure!(&start == b"HTTP/1.1 200", "one of four");
    }
    let fifth = Command::new("curl").args(["-sS", "-m", "1", &server.url("/healthz")]).output()?;
    ensure!(!fifth.status.success(), "the fifth was answered");
    drop(four);
    ensure!(server.ask("/healthz", &[])?.status == 200, "the fifth, once there is room");
    server.end()
}

fn requests() -> Result<()> {
    let stage = Stage::new()?;
    let server = Server::start(&[])?;
    let get = |path: &str, more: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}Connection: close\r\n\r\n")
    };
    let upgrade =
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n";
    let post = |path: &str, more: &str, body: &str| {
        let length = body.len();
        format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\nConnection: close\r\n{more}\r\n{body}"
        )
    };
    for (description, request, status, hint) in [
        ("HTTP/2 is offered", get("/healthz", upgrade), 200, "\"ok\""),
        ("no HTTP", "hello\r\n\r\n".to_owned(), 400, ""),
        ("HTTP/1.0", "GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n".to_owned(), 200, "\"ok\""),
        ("an endless header", get("/healthz", &format!("X: {}\r\n", "x".repeat(1 << 20))), 431, ""),
        ("a slash too many", get("/api/models/", ""), 404, "{\"error\":"),
        ("a path that climbs", get("/../../etc/passwd", ""), 404, "{\"error\":"),
        ("a wrong method", get("/api/captures", ""), 405, "allow: post"),
        ("another", post("/api/models", "", ""), 405, "allow: get,head"),
        ("a form", post("/api/captures", "Content-Type: multipart/form-data; boundary=x\r\n", "--x--\r\n"), 415, "--data-binary"),
        ("a form to a stream", post("/api/captures/stream", "Content-Type: multipart/form-data\r\n", ""), 415, "--data-binary"),
        ("what curl -d made of it", post("/api/captures", "Content-Type: application/x-www-form-urlencoded\r\n", "\u{1}\u{2}"), 400, "--data-binary"),
        ("an odd encoding", post("/api/captures", "Content-Encoding: br\r\n", "x"), 415, "`br`"),
        ("two lengths", "POST /api/captures HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx".to_owned(), 400, ""),
    ] {
        let answer = said(&mut server.say(&request)?).with_context(|| description.to_owned())?.to_ascii_lowercase();
        ensure!(answer.starts_with(&format!("http/1.1 {status}")) || answer.starts_with(&format!("http/1.0 {status}")), "{description}: {answer}");
        ensure!(answer.contains(hint), "{description}: {answer}");
    }
    let head = said(&mut server.say(&get("/healthz", "").replace("GET", "HEAD"))?)?;
    ensure!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
    // HTTP/2 without asking first is let go without a word.
    ensure!(said(&mut server.say("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?)?.is_empty(), "HTTP/2");
    // Who offers HTTP/2 along with a request for events gets events.
    let mut events = BufReader::new(server.say(&get("/api/events", upgrade))?).lines().map_while(Result::ok);
    ensure!(events.any(|line| line == "content-type: text/event-stream"), "no events");
    // Who asks before it sends is told to, or why not.
    let good = pcap(&visitors())?;
    let length = good.len();
    let mut asking = server.say(&format!("POST /api/captures HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"))?;
    let mut word = [0; 25];
    asking.read_exact(&mut word)?;
    ensure!(&word == b"HTTP/1.1 100 Continue\r\n\r\n", "{word:?}");
    asking.write_all(&good)?;
    ensure!(said(&mut asking)?.starts_with("HTTP/1.1 200"), "after the word");
    let asking = format!(
        "POST /api/captures HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        1_u64 << 40
    );
    ensure!(said(&mut server.say(&asking)?)?.starts_with("HTTP/1.1 413"), "before the word");
    // That what is sent is compressed may also be said.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&good)?;
    let gzip = stage.write("gzip", gzip.finish()?)?;
    let file = format!("@{}", gzip.display());
    let answer = server.ask("/api/captures", &["--data-binary", &file, "-H", "Content-Encoding: gzip"])?;
    ensure!(answer.json()?["flows"]["total"] == 300, "{answer:?}");
    let model = stage.model()?;
    let server = Server::start(&["--model", model.to_str().context("a path")?])?;
    server
        .ask("/api/predictions", &["--data-binary", &file, "-H", "Content-Encoding: gzip", "-H", PANDAS])?
        .ensure_refusal(415, "`gzip`")?;
    let long = "POST /api/predictions HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 67108865\r\nContent-Type: application/json; format=pandas-split\r\n\r\n";
    ensure!(said(&mut server.say(long)?)?.starts_with("HTTP/1.1 413"), "before the word");
    Ok(())
}

fn damaged() -> Result<()> {
    let server = Server::start(&[])?;
    let mut bytes = pcap(&visitors())?;
    let whole = bytes.len();
    bytes.resize(whole + (40 << 20), 0xff);
    for path in ["/api/captures", "/api/captures/stream"] {
        for _ in 0..3 {
            let length = bytes.len();
            let mut upload = server.say(&format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"))?;
            upload
                .write_all(&bytes)
                .with_context(|| format!("{path} was closed while it was being sent to"))?;
            let answer = said(&mut upload)?;
            ensure!(
                answer.starts_with("HTTP/1.1 200") && answer.contains("\"damage\":{"),
                "{path}: {answer}"
            );
        }
    }
    // The operator reads who it was, and why.
    let log = server.log();
    ensure!(log.contains("a stream ended early") && log.contains("from=127.0.0.1:"), "{log}");
    server.end()
}

fn slow_senders() -> Result<()> {
    let stage = Stage::new()?;
    let model = stage.model()?;
    let server = Server::start(&["--model", model.to_str().context("a path")?, "--max-captures", "2"])?;
    let good = stage.write("good", pcap(&visitors())?)?;
    let capture = "POST /api/captures HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n";
    let _captures = [server.say(capture)?, server.say(capture)?];
    let table = format!(
        "POST /api/predictions HTTP/1.1\r\nHost: localhost\r\n{PANDAS}\r\nContent-Length: 1000000\r\n\r\n{{"
    );
    let _tables: Vec<TcpStream> = (0..8).map(|_| server.say(&table)).collect::<Result<_>>()?;
    let mut is_full = false;
    for _ in 0..50 {
        is_full = server.upload("/api/captures", &good)?.status == 429;
        if is_full {
            break;
        }
        pause(Duration::from_millis(20));
    }
    ensure!(is_full, "two captures are being judged");
    let csv = run(Command::new(PROGRAM).arg("flows").arg(&good))?;
    let few: String = csv.lines().take(3).map(|line| format!("{line}\n")).collect();
    let body = stage.write("table", split_table(&few, &[])?.to_string())?;
    let body = format!("@{}", body.display());
    let answer = server.ask("/api/predictions", &["--data-binary", &body, "-H", PANDAS])?;
    ensure!(answer.text == "[0,0]", "{answer:?}");
    Ok(())
}

fn unread() -> Result<()> {
    let stage = Stage::new()?;
    let server = Server::start(&["--max-captures", "1", "--timeout", "6s", "--idle-timeout", "1h"])?;
    // As many flows make an answer that no buffer of the kernel takes in.
    let packet = |number: u16| {
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(EVIL, VICTIM, 64).udp(number, 9_999);
        (u64::from(number), frame(|bytes| builder.write(bytes, &[7; 20])))
    };
    let bytes = pcap(&(0..60_000).map(packet).collect::<Packets>())?;
    let mut upload = server.say(&format!(
        "POST /api/captures?flows=100000 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
        bytes.len()
    ))?;
    upload.write_all(&bytes)?;
    let mut start = [0; 12];
    upload.read_exact(&mut start)?;
    ensure!(&start == b"HTTP/1.1 200", "{start:?}");
    let few = stage.write("few", pcap(&visitors())?)?;
    server.upload("/api/captures", &few)?.ensure_refusal(429, "which is the limit")?;
    // Reading a little now and then does not help for longer than a request may take.
    let mut is_free = false;
    for _ in 0..100 {
        let _ = upload.read(&mut [0; 16]);
        is_free = server.upload("/api/captures", &few)?.status == 200;
        if is_free {
            break;
        }
        pause(Duration::from_millis(100));
    }
    ensure!(is_free, "who does not read holds the place for ever");
    ensure!(said(&mut upload).map_or(true, |rest| !rest.ends_with("]}")), "it was cut off");
    server.end()
}

fn stall() -> Result<()> {
    let stage = Stage::new()?;
    let model = stage.model_of("Benign", "DDoS")?;
    let server = Server::start(&["--model", model.to_str().context("a path")?])?;
    // Not nearly as many flows as are classified at a time; a packet by which they are over, and then nothing.
    let mut packets = visitors();
    packets.truncate(300);
    let (_, last) = packets.last().context("a packet")?.clone();
    packets.push((60_000_000, last));
    let begin = &pcap(&packets)?[..];
    let mut upload = server
        .say("POST /api/captures/stream HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    upload.write_all(&[format!("{:x}\r\n", begin.len()).as_bytes(), begin, b"\r\n"].concat())?;
    upload.set_read_timeout(Some(Duration::from_secs(5)))?;
    let lines = BufReader::new(upload.try_clone()?).lines().map_while(Result::ok);
    let flows = lines.filter(|line| line.starts_with("{\"event\":\"flow\"")).take(20).count();
    ensure!(flows == 20, "{flows} flows were told");
    Ok(())
}

fn deaf() -> Result<()> {
    const ROUNDS: usize = 8;
    let stage = Stage::new()?;
    let model = stage.model()?;
    let server = Server::start(&["--model", model.to_str().context("a path")?])?;
    let csv = run(Command::new(PROGRAM).arg("flows").arg(stage.path("flood")))?;
    let mut table = split_table(&csv, &[])?;
    let rows = table["data"].as_array().context("rows")?.clone();
    let count = rows.len() * 10;
    table["data"] = json!(rows.iter().cycle().take(count).collect::<Vec<_>>());
    let body = format!("@{}", stage.write("table", table.to_string())?.display());
    let predict = || server.ask("/api/predictions", &["--data-binary", &body, "-H", PANDAS]);
    let deaf: Vec<TcpStream> = (0..8)
        .map(|_| server.say("GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n"))
        .collect::<Result<_>>()?;
    let (mut socket, _) = tungstenite::connect(format!("ws://{}/api/events", server.address))?;
    let hearing = std::thread::spawn(move || -> Result<usize> {
        let mut heard = 0;
        while heard < ROUNDS * count {
            if let Message::Text(text) = socket.read()? {
                let event: Value = serde_json::from_str(&text)?;
                let missed = event["missed"].as_u64().and_then(|missed| usize::try_from(missed).ok());
                heard += missed.unwrap_or(1);
            }
        }
        Ok(heard)
    });
    // What is kept for those who are behind is full after the first two.
    predict()?;
    predict()?;
    let before = server.memory_kib()?;
    for _ in 2..ROUNDS {
        ensure!(predict()?.status == 200, "a prediction");
    }
    let heard = hearing.join().map_err(|_| anyhow::anyhow!("a panic"))??;
    ensure!(heard == ROUNDS * count, "{heard} events");
    let more = server.memory_kib()?.saturating_sub(before);
    ensure!(more < 48 << 10, "{more} KiB more after {} more events", (ROUNDS - 2) * count);
    drop(deaf);
    server.end()
}

#[expect(clippy::disallowed_methods, reason = "a client that is slow on purpose")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Everything until the server closes.
fn said(stream: &mut TcpStream) -> Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut bytes = Vec::new();
    let ended = stream.read_to_end(&mut bytes);
    ensure!(ended.is_ok() || !bytes.is_empty(), "{ended:?}");
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn stream() -> Result<()> {
    let stage = Stage::new()?;
    let model = stage.model()?;
    let server = Server::start(&["--model", model.to_str().context("a path")?])?;
    let bytes = pcap(&attack())?;
    let (first, rest) = bytes.split_at(bytes.len() / 2);
    let mut upload = TcpStream::connect(server.address)?;
    upload.set_read_timeout(Some(PATIENCE))?;
    let mut answer = BufReader::new(upload.try_clone()?).lines().map_while(Result::ok);
    let head = "POST /api/captures/stream HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    upload.write_all(head.as_bytes())?;
    let mut send = |bytes: &[u8]| -> Result<()> {
        write!(upload, "{:x}\r\n", bytes.len())?;
        upload.write_all(bytes)?;
        Ok(upload.write_all(b"\r\n")?)
    };
    send(first)?;
    // Between events stand the lengths of chunks.
    let mut events =
        answer.by_ref().filter_map(|line| serde_json::from_str::<Value>(&line).ok().filter(Value::is_object));
    let first = events.next().context("a verdict while it streams")?;
    ensure!(first["event"] == "verdict" && first["target"] == "203.0.113.66", "{first}");
    send(rest)?;
    send(&[])?;
    let mut lines: Vec<Value> = Vec::new();
    while lines.last().is_none_or(|last| last["event"] != "end") {
        lines.push(events.next().context("an end")?);
    }
    let flows = lines.iter().filter(|line| line["event"] == "flow").count();
    let end = lines.last().context("an end")?;
    ensure!(
        flows == 400 && end["event"] == "end" && end["attack"] == true && end["damage"].is_null(),
        "{end}"
    );
    ensure!(end["flows"]["attacks"] == 400 && end["flows"]["total"] == 700, "{end}");
    server.end()
}

fn events() -> Result<()> {
    let stage = Stage::new()?;
    let model = stage.model()?;
    let file = stage.write("attack", pcap(&attack())?)?;
    let server = Server::start(&["--model", model.to_str().context("a path")?])?;
    let mut curl = Command::new("curl")
        .args(["-sS", "-N", "-m", "60", "-i", &server.url("/api/events")])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(curl.stdout.take().context("a pipe")?).lines().map_while(Result::ok);
    ensure!(
        lines.any(|line| line.eq_ignore_ascii_case("content-type: text/event-stream")),
        "no event stream"
    );
    let (mut socket, _) = tungstenite::connect(format!("ws://{}/api/events", server.address))?;
    let answer = server.upload("/api/captures", &file)?.json()?;
    let verdicts = answer["replay"]["verdicts"].as_array().context("verdicts")?.len();
    ensure!(verdicts > 0 && answer["flows"]["attacks"] == 400, "{answer}");
    let mut heard = Vec::new();
    while heard.len() < verdicts + 400 {
        if let Message::Text(text) = socket.read()? {
            heard.push(text.to_string());
        }
    }
    let lines =
        &mut lines.inspect(|line| assert!(!line.starts_with("id:"), "nobody can ask for what came after it"));
    let data = lines.by_ref().filter_map(|line| line.strip_prefix("data: ").map(str::to_owned));
    let by_stream: Vec<String> = data.take(heard.len()).collect();
    ensure!(by_stream == heard, "both hear the same");
    let first: Value = serde_json::from_str(&heard[0])?;
    ensure!(first["event"] == "verdict" && first["capture"] == answer["capture"], "{first}");
    let kinds = heard.iter().filter(|event| event.contains("\"event\":\"flow\"")).count();
    ensure!(kinds == 400, "{kinds} flows");
    // The benign twin is no event.
    server.upload("/api/captures", &stage.path("visitors"))?;
    let wrong = "this is no good WebSocket request";
    server
        .ask("/api/events", &["-H", "Upgrade: websocket", "-H", "Connection: upgrade"])?
        .ensure_refusal(400, wrong)?;
    // A stop lets both go, with a word.
    server.end()?;
    let last =
        std::iter::from_fn(|| socket.read().ok()).filter(|message| !message.is_ping()).collect::<Vec<_>>();
    ensure!(
        matches!(&last[..], [Message::Close(Some(frame))] if frame.reason == "the server stops"),
        "{last:?}"
    );
    ensure!(!lines.any(|line| line.starts_with("data:")) && curl.wait()?.success(), "the stream ends");
    Ok(())
}

fn example() -> Result<()> {
    let stage = Stage::new()?;
    let model = stage.model()?;
    let file = stage.write("attack.zst", zstd::encode_all(&pcap(&attack())?[..], 1)?)?;
    let variables = [("MITIGATOR_TOKEN", TOKEN)];
    let server = Server::start_with(&["--model", model.to_str().context("a path")?], &variables)?;
    let mut python = Command::new("python3");
    python.arg(EXAMPLE).arg(&file).arg(server.url("")).env("MITIGATOR_TOKEN", TOKEN);
    let text = run(&mut python)?;
    ensure!(text.lines().any(|line| line.starts_with("verdict 203.0.113.66 udp")), "{text}");
    ensure!(text.lines().filter(|line| *line == "flow 203.0.113.66 ddos").count() == 400, "{text}");
    ensure!(text.trim_end().ends_with("26100 packets, 700 flows, attack: True"), "{text}");
    let lines = fs::read_to_string(EXAMPLE)?.lines().filter(|line| !line.is_empty()).count();
    ensure!(lines <= 30, "the example is to be read at a glance, and has {lines} lines");
    server.end()
}

/// Of flows in a table that `mitigator flows` wrote.
fn split_table(csv: &str, without: &[&str]) -> Result<Value> {
    let mut lines = csv.lines();
    let names: Vec<&str> = lines.next().context("a heading")?.split(',').collect();
    let kept: Vec<usize> = (0..names.len()).filter(|place| !without.contains(&names[*place])).collect();
    let cell = |text: &str| match text.parse::<f64>() {
        Ok(number) => json!(number),
        Err(_) if text.is_empty() => Value::Null,
        Err(_) => json!(text),
    };
    let row = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        kept.iter().map(|place| cell(cells[*place])).collect::<Vec<Value>>()
    };
    let columns: Vec<&str> = kept.iter().map(|place| names[*place]).collect();
    Ok(json!({"columns": columns, "data": lines.map(row).collect::<Vec<_>>()}))
}

fn predictions() -> Result<()> {
    let stage = Stage::new()?;
    let model = stage.model()?;
    let file = stage.write("attack", pcap(&attack())?)?;
    let second = stage.path("second.model");
    fs::copy(&model, &second)?;
    let path = |path: &Path| path.display().to_string();
    let server = Server::start(&["--model", &path(&model), "--model", &path(&second)])?;
    let models = server.ask("/api/models", &[])?.json()?;
    ensure!(models["models"][0]["name"] == "small" && models["models"][0]["is_default"] == true, "{models}");
    ensure!(models["models"][1]["classes"] == json!(["benign", "ddos"]), "{models}");
    let ask = |query: &str, body: &str, content_type: &str| {
        let body = stage.write("body", body)?;
        let body = format!("@{}", body.display());
        server.ask(&format!("/api/predictions{query}"), &["--data-binary", &body, "-H", content_type])
    };
    let (mut socket, _) = tungstenite::connect(format!("ws://{}/api/events", server.address))?;
    for spelling in ["2018", "2018-converted", "2017-corrected", "snake-case"] {
        let csv = run(Command::new(PROGRAM).arg("flows").arg(&file).args(["--names", spelling]))?;
        let expected: Vec<u8> =
            csv.lines().skip(1).map(|line| u8::from(line.contains("203.0.113.66"))).collect();
        let answer = ask("?model=second", &split_table(&csv, &[])?.to_string(), PANDAS)?;
        ensure!(answer.status == 200 && answer.json()? == json!(expected), "{spelling}: {answer:?}");
        let Message::Text(event) =
            std::iter::from_fn(|| socket.read().ok()).find(Message::is_text).context("an event")?
        else {
            bail!("no text");
        };
        let event: Value = serde_json::from_str(&event)?;
        ensure!(
            event["event"] == "prediction" && event["class"] == "ddos" && event["model"] == "second",
            "{event}"
        );
    }
    let csv = run(Command::new(PROGRAM).arg("flows").arg(&file).args(["--names", "snake-case"]))?;
    let whole = split_table(&csv, &[])?;
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut table = whole.clone();
        change(&mut table);
        table.to_string()
    };
    let none = changed(&|table| table["data"] = json!([]));
    let answer = ask("", &none, PANDAS)?;
    ensure!(answer.status == 200 && answer.text == "[]", "no rows: {answer:?}");
    let labelled = changed(&|table| {
        table["columns"].as_array_mut().into_iter().for_each(|names| names.push(json!("label")));
        table["data"] = json!([]);
    });
    for (description, query, body, content_type, status, hint) in [
        ("no content type", "", none.clone(), "Content-Type:", 415, "there is no content type"),
        ("a wrong one", "", none.clone(), "Content-Type: text/plain", 415, "`text/plain`"),
        ("plain JSON", "", none.clone(), "Content-Type: application/json", 415, "pandas-split"),
        ("nothing", "", String::new(), PANDAS, 400, "the body is empty"),
        ("no JSON", "", "i_am_invalid".to_owned(), PANDAS, 400, "expected value"),
        ("another shape", "", "[[1, 2]]".to_owned(), PANDAS, 400, "split form"),
        ("another model", "?model=third", none.clone(), PANDAS, 400, "there are: small, second"),
        ("another parameter", "?modell=x", none.clone(), PANDAS, 400, "unknown field `modell`"),
        ("an extra column", "", labelled, PANDAS, 400, "`label`"),
        (
            "missing columns",
            "",
            split_table(&csv, &["tot_fwd_pkts", "idle_min"])?.to_string(),
            PANDAS,
            400,
            "Tot Fwd Pkts",
        ),
        (
            "missing columns, all named",
            "",
            split_table(&csv, &["tot_fwd_pkts", "idle_min"])?.to_string(),
            PANDAS,
            400,
            "Idle Min",
        ),
        (
            "a word",
            "",
            changed(&|table| table["data"][3][20] = json!("many")),
            PANDAS,
            400,
            "of row 3 is \"many\"",
        ),
        ("a short row", "", changed(&|table| table["data"] = json!([[1]])), PANDAS, 400, "row 0 has 1 cells"),
    ] {
        let answer = ask(query, &body, content_type)?;
        answer.ensure_refusal(status, hint).with_context(|| description.to_owned())?;
    }
    server.end()
}

fn no_model() -> Result<()> {
    let stage = Stage::new()?;
    let file = stage.write("attack", pcap(&attack())?)?;
    let server = Server::start(&[])?;
    let answer = server.upload("/api/captures", &file)?.json()?;
    ensure!(answer["replay"]["attack"] == true && answer["flows"]["total"] == 700, "{answer}");
    ensure!(
        answer["flows"]["classes"].is_null() && answer["flows"]["rows"][0].get("class").is_none(),
        "{answer}"
    );
    let body = r#"{"columns":[],"data":[]}"#;
    server.ask("/api/predictions", &["-d", body, "-H", PANDAS])?.ensure_refusal(503, "--model FILE")?;
    server.end()
}

fn admission() -> Result<()> {
    let stage = Stage::new()?;
    let open = Server::start(&[])?;
    for (header, status, hint) in [
        ("Host: evil.example", 421, "Host"),
        ("Origin: https://evil.example", 403, "other sites"),
        ("Origin: null", 403, "other sites"),
    ] {
        open.ask("/api/models", &["-H", header])?.ensure_refusal(status, hint)?;
        open.ask("/api/captures", &["-H", header, "-d", "x"])?.ensure_refusal(status, hint)?;
        let socket = ["-H", header, "-H", "Connection: upgrade", "-H", "Upgrade: websocket"];
        open.ask("/api/events", &socket)?.ensure_refusal(status, hint)?;
    }
    open.end()?;
    let file = stage.write("token", format!("{TOKEN}\n"))?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    let closed = Server::start(&["--token-file", file.to_str().context("a path")?])?;
    for path in ["/api/models", "/openapi.json", "/api/events", "/nowhere"] {
        let answer = closed.ask(path, &[])?;
        answer.ensure_refusal(401, "Authorization: Bearer")?;
        ensure!(answer.headers.contains("www-authenticate: bearer"), "{answer:?}");
        closed
            .ask(path, &["-H", "Authorization: Bearer wrong-horse-battery-staple"])?
            .ensure_refusal(401, "token")?;
    }
    let shown = format!("Authorization: Bearer {TOKEN}");
    ensure!(
        closed.ask("/api/models", &["-H", &shown, "-H", "Host: any.example"])?.status == 200,
        "the token"
    );
    let description = closed.ask("/openapi.json", &["-H", &shown])?.json()?;
    ensure!(description["components"]["securitySchemes"]["token"]["scheme"] == "bearer", "{description}");
    let answers = &description["paths"]["/api/models"]["get"]["responses"];
    ensure!(answers.get("401").is_some() && answers.get("421").is_none(), "{answers}");
    ensure!(closed.ask("/healthz", &[])?.status == 200, "that it is there, everybody may know");
    ensure!(!closed.log().contains(TOKEN), "the token stands in the log");
    closed.end()
}

fn stop() -> Result<()> {
    let mut server = Server::start(&[])?;
    let bytes = pcap(&attack())?;
    let (first, rest) = bytes.split_at(bytes.len() / 2);
    let mut upload = TcpStream::connect(server.address)?;
    write!(
        upload,
        "POST /api/captures HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
        bytes.len()
    )?;
    upload.write_all(first)?;
    server.process.signal(Signal::SIGTERM)?;
    let mut has_stopped = false;
    for _ in 0..100 {
        has_stopped = TcpStream::connect(server.address).is_err();
        if has_stopped {
            break;
        }
        pause(Duration::from_millis(50));
    }
    ensure!(has_stopped, "it goes on to listen");
    upload.write_all(rest)?;
    let answer = said(&mut upload)?;
    ensure!(answer.starts_with("HTTP/1.1 200") && answer.contains("203.0.113.66"), "{answer}");
    let status = server.process.wait_for(PATIENCE)?.context("it does not end")?;
    ensure!(status.success() && !server.log().contains("broken off"), "{status}: {}", server.log());
    // What does not end is broken off.
    let mut server = Server::start(&["--grace", "200ms"])?;
    let mut upload = TcpStream::connect(server.address)?;
    write!(
        upload,
        "POST /api/captures HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
        bytes.len()
    )?;
    upload.write_all(first)?;
    // Only when it has been heard there is something under way.
    ensure!(server.ask("/healthz", &[])?.status == 200, "it is there");
    server.process.signal(Signal::SIGTERM)?;
    let status = server.process.wait_for(PATIENCE)?.context("it does not end")?;
    ensure!(status.success() && server.log().contains("broken off"), "{status}: {}", server.log());
    Ok(())
}

fn wrong_use() -> Result<()> {
    let stage = Stage::new()?;
    let token = stage.write("token", TOKEN)?;
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644))?;
    let token = token.display().to_string();
    let text = stage.write("text.model", "no model")?.display().to_string();
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let taken = taken.local_addr()?.to_string();
    for (arguments, hint) in [
        (&["--listen", "0.0.0.0:0"][..], "--token-file"),
        (&["--listen", "[::]:0"], "--token-file"),
        (&["--listen", &taken], "cannot listen on"),
        (&["--listen", "localhost"], "invalid"),
        (&["--token-file", &token], "chmod 600"),
        (&["--token-file", "/nowhere/token"], "cannot read the token"),
        (&["--model", &text], "text.model"),
        (&["--config", "/nowhere/config.toml"], "/nowhere/config.toml"),
        (&["--max-capture", "12"], "MiB"),
        (&["--max-connections", "0"], "1 to 65536"),
        (&["--timeout", "never"], "5m"),
    ] {
        let mut command = Command::new(PROGRAM);
        let output: Output = command.arg("serve").args(arguments).env_remove("MITIGATOR_TOKEN").output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(2) && said.contains(hint), "{arguments:?}: {said}");
    }
    let short = Command::new(PROGRAM).arg("serve").env("MITIGATOR_TOKEN", "short").output()?;
    let said = String::from_utf8_lossy(&short.stderr).into_owned();
    ensure!(short.status.code() == Some(2) && said.contains("MITIGATOR_TOKEN holds no token"), "{said}");
    Ok(())
}

/// A thousand flows under the names and in the order that the clients of ML-IDS send.
fn ml_ids() -> Result<()> {
    let stage = Stage::new()?;
    let data = suite::cic().context("there is no data")?;
    let model = stage.path("cic.model");
    run(Command::new(PROGRAM)
        .args(["train", "flows"])
        .arg(data.join("cicids2018_feb14_feb20.csv.zst"))
        .arg("--output")
        .arg(&model))?;
    let packed = File::open(data.join("mlids_client_fixture_1000.csv.zst"))?;
    let csv = String::from_utf8(zstd::decode_all(packed)?)?;
    let labels: Vec<bool> = csv.lines().skip(1).map(|line| !line.ends_with(",Benign")).collect();
    let body = stage.write("body", split_table(&csv, &["label"])?.to_string())?;
    let server = Server::start(&["--model", model.to_str().context("a path")?])?;
    let body = format!("@{}", body.display());
    let answer = server.ask("/api/predictions", &["--data-binary", &body, "-H", PANDAS])?;
    ensure!(answer.status == 200 && answer.headers.contains("content-type: application/json"), "{answer:?}");
    let given: Vec<u8> = serde_json::from_str(&answer.text)?;
    ensure!(given.len() == 1_000 && given.iter().all(|class| *class < 2), "{}", answer.text);
    let right = given.iter().zip(&labels).filter(|(given, label)| (**given == 1) == **label).count();
    // It learned from two days, and is asked about all: better than whoever calls all of them benign.
    ensure!(right > 700, "{right} of 1000 right");
    println!("{right} of 1000 right");
    server.end()
}

fn schemathesis() -> Result<()> {
    let stage = Stage::new()?;
    let model = stage.model()?;
    let server = Server::start(&["--model", model.to_str().context("a path")?])?;
    let description = server.url("/openapi.json");
    let mut command = suite::schemathesis().context("schemathesis is gone")?;
    // That a body is a capture, or a model has a name, is beyond what a schema can say: valid requests may be refused.
    command.args([
        "run",
        &description,
        "--exclude-checks",
        "positive_data_acceptance",
        "--max-examples",
        "100",
    ]);
    // Events have no end.
    command.args(["--exclude-path", "/api/events", "--seed", "1", "--no-color", "--request-timeout", "20"]);
    let output = command.current_dir(stage.0.path()).stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    ensure!(!server.log().contains("a request failed"), "{}", server.log());
    server.end()
}
