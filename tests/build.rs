//! Compiles the bench's own BPF programs and leaves them as `bench.o` in `OUT_DIR`.

fn main() {
    let programs = mitigator_bpf_build::Program {
        directory: "tests/bpf",
        binary: "mitigator-bench-ebpf",
        object: "bench.o",
    };
    programs.embed();
}
