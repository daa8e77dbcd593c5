//! Pair specs and pauses of automation.

use continuum_control_api::ask::Condition;
use continuum_control_api::rest::SpecVersion;
use continuum_control_api::routes::ApiError;
use continuum_domain::PairId;
use continuum_domain::safety::Pause;
use continuum_domain::spec::PairSpec;

use super::{CoreState, Line, Reply, pause_view};

/// Longest pause of automation: a pause always ends.
pub const PAUSE_MS_MAX: u64 = 30 * 24 * 60 * 60 * 1_000;

/// There is no such pair.
pub(super) fn pair_not_found(pair: &PairId) -> ApiError {
    ApiError::new(404, "pair-not-found", format!("there is no pair {pair}"))
}

/// A pair has no spec of this version.
pub(crate) fn version_not_found(pair: &PairId, version: u64) -> ApiError {
    let text = format!("pair {pair} has no spec of version {version}; its versions are listed");
    ApiError::new(404, "version-not-found", text)
}

impl CoreState {
    pub(super) fn apply_pair(
        &mut self,
        (now_ms, actor): (i64, &str),
        action: &str,
        spec: PairSpec,
        (reason, condition): (String, Condition),
    ) -> Reply {
        if let Err(error) = self.check_condition(&spec.id, condition) {
            return Reply::Refused(error);
        }
        if let Err(error) = self.check_spec(&spec) {
            return Reply::Refused(error);
        }
        let pair = self.pairs.entry(spec.id.clone()).or_default();
        if let Some(last) = pair.versions.last().filter(|last| last.spec.as_ref() == Some(&spec)) {
            return Reply::Pair(last.clone());
        }
        let before = pair.versions.last().and_then(|last| last.spec.as_ref()).map(spec_text);
        let line = Line {
            action: action.into(),
            pair: Some(spec.id.clone()),
            reason: reason.clone(),
            before: before.unwrap_or_else(|| "none".into()),
            after: spec_text(&spec),
            ..Line::default()
        };
        let version = SpecVersion {
            version: pair.versions.last().map_or(1, |last| last.version + 1),
            spec: Some(spec),
            actor: actor.to_owned(),
            reason,
            at_ms: now_ms,
        };
        pair.versions.push(version.clone());
        self.audit.append(now_ms, actor, line);
        Reply::Pair(version)
    }

    pub(super) fn roll_back(
        &mut self,
        by: (i64, &str),
        pair: &PairId,
        version: u64,
        why: (String, Condition),
    ) -> Reply {
        let Some(known) = self.pairs.get(pair).filter(|known| known.spec().is_some()) else {
            return Reply::Refused(pair_not_found(pair));
        };
        let wanted = known.versions.iter().find(|one| one.version == version);
        match wanted.and_then(|version| version.spec.clone()) {
            Some(spec) => self.apply_pair(by, "pair.rollback", spec, why),
            None => Reply::Refused(version_not_found(pair, version)),
        }
    }

    fn check_condition(&self, pair: &PairId, condition: Condition) -> Result<(), ApiError> {
        let version = self.spec(pair).map(|(version, _)| version);
        if condition.holds(version) {
            return Ok(());
        }
        let stands = match version {
            Some(version) => format!("pair {pair} is at version {version}"),
            None => format!("there is no pair {pair}"),
        };
        let text = format!("{stands}; nothing was changed; look at what changed and ask again");
        Err(ApiError::new(412, "precondition-failed", text))
    }

    /// What speaks against a spec as the next version of its pair.
    pub fn check_spec(&self, spec: &PairSpec) -> Result<(), ApiError> {
        let refuse = |path: &str, problem: &str| {
            let text = format!("{path}: {problem}; the spec in force stays as it is");
            Err(ApiError::new(422, "spec-refused", text))
        };
        if let Err(error) = spec.check() {
            return refuse(&error.path, &error.problem);
        }
        let Some(old) = self.spec(&spec.id).map(|(_, old)| old) else { return Ok(()) };
        if old.first_primary != spec.first_primary {
            return refuse("first_primary", "cannot be changed: the pair exists; use a switchover");
        }
        if old.members.keys().ne(spec.members.keys()) && self.running(&spec.id).next().is_some() {
            return refuse("members", "cannot be changed while an operation runs on the pair");
        }
        let holder = self.pairs.get(&spec.id).and_then(|pair| pair.newest_epoch());
        if let Some((_, record)) = holder
            && !spec.members.contains_key(&record.holder)
        {
            return refuse(
                &format!("members.{}", record.holder),
                "cannot be removed: it holds the lease; switch over first",
            );
        }
        Ok(())
    }

