//! `mitigator logs`: who attacks, by the access logs of a web server.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use indicatif::ProgressBar;
use ipnet::IpNet;
use mitigator_common::{AllowReason, PrefixKey, Source};

use super::block::parse_time;
use super::logs_apply::{self, Applied, Block, Deeds};
use super::logs_report::{ClientRow, Everybody, Explanation, Report, headline, text};
use super::progress::byte_bar;
use super::{Answer, Places};
use crate::clock::Clock;
use crate::config::Config;
use crate::host;
use crate::logs::client::Who;
use crate::logs::features::COLUMN_NAMES;
use crate::logs::format::Format;
use crate::logs::grouping::{MOST_GROUPS, Wanted};
use crate::logs::judge::{self, Decision, Judgement, Terms, Verdict};
use crate::logs::list;
use crate::logs::plots;
use crate::logs::reading::{self, Damage, Log};
use crate::notify::{self, Blamed, Handed, Message};
use crate::pipeline::allowlist::{AllowList, Relation};
use crate::pipeline::target::Target;
use crate::report::output::{complain, print_report, printable};

/// Clients that are shown to people unless told otherwise.
const SHOWN_CLIENTS: usize = 10;
/// By evidence that is older nobody is blocked: the address may be somebody else's by now.
const STALE_AFTER: Duration = Duration::from_hours(24);

/// Arguments of `mitigator logs`.
#[derive(Debug, Args)]
pub(super) struct LogsArgs {
    /// The logs, plain or compressed with gzip or zstd, in the order of time; `-` for standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Groups that K-Means makes: `auto`, or a number from 1 to 8
    #[arg(long, value_name = "auto|N", default_value = "auto", value_parser = parse_clusters)]
    clusters: Wanted,
    /// Believe the X-Forwarded-For of these proxies, and never block them; may be given several times, or separated by
    /// commas
    #[arg(long = "trusted-proxy", value_name = "PREFIX", value_delimiter = ',', value_parser = parse_prefix)]
    trusted: Vec<IpNet>,
    /// Tell in full why this client was blamed, or what kept it from being; may be given several times, or separated by
    /// commas
    #[arg(long, value_name = "CLIENT", value_delimiter = ',', conflicts_with = "follow")]
    explain: Vec<String>,
    /// List so many clients, the loudest first; 0 for all
    #[arg(long, value_name = "N", default_value_t = SHOWN_CLIENTS, conflicts_with = "follow")]
    limit: usize,
    /// Show the lines that could not be read
    #[arg(long, conflicts_with = "follow")]
    show_bad: bool,
    /// Keep the list of the blocked in this file, for example blocked_ips.txt
    #[arg(long, value_name = "FILE")]
    blocklist: Option<PathBuf>,
    /// Block in the kernel, as `mitigator block` does
    #[arg(long)]
    apply: bool,
    /// How long blocks last from the last evidence on, for example 1h; without it, blocking.duration of the configuration
    #[arg(long = "for", value_name = "TIME", value_parser = parse_time)]
    duration: Option<Duration>,
    /// Change and send nothing, whatever else is asked for, and say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Block, from now on, also by evidence from which a block would be over or that is more than 24 hours old
    #[arg(long)]
    force: bool,
    /// Tell the result to everybody under [notify] in the configuration
    #[arg(long)]
    notify: bool,
    /// Go on with what is written to the log, also after its rotation, until stopped
    #[arg(long)]
    follow: bool,
    /// With --follow: how often to judge
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_time, requires = "follow")]
    every: Duration,
    /// Draw requests per client, the elbow and the groups as SVG files in this directory
    #[arg(long, value_name = "DIR", conflicts_with = "follow")]
    plots: Option<PathBuf>,
    /// Configuration file (TOML), as for `mitigator run`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print one JSON object; with --follow, one a line
    #[arg(long)]
    json: bool,
}

