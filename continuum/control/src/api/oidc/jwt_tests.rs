use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;

use super::*;

const NOW_MS: i64 = 1_700_000_000_000;
const NOW: i64 = NOW_MS / 1_000;

/// What stands before the 32 bytes of an Ed25519 key in PKCS#8.
const ED25519_PREFIX: &[u8] = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";

/// A key of a provider.
struct Signer {
    id: &'static str,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Signer {
    fn new(id: &'static str, algorithm: Algorithm) -> Self {
        let key = match algorithm {
            Algorithm::EdDSA => EncodingKey::from_ed_der(&[ED25519_PREFIX, &[7; 32]].concat()),
            _ => EncodingKey::from_ec_der(&rcgen::KeyPair::generate().unwrap().serialize_der()),
        };
        Self { id, algorithm, key }
    }

    fn jwk(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        jwk.common.key_id = Some(self.id.into());
        serde_json::to_value(jwk).unwrap()
    }

    fn header(&self) -> Header {
        Header { kid: Some(self.id.into()), ..Header::new(self.algorithm) }
    }

    fn sign(&self, claims: &Value) -> String {
        encode(&self.header(), claims, &self.key).unwrap()
    }
}

fn keys(signers: &[&Signer]) -> Keys {
    let all: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
    Keys::read(json!({ "keys": all }).to_string().as_bytes()).unwrap()
}

fn config() -> OidcConfig {
    OidcConfig {
        issuer: "https://id.example.org".into(),
        audience: "continuum".into(),
        name_claim: "email".into(),
        groups_claim: "groups".into(),
        authority: None,
    }
}

