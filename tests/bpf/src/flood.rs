//! The generator of floods: each frame of the kernel's test run gets another source, and leaves by an interface.
#![expect(unsafe_code, reason = "packet bytes and a map value through pointers, a helper call")]

use core::arch::asm;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::btf_maps::Array;
use aya_ebpf::helpers::generated::bpf_redirect;
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use mitigator_bench_ebpf::{Flood, address_of, draw};

/// The flood that is on.
#[btf_map]
pub static FLOOD: Array<Flood, 1> = Array::new();

const IP_HEADER: usize = 14;
const CHECKSUM: usize = IP_HEADER + 10;
const SOURCE: usize = IP_HEADER + 12;

/// Gives an IPv4 packet another source and the checksum that belongs to it, and sends it. Aborts where it cannot, which
/// the bench notices, as nothing arrives.
#[xdp]
pub fn flood(ctx: XdpContext) -> u32 {
    let (Some(flood), start) = (FLOOD.get_ptr_mut(0), ctx.data()) else { return xdp_action::XDP_ABORTED };
    if start + SOURCE + 4 > ctx.data_end() {
        return xdp_action::XDP_ABORTED;
    }
    // SAFETY: the one value of the map; floods of the bench are one after the other.
    let flood = unsafe { &mut *flood };
    let (state, number) = draw(flood.state, flood.sources);
    flood.state = state;
    let address = address_of(number);
    let checksum = checksum_of(flood.header_sum + (address >> 16) + (address & 0xffff));
    // Frames are used again after they were dropped, so both are written anew, and not changed.
    // SAFETY: the bytes lie within the packet, by the check above.
    unsafe {
        asm!("*(u32 *)({place} + 0) = {value}", place = in(reg) start + SOURCE, value = in(reg) u64::from(address.to_be()));
        asm!("*(u16 *)({place} + 0) = {value}", place = in(reg) start + CHECKSUM, value = in(reg) u64::from(checksum.to_be()));
    }
    flood.sent += 1;
    // SAFETY: takes two numbers; the kernel judges them.
    unsafe { bpf_redirect(flood.interface, 0) as u32 }
}

/// Of a sum of few 16-bit words.
#[inline(always)]
fn checksum_of(sum: u32) -> u16 {
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}
