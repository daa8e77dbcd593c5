//! Requests that were answered, by the key their callers drew: a repetition takes no effect and is
//! answered alike, at whichever node it arrives.

use std::collections::{BTreeMap, VecDeque};

use continuum_control_api::ask::RequestKey;
use continuum_control_api::routes::ApiError;
use serde::{Deserialize, Serialize};

use super::Reply;

/// How long a request is known.
const KEPT_MS: i64 = 24 * 60 * 60 * 1_000;
/// Most requests that are known; the oldest go first.
const KEPT_MAX: usize = 5_000;

/// What was answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Remembered {
    answers: BTreeMap<String, Answered>,
    /// When each was answered, oldest first.
    order: VecDeque<(i64, String)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Answered {
    digest: String,
    reply: Reply,
}

/// Callers do not know each other's keys.
fn name(actor: &str, key: &RequestKey) -> String {
    format!("{actor} {}", key.key)
}

impl Remembered {
    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// What the request was answered, if it was; an error where another one had its key.
    pub fn find(&self, actor: &str, key: &RequestKey) -> Option<Result<&Reply, ApiError>> {
        let answered = self.answers.get(&name(actor, key))?;
        if answered.digest == key.digest {
            return Some(Ok(&answered.reply));
        }
        let text = format!(
            "Idempotency-Key {} was used for another request; nothing was changed; draw a new one",
            key.key
        );
        Some(Err(ApiError::new(422, "idempotency-key-reused", text)))
    }

    /// Keeps an answer. A refusal is none: nothing was changed, and what spoke against the request
    /// may be gone when it is repeated.
    pub fn keep(&mut self, now_ms: i64, actor: &str, key: RequestKey, reply: &Reply) {
        if matches!(reply, Reply::Refused(_)) {
            return;
        }
        let name = name(actor, &key);
        let answered = Answered { digest: key.digest, reply: reply.clone() };
        self.answers.insert(name.clone(), answered);
        self.order.push_back((now_ms, name));
        let over = |order: &VecDeque<(i64, String)>| {
            let (at_ms, _) = order.front()?;
            (*at_ms + KEPT_MS < now_ms || order.len() > KEPT_MAX).then_some(())
        };
        while over(&self.order).is_some() {
            if let Some((_, name)) = self.order.pop_front() {
                self.answers.remove(&name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(key: &str, digest: &str) -> RequestKey {
        RequestKey { key: key.into(), digest: digest.into() }
    }

    #[test]
    fn a_repetition_is_known_and_another_request_refused() {
        let mut known = Remembered::default();
        known.keep(0, "operator/ann", key("k", "d"), &Reply::Done);
        assert_eq!(known.find("operator/ann", &key("k", "d")), Some(Ok(&Reply::Done)));
        let other = known.find("operator/ann", &key("k", "e")).unwrap().unwrap_err();
        assert_eq!((other.status, other.problem.code.as_str()), (422, "idempotency-key-reused"));
        // Somebody else's key, and a key that nobody used.
        assert_eq!(known.find("operator/bob", &key("k", "e")), None);
        assert_eq!(known.find("operator/ann", &key("l", "d")), None);
    }

    #[test]
    fn refusals_are_not_kept() {
        let mut known = Remembered::default();
        let refused = Reply::Refused(ApiError::new(409, "operation-under-way", "busy"));
        known.keep(0, "operator/ann", key("k", "d"), &refused);
        assert!(known.is_empty());
    }

    #[test]
    fn what_is_kept_is_bounded_in_time_and_number() {
        let mut known = Remembered::default();
        known.keep(0, "a", key("old", "d"), &Reply::Done);
        known.keep(KEPT_MS, "a", key("new", "d"), &Reply::Done);
        assert!(known.find("a", &key("old", "d")).is_some());
        known.keep(KEPT_MS + 1, "a", key("newer", "d"), &Reply::Done);
        assert!(known.find("a", &key("old", "d")).is_none());
        for number in 0..KEPT_MAX {
            known.keep(KEPT_MS + 2, "a", key(&number.to_string(), "d"), &Reply::Done);
        }
        assert!(known.find("a", &key("newer", "d")).is_none());
        assert_eq!((known.answers.len(), known.order.len()), (KEPT_MAX, KEPT_MAX));
    }
}
