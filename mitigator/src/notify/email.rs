//! By e-mail: SMTP with TLS, through lettre and rustls. The list is attached.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use lettre::message::header::ContentType;
use lettre::message::{Attachment, Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{SmtpTransport, Transport};

use super::{Message, PATIENCE};

/// How the connection is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protection {
    /// Plain at first, then STARTTLS, which the server must offer.
    #[default]
    StartTls,
    /// TLS from the first byte.
    Tls,
    /// None: only for a server on this machine.
    None,
}

/// Where mail goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmailSettings {
    /// Host name of the server, which its certificate has to name.
    pub server: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: Protection,
    /// A certificate (PEM) that is trusted beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// User and file with the password.
    pub login: Option<(String, PathBuf)>,
    /// From whom.
    pub from: Mailbox,
    /// To whom.
    pub to: Vec<Mailbox>,
}

/// Sends a message.
///
/// # Errors
///
/// When it cannot be made or the server does not take it.
pub fn send(settings: &EmailSettings, message: &Message) -> Result<()> {
    let mail = composed(settings, message)?;
    let transport = transport(settings)?;
    transport.send(&mail).with_context(|| {
        format!("the mail server {} port {} did not take it", settings.server, settings.port)
    })?;
    Ok(())
}

fn composed(settings: &EmailSettings, message: &Message) -> Result<lettre::Message> {
    let mut mail = lettre::Message::builder().from(settings.from.clone()).subject(&message.subject);
    for to in &settings.to {
        mail = mail.to(to.clone());
    }
    let body = SinglePart::plain(message.body.clone());
    let mail = if message.success {
        let list = Attachment::new(message.list_name.to_owned());
        let list = list.body(message.list.clone(), ContentType::TEXT_PLAIN);
        mail.multipart(MultiPart::mixed().singlepart(body).singlepart(list))
    } else {
        mail.singlepart(body)
    };
    mail.context("cannot compose the mail")
}

fn transport(settings: &EmailSettings) -> Result<SmtpTransport> {
    let parameters = || -> Result<TlsParameters> {
        let mut builder = TlsParameters::builder(settings.server.clone());
        if let Some(file) = &settings.ca_file {
            let cannot_read = || format!("cannot read the certificate {}", file.display());
            let pem = fs::read(file).with_context(cannot_read)?;
            builder = builder.add_root_certificate(Certificate::from_pem(&pem).with_context(cannot_read)?);
        }
        builder.build_rustls().context("cannot set TLS up")
    };
    let tls = match settings.tls {
        Protection::StartTls => Tls::Required(parameters()?),
        Protection::Tls => Tls::Wrapper(parameters()?),
        Protection::None => Tls::None,
    };
    let mut builder = SmtpTransport::builder_dangerous(&settings.server)
        .port(settings.port)
        .tls(tls)
        .timeout(Some(PATIENCE));
    if let Some((user, file)) = &settings.login {
        let password = fs::read_to_string(file)
            .with_context(|| format!("cannot read the password file {}", file.display()))?;
        builder = builder.credentials(Credentials::new(user.clone(), password.trim_end().to_owned()));
    }
    Ok(builder.build())
}
