//! The XDP program, which decides what arrives, and the classifier that counts what is sent.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod allowlist;
#[cfg(target_arch = "bpf")]
mod blocklist;
#[cfg(target_arch = "bpf")]
mod bytes;
#[cfg(target_arch = "bpf")]
mod clock;
#[cfg(target_arch = "bpf")]
mod cookies;
#[cfg(target_arch = "bpf")]
mod cpu_state;
#[cfg(target_arch = "bpf")]
mod extension_walks;
#[cfg(target_arch = "bpf")]
mod limits;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod program;
#[cfg(target_arch = "bpf")]
mod settings;
#[cfg(target_arch = "bpf")]
mod sources;

/// The program is for the BPF target; on the host only the library of this crate is of use.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
