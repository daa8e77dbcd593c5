//! The part of the API of Amazon EKS that scales a node group, with its own view of what is well signed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::routing::any;
use continuum_runtime::seed;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub const KEYS: &str = "[default]\naws_access_key_id = AKIDFSN\naws_secret_access_key = s3cret\n";
const GROUP: &str = "/clusters/shop/node-groups/workers";

pub struct Group {
    pub min: u32,
    pub max: u32,
    pub desired: Option<u32>,
    pub labels: BTreeMap<String, String>,
    /// An update is under way.
    pub updating: bool,
    /// The next answer gets lost, as a fault of the server.
    pub lose_answer: bool,
}

#[derive(Clone)]
pub struct Eks {
    group: Arc<Mutex<Group>>,
    unsigned: Arc<Mutex<usize>>,
}

impl Default for Eks {
    fn default() -> Self {
        let group = Group {
            min: 2,
            max: 6,
            desired: Some(3),
            labels: [("tier".to_owned(), "db".to_owned())].into(),
            updating: false,
            lose_answer: false,
        };
        Self { group: Arc::new(Mutex::new(group)), unsigned: Arc::default() }
    }
}

impl Eks {
    pub fn group(&self) -> MutexGuard<'_, Group> {
        self.group.lock().unwrap()
    }

    /// Requests that were not signed as they should be.
    pub fn unsigned(&self) -> usize {
        *self.unsigned.lock().unwrap()
    }

    pub async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let router = Router::new().fallback(any(answer)).with_state(self.clone());
        seed::spawn(async move {
            let _until_the_test_ends = axum::serve(listener, router).await;
        });
        url
    }
}

type Answer = (StatusCode, [(&'static str, String); 1], String);

fn error(status: u16, kind: &str, message: &str) -> Answer {
    let body = json!({ "message": message }).to_string();
    let kind = format!("{kind}:http://internal.amazon.com/coral/");
    (StatusCode::from_u16(status).unwrap(), [("x-amzn-errortype", kind)], body)
}

fn well(body: &Value) -> Answer {
    (StatusCode::OK, [("content-type", "application/json".into())], body.to_string())
}

async fn answer(
    State(eks): State<Eks>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> Answer {
    if !is_signed(&method, uri.path(), &headers, &body) {
        *eks.unsigned.lock().unwrap() += 1;
        return error(403, "InvalidSignatureException", "the signature does not match");
    }
    let mut group = eks.group();
    match (method.as_str(), uri.path()) {
        ("GET", GROUP) => {
            let mut sizes = json!({ "minSize": group.min, "maxSize": group.max });
            if let Some(desired) = group.desired {
                sizes["desiredSize"] = json!(desired);
            }
            well(&json!({ "nodegroup": {
                "nodegroupName": "workers", "clusterName": "shop", "status": "ACTIVE",
                "scalingConfig": sizes, "labels": group.labels,
            } }))
        }
        ("POST", path) if path == format!("{GROUP}/update-config") => {
            let update: Value = serde_json::from_str(&body).unwrap();
            match group.take(&update) {
                Ok(()) if std::mem::take(&mut group.lose_answer) => {
                    error(500, "ServerException", "")
                }
                Ok(()) => well(&json!({ "update": { "id": "1", "status": "InProgress" } })),
                Err(refusal) => refusal,
            }
        }
        _ => error(404, "ResourceNotFoundException", "No node group found for name"),
    }
}

impl Group {
    fn take(&mut self, update: &Value) -> Result<(), Answer> {
        if self.updating {
            return Err(error(409, "ResourceInUseException", "Nodegroup cannot be updated"));
        }
        let sizes = &update["scalingConfig"];
        let size = |name: &str| u32::try_from(sizes[name].as_u64().unwrap()).unwrap();
        let (min, max, desired) = (size("minSize"), size("maxSize"), size("desiredSize"));
        if min > desired || desired > max || max == 0 {
            let text = "Minimum capacity can't be greater than desired size";
            return Err(error(400, "InvalidParameterException", text));
        }
        (self.min, self.max, self.desired) = (min, max, Some(desired));
        let labels = &update["labels"];
        for (key, value) in labels["addOrUpdateLabels"].as_object().into_iter().flatten() {
            self.labels.insert(key.clone(), value.as_str().unwrap().to_owned());
        }
        for key in labels["removeLabels"].as_array().into_iter().flatten() {
            self.labels.remove(key.as_str().unwrap());
        }
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// Signature Version 4, by its description: of exactly these headers, this body and these keys.
fn is_signed(method: &Method, path: &str, headers: &HeaderMap, body: &str) -> bool {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(given), Some(at)) = (header("authorization"), header("x-amz-date")) else {
        return false;
    };
    let scope = format!("{}/eu-central-1/eks/aws4_request", &at[..8]);
    let of = |name: &str| {
        let part = given.split([',', ' ']).find_map(|part| part.strip_prefix(name));
        part.unwrap_or_default()
    };
    let signed = of("SignedHeaders=");
    let listed = |name: &str| signed.split(';').any(|listed| listed == name);
    let lines = signed.split(';').map(|name| format!("{name}:{}\n", header(name).unwrap_or("")));
    let lines: String = lines.collect();
    let digest = hex(&Sha256::digest(body));
    let request = format!("{method}\n{path}\n\n{lines}\n{signed}\n{digest}");
    let text =
        format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{}", hex(&Sha256::digest(request.as_bytes())));
    let key = scope.split('/').fold(b"AWS4s3cret".to_vec(), |key, part| mac(&key, part));
    of("Credential=") == format!("AKIDFSN/{scope}")
        && listed("host")
        && listed("x-amz-date")
        && of("Signature=") == hex(&mac(&key, &text))
}
