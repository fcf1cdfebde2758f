//! `mitigator serve`: judges captures and flows for other programs, by HTTP.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::stop_signals::StopSignals;
use super::{Answer, env_unless_empty};
use crate::config::Config;
use crate::serve::{Limits, Model, Server, Settings, Token};

/// Holds the token when no file is named.
const TOKEN_VARIABLE: &str = "MITIGATOR_TOKEN";

/// Arguments of `mitigator serve`.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// A model of `mitigator train flows` that classifies flows; may be given several times, and the first answers who names none
    #[arg(long = "model", value_name = "FILE")]
    models: Vec<PathBuf>,
    /// The token that callers have to show, in a file that only its owner can read; the variable MITIGATOR_TOKEN may hold it instead
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Configuration file (TOML), as for `mitigator run`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Tell where it listens as a line of JSON on standard output
    #[arg(long)]
    json: bool,
    /// Longest capture as it is sent, compressed or not
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = parse_size, help_heading = "Limits")]
    max_capture: u64,
    /// Longest capture after its compression was taken off
    #[arg(long, value_name = "SIZE", default_value = "4GiB", value_parser = parse_size, help_heading = "Limits")]
    max_unpacked: u64,
    /// Longest capture that is streamed
    #[arg(long, value_name = "SIZE", default_value = "64GiB", value_parser = parse_size, help_heading = "Limits")]
    max_stream: u64,
    /// Captures at a time, each some 100 to 600 MiB of memory at worst; more are refused
    #[arg(long, value_name = "N", default_value = "4", value_parser = parse_number, help_heading = "Limits")]
    max_captures: usize,
    /// Connections at a time; more wait
    #[arg(long, value_name = "N", default_value = "256", value_parser = parse_number, help_heading = "Limits")]
    max_connections: usize,
    /// For a request and its answer, other than streams and events
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_time, help_heading = "Limits")]
    timeout: Duration,
    /// For the next bytes of what is sent
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_time, help_heading = "Limits")]
    idle_timeout: Duration,
    /// For what is under way when the server is to stop
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time, help_heading = "Limits")]
    grace: Duration,
}

const UNITS: [(&str, u32); 4] = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("B", 0)];

fn parse_size(text: &str) -> Result<u64> {
    let how = || "write it like 64MiB, with KiB, MiB or GiB";
    let (number, shift) =
        UNITS.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift))).with_context(how)?;
    let number: u64 = number.trim().parse().with_context(how)?;
    let size = number.checked_mul(1 << shift).filter(|size| *size < 1 << 60);
    size.filter(|size| *size > 0).context("it must be more than nothing and less than 2^60 bytes")
}

fn parse_number(text: &str) -> Result<usize> {
    let number = text.parse().ok().filter(|number| (1..=65_536).contains(number));
    number.context("it must be a whole number of 1 to 65536")
}

fn parse_time(text: &str) -> Result<Duration> {
    let time = humantime::parse_duration(text).map_err(|_| anyhow::anyhow!("write it like 30s or 5m"))?;
    ensure!(
        (Duration::from_millis(1)..=Duration::from_hours(24)).contains(&time),
        "it must be between 1ms and 24h"
    );
    Ok(time)
}

impl ServeArgs {
    pub(super) fn run(&self) -> Result<Answer> {
        let settings = self.settings()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(settings.limits.threads())
            .build()
            .context("cannot start the runtime")?;
        let is_whole = runtime.block_on(async {
            // Before anybody can ask, so that a stop at any time is a clean one.
            let mut stop = StopSignals::listen()?;
            let server = Server::listen(settings).await?;
            let address = server.address()?;
            tracing::info!(%address, "listening");
            if self.json {
                let line = serde_json::json!({"event": "listening", "address": address});
                let mut out = io::stdout().lock();
                writeln!(out, "{line}")
                    .and_then(|()| out.flush())
                    .context("cannot write where it listens")?;
            }
            let is_whole = server
                .run(async move {
                    stop.received().await;
                    tracing::info!("stopping");
                })
                .await;
            anyhow::Ok(is_whole)
        })?;
        if !is_whole {
            tracing::warn!("requests were broken off; `--grace TIME` gives them longer");
        }
        // Threads that parse see that nobody waits for them.
        runtime.shutdown_timeout(Duration::from_secs(1));
        Ok(Answer::Done)
    }

    fn settings(&self) -> Result<Settings> {
        let models = self.models.iter().map(|file| Model::read(file)).collect::<Result<Vec<_>>>()?;
        Ok(Settings {
            listen: self.listen,
            token: self.token()?,
            models,
            config: Config::load(self.config.as_deref())?,
            limits: Limits {
                body_bytes: self.max_capture,
                unpacked_bytes: self.max_unpacked,
                stream_bytes: self.max_stream,
                connections: self.max_connections,
                captures: self.max_captures,
                request: self.timeout,
                idle: self.idle_timeout,
                grace: self.grace,
            },
        })
    }

    fn token(&self) -> Result<Option<Token>> {
        if let Some(file) = &self.token_file {
            let cannot_read = || format!("cannot read the token in `{}`", file.display());
            // What is read is what was looked at, also when the name is given to another file meanwhile.
            let mut opened = File::open(file).with_context(cannot_read)?;
            let mode = opened.metadata().with_context(cannot_read)?.permissions().mode();
            ensure!(mode & 0o077 == 0, "others can read the token in `{}`; `chmod 600` it", file.display());
            let mut text = String::new();
            opened.read_to_string(&mut text).with_context(cannot_read)?;
            return Token::new(&text)
                .with_context(|| format!("`{}` holds no token", file.display()))
                .map(Some);
        }
        let Some(text) = env_unless_empty(TOKEN_VARIABLE) else { return Ok(None) };
        let text = text.to_str().with_context(|| format!("{TOKEN_VARIABLE} is no text"))?;
        Token::new(text).with_context(|| format!("{TOKEN_VARIABLE} holds no token")).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit_and_are_something() {
        for (text, expected) in [
            ("1B", Some(1)),
            ("64KiB", Some(64 << 10)),
            ("256MiB", Some(256 << 20)),
            ("4 GiB", Some(4 << 30)),
            ("0MiB", None),
            ("12", None),
            ("MiB", None),
            ("-1MiB", None),
            ("1.5GiB", None),
            ("99999999999GiB", None),
            ("18446744073709551615B", None),
        ] {
            assert_eq!(parse_size(text).ok(), expected, "{text}");
        }
    }
}
