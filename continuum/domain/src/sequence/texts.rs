//! What a person reads when a move ended other than done: what happened, what it means for the
//! data, what to do next.

use super::{origin, target};
use crate::ids::{Epoch, OperationId, RegionId};
use crate::operation::{Operation, RejoinMethod};
use crate::record::PairRecord;

pub(super) const CANCELLED_UNTOUCHED: &str =
    "cancelled before anything was touched; the pair stands as it stood";
pub(super) const NOT_MEASURED: &str = "what the move needs to know could not be measured (the register or the members' reports); \
     nothing was touched; see `continuum status` for what is unknown and ask again";
pub(super) const NOT_APPROVED: &str = "nobody approved it in time; nothing was touched; if the failover is still due, the agent asks \
     again and a new operation waits for approval";

fn from_text(operation: &Operation) -> String {
    origin(operation).map_or_else(|| "the old holder".to_owned(), ToString::to_string)
}

pub(super) fn register_behind(operation: &Operation, epoch: Epoch) -> String {
    format!(
        "the register shows epoch {epoch}, older than what this operation has seen: the witness lost \
         writes or was restored. The operation stops here, because no rule about epochs holds on such \
         a register. Pause automation, find the member with the newest epoch ({} or {}) and see the \
         runbook for a damaged witness",
        from_text(operation),
        target(operation)
    )
}

pub(super) fn register_unknown(operation: &Operation) -> String {
    format!(
        "the pair's register could not be read for so long that the operation ends without knowing \
         where the pair stands. No acknowledged write is lost by that: the members act by the \
         register alone. Bring the witness back, then see with `continuum status` whether {} or {} \
         holds the pair",
        from_text(operation),
        target(operation)
    )
}

pub(super) fn not_promoted(operation: &Operation, epoch: Epoch) -> String {
    let to = target(operation);
    format!(
        "{to} holds the lease under epoch {epoch}, but has not reported that it accepts writes. No \
         acknowledged write is lost; nobody can write. Look at the agent and PostgreSQL in {to}; it \
         goes on trying by itself. If it cannot, `continuum failover` to another in-sync member"
    )
}

pub(super) fn not_redundant(operation: &Operation, epoch: Epoch) -> String {
    format!(
        "the pair moved and {} accepts writes under epoch {epoch}, but it still runs on one copy: no \
         standby is back in the ledger. Bring {} back; it rejoins by itself. Until then the loss of \
         {} loses acknowledged writes or stops the pair, whichever its durability says",
        target(operation),
        from_text(operation),
        target(operation)
    )
}

pub(super) fn superseded_unpromoted(operation: &Operation, epoch: Epoch) -> String {
    format!(
        "{} won the lease but the pair moved on to epoch {epoch} before it reported that it accepts \
         writes. The register decides: see `continuum status` for the holder. Nothing is to be done \
         for this operation",
        target(operation)
    )
}

pub(super) fn overtaken(epoch: Epoch, by: &OperationId) -> String {
    format!(
        "the pair was at epoch {epoch} already, and operation {by} moves it on from there. The \
         register decides: see `continuum status` for the holder. Nothing is to be done for this \
         operation"
    )
}

pub(super) fn moved_on_untouched(register: Option<&PairRecord>) -> String {
    let now = register.map_or_else(String::new, |record| {
        let holder = record.holder.as_ref().map_or("nobody", RegionId::as_str);
        format!(" (now epoch {}, held by {holder})", record.epoch)
    });
    format!(
        "the pair's epoch moved on before this operation touched anything{now}; ask again if the move \
         is still wanted"
    )
}

pub(super) fn undone(
    from: &RegionId,
    cancelled: bool,
    told: Option<String>,
    past_deadline: bool,
) -> String {
    let why = match (told, cancelled, past_deadline) {
        (Some(reason), _, _) => reason,
        (None, true, _) => "it was cancelled before the commit point".to_owned(),
        (None, false, true) => "there was no commit by the deadline".to_owned(),
        (None, false, false) => "the old holder took the lease back".to_owned(),
    };
    format!("{why}; {from} accepts writes again and nothing was lost")
}

pub(super) fn not_writable(from: &RegionId, epoch: Epoch) -> String {
    format!(
        "the move was given up and {from} took the lease back under epoch {epoch}, but it has not \
         reported that it accepts writes. Nothing is lost; perhaps nobody can write. Look at the \
         agent and PostgreSQL in {from}; it goes on trying by itself"
    )
}

pub(super) fn vacant(from: &RegionId, epoch: Epoch) -> String {
    format!(
        "{from} stopped and gave the lease up under epoch {epoch}, and nobody has taken it. Nothing \
         is lost; nobody can write. An in-sync member takes over by itself when it can; otherwise \
         `continuum failover` to one that `continuum status` lists as in sync"
    )
}

pub(super) fn third(third: &RegionId, epoch: Epoch) -> String {
    format!(
        "{third} took over under epoch {epoch} while the move was under way. It was in sync, so \
         nothing is lost. Switch over again from there if the move is still wanted"
    )
}

