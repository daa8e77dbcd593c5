//! Reading objects, one or many.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::cluster::{Ask, Cluster};
use crate::failure::Failure;
use crate::kinds::Resource;
use crate::selector::Selector;

/// The rest of a list that is read in pages: as it was when the first was read.
#[derive(Clone, Debug)]
pub struct Page {
    version: u64,
    rest: Vec<Arc<Value>>,
}

/// Rests that are kept; the oldest go first.
const PAGES: usize = 64;

/// An object as it is served at a version.
#[must_use]
pub fn served(object: &Value, resource: &Resource) -> Value {
    let mut object = object.clone();
    object["apiVersion"] = json!(resource.api_version());
    object
}

impl Cluster {
    /// What a request's selectors select.
    ///
    /// # Errors
    /// A selector is not understood.
    pub fn selected(&self, ask: &Ask) -> Result<Vec<Arc<Value>>, Failure> {
        let query = &ask.query;
        let selector = Selector::read(query.get("labelSelector"), query.get("fieldSelector"))?;
        let namespace = Some(ask.namespace.as_str()).filter(|namespace| !namespace.is_empty());
        let all = self.store.list(&ask.resource.storage(), namespace).into_iter();
        Ok(all.map(|(_, object)| object).filter(|object| selector.matches(object)).collect())
    }

    /// A list, or a page of one.
    ///
    /// # Errors
    /// A parameter is not understood, or the rest of the list is forgotten.
    pub fn list(&mut self, ask: &Ask) -> Result<Value, Failure> {
        let asked = ask.query.get("resourceVersion").unwrap_or("0");
        let asked: u64 = asked
            .parse()
            .map_err(|_| Failure::bad_request(format!("invalid resource version \"{asked}\"")))?;
        if asked > self.store.version() {
            let why =
                format!("Too large resource version: {asked}, current: {}", self.store.version());
            return Err(Failure::new(504, "Timeout", why));
        }
        let mut page = match ask.query.get("continue") {
            None => Page { version: self.store.version(), rest: self.selected(ask)? },
            Some(token) => {
                let page = self.pages.remove(token);
                page.filter(|page| page.version >= self.store.compacted()).ok_or_else(|| {
                    Failure::expired(
                        "The provided continue parameter is too old to display a consistent list result.",
                    )
                })?
            }
        };
        let limit = ask.query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(0);
        let rest = match limit {
            0 => Vec::new(),
            limit if limit >= page.rest.len() => Vec::new(),
            limit => page.rest.split_off(limit),
        };
        let mut metadata = json!({ "resourceVersion": page.version.to_string() });
        if !rest.is_empty() {
            let token = format!("{:012}-{}", page.version, continuum_runtime::seed::random_id(12));
            metadata["continue"] = json!(token);
            metadata["remainingItemCount"] = json!(rest.len());
            self.pages.insert(token, Page { version: page.version, rest });
            while self.pages.len() > PAGES {
                self.pages.pop_first();
            }
        }
        let resource = &ask.resource;
        let items = page.rest.iter().map(|object| {
            let mut object = served(object, resource);
            // The real server's own types leave out in a list what the list says.
            if !resource.custom
                && let Some(map) = object.as_object_mut()
            {
                map.remove("apiVersion");
                map.remove("kind");
            }
            object
        });
        Ok(json!({
            "kind": format!("{}List", resource.kind),
            "apiVersion": resource.api_version(),
            "metadata": metadata,
            "items": items.collect::<Vec<_>>(),
        }))
    }
}
