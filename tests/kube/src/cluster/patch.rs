//! The four kinds of patch.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::apply::managed::Managed;
use crate::cluster::merge_patch::{json_patch, merge_patch, strategic};
use crate::cluster::write::check_preconditions;
use crate::cluster::{Ask, Cluster, name_of};
use crate::failure::{Cause, Failure};
use crate::schema::prune;

/// How a patch is written, by its media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// By key in the lists of kinds that every cluster has.
    Strategic,
    /// Server-side apply.
    Apply,
}

impl PatchKind {
    /// Reads a media type.
    #[must_use]
    pub fn read(media_type: &str) -> Option<Self> {
        match media_type.split(';').next().unwrap_or_default().trim() {
            "application/json-patch+json" => Some(Self::Json),
            "application/merge-patch+json" => Some(Self::Merge),
            "application/strategic-merge-patch+json" => Some(Self::Strategic),
            "application/apply-patch+yaml" => Some(Self::Apply),
            _ => None,
        }
    }
}

impl Cluster {
    /// Changes an object by a patch. The second part of the answer tells whether it is new.
    ///
    /// # Errors
    /// It is refused; nothing was changed.
    pub fn patch(
        &mut self,
        ask: &Ask,
        name: &str,
        kind: PatchKind,
        patch: &Value,
    ) -> Result<(Arc<Value>, bool), Failure> {
        if kind == PatchKind::Apply {
            return self.apply(ask, name, patch);
        }
        if ask.query.get("force").is_some() {
            let cause = Cause {
                reason: "FieldValueForbidden",
                message: "Forbidden: may not be specified for non-apply patch".into(),
                field: "force".into(),
            };
            return Err(options_invalid(&cause));
        }
        let old = self.kept(ask, name)?;
        let resource = &ask.resource;
        let patched = match kind {
            PatchKind::Json => json_patch(&old, patch, resource)?,
            PatchKind::Strategic if resource.custom => {
                return Err(Failure::media_type(&[
                    "application/json-patch+json",
                    "application/merge-patch+json",
                    "application/apply-patch+yaml",
                ]));
            }
            PatchKind::Strategic => {
                let mut patched = Value::clone(&old);
                strategic(&mut patched, patch, &resource.schema);
                patched
            }
            _ => {
                let mut patched = Value::clone(&old);
                merge_patch(&mut patched, patch);
                patched
            }
        };
        let new = self.read_body(ask, patched)?;
        if name_of(&new) != name {
            let cause = Cause {
                reason: "FieldValueInvalid",
                message: format!("Invalid value: {:?}: field is immutable", name_of(&new)),
                field: "metadata.name".into(),
            };
            return Err(Failure::invalid(resource, name, &[cause]));
        }
        Ok((self.replace(ask, &old, new, None)?, false))
    }

    fn apply(
        &mut self,
        ask: &Ask,
        name: &str,
        patch: &Value,
    ) -> Result<(Arc<Value>, bool), Failure> {
        if ask.query.get("fieldManager").is_none() {
            let cause = Cause {
                reason: "FieldValueRequired",
                message: "Required value: is required for apply patch".into(),
                field: "fieldManager".into(),
            };
            return Err(options_invalid(&cause));
        }
        let mut applied = self.read_applied(ask, name, patch)?;
        let resource = ask.resource.clone();
        let writer = ask.writer(true);
        let how = (ask.query.flag("force"), ask.now.as_str());
        // A status is its own writers', and only that.
        let object = applied.as_object_mut();
        if let Some(object) = object.filter(|_| resource.status) {
            let status = ask.writes_status();
            object.retain(|field, _| match field.as_str() {
                "apiVersion" | "kind" | "metadata" => true,
                field => (field == "status") == status,
            });
        }
        let expected = applied["metadata"].clone();
        if ask.writes_status() {
            applied["metadata"] = json!({ "name": name });
        }
        let Ok(old) = self.kept(ask, name) else {
            if ask.subresource.is_some() {
                return Err(Failure::not_found(&resource, name));
            }
            if !expected["uid"].is_null() || !expected["resourceVersion"].is_null() {
                let why = "the object has been modified; please apply your changes to the latest version and try again";
                return Err(Failure::conflict(&resource, name, why));
            }
            let mut managed = Managed::default();
            let new = managed.apply(&json!({}), &applied, &resource.schema, &writer, how)?;
            return Ok((self.insert(ask, new, Some(managed))?, true));
        };
        check_preconditions(&resource, &old, &expected)?;
        if let Some(metadata) = applied["metadata"].as_object_mut() {
            metadata.remove("resourceVersion");
            metadata.remove("uid");
        }
        let mut managed = Managed::of(&old);
        let new = managed.apply(&old, &applied, &resource.schema, &writer, how)?;
        Ok((self.replace(ask, &old, new, Some(managed))?, false))
    }

    fn read_applied(&self, ask: &Ask, name: &str, patch: &Value) -> Result<Value, Failure> {
        if !patch["metadata"]["managedFields"].is_null() {
            return Err(Failure::bad_request("metadata.managedFields must be nil"));
        }
        if patch["apiVersion"].is_null() || patch["kind"].is_null() {
            return Err(Failure::bad_request("apiVersion and kind must be set for an apply"));
        }
        let mut applied = self.read_body(ask, patch.clone())?;
        let metadata = &mut applied["metadata"];
        if metadata["name"].is_null() {
            metadata["name"] = json!(name);
        }
        if metadata["name"] != name {
            let why = format!(
                "the name of the object ({}) does not match the name on the URL ({name})",
                metadata["name"].as_str().unwrap_or_default()
            );
            return Err(Failure::bad_request(why));
        }
        if ask.resource.custom {
            let unknown = prune(&mut applied, &ask.resource.schema);
            if let Some(path) = unknown.first() {
                let place = if ask.resource.namespaced { &ask.namespace } else { "" };
                let why = format!(
                    "failed to create typed patch object ({place}/{name}; {}, Kind={}): .{path}: field not declared in schema",
                    ask.resource.api_version(),
                    ask.resource.kind,
                );
                return Err(Failure::new(500, "", why));
            }
        }
        Ok(applied)
    }
}

fn options_invalid(cause: &Cause) -> Failure {
    let why =
        format!("PatchOptions.meta.k8s.io \"\" is invalid: {}: {}", cause.field, cause.message);
    Failure::new(422, "Invalid", why)
}
