//! The ops verbs: one request each, or one request and then watching.

mod access;
mod approvals;
mod audit;
mod automation;
mod core_members;
mod dns;
mod fence;
pub mod manifests;
mod moves;
mod operations;
mod pairs;
pub mod session;
mod sinks;
mod status;
mod top;
pub mod watch;
mod witness;
mod witness_replace;

use crate::args::Command;
use crate::args::ops::DnsArgs;
use crate::config::Variables;
use crate::failure::{Exit, Failure};

/// Runs an ops verb.
pub async fn run(command: Command, variables: &Variables) -> Result<Exit, Failure> {
    match command {
        Command::Status(args) => status::run(args, variables).await,
        Command::Fleet(args) => status::fleet(args, variables).await,
        Command::Top(args) => top::run(args, variables).await,
        Command::Pair(args) => pairs::run(args, variables).await,
        Command::Switchover(args) => moves::switchover(args, variables).await,
        Command::Failback(args) => moves::failback(args, variables).await,
        Command::Rejoin(args) => moves::rejoin(args, variables).await,
        Command::Failover(args) => moves::failover(args, variables).await,
        Command::Operation(args) => operations::run(args, variables).await,
        Command::PauseAutomation(args) => automation::pause(args, variables).await,
        Command::ResumeAutomation(args) => automation::resume(args, variables).await,
        Command::Fence(args) => fence::run(args, fence::Order::Fence, variables).await,
        Command::Unfence(args) => fence::run(args, fence::Order::Unfence, variables).await,
        Command::Whoami(args) => access::whoami(args, variables).await,
        Command::Access(args) => access::grants(args, variables).await,
        Command::Approvals(args) => approvals::run(args, variables).await,
        Command::Token(args) => access::tokens(args, variables).await,
        Command::BreakGlass(args) => access::glass(args, variables).await,
        Command::Audit(args) => audit::run(args, variables).await,
        Command::Sinks(args) => sinks::run(args, variables).await,
        Command::Core(args) => core_members::core(args, variables).await,
        Command::Dns(DnsArgs { verb: Some(verb), .. }) => dns::run(verb, variables).await,
        Command::Witness(args) => witness::run(args.verb, variables).await,
        other => Err(Failure::usage(format!("{other:?} is not an ops verb"))),
    }
}
