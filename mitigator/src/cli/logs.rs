//! `mitigator logs`: who attacks, by the access logs of a web server.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use ipnet::IpNet;
use mitigator_common::{AllowReason, PrefixKey, Source};
use serde::Serialize;

use super::block::parse_time;
use super::logs_apply::{self, Applied};
use super::{Answer, Places};
use crate::clock::Clock;
use crate::config::Config;
use crate::logs::client::Who;
use crate::logs::features::{COLUMN_NAMES, Features};
use crate::logs::format::Format;
use crate::logs::gates::number;
use crate::logs::grouping::{Grouping, MOST_GROUPS, Wanted};
use crate::logs::judge::{self, Case, Decision, Explained, Judgement, Terms, Verdict};
use crate::logs::list::Change;
use crate::logs::plots;
use crate::logs::reading::{self, BadLine, Damage, Log};
use crate::notify::{self, Message};
use crate::pipeline::allowlist::{AllowList, Relation};
use crate::pipeline::target::Target;
use crate::report::output::{Align, Ink, complain, print_report, printable, table};
use crate::report::units;

/// Clients that are shown to people unless told otherwise.
const SHOWN_CLIENTS: usize = 10;
/// Bad lines that are shown to people.
const SHOWN_BAD_LINES: usize = 20;
/// Who was last seen longer ago is not blocked: the address may be somebody else's by now.
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
    #[arg(long, value_name = "CLIENT", value_delimiter = ',')]
    explain: Vec<String>,
    /// List so many clients, the loudest first; 0 for all
    #[arg(long, value_name = "N", default_value_t = SHOWN_CLIENTS)]
    limit: usize,
    /// Show the lines that could not be read
    #[arg(long)]
    show_bad: bool,
    /// Keep the list of the blocked in this file, for example blocked_ips.txt
    #[arg(long, value_name = "FILE")]
    blocklist: Option<PathBuf>,
    /// Block in the kernel, as `mitigator block` does
    #[arg(long)]
    apply: bool,
    /// How long blocks last, for example 1h; without it, blocking.duration of the configuration
    #[arg(long = "for", value_name = "TIME", value_parser = parse_time)]
    duration: Option<Duration>,
    /// Change and send nothing, whatever else is asked for, and say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Block also who was last seen more than 24 hours ago
    #[arg(long)]
    force: bool,
    /// Tell the result to everybody under [notify] in the configuration
    #[arg(long)]
    notify: bool,
    /// Go on with what is written to the log, also after its rotation, until stopped
    #[arg(long)]
    follow: bool,
    /// With --follow: how often to judge
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_time)]
    every: Duration,
    /// Draw requests per client, the elbow and the groups as SVG files in this directory
    #[arg(long, value_name = "DIR")]
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

#[derive(Serialize)]
struct Report {
    logs: Vec<String>,
    lines: u64,
    bad_lines: u64,
    /// With `--show-bad`.
    bad: Vec<BadLine>,
    formats: BTreeMap<&'static str, u64>,
    requests: u64,
    first_unix_ms: Option<i64>,
    last_unix_ms: Option<i64>,
    undated_requests: u64,
    late_requests: u64,
    forwarded_requests: u64,
    unlisted_requests: u64,
    client_count: usize,
    /// Somebody is blamed.
    attack: bool,
    verdicts: Vec<Verdict>,
    /// Why nobody is blocked; null when somebody is.
    nothing_to_decide: Option<String>,
    cases: Vec<Case>,
    everybody: Everybody,
    clients: Vec<ClientRow>,
    explained: Vec<Explanation>,
    /// Blamed, but seen last too long ago to be blocked.
    stale: Vec<Target>,
    dry_run: bool,
    /// Of the file that was asked for.
    blocklist: Option<Change>,
    applied: Option<Applied>,
    plots: Vec<PathBuf>,
    damage: Option<Damage>,
}

#[derive(Serialize)]
struct Everybody {
    columns: [&'static str; COLUMN_NAMES.len()],
    #[serde(flatten)]
    grouping: Grouping,
}

#[derive(Serialize)]
struct ClientRow {
    client: Who,
    group: Option<usize>,
    distance: Option<f64>,
    decision: Option<Decision>,
    #[serde(flatten)]
    features: Features,
}

#[derive(Serialize)]
struct Explanation {
    client: String,
    /// Whether the log has it.
    seen: bool,
    features: Option<Features>,
    vectors: Vec<Explained>,
    conclusion: String,
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
            notify::send(&config.notify, &report.message())?;
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
        let terms = self.terms(config);
        let judgement = judge::judge(&log.clients, &terms, |source| self.kept(source, config))?;
        let mut report = self.report(&log, &judgement, &terms, damage);
        if report.damage.is_none() {
            self.act(&judgement, &mut report, places, config)?;
        }
        if let Some(directory) = &self.plots {
            report.plots = plots::draw(directory, &log.clients, &judgement)?;
        }
        Ok(report)
    }

