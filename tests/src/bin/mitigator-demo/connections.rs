//! Watches how many connections the web server holds.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mitigator_tests::lab::Host;

use crate::clock::{now, pause};

const STEP: Duration = Duration::from_millis(250);
/// As the kernel writes an established connection of port 80.
const PORT: &str = ":0050";
const ESTABLISHED: &str = "01";

/// How many there were at a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Level {
    pub(crate) at: Instant,
    pub(crate) connections: u32,
}

/// A watcher on a thread of its own.
pub(crate) struct ConnectionWatch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<Level>>>,
}

impl ConnectionWatch {
    /// Looks four times a second from here on.
    pub(crate) fn start(server: &Host) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, server) = (Arc::clone(&stop), server.clone());
        let thread = std::thread::spawn(move || {
            server.move_this_thread_inside()?;
            let mut levels = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let table = fs::read_to_string("/proc/thread-self/net/tcp")
                    .context("cannot read the server's connections")?;
                levels.push(Level { at: now(), connections: established(&table) });
                pause(STEP);
            }
            Ok(levels)
        });
        Self { stop, thread }
    }

    pub(crate) fn stop(self) -> Result<Vec<Level>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// Lines are `number: local remote state ...`.
fn established(table: &str) -> u32 {
    let is_served = |line: &&str| {
        let mut words = line.split_whitespace().skip(1);
        words.next().is_some_and(|local| local.ends_with(PORT)) && words.nth(1) == Some(ESTABLISHED)
    };
    u32::try_from(table.lines().filter(is_served).count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_established_connections_of_the_server() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue
   0: 010012C6:0050 00000000:0000 0A 00000000:00000000
   1: 010012C6:0050 0A0112C6:9C40 01 00000000:00000000
   2: 010012C6:0050 0A0112C6:9C41 06 00000000:00000000
   3: 010012C6:9C42 0A0112C6:0050 01 00000000:00000000\n";
        assert_eq!(established(table), 1);
    }
}
