//! Every mistake is one clear line; every example is clean.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use continuum_dns::provider::config::ProviderConfig;
use continuum_domain::spec::{PairSpec, Takeover};
use continuum_runtime::certificates::Authority;
use continuum_runtime::{Identity, Role};

use super::*;
use crate::failure::{Exit, Failure};

/// An example with one change, and the line it must bring.
struct Bad {
    kind: Kind,
    from: &'static str,
    to: &'static str,
    /// Text that stands on the line to be named; empty where the file as a whole is meant.
    at: &'static str,
    /// What the line says after file and line number.
    says: &'static str,
}

const fn bad(
    kind: Kind,
    from: &'static str,
    to: &'static str,
    at: &'static str,
    says: &'static str,
) -> Bad {
    Bad { kind, from, to, at, says }
}

#[rustfmt::skip] // One mistake a line reads better than six.
const BAD: &[Bad] = &[
    // Unknown keys.
    bad(Kind::Agent, "region = \"fsn\"", "region = \"fsn\"\nregoin = \"x\"", "regoin", "regoin: unknown key; known here: region, listen_peer"),
    bad(Kind::Agent, "renew = \"2s\"", "renew = \"2s\"\nrenw = \"2s\"", "renw", "timing.renw: unknown key; known here: ttl, renew, stop_budget, guard, drift_percent"),
    bad(Kind::Server, "listen_api", "listen_rest", "listen_rest", "listen_rest: unknown key"),
    bad(Kind::Witness, "name = \"w1\"", "name = \"w1\"\nname2 = 1", "name2", "name2: unknown key; known here: name, listen, data_directory, pairs, log, tls"),
    bad(Kind::Guard, "port = 5432", "port = 5432\nprot = 5432", "prot", "prot: unknown key"),
    bad(Kind::Dns, "ttl = \"1s\"", "ttl = \"1s\"\ntlt = \"1s\"", "tlt", "names[0].tlt: unknown key; known here: name, pair, ttl, addresses"),
    bad(Kind::Client, "output = \"table\"", "output = \"table\"\ncolour = true", "colour", "colour: unknown key"),
    bad(Kind::Pair, "priority = 100", "priority = 100\nweight = 1", "weight", "members.fsn.weight: unknown key"),
    bad(Kind::Agent, "[timing]", "[kubernetes]\nnamespace = \"db\"\nleese = \"a\"\n\n[timing]", "leese", "kubernetes.leese: unknown key; known here: kubeconfig, namespace, lease, state"),
    bad(Kind::Agent, "[timing]", "[kubernetes]\nnamespace = \"db\"\nstate = \"a\"\n\n[timing]", "state = \"a\"", "kubernetes.state: needs a lease: two replicas must not keep one state"),
    bad(Kind::Agent, "[timing]", "[kubernetes]\nnamespace = \"\"\n\n[timing]", "namespace = ", "kubernetes.namespace: \"\" is no name of a Kubernetes object"),
    // Missing keys.
    bad(Kind::Agent, "region = \"fsn\"\n", "", "", "region: is needed and not set"),
    bad(Kind::Agent, "name = \"w1\"\n", "", "[witness]", "witness.name: is needed and not set"),
    bad(Kind::Witness, "[tls]", "[tsl]", "[tsl]", "tsl: unknown key; known here: name, listen"),
    // Durations.
    bad(Kind::Agent, "ttl = \"10s\"", "ttl = \"10 parsecs\"", "parsecs", "timing.ttl: \"10 parsecs\" is not a duration"),
    bad(Kind::Agent, "ttl = \"10s\"", "ttl = 10", "ttl = 10", "timing.ttl: wrong type: integer '10', expected a string"),
    bad(Kind::Guard, "stop_budget = \"3s\"", "stop_budget = \"fast\"", "fast", "stop_budget: \"fast\" is not a duration"),
    bad(Kind::Client, "timeout = \"60s\"", "timeout = \"0s\"", "timeout =", "timeout: must be longer than zero"),
    // Timings.
    bad(Kind::Agent, "renew = \"2s\"", "renew = \"4s\"", "ttl = \"10s\"", "timing.ttl: ttl - stop_budget - guard >= 3 * renew does not hold: 10s - 3s - 1s < 3 * 4s; raise ttl or lower renew, stop_budget or guard"),
    bad(Kind::Agent, "guard = \"1s\"", "guard = \"0s\"", "guard = ", "timing.guard: must be longer than zero"),
    bad(Kind::Agent, "drift_percent = 1.0", "drift_percent = 40", "drift_percent =", "timing.drift_percent: 40 is not plausible: 0 to 20 is accepted"),
    bad(Kind::Server, "election_min = \"600ms\"", "election_min = \"100ms\"", "[raft]", "raft: heartbeat * 3 <= election_min < election_max does not hold: 150ms * 3, 100ms"),
    // Names and regions.
    bad(Kind::Agent, "region = \"fsn\"", "region = \"Fsn\"", "Fsn", "region: region \"Fsn\" is not valid"),
    bad(Kind::Agent, "region = \"hel\"", "region = \"fsn\" # own", "# own", "peers[0].region: fsn is this agent's own region"),
    bad(Kind::Agent, "[[peers]]", "[[peers]]\nregion = \"hel\"\naddress = \"h:1\"\n[[peers]] # 2\n", "region = \"hel\"\naddress = \"10", "peers[1].region: region hel is already given at peers[0].region"),
    bad(Kind::Agent, "name = \"b\"", "name = \"a\" # 2", "# 2", "core[1].name: name a is already given at core[0].name"),
    bad(Kind::Server, "id = 2", "id = 1 # 2", "[[peers]]\nname = \"b\"", "peers[1]: its name or id is given twice"),
    bad(Kind::Guard, "[\"fsn\", \"hel\"]", "[\"fsn\", \"hel\", \"hel\"]", "members =", "members: region hel is given twice"),
    bad(Kind::Guard, "[\"fsn\", \"hel\"]", "[\"ash\", \"hel\"]", "members =", "members: does not list this region, fsn"),
    bad(Kind::Witness, "app = [\"fsn\", \"hel\"]", "app = [\"fsn\", \"fsn\", \"hel\"]", "app =", "pairs.app: region fsn is given twice"),
    bad(Kind::Witness, "app = [\"fsn\", \"hel\"]", "app = [\"fsn\"]", "app =", "pairs.app: lists fewer than 2 regions"),
    bad(Kind::Pair, "[members.hel]", "[members.fsn] # 2", "# 2", "duplicate key"),
    bad(Kind::Pair, "first_primary = \"fsn\"", "first_primary = \"ash\"", "ash", "first_primary: is not one of the members"),
    // Wrong types and addresses.
    bad(Kind::Agent, "postgres_port = 5432", "postgres_port = \"5432\"", "postgres_port", "pairs[0].postgres_port: wrong type: string \"5432\", expected u16"),
    bad(Kind::Agent, "postgres_port = 5432", "postgres_port = 70000", "postgres_port", "pairs[0].postgres_port: invalid value: integer '70000', expected u16"),
    bad(Kind::Agent, "10.1.0.10:7441", "10.1.0.10", "listen_peer", "listen_peer: \"10.1.0.10\" is not an address; write it as host:port"),
    bad(Kind::Agent, "log = \"human\"", "log = \"xml\"", "xml", "log: unknown variant 'xml', expected 'human' or 'json'"),
    bad(Kind::Agent, "\"/var/lib/continuum/agent\"", "\"agent\"", "state_directory", "state_directory: \"agent\" must be an absolute path"),
    bad(Kind::Dns, "name = \"app.db.example.org\"", "name = \"app.example.net\"", "example.net", "names[0].name: must lie under the zone db.example.org"),
    bad(Kind::Guard, "shared_buffers = \"1GB\"", "port = \"1\"", "port = \"1\"", "settings.port: is decided by the guard"),
    bad(Kind::Pair, "durability = \"available\"", "durability = \"available\"\nloss_approval = { rpo_bytes = 1 }", "rpo_bytes = 1 ", "loss_approval: is only for durability async"),
    bad(Kind::Pair, "durability = \"available\"", "durability = \"async\"\ntakeover = \"ledger\"", "takeover =", "takeover: \"ledger\" needs durability strict or available: in async the holder acknowledges alone"),
    bad(Kind::Pair, "mode = \"automatic\"", "takeover = \"fast\"", "takeover =", "takeover: unknown variant 'fast', expected 'ttl' or 'ledger'"),
    bad(Kind::Pair, "mode = \"automatic\"", "suspect_after = \"100ms\"", "suspect_after =", "suspect_after: 200ms to 60s is accepted"),
    bad(Kind::Pair, "mode = \"automatic\"", "suspect_after = \"2m\"", "suspect_after =", "suspect_after: 200ms to 60s is accepted"),
    // Names at providers.
    bad(Kind::Agent, "kind = \"rfc2136\"", "kind = \"bind9\"", "bind9", "name_provider[0].kind: unknown variant 'bind9', expected one of 'rfc2136', 'powerdns', 'route53', 'pdm'"),
    bad(Kind::Agent, "kind = \"rfc2136\"\n# The primary servers of the zones: each is written to.\nservers = [\"10.3.0.20\"]\n", "kind = \"route53\"\nzones = { \"db.example.net\" = \"zone\" }\n", "zones =", "name_provider[0].zones.db.example.net: \"zone\" is not the id of a hosted zone: Z0123456789ABC"),
    bad(Kind::Agent, "kind = \"rfc2136\"\n# The primary servers of the zones: each is written to.\nservers = [\"10.3.0.20\"]\n", "kind = \"pdm\"\napi = \"http://pdm\"\n", "api =", "name_provider[0].api: must be https; http is accepted to a loopback address only"),
    bad(Kind::Agent, "servers = [\"10.3.0.20\"]", "servers = []", "servers =", "name_provider[0].servers: at least one is needed"),
    bad(Kind::Agent, "servers = [\"10.3.0.20\"]", "servers = [\"10.3.0.20\", \"10.3.0.20:53\"]", "servers =", "name_provider[0].servers: lists a server twice"),
    bad(Kind::Agent, "# deadline = \"2s\"", "deadline = \"1m\"", "deadline =", "name_provider[0].deadline: 100ms to 10s is accepted"),
    bad(Kind::Dns, "addresses = [\"10.4.0.53\"]\n", "", "[[name_servers]]", "name_servers[0].addresses: is needed: the name lies in the zone"),
    bad(Kind::Dns, "name = \"ns2.example.net\"", "name = \"ns2.example.net\"\naddresses = [\"192.0.2.53\"]", "\"192.0.2.53\"", "name_servers[1].addresses: must be left out"),
    bad(Kind::Dns, "address = \"192.0.2.53\"", "address = \"10.4.0.53:53\"", "\"10.4.0.53:53\"", "secondaries[1].address: is listed twice"),
    bad(Kind::Dns, "expire = \"168h\"", "expire = \"10m\"", "expire =", "expire: 1h or more is accepted"),
    bad(Kind::Pair, "provider = \"pdns\"\n", "", "zone = ", "names[1].zone: is only for names at a provider or with authorities"),
    bad(Kind::Pair, "zone = \"db.example.net\"", "zone = \"db.example.com\"", "name = \"app.db.example.net\"", "names[1].name: must lie under the zone db.example.com."),
    bad(Kind::Pair, "policy = \"flip\"", "policy = \"follow\"", "[[names]]\nname = \"app.db.example.net\"", "names[1].health_port: is needed with policy \"follow\""),
    bad(Kind::Pair, "policy = \"flip\"", "policy = \"flop\"", "flop", "names[1].policy: unknown variant 'flop', expected 'flip' or 'follow'"),
    bad(Kind::Pair, "lag_max = \"1s\"", "", "[[names]]\nname = \"read", "names[2].lag_max: is needed with role \"standby\""),
    bad(Kind::Pair, "hel = [\"10.2.0.11\"]", "", "[names.addresses]", "names[1].addresses.hel: at least one address is needed"),
    // Not TOML at all.
    bad(Kind::Client, "output = \"table\"", "output = table", "output = table", ""),
];

