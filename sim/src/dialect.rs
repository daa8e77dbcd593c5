//! How a newer version of the programs speaks: every message carries fields that nobody here knows,
//! now and then comes one of an unknown kind, and facts have new names. What is left out on purpose:
//! a spec gets no field that no person asked for.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use continuum_control_api::link::Dialect;
use continuum_domain::Version;
use continuum_witness::{Answer, RegisterStore, StoreError, Versioned};
use serde_json::{Value, json};

use crate::random::Dice;

/// Objects whose keys are names of things and not fields.
const MAPS: [&str; 7] =
    ["members", "not_understood", "specs", "automation_paused", "in_sync", "standbys", "peers"];
/// Facts that nothing but the record is made of: a newer version may have found better words for them.
const REWORDED: [&str; 5] = ["released", "fenced", "ledger", "premise", "blocked"];
/// Percent of messages on a stream before which one of an unknown kind comes.
const ASIDES: u32 = 5;
/// Percent of the calls that are of an unknown kind, where an older version can do without.
const NEW_KINDS: u32 = 20;

/// The newer dialect of one host; `specs` as well: the core's second spec of a pair, and every later
/// one, has a field that agents do not know.
pub fn newer(seed: u64, specs: bool) -> Dialect {
    let dice = Mutex::new(Dice::of(seed ^ 0x00D1_A1EC));
    Dialect::saying(Arc::new(move |message| {
        let mut dice = dice.lock().unwrap_or_else(PoisonError::into_inner);
        say(message, &mut dice, specs)
    }))
}

fn say(mut message: Value, dice: &mut Dice, specs: bool) -> Vec<Value> {
    add_fields(&mut message);
    let kind = message.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    match kind.as_str() {
        "" => reword_call(&mut message, dice),
        "journal" => reword_facts(&mut message),
        "specs" if specs => add_to_specs(&mut message),
        _ => {}
    }
    // The first message of a stream stays the first one.
    if !matches!(kind.as_str(), "" | "hello") && dice.chance(ASIDES) {
        let aside = json!({ "type": "of-the-future", "pair": "app", "because": [1, null] });
        return vec![aside, message];
    }
    vec![message]
}

/// Adds an unknown field to every object that has fields.
fn add_fields(value: &mut Value) {
    match value {
        Value::Array(parts) => parts.iter_mut().for_each(add_fields),
        Value::Object(fields) => {
            for (name, part) in fields.iter_mut() {
                match part {
                    _ if name == "specs" => {}
                    Value::Object(things) if MAPS.contains(&name.as_str()) => {
                        things.values_mut().for_each(add_fields);
                    }
                    part => add_fields(part),
                }
            }
            fields.insert("x_of_the_future".into(), json!({ "since": 2, "why": null }));
        }
        _ => {}
    }
}

/// A beat, a nudge and their answers say enough by coming at all.
fn reword_call(message: &mut Value, dice: &mut Dice) {
    for (field, kinds) in [("ask", ["beat", "nudge"]), ("answer", ["beat", "noted"])] {
        if let Some(kind) = message.get_mut(field)
            && kind.as_str().is_some_and(|kind| kinds.contains(&kind))
            && dice.chance(NEW_KINDS)
        {
            *kind = json!("of-the-future");
        }
    }
}

/// Always: what cannot be taken is sent again and again.
fn reword_facts(message: &mut Value) {
    let entries = message.get_mut("entries").and_then(Value::as_array_mut);
    for entry in entries.into_iter().flatten() {
        if let Some(kind) = entry.pointer_mut("/fact/fact")
            && let Some(name) = kind.as_str()
            && REWORDED.contains(&name)
        {
            *kind = json!(format!("{name}-of-the-future"));
        }
    }
}

fn add_to_specs(message: &mut Value) {
    let specs = message.get_mut("specs").and_then(Value::as_object_mut);
    for sent in specs.into_iter().flat_map(serde_json::Map::values_mut) {
        let changed = sent.get(0).and_then(Value::as_u64) > Some(1);
        if let Some(spec) = sent.get_mut(1).filter(|_| changed) {
            spec["max_cost_of_the_future"] = json!(3);
        }
    }
}

/// The witness as a newer host writes to it.
pub struct NewerStore(pub Arc<dyn RegisterStore>);

#[async_trait]
impl RegisterStore for NewerStore {
    async fn read(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        self.0.read(key).await
    }

    async fn compare_and_swap(
        &self,
        key: &str,
        expected: Version,
        value: Vec<u8>,
    ) -> Result<Answer, StoreError> {
        let written = match serde_json::from_slice::<Value>(&value) {
            Ok(mut record) if record.is_object() => {
                add_fields(&mut record);
                record.to_string().into_bytes()
            }
            _ => value,
        };
        self.0.compare_and_swap(key, expected, written).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_but_names_and_specs_gets_a_field() {
        let mut message = json!({
            "type": "specs", "specs": { "app": [2, { "id": "app" }] },
            "members": { "app": { "role": "primary" } }, "list": [{ "a": 1 }],
        });
        add_fields(&mut message);
        for place in ["", "/members/app", "/list/0"] {
            let object = message.pointer(place).expect("it is there");
            assert!(object.get("x_of_the_future").is_some(), "{place}: {object}");
        }
        assert_eq!(message["specs"], json!({ "app": [2, { "id": "app" }] }));
        assert_eq!(message["members"].as_object().map(serde_json::Map::len), Some(1));
    }

    #[test]
    fn a_stream_begins_with_its_hello_and_hears_of_unknown_kinds() {
        let mut dice = Dice::of(1);
        let mut asides = 0;
        for _ in 0..200 {
            assert_eq!(say(json!({ "type": "hello" }), &mut dice, false).len(), 1);
            let said = say(json!({ "type": "journal-ack", "seq": 1 }), &mut dice, false);
            assert_eq!(said.last().expect("the message")["seq"], 1);
            asides += said.len() - 1;
        }
        assert!((1..40).contains(&asides), "{asides}");
    }
}
