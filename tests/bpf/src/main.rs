//! Traffic for the program under test: each packet of the kernel's test run comes from another source; and the far end
//! of a lab's link.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod elsewhere;
#[cfg(target_arch = "bpf")]
mod traffic;

/// The programs are for the BPF target; on the host only the library of this crate is of use.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
