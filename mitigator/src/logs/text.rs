//! The text formats: common, combined, either behind a virtual host, and nginx's `main`, which ends with the
//! `X-Forwarded-For`. A line may be wrapped in a pair of quotes, as spreadsheets and copied logs have it.

use std::borrow::Cow;

use memchr::{memchr, memchr_iter, memrchr};

use super::entry::{Entry, request};
use super::fault::Fault;
use super::format::Format;
use super::when::LastTime;

/// What a line of text says.
///
/// # Errors
///
/// When it is of none of the formats.
pub fn parse<'line>(line: &'line [u8], last_time: &mut LastTime) -> Result<(Entry<'line>, Format), Fault> {
    let line = unwrapped(line);
    // A user's name may hold brackets, but no raw quote: the time is what stands last before the request.
    let (before, _) = line.split_at(first_quote(line).unwrap_or(line.len()));
    let bracket = memrchr(b'[', before).ok_or(Fault::NoTime)?;
    let (head, rest) = line.split_at(bracket);
    let (client, has_host) = client_in(head)?;
    let end = memchr(b']', rest).ok_or(Fault::NoTime)?;
    let time = rest.get(1..end).unwrap_or_default();
    let at_s = last_time.parse(time);
    if at_s.is_none() && time != b"-" && !time.is_empty() {
        return Err(Fault::BadTime);
    }
    let rest = rest.get(end + 1..).unwrap_or_default().trim_ascii_start();
    let (asked, rest) = quoted(rest).ok_or(Fault::NoRequest)?;
    let (method, url) = request(asked);
    let (status, rest) = word(rest);
    let (bytes, rest) = word(rest);
    let referrer = quoted(rest);
    let format = match (has_host, referrer) {
        (true, _) => Format::VirtualHost,
        (false, Some(_)) => Format::Combined,
        (false, None) => Format::Common,
    };
    let (_, rest) = referrer.unwrap_or((&[], rest));
    let (agent, rest) = quoted(rest).unwrap_or((&[], rest));
    let forwarded = quoted(rest).map(|(text, _)| text).filter(|text| *text != b"-");
    let entry = Entry {
        client: Cow::Borrowed(client),
        forwarded: forwarded.map(Cow::Borrowed),
        at_s,
        method,
        url: Cow::Borrowed(url),
        status: status_of(status)?,
        bytes: number(bytes).ok_or(Fault::BadSize)?,
        agent: Cow::Borrowed(agent),
    };
    Ok((entry, format))
}

/// Without the quotes around the whole line: it begins with one, as no format does.
fn unwrapped(line: &[u8]) -> &[u8] {
    match line {
        [b'"', inner @ .., b'"'] => inner,
        [b'"', inner @ ..] => inner,
        _ => line,
    }
}

/// Who asked, of what stands before the time: `client ident user`, or `host:port client ident user`, and
/// whether it is the latter. In some formats a header that the client sent stands in front, so that two addresses, or a
/// list of them, are not taken for one or the other.
fn client_in(head: &[u8]) -> Result<(&[u8], bool), Fault> {
    let (first, rest) = word(head);
    if first.contains(&b',') {
        return Err(Fault::AmbiguousClient);
    }
    let mut others = rest.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let (second, third) = (others.next(), others.next());
    // A user may hold blanks, so that the number of words does not tell.
    let may_be_host = third.is_some() && others.next().is_some() && !is_address(first);
    let is_host = may_be_host && second.is_some_and(|word| is_address(word) || is_host_and_port(first));
    let is_listed = |word: &[u8]| word != b"-" && (rest.contains(&b',') || is_address(word));
    if !is_host && second.is_some_and(is_listed) {
        return Err(Fault::AmbiguousClient);
    }
    let client = if is_host { second.unwrap_or_default() } else { first };
    if client.is_empty() { Err(Fault::NoClient) } else { Ok((client, is_host)) }
}

/// Where the first quote is that no backslash precedes.
fn first_quote(line: &[u8]) -> Option<usize> {
    memchr_iter(b'"', line).find(|at| at.checked_sub(1).and_then(|before| line.get(before)) != Some(&b'\\'))
}

