//! Tells people and programs what came out: by e-mail, to a webhook, to a command. Each way is tried, whatever becomes
//! of the others; what failed is said at the end.

use std::fmt::Write;
use std::time::Duration;

use anyhow::{Result, bail};
use serde::Serialize;

use crate::logs::gates::Gate;
use crate::logs::judge::Verdict;

pub mod command;
pub mod email;
pub mod webhook;

/// How long each way may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotifySettings {
    /// By e-mail.
    pub email: Option<email::EmailSettings>,
    /// By HTTP.
    pub webhook: Option<webhook::WebhookSettings>,
    /// By a program.
    pub command: Option<command::CommandSettings>,
}

impl NotifySettings {
    /// Whether nobody is to be told.
    #[must_use]
    pub const fn is_nobody(&self) -> bool {
        self.email.is_none() && self.webhook.is_none() && self.command.is_none()
    }
}

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Whether the work was done; a log in which nobody attacks is a success.
    pub success: bool,
    /// One line.
    pub subject: String,
    /// For people.
    pub body: String,
    /// Who is blamed, an address a line; empty for nobody and after a failure.
    pub list: String,
}

impl Message {
    /// What was found in `logs`.
    #[must_use]
    pub fn success(logs: &str, headline: &str, verdicts: &[&Verdict]) -> Self {
        let mut body = format!("{headline}\n\nLogs: {logs}\n");
        let mut list = String::new();
        for verdict in verdicts {
            let _ = writeln!(list, "{}", verdict.client);
            let _ = writeln!(body, "\n{}: {}", verdict.client, verdict.vector.name());
            for gate in verdict.gates.iter().filter(|gate| gate.passed) {
                let _ = writeln!(body, "  {}", Gate::sentence(gate));
            }
        }
        let count = verdicts.len();
        let found = match count {
            0 => "nobody attacks".to_owned(),
            1 => "1 client attacks".to_owned(),
            _ => format!("{count} clients attack"),
        };
        Self { success: true, subject: one_line(&format!("mitigator logs: {found}")), body, list }
    }

    /// Why nothing could be found out.
    #[must_use]
    pub fn failure(logs: &str, what: &str) -> Self {
        Self {
            success: false,
            subject: "mitigator logs: failed, the logs were not judged".to_owned(),
            body: format!(
                "The logs could not be judged, and nobody was blocked by them.\n\nLogs: {logs}\n\n{what}\n"
            ),
            list: String::new(),
        }
    }
}

/// A header must hold no line break.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// Tells everybody.
///
/// # Errors
///
/// When somebody could not be told; the others were.
pub fn send(settings: &NotifySettings, message: &Message) -> Result<()> {
    let mut failures = Vec::new();
    let mut note = |way: &str, sent: Result<()>| {
        if let Err(error) = sent {
            failures.push(format!("{way}: {error:#}"));
        }
    };
    if let Some(settings) = &settings.email {
        note("notify.email", email::send(settings, message));
    }
    if let Some(settings) = &settings.webhook {
        note("notify.webhook", webhook::send(settings, message));
    }
    if let Some(settings) = &settings.command {
        note("notify.command", command::send(settings, message));
    }
    if !failures.is_empty() {
        bail!("cannot tell the result: {}", failures.join("; "));
    }
    Ok(())
}
