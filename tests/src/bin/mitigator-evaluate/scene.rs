//! A scene: who is attacked in a run and who attacks, and so what each packet is.

use std::net::IpAddr;

use ipnet::IpNet;
use mitigator::config::Config;
use mitigator::pipeline::allowlist::host_of;
use mitigator::pipeline::target::Target;
use mitigator::pipeline::verdict::{Subject, Verdict};
use mitigator::replay::Protected;
use mitigator_common::Source;
use rustc_hash::FxHashSet;

use crate::kinds::Kind;

/// What is known of a run beside its packets.
#[derive(Clone, Debug)]
pub(crate) struct Scene<'labels> {
    pub(crate) kind: &'labels Kind,
    pub(crate) attackers: &'labels FxHashSet<IpAddr>,
    pub(crate) protected: Protected,
    /// Whose own packets count as neither attack nor benign.
    pub(crate) own: Vec<IpAddr>,
}

/// What the packets of a source are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Attacker,
    Innocent,
    /// A host that is protected itself.
    Own,
}

impl Scene<'_> {
    /// The defaults; where packets to everybody are judged, hosts that are protected none the less are allowed, as local
    /// addresses are.
    pub(crate) fn config(&self) -> Config {
        let allow = match self.protected {
            Protected::Everybody => self.own.iter().copied().filter_map(net_of).collect(),
            Protected::Named(_) | Protected::Inferred(_) => Vec::new(),
        };
        Config { allow, ..Config::default() }
    }

    pub(crate) fn role_of(&self, address: IpAddr) -> Role {
        if self.attackers.contains(&address) {
            Role::Attacker
        } else if self.own.contains(&address) {
            Role::Own
        } else {
            Role::Innocent
        }
    }

    /// Whether a verdict names the attack: its vector is of the kind's, and it blames no innocent.
    pub(crate) fn is_right(&self, verdict: &Verdict) -> bool {
        self.kind.right.contains(&verdict.vector.name())
            && match &verdict.subject {
                Subject::Target(Target::Source(source)) => {
                    self.attackers.iter().any(|address| Source::from(*address) == *source)
                }
                Subject::Target(Target::Prefix(_)) | Subject::Signature(_) => true,
            }
    }
}

fn net_of(address: IpAddr) -> Option<IpNet> {
    let (address, length) = host_of(address).parts();
    IpNet::new(address, length).ok()
}
