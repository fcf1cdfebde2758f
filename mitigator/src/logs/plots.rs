//! Plots as SVG: requests of the loudest clients, the elbow with the silhouettes, and everybody as points.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use plotters::prelude::*;

use super::busy::as_f64;
use super::client::Who;
use super::clients::Clients;
use super::judge::Judgement;
use crate::report::file::write_file;

const SIZE: (u32, u32) = (900, 480);
/// Bars of the plot of requests.
const MOST_BARS: usize = 30;
/// Room for the names of the clients.
const NAMES: u32 = 180;
const BENIGN: RGBColor = RGBColor(33, 102, 172);
const BLAMED: RGBColor = RGBColor(178, 24, 43);
const COLOURS: [RGBColor; 8] = [
    RGBColor(33, 102, 172),
    RGBColor(230, 145, 0),
    RGBColor(27, 120, 55),
    RGBColor(118, 42, 131),
    RGBColor(0, 140, 140),
    RGBColor(140, 86, 75),
    RGBColor(90, 90, 90),
    RGBColor(190, 120, 180),
];

type Error = Box<dyn std::error::Error>;

/// Draws all plots into files of `directory`, which is made; returns the files.
///
/// # Errors
///
/// When something cannot be drawn or written.
pub fn draw(directory: &Path, clients: &Clients, judgement: &Judgement) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make the directory {}", directory.display()))?;
    let mut files = Vec::new();
    type Draw = fn(&Clients, &Judgement, &mut String) -> Result<(), Error>;
    let plots: [(&str, Draw); 3] = [("requests", requests), ("elbow", elbow), ("groups", groups)];
    for (name, draw) in plots {
        let file = directory.join(name).with_extension("svg");
        let mut svg = String::new();
        draw(clients, judgement, &mut svg).map_err(|error| anyhow!("cannot draw {name}: {error}"))?;
        write_file(&file, |out| Ok(out.write_all(svg.as_bytes())?))
            .with_context(|| format!("cannot write {}", file.display()))?;
        files.push(file);
    }
    Ok(files)
}

/// Who is blocked, by the place among all.
fn blamed(judgement: &Judgement, clients: &Clients) -> BTreeSet<usize> {
    let blocked: BTreeSet<&Who> = judgement.blocked().map(|verdict| &verdict.client).collect();
    let places = judgement.loudest.iter().copied();
    places
        .filter(|place| clients.all().get(*place).is_some_and(|client| blocked.contains(&client.who)))
        .collect()
}

/// A bar for each of the loudest clients, those who are blamed in red.
fn requests(clients: &Clients, judgement: &Judgement, svg: &mut String) -> Result<(), Error> {
    let places: Vec<usize> = judgement.loudest.iter().copied().take(MOST_BARS).collect();
    let client = |place: &usize| clients.all().get(*place);
    let most = places.iter().filter_map(client).map(|client| client.requests).max().unwrap_or(1).max(1);
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let names: Vec<String> = places.iter().filter_map(client).map(|client| client.who.to_string()).collect();
    let rows = i32::try_from(places.len().max(1))?;
    let mut chart = ChartBuilder::on(&area)
        .caption("Requests per client, the loudest first", ("sans-serif", 18))
        .margin(16)
        .x_label_area_size(36)
        .y_label_area_size(NAMES)
        .build_cartesian_2d(0.0..as_f64(most) * 1.05, (0..rows).into_segmented())?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .label_style(("sans-serif", 12))
        .x_desc("requests")
        .y_labels(places.len())
        .y_label_formatter(&|row| match row {
            SegmentValue::CenterOf(row) | SegmentValue::Exact(row) => {
                let place = usize::try_from(rows - 1 - row).unwrap_or(usize::MAX);
                names.get(place).cloned().unwrap_or_default()
            }
            SegmentValue::Last => String::new(),
        })
        .draw()?;
    let blamed = blamed(judgement, clients);
    let bars = places.iter().zip(0_i32..).filter_map(|(place, number)| {
        let colour = if blamed.contains(place) { BLAMED } else { BENIGN };
        let row = rows - 1 - number;
        let corners = [
            (0.0, SegmentValue::Exact(row)),
            (as_f64(client(place)?.requests), SegmentValue::Exact(row + 1)),
        ];
        let mut bar = Rectangle::new(corners, colour.filled());
        bar.set_margin(2, 2, 0, 0);
        Some(bar)
    });
    chart.draw_series(bars)?;
    area.present()?;
    Ok(())
}

