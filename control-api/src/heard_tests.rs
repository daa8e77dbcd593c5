use continuum_domain::corroborate::{Corroboration, NameState};
use continuum_domain::spec::PairSpec;
use serde_json::json;

use super::*;
use crate::link::{
    FromAgent, GrantAnswer, MemberRole, OperatorAnswer, OperatorAsk, PeerAnswer, PeerAsk, ToAgent,
};

fn pair() -> PairId {
    PairId::new("app").expect("valid")
}

fn report() -> Value {
    json!({
        "role": "primary",
        "record": [9, {
            "epoch": 7, "holder": "fsn", "in_sync": { "fsn": "d-1" }, "handover_to": null,
            "paused": false, "waits_for_all": true,
        }, 3],
        "lease_remaining_ms": 5, "session_remaining_ms": 5, "data_directory": "d-1",
        "sql": [{
            "in_recovery": false, "timeline": 1, "wal": "0/3E8", "replay": null,
            "receiver_streaming": false, "upstream_end": null, "upstream_age_ms": null,
            "sync_names": "", "waiting_commits": 0, "lowered_commit": [],
            "standbys": { "hel": {
                "streaming": true, "sync": true, "flush": "0/3E8", "replay": "0/3E8", "lag_ms": 0,
            } },
        }, 2],
        "sql_failed": [2, "why"], "write_probe_age_ms": 1, "fenced": null,
        "blocked": { "code": "c", "meaning": "m", "action": "a" },
        "guard_alive": true, "witness_reachable": true, "spec_version": 2,
        "takeover_refusals": ["no"],
        "names": { "app.db.example": {
            "problem": null, "epoch": 7, "ttl": 5, "records": ["A 10.0.0.1"], "converged": [7, 38],
            "places": { "pdns at 10.0.0.2:53": {
                "published_age_ms": 1, "epoch": 7, "failures": 1,
                "last_error": [1, "unanswered", "why"], "foreign_writes": 1,
                "last_foreign": [1, "what"],
            } },
            "authorities": { "10.0.0.2:53": { "age_ms": 1, "serves": true, "said": "serves" } },
        } },
        "peers": { "hel": {
            "heard_age_ms": 1, "refused_age_ms": null,
            "round_trips": {
                "count": 3, "unanswered": 0, "p50_us": 1, "p99_us": 2, "max_us": 3,
                "suggested_suspect_after_ms": 4,
            },
        } },
    })
}

fn spec() -> Value {
    json!({
        "id": "app", "first_primary": "fsn",
        "members": {
            "fsn": { "host": "a", "port": 5432 }, "hel": { "host": "b", "port": 5432 },
        },
    })
}

/// One fact of each kind.
fn facts() -> Vec<Value> {
    let blocked = json!({ "code": "c", "meaning": "m", "action": "a" });
    vec![
        json!({
            "fact": "step", "step": "commit", "outcome": { "result": "failed", "reason": "r" },
            "took_us": 1, "detail": "d",
        }),
        json!({ "fact": "acquired", "by": "expired", "from": "fsn", "autonomous": true }),
        json!({ "fact": "released", "reason": "r" }),
        json!({ "fact": "fenced", "reason": "r" }),
        json!({ "fact": "ledger", "before": ["fsn"], "after": ["hel"], "reason": "r" }),
        json!({ "fact": "premise", "holds": false, "reasons": ["r"] }),
        json!({
            "fact": "rejoined", "how": "rewound", "artefact": "f", "fork": "0/1", "end": "0/2",
            "commits": 1,
        }),
        json!({ "fact": "blocked", "state": blocked }),
    ]
}

fn entry(seq: u64, fact: &Value) -> Value {
    json!({ "seq": seq, "at_ms": 1, "pair": "app", "epoch": 7, "operation": "op-1", "fact": fact })
}