fn lines(kind: Kind, text: &str, reading: Reading<'_>) -> (PathBuf, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("f.toml");
    fs::write(&file, text).unwrap();
    let lines = match check_file(kind, &file, reading) {
        Ok(()) => Vec::new(),
        Err(issues) => {
            let failure = Failure::from(issues);
            assert_eq!(failure.exit, Exit::Usage);
            assert_eq!(failure.exit.code(), 2);
            failure.to_string().lines().map(Into::into).collect()
        }
    };
    (file, lines)
}

const NO_FILES: Reading<'_> = Reading { variables: &[], files: false };

#[test]
fn each_mistake_is_exactly_one_line_with_file_line_and_key() {
    for Bad { kind, from, to, at, says } in BAD {
        let example = examples::example(*kind);
        assert!(example.contains(from), "{kind:?}: the example has no {from:?}");
        let text = example.replacen(from, to, 1);
        let (file, lines) = lines(*kind, &text, NO_FILES);
        assert_eq!(lines.len(), 1, "{kind:?} {to:?}: {lines:#?}");
        let place = match text.find(at) {
            _ if at.is_empty() => String::new(),
            Some(offset) => format!(":{}", locate::line_of(&text, offset)),
            None => panic!("{kind:?} {to:?}: no {at:?}"),
        };
        let expected = format!("{}{place}: {says}", file.display());
        assert!(lines[0].starts_with(&expected), "\n got {}\nwant {expected}", lines[0]);
    }
}

