//! Judges one packet by the limits of its signature, while there are any.
#![expect(unsafe_code, reason = "counts through map value pointers")]

use mitigator_common::Signature;
use mitigator_ebpf::block_table::LiveHeader;
use mitigator_ebpf::packet::Packet;
use mitigator_ebpf::signature::{LiveLimit, signature_of};

use crate::maps::SIGNATURE_LIMITS;
use crate::{allowlist, clock, sources};

/// Whether the packet is beyond a limit.
#[inline(always)]
pub fn drops(header: &LiveHeader, packet: &Packet) -> bool {
    if header.limits.get() == 0 {
        return false;
    }
    let signature = signature_of(packet);
    let Some(limit) = find(&signature).or_else(|| find(&signature.on_every_port())) else {
        return false;
    };
    let now_ns = clock::now_ns(header);
    let since_ns = limit.since_ns.get();
    if limit.is_expired(now_ns) || since_ns != 0 && sources::is_known(packet.source, since_ns) {
        return false;
    }
    !limit.admit(now_ns, || allowlist::covers(packet.address))
}

#[inline(always)]
fn find(signature: &Signature) -> Option<&'static LiveLimit> {
    let limit = SIGNATURE_LIMITS.get_ptr_mut(signature)?;
    // SAFETY: the value pointer stays valid until the program returns, and `LiveLimit` has the layout of
    // the value; user space replaces values as a whole.
    Some(unsafe { &*limit.cast::<LiveLimit>() })
}