fn from_agent() -> Vec<Value> {
    let entries: Vec<Value> = (1..).zip(facts()).map(|(seq, fact)| entry(seq, &fact)).collect();
    let state = json!({ "code": "c", "meaning": "m", "action": "a" });
    vec![
        json!({ "type": "hello", "region": "fsn", "version": "1", "journal_seq": 3 }),
        json!({ "type": "follow" }),
        json!({
            "type": "ask", "request": 1, "key": "k", "pair": "app", "reason": "r",
            "wish": { "wish": "switchover", "to": "hel" },
        }),
        json!({
            "type": "report", "members": { "app": report() }, "not_understood": { "app": state },
            "acceptors": { "w1": {
                "answered_age_ms": 1, "failures": 2, "last_error": [3, "unanswered"], "p50_us": 4,
                "p99_us": 5,
            } },
            "traffic": { "pooler": {
                "pair": "app", "kind": "pgbouncer", "can_hold": true, "target": [7, "fsn"],
                "wanted": 7, "success_age_ms": 1, "held_age_ms": 2, "held_by_others": false,
                "last_error": [3, "e"],
            } },
        }),
        json!({
            "type": "grant-request", "request": 1, "pair": "app", "epoch": 7, "trigger": "t",
            "evidence": "e", "listed": true, "lag_bytes": 1,
        }),
        json!({ "type": "journal", "entries": entries }),
    ]
}

fn to_agent() -> Vec<Value> {
    let grant = |answer: Value| json!({ "type": "grant", "request": 1, "pair": "app", "epoch": 7, "answer": answer });
    let directive = |order: Value| {
        json!({
            "type": "directive", "operation": "op-1", "pair": "app", "epoch": 7, "order": order,
        })
    };
    let told = |answer: Value| json!({ "type": "answer", "request": 1, "answer": answer });
    vec![
        json!({ "type": "not-leader", "leader": "c1" }),
        json!({
            "type": "specs", "specs": { "app": [3, spec()] }, "automation_paused": { "app": 9 },
        }),
        grant(json!({ "grant": "granted", "operation": "op-1", "allow_data_loss": false })),
        grant(json!({ "grant": "denied", "reasons": ["r"] })),
        grant(json!({ "grant": "wait-for-approval", "reason": "r" })),
        directive(json!({ "order": "switch-over", "to": "hel", "deadline_ms": 1 })),
        directive(json!({ "order": "abort-switch-over" })),
        directive(json!({ "order": "take-over", "deadline_ms": 1 })),
        directive(json!({ "order": "fail-over", "allow_data_loss": false })),
        directive(json!({ "order": "checkpoint" })),
        directive(json!({ "order": "hold-traffic", "drain_ms": 1, "hold_ms": 2 })),
        directive(json!({ "order": "release-traffic" })),
        json!({ "type": "journal-ack", "seq": 4 }),
        told(json!({ "answer": "applied", "version": 2 })),
        told(json!({ "answer": "started", "operation": "op-1" })),
        told(json!({ "answer": "kept", "approval": "apr-1" })),
        told(json!({ "answer": "refused", "code": "c", "text": "t", "again": false })),
        json!({ "type": "standings", "whole": true, "pairs": { "shop": null } }),
    ]
}

fn peer_asks() -> Vec<Value> {
    vec![
        json!({
            "ask": "replayed", "pair": "app", "epoch": 7, "timeline": 1, "lsn": "0/1", "wait_ms": 1,
        }),
        json!({ "ask": "beat", "sequence": 1 }),
        json!({ "ask": "nudge", "pair": "app" }),
        json!({ "ask": "identify", "pair": "app", "epoch": 7 }),
        json!({ "ask": "promise", "pair": "app", "epoch": 7, "hold_ms": 1 }),
        json!({ "ask": "writable", "pair": "app", "epoch": 7, "wait_ms": 1 }),
    ]
}

fn peer_answers() -> Vec<Value> {
    vec![
        json!({ "answer": "replayed", "data_directory": "d-1", "replay": "0/1" }),
        json!({ "answer": "beat", "sequence": 1 }),
        json!({ "answer": "noted" }),
        json!({ "answer": "identity", "data_directory": "d-1" }),
        json!({ "answer": "promised" }),
        json!({ "answer": "writable" }),
        json!({ "answer": "refused", "reason": "r" }),
    ]
}

