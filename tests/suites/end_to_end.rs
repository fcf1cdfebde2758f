//! Does the victim stay reachable, and does the filter do what its operator said? The whole program on real
//! packets between namespaces. Trials named `vm_...` run inside every virtual machine too.

#[path = "end_to_end/cookies.rs"]
mod cookies;

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mitigator::flows::features::Spelling;
use mitigator_tests::installation::{self, Agent, Installation};
use mitigator_tests::lab::{Child, Core, Host, Interface, Lab, scratch_directory};
use mitigator_tests::labelled_flows::labelled_flows;
use mitigator_tests::suite::{self, Needs, Trial};
use mitigator_tests::traffic::{Addressing, Flood, Frames, HttpFlood, Pace, SlowPace};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mitigator-under-test");
const VICTIM: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const VISITOR: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 1);
const ATTACKER: Ipv4Addr = Ipv4Addr::new(198, 18, 2, 1);
const VISITOR_V6: &str = "fd00:18:0:1::1";
const VICTIM_V6: &str = "fd00:18::1";
const PORT: u16 = 4_000;

fn main() -> ExitCode {
    let trial = |name: &'static str, run: fn() -> Result<()>| Trial::new(name, Needs::Root, run);
    suite::run(vec![
        trial("vm_a_flood_is_blocked_and_its_neighbour_is_not", flood_is_blocked),
        trial("a_flow_model_tells_its_opinion_of_who_is_blocked", second_opinion),
        trial("a_flood_of_forged_senders_is_limited_and_blocks_nobody", forged_flood_is_limited),
        trial("vm_listeners_accept_who_was_answered_with_a_cookie", cookies::native),
        trial("listeners_accept_cookies_in_generic_mode_too", cookies::generic),
        trial("a_source_whose_connections_never_ask_for_anything_is_blocked", slow_connections_are_blocked),
        trial("who_passes_a_limited_flood_is_told_why", limit_is_explained),
        trial("who_is_in_a_blocked_prefix_is_told_so", prefix_is_explained),
        trial("vm_attaches_to_the_machines_own_card", attaches_to_the_own_card),
        trial("a_block_takes_effect_at_once_and_unblock_ends_it", block_takes_effect),
        trial("a_blocked_source_is_listed_with_what_is_dropped_of_it", dropped_of_source),
        trial("a_block_ends_by_itself_without_an_agent", expiry_without_agent),
        trial("a_killed_agent_lets_no_packet_of_a_blocked_source_through", kill_in_mid_flood),
        trial("the_next_run_adopts_what_a_killed_one_left", restart_adopts),
        trial("what_was_unblocked_is_left_alone_by_the_next_run_too", restart_remembers_unblock),
        trial("an_unblock_by_mistake_can_be_undone", unblock_is_undone),
        trial("on_a_full_disk_it_takes_up_what_it_knows_and_tells_when_there_is_room", full_disk),
        trial("without_a_usable_history_it_defends_and_says_so", defends_without_history),
        trial("detach_leaves_nothing_behind", detach_leaves_nothing),
        trial("what_somebody_else_keeps_in_the_pin_directory_stays", foreign_files),
        trial("a_foreign_program_is_refused_and_replaced_only_when_asked", foreign_program),
        trial("ipv6_sources_are_blocked_by_their_64", ipv6),
        trial("tagged_packets_are_blocked_too", vlan),
        trial("an_interface_with_a_dot_in_its_name_is_protected", dotted_name),
        trial("generic_mode_filters_as_well", generic_mode),
        trial("the_mode_can_be_changed_and_blocks_stand", mode_change),
        trial("a_run_that_fails_leaves_the_protection_as_it_was", failed_run),
        trial("changed_capacities_are_told_while_the_tables_stand", changed_capacities),
        trial("a_failed_tick_is_told_and_the_next_one_waits_its_turn", failed_tick),
        trial("vm_what_this_host_sends_is_counted_for_its_receiver", sent_is_counted),
        trial("an_interface_that_is_gone_is_told_and_protected_again_when_it_is_back", interface_gone),
        trial("the_end_is_told_with_all_blocks_after_a_hangup_too", hang_up),
        trial("an_agent_without_a_reader_goes_on", nobody_reads),
        trial("observing_blocks_nobody", observing),
        trial("the_allow_list_beats_every_block", allow_beats_block),
        trial("guard_rails_refuse_what_would_lock_out", guard_rails),
        trial("without_an_agent_who_is_on_the_machine_is_guarded_all_the_same", guard_without_agent),
        trial("a_second_agent_is_refused_whatever_its_state_directory", second_agent),
        trial("who_looks_at_the_lock_does_not_keep_an_agent_from_starting", looking_on),
    ])
}

/// A host outside and a victim, with visitors' and attackers' addresses outside.
struct Scene {
    outside: Interface,
    victim: Interface,
    victim_host: Host,
    outside_host: Host,
    _lab: Lab,
}

impl Scene {
    fn set() -> Result<Self> {
        let lab = Lab::new()?;
        let (outside_host, victim_host) = (lab.host("outside")?, lab.host("victim")?);
        let (outside, victim) = lab.link(&outside_host, &victim_host)?;
        outside.add_addresses(&[
            "198.18.1.1/16".parse()?,
            "198.18.2.1/16".parse()?,
            format!("{VISITOR_V6}/48").parse()?,
            "fd00:18:0:2::1/48".parse()?,
        ])?;
        victim.add_addresses(&["198.18.0.1/16".parse()?, format!("{VICTIM_V6}/48").parse()?])?;
        outside.add_neighbours(&[VICTIM.into(), VICTIM_V6.parse()?], victim.mac())?;
        let outsiders: [IpAddr; 4] =
            [VISITOR.into(), ATTACKER.into(), VISITOR_V6.parse()?, "fd00:18:0:2::1".parse()?];
        victim.add_neighbours(&outsiders, outside.mac())?;
        Ok(Self { outside, victim, victim_host, outside_host, _lab: lab })
    }

    fn installation(&self) -> Result<Installation> {
        Installation::new(Path::new(PROGRAM), Some(&self.victim_host))
    }

    /// Runs a verb that has to be refused on the victim, with places that are no installation's; what it said.
    fn refused(&self, arguments: &[&str], pins: &Path, state: &Path) -> Result<String> {
        let mut command = self.victim_host.command(installation::program(Path::new(PROGRAM)));
        command.args(arguments).arg("--pin-dir").arg(pins).arg("--state-dir").arg(state);
        let mut process = Child::spawn(Child::piped(command))?;
        let status = process.wait_for(Duration::from_secs(10))?;
        ensure!(
            status.is_some_and(|status| status.code() == Some(2)),
            "{arguments:?} was not refused: {status:?}"
        );
        Ok(process.stderr_to_end())
    }

    fn addressing(&self) -> Addressing {
        Addressing { from_mac: self.outside.mac(), to_mac: self.victim.mac(), to: VICTIM }
    }

    fn flood(&self, sources: &[Ipv4Addr], rate: u32, duration: Duration) -> Result<Flood> {
        let frames = Frames::udp(self.addressing(), sources, 9)?;
        Flood::start(&self.outside, frames, Pace::PerSecond(rate), duration, generator_core()?, now())
    }

