//! The kinds of partition that the behaviour table tells of.

use crate::plan::{Fault, Ms, NAMES, Plan, REGIONS, USERS, WITNESS};

/// How long each lasts.
pub const SPAN_MS: Ms = 40_000;

/// A kind of partition.
pub struct Kind {
    /// Its name on the command line.
    pub name: &'static str,
    /// What is cut, for people.
    pub words: &'static str,
    /// Whether it takes the witness from the primary, so that the policy matters.
    pub of_witness: bool,
    faults: fn(&Plan) -> Vec<Fault>,
}

impl Kind {
    /// The faults it is made of.
    pub fn faults(&self, plan: &Plan) -> Vec<Fault> {
        (self.faults)(plan)
    }
}

const PRIMARY: &str = REGIONS[0];
const STANDBY: &str = REGIONS[1];

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn cut(a: &[&str], b: Vec<String>) -> Vec<Fault> {
    vec![Fault::Cut { a: owned(a), b, both: true, span: SPAN_MS }]
}

fn one_way(from: &str, to: &str) -> Vec<Fault> {
    vec![Fault::Cut { a: owned(&[from]), b: owned(&[to]), both: false, span: SPAN_MS }]
}

fn but(plan: &Plan, left_out: &[&str]) -> Vec<String> {
    plan.hosts().into_iter().filter(|host| !left_out.contains(&host.as_str())).collect()
}

fn off(hosts: Vec<String>) -> Vec<Fault> {
    hosts.into_iter().map(|host| Fault::PowerOff { host, down: SPAN_MS }).collect()
}

fn kind(
    name: &'static str,
    words: &'static str,
    of_witness: bool,
    faults: fn(&Plan) -> Vec<Fault>,
) -> Kind {
    Kind { name, words, of_witness, faults }
}

/// All kinds, in the order of the table.
pub fn all() -> Vec<Kind> {
    let mut all = of_the_primary();
    all.extend(of_the_standby());
    all.extend(of_the_rest());
    all
}

fn of_the_primary() -> Vec<Kind> {
    vec![
        kind("primary-power", "primary's region loses power", false, |_| off(owned(&[PRIMARY]))),
        kind("primary-isolated", "primary's region cut from everybody", true, |plan| {
            cut(&[PRIMARY], but(plan, &[PRIMARY]))
        }),
        kind("primary-clients", "primary's region cut from all but its clients", true, |plan| {
            cut(&[PRIMARY], but(plan, &[PRIMARY, USERS]))
        }),
        kind("primary-witness", "primary cut from the witness", true, |_| {
            cut(&[PRIMARY], owned(&[WITNESS]))
        }),
        kind("primary-to-witness", "primary's requests do not reach the witness", true, |_| {
            one_way(PRIMARY, WITNESS)
        }),
        kind("witness-to-primary", "the witness's answers do not reach the primary", true, |_| {
            one_way(WITNESS, PRIMARY)
        }),
        kind("primary-flaps", "link of primary and witness flaps, 10 s each way", true, |_| {
            let (a, b) = (owned(&[PRIMARY]), owned(&[WITNESS]));
            vec![Fault::Flap { a, b, period: 10_000, span: SPAN_MS }]
        }),
        kind("primary-core", "primary cut from the core", false, |plan| {
            cut(&[PRIMARY], plan.core())
        }),
    ]
}

fn of_the_standby() -> Vec<Kind> {
    vec![
        kind("members", "primary and standby cut apart", false, |_| {
            cut(&[PRIMARY], owned(&[STANDBY]))
        }),
        kind("primary-to-standby", "primary's messages do not reach the standby", false, |_| {
            one_way(PRIMARY, STANDBY)
        }),
        kind("standby-to-primary", "standby's messages do not reach the primary", false, |_| {
            one_way(STANDBY, PRIMARY)
        }),
        kind("standby-witness", "standby cut from the witness", false, |_| {
            cut(&[STANDBY], owned(&[WITNESS]))
        }),
        kind("standby-core", "standby cut from the core", false, |plan| {
            cut(&[STANDBY], plan.core())
        }),
        kind("standby-isolated", "standby's region cut from everybody", false, |plan| {
            cut(&[STANDBY], but(plan, &[STANDBY]))
        }),
        kind("standby-power", "standby's region loses power", false, |_| off(owned(&[STANDBY]))),
    ]
}

fn of_the_rest() -> Vec<Kind> {
    vec![
        kind("witness-down", "the witness is down", true, |_| off(owned(&[WITNESS]))),
        kind("witness-regions", "the witness cut from both regions", true, |_| {
            cut(&[WITNESS], owned(&[PRIMARY, STANDBY]))
        }),
        kind("core-down", "the whole core is down", false, |plan| off(plan.core())),
        kind("core-minority", "one of three control nodes cut off", false, |plan| {
            cut(&["c1"], but(plan, &["c1"]))
        }),
        kind("names-regions", "the name server cut from both regions", false, |_| {
            cut(&[NAMES], owned(&[PRIMARY, STANDBY]))
        }),
        kind("names-witness", "the name server cut from the witness", false, |_| {
            cut(&[NAMES], owned(&[WITNESS]))
        }),
        kind("clients-primary", "clients cut from the primary only", false, |_| {
            cut(&[USERS], owned(&[PRIMARY]))
        }),
    ]
}
