//! What the operator configured: checked, typed, immutable.
//!
//! A TOML file; every key has a default and unknown keys are errors. `docs/configuration.md` lists
//! them all.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use serde::Deserialize;

use crate::kernel::attachment::Mode;
use crate::notify::NotifySettings;
use crate::notify::command::CommandSettings;
use crate::notify::email::{EmailSettings, Protection};
use crate::notify::webhook::{self, Address, WebhookSettings};
use crate::pipeline::settings::{BlockingSettings, DetectionSettings};

/// Entries that fit into the kernel's tables; fixed while the maps are pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Capacities {
    /// Sources counted at a time, 65,536..=8,388,608; 240 bytes of kernel memory each.
    pub sources: u32,
    /// Blocked sources, 65,536..=8,388,608; 64 to 128 bytes of kernel memory for each that is to fit.
    pub blocks: u32,
    /// Blocked prefixes, and as many allowed ones, 1,024..=1,048,576.
    pub prefixes: u32,
}

impl Default for Capacities {
    fn default() -> Self {
        Self { sources: 262_144, blocks: 1_048_576, prefixes: 65_536 }
    }
}

/// Which modes of attachment are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ModeChoice {
    /// Native first, then generic.
    Auto,
    /// In the driver, or fail.
    Native,
    /// In the network stack.
    Generic,
}

impl ModeChoice {
    /// Whether `mode` is among them.
    #[must_use]
    pub const fn accepts(self, mode: Mode) -> bool {
        matches!(
            (self, mode),
            (Self::Auto, _) | (Self::Native, Mode::Native) | (Self::Generic, Mode::Generic)
        )
    }
}

/// The configuration file, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Of the kernel's tables.
    pub capacities: Capacities,
    /// Between ticks while nothing is suspicious, 50 ms to 10 s.
    pub interval: Duration,
    /// Prefixes that are never blocked, beside those found automatically.
    pub allow: Vec<IpNet>,
    /// Of the decision.
    pub detection: DetectionSettings,
    /// Of the blocks.
    pub blocking: BlockingSettings,
    /// Of the second opinion.
    pub flow_model: FlowModelSettings,
    /// Who is told, by the verbs that tell.
    pub notify: NotifySettings,
}

/// Who is asked for a second opinion on verdicts, and how much may be listened to for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowModelSettings {
    /// The file of a flow model; `None` for no second opinion.
    pub path: Option<PathBuf>,
    /// Packets of all interfaces together that the agent takes in for it, 100..=1,000,000; where there are more, those of
    /// some sources.
    pub packets_per_second: u32,
}

