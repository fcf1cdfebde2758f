//! `Fault`: why a line could not be read.

use std::fmt;

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No `[time]`, which every text format has.
    NoTime,
    /// What stands there is no time.
    BadTime,
    /// Nobody, or what is neither an address nor a host name.
    NoClient,
    /// Several may be meant: what stands in front may have been sent by the client.
    AmbiguousClient,
    /// No request in quotes.
    NoRequest,
    /// What stands there is no status.
    BadStatus,
    /// What stands there is no number of bytes.
    BadSize,
    /// It begins like JSON and is not.
    BadJson,
    /// JSON without a field that names a client.
    JsonWithoutClient,
    /// Longer than the longest line that is read.
    TooLong,
    /// It holds a byte of value 0, as no text does.
    Binary,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoTime => "no [time]",
            Self::BadTime => "what stands in brackets is no time",
            Self::NoClient => "no address or host name at the start",
            Self::AmbiguousClient => "two addresses that differ, either of which may be the client's",
            Self::NoRequest => "no \"request\" in quotes after the time",
            Self::BadStatus => "no status of three digits after the request",
            Self::BadSize => "no number of bytes after the status",
            Self::BadJson => "begins like JSON and is not",
            Self::JsonWithoutClient => "JSON without a field that names the client, such as remote_addr",
            Self::TooLong => "longer than 64 KiB",
            Self::Binary => "binary, not text",
        })
    }
}
