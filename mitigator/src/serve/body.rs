//! The body of a request as what the blocking parsers read: piece by piece through a channel with little room, so that
//! whoever sends faster than is parsed has to wait, and nothing is held whole.
//!
//! [`Feeder`] takes the pieces off the network, within limits; [`BodyReader`] hands them out on another thread;
//! [`Rationed`] counts what comes out of the compression.

use std::future::Future;
use std::io::{self, Read};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::Request;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use axum::http::{HeaderMap, StatusCode};
use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use super::drain;
use super::refusal::Refusal;

/// Pieces that wait to be parsed; hyper reads up to some 400 KiB at a time.
const ROOM: usize = 4;

/// Why a body did not arrive whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    TooLong {
        most_bytes: u64,
    },
    Idle(Duration),
    Broken(String),
    /// The server is to stop.
    Stopped,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLong { most_bytes } => {
                write!(f, "the body is longer than {most_bytes} bytes, which is the limit")
            }
            Self::Idle(time) => {
                write!(f, "no byte of the body came for {}", humantime::format_duration(*time))
            }
            Self::Broken(why) => write!(f, "the body broke off: {why}"),
            Self::Stopped => f.write_str("the server stops"),
        }
    }
}

impl std::error::Error for Fault {}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        let status = match fault {
            Fault::TooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Fault::Idle(_) => StatusCode::REQUEST_TIMEOUT,
            Fault::Broken(_) => StatusCode::BAD_REQUEST,
            Fault::Stopped => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, fault.to_string())
    }
}

/// Bytes of a body and time between them that are put up with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) most_bytes: u64,
    pub(super) idle: Duration,
}

/// A body being read within limits.
struct Pieces {
    body: BodyDataStream,
    patience: Patience,
    bytes: u64,
}

impl Pieces {
    fn of(body: Body, patience: Patience) -> Self {
        Self { body: body.into_data_stream(), patience, bytes: 0 }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        let Patience { most_bytes, idle } = self.patience;
        match timeout(idle, self.body.next()).await {
            Err(_) => Err(Fault::Idle(idle)),
            Ok(None) => Ok(None),
            Ok(Some(Err(error))) => Err(Fault::Broken(error.to_string())),
            Ok(Some(Ok(piece))) => {
                self.bytes += piece.len() as u64;
                if self.bytes > most_bytes { Err(Fault::TooLong { most_bytes }) } else { Ok(Some(piece)) }
            }
        }
    }
}

/// The length that a body has by its header, if that says one.
pub(super) fn announced(request: &Request) -> Option<u64> {
    request.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// What says itself that it is too long need not be read.
pub(super) fn refuse_announced(request: &Request, most_bytes: u64) -> Result<(), Refusal> {
    match announced(request) {
        Some(length) if length > most_bytes => {
            Err(Refusal::too_large(format!("the body is {length} bytes long; the limit is {most_bytes}")))
        }
        _ => Ok(()),
    }
}

/// A body in an encoding that is none of `known` would be taken for what it is not.
pub(super) fn require_encoding(headers: &HeaderMap, known: &[&str]) -> Result<(), Refusal> {
    let named = headers.get_all(CONTENT_ENCODING).into_iter();
    let named = named.map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_ascii_lowercase());
    match named.into_iter().find(|name| name != "identity" && !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("a body with the content encoding `{name}` is not understood here; send it as it is"),
        )),
    }
}

