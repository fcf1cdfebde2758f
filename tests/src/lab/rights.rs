//! What a lab needs from the machine, and which of it is missing, in words an operator can act on.

use std::fs;
use std::path::{Path, PathBuf};

use super::system;

/// Bit numbers of `linux/capability.h`.
const CAPABILITIES: [(u32, &str); 3] = [(12, "CAP_NET_ADMIN"), (13, "CAP_NET_RAW"), (21, "CAP_SYS_ADMIN")];

/// What is missing to make network namespaces: empty when a [`super::Lab`] can be opened.
#[must_use]
pub fn missing_for_namespaces() -> Vec<String> {
    let held = effective_capabilities();
    let mut missing: Vec<_> = CAPABILITIES
        .iter()
        .filter(|(bit, _)| held & (1 << bit) == 0)
        .map(|(_, name)| format!("the capability {name} is missing (run as root)"))
        .collect();
    if find_program("ip").is_none() {
        missing.push("the program `ip` is missing (run `cargo xtask setup`)".to_owned());
    }
    missing
}

/// What is missing, beyond namespaces, to load and pin a BPF program.
#[must_use]
pub fn missing_for_bpf() -> Vec<String> {
    let mut missing = missing_for_namespaces();
    missing.extend(missing_for_loading());
    missing
}

/// What is missing to load and pin a BPF program that is not attached to anything.
#[must_use]
pub fn missing_for_loading() -> Vec<String> {
    let mut missing = Vec::new();
    if let Err(error) = system::try_bpf() {
        missing.push(format!("the kernel refuses bpf(2): {error} (needs CAP_BPF, and no lock-down)"));
    }
    if !is_bpf_file_system(Path::new("/sys/fs/bpf")) {
        missing.push("no BPF file system at /sys/fs/bpf (run `mount -t bpf bpf /sys/fs/bpf`)".to_owned());
    }
    missing
}

/// The program's full path; looks where root's programs live even if PATH does not.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}

fn effective_capabilities() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

fn is_bpf_file_system(path: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.lines().any(|line| {
        let mut words = line.split(' ').skip(1);
        words.next() == path.to_str() && words.next() == Some("bpf")
    })
}
