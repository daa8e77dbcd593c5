//! `[[sinks]]` of a control node's configuration.

use std::path::{Path, PathBuf};

use continuum_domain::PairId;
use serde::{Deserialize, Serialize};

use super::event::Severity;

/// Longest name of a sink; it stands in the replicated state and in metrics.
const NAME_BYTES_MAX: usize = 40;

/// What kind of receiver a sink is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SinkKind {
    /// A subject of NATS JetStream.
    Nats,
    /// An HTTP endpoint that takes CloudEvents.
    Webhook,
    /// An incoming webhook of Slack, or of what understands the same.
    Slack,
    /// PagerDuty's Events API v2.
    Pagerduty,
    /// A mail server.
    Smtp,
}

/// Where a sink begins that was never sent anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// With the oldest record there is.
    Oldest,
    /// With the next record.
    Newest,
}

/// How mail is protected on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailTls {
    /// TLS after `STARTTLS`, and nothing without it.
    #[default]
    Starttls,
    /// TLS from the first byte.
    Tls,
    /// None: for a relay on this host.
    None,
}

/// One of `[[sinks]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SinkConfig {
    /// By which it is known to people and in the replicated state.
    pub name: String,
    /// What it is.
    pub kind: SinkKind,
    /// Where it is: `nats://` or `tls://`, `https://`, or `host:port` of a mail server.
    #[serde(default)]
    pub url: Option<String>,
    /// The same in a file, where the URL itself is a secret.
    #[serde(default)]
    pub url_file: Option<PathBuf>,
    /// Where it begins; by default a mirror with the oldest record, and what tells people with the next.
    #[serde(default)]
    pub start: Option<Start>,
    /// Only these actions; one may end with `*`. All when empty.
    #[serde(default)]
    pub actions: Vec<String>,
    /// Only these pairs. All, and what concerns none, when empty.
    #[serde(default)]
    pub pairs: Vec<PairId>,
    /// Only records that are at least so severe.
    #[serde(default)]
    pub severity: Severity,
    /// `webhook`: the secret that bodies are signed with. `pagerduty`: the routing key.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// Certificates of an authority that is trusted instead of the system's.
    #[serde(default)]
    pub authority_file: Option<PathBuf>,
    /// `nats`: where records go.
    #[serde(default)]
    pub subject: Option<String>,
    /// `nats`: the stream's name, where it is made.
    #[serde(default)]
    pub stream: Option<String>,
    /// `nats`: makes the stream when it is not there.
    #[serde(default)]
    pub create_stream: bool,
    /// `nats`: credentials as `nsc` writes them.
    #[serde(default)]
    pub credentials_file: Option<PathBuf>,
    /// `smtp`: who writes.
    #[serde(default)]
    pub from: Option<String>,
    /// `smtp`: who is written to.
    #[serde(default)]
    pub to: Vec<String>,
    /// `smtp`: how it is protected.
    #[serde(default)]
    pub tls: MailTls,
    /// `smtp`: who signs in.
    #[serde(default)]
    pub user: Option<String>,
    /// `smtp`: the password, in a file.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
}

