//! `POST /api/captures` and `POST /api/captures/stream`: a capture in, its flows, classes and verdicts out; in one answer at
//! the end, or line by line while it comes in.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::pending;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result};
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::Service;
use super::analysis::{self, Analysed, Finding, FlowEvent, Terms, VerdictEvent};
use super::answer;
use super::body::{
    BodyReader, Patience, Rationed, Waiting, Wanted, channel, refuse_announced, require_encoding,
};
use super::connections::Peer;
use super::events::Told;
use super::limits;
use super::models::Chosen;
use super::openapi::{ListedFlows, ModelName, Victim};
use super::refusal::{ErrorBody, Refusal};
use crate::capture::{Capture, uncompressed};
use crate::replay::Protected;
use crate::report::output::printable;
use crate::report::replayed::{DamageReport, Listed, ReplayReport};

/// Lines of a stream that wait for a slow reader; with no more room, the capture waits, too.
const LINES: usize = 256;
/// Flows that are listed unless somebody asks for more.
pub(super) const SHOWN_FLOWS: usize = 1_000;

/// What may be asked of a capture.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaptureQuery {
    victim: Option<String>,
    model: Option<String>,
    #[serde(default = "shown_flows")]
    flows: usize,
}

const fn shown_flows() -> usize {
    SHOWN_FLOWS
}

/// What may be asked of a capture that is streamed: no flow of it is listed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamQuery {
    victim: Option<String>,
    model: Option<String>,
}

/// pcap or pcapng, plain or compressed with gzip or zstd.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "describes a body that is not read into anything")]
struct CaptureBytes(Vec<u8>);

/// What came of a capture.
#[derive(Serialize, ToSchema)]
pub(super) struct CaptureBody {
    /// The number that events of this capture bear.
    capture: u64,
    /// As `mitigator replay --json` has it: the verdicts with their evidence, what was dropped, damage.
    #[schema(value_type = Object)]
    replay: ReplayReport,
    flows: FlowsBody,
}

/// The flows of a capture.
#[derive(Serialize, ToSchema)]
pub(super) struct FlowsBody {
    /// Flows that have ended, the last with the capture.
    total: u64,
    /// Packets that are in no flow: not IP, or cut or malformed.
    left_out_packets: u64,
    /// Flows that ended early, because too many were live at a time.
    crowded_out: u64,
    /// Packets dated before others that precede them.
    late_packets: u64,
    /// The model that classified them; null when there is none.
    model: Option<String>,
    /// Of all flows, those that the model takes for attacks; null without a model.
    attacks: Option<u64>,
    /// Flows by class; null without a model.
    classes: Option<BTreeMap<String, u64>>,
    /// The first flows, in the order of their ends, as `mitigator flows --sessions --json` has them, with `class` and
    /// `attack_probability` when there is a model.
    #[schema(value_type = Vec<Object>)]
    rows: Vec<Box<RawValue>>,
    /// Flows that are not among the rows.
    unlisted: u64,
}

impl FlowsBody {
    fn new(analysed: &Analysed, model: Option<&Chosen>, rows: Vec<Box<RawValue>>) -> Self {
        let Analysed { tally, clock, classes, attacks, .. } = analysed;
        Self {
            total: tally.flows,
            left_out_packets: tally.not_ip + tally.malformed,
            crowded_out: tally.crowded_out,
            late_packets: clock.late_packets,
            model: model.map(|model| model.name().to_owned()),
            attacks: model.map(|_| *attacks),
            classes: classes.clone(),
            unlisted: tally.flows - rows.len() as u64,
            rows,
        }
    }
}

/// The last line of a stream.
#[derive(Serialize)]
struct EndEvent {
    event: &'static str,
    capture: u64,
    packets: u64,
    bytes: u64,
    duration_s: f64,
    verdicts: u64,
    /// A verdict of something that is blocked or limited.
    attack: bool,
    flows: FlowsBody,
    damage: Option<DamageReport>,
}

/// A capture that is to be judged, without its bytes.
struct Asked {
    service: Arc<Service>,
    number: u64,
    protected: Protected,
    model: Option<Chosen>,
    shown_flows: usize,
    /// What may help who sent what is no capture; empty when nothing is known.
    hint: &'static str,
    /// Held by whoever works for it, and by the answer until it is sent.
    place: Arc<OwnedSemaphorePermit>,
}

