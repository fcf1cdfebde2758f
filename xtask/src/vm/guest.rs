//! The guest's file system: busybox, the tools and the suites with their libraries, and the modules.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::kernel::KernelFiles;
use super::modules;
use super::suites::Programs;
use crate::process;
use crate::requirements::{self, required};

/// What the suites call. The shell of busybox would run its own `ip`, wherever PATH leads.
const TOOLS: [&str; 3] = ["sh", "ip", "tc"];
const INIT: &str = include_str!("guest-init.sh");

/// Makes the initramfs and says where it is.
pub fn build(files: &KernelFiles, programs: &Programs) -> Result<PathBuf> {
    let root = files.directory.join("guest");
    fs::remove_dir_all(&root).ok();
    for directory in ["bin", "dev", "etc", "modules", "proc", "root", "run", "suites", "sys", "tmp", "var"] {
        let directory = root.join(directory);
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    let guest = Guest { root };
    guest.put_program(&required("busybox")?, "bin/busybox")?;
    for tool in TOOLS {
        guest.put_program(&required(tool)?, &format!("bin/{tool}"))?;
    }
    guest.put_program(&programs.mitigator, "bin/mitigator")?;
    let mut calls = String::new();
    for (suite, program) in programs.suites() {
        guest.put_program(program, &format!("suites/{}", suite.name))?;
        calls.push_str(&format!("run_suite {} {}\n", suite.name, suite.arguments));
    }
    let mut insertions = String::new();
    for module in modules::collect(&files.modules)? {
        guest.put(&format!("modules/{}.ko", module.name), &module.bytes)?;
        insertions.push_str(&format!("insert {}\n", module.name));
    }
    let init = INIT.replace("@INSERT_MODULES@\n", &insertions).replace("@RUN_SUITES@\n", &calls);
    guest.put("init", init.as_bytes())?;
    guest.pack(&files.directory.join("initramfs"))
}

struct Guest {
    root: PathBuf,
}

impl Guest {
    fn put(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let file = self.root.join(path);
        fs::write(&file, bytes)
            .and_then(|()| fs::set_permissions(&file, fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// With the libraries that it is linked with, at the paths where its loader looks for them.
    fn put_program(&self, program: &Path, path: &str) -> Result<()> {
        copy(program, &self.root.join(path))?;
        for library in libraries(program)? {
            let destination = self.root.join(library.strip_prefix("/").unwrap_or(&library));
            if !destination.exists() {
                copy(&library, &destination)?;
            }
        }
        Ok(())
    }

    fn pack(&self, archive: &Path) -> Result<PathBuf> {
        let list: String = self.paths()?.into_iter().map(|path| path + "\n").collect();
        let output =
            fs::File::create(archive).with_context(|| format!("cannot write {}", archive.display()))?;
        let mut command = requirements::command("cpio")?;
        command.args(["--create", "--format=newc", "--owner=+0:+0", "--quiet"]).current_dir(&self.root);
        let mut cpio = command.stdin(Stdio::piped()).stdout(output).spawn().context("cannot start `cpio`")?;
        let mut stdin = cpio.stdin.take().context("cpio takes no list")?;
        std::io::Write::write_all(&mut stdin, list.as_bytes()).context("cpio does not take its list")?;
        drop(stdin);
        if !cpio.wait()?.success() {
            bail!("cpio could not pack {}", self.root.display());
        }
        Ok(archive.to_owned())
    }

    /// Everything, relative, directories before what they hold.
    fn paths(&self) -> Result<BTreeSet<String>> {
        let mut paths = BTreeSet::new();
        let mut waiting = vec![self.root.clone()];
        while let Some(directory) = waiting.pop() {
            for entry in fs::read_dir(&directory)? {
                let path = entry?.path();
                let relative = path.strip_prefix(&self.root).context("a path outside the guest")?;
                paths.insert(relative.to_string_lossy().into_owned());
                if path.is_dir() {
                    waiting.push(path);
                }
            }
        }
        Ok(paths)
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let directory = to.parent().context("a file in a directory")?;
    fs::create_dir_all(directory)
        .and_then(|()| fs::copy(from, to))
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// The paths that `ldd` names; none for a static program.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let mut command = Command::new("ldd");
    let output = command.arg(program).output();
    let output = output.with_context(|| format!("cannot start `{}`", process::spelled(&command)))?;
    let says = String::from_utf8_lossy(&output.stdout);
    if let Some(line) = says.lines().find(|line| line.contains("not found")) {
        bail!("{} lacks a library: {}", program.display(), line.trim());
    }
    Ok(named_libraries(&says))
}

/// Of lines like `libc.so.6 => /lib/libc.so.6 (0x7f..)` and `/lib64/ld-linux.so.2 (0x7f..)`.
fn named_libraries(says: &str) -> Vec<PathBuf> {
    let names = says.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    names.map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_the_loader_go_along() {
        let says = "\tlinux-vdso.so.1 (0x00007f)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(named_libraries(says), expected);
        assert!(named_libraries("\tstatically linked\n").is_empty());
    }
}
