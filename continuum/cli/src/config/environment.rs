//! Overrides from the environment: `CONTINUUM_AGENT__TIMING__TTL=12s` sets `timing.ttl`.

use toml::{Table, Value};

use super::locate::{Issue, KeyPath, Places};

/// Variables as handed in, so that tests need not change the process's own environment.
pub type Variables = [(String, String)];

/// The process's environment; variables that are not text are left out.
pub fn process_variables() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Merges every `CONTINUUM_<ROLE>__<PATH__TO__KEY>` into `table`. Steps of the path are lower-cased
/// and a number addresses an element of an array.
pub fn merge(
    table: &mut Table,
    prefix: &str,
    variables: &Variables,
    places: &mut Places,
    issues: &mut Vec<Issue>,
) {
    let prefix = format!("CONTINUUM_{}__", prefix.to_ascii_uppercase());
    let mut found: Vec<_> = variables
        .iter()
        .filter_map(|(name, value)| Some((name, name.strip_prefix(&prefix)?, value)))
        .collect();
    // By name, so that the result does not depend on the order of the environment.
    found.sort();
    for (name, rest, value) in found {
        let path: KeyPath = rest.split("__").map(str::to_ascii_lowercase).collect();
        places.set_variable(path.clone(), name.clone());
        if let Err(problem) = set(table, &path, value) {
            issues.push(places.issue(&path, problem));
        }
    }
}

fn set(table: &mut Table, path: &[String], text: &str) -> Result<(), String> {
    let Some((last, parents)) = path.split_last() else { return Err("names no key".into()) };
    if path.iter().any(String::is_empty) {
        return Err("has an empty step; write CONTINUUM_<ROLE>__<PATH__TO__KEY>".into());
    }
    let Some((first, parents)) = parents.split_first() else {
        let value = typed(text, table.get(last));
        table.insert(last.clone(), value);
        return Ok(());
    };
    let mut at = table.entry(first.clone()).or_insert_with(|| Value::Table(Table::new()));
    for step in parents {
        at = child(at, step)?;
    }
    match at {
        Value::Table(table) => {
            let value = typed(text, table.get(last));
            table.insert(last.clone(), value);
        }
        Value::Array(items) => {
            let slot = last.parse().ok().and_then(|index: usize| items.get_mut(index));
            let slot = slot.ok_or_else(|| format!("{last} is not an element of this array"))?;
            *slot = typed(text, Some(slot));
        }
        other => return Err(format!("lies below a value of type {}", other.type_str())),
    }
    Ok(())
}

fn child<'a>(at: &'a mut Value, step: &str) -> Result<&'a mut Value, String> {
    match at {
        Value::Table(table) => {
            Ok(table.entry(step.to_owned()).or_insert_with(|| Value::Table(Table::new())))
        }
        Value::Array(items) => step
            .parse()
            .ok()
            .and_then(|index: usize| items.get_mut(index))
            .ok_or_else(|| format!("{step} is not an element of this array")),
        other => Err(format!("lies below a value of type {}", other.type_str())),
    }
}

/// The value a variable stands for. A key that is text in the file stays text; otherwise numbers,
/// booleans, arrays and inline tables are read as in TOML, and anything else is text.
fn typed(text: &str, before: Option<&Value>) -> Value {
    if matches!(before, Some(Value::String(_))) {
        return Value::String(text.to_owned());
    }
    let parsed = format!("value = {text}").parse::<Table>().ok();
    match parsed.and_then(|mut table| table.remove("value")) {
        Some(Value::Datetime(_)) | None => Value::String(text.to_owned()),
        Some(value) => value,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn merged(file: &str, variables: &[(&str, &str)]) -> (Table, Vec<Issue>) {
        let mut table: Table = file.parse().unwrap();
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let mut issues = Vec::new();
        let mut places = Places::unknown(Path::new("f.toml"));
        merge(&mut table, "agent", &variables, &mut places, &mut issues);
        (table, issues)
    }

    #[test]
    fn variables_win_over_the_file_and_reach_into_arrays() {
        let (table, issues) = merged(
            "region = \"fsn\"\n[[pairs]]\npostgres_port = 5432\n",
            &[
                ("CONTINUUM_AGENT__TIMING__TTL", "12s"),
                ("CONTINUUM_AGENT__PAIRS__0__POSTGRES_PORT", "6000"),
                ("CONTINUUM_AGENT__REGION", "7"),
                ("CONTINUUM_SERVER__REGION", "other"),
                ("CONTINUUM_LOG", "debug"),
            ],
        );
        assert_eq!(issues, []);
        assert_eq!(table["timing"]["ttl"].as_str(), Some("12s"));
        assert_eq!(table["pairs"][0]["postgres_port"].as_integer(), Some(6000));
        assert_eq!(table["region"].as_str(), Some("7"), "text stays text");
    }

    #[test]
    fn a_variable_that_fits_nowhere_is_named() {
        let (_, issues) =
            merged("[[pairs]]\nid = \"a\"\n", &[("CONTINUUM_AGENT__PAIRS__4__ID", "b")]);
        assert_eq!(
            issues[0].to_string(),
            "environment variable CONTINUUM_AGENT__PAIRS__4__ID: pairs[4].id: 4 is not an element of this array"
        );
    }
}