fn operator_asks() -> Vec<Value> {
    let ask = |ask: &str| json!({ "ask": ask, "pair": "app", "reason": "r" });
    vec![ask("fence"), ask("unfence"), json!({ "ask": "show", "pair": "app" })]
}

fn operator_answers() -> Vec<Value> {
    vec![
        json!({ "answer": "done" }),
        json!({ "answer": "member", "report": report() }),
        json!({ "answer": "failed", "reason": "r" }),
    ]
}

/// Objects whose keys are names of things and not fields.
const MAPS: [&str; 12] = [
    "members",
    "not_understood",
    "specs",
    "automation_paused",
    "in_sync",
    "standbys",
    "peers",
    "acceptors",
    "names",
    "places",
    "authorities",
    "traffic",
];

/// `message` with an unknown field in one object, for each of its objects.
fn with_an_unknown_field(message: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    if let Value::Object(fields) = message {
        for unknown in [json!(1), json!({ "a": [null, "b"] })] {
            let mut more = fields.clone();
            more.insert("x_of_the_future".into(), unknown);
            all.push(Value::Object(more));
        }
    }
    let parts: Vec<(String, &Value)> = match message {
        Value::Object(fields) => fields.iter().map(|(name, part)| (name.clone(), part)).collect(),
        Value::Array(parts) => {
            parts.iter().enumerate().map(|(index, part)| (index.to_string(), part)).collect()
        }
        _ => Vec::new(),
    };
    for (name, part) in parts {
        let variants: Vec<Value> = match part {
            // Its own keys are names; what stands under them has fields.
            Value::Object(things) if MAPS.contains(&name.as_str()) => things
                .iter()
                .filter(|_| name != "specs")
                .flat_map(|(key, thing)| {
                    let put = move |thing| {
                        let mut things = things.clone();
                        things.insert(key.clone(), thing);
                        Value::Object(things)
                    };
                    with_an_unknown_field(thing).into_iter().map(put)
                })
                .collect(),
            part => with_an_unknown_field(part),
        };
        for variant in variants {
            let mut whole = message.clone();
            match &mut whole {
                Value::Object(fields) => drop(fields.insert(name.clone(), variant)),
                Value::Array(parts) => parts[name.parse::<usize>().expect("an index")] = variant,
                _ => {}
            }
            all.push(whole);
        }
    }
    all
}

