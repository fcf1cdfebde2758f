//! Judges one packet by the limits of its signature, while there are any.
#![expect(unsafe_code, reason = "counts through map value pointers")]

use aya_ebpf::programs::XdpContext;
use mitigator_common::{Outcome, Signature};
use mitigator_ebpf::block_table::LiveHeader;
use mitigator_ebpf::content::Content;
use mitigator_ebpf::envelope::Envelope;
use mitigator_ebpf::signature::{LiveLimit, signature_of};

use crate::cookies::Answer;
use crate::maps::SIGNATURE_LIMITS;
use crate::{allowlist, bytes, clock, cookies, settings, sources};

/// What becomes of a packet that is beyond a limit; `None` when it is beyond none.
#[inline(always)]
pub fn judge(ctx: &XdpContext, header: &LiveHeader, envelope: Envelope, content: Content) -> Option<Outcome> {
    if header.limits.get() == 0 {
        return None;
    }
    let signature = signature_of(content);
    let limit = find(&signature).or_else(|| find(&signature.on_every_port()))?;
    let now_ns = clock::now_ns(header);
    let since_ns = limit.since_ns.get();
    if limit.is_expired(now_ns) || since_ns != 0 && sources::is_known(envelope.source, since_ns) {
        return None;
    }
    if limit.admit(now_ns, || allowlist::covers(bytes::sender(ctx, &envelope))) {
        return None;
    }
    if settings::has_syn_cookies() && limit.answers() {
        match cookies::answer(ctx, envelope) {
            Answer::Made => {
                limit.answered.add(1);
                return Some(Outcome::AnswerCookie);
            }
            Answer::Room if limit.admit_to_queue() => return None,
            Answer::Room | Answer::None => {}
        }
    }
    limit.dropped.add(1);
    Some(Outcome::DropLimited)
}

#[inline(always)]
fn find(signature: &Signature) -> Option<&'static LiveLimit> {
    let limit = SIGNATURE_LIMITS.get_ptr_mut(signature)?;
    // SAFETY: the value pointer stays valid until the program returns, and `LiveLimit` has the layout of
    // the value; user space replaces values as a whole.
    Some(unsafe { &*limit.cast::<LiveLimit>() })
}
