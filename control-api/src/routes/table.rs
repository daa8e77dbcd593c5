//! Everything there is below `/api/v1`.

use axum::routing::{delete, get, post, put};
use continuum_domain::operation::Operation;

use super::endpoint::Endpoint;
use super::handlers as handle;
use crate::rest::{
    AddCoreNode, Applied, ApplyPair, ApplyQuery, AuditQuery, AuditRecord, AuditVerdict,
    AutomationPause, CoreView, DiffQuery, EventsQuery, ExportQuery, FailbackRequest,
    FailoverRequest, Fleet, FleetQuery, HistoryEntry, HistoryQuery, LeaseView, OperationsQuery,
    PairView, PairsQuery, PausePairRequest, PauseQuery, PauseRequest, ReasonBody, RegionView,
    RejoinRequest, ResumePairRequest, RollbackRequest, SpecDiff, SpecVersion, Started, Status,
    SwitchoverRequest, VerifyQuery,
};

use crate::sinks::{DeadLetter, SinkRetried, SinkTested, SinkView};

const NO_PAIR: (u16, &str) = (404, "pair-not-found");
const NO_OPERATION: (u16, &str) = (404, "operation-not-found");
const STALE: (u16, &str) = (412, "precondition-failed");
const UNDER_WAY: (u16, &str) = (409, "operation-under-way");

