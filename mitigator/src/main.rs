//! The `mitigator` binary.
fn main() {}
