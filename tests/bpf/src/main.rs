//! Traffic for the program under test: each packet of the kernel's test run comes from another source; and the far end
//! of a lab's link.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]
#![cfg_attr(target_arch = "bpf", expect(unsafe_code, reason = "the licence is found by its section"))]

#[cfg(target_arch = "bpf")]
mod apart;
#[cfg(target_arch = "bpf")]
mod elsewhere;
#[cfg(target_arch = "bpf")]
mod flood;
#[cfg(target_arch = "bpf")]
mod traffic;

/// The programs are for the BPF target; on the host only the library of this crate is of use.
#[cfg(not(target_arch = "bpf"))]
fn main() {}

/// The helpers used are free for any licence.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
