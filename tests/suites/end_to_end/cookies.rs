//! A forged flood of SYN packets while a limit answers them with cookies: the real listener accepts who sends the
//! cookie back, and who is known reaches the listener itself.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mitigator::clock::Clock;
use mitigator::kernel::pins::Pins;
use mitigator::kernel::xdp::XdpDataPlane;
use mitigator::pipeline::limits::NewLimit;
use mitigator::pipeline::time::Timestamp;
use mitigator_common::{PacketKind, Signature, Source};
use mitigator_tests::lab::{Host, Offload, Switch};
use mitigator_tests::traffic::{Flood, Frames, Pace};
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrStorage, setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use super::{
    ATTACKER, PORT, Scene, VICTIM, VICTIM_V6, VISITOR, VISITOR_V6, generator_core, now, number, pause,
};

/// Half-open connections that the listener holds until its queue is full.
const QUEUE: &str = "16";
/// Less than it takes until an opening is sent again.
const AT_ONCE: Duration = Duration::from_millis(900);
const STRANGER: &str = "198.18.2.9";
/// Of the victim, and on its allow list for that.
const GATEWAY: &str = "198.18.9.1";

/// Who connects while the attack is on.
struct Row {
    description: &'static str,
    client: IpAddr,
    server: IpAddr,
    port: u16,
    /// Openings that reach the host: none where they are answered in place of the listener.
    openings: u32,
}

pub fn native() -> Result<()> {
    listeners_accept_cookies("native")
}

pub fn generic() -> Result<()> {
    listeners_accept_cookies("generic")
}

fn listeners_accept_cookies(mode: &str) -> Result<()> {
    let scene = Scene::set()?;
    scene.outside.add_addresses(&[format!("{STRANGER}/16").parse()?])?;
    scene.victim.add_neighbours(&[STRANGER.parse()?, GATEWAY.parse()?], scene.outside.mac())?;
    let _elsewhere = scene.outside.drop_what_goes_elsewhere()?;
    // So that checksums are on the wire, and checked.
    scene.outside.set_offload(Offload::SendChecksums, Switch::Off)?;
    scene.victim.set_offload(Offload::SendChecksums, Switch::Off)?;
    scene.victim_host.sysctl("net/core/somaxconn", QUEUE)?;
    // A listener takes up only whom it could answer.
    scene.victim_host.ip_batch(&[format!("route add default via {GATEWAY}")])?;
    let installation = scene.installation()?;
    // The limit is the trial's own, and no agent's.
    installation.start(&["-i", scene.victim.name(), "--xdp-mode", mode])?.end()?;
    let flooded = listen(&scene.victim_host, PORT)?;
    let spared = listen(&scene.victim_host, PORT + 1)?;
    let known: IpAddr = ATTACKER.into();
    talk(&scene, &flooded, known, (VICTIM, PORT).into()).context("before the attack")?;
    let plane = XdpDataPlane::open(&Pins::below(installation.pins()))?;
    let limit = NewLimit {
        signature: Signature::new(PacketKind::TcpSyn, PORT),
        packets_per_second: 0.0,
        since: Clock::now().monotonic(),
        until: Timestamp::from_ns(u64::MAX),
        answers: true,
    };
    scene.victim_host.enter(|| plane.blocks().set_limits(&[limit], &[]))??;
    let frames = Frames::syn_of_forged_sources(scene.addressing(), PORT, 1)?;
    let (pace, length) = (Pace::PerSecond(2_000), Duration::from_secs(20));
    let flood = Flood::start(&scene.outside, frames, pace, length, generator_core()?, now())?;
    pause(Duration::from_millis(300));
    let (v4, v6): (IpAddr, IpAddr) = (VICTIM.into(), VICTIM_V6.parse()?);
    let row =
        |description, client, server, port, openings| Row { description, client, server, port, openings };
    for Row { description, client, server, port, openings } in [
        row("IPv4", VISITOR.into(), v4, PORT, 0),
        row("IPv6", VISITOR_V6.parse()?, v6, PORT, 0),
        row("somebody known", known, v4, PORT, 1),
        row("who came back with a cookie", VISITOR.into(), v4, PORT, 1),
        row("another port", STRANGER.parse()?, v4, PORT + 1, 1),
    ] {
        let counted = || -> Result<u32> {
            Ok(plane.sources().get(Source::from(client))?.map_or(0, |row| row.tcp_syn_packets))
        };
        let before = counted()?;
        let listener = if port == PORT { &flooded } else { &spared };
        talk(&scene, listener, client, (server, port).into()).context(description)?;
        let found = counted()? - before;
        ensure!(found == openings, "{description}: {found} openings reached the host");
    }
    let sent = flood.stop()?.sent.total();
    let answered = number(&installation.json(&["status"])?["outcomes"]["answer_cookie"]);
    ensure!(answered * 10 > sent * 9, "{answered} of {sent} forged openings were answered");
    Ok(())
}

/// For both families.
fn listen(host: &Host, port: u16) -> Result<TcpListener> {
    let listener = host.enter(|| TcpListener::bind(("::", port)))?.context("cannot listen")?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// A connection from `client` on which both sides say something, with the first opening that is sent.
fn talk(scene: &Scene, listener: &TcpListener, client: IpAddr, server: SocketAddr) -> Result<()> {
    let mut asking = scene.outside_host.enter(|| connect(client, server))??;
    asking.set_read_timeout(Some(AT_ONCE))?;
    asking.write_all(b"a question")?;
    let mut answering = accept(listener)?;
    answering.set_read_timeout(Some(AT_ONCE))?;
    let mut heard = [0; 10];
    answering.read_exact(&mut heard).context("the listener hears nothing")?;
    answering.write_all(&heard)?;
    asking.read_exact(&mut heard).context("no answer")?;
    ensure!(&heard == b"a question", "{heard:?}");
    Ok(())
}

/// Gives up before the opening is sent again.
fn connect(client: IpAddr, server: SocketAddr) -> Result<TcpStream> {
    let family = if client.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket::socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let patience = TimeVal::milliseconds(i64::try_from(AT_ONCE.as_millis())?);
    setsockopt(&socket, sockopt::SendTimeout, &patience)?;
    socket::bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(client, 0)))?;
    socket::connect(socket.as_raw_fd(), &SockaddrStorage::from(server)).context("no connection")?;
    Ok(TcpStream::from(socket))
}

fn accept(listener: &TcpListener) -> Result<TcpStream> {
    for _ in 0..90 {
        match listener.accept() {
            Ok((stream, _)) => return Ok(stream),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => pause(Duration::from_millis(10)),
            Err(error) => return Err(error.into()),
        }
    }
    anyhow::bail!("the listener was not told of the connection")
}