/// A key of a sink and what is wrong with it.
pub type Problem = (&'static str, String);

impl SinkConfig {
    /// The files it names, by key.
    pub fn files(&self) -> Vec<(&'static str, &Path)> {
        [
            ("url_file", &self.url_file),
            ("secret_file", &self.secret_file),
            ("authority_file", &self.authority_file),
            ("credentials_file", &self.credentials_file),
            ("password_file", &self.password_file),
        ]
        .into_iter()
        .filter_map(|(key, file)| Some((key, file.as_deref()?)))
        .collect()
    }

    /// Where it begins.
    pub fn start(&self) -> Start {
        let own = match self.kind {
            SinkKind::Nats | SinkKind::Webhook => Start::Oldest,
            SinkKind::Slack | SinkKind::Pagerduty | SinkKind::Smtp => Start::Newest,
        };
        self.start.unwrap_or(own)
    }

    /// What is wrong with it beyond its types. Files are not looked at.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !(1..=NAME_BYTES_MAX).contains(&self.name.len()) || !self.name.chars().all(plain) {
            let text =
                format!("1 to {NAME_BYTES_MAX} lower-case letters, digits and - are accepted");
            problems.push(("name", text));
        }
        for (key, file) in self.files() {
            if !file.is_absolute() {
                problems.push((key, "must be an absolute path".into()));
            }
        }
        self.belonging(&mut problems);
        self.place(&mut problems);
        match self.kind {
            SinkKind::Pagerduty if self.secret_file.is_none() => {
                problems.push(("secret_file", "is needed and not set: the routing key".into()));
            }
            SinkKind::Nats => self.nats(&mut problems),
            SinkKind::Smtp => self.mail(&mut problems),
            _ => {}
        }
        problems
    }

    /// Keys that are set and mean nothing to this kind.
    fn belonging(&self, problems: &mut Vec<Problem>) {
        use SinkKind::{Nats, Pagerduty, Smtp, Webhook};
        let set: [(&'static str, bool, &[SinkKind]); 9] = [
            ("secret_file", self.secret_file.is_some(), &[Webhook, Pagerduty]),
            ("subject", self.subject.is_some(), &[Nats]),
            ("stream", self.stream.is_some(), &[Nats]),
            ("create_stream", self.create_stream, &[Nats]),
            ("credentials_file", self.credentials_file.is_some(), &[Nats]),
            ("from", self.from.is_some(), &[Smtp]),
            ("to", !self.to.is_empty(), &[Smtp]),
            ("user", self.user.is_some(), &[Smtp]),
            ("password_file", self.password_file.is_some(), &[Smtp]),
        ];
        for (key, is_set, kinds) in set {
            if is_set && !kinds.contains(&self.kind) {
                problems.push((key, format!("means nothing to a sink of kind {:?}", self.kind)));
            }
        }
    }

    fn place(&self, problems: &mut Vec<Problem>) {
        match (&self.url, &self.url_file) {
            (Some(_), Some(_)) => {
                problems.push(("url_file", "goes without url".into()));
            }
            (None, None) if self.kind != SinkKind::Pagerduty => {
                problems.push(("url", "is needed and not set".into()));
            }
            (Some(url), None) => {
                if let Err(problem) = self.accepts(url) {
                    problems.push(("url", problem));
                }
            }
            _ => {}
        }
    }

    /// Whether an address is one for this kind.
    pub fn accepts(&self, url: &str) -> Result<(), String> {
        let scheme = url.split_once("://").map(|(scheme, _)| scheme);
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let place = rest.split(['/', '?']).next().unwrap_or_default();
        if place.contains('@') {
            return Err("carries a user; credentials go into a file".into());
        }
        let port = place.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>().is_ok()));
        match (self.kind, scheme) {
            (SinkKind::Nats, Some("nats" | "tls")) if !place.is_empty() => Ok(()),
            (SinkKind::Nats, _) => Err("write it as nats://host:port or tls://host:port".into()),
            (SinkKind::Smtp, None) if port.is_some_and(|(host, fits)| fits && !host.is_empty()) => {
                Ok(())
            }
            (SinkKind::Smtp, _) => Err("write it as host:port".into()),
            (_, Some("https")) if !place.is_empty() => Ok(()),
            (_, Some("http")) if is_loopback(place) => Ok(()),
            _ => Err("must be https; http is accepted to a loopback address only".into()),
        }
    }

    fn nats(&self, problems: &mut Vec<Problem>) {
        let token = |text: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() && !"*>. ".contains(c))
        };
        if self.subject.as_ref().is_some_and(|subject| !subject.split('.').all(token)) {
            problems
                .push(("subject", "parts without * and >, with dots between, are accepted".into()));
        }
        if self.stream.as_ref().is_some_and(|stream| !token(stream)) {
            problems.push(("stream", "letters and digits without dots are accepted".into()));
        }
        if self.stream.is_some() && !self.create_stream {
            problems.push(("stream", "goes with create_stream = true".into()));
        }
    }

    fn mail(&self, problems: &mut Vec<Problem>) {
        let address = |text: &str| text.parse::<lettre::message::Mailbox>().map(drop);
        match &self.from {
            None => problems.push(("from", "is needed and not set".into())),
            Some(from) if address(from).is_err() => {
                problems.push(("from", "is no mail address".into()));
            }
            Some(_) => {}
        }
        if self.to.is_empty() || self.to.iter().any(|to| address(to).is_err()) {
            problems.push(("to", "at least one mail address is needed, and nothing else".into()));
        }
        if self.user.is_some() != self.password_file.is_some() {
            problems.push(("user", "goes with password_file, and it with user".into()));
        }
        if self.user.is_some() && self.tls == MailTls::None {
            problems.push(("tls", "a password is not sent without TLS".into()));
        }
    }
}

fn is_loopback(place: &str) -> bool {
    let host = place.rsplit_once(':').map_or(place, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Vec<&'static str> {
        let text = format!("{{\"name\":\"a\",{text}}}");
        let sink: SinkConfig = serde_json::from_str(&text).unwrap();
        sink.problems().into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn each_kind_takes_what_is_its_own() {
        for (text, wrong) in [
            (r#""kind":"nats","url":"nats://10.0.0.1:4222""#, &[][..]),
            (r#""kind":"nats","url":"https://x""#, &["url"]),
            (r#""kind":"nats","url":"nats://a:b@h:1""#, &["url"]),
            (r#""kind":"nats","url":"tls://h:1","subject":"a.*""#, &["subject"]),
            (r#""kind":"nats","url":"tls://h:1","stream":"s""#, &["stream"]),
            (r#""kind":"webhook","url":"https://x/y?z=1""#, &[]),
            (r#""kind":"webhook","url":"http://127.0.0.1:1/""#, &[]),
            (r#""kind":"webhook","url":"http://x/""#, &["url"]),
            (r#""kind":"webhook","url":"https://x","to":["a@b.c"]"#, &["to"]),
            (r#""kind":"slack","url":"https://x","secret_file":"/s""#, &["secret_file"]),
            (r#""kind":"slack","url_file":"s""#, &["url_file"]),
            (r#""kind":"slack""#, &["url"]),
            (r#""kind":"pagerduty","secret_file":"/s""#, &[]),
            (r#""kind":"pagerduty""#, &["secret_file"]),
            (r#""kind":"smtp","url":"h:25","from":"a@b.c","to":["d@e.f"]"#, &[]),
            (r#""kind":"smtp","url":"h","from":"a@b.c","to":["d@e.f"]"#, &["url"]),
            (r#""kind":"smtp","url":"h:25","to":["d@e.f\r\nBcc: x@y.z"]"#, &["from", "to"]),
            (r#""kind":"smtp","url":"h:25","from":"a@b.c","to":["d@e.f"],"user":"u""#, &["user"]),
        ] {
            assert_eq!(keys(text), wrong, "{text}");
        }
        assert!(
            serde_json::from_str::<SinkConfig>(r#"{"name":"a","kind":"nats","typo":1}"#).is_err()
        );
    }
}
