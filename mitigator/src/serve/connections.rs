//! The connections: accepted up to a limit, served, and let go in good order when the server is to stop.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::limits::{self, Limits};

/// After a failed `accept`, which is most often for want of file descriptors, until the next.
const RESPITE: Duration = Duration::from_millis(100);

/// Who is at the other end; each request bears it.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    end: Arc<Notify>,
}

impl Peer {
    /// Closes the connection, whatever is under way.
    pub(super) fn cut_off(&self) {
        self.end.notify_one();
    }
}

/// Serves until `stopping` turns true, then lets what is under way come to its end for as long as `limits` grant; `true`
/// when all of it did.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: &Limits,
    mut stopping: watch::Receiver<bool>,
) -> bool {
    let places = Arc::new(Semaphore::new(limits.connections));
    loop {
        let accepted = async { (Arc::clone(&places).acquire_owned().await, listener.accept().await) };
        let (place, accepted) = tokio::select! {
            biased;
            _ = stopping.wait_for(|is_stopping| *is_stopping) => break,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let peer = Peer { address, end: Arc::default() };
                let connection = connection(stream, peer, router.clone(), limits.idle, stopping.clone());
                tokio::spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                sleep(RESPITE).await;
            }
        }
    }
    drop(listener);
    // When every place is free, nobody is there any more.
    let everybody = places.acquire_many(u32::try_from(limits.connections).unwrap_or(u32::MAX));
    timeout(limits.grace, everybody).await.is_ok()
}

async fn connection(
    stream: TcpStream,
    peer: Peer,
    router: Router,
    idle: Duration,
    mut stopping: watch::Receiver<bool>,
) {
    // Events are short, and each is wanted at once.
    let _ = stream.set_nodelay(true);
    // Whoever does not read what was sent is let go by the kernel (Linux 2.6.37), whatever kind of answer it is.
    let patience = u32::try_from(idle.as_millis()).unwrap_or(u32::MAX);
    let _ = setsockopt(&stream, sockopt::TcpUserTimeout, &patience);
    let router = TowerToHyperService::new(router);
    let end = Arc::clone(&peer.end);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEADER)
        .max_buf_size(limits::HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let stop = async {
        let _ = stopping.wait_for(|is_stopping| *is_stopping).await;
    };
    let served = async {
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    let ended = tokio::select! {
        ended = served => ended,
        () = end.notified() => {
            tracing::debug!("a connection was cut off: its answer was not read in time");
            return;
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection ended early: {error}");
    }
}
