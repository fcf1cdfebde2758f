//! The time line as SVG: what visitors got above, what arrived and what was dropped below, with the phases marked.

use std::time::Instant;

use anyhow::{Result, anyhow};
use mitigator_tests::chart::{Error, Line, Panel, draw_line, highest, legend, panel};
use mitigator_tests::numbers::thousands;
use mitigator_tests::traffic::{BIN, Requests};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::connections::Level;
use crate::figures::{Figures, attack_began};
use crate::recording::Recording;

const SIZE: (u32, u32) = (1100, 680);
/// Steps that one point of a line averages over: odd, so that there is a middle one.
const SMOOTHED: usize = 3;
/// Where the mark of the answer ends, below the names of the phases.
const MARK_SHARE: f64 = 0.92;

const ANSWERED: RGBColor = RGBColor(27, 120, 55);
const NEW: RGBColor = RGBColor(118, 42, 131);
const FAILED: RGBColor = RGBColor(178, 24, 43);
const ARRIVING: RGBColor = RGBColor(178, 24, 43);
const DROPPED: RGBColor = RGBColor(33, 102, 172);
const GREY: RGBColor = RGBColor(90, 90, 90);

const CALM: RGBColor = RGBColor(238, 242, 246);
const ATTACKED: RGBColor = RGBColor(253, 228, 214);
const PROTECTED: RGBColor = RGBColor(222, 236, 247);

/// Draws one run.
pub(crate) fn draw(recording: &Recording, figures: &Figures) -> Result<String> {
    let mut svg = String::new();
    render(recording, figures, &mut svg).map_err(|error| anyhow!("cannot draw the time line: {error}"))?;
    Ok(svg)
}

fn render(recording: &Recording, figures: &Figures, svg: &mut String) -> Result<(), Error> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let area = area.titled(&title(figures), ("sans-serif", 20))?;
    let area = area.titled(&subtitle(figures), ("sans-serif", 14).into_font().color(&GREY))?;
    let (above, below) = area.split_vertically(SIZE.1 / 2 - 30);
    let end = seconds(recording, recording.protected.to) + 0.5;

    let answered = per_second(&answered(recording));
    let failed = per_second(&failed(recording));
    let new = per_second(&answered_to_newcomers(recording));
    let top = highest(&[&answered, &failed, &new]);
    let mut visitors = panel(&above, "Visitors: requests per second", 0.0..end, top)?;
    mark_phases(&mut visitors, recording, figures, top)?;
    draw_line(&mut visitors, "answered", answered, ANSWERED)?;
    if recording.requests.failed() > 0 {
        draw_line(&mut visitors, "failed", failed, FAILED)?;
    }
    if figures.newcomers.is_some() {
        draw_line(&mut visitors, "answered to new visitors", new, NEW)?;
    }
    legend(&mut visitors, SeriesLabelPosition::LowerLeft)?;
    if figures.server_connections.is_some() {
        draw_connections(&below, recording, figures, end)?;
    } else {
        draw_packets(&below, recording, figures, end)?;
    }
    area.present()?;
    Ok(())
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn draw_connections(
    area: &Area<'_>,
    recording: &Recording,
    figures: &Figures,
    end: f64,
) -> Result<(), Error> {
    let level = |level: &Level| (seconds(recording, level.at), f64::from(level.connections));
    let held: Line = recording.connections.iter().map(level).filter(|(at, _)| *at < end).collect();
    let top = highest(&[&held]);
    let mut server = panel(area, "Connections that the server holds", 0.0..end, top)?;
    mark_phases(&mut server, recording, figures, top)?;
    draw_line(&mut server, "held", held, ARRIVING)?;
    legend(&mut server, SeriesLabelPosition::MiddleLeft)
}

fn draw_packets(area: &Area<'_>, recording: &Recording, figures: &Figures, end: f64) -> Result<(), Error> {
    let arriving = per_second(recording.received.counts());
    let dropped = per_second(recording.dropped.counts());
    let top = highest(&[&arriving, &dropped]);
    let mut server = panel(area, "Packets per second at the server", 0.0..end, top)?;
    mark_phases(&mut server, recording, figures, top)?;
    draw_line(&mut server, "arriving", arriving, ARRIVING)?;
    draw_line(&mut server, "dropped by mitigator", dropped, DROPPED)?;
    legend(&mut server, SeriesLabelPosition::MiddleLeft)
}

fn title(figures: &Figures) -> String {
    let packets = thousands(figures.attack_packets_per_s);
    let senders = match (figures.attackers, figures.newcomers) {
        (0, Some(crowd)) if figures.attack == "flash-crowd" => {
            return format!(
                "{} new visitors at once on a web server with {}",
                crowd.addresses, figures.clients
            );
        }
        (0, _) => "forged".to_owned(),
        (attackers, _) => attackers.to_string(),
    };
    format!(
        "{} attack from {senders} addresses, {packets} packets/s, on a web server with {} visitors",
        figures.attack.to_uppercase(),
        figures.clients
    )
}

