//! XDP-Firewall as a peer, built from a folder of its source: none of it is part of this project. It is as its authors have
//! it by default, with one rule, which no packet of the bench matches.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use aya::EbpfLoader;
use aya::maps::{HashMap, MapData};
use aya::programs::{TestRun, TestRunOptions};
use mitigator_bench_ebpf::address_of;
use mitigator_tests::lab::{find_program, scratch_directory};
use tempfile::TempDir;

use crate::bpf;
use crate::subject::Subject;

/// What it is called in reports.
pub(crate) const XDP_FIREWALL: &str = "XDP-Firewall";
const PROGRAM: &str = "xdp_prog_main";
/// Of its program, which its own loader puts into a chain of programs: a loader that has none does not know it.
const OWN_SECTION: &str = "SEC(\"xdp_prog\")";
const ENTRIES: u32 = 100_000;

/// A program beside it that knows what a rule looks like: one for a source that never sends.
const RULE: &str = r#"
SEC("xdp")
int mitigator_bench_add_rule(struct xdp_md *ctx)
{
    u32 first = 0;
    filter_t *rule = bpf_map_lookup_elem(&map_filters, &first);
    if (!rule)
        return XDP_ABORTED;
    rule->ip.src_ip = 0x01010101;
    rule->ip.src_cidr = 32;
    rule->set = 1;
    return XDP_DROP;
}
"#;
const ADD_RULE: &str = "mitigator_bench_add_rule";
const XDP_DROP: u32 = 1;

/// Its object, which goes when this is dropped.
pub(crate) struct Build {
    directory: TempDir,
}

impl Build {
    /// Compiles its XDP program.
    ///
    /// # Errors
    ///
    /// When clang or the headers of libbpf and libxdp are missing, or the folder is not its source.
    pub(crate) fn of(source: &Path) -> Result<Self> {
        let clang = find_program("clang").context("it needs clang, libbpf-dev and libxdp-dev to be built")?;
        let directory = scratch_directory("xdp-firewall")?;
        let (own, program) = (source.join("src"), source.join("src/xdp/prog.c"));
        let text = fs::read_to_string(&program)
            .with_context(|| format!("cannot read {}; is it XDP-Firewall's source?", program.display()))?;
        ensure!(text.contains(OWN_SECTION), "{} has no program in `xdp_prog`", program.display());
        let build = Self { directory };
        fs::write(build.path("prog.c"), text.replace(OWN_SECTION, "SEC(\"xdp\")") + RULE)?;
        // Headers of the C library ask for the stub of an architecture that has none.
        fs::create_dir(build.path("gnu"))?;
        fs::write(build.path("gnu/stubs-32.h"), "")?;
        let mut command = Command::new(clang);
        command
            .args(["-O2", "-g", "-target", "bpf", "-w", "-c", "-I"])
            .arg(&own)
            .arg("-I")
            .arg(build.directory.path());
        let architecture = format!("/usr/include/{}-linux-gnu", std::env::consts::ARCH);
        command.args(["-I", &architecture, "-o"]).arg(build.path("prog.o")).arg(build.path("prog.c"));
        let output = command.output().context("cannot start clang")?;
        ensure!(
            output.status.success(),
            "it does not compile (Debian's packages libbpf-dev and libxdp-dev have the headers): {}",
            String::from_utf8_lossy(&output.stderr).lines().take(5).collect::<Vec<_>>().join("; ")
        );
        Ok(build)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// With so many blocked IPv4 sources and one rule, which stands on the core that the calling thread stays on.
    pub(crate) fn subject(&self, entries: u32) -> Result<Subject> {
        // Its table evicts; with twice the room, next to nothing.
        let mut ebpf = EbpfLoader::new()
            .map_max_entries("map_block", entries.saturating_mul(2).max(ENTRIES))
            .load_file(self.path("prog.o"))
            .context("cannot load its object")?;
        let add_rule = bpf::program(&mut ebpf, ADD_RULE)?;
        add_rule.load().context("the kernel refused the program that adds a rule")?;
        let mut options = TestRunOptions::new();
        let packet = [0; 64];
        options.data_in = Some(&packet);
        let added = add_rule.test_run(options).context("a test run failed")?;
        ensure!(added.return_value == XDP_DROP, "there is no room for a rule");
        let map = ebpf.map_mut("map_block").context("it has no map `map_block`")?;
        let mut sources: HashMap<&mut MapData, u32, u64> = map.try_into()?;
        for number in 0..entries {
            // Without an end.
            sources.insert(address_of(number).to_be(), 0, 0)?;
        }
        Subject::other(XDP_FIREWALL, ebpf, PROGRAM)
    }
}
