//! End-to-end tests over the public surfaces: each starts a whole lab of real processes, breaks
//! something, and lets the client's ledger judge.
//!
//! The tests read like incident reports. They assert order, loss and wide bounds; exact figures are
//! printed and are the bench's business, because a debug build on a busy machine measures itself.

use std::time::Duration;

use continuum_chaos::judge::Judged;
use continuum_chaos::lab::Error;
use continuum_chaos::ledger::{Move, write_gap};
use continuum_chaos::{Lab, LabOptions};
use continuum_control_api::rest::PairView;
use continuum_domain::operation::{Method, Operation, OperationState};
use continuum_domain::{Epoch, RegionId, Tick};

/// What a test returns; a lab's error ends it with its whole text.
pub type Outcome = Result<(), Error>;

/// How long the pair may take to be whole again: a rewind or a clone on a slow disk.
pub const WHOLE_LIMIT: Duration = Duration::from_secs(120);
/// How long an operation may take.
pub const OPERATION_LIMIT: Duration = Duration::from_secs(120);
/// Writers of each workload.
pub const WRITERS: usize = 4;
/// Writes go on undisturbed for this long before something is broken.
const UNDISTURBED: Duration = Duration::from_secs(1);

/// The region that holds the lease first.
pub fn fsn() -> RegionId {
    RegionId::new("fsn").expect("a valid name")
}

/// The other region.
pub fn hel() -> RegionId {
    RegionId::new("hel").expect("a valid name")
}

/// A lab with ttl 3 s and renewals each 0.5 s.
pub fn quick() -> LabOptions {
    LabOptions { ttl: Duration::from_secs(3), ..LabOptions::default() }
}

/// A bound as promised for a release build; a debug build that shares its processors gets more.
pub fn bound(promised: Duration) -> Duration {
    if cfg!(debug_assertions) { promised + Duration::from_secs(2) } else { promised }
}

/// A healthy lab under writes.
pub async fn writing(options: LabOptions) -> Result<Lab, Error> {
    let mut lab = Lab::start(options).await?;
    lab.start_workload(WRITERS).await?;
    lab.wait_acknowledged(None, Duration::from_secs(30)).await?;
    undisturbed().await;
    Ok(lab)
}

/// Lets writes go on for a while.
pub async fn undisturbed() {
    tokio::time::sleep(UNDISTURBED).await;
}

/// The epoch of a pair.
pub fn epoch(view: &PairView) -> Epoch {
    view.epoch.expect("the epoch is known")
}

/// A move that began at `at`.
pub fn moved(lab: &Lab, at: Tick, from: &RegionId, to: &RegionId) -> Result<Move, Error> {
    Ok(Move { at, from: lab.address(from)?, to: lab.address(to)? })
}

/// Switches over and waits until the pair is whole again; the move and the operation.
pub async fn switch_over(
    lab: &Lab,
    from: &RegionId,
    to: &RegionId,
    method: Method,
) -> Result<(Move, Operation), Error> {
    if method == Method::Hot {
        lab.wait_hot(to, OPERATION_LIMIT).await?;
    }
    let at = lab.clock.now();
    let accepted = lab.switchover(to, Some(method), "an end-to-end test").await?;
    let operation = lab.wait_ended(&accepted.id, OPERATION_LIMIT).await?;
    assert_eq!(operation.state, OperationState::Done, "{operation:#?}");
    print_steps(&operation);
    let view = lab.wait_healthy(WHOLE_LIMIT).await?;
    assert_eq!(view.holder.as_ref(), Some(to));
    Ok((moved(lab, at, from, to)?, operation))
}

/// Prints an operation's steps as milliseconds since its first line, for the record of a failure.
fn print_steps(operation: &Operation) {
    let first = operation.steps.first().map_or(0, |step| step.at_ms);
    for step in &operation.steps {
        let (after, name, outcome) = (step.at_ms - first, step.step, &step.outcome);
        println!("  {after:>6} ms {name:?} {outcome:?} at {:?}: {}", step.region, step.detail);
    }
}

/// Judges the run, prints its figures and requires that no invariant broke.
pub async fn judge(
    lab: &mut Lab,
    what: &str,
    moves: &[Move],
    loss_since: Option<Tick>,
) -> Result<Judged, Error> {
    let judged = lab.judge(moves, loss_since).await?;
    let tally = &judged.verdict.tally;
    println!(
        "{what}: {} acknowledged, {} lost, {} duplicated, {} indeterminate ({} there), {} late acknowledgements ({} not in the new history)",
        tally.acknowledged,
        tally.lost.len(),
        tally.duplicated.len(),
        tally.indeterminate,
        tally.indeterminate_present,
        judged.verdict.late.late,
        judged.verdict.late.missing.len(),
    );
    for (index, step) in moves.iter().enumerate() {
        let until = moves.get(index + 1).map(|next| next.at);
        let gap = write_gap(&judged.attempts, step.at, until).map(|gap| gap.length());
        println!("{what}: move {} -> {}: write gap {gap:?}", step.from, step.to);
    }
    assert_eq!(judged.verdict.violations(), Vec::<String>::new(), "{what}");
    assert!(tally.acknowledged > 0, "{what}: nothing was written");
    Ok(judged)
}

/// The write gap of an event, which must have ended.
pub fn gap(judged: &Judged, at: Tick, until: Option<Tick>) -> Duration {
    write_gap(&judged.attempts, at, until).expect("writes came back").length()
}
