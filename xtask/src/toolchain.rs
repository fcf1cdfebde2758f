//! The compiler and the linker for the BPF target: which there are, which fit, and the note that
//! `bpf-build` reads.
//!
//! The target is tier 3, so `core` is compiled from the sources of the very compiler. bpf-linker
//! loads the compiler's own libLLVM, so the two never differ, but their major versions have to.

use std::fmt;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cargo_tool::BPF_LINKER;
use crate::{process, workspace};

/// What [`BPF_LINKER`] speaks.
const LLVM_MAJOR: u32 = 22;
/// The workspace's `rust-version`, which the XDP program shares.
const OLDEST_RUSTC: Version = Version { major: 1, minor: 95 };
/// Debian's pair of compiler and sources.
pub const DEBIAN_PACKAGES: [&str; 2] = ["rustc-web", "rust-web-src"];

/// A compiler that can build the XDP program.
pub struct BpfCompiler {
    pub rustc: PathBuf,
    /// The cargo beside it; `None`: the workspace's own.
    pub cargo: Option<PathBuf>,
    /// For example `1.96.0`.
    pub version: String,
    pub llvm: String,
    llvm_library: PathBuf,
}

impl fmt::Display for BpfCompiler {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} (rustc {}, LLVM {})", self.rustc.display(), self.version, self.llvm)
    }
}

/// The first compiler that fits, or a sentence for each that does not.
pub fn find_compiler() -> Result<BpfCompiler, Vec<String>> {
    let mut reasons = Vec::new();
    let nightlies = nightlies().into_iter().map(|sysroot| (sysroot.join("bin/rustc"), Some(sysroot)));
    for (rustc, sysroot) in nightlies.chain([(PathBuf::from("/usr/bin/rustc"), None)]) {
        if !rustc.exists() {
            reasons.push(format!("{} does not exist", rustc.display()));
            continue;
        }
        match examine(&rustc, sysroot.as_deref()) {
            Ok(compiler) => return Ok(compiler),
            Err(reason) => reasons.push(format!("{}: {reason:#}", rustc.display())),
        }
    }
    Err(reasons)
}

/// The nightly toolchains of rustup, newest name first.
fn nightlies() -> Vec<PathBuf> {
    let home = std::env::var_os("RUSTUP_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".rustup")));
    let Some(toolchains) = home.and_then(|home| fs::read_dir(home.join("toolchains")).ok()) else {
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = toolchains
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("nightly")))
        .collect();
    found.sort_unstable_by(|one, other| other.cmp(one));
    found
}

/// `sysroot` is known for rustup's toolchains, which bring their own cargo; Debian's is asked for.
fn examine(rustc: &Path, sysroot: Option<&Path>) -> Result<BpfCompiler> {
    let says = process::output_of(Command::new(rustc).arg("-vV"))?;
    let version = field(&says, "release:")?;
    let llvm = field(&says, "LLVM version:")?;
    let asked;
    let root = match sysroot {
        Some(root) => root,
        None => {
            asked = process::output_of(Command::new(rustc).args(["--print", "sysroot"]))?;
            Path::new(asked.trim())
        }
    };
    check_sources(&root.join("lib/rustlib/src/rust"), &version)?;
    check_versions(&version, &llvm)?;
    Ok(BpfCompiler {
        rustc: rustc.to_owned(),
        cargo: sysroot.map(|root| root.join("bin/cargo")),
        llvm_library: llvm_library(rustc)?,
        version,
        llvm,
    })
}

fn field(says: &str, name: &str) -> Result<String> {
    let value = says.lines().find_map(|line| line.strip_prefix(name));
    Ok(value.with_context(|| format!("`rustc -vV` has no line `{name}`"))?.trim().to_owned())
}

fn check_sources(sources: &Path, version: &str) -> Result<()> {
    if !sources.join("library/core/Cargo.toml").exists() {
        bail!("its standard library's sources (component `rust-src`) are not installed");
    }
    // Debian keeps them in a directory that names the version; a half-done upgrade leaves the old one.
    let directory = sources.canonicalize()?;
    let named = directory.file_name().and_then(|name| name.to_str()?.strip_prefix("rustc-"));
    if let Some(named) = named.filter(|named| *named != version) {
        bail!("the compiler is {version}, but the installed sources are those of {named}");
    }
    Ok(())
}