#[test]
fn every_example_is_clean() {
    for kind in Kind::ALL {
        let (_, lines) = lines(*kind, examples::example(*kind), NO_FILES);
        assert_eq!(lines, [""; 0], "{kind:?}");
    }
}

#[test]
fn every_unknown_key_is_named_in_one_run() {
    let text = examples::example(Kind::Agent)
        .replacen("region = \"fsn\"", "region = \"fsn\"\none = 1\ntwo = 2", 1)
        .replacen("id = \"app\"", "id = \"app\"\nthree = 3", 1);
    let (_, lines) = lines(Kind::Agent, &text, NO_FILES);
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(
        lines[2].contains("pairs[0].three") || lines.iter().any(|l| l.contains("pairs[0].three"))
    );
}

#[test]
fn the_environment_is_named_where_it_is_wrong() {
    let variables = [("CONTINUUM_AGENT__TIMING__TTL".to_owned(), "soon".to_owned())];
    let reading = Reading { variables: &variables, files: false };
    let (_, lines) = lines(Kind::Agent, examples::example(Kind::Agent), reading);
    assert_eq!(lines.len(), 1);
    let expected = "environment variable CONTINUUM_AGENT__TIMING__TTL: timing.ttl: \"soon\"";
    assert!(lines[0].starts_with(expected), "{}", lines[0]);
}

