//! Tables of the reports: in columns for people, and as Markdown.

use std::fmt::Write;

/// In columns as wide as they have to be; numbers stand at the right, and the columns `words` at the left.
pub(crate) fn columns<const COLUMNS: usize>(
    headings: [&str; COLUMNS],
    rows: impl Iterator<Item = [String; COLUMNS]>,
    words: &[usize],
) -> String {
    let rows: Vec<[String; COLUMNS]> = std::iter::once(headings.map(str::to_owned)).chain(rows).collect();
    let mut text = String::new();
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            let width = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
            let _ = if words.contains(&column) {
                write!(text, "{cell:<width$}  ")
            } else {
                write!(text, "{cell:>width$}  ")
            };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// As Markdown has it.
pub(crate) fn markdown<const COLUMNS: usize>(
    headings: [&str; COLUMNS],
    rows: impl Iterator<Item = [String; COLUMNS]>,
) -> String {
    let mut text = format!("| {} |\n|{}\n", headings.join(" | "), "---|".repeat(COLUMNS));
    for row in rows {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_at_the_left_and_numbers_at_the_right() {
        let rows = || [["blocked", "9.1"], ["–", "130"]].map(|row| row.map(str::to_owned)).into_iter();
        assert_eq!(columns(["who", "ns"], rows(), &[0]), "who       ns\nblocked  9.1\n–        130\n");
        assert_eq!(
            markdown(["who", "ns"], rows()),
            "| who | ns |\n|---|---|\n| blocked | 9.1 |\n| – | 130 |\n"
        );
    }
}
