//! `Outcome`: every way a packet can leave the program.

/// The fate of a packet. The sum over all outcomes is the number of packets seen, always.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// Neither IPv4 nor IPv6 (ARP, LLDP, ...): passed.
    PassNotIp = 0,
    /// Cut short or malformed: passed, for the kernel to judge.
    PassUnparsed = 1,
    /// A block covered the sender, the allow list beat it: passed.
    PassAllowed = 2,
    /// Counted for its source: passed.
    PassCounted = 3,
    /// Counted in a sketch alone, because sources are a crowd, or there is no row for its source: passed.
    PassUncounted = 4,
    /// Its source is blocked: dropped.
    DropBlocked = 5,
    /// A blocked prefix covers the sender: dropped.
    DropBlockedPrefix = 6,
    /// Beyond the limit of its signature: dropped.
    DropLimited = 7,
    /// Beyond the limit of its signature, and opening a connection: answered with a cookie, and the connection goes on
    /// when the cookie comes back.
    AnswerCookie = 8,
}

impl Outcome {
    /// Every outcome, in the order of its number.
    pub const ALL: [Self; 9] = [
        Self::PassNotIp,
        Self::PassUnparsed,
        Self::PassAllowed,
        Self::PassCounted,
        Self::PassUncounted,
        Self::DropBlocked,
        Self::DropBlockedPrefix,
        Self::DropLimited,
        Self::AnswerCookie,
    ];

    /// How many outcomes there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Whether the packet was dropped.
    #[inline(always)]
    #[must_use]
    pub const fn is_drop(self) -> bool {
        matches!(self, Self::DropBlocked | Self::DropBlockedPrefix | Self::DropLimited)
    }

    /// Whether the packet was turned into an answer, and went back to where it came from.
    #[inline(always)]
    #[must_use]
    pub const fn is_answer(self) -> bool {
        matches!(self, Self::AnswerCookie)
    }

    /// Stable name, as reports and JSON spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PassNotIp => "pass_not_ip",
            Self::PassUnparsed => "pass_unparsed",
            Self::PassAllowed => "pass_allowed",
            Self::PassCounted => "pass_counted",
            Self::PassUncounted => "pass_uncounted",
            Self::DropBlocked => "drop_blocked",
            Self::DropBlockedPrefix => "drop_blocked_prefix",
            Self::DropLimited => "drop_limited",
            Self::AnswerCookie => "answer_cookie",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_in_the_order_of_the_numbers() {
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, index);
        }
    }
}
