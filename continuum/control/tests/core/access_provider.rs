//! An identity provider that signs, rotates its keys and misbehaves, over real HTTPS.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use continuum_control::config::OidcConfig;
use continuum_runtime::clock::Clock;
use continuum_runtime::net::{Caller, Network, TlsFiles, TlsNetwork};
use continuum_runtime::seed;
use http::StatusCode;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

/// For whom its tokens are.
pub const AUDIENCE: &str = "continuum";

/// A key it signs with.
#[derive(Clone)]
pub struct Signer {
    id: String,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Signer {
    pub fn new(id: &str, algorithm: Algorithm) -> Self {
        let key = match algorithm {
            Algorithm::RS256 | Algorithm::PS256 => rsa(),
            _ => EncodingKey::from_ec_der(&rcgen::KeyPair::generate().unwrap().serialize_der()),
        };
        Self { id: id.into(), algorithm, key }
    }

    /// The same key by another algorithm.
    pub fn by(&self, algorithm: Algorithm) -> Self {
        Self { algorithm, ..self.clone() }
    }

    fn jwk(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        jwk.common.key_id = Some(self.id.clone());
        jwk.common.key_algorithm = None;
        serde_json::to_value(jwk).unwrap()
    }

    pub fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.clone()), ..Header::new(self.algorithm) };
        encode(&header, claims, &self.key).unwrap()
    }
}

fn rsa() -> EncodingKey {
    let made = Command::new("openssl").args(["genrsa", "-traditional", "2048"]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let text = String::from_utf8(made.stdout).unwrap();
    let inside: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    EncodingKey::from_rsa_der(&STANDARD.decode(inside).unwrap())
}

/// How it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Good,
    Slow,
    Broken,
    Huge,
    Impostor,
}

struct Inner {
    keys: Vec<Signer>,
    mood: Mood,
    fetches: usize,
}

pub struct Provider {
    pub issuer: String,
    authority: PathBuf,
    inner: Arc<Mutex<Inner>>,
    served: tokio::task::JoinHandle<()>,
    _directory: tempfile::TempDir,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.served.abort();
    }
}

impl Provider {
    pub async fn start(keys: Vec<Signer>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let files = certificate(directory.path());
        let network = TlsNetwork::load(&files).unwrap();
        let listening = network.listen_open("127.0.0.1:0").await.unwrap();
        let issuer = format!("https://localhost:{}", listening.local.port());
        let inner = Arc::new(Mutex::new(Inner { keys, mood: Mood::Good, fetches: 0 }));
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(key_set))
            .with_state((issuer.clone(), inner.clone()));
        let service = router.into_make_service_with_connect_info::<Caller>();
        let served = seed::spawn(async move {
            let _ended = axum::serve(listening, service).await;
        });
        let authority = files.authority;
        Self { issuer, authority, inner, served, _directory: directory }
    }

    pub fn config(&self) -> OidcConfig {
        OidcConfig {
            issuer: self.issuer.clone(),
            audience: AUDIENCE.into(),
            name_claim: "email".into(),
            groups_claim: "groups".into(),
            authority: Some(self.authority.clone()),
        }
    }

    pub fn rotate(&self, keys: Vec<Signer>) {
        self.inner.lock().unwrap().keys = keys;
    }

    pub fn turn(&self, mood: Mood) {
        self.inner.lock().unwrap().mood = mood;
    }

    /// How often it was asked for its keys, or for where they are.
    pub fn fetches(&self) -> usize {
        self.inner.lock().unwrap().fetches
    }

    /// What it says of somebody.
    pub fn claims(&self, name: &str, groups: &[&str]) -> Value {
        let now = continuum_runtime::BootClock.wall_ms() / 1_000;
        json!({
            "iss": self.issuer, "aud": AUDIENCE, "sub": name, "exp": now + 600,
            "email": name, "groups": groups,
        })
    }
}

type Handle = State<(String, Arc<Mutex<Inner>>)>;

async fn discovery(State((issuer, inner)): Handle) -> Response {
    let mood = {
        let mut inner = inner.lock().unwrap();
        inner.fetches += 1;
        inner.mood
    };
    let keys = format!("{issuer}/keys");
    match mood {
        Mood::Slow => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            StatusCode::OK.into_response()
        }
        Mood::Broken => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Mood::Huge => vec![b' '; 4 * 1024 * 1024].into_response(),
        Mood::Impostor => {
            Json(json!({ "issuer": "https://other.example.org", "jwks_uri": keys })).into_response()
        }
        Mood::Good => Json(json!({ "issuer": issuer, "jwks_uri": keys })).into_response(),
    }
}

async fn key_set(State((_, inner)): Handle) -> Json<Value> {
    let keys: Vec<Value> = inner.lock().unwrap().keys.iter().map(Signer::jwk).collect();
    Json(json!({ "keys": keys }))
}

/// A certificate for the name by which the provider is reached.
fn certificate(directory: &Path) -> TlsFiles {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(params, key);
    let own_key = rcgen::KeyPair::generate().unwrap();
    let own = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
    let own = own.signed_by(&own_key, &issuer).unwrap();
    let at = |name: &str, text: String| {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    TlsFiles {
        authority: at("authority.pem", authority.pem()),
        certificate: at("own.pem", own.pem()),
        key: at("own.key", own_key.serialize_pem()),
    }
}
