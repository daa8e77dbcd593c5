//! What is shipped for Prometheus and Grafana names only what there is.

use std::collections::BTreeSet;

const SOURCES: [&str; 13] = [
    include_str!("certificates.rs"),
    include_str!("mod.rs"),
    include_str!("core_node.rs"),
    include_str!("objectives.rs"),
    include_str!("pairs.rs"),
    include_str!("sinks.rs"),
    include_str!("traffic.rs"),
    include_str!("write_gaps.rs"),
    include_str!("../../../runtime/src/metrics.rs"),
    include_str!("../../../../agent/src/metrics.rs"),
    include_str!("../../../../agent/src/metrics/at_rest.rs"),
    include_str!("../../../../agent/src/metrics/backups.rs"),
    include_str!("../../../../agent/src/metrics/roles.rs"),
];
const EXAMPLES: [(&str, &str); 4] = [
    ("alerts", include_str!("../../../../docs/examples/prometheus-alerts.yaml")),
    ("their tests", include_str!("../../../../docs/examples/prometheus-alerts-tests.yaml")),
    ("dashboard", include_str!("../../../../docs/examples/grafana-dashboard.json")),
    ("documentation", include_str!("../../../../docs/OBSERVABILITY.md")),
];

fn names(text: &str) -> BTreeSet<&str> {
    let name = |at: usize| {
        let rest = &text[at..];
        let end = rest.find(|c: char| !(c.is_ascii_lowercase() || c == '_')).unwrap_or(rest.len());
        &rest[..end]
    };
    text.match_indices("continuum_").map(|(at, _)| name(at)).collect()
}

/// Without what the format adds to a name.
fn bare(name: &str) -> &str {
    let added = ["_total", "_bucket", "_sum", "_count"];
    added.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}

fn unknown(text: &str) -> Vec<&str> {
    let known: BTreeSet<&str> = SOURCES.iter().flat_map(|source| names(source)).collect();
    names(text).into_iter().filter(|name| !known.contains(bare(name))).collect()
}

#[test]
fn examples_name_what_there_is() {
    for (what, text) in EXAMPLES {
        assert!(names(text).len() > 5, "{what}");
        assert_eq!(unknown(text), Vec::<&str>::new(), "{what}");
    }
    // Planted: a name that nothing tells is noticed.
    assert_eq!(unknown("rate(continuum_api_calls_total[5m])"), ["continuum_api_calls_total"]);
}

#[test]
fn every_metric_is_documented() {
    let documented = EXAMPLES[3].1;
    let told = |name: &str| {
        let whole = names(documented);
        let shared =
            |start: &str| name.strip_prefix(start).is_some_and(|end| documented.contains(end));
        whole.iter().any(|one| bare(one) == name)
            || ["continuum_member", "continuum_standby", "continuum_core", "continuum_acceptor"]
                .into_iter()
                .any(shared)
    };
    let known = SOURCES.iter().flat_map(|source| names(source)).map(bare);
    let missing: Vec<&str> = known
        .filter(|name| {
            let crates = [
                "continuum_cnpg_pair",
                "continuum_control",
                "continuum_domain",
                "continuum_runtime",
                "continuum_witness",
            ];
            !crates.iter().any(|one| name.starts_with(one))
        })
        .filter(|name| !told(name))
        .collect();
    assert_eq!(missing, Vec::<&str>::new());
}