fn parse_clusters(text: &str) -> Result<Wanted> {
    if text == "auto" {
        return Ok(Wanted::Auto);
    }
    let groups = text.parse().ok().filter(|groups| (1..=MOST_GROUPS).contains(groups));
    groups.map(Wanted::Exactly).with_context(|| format!("write `auto`, or a number from 1 to {MOST_GROUPS}"))
}

fn parse_prefix(text: &str) -> Result<IpNet> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>().or_else(|_| address()).map_err(|_| {
        anyhow::anyhow!("neither an IP address nor a prefix such as 192.0.2.0/24 or 2001:db8::/48")
    })
}

impl LogsArgs {
    pub(super) fn run(&self, places: &Places) -> Result<Answer> {
        let config = Config::load(self.config.as_deref())?;
        ensure!(
            !self.notify || !config.notify.is_nobody(),
            "--notify has nobody to tell; name somebody under [notify.email], [notify.webhook] or [notify.command] in \
             the configuration, which --config names"
        );
        if self.follow {
            return super::logs_follow::run(self, places, &config);
        }
        let report = match self.judge_files(places, &config) {
            Ok(report) => report,
            Err(error) => {
                if self.notifies()
                    && let Err(untold) =
                        notify::send(&config.notify, &Message::failure(&self.names(), &format!("{error:#}")))
                {
                    complain(format_args!("mitigator: the failure could not be told either: {untold:#}"));
                }
                return Err(error);
            }
        };
        print_report(self.json, &report, || text(&report, self.show_bad))?;
        if self.notifies() {
            notify::send(&config.notify, &self.message(&report))?;
        }
        match &report.damage {
            None => Ok(Answer::Done),
            Some(Damage { file, line, what }) => bail!(
                "{} is damaged after line {line}: {what}; what stands before was reported, and nobody was blocked by it",
                printable(file)
            ),
        }
    }

    pub(super) fn names(&self) -> String {
        let names: Vec<String> = self.files.iter().map(|file| name_of(file)).collect();
        names.join(", ")
    }

    pub(super) fn the_file(&self) -> Option<&Path> {
        match self.files.as_slice() {
            [file] => Some(file),
            _ => None,
        }
    }

    pub(super) const fn is_json(&self) -> bool {
        self.json
    }

    pub(super) const fn every(&self) -> Duration {
        self.every
    }

    pub(super) fn trusted(&self) -> Vec<IpNet> {
        self.trusted.clone()
    }

    pub(super) const fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    pub(super) const fn notifies(&self) -> bool {
        self.notify && !self.dry_run
    }

    pub(super) fn terms(&self, config: &Config) -> Terms {
        Terms {
            wanted: self.clusters,
            min_silhouette: config.detection.min_silhouette,
            min_separation: config.detection.min_separation,
            patience: config.detection.patience,
            seed: config.detection.seed,
            everybody: true,
        }
    }

    pub(super) fn duration(&self, config: &Config) -> Duration {
        self.duration.unwrap_or(config.blocking.duration)
    }

    fn judge_files(&self, places: &Places, config: &Config) -> Result<Report> {
        let mut log = Log::new(self.trusted.clone());
        let mut damage = None;
        for file in &self.files {
            let bar = progress_bar(file);
            let source = bar.wrap_read(reading::open(file)?);
            damage = damage.or(log.read(source, &name_of(file))?);
            bar.finish_and_clear();
        }
        log.check()?;
        let terms = self.terms(config);
        let kept = self.kept(config);
        let judgement = judge::judge(&log.clients, &terms, |source| kept.why(source))?;
        let mut report = self.report(&log, &judgement, damage);
        // What may fail comes first: after a failure nobody should have to ask who is blocked.
        if let Some(directory) = self.plots.as_ref().filter(|_| !self.dry_run) {
            report.plots = plots::draw(directory, &log.clients, &judgement)?;
        }
        if report.damage.is_none() {
            self.act(&judgement, &mut report, places, config)?;
        }
        Ok(report)
    }