/// Why there is no answer.
enum Failure {
    /// Compressed or not, it is no capture.
    Unreadable(String),
    /// It is longer than it may be, uncompressed.
    TooLong(u64),
    Internal(anyhow::Error),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unreadable(why) => Self::bad_request(why),
            Failure::TooLong(most) => Self::too_large(format!(
                "the capture is longer than {most} bytes uncompressed, which is the limit"
            )),
            Failure::Internal(error) => Self::internal(format!("{error:#}")),
        }
    }
}

impl Asked {
    fn new(
        service: &Arc<Service>,
        CaptureQuery { victim, model, flows: shown_flows }: &CaptureQuery,
        headers: &HeaderMap,
    ) -> Result<Self, Refusal> {
        let hint = require_capture(headers)?;
        let shown_flows = *shown_flows;
        if shown_flows > limits::LISTED_FLOWS {
            let why = format!("`flows` is {shown_flows}; it is at most {}", limits::LISTED_FLOWS);
            return Err(Refusal::bad_request(why));
        }
        let protected = victim.as_deref().map_or(Ok(Protected::Everybody), victims)?;
        let model = service.models.find(model.as_deref())?;
        let Ok(place) = Arc::clone(&service.captures).try_acquire_owned() else {
            let most = service.limits.captures;
            return Err(Refusal::busy(format!(
                "{most} captures are being judged, which is the limit; try again later"
            )));
        };
        let number = service.next_capture.fetch_add(1, Ordering::Relaxed);
        let place = Arc::new(place);
        Ok(Self { service: Arc::clone(service), number, protected, model, shown_flows, hint, place })
    }

    fn unreadable(&self, error: &anyhow::Error) -> Failure {
        Failure::Unreadable(format!("{error:#}{}", self.hint))
    }

    fn patience(&self, most_bytes: u64) -> Patience {
        Patience { most_bytes, idle: self.service.limits.idle }
    }

    fn terms(&self) -> Terms<'_> {
        Terms { config: &self.service.config, protected: &self.protected, model: self.model.as_ref() }
    }

    fn name(&self) -> String {
        format!("capture {}", self.number)
    }

    /// The whole answer. Blocks.
    fn answer(&self, reader: BodyReader, wanted: &Wanted) -> Result<CaptureBody, Failure> {
        let most = self.service.limits.unpacked_bytes;
        let is_exceeded;
        let capture = {
            let unpacked = uncompressed(reader)
                .context("cannot read the capture")
                .map_err(|error| self.unreadable(&error))?;
            let rationed = Rationed::new(unpacked, most, wanted);
            is_exceeded = rationed.is_exceeded();
            Capture::from_uncompressed(Box::new(rationed), "the body")
                .map_err(|error| self.unreadable(&error))?
        };
        let (mut verdicts, mut rows) = (Vec::new(), Vec::new());
        let mut analysed = analysis::analyse(capture, &self.terms(), wanted, |finding| {
            match finding {
                Finding::Verdict(at, verdict) => {
                    self.tell(VerdictEvent::KIND, &VerdictEvent::new(self.number, at, &verdict))?;
                    verdicts.push((at, *verdict));
                }
                Finding::Flow(flow) => {
                    if flow.is_attack {
                        self.tell(FlowEvent::KIND, &FlowEvent::new(self.number, &flow.row))?;
                    }
                    if rows.len() < self.shown_flows {
                        rows.push(flow.row);
                    }
                }
            }
            Ok(())
        })
        .map_err(Failure::Internal)?;
        if is_exceeded.load(Ordering::Relaxed) {
            return Err(Failure::TooLong(most));
        }
        let flows = FlowsBody::new(&analysed, self.model.as_ref(), rows);
        analysed.replayed.verdicts = verdicts;
        let config = &self.service.config;
        let replay =
            ReplayReport::new(self.name(), analysed.replayed, &self.protected, config, Listed::WithDrops);
        Ok(CaptureBody { capture: self.number, replay, flows })
    }

    fn tell(&self, kind: &'static str, event: &impl Serialize) -> Result<Told> {
        Ok(self.service.events.tell(kind, event)?)
    }

    /// Sends a line for each verdict and each malicious flow, and one at the end; returns why the capture ended early, if
    /// it did. Blocks.
    fn stream(
        &self,
        reader: BodyReader,
        wanted: &Wanted,
        opened: oneshot::Sender<Result<(), Failure>>,
        lines: &mpsc::Sender<Bytes>,
    ) -> Result<Option<String>> {
        let most = self.service.limits.stream_bytes;
        let open = || -> Result<Capture> {
            let unpacked = uncompressed(reader).context("cannot read the capture")?;
            Capture::from_uncompressed(Box::new(Rationed::new(unpacked, most, wanted)), "the body")
        };
        let capture = match open() {
            Ok(capture) => {
                // Who asked may be gone.
                let _ = opened.send(Ok(()));
                capture
            }
            Err(error) => {
                let _ = opened.send(Err(self.unreadable(&error)));
                return Ok(None);
            }
        };
        let send = |json: &str| -> Result<()> {
            let line = Bytes::from(format!("{json}\n"));
            Handle::current()
                .block_on(lines.send_timeout(line, self.service.limits.idle))
                .map_err(|_| anyhow::anyhow!("who streams the capture does not read the answer"))
        };
        let (mut verdicts, mut is_attack) = (0, false);
        let analysed = analysis::analyse(capture, &self.terms(), wanted, |finding| match finding {
            Finding::Verdict(at, verdict) => {
                verdicts += 1;
                is_attack |= verdict.vector.is_blocked();
                send(&self.tell(VerdictEvent::KIND, &VerdictEvent::new(self.number, at, &verdict))?.json)
            }
            Finding::Flow(flow) if flow.is_attack => {
                send(&self.tell(FlowEvent::KIND, &FlowEvent::new(self.number, &flow.row))?.json)
            }
            Finding::Flow(_) => Ok(()),
        })?;
        let flows = FlowsBody::new(&analysed, self.model.as_ref(), Vec::new());
        let replayed = analysed.replayed;
        let why = replayed.damage.as_ref().map(|damage| damage.what.to_string());
        let end = EndEvent {
            event: "end",
            capture: self.number,
            packets: replayed.packets,
            bytes: replayed.bytes,
            duration_s: replayed.duration.as_secs_f64(),
            verdicts,
            attack: is_attack,
            flows,
            damage: replayed.damage.map(DamageReport::from),
        };
        send(&serde_json::to_string(&end)?)?;
        Ok(why)
    }
}

