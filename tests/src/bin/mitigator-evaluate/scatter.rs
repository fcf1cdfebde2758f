//! The sources of a run, each in its loudest second, as SVG: rate against mean size, in the colour of the group that
//! K-Means puts them into, before the ground of the group whose centroid is nearest.
//!
//! The pipeline groups by these two and by the share that the attack's traffic has of a source's packets; here are the
//! two that are a plane.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Result, anyhow};
use mitigator::pipeline::clustering::{self, Clusters};
use mitigator::pipeline::settings::DetectionSettings;
use mitigator_tests::chart::Error;
use mitigator_tests::numbers::shortened;
use plotters::coord::combinators::LogCoord;
use plotters::prelude::*;
use rustc_hash::FxHashMap;

use crate::scene::Role;
use crate::trace::Trace;

const SIZE: (u32, u32) = (900, 620);
const SECOND_NS: u64 = 1_000_000_000;
/// Strips of the ground, and the steps of each.
const GRID: (u32, u32) = (180, 120);
/// Room around the points, in decades.
const MARGIN: f64 = 0.25;
/// Points that are closer than this, in decades, are one in the picture.
const RESOLUTION: f64 = 0.01;

const COLOURS: [RGBColor; 8] = [
    RGBColor(33, 102, 172),
    RGBColor(178, 24, 43),
    RGBColor(230, 145, 0),
    RGBColor(118, 42, 131),
    RGBColor(27, 120, 55),
    RGBColor(0, 140, 140),
    RGBColor(140, 81, 10),
    RGBColor(90, 90, 90),
];

type Plane<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<LogCoord<f64>, LogCoord<f64>>>;

/// The sources of a picture: decades of packets per second, decades of mean bytes.
struct Points {
    table: Vec<[f64; 2]>,
    roles: Vec<Role>,
}

/// A rectangle's sides, in decades.
struct Bounds {
    from: (f64, f64),
    to: (f64, f64),
}

pub(crate) fn draw(title: &str, trace: &Trace) -> Result<String> {
    let mut svg = String::new();
    let points = Points::of(trace);
    render(title, &points, &mut svg).map_err(|error| anyhow!("cannot draw a scatter: {error}"))?;
    Ok(svg)
}

impl Points {
    #[expect(clippy::cast_precision_loss, reason = "packets of a second")]
    fn of(trace: &Trace) -> Self {
        let mut seconds: FxHashMap<(IpAddr, u64), (Role, u64, u64)> = FxHashMap::default();
        for (role, arrival) in trace.arrivals.iter().filter(|(role, _)| *role != Role::Own) {
            let Some(source) = arrival.source else { continue };
            let key = (source, arrival.at.ns / SECOND_NS);
            let (_, packets, bytes) = seconds.entry(key).or_insert((*role, 0, 0));
            *packets += 1;
            *bytes += u64::from(arrival.wire_bytes);
        }
        let mut loudest: FxHashMap<IpAddr, (Role, u64, u64)> = FxHashMap::default();
        for ((source, _), second) in seconds {
            let so_far = loudest.entry(source).or_insert(second);
            if (second.1, second.2) > (so_far.1, so_far.2) {
                *so_far = second;
            }
        }
        let mut rows: Vec<(IpAddr, (Role, u64, u64))> = loudest.into_iter().collect();
        rows.sort_unstable_by_key(|(address, _)| *address);
        let decades = |value: f64| value.max(1.0).log10();
        let table = rows
            .iter()
            .map(|(_, (_, packets, bytes))| {
                [decades(*packets as f64), decades(*bytes as f64 / *packets as f64)]
            })
            .collect();
        Self { table, roles: rows.iter().map(|(_, (role, ..))| *role).collect() }
    }

    fn bounds(&self) -> Bounds {
        let side = |column: usize, least: (f64, f64)| {
            let values = self.table.iter().map(|point| point[column]);
            let (low, high) = values.fold(least, |(low, high), value| (low.min(value), high.max(value)));
            (low - MARGIN, high + MARGIN)
        };
        let ((left, right), (bottom, top)) = (side(0, (0.0, 2.0)), side(1, (1.75, 3.2)));
        Bounds { from: (left, bottom), to: (right, top) }
    }
}

