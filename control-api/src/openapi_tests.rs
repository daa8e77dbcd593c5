use std::collections::BTreeSet;

use super::*;

/// Every reference in a document.
fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|field| references(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document = document();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 20, "{found:?}");
    for reference in found {
        let path = reference.strip_prefix('#').expect("of this document");
        assert!(document.pointer(path).is_some(), "{reference}");
    }
}

#[test]
fn operations_have_names_of_their_own_and_parameters_that_are_in_their_path() {
    let endpoints = endpoints();
    let names: BTreeSet<_> = endpoints.iter().map(|endpoint| endpoint.id).collect();
    assert_eq!(names.len(), endpoints.len());
    for endpoint in &endpoints {
        assert_eq!(endpoint.changes(), endpoint.method != "GET", "{endpoint:?}");
        assert!(!endpoint.answers.is_empty(), "{endpoint:?}");
        assert_eq!(endpoint.body.is_some(), endpoint.changes(), "{endpoint:?}");
        for (_, codes) in problems(endpoint) {
            assert!(codes.iter().all(|code| crate::problem::kind_of(code).is_some()));
        }
    }
}

#[test]
fn queries_become_parameters() {
    let document = document();
    let parameters = document["paths"]["/api/v1/pairs/{pair}/diff"]["get"]["parameters"].clone();
    let told: Vec<(&str, &str, bool)> = parameters
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| {
            let text = |name: &str| one[name].as_str().unwrap_or_default();
            (text("name"), text("in"), one["required"] == true)
        })
        .collect();
    assert_eq!(told, [("pair", "path", true), ("from", "query", true), ("to", "query", false)]);
    let to = &parameters[2]["schema"];
    assert_eq!(to["type"], "integer", "never null: {to}");
}

#[test]
fn examples_are_what_their_routes_take() {
    use crate::rest::{
        AddCoreNode, ApplyPair, FailbackRequest, FailoverRequest, PausePairRequest, PauseRequest,
        RejoinRequest, ResumePairRequest, RollbackRequest, SwitchoverRequest,
    };
    for endpoint in endpoints() {
        let text = endpoint.example;
        let read = match endpoint.id {
            "applyPair" => serde_json::from_str::<ApplyPair>(text)
                .map(|body| body.spec.check().expect("accepted")),
            "switchOver" => serde_json::from_str::<SwitchoverRequest>(text).map(drop),
            "failBack" => serde_json::from_str::<FailbackRequest>(text).map(drop),
            "pausePair" => serde_json::from_str::<PausePairRequest>(text).map(drop),
            "rejoinMember" => serde_json::from_str::<RejoinRequest>(text).map(drop),
            "resumePair" => serde_json::from_str::<ResumePairRequest>(text).map(drop),
            "failOver" => serde_json::from_str::<FailoverRequest>(text).map(drop),
            "rollBackPair" => serde_json::from_str::<RollbackRequest>(text).map(drop),
            "pauseAutomation" => serde_json::from_str::<PauseRequest>(text).map(drop),
            "addCoreNode" => serde_json::from_str::<AddCoreNode>(text).map(drop),
            "setGrant" => serde_json::from_str::<crate::access::GrantBody>(text).map(drop),
            "createToken" => serde_json::from_str::<crate::access::TokenBody>(text).map(drop),
            "setRule" => serde_json::from_str::<crate::approvals::RuleBody>(text).map(drop),
            "breakGlass" => serde_json::from_str::<crate::access::GlassBody>(text).map(drop),
            _ if text.is_empty() => Ok(()),
            _ => serde_json::from_str::<crate::rest::ReasonBody>(text).map(drop),
        };
        assert!(read.is_ok(), "{endpoint:?}: {read:?}");
    }
}
