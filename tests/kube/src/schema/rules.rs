//! Rules in CEL that a definition carries, compiled when it comes in and asked at each write.

use std::collections::BTreeMap;
use std::sync::Arc;

use cel::{Context, ExecutionError, Program};
use regex::Regex;
use serde_json::Value;

use crate::failure::Cause;
use crate::schema::{item_key, join, map_keys, property, word};

/// The rules of a schema, as a tree of the same shape.
#[derive(Debug, Default)]
pub struct Rules {
    here: Vec<Rule>,
    properties: BTreeMap<String, Rules>,
    items: Option<Box<Rules>>,
    more: Option<Box<Rules>>,
}

#[derive(Debug)]
struct Rule {
    text: String,
    program: Program,
    /// Speaks of what was before: asked only where there is a before.
    transition: bool,
    message: Option<String>,
    message_program: Option<Program>,
    reason: &'static str,
    field: Option<String>,
}

/// A rule that cannot be asked here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// Where in the schema.
    pub path: String,
    /// The rule itself.
    pub rule: String,
    /// What is not understood.
    pub why: String,
}

/// What the interpreter knows of CEL; a call of anything else would fail at each write.
const FUNCTIONS: &[&str] = &[
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "string",
    "int",
    "uint",
    "double",
    "type",
    "bytes",
    "duration",
];

