//! `Entry`: what one line of an access log says, whatever its format.

use std::borrow::Cow;

/// One request as the log has it. Texts are bytes: logs hold what clients sent, which need not be UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'line> {
    /// Address or host name of who asked, as it is written.
    pub client: Cow<'line, [u8]>,
    /// `X-Forwarded-For`, when the format has it; only a trusted proxy is believed.
    pub forwarded: Option<Cow<'line, [u8]>>,
    /// Seconds since the Unix epoch; `None` when the line has no time.
    pub at_s: Option<i64>,
    /// How it was asked.
    pub method: Method,
    /// What was asked for, query included; the whole request where it is none of HTTP.
    pub url: Cow<'line, [u8]>,
    /// 100 to 599; `None` when the line has none.
    pub status: Option<u16>,
    /// Of the answer's body.
    pub bytes: u64,
    /// `User-Agent`; empty when the format has none.
    pub agent: Cow<'line, [u8]>,
}

/// How a client asks, as far as it is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// POST.
    Post,
    /// PUT, PATCH and DELETE, which send like POST.
    Put,
    /// Any other, and what is none.
    Other,
}

impl Method {
    /// Of a request line's first word.
    #[must_use]
    pub fn of(word: &[u8]) -> Self {
        match word {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" | b"PATCH" | b"DELETE" => Self::Put,
            _ => Self::Other,
        }
    }
}

impl Entry<'_> {
    /// The same, of its own memory.
    #[must_use]
    pub fn into_owned(self) -> Entry<'static> {
        let own = |text: Cow<'_, [u8]>| Cow::Owned(text.into_owned());
        Entry {
            client: own(self.client),
            forwarded: self.forwarded.map(own),
            at_s: self.at_s,
            method: self.method,
            url: own(self.url),
            status: self.status,
            bytes: self.bytes,
            agent: own(self.agent),
        }
    }

    /// What was asked for, without the query.
    #[must_use]
    pub fn page(&self) -> &[u8] {
        let end = memchr::memchr(b'?', &self.url).unwrap_or(self.url.len());
        self.url.get(..end).unwrap_or_default()
    }
}

/// The method and the address of a request line such as `GET /path HTTP/1.1`.
#[must_use]
pub fn request(line: &[u8]) -> (Method, &[u8]) {
    let Some(first) = memchr::memchr(b' ', line) else {
        return (Method::Other, line);
    };
    let (word, rest) = line.split_at(first);
    let rest = rest.get(1..).unwrap_or_default();
    // An address may hold blanks that a careless client did not escape; the protocol is the last word.
    let url = match memchr::memrchr(b' ', rest) {
        Some(last) if rest.get(last + 1..).is_some_and(|word| word.starts_with(b"HTTP/")) => {
            rest.get(..last).unwrap_or_default()
        }
        _ => rest,
    };
    (Method::of(word), url)
}
