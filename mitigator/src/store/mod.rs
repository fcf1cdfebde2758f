//! What is remembered beside the kernel's tables: decisions with their evidence, the words that people gave
//! their blocks, which blocks of the agent they took back, and what was learned to be normal. SQLite, so that the
//! agent and the command line can both have it open.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rusqlite::{Connection, OptionalExtension, params};

use crate::pipeline::target::Target;

/// Where the store is unless the operator says otherwise.
pub const DEFAULT_DIRECTORY: &str = "/var/lib/mitigator";
/// Raised with every change of the tables below; an older file is brought up to it.
const VERSION: i64 = 3;
/// Decisions, and baselines of interfaces, that are older than this are forgotten.
const KEPT: Duration = Duration::from_hours(24 * 30);

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS decisions (
        id INTEGER PRIMARY KEY,
        at_unix_ms INTEGER NOT NULL,
        target TEXT NOT NULL,
        vector TEXT NOT NULL,
        decision TEXT NOT NULL,
        until_unix_ms INTEGER,
        evidence TEXT NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS decisions_by_target ON decisions (target, at_unix_ms);
    CREATE INDEX IF NOT EXISTS decisions_by_time ON decisions (at_unix_ms);
    CREATE TABLE IF NOT EXISTS reasons (
        target TEXT PRIMARY KEY,
        at_unix_ms INTEGER NOT NULL,
        reason TEXT NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS baselines (
        interfaces TEXT PRIMARY KEY,
        at_unix_ms INTEGER NOT NULL,
        quiet_s INTEGER NOT NULL,
        learned TEXT NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS lifted (
        target TEXT PRIMARY KEY,
        until_unix_ms INTEGER NOT NULL
    ) STRICT;";

/// The store of one installation.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
}

/// A decision as it was taken.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct StoredDecision {
    /// When, in milliseconds since the Unix epoch.
    pub at_unix_ms: u64,
    /// Address, prefix, or description of the traffic.
    pub target: String,
    /// The kind of attack.
    pub vector: String,
    /// What was done.
    pub decision: String,
    /// Until when; `None` when nothing was blocked.
    pub until_unix_ms: Option<u64>,
    /// Why, as `docs/json.md` describes it.
    pub evidence: serde_json::Value,
}

/// A block of the agent that somebody took back before its end.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LiftedBlock {
    /// What was blocked, and is left alone.
    pub target: Target,
    /// When the block would have ended, in milliseconds since the Unix epoch.
    pub until_unix_ms: u64,
}

/// What was learned to be normal on some interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBaseline {
    /// When it was written, in milliseconds since the Unix epoch.
    pub at_unix_ms: u64,
    /// Quiet time that it was learned in, in seconds.
    pub quiet_s: u64,
    /// As [`crate::pipeline::baseline::saved::Learned`] writes and checks it.
    pub learned: String,
}

