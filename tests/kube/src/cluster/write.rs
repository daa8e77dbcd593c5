//! Creating and replacing objects, and what every write goes through.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::apply::managed::Managed;
use crate::cluster::{Ask, Cluster, name_of, uid};
use crate::failure::{Cause, Failure};
use crate::kinds::Resource;
use crate::schema::{fill_defaults, prune, validate::validate};

/// Metadata that only the server writes.
const SERVERS: &[&str] = &[
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "selfLink",
    "name",
    "namespace",
    "generateName",
];

impl Cluster {
    /// Makes a new object.
    ///
    /// # Errors
    /// It is refused; nothing was changed.
    pub fn create(&mut self, ask: &Ask, body: Value) -> Result<Arc<Value>, Failure> {
        let mut new = self.read_body(ask, body)?;
        if !new["metadata"]["resourceVersion"].is_null() {
            let why = "resourceVersion should not be set on objects to be created";
            return Err(Failure::new(500, "", why));
        }
        let metadata = &mut new["metadata"];
        if name_of(&json!({ "metadata": metadata.clone() })).is_empty() {
            let Some(prefix) = metadata["generateName"].as_str() else {
                let cause = Cause {
                    reason: "FieldValueRequired",
                    message: "Required value: name or generateName is required".into(),
                    field: "metadata.name".into(),
                };
                return Err(Failure::invalid(&ask.resource, "", &[cause]));
            };
            metadata["name"] = json!(format!("{prefix}{}", suffix()));
        }
        self.insert(ask, new, None)
    }

