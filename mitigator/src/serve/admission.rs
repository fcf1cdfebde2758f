//! Who may ask: a token, in every place but loopback without one; no page of another site, in none.
//!
//! A browser on this machine sends whatever a page asks it to, also to loopback. What tells such a request is its
//! `Origin`, and, when the page's own name was made to point here, its `Host`. Who knows the token is nobody's browser.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Result, ensure};
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::refusal::Refusal;

/// What a browser says of who has it ask, also where it names no `Origin`, as for an image.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Letters that a token has at least; 22 random ones of base64 are 128 bits.
const SHORTEST_TOKEN: usize = 16;

/// What a caller has to know. Only its hash is kept.
#[derive(Clone)]
pub struct Token([u8; 32]);

impl Token {
    /// A token as the operator chose it; spaces and line ends around it are not part of it.
    ///
    /// # Errors
    ///
    /// When it is too short to be a secret, or cannot stand in a header.
    pub fn new(text: &str) -> Result<Self> {
        let text = text.trim();
        ensure!(
            text.len() >= SHORTEST_TOKEN,
            "the token has {} letters; it takes at least {SHORTEST_TOKEN}, such as `openssl rand -hex 16` gives",
            text.len()
        );
        ensure!(
            text.bytes().all(|byte| byte.is_ascii_graphic()),
            "the token has other than printable ASCII letters"
        );
        Ok(Self(hash(text.as_bytes())))
    }

    /// Takes the same time whatever is asked: hashes are of equal length, and each byte is looked at.
    fn is(&self, asked: &[u8]) -> bool {
        self.0.ct_eq(&hash(asked)).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// The rule.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    token: Option<Token>,
}

impl Admission {
    /// # Errors
    ///
    /// When anybody on the network could ask, and nobody would have to know anything.
    pub(super) fn new(address: SocketAddr, token: Option<Token>) -> Result<Self> {
        ensure!(
            token.is_some() || address.ip().to_canonical().is_loopback(),
            "{address} can be reached from elsewhere, so callers have to show a token: write one into a file and pass \
             `--token-file FILE`, or set MITIGATOR_TOKEN; without a token listen on 127.0.0.1 or [::1]"
        );
        Ok(Self { token })
    }

    pub(super) const fn has_token(&self) -> bool {
        self.token.is_some()
    }

    fn judge(&self, headers: &HeaderMap, authority: Option<&Authority>) -> Result<(), Refusal> {
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let host = text(HOST);
        if let Some(token) = &self.token {
            let shown = headers.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
            if !shown.is_some_and(|shown| token.is(shown)) {
                let why = "this server wants its token: send the header `Authorization: Bearer TOKEN`";
                return Err(Refusal::new(StatusCode::UNAUTHORIZED, why));
            }
        } else {
            let mut hosts = authority.map(Authority::as_str).into_iter().chain(host).peekable();
            let is_local = hosts.peek().is_some() && hosts.all(is_loopback);
            if !is_local {
                let why = "the header `Host` names another server; this one answers to localhost, 127.0.0.1 and [::1]";
                return Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, why));
            }
        }
        let is_anothers = text(ORIGIN).is_some_and(|origin| !is_same(origin, host))
            || text(FETCH_SITE).is_some_and(|site| !["same-origin", "none"].contains(&site));
        if is_anothers {
            return Err(Refusal::new(StatusCode::FORBIDDEN, "pages of other sites may not ask this server"));
        }
        Ok(())
    }
}

