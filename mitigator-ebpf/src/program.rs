//! Entry points and order of decisions: block table -> block prefixes -> limits -> count -> pass, where the
//! allow list beats any block.
#![expect(unsafe_code, reason = "names and sections of what the loader looks for")]

use aya_ebpf::bindings::{TC_ACT_UNSPEC, xdp_action};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use mitigator_common::Outcome;
use mitigator_ebpf::content::Content;
use mitigator_ebpf::envelope::{Direction, Envelope, Reading, Unparsed};
use mitigator_ebpf::packet::content_of;

use crate::blocklist::{self, Verdict};
use crate::cpu_state::LiveCpuState;
use crate::{bytes, clock, extension_walks, limits, sources};

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
    let Reading { failure, envelope } = Envelope::read(&bytes::arriving(ctx), Direction::Arriving);
    match failure {
        None => {}
        Some(Unparsed::NotIp) => return Some(Outcome::PassNotIp),
        Some(Unparsed::Malformed) => return Some(Outcome::PassUnparsed),
    }
    match blocklist::judge(ctx, state, header, &envelope) {
        Verdict::Blocked(outcome) => return Some(outcome),
        Verdict::Excepted => return Some(Outcome::PassAllowed),
        Verdict::NotListed => {}
    }
    let bytes = bytes::arriving(ctx);
    let content = content_of(&envelope, &bytes, |start| extension_walks::arriving(ctx, start));
    let content = Content::from_bits(state.lose_sight_of(content.to_bits()));
    if let Some(outcome) = limits::judge(ctx, header, envelope, content) {
        return Some(outcome);
    }
    sources::count(header, state, envelope.source, content, bytes.length() as u64);
    None
}

/// Counts one packet that this host sends, for its receiver. Never changes what becomes of it.
#[classifier]
pub fn count_sent(ctx: TcContext) -> i32 {
    let bytes = bytes::leaving(&ctx);
    let Reading { failure, envelope } = Envelope::read(&bytes, Direction::Leaving);
    if failure.is_none() {
        let content = content_of(&envelope, &bytes, |start| extension_walks::leaving(&ctx, start));
        sources::count_sent(envelope.source, content);
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
