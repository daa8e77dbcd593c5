//! Deleting, with finalizers and preconditions.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::cluster::write::{check_preconditions, no_finalizers};
use crate::cluster::{Ask, Cluster, name_of};
use crate::failure::Failure;
use crate::store::Key;

impl Cluster {
    /// Deletes one object, or marks it where something holds it. What other controllers of a real
    /// cluster do afterwards is done at once: a namespace takes along what is in it.
    ///
    /// # Errors
    /// There is none, or not the one that is meant; nothing was changed.
    pub fn delete(&mut self, ask: &Ask, name: &str, options: &Value) -> Result<Value, Failure> {
        let old = self.kept(ask, name)?;
        check_preconditions(&ask.resource, &old, &options["preconditions"])?;
        let dry = options["dryRun"].as_array().is_some_and(|dry| !dry.is_empty());
        if ask.dry_run() || dry {
            return Ok(Value::clone(&old));
        }
        let resource = ask.resource.clone();
        let key = ask.key(name);
        if let Some(marked) = self.mark(ask, &key, &old) {
            return Ok(Value::clone(&marked));
        }
        self.take_along(&resource.storage(), &key, ask);
        self.store.remove(&resource.storage(), &key);
        self.definition_removed(&resource, &old);
        let mut details = json!({
            "name": name,
            "kind": resource.plural,
            "uid": old["metadata"]["uid"],
        });
        if !resource.group.is_empty() {
            details["group"] = json!(resource.group);
        }
        Ok(json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": details,
        }))
    }

    /// Marks an object that is held; `None` for one that is not.
    fn mark(&mut self, ask: &Ask, key: &Key, old: &Arc<Value>) -> Option<Arc<Value>> {
        if no_finalizers(old) {
            return None;
        }
        if !old["metadata"]["deletionTimestamp"].is_null() {
            return Some(old.clone());
        }
        let mut marked = Value::clone(old);
        let metadata = &mut marked["metadata"];
        metadata["deletionTimestamp"] = json!(ask.now);
        metadata["deletionGracePeriodSeconds"] = json!(0);
        if let Some(generation) = metadata["generation"].as_i64() {
            metadata["generation"] = json!(generation + 1);
        }
        Some(self.store.put(&ask.resource.storage(), key.clone(), marked))
    }

    fn take_along(&mut self, storage: &str, key: &Key, ask: &Ask) {
        if storage != "/namespaces" {
            return;
        }
        for storage in self.store.storages() {
            for (inner, object) in self.store.list(&storage, Some(&key.1)) {
                let kind = self.kinds.all().find(|kind| kind.storage() == storage).cloned();
                let Some(resource) = kind.filter(|kind| kind.namespaced) else { continue };
                let ask = Ask { resource, namespace: key.1.clone(), ..ask.clone() };
                if self.mark(&ask, &inner, &object).is_none() {
                    self.store.remove(&storage, &inner);
                }
            }
        }
    }

    /// Deletes everything that is selected, and returns its names.
    ///
    /// # Errors
    /// The selector is not understood.
    pub fn delete_all(&mut self, ask: &Ask, options: &Value) -> Result<Vec<String>, Failure> {
        let mut gone = Vec::new();
        for object in self.selected(ask)? {
            let name = name_of(&object).to_owned();
            let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
            let ask = Ask { namespace, ..ask.clone() };
            if self.delete(&ask, &name, options).is_ok() {
                gone.push(name);
            }
        }
        Ok(gone)
    }
}
