//! A few worlds of the general kind, and the proof that they repeat.

use std::process::Command;

fn simulate(arguments: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_continuum-sim"))
        .args(arguments)
        .output()
        .expect("the simulator starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let last: Vec<&str> = text.lines().rev().take(12).collect();
    assert!(output.status.success(), "{arguments:?}: {last:#?}");
}

#[test]
fn the_same_seed_gives_the_same_trace_in_another_process() {
    simulate(&["meta", "--seeds", "2"]);
}

#[test]
fn a_few_seeds_hold() {
    simulate(&["--seeds", "0..3"]);
}

#[test]
fn a_sweep_may_be_restricted_to_worlds_of_one_shape() {
    simulate(&["--seeds", "0..6", "--shape", "2x3"]);
}

#[test]
fn a_wrong_command_line_is_told_apart_from_a_finding() {
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_continuum-sim"));
        command.args(arguments).output().expect("the simulator starts").status.code()
    };
    assert_eq!(run(&["--seeds", "9..3"]), Some(2));
    assert_eq!(run(&["--seeds", "0..3", "--shape", "2by3"]), Some(2));
    assert_eq!(run(&["--seeds", "0..3", "--shape", "2x9"]), Some(2));
    assert_eq!(run(&["--scenario", "no-such"]), Some(2));
    assert_eq!(run(&[]), Some(2));
    assert_eq!(run(&["--list"]), Some(0));
}
