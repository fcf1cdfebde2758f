//! `Clients`: everybody in the log, and what the log is like. Memory goes by clients, not by lines.

use std::borrow::Cow;
use std::hint::black_box;
use std::net::IpAddr;

use ipnet::IpNet;
use mitigator_common::Source;
use rustc_hash::FxHashMap;

use super::busy::Busy;
use super::client::{Client, Who};
use super::entry::Entry;
use super::fault::Fault;
use super::observed::Observed;
use super::splitter::MOST_AT_A_TIME;

/// Clients that are told apart; what later ones ask is counted, and nobody is judged by it.
pub const MOST_CLIENTS: usize = 1 << 20;
/// Spellings of clients that are remembered; addresses of one /64 are many.
const MOST_SPELLINGS: usize = 1 << 20;
/// Where what is kept of so many is more than fits into a core's caches.
const FETCHED_FROM: usize = 4_096;
/// The longest host name (RFC 1035, section 2.3.4).
const LONGEST_NAME: usize = 253;

/// Everybody.
#[derive(Debug, Default)]
pub struct Clients {
    clients: Vec<Client>,
    /// Where each spelling's client is; of spellings of up to 15 bytes, as IPv4 addresses have.
    short_spellings: FxHashMap<u128, u32>,
    /// The same of the others.
    spellings: FxHashMap<Box<[u8]>, u32>,
    places: FxHashMap<Who, u32>,
    trusted: Vec<IpNet>,
    /// The whole log.
    pub busy: Busy,
    /// The time that the log covers.
    pub observed: Observed,
    /// Requests of all.
    pub requests: u64,
    /// Of clients past [`MOST_CLIENTS`].
    pub unlisted_requests: u64,
    /// Requests without a time.
    pub undated_requests: u64,
    /// Requests that are dated before one that precedes them.
    pub late_requests: u64,
    /// Requests whose client a trusted proxy named.
    pub forwarded_requests: u64,
}

impl Clients {
    /// Nobody yet; what `trusted` proxies say of their clients is believed.
    #[must_use]
    pub fn new(trusted: Vec<IpNet>) -> Self {
        Self { trusted, ..Self::default() }
    }

    /// Has the memory of clients fetched who come next, as far as these few words are names of clients: that of all at once,
    /// where taking them in waits for one after the other. Changes nothing.
    pub fn fetch<'line>(&self, words: impl Iterator<Item = &'line [u8]>) {
        if self.clients.len() < FETCHED_FROM {
            return;
        }
        let mut places = [usize::MAX; MOST_AT_A_TIME];
        for (place, word) in places.iter_mut().zip(words) {
            let known = short(word).and_then(|short| self.short_spellings.get(&short));
            *place = known.map_or(usize::MAX, |known| *known as usize);
        }
        let clients = || places.iter().filter_map(|place| self.clients.get(*place));
        let near = clients().fold(0, |read, client| read ^ client.fetch());
        let far = clients().fold(0, |read, client| read ^ client.fetch_behind());
        black_box((near, far));
    }

    /// Takes in a request.
    ///
    /// # Errors
    ///
    /// When the client is neither an address nor a host name.
    pub fn add(&mut self, entry: &Entry<'_>) -> Result<(), Fault> {
        let place = if self.trusted.is_empty() || entry.forwarded.is_none() {
            self.place_of(&entry.client)?
        } else {
            let believed = self.believed(entry);
            self.forwarded_requests += u64::from(believed != entry.client);
            self.place_of(&believed)?
        };
        self.requests += 1;
        match entry.at_s {
            Some(at_s) => {
                self.observed.add(at_s);
                self.late_requests += u64::from(self.busy.add(at_s));
            }
            None => self.undated_requests += 1,
        }
        match self.clients.get_mut(place) {
            Some(client) => client.add(entry),
            None => self.unlisted_requests += 1,
        }
        Ok(())
    }

    /// The last in the chain that is no trusted proxy, when a trusted proxy says so.
    fn believed<'entry>(&self, entry: &'entry Entry<'_>) -> Cow<'entry, [u8]> {
        let direct = Cow::Borrowed(entry.client.as_ref());
        let is_trusted = |text: &[u8]| address(text).is_some_and(|address| self.is_trusted(address));
        if !is_trusted(&entry.client) {
            return direct;
        }
        let chain = entry.forwarded.as_deref().unwrap_or_default();
        let mut hops = chain.rsplit(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        // What is no address ends what can be believed.
        match hops.find(|hop| !is_trusted(hop)) {
            Some(hop) if address(hop).is_some() => Cow::Borrowed(hop),
            _ => direct,
        }
    }

    /// Whether an address is a trusted proxy's.
    #[must_use]
    pub fn is_trusted(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|prefix| prefix.contains(&address))
    }

    fn place_of(&mut self, spelling: &[u8]) -> Result<usize, Fault> {
        let short = short(spelling);
        let known = match short {
            Some(short) => self.short_spellings.get(&short),
            None => self.spellings.get(spelling),
        };
        if let Some(place) = known {
            return Ok(*place as usize);
        }
        let who = who(spelling).ok_or(Fault::NoClient)?;
        let place = match self.places.get(&who) {
            Some(place) => *place,
            None if self.clients.len() >= MOST_CLIENTS => return Ok(usize::MAX),
            None => {
                let place = u32::try_from(self.clients.len()).unwrap_or(u32::MAX);
                self.clients.push(Client::new(who.clone()));
                self.places.insert(who, place);
                place
            }
        };
        if self.spellings.len() + self.short_spellings.len() >= MOST_SPELLINGS {
            self.spellings.clear();
            self.short_spellings.clear();
        }
        match short {
            Some(short) => self.short_spellings.insert(short, place),
            None => self.spellings.insert(spelling.into(), place),
        };
        Ok(place as usize)
    }

    /// Everybody, in order of appearance.
    #[must_use]
    pub fn all(&self) -> &[Client] {
        &self.clients
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, who: &Who) -> Option<&Client> {
        self.clients.get(*self.places.get(who)? as usize)
    }

    /// Forgets what one of them did: who was blocked for it is judged by what comes.
    pub fn forget(&mut self, who: &Who) {
        if let Some(client) = self.places.get(who).and_then(|place| self.clients.get_mut(*place as usize)) {
            *client = Client::new(who.clone());
        }
    }

    /// First and last time of the log, in seconds since the Unix epoch.
    #[must_use]
    pub const fn span(&self) -> Option<(i64, i64)> {
        self.busy.span()
    }
}

