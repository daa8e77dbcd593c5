//! I7, seen from outside: what the core shows of those it cannot hear of is shown with its true age.

use std::collections::BTreeMap;
use std::time::Duration;

use continuum_control_api::rest::PairView;

/// Messages on their way when the silence began, clocks of their own rate, and time between looks.
const SLACK: Duration = Duration::from_millis(1_500);

/// The pair as an operator was shown it.
#[derive(Clone, Debug)]
pub struct Shown {
    /// When it was asked for.
    pub asked: Duration,
    /// When the answer came.
    pub came: Duration,
    /// The answer.
    pub view: PairView,
}

/// Since when which regions can not be heard: the agent is not there, or nothing of it gets to any
/// control node, and nothing of it is on the way.
#[derive(Debug, Default)]
pub struct Silences {
    since: BTreeMap<String, Duration>,
}

impl Silences {
    /// Whether a region can be heard now, as it is at every tick.
    pub fn look(&mut self, now: Duration, region: &str, heard: bool) {
        if heard {
            self.since.remove(region);
        } else if !self.since.contains_key(region) {
            self.since.insert(region.to_owned(), now);
        }
    }

    /// What is shown as younger than it can be.
    pub fn judge(&self, shown: &Shown) -> Option<String> {
        let least = |since: Duration| shown.asked.saturating_sub(since + SLACK);
        let too_young = |age: u64, since: Duration| Duration::from_millis(age) < least(since);
        for (region, report) in &shown.view.members {
            let Some((since, aged)) = self.since.get(region.as_str()).zip(report.as_ref()) else {
                continue;
            };
            if too_young(aged.age_ms, *since) {
                return Some(format!(
                    "I7: what {region} said is shown as {} ms old at {:.3}; nothing was heard of it \
                     since {:.3}",
                    aged.age_ms,
                    shown.asked.as_secs_f64(),
                    since.as_secs_f64()
                ));
            }
        }
        let silent = shown.view.members.keys().map(|region| self.since.get(region.as_str()));
        let last = silent.collect::<Option<Vec<_>>>()?.into_iter().max()?;
        let age = shown.view.record_age_ms.filter(|age| too_young(*age, *last))?;
        Some(format!(
            "I7: the register is shown as {age} ms old at {:.3}; nothing was heard of any region \
             since {:.3}",
            shown.asked.as_secs_f64(),
            last.as_secs_f64()
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap as Map;

    use continuum_control_api::rest::{AgedReport, TakeoverView};
    use continuum_domain::RegionId;

    use super::*;
    use crate::plan::Plan;
    use crate::users::spec;

    fn shown(age_ms: Option<u64>) -> Shown {
        let plan = Plan::quiet(1, 2, continuum_domain::spec::Durability::Available);
        let report = |age_ms| AgedReport {
            age_ms,
            report: serde_json::from_str(
                r#"{"role":"unknown","record":null,"lease_remaining_ms":null,
                    "session_remaining_ms":null,"data_directory":null,"sql":null,"sql_failed":null,
                    "write_probe_age_ms":null,"fenced":null,"blocked":null,"guard_alive":false,
                    "witness_reachable":false,"spec_version":1}"#,
            )
            .unwrap(),
        };
        let view = PairView {
            resting: None,
            barred: false,
            spec: spec(&plan),
            version: 1,
            epoch: None,
            holder: None,
            record_age_ms: age_ms,
            in_sync: None,
            members: Map::from([(RegionId::new("fsn").unwrap(), age_ms.map(report))]),
            not_understood: Map::new(),
            acceptors: Map::new(),
            traffic: Map::new(),
            automation: None,
            operation: None,
            takeover: TakeoverView::default(),
        };
        Shown { asked: Duration::from_secs(20), came: Duration::from_secs(20), view }
    }

    #[test]
    fn what_can_not_be_heard_is_old_or_unknown() {
        let mut silences = Silences::default();
        assert_eq!(silences.judge(&shown(Some(0))), None);
        silences.look(Duration::from_secs(10), "fsn", false);
        silences.look(Duration::from_secs(15), "fsn", false);
        assert!(silences.judge(&shown(Some(0))).is_some());
        assert!(silences.judge(&shown(Some(8_000))).is_some());
        assert_eq!(silences.judge(&shown(Some(9_000))), None);
        assert_eq!(silences.judge(&shown(None)), None);
        silences.look(Duration::from_secs(19), "fsn", true);
        assert_eq!(silences.judge(&shown(Some(0))), None);
    }
}
