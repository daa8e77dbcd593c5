//! What was warned of: what is tried many times a second, and fails for days, is no news each time.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use continuum_domain::Tick;

use super::lock;

/// How long what was said holds.
const AGAIN: Duration = Duration::from_secs(60);

/// What goes wrong, for which reason, and when that was said.
#[derive(Default)]
pub(super) struct Told(Mutex<BTreeMap<&'static str, (String, Tick)>>);

impl Told {
    /// Whether that `what` fails for `reason` is to be said at `now`. Without a reason it is in order, and
    /// news when it fails again.
    pub fn news(&self, what: &'static str, reason: Option<String>, now: Tick) -> bool {
        let mut told = lock(&self.0);
        let Some(reason) = reason else {
            told.remove(what);
            return false;
        };
        let known =
            told.get(what).is_some_and(|(said, at)| *said == reason && now.since(*at) < AGAIN);
        if !known {
            told.insert(what, (reason, now));
        }
        !known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_a_minute_and_anything_else_at_once() {
        let told = Told::default();
        let at = |seconds| Tick(0) + Duration::from_secs(seconds);
        let gone = || Some("no pod".to_owned());
        assert!(told.news("guard", gone(), at(0)));
        assert!(!told.news("guard", gone(), at(1)));
        assert!(told.news("role", gone(), at(1)), "another thing");
        assert!(told.news("guard", Some("forbidden".into()), at(2)), "another reason");
        assert!(!told.news("guard", Some("forbidden".into()), at(61)));
        assert!(told.news("guard", Some("forbidden".into()), at(62)), "a minute is over");
        assert!(!told.news("guard", None, at(63)));
        assert!(told.news("guard", Some("forbidden".into()), at(64)), "it was in order between");
    }
}
