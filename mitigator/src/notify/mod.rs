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

/// Somebody who is blamed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blamed {
    /// Who, and for what.
    name: String,
    kind: &'static str,
    /// The comparisons, a sentence each.
    reasons: Vec<String>,
    /// What became of it.
    fate: String,
    /// Whether it is on the list that is handed on.
    is_listed: bool,
}

impl Blamed {
    /// By a verdict; `fate` says what became of it.
    #[must_use]
    pub fn new(verdict: &Verdict, fate: String, is_listed: bool) -> Self {
        let reasons = verdict.gates.iter().filter(|gate| gate.passed).map(Gate::sentence).collect();
        Self { name: verdict.client.to_string(), kind: verdict.vector.name(), reasons, fate, is_listed }
    }
}

/// Which list is handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handed {
    /// Of who was listed or blocked.
    Blocked,
    /// Of who is blamed, when nothing was to be done about it.
    Blamed,
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
    /// An address a line; empty for nobody and after a failure.
    pub list: String,
    /// What a file with the list is called.
    #[serde(skip)]
    pub list_name: &'static str,
}

/// Blamed of whom the body tells all, the first ones.
const TOLD_IN_FULL: usize = 20;

impl Message {
    /// What was found in `logs`; the worst of `blamed` first.
    #[must_use]
    pub fn success(logs: &str, headline: &str, blamed: &[Blamed], handed: Handed) -> Self {
        let mut body = format!("{headline}\n\nLogs: {logs}\n");
        for Blamed { name, kind, reasons, fate, .. } in blamed.iter().take(TOLD_IN_FULL) {
            let _ = writeln!(body, "\n{name}: {kind}, {fate}");
            for reason in reasons {
                let _ = writeln!(body, "  {reason}");
            }
        }
        if blamed.len() > TOLD_IN_FULL {
            let _ = writeln!(body, "\nand {} more", blamed.len() - TOLD_IN_FULL);
        }
        let listed = blamed.iter().filter(|blamed| blamed.is_listed);
        let list = listed.map(|blamed| format!("{}\n", blamed.name)).collect();
        let found = match blamed.len() {
            0 => "nobody attacks".to_owned(),
            1 => "1 client attacks".to_owned(),
            count => format!("{count} clients attack"),
        };
        let list_name = match handed {
            Handed::Blocked => "blocked_ips.txt",
            Handed::Blamed => "blamed.txt",
        };
        let subject = one_line(&format!("mitigator logs: {found}"));
        Self { success: true, subject, body, list, list_name }
    }

    /// Why not all could be done.
    #[must_use]
    pub fn failure(logs: &str, what: &str) -> Self {
        Self {
            success: false,
            subject: "mitigator logs: failed".to_owned(),
            body: format!("mitigator logs ended before it had done all.\n\nLogs: {logs}\n\n{what}\n"),
            list: String::new(),
            list_name: "blocked_ips.txt",
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