    pub(super) fn remove_pair(
        &mut self,
        (now_ms, actor): (i64, &str),
        pair: &PairId,
        (reason, condition): (String, Condition),
    ) -> Reply {
        let Some((_, spec)) = self.spec(pair) else { return Reply::Refused(pair_not_found(pair)) };
        if let Err(error) = self.check_condition(pair, condition) {
            return Reply::Refused(error);
        }
        if let Some(operation) = self.running(pair).next() {
            return Reply::Refused(under_way(operation.id.as_str()));
        }
        let line = Line {
            action: "pair.remove".into(),
            pair: Some(pair.clone()),
            reason: reason.clone(),
            before: spec_text(spec),
            after: "none; members and their data are left as they are".into(),
            ..Line::default()
        };
        let Some(state) = self.pairs.get_mut(pair) else {
            return Reply::Refused(pair_not_found(pair));
        };
        let version = SpecVersion {
            version: state.versions.last().map_or(1, |last| last.version + 1),
            spec: None,
            actor: actor.to_owned(),
            reason,
            at_ms: now_ms,
        };
        state.versions.push(version.clone());
        self.audit.append(now_ms, actor, line);
        Reply::Pair(version)
    }

    pub(super) fn pause(
        &mut self,
        now_ms: i64,
        actor: &str,
        pair: Option<PairId>,
        reason: String,
        for_ms: u64,
    ) -> Reply {
        if reason.trim().is_empty() {
            let text = "reason: must not be empty; automation goes on as before";
            return Reply::Refused(ApiError::new(422, "reason-needed", text));
        }
        if for_ms == 0 || for_ms > PAUSE_MS_MAX {
            let text = format!(
                "for_ms: 1 to {PAUSE_MS_MAX} is accepted, a pause always ends; automation goes on as before"
            );
            return Reply::Refused(ApiError::new(422, "pause-refused", text));
        }
        if let Some(id) = pair.as_ref().filter(|id| self.spec(id).is_none()) {
            return Reply::Refused(pair_not_found(id));
        }
        let until_ms = now_ms.saturating_add(i64::try_from(for_ms).unwrap_or(i64::MAX));
        let pause = Pause { pair: pair.clone(), reason, actor: actor.to_owned(), until_ms };
        let view = pause_view(&pause);
        let line = Line {
            action: "automation.pause".into(),
            pair: pair.clone(),
            reason: pause.reason.clone(),
            before: self.pause_text(pair.as_ref(), now_ms),
            after: format!("paused until {until_ms}"),
            ..Line::default()
        };
        match pair {
            Some(id) => drop(self.pauses.insert(id, pause)),
            None => self.pause_all = Some(pause),
        }
        self.audit.append(now_ms, actor, line);
        Reply::Pause(view)
    }

    pub(super) fn resume(
        &mut self,
        now_ms: i64,
        actor: &str,
        pair: Option<&PairId>,
        reason: String,
    ) -> Reply {
        let before = self.pause_text(pair, now_ms);
        match pair {
            Some(id) => drop(self.pauses.remove(id)),
            None => self.pause_all = None,
        }
        // Ending a pause that is not there changes nothing, and a repeated request is no error.
        if before != NOT_PAUSED {
            let line = Line {
                action: "automation.resume".into(),
                pair: pair.cloned(),
                reason,
                before,
                after: NOT_PAUSED.into(),
                ..Line::default()
            };
            self.audit.append(now_ms, actor, line);
        }
        Reply::Done
    }

    fn pause_text(&self, pair: Option<&PairId>, now_ms: i64) -> String {
        let pause = match pair {
            Some(id) => self.pauses.get(id),
            None => self.pause_all.as_ref(),
        };
        match pause.filter(|pause| pause.in_force(now_ms)) {
            Some(pause) => format!("paused until {} by {}", pause.until_ms, pause.actor),
            None => NOT_PAUSED.into(),
        }
    }
}

const NOT_PAUSED: &str = "not paused";

/// Another operation runs on the pair.
pub(super) fn under_way(operation: &str) -> ApiError {
    let text = format!(
        "operation {operation} is under way on this pair; nothing was changed; wait for it or cancel it"
    );
    ApiError::retryable(409, "operation-under-way", text)
}

fn spec_text(spec: &PairSpec) -> String {
    serde_json::to_string(spec).expect("specs are plain data")
}
