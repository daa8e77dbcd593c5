use super::*;
use continuum_runtime::disk::FsDisk;
use serde_json::{Value, json};

#[tokio::test]
async fn a_promise_is_served_again_in_full_r20() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDisk::new(std::sync::Arc::new(FsDisk::open(directory.path()).unwrap()));
    let pair = PairId::new("app").unwrap();
    assert_eq!(state.read_promise(&pair).await.unwrap(), None);
    state.write_promise(&pair, Duration::from_millis(10_100)).await.unwrap();
    let promise = state.read_promise(&pair).await.unwrap();
    assert_eq!(promise, Some(Duration::from_millis(10_100)));
    state.clear_promise(&pair).await.unwrap();
    state.clear_promise(&pair).await.unwrap();
    assert_eq!(state.read_promise(&pair).await.unwrap(), None);
}

fn app() -> PairId {
    PairId::new("app").unwrap()
}

/// A spec as a core sends it, with a field more where `more` says so.
fn spec(mode: &str, more: Option<&str>) -> Value {
    let mut spec = json!({
        "id": "app", "first_primary": "fsn", "mode": mode,
        "members": {
            "fsn": { "host": "a", "port": 1 }, "hel": { "host": "b", "port": 1 },
        },
    });
    if let Some(field) = more {
        spec[field] = json!(3);
    }
    spec
}

fn received(version: u64, spec: &Value) -> Specs {
    let file = json!({ "specs": { "app": [version, spec] }, "automation_paused": {} });
    serde_json::from_value(file).unwrap()
}

fn modes(specs: &Specs) -> Vec<(u64, String, bool)> {
    let acting = specs.acting().into_values();
    acting.map(|(version, it)| (version, format!("{:?}", it.mode), it.autonomous)).collect()
}

#[test]
fn a_pair_goes_on_by_the_last_spec_it_understood_and_asks_the_core() {
    let first = received(1, &spec("automatic", None));
    assert_eq!(modes(&first), [(1, "Automatic".into(), true)]);
    assert!(first.behind().is_empty());
    let second = received(2, &spec("manual", Some("max_cost"))).after(first);
    assert_eq!(modes(&second), [(1, "Automatic".into(), false)]);
    let state = second.behind()[&app()].clone();
    assert_eq!(state.code, "spec-not-understood");
    for part in ["version 2", "max_cost", "goes on by version 1"] {
        assert!(state.meaning.contains(part), "{}", state.meaning);
    }
    // Sent again, or changed into another one that is not understood: the same spec counts.
    let again = received(2, &spec("manual", Some("max_cost"))).after(second.clone());
    assert_eq!(again, second);
    let third = received(3, &spec("manual", Some("max_price"))).after(again);
    assert_eq!(modes(&third), [(1, "Automatic".into(), false)]);
    assert!(third.behind()[&app()].meaning.contains("max_price"));
    let fourth = received(4, &spec("manual", None)).after(third);
    assert_eq!(modes(&fourth), [(4, "Manual".into(), true)]);
    assert!(fourth.behind().is_empty());
}

#[test]
fn a_pair_of_which_no_spec_was_ever_understood_does_not_run_and_says_so() {
    let specs = received(1, &spec("automatic", Some("max_cost"))).after(Specs::default());
    assert!(specs.acting().is_empty());
    assert!(specs.behind()[&app()].meaning.contains("does not run the pair"));
    // The pair is removed: nothing of it stays.
    let none: Specs =
        serde_json::from_value(json!({ "specs": {}, "automation_paused": {} })).unwrap();
    assert_eq!(none.clone().after(specs), none);
}

#[tokio::test]
async fn an_agent_that_was_downgraded_goes_back_to_the_spec_before() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDisk::new(std::sync::Arc::new(FsDisk::open(directory.path()).unwrap()));
    // As a newer version leaves it, for which the field was nothing special.
    let file = json!({
        "specs": { "app": [2, spec("manual", Some("max_cost"))] },
        "before": { "app": [1, spec("automatic", None)] },
        "automation_paused": { "app": 9 },
        "x_of_the_future": [1],
    });
    disk::write_json(state.disk().as_ref(), SPECS, &file).await.unwrap();
    let region = RegionId::new("fsn").unwrap();
    let read = state.read_specs(Vec::new(), &region).await.unwrap();
    assert_eq!(modes(&read), [(1, "Automatic".into(), false)]);
    assert_eq!(read.behind().len(), 1);
    // What it writes itself can be read by the newer version again, in full.
    state.write_specs(&read).await.unwrap();
    let written: Value = disk::read_json(state.disk().as_ref(), SPECS).await.unwrap().unwrap();
    assert_eq!(written["specs"], file["specs"]);
}

#[tokio::test]
async fn what_agents_wrote_before_there_was_a_fallback_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDisk::new(std::sync::Arc::new(FsDisk::open(directory.path()).unwrap()));
    let first = received(1, &spec("automatic", None));
    state.write_specs(&first).await.unwrap();
    let written: Value = disk::read_json(state.disk().as_ref(), SPECS).await.unwrap().unwrap();
    assert!(written.get("before").is_none(), "{written}");
    let region = RegionId::new("fsn").unwrap();
    assert_eq!(state.read_specs(Vec::new(), &region).await.unwrap(), first);
}
