//! JSON lines, by the field names that nginx and Apache configurations commonly have.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::entry::{Entry, Method, request};
use super::fault::Fault;
use super::when;

/// What a line with one JSON object says.
///
/// # Errors
///
/// When it is no object, or names no client or several.
pub fn parse(line: &[u8]) -> Result<Entry<'_>, Fault> {
    let mut fields = Fields::default();
    match fields.read(line) {
        Ok(()) => entry(fields),
        // nginx escapes like this unless told `escape=json`; who sends a quote would not be seen.
        Err(_) if line.windows(2).any(|pair| pair == b"\\x") => {
            let mended = mended(line);
            let mut fields = Fields::default();
            fields.read(&mended).map_err(|_| Fault::BadJson)?;
            Ok(entry(fields)?.into_owned())
        }
        Err(_) => Err(Fault::BadJson),
    }
}

/// What the beginning of a line says that is too long to be read.
///
/// # Errors
///
/// When it says too little.
pub fn parse_beginning(line: &[u8]) -> Result<Entry<'_>, Fault> {
    let mut fields = Fields::default();
    fields.read(line).ok();
    if fields.client.is_none() || fields.status.is_none() {
        return Err(Fault::TooLong);
    }
    entry(fields)
}

/// With the backslash of each `\x` doubled.
fn mended(line: &[u8]) -> Vec<u8> {
    let mut mended = Vec::with_capacity(line.len() + 64);
    let mut bytes = line.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        mended.push(byte);
        if byte == b'\\' {
            match bytes.peek() {
                Some(b'x') => mended.push(b'\\'),
                Some(_) => mended.extend(bytes.next()),
                None => {}
            }
        }
    }
    mended
}