/// The example with its certificates made for real; `who` owns them.
fn with_certificates(kind: Kind, who: &Identity) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let files = Authority::create(directory.path()).unwrap().issue(who).unwrap();
    let password = directory.path().join("app.password");
    fs::write(&password, "p\n").unwrap();
    let tsig = directory.path().join("tsig.key");
    fs::write(&tsig, "key \"fsn\" { algorithm hmac-sha256; secret \"c2VjcmV0\"; };\n").unwrap();
    let stem = files.certificate.file_stem().unwrap().to_str().unwrap().to_owned();
    let example = examples::example(kind);
    let (role, _) = stem.split_once('-').unwrap();
    let named = example
        .lines()
        .map(|line| match line.split_once(" = ") {
            Some(("authority", _)) => format!("authority = {:?}", files.authority),
            Some(("certificate", _)) => format!("certificate = {:?}", files.certificate),
            Some(("key", _)) => format!("key = {:?}", files.key),
            Some(("key_file", _)) => format!("key_file = {tsig:?}"),
            Some(("replication_password_file", _)) => {
                format!("replication_password_file = {password:?}")
            }
            _ => line.to_owned(),
        })
        .collect::<Vec<_>>()
        .join("\n");
    assert!(!role.is_empty());
    (directory, named)
}