    /// Keeps a new object, whose owners are known already where it was applied.
    pub(crate) fn insert(
        &mut self,
        ask: &Ask,
        mut new: Value,
        managed: Option<Managed>,
    ) -> Result<Arc<Value>, Failure> {
        let resource = ask.resource.clone();
        let name = name_of(&new).to_owned();
        check_name(&resource, &name)?;
        self.check_namespace(ask, &name)?;
        let key = ask.key(&name);
        if self.store.get(&resource.storage(), &key).is_some() {
            return Err(Failure::already_exists(&resource, &name));
        }
        if let Some(metadata) = new["metadata"].as_object_mut() {
            for server in
                ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "managedFields"]
            {
                metadata.remove(server);
            }
            metadata.insert("uid".into(), uid().into());
            metadata.insert("creationTimestamp".into(), ask.now.clone().into());
            metadata.remove("generation");
            if has_generation(&resource) {
                metadata.insert("generation".into(), 1.into());
            }
        }
        if resource.status
            && let Some(object) = new.as_object_mut()
        {
            object.remove("status");
        }
        shape(&resource, &mut new);
        self.admit(ask, &mut new, None)?;
        let managed = managed.unwrap_or_else(|| {
            let mut managed = Managed::default();
            let writer = ask.writer(false);
            managed.update(&json!({}), &new, &resource.schema, &writer, &ask.now);
            managed
        });
        managed.write(&mut new);
        self.check_definition(&resource, &new)?;
        if ask.dry_run() {
            return Ok(Arc::new(new));
        }
        let kept = self.store.put(&resource.storage(), key, new);
        self.definition_written(&resource, &kept);
        Ok(kept)
    }

    /// Puts another object in the place of one.
    ///
    /// # Errors
    /// It is refused; nothing was changed.
    pub fn update(&mut self, ask: &Ask, name: &str, body: Value) -> Result<Arc<Value>, Failure> {
        let new = self.read_body(ask, body)?;
        let resource = &ask.resource;
        if name_of(&new) != name {
            let why = format!(
                "the name of the object ({}) does not match the name on the URL ({name})",
                name_of(&new)
            );
            return Err(Failure::bad_request(why));
        }
        let old = match self.kept(ask, name) {
            Err(_) if creates_on_update(&resource.kind) && ask.subresource.is_none() => {
                let mut new = new;
                if let Some(metadata) = new["metadata"].as_object_mut() {
                    metadata.remove("resourceVersion");
                }
                return self.create(ask, new);
            }
            other => other?,
        };
        if new["metadata"]["resourceVersion"].is_null()
            && (resource.custom || resource.kind == "Lease")
        {
            let cause = Cause {
                reason: "FieldValueInvalid",
                message: "Invalid value: 0x0: must be specified for an update".into(),
                field: "metadata.resourceVersion".into(),
            };
            return Err(Failure::invalid(resource, name, &[cause]));
        }
        self.replace(ask, &old, new, None)
    }

    /// Keeps a changed object. Its owners are known already where it was applied.
    pub(crate) fn replace(
        &mut self,
        ask: &Ask,
        old: &Value,
        new: Value,
        managed: Option<Managed>,
    ) -> Result<Arc<Value>, Failure> {
        let resource = ask.resource.clone();
        let name = name_of(old).to_owned();
        check_preconditions(&resource, old, &new["metadata"])?;
        let mut new = blend(ask, old, new);
        shape(&resource, &mut new);
        check_finalizers(&resource, old, &new)?;
        self.admit(ask, &mut new, Some(old))?;
        let managed = managed.unwrap_or_else(|| {
            let mut managed = Managed::of(old);
            managed.update(old, &new, &resource.schema, &ask.writer(false), &ask.now);
            managed
        });
        managed.write(&mut new);
        if has_generation(&resource) && spec_differs(&resource, old, &new) {
            let generation = old["metadata"]["generation"].as_i64().unwrap_or(0);
            new["metadata"]["generation"] = json!(generation + 1);
        }
        if new == *old || ask.dry_run() {
            return Ok(Arc::new(new));
        }
        self.check_definition(&resource, &new)?;
        let (storage, key) = (resource.storage(), ask.key(&name));
        let deleting = !new["metadata"]["deletionTimestamp"].is_null();
        if deleting && no_finalizers(&new) {
            // The last one that held it has let go.
            self.store.put(&storage, key.clone(), new);
            let gone = self.store.remove(&storage, &key);
            self.definition_removed(&resource, old);
            return gone.ok_or_else(|| Failure::not_found(&resource, &name));
        }
        let kept = self.store.put(&storage, key, new);
        self.definition_written(&resource, &kept);
        Ok(kept)
    }

    /// Reads what a client sends as an object of the kind it is sent to.
    pub(crate) fn read_body(&self, ask: &Ask, mut body: Value) -> Result<Value, Failure> {
        let resource = &ask.resource;
        let Some(object) = body.as_object_mut() else {
            return Err(Failure::bad_request("the object provided is unrecognized"));
        };
        let due = resource.api_version();
        let said = object.get("apiVersion").and_then(Value::as_str).unwrap_or(&due).to_owned();
        let kind = object.get("kind").and_then(Value::as_str).unwrap_or(&resource.kind).to_owned();
        if said != due {
            let why = format!(
                "the API version in the data ({said}) does not match the expected API version ({due})"
            );
            return Err(Failure::bad_request(why));
        }
        if kind != resource.kind {
            let why = format!(
                "{kind} in version \"{}\" cannot be handled as a {}: no kind \"{kind}\" is registered",
                resource.version, resource.kind
            );
            return Err(Failure::bad_request(why));
        }
        object.insert("apiVersion".into(), due.into());
        object.insert("kind".into(), kind.into());
        let metadata = object.entry("metadata").or_insert_with(|| json!({}));
        read_metadata(metadata)?;
        if resource.namespaced {
            match metadata["namespace"].as_str() {
                Some(other) if other != ask.namespace => {
                    return Err(Failure::bad_request(
                        "the namespace of the provided object does not match the namespace sent on the request",
                    ));
                }
                _ => metadata["namespace"] = json!(ask.namespace),
            }
        }
        Ok(body)
    }

    /// Prunes, fills in, validates: what a schema asks of every write.
    fn admit(&self, ask: &Ask, new: &mut Value, old: Option<&Value>) -> Result<(), Failure> {
        let resource = &ask.resource;
        let dropped = if resource.custom { prune(new, &resource.schema) } else { Vec::new() };
        if !dropped.is_empty() && ask.query.get("fieldValidation") == Some("Strict") {
            let listed: Vec<String> =
                dropped.iter().map(|path| format!("unknown field \"{path}\"")).collect();
            let why = format!(
                "{kind} in version \"{}\" cannot be handled as a {kind}: strict decoding error: {}",
                resource.version,
                listed.join(", "),
                kind = resource.kind,
            );
            return Err(Failure::bad_request(why));
        }
        fill_defaults(new, &resource.schema);
        if !resource.custom {
            return Ok(());
        }
        let mut causes = validate(new, &resource.schema);
        if causes.is_empty() {
            causes = resource.rules.ask(new, old, &resource.schema);
        }
        if !causes.is_empty() {
            return Err(Failure::invalid(resource, name_of(new), &causes));
        }
        let Some((name, webhook)) = self.webhook.as_ref().filter(|_| !ask.writes_status()) else {
            return Ok(());
        };
        let causes = webhook(resource, new);
        if causes.is_empty() {
            return Ok(());
        }
        Err(Failure::invalid(resource, name_of(new), &causes).denied_by(name))
    }

    fn check_namespace(&self, ask: &Ask, name: &str) -> Result<(), Failure> {
        if !ask.resource.namespaced {
            return Ok(());
        }
        let namespaces = self.kinds.get("", "v1", "namespaces");
        let key = (String::new(), ask.namespace.clone());
        match (self.store.get("/namespaces", &key), namespaces) {
            (Some(namespace), _) if namespace["metadata"]["deletionTimestamp"].is_null() => Ok(()),
            (None, Some(namespaces)) => Err(Failure::not_found(&namespaces, &ask.namespace)),
            _ => {
                let why = format!(
                    "{} \"{name}\" is forbidden: unable to create new content in namespace {} because it is being terminated",
                    ask.resource.qualified(),
                    ask.namespace
                );
                Err(Failure::new(403, "Forbidden", why).about(&ask.resource, name))
            }
        }
    }
}

