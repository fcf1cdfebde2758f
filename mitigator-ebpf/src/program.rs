//! Entry points and order of decisions: block table -> block prefixes -> limits -> count -> pass, where the
//! allow list beats any block.
#![expect(unsafe_code, reason = "the packet's bounds come from the XDP context")]

use aya_ebpf::bindings::{TC_ACT_UNSPEC, xdp_action};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use mitigator_common::Outcome;
use mitigator_ebpf::cursor::Cursor;
use mitigator_ebpf::envelope::{Direction, Envelope, Reading, Unparsed};
use mitigator_ebpf::packet::Packet;

use crate::blocklist::{self, Verdict};
use crate::cpu_state::LiveCpuState;
use crate::{clock, extension_walks, limits, sources};

/// Passes, drops or answers one packet.
#[xdp]
pub fn mitigate(ctx: XdpContext) -> u32 {
    let Some(state) = LiveCpuState::this() else {
        return xdp_action::XDP_PASS;
    };
    let Some(outcome) = decide(&ctx, state) else {
        return xdp_action::XDP_PASS;
    };
    state.count(outcome);
    match outcome {
        dropped if dropped.is_drop() => xdp_action::XDP_DROP,
        answered if answered.is_answer() => xdp_action::XDP_TX,
        _ => xdp_action::XDP_PASS,
    }
}

/// What becomes of a packet, or `None` of one that passes and was counted.
#[inline(always)]
fn decide(ctx: &XdpContext, state: &LiveCpuState) -> Option<Outcome> {
    let Some(header) = blocklist::header() else {
        return Some(Outcome::PassUncounted);
    };
    // SAFETY: `data..data_end` is the packet, readable until the program returns.
    let bytes = unsafe { Cursor::between(ctx.data(), ctx.data_end()) };
    let Reading { failure, envelope } = Envelope::read(&bytes, Direction::Arriving);
    match failure {
        None => {}
        Some(Unparsed::NotIp) => return Some(Outcome::PassNotIp),
        Some(Unparsed::Malformed) => return Some(Outcome::PassUnparsed),
    }
    match blocklist::judge(state.cpu.get(), header, &envelope, &bytes) {
        Verdict::Blocked(outcome) => return Some(outcome),
        Verdict::Excepted => return Some(Outcome::PassAllowed),
        Verdict::NotListed => {}
    }
    // SAFETY: as above; taken from the context again, so that they need not be kept meanwhile.
    let bytes = unsafe { Cursor::between(ctx.data(), ctx.data_end()) };
    let packet = Packet::open_with(&envelope, &bytes, |start| extension_walks::arriving(ctx, start));
    if let Some(outcome) = limits::judge(ctx, header, &envelope, &packet) {
        return Some(outcome);
    }
    sources::count(header, state, &packet, bytes.length() as u64);
    None
}

/// Counts one packet that this host sends, for its receiver. Never changes what becomes of it.
#[classifier]
pub fn count_sent(ctx: TcContext) -> i32 {
    // SAFETY: `data..data_end` is the linear part of the packet, readable until the program returns.
    let bytes = unsafe { Cursor::between(ctx.data(), ctx.data_end()) };
    let Reading { failure, envelope } = Envelope::read(&bytes, Direction::Leaving);
    if failure.is_none() {
        sources::count_sent(&Packet::open_with(&envelope, &bytes, |start| {
            extension_walks::leaving(&ctx, start)
        }));
    }
    TC_ACT_UNSPEC
}

/// Tells the lower half of the jiffies, for the loader to find out how they and the clock go together. Never attached.
#[xdp]
pub fn tell_jiffies(_ctx: XdpContext) -> u32 {
    clock::jiffies() as u32
}

/// The helpers used are free for any licence; the maps' atomics and BTF need no GPL either.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
