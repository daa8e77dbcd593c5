//! The owners of an object's fields, as `metadata.managedFields` keeps them.

use serde_json::{Value, json};

use crate::apply::fieldset::{FieldSet, shown};
use crate::apply::typed::{self, Difference};
use crate::failure::{Cause, Failure};

/// Who writes, and as what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    /// The field manager.
    pub manager: String,
    /// Whether by an apply.
    pub apply: bool,
    /// The API version it speaks.
    pub api_version: String,
    /// `status`, where it writes there.
    pub subresource: Option<String>,
}

#[derive(Clone, Debug)]
struct Entry {
    writer: Writer,
    time: Option<String>,
    fields: FieldSet,
}

/// All owners of an object's fields.
#[derive(Clone, Debug, Default)]
pub struct Managed(Vec<Entry>);

/// Fields that belong to no manager.
const FREE: &[&[&str]] = &[
    &["f:apiVersion"],
    &["f:kind"],
    &["f:metadata", "f:name"],
    &["f:metadata", "f:namespace"],
    &["f:metadata", "f:generateName"],
    &["f:metadata", "f:uid"],
    &["f:metadata", "f:resourceVersion"],
    &["f:metadata", "f:generation"],
    &["f:metadata", "f:creationTimestamp"],
    &["f:metadata", "f:deletionTimestamp"],
    &["f:metadata", "f:deletionGracePeriodSeconds"],
    &["f:metadata", "f:selfLink"],
    &["f:metadata", "f:managedFields"],
];

fn owned(mut set: FieldSet) -> FieldSet {
    FREE.iter().for_each(|path| set.take_out(path));
    set
}

impl Managed {
    /// Reads an object's.
    #[must_use]
    pub fn of(object: &Value) -> Self {
        let text = |entry: &Value, name: &str| entry[name].as_str().map(str::to_owned);
        let written = object["metadata"]["managedFields"].as_array();
        let entries = written.into_iter().flatten().map(|entry| Entry {
            writer: Writer {
                manager: text(entry, "manager").unwrap_or_default(),
                apply: entry["operation"] == "Apply",
                api_version: text(entry, "apiVersion").unwrap_or_default(),
                subresource: text(entry, "subresource"),
            },
            time: text(entry, "time"),
            fields: FieldSet::decode(&entry["fieldsV1"]),
        });
        Self(entries.collect())
    }