fn read<T: DeserializeOwned>(message: &Value) -> T {
    let text = message.to_string();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn unknown_fields_change_nothing<T>(messages: &[Value])
where
    T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug,
{
    for message in messages {
        let plain: T = read(message);
        let again: T = read(&serde_json::to_value(&plain).expect("plain data"));
        assert_eq!(again, plain);
        let variants = with_an_unknown_field(message);
        assert!(!variants.is_empty());
        for variant in variants {
            assert_eq!(read::<T>(&variant), plain, "{variant}");
        }
    }
}

#[test]
fn an_unknown_field_at_any_level_of_any_message_changes_nothing() {
    unknown_fields_change_nothing::<FromAgent>(&from_agent());
    unknown_fields_change_nothing::<ToAgent>(&to_agent());
    unknown_fields_change_nothing::<PeerAsk>(&peer_asks());
    unknown_fields_change_nothing::<PeerAnswer>(&peer_answers());
    unknown_fields_change_nothing::<OperatorAsk>(&operator_asks());
    unknown_fields_change_nothing::<OperatorAnswer>(&operator_answers());
}

#[test]
fn what_the_samples_say_is_understood_in_full() {
    for message in from_agent() {
        match read(&message) {
            FromAgent::Journal { entries } => {
                assert_eq!(entries.len(), facts().len());
                assert!(entries.iter().all(|entry| entry.understood().is_some()), "{entries:?}");
            }
            FromAgent::Report { members, not_understood, acceptors, traffic } => {
                assert_eq!((members.len(), not_understood.len()), (1, 1));
                assert_eq!(acceptors.map(|acceptors| acceptors.len()), Some(1));
                assert_eq!(traffic.map(|switches| switches.len()), Some(1));
            }
            FromAgent::Ask(ask) => assert!(ask.wish.understood().is_some()),
            FromAgent::Hello { .. } | FromAgent::GrantRequest { .. } | FromAgent::Follow => {}
        }
    }
    for message in to_agent() {
        match read(&message) {
            ToAgent::Specs { specs, .. } => assert!(specs[&pair()].1.understood().is_some()),
            ToAgent::Grant { answer, .. } => assert!(answer.understood().is_some()),
            ToAgent::Answer { answer, .. } => assert!(answer.understood().is_some()),
            _ => {}
        }
    }
}

fn specs_with(app: &Value) -> BTreeMap<PairId, (u64, Heard<PairSpec>)> {
    let mut shop = spec();
    shop["id"] = json!("shop");
    let message = json!({
        "type": "specs",
        "specs": { "app": [4, app], "shop": [2, shop], "Nö": [1, spec()] },
        "automation_paused": { "shop": 5, "Nö": 5 },
    });
    match read(&message) {
        ToAgent::Specs { specs, automation_paused } => {
            assert_eq!(automation_paused.len(), 1);
            specs
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_spec_that_is_not_understood_takes_no_other_with_it_and_names_the_field() {
    let mut field = spec();
    field["members"]["hel"]["zone"] = json!("b");
    let mut word = spec();
    word["durability"] = json!("quorum");
    let mut top = spec();
    top["max_cost"] = json!(3);
    for (app, path) in [(field, "members.hel"), (word, "durability"), (top, "max_cost")] {
        let specs = specs_with(&app);
        assert_eq!(specs.len(), 2);
        assert!(specs[&PairId::new("shop").expect("valid")].1.understood().is_some());
        let Heard::Other(other) = &specs[&pair()].1 else { panic!("understood: {app}") };
        assert!(other.problem.contains(path), "{}", other.problem);
        // It is written on as it came, for who understands it.
        assert_eq!(serde_json::to_value(&specs[&pair()].1).expect("plain data"), app);
    }
}

#[test]
fn what_a_person_writes_stays_strict() {
    let mut wrong = spec();
    wrong["max_cost"] = json!(3);
    assert!(serde_json::from_value::<PairSpec>(wrong.clone()).is_err());
    assert!(serde_json::from_value::<crate::rest::ApplyPair>(json!({ "spec": wrong })).is_err());
}

#[test]
fn a_report_of_a_newer_agent_is_taken_as_far_as_it_is_understood() {
    let mut elsewhere = report();
    elsewhere["role"] = json!("cloning");
    let mut odd = report();
    odd["record"] = json!("moved to another place");
    let message = json!({ "type": "report", "members": { "app": elsewhere, "shop": odd } });
    let FromAgent::Report { members, not_understood, acceptors, traffic } = read(&message) else {
        panic!("a report")
    };
    assert_eq!((acceptors, traffic), (None, None), "an agent that does not say");
    assert_eq!(members.keys().collect::<Vec<_>>(), [&pair()]);
    assert_eq!(members[&pair()].role, MemberRole::Unknown);
    assert!(not_understood.is_empty());
}

#[test]
fn acceptors_that_are_not_understood_take_nothing_else_with_them() {
    let good = json!({
        "answered_age_ms": null, "failures": 0, "last_error": null, "p50_us": null, "p99_us": null,
    });
    let acceptors = |told: Value| {
        let message =
            json!({ "type": "report", "members": { "app": report() }, "acceptors": told });
        let FromAgent::Report { members, acceptors, .. } = read(&message) else {
            panic!("a report")
        };
        assert_eq!(members.len(), 1);
        acceptors.map(|known| known.into_keys().collect::<Vec<_>>())
    };
    assert_eq!(acceptors(json!({ "w1": good, "w2": "away" })), Some(vec!["w1".to_owned()]));
    assert_eq!(acceptors(json!(["w1"])), None);
    assert_eq!(acceptors(json!(null)), None);
}

#[test]
fn names_that_are_not_understood_take_nothing_else_with_them() {
    let names = |told: Value| {
        let mut member = report();
        member["names"] = told;
        let message = json!({ "type": "report", "members": { "app": member } });
        let FromAgent::Report { members, .. } = read(&message) else { panic!("a report") };
        members[&pair()].names.clone().map(|known| known.into_keys().collect::<Vec<_>>())
    };
    assert_eq!(names(json!({ "a": {}, "b": { "ttl": "long" } })), Some(vec!["a".to_owned()]));
    assert_eq!(names(json!(["a"])), None);
    assert_eq!(names(json!(null)), None);
}

#[test]
fn an_answer_that_is_not_understood_is_no_grant() {
    let answer = json!({ "grant": "granted-with-conditions", "operation": "op-1" });
    let message =
        json!({ "type": "grant", "request": 1, "pair": "app", "epoch": 7, "answer": answer });
    let ToAgent::Grant { answer, .. } = read(&message) else { panic!("a grant") };
    let answer: Heard<GrantAnswer> = answer;
    assert_eq!(answer.understood(), None);
}

#[test]
fn an_unknown_fact_is_kept_whole_and_the_journal_goes_on() {
    let unknown_kind = json!({ "fact": "teleported", "to": "mars" });
    let unknown_word = json!({ "fact": "step", "step": "levitate", "outcome": { "result": "done" }, "detail": "" });
    for fact in [unknown_kind, unknown_word] {
        let (newer, next) = (entry(5, &fact), entry(6, &facts()[2]));
        let message = json!({ "type": "journal", "entries": [newer, next] });
        let FromAgent::Journal { entries } = read(&message) else { panic!("a journal") };
        assert_eq!(entries.iter().map(Heard::seq).collect::<Vec<_>>(), [Some(5), Some(6)]);
        // An agent that was downgraded sends it on as its newer self wrote it.
        assert_eq!(serde_json::to_value(&entries[0]).expect("plain data"), newer);
        let taken: Vec<JournalEntry> =
            entries.into_iter().map(|entry| entry.into_entry().expect("it says where")).collect();
        assert_eq!((taken[0].seq, taken[0].epoch), (5, Epoch(7)));
        let Fact::NotUnderstood { kind, text, .. } = &taken[0].fact else { panic!("{taken:?}") };
        assert_eq!(kind, fact["fact"].as_str().expect("text"));
        assert_eq!(serde_json::from_str::<Value>(text).expect("JSON"), fact);
        assert!(matches!(taken[1].fact, Fact::Released { .. }));
        // The replicated log has it in the words of every node, whatever its version.
        let logged = serde_json::to_value(&taken[0]).expect("plain data");
        assert_eq!(read::<JournalEntry>(&logged), taken[0]);
    }
}

#[test]
fn an_entry_that_does_not_say_where_it_belongs_is_an_error_by_name() {
    let mut nowhere = entry(5, &facts()[2]);
    nowhere["pair"] = json!(["app", "shop"]);
    let heard: Heard<JournalEntry> = read(&nowhere);
    assert_eq!(heard.seq(), Some(5));
    assert!(heard.into_entry().expect_err("no place").problem.contains("pair"));
}

/// A second opinion that is not understood is none: the question itself is answered all the same.
#[test]
fn a_second_opinion_of_another_version_is_not_in_the_way_of_the_question() {
    let ask = |corroboration: Value| -> Option<Heard<Corroboration>> {
        let message = json!({
            "type": "grant-request", "request": 1, "pair": "app", "epoch": 7, "trigger": "t",
            "evidence": "e", "listed": true, "lag_bytes": 1, "corroboration": corroboration,
        });
        let FromAgent::GrantRequest { corroboration, .. } =
            serde_json::from_value(message).expect("understood")
        else {
            panic!("another message");
        };
        corroboration
    };
    assert_eq!(ask(Value::Null), None);
    let said = |state: &str| {
        json!({
            "name": "h.example.net", "verdict": state, "age_ms": 40, "in_a_newer_version": 1,
            "answers": { "9.9.9.9": { "state": state, "detail": "d" } },
        })
    };
    let understood = |state| ask(said(state)).and_then(|it| it.understood().cloned());
    assert_eq!(understood("up").map(|it| it.verdict), Some(NameState::Up));
    assert_eq!(understood("half-up").map(|it| it.verdict), Some(NameState::Unknown));
    let other = ask(json!({ "seen_by": "satellite" })).expect("heard");
    assert!(other.understood().is_none());
}
