//! What differs between two specs, field by field.

use std::collections::BTreeSet;

use continuum_domain::spec::PairSpec;
use serde_json::Value;

use crate::rest::{FieldChange, SpecDiff};

/// What differs, by path. A spec that is not there differs in every field.
pub fn diff(
    (from, before): (Option<u64>, Option<&PairSpec>),
    (to, after): (Option<u64>, Option<&PairSpec>),
) -> SpecDiff {
    let mut changes = Vec::new();
    let json = |spec: Option<&PairSpec>| {
        spec.map(|spec| serde_json::to_value(spec).expect("specs are plain data"))
    };
    compare("", json(before), json(after), &mut changes);
    SpecDiff { from, to, changes }
}

fn compare(path: &str, before: Option<Value>, after: Option<Value>, out: &mut Vec<FieldChange>) {
    if before == after {
        return;
    }
    match (before, after) {
        (Some(Value::Object(mut before)), Some(Value::Object(mut after))) => {
            let keys: BTreeSet<String> = before.keys().chain(after.keys()).cloned().collect();
            for key in keys {
                compare(&below(path, &key), before.remove(&key), after.remove(&key), out);
            }
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => {
            let (mut before, mut after) = (before.into_iter(), after.into_iter());
            for index in 0..before.len().max(after.len()) {
                compare(&below(path, &index.to_string()), before.next(), after.next(), out);
            }
        }
        // A whole spec that appears or goes is told field by field as well.
        (None, Some(Value::Object(after))) if path.is_empty() => {
            compare(path, Some(Value::Object(serde_json::Map::new())), Some(after.into()), out);
        }
        (Some(Value::Object(before)), None) if path.is_empty() => {
            compare(path, Some(before.into()), Some(Value::Object(serde_json::Map::new())), out);
        }
        (before, after) => out.push(FieldChange { path: path.into(), before, after }),
    }
}

fn below(path: &str, part: &str) -> String {
    if path.is_empty() { part.to_owned() } else { format!("{path}.{part}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(port: u16, extra: &str) -> PairSpec {
        let text = format!(
            r#"{{"id": "shop", "first_primary": "fsn", {extra}
                "members": {{"fsn": {{"host": "a", "port": {port}}}, "hel": {{"host": "b", "port": 1}}}}}}"#
        );
        serde_json::from_str(&text).expect("a spec")
    }

    fn paths(diff: &SpecDiff) -> Vec<&str> {
        diff.changes.iter().map(|change| change.path.as_str()).collect()
    }

    #[test]
    fn only_what_differs_is_told() {
        let (one, two) = (spec(5432, ""), spec(5433, r#""labels": {"env": "prod"},"#));
        let told = diff((Some(1), Some(&one)), (Some(2), Some(&two)));
        assert_eq!(paths(&told), ["labels", "members.fsn.port"]);
        assert_eq!(told.changes[1].before, Some(5432.into()));
        assert_eq!(told.changes[1].after, Some(5433.into()));
        assert!(told.changes[0].before.is_none());
        assert!(diff((None, Some(&one)), (None, Some(&one))).changes.is_empty());
    }

    #[test]
    fn a_spec_that_appears_differs_in_every_field() {
        let one = spec(5432, "");
        let (made, gone) =
            (diff((None, None), (None, Some(&one))), diff((None, Some(&one)), (None, None)));
        assert!(paths(&made).contains(&"durability"));
        assert_eq!(paths(&made), paths(&gone));
        assert!(made.changes.iter().all(|change| change.before.is_none()));
    }
}
