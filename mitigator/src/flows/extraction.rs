//! `Extraction`: captures in, one after another, flows out as they end.

use anyhow::Result;
use mitigator_ebpf::packet::Unparsed;

use super::flow::{Flow, FlowEnd};
use super::packet::FlowPacket;
use super::table::{ClockFaults, FlowSettings, FlowTable};
use crate::capture::{Capture, CapturedPacket, Damage};

/// Packets between two reports of progress.
const STRIDE: u64 = 16_384;

/// What came of the captures so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All packets.
    pub packets: u64,
    /// Of them, those of other network protocols, which are in no flow.
    pub not_ip: u64,
    /// Of them, those without a readable IP header, which are in no flow.
    pub malformed: u64,
    /// Flows that have ended.
    pub flows: u64,
    /// Of them, those that ended only because there were too many at a time.
    pub crowded_out: u64,
    /// Of them, those of more than one packet.
    pub with_pauses: u64,
    /// Of those, the ones whose packets all have the same time.
    pub without_duration: u64,
}

/// Captures being read into flows. Flows go on from one capture to the next, as those of a capture that was rotated.
#[derive(Debug)]
pub struct Extraction {
    table: FlowTable,
    tally: Tally,
}

impl Extraction {
    /// Nothing was read yet.
    #[must_use]
    pub fn new(settings: &FlowSettings) -> Self {
        Self { table: FlowTable::new(settings), tally: Tally::default() }
    }

    /// Reads a capture to its end, or to where it is damaged, which it says.
    ///
    /// # Errors
    ///
    /// Those of `ended`, which is handed each flow that has ended.
    pub fn read(
        &mut self,
        capture: &mut Capture,
        mut progress: impl FnMut(&Tally),
        mut ended: impl FnMut(&Flow) -> Result<()>,
    ) -> Result<Option<Damage>> {
        loop {
            let captured = match capture.next_packet() {
                Ok(Some(captured)) => captured,
                Ok(None) => return Ok(None),
                Err(damage) => return Ok(Some(damage)),
            };
            self.take(&captured, &mut ended)?;
            if self.tally.packets.is_multiple_of(STRIDE) {
                progress(&self.tally);
            }
        }
    }

    /// Takes the next packet of a capture that somebody else reads, too.
    ///
    /// # Errors
    ///
    /// Those of `ended`, which is handed each flow that has ended.
    pub fn take(
        &mut self,
        captured: &CapturedPacket<'_>,
        ended: &mut impl FnMut(&Flow) -> Result<()>,
    ) -> Result<()> {
        self.tally.packets += 1;
        match FlowPacket::read(captured) {
            Ok(packet) => {
                let Self { table, tally } = self;
                table.take(packet, &mut |flow| tally.hand_over(&flow, ended))?;
            }
            Err(Unparsed::NotIp) => self.tally.not_ip += 1,
            Err(Unparsed::Malformed) => self.tally.malformed += 1,
        }
        Ok(())
    }

    /// Ends what is left, after the last capture; what came of all of them, and what was wrong with their clock.
    ///
    /// # Errors
    ///
    /// Those of `ended`.
    pub fn finish(self, mut ended: impl FnMut(&Flow) -> Result<()>) -> Result<(Tally, ClockFaults)> {
        let Self { table, mut tally } = self;
        let clock = table.clock_faults();
        table.finish(&mut |flow| tally.hand_over(&flow, &mut ended))?;
        Ok((tally, clock))
    }
}

impl Tally {
    fn hand_over(&mut self, flow: &Flow, ended: &mut impl FnMut(&Flow) -> Result<()>) -> Result<()> {
        self.flows += 1;
        self.with_pauses += u64::from(flow.packets() > 1);
        self.without_duration += u64::from(flow.packets() > 1 && flow.duration_ns() == 0);
        self.crowded_out += u64::from(flow.end == FlowEnd::Crowd);
        ended(flow)
    }
}
