//! The time line of a run as SVG: attack packets above, benign ones below, what was dropped of each, and the moment of
//! the verdict.

use std::ops::Range;

use anyhow::{Result, anyhow};
use mitigator::pipeline::time::Timestamp;
use mitigator_tests::chart::{Error, Line, Panel, draw_line, highest, legend, panel};
use plotters::prelude::*;

use crate::scene::Role;
use crate::trace::Trace;

const SIZE: (u32, u32) = (1100, 620);
/// Points of a line, at most.
const STEPS: f64 = 300.0;
/// Steps are no shorter, in seconds.
const SHORTEST_STEP_S: f64 = 0.1;
/// Shown before and after the attack, in seconds.
const AROUND_S: f64 = 10.0;
/// Where the mark of the verdict ends, above the lines.
const MARK_SHARE: f64 = 0.92;

const ATTACK: RGBColor = RGBColor(178, 24, 43);
const BENIGN: RGBColor = RGBColor(27, 120, 55);
const DROPPED: RGBColor = RGBColor(33, 102, 172);

pub(crate) fn draw(title: &str, trace: &Trace) -> Result<String> {
    let mut svg = String::new();
    render(title, trace, &mut svg).map_err(|error| anyhow!("cannot draw a time line: {error}"))?;
    Ok(svg)
}

fn render(title: &str, trace: &Trace, svg: &mut String) -> Result<(), Error> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let area = area.titled(title, ("sans-serif", 18))?;
    let (above, below) = area.split_vertically(SIZE.1 / 2 - 20);
    let shown = shown_s(trace);
    for (area, role, caption, colour) in [
        (above, Role::Attacker, "Attack packets per second", ATTACK),
        (below, Role::Innocent, "Benign packets per second", BENIGN),
    ] {
        let arriving = rates(trace, &shown, role, Which::All);
        let dropped = rates(trace, &shown, role, Which::Dropped);
        let top = highest(&[&arriving]);
        let mut panel = panel(&area, caption, shown.clone(), top)?;
        draw_line(&mut panel, "arriving", arriving, colour)?;
        draw_line(&mut panel, "dropped", dropped, DROPPED)?;
        mark_verdict(&mut panel, trace, top)?;
        legend(&mut panel, SeriesLabelPosition::UpperLeft)?;
    }
    area.present()?;
    Ok(())
}

fn mark_verdict(panel: &mut Panel<'_>, trace: &Trace, top: f64) -> Result<(), Error> {
    let (Some(right_at), Some(began_at)) = (trace.right_at, trace.began_at) else {
        return Ok(());
    };
    let at = seconds(right_at);
    panel.draw_series([PathElement::new([(at, 0.0), (at, top * MARK_SHARE)], BLACK.stroke_width(2))])?;
    let label = format!("verdict after {:.2} s", right_at.since(began_at).as_secs_f64());
    panel.draw_series([Text::new(label, (at, top * (MARK_SHARE + 0.06)), ("sans-serif", 12))])?;
    Ok(())
}

#[derive(Clone, Copy)]
enum Which {
    All,
    Dropped,
}

/// The attack and some time around it.
fn shown_s(trace: &Trace) -> Range<f64> {
    let end = trace.duration.as_secs_f64() + SHORTEST_STEP_S;
    let attack = trace.arrivals.iter().filter(|(role, _)| *role == Role::Attacker);
    let last = attack.map(|(_, arrival)| seconds(arrival.at)).next_back().unwrap_or(end);
    let began = trace.began_at.map_or(0.0, seconds);
    (began - AROUND_S).max(0.0)..(last + AROUND_S).min(end)
}

/// Packets per second in steps of equal length.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a few hundred steps"
)]
fn rates(trace: &Trace, shown: &Range<f64>, role: Role, which: Which) -> Line {
    let length = shown.end - shown.start;
    let step = (length / STEPS).max(SHORTEST_STEP_S);
    let mut counts = vec![0_u32; (length / step).ceil() as usize];
    let is_counted = |dropped: bool| dropped || matches!(which, Which::All);
    for (_, arrival) in trace.arrivals.iter().filter(|(sender, _)| *sender == role) {
        let at = seconds(arrival.at);
        if shown.contains(&at)
            && is_counted(arrival.outcome.is_drop())
            && let Some(count) = counts.get_mut(((at - shown.start) / step) as usize)
        {
            *count += 1;
        }
    }
    let middle = |index: usize| shown.start + (index as f64 + 0.5) * step;
    counts.iter().enumerate().map(|(index, count)| (middle(index), f64::from(*count) / step)).collect()
}

#[expect(clippy::cast_precision_loss, reason = "for a picture")]
fn seconds(at: Timestamp) -> f64 {
    at.ns as f64 / 1e9
}