impl Store {
    /// Opens the store in `directory`, making both when they are missing.
    ///
    /// # Errors
    ///
    /// When the directory or the file cannot be made, opened or understood.
    pub fn open(directory: &Path) -> Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .with_context(|| format!("cannot make the state directory {}", directory.display()))?;
        let path = path_in(directory);
        let store = Self { connection: Connection::open(&path).with_context(|| cannot_open(&path))? };
        store.prepare().with_context(|| cannot_open(&path))?;
        Ok(store)
    }

    /// Opens the store when there is one, for verbs that only read.
    ///
    /// # Errors
    ///
    /// When there is one that cannot be opened or understood, or that cannot be known.
    pub fn open_existing(directory: &Path) -> Result<Option<Self>> {
        let path = path_in(directory);
        let is_there = path.try_exists().with_context(|| cannot_open(&path))?;
        if is_there { Self::open(directory).map(Some) } else { Ok(None) }
    }

    fn prepare(&self) -> Result<()> {
        self.connection.busy_timeout(Duration::from_secs(2))?;
        self.connection.pragma_update(None, "journal_mode", "WAL")?;
        self.connection.pragma_update(None, "synchronous", "NORMAL")?;
        let version: i64 = self.connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        anyhow::ensure!(version <= VERSION, "it was written by a newer version of mitigator");
        // Where all of them are, nothing is written, so that a store on a full disk can be read.
        self.connection.execute_batch(TABLES)?;
        if version < VERSION {
            self.connection.pragma_update(None, "user_version", VERSION)?;
        }
        Ok(())
    }

    /// Finds out whether there is room to write, by writing what stands there already.
    ///
    /// # Errors
    ///
    /// When there is none, or the file may not be written.
    pub fn try_writing(&self) -> Result<()> {
        self.connection.pragma_update(None, "user_version", VERSION).context("cannot write to the store")
    }

    /// Remembers decisions, all or none.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn record(&mut self, decisions: &[StoredDecision]) -> Result<()> {
        if decisions.is_empty() {
            return Ok(());
        }
        let transaction = self.connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached(
                "INSERT INTO decisions (at_unix_ms, target, vector, decision, until_unix_ms, evidence)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            for decision in decisions {
                insert.execute(params![
                    signed(decision.at_unix_ms),
                    decision.target,
                    decision.vector,
                    decision.decision,
                    decision.until_unix_ms.map(signed),
                    decision.evidence.to_string(),
                ])?;
            }
        }
        transaction.commit().context("cannot write the history of decisions")
    }

    /// The latest decisions about a target, newest first.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn decisions_about(&self, target: &str, limit: u32) -> Result<Vec<StoredDecision>> {
        let mut select = self.connection.prepare_cached(
            "SELECT at_unix_ms, target, vector, decision, until_unix_ms, evidence FROM decisions
             WHERE target = ?1 ORDER BY at_unix_ms DESC, id DESC LIMIT ?2",
        )?;
        let rows = select.query_map(params![target, limit], decision_of)?;
        rows.collect::<rusqlite::Result<_>>().context("cannot read the history of decisions")
    }

    /// The decisions since `since_unix_ms` about the traffic of many sources, which is described in words and not
    /// named by an address; newest first.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn decisions_about_traffic(&self, since_unix_ms: u64, limit: u32) -> Result<Vec<StoredDecision>> {
        let mut select = self.connection.prepare_cached(
            "SELECT at_unix_ms, target, vector, decision, until_unix_ms, evidence FROM decisions
             WHERE at_unix_ms >= ?1 AND instr(target, ' ') > 0 ORDER BY at_unix_ms DESC, id DESC LIMIT ?2",
        )?;
        let rows = select.query_map(params![signed(since_unix_ms), limit], decision_of)?;
        rows.collect::<rusqlite::Result<_>>().context("cannot read the history of decisions")
    }

    /// Remembers why a target was blocked, in the operator's words.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn set_reason(&self, target: &str, reason: &str, at_unix_ms: u64) -> Result<()> {
        self.connection
            .execute(
                "INSERT INTO reasons (target, at_unix_ms, reason) VALUES (?1, ?2, ?3)
                 ON CONFLICT (target) DO UPDATE SET at_unix_ms = ?2, reason = ?3",
                params![target, signed(at_unix_ms), reason],
            )
            .context("cannot write the reason of the block")?;
        Ok(())
    }

    /// Why a target was blocked, in the operator's words.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn reason(&self, target: &str) -> Result<Option<String>> {
        self.connection
            .query_row("SELECT reason FROM reasons WHERE target = ?1", [target], |row| row.get(0))
            .optional()
            .context("cannot read the reasons of blocks")
    }

    /// Forgets the words about a target.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn remove_reason(&self, target: &str) -> Result<()> {
        self.connection.execute("DELETE FROM reasons WHERE target = ?1", [target])?;
        Ok(())
    }

    /// Remembers blocks of the agent that somebody took back, all or none.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn record_lifted(&mut self, lifted: &[LiftedBlock]) -> Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut insert = transaction
                .prepare_cached("INSERT OR REPLACE INTO lifted (target, until_unix_ms) VALUES (?1, ?2)")?;
            for block in lifted {
                insert.execute(params![block.target.to_string(), signed(block.until_unix_ms)])?;
            }
        }
        transaction.commit().context("cannot write which blocks were taken back")
    }

    /// Blocks of the agent that somebody took back and that would not have ended yet, by target.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn lifted(&self, now_unix_ms: u64) -> Result<Vec<LiftedBlock>> {
        let mut select = self.connection.prepare_cached(
            "SELECT target, until_unix_ms FROM lifted WHERE until_unix_ms > ?1 ORDER BY target",
        )?;
        let rows = select
            .query_map([signed(now_unix_ms)], |row| Ok((row.get::<_, String>(0)?, unsigned(row.get(1)?))))?;
        let rows: Vec<(String, u64)> =
            rows.collect::<rusqlite::Result<_>>().context("cannot read which blocks were taken back")?;
        let block = |(target, until_unix_ms): (String, u64)| {
            target.parse().ok().map(|target| LiftedBlock { target, until_unix_ms })
        };
        Ok(rows.into_iter().filter_map(block).collect())
    }

    /// Takes it back that targets are left alone; who runs hears of it by [`Store::resumed`].
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn resume(&mut self, targets: &[Target]) -> Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut update =
                transaction.prepare_cached("UPDATE lifted SET until_unix_ms = 0 WHERE target = ?1")?;
            for target in targets {
                update.execute([target.to_string()])?;
            }
        }
        transaction.commit().context("cannot write who is not to be left alone any more")
    }

    /// Targets of which it was taken back that they are left alone, since [`Store::forget_old`].
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn resumed(&self) -> Result<Vec<Target>> {
        let mut select =
            self.connection.prepare_cached("SELECT target FROM lifted WHERE until_unix_ms = 0")?;
        let rows = select.query_map([], |row| row.get::<_, String>(0))?;
        let rows: Vec<String> =
            rows.collect::<rusqlite::Result<_>>().context("cannot read which blocks were taken back")?;
        Ok(rows.iter().filter_map(|target| target.parse().ok()).collect())
    }

    /// Until when a target is left alone; `None` when it is not.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn left_alone_until(&self, target: &Target, now_unix_ms: u64) -> Result<Option<u64>> {
        self.connection
            .query_row(
                "SELECT until_unix_ms FROM lifted WHERE target = ?1 AND until_unix_ms > ?2",
                params![target.to_string(), signed(now_unix_ms)],
                |row| row.get(0).map(unsigned),
            )
            .optional()
            .context("cannot read which blocks were taken back")
    }

    /// Cuts the time for which targets are left alone, which a wall clock that was wrong made longer than any block.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn bound_lifted(&self, latest_unix_ms: u64) -> Result<()> {
        self.connection
            .execute(
                "UPDATE lifted SET until_unix_ms = ?1 WHERE until_unix_ms > ?1",
                [signed(latest_unix_ms)],
            )
            .context("cannot write which blocks were taken back")?;
        Ok(())
    }

    /// Forgets which blocks were taken back.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn forget_lifted(&self) -> Result<()> {
        self.connection
            .execute("DELETE FROM lifted", [])
            .context("cannot forget which blocks were taken back")?;
        Ok(())
    }

    /// Remembers what was learned to be normal on these interfaces, in place of what was before.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn set_baseline<'name>(
        &self,
        interfaces: impl IntoIterator<Item = &'name str>,
        baseline: &StoredBaseline,
    ) -> Result<()> {
        self.connection
            .execute(
                "INSERT OR REPLACE INTO baselines (interfaces, at_unix_ms, quiet_s, learned) VALUES (?1, ?2, ?3, ?4)",
                params![
                    key_of(interfaces),
                    signed(baseline.at_unix_ms),
                    signed(baseline.quiet_s),
                    baseline.learned
                ],
            )
            .context("cannot write what was learned to be normal")?;
        Ok(())
    }

    /// What was learned to be normal on these interfaces, in any order. Other interfaces have other traffic.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn baseline<'name>(
        &self,
        interfaces: impl IntoIterator<Item = &'name str>,
    ) -> Result<Option<StoredBaseline>> {
        self.connection
            .query_row(
                "SELECT at_unix_ms, quiet_s, learned FROM baselines WHERE interfaces = ?1",
                [key_of(interfaces)],
                |row| {
                    Ok(StoredBaseline {
                        at_unix_ms: unsigned(row.get(0)?),
                        quiet_s: unsigned(row.get(1)?),
                        learned: row.get(2)?,
                    })
                },
            )
            .optional()
            .context("cannot read what was learned to be normal")
    }

    /// Forgets what is older than a month, and lifted blocks that would have ended; returns how many decisions
    /// that were.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn forget_old(&self, now_unix_ms: u64) -> Result<usize> {
        let kept_ms = u64::try_from(KEPT.as_millis()).unwrap_or(u64::MAX);
        let oldest = signed(now_unix_ms.saturating_sub(kept_ms));
        self.connection.execute("DELETE FROM baselines WHERE at_unix_ms < ?1", [oldest])?;
        self.connection.execute("DELETE FROM lifted WHERE until_unix_ms <= ?1", [signed(now_unix_ms)])?;
        Ok(self.connection.execute("DELETE FROM decisions WHERE at_unix_ms < ?1", [oldest])?)
    }
}

