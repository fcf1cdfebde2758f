//! What is done with the rest of a body that is not needed, as where its request is refused: some of it is read, because a
//! sender that is cut off while it sends may never come to read the answer.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header::EXPECT;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::StreamExt;
use hyper::body::{Frame, SizeHint};
use tokio::time::timeout;

/// Most of the rest that is read: a capture of the default limit. It is counted, not kept.
const BYTES: usize = 256 << 20;
/// Longest that is read.
const TIME: Duration = Duration::from_secs(2);

/// A body that can be read on when its first reader is gone.
#[derive(Clone)]
struct Shared {
    body: Arc<Mutex<Body>>,
    is_begun: Arc<AtomicBool>,
}

impl HttpBody for Shared {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.is_begun.store(true, Ordering::Relaxed);
        let mut body = self.body.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut *body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.lock().unwrap_or_else(PoisonError::into_inner).size_hint()
    }
}

/// Lets a refusal wait until its sender can hear it.
pub(super) async fn drain(request: Request, next: Next) -> Response {
    let waits_for_word = request.headers().contains_key(EXPECT);
    let (parts, body) = request.into_parts();
    let shared = Shared { body: Arc::new(Mutex::new(body)), is_begun: Arc::default() };
    let response = next.run(Request::from_parts(parts, Body::new(shared.clone()))).await;
    // Who waits to be told to send has sent nothing.
    let is_coming = shared.is_begun.load(Ordering::Relaxed) || !waits_for_word;
    if response.status().is_client_error() && is_coming && !shared.is_end_stream() {
        rest(&mut Body::new(shared).into_data_stream()).await;
    }
    response
}

/// Reads some of what is left.
pub(super) async fn rest(body: &mut BodyDataStream) {
    let mut left = BYTES;
    let _ = timeout(TIME, async {
        while left > 0
            && let Some(Ok(piece)) = body.next().await
        {
            left = left.saturating_sub(piece.len());
        }
    })
    .await;
}
