//! The BPF file system, where the kernel keeps what outlives a program: most systems mount it at every start.

use std::process::Command;

use anyhow::ensure;

use crate::{process, requirements};

const PLACE: &str = "/sys/fs/bpf";
const MOUNTS: &str = "/proc/self/mounts";

/// Whether it is there; taken for granted where that cannot be told.
pub fn is_mounted() -> bool {
    std::fs::read_to_string(MOUNTS).map_or(true, |table| is_mounted_in(&table))
}

/// Mounts it until the next start; without the right to, says what to do, as most tests do without it.
pub fn mount() {
    let mounted = requirements::is_root().and_then(|is_root| {
        ensure!(is_root, "mounting takes root");
        process::run_quietly(&format!("mounting the BPF file system at {PLACE}"), &mut by_hand())
    });
    if let Err(error) = mounted {
        eprintln!("{error:#}\nmissing {}", advice());
    }
}

/// What is missing without it, and how to get it.
pub fn advice() -> String {
    format!(
        "the BPF file system at {PLACE}, without which no test that loads programs runs, nor the demo; as root of the \
         machine: `{}`",
        process::spelled(&by_hand())
    )
}

fn by_hand() -> Command {
    let mut command = Command::new("mount");
    command.args(["-t", "bpf", "bpf", PLACE]);
    command
}

/// Lines of `what where kind options dump pass`; the last at a place is what is seen there.
fn is_mounted_in(table: &str) -> bool {
    let mounts = table.lines().map(|line| line.split(' ').skip(1));
    let mut kinds = mounts.filter_map(|mut mount| (mount.next()? == PLACE).then(|| mount.next()));
    kinds.next_back().flatten() == Some("bpf")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_found_by_place_and_kind() {
        for (table, expected) in [
            ("sysfs /sys sysfs rw 0 0\nbpf /sys/fs/bpf bpf rw,nosuid,mode=700 0 0\n", true),
            ("none /sys/fs/bpf bpf rw 0 0\n", true),
            ("sysfs /sys sysfs rw 0 0\ntmpfs /sys/fs/bpf tmpfs rw 0 0\n", false),
            ("bpf /sys/fs/bpf bpf rw 0 0\ntmpfs /sys/fs/bpf tmpfs rw 0 0\n", false),
            ("bpf /sys/fs/bpf/other bpf rw 0 0\n", false),
            ("", false),
        ] {
            assert_eq!(is_mounted_in(table), expected, "{table}");
        }
    }
}