fn entry(fields: Fields<'_>) -> Result<Entry<'_>, Fault> {
    if fields.is_ambiguous {
        return Err(Fault::AmbiguousClient);
    }
    let (client, _) = fields.client.ok_or(Fault::JsonWithoutClient)?;
    let at_s = match fields.time {
        Some(time) => Some(when::parse(time.trim_matches(['[', ']']).as_bytes()).ok_or(Fault::BadTime)?),
        None => None,
    };
    let (method, url) = match (fields.request, fields.url) {
        (Some(line), _) if fields.method.is_none() || line.contains(' ') => {
            let (method, url) = request(line.as_bytes());
            (method, Cow::Owned(url.to_vec()))
        }
        (line, url) => {
            let method = fields.method.map_or(Method::Other, |word| Method::of(word.as_bytes()));
            (method, url.or(line).map(into_bytes).unwrap_or_default())
        }
    };
    let status = match fields.status.as_deref() {
        None | Some("" | "-" | "0" | "000") => None,
        Some(text) => {
            let status = text.parse().ok().filter(|status| (100..600).contains(status));
            Some(status.ok_or(Fault::BadStatus)?)
        }
    };
    let bytes = match fields.bytes.as_deref() {
        None | Some("" | "-") => 0,
        Some(text) => text.parse().map_err(|_| Fault::BadSize)?,
    };
    let is_said = |text: &Cow<'_, str>| !text.is_empty() && text != "-";
    Ok(Entry {
        client: into_bytes(client),
        forwarded: fields.forwarded.filter(is_said).map(into_bytes),
        at_s,
        method,
        url,
        status,
        bytes,
        agent: fields.agent.map(into_bytes).unwrap_or_default(),
    })
}

fn into_bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

/// The fields that matter; of several names for one thing, the first in the line counts. Of the client's names that of
/// the connection counts, because others may be headers that the client sent, or the server's own.
#[derive(Default)]
struct Fields<'line> {
    /// With whether it is the connection's.
    client: Option<(Cow<'line, str>, bool)>,
    /// Two clients that differ, of the same rank.
    is_ambiguous: bool,
    forwarded: Option<Cow<'line, str>>,
    time: Option<Cow<'line, str>>,
    request: Option<Cow<'line, str>>,
    method: Option<Cow<'line, str>>,
    url: Option<Cow<'line, str>>,
    status: Option<Cow<'line, str>>,
    bytes: Option<Cow<'line, str>>,
    agent: Option<Cow<'line, str>>,
}

impl<'line> Fields<'line> {
    /// Takes an object in; what stands before an error is taken.
    fn read(&mut self, line: &'line [u8]) -> serde_json::Result<()> {
        let mut deserializer = serde_json::Deserializer::from_slice(line);
        (&mut *self).deserialize(&mut deserializer)?;
        deserializer.end()
    }

    fn take_client(&mut self, name: &str, client: Cow<'line, str>) {
        let is_connection =
            ["remote_addr", "remoteaddr", "remote-addr"].iter().any(|known| known.eq_ignore_ascii_case(name));
        match &self.client {
            Some((_, true)) if !is_connection => {}
            Some((known, rank)) if *rank == is_connection => self.is_ambiguous |= *known != client,
            _ => (self.client, self.is_ambiguous) = (Some((client, is_connection)), false),
        }
    }

    fn is_client(name: &str) -> bool {
        let names = [
            "remote_addr",
            "remoteaddr",
            "remote-addr",
            "remote_ip",
            "remoteip",
            "client_ip",
            "clientip",
            "client",
            "client_addr",
            "remote_host",
            "remotehost",
            "ip",
        ];
        names.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    fn place(&mut self, name: &str) -> Option<&mut Option<Cow<'line, str>>> {
        let is = |names: &[&str]| names.iter().any(|known| known.eq_ignore_ascii_case(name));
        Some(match () {
            () if is(&[
                "http_x_forwarded_for",
                "x_forwarded_for",
                "x-forwarded-for",
                "xff",
                "forwarded_for",
                "forwardedfor",
            ]) =>
            {
                &mut self.forwarded
            }
            () if is(&[
                "time_local",
                "time_iso8601",
                "time",
                "timestamp",
                "@timestamp",
                "msec",
                "ts",
                "datetime",
                "date",
            ]) =>
            {
                &mut self.time
            }
            () if is(&["request", "request_line"]) => &mut self.request,
            () if is(&["request_method", "requestmethod", "method", "verb"]) => &mut self.method,
            () if is(&["request_uri", "requesturi", "uri", "url", "path", "requesturl", "request_path"]) => {
                &mut self.url
            }
            () if is(&["status", "response", "status_code", "statuscode", "response_status"]) => {
                &mut self.status
            }
            () if is(&["body_bytes_sent", "bytes_sent", "bytes", "size", "response_size", "bytessent"]) => {
                &mut self.bytes
            }
            () if is(&["http_user_agent", "user_agent", "useragent", "user-agent", "agent"]) => {
                &mut self.agent
            }
            () => return None,
        })
    }
}

impl<'line> DeserializeSeed<'line> for &mut Fields<'line> {
    type Value = ();

    fn deserialize<D: Deserializer<'line>>(self, deserializer: D) -> Result<(), D::Error> {
        struct OfObject<'fields, 'line>(&'fields mut Fields<'line>);
        impl<'line> Visitor<'line> for OfObject<'_, 'line> {
            type Value = ();

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'line>>(self, mut map: A) -> Result<(), A::Error> {
                let fields = self.0;
                while let Some(Text(Some(name))) = map.next_key()? {
                    if Fields::is_client(&name) {
                        if let Text(Some(client)) = map.next_value()? {
                            fields.take_client(&name, client);
                        }
                        continue;
                    }
                    match fields.place(&name) {
                        Some(place) => {
                            let Text(value) = map.next_value()?;
                            if place.is_none() {
                                *place = value;
                            }
                        }
                        None => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(())
            }
        }
        deserializer.deserialize_map(OfObject(self))
    }
}

/// A text or a number as text; `None` for what is neither.
struct Text<'line>(Option<Cow<'line, str>>);

