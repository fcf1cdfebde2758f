//! Compiles a BPF program of the workspace for build scripts, which leave the object in `OUT_DIR` to be embedded:
//!
//! ```text
//! static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/mitigator.o"));
//! ```
//!
//! The compiler and the linker are those that `cargo xtask setup` found or installed and wrote into
//! `.tools/bpf-toolchain`. Nothing is installed here.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// What `cargo xtask setup` writes, relative to the workspace.
const TOOLCHAIN_FILE: &str = ".tools/bpf-toolchain";

/// Set by `cargo xtask ci`: a warning in a BPF program fails the build.
const DENY_WARNINGS: &str = "MITIGATOR_DENY_BPF_WARNINGS";

/// Whatever changes every object; relative to the workspace.
const INPUTS: [&str; 5] =
    [TOOLCHAIN_FILE, "Cargo.toml", "Cargo.lock", "mitigator-common/Cargo.toml", "mitigator-common/src"];

/// A crate with one binary for the BPF target.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Of the crate, relative to the workspace, whose root is one directory above the crate that embeds it.
    pub directory: &'static str,
    /// The binary's name.
    pub binary: &'static str,
    /// The name of the object in `OUT_DIR`.
    pub object: &'static str,
}

impl Program {
    /// Compiles it for the build script that calls. What hinders is printed for cargo, which then ends the build.
    pub fn embed(&self) {
        // One line each, so that cargo prints the sentence itself and not the log of the script.
        if let Err(sentence) = self.try_embed() {
            for line in sentence.lines().filter(|line| !line.trim().is_empty()) {
                println!("cargo::error={line}");
            }
        }
    }

    fn try_embed(&self) -> Result<(), String> {
        let workspace = path_from("CARGO_MANIFEST_DIR")?.join("..");
        let own = [self.directory.to_owned() + "/Cargo.toml", self.directory.to_owned() + "/src"];
        for input in INPUTS.into_iter().chain(own.iter().map(String::as_str)) {
            println!("cargo::rerun-if-changed={}", workspace.join(input).display());
        }
        println!("cargo::rerun-if-env-changed={DENY_WARNINGS}");

        let out = path_from("OUT_DIR")?;
        let toolchain = Toolchain::read(&workspace.join(TOOLCHAIN_FILE))?;
        let object = self.compile(&workspace, &toolchain, &target_directory(&out))?;
        let embedded = out.join(self.object);
        fs::copy(&object, &embedded).map_err(|error| {
            format!("cannot copy {} to {}: {error}", object.display(), embedded.display())
        })?;
        Ok(())
    }

    fn compile(
        &self,
        workspace: &Path,
        toolchain: &Toolchain,
        target_directory: &Path,
    ) -> Result<PathBuf, String> {
        let triple = match env::var("CARGO_CFG_TARGET_ENDIAN").as_deref() {
            Ok("big") => "bpfeb-unknown-none",
            _ => "bpfel-unknown-none",
        };
        let cargo = toolchain.cargo.clone().map_or_else(|| path_from("CARGO"), Ok)?;
        let crate_directory = workspace.join(self.directory);

        let mut command = Command::new(cargo);
        for (name, _) in env::vars_os().filter(|(name, _)| concerns_the_outer_build(name)) {
            command.env_remove(name);
        }
        command
            .args(["build", "--bin", self.binary, "--release", "--target", triple, "-Zbuild-std=core"])
            .args(["--quiet", "--color", "never", "--target-dir"])
            .arg(target_directory)
            .current_dir(&crate_directory)
            .env("RUSTC", &toolchain.rustc)
            .env("RUSTC_WRAPPER", "")
            // `-Z build-std` on a compiler that is not a nightly.
            .env("RUSTC_BOOTSTRAP", "1")
            // The third version of the instruction set has halves of registers (5.1).
            .env("CARGO_ENCODED_RUSTFLAGS", "-Cdebuginfo=2\u{1f}-Clink-arg=--btf\u{1f}-Ctarget-cpu=v3")
            .env("PATH", path_starting_with(&toolchain.linker_directory)?)
            // The linker takes the first libLLVM that it meets here.
            .env("LD_LIBRARY_PATH", &toolchain.llvm_directory);
        if let Ok(jobs) = env::var("NUM_JOBS") {
            command.args(["--jobs", &jobs]);
        }

        let output = command.output().map_err(|error| format!("cannot start {command:?}: {error}"))?;
        let log = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            return Err(format!("the BPF program {} does not compile for {triple}:\n{log}", self.binary));
        }
        // Cargo repeats the warnings of what it did not compile again, so none is lost.
        if !log.is_empty() && env::var_os(DENY_WARNINGS).is_some() {
            return Err(format!(
                "the BPF program {} compiles with warnings, which {DENY_WARNINGS} denies:\n{log}",
                self.binary
            ));
        }
        for line in log.lines() {
            println!("cargo::warning={line}");
        }
        Ok(target_directory.join(triple).join("release").join(self.binary))
    }
}