fn is_address(word: &[u8]) -> bool {
    std::str::from_utf8(word).is_ok_and(|word| word.parse::<std::net::IpAddr>().is_ok())
}

fn is_host_and_port(word: &[u8]) -> bool {
    let mut parts = word.rsplitn(2, |byte| *byte == b':');
    let port = parts.next().unwrap_or_default();
    parts.next().is_some() && !port.is_empty() && port.iter().all(u8::is_ascii_digit)
}

/// The word at the start, and what follows it.
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let text = text.trim_ascii_start();
    text.split_at(memchr(b' ', text).unwrap_or(text.len()))
}

/// What stands in quotes at the start, and what follows; a quote behind a backslash is part of it.
fn quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.trim_ascii_start().strip_prefix(b"\"")?;
    let mut from = 0;
    loop {
        let end = from + memchr(b'"', text.get(from..)?)?;
        let before = text.get(..end)?;
        let backslashes = before.iter().rev().take_while(|byte| **byte == b'\\').count();
        if backslashes % 2 == 0 {
            return Some((before, text.get(end + 1..)?));
        }
        from = end + 1;
    }
}

/// 100 to 599; `-` is none.
fn status_of(word: &[u8]) -> Result<Option<u16>, Fault> {
    match word {
        b"-" | b"000" | b"0" => Ok(None),
        [a @ b'1'..=b'5', b, c] if b.is_ascii_digit() && c.is_ascii_digit() => {
            Ok(Some(u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0')))
        }
        _ => Err(Fault::BadStatus),
    }
}

/// Decimal; `-` and nothing are 0.
fn number(word: &[u8]) -> Option<u64> {
    if word.is_empty() || word == b"-" {
        return Some(0);
    }
    word.iter().try_fold(0_u64, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "[17/May/2015:10:05:03 +0000]";

    type Parsed = (String, String, Option<u16>, u64, String, Option<String>, Format);

    fn parsed(line: &str) -> Result<Parsed, Fault> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (entry, format) = parse(line.as_bytes(), &mut LastTime::default())?;
        let forwarded = entry.forwarded.as_deref().map(text);
        Ok((
            text(&entry.client),
            text(&entry.url),
            entry.status,
            entry.bytes,
            text(&entry.agent),
            forwarded,
            format,
        ))
    }

    #[test]
    fn reads_every_text_format() {
        let rest = "- - [17/May/2015:10:05:03 +0000] \"GET /a?b=1 HTTP/1.1\" 200 17";
        for (description, line, expected) in [
            ("common", format!("192.0.2.7 {rest}"), ("192.0.2.7", "", None, Format::Common)),
            (
                "combined",
                format!("192.0.2.7 {rest} \"-\" \"an agent\""),
                ("192.0.2.7", "an agent", None, Format::Combined),
            ),
            (
                "a quote in the agent",
                format!("192.0.2.7 {rest} \"-\" \"an \\\"agent\\\\\""),
                ("192.0.2.7", "an \\\"agent\\\\", None, Format::Combined),
            ),
            (
                "nginx main",
                format!("192.0.2.7 {rest} \"-\" \"an agent\" \"203.0.113.9\""),
                ("192.0.2.7", "an agent", Some("203.0.113.9"), Format::Combined),
            ),
            (
                "virtual host",
                format!("www.example.org:443 192.0.2.7 {rest} \"-\" \"an agent\""),
                ("192.0.2.7", "an agent", None, Format::VirtualHost),
            ),
            (
                "virtual host without port",
                format!("www.example.org 192.0.2.7 {rest} \"-\" \"an agent\""),
                ("192.0.2.7", "an agent", None, Format::VirtualHost),
            ),
            (
                "virtual host, client by name",
                format!("www.example.org:80 host.example {rest} \"-\" \"an agent\""),
                ("host.example", "an agent", None, Format::VirtualHost),
            ),
            (
                "IPv6",
                format!("2001:db8::7 {rest} \"-\" \"an agent\""),
                ("2001:db8::7", "an agent", None, Format::Combined),
            ),
            ("a name", format!("host.example {rest}"), ("host.example", "", None, Format::Common)),
            (
                "wrapped",
                format!("\"192.0.2.7 {rest} \"-\" \"an agent\"\""),
                ("192.0.2.7", "an agent", None, Format::Combined),
            ),
        ] {
            let (client, url, status, bytes, agent, forwarded, format) = parsed(&line).expect(description);
            assert_eq!(
                (client.as_str(), agent.as_str(), forwarded.as_deref(), format),
                expected,
                "{description}"
            );
            assert_eq!((url.as_str(), status, bytes), ("/a?b=1", Some(200), 17), "{description}");
        }
        for head in [
            "192.0.2.7 - a user name",
            "192.0.2.7 - [",
            "192.0.2.7 - [17/May/2015:10:05:04 +0000]",
            "192.0.2.7 - a\\\"b",
            "192.0.2.7 - 203.0.113.9",
            "192.0.2.7 - Doe, Jane",
        ] {
            let (client, url, ..) = parsed(&format!("{head} {TIME} \"GET /[\" 200 17")).unwrap();
            assert_eq!((client.as_str(), url.as_str()), ("192.0.2.7", "/["), "{head}");
        }
    }

    #[test]
    fn who_may_have_been_named_by_the_client_is_nobody() {
        for head in [
            "198.51.100.9 203.0.113.66 - -",
            "2001:db8::1 203.0.113.66 - -",
            "198.51.100.9 203.0.113.66",
            "198.51.100.9, 203.0.113.66 - -",
            "198.51.100.9 x, 203.0.113.66 - -",
            "host.example, 203.0.113.66 - -",
        ] {
            let line = format!("{head} {TIME} \"GET / HTTP/1.1\" 200 17");
            assert_eq!(parsed(&line).unwrap_err(), Fault::AmbiguousClient, "{head}");
        }
    }

    #[test]
    fn takes_what_servers_write_of_broken_requests() {
        for (request, status, url, expected) in [
            ("-", "408", "-", Some(408)),
            ("\\x16\\x03\\x01", "400", "\\x16\\x03\\x01", Some(400)),
            ("GET /a b HTTP/1.1", "404", "/a b", Some(404)),
            ("GET /", "-", "/", None),
            ("GET /\\\"x HTTP/1.1", "200", "/\\\"x", Some(200)),
        ] {
            let line = format!("192.0.2.7 - - {TIME} \"{request}\" {status} -");
            let (_, found, status, bytes, ..) = parsed(&line).expect(request);
            assert_eq!((found.as_str(), status, bytes), (url, expected, 0), "{request}");
        }
        let undated =
            parse(b"192.0.2.7 - - [-] \"GET / HTTP/1.1\" 200 1", &mut LastTime::default()).unwrap().0;
        assert_eq!(undated.at_s, None);
    }

    #[test]
    fn says_what_is_wrong_with_a_line() {
        for (line, expected) in [
            ("", Fault::NoTime),
            ("host\tlogname\ttime", Fault::NoTime),
            ("192.0.2.7 - - [17/May/2015:10:05:03", Fault::NoTime),
            ("192.0.2.7 - - [yesterday] \"GET / HTTP/1.1\" 200 1", Fault::BadTime),
            ("[17/May/2015:10:05:03 +0000] \"GET / HTTP/1.1\" 200 1", Fault::NoClient),
            ("192.0.2.7 - - [17/May/2015:10:05:03 +0000] GET / 200 1", Fault::NoRequest),
            ("192.0.2.7 - - [17/May/2015:10:05:03 +0000] \"GET / HTTP/1.1 200 1", Fault::NoRequest),
            ("192.0.2.7 - - [17/May/2015:10:05:03 +0000] \"GET / HTTP/1.1\" 999 1", Fault::BadStatus),
            ("192.0.2.7 - - [17/May/2015:10:05:03 +0000] \"GET / HTTP/1.1\" 200 one", Fault::BadSize),
        ] {
            assert_eq!(parsed(line).unwrap_err(), expected, "{line}");
        }
    }
}
