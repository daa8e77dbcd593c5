//! YAML, byte for byte the same for the same values, and read the same by every reader.
//!
//! Older readers, `kubectl`'s among them, take a bare `on`, `no` or `y` for a truth value and `1:30`
//! for a number. So a text is written bare only where no reader could take it for anything else.

use serde_json::Value;

/// Words that some reader takes for something else than text.
const WORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];

/// One document.
pub fn document(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(_) | Value::Array(_) => block(value, 0, &mut out),
        plain => out.push_str(&scalar(plain)),
    }
    if !out.ends_with('\n') {
        out.push('\n');
    }
    out
}

/// Documents one after the other.
pub fn stream<'a>(values: impl IntoIterator<Item = &'a Value>) -> String {
    values.into_iter().map(|value| format!("---\n{}", document(value))).collect()
}

fn block(value: &Value, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(object) if !object.is_empty() => {
            // In order of the keys, whatever order they are kept in.
            let mut fields: Vec<(&String, &Value)> = object.iter().collect();
            fields.sort_by_key(|(key, _)| *key);
            for (index, (key, field)) in fields.into_iter().enumerate() {
                // The first field of a list's item stands behind its dash.
                if index > 0 || out.is_empty() || out.ends_with('\n') {
                    out.push_str(&indent);
                }
                out.push_str(&text(key));
                out.push(':');
                below(field, depth + usize::from(!field.is_array()), out);
            }
        }
        Value::Array(array) if !array.is_empty() => {
            for item in array {
                out.push_str(&indent);
                out.push('-');
                if has_lines(item) && item.is_object() {
                    out.push(' ');
                    block(item, depth + 1, out);
                } else {
                    below(item, depth + 1, out);
                }
            }
        }
        plain => {
            out.push_str(&scalar(plain));
            out.push('\n');
        }
    }
}

fn below(value: &Value, depth: usize, out: &mut String) {
    if has_lines(value) {
        out.push('\n');
        block(value, depth, out);
    } else {
        out.push(' ');
        out.push_str(&scalar(value));
        out.push('\n');
    }
}

fn has_lines(value: &Value) -> bool {
    match value {
        Value::Object(object) => !object.is_empty(),
        Value::Array(array) => !array.is_empty(),
        _ => false,
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(string) => text(string),
        Value::Object(_) => "{}".into(),
        Value::Array(_) => "[]".into(),
        plain => plain.to_string(),
    }
}

/// Bare, or in double quotes, whose escapes are JSON's.
fn text(text: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || b" _./-".contains(&byte);
    let fits = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && text.bytes().all(bare)
        && !text.ends_with(' ')
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    if fits { text.into() } else { Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_an_older_reader_takes_for_something_else_is_quoted() {
        for word in [
            "on",
            "Off",
            "YES",
            "no",
            "y",
            "N",
            "true",
            "null",
            "~",
            "1:30",
            "0777",
            "1e3",
            "5",
            "10Gi",
            "",
            " x",
            "x ",
            "a: b",
            "a #b",
            "- a",
            "*",
            "@x",
            "2026-08-03",
            ".inf",
            "<<",
        ] {
            assert_eq!(document(&json!(word)), format!("{}\n", Value::from(word)), "{word:?}");
        }
        for word in ["app-fsn", "postgresql.cnpg.io/v1", "Its name.", "only"] {
            assert_eq!(document(&json!(word)), format!("{word}\n"));
        }
        assert_eq!(document(&json!({"on": 1})), "\"on\": 1\n");
    }

    #[test]
    fn it_looks_as_people_write_it() {
        let value = json!({"b": [{"y": 1, "x": [1, "on"]}, [2], {}], "a": {"c": null, "d": []}});
        assert_eq!(
            document(&value),
            "a:\n  c: null\n  d: []\nb:\n- x:\n  - 1\n  - \"on\"\n  \"y\": 1\n-\n  - 2\n- {}\n"
        );
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[ -~]{0,12}".prop_map(Value::from),
            "\\PC{0,6}".prop_map(Value::from),
            "(on|off|a|: |#|\n|\t|'|\"|-)*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[ -~]{1,6}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(value in values()) {
            let text = document(&value);
            let read: Value = serde_yaml_ng::from_str(&text).expect("YAML");
            prop_assert_eq!(read, value, "{}", text);
        }
    }
}
