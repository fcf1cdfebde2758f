//! JSON lines, by the field names that nginx and Apache configurations commonly have.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::entry::{Entry, Method, request};
use super::fault::Fault;
use super::when;

/// What a line with one JSON object says.
///
/// # Errors
///
/// When it is no object, or names no client.
pub fn parse(line: &[u8]) -> Result<Entry<'_>, Fault> {
    let fields: Fields<'_> = serde_json::from_slice(line).map_err(|_| Fault::BadJson)?;
    let client = fields.client.ok_or(Fault::JsonWithoutClient)?;
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

/// The fields that matter; of several names for one thing, the first in the line counts.
#[derive(Default)]
struct Fields<'line> {
    client: Option<Cow<'line, str>>,
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
    fn place(&mut self, name: &str) -> Option<&mut Option<Cow<'line, str>>> {
        let is = |names: &[&str]| names.iter().any(|known| known.eq_ignore_ascii_case(name));
        Some(match () {
            () if is(&[
                "remote_addr",
                "remoteaddr",
                "remote_ip",
                "remoteip",
                "client_ip",
                "clientip",
                "client",
                "client_addr",
                "remote_host",
                "remotehost",
                "host_ip",
                "ip",
            ]) =>
            {
                &mut self.client
            }
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

impl<'line> Deserialize<'line> for Fields<'line> {
    fn deserialize<D: Deserializer<'line>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfObject;
        impl<'line> Visitor<'line> for OfObject {
            type Value = Fields<'line>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'line>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Fields::default();
                while let Some(Text(Some(name))) = map.next_key()? {
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
                Ok(fields)
            }
        }
        deserializer.deserialize_map(OfObject)
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
