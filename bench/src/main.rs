//! The witness server beside etcd: renewals of sessions by as many clients as they carry, and ten
//! thousand sessions at their own pace on one core; and the control API under load. `scripts/bench.sh`
//! runs it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use continuum_runtime::BootClock;
use continuum_runtime::net::{TlsFiles, TlsNetwork};
use continuum_witness::WitnessConfig;
use continuum_witness::memory::MemoryStore;

mod agents;
mod api;
mod beside;
mod etcd;
mod figures;
mod paced;
mod servers;

/// What goes wrong here ends the run; the text says what to do.
type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
#[command(about = "Measures the witness server, beside etcd, and the control API")]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// As many renewals as so many clients bring about: the witness server, etcd's transactions,
    /// etcd's leases, in turn.
    Beside(beside::Options),
    /// Sessions that each renew at an interval, on one server.
    Paced(paced::Options),
    /// Reads, changes and streams of the control API with many pairs.
    Api(api::Options),
    /// The server that is measured.
    #[command(hide = true)]
    Serve(Serve),
    /// A control node that is measured.
    #[command(hide = true)]
    ServeCore(ServeCore),
}

#[derive(Args)]
struct Serve {
    #[arg(long)]
    data: PathBuf,
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    tls: String,
}

#[derive(Args)]
struct ServeCore {
    #[arg(long)]
    config: String,
    #[arg(long)]
    tls: String,
}

async fn serve_core(options: ServeCore) -> Result<(), Failure> {
    let files: TlsFiles = serde_json::from_str(&options.tls)?;
    let network = Arc::new(TlsNetwork::load(&files)?);
    let register = Arc::new(MemoryStore::new());
    let config = serde_json::from_str(&options.config)?;
    let clock = Arc::new(BootClock);
    continuum_control::serve(config, network, clock, register, std::future::pending()).await?;
    Ok(())
}

async fn serve(options: Serve) -> Result<(), Failure> {
    let files: TlsFiles = serde_json::from_str(&options.tls)?;
    let config = WitnessConfig {
        name: servers::NAME.into(),
        listen: options.listen.to_string(),
        data_directory: options.data,
        pairs: Default::default(),
    };
    let network = Arc::new(TlsNetwork::load(&files)?);
    continuum_witness::serve(config, network, std::future::pending()).await?;
    Ok(())
}

async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Beside(options) => beside::run(options).await,
        Command::Paced(options) => paced::run(options).await,
        Command::Api(options) => api::run(options).await,
        Command::Serve(options) => serve(options).await,
        Command::ServeCore(options) => serve_core(options).await,
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("another provider of cryptography is installed already");
        return ExitCode::FAILURE;
    }
    match run(Options::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
