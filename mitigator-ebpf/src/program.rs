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
use crate::{clock, extension_walks, limits, outcomes, sources};

/// Passes or drops one packet.
#[xdp]
pub fn mitigate(ctx: XdpContext) -> u32 {
    let outcome = decide(&ctx);
    outcomes::count(outcome);
    if outcome.is_drop() { xdp_action::XDP_DROP } else { xdp_action::XDP_PASS }
}

#[inline(always)]
fn decide(ctx: &XdpContext) -> Outcome {
    let Some(header) = blocklist::header() else {
        return Outcome::PassUncounted;
    };
    // SAFETY: `data..data_end` is the packet, readable until the program returns.
    let bytes = unsafe { Cursor::between(ctx.data(), ctx.data_end()) };
    let Reading { failure, envelope } = Envelope::read(&bytes, Direction::Arriving);
    match failure {
        None => {}
        Some(Unparsed::NotIp) => return Outcome::PassNotIp,
        Some(Unparsed::Malformed) => return Outcome::PassUnparsed,
    }
    match blocklist::judge(header, &envelope, &bytes) {
        Verdict::Blocked(outcome) => return outcome,
        Verdict::Excepted => return Outcome::PassAllowed,
        Verdict::NotListed => {}
    }
    // SAFETY: as above; taken from the context again, so that they need not be kept meanwhile.
    let bytes = unsafe { Cursor::between(ctx.data(), ctx.data_end()) };
    let packet = Packet::open_with(&envelope, &bytes, |start| extension_walks::arriving(ctx, start));
    if limits::drops(header, &packet) {
        return Outcome::DropLimited;
    }
    sources::count(header, &packet, bytes.length() as u64)
}

/// Counts one packet that this host sends, for its receiver. Never changes what becomes of it.
#[classifier]
pub fn count_sent(ctx: TcContext) -> i32 {
    // SAFETY: `data..data_end` is the linear part of the packet, readable until the program returns.
    let bytes = unsafe { Cursor::between(ctx.data(), ctx.data_end()) };
    let Reading { failure, envelope } = Envelope::read(&bytes, Direction::Leaving);
    if failure.is_none()
        && let Some(header) = blocklist::header()
    {
        let packet = Packet::open_with(&envelope, &bytes, |start| extension_walks::leaving(&ctx, start));
        sources::count_sent(header, &packet);
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