const FILES: Reading<'_> = Reading { variables: &[], files: true };

fn owner(kind: Kind) -> Identity {
    match kind {
        Kind::Server => Identity::new(Role::Core, "a"),
        Kind::Witness => Identity::new(Role::Witness, "w1"),
        Kind::Dns => Identity::new(Role::Dns, "ns1"),
        Kind::Client => Identity::new(Role::Operator, "anna"),
        _ => Identity::new(Role::Region, "fsn"),
    }
}

#[test]
fn every_example_is_clean_with_its_files_in_place() {
    for kind in Kind::ALL {
        let (_directory, text) = with_certificates(*kind, &owner(*kind));
        let (_, lines) = lines(*kind, &text, FILES);
        assert_eq!(lines, [""; 0], "{kind:?}");
    }
}

#[test]
fn missing_and_foreign_certificates_are_named() {
    let (_, missing) = lines(Kind::Client, examples::example(Kind::Client), FILES);
    assert_eq!(missing.len(), 3, "{missing:#?}");
    assert!(missing[2].contains("tls.key: /etc/continuum/tls/operator-anna.key cannot be read"));
    let (_directory, text) = with_certificates(Kind::Agent, &Identity::new(Role::Region, "hel"));
    let (_, foreign) = lines(Kind::Agent, &text, FILES);
    assert_eq!(foreign.len(), 1, "{foreign:#?}");
    let says = "tls.certificate: is of region/hel, but the configuration says region/fsn";
    assert!(foreign[0].ends_with(says), "{}", foreign[0]);
    let (_directory, text) = with_certificates(Kind::Agent, &Identity::new(Role::Witness, "fsn"));
    let (_, wrong_role) = lines(Kind::Agent, &text, FILES);
    assert!(wrong_role[0].ends_with("is of witness/fsn, but a region is needed here"));
}

#[test]
fn a_broken_key_is_named() {
    let (directory, text) = with_certificates(Kind::Agent, &owner(Kind::Agent));
    fs::write(directory.path().join("region-fsn.key"), "garbage").unwrap();
    let (_, lines) = lines(Kind::Agent, &text, FILES);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains(": tls.key: "), "{}", lines[0]);
}

/// The secret itself appears in no error.
#[test]
fn a_key_file_that_is_none_is_named() {
    let (directory, text) = with_certificates(Kind::Agent, &owner(Kind::Agent));
    fs::write(directory.path().join("tsig.key"), "fsn hmac-sha256 c2VjcmV0").unwrap();
    let (_, lines) = lines(Kind::Agent, &text, FILES);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains(": name_provider[0].key_file: "), "{}", lines[0]);
    assert!(
        lines[0].contains("is not one TSIG key") && !lines[0].contains("c2VjcmV0"),
        "{lines:?}"
    );
}

/// A line of an example that is a setting in a comment, without the mark.
fn setting(line: &str) -> Option<String> {
    let bare = line.strip_prefix("# ")?;
    let is_one = bare.starts_with('[') || bare.split(' ').nth(1) == Some("=");
    is_one.then(|| format!("{bare}\n"))
}

