//! `mitigator logs --follow`: judges a log that is being written, every few seconds, until stopped.

use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use serde::Serialize;

use super::logs::{LogsArgs, fate, name_of};
use super::logs_apply::{Applied, Block, Deeds};
use super::logs_tell::Teller;
use super::{Answer, Places};
use crate::clock::Clock;
use crate::config::Config;
use crate::logs::client::Who;
use crate::logs::follow::Follower;
use crate::logs::judge::{self, Judgement, Terms, Verdict};
use crate::logs::list::Change;
use crate::logs::reading::Log;
use crate::logs::splitter::Line;
use crate::notify::{Blamed, Handed};
use crate::pipeline::time::Timestamp;
use crate::report::output::{print_text, printable};
use crate::report::units;

/// What is remembered of a log. The next memory begins at half of it, so that what is usual is always known.
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
    args.try_out(places)?;
    let name = name_of(file);
    let mut follower = Follower::new(file)?;
    let handed = if args.is_acting() { Handed::Blocked } else { Handed::Blamed };
    let teller = args.notifies().then(|| Teller::start(config.notify.clone(), args.names(), handed));
    let memory = Memory::new(args.trusted(), Clock::now().monotonic());
    let mut followed = Followed {
        args,
        places,
        config,
        memory,
        teller,
        dealt: BTreeMap::new(),
        is_unfinished: false,
        failure: None,
        told_bad_lines: 0,
    };
    let (mut judged, mut lines): (Option<Timestamp>, u64) = (None, 0);
    while !is_stopped.load(Ordering::Relaxed) {
        let now = Clock::now();
        let memory = &mut followed.memory;
        let was_rotated = follower.read(now.monotonic(), |some| {
            lines += some.len() as u64;
            some.iter().for_each(|line| memory.take(*line, &name));
        })?;
        if was_rotated {
            followed.say("rotated", format!("{name} was rotated; the new one is followed"))?;
        }
        if judged.is_none_or(|at| now.monotonic().since(at) >= args.every()) {
            judged = Some(now.monotonic());
            followed.judge(std::mem::take(&mut lines) > 0, &now)?;
            followed.tell_bad_lines()?;
            followed.memory.turn(now.monotonic());
        }
        follower.wait(args.every())?;
        pause();
    }
    if let Some(teller) = followed.teller {
        teller.finish();
    }
    Ok(Answer::Done)
}

/// Lines come in bursts: those of a moment are read at once.
#[expect(clippy::disallowed_methods, reason = "an edge that paces itself")]
fn pause() {
    std::thread::sleep(Duration::from_millis(50));
}

/// What a log said lately, in two parts that overlap.
struct Memory {
    /// What is judged.
    log: Log,
    next: Option<Log>,
    trusted: Vec<IpNet>,
    /// When `log` began.
    begun: Timestamp,
    /// Lines of the file.
    number: u64,
}

impl Memory {
    fn new(trusted: Vec<IpNet>, now: Timestamp) -> Self {
        Self { log: Log::new(trusted.clone()), next: None, trusted, begun: now, number: 0 }
    }

    fn take(&mut self, line: Line<'_>, file: &str) {
        if let Some(next) = &mut self.next {
            next.take(line, &mut self.number.clone(), file);
        }
        self.log.take(line, &mut self.number, file);
    }

    /// Begins the next, or goes over to it, when it is time.
    fn turn(&mut self, now: Timestamp) {
        let age = now.since(self.begun);
        if age >= REMEMBERED
            && let Some(next) = self.next.take()
        {
            self.log = next;
            self.begun = now.ago(REMEMBERED / 2).unwrap_or(now);
        }
        if age >= REMEMBERED / 2 && self.next.is_none() {
            self.next = Some(Log::new(self.trusted.clone()));
        }
    }

    fn forget(&mut self, who: &Who) {
        self.log.clients.forget(who);
        if let Some(next) = &mut self.next {
            next.clients.forget(who);
        }
    }
}

/// What is known from one judgement to the next.
struct Followed<'args> {
    args: &'args LogsArgs,
    places: &'args Places,
    config: &'args Config,
    memory: Memory,
    teller: Option<Teller>,
    /// Who was blocked or refused, and until when that holds.
    dealt: BTreeMap<Who, u64>,
    /// Whether somebody is still to be blocked.
    is_unfinished: bool,
    /// What failed the last time; told once.
    failure: Option<String>,
    told_bad_lines: u64,
}