pub(super) fn neither_moved_nor_returned(from: &RegionId) -> String {
    format!(
        "{from} was asked to stop, and the register still shows the old epoch after the deadline by \
         which {from} returns by itself. Nothing is lost; perhaps nobody can write. Look at the agent \
         in {from}: if it is down its guard stops PostgreSQL and another in-sync member takes over \
         when its session has run out; if it is up, it returns once it reaches the witness"
    )
}

pub(super) fn not_taken_over(from: &RegionId, to: &RegionId) -> String {
    format!(
        "{to} was asked to take over from {from} without a stop, and the register still shows the old \
         epoch after the deadline by which {to} follows again by itself; but {from} has not reported \
         that it accepts writes. Nothing is lost; perhaps nobody can write. Look at the agents in \
         {from} and {to}, and see with `continuum status` who holds the pair"
    )
}

pub(super) fn holder_came_back(from: &RegionId, epoch: Epoch) -> String {
    format!(
        "{from} came back first, under epoch {epoch}; the failover was not needed and nothing was lost"
    )
}

pub(super) fn another_took_over(third: &RegionId, epoch: Epoch) -> String {
    format!("{third} took over instead, under epoch {epoch}; see its own operation")
}

pub(super) fn grant_unused(to: &RegionId) -> String {
    format!(
        "{to} was allowed to take over and did not; the register is as it was. If the holder is still \
         lost, {to} asks again; look at its agent if it does not"
    )
}

pub(super) fn did_not_take_over(to: &RegionId, why: &str) -> String {
    format!(
        "{to} was ordered to take over and did not: {why}. The register is as it was and nothing was \
         lost. Read the reasons against {to} with a dry run, then order it again or choose another \
         member"
    )
}

pub(super) fn not_rested(from: &RegionId, cancelled: bool, late: bool) -> String {
    let why = match (cancelled, late) {
        (true, _) => "the pause was cancelled",
        (false, true) => "the holder did not stop in time",
        (false, false) => "the pause was taken back",
    };
    format!("{why}; {from} accepts writes and nothing was lost")
}

pub(super) fn neither_rested_nor_back(from: &RegionId) -> String {
    format!(
        "{from} was asked to stop for a pause and did neither let go of the lease nor report since that \
         it accepts writes. Challengers are let in again, nothing is lost; perhaps nobody can write. \
         Look at the agent and PostgreSQL in {from}: it goes on by itself"
    )
}

pub(super) fn held_instead(holder: &RegionId, epoch: Epoch) -> String {
    format!(
        "the pair was not put to rest: {holder} holds it under epoch {epoch} since. Nothing was lost; \
         ask again if the pause is still wanted"
    )
}

pub(super) fn not_resumed(to: &RegionId) -> String {
    format!(
        "the pause is taken back, and {to} was asked to resume the pair and did not. Nothing is lost; \
         nobody can write. Another in-sync member takes over by itself where the pair is automatic; \
         otherwise `continuum failover` to one that `continuum status` lists as in sync"
    )
}

pub(super) fn not_kept_out(region: &RegionId, holder: &RegionId) -> String {
    format!(
        "{holder} did not say in time that the ledger does without {region}, so nothing was cloned and \
         {region} stands as it stood; within two minutes it is listed again by itself. Look at the agent \
         in {holder}: it may be of an older version"
    )
}

pub(super) fn rejoin_not_begun(region: &RegionId, method: RejoinMethod) -> String {
    let what = match method {
        RejoinMethod::Retry => "try again",
        RejoinMethod::Clone => "take a fresh clone",
    };
    format!(
        "{region} was asked to {what} and its agent did not take the order up in time: it is away, or of \
         an older version that does not know the order. Nothing is known to have changed there; look at \
         the agent in {region}, upgrade it if it is older, and ask again"
    )
}

pub(super) fn rejoin_failed(region: &RegionId, reason: &str) -> String {
    format!(
        "{region} did not rejoin: {reason}. The pair goes on without it, and no acknowledged write is \
         lost; see what `continuum status` says of {region}, mend the cause and ask again"
    )
}

pub(super) fn not_rejoined(region: &RegionId) -> String {
    format!(
        "{region} has not come back in time. It goes on trying by itself and the pair goes on without \
         it; see what `continuum status` says of {region}"
    )
}

pub(super) fn rejoin_overtaken(region: &RegionId, record: &PairRecord) -> String {
    let holder = record.holder.as_ref().map_or("nobody", RegionId::as_str);
    format!(
        "the pair went on to epoch {}, holder {holder}, while {region} was rejoining. What was asked for \
         counts no more; the members rejoin behind the new holder by themselves. Look at `continuum \
         status` and ask again if {region} does not follow",
        record.epoch
    )
}

pub(super) fn rejoin_unwatched(region: &RegionId) -> String {
    format!(
        "cancelled after {region} was asked: it is no longer waited for. What it has begun it ends by \
         itself, and the pair goes on meanwhile; see what `continuum status` says of {region}"
    )
}
