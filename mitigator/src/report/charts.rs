//! Charts of learning, as SVG: how many records the classes have, and what was taken for what.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const MARGIN: i32 = 16;
const ROW: i32 = 24;
const NAMES: i32 = 90;
const BARS: i32 = 420;
const NUMBERS: i32 = 70;
const CELL: i32 = 78;
const FONT: (&str, i32) = ("sans-serif", 13);
/// Of the files, in their order.
const COLOURS: [RGBColor; 3] = [RGBColor(31, 119, 180), RGBColor(214, 107, 39), RGBColor(90, 90, 90)];
const CENTRE: Pos = Pos { h_pos: HPos::Center, v_pos: VPos::Center };
const LEFT: Pos = Pos { h_pos: HPos::Left, v_pos: VPos::Center };
const RIGHT: Pos = Pos { h_pos: HPos::Right, v_pos: VPos::Center };

type Drawing<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// Draws how many records each class has in each file, on a logarithmic scale.
///
/// # Errors
///
/// When the file cannot be written.
pub fn classes(path: &Path, names: &[&str], files: &[(&str, Vec<u64>)]) -> Result<()> {
    let rows = as_i32(names.len() * (files.len() + 1) + 1);
    let size = (2 * MARGIN + NAMES + BARS + NUMBERS, 2 * MARGIN + ROW * rows);
    draw(path, size, |area| {
        let largest = files.iter().flat_map(|(_, counts)| counts).copied().max().unwrap_or(1).max(2);
        let mut at = MARGIN + ROW / 2;
        for ((file, _), (colour, place)) in files.iter().zip(COLOURS.iter().zip(0..)) {
            let x = MARGIN + NAMES + place * 140;
            area.draw(&Rectangle::new([(x, at - 6), (x + 12, at + 6)], colour.filled()))?;
            write(area, file, (x + 18, at), LEFT, &BLACK)?;
        }
        for (class, name) in names.iter().enumerate() {
            at += ROW;
            for ((_, counts), colour) in files.iter().zip(COLOURS) {
                let count = counts.get(class).copied().unwrap_or(0);
                let end = MARGIN + NAMES + bar(count, largest);
                let corners = [(MARGIN + NAMES, at - ROW / 2 + 2), (end, at + ROW / 2 - 2)];
                area.draw(&Rectangle::new(corners, colour.filled()))?;
                write(area, &count.to_string(), (end + 6, at), LEFT, &BLACK)?;
                at += ROW;
            }
            let middle = at - ROW * as_i32(files.len() + 1) / 2;
            write(area, name, (MARGIN + NAMES - 10, middle), RIGHT, &BLACK)?;
        }
        Ok(())
    })
}

/// Draws a confusion matrix of shape (true class, predicted class), shaded by the share of the true class.
///
/// # Errors
///
/// When the file cannot be written.
pub fn confusion(path: &Path, names: &[&str], counts: &[Vec<f64>]) -> Result<()> {
    let side = CELL * as_i32(names.len());
    let size = (2 * MARGIN + NAMES + side, 2 * MARGIN + 2 * ROW + side);
    draw(path, size, |area| {
        let (left, top) = (MARGIN + NAMES, MARGIN + 2 * ROW);
        write(area, "taken for", (left + side / 2, MARGIN + ROW / 2), CENTRE, &BLACK)?;
        for (place, name) in (0..).zip(names) {
            let middle = CELL * place + CELL / 2;
            write(area, name, (left + middle, MARGIN + ROW + ROW / 2), CENTRE, &BLACK)?;
            write(area, name, (left - 10, top + middle), RIGHT, &BLACK)?;
        }
        for (row, counts) in (0..).zip(counts) {
            let sum: f64 = counts.iter().sum::<f64>().max(1.0);
            for (column, count) in (0..).zip(counts) {
                let share = count / sum;
                let colour = if row == column { COLOURS[0] } else { COLOURS[1] };
                let (x, y) = (left + CELL * column, top + CELL * row);
                let corners = [(x + 1, y + 1), (x + CELL - 1, y + CELL - 1)];
                area.draw(&Rectangle::new(corners, BLACK.mix(0.04).filled()))?;
                area.draw(&Rectangle::new(corners, colour.mix(share).filled()))?;
                let ink = if share > 0.6 { WHITE } else { BLACK };
                write(area, &format!("{count:.0}"), (x + CELL / 2, y + CELL / 2 - 9), CENTRE, &ink)?;
                let share = format!("{:.1} %", 100.0 * share);
                write(area, &share, (x + CELL / 2, y + CELL / 2 + 9), CENTRE, &ink)?;
            }
        }
        Ok(())
    })
}

/// Draws into memory, then writes the file.
fn draw(
    path: &Path,
    (width, height): (i32, i32),
    content: impl FnOnce(&Drawing<'_>) -> Result<(), Box<dyn std::error::Error>>,
) -> Result<()> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (width.unsigned_abs(), height.unsigned_abs()))
            .into_drawing_area();
        area.fill(&WHITE)
            .map_err(Into::into)
            .and_then(|()| content(&area))
            .and_then(|()| area.present().map_err(Into::into))
            .map_err(|error| anyhow!("cannot draw {}: {error}", path.display()))?;
    }
    super::file::write_file(path, |out| Ok(std::io::Write::write_all(out, svg.as_bytes())?))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn write(
    area: &Drawing<'_>,
    text: &str,
    at: (i32, i32),
    anchor: Pos,
    colour: &RGBColor,
) -> Result<(), Box<dyn std::error::Error>> {
    let style = TextStyle::from(FONT).color(colour).pos(anchor);
    Ok(area.draw(&Text::new(text.to_owned(), at, style))?)
}

/// The length of a bar: decades.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "pixels of a chart")]
fn bar(count: u64, largest: u64) -> i32 {
    ((count as f64).ln_1p() / (largest as f64).ln_1p() * f64::from(BARS)) as i32
}

fn as_i32(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX / (2 * CELL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charts_name_and_count_everything() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("chart.svg");
        classes(&path, &["benign", "dos"], &[("one", vec![67_343, 0]), ("two", vec![12, 7_458])]).unwrap();
        let chart = std::fs::read_to_string(&path).unwrap();
        for text in ["benign", "dos", "one", "two", "67343", "7458"] {
            assert!(chart.contains(text), "{text}: {chart}");
        }
        confusion(&path, &["benign", "dos"], &[vec![3.0, 1.0], vec![0.0, 0.0]]).unwrap();
        let chart = std::fs::read_to_string(&path).unwrap();
        for text in ["taken for", "benign", "75.0 %", "25.0 %", "0.0 %"] {
            assert!(chart.contains(text), "{text}: {chart}");
        }
    }
}
