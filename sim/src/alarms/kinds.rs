//! The disturbances: nobody is lost in any of them.

use crate::plan::{Calls, DiskFault, Fault, Half, MemberFault, Ms, REGIONS, WITNESS};
use crate::random::Dice;

/// For longer than any run.
const NEVER: Ms = 3_600_000;

/// A disturbance.
pub struct Kind {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is, for people.
    pub words: &'static str,
    /// Least and most time between two strikes; none where it does not strike.
    every: Option<(Ms, Ms)>,
    strike: fn(&mut Dice, &str, &str) -> Vec<Fault>,
    lasting: fn(Ms) -> Vec<Fault>,
}

impl Kind {
    /// Faults that last for `span`, from the beginning on.
    pub fn for_all_the_time(&self, span: Ms) -> Vec<Fault> {
        (self.lasting)(span)
    }

    /// Time until it strikes next.
    pub(super) fn pause(&self, dice: &mut Dice) -> Ms {
        self.every.map_or(10_000, |(least, most)| dice.from(least, most))
    }

    /// What strikes now.
    pub(super) fn strike(&self, dice: &mut Dice, holder: &str, standby: &str) -> Vec<Fault> {
        if self.every.is_none() { Vec::new() } else { (self.strike)(dice, holder, standby) }
    }
}

fn nothing(_: &mut Dice, _: &str, _: &str) -> Vec<Fault> {
    Vec::new()
}

fn none(_: Ms) -> Vec<Fault> {
    Vec::new()
}

fn striking(
    name: &'static str,
    words: &'static str,
    every: (Ms, Ms),
    strike: fn(&mut Dice, &str, &str) -> Vec<Fault>,
) -> Kind {
    Kind { name, words, every: Some(every), strike, lasting: none }
}

fn lasting(name: &'static str, words: &'static str, lasting: fn(Ms) -> Vec<Fault>) -> Kind {
    Kind { name, words, every: None, strike: nothing, lasting }
}

fn paused(dice: &mut Dice, host: &str) -> Vec<Fault> {
    vec![Fault::Freeze { host: host.to_owned(), span: dice.from(50, 501) }]
}

fn region_to(others: &[&str], most: Ms, span: Ms) -> Vec<Fault> {
    let b: Vec<String> = others.iter().map(|name| (*name).to_owned()).collect();
    let slow = |a: &str| Fault::Slow { a: vec![a.to_owned()], b: b.clone(), most, span };
    REGIONS.iter().take(2).map(|region| slow(region)).collect()
}

fn of_member(region: &str, what: MemberFault, span: Ms) -> Fault {
    Fault::Member { region: region.to_owned(), what, span }
}

/// All disturbances.
pub fn all() -> Vec<Kind> {
    let mut all = vec![lasting("quiet", "nothing", none)];
    all.extend(of_hosts());
    all.extend(of_links());
    all.extend(of_disks());
    all
}

fn of_hosts() -> Vec<Kind> {
    vec![
        striking(
            "holder-starved",
            "the holder's agent is stopped for 50 to 500 ms, every 1 to 3 s",
            (1_000, 3_000),
            |dice, holder, _| paused(dice, holder),
        ),
        striking(
            "holder-paused",
            "the holder's agent is stopped for 50 to 500 ms, every 40 to 60 s: between two of them the \
             first is forgotten",
            (40_000, 60_000),
            |dice, holder, _| paused(dice, holder),
        ),
        striking(
            "holder-paused-for-long",
            "the holder's agent is stopped for 500 to 1,500 ms, every 40 to 60 s",
            (40_000, 60_000),
            |dice, holder, _| {
                vec![Fault::Freeze { host: holder.to_owned(), span: dice.from(500, 1_501) }]
            },
        ),
        striking(
            "standby-starved",
            "the standby's agent is stopped for 50 to 500 ms, every 1 to 3 s",
            (1_000, 3_000),
            |dice, _, standby| paused(dice, standby),
        ),
        striking(
            "both-starved",
            "one of both agents, or both, the same",
            (700, 2_000),
            |dice, holder, standby| {
                let mut faults = Vec::new();
                if dice.chance(60) {
                    faults.extend(paused(dice, holder));
                }
                if dice.chance(60) {
                    faults.extend(paused(dice, standby));
                }
                faults
            },
        ),
    ]
}

fn of_links() -> Vec<Kind> {
    vec![
        lasting(
            "far",
            "messages of both regions, to each other and to the witness, take up to 300 ms",
            |span| region_to(&[REGIONS[0], REGIONS[1], WITNESS], 300, span),
        ),
        striking(
            "loss",
            "packet loss as TCP shows it: all messages of a region wait for 200 to 600 ms, every 1 to 4 s",
            (1_000, 4_000),
            |dice, holder, standby| {
                let one = dice.pick(&[holder, standby]).to_owned();
                let others = [holder, standby, WITNESS].map(str::to_owned);
                let b = others.into_iter().filter(|other| *other != one).collect();
                vec![Fault::Hold { a: vec![one], b, span: dice.pick(&[200, 400, 600]) }]
            },
        ),
        striking(
            "lost-calls",
            "calls to the witness that are never answered: all that a region makes in 50 to 300 ms, \
             every 1 to 3 s",
            (1_000, 3_000),
            |dice, holder, standby| {
                let host = dice.pick(&[holder, standby]).to_owned();
                let half = dice.pick(&[Half::Request, Half::Answer]);
                let span = dice.from(50, 301);
                vec![Fault::Late { host, calls: Calls::All, half, by: NEVER, span }]
            },
        ),
    ]
}

fn of_disks() -> Vec<Kind> {
    vec![
        striking(
            "fsync-stalls",
            "flushes of the holder's PostgreSQL hang for 200 to 2,000 ms, every 4 to 8 s",
            (4_000, 8_000),
            |dice, holder, _| {
                vec![of_member(holder, MemberFault::SyncHangs, dice.from(200, 2_001))]
            },
        ),
        lasting("slow-witness", "each write of the witness takes 200 ms more", |span| {
            vec![Fault::Disk { host: WITNESS.into(), how: DiskFault::Slow, span }]
        }),
        striking(
            "checkpoint",
            "a long checkpoint: the holder's checkpointer takes up no reload and its commands are slow, \
             for 2 to 8 s, every 5 to 15 s",
            (5_000, 15_000),
            |dice, holder, _| {
                let span = dice.from(2_000, 8_001);
                vec![
                    of_member(holder, MemberFault::SlowCheckpointer, span),
                    of_member(holder, MemberFault::SlowCommands, span),
                ]
            },
        ),
        striking(
            "big-transaction",
            "the standby's replay stands still for 300 to 3,000 ms, every 5 to 15 s",
            (5_000, 15_000),
            |dice, _, standby| {
                vec![of_member(standby, MemberFault::ReplayStall, dice.from(300, 3_001))]
            },
        ),
    ]
}
