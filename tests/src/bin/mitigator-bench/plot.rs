//! Plots of the page: what something costs over the number of blocked sources.

use anyhow::{Result, anyhow};
use mitigator_tests::chart::Error;
use mitigator_tests::numbers::thousands;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use crate::quartiles::Quartiles;

/// A drawing for the page.
pub(crate) struct Plot {
    /// Of its file, without extension.
    pub(crate) name: &'static str,
    pub(crate) about: String,
    pub(crate) svg: String,
}

/// One line of a plot: blocked sources, and what was measured with them.
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, Quartiles)>,
}

/// What stands at the left.
pub(crate) struct Axis {
    pub(crate) what: &'static str,
    pub(crate) is_logarithmic: bool,
}

const SIZE: (u32, u32) = (900, 480);
/// Width of the names, and the distance of their lines.
const NAMES: u32 = 200;
const LINE: i32 = 24;
/// Room beside the first and the last number of sources, as a factor.
const BESIDE: f64 = 1.6;
/// Room above and below, as a factor.
const ABOVE: f64 = 1.3;
/// Half the width of the bars that mark quartiles, as a factor.
const BAR: f64 = 1.04;

const COLOURS: [RGBColor; 7] = [
    RGBColor(33, 102, 172),
    RGBColor(178, 24, 43),
    RGBColor(230, 145, 0),
    RGBColor(118, 42, 131),
    RGBColor(27, 120, 55),
    RGBColor(0, 140, 140),
    RGBColor(90, 90, 90),
];

/// Medians as lines over a logarithmic number of blocked sources, quartiles as bars.
pub(crate) fn over_blocked_sources(
    name: &'static str,
    title: &str,
    axis: &Axis,
    series: &[Series],
) -> Result<Plot> {
    let mut svg = String::new();
    render(title, axis, series, &mut svg).map_err(|error| anyhow!("cannot draw {name}: {error}"))?;
    Ok(Plot { name, about: title.to_owned(), svg })
}

fn render(title: &str, axis: &Axis, series: &[Series], svg: &mut String) -> Result<(), Error> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let area = area.titled(title, ("sans-serif", 18))?;
    let (area, names) = area.split_horizontally(SIZE.0 - NAMES);
    legend(&names, series)?;
    let values = || {
        series
            .iter()
            .flat_map(|series| &series.points)
            .flat_map(|(_, quartiles)| [quartiles.lower, quartiles.upper])
    };
    let highest = values().fold(1.0, f64::max) * ABOVE;
    if axis.is_logarithmic {
        let lowest = values().filter(|value| *value > 0.0).fold(highest, f64::min) / ABOVE;
        draw(&area, axis, series, (lowest..highest).log_scale())?;
    } else {
        draw(&area, axis, series, 0.0..highest)?;
    }
    area.present()?;
    Ok(())
}

fn draw<'a, Y>(
    area: &DrawingArea<SVGBackend<'a>, Shift>,
    axis: &Axis,
    series: &[Series],
    height: Y,
) -> Result<(), Error>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let sources = || series.iter().flat_map(|series| &series.points).map(|(sources, _)| *sources);
    let (fewest, most) = (sources().fold(f64::INFINITY, f64::min), sources().fold(1.0, f64::max));
    let width = (fewest.min(most) / BESIDE..most * BESIDE).log_scale();
    let mut chart = ChartBuilder::on(area)
        .margin(16)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(width, height)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .axis_style(BLACK.mix(0.4))
        .label_style(("sans-serif", 12))
        .x_desc("blocked sources")
        .y_desc(axis.what)
        .x_label_formatter(&|sources| thousands(*sources))
        .y_label_formatter(&|value| if *value < 10.0 { format!("{value:.1}") } else { format!("{value:.0}") })
        .draw()?;
    for (series, colour) in series.iter().zip(COLOURS.iter().cycle()) {
        let medians = || series.points.iter().map(|(sources, quartiles)| (*sources, quartiles.median));
        chart.draw_series(LineSeries::new(medians(), colour.stroke_width(2)))?;
        chart.draw_series(medians().map(|median| Circle::new(median, 3, colour.filled())))?;
        chart.draw_series(series.points.iter().flat_map(|(sources, Quartiles { lower, upper, .. })| {
            let line = |from, to| PathElement::new([from, to], colour.stroke_width(1));
            let (left, right) = (sources / BAR, sources * BAR);
            [
                line((*sources, *lower), (*sources, *upper)),
                line((left, *lower), (right, *lower)),
                line((left, *upper), (right, *upper)),
            ]
        }))?;
    }
    Ok(())
}

/// The names of the lines, beside them, so that they hide none.
fn legend(area: &DrawingArea<SVGBackend<'_>, Shift>, series: &[Series]) -> Result<(), Error> {
    for ((series, colour), y) in
        series.iter().zip(COLOURS.iter().cycle()).zip((LINE..).step_by(LINE as usize))
    {
        area.draw(&PathElement::new([(0, y), (18, y)], colour.stroke_width(3)))?;
        area.draw(&Text::new(series.name.clone(), (26, y - 6), ("sans-serif", 12)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_every_series_by_its_name() {
        let points = |ns: f64| {
            [1.0, 1e6].map(|sources| (sources, Quartiles::of(vec![ns, ns + 1.0, ns + 2.0]))).to_vec()
        };
        let series = ["ours", "peer"].map(|name| Series { name: name.to_owned(), points: points(10.0) });
        for is_logarithmic in [false, true] {
            let axis = Axis { what: "ns", is_logarithmic };
            let plot = over_blocked_sources("plot", "A title", &axis, &series).unwrap();
            for expected in ["A title", "ours", "peer", "1 000 000"] {
                assert!(plot.svg.contains(expected), "{expected}: {}", plot.svg);
            }
        }
    }
}
