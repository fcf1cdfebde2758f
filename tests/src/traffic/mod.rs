//! Traffic for the test stage: floods of frames, floods of HTTP requests, connections that ask for nothing, and those
//! who must not notice: web clients, and the server's own look-ups of names.
//!
//! These exist to show that a defence works. They send only from inside a lab, out of the lab's own veth pairs,
//! for at most [`LONGEST`], and they are threads of this process: when it ends, they end.

mod flood;
mod forged;
mod frames;
mod http;
mod http_clients;
mod http_flood;
mod lookups;
mod permit;
mod redirect;
mod reflection;
mod series;
mod slow;

use std::time::Duration;

pub use flood::{Flood, FloodRecord};
pub use frames::{Addressing, Frames, Pace};
pub use http_clients::{ADDRESSES_OF_STRANGERS, HttpClients, HttpTarget, Manner, Request, Requests};
pub use http_flood::HttpFlood;
pub use lookups::{Lookups, Side};
pub use permit::Permit;
pub use redirect::{Captured, Destination, Redirection};
pub use series::{BIN, Series};
pub use slow::SlowPace;

/// No generator runs longer, whatever it is asked for.
pub const LONGEST: Duration = Duration::from_secs(60);
