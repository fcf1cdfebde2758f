//! Runs every capture, and every attack over every benign capture.

use std::net::IpAddr;

use anyhow::{Context, Result};
use indicatif::ProgressBar;
use mitigator::capture::{Capture, protected_host};
use mitigator::replay::Protected;
use rustc_hash::FxHashSet;

use crate::figures::Figures;
use crate::labels::Label;
use crate::mix::{Half, Mix};
use crate::recording::Recording;
use crate::scene::Scene;

/// A labelled capture, ready to be run and mixed.
pub(crate) struct Subject {
    pub(crate) label: Label,
    attackers: FxHashSet<IpAddr>,
    protected: Protected,
    /// The addresses of `protected`.
    own: Vec<IpAddr>,
    half: Half,
}

impl Subject {
    /// Reads a capture; who is protected is found as `mitigator replay` finds it, unless the label names victims.
    ///
    /// # Errors
    ///
    /// When the capture cannot be read.
    pub(crate) fn read(label: Label) -> Result<Self> {
        let recording = Recording::open(&label.file)?;
        let attackers = label.attackers(&recording);
        let half = if label.kind.is_benign() { Half::benign(recording) } else { Half::attack(recording) };
        let (protected, own) = if label.victims.is_empty() {
            let host = protected_host(Capture::open(&label.file)?);
            (host.map_or(Protected::Everybody, Protected::Inferred), host.into_iter().collect())
        } else {
            (Protected::Named(label.victims.clone()), label.victims.clone())
        };
        Ok(Self { label, attackers, protected, own, half })
    }

    /// The capture as it is.
    ///
    /// # Errors
    ///
    /// When it cannot be replayed.
    pub(crate) fn run(&self) -> Result<Figures> {
        let scene = Scene {
            kind: &self.label.kind,
            attackers: &self.attackers,
            protected: self.protected.clone(),
            own: self.own.clone(),
        };
        let name = &self.label.name;
        Figures::of(name, None, Capture::open(&self.label.file)?, &scene).with_context(|| format!("`{name}`"))
    }

    /// The capture, an attack, over a benign one.
    ///
    /// # Errors
    ///
    /// When they cannot be mixed or replayed.
    pub(crate) fn run_over(&self, benign: &Self) -> Result<Figures> {
        let (name, other) = (&self.label.name, &benign.label.name);
        let (capture, scene) = self.over(benign)?;
        Figures::of(name, Some(other), capture, &scene).with_context(|| format!("`{name}` over `{other}`"))
    }

    /// The mix of this attack with a benign capture, and its scene. Protected are the hosts of both; everybody, when
    /// one half is about nobody in particular.
    ///
    /// # Errors
    ///
    /// When they cannot be mixed.
    pub(crate) fn over(&self, benign: &Self) -> Result<(Capture, Scene<'_>)> {
        let mix = Mix::of(&self.half, &benign.half)?;
        let moved = benign.own.iter().map(|address| mix.moves.place_of(*address));
        let own: Vec<IpAddr> = self.own.iter().copied().chain(moved).collect();
        let is_about_somebody = !self.own.is_empty() && !benign.own.is_empty();
        let protected = if is_about_somebody { Protected::Named(own.clone()) } else { Protected::Everybody };
        let scene = Scene { kind: &self.label.kind, attackers: &self.attackers, protected, own };
        Ok((mix.recording.to_capture()?, scene))
    }
}

/// Every attack with every benign capture, as indices.
pub(crate) fn pairs(subjects: &[Subject]) -> Vec<(usize, usize)> {
    let of = |is_benign| {
        let is_wanted = move |index: &usize| subjects[*index].label.kind.is_benign() == is_benign;
        (0..subjects.len()).filter(is_wanted)
    };
    of(false).flat_map(|attack| of(true).map(move |benign| (attack, benign))).collect()
}

/// Runs all captures, then all mixes of `pairs`, a step of the bar each.
///
/// # Errors
///
/// When one cannot be run.
pub(crate) fn run(
    subjects: &[Subject],
    pairs: &[(usize, usize)],
    bar: &ProgressBar,
) -> Result<(Vec<Figures>, Vec<Figures>)> {
    let step = |figures: Result<Figures>| {
        bar.inc(1);
        figures
    };
    let captures = subjects.iter().map(|subject| step(subject.run())).collect::<Result<_>>()?;
    let mix = |(attack, benign): &(usize, usize)| step(subjects[*attack].run_over(&subjects[*benign]));
    Ok((captures, pairs.iter().map(mix).collect::<Result<_>>()?))
}