    /// Who must never be blocked.
    pub(super) fn kept(&self, config: &Config) -> Kept {
        let keys = |prefixes: &[IpNet]| {
            let key = |prefix: &IpNet| {
                (PrefixKey::new(prefix.network(), prefix.prefix_len()), AllowReason::Configuration)
            };
            AllowList::new(prefixes.iter().map(key).collect())
        };
        let guarded = if self.is_acting() { host::look().guarded } else { Vec::new() };
        Kept { trusted: keys(&self.trusted), allowed: keys(&config.allow), guarded: AllowList::new(guarded) }
    }

    /// Whether who is blamed is to be listed or blocked.
    pub(super) const fn is_acting(&self) -> bool {
        self.apply || self.blocklist.is_some()
    }

    /// Who of the blamed is blocked until when, and who by evidence that is too old.
    pub(super) fn plan<'verdicts>(
        &self,
        verdicts: impl IntoIterator<Item = &'verdicts Verdict>,
        config: &Config,
        now_unix_ms: u64,
    ) -> (Vec<Block<'verdicts>>, Vec<Target>) {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let (mut blocks, mut stale) = (Vec::new(), Vec::new());
        for verdict in verdicts {
            let Who::Source(source) = verdict.client else { continue };
            let target = Target::Source(source);
            let evidence_ms = u64::try_from(verdict.evidence_s).unwrap_or(0).saturating_mul(1_000);
            let from_ms = if self.force { now_unix_ms } else { evidence_ms.min(now_unix_ms) };
            let until_unix_ms = from_ms.saturating_add(ms(self.duration(config)));
            if until_unix_ms > now_unix_ms && now_unix_ms - from_ms <= ms(STALE_AFTER) {
                blocks.push(Block { target, verdict, until_unix_ms });
            } else {
                stale.push(target);
            }
        }
        (blocks, stale)
    }

    /// Finds out whether what is to be written to is there.
    pub(super) fn try_out(&self, places: &Places) -> Result<()> {
        self.blocklist.as_deref().map(list::read_file).transpose()?;
        if self.apply && !self.dry_run {
            places.open_data_plane()?;
        }
        Ok(())
    }

    /// Lists and blocks, as far as that was asked for; with `--dry-run`, says what the list would come to.
    pub(super) fn act_on(&self, blocks: &[Block<'_>], places: &Places, config: &Config) -> Result<Deeds> {
        // A file that is no list is told before anybody is blocked.
        let standing = self.blocklist.as_deref().map(list::read_file).transpose()?;
        if self.dry_run {
            let ends = blocks.iter().map(|block| (block.target, block.until_unix_ms));
            let list = standing.map(|mut list| list.update(ends, Clock::now().unix_ms()));
            return Ok(Deeds { list, applied: None });
        }
        let applied = if self.apply && !blocks.is_empty() {
            Some(logs_apply::block_in_kernel(places, blocks, config.blocking.max_per_tick)?)
        } else {
            None
        };
        // Who may not be blocked in the kernel does not go on the list either.
        let is_listed =
            |block: &&Block<'_>| applied.as_ref().is_none_or(|applied| applied.holds(&block.target));
        let listed: Vec<&Block<'_>> = blocks.iter().filter(is_listed).collect();
        let list = self.blocklist.as_deref().map(|file| logs_apply::list(file, &listed)).transpose();
        let blocked = applied.as_ref().map_or(0, |applied| applied.blocked.len());
        let list =
            list.with_context(|| format!("{blocked} clients were blocked in the kernel, but not listed"))?;
        Ok(Deeds { list, applied })
    }

    fn act(
        &self,
        judgement: &Judgement,
        report: &mut Report,
        places: &Places,
        config: &Config,
    ) -> Result<()> {
        if !self.is_acting() {
            return Ok(());
        }
        let (blocks, stale) = self.plan(judgement.blocked(), config, Clock::now().unix_ms());
        report.stale = stale;
        report.planned = blocks.iter().map(|block| block.target).collect();
        report.dry_run = self.dry_run;
        Deeds { list: report.blocklist, applied: report.applied } = self.act_on(&blocks, places, config)?;
        Ok(())
    }

    fn message(&self, report: &Report) -> Message {
        let logs = self.names();
        if let Some(damage) = &report.damage {
            let what = format!(
                "{} is damaged after line {}: {}; nobody was blocked by it",
                damage.file, damage.line, damage.what
            );
            return Message::failure(&logs, &what);
        }
        let blamed: Vec<Blamed> = report
            .verdicts
            .iter()
            .filter(|verdict| verdict.decision == Decision::Block)
            .map(|verdict| self.told(verdict, report))
            .collect();
        let handed = if self.is_acting() { Handed::Blocked } else { Handed::Blamed };
        Message::success(&logs, &headline(report), &blamed, handed)
    }

    /// What became of one of the blamed.
    fn told(&self, verdict: &Verdict, report: &Report) -> Blamed {
        let Who::Source(source) = verdict.client else {
            return Blamed::new(verdict, "not blocked".to_owned(), false);
        };
        let target = Target::Source(source);
        if !self.is_acting() {
            return Blamed::new(verdict, "not blocked, as nothing was to be changed".to_owned(), true);
        }
        if report.stale.contains(&target) {
            return Blamed::new(verdict, "not blocked, as the evidence is too old".to_owned(), false);
        }
        fate(verdict, &target, report.applied.as_ref())
    }

    fn report(&self, log: &Log, judgement: &Judgement, damage: Option<Damage>) -> Report {
        let clients = &log.clients;
        let to_ms = |at_s: i64| at_s.saturating_mul(1_000);
        let verdicts: BTreeMap<&Who, &Verdict> =
            judgement.verdicts.iter().map(|verdict| (&verdict.client, verdict)).collect();
        let rows: Vec<ClientRow> = judgement
            .loudest
            .iter()
            .enumerate()
            .take(if self.limit > 0 { self.limit } else { usize::MAX })
            .filter_map(|(position, place)| {
                let member = judgement.everybody.members.get(position);
                let who = &clients.all().get(*place)?.who;
                let verdict = verdicts.get(who);
                Some(ClientRow {
                    client: who.clone(),
                    group: member.map(|member| member.group),
                    distance: member.map(|member| member.distance),
                    decision: verdict.map(|verdict| verdict.decision),
                    features: judgement.features(*place)?.clone(),
                })
            })
            .collect();
        let formats = Format::ALL.iter().zip(log.formats).filter(|(_, lines)| *lines > 0);
        Report {
            logs: self.files.iter().map(|file| name_of(file)).collect(),
            lines: log.lines,
            bad_lines: log.bad_lines,
            bad: if self.show_bad { log.shown_bad_lines.clone() } else { Vec::new() },
            formats: formats.map(|(format, lines)| (format.name(), lines)).collect(),
            requests: clients.requests,
            first_unix_ms: clients.span().map(|(first, _)| to_ms(first)),
            last_unix_ms: clients.span().map(|(_, last)| to_ms(last)),
            undated_requests: clients.undated_requests,
            late_requests: clients.late_requests,
            forwarded_requests: clients.forwarded_requests,
            unlisted_requests: clients.unlisted_requests,
            client_count: clients.all().len(),
            attack: !judgement.verdicts.is_empty(),
            verdicts: judgement.verdicts.clone(),
            nothing_to_decide: nothing_to_decide(log, judgement),
            cases: judgement.cases.clone(),
            everybody: Everybody { columns: COLUMN_NAMES, grouping: judgement.everybody.clone() },
            clients: rows,
            explained: self.explain.iter().map(|asked| explain(asked, log, judgement)).collect(),
            stale: Vec::new(),
            planned: Vec::new(),
            dry_run: true,
            blocklist: None,
            applied: None,
            plots: Vec::new(),
            damage,
        }
    }
}

