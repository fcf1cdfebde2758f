//! `Limits`: how much of what a server takes on before it refuses.

use std::time::Duration;

/// A header that takes longer is no header, and a connection that asks nothing for so long is closed.
pub(super) const HEADER: Duration = Duration::from_secs(15);
/// Of all headers of a request.
pub(super) const HEADER_BYTES: usize = 64 * 1024;
/// Requests for predictions that are read and worked out at a time; others wait for their turn.
pub(super) const PREDICTIONS: usize = 4;
/// Threads for what the runtime itself does.
const OTHER_THREADS: usize = 4;
/// Of a request for predictions: some 150,000 flows.
pub(super) const PREDICTION_BYTES: u64 = 64 << 20;
/// Such a request is read without waiting for a turn: of all connections together it is no more than memory has.
pub(super) const SHORT_PREDICTION_BYTES: u64 = 256 << 10;
/// Of a row of such a table in an event, which waits for slow listeners.
pub(super) const EVENT_FLOW_BYTES: usize = 16 << 10;
/// Rows of such a table, and its columns: more than any spelling has.
pub(super) const PREDICTION_ROWS: usize = 200_000;
pub(super) const PREDICTION_COLUMNS: usize = 256;
/// Of the name of a column; those of CICFlowMeter have 30 at most.
pub(super) const NAME_BYTES: usize = 64;
/// Of a text in a cell, which is a time, an address, or a number in quotes.
pub(super) const CELL_BYTES: usize = 256;
/// For the next bytes of a stream, in which nothing is while the network is quiet.
pub(super) const STREAM_IDLE: Duration = Duration::from_mins(15);
/// Flows of one capture that are live at a time, some 1 KiB each.
pub(super) const LIVE_FLOWS: usize = 200_000;
/// Flows of a capture that an answer may list.
pub(super) const LISTED_FLOWS: usize = 100_000;
/// Who may listen to events at a time.
pub(super) const LISTENERS: u32 = 64;
/// Between two signs of life to who listens to events.
pub(super) const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// What the operator may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of a capture as it is sent, compressed or not.
    pub body_bytes: u64,
    /// Of a capture after its compression was taken off.
    pub unpacked_bytes: u64,
    /// Of a capture that is streamed, before and after.
    pub stream_bytes: u64,
    /// Connections at a time; more wait to be accepted.
    pub connections: usize,
    /// Captures at a time; more are refused.
    pub captures: usize,
    /// For a request and its answer, other than streams and events.
    pub request: Duration,
    /// For the next bytes of a body.
    pub idle: Duration,
    /// For what is under way when the server is to stop.
    pub grace: Duration,
}

impl Limits {
    /// Threads that block at a time, at most: with one for each capture and each table none waits for another's.
    #[must_use]
    pub const fn threads(&self) -> usize {
        self.captures.saturating_add(PREDICTIONS).saturating_add(OTHER_THREADS)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 256 << 20,
            unpacked_bytes: 4 << 30,
            stream_bytes: 64 << 30,
            connections: 256,
            captures: 4,
            request: Duration::from_mins(5),
            idle: Duration::from_secs(30),
            grace: Duration::from_secs(10),
        }
    }
}