    /// Whether a datagram from `source` reaches a socket of the victim.
    fn reaches(&self, source: &str) -> Result<bool> {
        let source: IpAddr = source.parse()?;
        let victim: IpAddr = if source.is_ipv4() { VICTIM.into() } else { VICTIM_V6.parse()? };
        let listener =
            self.victim_host.enter(|| UdpSocket::bind((victim, PORT)))?.context("cannot listen")?;
        listener.set_read_timeout(Some(Duration::from_millis(300)))?;
        let sent =
            self.outside_host.enter(|| UdpSocket::bind((source, 0))?.send_to(b"hello", (victim, PORT)))?;
        sent.with_context(|| format!("cannot send from {source}"))?;
        Ok(listener.recv_from(&mut [0; 16]).is_ok())
    }
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "suites watch real time")]
    Instant::now()
}

fn pause(duration: Duration) {
    #[expect(clippy::disallowed_methods, reason = "suites watch real time")]
    std::thread::sleep(duration);
}

fn number(value: &serde_json::Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn dropped(installation: &Installation) -> Result<u64> {
    Ok(number(&installation.json(&["status"])?["dropped_packets"]))
}

/// Packets of a source that were counted, and so passed.
fn passed(installation: &Installation, source: Ipv4Addr) -> Result<u64> {
    let report = installation.json(&["sources", "--limit", "0", "--over", "0s"])?;
    let rows = report["sources"].as_array().context("sources")?;
    let row = rows.iter().find(|row| row["source"] == source.to_string());
    Ok(row.map_or(0, |row| number(&row["packets"])))
}

fn flood_is_blocked() -> Result<()> {
    let scene = Scene::set()?;
    let installation = scene.installation()?;
    let mut agent = installation.start(&["-i", scene.victim.name()])?;
    let flood = scene.flood(&[ATTACKER], 20_000, Duration::from_secs(4))?;
    let verdict = agent.wait_for("verdict")?;
    ensure!(verdict["target"] == ATTACKER.to_string() && verdict["decision"] == "block", "{verdict}");
    ensure!(verdict["vector"] == "udp-flood", "{verdict}");
    ensure!(!scene.reaches(&ATTACKER.to_string())?, "the attacker still gets through");
    ensure!(scene.reaches(&VISITOR.to_string())?, "the visitor does not get through");
    flood.finish()?;
    let explained = installation.json(&["explain", &ATTACKER.to_string()])?;
    ensure!(
        explained["blocked"] == true && !explained["decisions"][0]["evidence"]["gates"].is_null(),
        "{explained}"
    );
    ensure_told(
        &installation,
        &[
            (
                ATTACKER,
                0,
                &[
                    "is blocked.",
                    "Block of 198.18.2.1 by the agent, until",
                    "✓ this source",
                    "times the limit",
                    // Of a row that is read while it counts, a packet may be without its kind yet.
                    "of them, UDP ",
                    "would not have been blocked below 1.00k packets/s (UDP packets)",
                    "`mitigator allow add 198.18.2.1`",
                    "`mitigator unblock 198.18.2.1`",
                ],
            ),
            (
                Ipv4Addr::new(198, 18, 9, 9),
                1,
                &[
                    "198.18.9.9 is not blocked.",
                    "It sent nothing in the last",
                    "There is nothing to judge it by",
                ],
            ),
        ],
    )?;
    let status = installation.json(&["status"])?;
    let outcomes = status["outcomes"].as_object().context("outcomes")?;
    ensure!(outcomes.values().map(number).sum::<u64>() == number(&status["packets"]), "{status}");
    agent.end()?;
    Ok(())
}

/// SYNs to a closed port, which are flows of two packets each, like the scans that the model learned from.
fn second_opinion() -> Result<()> {
    let scene = Scene::set()?;
    let installation = scene.installation()?;
    let (flows, model) = (installation.state().join("flows.csv"), installation.state().join("flows.model"));
    fs::write(&flows, labelled_flows(Spelling::Original2018, 0))?;
    let [flows, model] = [&flows, &model].map(|path| path.display().to_string());
    let trained = std::process::Command::new(installation::program(Path::new(PROGRAM)))
        .args(["train", "flows", &flows, "--output", &model])
        .stderr(Stdio::null())
        .status()?;
    ensure!(trained.success(), "cannot train: {trained}");
    let mut agent = installation.start(&["-i", scene.victim.name(), "--flow-model", &model])?;
    let (flood, verdict) = syn_flood(&scene, &mut agent, &[ATTACKER])?;
    ensure!(verdict["target"] == ATTACKER.to_string() && verdict["decision"] == "block", "{verdict}");
    flood.finish()?;
    let explained = installation.json(&["explain", &ATTACKER.to_string()])?;
    let opinion = &explained["decisions"][0]["evidence"]["second_opinion"];
    ensure!(*opinion == verdict["evidence"]["second_opinion"], "{opinion}: {verdict}");
    ensure!(number(&opinion["flows"]) > 10 && number(&opinion["seen_flows"]) > 100, "{opinion}");
    ensure!(opinion["class"] == "port-scan" && opinion["agrees"] == true, "{opinion}");
    ensure!(opinion["probability"].as_f64() > Some(0.5), "{opinion}");
    ensure_told(
        &installation,
        &[(
            ATTACKER,
            0,
            &["is blocked.", "Second opinion, which decides nothing: an attack, too. Of ", "flows.model"],
        )],
    )?;

    // Without ears it defends all the same, and says so once.
    let link =
        |state: &str| scene.victim_host.ip_batch(&[format!("link set {} {state}", scene.victim.name())]);
    link("down")?;
    let alarm = agent.wait_for("alarm")?;
    ensure!(alarm["message"].as_str().is_some_and(|told| told.contains("no second opinion")), "{alarm}");
    link("up")?;
    let regained = agent.wait_for("recovered")?;
    ensure!(regained["message"].as_str().is_some_and(|told| told.contains("second opinion")), "{regained}");
    agent.end()?;

    // So it does when the model that the configuration names is gone; one that is asked for by name has to be there.
    let (config, gone) = (installation.state().join("config.toml"), installation.state().join("gone.model"));
    fs::write(&config, format!("[flow_model]\npath = {gone:?}\n"))?;
    let (config, gone) = (config.display().to_string(), gone.display().to_string());
    let mut agent = installation.start(&["-i", scene.victim.name(), "--config", &config])?;
    let alarm = agent.wait_for("alarm")?["message"].to_string();
    ensure!(alarm.contains("no second opinion") && alarm.contains("gone.model"), "{alarm}");
    agent.end()?;
    let run = ["run", "-i", scene.victim.name(), "--flow-model", &gone];
    let said = scene.refused(&run, installation.pins(), installation.state())?;
    ensure!(said.contains("gone.model"), "{said}");
    Ok(())
}

fn forged_flood_is_limited() -> Result<()> {
    let scene = Scene::set()?;
    let installation = scene.installation()?;
    let mut agent = installation.start(&["-i", scene.victim.name()])?;
    let listener = scene.victim_host.enter(|| TcpListener::bind((VICTIM, PORT)))??;
    ensure!(scene.reaches(&VISITOR.to_string())?, "the visitor was there before");
    // Who came in the second before a flood crossed its floor may belong to it.
    pause(Duration::from_millis(1_500));
    let frames = Frames::syn_of_forged_sources(scene.addressing(), PORT, 1)?;
    let (pace, length) = (Pace::PerSecond(20_000), Duration::from_secs(3));
    let flood = Flood::start(&scene.outside, frames, pace, length, generator_core()?, now())?;
    let verdict = agent.wait_for("verdict")?;
    ensure!(verdict["vector"] == "syn-flood" && verdict["decision"] == "limit", "{verdict}");
    for attempt in 0..5 {
        let connect = || TcpStream::connect_timeout(&(VICTIM, PORT).into(), Duration::from_millis(500));
        scene
            .outside_host
            .enter(connect)?
            .with_context(|| format!("connection {attempt} of a known visitor"))?;
    }
    let sent = flood.finish()?.sent.total();
    let status = installation.json(&["status"])?;
    let kept_away =
        number(&status["outcomes"]["drop_limited"]) + number(&status["outcomes"]["answer_cookie"]);
    ensure!(kept_away * 2 > sent, "{kept_away} of {sent} packets were dropped or answered");
    ensure!(status["syn_cookies"] == "ready", "{status}");
    ensure!(number(&status["blocked_sources"]["used"]) == 0, "{status}");
    drop(listener);
    agent.end()?;
    Ok(())
}

fn slow_connections_are_blocked() -> Result<()> {
    let scene = Scene::set()?;
    let installation = scene.installation()?;
    let mut agent = installation.start(&["-i", scene.victim.name()])?;
    // Connections that nobody takes are established all the same.
    let listener = scene.victim_host.enter(|| TcpListener::bind((VICTIM, PORT)))??;
    let pace =
        SlowPace { connections: 100, step: Duration::from_millis(5), line_every: Duration::from_millis(500) };
    let (server, length) = ((VICTIM, PORT).into(), Duration::from_secs(4));
    let attackers = [ATTACKER.into()];
    let attack =
        HttpFlood::start_slow(&scene.outside, &attackers, server, pace, length, generator_core()?, now())?;
    let verdict = agent.wait_for("verdict")?;
    ensure!(verdict["target"] == ATTACKER.to_string() && verdict["decision"] == "block", "{verdict}");
    ensure!(verdict["vector"] == "slow-connections", "{verdict}");
    attack.stop()?;
    drop(listener);
    agent.end()?;
    Ok(())
}

/// What `explain` has to say of each address, and the status that it has to end with.
fn ensure_told(installation: &Installation, expected: &[(Ipv4Addr, i32, &[&str])]) -> Result<()> {
    for (address, status, sentences) in expected {
        let answer = installation.run(&["explain", &address.to_string(), "--over", "300ms"])?;
        let words = answer.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        for sentence in *sentences {
            ensure!(
                answer.status == *status && words.contains(sentence),
                "{address}: `{sentence}`: {}",
                answer.stdout
            );
        }
    }
    Ok(())
}

/// Starts SYN packets from `sources`, and returns when the agent has decided about them.
fn syn_flood(scene: &Scene, agent: &mut Agent, sources: &[Ipv4Addr]) -> Result<(Flood, serde_json::Value)> {
    let addressing = Addressing { from_mac: scene.outside.mac(), to_mac: scene.victim.mac(), to: VICTIM };
    let frames = Frames::syn(addressing, sources, PORT, 1)?;
    let pace = Pace::PerSecond(4_000);
    let flood = Flood::start(&scene.outside, frames, pace, Duration::from_secs(6), generator_core()?, now())?;
    let verdict = agent.wait_for("verdict")?;
    Ok((flood, verdict))
}

fn limit_is_explained() -> Result<()> {
    let scene = Scene::set()?;
    let installation = scene.installation()?;
    let mut agent = installation.start(&["-i", scene.victim.name()])?;
    let visitor = VISITOR.to_string();
    ensure!(scene.reaches(&visitor)?, "not reachable before");
    // Who came in the second before a flood crossed its floor may belong to it.
    pause(Duration::from_millis(1_500));
    let forged: Vec<Ipv4Addr> =
        (0..2_000_u16).map(|number| Ipv4Addr::from(0x0a00_0000 + u32::from(number) * 8_209)).collect();
    let (flood, verdict) = syn_flood(&scene, &mut agent, &forged)?;
    ensure!(verdict["decision"] == "limit", "{verdict}");
    ensure_told(
        &installation,
        &[(
            VISITOR,
            1,
            &[
                "198.18.1.1 is not blocked.",
                "Limit on SYN packets to port 4000",
                "does not hold for it: it was seen before the flood began.",
                "Lately, about traffic of many sources:",
                "limited for syn-flood",
            ],
        )],
    )?;
    let report = installation.json(&["explain", &visitor, "--over", "10ms"])?;
    let limit = &report["limits"][0];
    ensure!(limit["exempt"].is_string() && number(&limit["dropped"]) > 0, "{report}");
    flood.finish()?;
    agent.end()?;
    Ok(())
}

/// A flood of which a few packets fall into the tick before it is seen is limited instead: its sources were there before.
fn prefix_is_explained() -> Result<()> {
    for _ in 0..3 {
        if is_prefix_explained()? {
            return Ok(());
        }
    }
    anyhow::bail!("three floods of a whole prefix were limited, and the prefix not blocked")
}

/// `false`: the flood was limited.
fn is_prefix_explained() -> Result<bool> {
    let scene = Scene::set()?;
    let installation = scene.installation()?;
    let mut agent = installation.start(&["-i", scene.victim.name()])?;
    let members: Vec<Ipv4Addr> = (1..=100).map(|last| Ipv4Addr::new(198, 51, 100, last)).collect();
    let (flood, verdict) = syn_flood(&scene, &mut agent, &members)?;
    if verdict["decision"] == "limit" {
        return Ok(false);
    }
    ensure!(verdict["target"] == "198.51.100.0/24" && verdict["decision"] == "block", "{verdict}");
    flood.finish()?;
    ensure_told(
        &installation,
        &[(
            Ipv4Addr::new(198, 51, 100, 7),
            0,
            &[
                "198.51.100.7 is blocked.",
                "Block of 198.51.100.0/24 by the agent",
                "✓ the whole prefix",
                "✓ addresses of the prefix that take part 100 ≥ 32 sources",
                "packets/s from the whole prefix (SYN packets without a following ACK)",
                "`mitigator unblock 198.51.100.0/24`",
            ],
        )],
    )?;
    agent.end()?;
    Ok(true)
}

/// In the virtual machine that is a virtio NIC; elsewhere a veth stands for it.
fn attaches_to_the_own_card() -> Result<()> {
    if std::env::var_os("MITIGATOR_VM").is_none() {
        return flood_free_attachment(None);
    }
    flood_free_attachment(Some("eth0"))
}

fn flood_free_attachment(card: Option<&str>) -> Result<()> {
    let scene = Scene::set()?;
    let installation = match card {
        Some(_) => Installation::new(Path::new(PROGRAM), None)?,
        None => scene.installation()?,
    };
    let interface = card.unwrap_or(scene.victim.name());
    let agent = installation.start(&["-i", interface])?;
    let status = installation.json(&["status"])?;
    ensure!(status["attached"][0]["interface"] == interface, "{status}");
    agent.end()?;
    Ok(())
}

fn block_takes_effect() -> Result<()> {
    let scene = Scene::set()?;
    let installation = scene.installation()?;
    let agent = installation.start(&["-i", scene.victim.name()])?;
    let visitor = VISITOR.to_string();
    ensure!(scene.reaches(&visitor)?, "not reachable before");
    for (target, other) in
        [("198.18.1.1", "198.18.2.1"), ("198.18.1.0/24", "198.18.2.1"), ("198.18.1.1/32", "198.18.2.1")]
    {
        installation.done(&["block", target, "--reason", "a test"])?;
        ensure!(!scene.reaches(&visitor)?, "{target}: still reachable");
        ensure!(scene.reaches(other)?, "{target}: somebody else is blocked");
        ensure!(
            installation.done(&["explain", &visitor])?.contains("a test"),
            "{target}: the reason is lost"
        );
        installation.done(&["unblock", target])?;
        ensure!(scene.reaches(&visitor)?, "{target}: not reachable after unblock");
        ensure!(installation.run(&["unblock", target])?.status == 1, "{target}: unblocked twice");
    }
    agent.end()?;
    Ok(())
}

fn dropped_of_source() -> Result<()> {
    let scene = Scene::set()?;
    let installation = scene.installation()?;
    installation.start(&["-i", scene.victim.name()])?.end()?;
    let (blocked, other) = ("198.18.2.1", "198.18.1.1");
    ensure!(scene.reaches(blocked)? && scene.reaches(other)?, "not reachable before");
    installation.done(&["block", blocked])?;
    ensure!(!scene.reaches(blocked)?, "still reachable");
    let report = installation.json(&["sources", "--limit", "0", "--over", "0s"])?;
    let rows = report["sources"].as_array().context("rows")?;
    let row = |source: &str| rows.iter().find(|row| row["source"] == source).context(report.to_string());
    ensure!(row(other)?["dropped_packets"].is_null(), "{report}");
    ensure!(number(&row(blocked)?["dropped_packets"]) == 1, "{report}");
    let text = installation.done(&["sources", "--over", "0s"])?;
    let line = text.lines().find(|line| line.starts_with(blocked)).context(text.clone())?;
    ensure!(line.split_whitespace().rev().take(2).eq(["blocked", "1"]), "{text}");
    ensure!(text.contains("what a blocked source sends is dropped"), "{text}");

    installation.done(&["unblock", blocked])?;
    installation.done(&["block", "198.18.2.0/24"])?;
    ensure!(!scene.reaches(blocked)? && !scene.reaches(blocked)?, "reachable in a blocked prefix");
    let report = installation.json(&["sources", "--limit", "1", "--over", "0s", "--sort", "dropped"])?;
    let first = &report["sources"][0];
    ensure!(
        first["source"] == blocked && first["blocked"] == true && first["blocked_by"] == "198.18.2.0/24",
        "{report}"
    );
    ensure!(number(&first["dropped_packets"]) == 2, "{report}");
    let text = installation.done(&["sources", "--over", "0s"])?;
    let line = text.lines().find(|line| line.starts_with(blocked)).context(text.clone())?;
    ensure!(line.ends_with("2  in blocked 198.18.2.0/24"), "{text}");
    ensure!(text.contains("DROPPED is what all in it sent"), "{text}");
    installation.done(&["allow", "add", blocked])?;
    let report = installation.json(&["sources", "--limit", "0", "--over", "0s"])?;
    let rows = report["sources"].as_array().context("rows")?;
    let allowed = rows.iter().find(|row| row["source"] == blocked).context(report.to_string())?;
    ensure!(allowed["allowed"] == true && allowed["blocked_by"].is_null(), "{allowed}");
    Ok(())
}

fn expiry_without_agent() -> Result<()> {
    let scene = Scene::set()?;
    let installation = scene.installation()?;
    installation.start(&["-i", scene.victim.name()])?.end()?;
    installation.done(&["block", "198.18.1.1", "--for", "2s"])?;
    ensure!(!scene.reaches("198.18.1.1")?, "reachable while blocked");
    pause(Duration::from_millis(2_200));
    ensure!(scene.reaches("198.18.1.1")?, "the block did not end");
    ensure!(
        installation.run(&["explain", "198.18.1.1", "--over", "10ms"])?.status == 1,
        "explained as blocked"
    );
    Ok(())
}

fn kill_in_mid_flood() -> Result<()> {
    let scene = Scene::set()?;
    let installation = scene.installation()?;
    let mut agent = installation.start(&["-i", scene.victim.name()])?;
    let flood = scene.flood(&[ATTACKER], 20_000, Duration::from_secs(6))?;
    agent.wait_for("verdict")?;
    let passed_before = passed(&installation, ATTACKER)?;
    let dropped_before = dropped(&installation)?;
    agent.kill()?;
    pause(Duration::from_secs(1));
    let adopter = installation.start(&["-i", scene.victim.name()])?;
    flood.finish()?;
    ensure!(passed(&installation, ATTACKER)? == passed_before, "packets of a blocked source got through");
    let dropped = dropped(&installation)? - dropped_before;
    ensure!(dropped > 20_000, "only {dropped} packets were dropped meanwhile");
    adopter.end()?;
    Ok(())
}

fn restart_adopts() -> Result<()> {
    let scene = Scene::set()?;
    let installation = scene.installation()?;
    let agent = installation.start(&["-i", scene.victim.name()])?;
    let sent = scene.flood(&[VISITOR], 100, Duration::from_millis(500))?.finish()?.sent.total();
    installation.done(&["block", "198.18.2.1"])?;
    let before = installation.json(&["status"])?;
    ensure!(sent > 0 && passed(&installation, VISITOR)? == sent, "not all of {sent} packets were counted");
    agent.kill()?;
    ensure!(installation.json(&["status"])?["agent"]["running"] == false, "a killed agent runs");
    let agent = installation.start(&["-i", scene.victim.name()])?;
    let after = installation.json(&["status"])?;
    ensure!(
        after["attached"][0]["program_id"] != before["attached"][0]["program_id"],
        "the old program stayed"
    );
    ensure!(!scene.reaches("198.18.2.1")?, "the block was lost");
    ensure!(number(&after["packets"]) >= number(&before["packets"]), "the totals were lost");
    ensure!(passed(&installation, VISITOR)? == sent, "the counters of a source were lost");
    agent.end()?;
    Ok(())
}

fn restart_remembers_unblock() -> Result<()> {
    let scene = Scene::set()?;
    let installation = scene.installation()?;
    let mut agent = installation.start(&["-i", scene.victim.name()])?;
    let flood = scene.flood(&[ATTACKER], 20_000, Duration::from_secs(8))?;
    agent.wait_for("verdict")?;
    pause(Duration::from_millis(500));
    installation.done(&["unblock", &ATTACKER.to_string()])?;
    agent.kill()?;
    let mut agent = installation.start(&["-i", scene.victim.name()])?;
    let verdict = agent.wait_for("verdict")?;
    let note = verdict["evidence"]["note"].as_str().unwrap_or_default();
    ensure!(verdict["decision"] == "observe" && note.contains("was lifted"), "{verdict}");
    ensure!(installation.json(&["blocklist", "list"])?["standing"] == 0, "blocked again");
    agent.end()?;
    flood.finish()?;
    Ok(())
}

/// The next verdict about a flood's source, and the words with it.
fn next_verdict(agent: &mut Agent) -> Result<(String, String)> {
    let verdict = agent.wait_for("verdict")?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    Ok((text(&verdict["decision"]), text(&verdict["evidence"]["note"])))
}

fn unblock_is_undone() -> Result<()> {
    let scene = Scene::set()?;
    let installation = scene.installation()?;
    let attacker = ATTACKER.to_string();
    let run = ["-i", scene.victim.name()];
    let mut agent = installation.start(&run)?;
    let flood = scene.flood(&[ATTACKER], 20_000, Duration::from_secs(60))?;
    ensure!(next_verdict(&mut agent)?.0 == "block", "not blocked");
    let unblocked = installation.json(&["unblock", &attacker])?;
    let until = number(&unblocked["left_alone"][0]["until_unix_ms"]);
    ensure!(until > 0, "{unblocked}");
    let (decision, note) = next_verdict(&mut agent)?;
    ensure!(decision == "observe" && note.contains("was lifted"), "{decision}: {note}");
    let explained = installation.json(&["explain", &attacker, "--over", "300ms"])?;
    ensure!(number(&explained["left_alone_until_unix_ms"]) == until, "{explained}");
    ensure!(explained["conclusion"].to_string().contains("its block was taken back"), "{explained}");

    installation.done(&["block", &attacker, "--for", "1s"])?;
    // A sweep of the agent is each half minute.
    pause(Duration::from_secs(15));
    ensure!(next_verdict(&mut agent)?.0 == "block", "the running agent still leaves it alone");

    // A generator runs for a minute at most, and this machine may be slow.
    drop(flood);
    let flood = scene.flood(&[ATTACKER], 20_000, Duration::from_secs(60))?;
    installation.done(&["unblock", &attacker])?;
    agent.kill()?;
    installation.done(&["block", &attacker])?;
    installation.done(&["unblock", &attacker])?;
    let mut agent = installation.start(&run)?;
    ensure!(next_verdict(&mut agent)?.0 == "block", "the next agent still leaves it alone");

    let cleared = installation.json(&["blocklist", "clear"])?;
    ensure!((number(&cleared["removed"]), number(&cleared["left_alone"])) == (1, 1), "{cleared}");
    agent.end()?;
    installation.done(&["detach"])?;
    let mut agent = installation.start(&run)?;
    ensure!(next_verdict(&mut agent)?.0 == "block", "after `detach` it is still left alone");
    let elsewhere = installation.state().join("elsewhere");
    let answer = installation.run_with_state(&["unblock", &attacker], &elsewhere)?;
    ensure!(answer.status == 0 && answer.stderr.contains("no agent keeps a history in"), "{answer:?}");
    ensure!(!elsewhere.exists(), "a store was made that no agent reads");
    agent.end()?;
    drop(flood);
    Ok(())
}

/// A small disk in place of a directory, until it is dropped.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn on(directory: &Path) -> Result<Self> {
        let nothing = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("none"), directory, Some("tmpfs"), nothing, Some("size=2m,mode=700"))
            .with_context(|| format!("cannot mount on {}", directory.display()))?;
        Ok(Self(directory.to_owned()))
    }

    fn ballast(&self) -> std::path::PathBuf {
        self.0.join("ballast")
    }

    /// Leaves no room on it.
    fn fill(&self) -> Result<()> {
        let mut ballast = File::create(self.ballast())?;
        while std::io::Write::write_all(&mut ballast, &[0; 4_096]).is_ok() {}
        Ok(())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Err(error) = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH) {
            eprintln!("cannot unmount {}: {error}", self.0.display());
        }
    }
}