    /// Writes them into the object.
    pub fn write(mut self, object: &mut Value) {
        self.0.retain(|entry| !entry.fields.is_empty());
        // Appliers first, as the real server sorts them.
        self.0.sort_by_key(|entry| !entry.writer.apply);
        let entries = self.0.iter().map(|entry| {
            let writer = &entry.writer;
            let mut written = json!({
                "manager": writer.manager,
                "operation": if writer.apply { "Apply" } else { "Update" },
                "apiVersion": writer.api_version,
                "fieldsType": "FieldsV1",
                "fieldsV1": entry.fields.encode(),
            });
            if let Some(time) = &entry.time {
                written["time"] = json!(time);
            }
            if let Some(subresource) = &writer.subresource {
                written["subresource"] = json!(subresource);
            }
            written
        });
        let entries: Vec<Value> = entries.collect();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            if entries.is_empty() {
                metadata.remove("managedFields");
            } else {
                metadata.insert("managedFields".into(), entries.into());
            }
        }
    }

    fn entry(&mut self, writer: &Writer) -> &mut Entry {
        let at = self.0.iter().position(|entry| entry.writer == *writer).unwrap_or_else(|| {
            let entry = Entry { writer: writer.clone(), time: None, fields: FieldSet::default() };
            self.0.push(entry);
            self.0.len() - 1
        });
        &mut self.0[at]
    }

    fn give(&mut self, writer: &Writer, fields: FieldSet, now: &str) {
        let entry = self.entry(writer);
        if entry.fields != fields {
            entry.fields = fields;
            entry.time = Some(now.to_owned());
        }
    }

    /// Takes changed and removed fields from everybody but the writer.
    fn take(&mut self, writer: &Writer, difference: &Difference) {
        let changed = difference.added.union(&difference.modified);
        for entry in self.0.iter_mut().filter(|entry| entry.writer != *writer) {
            entry.fields = entry.fields.difference(&changed).difference(&difference.removed);
        }
    }

    /// A write that is no apply: what it changes is its writer's from now on.
    pub fn update(&mut self, old: &Value, new: &Value, schema: &Value, writer: &Writer, now: &str) {
        let found = typed::compare(old, new, schema);
        let found = Difference {
            added: owned(found.added),
            modified: owned(found.modified),
            removed: owned(found.removed),
        };
        self.take(writer, &found);
        let entry = self.entry(writer).fields.clone();
        let fields = entry.union(&found.added).union(&found.modified).difference(&found.removed);
        self.give(writer, fields, now);
    }

    /// An apply: what the configuration names is its writer's, what it named before and nobody
    /// else has is gone.
    ///
    /// # Errors
    /// It would change what is somebody else's, and is not forced to.
    pub fn apply(
        &mut self,
        live: &Value,
        applied: &Value,
        schema: &Value,
        writer: &Writer,
        (force, now): (bool, &str),
    ) -> Result<Value, Failure> {
        let last = self.entry(writer).fields.clone();
        let wanted = owned(typed::fields(applied, schema));
        let others = self.0.iter().filter(|entry| entry.writer != *writer);
        let kept = others.fold(wanted.clone(), |all, entry| all.union(&entry.fields));
        let mut new = typed::merge(live, applied, schema);
        typed::remove(&mut new, &last.difference(&kept), &kept, schema);
        let found = typed::compare(live, &new, schema);
        let found = Difference {
            added: owned(found.added),
            modified: owned(found.modified),
            removed: owned(found.removed),
        };
        if !force {
            self.refuse_theirs(writer, &found)?;
        }
        self.take(writer, &found);
        self.give(writer, wanted, now);
        Ok(new)
    }

    fn refuse_theirs(&self, writer: &Writer, found: &Difference) -> Result<(), Failure> {
        let changed = found.added.union(&found.modified);
        let mut causes = Vec::new();
        let mut by_manager: Vec<(String, Vec<String>)> = Vec::new();
        for entry in self.0.iter().filter(|entry| entry.writer != *writer) {
            let theirs = entry.fields.intersection(&changed);
            if theirs.is_empty() {
                continue;
            }
            let who = named(entry);
            let paths: Vec<String> = theirs.paths().iter().map(|path| shown(path)).collect();
            causes.extend(paths.iter().map(|path| Cause {
                reason: "FieldManagerConflict",
                message: format!("conflict with {who}"),
                field: path.clone(),
            }));
            by_manager.push((who, paths));
        }
        if causes.is_empty() {
            return Ok(());
        }
        let told = by_manager.iter().map(|(who, paths)| match paths.as_slice() {
            [one] => format!("conflict with {who}: {one}"),
            more => format!("conflicts with {who}:\n- {}", more.join("\n- ")),
        });
        let told: Vec<String> = told.collect();
        let (count, plural) = (causes.len(), if causes.len() == 1 { "" } else { "s" });
        let message = format!("Apply failed with {count} conflict{plural}: {}", told.join("\n"));
        Err(Failure::apply_conflict(message, &causes))
    }
}

fn named(entry: &Entry) -> String {
    let writer = &entry.writer;
    let mut who = format!("{:?}", writer.manager);
    if let Some(subresource) = &writer.subresource {
        who += &format!(" with subresource {subresource:?}");
    }
    if !writer.apply {
        who += &format!(" using {}", writer.api_version);
        if let Some(time) = &entry.time {
            who += &format!(" at {time}");
        }
    }
    who
}
