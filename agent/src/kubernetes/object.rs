//! One `Continuum` as the controller follows it.

use std::time::Duration;

use continuum_cnpg_pair::kubernetes::crd::{
    Admitted, CnpgPairSpec, ConditionStatus, Continuum, ContinuumStatus, RequestOutcome, convert,
};
use continuum_control_api::link::{PairStanding, RegionAnswer, RegionWish};
use continuum_domain::spec::{PairSpec, SpecError};
use continuum_domain::{RegionId, Tick, Timing};
use kube::ResourceExt as _;

use super::admission::{self, Core, OVER_VERSION, Past, Verdict};
use super::desk::AtCore;
use super::request::{self, HANDLED_MAX, Memory, Step};
use super::status::{self, Parts, Says, Seen};
use super::write::{Writes, value};

/// After an answer that may be another one later: a leader that is elected meanwhile, and a grant that
/// somebody gives.
const AGAIN_SOON: Duration = Duration::from_secs(2);
const AGAIN_LATER: Duration = Duration::from_secs(60);
/// How long the core may take to tell of the version that it just answered with.
const TOLD_WITHIN: Duration = Duration::from_secs(10);

/// What is asked of the core for an object.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wish {
    /// Its spec.
    Apply {
        key: String,
        spec: Box<PairSpec>,
        expected: Option<u64>,
        digest: String,
        generation: i64,
    },
    /// Its wish to move.
    Move { key: String, id: String, to: RegionId, reason: String },
}

impl Wish {
    /// Key, reason and wish, as the core is asked.
    pub fn request(&self) -> (String, String, RegionWish) {
        match self {
            Wish::Apply { key, spec, expected, generation, .. } => {
                let reason = format!("generation {generation} of the object in Kubernetes");
                let wish = RegionWish::Apply { spec: spec.clone(), expected: *expected };
                (key.clone(), reason, wish)
            }
            Wish::Move { key, to, reason, .. } => {
                (key.clone(), reason.clone(), RegionWish::Switchover { to: to.clone() })
            }
        }
    }
}

/// A refusal of the spec, and for what it counts.
struct Refusal {
    digest: String,
    expected: Option<u64>,
    text: String,
    code: String,
    until: Tick,
}

/// One object.
pub(super) struct Object {
    pub object: Continuum,
    pub writes: Writes,
    wanted: Result<PairSpec, Vec<SpecError>>,
    digest: String,
    admitted: Option<Admitted>,
    last: Option<RequestOutcome>,
    handled: Vec<String>,
    /// Its status was ours when it was first seen, or is by now.
    known: bool,
    /// The newest version that the core was seen to have.
    seen: Option<u64>,
    verdict: Verdict,
    asking: bool,
    refusal: Option<Refusal>,
    told_by: Option<Tick>,
    move_after: Option<Tick>,
}

impl Object {
    /// One that is seen for the first time: what its status says of the past counts now, and never
    /// again, because others may write there.
    pub fn new(object: Continuum) -> Self {
        let status = object.status.clone().unwrap_or_default();
        Self {
            object,
            writes: Writes::default(),
            wanted: Err(Vec::new()),
            digest: String::new(),
            known: status.admitted.is_some(),
            admitted: status.admitted,
            last: status.last_request,
            handled: status.handled_requests,
            seen: status.core_version,
            verdict: Verdict::Wait,
            asking: false,
            refusal: None,
            told_by: None,
            move_after: None,
        }
    }

    /// Which object it is: another one may take its name.
    pub fn uid(&self) -> &str {
        self.object.metadata.uid.as_deref().unwrap_or_default()
    }

    /// Whether this is another state of the same object.
    pub fn is_of(&self, other: &Continuum) -> bool {
        self.object.metadata.uid == other.metadata.uid
    }

    /// It changed, or its status did.
    pub fn changed(&mut self, object: Continuum) {
        self.object = object;
    }

    fn generation(&self) -> i64 {
        self.object.metadata.generation.unwrap_or_default()
    }

    /// The `CnpgPair` it names.
    pub fn cnpg_pair(&self) -> Option<String> {
        self.object.spec.cnpg_pair.as_ref().map(|named| named.name.clone())
    }

