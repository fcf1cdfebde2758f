//! `Follower`: a log that is being written, across its rotation. inotify says when to look; what is there decides.
//!
//! A log is rotated by renaming it and making another, or by copying it and cutting it to nothing. A renamed one is read
//! on until its writer has been silent for a while: it goes on with it until it is told of the rotation.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::splitter::{Line, Splitter};
use crate::pipeline::time::Timestamp;

/// How long a renamed log stays silent before it is let go of.
const SILENCE: Duration = Duration::from_mins(1);
/// Renamed logs that are read on.
const MOST_RENAMED: usize = 4;

/// A renamed log.
#[derive(Debug)]
struct Renamed {
    file: File,
    splitter: Splitter,
    /// When something was last read from it.
    heard: Timestamp,
}

/// A log that grows.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    file: Option<File>,
    splitter: Splitter,
    renamed: VecDeque<Renamed>,
    watch: Inotify,
}

impl Follower {
    /// Follows the log at `path`, from its beginning.
    ///
    /// # Errors
    ///
    /// When there is none, or its directory cannot be watched.
    pub fn new(path: &Path) -> Result<Self> {
        let shown = path.display();
        let file = File::open(path).with_context(|| format!("cannot open the log {shown}"))?;
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let watch = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)
            .with_context(|| format!("cannot watch {shown}"))?;
        // The directory tells of its files, and of those that take their place.
        let changes = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
        watch
            .add_watch(directory, changes)
            .with_context(|| format!("cannot watch the directory of {shown}"))?;
        Ok(Self {
            path: path.to_owned(),
            file: Some(file),
            splitter: Splitter::default(),
            renamed: VecDeque::new(),
            watch,
        })
    }

    /// Waits until something may have been written, but no longer than `most`.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn wait(&mut self, most: Duration) -> Result<()> {
        let timeout = PollTimeout::try_from(most).unwrap_or(PollTimeout::MAX);
        let mut watched = [PollFd::new(self.watch.as_fd(), PollFlags::POLLIN)];
        match poll(&mut watched, timeout) {
            // A signal: the caller looks what it was.
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for the log"),
        }
        // What it says is not asked: the files are looked at.
        while self.watch.read_events().is_ok_and(|events| !events.is_empty()) {}
        Ok(())
    }

    /// Hands on what was written since the last time, some lines at a time, by `now`; says whether the log was rotated.
    ///
    /// # Errors
    ///
    /// When the log cannot be read.
    pub fn read(&mut self, now: Timestamp, mut some: impl FnMut(&[Line<'_>])) -> Result<bool> {
        let shown = self.path.display().to_string();
        let cannot_read = || format!("cannot read the log {shown}");
        let mut was_rotated = false;
        loop {
            for renamed in &mut self.renamed {
                if drain(&mut renamed.file, &mut renamed.splitter, &mut some).with_context(cannot_read)? {
                    renamed.heard = now;
                }
            }
            while self.renamed.len() > MOST_RENAMED
                || self.renamed.front().is_some_and(|renamed| now.since(renamed.heard) > SILENCE)
            {
                if let Some(mut renamed) = self.renamed.pop_front() {
                    renamed.splitter.finish(&mut some);
                }
            }
            if let Some(file) = &mut self.file {
                if file.metadata().with_context(cannot_read)?.len()
                    < file.stream_position().with_context(cannot_read)?
                {
                    // Cut to nothing, as copying rotation does.
                    file.seek(SeekFrom::Start(0)).with_context(cannot_read)?;
                    self.splitter = Splitter::default();
                    was_rotated = true;
                }
                drain(file, &mut self.splitter, &mut some).with_context(cannot_read)?;
            }
            if !self.is_replaced() {
                return Ok(was_rotated);
            }
            let file = match File::open(&self.path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(was_rotated),
                Err(error) => return Err(error).with_context(cannot_read),
            };
            if let Some(file) = self.file.replace(file) {
                let splitter = std::mem::take(&mut self.splitter);
                self.renamed.push_back(Renamed { file, splitter, heard: now });
            }
            was_rotated = true;
        }
    }

    /// Whether another file has the name. While none has it, the old one is read on.
    fn is_replaced(&self) -> bool {
        let Ok(named) = std::fs::metadata(&self.path) else { return false };
        let open = self.file.as_ref().and_then(|file| file.metadata().ok());
        open.is_none_or(|open| (open.dev(), open.ino()) != (named.dev(), named.ino()))
    }
}

/// Reads to the end; says whether there was anything.
fn drain(
    file: &mut impl Read,
    splitter: &mut Splitter,
    some: &mut impl FnMut(&[Line<'_>]),
) -> io::Result<bool> {
    let mut was_any = false;
    while splitter.read(file, &mut *some)? > 0 {
        was_any = true;
    }
    Ok(was_any)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    fn take(follower: &mut Follower) -> (Vec<String>, bool) {
        take_at(follower, 0)
    }

    fn take_at(follower: &mut Follower, at_s: u64) -> (Vec<String>, bool) {
        let mut lines = Vec::new();
        let now = Timestamp::default() + Duration::from_secs(at_s);
        let was_rotated = follower
            .read(now, |some| {
                let whole = some.iter().filter_map(|line| match line {
                    Line::Whole(line) => Some(String::from_utf8_lossy(line).into_owned()),
                    Line::TooLong(_) => None,
                });
                lines.extend(whole);
            })
            .unwrap();
        (lines, was_rotated)
    }

    #[test]
    fn no_line_is_lost_or_read_twice_across_either_rotation() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("access.log");
        let append = |name: &str, text: &str| {
            let file = fs::OpenOptions::new().append(true).create(true).open(directory.path().join(name));
            file.unwrap().write_all(text.as_bytes()).unwrap();
        };
        append("access.log", "one\ntw");
        let mut follower = Follower::new(&path).unwrap();
        assert_eq!(take(&mut follower), (vec!["one".to_owned()], false));
        append("access.log", "o\nthree\n");
        assert_eq!(take(&mut follower), (vec!["two".to_owned(), "three".to_owned()], false));
        fs::rename(&path, directory.path().join("access.log.1")).unwrap();
        append("access.log.1", "four\n");
        assert_eq!(take(&mut follower), (vec!["four".to_owned()], false), "its writer has the old one open");
        append("access.log.1", "five\n");
        append("access.log", "six\n");
        assert_eq!(take(&mut follower), (vec!["five".to_owned(), "six".to_owned()], true));
        for (at_s, text, expected) in [
            (50, "a line in\n", "a line in"),
            (100, "the old log\nand ha", "the old log"),
            (110, "lf a line\nwithout end", "and half a line"),
            (180, "", "without end"),
        ] {
            append("access.log.1", text);
            assert_eq!(take_at(&mut follower, at_s), (vec![expected.to_owned()], false), "{at_s} s");
        }
        append("access.log.1", "its writer was told\n");
        assert_eq!(take_at(&mut follower, 181), (Vec::new(), false), "it was let go of");
        File::create(&path).unwrap();
        append("access.log", "7\n");
        assert_eq!(take(&mut follower), (vec!["7".to_owned()], true));
        assert_eq!(take(&mut follower), (Vec::new(), false));
    }

    #[test]
    fn a_change_ends_the_wait() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("access.log");
        fs::write(&path, "").unwrap();
        let mut follower = Follower::new(&path).unwrap();
        fs::write(&path, "one\n").unwrap();
        follower.wait(Duration::from_mins(5)).unwrap();
        assert_eq!(take(&mut follower).0, ["one"]);
    }
}