/// All routes, in the order of the reference.
pub fn endpoints() -> Vec<Endpoint> {
    let access = super::access::endpoints();
    let approvals = super::approvals::endpoints();
    [
        overview(),
        pairs(),
        moves(),
        operations(),
        automation(),
        approvals,
        audit(),
        sinks(),
        core(),
        access,
        documents(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn overview() -> Vec<Endpoint> {
    vec![
        Endpoint::new(("GET", "/status"), ("getStatus", "Overview"), "Everything at a glance", get(handle::status))
            .details("The page to read at three in the morning: the core, every pair with what each member's agent said last and how old that is, pauses and unfinished operations.")
            .answers::<Status>(200, "What is known."),
        Endpoint::new(("GET", "/fleet"), ("getFleet", "Overview"), "How all pairs stand", get(handle::fleet))
            .details("One posture for each pair, the worst first. What is not known counts as unknown, never as protected.")
            .query::<FleetQuery>()
            .answers::<Fleet>(200, "The postures, and how many pairs have each."),
        Endpoint::new(("GET", "/leases"), ("listLeases", "Overview"), "Who may write, and for how long", get(handle::leases))
            .answers::<Vec<LeaseView>>(200, "One line for each pair."),
        Endpoint::new(("GET", "/regions"), ("listRegions", "Overview"), "All regions and their agents", get(handle::regions))
            .answers::<Vec<RegionView>>(200, "The regions that pairs have members in."),
    ]
}

fn pairs() -> Vec<Endpoint> {
    vec![
        Endpoint::new(("GET", "/pairs"), ("listPairs", "Pairs"), "All pairs", get(handle::pairs))
            .details("By name. A page ends after `limit` pairs; the header `Link` then names the next one.")
            .query::<PairsQuery>()
            .answers::<Vec<PairView>>(200, "A page of pairs."),
        Endpoint::new(("GET", "/pairs/{pair}"), ("getPair", "Pairs"), "One pair", get(handle::pair))
            .details("With everything its agents said last. `ETag` is the version of its spec.")
            .answers::<PairView>(200, "The pair.")
            .versioned()
            .problems(&[NO_PAIR]),
        Endpoint::new(("PUT", "/pairs/{pair}"), ("applyPair", "Pairs"), "Create or change a pair", put(handle::apply_pair))
            .details("The spec as a whole. `If-Match` makes the change only if nobody else made one since; `If-None-Match: *` only creates. The same spec again makes no new version. With `dry_run=true` it is checked and compared, and nothing is changed.")
            .query::<ApplyQuery>()
            .body::<ApplyPair>(r#"{"spec": {"id": "shop", "members": {"fsn": {"host": "10.1.0.5", "port": 5432}, "hel": {"host": "10.2.0.5", "port": 5432}}, "first_primary": "fsn"}, "reason": "new shop"}"#)
            .answers::<Applied>(200, "The version in force; for a dry run what would change.")
            .versioned()
            .problems(&[STALE, (422, "spec-refused")]),
        Endpoint::new(("DELETE", "/pairs/{pair}"), ("removePair", "Pairs"), "Remove a pair", delete(handle::remove_pair))
            .details("Only the spec is removed; members and their data are left as they are.")
            .reason::<ReasonBody>()
            .answers::<SpecVersion>(200, "The version that marks the removal.")
            .versioned()
            .problems(&[NO_PAIR, STALE, UNDER_WAY]),
        Endpoint::new(("GET", "/pairs/{pair}/versions"), ("listVersions", "Pairs"), "All versions of a pair's spec", get(handle::versions))
            .answers::<Vec<SpecVersion>>(200, "Oldest first, removals included.")
            .problems(&[NO_PAIR]),
        Endpoint::new(("GET", "/pairs/{pair}/diff"), ("diffVersions", "Pairs"), "What differs between two versions", get(handle::diff))
            .query::<DiffQuery>()
            .answers::<SpecDiff>(200, "Field by field.")
            .problems(&[NO_PAIR, (404, "version-not-found")]),
        Endpoint::new(("GET", "/pairs/{pair}/history"), ("listHistory", "Pairs"), "Every change of holder, and what it cost", get(handle::history))
            .details("Newest first: how long no write was seen, what was lost, and whether the pair's objectives were met. What was not measured is absent.")
            .query::<HistoryQuery>()
            .answers::<Vec<HistoryEntry>>(200, "The changes of holder.")
            .problems(&[NO_PAIR]),
        Endpoint::new(("POST", "/pairs/{pair}/rollback"), ("rollBackPair", "Pairs"), "Go back to an older version", post(handle::roll_back))
            .details("Makes the spec of an older version the newest one, checked as any other. Versions are never taken back.")
            .body::<RollbackRequest>(r#"{"version": 2, "reason": "CHG-4712"}"#)
            .answers::<SpecVersion>(200, "The version in force.")
            .versioned()
            .problems(&[NO_PAIR, (404, "version-not-found"), STALE, (422, "spec-refused")]),
    ]
}

fn moves() -> Vec<Endpoint> {
    vec![
        Endpoint::new(("POST", "/pairs/{pair}/switchover"), ("switchOver", "Moves"), "Move a pair that is well", post(handle::switchover))
            .details("Loses nothing; refused where that cannot be promised. With `dry_run` the answer is a plan with every candidate and every reason. The same request again while it runs answers the running operation.")
            .body::<SwitchoverRequest>(r#"{"to": "hel", "reason": "CHG-4711"}"#)
            .answers::<Started>(202, "It is under way; follow it at `Location`.")
            .answers::<Started>(200, "Only a plan.")
            .problems(&[NO_PAIR, (409, "move-refused"), UNDER_WAY]),
        Endpoint::new(("POST", "/pairs/{pair}/failover"), ("failOver", "Moves"), "Move a pair whose primary is lost", post(handle::failover))
            .details("For when automation may not or cannot. A loss of acknowledged writes needs `allow_data_loss` for exactly the epoch that is named. With `dry_run` the answer is a plan.")
            .body::<FailoverRequest>(r#"{"to": "hel", "reason": "fsn burns"}"#)
            .answers::<Started>(202, "It is under way; follow it at `Location`.")
            .answers::<Started>(200, "Only a plan.")
            .problems(&[NO_PAIR, (409, "move-refused"), (409, "epoch-mismatch"), UNDER_WAY]),
        Endpoint::new(("POST", "/pairs/{pair}/failback"), ("failBack", "Moves"), "Move a pair back home", post(handle::failback))
            .details("A switchover to the member of the highest `priority`; among equals, to the pair's first primary.")
            .body::<FailbackRequest>(r#"{"reason": "CHG-4713"}"#)
            .answers::<Started>(202, "It is under way; follow it at `Location`.")
            .answers::<Started>(200, "Only a plan.")
            .problems(&[NO_PAIR, (409, "move-refused"), UNDER_WAY]),
        Endpoint::new(("POST", "/pairs/{pair}/pause"), ("pausePair", "Moves"), "Stop a pair everywhere", post(handle::pause_pair))
            .details("PostgreSQL is stopped cleanly in every region and stays stopped, whatever restarts, until the pair is resumed. Nothing is lost, nobody can write or read, and automation leaves the pair alone.")
            .body::<PausePairRequest>(r#"{"reason": "CHG-4714: not needed over the holidays"}"#)
            .answers::<Started>(202, "It is under way; follow it at `Location`.")
            .answers::<Started>(200, "Only a plan.")
            .problems(&[NO_PAIR, (409, "move-refused"), UNDER_WAY]),
        Endpoint::new(("POST", "/pairs/{pair}/resume"), ("resumePair", "Moves"), "Start a paused pair", post(handle::resume_pair))
            .details("In the region that held it, or in `to`; the others follow it. Names and addresses are as they were.")
            .body::<ResumePairRequest>(r#"{"reason": "CHG-4715"}"#)
            .answers::<Started>(202, "It is under way; follow it at `Location`.")
            .answers::<Started>(200, "Only a plan.")
            .problems(&[NO_PAIR, (409, "move-refused"), UNDER_WAY]),
        Endpoint::new(("POST", "/pairs/{pair}/rejoin"), ("rejoinMember", "Moves"), "Bring a member back", post(handle::rejoin))
            .details("A member that does not follow tries again at once (`retry`), or has its data directory replaced by a fresh copy of the holder's (`clone`). Before a copy the ledger does without the member, which a `strict` pair refuses while it is listed. It bars no move, and whoever else becomes holder ends it.")
            .body::<RejoinRequest>(r#"{"region": "hel", "method": "clone", "reason": "CHG-4716: its disk was repaired"}"#)
            .answers::<Started>(202, "It is under way; follow it at `Location`.")
            .answers::<Started>(200, "Only a plan.")
            .problems(&[NO_PAIR, (409, "move-refused"), UNDER_WAY, (422, "not-a-member")]),
    ]
}

fn operations() -> Vec<Endpoint> {
    vec![
        Endpoint::new(
            ("GET", "/operations"),
            ("listOperations", "Operations"),
            "Operations, newest first",
            get(handle::operations),
        )
        .details("A page ends after `limit` operations; the header `Link` then names the next one.")
        .query::<OperationsQuery>()
        .answers::<Vec<Operation>>(200, "A page of operations."),
        Endpoint::new(
            ("GET", "/operations/{operation}"),
            ("getOperation", "Operations"),
            "One operation with its journal",
            get(handle::operation),
        )
        .answers::<Operation>(200, "The operation.")
        .problems(&[NO_OPERATION]),
        Endpoint::new(
            ("POST", "/operations/{operation}/cancel"),
            ("cancelOperation", "Operations"),
            "Ask for an operation to be undone",
            post(handle::cancel),
        )
        .details("Up to the commit point; the old primary then returns.")
        .reason::<ReasonBody>()
        .answers::<Operation>(200, "The operation, which ends by itself.")
        .problems(&[NO_OPERATION, (409, "too-late-to-cancel")]),
        Endpoint::new(
            ("POST", "/operations/{operation}/approve"),
            ("approveOperation", "Operations"),
            "Approve an operation that waits for it",
            post(handle::approve),
        )
        .reason::<ReasonBody>()
        .answers::<Operation>(200, "The operation.")
        .problems(&[NO_OPERATION, (409, "nothing-to-approve")]),
        Endpoint::new(
            ("GET", "/approvals"),
            ("listApprovals", "Operations"),
            "What waits for an approval",
            get(handle::approvals),
        )
        .answers::<Vec<crate::approvals::Awaiting>>(
            200,
            "Requests that a rule keeps, then operations that wait, newest first.",
        ),
    ]
}

fn automation() -> Vec<Endpoint> {
    vec![
        Endpoint::new(
            ("GET", "/automation/pause"),
            ("listPauses", "Automation"),
            "Pauses of automation",
            get(handle::pauses),
        )
        .answers::<Vec<AutomationPause>>(200, "Those in force."),
        Endpoint::new(
            ("PUT", "/automation/pause"),
            ("pauseAutomation", "Automation"),
            "Pause automation",
            put(handle::pause),
        )
        .details("Of one pair or of all. Needs a reason, and always ends.")
        .body::<PauseRequest>(
            r#"{"pair": "shop", "reason": "network maintenance", "for_ms": 3600000}"#,
        )
        .answers::<AutomationPause>(200, "The pause.")
        .problems(&[NO_PAIR, (422, "reason-needed"), (422, "pause-refused")]),
        Endpoint::new(
            ("DELETE", "/automation/pause"),
            ("resumeAutomation", "Automation"),
            "End a pause",
            delete(handle::resume),
        )
        .query::<PauseQuery>()
        .reason::<ReasonBody>()
        .answers::<Vec<AutomationPause>>(200, "The pauses still in force."),
    ]
}

fn audit() -> Vec<Endpoint> {
    vec![
        Endpoint::new(("GET", "/audit"), ("listAudit", "Audit"), "A page of the audit chain", get(handle::audit))
            .details("Oldest first: the newest `limit` records, or those `after` a position.")
            .query::<AuditQuery>()
            .answers::<Vec<AuditRecord>>(200, "The records."),
        Endpoint::new(("GET", "/audit/verify"), ("verifyAudit", "Audit"), "Verify the audit chain", get(handle::verify_audit))
            .details("The replicated chain, and the archive on the disk of the node that is asked: 200,000 records of it at a time, `archive.next` says where to go on. The first record that is wrong is named.")
            .query::<VerifyQuery>()
            .answers::<AuditVerdict>(200, "Whether every record stands as it was written."),
        Endpoint::new(("GET", "/audit/export"), ("exportAudit", "Audit"), "Audit records of any age", get(handle::export_audit))
            .details("Oldest first, from the archive of the node that is asked and from what it has applied. Records that it does not have are told of in their place. With `hash_personal=true` names and addresses are pseudonyms: the same person has the same one, and the records' hashes cannot be verified any more.")
            .query::<ExportQuery>()
            .answers_as::<String>(200, "The records, one a line.", "application/jsonl")
            .answers_as::<String>(200, "The same as a table.", "text/csv")
            .problems(&[(409, "no-personal-key"), (503, "too-many-streams")]),
        Endpoint::new(("GET", "/events"), ("streamEvents", "Audit"), "The audit chain as it grows", get(handle::events))
            .details("Server-sent events: `id` is the record's position, `event` its action, `data` the record. `Last-Event-ID` resumes without a gap, at any node. Answered by the node that is asked, from what it has applied.")
            .query::<EventsQuery>()
            .answers_as::<String>(200, "The stream; it does not end by itself.", "text/event-stream").problems(&[(410, "records-dropped"), (503, "too-many-streams")]),
    ]
}

fn sinks() -> Vec<Endpoint> {
    const NO_SINK: (u16, &str) = (404, "sink-not-found");
    vec![
        Endpoint::new(("GET", "/sinks"), ("listSinks", "Sinks"), "Where audit records are sent to", get(handle::sinks))
            .details("As the leader is configured, and as it sees them: a sink that it has not tried yet is `unknown`.")
            .answers::<Vec<SinkView>>(200, "The sinks."),
        Endpoint::new(("GET", "/sinks/{sink}/dead-letters"), ("listDeadLetters", "Sinks"), "What a sink refused for good", get(handle::dead_letters))
            .answers::<Vec<DeadLetter>>(200, "Oldest first.")
            .problems(&[NO_SINK]),
        Endpoint::new(("POST", "/sinks/{sink}/dead-letters/retry"), ("retryDeadLetters", "Sinks"), "Send dead letters again", post(handle::retry_dead_letters))
            .details("Oldest first, for 6 s or until the sink cannot be reached.")
            .reason::<ReasonBody>()
            .answers::<SinkRetried>(200, "What came of them.")
            .problems(&[NO_SINK]),
        Endpoint::new(("POST", "/sinks/{sink}/test"), ("testSink", "Sinks"), "Send a test event", post(handle::test_sink))
            .details("Now, and apart from the records that wait.")
            .reason::<ReasonBody>()
            .answers::<SinkTested>(200, "What the sink said.")
            .problems(&[NO_SINK]),
    ]
}

fn core() -> Vec<Endpoint> {
    vec![
        Endpoint::new(("GET", "/core"), ("getCore", "Core"), "The control core", get(handle::core))
            .details("As the node that is asked sees it.")
            .answers::<CoreView>(200, "Its view."),
        Endpoint::new(("POST", "/core/members"), ("addCoreNode", "Core"), "Add a control node", post(handle::add_node))
            .details("It votes once it has caught up; the answer waits for that.")
            .body::<AddCoreNode>(r#"{"name": "core-4", "id": 4, "address": "10.4.0.1:7000", "api_address": "10.4.0.1:7001"}"#)
            .answers::<CoreView>(200, "The core with it.")
            .problems(&[(422, "refused")]),
        Endpoint::new(("DELETE", "/core/members/{node}"), ("removeCoreNode", "Core"), "Remove a control node", delete(handle::remove_node))
            .reason::<ReasonBody>()
            .answers::<CoreView>(200, "The core without it.")
            .problems(&[(422, "refused")]),
    ]
}

fn documents() -> Vec<Endpoint> {
    vec![
        Endpoint::new(
            ("GET", "/openapi.json"),
            ("getDocument", "Reference"),
            "This API as OpenAPI 3.1",
            get(handle::document),
        )
        .answers::<std::collections::BTreeMap<String, serde_json::Value>>(200, "The document."),
        Endpoint::new(
            ("GET", "/reference"),
            ("getReference", "Reference"),
            "This API as a page",
            get(handle::reference),
        )
        .answers_as::<String>(200, "The page.", "text/html"),
    ]
}