/// The collector of the examples, which stands there as a comment, is whole, and checked.
#[test]
fn a_collector_is_checked_in_both_roles() {
    for (kind, until) in [(Kind::Server, "\0"), (Kind::Agent, "# Traffic switches")] {
        let (rest, traces) = examples::example(kind).split_once("# [traces]").expect("it is there");
        let traces = traces.split(until).next().unwrap_or_default();
        let traces: String = traces.lines().filter_map(setting).collect();
        let whole = format!("{rest}\n[traces]\n{traces}");
        assert_eq!(lines(kind, &whole, NO_FILES).1, [""; 0]);
        for (from, to, says) in [
            (
                "https://otel.example.org:4317",
                "otel:4317",
                "traces.endpoint: \"otel:4317\" is not http",
            ),
            ("sample_one_in = 1", "sample_one_in = 0", "traces.sample_one_in: must be at least 1"),
            ("service_name", "service", "traces.service: "),
            ("/etc/continuum/tls/otel.pem", "otel.pem", "traces.authority: "),
        ] {
            let changed = whole.replacen(from, to, 1);
            assert_ne!(changed, whole, "{from}");
            let (_, found) = lines(kind, &changed, NO_FILES);
            assert!(found.len() == 1 && found[0].contains(says), "{to}: {found:?}");
        }
    }
}

/// So are the names of the spec's example.
#[test]
fn the_names_of_the_example_are_whole() {
    let text = examples::example(Kind::Pair);
    let (rest, names) = text.split_once("# An alias, or a service").expect("it is there");
    let names: String = names.lines().filter_map(setting).collect();
    let (_, found) = lines(Kind::Pair, &format!("{rest}{names}"), NO_FILES);
    assert_eq!(found, [""; 0]);
    for (from, to, says) in [
        ("kind = \"cname\"", "kind = \"mx\"", "names[3].kind: unknown variant 'mx', expected"),
        ("hel = \"pg.hel.example.org\"\n", "", "names[3].targets.hel: a target is needed"),
        ("fsn = { port = 5432,", "fsn = { port = 0,", "names[4].services.fsn.port: "),
        ("name = \"pg.", "name = \"_epoch.", "names[3].name: names below _epoch are companions"),
    ] {
        let changed = names.replacen(from, to, 1);
        assert_ne!(changed, names, "{from}");
        let (_, found) = lines(Kind::Pair, &format!("{rest}{changed}"), NO_FILES);
        assert!(found.len() == 1 && found[0].contains(says), "{to}: {found:?}");
    }
}

/// The providers of the agent's example that stand there as comments are right when they do not.
#[test]
fn the_providers_of_the_example_are_whole() {
    #[derive(serde::Deserialize)]
    struct File {
        name_provider: Vec<ProviderConfig>,
    }
    let blocks = examples::example(Kind::Agent).split("\n\n");
    let blocks = blocks.filter(|block| block.starts_with("# [[name_provider]]"));
    let text: String = blocks.flat_map(str::lines).filter_map(setting).collect();
    let file: File = toml::from_str(&text).unwrap();
    let names: Vec<_> = file.name_provider.iter().map(ProviderConfig::name).collect();
    assert_eq!(names, ["pdns-api", "aws", "pool"]);
    for provider in &file.name_provider {
        provider.check().unwrap();
        assert!(provider.key_file().is_some());
    }
}

#[test]
fn agent_and_guard_are_compared() {
    let directory = tempfile::tempdir().unwrap();
    let agent = directory.path().join("agent.toml");
    fs::write(&agent, examples::example(Kind::Agent)).unwrap();
    let guard = directory.path().join("guard.toml");
    let text = examples::example(Kind::Guard);
    fs::write(&guard, text).unwrap();
    let guards = [guard::load(&guard, NO_FILES).unwrap()];
    assert!(agent::load_beside(&agent, NO_FILES, &guards).is_ok());
    let text = text
        .replace("guard.sock", "other.sock")
        .replace("stop_budget = \"3s\"", "stop_budget = \"5s\"");
    fs::write(&guard, text).unwrap();
    let guards = [guard::load(&guard, NO_FILES).unwrap()];
    let issues = agent::load_beside(&agent, NO_FILES, &guards).unwrap_err();
    let keys: Vec<_> = issues.iter().map(|issue| issue.key.as_str()).collect();
    assert_eq!(keys, ["pairs[0].guard_socket", "timing.stop_budget"]);
    assert!(issues[1].problem.contains("is 3s, but") && issues[1].problem.ends_with("says 5s"));
}

