//! Compiles the XDP program of `mitigator-ebpf` and leaves it as `mitigator.o` in `OUT_DIR`, from where the library
//! embeds it.

fn main() {
    let program = mitigator_bpf_build::Program {
        directory: "mitigator-ebpf",
        binary: "mitigator-ebpf",
        object: "mitigator.o",
    };
    program.embed();
}
