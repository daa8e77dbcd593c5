//! The configuration that the chart renders is one that the roles take, and says what the values say.

use std::path::Path;

use continuum::config::{Kind, Reading, check_file, server, witness};
use serde_json::{Value, json};

use super::{cases, list, objects, of_kind, values};

/// Nothing from the environment; the files that a configuration names are in other pods.
const READING: Reading<'_> = Reading { variables: &[], files: false };

/// Every file of every ConfigMap, with the role that reads it.
fn files(objects: &[Value]) -> Vec<(Kind, String, String)> {
    let maps = of_kind(objects, "ConfigMap");
    let named = maps.iter().flat_map(|map| map["data"].as_object().unwrap().iter());
    let role = |name: &str| match name {
        "agent.toml" => Kind::Agent,
        "witness.toml" => Kind::Witness,
        _ => Kind::Server,
    };
    named
        .map(|(name, text)| (role(name), name.clone(), text.as_str().unwrap().to_owned()))
        .collect()
}

fn written(directory: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let file = directory.join(name);
    std::fs::write(&file, text).unwrap();
    file
}

fn problems(kind: Kind, file: &Path) -> Vec<String> {
    let checked = check_file(kind, file, READING);
    checked.err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

#[test]
fn every_file_is_one_that_its_role_takes() {
    let directory = tempfile::tempdir().unwrap();
    let mut seen = Vec::new();
    for (case, objects) in cases() {
        for (kind, name, text) in files(&objects) {
            let file = written(directory.path(), &name, &text);
            assert_eq!(problems(kind, &file), Vec::<String>::new(), "{case}: {name}\n{text}");
            seen.push(kind);
            // One key more, and it is not.
            let file = written(directory.path(), &name, &format!("unheard_of = 1\n{text}"));
            assert!(!problems(kind, &file).is_empty(), "{case}: {name}");
        }
    }
    for kind in [Kind::Server, Kind::Agent, Kind::Witness] {
        assert!(seen.contains(&kind), "{kind:?}");
    }
}

/// What the chart says itself, in place of the values.
const OWN: [&str; 8] = [
    "name",
    "id",
    "listen_rpc",
    "listen_api",
    "advertise_rpc",
    "advertise_api",
    "data_directory",
    "tls",
];

#[test]
fn an_example_given_as_values_comes_out_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let example = continuum::config::examples::example(Kind::Server);
    let mut config: Value = toml::from_str(example).unwrap();
    let config = config.as_object_mut().unwrap();
    let witness = config.remove("witness").unwrap();
    for key in OWN.iter().chain(&["peers", "log", "drills"]) {
        config.remove(*key);
    }
    let values = json!({
        "agent": { "enabled": false },
        "witness": { "access": witness },
        "server": { "config": config },
    });
    let (_, name, text) =
        files(&objects(&values)).into_iter().find(|(kind, ..)| *kind == Kind::Server).unwrap();
    let rendered = written(directory.path(), &name, &text);
    let rendered = server::load(&rendered, READING).unwrap().config;
    let wanted = written(directory.path(), "example.toml", example);
    let mut wanted = server::load(&wanted, READING).unwrap().config;
    assert_eq!(rendered.witness, wanted.witness);
    let own = &rendered.own;
    wanted.own.name = own.name.clone();
    wanted.own.listen_rpc = own.listen_rpc.clone();
    wanted.own.listen_api = own.listen_api.clone();
    wanted.own.advertise_rpc = own.advertise_rpc.clone();
    wanted.own.advertise_api = own.advertise_api.clone();
    wanted.own.data_directory = own.data_directory.clone();
    wanted.own.peers = own.peers.clone();
    assert_eq!(rendered.own, wanted.own);
}

#[test]
fn each_node_is_told_who_it_is_and_one_that_joins_founds_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut seen = Vec::new();
    for (kind, name, text) in files(&objects(&values("full"))) {
        let file = written(directory.path(), &name, &text);
        match kind {
            Kind::Server => {
                let own = server::load(&file, READING).unwrap().config.own;
                let peers: Vec<_> = own.peers.iter().map(|peer| peer.id).collect();
                seen.push((name, own.name, own.id, peers));
                assert_eq!(own.max_failovers_at_once, 7);
                assert_eq!(own.sinks.len(), 4);
                assert_eq!(
                    own.sinks[1].url.as_deref(),
                    Some("https://hook.example.org/a?b=1&c=<2>")
                );
            }
            Kind::Witness => {
                let pairs = witness::load(&file, READING).unwrap().config.pairs;
                assert_eq!(pairs.len(), 1);
            }
            _ => {}
        }
    }
    let node = |at: usize, name: &str, id: u64, peers: &[u64]| {
        (format!("dr-continuum-server-{at}.toml"), name.to_owned(), id, peers.to_vec())
    };
    let wanted =
        [node(0, "a", 11, &[11, 12, 13]), node(1, "b", 12, &[11, 12, 13]), node(2, "d", 14, &[])];
    assert_eq!(seen, wanted);
}

/// A pod starts the file that is there for it, with the certificates that the file names.
#[test]
fn the_paths_in_the_files_are_mounted() {
    for (case, objects) in cases() {
        let with_pods = objects.iter().filter(|o| o["spec"]["template"].is_object());
        let mounts: Vec<String> = with_pods
            .flat_map(|o| list(&o["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]))
            .map(|mount| mount["mountPath"].as_str().unwrap().to_owned())
            .collect();
        for (_, name, text) in files(&objects) {
            let paths = text
                .split('"')
                .filter(|part| part.starts_with("/etc/") || part.starts_with("/var/"));
            for path in paths {
                let under = |mount: &String| Path::new(path).starts_with(mount);
                assert!(mounts.iter().any(under), "{case}: {name}: {path} is in no volume");
            }
        }
    }
}

/// The commands of the documentation that make certificates by hand.
fn documented_commands() -> String {
    let text = std::fs::read_to_string(super::project().join("docs/KUBERNETES.md")).unwrap();
    let from = text.find("   openssl req -x509").expect("the documentation makes an authority");
    let block = text[from..].split("   ```").next().unwrap();
    block.lines().map(|line| format!("{}\n", line.trim_start_matches("   "))).collect()
}

#[test]
fn the_documented_certificates_are_ones_that_the_roles_take() {
    let directory = tempfile::tempdir().unwrap();
    let made = std::process::Command::new("sh")
        .args(["-euc", &documented_commands()])
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let at = |name: &str| directory.path().join(name).display().to_string();
    let with_files = Reading { files: true, ..READING };
    let third = objects(&values("third"));
    for (kind, name, text) in files(&third) {
        let (party, other) = match kind {
            Kind::Server => ("c.core", "a.core"),
            _ => ("w1.witness", "ada.operator"),
        };
        let text = text.replace("/etc/continuum/tls/c/", "/etc/continuum/tls/");
        let text = text.replace("/etc/continuum/tls/ca.crt", &at("authority.crt"));
        for (party, taken) in [(party, true), (other, false)] {
            let text = text.replace("/etc/continuum/tls/tls.crt", &at(&format!("{party}.crt")));
            let text = text.replace("/etc/continuum/tls/tls.key", &at(&format!("{party}.key")));
            let file = written(directory.path(), &name, &text);
            let checked = check_file(kind, &file, with_files);
            assert_eq!(checked.is_ok(), taken, "{name} as {party}: {checked:?}");
        }
    }
}
