//! What a record says to others: a CloudEvent, how severe it is, whether it needs a person.

use continuum_control_api::rest::AuditRecord;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::config::SinkConfig;
use crate::calendar::rfc3339;

/// Digits of a record's hash in its event's id: enough that two cores never send the same id.
const HASH_IN_ID: usize = 16;
/// Begins the type of each event.
const TYPE: &str = "io.openova.continuum.audit.";
const TEST_TYPE: &str = "io.openova.continuum.test";

/// How severe a record is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// What happened, for the record.
    #[default]
    Info,
    /// Somebody may want to know.
    Warning,
    /// Something went another way than it should.
    Error,
    /// Somebody should look now.
    Critical,
}

impl Severity {
    /// As PagerDuty and people read it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

/// Whether somebody is to be called, or need not come any more; by what the two belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Trigger(String),
    Resolve(String),
}

/// A record on its way out.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// Always the same for the same record: by it a receiver drops a repetition.
    pub id: String,
    pub record: AuditRecord,
    pub is_test: bool,
}

impl Event {
    pub(crate) fn of(record: AuditRecord) -> Self {
        let hash = record.hash.get(..HASH_IN_ID).unwrap_or_default();
        Self { id: format!("{}-{hash}", record.index), record, is_test: false }
    }

    /// An event that is no record, to see whether a sink takes it.
    pub(crate) fn test(id: String, at_ms: i64, actor: &str) -> Self {
        let record = AuditRecord {
            index: 0,
            at_ms,
            actor: actor.into(),
            action: "sink.test".into(),
            pair: None,
            epoch: None,
            operation: None,
            reason: "a test, asked for by a person; nothing happened".into(),
            before: String::new(),
            after: String::new(),
            origin: None,
            previous_hash: String::new(),
            hash: String::new(),
        };
        Self { id: format!("test-{id}"), record, is_test: true }
    }

    /// CloudEvents 1.0, structured.
    pub(crate) fn cloud_event(&self, core: &str) -> Value {
        let record = &self.record;
        let kind = if self.is_test { TEST_TYPE.into() } else { format!("{TYPE}{}", record.action) };
        let mut event = json!({
            "specversion": "1.0",
            "id": self.id,
            "source": format!("/continuum/cores/{core}"),
            "type": kind,
            "time": rfc3339(record.at_ms),
            "datacontenttype": "application/json",
            "data": record,
        });
        if let Some(pair) = &record.pair {
            event["subject"] = pair.as_str().into();
        }
        event
    }

    /// How severe it is.
    pub(crate) fn severity(&self) -> Severity {
        let after = self.record.after.as_str();
        match self.record.action.as_str() {
            "fact.blocked" | "fact.fenced" => Severity::Critical,
            "failover.start" | "failover.denied" => Severity::Error,
            "failover.state" | "switchover.state" if after.starts_with("failed") => Severity::Error,
            "failover.step" if waits(after) => Severity::Critical,
            "sink.test" | "fact.acquired" | "journal.gap" | "journal.reset" => Severity::Warning,
            action if action.starts_with("failover.") || action.starts_with("automation.") => {
                Severity::Warning
            }
            _ => Severity::Info,
        }
    }

    /// Whether it calls somebody, or lets them go.
    pub(crate) fn call(&self) -> Option<Call> {
        let record = &self.record;
        let pair = record.pair.as_ref().map_or("core", |pair| pair.as_str());
        let of_operation = || {
            let operation =
                record.operation.as_ref().map_or("none", |operation| operation.as_str());
            format!("continuum/{pair}/{operation}")
        };
        let of_state = || format!("continuum/{pair}/{}/blocked", record.actor);
        match record.action.as_str() {
            "sink.test" => Some(Call::Trigger(format!("continuum/{}", self.id))),
            "fact.blocked" => Some(Call::Trigger(of_state())),
            "fact.unblocked" => Some(Call::Resolve(of_state())),
            "fact.fenced" => {
                Some(Call::Trigger(format!("continuum/{pair}/fenced/{}", record.index)))
            }
            "failover.start" => Some(Call::Trigger(of_operation())),
            "failover.step" if waits(&record.after) => Some(Call::Trigger(of_operation())),
            "failover.state" if record.after == "done" => Some(Call::Resolve(of_operation())),
            _ => None,
        }
    }

