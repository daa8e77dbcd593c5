//! Processes that run one seed after the other: what a process builds up once is used for many runs.
//!
//! A run repeats in any process, also in one that ran others before, and `meta` compares just these
//! two. One that found something is not used again: what it left behind is not known.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use super::children::{died, inherited, last_words};
use super::{OK, RunArgs, USAGE};
use crate::run::{Verdict, Watch, run};
use crate::trace::Show;

/// After so many runs a process is replaced: its memory is not a question then.
const RUNS: u32 = 64;

struct Worker {
    child: Child,
    seeds: ChildStdin,
    verdicts: BufReader<ChildStdout>,
    runs: u32,
}

impl Worker {
    fn start(packets: bool) -> std::io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--serve").args(inherited());
        if packets {
            command.arg("--packets");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let (seeds, verdicts) = (child.stdin.take(), child.stdout.take());
        let (Some(seeds), Some(verdicts)) = (seeds, verdicts) else {
            return Err(std::io::Error::other("a child without pipes"));
        };
        Ok(Self { child, seeds, verdicts: BufReader::new(verdicts), runs: 0 })
    }

    fn ask(&mut self, seed: u64) -> std::io::Result<Verdict> {
        self.runs += 1;
        writeln!(self.seeds, "{seed}")?;
        let mut line = String::new();
        self.verdicts.read_line(&mut line)?;
        serde_json::from_str(&line).map_err(std::io::Error::other)
    }

    /// What is told of a process that did not say what was asked.
    fn last_words(mut self) -> String {
        drop(self.seeds);
        let mut said = String::new();
        let read = self.child.stderr.take().map(|mut stderr| stderr.read_to_string(&mut said));
        let status = self.child.wait().map_or_else(|error| error.to_string(), |it| it.to_string());
        match read {
            Some(Ok(_)) => format!("the run died ({status}): {}", last_words(&said)),
            _ => format!("the run died ({status})"),
        }
    }

    fn end(mut self) {
        drop(self.seeds);
        if let Err(error) = self.child.wait() {
            eprintln!("a process of runs did not end: {error}");
        }
    }
}

/// The processes that wait for a seed.
pub(super) struct Workers {
    free: Mutex<Vec<Worker>>,
    packets: bool,
}

impl Workers {
    /// None yet; each is started when it is needed.
    pub fn new(packets: bool) -> Self {
        Self { free: Mutex::default(), packets }
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Vec<Worker>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `seed`. A process that dies of it is a finding too.
    pub fn run(&self, seed: u64) -> Verdict {
        let free = self.free().pop();
        let worker = free.map_or_else(|| Worker::start(self.packets), Ok);
        let mut worker = match worker {
            Ok(worker) => worker,
            Err(error) => return died(&format!("the run could not be started: {error}")),
        };
        match worker.ask(seed) {
            Ok(verdict) if verdict.is_ok() && worker.runs < RUNS => {
                self.free().push(worker);
                verdict
            }
            Ok(verdict) => {
                worker.end();
                verdict
            }
            Err(_) => died(&worker.last_words()),
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        std::mem::take(&mut *self.free()).into_iter().for_each(Worker::end);
    }
}

/// The other side: runs the seeds of standard input, and prints one verdict a line.
pub(super) fn serve(args: &RunArgs) -> u8 {
    let watch = Watch { show: Show::Nothing, packets: args.packets };
    for line in std::io::stdin().lines() {
        let Some(seed) = line.ok().and_then(|line| line.parse().ok()) else { return USAGE };
        let verdict = run(&args.plan_of(seed), watch);
        println!("{}", serde_json::to_string(&verdict).expect("verdicts are plain data"));
    }
    OK
}