/// A short spelling and its length as one number, which is found without a look elsewhere.
fn short(spelling: &[u8]) -> Option<u128> {
    let mut bytes = [0; 16];
    let (last, text) = bytes.split_last_mut()?;
    text.get_mut(..spelling.len())?.copy_from_slice(spelling);
    *last = u8::try_from(spelling.len()).ok()?;
    Some(u128::from_le_bytes(bytes))
}

/// An address, also in brackets and with a port, as proxies write it.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    if let Some(inner) = text.strip_prefix('[') {
        return inner.split(']').next()?.parse::<IpAddr>().ok().map(|address| address.to_canonical());
    }
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|with_port| with_port.ip());
    text.parse::<IpAddr>().ok().or_else(with_port).map(|address| address.to_canonical())
}

fn who(spelling: &[u8]) -> Option<Who> {
    if let Some(address) = address(spelling) {
        return Some(Who::Source(Source::from(address)));
    }
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let has_letter = spelling.iter().any(u8::is_ascii_alphabetic);
    let is_host = has_letter && spelling.len() <= LONGEST_NAME && spelling.iter().all(is_name);
    is_host.then(|| Who::Name(String::from_utf8_lossy(spelling).to_ascii_lowercase().into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::text;
    use crate::logs::when::LastTime;

    fn clients(trusted: &[&str], lines: &[&str]) -> Clients {
        let mut clients = Clients::new(trusted.iter().map(|text| text.parse().unwrap()).collect());
        for line in lines {
            clients.add(&text::parse(line.as_bytes(), &mut LastTime::default()).unwrap().0).unwrap();
        }
        clients
    }

    fn line(client: &str, forwarded: &str) -> String {
        format!(
            "{client} - - [17/May/2015:10:05:03 +0000] \"GET / HTTP/1.1\" 200 1 \"-\" \"a\" \"{forwarded}\""
        )
    }

    #[test]
    fn only_a_trusted_proxy_is_believed_and_only_about_its_own_client() {
        for (client, forwarded, expected) in [
            ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
            ("10.0.0.1", "198.51.100.1, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
            ("10.0.0.1", "203.0.113.9:4711", "203.0.113.9"),
            ("10.0.0.1", "[2001:db8::9]:4711", "2001:db8::/64"),
            ("10.0.0.1", "unknown", "10.0.0.1"),
            ("10.0.0.1", "203.0.113.9, unknown", "10.0.0.1"),
            ("10.0.0.1", "-", "10.0.0.1"),
            ("192.0.2.7", "203.0.113.9", "192.0.2.7"),
        ] {
            let clients = clients(&["10.0.0.0/8"], &[&line(client, forwarded)]);
            let names: Vec<String> = clients.all().iter().map(|client| client.who.to_string()).collect();
            assert_eq!(names, [expected], "{client} {forwarded}");
        }
        assert_eq!(clients(&[], &[&line("10.0.0.1", "203.0.113.9")]).all()[0].who.to_string(), "10.0.0.1");
    }

    #[test]
    fn addresses_that_are_alike_are_not_taken_for_each_other() {
        let lines = [
            "192.168.1.1",
            "192.168.1.15",
            "192.168.1.1",
            "::ffff:192.168.1.1",
            "2001:db8::1",
            "2001:db8::2",
            "Host.example",
            "host.example",
        ];
        let lines: Vec<String> = lines.iter().map(|client| line(client, "-")).collect();
        let clients = clients(&[], &lines.iter().map(String::as_str).collect::<Vec<_>>());
        let counts: Vec<(String, u64)> =
            clients.all().iter().map(|client| (client.who.to_string(), client.requests)).collect();
        let expected = [("192.168.1.1", 3), ("192.168.1.15", 1), ("2001:db8::/64", 2), ("host.example", 2)];
        assert_eq!(counts, expected.map(|(who, count)| (who.to_owned(), count)));
    }

    #[test]
    fn what_is_neither_address_nor_name_is_nobody() {
        for spelling in ["300.1.1.1", "1.2.3", "-", "a/b", "caf\u{e9}", "12345"] {
            assert_eq!(who(spelling.as_bytes()), None, "{spelling}");
        }
    }
}
