//! From a parsed command line to an exit code.

use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory;

use crate::args::ops::{DnsArgs, WitnessArgs, WitnessVerb};
use crate::args::{Cli, Command, ConfigVerb};
use crate::config::environment::process_variables;
use crate::config::{self, Kind, Reading, Variables, examples};
use crate::failure::{Exit, Failure};
use crate::{ops, render, roles};

/// Runs the command and prints its error, if any, to standard error.
pub fn main(cli: Cli) -> ExitCode {
    let variables = process_variables();
    let ended = match cli.command {
        // The lab knows one more end than the others: interrupted.
        Command::Lab(args) => on_all_cores(async { Ok(roles::lab::run(args).await) }),
        command => dispatch(command, &variables).map(Exit::code),
    };
    match ended {
        Ok(code) => code.into(),
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit.into()
        }
    }
}

fn dispatch(command: Command, variables: &Variables) -> Result<Exit, Failure> {
    match command {
        Command::Config(args) => configuration(args.verb, variables),
        Command::Completions(args) => {
            clap_complete::generate(
                args.shell,
                &mut Cli::command(),
                "continuum",
                &mut std::io::stdout(),
            );
            Ok(Exit::Done)
        }
        Command::Crd => ops::manifests::definitions(),
        Command::Version => {
            render::line(concat!("continuum ", env!("CARGO_PKG_VERSION"))).map(|()| Exit::Done)
        }
        // The guard answers for PostgreSQL's life: it runs on the main thread and nothing else does.
        Command::Guard(args) => on_this_thread(roles::guard::run(args, variables)),
        Command::Server(args) => on_all_cores(roles::server::run(args, variables)),
        Command::Agent(args) => on_all_cores(roles::agent::run(args, variables)),
        Command::Witness(WitnessArgs { verb: WitnessVerb::Serve(args) }) => {
            on_all_cores(roles::witness::run(args, variables))
        }
        Command::Dns(DnsArgs { verb: None, role: Some(args) }) => {
            on_all_cores(roles::dns::run(args, variables))
        }
        Command::Sim(args) => roles::sim::run(&args.arguments).map(|never| match never {}),
        Command::LabJanitor(args) => roles::lab::run_janitor(args),
        ops => on_this_thread(ops::run(ops, variables)),
    }
}

fn configuration(verb: ConfigVerb, variables: &Variables) -> Result<Exit, Failure> {
    match verb {
        ConfigVerb::Example { role } => {
            render::line(examples::example(role))?;
            Ok(Exit::Done)
        }
        ConfigVerb::Check { file, role, no_files, guard } => {
            let reading = Reading { variables, files: !no_files };
            check(role, &file, &guard, reading)?;
            render::line(&format!("{}: a correct {} configuration", file.display(), role.label()))?;
            Ok(Exit::Done)
        }
    }
}

fn check(
    role: Kind,
    file: &std::path::Path,
    guards: &[PathBuf],
    reading: Reading<'_>,
) -> Result<(), Failure> {
    if guards.is_empty() {
        return Ok(config::check_file(role, file, reading)?);
    }
    if role != Kind::Agent {
        return Err(Failure::usage("--guard goes with --role agent only"));
    }
    let guards = guards
        .iter()
        .map(|file| config::guard::load(file, reading))
        .collect::<Result<Vec<_>, _>>()?;
    config::agent::load_beside(file, reading, &guards)?;
    Ok(())
}

fn on_this_thread<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    block_on(tokio::runtime::Builder::new_current_thread(), work)
}

fn on_all_cores<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    block_on(tokio::runtime::Builder::new_multi_thread(), work)
}

fn block_on<T>(
    mut builder: tokio::runtime::Builder,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let runtime = builder.enable_all().build().map_err(|error| {
        Failure::new(Exit::Failed, format!("the runtime cannot be built: {error}"))
            .next("check the limits of this process (threads, open files)")
    })?;
    runtime.block_on(work)
}
