//! An answer that may be long, as it goes out: piece by piece, holding what it takes up until the last piece is gone, and
//! no longer than the time for its request.

use std::convert::Infallible;
use std::future::Future;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::connections::Peer;

/// Of what is not sent yet, so much at a time is handed to the connection.
const PIECE: usize = 64 * 1024;

/// JSON that holds `held` until it is sent. Whoever has not read it by `deadline` loses the connection: one that reads a
/// little now and then would hold it for days.
pub(super) fn long(json: Vec<u8>, held: impl Send + 'static, peer: Peer, deadline: Instant) -> Response {
    let length = HeaderValue::from(json.len());
    let kept = (held, when(deadline, async move { peer.cut_off() }));
    let pieces = stream::unfold((Bytes::from(json), kept), |(mut rest, kept)| async move {
        let piece = rest.split_to(rest.len().min(PIECE));
        (!piece.is_empty()).then_some((Ok::<_, Infallible>(piece), (rest, kept)))
    });
    let headers = [(CONTENT_TYPE, HeaderValue::from_static("application/json")), (CONTENT_LENGTH, length)];
    (StatusCode::OK, headers, Body::from_stream(pieces)).into_response()
}

/// Does something at that time, unless what it returns is dropped before.
fn when(time: Instant, then: impl Future<Output = ()> + Send + 'static) -> JoinSet<()> {
    let mut timer = JoinSet::new();
    timer.spawn(async move {
        sleep_until(time).await;
        then.await;
    });
    timer
}