fn full_disk() -> Result<()> {
    let scene = Scene::set()?;
    let installation = scene.installation()?;
    let disk = SmallDisk::on(installation.state())?;
    let run = ["-i", scene.victim.name()];
    let mut agent = installation.start(&run)?;
    let flood = scene.flood(&[ATTACKER], 20_000, Duration::from_secs(50))?;
    ensure!(next_verdict(&mut agent)?.0 == "block", "not blocked");
    pause(Duration::from_millis(300));
    installation.done(&["unblock", &ATTACKER.to_string()])?;
    // So that its log of changes stays, which takes no more room to be read.
    agent.kill()?;
    fs::write(installation.state().join("agent.log"), "")?;
    disk.fill()?;
    let mut agent = installation.start(&run)?;
    let alarm = agent.wait_for("alarm")?["message"].to_string();
    ensure!(alarm.contains("nothing is remembered") && alarm.contains("full"), "{alarm}");
    let (decision, note) = next_verdict(&mut agent)?;
    ensure!(decision == "observe" && note.contains("was lifted"), "{decision}: {note}");
    fs::remove_file(disk.ballast())?;
    pause(Duration::from_secs(12));
    let recovered = agent.wait_for("recovered")?["message"].to_string();
    ensure!(recovered.contains("is remembered from here on"), "{recovered}");
    let others = agent.end()?;
    ensure!(others.iter().all(|event| event["event"] != "alarm"), "{others:?}");
    drop(flood);
    Ok(())
}

