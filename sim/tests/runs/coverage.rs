//! What is counted, what must be reached, and that a failed assertion is found.

use std::io::Write;
use std::process::{Command, Stdio};

use continuum_domain::spec::Durability;
use continuum_sim::coverage::{Report, required};
use continuum_sim::plan::{Fault, Scheduled};
use continuum_sim::{Plan, Watch, run};

fn coverage(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_continuum-sim"));
    let output = command.arg("coverage").args(arguments).output().expect("the simulator starts");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_row_that_is_reached_satisfies_the_check_and_one_that_is_not_is_named() {
    let (code, text) = coverage(&["--seed", "1", "--require", "event standby session-read"]);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = coverage(&["--seed", "1", "--require", "blocked no-such-state"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("NEVER REACHED blocked no-such-state"), "{text}");
}

#[test]
fn one_quiet_run_reaches_a_part_of_what_is_required_and_the_rest_is_missed() {
    let verdict = run(&Plan::quiet(1, 2, Durability::Available), Watch::default());
    let report = Report::new(1, verdict.rows, &required());
    let missed = |row: &str| report.missing.iter().any(|missing| missing == row);
    assert!(!missed("acquired created"), "{:?}", report.missing);
    assert!(!missed("event primary armed"), "{:?}", report.missing);
    assert!(missed("blocked fenced"), "{:?}", report.missing);
    assert!(missed("acquired expired"), "{:?}", report.missing);
}

/// In a process of its own: what a panic leaves behind may end it before there is a verdict.
#[test]
fn an_assertion_that_fails_in_an_agent_is_told_with_its_text_and_place() {
    let mut plan = Plan::quiet(1, 2, Durability::Available);
    let fault = Fault::Assertion { region: "hel".into() };
    plan.faults.push(Scheduled { at: 1_000, fault });
    let mut child = Command::new(env!("CARGO_BIN_EXE_continuum-sim"))
        .args(["--plan", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the simulator starts");
    let text = serde_json::to_vec(&plan).expect("plans are plain data");
    child.stdin.take().expect("it is piped").write_all(&text).expect("it listens");
    let output = child.wait_with_output().expect("it ends");
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("planted: an assertion in the agent of hel"), "{told}");
    assert!(told.contains("region.rs"), "the place is missing: {told}");
}