/// What became of one of those who were to be blocked.
pub(super) fn fate(verdict: &Verdict, target: &Target, applied: Option<&Applied>) -> Blamed {
    let refused =
        applied.and_then(|applied| applied.refused.iter().find(|refused| refused.target == *target));
    match refused {
        Some(refused) => Blamed::new(verdict, format!("not blocked: {}", refused.why), false),
        None => Blamed::new(verdict, "blocked or listed".to_owned(), true),
    }
}

/// Who must never be blocked.
pub(super) struct Kept {
    trusted: AllowList,
    allowed: AllowList,
    /// Of this machine; empty when nobody is to be blocked.
    guarded: AllowList,
}

impl Kept {
    /// Why somebody must not be blocked; `None` when it may be.
    pub(super) fn why(&self, source: Source) -> Option<&'static str> {
        let meets = |list: &AllowList| list.relation_to(&Target::Source(source)) != Relation::Apart;
        if meets(&self.trusted) {
            Some("a trusted proxy, which is never blocked")
        } else if meets(&self.allowed) {
            Some("on the allow list of the configuration")
        } else if source.network().is_loopback() {
            Some("this machine itself")
        } else if meets(&self.guarded) {
            Some("an address, gateway, resolver or SSH peer of this machine, which is never blocked")
        } else {
            None
        }
    }
}