fn defends_without_history() -> Result<()> {
    let scene = Scene::set()?;
    let installation = scene.installation()?;
    fs::write(installation.state().join("mitigator.sqlite"), "no data base ".repeat(1_000))?;
    let mut agent = installation.start(&["-i", scene.victim.name()])?;
    let alarm = agent.wait_for("alarm")?;
    let message = alarm["message"].as_str().unwrap_or_default();
    for hint in ["nothing is remembered", "mitigator.sqlite", "move a damaged file away"] {
        ensure!(message.contains(hint), "{hint}: {message}");
    }
    let flood = scene.flood(&[ATTACKER], 20_000, Duration::from_secs(2))?;
    let verdict = agent.wait_for("verdict")?;
    ensure!(verdict["decision"] == "block" && !verdict["until_unix_ms"].is_null(), "{verdict}");
    flood.finish()?;
    agent.end()?;
    let said = scene.refused(
        &["run", "-i", scene.victim.name()],
        installation.pins(),
        &installation.state().join("agent.log"),
    )?;
    ensure!(said.contains("is no directory"), "a file as state directory: {said}");
    Ok(())
}

/// Across a restart too, where the classifier is replaced and must not count twice.
fn sent_is_counted() -> Result<()> {
    const NOBODY: &str = "198.18.7.7";
    let scene = Scene::set()?;
    scene.victim.add_neighbours(&[NOBODY.parse()?], scene.outside.mac())?;
    let installation = scene.installation()?;
    for round in 1..=2 {
        let agent = installation.start(&["-i", scene.victim.name()])?;
        ensure!(scene.reaches(&VISITOR.to_string())?, "not reached");
        for to in [VISITOR.to_string(), NOBODY.to_owned()] {
            scene
                .victim_host
                .enter(|| UdpSocket::bind((VICTIM, 0))?.send_to(b"hello", (to.as_str(), PORT)))??;
        }
        pause(Duration::from_millis(50));
        let report = installation.json(&["sources", "--limit", "0", "--over", "0s"])?;
        let rows = report["sources"].as_array().context("sources")?;
        let row = |source: &str| rows.iter().find(|row| row["source"] == source).cloned().unwrap_or_default();
        let visitor = row(&VISITOR.to_string());
        ensure!(
            (number(&visitor["udp_packets"]), number(&visitor["sent_udp_packets"])) == (round, round),
            "round {round}: {visitor}"
        );
        let nobody = row(NOBODY);
        ensure!(
            (number(&nobody["packets"]), number(&nobody["sent_packets"])) == (0, round),
            "round {round}: {nobody}"
        );
        agent.kill()?;
    }
    installation.done(&["detach"])?;
    let filters = scene.victim_host.run("tc", &["filter", "show", "dev", scene.victim.name(), "egress"])?;
    ensure!(!filters.contains("count_sent"), "a classifier is left: {filters}");
    Ok(())
}

