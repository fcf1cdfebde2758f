//! The page of the documentation, composed of a section for each part. A run writes the sections of what it measured;
//! the others stay as the page has them.

use std::fmt::Write;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};

use crate::measured::Measured;
use crate::plot::Plot;

/// The parts in the order of their sections: what they are called on the command line, and the heading.
const SECTIONS: [(&str, &str); 7] = [
    ("dataplane", "A packet in the XDP program"),
    ("e2e", "A packet from end to end"),
    ("pipeline", "A tick of the agent"),
    ("feeds", "Writing blocks"),
    ("agent", "The agent as a whole"),
    ("logs", "A line of an access log"),
    ("flows", "Flows of a capture"),
];

/// Puts what a part measured into the page at `file`, and its plots into the directory of that name beside it.
pub(crate) fn write(file: &Path, part: &str, measured: &Measured) -> Result<()> {
    let cannot_write = || format!("cannot write {}", file.display());
    let before = match fs::read_to_string(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        page => page.with_context(|| format!("cannot read {}", file.display()))?,
    };
    let directory = file.with_extension("");
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    for plot in &measured.plots {
        fs::create_dir_all(&directory)
            .and_then(|()| fs::write(directory.join(plot.name).with_extension("svg"), &plot.svg))
            .with_context(cannot_write)?;
    }
    let section = with_plots(&measured.section, &measured.plots, &name);
    fs::write(file, composed(&before, part, &section)).with_context(cannot_write)
}

fn with_plots(section: &str, plots: &[Plot], directory: &str) -> String {
    let mut text = section.trim_end().to_owned();
    for plot in plots {
        let _ = write!(text, "\n\n![{}]({directory}/{}.svg)", plot.about, plot.name);
    }
    text
}

/// The page with this section, and the others as they were before.
fn composed(before: &str, part: &str, section: &str) -> String {
    let mut page = OPENING.to_owned();
    for (name, heading) in SECTIONS {
        let (begin, end) = (format!("<!-- begin {name} -->"), format!("<!-- end {name} -->"));
        let kept = before
            .split_once(&begin)
            .and_then(|(_, rest)| rest.split_once(&end))
            .map(|(kept, _)| kept.trim());
        let text = if name == part { section } else { kept.unwrap_or("Not measured yet.") };
        let _ =
            write!(page, "\n## {heading}\n\nBy `cargo xtask bench {name}`.\n\n{begin}\n\n{text}\n\n{end}\n");
    }
    page.push('\n');
    page.push_str(STEPS);
    page.push('\n');
    page.push_str(NOT_MEASURED);
    page
}

const OPENING: &str = "\
# Performance, measured

This page is written by `cargo xtask bench --output docs/performance.md`; nothing in it is by \
hand but the steps. Each section says with what \
version, on what machine and kernel, and with how many sources it was measured. A figure is the median of several \
measurements; behind it, in brackets, stand the quartiles, which are the noise: half of the measurements lie between them. \
Programs that are compared take turns within seconds, so that ratios hold better than times: carry only ratios to another machine.
";

/// Figures by hand: each as it was measured and written down when the step was taken.
const STEPS: &str = include_str!("steps.md");

const NOT_MEASURED: &str = "\
## Not measured

- A physical network card: its driver, DMA and interrupts are paid for by every packet, dropped or not, so that ratios to bare \
drop are smaller there.
- Many receive cores: everything here is received on one.
- Receive cores that contend for the same entry or the same counter.
- AF_XDP, and hardware offload.
- Other machines than those named above, and other kernels.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_replaces_its_own_section_alone() {
        let first = composed("", "e2e", "first e2e");
        let second = composed(&first, "feeds", "the feeds");
        let third = composed(&second, "e2e", "second e2e");
        assert_eq!(third.matches("Not measured yet.").count(), SECTIONS.len() - 2);
        assert!(third.contains("second e2e") && third.contains("the feeds") && !third.contains("first e2e"));
        assert_eq!(composed(&third, "e2e", "second e2e"), third);
        for (name, heading) in SECTIONS {
            assert!(third.contains(heading) && third.contains(&format!("`cargo xtask bench {name}`")));
        }
    }

    #[test]
    fn plots_go_beside_the_page() {
        let directory = tempfile::tempdir().unwrap();
        let page = directory.path().join("performance.md");
        let plot = Plot { name: "e2e-cost", about: "What it costs".to_owned(), svg: "<svg/>".to_owned() };
        let measured = Measured {
            text: String::new(),
            json: serde_json::Value::Null,
            section: "A table\n".to_owned(),
            plots: vec![plot],
            figures: Vec::new(),
        };
        write(&page, "e2e", &measured).unwrap();
        let text = fs::read_to_string(&page).unwrap();
        assert!(text.contains("A table\n\n![What it costs](performance/e2e-cost.svg)"), "{text}");
        assert_eq!(fs::read_to_string(directory.path().join("performance/e2e-cost.svg")).unwrap(), "<svg/>");
    }
}
