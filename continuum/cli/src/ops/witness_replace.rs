//! `witness replace`.

use continuum_runtime::SharedNetwork;
use continuum_witness::probe;
use continuum_witness::quorum::{self, Step};

use crate::args::ops::WitnessReplaceArgs;
use crate::config::Variables;
use crate::failure::{Exit, Failure};
use crate::ops::witness::{DEADLINE, configured};
use crate::render;

/// Replaces one acceptor, and prints each step.
pub async fn replace(args: &WitnessReplaceArgs, variables: &Variables) -> Result<Exit, Failure> {
    let (config, network) = configured(&args.client, variables)?;
    let me = config.certificate()?.identity().map_err(|error| Failure::usage(error.to_string()))?;
    let access = config.witness.unwrap_or_default();
    let network: SharedNetwork = network;
    let acceptors = access.acceptors(&network, DEADLINE);
    let failed = |error: String| Failure::new(Exit::Failed, error);
    // A store that accepts a conflicting write must not come to hold what decides who writes.
    if let Some(new) = acceptors.iter().find(|acceptor| acceptor.name == args.new) {
        let passed = probe::run(new.store.clone()).await;
        passed.map_err(|error| failed(format!("{} failed its test: {error}", args.new)))?;
    }
    let mut shown = Ok(());
    let mut tell = |step: Step| {
        if let Some(text) = step_text(&step)
            && shown.is_ok()
        {
            shown = render::line(&text);
        }
    };
    let names = (args.old.as_str(), args.new.as_str());
    let done = quorum::replace(&acceptors, names, (&me, DEADLINE), &mut tell).await;
    shown?;
    let done = done.map_err(|error| failed(format!("not replaced: {error}")))?;
    render::line(&format!(
        "done: generation {}, acceptors {}; {} registers, {} of them carried over here and the others \
         by their users; {} old cells left",
        done.now.generation,
        done.now.names(),
        done.registers,
        done.carried,
        done.left
    ))?;
    for lost in &done.lost {
        render::line(&format!(
            "{lost} has lost its state meanwhile and does not count: continuum witness replace {lost} {lost}"
        ))?;
    }
    Ok(if done.lost.is_empty() { Exit::Done } else { Exit::Failed })
}

fn step_text(step: &Step) -> Option<String> {
    Some(match step {
        Step::Decided(now) => {
            format!("decided: generation {}, acceptors {}", now.generation, now.names())
        }
        Step::Marked => "marked: no register is made in the generation before any more".into(),
        Step::Carried(done, of) if done == of || done % 100 == 0 => {
            format!("carried over: {done} of {of} registers")
        }
        Step::Carried(..) => return None,
        Step::Opened => "opened: nothing is left to carry over".into(),
    })
}