fn check_versions(rustc: &str, llvm: &str) -> Result<()> {
    if Version::parse(rustc)? < OLDEST_RUSTC {
        bail!("it is version {rustc}, and {OLDEST_RUSTC} or newer is needed");
    }
    if Version::parse(llvm)?.major != LLVM_MAJOR {
        bail!("it has LLVM {llvm}, and bpf-linker {} needs LLVM {LLVM_MAJOR}", BPF_LINKER.version);
    }
    Ok(())
}

/// The file that the compiler itself is linked with.
fn llvm_library(rustc: &Path) -> Result<PathBuf> {
    let says = process::output_of(Command::new("ldd").arg(rustc))?;
    let library = says
        .lines()
        .filter(|line| line.trim_start().starts_with("libLLVM"))
        .find_map(|line| line.split_once("=> ")?.1.split(" (").next());
    let library = library.context("it has no libLLVM of its own that bpf-linker could load")?;
    PathBuf::from(library).canonicalize().with_context(|| format!("cannot find {library}"))
}

/// What `bpf-build` reads. Written only when it changes, because the XDP program is compiled
/// again when it does.
pub fn write_note(compiler: &BpfCompiler) -> Result<()> {
    let tools = workspace::tools();
    let llvm = tools.join("llvm");
    fs::create_dir_all(&llvm).with_context(|| format!("cannot make {}", llvm.display()))?;
    let link = llvm.join("libLLVM.so");
    if fs::read_link(&link).ok().as_deref() != Some(compiler.llvm_library.as_path()) {
        fs::remove_file(&link).ok();
        symlink(&compiler.llvm_library, &link).with_context(|| format!("cannot make {}", link.display()))?;
    }

    let mut note = format!(
        "# Written by `cargo xtask setup`: rustc {}, LLVM {}, bpf-linker {}.\nrustc = {}\n",
        compiler.version,
        compiler.llvm,
        BPF_LINKER.version,
        compiler.rustc.display()
    );
    if let Some(cargo) = &compiler.cargo {
        note.push_str(&format!("cargo = {}\n", cargo.display()));
    }
    note.push_str("linker-directory = bin\nllvm-directory = llvm\n");
    let file = tools.join("bpf-toolchain");
    if fs::read_to_string(&file).ok().as_ref() != Some(&note) {
        fs::write(&file, note).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// What to do where Debian's packages are not to be had.
pub fn advice(reasons: &[String]) -> String {
    let mut advice = format!(
        "no compiler for the BPF target fits; it takes rustc {OLDEST_RUSTC} or newer with LLVM {LLVM_MAJOR} and the \
         sources of its standard library. Either `rustup toolchain install nightly-2026-05-20 --component rust-src` \
         or, on Debian, the packages {}. Looked at:",
        DEBIAN_PACKAGES.join(" and ")
    );
    for reason in reasons {
        advice.push_str("\n  ");
        advice.push_str(reason);
    }
    advice
}

/// Of a compiler or of LLVM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    major: u32,
    minor: u32,
}

impl Version {
    fn parse(text: &str) -> Result<Self> {
        let mut numbers = text.split(['.', '-']).map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => Ok(Self { major, minor }),
            _ => bail!("`{text}` is not a version"),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compilers_are_judged_by_version_and_llvm() {
        for (description, rustc, llvm, fits) in [
            ("Debian's", "1.96.0", "22.1.8", true),
            ("a nightly of the same LLVM", "1.97.0-nightly", "22.1.4", true),
            ("the oldest", "1.95.0", "22.1.2", true),
            ("one release too old", "1.94.2", "22.1.0", false),
            ("digits are numbers, not text", "1.100.0", "22.1.8", true),
            ("an LLVM that the linker does not know", "1.99.0-nightly", "23.1.0", false),
            ("an older LLVM", "1.95.0", "21.1.8", false),
            ("not a version", "stable", "22.1", false),
        ] {
            assert_eq!(check_versions(rustc, llvm).is_ok(), fits, "{description}");
        }
    }

    #[test]
    fn the_oldest_compiler_is_the_manifests() {
        let manifest = fs::read_to_string(workspace::root().join("Cargo.toml")).unwrap();
        assert!(manifest.contains(&format!("rust-version = \"{OLDEST_RUSTC}\"")));
    }

    #[test]
    fn fields_of_the_compiler_are_found_by_name() {
        let says = "rustc 1.96.0 (ac68faa20 2026-05-25)\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(field(says, "release:").unwrap(), "1.96.0");
        assert_eq!(field(says, "LLVM version:").unwrap(), "22.1.8");
        assert!(field(says, "host:").is_err());
    }
}
