//! `Format`: what lines look like; each line is recognised by itself, so that a log may change in the middle.

/// One of the formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// `client ident user [time] "request" status bytes`.
    Common,
    /// Common, then `"referrer" "agent"`, perhaps `"forwarded"`.
    Combined,
    /// Common or combined behind `host:port`.
    VirtualHost,
    /// One JSON object.
    Json,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Common, Self::Combined, Self::VirtualHost, Self::Json];

    /// Stable name, as reports and JSON spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Common => "common",
            Self::Combined => "combined",
            Self::VirtualHost => "virtual-host",
            Self::Json => "json",
        }
    }
}
