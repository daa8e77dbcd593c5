//! A stand-in for the API of Route 53, in memory. It is as strict as the real one where the fence rests
//! on it: a batch is taken as a whole or not at all, a DELETE must name what stands value by value, a
//! CREATE must find nothing. It answers no DNS and checks no signature, only whose key signed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use super::calls::{Calls, Fault};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use xmlparser::{ElementEnd, Token, Tokenizer};

pub const ZONE: &str = "db.example.";
pub const ZONE_ID: &str = "Z0123456789ABC";
/// Keys that may do everything, by region.
pub const KEY_IDS: [&str; 2] = ["AKFSN", "AKHEL"];
const SCHEMA: &str = "https://route53.amazonaws.com/doc/2013-04-01/";

/// Where a record set stands in a listing: reversed labels, type, identifier.
type Key = (Vec<String>, String, Option<String>);

/// A record set, its elements as they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    pub name: String,
    pub kind: String,
    pub id: Option<String>,
    /// All other elements: TTL, Weight, Failover, HealthCheckId and so on.
    pub rest: BTreeMap<String, String>,
    pub values: BTreeSet<String>,
}

impl Set {
    /// A plain one.
    pub fn new(name: &str, kind: &str, values: &[&str]) -> Self {
        Self {
            name: name.into(),
            kind: kind.into(),
            id: None,
            rest: [("TTL".to_owned(), "5".to_owned())].into(),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        }
    }

    fn key(&self) -> Key {
        (reversed(&self.name), self.kind.clone(), self.id.clone())
    }

    fn read(xml: &Xml) -> Self {
        let mut rest = BTreeMap::new();
        for child in &xml.children {
            if !["Name", "Type", "SetIdentifier", "ResourceRecords"].contains(&&*child.name) {
                rest.insert(child.name.clone(), child.flat());
            }
        }
        let text = |name: &str| xml.child(name).map(|child| child.text.clone());
        let records = xml.child("ResourceRecords").map(|all| all.children.as_slice());
        let value = |record: &Xml| record.child("Value").unwrap().text.clone();
        Self {
            name: text("Name").unwrap(),
            kind: text("Type").unwrap(),
            id: text("SetIdentifier"),
            rest,
            values: records.unwrap_or_default().iter().map(value).collect(),
        }
    }

    fn write(&self) -> String {
        let mut out = format!("<Name>{}</Name><Type>{}</Type>", self.name, self.kind);
        if let Some(id) = &self.id {
            out += &format!("<SetIdentifier>{id}</SetIdentifier>");
        }
        for (name, value) in &self.rest {
            let nested = name == "AliasTarget";
            let value = if nested { value.clone() } else { escaped(value) };
            out += &format!("<{name}>{value}</{name}>");
        }
        if !self.values.is_empty() {
            let record = |value: &String| {
                format!("<ResourceRecord><Value>{}</Value></ResourceRecord>", escaped(value))
            };
            let records: String = self.values.iter().map(record).collect();
            out += &format!("<ResourceRecords>{records}</ResourceRecords>");
        }
        format!("<ResourceRecordSet>{out}</ResourceRecordSet>")
    }

    fn told(&self) -> String {
        let id = self.id.as_ref().map(|id| format!(", set identifier='{id}'")).unwrap_or_default();
        format!("resource record set [name='{}', type='{}'{id}]", self.name, self.kind)
    }
}

#[derive(Default)]
pub struct Zone {
    sets: BTreeMap<Key, Set>,
    pub calls: Calls,
    /// Questions for a change that are answered PENDING before INSYNC.
    pub pending: u32,
    /// Put there by somebody else right after the next page was read.
    pub after_page: Vec<Set>,
    /// Sets in one page.
    pub page: usize,
    /// Changes that are known by their ids, C1 and so on.
    pub changes: u32,
    asked: BTreeMap<String, u32>,
    /// Take a DELETE that names other values, as no real one does: for a test of the tests.
    pub lenient: bool,
}

