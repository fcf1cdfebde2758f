//! The far end of a link for answers to forged senders: they go to hosts elsewhere, not to the clients at this end.
#![expect(unsafe_code, reason = "packet bytes through a pointer")]

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;

const IPV4: [u8; 2] = [0x08, 0x00];

/// Drops IPv4 packets for addresses outside of 198.18.0.0/15, the range for tests like these; passes the rest.
#[xdp]
pub fn elsewhere(ctx: XdpContext) -> u32 {
    let start = ctx.data();
    if start + 34 > ctx.data_end() {
        return xdp_action::XDP_PASS;
    }
    let frame = core::ptr::with_exposed_provenance::<[u8; 34]>(start);
    // SAFETY: 34 bytes are there, by the check above; bytes have no alignment to respect.
    let [.., e0, e1, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, d0, d1, _, _] = unsafe { &*frame };
    if [*e0, *e1] == IPV4 && (*d0 != 198 || *d1 & 0xfe != 18) {
        return xdp_action::XDP_DROP;
    }
    xdp_action::XDP_PASS
}