#[test]
fn an_initial_spec_is_compared_with_the_agent() {
    let directory = tempfile::tempdir().unwrap();
    let spec = directory.path().join("app.json");
    let (_certificates, text) = with_certificates(Kind::Agent, &owner(Kind::Agent));
    let text =
        text.replace("# spec_file = \"/etc/continuum/app.json\"", &format!("spec_file = {spec:?}"));
    let example: PairSpec = toml::from_str(examples::example(Kind::Pair)).unwrap();
    fs::write(&spec, serde_json::to_string(&example).unwrap()).unwrap();
    assert_eq!(lines(Kind::Agent, &text, FILES).1, [""; 0]);
    let mut other = example.clone();
    other.members.values_mut().next().unwrap().port = 5433;
    fs::write(&spec, serde_json::to_string(&other).unwrap()).unwrap();
    let (_, found) = lines(Kind::Agent, &text, FILES);
    assert_eq!(found.len(), 1);
    assert!(found[0].ends_with("says port 5433 for fsn, but postgres_port is 5432"), "{found:?}");
    let mut elsewhere = example;
    elsewhere.names[1].provider = Some("bind".into());
    fs::write(&spec, serde_json::to_string(&elsewhere).unwrap()).unwrap();
    let (_, found) = lines(Kind::Agent, &text, FILES);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].ends_with("provider bind, which no name_provider is"), "{found:?}");
}

#[test]
fn specs_are_read_as_yaml_and_json_too() {
    let directory = tempfile::tempdir().unwrap();
    let spec = pair::load(&write(&directory, "a.toml", examples::example(Kind::Pair))).unwrap();
    let yaml = serde_yaml_ng::to_string(&spec).unwrap();
    assert!(yaml.contains("takeover: ttl\nsuspect_after: 600ms\n"), "{yaml}");
    let ledger =
        yaml.replace("takeover: ttl\nsuspect_after: 600ms", "takeover: ledger\nsuspect_after: 1s");
    let ledger = pair::load(&write(&directory, "l.yml", &ledger)).unwrap();
    assert_eq!((ledger.takeover, ledger.suspect_after), (Takeover::Ledger, Duration::from_secs(1)));
    let toml = toml::to_string(&ledger).unwrap();
    assert_eq!(pair::load(&write(&directory, "l.toml", &toml)).unwrap(), ledger);
    let json = serde_json::to_string(&ledger).unwrap();
    assert_eq!(pair::load(&write(&directory, "l.json", &json)).unwrap(), ledger);
    assert_eq!(pair::load(&write(&directory, "a.yaml", &yaml)).unwrap(), spec);
    let json = serde_json::to_string_pretty(&spec).unwrap();
    assert_eq!(pair::load(&write(&directory, "a.json", &json)).unwrap(), spec);
    let toml = toml::to_string(&spec).unwrap();
    assert_eq!(pair::load(&write(&directory, "b.toml", &toml)).unwrap(), spec);
    let bad =
        write(&directory, "b.yaml", &yaml.replace("durability: available", "durability: all"));
    let issues = pair::load(&bad).unwrap_err();
    assert_eq!(issues.len(), 1);
    assert!(issues[0].line.is_some() && issues[0].key == "durability", "{}", issues[0]);
}

fn write(directory: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let file = directory.path().join(name);
    fs::write(&file, text).unwrap();
    file
}

/// The switches of the agent's example, which stand there as comments.
fn switches() -> String {
    let (rest, switches) =
        examples::example(Kind::Agent).split_once("# [[traffic]]").expect("they are there");
    let plain = |line: &str| format!("{}\n", line.strip_prefix("# ").unwrap_or(line));
    format!("{rest}[[traffic]]{}", switches.lines().map(plain).collect::<String>())
}