pub(super) fn name_of(file: &Path) -> String {
    if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() }
}

fn nothing_to_decide(log: &Log, judgement: &Judgement) -> Option<String> {
    if judgement.blocked().next().is_some() {
        return None;
    }
    if log.clients.requests == 0 {
        return Some("there is no request in it".to_owned());
    }
    if log.clients.span().is_none() {
        return Some("no line has a time, so that no rate is known and nobody can be judged".to_owned());
    }
    if !judgement.verdicts.is_empty() {
        return Some("who shows the evidence cannot or must not be blocked".to_owned());
    }
    let alarms: Vec<&str> =
        judgement.cases.iter().filter(|case| case.alarm).map(|case| case.vector.name()).collect();
    Some(if alarms.is_empty() {
        "there is no alarm: no flood of one page, and no more errors than visitors get".to_owned()
    } else {
        format!("there is an alarm ({}), but no client shows all of the evidence", alarms.join(", "))
    })
}

fn explain(asked: &str, log: &Log, judgement: &Judgement) -> Explanation {
    let who = asked.parse::<IpAddr>().map_or_else(
        |_| Who::Name(asked.to_ascii_lowercase().into()),
        |address| Who::Source(Source::from(address.to_canonical())),
    );
    let place = log.clients.all().iter().position(|client| client.who == who);
    let Some((place, client)) = place.and_then(|place| Some((place, log.clients.all().get(place)?))) else {
        return Explanation {
            client: asked.to_owned(),
            seen: false,
            features: None,
            vectors: Vec::new(),
            conclusion: "no request of it is in the log".to_owned(),
        };
    };
    let vectors = judgement.explain(&log.clients, client);
    let conclusion = match judgement.verdicts.iter().find(|verdict| verdict.client == who) {
        Some(Verdict { kept: None, vector, .. }) => format!("blocked, for {}", vector.name()),
        Some(Verdict { kept: Some(why), vector, .. }) => {
            format!("shows {}, and is not blocked: {why}", vector.name())
        }
        None => "not blocked: see what it lacks of each kind of attack".to_owned(),
    };
    Explanation {
        client: who.to_string(),
        seen: true,
        features: judgement.features(place).cloned(),
        vectors,
        conclusion,
    }
}

fn progress_bar(file: &Path) -> ProgressBar {
    byte_bar(file.metadata().map_or(0, |metadata| metadata.len()))
}
