//! The signature of a packet, and whether one more of it passes.

use mitigator_common::{Limit, PacketKind, Signature};

use crate::content::Content;
use crate::counters::is_reflection_port;
use crate::packet::{TransportKind, flags};
use crate::shared::SharedU64;

/// What the packet has in common with others of its kind, whoever sends them.
#[inline(always)]
#[must_use]
pub fn signature_of(content: Content) -> Signature {
    if content.is_fragment() {
        return Signature::of_kind(PacketKind::Fragment);
    }
    if content.has_extensions() {
        return Signature::of_kind(PacketKind::Extension);
    }
    let transport = content.transport();
    let (source_port, destination_port) = (transport.source_port(), transport.destination_port());
    match transport.kind() {
        TransportKind::Tcp => Signature::new(kind_of(transport.flags()), destination_port),
        TransportKind::Udp if is_reflection_port(source_port) && !content.is_to_group() => {
            Signature::new(PacketKind::UdpReflection, source_port)
        }
        TransportKind::Udp => Signature::new(PacketKind::Udp, destination_port),
        TransportKind::Icmp => Signature::of_kind(PacketKind::Icmp),
        TransportKind::Other => Signature::of_kind(PacketKind::Other),
    }
}

#[inline(always)]
const fn kind_of(flags: u8) -> PacketKind {
    if flags & flags::RST != 0 {
        PacketKind::TcpRst
    } else if flags & (flags::SYN | flags::ACK) == flags::SYN | flags::ACK {
        PacketKind::TcpSynAck
    } else if flags & flags::SYN != 0 {
        PacketKind::TcpSyn
    } else if flags & flags::ACK != 0 {
        PacketKind::TcpAck
    } else {
        PacketKind::TcpOdd
    }
}

/// [`Limit`] while packets arrive on several CPUs; field by field the same.
#[repr(C)]
#[derive(Debug, Default)]
#[expect(missing_docs, reason = "documented at Limit, field by field")]
pub struct LiveLimit {
    pub expires_at_ns: SharedU64,
    pub since_ns: SharedU64,
    pub packets_per_window: SharedU64,
    pub queue_length: SharedU64,
    pub window: SharedU64,
    pub used: SharedU64,
    pub queued: SharedU64,
    pub answered_before: SharedU64,
    pub passed: SharedU64,
    pub dropped: SharedU64,
    pub answered: SharedU64,
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<LiveLimit>() == size_of::<Limit>());
    assert!(offset_of!(LiveLimit, window) == offset_of!(Limit, window));
    assert!(offset_of!(LiveLimit, answered) == offset_of!(Limit, answered));
};

impl LiveLimit {
    /// Whether the limit is over.
    #[inline(always)]
    #[must_use]
    pub fn is_expired(&self, now_ns: u64) -> bool {
        now_ns >= self.expires_at_ns.get()
    }

    /// Whether one more packet passes at `now_ns`; counts it if so. Beyond the limit it passes, uncounted, when
    /// its sender `is_allowed`. CPUs that begin a window at once may let one packet each pass beyond the
    /// limit.
    #[inline(always)]
    #[must_use]
    pub fn admit(&self, now_ns: u64, is_allowed: impl FnOnce() -> bool) -> bool {
        let window = now_ns >> Limit::WINDOW_BITS;
        if self.window.get() != window {
            self.window.set(window);
            self.used.set(0);
            self.forget_queued();
        }
        let is_within = self.used.get() < self.packets_per_window.get();
        if is_within {
            self.used.add(1);
            self.passed.add(1);
            return true;
        }
        is_allowed()
    }

    /// Whether SYNs beyond the limit are answered.
    #[inline(always)]
    #[must_use]
    pub fn answers(&self) -> bool {
        self.queue_length.get() != 0
    }

    /// All of them when there was an answer in the window before, and so a full queue; a part of them otherwise.
    #[inline(always)]
    fn forget_queued(&self) {
        let (answered, queued) = (self.answered.get(), self.queued.get());
        let forgotten = if answered == self.answered_before.get() {
            self.queue_length.get() / Limit::QUEUE_PARTS
        } else {
            queued
        };
        self.answered_before.set(answered);
        self.queued.set(queued.saturating_sub(forgotten));
    }

    /// Whether one more packet that was not admitted goes to a listener that has room; counts it if so.
    #[inline(always)]
    #[must_use]
    pub fn admit_to_queue(&self) -> bool {
        let is_within = self.queued.get() < self.queue_length.get();
        if is_within {
            self.queued.add(1);
            self.passed.add(1);
        }
        is_within
    }

    /// The limit as it stands.
    #[must_use]
    pub fn read(&self) -> Limit {
        Limit {
            expires_at_ns: self.expires_at_ns.get(),
            since_ns: self.since_ns.get(),
            packets_per_window: self.packets_per_window.get(),
            queue_length: self.queue_length.get(),
            window: self.window.get(),
            used: self.used.get(),
            queued: self.queued.get(),
            answered_before: self.answered_before.get(),
            passed: self.passed.get(),
            dropped: self.dropped.get(),
            answered: self.answered.get(),
        }
    }
}

impl From<Limit> for LiveLimit {
    fn from(limit: Limit) -> Self {
        Self {
            expires_at_ns: limit.expires_at_ns.into(),
            since_ns: limit.since_ns.into(),
            packets_per_window: limit.packets_per_window.into(),
            queue_length: limit.queue_length.into(),
            window: limit.window.into(),
            used: limit.used.into(),
            queued: limit.queued.into(),
            answered_before: limit.answered_before.into(),
            passed: limit.passed.into(),
            dropped: limit.dropped.into(),
            answered: limit.answered.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_its_share_of_each_window_pass() {
        let limit = LiveLimit::from(Limit { packets_per_window: 3, ..Limit::default() });
        for window in 1..=2 {
            let passed =
                (0..10).filter(|packet| limit.admit(window * Limit::WINDOW_NS + packet, || false)).count();
            assert_eq!(passed, 3);
        }
        assert_eq!(limit.read().passed, 6);
        assert!((0..10).all(|packet| limit.admit(3 * Limit::WINDOW_NS + packet, || true)), "allowed");
        assert_eq!(limit.read().passed, 9);
    }

    #[test]
    fn a_queue_gets_what_fills_it_and_little_when_it_does_not_fill() {
        let limit = LiveLimit::from(Limit { queue_length: 64, ..Limit::default() });
        assert!(limit.answers() && !LiveLimit::from(Limit::default()).answers());
        let mut window = 0;
        let mut queued = |answered: u64| {
            window += 1;
            let goes = |_: &u64| !limit.admit(window * Limit::WINDOW_NS, || false) && limit.admit_to_queue();
            let queued = (0..100).filter(goes).count();
            limit.answered.add(answered);
            queued
        };
        assert_eq!([queued(0), queued(0), queued(9), queued(0), queued(0)], [64, 2, 2, 64, 2]);
        assert_eq!(limit.read().passed, 134);
    }
}
