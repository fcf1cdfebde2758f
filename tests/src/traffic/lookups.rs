//! The server's own look-ups of names: it asks name servers outside over UDP, as a resolver does, the same one again
//! and again and in between one after the other of many. Answers are small, or large enough to come in fragments.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::net::UdpSocket;
use tokio::task::{JoinSet, LocalSet};

use super::http_clients::{Request, Requests, runtime_on};
use super::permit::Permit;
use crate::lab::{Core, Interface};

const DNS_PORT: u16 = 53;
/// Between two questions.
const STEP: Duration = Duration::from_millis(50);
/// An answer that takes longer counts as none.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of answers; every fourth is large.
const SMALL: usize = 120;
const LARGE: usize = 3_000;
const QUESTION: usize = 40;

/// A server that asks, and name servers that answer; dropping it stops both.
#[derive(Debug)]
pub struct Lookups {
    stop: Arc<AtomicBool>,
    asking: Option<JoinHandle<Result<Requests>>>,
    answering: Option<JoinHandle<Result<Requests>>>,
}

/// A side of the conversation: where it stands, and on which core.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// Its interface.
    pub interface: &'a Interface,
    /// Its core.
    pub core: Core,
}

impl Lookups {
    /// Has `asker` ask `name_servers`, addresses of `answerer`, until stopped, but no longer than `at_most`. The
    /// first of them is asked every other time.
    ///
    /// # Errors
    ///
    /// When an interface is not a lab's veth, an address is not there, or the time is longer than
    /// [`super::LONGEST`].
    pub fn start(
        asker: Side<'_>,
        answerer: Side<'_>,
        name_servers: &[IpAddr],
        at_most: Duration,
    ) -> Result<Self> {
        let Some((usual, others)) = name_servers.split_first() else { bail!("there is no name server") };
        let stop = Arc::new(AtomicBool::new(false));
        let (servers, stopped) = (name_servers.to_vec(), Arc::clone(&stop));
        let answering = on_a_thread("name-servers", answerer, at_most, move || answer_all(servers, stopped))?;
        let (usual, others, stopped) = (*usual, others.to_vec(), Arc::clone(&stop));
        let until = now() + at_most;
        let asking = on_a_thread("look-ups", asker, at_most, move || ask_all(usual, others, until, stopped))?;
        Ok(Self { stop, asking: Some(asking), answering: Some(answering) })
    }

    /// Stops it; every question with what became of it. Its client is the name server.
    ///
    /// # Errors
    ///
    /// When it could not work.
    pub fn stop(mut self) -> Result<Requests> {
        self.stop.store(true, Ordering::Relaxed);
        let mut questions = Requests::default();
        for thread in [self.answering.take(), self.asking.take()].into_iter().flatten() {
            questions = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(questions)
    }
}

impl Drop for Lookups {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in [self.asking.take(), self.answering.take()].into_iter().flatten() {
            // What they did has nobody to go to.
            let _ = thread.join();
        }
    }
}

fn on_a_thread<Work: Future<Output = Result<Requests>>>(
    name: &str,
    side: Side<'_>,
    at_most: Duration,
    work: impl FnOnce() -> Work + Send + 'static,
) -> Result<JoinHandle<Result<Requests>>> {
    let (ready, readiness) = std::sync::mpsc::channel();
    let (interface, core) = (side.interface.clone(), side.core);
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let runtime = Permit::obtain(&interface, at_most).and_then(|_| runtime_on(core));
        let (runtime, told) = match runtime {
            Ok(runtime) => (Some(runtime), ready.send(Ok(()))),
            Err(error) => (None, ready.send(Err(error))),
        };
        let (Some(runtime), Ok(())) = (runtime, told) else { bail!("the look-ups could not start") };
        LocalSet::new().block_on(&runtime, work())
    })?;
    readiness.recv().context("the look-ups could not start")??;
    Ok(thread)
}

async fn answer_all(servers: Vec<IpAddr>, stop: Arc<AtomicBool>) -> Result<Requests> {
    let mut answering = JoinSet::new();
    for server in servers {
        let address = SocketAddr::new(server, DNS_PORT);
        let socket = UdpSocket::bind(address).await.with_context(|| format!("cannot answer at {address}"))?;
        answering.spawn_local(answer(socket));
    }
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(STEP).await;
    }
    answering.abort_all();
    Ok(Requests::default())
}

/// Answers until aborted; a question's fourth byte says how large.
async fn answer(socket: UdpSocket) {
    let mut question = [0; 512];
    while let Ok((_, asker)) = socket.recv_from(&mut question).await {
        let size = if question[3] % 4 == 0 { LARGE } else { SMALL };
        let mut answer = question.to_vec();
        answer.resize(size, 0);
        // Nobody to answer is the asker's loss.
        let _ = socket.send_to(&answer, asker).await;
    }
}

async fn ask_all(
    usual: IpAddr,
    others: Vec<IpAddr>,
    until: Instant,
    stop: Arc<AtomicBool>,
) -> Result<Requests> {
    let mut asked = JoinSet::new();
    let mut others = others.into_iter().cycle();
    let mut due = now();
    for number in (0..=u8::MAX).cycle() {
        if due >= until || stop.load(Ordering::Relaxed) {
            break;
        }
        let server = if number % 2 == 0 { usual } else { others.next().unwrap_or(usual) };
        asked.spawn_local(async move {
            let began = now();
            let answer = tokio::time::timeout(PATIENCE, ask(server, number / 2)).await;
            let answered = matches!(answer, Ok(Ok(())));
            Request {
                client: server,
                began,
                took: now().duration_since(began),
                answered,
                over_established: false,
            }
        });
        due += STEP;
        tokio::time::sleep_until(due.into()).await;
    }
    Ok(asked.join_all().await.into_iter().collect())
}

async fn ask(server: IpAddr, number: u8) -> io::Result<()> {
    let any: IpAddr = if server.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect((server, DNS_PORT)).await?;
    let mut question = [0; QUESTION];
    question[3] = number;
    socket.send(&question).await?;
    let mut answer = [0; LARGE];
    let length = socket.recv(&mut answer).await?;
    if answer[..length].starts_with(&question[..4]) { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

#[expect(clippy::disallowed_methods, reason = "latencies are measured by the clock")]
fn now() -> Instant {
    Instant::now()
}