fn detach_leaves_nothing() -> Result<()> {
    let scene = Scene::set()?;
    let installation = scene.installation()?;
    let agent = installation.start(&["-i", scene.victim.name()])?;
    installation.done(&["block", "198.18.1.1"])?;
    ensure!(installation.run(&["detach"])?.status == 2, "detached under a running agent");
    agent.end()?;
    installation.done(&["detach"])?;
    ensure!(!installation.pins().exists(), "pins are left");
    let link = scene.victim_host.run("ip", &["link", "show", "dev", scene.victim.name()])?;
    ensure!(!link.contains("xdp"), "a program is left: {link}");
    ensure!(scene.reaches("198.18.1.1")?, "still blocked");
    ensure!(installation.run(&["detach"])?.status == 1, "detached twice");
    Ok(())
}

fn foreign_files() -> Result<()> {
    let scene = Scene::set()?;
    let elsewhere = scratch_directory("elsewhere")?;
    let precious = elsewhere.path().join("letters");
    fs::create_dir(&precious)?;
    for arguments in [&["run", "-i", "typo"][..], &["detach"]] {
        let said = scene.refused(arguments, elsewhere.path(), &elsewhere.path().join("state"))?;
        ensure!(said.contains("not on a BPF file system"), "{arguments:?}: {said}");
        ensure!(precious.is_dir(), "{arguments:?} removed what is not mitigator's");
    }
    let installation = scene.installation()?;
    let precious = installation.pins().join("letters");
    installation.start(&["-i", scene.victim.name()])?.end()?;
    fs::create_dir(&precious)?;
    installation.done(&["detach"])?;
    let left: Vec<_> =
        fs::read_dir(installation.pins())?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    fs::remove_dir(&precious).and_then(|()| fs::remove_dir(installation.pins()))?;
    ensure!(left == [precious], "left: {left:?}");
    Ok(())
}

