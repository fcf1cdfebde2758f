//! Legitimate visitors: each address asks for files of a web server, reuses its connection for a few of them, thinks
//! in between, and gives a file up after three seconds.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};
use tokio::task::{JoinSet, LocalSet};

use super::http::{Afterwards, Connection};
use super::permit::Permit;
use crate::lab::{Core, Interface};

/// From the start of one request to the start of the next: uniform around the mean, so that visitors do not march.
const SHORTEST_STEP_MS: u64 = 50;
const STEP_SPREAD_MS: u64 = 100;
/// Pages over one connection: 1 to this.
const MOST_PAGES_PER_CONNECTION: u64 = 8;
/// A person loads a page of so many files at once, over one connection, and reads it for a while.
const FILES_PER_PAGE: u64 = 6;
const SHORTEST_READING_MS: u64 = 500;
const READING_SPREAD_MS: u64 = 1_000;

/// What to ask for, and where.
#[derive(Clone, Debug)]
pub struct HttpTarget {
    /// The server.
    pub server: SocketAddr,
    /// Paths to choose from; those named twice are asked for twice as often.
    pub paths: Vec<&'static str>,
}

/// How a client goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// A file about ten times a second, so that few clients show every disturbance.
    Steady,
    /// A page of some files at once, then a second of reading, as a person does.
    Person,
    /// A file about ten times a second, each over a connection of its own from another address: the client's stands for
    /// [`ADDRESSES_OF_STRANGERS`] that begin with it.
    Strangers,
}

/// From so many addresses in a row do clients who are never the same come: more than they need in half a minute.
pub const ADDRESSES_OF_STRANGERS: u32 = 512;

/// One request of a legitimate client.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Who asked.
    pub client: IpAddr,
    /// When it began, connecting included.
    pub began: Instant,
    /// How long it took, or how long it was waited for.
    pub took: Duration,
    /// Whether the whole page came.
    pub answered: bool,
    /// Whether it went over a connection that was there before.
    pub over_established: bool,
}

/// All requests of some clients, in the order they ended.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    all: Vec<Request>,
}

/// Clients at work; dropping them stops them.
#[derive(Debug)]
pub struct HttpClients {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Requests>>>,
}

impl HttpClients {
    /// A page that takes longer counts as failed. TCP asks for a lost connection again after one second: a single
    /// lost packet shows as a slow page, as it does to people, two in a row as a failed one.
    pub const PATIENCE: Duration = Duration::from_secs(3);

    /// Starts one client per address of `clients`, behind `interface`, all on one thread on `core`. They work
    /// until stopped, but no longer than `at_most`.
    ///
    /// # Errors
    ///
    /// When the interface is not a lab's veth, or the time is longer than [`super::LONGEST`].
    pub fn start(
        interface: &Interface,
        clients: &[IpAddr],
        target: &HttpTarget,
        manner: Manner,
        at_most: Duration,
        core: Core,
    ) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, readiness) = std::sync::mpsc::channel();
        let (stopped, interface) = (Arc::clone(&stop), interface.clone());
        let (clients, target) = (clients.to_vec(), Arc::new(target.clone()));
        let thread = std::thread::Builder::new().name("http-clients".to_owned()).spawn(move || {
            let runtime = Permit::obtain(&interface, at_most).and_then(|_| runtime_on(core));
            let (runtime, told) = match runtime {
                Ok(runtime) => (Some(runtime), ready.send(Ok(()))),
                Err(error) => (None, ready.send(Err(error))),
            };
            let (Some(runtime), Ok(())) = (runtime, told) else {
                anyhow::bail!("the clients could not start")
            };
            let until = now() + at_most;
            let visits = async {
                let mut visitors = JoinSet::new();
                for (seed, client) in (0..).zip(clients) {
                    let (target, stop) = (Arc::clone(&target), Arc::clone(&stopped));
                    visitors.spawn_local(visit(client, manner, seed, target, stop, until));
                }
                visitors.join_all().await.into_iter().flatten().collect()
            };
            Ok(LocalSet::new().block_on(&runtime, visits))
        })?;
        readiness.recv().context("the clients could not start")??;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Stops them after the request each is at, and hands over what they did.
    ///
    /// # Errors
    ///
    /// When they could not work.
    pub fn stop(self) -> Result<Requests> {
        self.stop.store(true, Ordering::Relaxed);
        self.finish()
    }

    /// Waits until their time is over.
    ///
    /// # Errors
    ///
    /// When they could not work.
    pub fn finish(mut self) -> Result<Requests> {
        let thread = self.thread.take().context("clients stop once")?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for HttpClients {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // What they did has nobody to go to.
            let _ = thread.join();
        }
    }
}