fn claims() -> Value {
    json!({
        "iss": "https://id.example.org", "aud": ["other", "continuum"], "sub": "1", "exp": NOW + 60,
        "nbf": NOW - 60, "email": "ann@example.org", "groups": ["dba", 7, "ops"],
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

#[test]
fn a_good_token_says_who_and_until_when() {
    for algorithm in [Algorithm::ES256, Algorithm::EdDSA] {
        let signer = Signer::new("a", algorithm);
        let who = verify(&signer.sign(&claims()), &keys(&[&signer]), &config(), NOW_MS).unwrap();
        assert_eq!(who.to_string(), "user/ann@example.org");
        assert_eq!(who.person, "user/ann@example.org");
        assert_eq!(who.groups, ["dba", "ops"]);
        assert_eq!(who.until_ms, Some(NOW_MS + 60_000 + LEEWAY_MS));
    }
}

#[test]
fn claims_that_do_not_stand_are_refused() {
    let signer = Signer::new("a", Algorithm::ES256);
    let keys = keys(&[&signer]);
    let verdict = |claims: &Value| verify(&signer.sign(claims), &keys, &config(), NOW_MS);
    for bad in [
        with("iss", json!("https://id.example.org/")),
        with("iss", json!(["https://id.example.org"])),
        without("iss"),
        with("aud", json!("continuum2")),
        with("aud", json!(["other"])),
        without("aud"),
        without("sub"),
        with("sub", json!("")),
        without("exp"),
        with("exp", json!(NOW - 30)),
        with("exp", json!("soon")),
        with("exp", json!(i64::MAX)),
        with("nbf", json!(NOW + 31)),
        with("nbf", json!("later")),
        without("email"),
        with("email", json!("")),
        with("email", json!("a\nb")),
        with("email", json!("ann (break-glass)")),
        with("email", json!("x".repeat(NAME_CHARS_MAX + 1))),
        with("email_verified", json!(false)),
    ] {
        assert!(matches!(verdict(&bad), Err(Refusal::Bad(_))), "{bad}");
    }
    for good in [
        with("aud", json!("continuum")),
        with("exp", json!(NOW - 29)),
        with("exp", json!(NOW as f64 + 0.5)),
        with("nbf", json!(NOW + 30)),
        without("nbf"),
        without("groups"),
        with("groups", json!({})),
        with("email_verified", json!(true)),
    ] {
        assert!(verdict(&good).is_ok(), "{good}");
    }
    let single = verdict(&with("groups", json!("dba"))).unwrap();
    assert_eq!(single.groups, ["dba"]);
}

#[test]
fn a_signature_counts_only_by_the_key_and_its_own_algorithm() {
    let (signer, other) = (Signer::new("a", Algorithm::ES256), Signer::new("b", Algorithm::ES256));
    let known = keys(&[&signer]);
    let verdict = |text: &str| verify(text, &known, &config(), NOW_MS).map(drop);
    let good = signer.sign(&claims());
    assert_eq!(verdict(&good), Ok(()));
    assert_eq!(verdict(&other.sign(&claims())), Err(Refusal::UnknownKey));
    let posing = Header { kid: Some("a".into()), ..other.header() };
    let posing = encode(&posing, &claims(), &other.key).unwrap();
    assert_eq!(verdict(&posing), Err(Refusal::Bad("its signature is not good")));

    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let parts: Vec<&str> = good.split('.').collect();
    let [header, body, signature] = parts.as_slice() else { panic!("three parts") };
    let more = part(&with("groups", json!(["owners"])));
    assert!(verdict(&format!("{header}.{more}.{signature}")).is_err(), "another body");
    for algorithm in ["none", "None", "NONE", "nOnE", "", "HS256", "RS256", "ES384", "PS256"] {
        let header = part(&json!({ "alg": algorithm, "kid": "a" }));
        for signature in ["", signature] {
            let text = format!("{header}.{body}.{signature}");
            assert!(matches!(verdict(&text), Err(Refusal::Bad(_))), "{algorithm}");
        }
    }
    // The public key as the secret of an HMAC.
    let public = signer.jwk().to_string();
    let header = Header { kid: Some("a".into()), ..Header::new(Algorithm::HS256) };
    let forged = encode(&header, &claims(), &EncodingKey::from_secret(public.as_bytes())).unwrap();
    assert_eq!(verdict(&forged), Err(Refusal::Bad("its algorithm is not that of its key")));
    let critical = Header { crit: Some(vec!["b64".into()]), ..signer.header() };
    assert!(verdict(&encode(&critical, &claims(), &signer.key).unwrap()).is_err());
    for text in ["", ".", "..", "a.b.c", "Bearer x", &"a".repeat(TOKEN_BYTES_MAX + 1)] {
        assert!(matches!(verdict(text), Err(Refusal::Bad(_))), "{text:.10}");
    }
}

#[test]
fn a_token_that_names_no_key_fits_where_there_is_one() {
    let (one, two) = (Signer::new("a", Algorithm::ES256), Signer::new("b", Algorithm::ES256));
    let nameless = encode(&Header::new(Algorithm::ES256), &claims(), &one.key).unwrap();
    assert!(verify(&nameless, &keys(&[&one]), &config(), NOW_MS).is_ok());
    let both = verify(&nameless, &keys(&[&one, &two]), &config(), NOW_MS);
    assert_eq!(both, Err(Refusal::UnknownKey));
}

#[test]
fn keys_that_cannot_be_used_are_passed_over() {
    let signer = Signer::new("a", Algorithm::ES256);
    let odd = |name: &str, value: Value| {
        let mut jwk = signer.jwk();
        jwk[name] = value;
        jwk
    };
    let small =
        json!({ "kty": "RSA", "kid": "s", "e": "AQAB", "n": URL_SAFE_NO_PAD.encode([7; 128]) });
    let secret = json!({ "kty": "oct", "kid": "o", "k": "c2VjcmV0" });
    let bad =
        [odd("use", json!("enc")), odd("crv", json!("P-521")), small, secret, json!({}), json!(1)];
    let read = |keys: Vec<Value>| Keys::read(json!({ "keys": keys }).to_string().as_bytes());
    for one in &bad {
        assert!(read(vec![one.clone()]).is_err(), "{one}");
    }
    let all: Vec<Value> = bad.into_iter().chain([signer.jwk()]).collect();
    assert_eq!(read(all).unwrap().0.len(), 1);
    assert!(Keys::read(b"{}").is_err() && Keys::read(b"not json").is_err());
    // The provider gives the key to another algorithm than the token names.
    let other = read(vec![odd("alg", json!("ES384"))]).unwrap();
    let text = signer.sign(&claims());
    let wanted = Err(Refusal::Bad("its algorithm is not that of its key"));
    assert_eq!(verify(&text, &other, &config(), NOW_MS).map(drop), wanted);
}
