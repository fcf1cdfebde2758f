//! `Memory`: the store of a running agent, which goes on without it while it cannot be had. Says what becomes of it once
//! for each cause; when to try again is for the agent to say.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::store::Store;

/// The store, as long as it can be had.
#[derive(Debug)]
pub(super) struct Memory {
    directory: PathBuf,
    store: Option<Store>,
    /// Why it cannot be had, as it was told last.
    trouble: Option<String>,
}

/// What the operator has to hear.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing is remembered from here on, and why.
    Lost(String),
    /// All is remembered again.
    Regained,
}

impl Memory {
    /// Nothing is opened.
    pub(super) const fn of(directory: PathBuf) -> Self {
        Self { directory, store: None, trouble: None }
    }

    /// Where it is kept.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether something can be remembered.
    pub(super) const fn is_open(&self) -> bool {
        self.store.is_some()
    }

    /// Opens the store and hands it to `take_up`, also when it can be read only, as on a full disk.
    pub(super) fn open(&mut self, take_up: impl FnOnce(&Store)) -> Option<News> {
        let opened = Store::open(&self.directory).and_then(|store| {
            take_up(&store);
            store.try_writing()?;
            Ok(store)
        });
        match opened {
            Ok(store) => {
                self.store = Some(store);
                self.trouble.take().map(|_| News::Regained)
            }
            Err(error) => self.lose(&error),
        }
    }

    /// Does something with the store while it can be had. When that fails, it is closed until it is opened anew: what
    /// is damaged or has no room stays so, and each attempt may take seconds.
    pub(super) fn with(&mut self, work: impl FnOnce(&mut Store) -> Result<()>) -> Option<News> {
        let error = work(self.store.as_mut()?).err()?;
        self.lose(&error)
    }

    fn lose(&mut self, error: &anyhow::Error) -> Option<News> {
        self.store = None;
        // The same cause shows at whatever was attempted first.
        let cause = error.root_cause().to_string();
        let is_known = self.trouble.as_ref() == Some(&cause);
        self.trouble = Some(cause);
        (!is_known).then(|| News::Lost(format!("{error:#}")))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rusqlite::Connection;

    use super::*;
    use crate::store::StoredDecision;

    fn record(store: &mut Store) -> Result<()> {
        store.record(&[StoredDecision {
            at_unix_ms: 1,
            target: "192.0.2.7".to_owned(),
            vector: "udp-flood".to_owned(),
            decision: "block".to_owned(),
            until_unix_ms: None,
            evidence: serde_json::Value::Null,
        }])
    }

    fn is_lost(news: Option<&News>, words: &str) -> bool {
        matches!(news, Some(News::Lost(why)) if why.contains(words))
    }

    #[test]
    fn each_cause_is_told_once_and_that_it_is_over_too() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mitigator.sqlite");
        let mut memory = Memory::of(directory.path().to_owned());
        fs::write(&path, "no data base ".repeat(1_000)).unwrap();
        let news = memory.open(|_| panic!("it cannot be read"));
        assert!(is_lost(news.as_ref(), "not a database"), "{news:?}");
        assert_eq!(memory.with(record), None, "it is closed");
        assert_eq!(memory.open(|_| {}), None, "it is known");

        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let news = memory.open(|_| {});
        assert!(is_lost(news.as_ref(), "cannot open"), "another cause: {news:?}");
        assert!(!memory.is_open());

        fs::remove_dir(&path).unwrap();
        let mut is_taken_up = false;
        assert_eq!(memory.open(|_| is_taken_up = true), Some(News::Regained));
        assert!(is_taken_up && memory.is_open());
        assert_eq!(memory.with(record), None);
    }

    #[test]
    fn a_store_that_fails_while_it_is_used_is_opened_anew() {
        let directory = tempfile::tempdir().unwrap();
        let mut memory = Memory::of(directory.path().to_owned());
        assert_eq!(memory.open(|_| {}), None, "the first time is no news");
        assert_eq!(memory.with(record), None);
        let other = Connection::open(directory.path().join("mitigator.sqlite")).unwrap();
        other.execute_batch("DROP TABLE decisions").unwrap();
        let news = memory.with(record);
        assert!(is_lost(news.as_ref(), "no such table"), "{news:?}");
        assert!(!memory.is_open());
        assert_eq!(memory.with(record), None);
        assert_eq!(memory.open(|_| {}), Some(News::Regained));
        assert_eq!(memory.with(record), None);
    }
}