fn foreign_program() -> Result<()> {
    let scene = Scene::set()?;
    // Another installation's program is as foreign as any other.
    let (foreign, installation) = (scene.installation()?, scene.installation()?);
    foreign.start(&["-i", scene.victim.name()])?.end()?;
    let refused = installation.run(&["run", "-i", scene.victim.name()])?;
    ensure!(refused.status == 2 && refused.stderr.contains("--replace"), "{refused:?}");
    ensure!(!installation.pins().exists(), "a refused run left pins");
    let agent = installation.start(&["-i", scene.victim.name(), "--replace"])?;
    installation.done(&["block", "198.18.1.1"])?;
    ensure!(!scene.reaches("198.18.1.1")?, "the replacing program does not filter");
    agent.end()?;
    Ok(())
}

fn ipv6() -> Result<()> {
    let scene = Scene::set()?;
    let installation = scene.installation()?;
    let agent = installation.start(&["-i", scene.victim.name()])?;
    ensure!(scene.reaches(VISITOR_V6)?, "not reachable before");
    installation.done(&["block", "fd00:18:0:1::abcd"])?;
    ensure!(!scene.reaches(VISITOR_V6)?, "a neighbour in the blocked /64 gets through");
    ensure!(scene.reaches("fd00:18:0:2::1")?, "another /64 is blocked");
    installation.done(&["allow", "add", VISITOR_V6])?;
    ensure!(scene.reaches(VISITOR_V6)?, "the allowed address in the blocked /64 does not get through");
    agent.end()?;
    Ok(())
}

/// The frames carry their tag themselves, so that the kernel needs no VLAN driver.
fn vlan() -> Result<()> {
    let scene = Scene::set()?;
    let installation = scene.installation()?;
    let agent = installation.start(&["-i", scene.victim.name()])?;
    let addressing = Addressing { from_mac: scene.outside.mac(), to_mac: scene.victim.mac(), to: VICTIM };
    for (description, tags, blocked) in [
        ("one tag", &[[0x81, 0, 0, 7]][..], false),
        ("two tags", &[[0x88, 0xa8, 0, 7], [0x81, 0, 0, 8]], false),
        ("one tag, blocked", &[[0x81, 0, 0, 7]], true),
        ("two tags, blocked", &[[0x88, 0xa8, 0, 7], [0x81, 0, 0, 8]], true),
    ] {
        installation.run(&[if blocked { "block" } else { "unblock" }, &VISITOR.to_string()])?;
        let untagged = Frames::udp(addressing, &[VISITOR], 9)?;
        let tagged = untagged
            .as_slice()
            .iter()
            .map(|frame| [&frame[..12], tags.as_flattened(), &frame[12..]].concat());
        let frames = Frames::new(tagged.collect()).context("frames")?;
        let (dropped_before, passed_before) = (dropped(&installation)?, passed(&installation, VISITOR)?);
        let pace = Pace::PerSecond(500);
        let flood =
            Flood::start(&scene.outside, frames, pace, Duration::from_millis(500), generator_core()?, now())?;
        let sent = flood.finish()?.sent.total();
        pause(Duration::from_millis(100));
        let dropped = dropped(&installation)? - dropped_before;
        let passed = passed(&installation, VISITOR)? - passed_before;
        let expected = if blocked { (sent, 0) } else { (0, sent) };
        ensure!((dropped, passed) == expected, "{description}: {dropped} dropped, {passed} passed of {sent}");
    }
    agent.end()?;
    Ok(())
}

/// A VLAN interface in name only, because not every kernel can make a real one.
fn dotted_name() -> Result<()> {
    let scene = Scene::set()?;
    let (name, dotted) = (scene.victim.name(), format!("{}.100", scene.victim.name()));
    scene.victim_host.ip_batch(&[
        format!("link set {name} down"),
        format!("link set {name} name {dotted}"),
        format!("link set {dotted} up"),
    ])?;
    let installation = scene.installation()?;
    installation.start(&["-i", &dotted, "--xdp-mode", "generic"])?.end()?;
    installation.done(&["block", "198.18.1.1"])?;
    let agent = installation.start(&["-i", &dotted, "--xdp-mode", "generic"])?;
    let attached = &installation.json(&["status"])?["attached"];
    ensure!(attached[0]["interface"] == dotted && attached[1].is_null(), "{attached}");
    ensure!(!scene.reaches("198.18.1.1")?, "still reachable");
    ensure!(scene.reaches("198.18.2.1")?, "somebody else is blocked");
    agent.end()?;
    ensure!(installation.json(&["detach"])?["detached"][0] == dotted, "detached another interface");
    Ok(())
}

fn generic_mode() -> Result<()> {
    let scene = Scene::set()?;
    let installation = scene.installation()?;
    let agent = installation.start(&["-i", scene.victim.name(), "--xdp-mode", "generic"])?;
    ensure!(installation.json(&["status"])?["attached"][0]["mode"] == "generic", "not generic");
    installation.done(&["block", "198.18.1.1"])?;
    ensure!(!scene.reaches("198.18.1.1")?, "still reachable");
    ensure!(scene.reaches("198.18.2.1")?, "somebody else is blocked");
    agent.end()?;
    Ok(())
}

