//! Other programs, run to their end: in the open, with a spinner, or for their output.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use console::style;
use indicatif::{ProgressBar, ProgressStyle};

/// Runs on the terminal of this program.
pub fn status_of(command: &mut Command) -> Result<ExitStatus> {
    command.status().with_context(|| format!("cannot start `{}`", spelled(command)))
}

/// Runs on the terminal of this program, which has to succeed.
pub fn run(command: &mut Command) -> Result<()> {
    let status = status_of(command)?;
    if !status.success() {
        bail!("`{}` failed ({status})", spelled(command));
    }
    Ok(())
}

/// Runs behind a spinner; what the program says is shown only when it fails.
pub fn run_quietly(title: &str, command: &mut Command) -> Result<()> {
    let stopwatch = Stopwatch::start();
    let spinner = spinner(title);
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{}`", spelled(command)));
    spinner.finish_and_clear();
    let output = output?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!("{title}: `{}` failed ({})\n{}", spelled(command), output.status, tail(&said, 40));
    }
    eprintln!("{} {title} ({})", style("done").green().for_stderr(), stopwatch.seconds());
    Ok(())
}

/// What the program prints to its standard output; it has to succeed.
pub fn output_of(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{}`", spelled(command)))?;
    if !output.status.success() {
        bail!("`{}` failed ({})\n{}", spelled(command), output.status, tail(&output.stderr, 20));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Says on a terminal that something takes long, with the time so far; elsewhere one plain line.
pub fn spinner(title: &str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(title.to_owned());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        spinner.set_style(style);
    }
    if spinner.is_hidden() {
        eprintln!("{title} ...");
    }
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}

/// The command line as one would type it, without quotes and without the program's directory.
pub fn spelled(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name();
    let words = program.into_iter().chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// The last `lines` lines of what a program said.
pub fn tail(said: &[u8], lines: usize) -> String {
    let text = String::from_utf8_lossy(said);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Measures how long a step takes, for people.
pub struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "how long a step takes is all that is asked of the clock")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// For example `8.4 s`.
    pub fn seconds(&self) -> String {
        format!("{:.1} s", self.elapsed().as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_of_a_short_text_is_the_text() {
        assert_eq!(tail(b"one\ntwo\n", 5), "one\ntwo");
        assert_eq!(tail(b"one\ntwo\nthree\n", 2), "two\nthree");
    }

    #[test]
    fn a_failing_program_is_named_with_what_it_said() {
        let error = output_of(Command::new("sh").args(["-c", "echo no such luck >&2; exit 3"])).unwrap_err();
        let sentence = format!("{error:#}");
        assert!(sentence.contains("sh -c") && sentence.contains("no such luck"), "{sentence}");
    }
}
