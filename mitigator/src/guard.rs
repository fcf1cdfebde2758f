//! Keeps what must never be blocked on the allow list: what [`host`] finds on this machine, and what
//! the configuration names.

use std::collections::BTreeSet;

use anyhow::Result;
use mitigator_common::{AllowReason, PrefixKey};

use crate::host::{self, Found};
use crate::kernel::blocks::{BlockTables, GuardedChange};

/// The agent's part: adds what is found and takes away what is over.
#[derive(Debug)]
pub struct Guard {
    configured: Vec<(PrefixKey, AllowReason)>,
    /// What could not be read the last time; told once, until it can be read again.
    unread: BTreeSet<AllowReason>,
}

impl Guard {
    /// A guard that also keeps what the configuration names.
    pub fn new(configured: impl IntoIterator<Item = PrefixKey>) -> Self {
        let configured = configured.into_iter().map(|key| (key, AllowReason::Configuration)).collect();
        Self { configured, unread: BTreeSet::new() }
    }

    /// Makes the automatic part of the allow list equal to what is found. What could not be read stays
    /// as it stands.
    ///
    /// # Errors
    ///
    /// When the table is full or the kernel refuses.
    pub fn refresh(&mut self, tables: &BlockTables) -> Result<GuardedChange> {
        let found = host::look();
        let known = std::mem::take(&mut self.unread);
        for (reason, error) in &found.unread {
            if !known.contains(reason) {
                warn(*reason, error);
            }
            self.unread.insert(*reason);
        }
        let standing = tables.allow_list()?;
        let wanted =
            wanted(found, &self.configured, standing.entries(), |reason| self.unread.contains(&reason));
        tables.set_guarded(&wanted)
    }
}

/// Adds what is found, for verbs that block while perhaps no agent runs. What stands, stays: what is
/// over is taken away by the agent, which knows the configuration too.
///
/// # Errors
///
/// When the table is full or the kernel refuses.
pub fn guard(tables: &BlockTables) -> Result<GuardedChange> {
    let found = host::look();
    for (reason, error) in &found.unread {
        warn(*reason, error);
    }
    let standing = tables.allow_list()?;
    tables.set_guarded(&wanted(found, &[], standing.entries(), |_| true))
}

fn warn(reason: AllowReason, error: &anyhow::Error) {
    tracing::warn!(
        reason = reason.name(),
        "cannot see all that must not be blocked; what stands, stays: {error:#}"
    );
}

/// What was found and configured, and of what stands the entries whose reason `stays`.
fn wanted(
    found: Found,
    configured: &[(PrefixKey, AllowReason)],
    standing: &[(PrefixKey, AllowReason)],
    stays: impl Fn(AllowReason) -> bool,
) -> Vec<(PrefixKey, AllowReason)> {
    let mut wanted = found.guarded;
    wanted.extend(configured);
    let known: BTreeSet<PrefixKey> = wanted.iter().map(|(key, _)| *key).collect();
    let kept = standing
        .iter()
        .filter(|(key, reason)| *reason != AllowReason::Operator && stays(*reason) && !known.contains(key));
    wanted.extend(kept);
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(address: &str) -> PrefixKey {
        PrefixKey::new(address.parse().unwrap(), 32)
    }

    #[test]
    fn what_could_not_be_read_stays_and_the_rest_goes() {
        use AllowReason::{Configuration, Operator, Resolver, SshPeer};
        let standing = [
            (key("192.0.2.1"), Resolver),
            (key("192.0.2.2"), SshPeer),
            (key("192.0.2.3"), Operator),
            (key("192.0.2.4"), Configuration),
            (key("192.0.2.5"), SshPeer),
        ];
        let found = || Found { guarded: vec![(key("192.0.2.2"), Resolver)], unread: Vec::new() };
        for (description, unread, expected) in [
            ("all is read", &[][..], &["192.0.2.2", "192.0.2.9"][..]),
            ("no SSH peers", &[SshPeer], &["192.0.2.2", "192.0.2.9", "192.0.2.5"]),
            ("no resolvers", &[Resolver], &["192.0.2.2", "192.0.2.9", "192.0.2.1"]),
            (
                "only what is found is known",
                &AllowReason::ALL,
                &["192.0.2.2", "192.0.2.9", "192.0.2.1", "192.0.2.4", "192.0.2.5"],
            ),
        ] {
            let configured = [(key("192.0.2.9"), Configuration)];
            let wanted = wanted(found(), &configured, &standing, |reason| unread.contains(&reason));
            let keys: Vec<PrefixKey> = wanted.iter().map(|(key, _)| *key).collect();
            assert_eq!(keys, expected.iter().map(|text| key(text)).collect::<Vec<_>>(), "{description}");
        }
    }
}
