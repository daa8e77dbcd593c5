//! `continuum-sim`: the simulator's own binary, so that nothing of it reaches production.

use std::process::ExitCode;

fn main() -> ExitCode {
    continuum_sim::cli::main()
}
