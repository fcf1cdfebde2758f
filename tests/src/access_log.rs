//! Access logs as data: attackers and the innocents who look like them, seeded, in the combined format.

use std::fmt::Write;

use rand_xoshiro::Xoshiro256Plus;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};

/// 2026-01-31 12:00:00 UTC, when every log begins.
pub const BEGIN_S: u64 = 1_769_860_800;

/// Requests, in any order; the log has them by their time.
pub struct AccessLog {
    requests: Vec<(u64, String)>,
    random: Xoshiro256Plus,
    begin_s: u64,
}

/// What one line says beside the time.
#[derive(Clone, Copy, Debug)]
pub struct Request<'text> {
    /// Who asks.
    pub client: &'text str,
    /// `GET /path`.
    pub what: &'text str,
    /// Of the answer.
    pub status: u16,
    /// User agent.
    pub agent: &'text str,
}

impl AccessLog {
    /// An empty log that begins at [`BEGIN_S`].
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { requests: Vec::new(), random: Xoshiro256Plus::seed_from_u64(seed), begin_s: BEGIN_S }
    }

    /// Another beginning.
    #[must_use]
    pub const fn beginning_at(mut self, begin_s: u64) -> Self {
        self.begin_s = begin_s;
        self
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.random.next_u64() % end.max(1)
    }

    /// Adds a request so many seconds after the beginning.
    pub fn add(&mut self, at_s: u64, request: Request<'_>) {
        let Request { client, what, status, agent } = request;
        let bytes = 200 + self.below(9_000);
        let line = format!("\"{what} HTTP/1.1\" {status} {bytes} \"-\" \"{agent}\"");
        let time = clf(self.begin_s + at_s);
        self.requests.push((at_s, format!("{client} - - [{time}] {line}")));
    }

    /// Visitors, each with an address of their own, who look at pages and what these hold, for `seconds`.
    #[must_use]
    pub fn visitors(mut self, count: u64, seconds: u64) -> Self {
        for visitor in 0..count {
            let client = format!("198.51.{}.{}", visitor / 250, visitor % 250 + 1);
            let agent = format!("Mozilla/5.0 (visitor {})", visitor % 40);
            let visits = 2 + self.below(4);
            for _ in 0..visits {
                let at_s = self.below(seconds);
                self.visit(&client, &agent, at_s);
            }
        }
        self
    }

    /// A page and eight things it holds; one of fifty is missing.
    fn visit(&mut self, client: &str, agent: &str, at_s: u64) {
        let page = self.below(60);
        self.add(at_s, Request { client, what: &format!("GET /page/{page}"), status: 200, agent });
        for part in 0..8 {
            let status = if self.below(50) == 0 { 404 } else { 200 };
            let after_s = self.below(3);
            let what = format!("GET /static/{page}-{part}.png");
            self.add(at_s + after_s, Request { client, what: &what, status, agent });
        }
    }

    /// Hundreds of people behind one address.
    #[must_use]
    pub fn proxy(mut self, client: &str, people: u64, seconds: u64) -> Self {
        for person in 0..people {
            let agent = format!("Mozilla/5.0 (person {person})");
            for _ in 0..4 {
                let at_s = self.below(seconds);
                self.visit(client, &agent, at_s);
                if self.below(5) == 0 {
                    let what = "POST /login";
                    self.add(at_s + 2, Request { client, what, status: 302, agent: &agent });
                }
            }
        }
        self
    }

    /// A crawler that knows old addresses too: one of ten is gone.
    #[must_use]
    pub fn crawler(mut self, client: &str, seconds: u64) -> Self {
        let agent = "Mozilla/5.0 (compatible; a crawler; +http://crawler.example/)";
        for at_s in (0..seconds).step_by(2) {
            let page = self.below(4_000);
            let status = if page.is_multiple_of(8) { 404 } else { 200 };
            self.add(at_s, Request { client, what: &format!("GET /archive/{page}"), status, agent });
        }
        self
    }

    /// Asks for one page, `per_second` times a second from `from_s` for `seconds`.
    #[must_use]
    pub fn one_page(mut self, request: Request<'_>, per_second: u64, from_s: u64, seconds: u64) -> Self {
        for at_s in from_s..from_s + seconds {
            for _ in 0..per_second {
                self.add(at_s, request);
            }
        }
        self
    }

    /// A flood of one page with forged user agents and queries.
    #[must_use]
    pub fn flood(mut self, client: &str, agents: u64, per_second: u64, from_s: u64, seconds: u64) -> Self {
        for at_s in from_s..from_s + seconds {
            for _ in 0..per_second {
                let (query, agent) = (self.below(1_000_000), self.below(agents));
                let what = format!("GET /?{query}");
                let agent = format!("Mozilla/4.0 (compatible; {agent})");
                self.add(at_s, Request { client, what: &what, status: 200, agent: &agent });
            }
        }
        self
    }

    /// A scanner: names that are not there, forms that break.
    #[must_use]
    pub fn scanner(mut self, client: &str, from_s: u64, seconds: u64) -> Self {
        let agent = "Mozilla/5.0 (a scanner)";
        for at_s in from_s..from_s + seconds {
            for _ in 0..5 {
                let number = self.below(2_000);
                let (what, status) = match number % 5 {
                    0 => (format!("GET /admin/{number}.php"), 404),
                    1 => (format!("POST /form?field={number}"), 500),
                    2 => (format!("GET /{number}/../../etc/passwd"), 400),
                    3 => (format!("POST /search?q=%27{number}"), 303),
                    _ => (format!("GET /page/{}", number % 60), 200),
                };
                self.add(at_s, Request { client, what: &what, status, agent });
            }
        }
        self
    }

    /// Reads a list of names, fast.
    #[must_use]
    pub fn sweep(mut self, client: &str, from_s: u64, names: u64) -> Self {
        for number in 0..names {
            let status = if number.is_multiple_of(50) { 200 } else { 404 };
            let what = format!("HEAD /{number}.bak");
            self.add(from_s + number / 10, Request { client, what: &what, status, agent: "sweep" });
        }
        self
    }

    /// The lines, sorted by time.
    #[must_use]
    pub fn text(mut self) -> String {
        self.requests.sort_by_key(|(at_s, _)| *at_s);
        let mut text = String::new();
        for (_, line) in self.requests {
            let _ = writeln!(text, "{line}");
        }
        text
    }
}

/// A time as Apache writes it, in UTC.
#[must_use]
pub fn clf(unix_s: u64) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(unix_s);
    let text = humantime::format_rfc3339_seconds(time).to_string();
    let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default();
    let month = part(5..7).parse::<usize>().ok().and_then(|month| MONTHS.get(month - 1)).unwrap_or(&"Jan");
    format!("{}/{month}/{}:{} +0000", part(8..10), part(0..4), part(11..19))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_servers_write() {
        let request = Request { client: "192.0.2.7", what: "GET /", status: 200, agent: "an agent" };
        let log = || AccessLog::seeded(1).one_page(request, 1, 5, 1).text();
        assert!(log().starts_with("192.0.2.7 - - [31/Jan/2026:12:00:05 +0000] \"GET / HTTP/1.1\" 200 "));
        assert_eq!(log(), log());
    }
}
