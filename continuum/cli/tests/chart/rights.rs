//! The agent's Role allows the calls that the agent makes, each of them, and nothing else.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{kind, list, name, objects, of_kind, values};

/// Namespace, group, resource, the name that it is bound to (empty: all of the namespace), verbs.
type Need = (&'static str, &'static str, &'static str, &'static str, &'static [&'static str]);

const FOLLOW: &[&str] = &["list", "watch"];
const BACKUPS: &[&str] = &["get", "list", "watch", "create"];
const MEMBER: &[&str] = &["get", "list", "watch", "patch"];
/// By websocket: GET, which newer servers hold against create too.
const COMMAND: &[&str] = &["get", "create"];

/// What every agent asks for: the controller, the election, the state.
const ALWAYS: [Need; 8] = [
    ("db", "dr.openova.io", "continuums", "", FOLLOW),
    ("db", "dr.openova.io", "cnpgpairs", "", FOLLOW),
    ("db", "dr.openova.io", "continuums/status", "", &["patch"]),
    ("db", "dr.openova.io", "cnpgpairs/status", "", &["patch"]),
    ("db", "coordination.k8s.io", "leases", "", &["create"]),
    ("db", "coordination.k8s.io", "leases", "dr-continuum-agent", &["get", "update"]),
    ("db", "", "configmaps", "", &["create"]),
    ("db", "", "configmaps", "dr-continuum-agent-state", &["get", "update"]),
];
/// What the agent of the values `agent` asks for beside: one member.
const ONE_MEMBER: [Need; 5] = [
    ("db", "postgresql.cnpg.io", "clusters", "app-fsn", MEMBER),
    ("db", "", "pods", "", &["list"]),
    ("db", "", "pods/exec", "", COMMAND),
    ("db", "postgresql.cnpg.io", "backups", "", BACKUPS),
    ("db", "postgresql.cnpg.io", "scheduledbackups", "", FOLLOW),
];
/// What the agent of the values `full` asks for beside: two members, three switches, a pool of nodes; others are
/// in another cluster. A Cluster that is hibernated is a member.
const MEMBERS_AND_SWITCHES: [Need; 12] = [
    ("data", "postgresql.cnpg.io", "clusters", "app-fsn", MEMBER),
    ("data", "postgresql.cnpg.io", "clusters", "other-fsn", MEMBER),
    ("data", "", "pods", "", &["list"]),
    ("data", "", "pods/exec", "", COMMAND),
    ("data", "postgresql.cnpg.io", "backups", "", BACKUPS),
    ("data", "postgresql.cnpg.io", "scheduledbackups", "", FOLLOW),
    ("data", "postgresql.cnpg.io", "poolers", "app-pooler", &["get", "patch"]),
    ("shop", "gateway.networking.k8s.io", "httproutes", "web", &["get", "patch"]),
    ("shop", "discovery.k8s.io", "endpointslices", "", &["create"]),
    ("shop", "discovery.k8s.io", "endpointslices", "db-continuum", &["get", "patch"]),
    ("shop", "", "services", "db", &["get"]),
    ("machines", "cluster.x-k8s.io", "machinedeployments", "fsn-workers", &["get", "patch"]),
];

/// One thing that is allowed: namespace, group, resource, name or nothing, verb.
type Right = [String; 5];

fn needed(needs: &[&[Need]]) -> BTreeSet<Right> {
    let needs = needs.iter().flat_map(|needs| needs.iter());
    let rights = needs.flat_map(|(namespace, group, resource, name, verbs)| {
        verbs.iter().map(|verb| [*namespace, *group, *resource, *name, *verb].map(str::to_owned))
    });
    rights.collect()
}

fn texts(rule: &Value, key: &str) -> Vec<String> {
    list(&rule[key]).iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn allowed(objects: &[Value]) -> BTreeSet<Right> {
    let roles = objects.iter().filter(|object| ["Role", "ClusterRole"].contains(&kind(object)));
    let mut found = BTreeSet::new();
    for role in roles {
        let namespace = role["metadata"]["namespace"].as_str().unwrap_or("*");
        for rule in list(&role["rules"]) {
            let names = match texts(rule, "resourceNames") {
                names if names.is_empty() => vec![String::new()],
                names => names,
            };
            let (groups, resources) = (texts(rule, "apiGroups"), texts(rule, "resources"));
            for (group, resource) in
                groups.iter().flat_map(|g| resources.iter().map(move |r| (g, r)))
            {
                for verb in texts(rule, "verbs") {
                    let right = |name: &String| {
                        [namespace, group, resource, name, &verb].map(str::to_owned)
                    };
                    found.extend(names.iter().map(right));
                }
            }
        }
    }
    found
}

#[test]
fn the_roles_allow_what_is_asked_for_and_nothing_else() {
    let (one, full) = (objects(&values("agent")), objects(&values("full")));
    assert_eq!(allowed(&one), needed(&[&ALWAYS, &ONE_MEMBER]));
    assert_eq!(allowed(&full), needed(&[&ALWAYS, &MEMBERS_AND_SWITCHES]));
}

#[test]
fn a_right_too_many_or_too_few_is_seen() {
    let objects = objects(&values("agent"));
    let needed = needed(&[&ALWAYS, &ONE_MEMBER]);
    let role = |planted: &mut Vec<Value>, change: &dyn Fn(&mut Vec<Value>)| {
        let role = planted.iter_mut().find(|object| kind(object) == "Role").unwrap();
        change(role["rules"].as_array_mut().unwrap());
    };
    for rule in [
        json!({ "apiGroups": [""], "resources": ["secrets"], "verbs": ["get"] }),
        json!({ "apiGroups": [""], "resources": ["pods"], "verbs": ["delete"] }),
        json!({ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }),
        json!({ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["update"] }),
    ] {
        let mut planted = objects.clone();
        role(&mut planted, &|rules| rules.push(rule.clone()));
        assert_ne!(allowed(&planted), needed, "{rule}");
    }
    let mut planted = objects.clone();
    role(&mut planted, &|rules| drop(rules.pop()));
    assert_ne!(allowed(&planted), needed);
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
            let there = |role: &&&Value| {
                role["metadata"]["namespace"] == binding["metadata"]["namespace"]
                    && binding["roleRef"]["name"] == name(role)
            };
            assert_eq!(roles.iter().filter(there).count(), 1, "{case}");
        }
    }
}