    /// Who must never be blocked.
    pub(super) fn kept(&self, source: Source, config: &Config) -> Option<&'static str> {
        let keys = |prefixes: &[IpNet]| {
            let key = |prefix: &IpNet| {
                (PrefixKey::new(prefix.network(), prefix.prefix_len()), AllowReason::Configuration)
            };
            AllowList::new(prefixes.iter().map(key).collect())
        };
        let meets =
            |prefixes: &[IpNet]| keys(prefixes).relation_to(&Target::Source(source)) != Relation::Apart;
        if meets(&self.trusted) {
            Some("a trusted proxy, which is never blocked")
        } else if meets(&config.allow) {
            Some("on the allow list of the configuration")
        } else if source.network().is_loopback() {
            Some("this machine itself")
        } else {
            None
        }
    }

    /// Lists and blocks who is blamed, as far as that was asked for.
    pub(super) fn act_on(
        &self,
        verdicts: &[&Verdict],
        places: &Places,
        config: &Config,
        blocks: bool,
    ) -> Result<(Option<Change>, Option<Applied>)> {
        if self.dry_run {
            return Ok((None, None));
        }
        let duration = self.duration(config);
        let targets = logs_apply::targets(verdicts.iter().copied());
        let only: Vec<Target> = targets.iter().map(|(target, _)| *target).collect();
        let applied = if self.apply && blocks {
            Some(logs_apply::block_in_kernel(places, &targets, duration, config.blocking.max_per_tick)?)
        } else {
            None
        };
        // Who may not be blocked in the kernel does not go on the list either.
        let listed = applied.as_ref().map_or(only, |applied| applied.blocked.clone());
        let change = match &self.blocklist {
            Some(file) => Some(logs_apply::list(file, &listed, duration)?),
            None => None,
        };
        Ok((change, applied))
    }

    fn act(
        &self,
        judgement: &Judgement,
        report: &mut Report,
        places: &Places,
        config: &Config,
    ) -> Result<()> {
        let now_s = i64::try_from(Clock::now().unix_ms() / 1_000).unwrap_or(i64::MAX);
        let (fresh, stale): (Vec<&Verdict>, Vec<&Verdict>) =
            judgement.blocked().partition(|verdict| self.force || !is_stale(verdict, now_s));
        let is_acting = self.apply || self.blocklist.is_some();
        if is_acting {
            report.stale =
                logs_apply::targets(stale.into_iter()).into_iter().map(|(target, _)| target).collect();
        }
        report.dry_run = self.dry_run || !is_acting;
        (report.blocklist, report.applied) = self.act_on(&fresh, places, config, true)?;
        Ok(())
    }

    fn report(&self, log: &Log, judgement: &Judgement, terms: &Terms, damage: Option<Damage>) -> Report {
        let clients = &log.clients;
        let to_ms = |at_s: i64| at_s.saturating_mul(1_000);
        let mut rows: Vec<ClientRow> = judgement
            .grouped
            .iter()
            .zip(&judgement.everybody.members)
            .filter_map(|(place, member)| {
                let who = &clients.all().get(*place)?.who;
                let verdict = judgement.verdicts.iter().find(|verdict| verdict.client == *who);
                Some(ClientRow {
                    client: who.clone(),
                    group: Some(member.group),
                    distance: Some(member.distance),
                    decision: verdict.map(|verdict| verdict.decision),
                    features: judgement.features(*place)?.clone(),
                })
            })
            .collect();
        if self.limit > 0 {
            rows.truncate(self.limit);
        }
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
            explained: self.explain.iter().map(|asked| explain(asked, log, judgement, terms)).collect(),
            stale: Vec::new(),
            dry_run: true,
            blocklist: None,
            applied: None,
            plots: Vec::new(),
            damage,
        }
    }
}

/// Whether a client was last seen too long ago to be blocked.
pub(super) const fn is_stale(verdict: &Verdict, now_s: i64) -> bool {
    now_s.saturating_sub(verdict.last_s).unsigned_abs() > STALE_AFTER.as_secs() && now_s > verdict.last_s
}

pub(super) fn name_of(file: &Path) -> String {
    if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() }
}

