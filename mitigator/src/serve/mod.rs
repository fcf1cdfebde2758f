//! The HTTP service: captures and flows in, verdicts and classes out, events to whoever listens.
//!
//! `connections` accepts within `limits`; `admission` lets through who may ask; then there is a module for each kind of
//! question: `captures` (with `analysis`, which reads one), `predictions` (with `split_table`, which reads one), `events`,
//! `models`, `openapi`. `body` brings what is sent to the parsers, which block and have threads of their own; `answer` sends
//! what is long; `refusal` is what is answered when there is no answer, which `drain` brings across. Nothing here touches the
//! kernel or needs rights.

mod admission;
mod analysis;
mod answer;
mod body;
mod captures;
mod connections;
mod drain;
mod events;
mod limits;
mod models;
mod openapi;
mod predictions;
mod refusal;
mod split_table;

use std::any::Any;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;

pub use admission::Token;
pub use limits::Limits;
pub use models::Model;

use admission::Admission;
use events::Hub;
use models::Models;
use refusal::Refusal;

use crate::config::Config;

/// What a server serves, and to whom.
pub struct Settings {
    /// Loopback, or there has to be a token.
    pub listen: SocketAddr,
    /// What callers have to show; `None`: nothing, on loopback.
    pub token: Option<Token>,
    /// Those that classify flows; the first answers who names none.
    pub models: Vec<Model>,
    /// Of replay.
    pub config: Config,
    /// What is taken on.
    pub limits: Limits,
}

/// What all requests share.
struct Service {
    admission: Arc<Admission>,
    config: Config,
    limits: Limits,
    models: Models,
    events: Hub,
    /// OpenAPI, as JSON.
    description: Bytes,
    /// Turns true when the server is to stop: who listens or streams without end is let go.
    stopping: watch::Receiver<bool>,
    next_capture: AtomicU64,
    captures: Arc<Semaphore>,
    predictions: Arc<Semaphore>,
    listeners: Arc<Semaphore>,
}

/// A server that listens and does not answer yet.
pub struct Server {
    listener: TcpListener,
    service: Service,
    stop: watch::Sender<bool>,
}

impl Server {
    /// Listens.
    ///
    /// # Errors
    ///
    /// When the address cannot be had, or can be reached from elsewhere without a token.
    pub async fn listen(settings: Settings) -> Result<Self> {
        let Settings { listen, token, models, config, limits } = settings;
        let admission = Arc::new(Admission::new(listen, token)?);
        let listener = TcpListener::bind(listen).await.with_context(|| {
            format!("cannot listen on {listen}; `--listen ADDRESS:PORT` names another place")
        })?;
        let (stop, stopping) = watch::channel(false);
        let description = openapi::description(admission.has_token()).to_json();
        let service = Service {
            admission,
            config,
            limits,
            models: Models::new(models)?,
            events: Hub::new(),
            description: description.context("cannot write the description as JSON")?.into(),
            stopping,
            next_capture: AtomicU64::new(1),
            captures: Arc::new(Semaphore::new(limits.captures)),
            predictions: Arc::new(Semaphore::new(limits::PREDICTIONS)),
            listeners: Arc::new(Semaphore::new(limits::LISTENERS as usize)),
        };
        Ok(Self { listener, service, stop })
    }

    /// Where, with the port that the system chose when that was asked for.
    ///
    /// # Errors
    ///
    /// When the system does not know.
    pub fn address(&self) -> Result<SocketAddr> {
        self.listener.local_addr().context("cannot tell where this server listens")
    }

    /// Answers until `until` is over, then ends what is under way; `false` when some of it had to be broken off.
    pub async fn run(self, until: impl Future<Output = ()>) -> bool {
        let Self { listener, service, stop } = self;
        let service = Arc::new(service);
        let serving = connections::serve(
            listener,
            router(Arc::clone(&service)),
            &service.limits,
            service.stopping.clone(),
        );
        let stopped = async {
            until.await;
            stop.send_replace(true);
            Instant::now() + service.limits.grace
        };
        let (deadline, is_whole) = tokio::join!(stopped, serving);
        // A WebSocket is no connection of HTTP any more; the last thing that it hears is that it is closed.
        let everybody = service.listeners.acquire_many(limits::LISTENERS);
        is_whole && timeout_at(deadline, everybody).await.is_ok()
    }
}

fn router(service: Arc<Service>) -> Router {
    let in_time = middleware::from_fn_with_state(Arc::clone(&service), in_time);
    let admitted = middleware::from_fn_with_state(Arc::clone(&service.admission), admission::admit);
    let nosniff = HeaderValue::from_static("nosniff");
    // Whatever a browser may take an answer for, it loads and runs nothing.
    let nothing = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    Router::new()
        .route("/api/predictions", post(predictions::predict))
        .route("/api/captures", post(captures::judge))
        .route("/api/models", get(models::list))
        .route("/openapi.json", get(openapi::describe))
        .route_layer(in_time)
        .route("/api/captures/stream", post(captures::stream))
        .route("/api/events", get(events::listen))
        .fallback(async || {
            Refusal::new(
                StatusCode::NOT_FOUND,
                "there is nothing here; GET /openapi.json tells what there is",
            )
        })
        .method_not_allowed_fallback(async || {
            Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "not with this method; GET /openapi.json tells with which",
            )
        })
        .layer(admitted)
        .layer(middleware::from_fn(drain::drain))
        .route(openapi::HEALTH, get(openapi::health))
        .layer(CatchPanicLayer::custom(|panic: Box<dyn Any + Send>| {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            Refusal::internal(said.or_else(|| panic.downcast_ref().copied()).unwrap_or("a panic"))
                .into_response()
        }))
        .layer(SetResponseHeaderLayer::overriding(X_CONTENT_TYPE_OPTIONS, nosniff))
        .layer(SetResponseHeaderLayer::overriding(CONTENT_SECURITY_POLICY, nothing))
        .with_state(service)
}

/// A request that takes too long is dropped, and with it whatever works for it.
async fn in_time(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let most = service.limits.request;
    timeout(most, next.run(request)).await.unwrap_or_else(|_| {
        let why =
            format!("the request took longer than {}, which is the limit", humantime::format_duration(most));
        Refusal::new(StatusCode::REQUEST_TIMEOUT, why).into_response()
    })
}
