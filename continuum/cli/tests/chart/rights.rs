//! The agent's Role allows the calls that the agent makes, each of them, and nothing else.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{kind, list, name, objects, of_kind, values};

/// Group, resource, the names that it is bound to (empty: all of the namespace), verbs.
type Need = (&'static str, &'static str, &'static str, &'static [&'static str]);

/// What an agent always asks for.
const ALWAYS: [Need; 13] = [
    ("postgresql.cnpg.io", "clusters", "", &["get", "list", "watch", "patch"]),
    ("postgresql.cnpg.io", "backups", "", &["get", "list", "watch", "create"]),
    ("postgresql.cnpg.io", "scheduledbackups", "", &["get", "list", "patch"]),
    ("dr.openova.io", "continuums", "", &["get", "list", "watch"]),
    ("dr.openova.io", "cnpgpairs", "", &["get", "list", "watch"]),
    ("dr.openova.io", "continuums/status", "", &["patch"]),
    ("dr.openova.io", "cnpgpairs/status", "", &["patch"]),
    ("", "pods", "", &["get", "list", "watch"]),
    // By websocket: GET, which newer servers hold against create too.
    ("", "pods/exec", "", &["get", "create"]),
    ("coordination.k8s.io", "leases", "", &["create"]),
    ("coordination.k8s.io", "leases", "dr-continuum-agent", &["get", "update"]),
    ("", "configmaps", "", &["create"]),
    ("", "configmaps", "dr-continuum-agent-state", &["get", "update"]),
];
const TRAFFIC: [Need; 3] = [
    ("gateway.networking.k8s.io", "httproutes", "", &["get", "patch"]),
    ("discovery.k8s.io", "endpointslices", "", &["get", "create", "patch"]),
    ("postgresql.cnpg.io", "poolers", "", &["get", "patch"]),
];
const NODE_POOLS: [Need; 1] = [("cluster.x-k8s.io", "machinedeployments", "", &["get", "patch"])];

/// One thing that is allowed: group, resource, name or nothing, verb.
type Right = (String, String, String, String);

fn needed(needs: &[Need]) -> BTreeSet<Right> {
    let rights = needs.iter().flat_map(|(group, resource, name, verbs)| {
        let right =
            |verb: &&str| ((*group).into(), (*resource).into(), (*name).into(), (*verb).into());
        verbs.iter().map(right)
    });
    rights.collect()
}

fn texts(rule: &Value, key: &str) -> Vec<String> {
    list(&rule[key]).iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn allowed(objects: &[Value]) -> BTreeSet<Right> {
    let roles = objects.iter().filter(|object| ["Role", "ClusterRole"].contains(&kind(object)));
    let mut found = BTreeSet::new();
    for rule in roles.flat_map(|role| list(&role["rules"])) {
        let names = match texts(rule, "resourceNames") {
            names if names.is_empty() => vec![String::new()],
            names => names,
        };
        for group in texts(rule, "apiGroups") {
            for resource in texts(rule, "resources") {
                for (name, verb) in names.iter().flat_map(|name| {
                    texts(rule, "verbs").into_iter().map(move |verb| (name.clone(), verb))
                }) {
                    found.insert((group.clone(), resource.clone(), name, verb));
                }
            }
        }
    }
    found
}

fn with_rights(traffic: bool, node_pools: bool) -> Vec<Value> {
    let mut values = values("agent");
    values["agent"]["rbac"] = json!({ "traffic": traffic, "nodePools": node_pools });
    objects(&values)
}

#[test]
fn the_role_allows_what_is_asked_for_and_nothing_else() {
    for (traffic, node_pools) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut needs = ALWAYS.to_vec();
        needs.extend(TRAFFIC.iter().filter(|_| traffic));
        needs.extend(NODE_POOLS.iter().filter(|_| node_pools));
        assert_eq!(
            allowed(&with_rights(traffic, node_pools)),
            needed(&needs),
            "{traffic} {node_pools}"
        );
    }
}

#[test]
fn a_right_too_many_or_too_few_is_seen() {
    let objects = with_rights(false, false);
    let with_rule = |rule: Value| {
        let mut planted = objects.clone();
        let role = planted.iter_mut().find(|object| kind(object) == "Role").unwrap();
        role["rules"].as_array_mut().unwrap().push(rule);
        planted
    };
    for rule in [
        json!({ "apiGroups": [""], "resources": ["secrets"], "verbs": ["get"] }),
        json!({ "apiGroups": [""], "resources": ["pods"], "verbs": ["delete"] }),
        json!({ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }),
        json!({ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["update"] }),
    ] {
        assert_ne!(allowed(&with_rule(rule.clone())), needed(&ALWAYS), "{rule}");
    }
    let mut planted = objects.clone();
    let role = planted.iter_mut().find(|object| kind(object) == "Role").unwrap();
    role["rules"].as_array_mut().unwrap().pop();
    assert_ne!(allowed(&planted), needed(&ALWAYS));
}

#[test]
fn rights_are_the_agents_alone_and_end_at_the_namespace() {
    for (case, objects) in super::cases() {
        for wide in ["ClusterRole", "ClusterRoleBinding"] {
            assert!(of_kind(&objects, wide).is_empty(), "{case}");
        }
        let bindings = of_kind(&objects, "RoleBinding");
        let roles = of_kind(&objects, "Role");
        assert_eq!(bindings.len(), roles.len(), "{case}");
        for binding in bindings {
            let subjects = list(&binding["subjects"]);
            assert_eq!(subjects.len(), 1, "{case}");
            assert_eq!(subjects[0]["name"], "dr-continuum-agent", "{case}");
            assert_eq!(subjects[0]["namespace"], "db", "{case}");
            assert_eq!(binding["roleRef"]["name"], name(roles[0]), "{case}");
        }
    }
}