/// Words that CEL keeps for itself, which a field of that name is escaped for.
const RESERVED: &[&str] = &[
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

impl Rules {
    /// Compiles every rule of the schema. What cannot be asked is told beside what can.
    #[must_use]
    pub fn compile(schema: &Value) -> (Self, Vec<Unknown>) {
        let mut unknown = Vec::new();
        let rules = Self::at(schema, "", &mut unknown);
        (rules, unknown)
    }

    fn at(schema: &Value, path: &str, unknown: &mut Vec<Unknown>) -> Self {
        let mut rules = Self::default();
        let written = word(schema, "x-kubernetes-validations").and_then(Value::as_array);
        for rule in written.into_iter().flatten() {
            match compile(rule) {
                Ok(rule) => rules.here.push(rule),
                Err(why) => unknown.push(Unknown {
                    path: path.to_owned(),
                    rule: rule["rule"].as_str().unwrap_or_default().to_owned(),
                    why,
                }),
            }
        }
        if let Some(properties) = word(schema, "properties").and_then(Value::as_object) {
            for (name, inner) in properties {
                let found = Self::at(inner, &join(path, name), unknown);
                if !found.is_empty() {
                    rules.properties.insert(name.clone(), found);
                }
            }
        }
        let mut below = |keyword: &str, sign: &str| {
            let inner = word(schema, keyword).filter(|inner| inner.is_object())?;
            let found = Self::at(inner, &format!("{path}{sign}"), unknown);
            (!found.is_empty()).then(|| Box::new(found))
        };
        rules.items = below("items", "[]");
        rules.more = below("additionalProperties", "{}");
        rules
    }

    fn is_empty(&self) -> bool {
        self.here.is_empty()
            && self.properties.is_empty()
            && self.items.is_none()
            && self.more.is_none()
    }

    /// Asks every rule about an object, and about what it was before where it was.
    #[must_use]
    pub fn ask(&self, new: &Value, old: Option<&Value>, schema: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        self.ask_at(new, old, schema, "", &mut causes);
        causes
    }

    fn ask_at(
        &self,
        new: &Value,
        old: Option<&Value>,
        schema: &Value,
        path: &str,
        causes: &mut Vec<Cause>,
    ) {
        for rule in &self.here {
            causes.extend(rule.ask(new, old, schema, path));
        }
        match new {
            Value::Object(map) => {
                for (name, value) in map {
                    let Some(inner) = property(schema, name) else { continue };
                    if let Some(rules) = self.properties.get(name).or(self.more.as_deref()) {
                        let before = old.and_then(|old| old.get(name));
                        rules.ask_at(value, before, inner, &join(path, name), causes);
                    }
                }
            }
            Value::Array(items) => {
                let (Some(rules), Some(inner)) = (&self.items, word(schema, "items")) else {
                    return;
                };
                let keys = map_keys(schema);
                for (index, item) in items.iter().enumerate() {
                    // Only in a keyed list is it known which item this one was.
                    let before = keys.as_ref().and_then(|keys| {
                        let key = item_key(keys, item)?;
                        let old = old.and_then(Value::as_array)?;
                        old.iter().find(|old| item_key(keys, old).as_ref() == Some(&key))
                    });
                    rules.ask_at(item, before, inner, &format!("{path}[{index}]"), causes);
                }
            }
            _ => {}
        }
    }
}

fn compile(rule: &Value) -> Result<Rule, String> {
    let text = rule["rule"].as_str().unwrap_or_default().to_owned();
    if rule.get("optionalOldSelf").and_then(Value::as_bool) == Some(true) {
        return Err("optionalOldSelf".to_owned());
    }
    let program = program(&text)?;
    let transition = program.references().variables().contains(&"oldSelf");
    let expression = rule.get("messageExpression").and_then(Value::as_str);
    let message_program = expression.map(self::program).transpose()?;
    let field = rule.get("fieldPath").and_then(Value::as_str).map(str::to_owned);
    let reason = match rule.get("reason").and_then(Value::as_str) {
        Some("FieldValueRequired") => "FieldValueRequired",
        Some("FieldValueForbidden") => "FieldValueForbidden",
        Some("FieldValueDuplicate") => "FieldValueDuplicate",
        _ => "FieldValueInvalid",
    };
    let message = rule.get("message").and_then(Value::as_str).map(str::to_owned);
    Ok(Rule { text, program, transition, message, message_program, reason, field })
}

/// The parser's grammar is generated code that panics on some texts that are not CEL.
fn program(text: &str) -> Result<Program, String> {
    let compiled = std::panic::catch_unwind(|| Program::compile(text));
    let program = match compiled {
        Ok(Ok(program)) => program,
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err("the parser gave up".to_owned()),
    };
    let references = program.references();
    for name in references.functions() {
        let operator = name.starts_with(['_', '!', '-', '@']);
        if !operator && !FUNCTIONS.contains(&name) {
            return Err(format!("no function {name}"));
        }
    }
    for name in references.variables() {
        let types = ["int", "string", "bool", "double", "list", "map", "uint", "null_type"];
        if !["self", "oldSelf"].contains(&name)
            && !types.contains(&name)
            && !name.starts_with('@')
            && !is_bound(text, name)
        {
            return Err(format!("no variable {name}"));
        }
    }
    Ok(program)
}

/// Whether a macro such as `all(x, ...)` brings this name.
fn is_bound(text: &str, name: &str) -> bool {
    Regex::new(&format!(r"\(\s*{}\s*,", regex::escape(name)))
        .is_ok_and(|pattern| pattern.is_match(text))
}

impl Rule {
    fn ask(&self, new: &Value, old: Option<&Value>, schema: &Value, path: &str) -> Option<Cause> {
        if self.transition && old.is_none() {
            return None;
        }
        let mut context = Context::default();
        // No name of the interpreter's own: it cannot be taken already.
        let _added = context.add_function("duration", duration);
        context.add_variable_from_value("self", convert(new, schema));
        if let Some(old) = old {
            context.add_variable_from_value("oldSelf", convert(old, schema));
        }
        let why = match self.program.execute(&context) {
            Ok(cel::Value::Bool(true)) => return None,
            Ok(_) => self.message(&context),
            Err(error) => format!("rule evaluation error: {error}"),
        };
        let shown = match new {
            Value::Object(_) => "\"object\"".to_owned(),
            Value::Array(_) => "\"array\"".to_owned(),
            other => other.to_string(),
        };
        let field = match &self.field {
            Some(below) => format!("{path}{below}").trim_start_matches('.').to_owned(),
            None if path.is_empty() => "<nil>".to_owned(),
            None => path.to_owned(),
        };
        Some(Cause {
            reason: self.reason,
            message: format!("Invalid value: {shown}: {why}"),
            field,
        })
    }

    fn message(&self, context: &Context<'_, '_>) -> String {
        let computed =
            self.message_program.as_ref().and_then(|program| program.execute(context).ok());
        match (computed, &self.message) {
            (Some(cel::Value::String(text)), _) => text.to_string(),
            (_, Some(message)) => message.clone(),
            _ => format!("failed rule: {}", self.text.trim()),
        }
    }
}

/// A duration, as nanoseconds: rules compare and add them, and never look inside.
#[expect(clippy::needless_pass_by_value, reason = "the interpreter hands in what it owns")]
fn duration(text: Arc<String>) -> Result<i64, ExecutionError> {
    nanoseconds(&text)
        .ok_or_else(|| ExecutionError::function_error("duration", format!("no duration: {text}")))
}

/// Reads `1h30m`, `1.5s`, `250ms` and the like.
fn nanoseconds(text: &str) -> Option<i64> {
    const UNITS: &[(&str, f64)] =
        &[("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3_600e9)];
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|sign: char| !sign.is_ascii_digit() && sign != '.')?;
        let (number, tail) = rest.split_at(end);
        let unit = tail.find(|sign: char| sign.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total += number.parse::<f64>().ok()? * factor;
        rest = tail;
    }
    // Beyond a century it is no duration anybody writes.
    (!text.is_empty() && total < 3.2e18).then_some((sign * total) as i64)
}

/// A field's name as a rule writes it.
fn escape(name: &str) -> String {
    if RESERVED.contains(&name) {
        return format!("__{name}__");
    }
    name.replace("__", "__underscores__")
        .replace('.', "__dot__")
        .replace('-', "__dash__")
        .replace('/', "__slash__")
}

/// A value as a rule sees it: whole numbers are `int`, a schema's fields have escaped names.
fn convert(value: &Value, schema: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(value) => cel::Value::Bool(*value),
        Value::Number(number) => {
            let float = word(schema, "type").and_then(Value::as_str) == Some("number");
            match number.as_i64() {
                Some(whole) if !float => cel::Value::Int(whole),
                _ => cel::Value::Float(number.as_f64().unwrap_or_default()),
            }
        }
        Value::String(text) => cel::Value::String(text.clone().into()),
        Value::Array(items) => {
            let inner = word(schema, "items").unwrap_or(&Value::Null);
            let items: Vec<_> = items.iter().map(|item| convert(item, inner)).collect();
            cel::Value::List(items.into())
        }
        Value::Object(map) => {
            let own = word(schema, "properties");
            let pairs = map.iter().map(|(name, value)| {
                let inner = property(schema, name).unwrap_or(&Value::Null);
                let is_field = own.is_some_and(|own| own.get(name).is_some());
                let name = if is_field { escape(name) } else { name.clone() };
                (cel::objects::Key::String(name.into()), convert(value, inner))
            });
            cel::Value::Map(cel::objects::Map { map: Arc::new(pairs.collect()) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Rules, nanoseconds};
    use serde_json::json;

    #[test]
    fn durations_are_read_and_compared() {
        assert_eq!(nanoseconds("1h30m"), Some(5_400_000_000_000));
        assert_eq!(nanoseconds("-1.5s"), Some(-1_500_000_000));
        assert_eq!(nanoseconds("250ms"), Some(250_000_000));
        for wrong in ["", "5", "s", "1x", "1.2.3s"] {
            assert_eq!(nanoseconds(wrong), None, "{wrong}");
        }
        let schema = json!({
            "type": "object", "properties": { "a": {}, "b": {} },
            "x-kubernetes-validations": [{ "rule": "duration(self.a) <= duration(self.b)" }],
        });
        let (rules, unknown) = Rules::compile(&schema);
        assert_eq!(unknown, []);
        let asked = |a: &str, b: &str| rules.ask(&json!({ "a": a, "b": b }), None, &schema).len();
        assert_eq!((asked("59s", "1m"), asked("61s", "1m"), asked("x", "1m")), (0, 1, 1));
    }
}
