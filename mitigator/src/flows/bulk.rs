//! `Bulk`: the bulk transfers of one direction of a flow.

/// Packets of a run before it is a bulk; CICFlowMeter's number.
const LEAST_PACKETS: u64 = 4;
/// A longer pause ends a run; CICFlowMeter's number.
const LONGEST_PAUSE_NS: u64 = 1_000_000_000;

/// Runs of packets with payload one way, without payload the other way or a pause of more than a second in between;
/// a run of at least four packets is a bulk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bulk {
    /// How many bulks there were.
    pub bulks: u64,
    /// Packets of all bulks.
    pub packets: u64,
    /// Payload of all bulks.
    pub bytes: u64,
    /// From first to last packet, of all bulks.
    pub duration_ns: u64,
    run: Run,
}

/// What may become a bulk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Run {
    packets: u64,
    bytes: u64,
    first_ns: u64,
    last_ns: u64,
}

impl Bulk {
    /// Takes in a packet with payload.
    pub(super) fn add(&mut self, at_ns: u64, payload_bytes: u64) {
        let run = &mut self.run;
        if run.packets == 0 || at_ns - run.last_ns > LONGEST_PAUSE_NS {
            *run = Run { packets: 1, bytes: payload_bytes, first_ns: at_ns, last_ns: at_ns };
            return;
        }
        let pause_ns = at_ns - run.last_ns;
        run.packets += 1;
        run.bytes += payload_bytes;
        run.last_ns = at_ns;
        if run.packets == LEAST_PACKETS {
            self.bulks += 1;
            self.packets += run.packets;
            self.bytes += run.bytes;
            self.duration_ns += at_ns - run.first_ns;
        } else if run.packets > LEAST_PACKETS {
            self.packets += 1;
            self.bytes += payload_bytes;
            self.duration_ns += pause_ns;
        }
    }

    /// The other direction had payload.
    pub(super) fn interrupt(&mut self) {
        self.run = Run::default();
    }
}
