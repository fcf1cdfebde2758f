//! Kernel modules in the order in which the guest has to insert them.
//!
//! Debian's packages bring no `modules.dep` (it is made when they are installed), so the dependencies
//! are read from the modules themselves.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::{process, requirements};

/// What the suites take, first what they cannot do without.
const REQUIRED: [&str; 3] = ["virtio_pci", "virtio_net", "veth"];
const USEFUL: [&str; 5] = ["8021q", "sch_ingress", "cls_bpf", "dummy", "nf_conntrack"];

/// A module, decompressed.
pub struct Module {
    pub name: String,
    pub bytes: Vec<u8>,
}

/// The modules and what they depend on, dependencies first. A kernel may have any of them built in.
pub fn collect(directory: &Path) -> Result<Vec<Module>> {
    let tree = Tree { files: index(directory)?, built_in: built_in(directory) };
    let mut collected = Vec::new();
    for name in REQUIRED {
        if !tree.files.contains_key(name) && !tree.built_in.contains(&name.to_owned()) {
            bail!("the kernel in {} has no {name}", directory.display());
        }
        tree.add(name, &mut collected)?;
    }
    for name in USEFUL {
        tree.add(name, &mut collected)?;
    }
    Ok(collected)
}

struct Tree {
    files: BTreeMap<String, PathBuf>,
    built_in: Vec<String>,
}

impl Tree {
    /// Adds `name` after its dependencies, once; what the kernel has not as a module is left out.
    fn add(&self, name: &str, collected: &mut Vec<Module>) -> Result<()> {
        if collected.iter().any(|module| module.name == name) {
            return Ok(());
        }
        let Some(file) = self.files.get(name) else {
            return Ok(());
        };
        let bytes = read_module(file)?;
        for dependency in dependencies(&bytes) {
            if !self.files.contains_key(&dependency) && !self.built_in.contains(&dependency) {
                bail!("{} depends on {dependency}, which the kernel package lacks", file.display());
            }
            self.add(&dependency, collected)?;
        }
        collected.push(Module { name: name.to_owned(), bytes });
        Ok(())
    }
}

/// Every module file by the module's name.
fn index(directory: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut files = BTreeMap::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in
            fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))?
        {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                waiting.push(entry.path());
            } else if let Some(name) = module_name(&entry.path()) {
                files.insert(name, entry.path());
            }
        }
    }
    Ok(files)
}

fn built_in(directory: &Path) -> Vec<String> {
    let list = fs::read_to_string(directory.join("modules.builtin")).unwrap_or_default();
    list.lines().filter_map(|line| module_name(Path::new(line))).collect()
}

/// `virtio_net` for `.../virtio-net.ko.xz`; `None` for other files.
fn module_name(file: &Path) -> Option<String> {
    let (stem, extension) = file.file_name()?.to_str()?.split_once(".ko")?;
    matches!(extension, "" | ".xz" | ".zst" | ".gz").then(|| stem.replace('-', "_"))
}

fn read_module(file: &Path) -> Result<Vec<u8>> {
    let program = match file.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return fs::read(file).with_context(|| format!("cannot read {}", file.display())),
    };
    let mut command = requirements::command(program)?;
    let output = command.args(["--decompress", "--stdout"]).arg(file).output();
    let output = output.with_context(|| format!("cannot start `{}`", process::spelled(&command)))?;
    if !output.status.success() {
        bail!("`{}` failed\n{}", process::spelled(&command), process::tail(&output.stderr, 5));
    }
    Ok(output.stdout)
}

/// The field `depends=one,two` of the module's information, whose fields end with a zero.
fn dependencies(module: &[u8]) -> Vec<String> {
    const FIELD: &[u8] = b"\0depends=";
    let Some(start) = module.windows(FIELD.len()).position(|window| window == FIELD) else {
        return Vec::new();
    };
    let value = module[start + FIELD.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    let names = String::from_utf8_lossy(value);
    names.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_named_as_the_kernel_names_them() {
        for (file, expected) in [
            ("kernel/drivers/net/veth.ko", Some("veth")),
            ("kernel/drivers/net/virtio-net.ko.xz", Some("virtio_net")),
            ("kernel/net/8021q/8021q.ko.zst", Some("8021q")),
            ("modules.builtin", None),
            ("kernel/notes.koala", None),
        ] {
            assert_eq!(module_name(Path::new(file)).as_deref(), expected, "{file}");
        }
    }

    #[test]
    fn dependencies_are_read_from_the_module() {
        assert_eq!(
            dependencies(b"\x7fELF..\0license=GPL\0depends=net-failover,failover\0name=x\0"),
            ["net_failover", "failover"]
        );
        assert!(dependencies(b"\x7fELF\0depends=\0").is_empty());
        assert!(dependencies(b"\x7fELF").is_empty());
    }

    #[test]
    fn dependencies_come_first_and_once() {
        let directory = workspace_of(&[("a", "b,c"), ("b", "c"), ("c", "built_in")]);
        let tree = Tree { files: index(&directory).unwrap(), built_in: vec!["built_in".into()] };
        let mut collected = Vec::new();
        for name in ["a", "c", "absent"] {
            tree.add(name, &mut collected).unwrap();
        }
        let order: Vec<&str> = collected.iter().map(|module| module.name.as_str()).collect();
        assert_eq!(order, ["c", "b", "a"]);
        let tree = Tree { built_in: Vec::new(), ..tree };
        assert!(tree.add("a", &mut Vec::new()).is_err(), "a dependency that is nowhere");
        fs::remove_dir_all(directory).unwrap();
    }

    fn workspace_of(modules: &[(&str, &str)]) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("xtask-modules-{}", std::process::id()));
        fs::create_dir_all(directory.join("kernel")).unwrap();
        for (name, depends) in modules {
            fs::write(directory.join(format!("kernel/{name}.ko")), format!("ELF\0depends={depends}\0"))
                .unwrap();
        }
        directory
    }
}