fn victims(text: &str) -> Result<Protected, Refusal> {
    let addresses = text.split(',').map(|address| {
        address.trim().parse::<IpAddr>().map(|address| address.to_canonical()).map_err(|_| {
            Refusal::bad_request(format!("`victim` has `{address}`, which is no IPv4 or IPv6 address"))
        })
    });
    Ok(Protected::Named(addresses.collect::<Result<_, _>>()?))
}

/// What is wrapped in something else is refused; of what curl may have changed, a hint is returned for when it is no capture.
fn require_capture(headers: &HeaderMap) -> Result<&'static str, Refusal> {
    require_encoding(headers, &["gzip", "x-gzip", "zstd"])?;
    let kind =
        headers.get(CONTENT_TYPE).map(|kind| String::from_utf8_lossy(kind.as_bytes()).to_ascii_lowercase());
    match kind {
        Some(kind) if kind.starts_with("multipart/") => Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "a form with a file in it is no capture; send the file itself, as `curl --data-binary @FILE` does",
        )),
        Some(kind) if kind.starts_with("application/x-www-form-urlencoded") => {
            Ok("; `curl -d` changes what it sends, `curl --data-binary @FILE` does not")
        }
        _ => Ok(""),
    }
}

/// Judge a capture
///
/// pcap or pcapng, plain or compressed with gzip or zstd, whatever the content type says. It is parsed as it arrives. A
/// capture that is damaged is answered for what stands before, with `replay.damage`.
#[utoipa::path(
    post,
    path = "/api/captures",
    tag = "captures",
    params(Victim, ModelName, ListedFlows),
    request_body(content = CaptureBytes, content_type = "application/octet-stream"),
    responses(
        (status = 200, description = "Flows, classes and verdicts", body = CaptureBody),
        (status = 400, description = "Not a capture, or a parameter that is not understood", body = ErrorBody),
        (status = 408, description = "It took too long, or the sender paused for too long", body = ErrorBody),
        (status = 413, description = "Past the limit, as it is sent or uncompressed", body = ErrorBody),
        (status = 415, description = "A form, or a content encoding that is not known", body = ErrorBody),
        (status = 429, description = "Too many captures at a time", body = ErrorBody),
        (status = 500, description = "The server failed", body = ErrorBody),
    )
)]
pub(super) async fn judge(
    State(service): State<Arc<Service>>,
    Extension(peer): Extension<Peer>,
    query: Result<Query<CaptureQuery>, QueryRejection>,
    request: Request,
) -> Result<Response, Refusal> {
    let deadline = Instant::now() + service.limits.request;
    let Query(query) = query.map_err(|error| Refusal::bad_request(error.body_text()))?;
    let asked = Asked::new(&service, &query, request.headers())?;
    let place = Arc::clone(&asked.place);
    let patience = asked.patience(service.limits.body_bytes);
    refuse_announced(&request, patience.most_bytes)?;
    let (feeder, reader) = channel();
    // Dropped with this future, which is when nobody waits for the answer any more.
    let waiting = Waiting::new();
    let wanted = waiting.watch();
    let work = spawn_blocking(move || {
        let body = asked.answer(reader, &wanted)?;
        // As long as an answer may be, others would wait for it on the thread of the connections.
        serde_json::to_vec(&body).map_err(|error| Failure::Internal(error.into()))
    });
    // What comes to its end by itself, a stop does not break off.
    let feeding = feeder.feed(request.into_body(), patience, waiting.watch(), pending());
    let (fed, answer) = tokio::join!(feeding, work);
    fed?;
    Ok(answer::long(answer.map_err(Refusal::internal)??, place, peer, deadline))
}

