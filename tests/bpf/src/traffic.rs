//! The programs: one that varies packets and hands them on, one that drops them all.
#![expect(unsafe_code, reason = "packet bytes and a map value through pointers, helper calls")]

use core::arch::asm;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::btf_maps::{Array, ProgramArray};
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use mitigator_bench_ebpf::{Burst, address_of, draw};

/// The burst that is on.
#[btf_map]
pub static BURST: Array<Burst, 1> = Array::new();

/// The program under test.
#[btf_map]
pub static UNDER_TEST: ProgramArray<1> = ProgramArray::new();

/// Gives the packet another source and hands it on. Aborts where it cannot, which the bench takes for a failure.
#[xdp]
pub fn vary(ctx: XdpContext) -> u32 {
    if let Some(burst) = BURST.get_ptr_mut(0) {
        // SAFETY: the one value of the map; test runs of the bench are one after the other.
        let burst = unsafe { &mut *burst };
        note_time(burst);
        if rewrite(&ctx, burst) {
            // SAFETY: what follows it is only for when there is no program to go on with.
            unsafe { UNDER_TEST.tail_call(&ctx, 0) };
        }
    }
    xdp_action::XDP_ABORTED
}

/// The cheapest program there is.
#[xdp]
pub fn drop_all(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_DROP
}

/// The system call of a test run may wait for other things before and after, which are none of the packets' time.
#[inline(always)]
fn note_time(burst: &mut Burst) {
    // SAFETY: takes no argument and cannot fail.
    let now_ns = || unsafe { bpf_ktime_get_ns() };
    if burst.done == 0 {
        burst.began_ns = now_ns();
    } else if burst.done + 1 == burst.packets {
        burst.ended_ns = now_ns();
    }
    burst.done += 1;
}

#[inline(always)]
fn rewrite(ctx: &XdpContext, burst: &mut Burst) -> bool {
    let place = ctx.data() + (burst.offset & (Burst::OFFSETS - 1)) as usize;
    if place + 8 > ctx.data_end() {
        return false;
    }
    let address = address_of(burst.first.wrapping_add(next(burst)));
    // In one store of the width in which a source is read: a load of what was stored in parts has to wait.
    // SAFETY: eight bytes lie within the packet, by the check above.
    unsafe {
        if burst.before == 0 {
            asm!("*(u32 *)({place} + 0) = {value}", place = in(reg) place, value = in(reg) u64::from(address.to_be()));
        } else {
            let value = (burst.before << 32 | u64::from(address)).to_be();
            asm!("*(u64 *)({place} + 0) = {value}", place = in(reg) place, value = in(reg) value);
        }
    }
    true
}

/// The next source's number, from 0.
#[inline(always)]
fn next(burst: &mut Burst) -> u32 {
    if burst.sources == 0 {
        burst.state += 1;
        return (burst.state - 1) as u32;
    }
    let (state, number) = draw(burst.state, burst.sources);
    burst.state = state;
    number
}
