//! Entry points and order of decisions: block table -> block prefixes -> limits -> count -> pass, where the
//! allow list beats any block.
#![expect(unsafe_code, reason = "the packet's bounds come from the XDP context")]

use aya_ebpf::bindings::{TC_ACT_UNSPEC, xdp_action};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use mitigator_common::Outcome;
use mitigator_ebpf::cursor::Cursor;
use mitigator_ebpf::packet::{Direction, Packet, Reading, Unparsed};

use crate::blocklist::{self, Verdict};
use crate::{limits, outcomes, sources};

/// Passes or drops one packet.
#[xdp]
pub fn mitigate(ctx: XdpContext) -> u32 {
    let outcome = decide(&ctx);
    outcomes::count(outcome);
    if outcome.is_drop() { xdp_action::XDP_DROP } else { xdp_action::XDP_PASS }
}

#[inline(always)]
fn decide(ctx: &XdpContext) -> Outcome {
    // SAFETY: `data..data_end` is the packet, readable until the program returns.
    let bytes = unsafe { Cursor::between(ctx.data(), ctx.data_end()) };
    let Reading { failure, packet } = Packet::read(&bytes, Direction::Arriving);
    match failure {
        None => {}
        Some(Unparsed::NotIp) => return Outcome::PassNotIp,
        Some(Unparsed::Malformed) => return Outcome::PassUnparsed,
    }
    let Some(header) = blocklist::header() else {
        return Outcome::PassUncounted;
    };
    match blocklist::judge(header, &packet) {
        Verdict::Blocked(outcome) => outcome,
        Verdict::Excepted => Outcome::PassAllowed,
        Verdict::NotListed if limits::drops(header, &packet) => Outcome::DropLimited,
        Verdict::NotListed => sources::count(&packet, bytes.length() as u64),
    }
}

/// Counts one packet that this host sends, for its receiver. Never changes what becomes of it.
#[classifier]
pub fn count_sent(ctx: TcContext) -> i32 {
    // SAFETY: `data..data_end` is the linear part of the packet, readable until the program returns.
    let bytes = unsafe { Cursor::between(ctx.data(), ctx.data_end()) };
    let Reading { failure, packet } = Packet::read(&bytes, Direction::Leaving);
    if failure.is_none() {
        sources::count_sent(&packet);
    }
    TC_ACT_UNSPEC
}

/// The helpers used are free for any licence; the maps' atomics and BTF need no GPL either.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
