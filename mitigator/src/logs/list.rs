//! The list of the blocked, as a file: one address or prefix a line with the end of its block in a comment, as
//! `mitigator blocklist import` reads it and as firewalls do.
//!
//! Entries are compared as addresses, never as texts: 192.168.1.1 is not in a list because 192.168.1.15 is. What has
//! ended goes; who is listed twice stays until the later end; lines without an end stay until somebody removes them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};

use crate::pipeline::target::Target;
use crate::report::file::write_file;
use crate::report::units;

/// Tries to get the lock, and what is between two: five seconds.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// Who is blocked, and until when, in milliseconds since the Unix epoch; `None` for no end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    entries: BTreeMap<Target, Option<u64>>,
}

/// What a change of the list came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Change {
    /// Entries that were not there before.
    pub added: usize,
    /// Entries whose end is later than before.
    pub prolonged: usize,
    /// Entries that had ended.
    pub ended: usize,
    /// Entries that stand.
    pub standing: usize,
}

impl List {
    /// Reads a list.
    ///
    /// # Errors
    ///
    /// When a line is neither a comment nor an address or prefix, with or without an end.
    pub fn parse(text: &str) -> Result<Self> {
        let mut list = Self::default();
        for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let (entry, comment) = line.split_once('#').unwrap_or((line, ""));
            if entry.trim().is_empty() {
                continue;
            }
            let target: Target = entry.trim().parse().with_context(|| format!("line {}", number + 1))?;
            // `until the ticket is closed` is a comment like any other.
            let time =
                comment.trim_start().strip_prefix("until ").and_then(|rest| rest.split([' ', ',']).next());
            list.add(target, time.and_then(units::parse_unix_ms));
        }
        Ok(list)
    }

    /// Adds an entry, or prolongs it.
    fn add(&mut self, target: Target, until: Option<u64>) -> Change {
        let mut change = Change::default();
        match self.entries.entry(target) {
            Entry::Vacant(place) => {
                place.insert(until);
                change.added = 1;
            }
            Entry::Occupied(mut place) => {
                let is_later = match (*place.get(), until) {
                    (None, _) => false,
                    (Some(_), None) => true,
                    (Some(standing), Some(until)) => until > standing,
                };
                if is_later {
                    place.insert(until);
                    change.prolonged = 1;
                }
            }
        }
        change
    }

    /// Whether exactly this is listed.
    #[must_use]
    pub fn holds(&self, target: &Target) -> bool {
        self.entries.contains_key(target)
    }

    /// Takes in blocks and lets go of what has ended by `now_unix_ms`.
    pub fn update(&mut self, blocks: impl IntoIterator<Item = (Target, u64)>, now_unix_ms: u64) -> Change {
        let before = self.entries.len();
        self.entries.retain(|_, until| until.is_none_or(|until| until > now_unix_ms));
        let mut change = Change { ended: before - self.entries.len(), ..Change::default() };
        for (target, until) in blocks {
            let Change { added, prolonged, .. } = self.add(target, Some(until));
            (change.added, change.prolonged) = (change.added + added, change.prolonged + prolonged);
        }
        change.standing = self.entries.len();
        change
    }

    /// As the file has it, sorted.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (target, until) in &self.entries {
            match until {
                Some(until) => {
                    text.push_str(&format!("{target} # until {}, by logs\n", units::unix_ms(*until)));
                }
                None => text.push_str(&format!("{target}\n")),
            }
        }
        text
    }
}

/// Reads the list in a file; one that is not there is empty.
///
/// # Errors
///
/// When the file cannot be read, or is no such list.
pub fn read_file(file: &Path) -> Result<List> {
    let (list, _) = read(file)?;
    Ok(list)
}

/// With its text, when there is such a file.
fn read(file: &Path) -> Result<(List, Option<String>)> {
    let shown = file.display();
    let text = match fs::read_to_string(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        read => Some(read.with_context(|| format!("cannot read the list {shown}"))?),
    };
    match List::parse(text.as_deref().unwrap_or_default()) {
        Ok(list) => Ok((list, text)),
        Err(error) => bail!("{shown} is not a list of addresses, so it was left as it is: {error:#}"),
    }
}

/// Reads the list in a file, takes in blocks, lets go of what has ended, and replaces the file at once. One that is
/// not there is made, also without entries: who reads it need not ask whether it is there. Writers take turns by a lock on
/// a file beside it, which stays.
///
/// # Errors
///
/// When the file cannot be read or written, or is no such list; it is then as it was.
pub fn update_file(
    file: &Path,
    blocks: impl IntoIterator<Item = (Target, u64)>,
    now_unix_ms: u64,
) -> Result<(List, Change)> {
    let shown = file.display();
    let _turn = lock(file)?;
    let (mut list, text) = read(file)?;
    let change = list.update(blocks, now_unix_ms);
    let updated = list.text();
    if text.as_ref() != Some(&updated) {
        write_file(file, |out| Ok(out.write_all(updated.as_bytes())?))
            .with_context(|| format!("cannot write the list {shown}"))?;
    }
    Ok((list, change))
}

