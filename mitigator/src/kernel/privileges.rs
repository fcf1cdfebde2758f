//! Says which right is missing before the kernel says only "operation not permitted".

use std::path::Path;

use anyhow::{Result, bail};

/// Rights that working with BPF takes, with their bits (capabilities(7)).
const NEEDED: [(&str, u32); 3] = [("CAP_BPF", 39), ("CAP_NET_ADMIN", 12), ("CAP_PERFMON", 38)];
/// Has them all, and files of bpffs belong to root.
const CAP_SYS_ADMIN: u32 = 21;
const CAP_DAC_OVERRIDE: u32 = 1;

/// Checks that this process may load programs and open pins below `pins`.
///
/// # Errors
///
/// One sentence that names the missing capability and how to get it.
pub fn require(pins: &Path) -> Result<()> {
    let effective = procfs::process::Process::myself()
        .and_then(|process| process.status())
        .map_or(u64::MAX, |status| status.capeff);
    let has = |bit: u32| effective & (1 << bit) != 0;
    let missing: Vec<&str> = if has(CAP_SYS_ADMIN) && has(12) {
        Vec::new()
    } else {
        NEEDED.iter().filter(|(_, bit)| !has(*bit)).map(|(name, _)| *name).collect()
    };
    if !missing.is_empty() {
        bail!(
            "this needs {}: run it as root (`sudo mitigator …`), or give the systemd unit \
             `AmbientCapabilities=CAP_BPF CAP_NET_ADMIN CAP_PERFMON` (with a flow model also CAP_NET_RAW); \
             `mitigator replay` needs no rights",
            missing.join(", ")
        );
    }
    if !nix::unistd::geteuid().is_root() && !has(CAP_DAC_OVERRIDE) && pins.starts_with("/sys/fs/bpf") {
        bail!(
            "this needs CAP_DAC_OVERRIDE to open the pins below {}, which belong to root: run it as root \
             (`sudo mitigator …`), or mount a BPF file system of your own and name it with `--pin-dir`",
            pins.display()
        );
    }
    Ok(())
}