/// Refuses a write that expects another version or another object than the one there is.
pub(crate) fn check_preconditions(
    resource: &Resource,
    old: &Value,
    expected: &Value,
) -> Result<(), Failure> {
    let name = name_of(old);
    let is = |field: &str| old["metadata"][field].as_str().unwrap_or_default().to_owned();
    if let Some(uid) = expected["uid"].as_str().filter(|uid| *uid != is("uid")) {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            is("uid")
        );
        return Err(Failure::conflict(resource, name, &why));
    }
    let version = expected["resourceVersion"].as_str().filter(|version| !version.is_empty());
    if version.is_some_and(|version| version != is("resourceVersion")) {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        return Err(Failure::conflict(resource, name, why));
    }
    Ok(())
}

/// Refuses another holder of an object that is to go.
fn check_finalizers(resource: &Resource, old: &Value, new: &Value) -> Result<(), Failure> {
    let of =
        |object: &Value| object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let before = of(old);
    let more: Vec<Value> = of(new).into_iter().filter(|one| !before.contains(one)).collect();
    if old["metadata"]["deletionTimestamp"].is_null() || more.is_empty() {
        return Ok(());
    }
    let cause = Cause {
        reason: "FieldValueForbidden",
        message: format!(
            "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers {}",
            Value::Array(more)
        ),
        field: "metadata.finalizers".into(),
    };
    Err(Failure::invalid(resource, name_of(old), &[cause]))
}

/// What of a write counts at the place where it came in.
fn blend(ask: &Ask, old: &Value, mut new: Value) -> Value {
    let status = new["status"].take();
    if ask.writes_status() {
        let mut kept = old.clone();
        set(&mut kept, "status", status);
        return kept;
    }
    if ask.resource.status {
        set(&mut new, "status", old["status"].clone());
    } else {
        set(&mut new, "status", status);
    }
    for field in SERVERS {
        let was = old["metadata"][*field].clone();
        set(&mut new["metadata"], field, was);
    }
    set(&mut new["metadata"], "resourceVersion", old["metadata"]["resourceVersion"].clone());
    new
}

