//! What is sent back to forged senders goes to hosts elsewhere, and is no work for the clients who share a link with
//! the generator.

use anyhow::{Context, Result};
use aya::programs::Xdp;
use aya::programs::xdp::XdpMode;
use aya::{Ebpf, EbpfLoader};

use super::Interface;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/bench.o"));
const PROGRAM: &str = "elsewhere";

/// While it lives, an interface drops IPv4 packets for addresses outside of 198.18.0.0/15 at the first look.
#[derive(Debug)]
pub struct Elsewhere {
    _attached: Ebpf,
}

impl Interface {
    /// Has an XDP program take away what is meant for hosts outside of the lab.
    ///
    /// A veth also takes what the other end's native XDP program sends back only while it has a program of its own.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the program.
    pub fn drop_what_goes_elsewhere(&self) -> Result<Elsewhere> {
        let mut ebpf = EbpfLoader::new().load(OBJECT).context("cannot load the lab's own BPF programs")?;
        let program: &mut Xdp =
            ebpf.program_mut(PROGRAM).with_context(|| format!("no program {PROGRAM}"))?.try_into()?;
        program.load().with_context(|| format!("the kernel refused `{PROGRAM}`"))?;
        self.host()
            .enter(|| program.attach(self.name(), XdpMode::Driver))?
            .with_context(|| format!("cannot attach `{PROGRAM}` to `{}`", self.name()))?;
        Ok(Elsewhere { _attached: ebpf })
    }
}
