//! `mitigator logs --follow`: judges a log that is being written, every few seconds, until stopped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::logs::{LogsArgs, is_stale, name_of};
use super::logs_apply::Applied;
use super::{Answer, Places};
use crate::clock::Clock;
use crate::config::Config;
use crate::logs::client::Who;
use crate::logs::follow::Follower;
use crate::logs::judge::{self, Judgement, Verdict};
use crate::logs::list::Change;
use crate::logs::reading::Log;
use crate::notify::{self, Message};
use crate::pipeline::time::Timestamp;
use crate::report::output::{print_text, printable};
use crate::report::units;

/// What is remembered of a log before it is forgotten and begun anew.
const REMEMBERED: Duration = Duration::from_hours(1);

/// One line of the report.
#[derive(Serialize)]
struct Event<'verdict> {
    event: &'static str,
    at_unix_ms: u64,
    verdict: Option<&'verdict Verdict>,
    applied: Option<&'verdict Applied>,
    blocklist: Option<Change>,
    message: Option<String>,
}

pub(super) fn run(args: &LogsArgs, places: &Places, config: &Config) -> Result<Answer> {
    let Some(file) = args.the_file().filter(|file| file.is_file()) else {
        bail!("--follow takes one log, which is a regular file");
    };
    let is_stopped = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&is_stopped)).context("cannot wait for signals")?;
    }
    let name = name_of(file);
    let mut follower = Follower::new(file)?;
    let mut followed = Followed { args, places, config, blocked: BTreeMap::new() };
    let mut log = Log::new(args.trusted());
    let (mut number, mut begun) = (0, Clock::now().monotonic());
    let mut judged: Option<Timestamp> = None;
    while !is_stopped.load(Ordering::Relaxed) {
        let lines_before = log.lines;
        let was_rotated = follower.read(|line| log.take(line, &mut number, &name))?;
        if was_rotated {
            number = 0;
            followed.say("rotated", format!("{name} was rotated; the new one is followed"))?;
        }
        let now = Clock::now();
        let is_due = judged.is_none_or(|at| now.monotonic().since(at) >= args.every());
        if is_due {
            judged = Some(now.monotonic());
            let is_news = log.lines > lines_before || log.clients.requests > 0;
            followed.judge(is_news.then_some(&log), &now)?;
            if now.monotonic().since(begun) >= REMEMBERED {
                log = Log::new(args.trusted());
                begun = now.monotonic();
            }
        }
        follower.wait(args.every())?;
        pause();
    }
    Ok(Answer::Done)
}

/// Lines come in bursts: those of a moment are read at once.
#[expect(clippy::disallowed_methods, reason = "an edge that paces itself")]
fn pause() {
    std::thread::sleep(Duration::from_millis(50));
}

/// What is known from one judgement to the next.
struct Followed<'args> {
    args: &'args LogsArgs,
    places: &'args Places,
    config: &'args Config,
    /// Who was blocked, and until when: the same evidence blocks nobody twice.
    blocked: BTreeMap<Who, Blocked>,
}

struct Blocked {
    until_unix_ms: u64,
    /// Requests that were known by then.
    requests: f64,
}

impl Followed<'_> {
    fn judge(&mut self, log: Option<&Log>, now: &Clock) -> Result<()> {
        let judgement = match log {
            Some(log) => {
                let terms = self.args.terms(self.config);
                Some(judge::judge(&log.clients, &terms, |source| self.args.kept(source, self.config))?)
            }
            None => None,
        };
        let now_s = i64::try_from(now.unix_ms() / 1_000).unwrap_or(i64::MAX);
        let verdicts: Vec<&Verdict> = judgement
            .iter()
            .flat_map(Judgement::blocked)
            .filter(|verdict| !is_stale(verdict, now_s) && self.is_news(verdict, now.unix_ms()))
            .collect();
        let until = now
            .unix_ms()
            .saturating_add(u64::try_from(self.args.duration(self.config).as_millis()).unwrap_or(u64::MAX));
        for verdict in &verdicts {
            let blocked = Blocked { until_unix_ms: until, requests: verdict.features.requests };
            self.blocked.insert(verdict.client.clone(), blocked);
            let text = format!("{}: {}", verdict.client, verdict.vector.name());
            self.tell(&Event { verdict: Some(verdict), ..event("verdict", now) }, &text)?;
        }
        // Also without anybody new: what has ended goes off the list.
        let (change, applied) =
            self.args.act_on(&verdicts, self.places, self.config, !verdicts.is_empty())?;
        if change.is_some_and(|change| change.added + change.prolonged + change.ended > 0)
            || applied.is_some()
        {
            let listed = change.map_or_else(String::new, |change| {
                format!("list: {} added, {} ended, {} stand", change.added, change.ended, change.standing)
            });
            let blocked = applied.as_ref().map_or_else(String::new, |applied| {
                format!("blocked in the kernel: {}", applied.blocked.len())
            });
            let text =
                [listed, blocked].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ");
            self.tell(
                &Event { applied: applied.as_ref(), blocklist: change, ..event("changed", now) },
                &text,
            )?;
        }
        if self.args.notifies() && !verdicts.is_empty() {
            let headline = format!("{} clients attack", verdicts.len());
            let message = Message::success(&self.args.names(), &headline, &verdicts);
            if let Err(error) = notify::send(&self.config.notify, &message) {
                tracing::warn!("{error:#}");
            }
        }
        Ok(())
    }

    /// Whether somebody is blocked for the first time, or went on after the block.
    fn is_news(&self, verdict: &Verdict, now_unix_ms: u64) -> bool {
        self.blocked.get(&verdict.client).is_none_or(|blocked| {
            // After an hour its requests are counted anew.
            let went_on = verdict.features.requests != blocked.requests;
            let last_ms = u64::try_from(verdict.last_s).unwrap_or(0).saturating_mul(1_000);
            blocked.until_unix_ms <= now_unix_ms && went_on && last_ms >= blocked.until_unix_ms
        })
    }

    fn say(&self, event: &'static str, message: String) -> Result<()> {
        let text = message.clone();
        self.tell(&Event { message: Some(message), ..self::event(event, &Clock::now()) }, &text)
    }

    fn tell(&self, event: &Event<'_>, text: &str) -> Result<()> {
        if self.args.is_json() {
            return print_text(&format!("{}\n", serde_json::to_string(event)?));
        }
        print_text(&format!("{} {}\n", units::unix_ms(event.at_unix_ms), printable(text)))
    }
}

fn event<'verdict>(event: &'static str, now: &Clock) -> Event<'verdict> {
    Event { event, at_unix_ms: now.unix_ms(), verdict: None, applied: None, blocklist: None, message: None }
}