/// The whole of a body that is short.
pub(super) async fn whole(body: Body, patience: Patience) -> Result<Vec<u8>, Fault> {
    let mut pieces = Pieces::of(body, patience);
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

enum Piece {
    Bytes(Bytes),
    End,
    Fault(Fault),
}

/// Takes a body off the network for a [`BodyReader`].
pub(super) struct Feeder(mpsc::Sender<Piece>);

/// A body, for whoever reads with blocking calls. Without its [`Feeder`] it breaks off.
pub(super) struct BodyReader {
    pieces: mpsc::Receiver<Piece>,
    current: Bytes,
    has_ended: bool,
}

/// Both ends of a body.
pub(super) fn channel() -> (Feeder, BodyReader) {
    let (sender, pieces) = mpsc::channel(ROOM);
    (Feeder(sender), BodyReader { pieces, current: Bytes::new(), has_ended: false })
}

impl Feeder {
    /// Feeds the reader until the body ends, or the reader has enough or is not wanted any more. A fault is told to both
    /// sides. Of a body that is too long, or that the reader does not want, some of the rest is read. The end of `stop`
    /// breaks it off.
    pub(super) async fn feed(
        self,
        body: Body,
        patience: Patience,
        wanted: Wanted,
        stop: impl Future<Output = ()>,
    ) -> Result<(), Fault> {
        let mut pieces = Pieces::of(body, patience);
        let mut stop = pin!(stop);
        loop {
            let next = tokio::select! {
                next = pieces.next() => next,
                () = self.0.closed() => {
                    drain::rest(&mut pieces.body).await;
                    return Ok(());
                }
                () = wanted.lost() => return Ok(()),
                () = stop.as_mut() => Err(Fault::Stopped),
            };
            let (piece, came_to) = match next {
                Ok(Some(bytes)) => (Piece::Bytes(bytes), None),
                Ok(None) => (Piece::End, Some(Ok(()))),
                Err(fault) => (Piece::Fault(fault.clone()), Some(Err(fault))),
            };
            let reader_is_gone = self.0.send(piece).await.is_err();
            match came_to {
                Some(Err(fault @ Fault::TooLong { .. })) => {
                    drain::rest(&mut pieces.body).await;
                    return Err(fault);
                }
                Some(came_to) => return came_to,
                None if reader_is_gone => {
                    drain::rest(&mut pieces.body).await;
                    return Ok(());
                }
                None => {}
            }
        }
    }
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.has_ended {
            match self.pieces.blocking_recv() {
                Some(Piece::Bytes(bytes)) => self.current = bytes,
                Some(Piece::End) => self.has_ended = true,
                Some(Piece::Fault(fault)) => return Err(io::Error::other(fault)),
                None => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
        let length = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

/// Tells threads that nobody waits for them any more, when it is dropped.
pub(super) struct Waiting(Wanted);

impl Waiting {
    pub(super) fn new() -> Self {
        Self(Wanted::default())
    }

    /// For whoever works for it.
    pub(super) fn watch(&self) -> Wanted {
        self.0.clone()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.lose();
    }
}

/// Whether what is worked out is still wanted.
#[derive(Clone, Default)]
pub(super) struct Wanted(Arc<Interest>);

#[derive(Default)]
struct Interest {
    is_lost: AtomicBool,
    loss: Notify,
}

impl Wanted {
    /// From now on nobody wants it, be it who asked or who works it out. The one [`Feeder`] ends, and whoever reads
    /// what it feeds.
    pub(super) fn lose(&self) {
        self.0.is_lost.store(true, Ordering::Relaxed);
        self.0.loss.notify_one();
    }

    fn is_lost(&self) -> bool {
        self.0.is_lost.load(Ordering::Relaxed)
    }

    /// Comes to its end when it is lost. For one at a time.
    async fn lost(&self) {
        self.0.loss.notified().await;
    }
}

/// What comes out of the compression, up to a limit, and while somebody waits for it: a few bytes may stand for very many.
pub(super) struct Rationed<R> {
    reader: R,
    left: u64,
    most_bytes: u64,
    is_exceeded: Arc<AtomicBool>,
    wanted: Wanted,
}

impl<R: Read> Rationed<R> {
    pub(super) fn new(reader: R, most_bytes: u64, wanted: &Wanted) -> Self {
        let is_exceeded = Arc::default();
        Self { reader, left: most_bytes, most_bytes, is_exceeded, wanted: wanted.clone() }
    }

    /// Turns true when there was more than the limit.
    pub(super) fn is_exceeded(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_exceeded)
    }
}

impl<R: Read> Read for Rationed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.wanted.is_lost() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let length = self.reader.read(buffer)?;
        let Some(left) = self.left.checked_sub(length as u64) else {
            self.is_exceeded.store(true, Ordering::Relaxed);
            let why = format!("uncompressed it is longer than {} bytes, which is the limit", self.most_bytes);
            return Err(io::Error::other(why));
        };
        self.left = left;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::{FutureExt, pending, ready};
    use std::io::Cursor;
    use std::sync::Mutex;

    const PATIENCE: Patience = Patience { most_bytes: 10, idle: Duration::from_millis(50) };

    async fn read(
        pieces: Vec<Result<&'static str, &'static str>>,
    ) -> (Result<(), Fault>, io::Result<String>) {
        let pieces = pieces.into_iter().map(|piece| piece.map(Bytes::from).map_err(io::Error::other));
        let (feeder, mut reader) = channel();
        let reading = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text)
        });
        let body = Body::from_stream(futures_util::stream::iter(pieces));
        let fed = feeder.feed(body, PATIENCE, Wanted::default(), pending()).await;
        (fed, reading.await.unwrap())
    }

    #[tokio::test]
    async fn a_body_arrives_whole_or_both_sides_hear_why_not() {
        let (fed, text) = read(vec![Ok("0123"), Ok(""), Ok("456789")]).await;
        assert_eq!((fed, text.unwrap().as_str()), (Ok(()), "0123456789"));
        let (fed, text) = read(vec![Ok("01234"), Ok("567890")]).await;
        assert_eq!(fed, Err(Fault::TooLong { most_bytes: 10 }));
        assert!(text.unwrap_err().to_string().contains("longer than 10 bytes"));
        let (fed, text) = read(vec![Ok("0"), Err("cut")]).await;
        assert!(matches!(fed, Err(Fault::Broken(_))) && text.is_err());
    }

    #[tokio::test]
    async fn a_sender_that_pauses_too_long_or_a_stop_ends_it() {
        let body = || Body::from_stream(futures_util::stream::pending::<io::Result<Bytes>>());
        let (wanted, lost) = (Wanted::default(), Wanted::default());
        lost.lose();
        for (description, wanted, stop, expected) in [
            ("a pause", &wanted, pending().left_future(), Err(Fault::Idle(PATIENCE.idle))),
            ("a stop", &wanted, ready(()).right_future(), Err(Fault::Stopped)),
            ("nobody wants it", &lost, pending().left_future(), Ok(())),
        ] {
            let (feeder, _reader) = channel();
            assert_eq!(feeder.feed(body(), PATIENCE, wanted.clone(), stop).await, expected, "{description}");
        }
    }

    #[tokio::test]
    async fn of_what_the_reader_does_not_want_the_rest_is_read_within_bounds() {
        for (description, pieces, is_read_up) in
            [("a little", 100, true), ("more than is put up with", 100_000, false)]
        {
            let (feeder, reader) = channel();
            drop(reader);
            let left = Arc::new(Mutex::new(pieces));
            let count = Arc::clone(&left);
            let body = Body::from_stream(futures_util::stream::iter((0..pieces).map(move |_| {
                *count.lock().unwrap() -= 1;
                Ok::<_, io::Error>(Bytes::from_static(&[0; 1 << 16]))
            })));
            let patience = Patience { most_bytes: u64::MAX, idle: Duration::from_secs(9) };
            let fed = feeder.feed(body, patience, Wanted::default(), pending()).await;
            assert_eq!(fed, Ok(()), "{description}");
            assert_eq!(*left.lock().unwrap() == 0, is_read_up, "{description}");
        }
    }

    #[test]
    fn a_feeder_that_is_gone_is_no_end() {
        let (feeder, mut reader) = channel();
        drop(feeder);
        assert_eq!(reader.read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }

    #[test]
    fn no_more_comes_out_than_the_ration_and_nothing_for_nobody() {
        for (length, fits) in [(9, true), (10, true), (11, false)] {
            let mut rationed = Rationed::new(Cursor::new(vec![7; length]), 10, &Waiting::new().watch());
            // Of a `Waiting` that is dropped at once, nothing is read.
            assert!(rationed.read(&mut [0; 4]).is_err());
            let waiting = Waiting::new();
            rationed = Rationed::new(Cursor::new(vec![7; length]), 10, &waiting.watch());
            let exceeded = rationed.is_exceeded();
            assert_eq!(rationed.read_to_end(&mut Vec::new()).is_ok(), fits, "{length}");
            assert_eq!(exceeded.load(Ordering::Relaxed), !fits, "{length}");
        }
    }
}