impl<'line> Deserialize<'line> for Text<'line> {
    fn deserialize<D: Deserializer<'line>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfScalar;
        impl<'line> Visitor<'line> for OfScalar {
            type Value = Text<'line>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_borrowed_str<E>(self, text: &'line str) -> Result<Self::Value, E> {
                Ok(Text(Some(Cow::Borrowed(text))))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Some(Cow::Owned(text.to_owned()))))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Text(Some(Cow::Owned(number.to_string()))))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
                Ok(Text(Some(Cow::Owned(number.to_string()))))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
                Ok(Text(Some(Cow::Owned(format!("{number:.3}")))))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Text(None))
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Text(None))
            }

            fn visit_map<A: MapAccess<'line>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Text(None))
            }

            fn visit_seq<A: SeqAccess<'line>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Text(None))
            }
        }
        deserializer.deserialize_any(OfScalar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_names_of_nginx_and_apache() {
        for (description, line, client, at_s, url, status, bytes) in [
            (
                "nginx",
                r#"{"time_local":"17/May/2015:10:05:03 +0000","remote_addr":"192.0.2.7","request":"POST /a HTTP/2.0","status":"404","body_bytes_sent":"17","http_user_agent":"an agent","http_x_forwarded_for":"203.0.113.9"}"#,
                "192.0.2.7",
                Some(1_431_857_103),
                "/a",
                Some(404),
                17,
            ),
            (
                "nginx, numbers and parts",
                r#"{"msec":1431857103.123,"time_iso8601":"2016-01-01T00:00:00Z","remote_addr":"2001:db8::7","request_method":"POST","request_uri":"/a?b","status":200,"bytes_sent":17,"http_user_agent":"an agent","http_x_forwarded_for":"203.0.113.9","upstream":{"time":[1,2]}}"#,
                "2001:db8::7",
                Some(1_431_857_103),
                "/a?b",
                Some(200),
                17,
            ),
            (
                "Apache",
                r#"{"@timestamp":"2015-05-17T12:05:03+0200","clientip":"host.example","verb":"POST","request":"/a","response":301,"bytes":"-","agent":"an agent","x_forwarded_for":"203.0.113.9"}"#,
                "host.example",
                Some(1_431_857_103),
                "/a",
                Some(301),
                0,
            ),
            (
                "escapes, no time",
                r#"{"remoteIP":"192.0.2.7","method":"POST","uri":"/\u00e4\"","status":null,"userAgent":"an agent","xff":"203.0.113.9"}"#,
                "192.0.2.7",
                None,
                "/\u{e4}\"",
                None,
                0,
            ),
        ] {
            let entry = parse(line.as_bytes()).expect(description);
            assert_eq!(entry.client, client.as_bytes(), "{description}");
            assert_eq!((entry.at_s, entry.status, entry.bytes), (at_s, status, bytes), "{description}");
            assert_eq!(String::from_utf8_lossy(&entry.url), url, "{description}");
            assert_eq!(
                (entry.method, entry.agent.as_ref()),
                (Method::Post, &b"an agent"[..]),
                "{description}"
            );
            assert_eq!(entry.forwarded.as_deref(), Some(&b"203.0.113.9"[..]), "{description}");
        }
    }

    #[test]
    fn the_connections_address_is_the_client() {
        for (line, expected) in [
            (r#"{"host_ip":"198.51.100.5","remote_addr":"192.0.2.7"}"#, Ok("192.0.2.7")),
            (r#"{"client":"198.51.100.5","ip":"198.51.100.6","remote_addr":"192.0.2.7"}"#, Ok("192.0.2.7")),
            (r#"{"RemoteAddr":"192.0.2.7","client_ip":"198.51.100.5"}"#, Ok("192.0.2.7")),
            (r#"{"clientip":"192.0.2.7","client":"192.0.2.7"}"#, Ok("192.0.2.7")),
            (r#"{"clientip":"192.0.2.7","client":"198.51.100.5"}"#, Err(Fault::AmbiguousClient)),
            (r#"{"host_ip":"198.51.100.5"}"#, Err(Fault::JsonWithoutClient)),
        ] {
            let client =
                parse(line.as_bytes()).map(|entry| String::from_utf8_lossy(&entry.client).into_owned());
            assert_eq!(client, expected.map(str::to_owned), "{line}");
        }
    }

    #[test]
    fn a_client_cannot_hide_by_what_it_sends() {
        let line = br#"{"remote_addr":"192.0.2.7","status":404,"http_user_agent":"a\x22\\x \u00e4"}"#;
        assert_eq!(parse(line).unwrap().agent.as_ref(), "a\\x22\\x \u{e4}".as_bytes());
        let cut = br#"{"remote_addr":"192.0.2.7","status":404,"http_user_agent":"aaaaaaa"#;
        assert_eq!((parse(cut).is_err(), parse_beginning(cut).unwrap().status), (true, Some(404)));
        assert_eq!(parse_beginning(br#"{"remote_addr":"192.0.2.7","sta"#), Err(Fault::TooLong));
    }

    #[test]
    fn says_what_is_wrong_with_a_line() {
        for (line, expected) in [
            ("{", Fault::BadJson),
            ("[1]", Fault::BadJson),
            ("{\"status\":200}", Fault::JsonWithoutClient),
            ("{\"remote_addr\":\"192.0.2.7\",\"time\":\"soon\"}", Fault::BadTime),
            ("{\"remote_addr\":\"192.0.2.7\",\"status\":\"fine\"}", Fault::BadStatus),
            ("{\"remote_addr\":\"192.0.2.7\",\"bytes\":\"many\"}", Fault::BadSize),
        ] {
            assert_eq!(parse(line.as_bytes()).unwrap_err(), expected, "{line}");
        }
    }
}
