//! The BPF file system, where the kernel keeps what outlives a program: most systems mount it at every start.

use std::process::Command;

use anyhow::Result;

use crate::{process, requirements};

pub const PLACE: &str = "/sys/fs/bpf";
const MOUNTS: &str = "/proc/self/mounts";

/// Whether it is there; taken for granted where that cannot be told.
pub fn is_mounted() -> bool {
    std::fs::read_to_string(MOUNTS).map_or(true, |table| is_mounted_in(&table))
}

/// Mounts it until the next start. Without root or the right to mount nothing happens: what needs it says so itself.
pub fn mount() -> Result<()> {
    if !requirements::is_root()? {
        return Ok(());
    }
    let mounted = process::run_quietly(&format!("mounting the BPF file system at {PLACE}"), &mut by_hand());
    if let Err(error) = mounted {
        eprintln!("{error:#}");
    }
    Ok(())
}

/// The command by which a person would mount it.
pub fn by_hand() -> Command {
    let mut command = Command::new("mount");
    command.args(["-t", "bpf", "bpf", PLACE]);
    command
}

/// Lines of `what where kind options dump pass`.
fn is_mounted_in(table: &str) -> bool {
    let mut mounts = table.lines().map(|line| line.split(' ').skip(1));
    mounts.any(|mut mount| mount.next() == Some(PLACE) && mount.next() == Some("bpf"))
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
            ("bpf /sys/fs/bpf/other bpf rw 0 0\n", false),
            ("", false),
        ] {
            assert_eq!(is_mounted_in(table), expected, "{table}");
        }
    }
}