/// The tools for the BPF target, as `cargo xtask setup` wrote them down.
struct Toolchain {
    rustc: PathBuf,
    /// `None`: the cargo that runs this script.
    cargo: Option<PathBuf>,
    /// Where `bpf-linker` is.
    linker_directory: PathBuf,
    /// Holds the libLLVM that `bpf-linker` loads, and nothing else.
    llvm_directory: PathBuf,
}

impl Toolchain {
    /// Reads lines of `name = path`; relative paths start where the file is.
    fn read(file: &Path) -> Result<Self, String> {
        let Ok(text) = fs::read_to_string(file) else {
            return Err("no compiler for the BPF target is set up; run `cargo xtask setup`".into());
        };
        let directory = file.parent().unwrap_or(Path::new("."));
        let directory = directory.canonicalize().map_err(|error| error.to_string())?;
        let path_of = |wanted: &str| {
            text.lines()
                .filter_map(|line| line.split_once('='))
                .find(|(name, _)| name.trim() == wanted)
                .map(|(_, path)| directory.join(path.trim()))
        };
        let required = |wanted: &str| {
            path_of(wanted).filter(|path| path.exists()).ok_or_else(|| {
                format!("{TOOLCHAIN_FILE} names no existing `{wanted}`; run `cargo xtask setup` again")
            })
        };
        Ok(Self {
            rustc: required("rustc")?,
            cargo: path_of("cargo"),
            linker_directory: required("linker-directory")?,
            llvm_directory: required("llvm-directory")?,
        })
    }
}

/// A directory that all profiles share, so that the object is compiled once; apart from the outer
/// cargo's own, which are locked while this script runs. `out` is `<target>/<profile>/build/...`.
fn target_directory(out: &Path) -> PathBuf {
    let build = out.ancestors().find(|directory| directory.ends_with("build"));
    build.and_then(|build| build.parent()?.parent()).unwrap_or(out).join("bpf")
}

/// The inner cargo sets its own; wrappers, flags and the toolchain of the outer build would break it.
fn concerns_the_outer_build(name: &OsString) -> bool {
    const KEPT: [&str; 5] = ["CARGO_HOME", "CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR", "CARGO_SOURCE_"];
    const DROPPED: [&str; 6] = ["CARGO", "RUSTC", "RUSTDOC", "RUSTFLAGS", "RUSTUP_TOOLCHAIN", "DEP_"];
    const DROPPED_WHOLE: [&str; 8] =
        ["TARGET", "HOST", "PROFILE", "OPT_LEVEL", "DEBUG", "OUT_DIR", "MAKEFLAGS", "CLIPPY_ARGS"];
    let name = name.to_string_lossy();
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    DROPPED_WHOLE.contains(&name.as_ref()) || (begins(&DROPPED) && !begins(&KEPT))
}

fn path_starting_with(directory: &Path) -> Result<OsString, String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = std::iter::once(directory.to_owned()).chain(env::split_paths(&path));
    env::join_paths(directories)
        .map_err(|error| format!("{} cannot be on PATH: {error}", directory.display()))
}

fn path_from(variable: &str) -> Result<PathBuf, String> {
    env::var_os(variable).map(PathBuf::from).ok_or_else(|| format!("cargo has not set {variable}"))
}