    /// One line for people.
    pub(crate) fn headline(&self) -> String {
        let record = &self.record;
        let pair = record.pair.as_ref().map(|pair| format!("{pair}: ")).unwrap_or_default();
        let what = if record.after.is_empty() { &record.reason } else { &record.after };
        let text = format!("{pair}{} by {}: {what}", record.action, record.actor);
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
    }

    /// Whether a sink is to have it.
    pub(crate) fn is_wanted(&self, sink: &SinkConfig) -> bool {
        let record = &self.record;
        let action = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => record.action.starts_with(start),
            None => record.action == *pattern,
        };
        (sink.actions.is_empty() || sink.actions.iter().any(action))
            && (sink.pairs.is_empty()
                || record.pair.as_ref().is_some_and(|pair| sink.pairs.contains(pair)))
            && self.severity() >= sink.severity
    }
}

/// Whether a step says that an operation waits for a person.
fn waits(after: &str) -> bool {
    after.contains(" waiting: ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::tests::records;

    fn event(action: &str, after: &str) -> Event {
        let mut record = records(1).remove(0);
        record.action = action.into();
        record.after = after.into();
        record.operation = Some("op-a".parse().unwrap());
        Event::of(record)
    }

    #[test]
    fn an_event_has_what_the_specification_asks_for() {
        let event = Event::of(records(3).remove(2));
        let value = event.cloud_event("prod");
        for key in ["specversion", "id", "source", "type", "time", "datacontenttype", "data"] {
            assert!(value.get(key).is_some(), "{key}: {value}");
        }
        assert_eq!(value["subject"], "shop");
        assert_eq!(value["id"], Event::of(records(3).remove(2)).id.as_str());
        assert!(value["id"].as_str().unwrap().starts_with("3-"));
        assert_eq!(value["data"]["index"], 3);
    }

    #[test]
    fn what_calls_somebody_also_lets_them_go() {
        let of = |action, after| event(action, after).call();
        let Some(Call::Trigger(begun)) = of("failover.start", "a -> b") else { panic!("begun") };
        assert_eq!(of("failover.state", "done"), Some(Call::Resolve(begun)));
        assert_eq!(of("failover.state", "moved"), None);
        let Some(Call::Trigger(blocked)) = of("fact.blocked", "x") else { panic!("blocked") };
        assert_eq!(of("fact.unblocked", ""), Some(Call::Resolve(blocked)));
        assert_eq!(of("pair.apply", ""), None);
    }

    #[test]
    fn filters_choose_by_action_pair_and_severity() {
        let sink = |text: &str| -> SinkConfig {
            let text = format!(r#"{{"name":"a","kind":"webhook","url":"https://x"{text}}}"#);
            serde_json::from_str(&text).unwrap()
        };
        let failover = event("failover.start", "");
        for (text, wanted) in [
            ("", true),
            (r#","actions":["failover.*"]"#, true),
            (r#","actions":["failover.state","pair.*"]"#, false),
            (r#","pairs":["shop"]"#, true),
            (r#","pairs":["blog"]"#, false),
            (r#","severity":"error""#, true),
            (r#","severity":"critical""#, false),
        ] {
            assert_eq!(failover.is_wanted(&sink(text)), wanted, "{text}");
        }
    }

    #[test]
    fn a_headline_is_one_line() {
        let text = event("pair.apply", "a\r\nBcc: x@y.z").headline();
        assert!(!text.contains(['\r', '\n']), "{text}");
    }
}
