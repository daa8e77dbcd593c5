//! A token of the identity provider, held against its keys. No clock, no network.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use continuum_domain::access::{Caller, LOUD, NAME_CHARS_MAX};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::config::OidcConfig;

/// Longest token that is looked at.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Most keys of a provider.
const KEYS_MAX: usize = 100;
/// Most groups of a person.
const GROUPS_MAX: usize = 1_000;
/// Shortest modulus of an RSA key, bytes.
const RSA_BYTES_MIN: usize = 256;
/// By how much the clocks of the provider and of ours may differ.
const LEEWAY_MS: i64 = 30_000;

/// A key that a provider signs with. Its own type says by which algorithms, never the token.
#[derive(Clone)]
struct Key {
    id: Option<String>,
    algorithms: &'static [Algorithm],
    /// The one algorithm that the provider gives it, where it says so.
    only: Option<Algorithm>,
    key: DecodingKey,
}

/// The keys of a provider.
#[derive(Clone, Default)]
pub(super) struct Keys(Vec<Key>);

/// Why a token is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is signed by a key that is not known.
    UnknownKey,
    /// Something else, for the log of the node: who asks is not told more than that it is not good.
    Bad(&'static str),
}

impl Keys {
    /// Those of a key set that can be used; others in it are passed over.
    pub(super) fn read(text: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let set: Set = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let keys: Vec<Key> = set.keys.into_iter().take(KEYS_MAX).filter_map(usable).collect();
        if keys.is_empty() {
            return Err("none of its keys can be used".into());
        }
        Ok(Self(keys))
    }

    /// The key of a token's header. One that names none fits where there is but one.
    fn find(&self, id: Option<&str>) -> Option<&Key> {
        match (id, self.0.as_slice()) {
            (Some(id), keys) => keys.iter().find(|key| key.id.as_deref() == Some(id)),
            (None, [one]) => Some(one),
            (None, _) => None,
        }
    }
}

fn usable(key: Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(key).ok()?;
    if jwk.common.public_key_use.as_ref().is_some_and(|said| *said != PublicKeyUse::Signature) {
        return None;
    }
    let algorithms: &'static [Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) if modulus_bytes(&rsa.n)? >= RSA_BYTES_MIN => {
            &[Algorithm::RS256, Algorithm::PS256]
        }
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
            &[Algorithm::ES256]
        }
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            &[Algorithm::EdDSA]
        }
        _ => return None,
    };
    let only = match &jwk.common.key_algorithm {
        Some(said) => Some(said.to_string().parse().ok()?),
        None => None,
    };
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    Some(Key { id: jwk.common.key_id, algorithms, only, key })
}

fn modulus_bytes(text: &str) -> Option<usize> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    Some(bytes.iter().skip_while(|byte| **byte == 0).count())
}

/// Who a token is of, if it is good at `now_ms`.
pub(super) fn verify(
    text: &str,
    keys: &Keys,
    config: &OidcConfig,
    now_ms: i64,
) -> Result<Caller, Refusal> {
    if text.len() > TOKEN_BYTES_MAX {
        return Err(Refusal::Bad("it is too long"));
    }
    let header = decode_header(text).map_err(|_| Refusal::Bad("its header is not understood"))?;
    if header.crit.is_some() {
        return Err(Refusal::Bad("its header wants what is not understood"));
    }
    let known = keys.find(header.kid.as_deref()).ok_or(Refusal::UnknownKey)?;
    let fits =
        known.algorithms.contains(&header.alg) && known.only.is_none_or(|only| only == header.alg);
    if !fits {
        return Err(Refusal::Bad("its algorithm is not that of its key"));
    }
    let claims = decode::<Map<String, Value>>(text, &known.key, &signature_only(header.alg))
        .map_err(|_| Refusal::Bad("its signature is not good"))?
        .claims;
    let until_ms = standing(&claims, config, now_ms)?;
    let name = name(&claims, config)?;
    Ok(Caller::user(name, groups(&claims, config), until_ms))
}

/// The library looks at the signature alone: its clock is not ours.
fn signature_only(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}

/// Until when the claims stand, if they do at `now_ms`.
fn standing(claims: &Map<String, Value>, config: &OidcConfig, now_ms: i64) -> Result<i64, Refusal> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if text("iss") != Some(config.issuer.as_str()) {
        return Err(Refusal::Bad("it is of another issuer"));
    }
    let meant = |one: &Value| one.as_str() == Some(config.audience.as_str());
    let audience = match claims.get("aud") {
        Some(Value::Array(all)) => all.iter().any(meant),
        Some(one) => meant(one),
        None => false,
    };
    if !audience {
        return Err(Refusal::Bad("it is for another audience"));
    }
    if text("sub").is_none_or(str::is_empty) {
        return Err(Refusal::Bad("it names no subject"));
    }
    let expires = millis(claims, "exp").ok_or(Refusal::Bad("it does not say when it ends"))?;
    let until_ms = expires.saturating_add(LEEWAY_MS);
    if now_ms >= until_ms {
        return Err(Refusal::Bad("it has ended"));
    }
    if claims.contains_key("nbf") {
        let begins = millis(claims, "nbf").ok_or(Refusal::Bad("its begin is no time"))?;
        if now_ms.saturating_add(LEEWAY_MS) < begins {
            return Err(Refusal::Bad("it has not begun"));
        }
    }
    Ok(until_ms)
}

/// A time of the claims, which are in seconds, perhaps with a fraction.
fn millis(claims: &Map<String, Value>, name: &str) -> Option<i64> {
    let number = claims.get(name)?;
    let whole = number.as_i64().or_else(|| {
        let seconds = number.as_f64().filter(|seconds| (0.0..1e12).contains(seconds))?;
        #[expect(clippy::cast_possible_truncation, reason = "the range was looked at")]
        Some(seconds as i64)
    });
    whole?.checked_mul(1_000)
}

fn name(claims: &Map<String, Value>, config: &OidcConfig) -> Result<String, Refusal> {
    let name = claims.get(&config.name_claim).and_then(Value::as_str).unwrap_or_default();
    let fits = (1..=NAME_CHARS_MAX).contains(&name.chars().count());
    // Nobody poses as somebody whose glass is broken.
    if !fits || name.chars().any(char::is_control) || name.ends_with(LOUD) {
        return Err(Refusal::Bad("it does not say a name"));
    }
    // An address that anybody may claim is nobody's name.
    if config.name_claim == "email" && claims.get("email_verified") == Some(&Value::Bool(false)) {
        return Err(Refusal::Bad("its address is not verified"));
    }
    Ok(name.to_owned())
}

/// The groups it tells; what is no text is passed over, and gives nothing.
fn groups(claims: &Map<String, Value>, config: &OidcConfig) -> Vec<String> {
    let told = match claims.get(&config.groups_claim) {
        Some(Value::Array(all)) => all.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    told.iter().filter_map(Value::as_str).take(GROUPS_MAX).map(str::to_owned).collect()
}

#[cfg(test)]
#[path = "jwt_tests.rs"]
mod tests;
