//! The `mitigator` binary; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    mitigator::cli::main()
}
