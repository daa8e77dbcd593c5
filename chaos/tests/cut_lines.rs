//! Regions that are cut off, in a network of the test's own. The judge is the study's: it ends with an
//! error when an acknowledged write is lost, two sides acknowledge, or the pair does not move as it must.

use std::process::Command;

fn study(faults: &str) {
    run(&["faults", "--runs", "1", "--only", faults]);
}

fn run(arguments: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_continuum-study"));
    let output = command.args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("the study cannot be started: {error}"));
    let (table, told) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{table}{told}");
    assert!(output.status.success(), "{told}");
    assert!(table.lines().count() > 2, "no fault is called {arguments:?}");
}

#[test]
#[ignore = "long: a primary's region cut off in both directions, clients in it go on"]
fn a_region_that_is_cut_off_is_taken_over_and_acknowledges_nothing() {
    study("region cut off");
}

#[test]
#[ignore = "long: a primary's region that hears and is not heard"]
fn a_region_that_is_not_heard_is_taken_over_and_acknowledges_nothing() {
    study("hears and is not heard");
}

#[test]
#[ignore = "long: the line between two regions cut in each direction"]
fn a_line_between_regions_that_is_cut_moves_nothing() {
    study("line between the regions");
}

#[test]
#[ignore = "long: a primary's region cut off from two of three acceptors, then from everything"]
fn a_primary_without_a_majority_of_acceptors_is_fenced_and_taken_over() {
    run(&["isolation", "--only", "primary's region"]);
}

#[test]
#[ignore = "long: a standby's region cut off from two of three acceptors"]
fn a_standby_without_a_majority_of_acceptors_disturbs_nobody() {
    run(&["isolation", "--only", "standby's region"]);
}
