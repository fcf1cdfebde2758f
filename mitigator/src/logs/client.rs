//! `Client`: what is known of who asked; its size does not depend on how often.

use std::fmt;

use mitigator_common::Source;
use serde::{Serialize, Serializer};

use super::busy::{Bins, Busy, MINUTE_S, as_f64};
use super::distinct::{Distinct, hash_of};
use super::entry::{Entry, Method};
use super::pages::Pages;

/// Who asked: an address, for IPv6 its /64, or a host name, which cannot be blocked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Who {
    /// An IPv4 address or an IPv6 /64.
    Source(Source),
    /// As the log has it.
    Name(Box<str>),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(source) => source.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl Serialize for Who {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One client's requests.
#[derive(Clone, Debug)]
pub struct Client {
    /// Who it is.
    pub who: Who,
    /// Requests.
    pub requests: u64,
    /// Of all answers.
    pub bytes: u64,
    /// When it asked.
    pub busy: Busy,
    /// Requests by method: GET, HEAD, POST, those that send like it, any other.
    pub methods: [u64; 5],
    /// Of those that send, answered 2xx.
    pub taken: u64,
    /// Answers by class: 1xx to 5xx, and those without a status.
    pub statuses: [u64; 6],
    /// Answers 404.
    pub not_found: u64,
    /// Answers from 400 on that blame nobody: see [`is_excused`].
    excused: u64,
    /// The last of the others, in seconds since the Unix epoch.
    pub last_error_s: Option<i64>,
    /// Answers 404 and 410 by minute, for how fast it looks for what is not there.
    missing_by_minute: Bins,
    /// Which of the errors it got, one bit for each of 400..=463 and 500..=563.
    error_kinds: [u64; 2],
    /// Different pages.
    pub pages: Distinct,
    /// Different addresses, query included; `None` while none had one, because they are the pages.
    urls: Option<Box<Distinct>>,
    /// Different addresses that were errors.
    pub error_urls: Distinct,
    /// Different `User-Agent`s.
    pub agents: Distinct,
    last_agent: u64,
    /// The most asked page.
    pub top: Pages,
}

impl Client {
    /// Somebody who has not asked yet.
    #[must_use]
    pub fn new(who: Who) -> Self {
        Self {
            who,
            requests: 0,
            bytes: 0,
            busy: Busy::default(),
            methods: [0; 5],
            taken: 0,
            statuses: [0; 6],
            not_found: 0,
            excused: 0,
            last_error_s: None,
            missing_by_minute: Bins::default(),
            error_kinds: [0; 2],
            pages: Distinct::default(),
            urls: None,
            error_urls: Distinct::default(),
            agents: Distinct::default(),
            last_agent: 0,
            top: Pages::default(),
        }
    }

    /// Reads of each of its cache lines that a request looks at; what comes out means nothing.
    #[must_use]
    pub fn fetch(&self) -> u64 {
        let [method, ..] = self.methods;
        let [status, ..] = self.statuses;
        self.requests ^ self.bytes ^ method ^ status ^ self.last_agent ^ self.busy.fetch() ^ self.top.fetch()
    }

    /// The same of what it has elsewhere, where [`Client::fetch`] has found the way.
    #[must_use]
    pub fn fetch_behind(&self) -> u64 {
        let urls = self.urls.as_deref().map_or(0, Distinct::fetch);
        self.busy.fetch_behind() ^ self.pages.fetch() ^ urls
    }

    /// Takes in a request.
    pub fn add(&mut self, entry: &Entry<'_>) {
        self.requests += 1;
        self.bytes = self.bytes.saturating_add(entry.bytes);
        if let Some(at_s) = entry.at_s {
            self.busy.add(at_s);
        }
        let method = match entry.method {
            Method::Get => 0,
            Method::Head => 1,
            Method::Post => 2,
            Method::Put => 3,
            Method::Other => 4,
        };
        if let Some(count) = self.methods.get_mut(method) {
            *count += 1;
        }
        let page = entry.page();
        let page_hash = hash_of(page);
        let has_query = page.len() < entry.url.len();
        let url_hash = if has_query { hash_of(&entry.url) } else { page_hash };
        if has_query && self.urls.is_none() {
            self.urls = Some(Box::new(self.pages.clone()));
        }
        if let Some(urls) = &mut self.urls {
            urls.add(url_hash);
        }
        self.pages.add(page_hash);
        self.top.add(page_hash, page);
        if !entry.agent.is_empty() {
            let agent = hash_of(&entry.agent);
            if agent != self.last_agent {
                self.agents.add(agent);
                self.last_agent = agent;
            }
        }
        self.add_status(entry, url_hash);
    }

    fn add_status(&mut self, entry: &Entry<'_>, url_hash: u64) {
        let class = entry.status.map_or(5, |status| usize::from(status / 100 - 1));
        if let Some(count) = self.statuses.get_mut(class) {
            *count += 1;
        }
        let sends = matches!(entry.method, Method::Post | Method::Put);
        self.taken += u64::from(sends && matches!(entry.status, Some(200..300)));
        let Some(status @ 400..) = entry.status else { return };
        if is_excused(status) {
            self.excused += 1;
            return;
        }
        self.last_error_s = self.last_error_s.max(entry.at_s);
        self.error_urls.add(url_hash);
        let (place, bit) = (usize::from(status >= 500), u32::from(status % 100));
        if let Some(kinds) = self.error_kinds.get_mut(place) {
            *kinds |= 1_u64.checked_shl(bit).unwrap_or(0);
        }
        self.not_found += u64::from(status == 404);
        if matches!(status, 404 | 410)
            && let Some(at_s) = entry.at_s
        {
            self.missing_by_minute.add(at_s.div_euclid(MINUTE_S));
        }
    }

    /// Different addresses, query included.
    #[must_use]
    pub fn urls(&self) -> f64 {
        self.urls.as_deref().unwrap_or(&self.pages).count()
    }

    /// Answers with a status from 400 on, but 401, 407, 408, 429 and 499, which blame nobody.
    #[must_use]
    pub fn errors(&self) -> u64 {
        let [_, _, _, fourth, fifth, _] = self.statuses;
        (fourth + fifth).saturating_sub(self.excused)
    }

    /// How many different statuses these had.
    #[must_use]
    pub fn error_kinds(&self) -> u32 {
        self.error_kinds.iter().map(|kinds| kinds.count_ones()).sum()
    }

    /// Answers 404 or 410 in the minute with most of them.
    #[must_use]
    pub fn missing_in_a_minute(&self) -> u64 {
        self.missing_by_minute.busiest(1).0
    }

    /// Part of the requests, 0..=1.
    #[must_use]
    pub fn share(&self, count: u64) -> f64 {
        as_f64(count) / as_f64(self.requests.max(1))
    }

    /// Part of the requests that are for the most asked page, 0..=1.
    #[must_use]
    pub fn page_share(&self) -> f64 {
        self.top.top().map_or(0.0, |top| self.share(u64::from(top.requests)))
    }
}

/// Statuses that well-behaved clients get as a matter of course: asked to log in (401, 407), too slow (408), too fast
/// (429), gone before the answer (499, nginx).
const fn is_excused(status: u16) -> bool {
    matches!(status, 401 | 407 | 408 | 429 | 499)
}