impl Followed<'_> {
    fn judge(&mut self, is_news: bool, now: &Clock) -> Result<()> {
        self.dealt.retain(|_, until| *until > now.unix_ms());
        let judgement = if is_news || self.is_unfinished {
            let kept = LazyCell::new(|| self.args.kept(self.config));
            let terms = Terms { everybody: false, ..self.args.terms(self.config) };
            Some(judge::judge(&self.memory.log.clients, &terms, |source| kept.why(source))?)
        } else {
            None
        };
        let verdicts = judgement
            .iter()
            .flat_map(Judgement::blocked)
            .filter(|verdict| !self.dealt.contains_key(&verdict.client));
        let (blocks, _) = self.args.plan(verdicts, self.config, now.unix_ms());
        self.is_unfinished = false;
        if blocks.is_empty() && self.args.is_dry_run() {
            return Ok(());
        }
        // Also without anybody new: what has ended goes off the list.
        let deeds = match self.args.act_on(&blocks, self.places, self.config) {
            Ok(deeds) => deeds,
            Err(error) => {
                self.is_unfinished = true;
                return self.fail(format!("{error:#}; it is tried again"));
            }
        };
        self.failure = None;
        for block in &blocks {
            self.conclude(block, deeds.applied.as_ref(), now)?;
        }
        self.tell_changes(&deeds, now)
    }

    /// Somebody was blocked, listed or refused. By what led to it nobody is blocked twice.
    fn conclude(&mut self, block: &Block<'_>, applied: Option<&Applied>, now: &Clock) -> Result<()> {
        let Block { target, verdict, until_unix_ms } = block;
        let mut refusals = applied.iter().flat_map(|applied| &applied.refused);
        let refusal = refusals.find(|refused| refused.target == *target);
        if refusal.is_some_and(|refused| refused.is_for_now) {
            self.is_unfinished = true;
            return Ok(());
        }
        self.dealt.insert(verdict.client.clone(), *until_unix_ms);
        if refusal.is_none() {
            self.memory.forget(&verdict.client);
        }
        if let Some(teller) = &self.teller {
            teller.take(if self.args.is_acting() {
                fate(verdict, target, applied)
            } else {
                Blamed::new(verdict, "not blocked, as nothing was to be changed".to_owned(), true)
            });
        }
        let text = format!("{}: {}", verdict.client, verdict.vector.name());
        self.tell(&Event { verdict: Some(verdict), ..event("verdict", now) }, &text)
    }

    fn tell_changes(&self, deeds: &Deeds, now: &Clock) -> Result<()> {
        let change = deeds.list.filter(|change| change.added + change.prolonged + change.ended > 0);
        let applied = deeds.applied.as_ref();
        if change.is_none() && applied.is_none() {
            return Ok(());
        }
        let listed = change.map(|change| {
            format!("list: {} added, {} ended, {} stand", change.added, change.ended, change.standing)
        });
        let blocked = applied.map(|applied| format!("blocked in the kernel: {}", applied.blocked.len()));
        let text: Vec<String> = listed.into_iter().chain(blocked).collect();
        self.tell(&Event { applied, blocklist: deeds.list, ..event("changed", now) }, &text.join("; "))
    }

    fn fail(&mut self, failure: String) -> Result<()> {
        if self.failure.as_ref() == Some(&failure) {
            return Ok(());
        }
        self.say("failed", failure.clone())?;
        self.failure = Some(failure);
        Ok(())
    }

    /// More than one line of a hundred, and twice as many as were told.
    fn tell_bad_lines(&mut self) -> Result<()> {
        let Log { lines, bad_lines, .. } = self.memory.log;
        self.told_bad_lines = self.told_bad_lines.min(bad_lines);
        if bad_lines * 100 <= lines || bad_lines < self.told_bad_lines * 2 {
            return Ok(());
        }
        self.told_bad_lines = bad_lines;
        let last = self.memory.log.shown_bad_lines.last();
        let what = last.map_or_else(String::new, |line| format!(", for example: {}", line.what));
        self.say("bad_lines", format!("{bad_lines} of {lines} lines could not be read{what}"))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::grouping::Wanted;
    use crate::logs::judge::Decision;

    fn clf(minute: u64, second: u64) -> String {
        format!("31/Jan/2026:{:02}:{:02}:{second:02} +0000", 12 + minute / 60, minute % 60)
    }

    /// Who is blocked at the end of each minute.
    fn blocked(begin_s: u64, end_s: u64, per_second: u64) -> Vec<(u64, String)> {
        let mut memory = Memory::new(Vec::new(), Timestamp::default());
        let mut blocked = Vec::new();
        let terms = Terms {
            wanted: Wanted::Auto,
            min_silhouette: 0.6,
            min_separation: 3.0,
            patience: 1.0,
            seed: 1,
            everybody: false,
        };
        for minute in 0..200_u64 {
            for second in 0..60 {
                let at_s = minute * 60 + second;
                let asks = if (begin_s..end_s).contains(&at_s) { per_second } else { 0 };
                for _ in 0..asks {
                    let line = format!(
                        "192.0.2.9 - - [{}] \"GET /api HTTP/1.1\" 200 1 \"-\" \"client\"",
                        clf(minute, second)
                    );
                    memory.take(Line::Whole(line.as_bytes()), "access.log");
                }
            }
            let line = format!(
                "198.51.100.1 - - [{}] \"GET /{minute} HTTP/1.1\" 200 1 \"-\" \"visitor\"",
                clf(minute, 59)
            );
            memory.take(Line::Whole(line.as_bytes()), "access.log");
            let judgement = judge::judge(&memory.log.clients, &terms, |_| None).unwrap();
            let verdicts = judgement.verdicts.iter().filter(|verdict| verdict.decision == Decision::Block);
            for who in verdicts.map(|verdict| verdict.client.clone()).collect::<Vec<_>>() {
                blocked.push((minute, who.to_string()));
                memory.forget(&who);
            }
            memory.turn(Timestamp::default() + Duration::from_mins(minute + 1));
        }
        blocked
    }

    #[test]
    fn who_asks_evenly_is_spared_for_hours_and_who_floods_is_blocked_once() {
        assert_eq!(blocked(0, u64::MAX, 22), []);
        assert_eq!(blocked(6_000, 6_040, 22), [(100, "192.0.2.9".to_owned())]);
    }
}