fn render(title: &str, points: &Points, svg: &mut String) -> Result<(), Error> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let area = area.titled(title, ("sans-serif", 18))?;
    let bounds = points.bounds();
    let plain = |decades: f64| 10_f64.powf(decades);
    let mut plane =
        ChartBuilder::on(&area).margin(16).x_label_area_size(40).y_label_area_size(60).build_cartesian_2d(
            (plain(bounds.from.0)..plain(bounds.to.0)).log_scale(),
            (plain(bounds.from.1)..plain(bounds.to.1)).log_scale(),
        )?;
    let clusters = clustering::group(&points.table, &DetectionSettings::default());
    draw_ground(&mut plane, &clusters, &bounds)?;
    plane
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .x_desc("packets of a source in its loudest second")
        .y_desc("bytes per packet")
        .x_label_formatter(&|rate| shortened(*rate))
        .y_label_formatter(&|bytes| format!("{bytes:.0}"))
        .draw()?;
    draw_points(&mut plane, points, &clusters)?;
    plane
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .label_font(("sans-serif", 12))
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.2))
        .draw()?;
    area.present()?;
    Ok(())
}

/// The ground in the colour of the nearest centroid, in strips; where colours meet is the border.
fn draw_ground(plane: &mut Plane<'_>, clusters: &Clusters<2>, bounds: &Bounds) -> Result<(), Error> {
    let (columns, rows) = (f64::from(GRID.0), f64::from(GRID.1));
    let width = (bounds.to.0 - bounds.from.0) / columns;
    let height = (bounds.to.1 - bounds.from.1) / rows;
    for column in 0..GRID.0 {
        let left = bounds.from.0 + f64::from(column) * width;
        let nearest_at = |row: u32| {
            nearest(clusters, (left + width / 2.0, bounds.from.1 + (f64::from(row) + 0.5) * height))
        };
        let mut begins = 0;
        for row in 1..=GRID.1 {
            let cluster = nearest_at(begins);
            if row < GRID.1 && nearest_at(row) == cluster {
                continue;
            }
            let corner =
                |x: f64, row: u32| (10_f64.powf(x), 10_f64.powf(bounds.from.1 + f64::from(row) * height));
            let strip = Rectangle::new(
                [corner(left, begins), corner(left + width, row)],
                colour_of(cluster).mix(0.10).filled(),
            );
            plane.draw_series([strip])?;
            begins = row;
        }
    }
    Ok(())
}

fn nearest(clusters: &Clusters<2>, (x, y): (f64, f64)) -> usize {
    let squared = |cluster: &usize| {
        let centroid = clusters.centroids[*cluster];
        (centroid[0] - x).powi(2) + (centroid[1] - y).powi(2)
    };
    (0..clusters.centroids.len()).min_by(|a, b| squared(a).total_cmp(&squared(b))).unwrap_or(0)
}

/// Attackers as crosses, innocents as discs.
fn draw_points(plane: &mut Plane<'_>, points: &Points, clusters: &Clusters<2>) -> Result<(), Error> {
    for cluster in 0..clusters.sizes.len() {
        for (role, name) in [(Role::Attacker, "attackers"), (Role::Innocent, "innocents")] {
            let members: Vec<usize> = (0..points.roles.len())
                .filter(|row| points.roles[*row] == role && clusters.members[*row] == cluster)
                .collect();
            if members.is_empty() {
                continue;
            }
            let colour = colour_of(cluster);
            let places = places(&points.table, &members);
            let label = format!("group {}, {name}: {}", cluster + 1, members.len());
            if role == Role::Attacker {
                let cross = move |place| Cross::new(place, 4, colour.stroke_width(1));
                let legend = move |place| Cross::new(place, 4, colour.stroke_width(1)).into_dyn();
                plane.draw_series(places.into_iter().map(cross))?.label(label).legend(legend);
            } else {
                let disc = move |place| Circle::new(place, 4, colour.mix(0.8).filled());
                let legend = move |place| Circle::new(place, 4, colour.mix(0.8).filled()).into_dyn();
                plane.draw_series(places.into_iter().map(disc))?.label(label).legend(legend);
            }
        }
    }
    Ok(())
}

/// Where points are drawn, each place once, in plain units.
#[expect(clippy::cast_possible_truncation, reason = "decades by the hundred")]
fn places(table: &[[f64; 2]], members: &[usize]) -> Vec<(f64, f64)> {
    let rounded = |value: f64| (value / RESOLUTION).round() as i64;
    let places: BTreeSet<(i64, i64)> =
        members.iter().map(|row| (rounded(table[*row][0]), rounded(table[*row][1]))).collect();
    #[expect(clippy::cast_precision_loss, reason = "decades by the hundred")]
    let plain = |value: i64| 10_f64.powf(value as f64 * RESOLUTION);
    places.into_iter().map(|(x, y)| (plain(x), plain(y))).collect()
}

fn colour_of(cluster: usize) -> RGBColor {
    COLOURS[cluster % COLOURS.len()]
}