fn mode_change() -> Result<()> {
    let scene = Scene::set()?;
    let installation = scene.installation()?;
    installation.start(&["-i", scene.victim.name(), "--xdp-mode", "generic"])?.end()?;
    installation.done(&["block", "198.18.1.1"])?;
    for mode in ["native", "generic"] {
        let agent = installation.start(&["-i", scene.victim.name(), "--xdp-mode", mode])?;
        let attached = installation.json(&["status"])?["attached"][0]["mode"].clone();
        ensure!(attached == mode, "{attached} rather than {mode}");
        ensure!(!scene.reaches("198.18.1.1")?, "{mode}: still reachable");
        agent.end()?;
    }
    Ok(())
}

/// Whatever makes it fail: native mode is impossible while the other end of a veth sends large packets.
fn failed_run() -> Result<()> {
    let scene = Scene::set()?;
    let name = scene.victim.name();
    scene.outside.set_mtu(9_000)?;
    let installation = scene.installation()?;
    installation.start(&["-i", name])?.end()?;
    installation.done(&["block", "198.18.1.1", "198.18.2.1"])?;
    installation.done(&["allow", "add", "198.18.1.1"])?;
    let before = installation.json(&["status"])?["attached"].clone();
    ensure!(before[0]["mode"] == "generic", "{before}");
    for (description, arguments, hint) in [
        ("another mode", &["run", "-i", name, "--xdp-mode", "native"][..], "generic mode as before"),
        (
            "another mode, before another interface",
            &["run", "-i", name, "--xdp-mode", "native", "-i", "typo"],
            name,
        ),
        ("another interface", &["run", "-i", "typo"], "no interface `typo`"),
        ("another interface after this one", &["run", "-i", name, "-i", "typo"], "no interface `typo`"),
    ] {
        let refused = installation.run(arguments)?;
        ensure!(refused.status == 2 && refused.stderr.contains(hint), "{description}: {refused:?}");
        let after = installation.json(&["status"])?["attached"].clone();
        ensure!(after[0]["interface"] == name && after[0]["mode"] == "generic", "{description}: {after}");
        ensure!(!scene.reaches("198.18.2.1")?, "{description}: the block is lost");
        ensure!(scene.reaches("198.18.1.1")?, "{description}: the allow list is lost");
    }
    installation.done(&["detach"])?;
    ensure!(installation.run(&["run", "-i", name, "-i", "typo"])?.status == 2, "attached to a typo");
    let link = scene.victim_host.run("ip", &["link", "show", "dev", name])?;
    ensure!(!link.contains("xdp") && !installation.pins().exists(), "a run that failed left: {link}");
    Ok(())
}

fn changed_capacities() -> Result<()> {
    let scene = Scene::set()?;
    let installation = scene.installation()?;
    installation.start(&["-i", scene.victim.name()])?.end()?;
    let directory = scratch_directory("configuration")?;
    let file = directory.path().join("mitigator.toml");
    let path = file.to_str().context("the path is text")?;
    for (sources, expected) in [(65_536, true), (262_144, false)] {
        fs::write(&file, format!("[capacities]\nsources = {sources}\n"))?;
        let said = installation.run(&["run", "-i", "typo", "--config", path])?.stderr;
        let is_told = said.contains("sources 262144, not 65536") && said.contains("mitigator detach");
        ensure!(is_told == expected, "{sources}: {said}");
    }
    Ok(())
}

/// A full table makes ticks fail: the attacker does not fit.
fn failed_tick() -> Result<()> {
    let scene = Scene::set()?;
    let installation = scene.installation()?;
    let directory = scratch_directory("full")?;
    let place = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let (configuration, feed) = (place("mitigator.toml"), place("feed.txt"));
    fs::write(&configuration, "[capacities]\nblocks = 65536\n")?;
    let lines: Vec<String> = (0..65_536).map(|n| Ipv4Addr::from(0x0b00_0000 + n).to_string()).collect();
    fs::write(&feed, lines.join("\n"))?;
    let arguments = ["-i", scene.victim.name(), "--config", &configuration, "--interval", "3s"];
    let agent = installation.start(&arguments)?;
    installation.done(&["blocklist", "import", &feed])?;
    scene.flood(&[ATTACKER], 20_000, Duration::from_secs(4))?.finish()?;
    pause(Duration::from_secs(1));
    let failures = agent.log().matches("a tick failed").count();
    ensure!((1..=2).contains(&failures), "{failures} failed ticks in 5 s: {}", agent.log());
    agent.end()?;
    Ok(())
}

fn interface_gone() -> Result<()> {
    let scene = Scene::set()?;
    let installation = scene.installation()?;
    let host = &scene.victim_host;
    host.ip_batch(&["link add once type veth peer name other".to_owned()])?;
    let mut agent = installation.start(&["-i", scene.victim.name(), "-i", "once", "-i", "once"])?;
    ensure!(agent.wait_for("attached")?["interface"] == "once", "the other interface");
    host.ip_batch(&["link delete once".to_owned()])?;
    let alarm = agent.wait_for("alarm")?["message"].to_string();
    ensure!(alarm.contains("`once` is gone"), "{alarm}");
    host.ip_batch(&["link add once type veth peer name other".to_owned()])?;
    let attached = agent.wait_for("attached")?;
    ensure!(attached["interface"] == "once" && attached["is_adopted"] == false, "{attached}");
    let status = installation.json(&["status"])?["attached"].clone();
    ensure!(status.as_array().is_some_and(|rows| rows.len() == 2), "{status}");
    // Another program is there before the agent is: told once, however often it is tried.
    host.ip_batch(&["link delete once".to_owned()])?;
    agent.wait_for("alarm")?;
    let foreign = scene.installation()?;
    host.ip_batch(&["link add again type veth peer name other".to_owned()])?;
    foreign.start(&["-i", "again"])?.end()?;
    host.ip_batch(&["link set again name once".to_owned()])?;
    let alarm = agent.wait_for("alarm")?["message"].to_string();
    ensure!(alarm.contains("not mitigator's"), "{alarm}");
    pause(Duration::from_secs(5));
    let rest = agent.end()?;
    ensure!(rest.iter().all(|event| event["event"] == "summary"), "{rest:?}");
    Ok(())
}

fn hang_up() -> Result<()> {
    let scene = Scene::set()?;
    let installation = scene.installation()?;
    let mut agent = installation.start(&["-i", scene.victim.name()])?;
    installation.done(&["block", "198.51.100.1", "198.51.100.16/28"])?;
    agent.signal(Signal::SIGHUP)?;
    let summary = agent.wait_for("summary")?;
    ensure!(summary["standing_blocks"] == 2, "{summary}");
    agent.end()?;
    // Who starts it under `nohup` wants it to go on.
    let plain = installation.command(&["run", "-i", scene.victim.name()]);
    let mut command = scene.victim_host.command("sh");
    command.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]).arg(plain.get_program()).args(plain.get_args());
    let mut agent = Child::spawn(Child::piped(command))?;
    pause(Duration::from_secs(1));
    agent.signal(Signal::SIGHUP)?;
    let ended = agent.wait_for(Duration::from_millis(500))?;
    ensure!(ended.is_none(), "it ended although the signal is ignored: {ended:?}");
    ensure!(agent.end()?.success(), "the agent ended badly");
    Ok(())
}

