//! A Gateway API `HTTPRoute`: the backends of the holder get the weight, all others none.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use continuum_domain::{Epoch, Tick};
use serde_json::{Value, json};

use super::board::{Formed, Shape, Sight};
use super::config::HttpRouteConfig;
use super::mark::Mark;
use super::weights::{Known, Note, Regions, Slot, WHOLE, slots};
use crate::traffic::{Held, SwitchError};

/// Weights that move over a time do so in steps of this many percent.
const STEP: u8 = 20;
/// So many foreign weights are told of by name.
const TOLD: usize = 3;

/// The shape.
#[derive(Debug)]
pub(super) struct HttpRoute {
    path: String,
    namespace: String,
    regions: Regions,
    /// How long weights take to move.
    shift: Duration,
    /// Since when those of an epoch move, by this agent's clock, and how far they were then.
    began: Mutex<Option<(Epoch, Tick, u8)>>,
}

impl HttpRoute {
    pub fn new(config: &HttpRouteConfig) -> Self {
        let HttpRouteConfig { namespace, route, .. } = config;
        Self {
            path: format!(
                "/apis/gateway.networking.k8s.io/v1/namespaces/{namespace}/httproutes/{route}"
            ),
            namespace: namespace.clone(),
            regions: config.backends.clone(),
            shift: config.shift,
            began: Mutex::default(),
        }
    }

    fn known(&self) -> Known<'_> {
        Known::new(&self.regions, &self.namespace)
    }

    /// How much of the weights should be at the holder by now.
    fn due(&self, mark: &Mark<Note>, now: Tick) -> u8 {
        let Some(target) = mark.target.as_ref().filter(|_| mark.note.moved < WHOLE) else {
            return WHOLE;
        };
        if self.shift.is_zero() {
            return WHOLE;
        }
        let mut began = self.began.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, at, moved) = *began.take_if(|(epoch, ..)| *epoch == target.epoch).get_or_insert((
            target.epoch,
            now,
            mark.note.moved,
        ));
        *began = Some((target.epoch, at, moved));
        let step = self.shift.mul_f64(f64::from(STEP) / f64::from(WHOLE));
        let steps = now.since(at).as_nanos().checked_div(step.as_nanos()).unwrap_or(u128::MAX);
        let steps = u8::try_from(steps.min(u128::from(WHOLE / STEP))).unwrap_or(u8::MAX);
        moved.saturating_add(steps.saturating_mul(STEP)).min(WHOLE)
    }
}

/// Slots that weigh something else than they should.
fn wrong(slots: &[Slot], wanted: &BTreeMap<usize, u32>) -> Vec<(usize, u32)> {
    let differs = |(at, weight): &(&usize, &u32)| slots[**at].weight != **weight;
    wanted.iter().filter(differs).map(|(at, weight)| (*at, *weight)).collect()
}

/// What others wrote since the mark was.
fn foreign(known: &Known<'_>, slots: &[Slot], before: &Mark<Note>) -> Option<String> {
    let target = before.target.as_ref()?;
    let mut note = before.note.clone();
    known.keep(&mut note.weights, slots);
    let wrong = wrong(slots, &known.wanted(slots, &note, &target.holder));
    let told = wrong.iter().take(TOLD).map(|(at, wanted)| {
        format!("{} weighed {} instead of {wanted}", slots[*at].backend, slots[*at].weight)
    });
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| told.join(", "))
}

impl Shape for HttpRoute {
    type Note = Note;

    /// Where all weights are 0 clients get an error at once, which is not waiting.
    fn holds(&self) -> bool {
        false
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn see(&self, object: &Value, mark: &Mark<Note>, now: Tick) -> Sight {
        let known = self.known();
        let slots = slots(object);
        let holder = mark.target.as_ref().map(|target| &target.holder);
        let mut remarks = known.remarks(&slots, holder);
        if mark.note.moved < WHOLE && holder.is_some() {
            remarks.push(format!("{} % of the weights have moved", mark.note.moved));
        }
        let right = holder.is_some_and(|holder| {
            let mut note = mark.note.clone();
            known.keep(&mut note.weights, &slots);
            note == mark.note && wrong(&slots, &known.wanted(&slots, &note, holder)).is_empty()
        });
        let in_force = right && self.due(mark, now) <= mark.note.moved;
        Sight { in_force, held: Held::No, remarks }
    }

    fn form(
        &self,
        object: &Value,
        before: &Mark<Note>,
        mark: &mut Mark<Note>,
        now: Tick,
    ) -> Result<Formed, SwitchError> {
        let Some(holder) = mark.target.as_ref().map(|target| target.holder.clone()) else {
            return Ok(Formed::default());
        };
        let known = self.known();
        let slots = slots(object);
        if !self.regions.contains_key(&holder) {
            let reason = format!("no backends of {holder} are configured");
            return Err(SwitchError::refused("leading clients", reason));
        }
        let foreign = foreign(&known, &slots, before);
        known.keep(&mut mark.note.weights, &slots);
        let former = before.target.as_ref().map(|target| &target.holder);
        if former != Some(&holder) {
            let at_once = self.shift.is_zero() || former.is_none();
            mark.note.moved = if at_once { WHOLE } else { STEP };
            mark.note.from = former.filter(|_| !at_once).cloned();
        } else {
            mark.note.moved = mark.note.moved.max(self.due(mark, now));
            mark.note.from = mark.note.from.take().filter(|_| mark.note.moved < WHOLE);
        }
        let wanted = known.wanted(&slots, &mark.note, &holder);
        let leads = wanted.values().any(|weight| *weight > 0);
        if !leads {
            let reason = format!("no rule of the route has a backend of {holder}");
            return Err(SwitchError::refused("leading clients", reason));
        }
        let operation = |(at, weight): (usize, u32)| {
            let path = format!("{}/weight", slots[at].pointer);
            json!({ "op": "add", "path": path, "value": weight })
        };
        let operations = wrong(&slots, &wanted).into_iter().map(operation).collect();
        Ok(Formed { operations, foreign })
    }
}
