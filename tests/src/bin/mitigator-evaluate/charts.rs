//! Which mixes tell most, and their charts.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::evaluation::Subject;
use crate::figures::Figures;
use crate::kinds::Answer;
use crate::markdown::Chart;
use crate::share::share;
use crate::trace::Trace;
use crate::{scatter, timeline};

/// A mix that is drawn.
struct Case {
    /// Of its files.
    name: &'static str,
    what: &'static str,
    /// Index of the mix.
    mix: usize,
}

/// Draws the telling mixes into the directory that has the name of `output` without its extension; `pairs` are the
/// indices of the two halves of each mix.
///
/// # Errors
///
/// When a mix cannot be replayed or a file not be written.
pub(crate) fn draw(
    subjects: &[Subject],
    pairs: &[(usize, usize)],
    mixes: &[Figures],
    output: &Path,
) -> Result<Vec<Chart>> {
    let directory = output.with_extension("");
    let cannot_write = || format!("cannot write charts into `{}`", directory.display());
    fs::create_dir_all(&directory).with_context(cannot_write)?;
    let directory_name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut charts = Vec::new();
    for Case { name, what, mix } in telling(mixes) {
        let (attack, benign) = pairs[mix];
        let (capture, scene) = subjects[attack].over(&subjects[benign])?;
        let trace = Trace::of(capture, &scene)?;
        let title = format!("{what}: {} over {}", subjects[attack].label.name, subjects[benign].label.name);
        for (kind, about, svg) in [
            ("timeline", "packets over time", timeline::draw(&title, &trace)?),
            ("sources", "each source in its loudest second", scatter::draw(&title, &trace)?),
        ] {
            let file = format!("{name}-{kind}.svg");
            fs::write(directory.join(&file), svg).with_context(cannot_write)?;
            charts.push(Chart {
                path: format!("{directory_name}/{file}"),
                caption: format!("{title}; {about}"),
            });
        }
    }
    Ok(charts)
}

/// The loudest attack and the one with the most sources, over most innocents, and the mix that went worst; each with
/// another attack.
fn telling(mixes: &[Figures]) -> Vec<Case> {
    let floods = || (0..mixes.len()).filter(|mix| mixes[*mix].answer == Answer::Stop);
    let mut cases: Vec<Case> = Vec::new();
    let mut choose = |name, what, mix: Option<usize>| {
        cases.extend(mix.map(|mix| Case { name, what, mix }));
    };
    let packets_each = |run: &Figures| run.attack.arrived / run.attackers.max(1);
    let loud = floods().max_by_key(|mix| (packets_each(&mixes[*mix]), mixes[*mix].innocents));
    choose("loud", "The loudest sources", loud);
    let is_other = |mix: &usize, drawn: Option<usize>| {
        drawn.is_none_or(|drawn| mixes[drawn].capture != mixes[*mix].capture)
    };
    let many = floods()
        .filter(|mix| is_other(mix, loud))
        .max_by_key(|mix| (mixes[*mix].attackers, mixes[*mix].innocents));
    choose("many", "The most sources", many);
    let went = |run: &Figures| {
        let after = run.attack_after_verdict;
        let stopped = run.verdict_after_s.map_or(0.0, |_| share(after.dropped, after.arrived).unwrap_or(1.0));
        stopped - share(run.benign.dropped, run.benign.arrived).unwrap_or(0.0)
    };
    let worst = floods()
        .filter(|mix| is_other(mix, loud) && is_other(mix, many))
        .min_by(|a, b| went(&mixes[*a]).total_cmp(&went(&mixes[*b])));
    choose("worst", "The least stopped", worst);
    cases
}
