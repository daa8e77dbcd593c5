//! The binary as a person runs it: what it prints and how it exits. Nothing here needs a server.

#[cfg(test)]
mod chart;

use std::path::Path;
use std::process::{Command, Output};

fn continuum(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_continuum"))
        .args(arguments)
        .env_clear()
        .env("HOME", "/nonexistent")
        .output()
        .expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

const ROLES: [&str; 7] = ["agent", "server", "guard", "witness", "dns", "client", "pair"];

#[test]
fn every_printed_example_passes_its_check() {
    let directory = tempfile::tempdir().unwrap();
    for role in ROLES {
        let example = continuum(&["config", "example", role]);
        assert_eq!(code(&example), Some(0), "{role}");
        let file = directory.path().join(format!("{role}.toml"));
        std::fs::write(&file, &example.stdout).unwrap();
        let file = file.to_str().unwrap();
        let check = continuum(&["config", "check", file, "--role", role, "--no-files"]);
        assert_eq!(code(&check), Some(0), "{role}: {}", text(&check.stderr));
    }
}

fn role_args<'a>(role: &'a str, file: &'a str) -> Vec<&'a str> {
    let verb = if role == "witness" { &["witness", "serve"][..] } else { &[role] };
    [verb, &["--config", file]].concat()
}

#[test]
fn a_role_with_a_bad_configuration_starts_nothing_and_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    for (role, key) in [("agent", "state_directory"), ("witness", "data_directory")] {
        let example = text(&continuum(&["config", "example", role]).stdout);
        let bad: String = example
            .lines()
            .map(|line| match line.starts_with(key) {
                true => format!("{key} = {state:?}\ntypo = 1\n"),
                false => format!("{line}\n"),
            })
            .collect();
        let file = directory.path().join("bad.toml");
        std::fs::write(&file, bad).unwrap();
        let output = continuum(&role_args(role, file.to_str().unwrap()));
        assert_eq!(code(&output), Some(2), "{role}");
        let lines: Vec<_> = text(&output.stderr).lines().map(String::from).collect();
        assert_eq!(lines.len(), 1, "{lines:#?}");
        assert!(lines[0].contains(": typo: unknown key"), "{lines:#?}");
        assert!(!state.exists(), "{role} wrote before its configuration was right");
    }
}

#[test]
fn a_missing_file_is_named() {
    for role in ["server", "agent", "guard", "witness", "dns"] {
        let output = continuum(&role_args(role, "/nonexistent/x.toml"));
        assert_eq!(code(&output), Some(2), "{role}");
        assert!(text(&output.stderr).starts_with("/nonexistent/x.toml: cannot be read"), "{role}");
    }
}

