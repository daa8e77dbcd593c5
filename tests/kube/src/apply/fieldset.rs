//! Sets of fields, and the form in which `managedFields` writes them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// A set of fields, as a tree of path elements in their written form (`f:name`, `k:{...}`,
/// `v:...`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet(BTreeMap<String, Node>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    member: bool,
    below: FieldSet,
}

impl FieldSet {
    /// Whether there is none in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts a path in.
    pub fn insert(&mut self, path: &[String]) {
        let Some((first, rest)) = path.split_first() else { return };
        let node = self.0.entry(first.clone()).or_default();
        if rest.is_empty() { node.member = true } else { node.below.insert(rest) }
    }

    /// Takes a path and everything below it out.
    pub fn take_out(&mut self, path: &[&str]) {
        match path {
            [] => {}
            [last] => {
                self.0.remove(*last);
            }
            [first, rest @ ..] => {
                if let Some(node) = self.0.get_mut(*first) {
                    node.below.take_out(rest);
                    if !node.member && node.below.is_empty() {
                        self.0.remove(*first);
                    }
                }
            }
        }
    }

    /// What is in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        for (element, node) in &other.0 {
            let own = all.0.entry(element.clone()).or_default();
            own.member |= node.member;
            own.below = own.below.union(&node.below);
        }
        all
    }

    fn combine(&self, other: &Self, keep: impl Fn(bool, bool) -> bool + Copy) -> Self {
        let none = Node::default();
        let kept = self.0.iter().filter_map(|(element, node)| {
            let theirs = other.0.get(element).unwrap_or(&none);
            let member = keep(node.member, theirs.member);
            let below = node.below.combine(&theirs.below, keep);
            (member || !below.is_empty()).then(|| (element.clone(), Node { member, below }))
        });
        Self(kept.collect())
    }

    /// What is in this one and not in the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        self.combine(other, |own, theirs| own && !theirs)
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.combine(other, |own, theirs| own && theirs)
    }

    /// Whether anything at or below an element of the first level is in it.
    #[must_use]
    pub fn below(&self, element: &str) -> Option<(bool, &Self)> {
        self.0.get(element).map(|node| (node.member, &node.below))
    }

    /// Every path, each as its elements.
    #[must_use]
    pub fn paths(&self) -> Vec<Vec<String>> {
        let mut all = Vec::new();
        self.collect(&mut Vec::new(), &mut all);
        all
    }

    fn collect(&self, at: &mut Vec<String>, all: &mut Vec<Vec<String>>) {
        for (element, node) in &self.0 {
            at.push(element.clone());
            if node.member {
                all.push(at.clone());
            }
            node.below.collect(at, all);
            at.pop();
        }
    }

    /// As `fieldsV1` is written.
    #[must_use]
    pub fn encode(&self) -> Value {
        let entries = self.0.iter().map(|(element, node)| {
            let mut inner = node.below.encode();
            if node.member && !node.below.is_empty() {
                inner["."] = json!({});
            }
            (element.clone(), inner)
        });
        Value::Object(entries.collect::<Map<_, _>>())
    }

    /// Reads what `encode` writes.
    #[must_use]
    pub fn decode(written: &Value) -> Self {
        let entries =
            written.as_object().into_iter().flatten().filter(|(element, _)| *element != ".");
        let entries = entries.map(|(element, inner)| {
            let below = Self::decode(inner);
            let member = below.is_empty() || inner.get(".").is_some();
            (element.clone(), Node { member, below })
        });
        Self(entries.collect())
    }
}

/// A path as messages write it: `.spec.ports[port=80].name`.
#[must_use]
pub fn shown(path: &[String]) -> String {
    let parts = path.iter().map(|element| match element.split_at(2) {
        ("f:", name) => format!(".{name}"),
        ("k:", keys) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let pairs: Vec<String> =
                keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("[{}]", pairs.join(","))
        }
        (_, value) => format!("[={value}]"),
    });
    parts.collect()
}

/// The element of a field.
#[must_use]
pub fn field(name: &str) -> String {
    format!("f:{name}")
}

/// The element of an item of a keyed list.
#[must_use]
pub fn keyed(keys: &Map<String, Value>) -> String {
    // Sorted, whatever order the map keeps.
    let sorted: BTreeMap<&String, &Value> = keys.iter().collect();
    format!("k:{}", json!(sorted))
}

/// The element of an item of a set.
#[must_use]
pub fn valued(value: &Value) -> String {
    format!("v:{value}")
}

#[cfg(test)]
mod tests {
    use super::{FieldSet, shown};
    use serde_json::json;

    #[test]
    fn what_is_written_is_read() {
        let written = json!({
            "f:spec": { "f:ports": { "k:{\"port\":80}": { ".": {}, "f:name": {} } }, "f:x": {} }
        });
        let set = FieldSet::decode(&written);
        assert_eq!(set.encode(), written);
        let paths: Vec<_> = set.paths().iter().map(|path| shown(path)).collect();
        assert_eq!(paths, [".spec.ports[port=80]", ".spec.ports[port=80].name", ".spec.x"]);
        assert!(set.difference(&set).is_empty());
        assert_eq!(set.intersection(&set), set);
    }
}
