//! The attack that was asked for, ready to be turned on the victim or, for the quiet phase, on the sink.

use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use mitigator_tests::traffic::{
    Addressing, Captured, Flood, FloodRecord, Frames, HttpClients, HttpFlood, Manner, Redirection, Requests,
    Series, SlowPace,
};

use crate::arguments::Rate;
use crate::clock;
use crate::kind::AttackKind;
use crate::replayed::frames_of;
use crate::stage::{self, Stage};

/// A port where nobody listens.
const DISCARD_PORT: u16 = 9;
const HTTP_PORT: u16 = 80;
const SEED: u64 = 20;
/// Name servers that answer questions they were never asked.
const REFLECTORS: usize = 4_000;
/// Few enough to be seen before the server has no connection left, enough together to leave it none.
const SLOW_ATTACKERS: usize = 10;
const SLOW_PACE: SlowPace =
    SlowPace { connections: 150, step: Duration::from_millis(33), line_every: Duration::from_secs(2) };

/// Where an attack goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    Sink,
    Victim,
}

/// An attack that can be started several times.
pub(crate) struct Attack {
    kind: AttackKind,
    captured: Vec<Captured>,
    rate: Option<Rate>,
    /// Those who send it; nobody when they cannot be told.
    pub(crate) attackers: Vec<IpAddr>,
}

/// An attack under way.
pub(crate) enum Running {
    Frames(Flood),
    Requests(HttpFlood),
    Crowd { visitors: HttpClients, began: (Instant, SystemTime), origin: Instant },
}

/// An attack that is over.
pub(crate) struct Finished {
    pub(crate) flood: FloodRecord,
    /// What the visitors who made it up asked for, if it was a crowd.
    pub(crate) crowd: Option<Requests>,
}

impl Attack {
    pub(crate) fn prepare(kind: &AttackKind, rate: Option<Rate>, stage: &Stage) -> Result<Self> {
        let mut captured = Vec::new();
        let mut attackers: Vec<IpAddr> = stage::attackers().into_iter().map(IpAddr::from).collect();
        match kind {
            AttackKind::Replay(file) => {
                captured = frames_of(file)?;
                attackers = redirected(&captured, stage.to_victim())?.frames.sources();
            }
            AttackKind::Slow => attackers.truncate(SLOW_ATTACKERS),
            AttackKind::DnsReflection => {
                attackers = Frames::dns_answers(stage.to_victim(), REFLECTORS, SEED)?.sources();
            }
            AttackKind::SynSpoofed | AttackKind::FlashCrowd => attackers.clear(),
            AttackKind::Udp | AttackKind::Syn | AttackKind::Http | AttackKind::Pulse => {}
        }
        Ok(Self { kind: kind.clone(), captured, rate, attackers })
    }

    /// Starts it for `duration`; steps are counted from `origin`.
    pub(crate) fn start(
        &self,
        stage: &Stage,
        aim: Aim,
        duration: Duration,
        origin: Instant,
    ) -> Result<Running> {
        let (interface, addressing) = match aim {
            Aim::Sink => (&stage.to_sink, stage.to_nobody()),
            Aim::Victim => (&stage.outside, stage.to_victim()),
        };
        let (pace, core) = (self.kind.pace(self.rate), stage.cores.senders);
        let (sources, target) = (stage::attackers(), stage::pages_of(addressing.to));
        let frames = match &self.kind {
            AttackKind::Udp | AttackKind::Pulse => Frames::udp(addressing, &sources, DISCARD_PORT)?,
            AttackKind::Syn => Frames::syn(addressing, &sources, HTTP_PORT, SEED)?,
            AttackKind::SynSpoofed => Frames::syn_of_forged_sources(addressing, HTTP_PORT, SEED)?,
            AttackKind::DnsReflection => Frames::dns_answers(addressing, REFLECTORS, SEED)?,
            AttackKind::Replay(_) => {
                let Redirection { frames, pace: own, .. } = redirected(&self.captured, addressing)?;
                let pace = if self.rate.is_some() { pace } else { own };
                return Flood::start(interface, frames, pace, duration, core, origin).map(Running::Frames);
            }
            AttackKind::Http => {
                let attackers = &self.attackers;
                return HttpFlood::start(interface, attackers, &target, &pace, duration, core, origin)
                    .map(Running::Requests);
            }
            AttackKind::Slow => {
                let server = target.server;
                let (attackers, pace) = (&self.attackers, SLOW_PACE);
                return HttpFlood::start_slow(interface, attackers, server, pace, duration, core, origin)
                    .map(Running::Requests);
            }
            AttackKind::FlashCrowd => {
                let crowd = stage::newcomers(&self.kind);
                let began = (clock::now(), clock::calendar());
                let visitors =
                    HttpClients::start(interface, &crowd, &target, Manner::Person, duration, core)?;
                return Ok(Running::Crowd { visitors, began, origin });
            }
        };
        Flood::start(interface, frames, pace, duration, core, origin).map(Running::Frames)
    }
}

impl Running {
    /// Packets sent up to this moment, where that says something.
    pub(crate) fn sent_so_far(&self) -> u64 {
        match self {
            Self::Frames(flood) => flood.sent_so_far(),
            Self::Requests(_) | Self::Crowd { .. } => 0,
        }
    }

    pub(crate) fn finish(self) -> Result<Finished> {
        let flood = match self {
            Self::Frames(flood) => flood.finish()?,
            Self::Requests(flood) => flood.finish()?,
            Self::Crowd { visitors, began, origin } => {
                let requests = visitors.finish()?;
                let mut sent = Series::new(origin);
                for request in requests.iter().filter(|request| request.answered) {
                    sent.add(request.began + request.took, 1);
                }
                let flood = FloodRecord { began: Some(began), ended: clock::now(), sent };
                return Ok(Finished { flood, crowd: Some(requests) });
            }
        };
        Ok(Finished { flood, crowd: None })
    }
}

fn redirected(captured: &[Captured], addressing: Addressing) -> Result<Redirection> {
    let destination = Stage::destination(addressing);
    Redirection::towards(destination, captured.iter().cloned())
        .context("there is no IP packet in the capture")
}
