//! `cargo xtask setup`: installs what is missing and says what is used.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::ValueEnum;
use console::style;

use crate::cargo_tool::BPF_LINKER;
use crate::python_tool::SCHEMATHESIS;
use crate::requirements::{self, Requirement};
use crate::toolchain::{self, BpfCompiler};
use crate::{bpf_file_system, unpacked};

/// Installs what is missing and says what is used.
///
/// Building takes a Rust compiler for the BPF target with the sources of its standard library (a rustup
/// nightly with `rust-src`, or Debian's `rustc-web` and `rust-web-src`) and bpf-linker, which is compiled
/// into `.tools`. The tests and the demo call programs of the system, which come from Debian packages. So
/// do QEMU and what else the virtual machines take, but these are only unpacked into `.tools`. One test calls
/// schemathesis, which pip puts there, too. A BPF file system that is missing is mounted, for the tests and the
/// demo pin their maps in it. Whatever is there already is used; with nothing missing, nothing is done.
#[derive(clap::Args)]
pub struct Arguments {
    /// Only what this takes; all of it when not given
    #[arg(long = "for", value_enum, value_name = "PART")]
    parts: Vec<Part>,
    /// List what is missing, install nothing; exit code 2 if anything is
    #[arg(long)]
    no_install: bool,
}

/// What somebody wants to do, and so what it takes.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Compile: BPF compiler, bpf-linker
    Build,
    /// Run the tests and the demo
    Test,
    /// Boot other kernels
    Vm,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let parts = if arguments.parts.is_empty() { Part::value_variants() } else { &arguments.parts };
    if arguments.no_install {
        return Ok(list_missing(parts));
    }
    let compiler = prepare(parts)?;
    report(parts, compiler.as_ref());
    Ok(ExitCode::SUCCESS)
}

/// Installs what `parts` take and is missing; the BPF compiler if one of them is [`Part::Build`].
pub fn prepare(parts: &[Part]) -> Result<Option<BpfCompiler>> {
    let missing = Missing::for_parts(parts);
    let packages = missing.packages();
    if !packages.is_empty() {
        requirements::install(&packages).or_else(|error| match &missing.compiler {
            Some(reasons) => bail!("{error:#}\n{}", toolchain::advice(reasons)),
            None => Err(error),
        })?;
    }
    if !missing.machine_programs.is_empty() {
        unpacked::install(&requirements::FOR_VIRTUAL_MACHINES)?;
    }
    if missing.linker {
        BPF_LINKER.install()?;
    }
    if missing.schemathesis {
        SCHEMATHESIS.install()?;
    }
    if missing.bpf_file_system {
        bpf_file_system::mount();
    }
    if !parts.contains(&Part::Build) {
        return Ok(None);
    }
    let compiler = match missing.found {
        Some(compiler) => compiler,
        None => match toolchain::find_compiler() {
            Ok(compiler) => compiler,
            Err(reasons) => bail!(toolchain::advice(&reasons)),
        },
    };
    toolchain::write_note(&compiler)?;
    Ok(Some(compiler))
}

/// What is not there yet.
struct Missing {
    /// Of the system.
    programs: Vec<&'static Requirement>,
    /// Of the virtual machines alone.
    machine_programs: Vec<&'static Requirement>,
    /// Why no compiler fits; `None`: one does, or none is needed.
    compiler: Option<Vec<String>>,
    found: Option<BpfCompiler>,
    linker: bool,
    schemathesis: bool,
    bpf_file_system: bool,
}

impl Missing {
    fn for_parts(parts: &[Part]) -> Self {
        let absent = |part| {
            let wanted = if parts.contains(&part) { programs_of(part) } else { &[] };
            wanted.iter().filter(|wanted| requirements::find(wanted).is_none()).collect()
        };
        let mut missing = Self {
            programs: absent(Part::Test),
            machine_programs: absent(Part::Vm),
            compiler: None,
            found: None,
            linker: false,
            schemathesis: parts.contains(&Part::Test) && !SCHEMATHESIS.is_installed(),
            bpf_file_system: parts.contains(&Part::Test) && !bpf_file_system::is_mounted(),
        };
        if parts.contains(&Part::Build) {
            missing.linker = !BPF_LINKER.is_installed();
            match toolchain::find_compiler() {
                Ok(compiler) => missing.found = Some(compiler),
                Err(reasons) => missing.compiler = Some(reasons),
            }
        }
        missing
    }

    fn is_nothing(&self) -> bool {
        self.packages().is_empty()
            && self.machine_programs.is_empty()
            && !(self.linker || self.schemathesis || self.bpf_file_system)
    }

    /// To be installed into the system.
    fn packages(&self) -> Vec<&'static str> {
        let compiler = self.compiler.iter().flat_map(|_| toolchain::DEBIAN_PACKAGES);
        compiler.chain(self.programs.iter().map(|wanted| wanted.package)).collect()
    }
}

fn programs_of(part: Part) -> &'static [Requirement] {
    match part {
        Part::Build => &[],
        Part::Test => &requirements::FOR_TESTS,
        Part::Vm => &requirements::FOR_VIRTUAL_MACHINES,
    }
}

fn list_missing(parts: &[Part]) -> ExitCode {
    let missing = Missing::for_parts(parts);
    if let Some(reasons) = &missing.compiler {
        println!("{} a compiler for the BPF target", style("missing").red());
        for reason in reasons {
            println!("          {reason}");
        }
    }
    if missing.linker {
        println!("{} bpf-linker {}", style("missing").red(), BPF_LINKER.version);
    }
    if missing.schemathesis {
        println!("{} {} {} (from PyPI)", style("missing").red(), SCHEMATHESIS.name, SCHEMATHESIS.version);
    }
    for wanted in missing.programs.iter().chain(&missing.machine_programs) {
        let Requirement { program, package, purpose } = wanted;
        println!("{} {program} (package {package}): {purpose}", style("missing").red());
    }
    if missing.bpf_file_system {
        println!("{} {}", style("missing").red(), bpf_file_system::advice());
    }
    if missing.is_nothing() {
        println!("nothing is missing");
        return ExitCode::SUCCESS;
    }
    println!("`cargo xtask setup` installs it");
    let packages = missing.packages();
    if !packages.is_empty() {
        println!("what of it goes into the system, as root: {}", requirements::install_command(&packages));
    }
    ExitCode::from(2)
}

fn report(parts: &[Part], compiler: Option<&BpfCompiler>) {
    let line = |what: &str, with: String| println!("{} {with}", style(format!("{what:<13}")).bold());
    if let Some(compiler) = compiler {
        line("BPF compiler", compiler.to_string());
        line("BPF linker", format!("{} ({})", BPF_LINKER.program().display(), BPF_LINKER.version));
    }
    for (part, what) in [(Part::Test, "tests, demo"), (Part::Vm, "machines")] {
        if parts.contains(&part) {
            let found = programs_of(part).iter().filter_map(requirements::find);
            let found: Vec<String> = found.map(|path| path.display().to_string()).collect();
            line(what, found.join(" "));
        }
    }
}