    /// Works out what it means.
    pub fn understand(&mut self, pair: Option<&CnpgPairSpec>, region: &RegionId, timing: &Timing) {
        let digest = admission::digest(&self.object.spec, pair);
        if digest == self.digest && !self.misses_its_pair(pair) {
            return;
        }
        self.digest = digest;
        self.wanted = self.meaning(pair, region, timing);
    }

    fn misses_its_pair(&self, pair: Option<&CnpgPairSpec>) -> bool {
        pair.is_none() != self.wanted_pair_is_missing()
    }

    fn wanted_pair_is_missing(&self) -> bool {
        self.object.spec.cnpg_pair.is_none()
            || self
                .wanted
                .as_ref()
                .is_err_and(|all| all.iter().any(|one| one.path == "spec.cnpgPair"))
    }

    fn meaning(
        &self,
        pair: Option<&CnpgPairSpec>,
        region: &RegionId,
        timing: &Timing,
    ) -> Result<PairSpec, Vec<SpecError>> {
        let fail =
            |path: &str, problem: String| Err(vec![SpecError { path: path.into(), problem }]);
        if let Some(named) = &self.object.spec.cnpg_pair {
            let elsewhere = |at: &String| Some(at) != self.object.metadata.namespace.as_ref();
            if named.namespace.as_ref().is_some_and(elsewhere) {
                let text = "is in another namespace, which this agent does not watch".to_owned();
                return fail("spec.cnpgPair.namespace", text);
            }
            if pair.is_none() {
                let text = format!("there is no CnpgPair {} in this namespace", named.name);
                return fail("spec.cnpgPair", text);
            }
        }
        let spec = convert::to_pair_spec(&self.object, pair)?;
        if !spec.members.contains_key(region) {
            let text =
                format!("{region}, whose agent this is, is none of them; apply it elsewhere");
            return fail("spec.regions", text);
        }
        let said = convert::timing(&self.object.spec).map_err(|error| vec![error])?;
        let same = |said: &Timing| {
            (said.ttl, said.renew, said.stop_budget, said.guard)
                == (timing.ttl, timing.renew, timing.stop_budget, timing.guard)
        };
        if said.is_some_and(|said| !same(&said)) {
            let text = format!(
                "the agent's file says ttl {:?}, renew {:?}, stop_budget {:?}, guard {:?}",
                timing.ttl, timing.renew, timing.stop_budget, timing.guard
            );
            return fail("spec.leaseClient.config", text);
        }
        Ok(spec)
    }

    /// What is to be asked of the core now, if anything is.
    /// `told`: whether the core tells now; `None` while it was silent for no longer than an election
    /// takes, when nothing is asked and what was decided stands.
    pub fn next(
        &mut self,
        told: Option<bool>,
        at_core: Option<&AtCore>,
        now: Tick,
    ) -> Option<Wish> {
        let current = told?;
        let core = match at_core {
            _ if !current => Core::Unknown,
            None => Core::Absent,
            Some(AtCore::NotUnderstood(_)) => Core::Unknown,
            Some(AtCore::Stands(standing)) => match standing.spec.understood() {
                Some(spec) => Core::Has(standing.version, spec),
                None => Core::Unknown,
            },
        };
        let core = self.after_own(core, now);
        let over = self.object.annotations().get(OVER_VERSION).and_then(|text| text.parse().ok());
        let wanted = self.wanted.as_ref().map_err(Vec::as_slice);
        let past = Past { admitted: self.admitted.as_ref(), seen: self.seen, over };
        self.verdict = admission::decide(wanted, &self.digest, past, core);
        if let Core::Has(version, _) = core {
            self.seen = Some(version);
        }
        if let Verdict::Same { version } = self.verdict {
            self.taken_over(version, self.digest.clone(), self.generation());
        }
        let there = matches!(core, Core::Has(..));
        self.next_apply(now).or_else(|| if there { self.next_move(now) } else { None })
    }

