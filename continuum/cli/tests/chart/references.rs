//! What one object says of another is there: pods behind selectors, ports behind names, files behind
//! paths, and one core in the releases of several clusters.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{cases, kind, list, name, objects, of_kind, values};

/// Pods that objects make: their labels, and their whole spec.
fn pods(objects: &[Value]) -> Vec<(&Value, &Value)> {
    let with_pods = objects.iter().filter(|o| ["Deployment", "StatefulSet"].contains(&kind(o)));
    let templates = with_pods.map(|object| &object["spec"]["template"]);
    templates.map(|template| (&template["metadata"]["labels"], &template["spec"])).collect()
}

fn fits(selector: &Value, labels: &Value) -> bool {
    let pod_name = "statefulset.kubernetes.io/pod-name";
    let mut wanted = selector.as_object().unwrap().iter().filter(|(key, _)| *key != pod_name);
    wanted.all(|(key, value)| labels.get(key) == Some(value))
}

fn port_names(pod: &Value) -> BTreeSet<&str> {
    let containers = list(&pod["containers"]).iter();
    containers.flat_map(|c| list(&c["ports"])).map(|port| port["name"].as_str().unwrap()).collect()
}

/// References that lead nowhere.
fn dangling(objects: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    let pods = pods(objects);
    let named = |wanted: &str, name_wanted: &str| {
        of_kind(objects, wanted).iter().any(|object| name(object) == name_wanted)
    };
    for object in objects {
        let at = format!("{} {}", kind(object), name(object));
        let (selector, ports): (&Value, Vec<&Value>) = match kind(object) {
            "Service" => {
                let ports = list(&object["spec"]["ports"]).iter().map(|port| &port["targetPort"]);
                (&object["spec"]["selector"], ports.collect())
            }
            "NetworkPolicy" => {
                let rules = list(&object["spec"]["ingress"]).iter();
                let ports = rules.flat_map(|rule| list(&rule["ports"])).map(|port| &port["port"]);
                (&object["spec"]["podSelector"]["matchLabels"], ports.collect())
            }
            "PodDisruptionBudget" | "Deployment" | "StatefulSet" => {
                (&object["spec"]["selector"]["matchLabels"], Vec::new())
            }
            _ => continue,
        };
        let behind: Vec<_> = pods.iter().filter(|(labels, _)| fits(selector, labels)).collect();
        if behind.len() != 1 {
            found.push(format!("{at}: {} kinds of pods are behind its selector", behind.len()));
        }
        for (_, pod) in behind {
            for port in ports.iter().filter_map(|port| port.as_str()) {
                if !port_names(pod).contains(port) {
                    found.push(format!("{at}: no port {port}"));
                }
            }
        }
    }
    for (_, pod) in pods {
        let account = pod["serviceAccountName"].as_str().unwrap();
        if !named("ServiceAccount", account) {
            found.push(format!("no ServiceAccount {account}"));
        }
        let volumes: BTreeSet<_> =
            list(&pod["volumes"]).iter().map(|v| &v["name"]).map(Value::to_string).collect();
        for mount in list(&pod["containers"][0]["volumeMounts"]) {
            let volume = mount["name"].to_string();
            if volume != "\"data\"" && !volumes.contains(&volume) {
                found.push(format!("no volume {volume}"));
            }
        }
        for volume in list(&pod["volumes"]) {
            for (source, key, wanted) in [
                ("configMap", "name", "ConfigMap"),
                ("persistentVolumeClaim", "claimName", "PersistentVolumeClaim"),
            ] {
                if let Some(source) =
                    volume[source][key].as_str().filter(|source| !named(wanted, source))
                {
                    found.push(format!("no {wanted} {source}"));
                }
            }
        }
    }
    found
}

#[test]
fn nothing_leads_nowhere() {
    for (case, objects) in cases() {
        assert_eq!(dangling(&objects), Vec::<String>::new(), "{case}");
    }
}

