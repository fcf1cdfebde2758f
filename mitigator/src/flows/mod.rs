//! Flows: the packets of a capture grouped into conversations, each described by the features of CICFlowMeter.
//!
//! Captured packets go in, one by one; flows come out as they end. [`FlowPacket`] is what one packet brings,
//! [`FlowTable`] holds the flows that have not ended, [`Extraction`] feeds it, [`features`] and [`sessions`] are the columns of what comes out.
//! Time is that of the capture. Who judges flows by their features is elsewhere; `docs/flows.md` explains each.

mod bulk;
mod extraction;
pub mod features;
mod flow;
mod fragments;
mod packet;
mod services;
pub mod sessions;
mod summary;
mod table;

pub use extraction::{Extraction, Tally};
pub use flow::{Direction, Endpoint, Flow, FlowEnd};
pub use packet::{FlowPacket, TcpHeader};
pub use summary::Summary;
pub use table::{ClockFaults, FlowSettings, FlowTable, LONGEST_TIMEOUT};
