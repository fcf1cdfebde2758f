//! The `mitigator` binary under a name of this package, so that cargo builds it for the suites.

use std::process::ExitCode;

fn main() -> ExitCode {
    mitigator::cli::main()
}