impl Default for FlowModelSettings {
    fn default() -> Self {
        Self { path: None, packets_per_second: 20_000 }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            capacities: Capacities::default(),
            interval: Duration::from_millis(250),
            allow: Vec::new(),
            detection: DetectionSettings::default(),
            blocking: BlockingSettings::default(),
            flow_model: FlowModelSettings::default(),
            notify: NotifySettings::default(),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    interval: Option<String>,
    allow: Vec<String>,
    capacities: Capacities,
    detection: DetectionFile,
    blocking: BlockingFile,
    flow_model: FlowModelFile,
    notify: NotifyFile,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct FlowModelFile {
    path: Option<PathBuf>,
    packets_per_second: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct NotifyFile {
    email: Option<EmailFile>,
    webhook: Option<WebhookFile>,
    command: Option<CommandFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EmailFile {
    server: String,
    port: Option<u16>,
    #[serde(default)]
    tls: Protection,
    ca_file: Option<PathBuf>,
    user: Option<String>,
    password_file: Option<PathBuf>,
    from: String,
    to: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WebhookFile {
    url: Option<String>,
    url_file: Option<PathBuf>,
    token_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommandFile {
    command: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct DetectionFile {
    patience: Option<f64>,
    baseline_factor: Option<f64>,
    baseline_deviations: Option<f64>,
    baseline_rise: Option<f64>,
    min_packets: Option<u64>,
    ticks: Option<u32>,
    overwhelming_factor: Option<f64>,
    known_age: Option<String>,
    known_factor: Option<f64>,
    max_clusters: Option<usize>,
    min_silhouette: Option<f64>,
    min_separation: Option<f64>,
    sample: Option<usize>,
    seed: Option<u64>,
    crowd: Option<usize>,
    limit_share: Option<f64>,
    widen: Option<bool>,
    window: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct BlockingFile {
    duration: Option<String>,
    max_duration: Option<String>,
    max_per_tick: Option<usize>,
    max_standing: Option<usize>,
    renewal_packets_per_second: Option<u32>,
    limit_quiet: Option<String>,
}

impl Config {
    /// Reads and checks a file; without one, the defaults.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, has an unknown key, or a value is out of its range.
    pub fn load(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else {
            return Ok(Self::default());
        };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the configuration {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("in the configuration {}", path.display()))
    }

    /// Checks the text of a file.
    ///
    /// # Errors
    ///
    /// When it has an unknown key or a value is out of its range.
    pub fn parse(text: &str) -> Result<Self> {
        let file: File = toml::from_str(text)?;
        let mut config = Self { capacities: file.capacities, ..Self::default() };
        if let Some(interval) = &file.interval {
            config.interval = parse_interval(interval)?;
        }
        for prefix in &file.allow {
            config.allow.push(parse_prefix(prefix)?);
        }
        file.detection.apply(&mut config.detection)?;
        file.blocking.apply(&mut config.blocking)?;
        config.flow_model.path = file.flow_model.path;
        set(
            "flow_model.packets_per_second",
            file.flow_model.packets_per_second,
            100,
            1_000_000,
            &mut config.flow_model.packets_per_second,
        )?;
        config.notify = file.notify.checked()?;
        in_range("capacities.sources", config.capacities.sources, 65_536, 8_388_608)?;
        in_range("capacities.blocks", config.capacities.blocks, 65_536, 8_388_608)?;
        in_range("capacities.prefixes", config.capacities.prefixes, 1_024, 1_048_576)?;
        Ok(config)
    }
}

impl DetectionFile {
    fn apply(&self, settings: &mut DetectionSettings) -> Result<()> {
        set("detection.patience", self.patience, 0.01, 1_000.0, &mut settings.patience)?;
        set("detection.baseline_factor", self.baseline_factor, 1.0, 1_000.0, &mut settings.baseline_factor)?;
        set(
            "detection.baseline_deviations",
            self.baseline_deviations,
            0.0,
            1_000.0,
            &mut settings.baseline_deviations,
        )?;
        set("detection.baseline_rise", self.baseline_rise, 0.0, 10.0, &mut settings.baseline_rise)?;
        set("detection.min_packets", self.min_packets, 2, 1_000_000, &mut settings.min_packets)?;
        set("detection.ticks", self.ticks, 1, 100, &mut settings.ticks)?;
        set(
            "detection.overwhelming_factor",
            self.overwhelming_factor,
            1.0,
            1_000_000.0,
            &mut settings.overwhelming_factor,
        )?;
        set("detection.known_factor", self.known_factor, 1.0, 1_000.0, &mut settings.known_factor)?;
        set("detection.max_clusters", self.max_clusters, 1, 8, &mut settings.max_clusters)?;
        set("detection.min_silhouette", self.min_silhouette, 0.0, 1.0, &mut settings.min_silhouette)?;
        set("detection.min_separation", self.min_separation, 1.0, 1_000.0, &mut settings.min_separation)?;
        set("detection.sample", self.sample, 100, 1_000_000, &mut settings.sample)?;
        set("detection.seed", self.seed, 0, u64::MAX, &mut settings.seed)?;
        set("detection.crowd", self.crowd, 2, 1_000_000, &mut settings.crowd)?;
        set("detection.limit_share", self.limit_share, 0.0, 1.0, &mut settings.limit_share)?;
        settings.widen = self.widen.unwrap_or(settings.widen);
        if let Some(window) = &self.window {
            settings.window = parse_duration("detection.window", window)?;
            between("detection.window", settings.window, Duration::from_millis(500), Duration::from_mins(1))?;
        }
        if let Some(age) = &self.known_age {
            settings.known_age = parse_duration("detection.known_age", age)?;
            longest("detection.known_age", settings.known_age, Duration::from_hours(24 * 30), "30 days")?;
        }
        Ok(())
    }
}

impl BlockingFile {
    fn apply(&self, settings: &mut BlockingSettings) -> Result<()> {
        if let Some(duration) = &self.duration {
            settings.duration = parse_duration("blocking.duration", duration)?;
        }
        if let Some(duration) = &self.max_duration {
            settings.max_duration = parse_duration("blocking.max_duration", duration)?;
        }
        longest(
            "blocking.max_duration",
            settings.max_duration,
            Duration::from_hours(24 * 3_653),
            "ten years",
        )?;
        let shortest = Duration::from_secs(1);
        if settings.duration < shortest || settings.max_duration < settings.duration {
            bail!(
                "blocking.duration is {}; it must be at least 1s and at most blocking.max_duration, {}",
                humantime::format_duration(settings.duration),
                humantime::format_duration(settings.max_duration)
            );
        }
        if let Some(quiet) = &self.limit_quiet {
            settings.limit_quiet = parse_duration("blocking.limit_quiet", quiet)?;
            between(
                "blocking.limit_quiet",
                settings.limit_quiet,
                Duration::from_secs(1),
                Duration::from_hours(1),
            )?;
        }
        set("blocking.max_per_tick", self.max_per_tick, 1, 1_000_000, &mut settings.max_per_tick)?;
        set("blocking.max_standing", self.max_standing, 1, 8_388_608, &mut settings.max_standing)?;
        set(
            "blocking.renewal_packets_per_second",
            self.renewal_packets_per_second,
            1,
            1_000_000,
            &mut settings.renewal_packets_per_second,
        )
    }
}

impl NotifyFile {
    fn checked(self) -> Result<NotifySettings> {
        let command = match self.command {
            Some(CommandFile { command }) if command.is_empty() => {
                bail!("notify.command.command is empty; write it like [\"/usr/local/bin/tell\", \"--now\"]")
            }
            Some(CommandFile { command }) => Some(CommandSettings { command }),
            None => None,
        };
        Ok(NotifySettings {
            email: self.email.map(EmailFile::checked).transpose()?,
            webhook: self.webhook.map(WebhookFile::checked).transpose()?,
            command,
        })
    }
}

impl EmailFile {
    fn checked(self) -> Result<EmailSettings> {
        let mailbox = |name: &str, text: &str| {
            text.parse().map_err(|_| {
                anyhow::anyhow!("{name} has `{text}`; write it like me@example.org or Me <me@example.org>")
            })
        };
        let login = match (self.user, self.password_file) {
            (Some(user), Some(file)) => Some((user, file)),
            (None, None) => None,
            _ => bail!("notify.email has only one of user and password_file; name both or none"),
        };
        if login.is_some() && self.tls == Protection::None {
            bail!("notify.email would send the password unprotected; set tls to \"starttls\" or \"tls\"");
        }
        if self.to.is_empty() {
            bail!("notify.email.to is empty; name at least one address");
        }
        let to = self.to.iter().map(|text| mailbox("notify.email.to", text)).collect::<Result<_>>()?;
        let usual = match self.tls {
            Protection::StartTls => 587,
            Protection::Tls => 465,
            Protection::None => 25,
        };
        Ok(EmailSettings {
            from: mailbox("notify.email.from", &self.from)?,
            server: self.server,
            port: self.port.unwrap_or(usual),
            tls: self.tls,
            ca_file: self.ca_file,
            login,
            to,
        })
    }
}

impl WebhookFile {
    fn checked(self) -> Result<WebhookSettings> {
        let address = match (self.url, self.url_file) {
            (Some(url), None) => {
                webhook::check(&url, self.token_file.is_some()).context("notify.webhook.url")?;
                Address::Url(url)
            }
            (None, Some(file)) => Address::InFile(file),
            _ => bail!("notify.webhook needs one of url and url_file"),
        };
        Ok(WebhookSettings { address, token_file: self.token_file, ca_file: self.ca_file })
    }
}

/// The time between ticks, as `--interval` and the file write it.
///
/// # Errors
///
/// When it is no duration, or not within 50 ms to 10 s.
pub fn parse_interval(text: &str) -> Result<Duration> {
    let interval = parse_duration("interval", text)?;
    if !(Duration::from_millis(50)..=Duration::from_secs(10)).contains(&interval) {
        bail!("interval is {text}; it must be between 50ms and 10s");
    }
    Ok(interval)
}

fn parse_duration(name: &str, text: &str) -> Result<Duration> {
    humantime::parse_duration(text)
        .map_err(|_| anyhow::anyhow!("{name} is `{text}`; write it like 250ms, 90s, 10m or 2h"))
}

fn between(name: &str, value: Duration, least: Duration, most: Duration) -> Result<()> {
    if !(least..=most).contains(&value) {
        let shown = humantime::format_duration;
        bail!("{name} is {}; it must be between {} and {}", shown(value), shown(least), shown(most));
    }
    Ok(())
}

fn longest(name: &str, value: Duration, most: Duration, shown: &str) -> Result<()> {
    if value > most {
        bail!("{name} is {}; it must be at most {shown}", humantime::format_duration(value));
    }
    Ok(())
}

fn parse_prefix(text: &str) -> Result<IpNet> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from))
        .map_err(|_| anyhow::anyhow!("allow has `{text}`, which is neither an IP address nor a prefix"))
}

fn set<T: PartialOrd + Copy + std::fmt::Display>(
    name: &str,
    value: Option<T>,
    least: T,
    most: T,
    place: &mut T,
) -> Result<()> {
    let Some(value) = value else { return Ok(()) };
    in_range(name, value, least, most)?;
    *place = value;
    Ok(())
}

fn in_range<T: PartialOrd + Copy + std::fmt::Display>(name: &str, value: T, least: T, most: T) -> Result<()> {
    // Written so that NaN, which compares with nothing, is out of every range.
    if !(least..=most).contains(&value) {
        bail!("{name} is {value}; it must be between {least} and {most}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_the_defaults() {
        assert_eq!(Config::parse("").unwrap(), Config::default());
    }

    #[test]
    fn says_which_key_is_wrong_and_what_it_may_be() {
        for (text, expected) in [
            ("interval = \"1ms\"", "interval is 1ms; it must be between 50ms and 10s"),
            ("interval = \"soon\"", "interval is `soon`"),
            ("colour = 1", "unknown field `colour`"),
            ("[capacities]\nsources = 10", "capacities.sources is 10; it must be between 65536 and 8388608"),
            ("[detection]\nmin_silhouette = 2.0", "detection.min_silhouette is 2"),
            ("[detection]\npatience = nan", "detection.patience is NaN"),
            ("[detection]\nknown_age = \"99999999h\"", "at most 30 days"),
            ("[blocking]\nduration = \"48h\"", "at most blocking.max_duration"),
            ("[blocking]\nmax_duration = \"99999999h\"", "at most ten years"),
            ("[flow_model]\npackets_per_second = 1", "must be between 100 and 1000000"),
            ("allow = [\"here\"]", "allow has `here`"),
            ("[notify.command]\ncommand = []", "notify.command.command is empty"),
            ("[notify.webhook]\nurl = \"example.org\"", "must begin with https:// or http://"),
            ("[notify.webhook]", "needs one of url and url_file"),
            (
                "[notify.webhook]\nurl = \"http://example.org/\"\ntoken_file = \"/t\"",
                "send the token unprotected",
            ),
            (
                "[notify.email]\nserver = \"mx\"\nfrom = \"me\"\nto = [\"you@example.org\"]",
                "notify.email.from has `me`",
            ),
            (
                "[notify.email]\nserver = \"mx\"\nfrom = \"me@example.org\"\nto = [\"you@example.org\"]\n\
                 user = \"me\"",
                "only one of user and password_file",
            ),
            (
                "[notify.email]\nserver = \"mx\"\nfrom = \"me@example.org\"\nto = [\"you@example.org\"]\n\
                 user = \"me\"\npassword_file = \"/p\"\ntls = \"none\"",
                "send the password unprotected",
            ),
        ] {
            let error = format!("{:#}", Config::parse(text).unwrap_err());
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn takes_what_is_in_range() {
        let config = Config::parse(
            "interval = \"100ms\"\nallow = [\"192.0.2.0/24\", \"2001:db8::1\"]\n[blocking]\nduration = \"1h\"\n\
             [flow_model]\npath = \"flows.model\"\n",
        )
        .unwrap();
        assert_eq!(config.interval, Duration::from_millis(100));
        assert_eq!(config.allow.len(), 2);
        assert_eq!(config.blocking.duration, Duration::from_hours(1));
        let path = Some(PathBuf::from("flows.model"));
        assert_eq!(config.flow_model, FlowModelSettings { path, ..FlowModelSettings::default() });
    }
}