impl FromIterator<Request> for Requests {
    fn from_iter<T: IntoIterator<Item = Request>>(requests: T) -> Self {
        let mut all: Vec<_> = requests.into_iter().collect();
        all.sort_unstable_by_key(|request| request.began + request.took);
        Self { all }
    }
}

impl Manner {
    /// Until a client of this manner asks first, once it is there.
    fn arrival(self, random: u64) -> Duration {
        Duration::from_millis(match self {
            Self::Steady | Self::Strangers => random % STEP_SPREAD_MS,
            Self::Person => random % READING_SPREAD_MS,
        })
    }

    /// Who asks as number `visit`.
    fn address(self, client: IpAddr, visit: u32) -> IpAddr {
        match (self, client) {
            (Self::Strangers, IpAddr::V4(first)) => {
                Ipv4Addr::from_bits(first.to_bits() + visit % ADDRESSES_OF_STRANGERS).into()
            }
            _ => client,
        }
    }

    /// Files over one connection.
    fn files(self, random: u64) -> u64 {
        match self {
            Self::Steady => 1 + random % MOST_PAGES_PER_CONNECTION,
            Self::Person => FILES_PER_PAGE,
            Self::Strangers => 1,
        }
    }

    /// From the start of one request to the start of the next, when `left` may follow over the connection.
    fn step(self, left: u64, random: u64) -> Duration {
        Duration::from_millis(match (self, left) {
            (Self::Steady | Self::Strangers, _) => SHORTEST_STEP_MS + random % STEP_SPREAD_MS,
            (Self::Person, 0) => SHORTEST_READING_MS + random % READING_SPREAD_MS,
            (Self::Person, _) => 0,
        })
    }
}

impl Requests {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Request> {
        self.all.iter()
    }

    /// Those that began at or after `from` and before `to`.
    #[must_use]
    pub fn begun_between(&self, from: Instant, to: Instant) -> Self {
        self.filtered(|request| (from..to).contains(&request.began))
    }

    /// Those that ended at or after `from` and before `to`.
    #[must_use]
    pub fn ended_between(&self, from: Instant, to: Instant) -> Self {
        self.filtered(|request| (from..to).contains(&(request.began + request.took)))
    }

    /// How many got their page.
    #[must_use]
    pub fn answered(&self) -> usize {
        self.all.iter().filter(|request| request.answered).count()
    }

    /// How many different clients got one.
    #[must_use]
    pub fn clients_answered(&self) -> usize {
        let answered = self.all.iter().filter(|request| request.answered);
        answered.map(|request| request.client).collect::<BTreeSet<_>>().len()
    }

    /// How many did not.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.all.len() - self.answered()
    }

    /// How many failed over a connection that was there before: connections that were lost.
    #[must_use]
    pub fn lost_connections(&self) -> usize {
        self.all.iter().filter(|request| request.over_established && !request.answered).count()
    }

    /// How many took more than `limit`, failed ones among them.
    #[must_use]
    pub fn slower_than(&self, limit: Duration) -> usize {
        self.all.iter().filter(|request| request.took > limit).count()
    }

    /// The share that did not get their page, 0 to 1; 0 when nobody asked.
    #[must_use]
    pub fn failed_share(&self) -> f64 {
        as_f64(self.failed()) / as_f64(self.all.len().max(1))
    }

    /// The time that `share` of the requests stayed within; failed ones count with the time they were waited for.
    /// `None` when nobody asked.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let mut took: Vec<_> = self.all.iter().map(|request| request.took).collect();
        took.sort_unstable();
        let rank = (as_f64(took.len()) * share).ceil().max(1.0);
        took.into_iter().enumerate().find(|(index, _)| as_f64(index + 1) >= rank).map(|(_, took)| took)
    }

    fn filtered(&self, keep: impl Fn(&Request) -> bool) -> Self {
        Self { all: self.all.iter().copied().filter(|request| keep(request)).collect() }
    }
}