/// Lets a request through, or refuses it before anything of its body is read.
pub(super) async fn admit(State(admission): State<Arc<Admission>>, request: Request, next: Next) -> Response {
    match admission.judge(request.headers(), request.uri().authority()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// The scheme is compared without regard to case.
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Of `localhost:8080`, `127.0.0.1` or `[::1]:8080`.
fn is_loopback(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_end_matches('.');
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

fn is_same(origin: &str, host: Option<&str>) -> bool {
    let named = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    named.zip(host).is_some_and(|(named, host)| named.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "correct-horse-battery-staple";

    fn judged(token: Option<&str>, headers: &[(&'static str, &str)]) -> u16 {
        let admission = Admission { token: token.map(|token| Token::new(token).unwrap()) };
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        admission
            .judge(&headers, None)
            .map_or_else(|refusal| refusal.into_response().status().as_u16(), |()| 200)
    }

    #[test]
    fn loopback_answers_to_its_own_names_and_to_its_own_pages() {
        for (description, headers, expected) in [
            ("by name", &[("host", "localhost:8080")][..], 200),
            ("by name, in full", &[("host", "LOCALHOST.")], 200),
            ("by address", &[("host", "127.0.0.1")], 200),
            ("by another of its addresses", &[("host", "127.9.9.9:1")], 200),
            ("by IPv6 address", &[("host", "[::1]:8080")], 200),
            ("a name that was made to point here", &[("host", "evil.example:8080")], 421),
            ("a name that begins alike", &[("host", "localhost.evil.example")], 421),
            ("another address", &[("host", "192.0.2.1")], 421),
            ("no name", &[], 421),
            ("nonsense", &[("host", "a b")], 421),
            ("its own page", &[("host", "localhost:8080"), ("origin", "http://localhost:8080")], 200),
            ("another port's page", &[("host", "localhost:8080"), ("origin", "http://localhost:80")], 403),
            ("another site's page", &[("host", "localhost:8080"), ("origin", "https://evil.example")], 403),
            ("a page without a site", &[("host", "localhost:8080"), ("origin", "null")], 403),
            ("another site's image", &[("host", "localhost"), ("sec-fetch-site", "cross-site")], 403),
            ("another port's image", &[("host", "localhost"), ("sec-fetch-site", "same-site")], 403),
            ("its own image", &[("host", "localhost"), ("sec-fetch-site", "same-origin")], 200),
            ("typed into the browser", &[("host", "localhost"), ("sec-fetch-site", "none")], 200),
        ] {
            assert_eq!(judged(None, headers), expected, "{description}");
        }
    }

    #[test]
    fn who_shows_the_token_may_ask_and_nobody_else() {
        let right = format!("Bearer {TOKEN}");
        let (spaced, longer) = (format!("bearer  {TOKEN} "), format!("Bearer {TOKEN}x"));
        for (description, headers, expected) in [
            ("the token", &[("authorization", right.as_str())][..], 200),
            ("with spaces", &[("authorization", &spaced)], 200),
            ("by any name", &[("authorization", &right), ("host", "mitigator.example")], 200),
            ("from a page", &[("authorization", &right), ("origin", "https://evil.example")], 403),
            ("none", &[("host", "localhost")], 401),
            ("an empty one", &[("authorization", "Bearer ")], 401),
            ("half of it", &[("authorization", "Bearer correct-horse")], 401),
            ("more than it", &[("authorization", &longer)], 401),
            ("without a scheme", &[("authorization", TOKEN)], 401),
            ("another scheme", &[("authorization", "Basic correct-horse-battery-staple")], 401),
        ] {
            assert_eq!(judged(Some(TOKEN), headers), expected, "{description}");
        }
    }

    #[test]
    fn who_can_be_reached_from_elsewhere_needs_a_token_and_a_token_has_to_be_one() {
        for (address, needs_token) in [
            ("127.0.0.1:8080", false),
            ("127.1.2.3:8080", false),
            ("[::1]:8080", false),
            ("[::ffff:127.0.0.1]:8080", false),
            ("0.0.0.0:8080", true),
            ("[::]:8080", true),
            ("192.0.2.1:8080", true),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(Admission::new(address, None).is_err(), needs_token, "{address}");
            assert!(Admission::new(address, Token::new(TOKEN).ok()).is_ok(), "{address}");
        }
        for (text, is_good) in
            [("", false), ("short", false), ("sixteen letters!", false), (" 0123456789abcdef\n", true)]
        {
            assert_eq!(Token::new(text).is_ok(), is_good, "{text:?}");
        }
        assert_eq!(format!("{:?}", Token::new(TOKEN).unwrap()), "Token");
    }
}
