//! Entry point and order of decisions: block table -> block prefixes -> count -> pass, where the
//! allow list beats any block.
#![expect(unsafe_code, reason = "the packet's bounds come from the XDP context")]

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use mitigator_common::Outcome;
use mitigator_ebpf::cursor::Cursor;
use mitigator_ebpf::packet::{Packet, Unparsed};

use crate::blocklist::{self, Verdict};
use crate::{outcomes, sources};

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
    let packet = match Packet::parse(&bytes) {
        Ok(packet) => packet,
        Err(Unparsed::NotIp) => return Outcome::PassNotIp,
        Err(Unparsed::Malformed) => return Outcome::PassUnparsed,
    };
    match blocklist::judge(&packet) {
        Verdict::Blocked(outcome) => outcome,
        Verdict::Excepted => Outcome::PassAllowed,
        Verdict::NotListed => sources::count(&packet, bytes.length() as u64),
    }
}

/// The helpers used are free for any licence; the maps' atomics and BTF need no GPL either.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