    /// Right after an answer the core may still tell of the version before it.
    fn after_own<'a>(&mut self, core: Core<'a>, now: Tick) -> Core<'a> {
        let version = self.admitted.as_ref().map(|admitted| admitted.version);
        let behind = match core {
            Core::Has(at, _) => version.is_some_and(|version| at < version),
            Core::Absent => true,
            Core::Unknown => false,
        };
        match self.told_by {
            Some(by) if behind && now < by => Core::Unknown,
            _ => {
                self.told_by = self.told_by.filter(|_| core == Core::Unknown);
                core
            }
        }
    }

    fn taken_over(&mut self, version: u64, digest: String, generation: i64) {
        self.admitted = Some(Admitted { generation, version, digest });
        self.refusal = None;
    }

    fn next_apply(&mut self, now: Tick) -> Option<Wish> {
        let Verdict::Apply { expected } = self.verdict else { return None };
        let refused = self.refusal.as_ref().is_some_and(|refusal| {
            refusal.digest == self.digest && refusal.expected == expected && now < refusal.until
        });
        let Ok(spec) = &self.wanted else { return None };
        if self.asking || refused {
            return None;
        }
        let spec = Box::new(spec.clone());
        let over = expected.map_or_else(|| "new".to_owned(), |version| version.to_string());
        let key = format!("k8s-apply:{}:{}:{over}", self.uid(), self.digest);
        let generation = self.generation();
        self.asking = true;
        Some(Wish::Apply { key, spec, expected, digest: self.digest.clone(), generation })
    }

    fn next_move(&mut self, now: Tick) -> Option<Wish> {
        let (last, handled) = (self.last.as_ref(), self.handled.as_slice());
        let memory = Memory { last, handled, known: self.known };
        match request::decide(self.object.spec.switchover.as_ref(), self.generation(), memory) {
            Step::Nothing => None,
            Step::Disarm => {
                self.last = self.last.take().map(|last| RequestOutcome { stanza: None, ..last });
                None
            }
            Step::Note(outcome) => {
                if !self.handled.contains(&outcome.id) {
                    self.handled.push(outcome.id.clone());
                }
                let over = self.handled.len().saturating_sub(HANDLED_MAX);
                self.handled.drain(..over);
                self.last = Some(outcome);
                None
            }
            Step::Ask { id, to, reason } => {
                if self.asking || self.move_after.is_some_and(|at| now < at) || !self.is_noted(&id)
                {
                    return None;
                }
                let to = RegionId::new(to).ok()?;
                let named = self.object.spec.switchover.as_ref()?.request_id.is_some();
                let key = match named {
                    // The same in every cluster that has this object.
                    true => format!("k8s:{}:{id}", self.object.name_any()),
                    false => format!("k8s:{}:{id}", self.uid()),
                };
                self.asking = true;
                Some(Wish::Move { key, id, to, reason })
            }
        }
    }

    /// Whether the API server has that this request is about to be asked for.
    fn is_noted(&self, id: &str) -> bool {
        let status = self.object.status.as_ref();
        let there = status.and_then(|status| status.last_request.as_ref());
        there.is_some_and(|last| last.id == id && Some(last) == self.last.as_ref())
            && self.writes.is_idle()
    }

    /// An answer came, or none did.
    pub fn answered(&mut self, wish: Wish, answer: Option<RegionAnswer>, now: Tick) {
        self.asking = false;
        let again = |again: bool| now + if again { AGAIN_SOON } else { AGAIN_LATER };
        match (wish, answer) {
            (Wish::Apply { digest, generation, .. }, Some(RegionAnswer::Applied { version })) => {
                self.told_by = Some(now + TOLD_WITHIN);
                self.taken_over(version, digest, generation);
            }
            (Wish::Apply { digest, expected, .. }, answer) => {
                let (code, text, soon) = match answer {
                    None => (
                        "no-answer".into(),
                        "the core did not answer; it is asked again".into(),
                        true,
                    ),
                    Some(RegionAnswer::Refused { code, text, again }) => (code, text, again),
                    Some(RegionAnswer::Kept { approval }) => {
                        let text = format!("{approval} waits: another person has to approve it");
                        ("waits-for-approval".into(), text, false)
                    }
                    Some(other) => ("internal".into(), format!("{other:?}"), false),
                };
                let until = again(soon);
                self.refusal = Some(Refusal { digest, expected, text, code, until });
            }
            (Wish::Move { id, .. }, answer) => {
                let Some(last) = self.last.as_mut().filter(|last| last.id == id) else { return };
                match answer {
                    Some(RegionAnswer::Started { operation }) => {
                        last.operation = Some(operation.to_string());
                    }
                    Some(RegionAnswer::Kept { approval }) => {
                        last.approval = Some(approval.to_string());
                    }
                    Some(RegionAnswer::Refused { code, text, again: false }) => {
                        last.refused = Some(format!("{code}: {text}"));
                    }
                    Some(RegionAnswer::Applied { .. }) => {
                        last.refused = Some("internal: the core answered something else".into());
                    }
                    Some(RegionAnswer::Refused { again: true, .. }) | None => {
                        self.move_after = Some(again(true));
                    }
                }
            }
        }
    }

    /// Its status as it should be.
    pub fn status(
        &mut self,
        standing: Option<&PairStanding>,
        seen: Option<Seen>,
        foreign: Option<Says>,
        now_ms: i64,
    ) -> ContinuumStatus {
        let status = status::of(&Parts {
            generation: self.object.metadata.generation,
            admission: self.admission(),
            standing,
            seen,
            admitted: self.admitted.as_ref(),
            core_version: self.seen,
            last_request: self.last.as_ref(),
            handled: &self.handled,
            foreign,
            before: self.object.status.as_ref(),
            now_ms,
        });
        // From now on the past is known: this status is about to say it.
        if !self.known && self.admitted.is_some() {
            self.known = value(&Some(&status)) == value(&self.object.status);
        }
        status
    }

    fn admission(&self) -> Says {
        let no = |reason, message: String| Says::new(ConditionStatus::False, reason, message);
        let listed = |paths: &[String]| paths.join(", ");
        match &self.verdict {
            Verdict::Wait => Says::new(
                ConditionStatus::Unknown,
                "CoreSilent",
                "what the core has is not known: nothing was changed there; the object is brought to it \
                 when it tells. Look at the control nodes",
            ),
            Verdict::Refused(errors) => {
                let all: Vec<_> =
                    errors.iter().map(|one| format!("{}: {}", one.path, one.problem)).collect();
                no("SpecRefused", format!("{}; nothing was changed at the core", all.join("; ")))
            }
            Verdict::Same { version } => {
                let text = format!("the core has it as version {version}");
                Says::new(ConditionStatus::True, "Admitted", text)
            }
            Verdict::Behind { version, paths } => Says::new(
                ConditionStatus::True,
                "ChangedAtCore",
                format!(
                    "the core went on to version {version}, which counts; this object is not brought over \
                     it. It differs in {}; make the object say the same",
                    listed(paths)
                ),
            ),
            Verdict::Conflict { version, paths } => no(
                "Conflict",
                format!(
                    "the core has version {version}, and this object was not written on top of it; nothing \
                     was changed there. It differs in {}; make the object say the same, or annotate it \
                     with {OVER_VERSION}: \"{version}\" to overwrite that version",
                    listed(paths)
                ),
            ),
            Verdict::Removed { version } => no(
                "RemovedAtCore",
                format!(
                    "the pair was removed at the core after version {version}; it is not made again. Delete \
                     this object, or annotate it with {OVER_VERSION}: \"{version}\" to make the pair again"
                ),
            ),
            Verdict::Apply { .. } => match &self.refusal {
                Some(refusal) if refusal.code == "waits-for-approval" => {
                    no("WaitsForApproval", refusal.text.clone())
                }
                Some(refusal) if refusal.code == "forbidden" => no(
                    "NotGranted",
                    format!(
                        "{}; it is asked again each minute. Grant the subject region:REGION the tier admin \
                         over this pair, or apply the spec through the API",
                        refusal.text
                    ),
                ),
                Some(refusal) => no("Refused", format!("{}: {}", refusal.code, refusal.text)),
                None => no("Asking", "the core is being asked; nothing was changed yet".into()),
            },
        }
    }
}
