//! The `EndpointSlice` of a Service without a selector: it carries the holder's address, and nobody else's.

use std::collections::BTreeMap;
use std::net::IpAddr;

use continuum_domain::{RegionId, Tick};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::board::{Formed, Premise, Shape, Sight};
use super::config::EndpointSliceConfig;
use super::mark::{self, KEY, Mark};
use crate::traffic::{Held, Pointing, SwitchError};

/// Whose slice it is; controllers of the cluster leave it alone for it.
const MANAGER: &str = "continuum";

/// The shape.
#[derive(Debug)]
pub(super) struct EndpointSlice {
    collection: String,
    path: String,
    service_path: String,
    name: String,
    service: String,
    port_name: String,
    addresses: BTreeMap<RegionId, IpAddr>,
}

/// Nothing is noted beside.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Nothing {}

impl EndpointSlice {
    pub fn new(config: &EndpointSliceConfig) -> Self {
        let EndpointSliceConfig { namespace, service, .. } = config;
        let collection = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices");
        let name = format!("{service}-continuum");
        Self {
            path: format!("{collection}/{name}"),
            service_path: format!("/api/v1/namespaces/{namespace}/services/{service}"),
            collection,
            name,
            service: service.clone(),
            port_name: config.port_name.clone(),
            addresses: config.addresses.clone(),
        }
    }

    fn address(&self, target: &Pointing) -> Result<IpAddr, SwitchError> {
        let configured = self.addresses.get(&target.holder).copied();
        configured.or_else(|| target.host.parse().ok()).ok_or_else(|| {
            let Pointing { holder, host, .. } = target;
            let reason = format!(
                "{host} of {holder} is a name, and a slice needs an address: give it in `addresses`"
            );
            SwitchError::refused("leading clients", reason)
        })
    }

    /// The fields that are an agent's to say, by their pointers.
    fn fields(&self, mark: &Mark<Nothing>) -> Result<Vec<(&'static str, Value)>, SwitchError> {
        let Some(target) = &mark.target else { return Ok(Vec::new()) };
        let ready = mark.held.is_none();
        let endpoint = json!({
            "addresses": [self.address(target)?],
            "conditions": { "ready": ready, "serving": ready, "terminating": false },
        });
        let port = json!({ "name": self.port_name, "port": target.port, "protocol": "TCP" });
        Ok(vec![("/endpoints", json!([endpoint])), ("/ports", json!([port]))])
    }

    fn labels(&self) -> [(&'static str, &str); 2] {
        [
            ("kubernetes.io/service-name", &self.service),
            ("endpointslice.kubernetes.io/managed-by", MANAGER),
        ]
    }
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// A Service with a selector has slices of the cluster's own, which lead elsewhere.
fn without_selector(service: Option<&Value>) -> Result<(), String> {
    let Some(service) = service else {
        return Err("its Service is not there; make one without a selector".into());
    };
    match service["spec"]["selector"].as_object().is_some_and(|selector| !selector.is_empty()) {
        false => Ok(()),
        true => Err("its Service has a selector, so that it leads to what that selects too".into()),
    }
}

impl Shape for EndpointSlice {
    type Note = Nothing;

    fn path(&self) -> &str {
        &self.path
    }

    fn premise(&self) -> Option<(&str, Premise)> {
        Some((&self.service_path, without_selector))
    }

    fn see(&self, object: &Value, mark: &Mark<Nothing>, now: Tick) -> Sight {
        let formed = self.form(object, mark, &mut mark.clone(), now);
        let same = matches!(&formed, Ok(formed) if formed.operations.is_empty());
        let held = match &mark.held {
            Some(why) => Held::Ours { why: why.clone(), complete: same },
            None => Held::No,
        };
        Sight { in_force: same && mark.target.is_some(), held, remarks: Vec::new() }
    }

    fn form(
        &self,
        object: &Value,
        before: &Mark<Nothing>,
        mark: &mut Mark<Nothing>,
        _now: Tick,
    ) -> Result<Formed, SwitchError> {
        if let Some(target) = &mark.target {
            let wanted = family(self.address(target)?);
            if object["addressType"] != wanted {
                let reason = format!(
                    "the slice {} is of {}, which cannot be changed, and the address is {wanted}; use \
                     addresses of one family",
                    self.name, object["addressType"]
                );
                return Err(SwitchError::refused("leading clients", reason));
            }
        }
        let mut operations = Vec::new();
        let labels = &object["metadata"]["labels"];
        if !labels.is_object() {
            operations.push(json!({ "op": "add", "path": "/metadata/labels", "value": {} }));
        }
        for (key, value) in self.labels() {
            if labels[key] != value {
                let path = format!("/metadata/labels/{}", key.replace('/', "~1"));
                operations.push(json!({ "op": "add", "path": path, "value": value }));
            }
        }
        for (path, value) in self.fields(mark)? {
            if object.pointer(path) != Some(&value) {
                operations.push(json!({ "op": "add", "path": path, "value": value }));
            }
        }
        let mut written = self.fields(before)?.into_iter();
        let differs = |(path, value): (&str, Value)| object.pointer(path) != Some(&value);
        let foreign = written.any(differs).then(|| "its addresses were changed".to_owned());
        Ok(Formed { operations, foreign })
    }

    fn collection(&self) -> Option<&str> {
        Some(&self.collection)
    }

    fn made(&self, mark: &Mark<Nothing>) -> Result<Value, SwitchError> {
        let target = mark.target.as_ref().ok_or_else(|| {
            SwitchError::refused("making the slice", "nobody is known to hold the pair")
        })?;
        let labels: BTreeMap<&str, &str> = self.labels().into();
        let mut slice = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": self.name,
                "labels": labels,
                "annotations": { KEY: mark::text(mark)? },
            },
            "addressType": family(self.address(target)?),
        });
        for (path, value) in self.fields(mark)? {
            slice[path.trim_start_matches('/')] = value;
        }
        Ok(slice)
    }
}