#[test]
fn traffic_switches_are_checked_one_by_one() {
    assert_eq!(lines(Kind::Agent, &switches(), NO_FILES).1, [""; 0]);
    for (from, to, says) in [
        (
            "pair = \"app\"\nurl",
            "pair = \"shop\"\nurl",
            "traffic[1].pair: pair shop is not one that this agent runs",
        ),
        (
            "name = \"balancer\"",
            "name = \"pooler\"",
            "traffic[1].name: name pooler is already given at traffic[0].name",
        ),
        (
            "url = \"https://balancer",
            "url = \"ftp://balancer",
            "traffic[1].url: must begin with http:// or https://",
        ),
        ("127.0.0.1:6432", "6432", "traffic[0].admin: \"6432\" is neither host:port"),
        (
            "dbname=app pool_size=20",
            "host=10.0.0.1",
            "traffic[0].databases.app: host is what the agent writes",
        ),
        (
            "admin_user",
            "admin_usr",
            "traffic[0].admin_usr: unknown key; known here: name, pair, admin",
        ),
        (
            "hel = [{ name = \"web-hel\"",
            "hel = [{ name = \"web-fsn\"",
            "traffic[2].backends.hel: web-fsn is of fsn already",
        ),
        ("shift = \"0s\"", "shift = \"1h\"", "traffic[2].shift: must be 600s at most"),
        ("service = \"db\"", "service = \"../db\"", "traffic[3].service: a name of lower case"),
        ("pooler = \"db-pooler\"", "pooler = \"\"", "traffic[4].pooler: a name of lower case"),
        (
            "kind = \"webhook\"\nname = \"balancer\"",
            "kind = \"mail\"\nname = \"balancer\"",
            "traffic[1].kind: unknown variant 'mail', expected",
        ),
    ] {
        let text = switches();
        assert!(text.contains(from), "{from}");
        let (_, found) = lines(Kind::Agent, &text.replacen(from, to, 1), NO_FILES);
        assert!(found.len() == 1 && found[0].contains(says), "{to}: {found:?}\nwant {says}");
    }
}

/// The agent's example with what becomes of paused pairs, which stands there as comments.
fn at_rest() -> String {
    let example = examples::example(Kind::Agent);
    let (before, rest) = example.split_once("# [[at_rest").expect("it is there");
    let (section, after) = rest.split_once("\n\n").expect("an empty line after it");
    let plain = |line: &str| format!("{}\n", line.strip_prefix("# ").unwrap_or(line));
    let section: String = section.lines().map(plain).collect();
    format!("{before}{after}\n[[at_rest{section}")
}

#[test]
fn what_becomes_of_paused_pairs_is_checked_part_by_part() {
    assert_eq!(lines(Kind::Agent, &at_rest(), NO_FILES).1, [""; 0]);
    for (from, to, says) in [
        (
            "pair = \"app\"\nkubeconfig",
            "pair = \"shop\"\nkubeconfig",
            "at_rest.hibernate[0].pair: pair shop is not one that this agent runs",
        ),
        ("cluster = \"db\"", "cluster = \"\"", "at_rest.hibernate[0].cluster: must not be empty"),
        (
            "pairs = [\"app\"]",
            "pairs = [\"shop\"]",
            "at_rest.node_pool[0].pairs: pair shop is not one that this agent runs",
        ),
        ("pairs = [\"app\"]", "pairs = []", "at_rest.node_pool[0].pairs: names no pair"),
        (
            "name = \"others\"",
            "name = \"workers\"",
            "at_rest.node_pool[1].name: name workers is already given at at_rest.node_pool[0].name",
        ),
        (
            "machine_deployment = \"workers\"",
            "machine_deployment = \"a/b\"",
            "at_rest.node_pool[0].machine_deployment: a name of letters",
        ),
        (
            "url = \"https://nodes",
            "url = \"ftp://nodes",
            "at_rest.node_pool[1].url: must begin with",
        ),
        ("rest_size = 0", "rest_sise = 0", "at_rest.node_pool[0].rest_sise: unknown key"),
    ] {
        let text = at_rest();
        assert!(text.contains(from), "{from}");
        let (_, found) = lines(Kind::Agent, &text.replacen(from, to, 1), NO_FILES);
        assert!(found.len() == 1 && found[0].contains(says), "{to}: {found:?}\nwant {says}");
    }
}
