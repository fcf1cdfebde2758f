//! The time line as SVG: what visitors got above, what arrived and what was dropped below, with the phases marked.

use std::time::Instant;

use anyhow::{Result, anyhow};
use mitigator_tests::traffic::BIN;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::figures::{Figures, attack_began};
use crate::recording::Recording;
use crate::table::thousands;

const SIZE: (u32, u32) = (1100, 680);
const MARGIN: u32 = 16;
const LABELS: u32 = 76;
/// Steps that one point of a line averages over: odd, so that there is a middle one.
const SMOOTHED: usize = 3;
/// Lines stay below this share of a panel's height; above it are names.
const LINES_SHARE: f64 = 0.78;
/// Where the mark of the first block ends, below the names of the phases.
const MARK_SHARE: f64 = 0.92;

const ANSWERED: RGBColor = RGBColor(27, 120, 55);
const FAILED: RGBColor = RGBColor(178, 24, 43);
const ARRIVING: RGBColor = RGBColor(178, 24, 43);
const DROPPED: RGBColor = RGBColor(33, 102, 172);
const GREY: RGBColor = RGBColor(90, 90, 90);

const CALM: RGBColor = RGBColor(238, 242, 246);
const ATTACKED: RGBColor = RGBColor(253, 228, 214);
const PROTECTED: RGBColor = RGBColor(222, 236, 247);

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
    let area = area.titled(&title(figures), ("sans-serif", 20))?;
    let area = area.titled(&subtitle(figures), ("sans-serif", 14).into_font().color(&GREY))?;
    let (above, below) = area.split_vertically(SIZE.1 / 2 - 30);
    let end = seconds(recording, recording.protected.to) + 0.5;

    let answered = per_second(&answered(recording));
    let failed = per_second(&failed(recording));
    let top = highest(&[&answered, &failed]);
    let mut panel = panel(&above, "Visitors: requests per second", end, top)?;
    mark_phases(&mut panel, recording, figures, top)?;
    draw_line(&mut panel, "answered", answered, ANSWERED)?;
    if recording.requests.failed() > 0 {
        draw_line(&mut panel, "failed", failed, FAILED)?;
    }
    legend(&mut panel, SeriesLabelPosition::LowerLeft)?;

    let arriving = per_second(recording.received.counts());
    let dropped = per_second(recording.dropped.counts());
    let top = highest(&[&arriving, &dropped]);
    let mut panel = self::panel(&below, "Packets per second at the server", end, top)?;
    mark_phases(&mut panel, recording, figures, top)?;
    draw_line(&mut panel, "arriving", arriving, ARRIVING)?;
    draw_line(&mut panel, "dropped by mitigator", dropped, DROPPED)?;
    legend(&mut panel, SeriesLabelPosition::MiddleLeft)?;
    area.present()?;
    Ok(())
}

fn title(figures: &Figures) -> String {
    format!(
        "{} attack from {} addresses, {} packets/s, on a web server with {} visitors",
        figures.attack.to_uppercase(),
        figures.attackers,
        thousands(figures.attack_packets_per_s),
        figures.clients
    )
}

fn subtitle(figures: &Figures) -> String {
    let blocked = format!("{} of {} attackers", figures.attackers_blocked, figures.attackers);
    let visitors = format!("{} visitors blocked", figures.clients_blocked);
    let when = figures.time_to_all_blocked_ms.map_or(String::new(), |ms| format!(" after {ms:.0} ms"));
    let dropped = figures
        .dropped_share_after_block
        .map_or(String::new(), |share| format!(", then {:.2} % of attack packets dropped", share * 100.0));
    format!("{blocked} blocked{when}{dropped}; {visitors}")
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
        .x_label_area_size(34)
        .y_label_area_size(LABELS)
        .build_cartesian_2d(0.0..end, 0.0..top)?;
    panel
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .axis_style(BLACK.mix(0.4))
        .label_style(("sans-serif", 12))
        .x_desc("seconds")
        .x_labels(12)
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
    if let Some(first_ms) = figures.time_to_first_block_ms {
        let at = attacked + first_ms / 1000.0;
        let mark = PathElement::new([(at, 0.0), (at, top * MARK_SHARE)], BLACK.stroke_width(2));
        panel.draw_series([mark])?;
        let label = format!("first block after {first_ms:.0} ms");
        panel.draw_series([Text::new(label, (at + 0.1, top * (MARK_SHARE - 0.02)), ("sans-serif", 12))])?;
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
        .draw_series(AreaSeries::new(line, 0.0, colour.mix(0.12)).border_style(colour.stroke_width(2)))?
        .label(name)
        .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3)));
    Ok(())
}

fn legend(panel: &mut Panel<'_>, position: SeriesLabelPosition) -> Result<(), Box<dyn std::error::Error>> {
    panel
        .configure_series_labels()
        .position(position)
        .label_font(("sans-serif", 12))
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.2))
        .draw()?;
    Ok(())
}

fn seconds(recording: &Recording, at: Instant) -> f64 {
    at.saturating_duration_since(recording.origin).as_secs_f64()
}

/// Requests answered in each step.
fn answered(recording: &Recording) -> Vec<u64> {
    in_steps(recording, |from, to| recording.requests.ended_between(from, to).answered())
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

/// The top of a panel that has room for all lines and for names above them.
fn highest(lines: &[&Line]) -> f64 {
    lines.iter().flat_map(|line| line.iter()).map(|(_, rate)| *rate).fold(1.0, f64::max) / LINES_SHARE
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