/// As under `2>&1 | head -1`.
fn nobody_reads() -> Result<()> {
    let scene = Scene::set()?;
    let installation = scene.installation()?;
    let mut command = installation.command(&["run", "-i", scene.victim.name()]);
    let (reader, closed) = std::io::pipe()?;
    drop(reader);
    command.stdin(Stdio::null()).stdout(closed.try_clone()?).stderr(closed);
    let mut agent = Child::spawn(command)?;
    let ended = agent.wait_for(Duration::from_secs(2))?;
    ensure!(ended.is_none(), "the agent ended: {ended:?}");
    ensure!(agent.end()?.success(), "the agent ended badly");
    Ok(())
}

fn observing() -> Result<()> {
    let scene = Scene::set()?;
    let installation = scene.installation()?;
    let mut agent = installation.start(&["-i", scene.victim.name(), "--observe"])?;
    let flood = scene.flood(&[ATTACKER], 20_000, Duration::from_secs(2))?;
    let verdict = agent.wait_for("verdict")?;
    ensure!(verdict["decision"] == "observe" && verdict["target"] == ATTACKER.to_string(), "{verdict}");
    flood.finish()?;
    ensure!(dropped(&installation)? == 0, "packets were dropped");
    agent.end()?;
    Ok(())
}

fn allow_beats_block() -> Result<()> {
    let scene = Scene::set()?;
    let installation = scene.installation()?;
    let mut agent = installation.start(&["-i", scene.victim.name()])?;
    installation.done(&["block", "198.18.1.1", "198.18.1.0/24"])?;
    ensure!(!scene.reaches("198.18.1.1")?, "not blocked");
    installation.done(&["allow", "add", "198.18.1.1"])?;
    ensure!(scene.reaches("198.18.1.1")?, "allowed after the block, and blocked all the same");
    ensure!(
        installation.run(&["block", "198.18.1.1"])?.status == 2,
        "blocking an allowed address was not refused"
    );
    installation.done(&["block", "--force", "198.18.1.1"])?;
    ensure!(scene.reaches("198.18.1.1")?, "a forced block beats the allow list");
    installation.done(&["allow", "remove", "198.18.1.1"])?;
    ensure!(!scene.reaches("198.18.1.1")?, "no longer allowed, and not blocked");
    installation.done(&["allow", "add", &ATTACKER.to_string()])?;
    let flood = scene.flood(&[ATTACKER], 20_000, Duration::from_secs(2))?;
    let verdict = agent.wait_for("verdict")?;
    ensure!(verdict["decision"] == "observe", "an allowed source was blocked: {verdict}");
    flood.finish()?;
    ensure!(scene.reaches(&ATTACKER.to_string())?, "an allowed source is not reachable");
    agent.end()?;
    Ok(())
}

fn guard_rails() -> Result<()> {
    let scene = Scene::set()?;
    scene.victim_host.ip_batch(&["route add default via 198.18.1.1".to_owned()])?;
    let installation = scene.installation()?;
    let agent = installation.start(&["-i", scene.victim.name()])?;
    let listed = installation.json(&["allow", "list"])?;
    let reason_of = |prefix: &str| {
        let rows = listed["allowed"].as_array()?;
        rows.iter().find(|row| row["prefix"] == prefix).map(|row| row["reason"].clone())
    };
    for (prefix, reason) in
        [("198.18.0.1", "local address"), ("127.0.0.0/8", "local address"), ("198.18.1.1", "default gateway")]
    {
        ensure!(reason_of(prefix) == Some(reason.into()), "{prefix}: {listed}");
    }
    for (target, hint) in [
        ("198.18.0.1", "local address"),
        ("198.18.1.0/24", "default gateway"),
        ("10.0.0.0/8", "wider than /16"),
        ("2001::/16", "wider than"),
    ] {
        let refused = installation.run(&["block", target])?;
        ensure!(refused.status == 2 && refused.stderr.contains(hint), "{target}: {refused:?}");
    }
    installation.done(&["block", "--force", "198.18.1.0/24", "10.0.0.0/8"])?;
    ensure!(scene.reaches("198.18.1.1")?, "the gateway is blocked");
    agent.end()?;
    Ok(())
}

/// The agent stops, and only then somebody logs in: an SSH session is a connection to port 22.
fn guard_without_agent() -> Result<()> {
    let scene = Scene::set()?;
    let installation = scene.installation()?;
    installation.start(&["-i", scene.victim.name()])?.end()?;
    installation.done(&["allow", "add", "203.0.113.7"])?;
    let listener = scene.victim_host.enter(|| TcpListener::bind((VICTIM, 22)))??;
    let _session = scene.outside_host.enter(|| TcpStream::connect((VICTIM, 22)))??;
    let (_accepted, peer) = listener.accept()?;
    ensure!(peer.ip() == VISITOR, "{peer} logged in");
    let visitor = VISITOR.to_string();
    let refused = installation.run(&["block", &visitor])?;
    ensure!(refused.status == 2 && refused.stderr.contains("ssh session"), "{refused:?}");
    let feed = scratch_directory("feed")?;
    let file = feed.path().join("feed.txt");
    fs::write(&file, format!("{visitor}\n{ATTACKER}\n"))?;
    let path = file.to_str().context("the path is text")?;
    let imported = installation.json(&["blocklist", "import", path])?;
    ensure!(imported["imported"] == 2 && imported["excepted"] == 1, "{imported}");
    ensure!(scene.reaches(&visitor)?, "who is logged in is locked out");
    ensure!(!scene.reaches(&ATTACKER.to_string())?, "the attacker is not blocked");
    let allowed = installation.done(&["allow", "list"])?;
    ensure!(
        allowed.contains("203.0.113.7") && allowed.contains("127.0.0.0/8"),
        "entries are lost: {allowed}"
    );
    Ok(())
}

fn second_agent() -> Result<()> {
    let scene = Scene::set()?;
    let installation = scene.installation()?;
    let agent = installation.start(&["-i", scene.victim.name()])?;
    let status = installation.json(&["status"])?["agent"].clone();
    ensure!(status["running"] == true, "{status}");
    let process = format!("process {}", status["pid"]);
    let another_state = scratch_directory("state")?;
    for arguments in [&["run", "-i", scene.victim.name()][..], &["detach"]] {
        let said = scene.refused(arguments, installation.pins(), another_state.path())?;
        ensure!(said.contains(&process), "{arguments:?} beside {process}: {said}");
    }
    ensure!(installation.json(&["status"])?["attached"][0]["interface"] == scene.victim.name(), "detached");
    agent.end()?;
    Ok(())
}

/// As `status` does, for longer than it ever takes.
fn looking_on() -> Result<()> {
    let scene = Scene::set()?;
    let installation = scene.installation()?;
    installation.start(&["-i", scene.victim.name()])?.end()?;
    let looked_at = Flock::lock(File::open(installation.pins())?, FlockArg::LockSharedNonblock)
        .map_err(|(_, error)| error)
        .context("the stopped agent holds its lock")?;
    let looking = std::thread::spawn(move || {
        pause(Duration::from_millis(150));
        drop(looked_at);
    });
    let started = installation.start(&["-i", scene.victim.name()]);
    looking.join().map_err(|_| anyhow::anyhow!("the thread that looked on panicked"))?;
    started?.end()?;
    Ok(())
}

/// The first core that may be used.
fn generator_core() -> Result<Core> {
    Core::usable()?.first().copied().context("no core may be used")
}
