//! What the allow list holds of a prefix.

use bytemuck::{Pod, Zeroable};

/// Why a prefix is on the allow list.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AllowReason {
    /// The operator said so.
    Operator = 0,
    /// An address of this machine.
    LocalAddress = 1,
    /// The gateway of a default route.
    DefaultGateway = 2,
    /// A name server of this machine.
    Resolver = 3,
    /// The other end of an established SSH session.
    SshPeer = 4,
    /// The configuration file says so.
    Configuration = 5,
}

impl AllowReason {
    /// Every reason, in the order of its number.
    pub const ALL: [Self; 6] = [
        Self::Operator,
        Self::LocalAddress,
        Self::DefaultGateway,
        Self::Resolver,
        Self::SshPeer,
        Self::Configuration,
    ];

    /// In the operator's words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::LocalAddress => "local address",
            Self::DefaultGateway => "default gateway",
            Self::Resolver => "resolver",
            Self::SshPeer => "ssh session",
            Self::Configuration => "configuration",
        }
    }
}

/// Value of the allow list.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct AllowEntry {
    /// Number of the [`AllowReason`], and [`OWN`].
    bits: u32,
}

/// It is an address of this machine, whatever else is the reason.
const OWN: u32 = 1 << 16;

const _: () = assert!(size_of::<AllowEntry>() == 4);

impl AllowEntry {
    /// An entry that is there for `reason`; whether it is an address of this machine beside.
    #[must_use]
    pub const fn new(reason: AllowReason, is_own: bool) -> Self {
        Self { bits: reason as u32 | if is_own { OWN } else { 0 } }
    }

    /// Whether it is an address of this machine.
    #[inline(always)]
    #[must_use]
    pub const fn is_own(self) -> bool {
        self.bits & OWN != 0
    }

    /// Why the prefix is allowed; a number of a later schema reads as the operator's, which is
    /// never removed automatically.
    #[must_use]
    pub fn reason(self) -> AllowReason {
        AllowReason::ALL
            .into_iter()
            .find(|reason| *reason as u32 == self.bits & !OWN)
            .unwrap_or(AllowReason::Operator)
    }
}
