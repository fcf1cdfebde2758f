//! `GET /api/events`: each malicious flow and each verdict as it is found, whoever's request it was found in; as
//! WebSocket for who asks for one, else as server-sent events. Both carry the same JSON objects.
//!
//! Nobody waits for a slow listener: who is more than [`KEPT`] events behind is told how many it missed.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::http::header::UPGRADE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};
use tokio::time::interval;

use super::Service;
use super::limits;
use super::refusal::{ErrorBody, Refusal};

/// Events that a listener may be behind.
const KEPT: usize = 4_096;
/// A listener has nothing to say.
const LONGEST_MESSAGE_BYTES: usize = 4_096;

/// Something that was found, as it is told to everybody.
#[derive(Clone, Debug)]
pub(super) struct Told {
    kind: &'static str,
    /// One object, on one line.
    pub(super) json: Utf8Bytes,
}

/// Where events come from and go to.
#[derive(Debug)]
pub(super) struct Hub {
    sender: broadcast::Sender<Told>,
}

impl Hub {
    pub(super) fn new() -> Self {
        Self { sender: broadcast::channel(KEPT).0 }
    }

    /// Whether anybody listens.
    pub(super) fn is_heard(&self) -> bool {
        self.sender.receiver_count() > 0
    }

    /// Tells everybody who listens; what was told is for whoever asked.
    pub(super) fn tell(&self, kind: &'static str, event: &impl Serialize) -> serde_json::Result<Told> {
        let json = serde_json::to_string(event)?.into();
        let told = Told { kind, json };
        // That nobody listens is no error.
        let _ = self.sender.send(told.clone());
        Ok(told)
    }

    fn listen(&self, stopping: watch::Receiver<bool>, place: OwnedSemaphorePermit) -> Listener {
        Listener { receiver: self.sender.subscribe(), stopping, _place: place }
    }
}

/// One who listens.
struct Listener {
    receiver: broadcast::Receiver<Told>,
    stopping: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
}

#[derive(Serialize)]
struct Missed {
    event: &'static str,
    missed: u64,
}

impl Listener {
    /// The next event, or `None` when the server stops.
    async fn next(&mut self) -> Option<Told> {
        tokio::select! {
            biased;
            _ = self.stopping.wait_for(|is_stopping| *is_stopping) => None,
            received = self.receiver.recv() => match received {
                Ok(told) => Some(told),
                Err(RecvError::Closed) => None,
                Err(RecvError::Lagged(missed)) => {
                    let json = serde_json::to_string(&Missed { event: "missed", missed }).unwrap_or_default();
                    Some(Told { kind: "missed", json: json.into() })
                }
            },
        }
    }
}

/// Malicious flows and verdicts as they are found
///
/// As WebSocket for who asks for one, else as server-sent events. Each is one JSON object, whose `event` is `verdict`,
/// `flow`, `prediction` or, for who is too slow, `missed`. Events begin with the request; none are kept for later.
#[utoipa::path(
    get,
    path = "/api/events",
    tag = "events",
    responses(
        (status = 200, description = "Server-sent events; `data` is the JSON object", content_type = "text/event-stream", body = String),
        (status = 101, description = "A WebSocket; each text message is a JSON object"),
        (status = 400, description = "A WebSocket that is asked for in a wrong way", body = ErrorBody),
        (status = 429, description = "Too many listen", body = ErrorBody),
    )
)]
pub(super) async fn listen(
    State(service): State<Arc<Service>>,
    headers: HeaderMap,
    socket: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Refusal> {
    let Ok(place) = Arc::clone(&service.listeners).try_acquire_owned() else {
        return Err(Refusal::busy(format!("{} listen to events, which is the limit", limits::LISTENERS)));
    };
    let listener = service.events.listen(service.stopping.clone(), place);
    match socket {
        Ok(upgrade) => Ok(upgrade
            .max_message_size(LONGEST_MESSAGE_BYTES)
            .max_frame_size(LONGEST_MESSAGE_BYTES)
            .on_upgrade(|socket| by_socket(socket, listener))),
        Err(rejection) if wants_socket(&headers) => Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            format!("this is no good WebSocket request: {rejection}"),
        )),
        Err(_) => {
            let events = stream::unfold(listener, |mut listener| async move {
                let told = listener.next().await?;
                // Without an id: nobody can ask for what came after it.
                let event = Event::default().event(told.kind).data(told.json.as_str());
                Some((Ok::<_, Infallible>(event), listener))
            });
            Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(limits::SIGN_OF_LIFE)).into_response())
        }
    }
}

/// Other protocols that somebody would rather speak, as `h2c`, are passed over.
fn wants_socket(headers: &HeaderMap) -> bool {
    let named = headers.get_all(UPGRADE).into_iter().filter_map(|value| value.to_str().ok());
    named.flat_map(|value| value.split(',')).any(|name| name.trim().eq_ignore_ascii_case("websocket"))
}

async fn by_socket(mut socket: WebSocket, mut listener: Listener) {
    let mut signs_of_life = interval(limits::SIGN_OF_LIFE);
    loop {
        let sent = tokio::select! {
            told = listener.next() => match told {
                Some(told) => socket.send(Message::Text(told.json)).await,
                None => {
                    let reason = CloseFrame { code: close_code::AWAY, reason: "the server stops".into() };
                    let _ = socket.send(Message::Close(Some(reason))).await;
                    return;
                }
            },
            _ = signs_of_life.tick() => socket.send(Message::Ping(axum::body::Bytes::new())).await,
            heard = socket.recv() => match heard {
                // Pings are answered by the library.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Text(_) | Message::Binary(_))) => Ok(()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
            },
        };
        if sent.is_err() {
            return;
        }
    }
}
