//! What the scenarios and enough seeds must reach.
//!
//! Neither demanded nor left out, because no scenario tells of them yet: `blocked rejoin-exhausted`
//! (a member that diverges twice in one epoch), `blocked primary-unreachable` (a holder that does not
//! answer for seconds while a member waits to rejoin), `operation switchover refused` (a target that
//! turns unfit between the order and the core's own look), `plane unknown` (a guard that dies in the
//! middle of a command).
//!
//! What is left out on purpose is listed too, with the reason. When such a row is reached after all
//! the check fails as well, so that no reason outlives its truth.

/// The last word or words of each kind of row.
const ROWS: &[(&str, &[&str])] = &[
    (
        "blocked",
        &[
            "clone-failed",
            "core-unreachable",
            "data-loss-approval",
            "denied-by-core",
            "failsafe-refused",
            "fenced",
            "foreign-data",
            "guard-lost",
            "health-name-answers",
            "not-in-sync",
            "not-streaming",
            "paused",
            "promised",
            "restart-failing",
            "waiting-for-standby",
            "witness-unreachable",
            "writes-stalled",
        ],
    ),
    (
        "acquired",
        &[
            "approved", "created", "expired", "handover", "hot", "ledger", "resumed", "returned",
            "vacant",
        ],
    ),
    ("premise", &["given", "taken-back"]),
    ("rejoined", &["followed", "re-cloned", "rewound"]),
    ("ledger", &["grown", "shrunk", "taken-over"]),
    ("lineage", &["apart", "diverged", "follows", "foreign"]),
    ("cas", &["accepted", "not-sent", "refused", "unanswered"]),
    ("plane", &["failed"]),
    ("promise", &["given", "refused"]),
    (
        "role",
        &[
            "fenced",
            "handing-over",
            "primary",
            "promoting",
            "rejoining",
            "resting",
            "standby",
            "unknown",
        ],
    ),
    ("operation failover", &["done", "failed", "refused", "undone"]),
    ("operation pause", &["done", "undone"]),
    ("operation rejoin", &["done", "failed"]),
    ("operation resume", &["done"]),
    ("operation switchover", &["done", "failed", "undone"]),
    (
        "refusal",
        &[
            "anti-flap",
            "approval",
            "automation-paused",
            "better-candidate",
            "data-loss-approval",
            "health-name-answers",
            "manual-mode",
            "observe-only",
            "operation-under-way",
            "stale-epoch",
        ],
    ),
    (
        "sequence failover",
        &[
            "before commit started",
            "before preflight done",
            "before send fail-over",
            "before wait",
            "moved become done",
            "moved become moved",
            "moved restore-ledger started",
            "moved verify done",
            "moved verify started",
            "moved wait",
            "returned become undone",
            "returned wait",
            "unknown wait",
            "vacant wait",
        ],
    ),
    (
        "sequence pause",
        &[
            "before bar started",
            "before paused false",
            "before paused true",
            "before preflight done",
            "before send rest",
            "before stop-writes started",
            "before wait",
            "vacant become done",
            "vacant verify done",
            "vacant verify started",
        ],
    ),
    (
        "sequence rejoin",
        &[
            "before bar started",
            "before become done",
            "before become failed",
            "before preflight done",
            "before rejoin started",
            "before send keep-out",
            "before send rejoin",
            "before verify done",
            "before wait",
        ],
    ),
    (
        "sequence resume",
        &[
            "before bar started",
            "before commit started",
            "before paused false",
            "before preflight done",
            "before send fail-over",
            "before wait",
            "moved become done",
            "moved become moved",
        ],
    ),
    (
        "sequence switchover",
        &[
            "before drain done",
            "before preflight done",
            "before send abort",
            "before send switch-over",
            "before send take-over",
            "before stop-writes started",
            "before wait",
            "moved become done",
            "moved become moved",
            "moved restore-ledger started",
            "moved verify done",
            "moved verify started",
            "moved wait",
            "returned become undone",
            "returned wait",
        ],
    ),
];

/// Each kind of event, with the roles in which it comes.
const EVENTS: &[(&str, &[&str])] = &[
    ("abort-switch-over", &["handing-over"]),
    ("armed", &["handing-over", "primary", "promoting"]),
    ("automation-paused", &["fenced", "primary", "promoting", "rejoining", "standby", "unknown"]),
    ("core-link", &["fenced", "primary", "promoting", "rejoining", "standby", "unknown"]),
    ("fail-over", &["standby"]),
    ("fence-ended", &["fenced", "promoting", "rejoining"]),
    ("granted", &["rejoining", "standby", "unknown"]),
    ("guard-lost", &["primary", "unknown"]),
    ("keep-out", &["primary"]),
    (
        "nudged",
        &["fenced", "handing-over", "primary", "promoting", "rejoining", "standby", "unknown"],
    ),
    ("observed", &["fenced", "handing-over", "primary", "promoting", "standby", "unknown"]),
    ("pair-cas", &["fenced", "handing-over", "primary", "standby", "unknown"]),
    (
        "pair-read",
        &["fenced", "handing-over", "primary", "promoting", "rejoining", "standby", "unknown"],
    ),
    (
        "peer-heard",
        &["fenced", "handing-over", "primary", "promoting", "rejoining", "standby", "unknown"],
    ),
    ("peer-identity", &["primary", "promoting"]),
    ("peer-promised", &["fenced", "primary"]),
    ("peer-refused", &["primary", "standby", "unknown"]),
    ("peer-replayed", &["handing-over"]),
    ("plane", &["handing-over", "primary", "promoting", "rejoining", "standby", "unknown"]),
    ("promise-asked", &["standby", "unknown"]),
    ("promise-stored", &["standby"]),
    (
        "session",
        &["fenced", "handing-over", "primary", "promoting", "rejoining", "standby", "unknown"],
    ),
    ("rejoin", &["standby"]),
    ("resolver-answered", &["standby"]),
    ("session-read", &["fenced", "promoting", "rejoining", "standby", "unknown"]),
    ("spec", &["fenced", "primary", "promoting", "rejoining", "standby", "unknown"]),
    (
        "status",
        &["fenced", "handing-over", "primary", "promoting", "rejoining", "standby", "unknown"],
    ),
    ("switch-over", &["primary"]),
    ("take-over", &["standby"]),
    ("taken", &["unknown"]),
    (
        "wake",
        &["fenced", "handing-over", "primary", "promoting", "rejoining", "standby", "unknown"],
    ),
];

/// Rows that could be expected and are never reached, and why.
const LEFT_OUT: &[(&str, &str)] =
    &[("refusal too-many-failovers", "needs several pairs, and a world has one")];

/// Rows that can not be reached, with the reason.
pub fn left_out() -> &'static [(&'static str, &'static str)] {
    LEFT_OUT
}

/// Everything that must be reached, sorted.
pub fn required() -> Vec<String> {
    let row = |(kind, words): &(&str, &[&str])| -> Vec<String> {
        words.iter().map(|word| format!("{kind} {word}")).collect()
    };
    let mut rows: Vec<String> = ROWS.iter().flat_map(row).collect();
    let events = |(event, roles): &(&str, &[&str])| -> Vec<String> {
        roles.iter().map(|role| format!("event {role} {event}")).collect()
    };
    rows.extend(EVENTS.iter().flat_map(events));
    rows.push("grant".into());
    rows.sort();
    rows
}
