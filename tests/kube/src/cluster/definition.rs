//! Definitions of kinds: what they serve, and when they are refused.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::cluster::{Cluster, name_of};
use crate::failure::{Cause, Failure};
use crate::kinds::{Resource, metadata_schema};
use crate::schema::rules::Rules;

fn is_definition(resource: &Resource) -> bool {
    resource.kind == "CustomResourceDefinition" && !resource.custom
}

fn versions(definition: &Value) -> &[Value] {
    definition["spec"]["versions"].as_array().map_or(&[], Vec::as_slice)
}

fn invalid(field: &str, message: &str) -> Cause {
    Cause { reason: "FieldValueInvalid", message: message.to_owned(), field: field.to_owned() }
}

impl Cluster {
    /// Refuses a definition that could not be served.
    pub(crate) fn check_definition(
        &self,
        resource: &Resource,
        definition: &Value,
    ) -> Result<(), Failure> {
        if !is_definition(resource) {
            return Ok(());
        }
        let spec = &definition["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let name = name_of(definition);
        let due = format!("{}.{}", text(&spec["names"]["plural"]), text(&spec["group"]));
        let mut causes = Vec::new();
        if name != due {
            let why =
                format!("Invalid value: {name:?}: must be spec.names.plural+\".\"+spec.group");
            causes.push(invalid("metadata.name", &why));
        }
        let stored = versions(definition).iter().filter(|version| version["storage"] == true);
        if stored.count() != 1 {
            causes.push(invalid(
                "spec.versions",
                "Invalid value: must have exactly one version marked as storage version",
            ));
        }
        for (at, version) in versions(definition).iter().enumerate() {
            let schema = &version["schema"]["openAPIV3Schema"];
            let field = format!("spec.versions[{at}].schema.openAPIV3Schema");
            if schema.is_null() {
                let message = "Required value: schemas are required".to_owned();
                causes.push(Cause { reason: "FieldValueRequired", message, field });
                continue;
            }
            if self.options.ignore_unknown_rules {
                continue;
            }
            for unknown in Rules::compile(schema).1 {
                let why = format!(
                    "Invalid value: {:?}: compilation failed: {}",
                    unknown.rule, unknown.why
                );
                causes.push(invalid(&format!("{field}.{}", unknown.path), &why));
            }
        }
        if causes.is_empty() { Ok(()) } else { Err(Failure::invalid(resource, name, &causes)) }
    }

    /// Serves what a definition describes, and says so in its status: a write of its own, as the
    /// real server's controllers do it.
    pub(crate) fn definition_written(&mut self, resource: &Resource, definition: &Arc<Value>) {
        if !is_definition(resource) || !definition["metadata"]["deletionTimestamp"].is_null() {
            return;
        }
        let spec = &definition["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (group, names) = (text(&spec["group"]), &spec["names"]);
        let plural = text(&names["plural"]);
        self.kinds.remove(&group, &plural);
        for version in versions(definition).iter().filter(|version| version["served"] == true) {
            let mut schema = version["schema"]["openAPIV3Schema"].clone();
            let (rules, unknown) = Rules::compile(&schema);
            self.unknown.retain(|known| !unknown.contains(known));
            self.unknown.extend(unknown);
            schema["properties"]["metadata"] = metadata_schema();
            let short = names["shortNames"].as_array().into_iter().flatten();
            let singular = names["singular"].as_str().map(str::to_owned);
            self.kinds.add(Resource {
                group: group.clone(),
                version: text(&version["name"]),
                kind: text(&names["kind"]),
                singular: singular.unwrap_or_else(|| text(&names["kind"]).to_lowercase()),
                plural: plural.clone(),
                short: short.map(text).collect(),
                namespaced: spec["scope"] == "Namespaced",
                status: !version["subresources"]["status"].is_null(),
                custom: true,
                schema: Arc::new(schema),
                rules: Arc::new(rules),
            });
        }
        self.establish(resource, definition);
    }

    fn establish(&mut self, resource: &Resource, definition: &Arc<Value>) {
        let spec = &definition["spec"];
        let since = &definition["metadata"]["creationTimestamp"];
        let condition = |kind: &str, reason: &str, message: &str| {
            json!({
                "type": kind,
                "status": "True",
                "lastTransitionTime": since,
                "reason": reason,
                "message": message,
            })
        };
        let stored = versions(definition).iter().find(|version| version["storage"] == true);
        let status = json!({
            "conditions": [
                condition("NamesAccepted", "NoConflicts", "no conflicts found"),
                condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
            ],
            "acceptedNames": spec["names"],
            "storedVersions": [stored.map_or(&Value::Null, |version| &version["name"])],
        });
        if definition["status"] == status {
            return;
        }
        let mut established = Value::clone(definition);
        established["status"] = status;
        let key = (String::new(), name_of(definition).to_owned());
        self.store.put(&resource.storage(), key, established);
    }

    /// Serves it no more, and takes its objects along.
    pub(crate) fn definition_removed(&mut self, resource: &Resource, definition: &Value) {
        if !is_definition(resource) {
            return;
        }
        let spec = &definition["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (group, plural) = (text(&spec["group"]), text(&spec["names"]["plural"]));
        let storage = format!("{group}/{plural}");
        for (key, _) in self.store.list(&storage, None) {
            self.store.remove(&storage, &key);
        }
        self.kinds.remove(&group, &plural);
    }
}
