//! What the project's charts have in common: panels with a time axis, lines with a filled area, a legend.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use crate::numbers::shortened;

const MARGIN: u32 = 16;
const LABELS: u32 = 76;
/// Lines stay below this share of a panel's height; above it are names.
const LINES_SHARE: f64 = 0.78;

/// A chart with plain axes.
pub type Panel<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// A line, as points of seconds and rates.
pub type Line = Vec<(f64, f64)>;

/// What drawing fails with.
pub type Error = Box<dyn std::error::Error>;

/// A panel over some seconds and `0.0..top`.
///
/// # Errors
///
/// When the area is too small.
pub fn panel<'a>(
    area: &DrawingArea<SVGBackend<'a>, Shift>,
    caption: &str,
    seconds: Range<f64>,
    top: f64,
) -> Result<Panel<'a>, Error> {
    let mut panel = ChartBuilder::on(area)
        .margin(MARGIN)
        .caption(caption, ("sans-serif", 15))
        .x_label_area_size(34)
        .y_label_area_size(LABELS)
        .build_cartesian_2d(seconds, 0.0..top)?;
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

/// Draws a line and the area below it.
///
/// # Errors
///
/// When it cannot be drawn.
pub fn draw_line(panel: &mut Panel<'_>, name: &str, line: Line, colour: RGBColor) -> Result<(), Error> {
    panel
        .draw_series(AreaSeries::new(line, 0.0, colour.mix(0.12)).border_style(colour.stroke_width(2)))?
        .label(name)
        .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3)));
    Ok(())
}

/// Draws the names of the lines.
///
/// # Errors
///
/// When they cannot be drawn.
pub fn legend(panel: &mut Panel<'_>, position: SeriesLabelPosition) -> Result<(), Error> {
    panel
        .configure_series_labels()
        .position(position)
        .label_font(("sans-serif", 12))
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.2))
        .draw()?;
    Ok(())
}

/// The top of a panel that has room for all lines and for names above them.
#[must_use]
pub fn highest(lines: &[&Line]) -> f64 {
    lines.iter().flat_map(|line| line.iter()).map(|(_, rate)| *rate).fold(1.0, f64::max) / LINES_SHARE
}
