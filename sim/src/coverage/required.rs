//! What the scenarios and enough seeds must reach.
//!
//! What is left out on purpose is listed too, with the reason. When such a row is reached after all
//! the check fails as well, so that no reason outlives its truth.

/// The last word or words of each kind of row.
const ROWS: &[(&str, &[&str])] = &[
    (
        "blocked",
        &[
            "core-unreachable",
            "data-loss-approval",
            "denied-by-core",
            "failsafe-refused",
            "fenced",
            "foreign-data",
            "guard-lost",
            "not-in-sync",
            "not-streaming",
            "paused",
            "promised",
            "rejoin-exhausted",
            "restart-failing",
            "waiting-for-standby",
            "witness-unreachable",
        ],
    ),
    ("acquired", &["approved", "created", "expired", "handover", "returned", "vacant"]),
    ("rejoined", &["followed", "re-cloned", "rewound"]),
    ("ledger", &["grown", "shrunk", "taken-over"]),
    ("lineage", &["apart", "diverged", "follows", "foreign"]),
    ("cas", &["accepted", "not-sent", "refused", "unanswered"]),
    ("plane", &["failed", "unknown"]),
    ("promise", &["given", "refused"]),
    (
        "role",
        &["fenced", "handing-over", "primary", "promoting", "rejoining", "standby", "unknown"],
    ),
    ("operation failover", &["done", "failed", "refused", "undone"]),
    ("operation switchover", &["done", "failed", "refused", "undone"]),
    (
        "refusal",
        &[
            "anti-flap",
            "approval",
            "automation-paused",
            "better-candidate",
            "data-loss-approval",
            "manual-mode",
            "observe-only",
            "operation-under-way",
            "stale-epoch",
        ],
    ),
];

/// Rows that could be expected and are never reached, and why.
const LEFT_OUT: &[(&str, &str)] = &[
    ("blocked primary-unreachable", "the pair machine forgets it in the step that says it"),
    ("refusal too-many-failovers", "needs several pairs, and a world has one"),
];

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
    rows.push("grant".into());
    rows.sort();
    rows
}