/// A runtime for many small conversations on the calling thread, which stays on `core`.
pub(super) fn runtime_on(core: Core) -> Result<tokio::runtime::Runtime> {
    core.pin_this_thread()?;
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a runtime")
}

async fn visit(
    client: IpAddr,
    manner: Manner,
    seed: u64,
    target: Arc<HttpTarget>,
    stop: Arc<AtomicBool>,
    until: Instant,
) -> Vec<Request> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut requests = Vec::new();
    let mut connection: Option<Connection> = None;
    let mut pages_left = 0;
    let mut due = now() + manner.arrival(random.next_u64());
    let mut visits = 0;
    while due < until && !stop.load(Ordering::Relaxed) {
        tokio::time::sleep_until(due.into()).await;
        let path = target.paths[below(random.next_u64(), target.paths.len())];
        if connection.is_none() {
            pages_left = manner.files(random.next_u64());
        }
        pages_left -= 1;
        let afterwards = if pages_left > 0 { Afterwards::KeepOpen } else { Afterwards::Close };
        let client = manner.address(client, visits);
        visits += 1;
        let over_established = connection.is_some();
        let began = now();
        let page = fetch(connection.take(), client, target.server, path, afterwards);
        let result = tokio::time::timeout(HttpClients::PATIENCE, page).await;
        let answered = matches!(result, Ok(Ok(_)));
        let took = now().duration_since(began);
        requests.push(Request { client, began, took, answered, over_established });
        connection = result.ok().and_then(Result::ok).flatten();
        // A visitor who had to wait goes on from there, and does not make up for it.
        let left = if connection.is_some() { pages_left } else { 0 };
        due = (due + manner.step(left, random.next_u64())).max(now());
    }
    requests
}

async fn fetch(
    connection: Option<Connection>,
    client: IpAddr,
    server: SocketAddr,
    path: &str,
    afterwards: Afterwards,
) -> io::Result<Option<Connection>> {
    let connection = match connection {
        Some(connection) => connection,
        None => Connection::open(client, server).await?,
    };
    connection.get(path, afterwards).await
}

fn below(random: u64, bound: usize) -> usize {
    usize::try_from(random % bound as u64).expect("less than a usize")
}

fn as_f64(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

#[expect(clippy::disallowed_methods, reason = "latencies are measured by the clock")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_up_what_clients_saw() {
        let origin = now();
        let request = |began_ms, took_ms, answered| Request {
            client: IpAddr::from([198, 18, 1, 1]),
            began: origin + Duration::from_millis(began_ms),
            took: Duration::from_millis(took_ms),
            answered,
            over_established: began_ms > 0,
        };
        let requests =
            Requests { all: vec![request(0, 10, true), request(50, 60, true), request(90, 1000, false)] };
        let at = |ms| origin + Duration::from_millis(ms);
        assert_eq!((requests.answered(), requests.failed(), requests.clients_answered()), (2, 1, 1));
        assert_eq!(requests.lost_connections(), 1);
        assert_eq!(requests.slower_than(Duration::from_millis(10)), 2);
        assert_eq!(requests.quantile(0.5), Some(Duration::from_millis(60)));
        assert_eq!(requests.quantile(0.99), Some(Duration::from_millis(1000)));
        assert_eq!(requests.ended_between(at(0), at(100)).answered(), 1);
        assert_eq!(requests.begun_between(at(50), at(100)).failed(), 1);
        assert_eq!(Requests::default().quantile(0.99), None);
    }
}
