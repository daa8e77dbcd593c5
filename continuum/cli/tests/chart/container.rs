//! The Containerfile, as far as it can be looked at without an engine: what it copies is there, and what
//! the program needs to run is in the last stage.

use std::collections::BTreeSet;
use std::process::Command;

use super::{project, values};

/// Libraries of the last stage's image (`libc6` and `libgcc-s1` of Debian 12), and the kernel's own.
const LIBRARIES: [&str; 5] =
    ["linux-vdso.so.1", "libgcc_s.so.1", "libm.so.6", "libc.so.6", "libpthread.so.0"];

/// An instruction and its arguments.
type Instruction = (String, Vec<String>);

/// Instructions with their arguments, continued lines joined.
fn instructions() -> Vec<Instruction> {
    let text = std::fs::read_to_string(project().join("Containerfile")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let joined = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let split = joined.lines().filter(|line| !line.trim().is_empty()).map(|line| {
        let mut words = line.split_whitespace().map(str::to_owned);
        (words.next().unwrap(), words.collect())
    });
    split.collect()
}

fn stages() -> Vec<(String, Vec<Instruction>)> {
    let mut stages: Vec<(String, Vec<_>)> = Vec::new();
    for (instruction, arguments) in instructions() {
        if instruction == "FROM" {
            assert_eq!(arguments[1], "AS", "a stage without a name: {arguments:?}");
            stages.push((arguments[2].clone(), Vec::new()));
        }
        stages.last_mut().expect("begins with FROM").1.push((instruction, arguments));
    }
    stages
}

fn arguments<'a>(stage: &'a [Instruction], wanted: &str) -> Vec<&'a [String]> {
    let found = stage.iter().filter(|(instruction, _)| instruction == wanted);
    found.map(|(_, arguments)| arguments.as_slice()).collect()
}

#[test]
fn what_is_copied_is_there_and_all_members_are_copied() {
    let ignored = std::fs::read_to_string(project().join(".containerignore")).unwrap();
    let ignored: BTreeSet<_> = ignored.lines().collect();
    let mut earlier = BTreeSet::new();
    let mut copied = BTreeSet::new();
    for (name, stage) in stages() {
        for words in arguments(&stage, "COPY") {
            if let Some(from) = words[0].strip_prefix("--from=") {
                assert!(earlier.contains(from), "{from} is no stage before {name}");
                continue;
            }
            for source in &words[..words.len() - 1] {
                assert!(project().join(source).exists(), "{source}");
                assert!(!ignored.contains(source.as_str()), "{source} is ignored");
                copied.insert(source.clone());
            }
        }
        earlier.insert(name);
    }
    let manifest = std::fs::read_to_string(project().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = toml::from_str(&manifest).unwrap();
    let members = manifest["workspace"]["members"].as_array().unwrap();
    for member in members {
        let top = member.as_str().unwrap().split('/').next().unwrap();
        assert!(copied.contains(top), "{top} is a member and is not copied");
    }
}

#[test]
fn the_last_stage_has_one_program_no_shell_and_no_root() {
    let stages = stages();
    let (_, last) = stages.last().unwrap();
    assert!(arguments(last, "RUN").is_empty());
    assert_eq!(arguments(last, "COPY").len(), 1);
    let user = arguments(last, "USER")[0][0].clone();
    assert_eq!(user, "65532:65532");
    let objects = super::objects(&values("one-cluster"));
    let pod = &super::of_kind(&objects, "StatefulSet")[0]["spec"]["template"]["spec"];
    let of_chart = &pod["securityContext"];
    assert_eq!(user, format!("{}:{}", of_chart["runAsUser"], of_chart["runAsGroup"]));
    let entry = arguments(last, "ENTRYPOINT")[0].join(" ");
    let entry: Vec<String> = serde_json::from_str(&entry).expect("a list, which needs no shell");
    let program = arguments(last, "COPY")[0].last().unwrap();
    assert_eq!(&entry[0], program);
}

#[test]
fn both_stages_are_of_one_debian_and_the_compiler_is_new_enough() {
    let stages = stages();
    let images: Vec<_> =
        stages.iter().map(|(_, stage)| arguments(stage, "FROM")[0][0].clone()).collect();
    assert!(images[0].ends_with("-bookworm"), "{images:?}");
    assert!(images.last().unwrap().contains("debian12"), "{images:?}");
    let compiler = images[0].rsplit_once(':').unwrap().1;
    let minor: u32 =
        compiler.trim_end_matches("-bookworm").trim_start_matches("1.").parse().unwrap();
    assert!(minor >= 92, "{compiler}");
}

#[test]
fn the_program_needs_no_library_that_the_last_stage_has_not() {
    let output = Command::new("ldd").arg(env!("CARGO_BIN_EXE_continuum")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let names = text.lines().filter_map(|line| line.split_whitespace().next());
    let needed: Vec<_> = names.filter(|name| !name.contains("/ld-linux")).collect();
    assert!(needed.contains(&"libc.so.6"), "{text}");
    let unknown: Vec<_> = needed.iter().filter(|name| !LIBRARIES.contains(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

/// The footprint is measured of what is shipped: built and started in the same way.
#[test]
fn the_footprint_is_measured_of_what_is_shipped() {
    let read = |path: &str| std::fs::read_to_string(project().join(path)).unwrap();
    let makefile = read("Makefile");
    let build = read("Containerfile").replace(" --locked", "");
    let build = build.lines().find_map(|line| line.strip_prefix("RUN cargo ")).unwrap().to_owned();
    assert!(makefile.contains(&format!("\t$(CARGO) {build}\n")), "{build}");
    let agent = read("continuum/chart/templates/agent/agent.yaml");
    assert!(agent.contains("- { name: MALLOC_ARENA_MAX, value: \"1\" }"));
    assert!(makefile.contains("\tMALLOC_ARENA_MAX=1 CONTINUUM_BIN="));
}