#[test]
fn wrong_usage_exits_2() {
    for wrong in [
        &["status", "--output", "xml"][..],
        &["switchover", "app"],
        &["switchover", "App", "--to", "hel"],
        &["failover", "app", "--to", "hel", "--allow-data-loss"],
        &["pause-automation", "app", "--reason", "x", "--for", "soon"],
        &["pause-automation", "app", "--all", "--reason", "x", "--for", "2h"],
        &["pause-automation", "--reason", "x", "--for", "2h"],
        &["status", "--endpoints", "nowhere"],
        &["config", "check", "x.toml", "--role", "king"],
        &["dns"],
        &["dns", "verify"],
        &["dns", "verify", "app", "--resolver", "ns1.example"],
    ] {
        let output = continuum(wrong);
        assert_eq!(code(&output), Some(2), "{wrong:?}: {}", text(&output.stdout));
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn an_ops_verb_without_configuration_says_what_is_needed() {
    let output = continuum(&["status"]);
    assert_eq!(code(&output), Some(2));
    assert!(text(&output.stderr).contains("endpoints: is needed"), "{}", text(&output.stderr));
}

#[test]
fn nobody_there_is_an_unknown_outcome() {
    let directory = tempfile::tempdir().unwrap();
    let config = client(directory.path());
    // Port 9 of the loopback address: nothing listens there.
    let flags = ["--config", &config, "--endpoints", "a=127.0.0.1:9", "--timeout", "1s"];
    for verb in [
        &["status"][..],
        &["switchover", "app", "--to", "hel", "--reason", "test"],
        &["dns", "render", "app"],
        &["dns", "verify", "app"],
    ] {
        let output = continuum(&[verb, &flags].concat());
        let said = text(&output.stderr);
        assert_eq!(code(&output), Some(4), "{said}");
        assert!(said.starts_with("no control node answered\n  a=127.0.0.1:9: "), "{said}");
        assert!(said.contains("\n  data: ") && said.contains("\n  next: "), "{said}");
    }
}

/// A client configuration with certificates of its own.
#[expect(clippy::unwrap_used, reason = "a test's helper")]
fn client(directory: &Path) -> String {
    use continuum_runtime::certificates::Authority;
    use continuum_runtime::{Identity, Role};
    let files = Authority::create(directory)
        .and_then(|authority| authority.issue(&Identity::new(Role::Operator, "anna")))
        .unwrap();
    let file = directory.join("client.toml");
    let text = format!(
        "endpoints = []\n[tls]\nauthority = {:?}\ncertificate = {:?}\nkey = {:?}\n",
        files.authority, files.certificate, files.key
    );
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn completions_exist_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = continuum(&["completions", shell]);
        assert_eq!(code(&output), Some(0), "{shell}");
        assert!(text(&output.stdout).contains("switchover"), "{shell}");
    }
}

#[test]
fn help_and_version_exit_0() {
    let help = continuum(&["--help"]);
    assert_eq!(code(&help), Some(0));
    assert!(text(&help.stdout).contains("3  refused by the rules"));
    assert!(!text(&help.stdout).contains("lab-janitor"));
    assert_eq!(text(&continuum(&["version"]).stdout), text(&continuum(&["--version"]).stdout));
}

/// The simulator reads its own command line; a program that is not there is said so.
#[test]
fn sim_becomes_the_simulator() {
    let simulate = |program: &str| {
        Command::new(env!("CARGO_BIN_EXE_continuum"))
            .args(["sim", "--seeds", "0..3", "--help"])
            .env("CONTINUUM_SIM_BIN", program)
            .output()
            .expect("the binary runs")
    };
    let there = simulate("/bin/echo");
    assert_eq!((code(&there), text(&there.stdout)), (Some(0), "--seeds 0..3 --help\n".into()));
    let absent = simulate("/nonexistent/continuum-sim");
    assert_eq!(code(&absent), Some(2));
    let said = text(&absent.stderr);
    assert!(said.contains("/nonexistent/continuum-sim cannot be run"), "{said}");
}

const PAIR_OF_CLUSTERS: &str = "\
apiVersion: dr.openova.io/v1
kind: CnpgPair
metadata: {name: app, namespace: db}
spec:
  primaryCluster: app-fsn
  replicaCluster: app-hel
  primaryRegion: fsn
  replicaRegion: hel
  members: {primary: {}, replica: {}}
---
apiVersion: dr.openova.io/v1
kind: Continuum
metadata: {name: app}
spec:
  primaryRegion: fsn
  hotStandbyRegions: [hel]
  regions: [{name: fsn, host: a}, {name: hel, host: b}]
  durability: async
  cnpgPair: {name: app}
";

#[test]
fn the_manifests_of_a_pair_are_printed() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let file = directory.path().join(name);
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let file = write("pair.yaml", PAIR_OF_CLUSTERS);
    let both = continuum(&["pair", "render", "--file", &file, "--plan", "hobbyist"]);
    assert_eq!(code(&both), Some(0), "{}", text(&both.stderr));
    let both = text(&both.stdout);
    assert!(both.starts_with("# region: fsn\n---\n") && both.contains("\n# region: hel\n---\n"));
    assert!(
        both.contains("instances: 1\n") && both.contains("synchronous_commit: \"on\""),
        "{both}"
    );
    let one = text(&continuum(&["pair", "render", "--file", &file, "--region", "hel"]).stdout);
    assert!(one.starts_with("# region: hel") && one.contains("instances: 3\n"), "{one}");
    // The spec of a pair is enough.
    let spec = write("pair.toml", &text(&continuum(&["config", "example", "pair"]).stdout));
    let own = continuum(&["pair", "render", "--file", &spec, "--namespace", "db"]);
    assert_eq!(code(&own), Some(0), "{}", text(&own.stderr));
    assert!(text(&own.stdout).contains("synchronous_commit: remote_apply"));
}