/// Judge a capture while it is being made
///
/// As `tcpdump -U -w -` writes it. The answer begins with the capture, and has a line of JSON for each verdict and each
/// malicious flow as it falls, and at the end one whose `event` is `end`.
#[utoipa::path(
    post,
    path = "/api/captures/stream",
    tag = "captures",
    params(Victim, ModelName),
    request_body(content = CaptureBytes, content_type = "application/octet-stream"),
    responses(
        (status = 200, description = "Lines of JSON", content_type = "application/x-ndjson", body = String),
        (status = 400, description = "Not a capture, or a parameter that is not understood", body = ErrorBody),
        (status = 408, description = "The sender paused for too long before it was known to be a capture", body = ErrorBody),
        (status = 413, description = "Past the limit", body = ErrorBody),
        (status = 415, description = "A form, or a content encoding that is not known", body = ErrorBody),
        (status = 429, description = "Too many captures at a time", body = ErrorBody),
        (status = 500, description = "The server failed", body = ErrorBody),
    )
)]
pub(super) async fn stream(
    State(service): State<Arc<Service>>,
    Extension(peer): Extension<Peer>,
    query: Result<Query<StreamQuery>, QueryRejection>,
    request: Request,
) -> Result<Response, Refusal> {
    let Query(StreamQuery { victim, model }) =
        query.map_err(|error| Refusal::bad_request(error.body_text()))?;
    let asked = Asked::new(&service, &CaptureQuery { victim, model, flows: 0 }, request.headers())?;
    let place = Arc::clone(&asked.place);
    let patience = Patience { idle: limits::STREAM_IDLE, ..asked.patience(service.limits.stream_bytes) };
    refuse_announced(&request, patience.most_bytes)?;
    let (feeder, reader) = channel();
    let (opening, opened) = oneshot::channel();
    let (sender, lines) = mpsc::channel(LINES);
    let waiting = Waiting::new();
    let wanted = waiting.watch();
    let mut stopping = service.stopping.clone();
    let stop = async move {
        let _ = stopping.wait_for(|is_stopping| *is_stopping).await;
    };
    let feeding = tokio::spawn(feeder.feed(request.into_body(), patience, waiting.watch(), stop));
    spawn_blocking(move || {
        let (from, capture) = (peer.address, asked.number);
        match asked.stream(reader, &wanted, opening, &sender) {
            Ok(None) => {}
            Ok(Some(why)) => tracing::info!(%from, capture, "a stream ended early: {}", printable(&why)),
            Err(error) => {
                let why = format!("{error:#}");
                tracing::warn!(%from, capture, "a stream was given up: {}", printable(&why));
            }
        }
    });
    match opened.await.map_err(Refusal::internal)? {
        Ok(()) => {}
        Err(failure) => {
            // What ended the body is the better reason.
            feeding.await.map_err(Refusal::internal)??;
            return Err(failure.into());
        }
    }
    let held = (waiting, place);
    let body = stream::unfold((lines, held, feeding), |(mut lines, held, feeding)| async move {
        let Some(line) = lines.recv().await else {
            // An answer that ends before its sender does may not be read to its end.
            let _ = feeding.await;
            return None;
        };
        Some((Ok::<_, Infallible>(line), (lines, held, feeding)))
    });
    let headers = [(CONTENT_TYPE, "application/x-ndjson"), (CACHE_CONTROL, "no-store")];
    Ok((StatusCode::OK, headers, Body::from_stream(body)).into_response())
}
