//! To a webhook: an HTTP POST with one JSON object, through ureq and rustls.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use ureq::Agent;
use ureq::http::Uri;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use super::{Message, PATIENCE};

/// Where a webhook is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookSettings {
    /// Its address, which may hold a secret.
    pub address: Address,
    /// File with a token that is sent as `Authorization: Bearer`.
    pub token_file: Option<PathBuf>,
    /// The certificate (PEM) that is trusted in place of those of the system.
    pub ca_file: Option<PathBuf>,
}

/// Where the address of a webhook stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// In the configuration.
    Url(String),
    /// In a file that nobody else should be able to read.
    InFile(PathBuf),
}

/// Refuses what is no address of a webhook, and to send a token for all to read. What it says holds no secret.
///
/// # Errors
///
/// When it does not begin with `https://` or `http://`, or names no host, or a token would go unprotected to another machine.
pub fn check(url: &str, has_token: bool) -> Result<()> {
    let uri = url.parse::<Uri>().ok();
    let scheme = uri.as_ref().and_then(Uri::scheme_str);
    let host = uri.as_ref().and_then(Uri::host).filter(|host| !host.is_empty());
    let (Some(scheme @ ("https" | "http")), Some(host)) = (scheme, host) else {
        bail!("the address of the webhook must begin with https:// or http:// and name a host");
    };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let is_here = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    ensure!(
        scheme == "https" || is_here || !has_token,
        "the webhook would send the token unprotected; use https://"
    );
    Ok(())
}

/// What of an address may be shown: scheme, host and port.
fn shown(url: &str) -> String {
    let uri = url.parse::<Uri>().ok();
    let place = uri.as_ref().and_then(|uri| Some((uri.scheme_str()?, uri.host()?, uri.port())));
    place.map_or_else(
        || "the webhook".to_owned(),
        |(scheme, host, port)| {
            format!("{scheme}://{host}{}", port.map_or_else(String::new, |port| format!(":{port}")))
        },
    )
}

/// Posts a message.
///
/// # Errors
///
/// When it cannot be sent, or the answer is not 2xx.
pub fn send(settings: &WebhookSettings, message: &Message) -> Result<()> {
    let WebhookSettings { address, token_file, .. } = settings;
    let url = match address {
        Address::Url(url) => url.clone(),
        Address::InFile(file) => {
            let text = fs::read_to_string(file).with_context(|| {
                format!("cannot read the file with the webhook's address {}", file.display())
            })?;
            text.trim().to_owned()
        }
    };
    check(&url, token_file.is_some())?;
    let place = shown(&url);
    let agent: Agent = Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .max_redirects(0)
        .http_status_as_error(false)
        .tls_config(tls(settings)?)
        .build()
        .into();
    let mut request = agent.post(&url).header("Content-Type", "application/json");
    if let Some(file) = token_file {
        let token = fs::read_to_string(file)
            .with_context(|| format!("cannot read the token file {}", file.display()))?;
        request = request.header("Authorization", format!("Bearer {}", token.trim()));
    }
    let body = serde_json::to_string(message).context("cannot compose the message")?;
    let answer = request.send(&body).with_context(|| format!("cannot post to {place}"))?;
    if !answer.status().is_success() {
        bail!("{place} answered {}", answer.status());
    }
    Ok(())
}

fn tls(settings: &WebhookSettings) -> Result<TlsConfig> {
    let builder = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let Some(file) = &settings.ca_file else {
        return Ok(builder.root_certs(RootCerts::PlatformVerifier).build());
    };
    let cannot_read = || format!("cannot read the certificate {}", file.display());
    let certificate =
        Certificate::from_pem(&fs::read(file).with_context(cannot_read)?).with_context(cannot_read)?;
    Ok(builder.root_certs(RootCerts::new_with_certs(&[certificate])).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_neither_shown_nor_sent_for_all_to_read() {
        for (url, has_token, is_taken, expected) in [
            ("https://example.org/services/SECRET?key=SECRET", true, true, "https://example.org"),
            ("https://me:SECRET@example.org:8443/", true, true, "https://example.org:8443"),
            ("http://example.org/SECRET", false, true, "http://example.org"),
            ("http://example.org/SECRET", true, false, "http://example.org"),
            ("http://127.0.0.1:80/SECRET", true, true, "http://127.0.0.1:80"),
            ("http://[::1]/SECRET", true, true, "http://[::1]"),
            ("http://localhost/SECRET", true, true, "http://localhost"),
            ("http://localhost.example.org/SECRET", true, false, "http://localhost.example.org"),
            ("ftp://example.org/SECRET", false, false, "ftp://example.org"),
            ("SECRET here", false, false, "the webhook"),
        ] {
            let checked = check(url, has_token);
            assert_eq!((checked.is_ok(), shown(url)), (is_taken, expected.to_owned()), "{url}");
            assert!(!format!("{checked:?}").contains("SECRET"), "{url}");
        }
    }
}
