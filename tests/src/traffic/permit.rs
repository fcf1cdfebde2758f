//! The licence to send: given only for a lab's own veth, and only for a bounded time.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::LONGEST;
use crate::lab::{INTERFACE_PREFIX, Interface, NAMESPACE_PREFIX, driver_of};

/// Proof that the calling thread stands in a lab's namespace and may send out of one of its interfaces. Every generator
/// has one.
#[derive(Debug)]
pub struct Permit {
    pub(super) interface_index: u32,
}

impl Permit {
    /// Moves the calling thread into the interface's host, and looks at everything again from there.
    ///
    /// # Errors
    ///
    /// When the interface is not a lab's veth, or the time is longer than [`LONGEST`].
    pub fn obtain(interface: &Interface, duration: Duration) -> Result<Self> {
        ensure!(duration <= LONGEST, "a generator runs {LONGEST:?} at most, not {duration:?}");
        interface.host().move_this_thread_inside()?;
        let (name, host) = (interface.name(), interface.host().name());
        ensure!(
            name.starts_with(INTERFACE_PREFIX) && host.starts_with(NAMESPACE_PREFIX),
            "`{name}` in `{host}` is not part of a lab",
        );
        ensure!(
            inode("/proc/thread-self/ns/net")? == inode(&format!("/run/netns/{host}"))?,
            "this thread is not inside `{host}`",
        );
        let driver = driver_of(name).with_context(|| format!("cannot ask for the driver of `{name}`"))?;
        ensure!(driver == "veth", "`{name}` is driven by {driver}; generators send through veth only");
        Ok(Self { interface_index: interface.index() })
    }

    /// Number of the interface to send out of.
    #[must_use]
    pub fn interface_index(&self) -> u32 {
        self.interface_index
    }
}

fn inode(path: &str) -> Result<u64> {
    Ok(fs::metadata(path).with_context(|| format!("cannot look at `{path}`"))?.ino())
}