fn set(object: &mut Value, field: &str, value: Value) {
    if let Some(map) = object.as_object_mut() {
        if value.is_null() {
            map.remove(field);
        } else {
            map.insert(field.to_owned(), value);
        }
    }
}

fn without(object: &Value, fields: &[&str]) -> Map<String, Value> {
    let mut map = object.as_object().cloned().unwrap_or_default();
    fields.iter().for_each(|field| {
        map.remove(*field);
    });
    map
}

fn spec_differs(resource: &Resource, old: &Value, new: &Value) -> bool {
    let aside: &[&str] = if resource.status { &["metadata", "status"] } else { &["metadata"] };
    without(old, aside) != without(new, aside)
}

fn has_generation(resource: &Resource) -> bool {
    const KINDS: &[&str] = &[
        "Deployment",
        "StatefulSet",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "CustomResourceDefinition",
    ];
    resource.custom || KINDS.contains(&resource.kind.as_str())
}

fn creates_on_update(kind: &str) -> bool {
    ["Lease", "Event", "Service"].contains(&kind)
}

pub(crate) fn no_finalizers(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty)
}

/// Metadata has one form for all kinds, and a wrong one is not even read.
fn read_metadata(metadata: &mut Value) -> Result<(), Failure> {
    let Some(map) = metadata.as_object_mut() else {
        return Err(Failure::bad_request("json: cannot unmarshal metadata into ObjectMeta"));
    };
    map.retain(|_, value| !value.is_null());
    for field in ["labels", "annotations"] {
        let Some(pairs) = map.get(field) else { continue };
        let texts = pairs.as_object().is_some_and(|pairs| pairs.values().all(Value::is_string));
        if !texts {
            let why = format!(
                "json: cannot unmarshal into Go struct field ObjectMeta.metadata.{field} of type string"
            );
            return Err(Failure::bad_request(why));
        }
    }
    Ok(())
}

/// What the server itself does to objects of some kinds.
fn shape(resource: &Resource, object: &mut Value) {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        // Empty is the same as none, as for the real server's own types.
        metadata.retain(|_, value| match value {
            Value::Object(map) => !map.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Null => false,
            _ => true,
        });
    }
    match resource.kind.as_str() {
        "Secret" if !resource.custom => {
            let plain = object["stringData"].take();
            if let Value::Object(plain) = plain {
                for (name, text) in plain {
                    use base64::Engine as _;
                    let text = text.as_str().unwrap_or_default();
                    let text = base64::engine::general_purpose::STANDARD.encode(text);
                    object["data"][name] = json!(text);
                }
            }
            set(object, "stringData", Value::Null);
            if object["type"].is_null() {
                object["type"] = json!("Opaque");
            }
        }
        "Namespace" if !resource.custom => {
            object["spec"] = json!({ "finalizers": ["kubernetes"] });
            let phase = if object["metadata"]["deletionTimestamp"].is_null() {
                "Active"
            } else {
                "Terminating"
            };
            object["status"]["phase"] = json!(phase);
        }
        _ => {}
    }
}

fn check_name(resource: &Resource, name: &str) -> Result<(), Failure> {
    let part = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|sign| sign.is_ascii_lowercase() || sign.is_ascii_digit() || sign == '-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    let rbac = resource.group == "rbac.authorization.k8s.io";
    let fits = name.len() <= 253 && name.split('.').all(part);
    if fits || (rbac && !name.contains(['/', '%'])) {
        return Ok(());
    }
    let why = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
    let cause = Cause {
        reason: "FieldValueInvalid",
        message: format!("Invalid value: {name:?}: {why}"),
        field: "metadata.name".into(),
    };
    Err(Failure::invalid(resource, name, &[cause]))
}

/// The end of a generated name, in letters that spell nothing.
fn suffix() -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let random = continuum_runtime::seed::secret();
    random
        .bytes()
        .step_by(7)
        .take(5)
        .zip(random.bytes().skip(1).step_by(7))
        .map(|(one, two)| {
            let at = (usize::from(one) * 31 + usize::from(two)) % LETTERS.len();
            char::from(LETTERS[at])
        })
        .collect()
}