#[test]
fn what_cannot_be_rendered_is_refused_line_by_line() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pair.yaml");
    for (from, to, said) in [
        ("primaryCluster: app-fsn", "primaryCluster: App", "CnpgPair: spec.primaryCluster: "),
        ("members:", "memers:", "CnpgPair: spec.memers: is no field of this kind"),
        ("durability: async", "durability: eventual", "Continuum: spec.durability: "),
        ("durability: async", "rpo: 30s", "Continuum: spec.rpo: a loss is measured in bytes"),
        ("cnpgPair: {name: app}", "cnpgPair: {name: other}", "Continuum: spec.cnpgPair.name: "),
        ("kind: Continuum", "kind: Cluster", "Cluster of dr.openova.io/v1: only CnpgPair"),
        ("kind: CnpgPair", "kind: Continuum", "Continuum: spec.primaryCluster: is no field"),
        ("members: {primary: {}, replica: {}}", "members: {", "pair.yaml:"),
    ] {
        std::fs::write(&file, PAIR_OF_CLUSTERS.replacen(from, to, 1)).unwrap();
        let output = continuum(&["pair", "render", "--file", file.to_str().unwrap()]);
        assert_eq!(code(&output), Some(2), "{to}");
        assert!(text(&output.stderr).contains(said), "{to}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty());
    }
    std::fs::write(&file, PAIR_OF_CLUSTERS).unwrap();
    let file = file.to_str().unwrap();
    let nowhere = continuum(&["pair", "render", "--file", file, "--region", "sin"]);
    assert_eq!(code(&nowhere), Some(2));
    assert_eq!(text(&nowhere.stderr), "sin is none of fsn, hel\n");
}

#[test]
fn manifests_are_held_against_the_definitions_that_are_given() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pair.yaml");
    std::fs::write(&file, PAIR_OF_CLUSTERS).unwrap();
    let crds = directory.path().join("crds");
    std::fs::create_dir(&crds).unwrap();
    let run = || {
        let (file, crds) = (file.to_str().unwrap(), crds.to_str().unwrap());
        continuum(&["pair", "render", "--file", file, "--crds", crds])
    };
    assert_eq!(code(&run()), Some(2), "an empty folder checks nothing");
    let definition = |spec: &str| {
        format!(
            "kind: CustomResourceDefinition\nspec:\n  group: postgresql.cnpg.io\n  \
             names: {{kind: Cluster}}\n  versions:\n  - name: v1\n    served: true\n    \
             schema: {{openAPIV3Schema: {{type: object, properties: {{spec: {spec}}}}}}}\n"
        )
    };
    let any = "{type: object, x-kubernetes-preserve-unknown-fields: true}";
    std::fs::write(crds.join("cluster.yaml"), definition(any)).unwrap();
    let output = run();
    assert_eq!(code(&output), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("fsn: Service app-hel-mesh: not checked"));
    std::fs::write(crds.join("cluster.yaml"), definition("{type: object}")).unwrap();
    let output = run();
    assert_eq!(code(&output), Some(3));
    let said = text(&output.stderr);
    assert!(
        said.contains("fsn: Cluster app-fsn: spec.replica: is no field of this kind"),
        "{said}"
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn the_definitions_that_are_kept_are_the_ones_that_are_printed() {
    let printed = continuum(&["crd"]);
    assert_eq!(code(&printed), Some(0));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../chart/crds");
    let kept = ["dr.openova.io_continuums.yaml", "dr.openova.io_cnpgpairs.yaml"]
        .map(|name| format!("---\n{}", std::fs::read_to_string(folder.join(name)).unwrap()));
    assert_eq!(text(&printed.stdout), kept.concat());
}
