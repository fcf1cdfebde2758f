//! The time line as SVG: what visitors got above, what arrived and what was dropped below, with the phases marked.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use mitigator_tests::traffic::{BIN, Series};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use crate::figures::{Figures, attack_began};
use crate::recording::{Phase, Recording};

const SIZE: (u32, u32) = (1100, 640);
const MARGIN: u32 = 16;
const LABELS: u32 = 70;
/// Steps that one point of a line averages over.
const SMOOTHED: usize = 3;

const REQUESTS: RGBColor = RGBColor(27, 120, 55);
const ARRIVING: RGBColor = RGBColor(178, 24, 43);
const DROPPED: RGBColor = RGBColor(33, 102, 172);
const ATTACKED: RGBColor = RGBColor(253, 219, 199);
const CALM: RGBColor = RGBColor(229, 236, 242);

type Panel<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// A line, as points of seconds and rates.
type Line = Vec<(f64, f64)>;

/// Draws one run.
pub(crate) fn draw(recording: &Recording, figures: &Figures) -> Result<String> {
    let mut svg = String::new();
    render(recording, figures, &mut svg).map_err(|error| anyhow!("cannot draw the time line: {error}"))?;
    Ok(svg)
}

fn render(
    recording: &Recording,
    figures: &Figures,
    svg: &mut String,
) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let title = format!(
        "{} flood, {:.0} packets/s from {} addresses, {} legitimate visitors",
        recording.attack, figures.attack_packets_per_s, figures.attackers, figures.clients
    );
    let area = area.titled(&title, ("sans-serif", 20))?;
    let (above, below) = area.split_vertically(SIZE.1 / 2 - 20);
    let end = seconds(recording, recording.protected.to) + 0.5;

    let answered = answered_per_second(recording);
    let mut panel = panel(&above, "legitimate requests answered per second", end, highest(&[&answered]))?;
    mark_phases(&mut panel, recording, figures, highest(&[&answered]))?;
    draw_line(&mut panel, "answered", answered, REQUESTS)?;
    legend(&mut panel)?;

    let arriving = per_second(&recording.received);
    let dropped = per_second(&recording.dropped);
    let top = highest(&[&arriving, &dropped]);
    let mut panel = self::panel(&below, "packets per second at the server", end, top)?;
    mark_phases(&mut panel, recording, figures, top)?;
    draw_line(&mut panel, "arriving", arriving, ARRIVING)?;
    draw_line(&mut panel, "dropped by mitigator", dropped, DROPPED)?;
    legend(&mut panel)?;
    area.present()?;
    Ok(())
}

fn panel<'a>(
    area: &DrawingArea<SVGBackend<'a>, plotters::coord::Shift>,
    caption: &str,
    end: f64,
    top: f64,
) -> Result<Panel<'a>, Box<dyn std::error::Error>> {
    let mut panel = ChartBuilder::on(area)
        .margin(MARGIN)
        .caption(caption, ("sans-serif", 15))
        .x_label_area_size(30)
        .y_label_area_size(LABELS)
        .build_cartesian_2d(0.0..end, 0.0..top)?;
    panel
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("seconds")
        .x_label_formatter(&|second| format!("{second:.0}"))
        .y_label_formatter(&|rate| shortened(*rate))
        .draw()?;
    Ok(panel)
}

/// Shades the phases and marks the moment of the first block.
fn mark_phases(
    panel: &mut Panel<'_>,
    recording: &Recording,
    figures: &Figures,
    top: f64,
) -> Result<(), Box<dyn std::error::Error>> {
    let attack = Phase {
        from: attack_began(recording),
        to: recording.protected.to,
        flood: recording.protected.flood.clone(),
    };
    for (phase, name, colour) in [
        (&recording.quiet, "quiet", CALM),
        (&recording.unprotected, "attack, unprotected", ATTACKED),
        (&attack, "attack, with mitigator", ATTACKED),
    ] {
        let (from, to) = (seconds(recording, phase.from), seconds(recording, phase.to));
        panel.draw_series([Rectangle::new([(from, 0.0), (to, top)], colour.mix(0.55).filled())])?;
        panel.draw_series([Text::new(name, (from + 0.1, top * 0.985), ("sans-serif", 13))])?;
    }
    let started = seconds(recording, recording.agent.started);
    panel.draw_series([PathElement::new([(started, 0.0), (started, top)], BLACK.mix(0.4))])?;
    panel.draw_series([Text::new("agent starts", (started - 1.9, top * 0.88), ("sans-serif", 12))])?;
    if let Some(first_ms) = figures.time_to_first_block_ms {
        let at = seconds(recording, attack.from) + first_ms / 1000.0;
        panel.draw_series([PathElement::new([(at, 0.0), (at, top)], BLACK.stroke_width(2))])?;
        let label = format!("first block after {first_ms:.0} ms");
        panel.draw_series([Text::new(label, (at + 0.1, top * 0.88), ("sans-serif", 13))])?;
    }
    Ok(())
}

fn draw_line(
    panel: &mut Panel<'_>,
    name: &str,
    line: Line,
    colour: RGBColor,
) -> Result<(), Box<dyn std::error::Error>> {
    panel
        .draw_series(LineSeries::new(line, colour.stroke_width(2)))?
        .label(name)
        .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    Ok(())
}

fn legend(panel: &mut Panel<'_>) -> Result<(), Box<dyn std::error::Error>> {
    panel
        .configure_series_labels()
        .position(SeriesLabelPosition::MiddleLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    Ok(())
}

fn seconds(recording: &Recording, at: Instant) -> f64 {
    at.saturating_duration_since(recording.origin).as_secs_f64()
}

fn answered_per_second(recording: &Recording) -> Line {
    let steps = recording.protected.to.duration_since(recording.origin).as_millis() / BIN.as_millis();
    let step = |number: u128| recording.origin + BIN * u32::try_from(number).unwrap_or(u32::MAX);
    let counts: Vec<u64> = (0..steps)
        .map(|number| recording.requests.ended_between(step(number), step(number + 1)).answered() as u64)
        .collect();
    smoothed(&counts)
}

fn per_second(series: &Series) -> Line {
    smoothed(series.counts())
}

/// A sliding mean over [`SMOOTHED`] steps, as a rate; the first point of a line is at its first step's end.
#[expect(clippy::cast_precision_loss, reason = "for a picture")]
fn smoothed(counts: &[u64]) -> Line {
    let width = Duration::as_secs_f64(&BIN);
    let point = |(index, window): (usize, &[u64])| {
        let rate = window.iter().sum::<u64>() as f64 / (window.len() as f64 * width);
        ((index + SMOOTHED) as f64 * width, rate)
    };
    counts.windows(SMOOTHED).enumerate().map(point).collect()
}

/// A little above the highest point of all lines.
fn highest(lines: &[&Line]) -> f64 {
    lines.iter().flat_map(|line| line.iter()).map(|(_, rate)| *rate).fold(1.0, f64::max) * 1.3
}

fn shortened(rate: f64) -> String {
    if rate >= 1e6 {
        format!("{:.1}M", rate / 1e6)
    } else if rate >= 1e3 {
        format!("{:.0}k", rate / 1e3)
    } else {
        format!("{rate:.0}")
    }
}
