//! The `continuum` binary; everything else is in the library.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // One provider for every TLS connection of the process; it can only be installed once.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("a TLS provider is installed already");
        return ExitCode::FAILURE;
    }
    continuum::run::main(continuum::args::Cli::parse())
}