fn nothing_to_decide(log: &Log, judgement: &Judgement) -> Option<String> {
    if judgement.blocked().next().is_some() {
        return None;
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

fn explain(asked: &str, log: &Log, judgement: &Judgement, terms: &Terms) -> Explanation {
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
    let vectors = judgement.explain(&log.clients, client, terms);
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

pub(super) fn progress_bar(file: &Path) -> ProgressBar {
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    if !io::stderr().is_terminal() || length == 0 {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} to go");
    ProgressBar::new(length).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

impl Report {
    fn message(&self) -> Message {
        if let Some(damage) = &self.damage {
            let what = format!("{} is damaged after line {}: {}", damage.file, damage.line, damage.what);
            return Message::failure(&self.logs.join(", "), &what);
        }
        let verdicts: Vec<&Verdict> =
            self.verdicts.iter().filter(|verdict| verdict.decision == Decision::Block).collect();
        Message::success(&self.logs.join(", "), &headline(self), &verdicts)
    }
}

fn headline(report: &Report) -> String {
    let blocked = report.verdicts.iter().filter(|verdict| verdict.decision == Decision::Block).count();
    format!(
        "{} requests of {} clients in {} lines: {}",
        report.requests,
        report.client_count,
        report.lines,
        match blocked {
            0 => "nobody to block".to_owned(),
            1 => "1 client to block".to_owned(),
            count => format!("{count} clients to block"),
        }
    )
}

fn text(report: &Report, show_bad: bool) -> String {
    let ink = Ink::of_stdout();
    let mut text = format!("{}\n", ink.strong(&headline(report)));
    if let (Some(first), Some(last)) = (report.first_unix_ms, report.last_unix_ms) {
        let shown = |at: i64| u64::try_from(at).map_or_else(|_| "before 1970".to_owned(), units::unix_ms);
        let _ = writeln!(text, "from {} to {}", shown(first), shown(last));
    }
    write_faults(&mut text, report, show_bad);
    text.push('\n');
    match &report.nothing_to_decide {
        Some(why) => {
            let _ = writeln!(text, "Nobody is blocked: {why}.");
        }
        None => text.push_str(&ink.bad("Blamed:\n")),
    }
    for verdict in &report.verdicts {
        write_verdict(&mut text, verdict);
    }
    for case in report.cases.iter().filter(|case| case.alarm) {
        write_case(&mut text, case);
    }
    write_clients(&mut text, report);
    write_trials(&mut text, &report.everybody.grouping);
    for explanation in &report.explained {
        write_explanation(&mut text, explanation);
    }
    write_deeds(&mut text, report);
    text
}

fn write_faults(text: &mut String, report: &Report, show_bad: bool) {
    let mut fault = |count: u64, what: &str| {
        if count > 0 {
            let _ = writeln!(text, "{count} {what}");
        }
    };
    fault(
        report.bad_lines,
        if show_bad { "lines could not be read:" } else { "lines could not be read; --show-bad shows them" },
    );
    fault(report.undated_requests, "requests have no time and count to no rate");
    fault(
        report.late_requests,
        "requests are dated before one that precedes them, and counted by their time",
    );
    fault(report.unlisted_requests, "requests are of clients past the first 1,048,576, who are not judged");
    for line in report.bad.iter().take(SHOWN_BAD_LINES) {
        let _ = writeln!(
            text,
            "  {}, line {}: {}: {}",
            printable(&line.file),
            line.line,
            line.what,
            printable(&line.text)
        );
    }
    if report.bad.len() > SHOWN_BAD_LINES {
        let _ = writeln!(
            text,
            "  and {} more; --json shows up to 1,000",
            report.bad_lines - SHOWN_BAD_LINES as u64
        );
    }
}

fn write_verdict(text: &mut String, verdict: &Verdict) {
    let Verdict { client, vector, decision, features, page, .. } = verdict;
    let deed = match decision {
        Decision::Block => "block",
        Decision::Observe => "only shown",
    };
    let page = page.as_deref().map_or_else(String::new, |page| format!(", mostly {}", printable(page)));
    let _ = writeln!(
        text,
        "\n{}  {}  {deed}: {} requests{page}; group {}, {} standard deviations from its centroid",
        printable(&client.to_string()),
        vector.name(),
        number(features.requests),
        verdict.group,
        number(verdict.distance)
    );
    for gate in verdict.gates.iter().filter(|gate| gate.passed) {
        let _ = writeln!(text, "  {}", gate.sentence());
    }
    if let Some(why) = verdict.kept {
        let _ = writeln!(text, "  not blocked: {why}");
    }
}

fn write_case(text: &mut String, case: &Case) {
    let _ = writeln!(text, "\nAlarm: {}, carried by {} clients", case.vector.name(), case.carriers);
    for gate in &case.gates {
        let _ = writeln!(text, "  {}", gate.sentence());
    }
    let heading = [
        ("GROUP", Align::Right),
        ("CLIENTS", Align::Right),
        ("CENTROID", Align::Right),
        ("", Align::Left),
        ("REQUESTS", Align::Right),
        ("ONE PAGE", Align::Right),
        ("ERRORS", Align::Right),
        ("", Align::Left),
    ];
    let rows: Vec<Vec<String>> = case
        .groups
        .iter()
        .enumerate()
        .map(|(place, group)| {
            vec![
                place.to_string(),
                group.clients.to_string(),
                number(group.centroid),
                group.unit.to_owned(),
                number(group.requests),
                percent(group.page_share),
                percent(group.error_share),
                if group.is_attacking { "attacks".to_owned() } else { String::new() },
            ]
        })
        .collect();
    text.push_str(&table(&heading, &rows));
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn write_clients(text: &mut String, report: &Report) {
    let heading = [
        ("CLIENT", Align::Left),
        ("REQUESTS", Align::Right),
        ("PEAK/s", Align::Right),
        ("PAGES", Align::Right),
        ("ONE PAGE", Align::Right),
        ("ERRORS", Align::Right),
        ("POST", Align::Right),
        ("AGENTS", Align::Right),
        ("BYTES", Align::Right),
        ("GROUP", Align::Right),
        ("", Align::Left),
    ];
    let rows: Vec<Vec<String>> = report
        .clients
        .iter()
        .map(|row| {
            let features = &row.features;
            vec![
                printable(&row.client.to_string()),
                number(features.requests),
                number(features.peak_per_second),
                number(features.pages),
                percent(features.page_share),
                percent(features.error_share),
                percent(features.post_share),
                number(features.agents),
                units::count(features.bytes),
                row.group.map_or_else(String::new, |group| group.to_string()),
                match row.decision {
                    Some(Decision::Block) => "block".to_owned(),
                    Some(Decision::Observe) => "only shown".to_owned(),
                    None => String::new(),
                },
            ]
        })
        .collect();
    let _ = writeln!(text, "\nThe loudest of {} clients (--limit 0 lists all):", report.client_count);
    text.push_str(&table(&heading, &rows));
}

fn write_trials(text: &mut String, grouping: &Grouping) {
    if grouping.trials.len() < 2 {
        return;
    }
    let heading = [
        ("GROUPS", Align::Right),
        ("INERTIA", Align::Right),
        ("SILHOUETTE", Align::Right),
        ("", Align::Left),
    ];
    let rows: Vec<Vec<String>> = grouping
        .trials
        .iter()
        .map(|trial| {
            vec![
                trial.groups.to_string(),
                number(trial.inertia),
                format!("{:.2}", trial.silhouette),
                if trial.groups == grouping.chosen { "chosen".to_owned() } else { String::new() },
            ]
        })
        .collect();
    text.push_str("\nHow all of them divide (nobody is judged by it):\n");
    text.push_str(&table(&heading, &rows));
}

fn write_explanation(text: &mut String, explanation: &Explanation) {
    let _ = writeln!(text, "\n{}: {}", printable(&explanation.client), explanation.conclusion);
    for explained in &explanation.vectors {
        let _ = writeln!(text, "  {}: {}", explained.vector.name(), explained.conclusion);
        for gate in &explained.gates {
            let _ = writeln!(text, "    {} {}", if gate.passed { "✓" } else { "✗" }, gate.sentence());
        }
    }
}

fn write_deeds(text: &mut String, report: &Report) {
    text.push('\n');
    for target in &report.stale {
        let _ = writeln!(
            text,
            "{target} was last seen more than 24 hours ago and is left alone: the address may be somebody else's by now; \
             --force blocks it all the same"
        );
    }
    if let Some(Change { added, prolonged, ended, standing }) = &report.blocklist {
        let _ = writeln!(text, "list: {added} added, {prolonged} prolonged, {ended} ended, {standing} stand");
    }
    if let Some(Applied { blocked, refused }) = &report.applied {
        let _ = writeln!(text, "blocked in the kernel: {}", blocked.len());
        for refused in refused {
            let _ = writeln!(text, "not blocked: {}: {}", refused.target, refused.why);
        }
    }
    for plot in &report.plots {
        let _ = writeln!(text, "drew {}", printable(&plot.display().to_string()));
    }
    if report.dry_run && report.verdicts.iter().any(|verdict| verdict.decision == Decision::Block) {
        text.push_str("Nothing was changed: --blocklist FILE keeps a list, --apply blocks in the kernel.\n");
    }
}
