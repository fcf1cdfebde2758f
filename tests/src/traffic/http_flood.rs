//! A flood of real HTTP requests over real connections, as fast as the server answers or at a stated rate.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use tokio::task::{JoinSet, LocalSet};

use super::flood::FloodRecord;
use super::frames::Pace;
use super::http::{Afterwards, Connection};
use super::http_clients::{HttpTarget, runtime_on};
use super::permit::Permit;
use crate::lab::{Core, Interface};

/// Connections that each attacker keeps busy at once.
const CONNECTIONS_PER_ATTACKER: u32 = 4;
/// Every second connection carries this many requests, the others one.
const REQUESTS_PER_CONNECTION: u32 = 20;
/// How long an attacker waits for a connection or an answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Counts what the conversations of a flood did.
#[derive(Clone, Debug)]
pub(super) struct Tally(Rc<RefCell<FloodRecord>>);

/// A flood of requests under way; dropping it stops it.
#[derive(Debug)]
pub struct HttpFlood {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<FloodRecord>>>,
}

impl HttpFlood {
    /// Starts to ask `target` from the addresses `attackers` behind `interface`, for `duration`. A stated pace is
    /// in requests per second over all of them; any other counts as [`Pace::Max`].
    ///
    /// # Errors
    ///
    /// When the interface is not a lab's veth, or the time is longer than [`super::LONGEST`].
    pub fn start(
        interface: &Interface,
        attackers: &[IpAddr],
        target: &HttpTarget,
        pace: &Pace,
        duration: Duration,
        core: Core,
        origin: Instant,
    ) -> Result<Self> {
        let (attackers, target) = (attackers.to_vec(), target.clone());
        let step = match pace {
            Pace::PerSecond(rate) => {
                let connections = CONNECTIONS_PER_ATTACKER * u32::try_from(attackers.len())?;
                Duration::from_secs(1).mul_f64(f64::from(connections) / f64::from((*rate).max(1)))
            }
            Pace::Max | Pace::At(_) | Pace::Pulses { .. } => Duration::ZERO,
        };
        Self::hold(interface, duration, core, origin, move |conversations, tally| {
            for number in 0..CONNECTIONS_PER_ATTACKER {
                for &attacker in &attackers {
                    let (target, tally) = (target.clone(), tally.clone());
                    conversations.spawn_local(keep_asking(attacker, target, number, step, tally));
                }
            }
        })
    }

    /// Holds the conversations that `begin` starts, on a thread behind `interface`, for `duration`.
    pub(super) fn hold(
        interface: &Interface,
        duration: Duration,
        core: Core,
        origin: Instant,
        begin: impl FnOnce(&mut JoinSet<()>, &Tally) + Send + 'static,
    ) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, readiness) = std::sync::mpsc::channel();
        let (stopped, interface) = (Arc::clone(&stop), interface.clone());
        let thread = std::thread::Builder::new().name("http-flood".to_owned()).spawn(move || {
            let runtime = Permit::obtain(&interface, duration).and_then(|_| runtime_on(core));
            let (runtime, told) = match runtime {
                Ok(runtime) => (Some(runtime), ready.send(Ok(()))),
                Err(error) => (None, ready.send(Err(error))),
            };
            let (Some(runtime), Ok(())) = (runtime, told) else { anyhow::bail!("the flood could not start") };
            let mut record = FloodRecord::new(origin);
            record.began = Some((now(), calendar()));
            let tally = Tally(Rc::new(RefCell::new(record)));
            let until = now() + duration;
            let attack = async {
                let mut conversations = JoinSet::new();
                begin(&mut conversations, &tally);
                while now() < until && !stopped.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                conversations.abort_all();
            };
            LocalSet::new().block_on(&runtime, attack);
            let mut record = tally.0.borrow().clone();
            record.ended = now();
            Ok(record)
        })?;
        readiness.recv().context("the flood could not start")??;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Waits until it has run its time.
    ///
    /// # Errors
    ///
    /// When it could not work.
    pub fn finish(mut self) -> Result<FloodRecord> {
        let thread = self.thread.take().context("a flood ends once")?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Stops it before its time.
    ///
    /// # Errors
    ///
    /// When it could not work.
    pub fn stop(self) -> Result<FloodRecord> {
        self.stop.store(true, Ordering::Relaxed);
        self.finish()
    }
}

impl Drop for HttpFlood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its outcome has nobody to go to.
            let _ = thread.join();
        }
    }
}

impl Tally {
    /// One more: an answer, or a connection.
    pub(super) fn count(&self) {
        self.0.borrow_mut().sent.add(now(), 1);
    }
}

/// Asks until aborted; every answer is counted.
async fn keep_asking(attacker: IpAddr, target: HttpTarget, number: u32, step: Duration, tally: Tally) {
    let mut due = now() + step.mul_f64(f64::from(number) / f64::from(CONNECTIONS_PER_ATTACKER));
    for round in number.. {
        let requests = if round % 2 == 0 { REQUESTS_PER_CONNECTION } else { 1 };
        if use_one_connection(attacker, &target, requests, step, &mut due, &tally).await.is_err() {
            // Refused or timed out at once would otherwise spin.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

async fn use_one_connection(
    attacker: IpAddr,
    target: &HttpTarget,
    requests: u32,
    step: Duration,
    due: &mut Instant,
    tally: &Tally,
) -> io::Result<()> {
    let server: SocketAddr = target.server;
    let mut connection = Some(tokio::time::timeout(PATIENCE, Connection::open(attacker, server)).await??);
    for left in (0..requests).rev() {
        let Some(open) = connection.take() else { break };
        if !step.is_zero() {
            tokio::time::sleep_until((*due).into()).await;
            *due = (*due + step).max(now());
        }
        let afterwards = if left == 0 { Afterwards::Close } else { Afterwards::KeepOpen };
        let path = target.paths[left as usize % target.paths.len()];
        connection = tokio::time::timeout(PATIENCE, open.get(path, afterwards)).await??;
        tally.count();
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a generator paces itself by the clock")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "the agent's verdicts carry calendar times to compare with")]
fn calendar() -> SystemTime {
    SystemTime::now()
}