/// The turn to write a list, whatever link names it.
fn lock(file: &Path) -> Result<Flock<fs::File>> {
    let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let mut name = OsString::from(".");
    name.push(file.file_name().with_context(|| format!("{} names no file", file.display()))?);
    name.push(".lock");
    let beside = file.with_file_name(name);
    let shown = beside.display();
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600).custom_flags(OFlag::O_NOFOLLOW.bits());
    let mut opened = options.open(&beside).with_context(|| format!("cannot open the lock {shown}"))?;
    for _ in 0..LOCK_TRIES {
        opened = match Flock::lock(opened, FlockArg::LockExclusiveNonblock) {
            Ok(turn) => return Ok(turn),
            Err((opened, Errno::EWOULDBLOCK)) => opened,
            Err((_, error)) => return Err(error).with_context(|| format!("cannot lock {shown}")),
        };
        pause();
    }
    bail!("another process has held the lock {shown} for seconds; `fuser {shown}` tells which")
}

#[expect(clippy::disallowed_methods, reason = "an edge that waits for another process")]
fn pause() {
    std::thread::sleep(LOCK_PAUSE);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        text.parse().unwrap()
    }

    const NOON: u64 = 1_769_860_800_000;

    #[test]
    fn membership_is_of_addresses_and_not_of_texts() {
        let mut list = List::parse("192.168.1.15\n").unwrap();
        assert!(!list.holds(&target("192.168.1.1")));
        assert_eq!(list.update([(target("192.168.1.1"), NOON)], 0).added, 1);
        assert_eq!(list.text(), "192.168.1.1 # until 2026-01-31T12:00:00Z, by logs\n192.168.1.15\n");
    }

    #[test]
    fn a_list_is_sorted_has_each_once_and_lets_go_of_what_ended() {
        let text = "# a comment\n203.0.113.9 # until 2026-01-31T12:00:00Z, by logs\n10.0.0.1\n9.0.0.1\n10.0.0.1 # until 2026-01-31T12:00:00Z\n2001:db8::7\n";
        let mut list = List::parse(text).unwrap();
        let change = list.update(
            [
                (target("192.0.2.7"), NOON + 9_000),
                (target("192.0.2.7"), NOON + 5_000),
                (target("10.0.0.1"), NOON + 1),
            ],
            NOON,
        );
        assert_eq!(change, Change { added: 1, prolonged: 0, ended: 1, standing: 4 });
        assert_eq!(
            list.text(),
            "9.0.0.1\n10.0.0.1\n192.0.2.7 # until 2026-01-31T12:00:09Z, by logs\n2001:db8::/64\n"
        );
        assert_eq!(List::parse(&list.text()).unwrap(), list);
        assert_eq!(list.update([(target("192.0.2.7"), NOON + 20_000)], NOON).prolonged, 1);
    }

    #[test]
    fn a_file_that_is_no_list_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("blocked_ips.txt");
        fs::write(&file, "192.0.2.7\nsomething else\n").unwrap();
        let error = update_file(&file, [(target("192.0.2.9"), NOON)], 0).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("left as it is"), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "192.0.2.7\nsomething else\n");
        fs::remove_file(&file).unwrap();
        let (_, change) = update_file(&file, [(target("192.0.2.9"), NOON)], 0).unwrap();
        assert_eq!((change.added, change.standing), (1, 1));
        let (_, change) = update_file(&file, [], NOON).unwrap();
        assert_eq!((change.ended, change.standing), (1, 0));
        assert_eq!(fs::read_to_string(&file).unwrap(), "");
    }

    #[test]
    fn an_end_that_is_no_time_is_a_comment() {
        let mut list = List::parse("203.0.113.9 # until the ticket is closed\n").unwrap();
        assert_eq!(list.update([], u64::MAX), Change { standing: 1, ..Change::default() });
    }

    #[test]
    fn writers_take_turns_by_whatever_name_they_know_the_list() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("list"), directory.path().join("link"));
        fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let turn = lock(&link).unwrap();
        let error = update_file(&file, [(target("192.0.2.9"), NOON)], 0).unwrap_err().to_string();
        assert!(error.contains("/.list.lock for seconds"), "{error}");
        drop(turn);
        update_file(&link, [(target("192.0.2.9"), NOON)], 0).unwrap();
        let mode =
            std::os::unix::fs::MetadataExt::mode(&fs::metadata(directory.path().join(".list.lock")).unwrap());
        assert_eq!((mode & 0o777, link.is_symlink()), (0o600, true));
    }
}
