//! Features: what a client is judged by, as rates, counts and shares with plain names.

use serde::Serialize;

use super::busy::as_f64;
use super::client::Client;

/// Of one client. Rates are per second, shares 0..=1 of its requests.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Features {
    /// In all.
    pub requests: f64,
    /// Over the busiest 10 s.
    pub peak_per_second: f64,
    /// In the busiest second, of neighbouring lines.
    pub busiest_second: f64,
    /// In the busiest minute.
    pub busiest_minute: f64,
    /// Over the time that the log covers, or five minutes when that is shorter.
    pub mean_per_second: f64,
    /// Minutes with at least a quarter of what the busiest had.
    pub loud_minutes: f64,
    /// Variation of the pauses in parts of their mean; `None` when there are too few.
    pub unevenness: Option<f64>,
    /// Bytes of the answers.
    pub bytes: f64,
    /// GET.
    pub get_share: f64,
    /// HEAD.
    pub head_share: f64,
    /// POST.
    pub post_share: f64,
    /// Part that sends: POST, PUT, PATCH, DELETE.
    pub sends_share: f64,
    /// Part that sends and is answered 2xx.
    pub taken_share: f64,
    /// Methods other than GET, HEAD and POST, and what is no HTTP.
    pub other_method_share: f64,
    /// Status 2xx.
    pub ok_share: f64,
    /// Status 3xx.
    pub redirect_share: f64,
    /// Status 4xx.
    pub client_error_share: f64,
    /// Status 5xx.
    pub server_error_share: f64,
    /// Status 404.
    pub not_found_share: f64,
    /// Status 4xx or 5xx, but 401, 407, 408, 429 and 499.
    pub errors: f64,
    /// Of them, in parts of the requests.
    pub error_share: f64,
    /// Different statuses of them.
    pub error_kinds: f64,
    /// Different addresses that were answered by one.
    pub error_urls: f64,
    /// 404 and 410 in the minute with most of them.
    pub missing_in_a_minute: f64,
    /// Different pages, query left out; from 13 on within some 7 %, like all that count different things.
    pub pages: f64,
    /// Different addresses.
    pub urls: f64,
    /// Different user agents.
    pub agents: f64,
    /// Requests for the most asked page.
    pub page_share: f64,
    /// Requests per second for it, over the busiest 10 s.
    pub page_per_second: f64,
    /// The busiest 10 s in parts of the mean.
    pub surge: f64,
}

/// A log that is shorter tells nothing about what is usual, and counts as this long, in seconds.
pub const SHORTEST_SPAN_S: f64 = 300.0;

impl Features {
    /// Of a client of a log that covers so many seconds.
    #[must_use]
    pub fn of(client: &Client, span_s: f64) -> Self {
        let [get, head, post, put, other] = client.methods.map(|count| client.share(count));
        let [_, ok, redirect, fourth, fifth, _] = client.statuses.map(|count| client.share(count));
        let peak = client.busy.peak().0;
        let mean = as_f64(client.requests) / span_s.max(SHORTEST_SPAN_S);
        let page_share = client.page_share();
        Self {
            requests: as_f64(client.requests),
            peak_per_second: peak,
            busiest_second: f64::from(client.busy.busiest_second()),
            busiest_minute: as_f64(client.busy.busiest_minute()),
            mean_per_second: mean,
            loud_minutes: as_f64(client.busy.loud_minutes() as u64),
            unevenness: client.busy.unevenness(),
            bytes: as_f64(client.bytes),
            get_share: get,
            head_share: head,
            post_share: post,
            sends_share: post + put,
            taken_share: client.share(client.taken),
            other_method_share: put + other,
            ok_share: ok,
            redirect_share: redirect,
            client_error_share: fourth,
            server_error_share: fifth,
            not_found_share: client.share(client.not_found),
            errors: as_f64(client.errors()),
            error_share: client.share(client.errors()),
            error_kinds: f64::from(client.error_kinds()),
            error_urls: client.error_urls.count(),
            missing_in_a_minute: as_f64(client.missing_in_a_minute()),
            pages: client.pages.count(),
            urls: client.urls(),
            agents: client.agents.count(),
            page_share,
            page_per_second: peak * page_share,
            surge: peak / mean,
        }
    }
}

/// Columns of a point.
pub const COLUMNS: usize = 6;
/// What the columns are called.
pub const COLUMN_NAMES: [&str; COLUMNS] = [
    "requests (decades)",
    "peak (decades)",
    "page share",
    "errors (decades)",
    "error share",
    "pages (decades)",
];

/// How points show counts and rates, because they differ by factors.
#[must_use]
pub(super) fn decade(value: f64) -> f64 {
    (1.0 + value).log10()
}

impl Features {
    /// A client as a point: counts and rates by their decade.
    #[must_use]
    pub fn point(&self) -> [f64; COLUMNS] {
        [
            decade(self.requests),
            decade(self.peak_per_second * 10.0),
            self.page_share,
            decade(self.errors),
            self.error_share,
            decade(self.pages),
        ]
    }
}
