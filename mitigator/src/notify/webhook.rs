//! To a webhook: an HTTP POST with one JSON object, through ureq and rustls.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use super::{Message, PATIENCE};

/// Where a webhook is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookSettings {
    /// `https://…`, or `http://…` on this machine.
    pub url: String,
    /// File with a token that is sent as `Authorization: Bearer`.
    pub token_file: Option<PathBuf>,
    /// The certificate (PEM) that is trusted in place of those of the system.
    pub ca_file: Option<PathBuf>,
}

/// Posts a message.
///
/// # Errors
///
/// When it cannot be sent, or the answer is not 2xx.
pub fn send(settings: &WebhookSettings, message: &Message) -> Result<()> {
    let WebhookSettings { url, token_file, .. } = settings;
    let agent: Agent = Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .max_redirects(0)
        .http_status_as_error(false)
        .tls_config(tls(settings)?)
        .build()
        .into();
    let mut request = agent.post(url).header("Content-Type", "application/json");
    if let Some(file) = token_file {
        let token = fs::read_to_string(file)
            .with_context(|| format!("cannot read the token file {}", file.display()))?;
        request = request.header("Authorization", format!("Bearer {}", token.trim()));
    }
    let body = serde_json::to_string(message).context("cannot compose the message")?;
    let answer = request.send(&body).with_context(|| format!("cannot post to {url}"))?;
    if !answer.status().is_success() {
        bail!("{url} answered {}", answer.status());
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
