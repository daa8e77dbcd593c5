//! Calls of the API: keys, patience with throttling, and what each kind of failure means.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_sdk_route53::Client;
use aws_sdk_route53::config::http::HttpResponse;
use aws_sdk_route53::config::retry::RetryConfig;
use aws_sdk_route53::config::timeout::TimeoutConfig;
use aws_sdk_route53::config::{BehaviorVersion, Builder, Credentials, Region};
use aws_sdk_route53::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_route53::operation::change_resource_record_sets::ChangeResourceRecordSetsError;
use aws_smithy_async::time::TimeSource;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use continuum_runtime::SharedClock;

use super::Route53At;
use crate::provider::key_file::{self, AwsKeys};
use crate::provider::patience::{Failure, TRIES};
use crate::provider::{ProviderError, error_chain};
use crate::records::plan::Change;

/// Error codes that ask for patience. Nothing was changed.
const LATER: [&str; 6] = [
    "Throttling",
    "ThrottlingException",
    "PriorRequestNotComplete",
    "RequestLimitExceeded",
    "TooManyRequestsException",
    "ServiceUnavailable",
];
/// Error codes of keys and of what they may do.
const UNAUTHORISED: [&str; 10] = [
    "AccessDenied",
    "AccessDeniedException",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
];
/// How Route 53 words that a DELETE or a CREATE of a batch did not find what it was to find.
const CONFLICTS: [&str; 3] = ["already exists", "not found", "do not match the current values"];

/// The time in signatures.
#[derive(Debug)]
struct WallTime(SharedClock);

impl TimeSource for WallTime {
    fn now(&self) -> SystemTime {
        let ms = u64::try_from(self.0.wall_ms()).unwrap_or_default();
        SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
    }
}

/// A client with the keys that are in the file now.
pub(super) struct Access {
    /// All but the keys.
    settings: Builder,
    key_file: PathBuf,
    /// Of the keys read last.
    open: Mutex<Option<(AwsKeys, Client)>>,
}

impl Access {
    pub fn new(at: &Route53At, clock: SharedClock) -> Self {
        let https = Provider::Rustls(CryptoMode::Ring);
        let http = aws_smithy_http_client::Builder::new().tls_provider(https).build_https();
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(at.deadline / 2)
            .operation_timeout(at.deadline)
            .build();
        let mut settings = Builder::new()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(at.region.clone()))
            .http_client(http)
            .timeout_config(timeouts)
            // A change that may have been made is not sent again: what stands is read instead.
            .retry_config(RetryConfig::disabled())
            .time_source(WallTime(clock));
        if let Some(endpoint) = &at.endpoint {
            settings = settings.endpoint_url(endpoint);
        }
        Self { settings, key_file: at.key_file.clone(), open: Mutex::new(None) }
    }

    /// A client with the keys that are in the file now.
    pub async fn client(&self) -> Result<Client, ProviderError> {
        let text = tokio::fs::read_to_string(&self.key_file).await;
        let keys = key_file::aws(&self.key_file, text)?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, client)) = open.as_ref().filter(|(known, _)| *known == keys) {
            return Ok(client.clone());
        }
        let AwsKeys { id, secret, session } = keys.clone();
        let credentials = Credentials::new(id, secret, session, None, "key_file");
        let config = self.settings.clone().credentials_provider(credentials).build();
        let client = Client::from_conf(config);
        *open = Some((keys, client.clone()));
        Ok(client)
    }
}

/// What a failed call of any kind means. No key is part of an error of the API.
pub(super) fn told<E>(error: SdkError<E, HttpResponse>, zone: &str) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    // What stands between, such as a proxy, answers in a form of its own.
    let status = error.raw_response().map(|answer| answer.status().as_u16().to_string());
    let code = error.code().map(str::to_owned).or(status).unwrap_or_default();
    let text = || format!("Route 53 says {code}: {}", error.message().unwrap_or("nothing more"));
    let failure = match &error {
        SdkError::ConstructionFailure(_) => {
            ProviderError::Misconfigured(format!("no request to Route 53: {}", error_chain(&error)))
        }
        SdkError::DispatchFailure(_) if refuses_connections(&error) => {
            ProviderError::Unreachable(format!("Route 53: {}", error_chain(&error)))
        }
        SdkError::ServiceError(_) if LATER.contains(&code.as_str()) => {
            return Failure::Later(format!("{}, {TRIES} times", text()));
        }
        SdkError::ServiceError(_) if UNAUTHORISED.contains(&code.as_str()) => {
            ProviderError::Unauthorised(format!(
                "{}; check the keys, their policy, and this host's clock",
                text()
            ))
        }
        SdkError::ServiceError(_) => match code.as_str() {
            "NoSuchHostedZone" | "NoSuchHealthCheck" | "InvalidInput" | "InvalidDomainName"
            | "InvalidChangeBatch" => {
                ProviderError::Misconfigured(format!("{}; check hosted zone {zone}", text()))
            }
            _ => ProviderError::Failed(text()),
        },
        _ => ProviderError::Unanswered(format!("Route 53: {}", error_chain(&error))),
    };
    Failure::Error(failure)
}

/// Whether no connection came about, so that nothing can have been asked.
fn refuses_connections(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The same for a batch: one whose condition did not hold is a conflict.
pub(super) fn refused(
    error: SdkError<ChangeResourceRecordSetsError, HttpResponse>,
    change: &Change,
    at: &Route53At,
) -> Failure {
    let invalid = match error.as_service_error() {
        Some(ChangeResourceRecordSetsError::InvalidChangeBatch(invalid)) => invalid,
        _ => return told(error, &at.zone_id),
    };
    let mut messages: Vec<&str> = invalid.messages().iter().map(String::as_str).collect();
    messages.extend(invalid.message());
    let conflict = |message: &&str| CONFLICTS.iter().any(|words| message.contains(words));
    let failure = match messages.iter().any(conflict) {
        true => ProviderError::Conflict(change.name.clone()),
        false => ProviderError::Misconfigured(format!(
            "Route 53 refuses the records of {}: {}",
            change.name,
            messages.join("; ")
        )),
    };
    Failure::Error(failure)
}
