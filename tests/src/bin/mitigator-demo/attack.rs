//! The attack that was asked for, ready to be turned on the victim or, for the quiet phase, on the sink.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mitigator_tests::lab::{Core, Interface};
use mitigator_tests::traffic::{
    Addressing, Captured, Flood, FloodRecord, Frames, HttpFlood, Pace, Redirection,
};

use crate::arguments::{Arguments, AttackKind, Rate};
use crate::replayed::frames_of;
use crate::stage::{self, Stage};

/// A port where nobody listens.
const DISCARD_PORT: u16 = 9;
const HTTP_PORT: u16 = 80;
const SEED: u64 = 20;
const DEFAULT_RATE: u32 = 300_000;

/// Where an attack goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    Sink,
    Victim,
}

/// An attack that can be started several times.
pub(crate) struct Attack {
    weapon: Weapon,
    rate: Option<Rate>,
    /// Those who send it.
    pub(crate) attackers: Vec<IpAddr>,
}

enum Weapon {
    Udp,
    Syn,
    Http,
    Capture(Vec<Captured>),
}

/// An attack under way.
pub(crate) enum Running {
    Frames(Flood),
    Requests(HttpFlood),
}

impl Attack {
    pub(crate) fn prepare(arguments: &Arguments, stage: &Stage) -> Result<Self> {
        let of_the_lab = || stage::attackers().into_iter().map(IpAddr::from).collect();
        let (weapon, attackers) = match &arguments.attack {
            AttackKind::Udp => (Weapon::Udp, of_the_lab()),
            AttackKind::Syn => (Weapon::Syn, of_the_lab()),
            AttackKind::Http => (Weapon::Http, of_the_lab()),
            AttackKind::Replay(file) => {
                let captured = frames_of(file)?;
                let attackers = redirected(&captured, stage.to_victim())?.frames.sources();
                (Weapon::Capture(captured), attackers)
            }
        };
        Ok(Self { weapon, rate: arguments.rate, attackers })
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
        let flood = |frames, pace| {
            Flood::start(interface, frames, pace, duration, stage.cores.senders, origin).map(Running::Frames)
        };
        let sources = stage::attackers();
        match &self.weapon {
            Weapon::Udp => flood(Frames::udp(addressing, &sources, DISCARD_PORT)?, self.pace()),
            Weapon::Syn => flood(Frames::syn(addressing, &sources, HTTP_PORT, SEED)?, self.pace()),
            Weapon::Http => self.start_http(interface, addressing, duration, stage.cores.senders, origin),
            Weapon::Capture(captured) => {
                let Redirection { frames, pace, .. } = redirected(captured, addressing)?;
                flood(frames, if self.rate.is_some() { self.pace() } else { pace })
            }
        }
    }

    fn start_http(
        &self,
        interface: &Interface,
        addressing: Addressing,
        duration: Duration,
        core: Core,
        origin: Instant,
    ) -> Result<Running> {
        let target = stage::pages_of(addressing.to);
        let pace = self.pace();
        HttpFlood::start(interface, &self.attackers, &target, &pace, duration, core, origin)
            .map(Running::Requests)
    }

    fn pace(&self) -> Pace {
        match (self.rate, &self.weapon) {
            (Some(Rate::PerSecond(rate)), _) => Pace::PerSecond(rate),
            (Some(Rate::Max), _) | (None, Weapon::Http) => Pace::Max,
            (None, _) => Pace::PerSecond(DEFAULT_RATE),
        }
    }
}

impl Running {
    pub(crate) fn finish(self) -> Result<FloodRecord> {
        match self {
            Self::Frames(flood) => flood.finish(),
            Self::Requests(flood) => flood.finish(),
        }
    }
}

fn redirected(captured: &[Captured], addressing: Addressing) -> Result<Redirection> {
    let destination = Stage::destination(addressing);
    Redirection::towards(destination, captured.iter().cloned())
        .context("there is no IP packet in the capture")
}
