//! The bench's own BPF programs.

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::programs::Xdp;

/// All of them; aligned, because the loader reads structures in place.
pub(crate) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/bench.o"));

/// The program of that name.
pub(crate) fn program<'ebpf>(ebpf: &'ebpf mut Ebpf, name: &str) -> Result<&'ebpf mut Xdp> {
    let program = ebpf.program_mut(name).with_context(|| format!("the object has no program {name}"))?;
    Ok(program.try_into()?)
}
