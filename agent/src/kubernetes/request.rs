//! A wish to move is a request that is made once.
//!
//! It is written into the status before the core is asked, under the name it will be asked by. So an
//! agent that dies in between asks again under the same name, and the core answers what it answered.

use continuum_cnpg_pair::kubernetes::crd::{RequestOutcome, Switchover};
use sha2::{Digest as _, Sha256};

use super::admission::hex;

/// How many requests are remembered.
pub const HANDLED_MAX: usize = 32;

/// What is done about the wish in an object's spec.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// There is none, or nothing more is to be done.
    Nothing,
    /// There is none any more: the next one like it is another one.
    Disarm,
    /// It is noted, as one that waits or as one that is refused.
    Note(RequestOutcome),
    /// The one that is noted is asked for.
    Ask {
        /// Its name.
        id: String,
        /// To where.
        to: String,
        /// On whose word and why, as the object says.
        reason: String,
    },
}

/// What was seen of requests.
#[derive(Clone, Copy, Debug)]
pub struct Memory<'a> {
    /// The last one.
    pub last: Option<&'a RequestOutcome>,
    /// Those before it too.
    pub handled: &'a [String],
    /// The status of the object was seen to be ours: without it, nothing tells an old wish from a new
    /// one but its `requestId`.
    pub known: bool,
}

/// Whether a request still waits for the core's answer.
pub fn is_open(outcome: &RequestOutcome) -> bool {
    outcome.operation.is_none() && outcome.approval.is_none() && outcome.refused.is_none()
}

/// Decides about the wish in the spec of `generation`.
pub fn decide(wish: Option<&Switchover>, generation: i64, memory: Memory<'_>) -> Step {
    let wish = wish.filter(|wish| wish.requested == Some(true));
    let Some((wish, to)) = wish.and_then(|wish| Some((wish, wish.target_region.clone()?))) else {
        let armed = memory.last.is_some_and(|last| last.stanza.is_some());
        return if armed { Step::Disarm } else { Step::Nothing };
    };
    let stanza = digest(wish);
    let same = |last: &&RequestOutcome| match &wish.request_id {
        Some(id) => last.id == *id,
        None => last.stanza.as_ref() == Some(&stanza),
    };
    if let Some(last) = memory.last.filter(same) {
        if !is_open(last) {
            return Step::Nothing;
        }
        // What it was noted as is asked for, and nothing else under the same name.
        if last.stanza.as_ref() != Some(&stanza) {
            let text = format!(
                "requestId {} was noted for another wish; nothing was done; choose a new requestId",
                last.id
            );
            return Step::Note(RequestOutcome { refused: Some(text), ..last.clone() });
        }
        return Step::Ask { id: last.id.clone(), to, reason: reason(wish) };
    }
    let id = wish.request_id.clone().unwrap_or_else(|| format!("g{generation}"));
    let open = RequestOutcome { id: id.clone(), stanza: Some(stanza), ..RequestOutcome::default() };
    let refused = |why: String| Step::Note(RequestOutcome { refused: Some(why), ..open.clone() });
    if memory.handled.contains(&id) {
        return refused(format!(
            "request {id} was taken up before; nothing was done; choose a new requestId"
        ));
    }
    if !memory.known && wish.request_id.is_none() {
        return refused(
            "whether this wish was carried out before cannot be told of an object without our status \
             (it is new, or was restored); nothing was done; add a requestId"
                .into(),
        );
    }
    Step::Note(open)
}

fn reason(wish: &Switchover) -> String {
    let by = wish.requested_by.as_ref().map(|by| format!("for {by}"));
    let parts = [by, wish.reason.clone()];
    parts.into_iter().flatten().collect::<Vec<_>>().join(": ")
}

fn digest(wish: &Switchover) -> String {
    hex(&Sha256::digest(serde_json::to_vec(wish).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(id: Option<&str>, to: &str) -> Switchover {
        Switchover {
            requested: Some(true),
            request_id: id.map(str::to_owned),
            target_region: Some(to.into()),
            ..Switchover::default()
        }
    }

    /// Follows one object through its wishes, as the controller does; returns what is asked for.
    #[derive(Default)]
    struct Object {
        last: Option<RequestOutcome>,
        handled: Vec<String>,
        known: bool,
    }

    impl Object {
        fn see(&mut self, wish: Option<&Switchover>, generation: i64) -> Option<String> {
            for _ in 0..4 {
                let (last, handled) = (self.last.as_ref(), self.handled.as_slice());
                match decide(wish, generation, Memory { last, handled, known: self.known }) {
                    Step::Nothing => return None,
                    Step::Disarm => self.last.as_mut().unwrap().stanza = None,
                    Step::Note(outcome) => {
                        self.handled.push(outcome.id.clone());
                        self.last = Some(outcome);
                    }
                    Step::Ask { id, .. } => return Some(id),
                }
            }
            panic!("no end");
        }

        fn done(&mut self) {
            self.last.as_mut().unwrap().operation = Some("op-x".into());
        }
    }

    #[test]
    fn a_wish_is_asked_for_once_whatever_else_changes() {
        let mut object = Object { known: true, ..Object::default() };
        let first = wish(None, "hel");
        assert_eq!(object.see(Some(&first), 3).as_deref(), Some("g3"));
        // The agent died before the answer came; the object was changed elsewhere meanwhile.
        assert_eq!(object.see(Some(&first), 9).as_deref(), Some("g3"));
        object.done();
        for generation in 9..20 {
            assert_eq!(object.see(Some(&first), generation), None);
        }
        // Taken back, and wished for again.
        assert_eq!(object.see(None, 20), None);
        assert_eq!(object.see(Some(&first), 21).as_deref(), Some("g21"));
        object.done();
        let other = wish(None, "fsn");
        assert_eq!(object.see(Some(&other), 22).as_deref(), Some("g22"));
    }

    #[test]
    fn a_request_that_was_taken_up_is_not_taken_up_again_by_its_name() {
        let mut object = Object { known: true, ..Object::default() };
        for id in ["a", "b"] {
            assert_eq!(object.see(Some(&wish(Some(id), "hel")), 1).as_deref(), Some(id));
            object.done();
        }
        // Reverted by whoever keeps it in a repository.
        assert_eq!(object.see(Some(&wish(Some("a"), "hel")), 3), None);
        assert!(object.last.unwrap().refused.unwrap().contains("taken up before"));
    }

    #[test]
    fn another_wish_under_a_name_that_waits_is_refused() {
        let mut object = Object { known: true, ..Object::default() };
        assert!(object.see(Some(&wish(Some("a"), "hel")), 1).is_some());
        assert_eq!(object.see(Some(&wish(Some("a"), "fsn")), 2), None);
        assert!(object.last.unwrap().refused.unwrap().contains("another wish"));
    }

    #[test]
    fn a_wish_in_an_object_without_a_past_needs_a_name() {
        let mut object = Object::default();
        assert_eq!(object.see(Some(&wish(None, "hel")), 1), None);
        assert!(object.last.as_ref().unwrap().refused.as_ref().unwrap().contains("requestId"));
        let mut object = Object::default();
        assert_eq!(object.see(Some(&wish(Some("r1"), "hel")), 1).as_deref(), Some("r1"));
    }
}