impl Zone {
    /// Sets at a name, by hand.
    pub fn put(&mut self, set: Set) {
        self.sets.insert(set.key(), set);
    }

    pub fn remove(&mut self, name: &str, kind: &str) {
        self.sets.retain(|_, set| set.name != name || set.kind != kind);
    }

    /// What stands at a name.
    pub fn at(&self, name: &str) -> Vec<Set> {
        self.sets.values().filter(|set| set.name == name).cloned().collect()
    }

    /// One batch; an error is what is wrong with it, and then nothing changed.
    fn change(&mut self, batch: &Xml) -> Result<(), String> {
        let mut sets = self.sets.clone();
        for change in &batch.child("Changes").unwrap().children {
            let set = Set::read(change.child("ResourceRecordSet").unwrap());
            if !set.name.ends_with(&format!(".{ZONE}")) {
                return Err(format!(
                    "RRSet with DNS name {} is not permitted in zone {ZONE}",
                    set.name
                ));
            }
            let stands = sets.get(&set.key());
            match change.child("Action").unwrap().text.as_str() {
                "CREATE" if stands.is_some() => {
                    return Err(format!("Tried to create {} but it already exists", set.told()));
                }
                "DELETE" if stands.is_none() => {
                    return Err(format!("Tried to delete {} but it was not found", set.told()));
                }
                "DELETE" if stands != Some(&set) && !self.lenient => {
                    return Err(format!(
                        "Tried to delete {} but the values provided do not match the current values",
                        set.told()
                    ));
                }
                "DELETE" => drop(sets.remove(&set.key())),
                "CREATE" | "UPSERT" => drop(sets.insert(set.key(), set)),
                other => return Err(format!("unknown action {other}")),
            }
        }
        fits(&sets)?;
        self.sets = sets;
        Ok(())
    }
}

/// What may not stand beside each other.
fn fits(sets: &BTreeMap<Key, Set>) -> Result<(), String> {
    for set in sets.values() {
        let beside = || sets.values().filter(|other| other.name == set.name && *other != set);
        if set.kind == "CNAME" && beside().next().is_some() {
            return Err(format!(
                "RRSet of type CNAME with DNS name {} is not permitted as it conflicts with other \
                 records with the same DNS name in zone {ZONE}",
                set.name
            ));
        }
        let rule =
            |set: &Set| ["Failover", "Weight", "Region"].map(|rule| set.rest.contains_key(rule));
        if beside().any(|other| other.kind == set.kind && rule(other) != rule(set)) {
            return Err(format!("{} cannot stand beside one of another rule", set.told()));
        }
        let failover = set.rest.get("Failover");
        let same = |other: &Set| other.kind == set.kind && other.rest.get("Failover") == failover;
        if failover.is_some() && beside().any(same) {
            return Err(format!("{} is the second of its failover role", set.told()));
        }
    }
    Ok(())
}

fn reversed(name: &str) -> Vec<String> {
    let labels = name.trim_end_matches('.').rsplit('.');
    labels.map(|label| label.to_ascii_lowercase()).collect()
}

type Shared = Arc<Mutex<Zone>>;