#[test]
fn a_reference_to_nothing_is_seen() {
    let objects = objects(&values("full"));
    for (wanted, at, planted) in [
        ("Service", "/spec/selector/app.kubernetes.io~1component", "nobody"),
        ("Service", "/spec/ports/0/targetPort", "nowhere"),
        ("NetworkPolicy", "/spec/ingress/0/ports/0/port", "nowhere"),
        (
            "PodDisruptionBudget",
            "/spec/selector/matchLabels/app.kubernetes.io~1component",
            "nobody",
        ),
        ("Deployment", "/spec/template/spec/serviceAccountName", "nobody"),
        ("Deployment", "/spec/template/spec/volumes/0/configMap/name", "nothing"),
        ("Deployment", "/spec/template/spec/containers/0/volumeMounts/0/name", "nothing"),
    ] {
        let mut planted_in = objects.clone();
        let object = planted_in.iter_mut().find(|object| kind(object) == wanted).unwrap();
        *object.pointer_mut(at).unwrap() = planted.into();
        assert!(!dangling(&planted_in).is_empty(), "{wanted}{at}");
    }
}

/// The Secrets that pods need are those that certificates are made into.
#[test]
fn each_certificate_is_mounted_and_each_mounted_one_is_made() {
    for case in ["full", "witness"] {
        let objects = objects(&values(case));
        let certificates = of_kind(&objects, "Certificate");
        let made: BTreeSet<_> =
            certificates.iter().map(|c| c["spec"]["secretName"].as_str().unwrap()).collect();
        let mut mounted = BTreeSet::new();
        for (_, pod) in pods(&objects) {
            for volume in list(&pod["volumes"]).iter().filter(|volume| volume["name"] == "tls") {
                mounted.extend(volume["secret"]["secretName"].as_str());
                let sources = list(&volume["projected"]["sources"]).iter();
                mounted.extend(sources.filter_map(|source| source["secret"]["name"].as_str()));
            }
        }
        assert_eq!(made, mounted, "{case}");
    }
}

/// The three releases of the documentation found one core, and find each other.
#[test]
fn the_documented_clusters_are_one_core() {
    let mut founders: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    let mut agents = Vec::new();
    for case in ["fsn", "hel", "third"] {
        let objects = objects(&values(case));
        for map in of_kind(&objects, "ConfigMap") {
            for (file, text) in map["data"].as_object().unwrap() {
                let text = text.as_str().unwrap();
                let table: Value = toml::from_str(text).unwrap();
                match file.as_str() {
                    "agent.toml" => agents.push(table),
                    "witness.toml" => assert_eq!(case, "third"),
                    _ => {
                        let mut peers = list(&table["peers"]).to_vec();
                        peers.sort_by_key(|peer| peer["id"].as_u64());
                        let own = peers.iter().find(|peer| peer["id"] == table["id"]).unwrap();
                        assert_eq!(own["address"], table["advertise_rpc"], "{case}");
                        assert_eq!(own["api_address"], table["advertise_api"], "{case}");
                        founders.insert(case, peers);
                    }
                }
            }
        }
    }
    assert_eq!(founders.len(), 3);
    assert!(founders.values().all(|peers| peers.len() == 3 && *peers == founders["fsn"]));
    assert_eq!(agents.len(), 2);
    for agent in &agents {
        let core = list(&agent["core"]);
        assert_eq!(core.len(), 3);
        for node in &founders["fsn"] {
            assert!(
                core.iter().any(|c| c["name"] == node["name"] && c["address"] == node["address"])
            );
        }
        let others = agents.iter().filter(|other| other["region"] != agent["region"]);
        let others: Vec<_> = others.map(|other| &other["region"]).collect();
        let peers: Vec<_> = list(&agent["peers"]).iter().map(|peer| &peer["region"]).collect();
        assert_eq!(peers, others);
        assert_eq!(agent["witness"], agents[0]["witness"]);
    }
}
