//! Every pod keeps to Kubernetes' restricted security, and to what is ours beside it.

use serde_json::{Value, json};

use super::{cases, kind, list, name, objects, values};

/// Kinds of volumes that the restricted profile lets in.
const VOLUMES: [&str; 8] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// What the restricted profile, or we, have against a pod.
fn problems(pod: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut need = |holds: bool, what: &str| {
        if !holds {
            found.push(what.to_owned());
        }
    };
    for host in ["hostNetwork", "hostPID", "hostIPC"] {
        need(pod.get(host).is_none_or(|on| on == false), host);
    }
    for volume in list(&pod["volumes"]) {
        let kinds = volume.as_object().unwrap().keys().filter(|key| *key != "name");
        let mut kinds = kinds.peekable();
        need(kinds.peek().is_some(), "a volume of nothing");
        kinds.for_each(|kind| need(VOLUMES.contains(&kind.as_str()), &format!("volume {kind}")));
    }
    let all = &pod["securityContext"];
    need(all.get("sysctls").is_none(), "sysctls");
    need(all["seccompProfile"]["type"] == "RuntimeDefault", "seccomp");
    need(all["runAsNonRoot"] == true, "runAsNonRoot");
    need(all["runAsUser"].as_i64().is_some_and(|user| user > 0), "runAsUser");
    need(all["fsGroup"].as_i64().is_some_and(|group| group > 0), "fsGroup");
    need(pod.get("automountServiceAccountToken").is_some(), "whether there is a token is not said");
    need(
        pod["serviceAccountName"].as_str().is_some_and(|name| name != "default"),
        "service account",
    );
    need(!list(&pod["topologySpreadConstraints"]).is_empty(), "topology spread");
    let inits = list(&pod["initContainers"]).iter();
    for container in list(&pod["containers"]).iter().chain(inits) {
        let own = &container["securityContext"];
        need(own["allowPrivilegeEscalation"] == false, "privilege escalation");
        need(own.get("privileged").is_none_or(|on| on == false), "privileged");
        need(own["capabilities"]["drop"] == json!(["ALL"]), "capabilities");
        need(own["capabilities"].get("add").is_none(), "added capabilities");
        need(own.get("procMount").is_none(), "procMount");
        need(own.get("runAsUser").is_none() && own.get("runAsNonRoot").is_none(), "another user");
        need(own["readOnlyRootFilesystem"] == true, "a root file system that can be written");
        need(container["resources"]["limits"]["memory"].is_string(), "memory limit");
        need(container["resources"]["requests"]["cpu"].is_string(), "cpu request");
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            need(container[probe].is_object(), probe);
        }
        for port in list(&container["ports"]) {
            need(port.get("hostPort").is_none(), "hostPort");
        }
        for mount in list(&container["volumeMounts"]) {
            // A file that is mounted by itself is not kept up to date.
            need(mount.get("subPath").is_none(), "subPath");
            let writable = ["data", "scratch"].iter().any(|name| mount["name"] == *name);
            need(writable || mount["readOnly"] == true, "a volume that can be written");
        }
        // There is no shell in the image.
        need(container.get("command").is_none(), "command");
    }
    found
}

fn pods(objects: &[Value]) -> Vec<(String, Value)> {
    let with_pods = objects.iter().filter(|o| ["Deployment", "StatefulSet"].contains(&kind(o)));
    with_pods.map(|o| (name(o).to_owned(), o["spec"]["template"]["spec"].clone())).collect()
}

#[test]
fn every_pod_is_restricted() {
    for (case, objects) in cases() {
        let pods = pods(&objects);
        assert!(!pods.is_empty(), "{case}");
        for (name, pod) in pods {
            assert_eq!(problems(&pod), Vec::<String>::new(), "{case}: {name}");
            let asks = name.ends_with("-agent");
            assert_eq!(pod["automountServiceAccountToken"], asks, "{case}: {name}");
        }
    }
}

#[test]
fn each_loosening_is_seen() {
    let pods = pods(&objects(&values("full")));
    let (_, agent) = pods.iter().find(|(name, _)| name.ends_with("-agent")).unwrap();
    for (at, planted, said) in [
        ("/hostNetwork", json!(true), "hostNetwork"),
        ("/securityContext/runAsNonRoot", json!(false), "runAsNonRoot"),
        ("/securityContext/runAsUser", json!(0), "runAsUser"),
        ("/securityContext/seccompProfile/type", json!("Unconfined"), "seccomp"),
        (
            "/containers/0/securityContext/allowPrivilegeEscalation",
            json!(true),
            "privilege escalation",
        ),
        ("/containers/0/securityContext/privileged", json!(true), "privileged"),
        ("/containers/0/securityContext/capabilities/drop", json!([]), "capabilities"),
        (
            "/containers/0/securityContext/capabilities/add",
            json!(["SYS_ADMIN"]),
            "added capabilities",
        ),
        (
            "/containers/0/securityContext/readOnlyRootFilesystem",
            json!(false),
            "a root file system",
        ),
        ("/containers/0/securityContext/runAsUser", json!(0), "another user"),
        ("/containers/0/resources/limits", json!({}), "memory limit"),
        ("/containers/0/readinessProbe", json!(null), "readinessProbe"),
        ("/containers/0/volumeMounts/1/subPath", json!("tls.key"), "subPath"),
        ("/containers/0/volumeMounts/1/readOnly", json!(false), "a volume that can be written"),
        ("/volumes/0/hostPath", json!({ "path": "/" }), "volume hostPath"),
        ("/serviceAccountName", json!("default"), "service account"),
    ] {
        let mut pod = agent.clone();
        let (parent, key) = at.rsplit_once('/').unwrap();
        pod.pointer_mut(parent).unwrap()[key] = planted;
        let found = problems(&pod);
        assert!(found.iter().any(|problem| problem.starts_with(said)), "{at}: {found:?}");
    }
}