/// What each number of groups leaves unexplained, and how well it divides; the chosen one is marked.
fn elbow(_: &Clients, judgement: &Judgement, svg: &mut String) -> Result<(), Error> {
    let trials = &judgement.everybody.trials;
    let most = trials.iter().map(|trial| trial.inertia).fold(1.0, f64::max);
    let points = |value: fn(f64, f64) -> f64| {
        trials.iter().map(move |trial| (as_f64(trial.groups as u64), value(trial.inertia, trial.silhouette)))
    };
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("Inertia and silhouette by the number of groups", ("sans-serif", 18))
        .margin(16)
        .x_label_area_size(36)
        .y_label_area_size(70)
        .right_y_label_area_size(50)
        .build_cartesian_2d(0.5..8.5, 0.0..most * 1.05)?
        .set_secondary_coord(0.5..8.5, 0.0..1.05);
    chart
        .configure_mesh()
        .label_style(("sans-serif", 12))
        .x_desc("groups")
        .y_desc("inertia (blue)")
        .x_labels(8)
        .x_label_formatter(&|groups| format!("{groups:.0}"))
        .draw()?;
    chart.configure_secondary_axes().label_style(("sans-serif", 12)).y_desc("silhouette (orange)").draw()?;
    let orange = RGBColor(230, 145, 0);
    chart.draw_series(LineSeries::new(points(|inertia, _| inertia), BENIGN.stroke_width(2)))?;
    chart.draw_series(points(|inertia, _| inertia).map(|at| Circle::new(at, 3, BENIGN.filled())))?;
    chart
        .draw_secondary_series(LineSeries::new(points(|_, silhouette| silhouette), orange.stroke_width(2)))?;
    chart.draw_secondary_series(
        points(|_, silhouette| silhouette).map(|at| Circle::new(at, 3, orange.filled())),
    )?;
    let chosen = trials.iter().filter(|trial| trial.groups == judgement.everybody.chosen);
    chart.draw_series(
        chosen.map(|trial| {
            Circle::new((as_f64(trial.groups as u64), trial.inertia), 8, BLAMED.stroke_width(2))
        }),
    )?;
    area.present()?;
    Ok(())
}

/// Everybody by requests and peak, coloured by group; who is blamed has a red ring.
fn groups(clients: &Clients, judgement: &Judgement, svg: &mut String) -> Result<(), Error> {
    let blamed = blamed(judgement, clients);
    let points: Vec<((f64, f64), usize, bool)> = judgement
        .loudest
        .iter()
        .zip(&judgement.everybody.members)
        .filter_map(|(place, member)| {
            let features = judgement.features(*place)?;
            let at = (features.requests.max(1.0), features.peak_per_second.max(0.1));
            Some((at, member.group, blamed.contains(place)))
        })
        .collect();
    let most = |of: fn(&(f64, f64)) -> f64| points.iter().map(|(at, ..)| of(at)).fold(10.0, f64::max) * 2.0;
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("Clients by what they ask, coloured by group; blamed ones ringed in red", ("sans-serif", 18))
        .margin(16)
        .x_label_area_size(36)
        .y_label_area_size(70)
        .build_cartesian_2d((0.8..most(|at| at.0)).log_scale(), (0.08..most(|at| at.1)).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .label_style(("sans-serif", 12))
        .x_desc("requests")
        .y_desc("requests/s in the busiest 10 s")
        .draw()?;
    let colour = |group: usize| COLOURS.get(group % COLOURS.len()).copied().unwrap_or(BENIGN);
    chart.draw_series(
        points.iter().map(|(at, group, _)| Circle::new(*at, 3, colour(*group).mix(0.7).filled())),
    )?;
    let blamed = points.iter().filter(|(.., is_blamed)| *is_blamed);
    chart.draw_series(blamed.map(|(at, ..)| Circle::new(*at, 7, BLAMED.stroke_width(2))))?;
    area.present()?;
    Ok(())
}