pub struct Route53 {
    zone: Shared,
    pub address: SocketAddr,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Route53 {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Route53 {
    pub async fn start() -> Self {
        let zone = Shared::new(Mutex::new(Zone { page: 100, ..Zone::default() }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new()
            .route("/2013-04-01/hostedzone/{id}/rrset", post(change).get(list))
            .route("/2013-04-01/change/{id}", get(state))
            .with_state(zone.clone());
        let serving = continuum_runtime::seed::spawn(async move {
            axum::serve(listener, app).await.unwrap();
        });
        Self { zone, address, serving }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn zone(&self) -> MutexGuard<'_, Zone> {
        self.zone.lock().unwrap()
    }

    /// Calls of an operation so far.
    pub fn made(&self, operation: &'static str) -> u32 {
        self.zone().calls.made(operation)
    }
}

/// Whether the call may be made, and what goes wrong with it.
async fn begin(
    zone: &Shared,
    operation: &'static str,
    headers: &HeaderMap,
    uri: &Uri,
) -> Result<Option<Fault>, Response> {
    let signed = headers.get("authorization").and_then(|value| value.to_str().ok());
    let known = |id: &&str| signed.is_some_and(|text| text.contains(&format!("Credential={id}/")));
    if !KEY_IDS.iter().any(known) {
        let text = "The security token included in the request is invalid.";
        return Err(error(StatusCode::FORBIDDEN, "InvalidClientTokenId", text));
    }
    if uri.path().contains("/hostedzone/") && !uri.path().contains(ZONE_ID) {
        let text = "No hosted zone found with ID";
        return Err(error(StatusCode::NOT_FOUND, "NoSuchHostedZone", text));
    }
    let fault = zone.lock().unwrap().calls.next(operation);
    match fault {
        Some(Fault::Throttled) => {
            Err(error(StatusCode::BAD_REQUEST, "Throttling", "Rate exceeded"))
        }
        Some(Fault::Prior) => {
            let text =
                "The request was rejected because Route 53 was still processing a prior request.";
            Err(error(StatusCode::BAD_REQUEST, "PriorRequestNotComplete", text))
        }
        Some(Fault::Internal) => {
            Err(error(StatusCode::INTERNAL_SERVER_ERROR, "InternalFailure", "sorry"))
        }
        Some(Fault::RequestLost) => std::future::pending().await,
        other => Ok(other),
    }
}

async fn end(fault: Option<Fault>, answer: Response) -> Response {
    match fault {
        Some(Fault::ReplyLost) => std::future::pending().await,
        Some(Fault::Garbled) => {
            xml(StatusCode::OK, "<ChangeResourceRecordSetsResponse><Cha".into())
        }
        _ => answer,
    }
}

async fn change(State(zone): State<Shared>, headers: HeaderMap, uri: Uri, body: Bytes) -> Response {
    let fault = match begin(&zone, "change", &headers, &uri).await {
        Ok(fault) => fault,
        Err(answer) => return answer,
    };
    let request = Xml::parse(std::str::from_utf8(&body).unwrap());
    let done = zone.lock().unwrap().change(request.child("ChangeBatch").unwrap());
    if let Err(message) = done {
        let answer = error(StatusCode::BAD_REQUEST, "InvalidChangeBatch", &format!("[{message}]"));
        return end(fault, answer).await;
    }
    let id = {
        let mut zone = zone.lock().unwrap();
        zone.changes += 1;
        format!("C{}", zone.changes)
    };
    let info = info(&id, "PENDING");
    let text = format!(
        "<ChangeResourceRecordSetsResponse xmlns=\"{SCHEMA}\">{info}</ChangeResourceRecordSetsResponse>"
    );
    end(fault, xml(StatusCode::OK, text)).await
}

async fn list(
    State(zone): State<Shared>,
    headers: HeaderMap,
    uri: Uri,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let fault = match begin(&zone, "list", &headers, &uri).await {
        Ok(fault) => fault,
        Err(answer) => return answer,
    };
    let value = |name: &str| query.get(name).cloned();
    let from: Key = (
        value("name").map(|name| reversed(&name)).unwrap_or_default(),
        value("type").unwrap_or_default(),
        value("identifier"),
    );
    let text = {
        let mut zone = zone.lock().unwrap();
        let mut after = zone.sets.range(from..).map(|(_, set)| set);
        let page: Vec<&Set> = after.by_ref().take(zone.page).collect();
        let listed: String = page.iter().map(|set| set.write()).collect();
        let next = after.next().map(|set| {
            let id = set.id.iter();
            let id = id.map(|id| format!("<NextRecordIdentifier>{id}</NextRecordIdentifier>"));
            format!(
                "<NextRecordName>{}</NextRecordName><NextRecordType>{}</NextRecordType>{}",
                set.name,
                set.kind,
                id.collect::<String>()
            )
        });
        let truncated = next.is_some();
        let text = format!(
            "<ListResourceRecordSetsResponse xmlns=\"{SCHEMA}\"><ResourceRecordSets>{listed}\
             </ResourceRecordSets><IsTruncated>{truncated}</IsTruncated>{}<MaxItems>{}</MaxItems>\
             </ListResourceRecordSetsResponse>",
            next.unwrap_or_default(),
            zone.page
        );
        for set in std::mem::take(&mut zone.after_page) {
            zone.put(set);
        }
        text
    };
    end(fault, xml(StatusCode::OK, text)).await
}

async fn state(State(zone): State<Shared>, headers: HeaderMap, uri: Uri) -> Response {
    let fault = match begin(&zone, "state", &headers, &uri).await {
        Ok(fault) => fault,
        Err(answer) => return answer,
    };
    let id = uri.path().rsplit('/').next().unwrap().to_owned();
    let known = zone.lock().unwrap().changes;
    if id
        .strip_prefix('C')
        .and_then(|number| number.parse().ok())
        .is_none_or(|one: u32| one > known)
    {
        let text = "Could not find resource with ID";
        return error(StatusCode::NOT_FOUND, "NoSuchChange", text);
    }
    let status = {
        let mut zone = zone.lock().unwrap();
        let pending = zone.pending;
        let asked = zone.asked.entry(id.clone()).or_default();
        *asked += 1;
        if *asked > pending { "INSYNC" } else { "PENDING" }
    };
    let text =
        format!("<GetChangeResponse xmlns=\"{SCHEMA}\">{}</GetChangeResponse>", info(&id, status));
    end(fault, xml(StatusCode::OK, text)).await
}

fn info(id: &str, status: &str) -> String {
    format!(
        "<ChangeInfo><Id>/change/{id}</Id><Status>{status}</Status>\
         <SubmittedAt>2026-01-01T00:00:00Z</SubmittedAt></ChangeInfo>"
    )
}

fn xml(status: StatusCode, text: String) -> Response {
    (status, [("content-type", "text/xml")], format!("<?xml version=\"1.0\"?>{text}"))
        .into_response()
}

fn error(status: StatusCode, code: &str, message: &str) -> Response {
    let text = format!(
        "<ErrorResponse xmlns=\"{SCHEMA}\"><Error><Type>Sender</Type><Code>{code}</Code>\
         <Message>{}</Message></Error><RequestId>r</RequestId></ErrorResponse>",
        escaped(message)
    );
    xml(status, text)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// An element.
#[derive(Default)]
struct Xml {
    name: String,
    text: String,
    children: Vec<Xml>,
}

impl Xml {
    fn parse(text: &str) -> Self {
        let mut open = vec![Self::default()];
        for token in Tokenizer::from(text) {
            match token.unwrap() {
                Token::ElementStart { local, .. } => {
                    open.push(Self { name: local.to_string(), ..Self::default() });
                }
                Token::ElementEnd { end: ElementEnd::Close(..) | ElementEnd::Empty, .. } => {
                    let done = open.pop().unwrap();
                    open.last_mut().unwrap().children.push(done);
                }
                Token::Text { text } => {
                    let plain = text.replace("&quot;", "\"").replace("&lt;", "<");
                    let plain = plain.replace("&gt;", ">").replace("&amp;", "&");
                    open.last_mut().unwrap().text += &plain;
                }
                _ => {}
            }
        }
        open.pop().unwrap().children.pop().unwrap()
    }

    fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// Its text, or its elements as they are written.
    fn flat(&self) -> String {
        let child = |child: &Self| format!("<{0}>{1}</{0}>", child.name, child.flat());
        if self.children.is_empty() {
            return self.text.trim().to_owned();
        }
        self.children.iter().map(child).collect()
    }
}
