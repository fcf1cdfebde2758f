//! One virtual machine from power-on to power-off, bounded in time.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context, Result};

use super::console::Report;
use super::kernel::KernelFiles;
use crate::process::{self, Stopwatch};
use crate::{requirements, unpacked};

/// Boots the kernel into the guest and reads its console, which is kept beside the kernel.
///
/// # Errors
/// When the machine does not start. What goes wrong inside, or takes longer than `timeout`, is in the report.
pub fn run(files: &KernelFiles, initramfs: &Path, timeout: Duration) -> Result<Report> {
    let log = files.directory.join("console.log");
    let mut machine = Machine::start(files, initramfs)?;
    let lines = machine.lines()?;
    let mut file = fs::File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let spinner = process::spinner("booting");
    let stopwatch = Stopwatch::start();
    let mut report = Report::default();
    loop {
        match lines.recv_timeout(timeout.saturating_sub(stopwatch.elapsed())) {
            Ok(line) => {
                writeln!(file, "{line}")?;
                report.read(&line);
                spinner.set_message(progress(&report, &line));
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let seconds = timeout.as_secs();
                report.complaints.push(format!("the machine was stopped after {seconds} s"));
                break;
            }
        }
    }
    spinner.finish_and_clear();
    if let Some(problem) = report.problem() {
        eprintln!("{problem}; {}", last_lines(&log));
    }
    Ok(report)
}

struct Machine(Child);

impl Machine {
    fn start(files: &KernelFiles, initramfs: &Path) -> Result<Self> {
        let program = requirements::find(&requirements::QEMU)
            .context("the program `qemu-system-x86_64` is missing; run `cargo xtask setup --for vm`")?;
        let mut command = unpacked::command(&program);
        for directory in unpacked::data_directories().iter().filter(|directory| directory.exists()) {
            command.arg("-L").arg(directory);
        }
        command
            .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1536"])
            .args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio"])
            // Nobody is behind the card but QEMU itself: no packet leaves this machine.
            .args(["-netdev", "user,id=card,restrict=on"])
            .args(["-device", "virtio-net-pci,netdev=card,romfile="])
            .arg("-kernel")
            .arg(&files.image)
            .arg("-initrd")
            .arg(initramfs)
            .args(["-append", "console=ttyS0 panic=-1 quiet"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let child =
            command.spawn().with_context(|| format!("cannot start `{}`", process::spelled(&command)))?;
        Ok(Self(child))
    }

    /// The console's lines; the channel closes when the machine is off.
    fn lines(&mut self) -> Result<Receiver<String>> {
        let console = self.0.stdout.take().context("the machine has no console")?;
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || read_lines(console, |line| sender.send(line).is_ok()));
        Ok(lines)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn read_lines(console: ChildStdout, mut take: impl FnMut(String) -> bool) {
    let mut bytes = Vec::new();
    let mut console = BufReader::new(console);
    while console.read_until(b'\n', &mut bytes).is_ok_and(|count| count > 0) {
        let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        bytes.clear();
        if !take(line) {
            return;
        }
    }
}

fn progress(report: &Report, line: &str) -> String {
    let kernel = report.release.as_deref().unwrap_or("booting");
    let suite = report.suites.last().map_or("", |suite| &suite.name);
    let test = line.strip_prefix("test ").unwrap_or_default();
    format!("{kernel} {suite} {}", test.chars().take(60).collect::<String>())
}

fn last_lines(log: &Path) -> String {
    let said = fs::read(log).unwrap_or_default();
    format!("the last lines of {}:\n{}", log.display(), process::tail(&said, 25))
}