fn subtitle(figures: &Figures) -> String {
    let visitors = format!("{} visitors blocked", figures.clients_blocked);
    if figures.attack == "flash-crowd" {
        let crowd = figures.newcomers.map_or(0, |crowd| crowd.blocked);
        return format!(
            "{crowd} new visitors blocked, {} packets dropped; {visitors}",
            figures.dropped_packets
        );
    }
    let answer = if figures.limits.is_empty() {
        let when = figures.time_to_all_blocked_ms.map_or(String::new(), |ms| format!(" after {ms:.0} ms"));
        format!("{} of {} attackers blocked{when}", figures.attackers_blocked, figures.attackers)
    } else {
        let when = figures.time_to_limit_ms.map_or(String::new(), |ms| format!(" after {ms:.0} ms"));
        format!("limited{when}: {}", figures.limits.join(", "))
    };
    let dropped = figures
        .dropped_share_after_block
        .map_or(String::new(), |share| format!(", then {:.2} % of attack packets dropped", share * 100.0));
    format!("{answer}{dropped}; {visitors}")
}

/// Shades the phases and marks the moment of the answer.
fn mark_phases(
    panel: &mut Panel<'_>,
    recording: &Recording,
    figures: &Figures,
    top: f64,
) -> Result<(), Error> {
    let at = |instant| seconds(recording, instant);
    let attacked = at(attack_began(recording));
    let centred = |size| {
        let middle = Pos::new(HPos::Center, VPos::Top);
        ("sans-serif", size).into_text_style(panel.plotting_area()).pos(middle)
    };
    let style = centred(13);
    for (from, to, name, colour) in [
        (at(recording.quiet.from), at(recording.quiet.to), "quiet", CALM),
        (at(recording.unprotected.from), at(recording.unprotected.to), "attack without mitigator", ATTACKED),
        (at(recording.agent.started), attacked, "mitigator watches", CALM),
        (attacked, at(recording.protected.to), "attack with mitigator", PROTECTED),
    ] {
        panel.draw_series([Rectangle::new([(from, 0.0), (to, top)], colour.filled())])?;
        panel.draw_series([Text::new(name, (from.midpoint(to), top * 0.98), style.clone())])?;
    }
    let (answered_ms, what) = match (figures.time_to_limit_ms, figures.time_to_first_block_ms) {
        (Some(limit), block) if block.is_none_or(|block| limit <= block) => (Some(limit), "limit"),
        (_, block) => (block, "first block"),
    };
    if let Some(first_ms) = answered_ms {
        let at = attacked + first_ms / 1000.0;
        let mark = PathElement::new([(at, 0.0), (at, top * MARK_SHARE)], BLACK.stroke_width(2));
        panel.draw_series([mark])?;
        let label = format!("{what} after {first_ms:.0} ms");
        panel.draw_series([Text::new(label, (at + 0.1, top * (MARK_SHARE - 0.02)), ("sans-serif", 12))])?;
    }
    Ok(())
}

fn seconds(recording: &Recording, at: Instant) -> f64 {
    at.saturating_duration_since(recording.origin).as_secs_f64()
}

/// Requests answered in each step.
fn answered(recording: &Recording) -> Vec<u64> {
    in_steps(recording, |from, to| recording.requests.ended_between(from, to).answered())
}

/// Requests answered to those who came during the attacks.
fn answered_to_newcomers(recording: &Recording) -> Vec<u64> {
    let phases = [&recording.quiet, &recording.unprotected, &recording.protected];
    let requests: Requests = phases
        .into_iter()
        .filter_map(|phase| phase.newcomers.as_ref())
        .flat_map(Requests::iter)
        .copied()
        .collect();
    in_steps(recording, |from, to| requests.ended_between(from, to).answered())
}

/// Requests given up in each step.
fn failed(recording: &Recording) -> Vec<u64> {
    in_steps(recording, |from, to| recording.requests.ended_between(from, to).failed())
}

fn in_steps(recording: &Recording, count: impl Fn(Instant, Instant) -> usize) -> Vec<u64> {
    let steps = recording.protected.to.duration_since(recording.origin).as_millis() / BIN.as_millis();
    let start = |number: u128| recording.origin + BIN * u32::try_from(number).unwrap_or(u32::MAX);
    (0..steps).map(|number| count(start(number), start(number + 1)) as u64).collect()
}

/// A sliding mean over [`SMOOTHED`] steps, as a rate, each point at the middle of its steps.
#[expect(clippy::cast_precision_loss, reason = "for a picture")]
fn per_second(counts: &[u64]) -> Line {
    let width = BIN.as_secs_f64();
    let point = |(index, window): (usize, &[u64])| {
        let rate = window.iter().sum::<u64>() as f64 / (window.len() as f64 * width);
        ((index as f64 + SMOOTHED as f64 / 2.0) * width, rate)
    };
    counts.windows(SMOOTHED).enumerate().map(point).collect()
}
