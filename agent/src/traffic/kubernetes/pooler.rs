//! A CloudNativePG `Pooler`. It always leads to its own Cluster, so that all there is to say is whether
//! clients get through: while its region holds the pair, and nobody is to wait.

use continuum_domain::{RegionId, Tick};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::board::{Formed, Shape, Sight};
use super::config::PoolerConfig;
use super::mark::Mark;
use crate::traffic::{Held, SwitchError};

const PAUSED: &str = "/spec/pgbouncer/paused";

/// The shape.
#[derive(Debug)]
pub(super) struct Pooler {
    path: String,
    region: RegionId,
}

/// What an agent notes of a Pooler.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Note {
    /// Whether an agent paused it; else a person did, who resumes it too.
    #[serde(default)]
    pub ours: bool,
}

impl Pooler {
    pub fn new(config: &PoolerConfig) -> Self {
        let PoolerConfig { namespace, pooler, region, .. } = config;
        Self {
            path: format!("/apis/postgresql.cnpg.io/v1/namespaces/{namespace}/poolers/{pooler}"),
            region: region.clone(),
        }
    }

    fn is_elsewhere(&self, mark: &Mark<Note>) -> bool {
        mark.target.as_ref().is_some_and(|target| target.holder != self.region)
    }

    fn is_closed(&self, mark: &Mark<Note>) -> bool {
        mark.held.is_some() || self.is_elsewhere(mark)
    }
}

fn is_paused(object: &Value) -> bool {
    object.pointer(PAUSED) == Some(&Value::Bool(true))
}

impl Shape for Pooler {
    type Note = Note;

    fn path(&self) -> &str {
        &self.path
    }

    fn see(&self, object: &Value, mark: &Mark<Note>, _now: Tick) -> Sight {
        let paused = is_paused(object);
        let phase = object["status"]["phase"].as_str();
        let done = phase == Some("paused");
        let held = match &mark.held {
            Some(why) => Held::Ours { why: why.clone(), complete: paused && done },
            None if paused && !mark.note.ours => Held::Others,
            None => Held::No,
        };
        let mut remarks = Vec::new();
        if self.is_elsewhere(mark) {
            remarks.push(format!("paused: {} does not hold the pair", self.region));
        }
        if paused && !done {
            let said = phase.unwrap_or("nothing");
            remarks.push(format!("told to pause; the operator says {said} of it"));
        }
        if phase == Some("failed") {
            let why = object["status"]["phaseReason"].as_str().unwrap_or("no reason given");
            remarks.push(format!("the operator says that it failed: {why}"));
        }
        let right = if self.is_closed(mark) { paused } else { !(paused && mark.note.ours) };
        Sight { in_force: right && mark.target.is_some(), held, remarks }
    }

    fn form(
        &self,
        object: &Value,
        before: &Mark<Note>,
        mark: &mut Mark<Note>,
        _now: Tick,
    ) -> Result<Formed, SwitchError> {
        // CNPG's default is rw.
        let kind = object["spec"]["type"].as_str().unwrap_or("rw");
        if kind != "rw" {
            let reason = format!("it is of type {kind}, whose clients go to standbys");
            return Err(SwitchError::refused("leading clients", reason));
        }
        let paused = is_paused(object);
        let lost = before.note.ours && self.is_closed(before) && !paused;
        let foreign = lost.then(|| "it was resumed by somebody else".to_owned());
        let closed = self.is_closed(mark);
        let say = |paused: bool| vec![json!({ "op": "add", "path": PAUSED, "value": paused })];
        let operations = match (closed, paused) {
            (true, false) => {
                mark.note.ours = true;
                say(true)
            }
            (false, true) if mark.note.ours => {
                mark.note.ours = false;
                say(false)
            }
            (false, false) => {
                mark.note.ours = false;
                Vec::new()
            }
            (true, true) | (false, true) => Vec::new(),
        };
        Ok(Formed { operations, foreign })
    }
}