/// Linux has no slashes in the names of interfaces.
fn key_of<'name>(interfaces: impl IntoIterator<Item = &'name str>) -> String {
    let mut names: Vec<&str> = interfaces.into_iter().collect();
    names.sort_unstable();
    names.dedup();
    names.join("/")
}

fn decision_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<StoredDecision> {
    Ok(StoredDecision {
        at_unix_ms: unsigned(row.get(0)?),
        target: row.get(1)?,
        vector: row.get(2)?,
        decision: row.get(3)?,
        until_unix_ms: row.get::<_, Option<i64>>(4)?.map(unsigned),
        evidence: serde_json::from_str(&row.get::<_, String>(5)?).unwrap_or_default(),
    })
}

fn path_in(directory: &Path) -> PathBuf {
    directory.join("mitigator.sqlite")
}

fn cannot_open(path: &Path) -> String {
    format!("cannot open the store {}", path.display())
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(at_unix_ms: u64, target: &str) -> StoredDecision {
        StoredDecision {
            at_unix_ms,
            target: target.to_owned(),
            vector: "udp-flood".to_owned(),
            decision: "block".to_owned(),
            until_unix_ms: Some(at_unix_ms + 1),
            evidence: serde_json::json!({"window_s": 0.25}),
        }
    }

    #[test]
    fn remembers_across_openings_and_forgets_the_old() {
        let directory = tempfile::tempdir().unwrap();
        let day = 24 * 3_600 * 1_000;
        {
            let mut store = Store::open(directory.path()).unwrap();
            store
                .record(&[
                    decision(day, "192.0.2.7"),
                    decision(50 * day, "192.0.2.7"),
                    decision(50 * day, "192.0.2.8"),
                ])
                .unwrap();
            store.set_reason("192.0.2.7", "first", 1).unwrap();
            store.set_reason("192.0.2.7", "second", 2).unwrap();
        }
        let store = Store::open_existing(directory.path()).unwrap().unwrap();
        assert_eq!(
            store.decisions_about("192.0.2.7", 10).unwrap(),
            [decision(50 * day, "192.0.2.7"), decision(day, "192.0.2.7")]
        );
        let traffic = decision(50 * day, "SYN packets from 60 sources");
        let mut writer = Store::open(directory.path()).unwrap();
        writer.record(std::slice::from_ref(&traffic)).unwrap();
        assert_eq!(store.decisions_about_traffic(49 * day, 10).unwrap(), [traffic]);
        assert_eq!(store.decisions_about_traffic(51 * day, 10).unwrap(), []);
        assert_eq!(store.reason("192.0.2.7").unwrap().as_deref(), Some("second"));
        assert_eq!(store.forget_old(51 * day).unwrap(), 1);
        assert_eq!(store.decisions_about("192.0.2.7", 10).unwrap().len(), 1);
        store.remove_reason("192.0.2.7").unwrap();
        assert_eq!(store.reason("192.0.2.7").unwrap(), None);
    }

    #[test]
    fn each_set_of_interfaces_has_its_own_baseline() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let day = 24 * 3_600 * 1_000;
        let baseline = |at_unix_ms, learned: &str| StoredBaseline {
            at_unix_ms,
            quiet_s: 7,
            learned: learned.to_owned(),
        };
        store.set_baseline(["eth1", "eth0"], &baseline(1, "first")).unwrap();
        store.set_baseline(["eth0", "eth1", "eth0"], &baseline(2, "second")).unwrap();
        store.set_baseline(["eth0"], &baseline(50 * day, "other")).unwrap();
        for (interfaces, expected) in [
            (&["eth1", "eth0"][..], Some(baseline(2, "second"))),
            (&["eth0"], Some(baseline(50 * day, "other"))),
            (&["eth1"], None),
        ] {
            assert_eq!(store.baseline(interfaces.iter().copied()).unwrap(), expected, "{interfaces:?}");
        }
        store.forget_old(51 * day).unwrap();
        assert_eq!(store.baseline(["eth0", "eth1"]).unwrap(), None);
        assert!(store.baseline(["eth0"]).unwrap().is_some());
    }

    #[test]
    fn a_lifted_block_is_remembered_until_it_would_have_ended() {
        let directory = tempfile::tempdir().unwrap();
        let block =
            |target: &str, until_unix_ms| LiftedBlock { target: target.parse().unwrap(), until_unix_ms };
        let (v4, v6, prefix) =
            (block("192.0.2.7", 900), block("2001:db8::7", 800), block("192.0.2.0/24", 700));
        let mut store = Store::open(directory.path()).unwrap();
        store.record_lifted(&[block("192.0.2.7", 500), v6.clone(), prefix.clone()]).unwrap();
        store.record_lifted(std::slice::from_ref(&v4)).unwrap();
        let store = Store::open(directory.path()).unwrap();
        for (now, expected) in
            [(600, &[prefix, v4.clone(), v6.clone()][..]), (700, &[v4.clone(), v6]), (900, &[])]
        {
            assert_eq!(store.lifted(now).unwrap(), expected, "{now}");
        }
        assert_eq!(store.left_alone_until(&v4.target, 899).unwrap(), Some(900));
        assert_eq!(store.left_alone_until(&v4.target, 900).unwrap(), None);
        store.bound_lifted(890).unwrap();
        assert_eq!(store.left_alone_until(&v4.target, 0).unwrap(), Some(890), "as long as a block at most");
        store.forget_old(850).unwrap();
        assert_eq!(store.lifted(0).unwrap(), [block("192.0.2.7", 890)]);
    }

    #[test]
    fn who_is_not_to_be_left_alone_any_more_is_told_to_the_agent_once() {
        let directory = tempfile::tempdir().unwrap();
        let target = |text: &str| text.parse::<Target>().unwrap();
        let mut store = Store::open(directory.path()).unwrap();
        let blocks =
            ["192.0.2.7", "192.0.2.8"].map(|text| LiftedBlock { target: target(text), until_unix_ms: 900 });
        store.record_lifted(&blocks).unwrap();
        store.resume(&[target("192.0.2.7"), target("192.0.2.9")]).unwrap();
        assert_eq!(store.resumed().unwrap(), [target("192.0.2.7")]);
        assert_eq!(store.lifted(1).unwrap(), blocks[1..]);
        store.forget_old(1).unwrap();
        assert_eq!(store.resumed().unwrap(), []);
        store.forget_lifted().unwrap();
        assert_eq!(store.lifted(1).unwrap(), []);
    }

    #[test]
    fn without_a_file_there_is_nothing_to_open() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Store::open_existing(&directory.path().join("none")).unwrap().is_none());
        std::fs::write(directory.path().join("file"), "").unwrap();
        assert!(Store::open_existing(&directory.path().join("file")).is_err(), "not a directory");
    }
}
