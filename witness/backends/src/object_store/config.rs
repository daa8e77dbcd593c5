//! Which object store, and how it is opened.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use continuum_domain::duration_text;
use continuum_witness::StoreError;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::client::{HttpClient, HttpConnector};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::{ClientConfigKey, ClientOptions, ObjectStore, RetryConfig};
use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::names::Compared;
use crate::http::{self, Plain};

/// The service that keeps the objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectStoreKind {
    /// Amazon S3, or a service that speaks its protocol and keeps `If-Match` and `If-None-Match`.
    S3,
    /// Cloudflare R2: S3's protocol at an `endpoint` of the account.
    R2,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
}

/// How an object store is reached. Holds no secret: these come from the environment or a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectStoreConfig {
    /// The service.
    pub kind: ObjectStoreKind,
    /// The bucket, or Azure's container. It must exist; nothing creates it.
    pub bucket: String,
    /// What every object's name starts with, up to 60 bytes: letters, digits, `-`, `_`, and `/`
    /// between them. One set of cells has a prefix of its own.
    #[serde(default)]
    pub prefix: String,
    /// The bucket's region. Needed for `s3`; `r2` takes `auto` without it; the others have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Where the service is, instead of where its provider has it: `https://`, or `http://` with an
    /// address of this machine. Needed for `r2`. For `azure` it holds the account where the service
    /// has it in the path. Not for `gcs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// A file with the credentials, read once. For `gcs` the JSON key of a service account; for the
    /// others lines `NAME=VALUE` with the names that the provider's own tools read from the
    /// environment: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`;
    /// `AZURE_STORAGE_ACCOUNT_NAME`, `AZURE_STORAGE_ACCOUNT_KEY`, `AZURE_STORAGE_SAS_KEY`.
    /// Without it the process's environment is read, with the machine's own identity as a last
    /// resort where the provider has such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_file: Option<PathBuf>,
    /// Every call returns within this time; half of it is for connecting. Default 3 s.
    #[serde(default = "deadline", with = "duration_text")]
    pub deadline: Duration,
}

fn deadline() -> Duration {
    Duration::from_secs(3)
}

const AWS_NAMES: &[&str] = &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
const AZURE_NAMES: &[&str] =
    &["AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_KEY"];

impl ObjectStoreConfig {
    pub(super) fn compared(&self) -> Compared {
        match self.kind {
            ObjectStoreKind::Gcs => Compared::Version,
            _ => Compared::ETag,
        }
    }

    /// Opens the store. Asks nothing of it yet.
    pub(super) fn open(&self) -> Result<Arc<dyn ObjectStore>, StoreError> {
        if self.bucket.is_empty() {
            return Err(wrong("no bucket is named"));
        }
        let endpoint = self.endpoint.as_deref().map(http::endpoint).transpose()?;
        match self.kind {
            ObjectStoreKind::S3 | ObjectStoreKind::R2 => self.open_s3(endpoint),
            ObjectStoreKind::Gcs => self.open_gcs(endpoint),
            ObjectStoreKind::Azure => self.open_azure(endpoint),
        }
    }

    fn open_s3(&self, endpoint: Option<Url>) -> Result<Arc<dyn ObjectStore>, StoreError> {
        let r2 = self.kind == ObjectStoreKind::R2;
        let region = match (&self.region, r2) {
            (Some(region), _) => region.as_str(),
            (None, true) => "auto",
            (None, false) => return Err(wrong("s3 needs the bucket's region")),
        };
        if r2 && endpoint.is_none() {
            return Err(wrong("r2 needs the account's endpoint"));
        }
        let mut builder = match self.secrets(AWS_NAMES)? {
            None => AmazonS3Builder::from_env(),
            Some(secrets) => {
                let mut builder = AmazonS3Builder::new();
                for (name, value) in secrets {
                    builder = builder.with_config(key::<AmazonS3ConfigKey>(&name)?, value);
                }
                builder
            }
        };
        builder = builder
            .with_bucket_name(&self.bucket)
            .with_region(region)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_retry(no_retries(self.deadline))
            .with_client_options(options(endpoint.as_ref()))
            .with_http_connector(self.connector());
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(endpoint.as_str().trim_end_matches('/'));
        }
        Ok(Arc::new(builder.build().map_err(opening)?))
    }

    fn open_gcs(&self, endpoint: Option<Url>) -> Result<Arc<dyn ObjectStore>, StoreError> {
        if endpoint.is_some() {
            return Err(wrong("gcs takes no endpoint"));
        }
        let builder = match &self.credentials_file {
            None => GoogleCloudStorageBuilder::from_env(),
            Some(file) => {
                GoogleCloudStorageBuilder::new().with_service_account_key(read_file(file)?)
            }
        };
        let store = builder
            .with_bucket_name(&self.bucket)
            .with_retry(no_retries(self.deadline))
            .with_client_options(options(None))
            .with_http_connector(self.connector())
            .build();
        Ok(Arc::new(store.map_err(opening)?))
    }

    fn open_azure(&self, endpoint: Option<Url>) -> Result<Arc<dyn ObjectStore>, StoreError> {
        let mut builder = match self.secrets(AZURE_NAMES)? {
            None => MicrosoftAzureBuilder::from_env(),
            Some(secrets) => {
                let mut builder = MicrosoftAzureBuilder::new();
                for (name, value) in secrets {
                    builder = builder.with_config(key::<AzureConfigKey>(&name)?, value);
                }
                builder
            }
        };
        builder = builder
            .with_container_name(&self.bucket)
            .with_use_emulator(false)
            .with_retry(no_retries(self.deadline))
            .with_client_options(options(endpoint.as_ref()))
            .with_http_connector(self.connector());
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(endpoint.as_str().trim_end_matches('/').to_owned());
        }
        Ok(Arc::new(builder.build().map_err(opening)?))
    }

    fn connector(&self) -> Connector {
        Connector { deadline: self.deadline }
    }

    /// Names and values of the credentials file; `None` without one.
    fn secrets(&self, known: &[&str]) -> Result<Option<Vec<(String, String)>>, StoreError> {
        let Some(file) = &self.credentials_file else {
            return Ok(None);
        };
        let mut secrets = Vec::new();
        for (index, line) in read_file(file)?.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            // Says where, never what: the line may be a secret without its name.
            let (name, value) = line
                .split_once('=')
                .map(|(name, value)| (name.trim(), value.trim()))
                .filter(|(name, _)| known.contains(name))
                .ok_or_else(|| {
                    wrong(&format!(
                        "{}, line {}: NAME=VALUE is due, NAME one of {}",
                        file.display(),
                        index + 1,
                        known.join(", ")
                    ))
                })?;
            secrets.push((name.to_owned(), value.to_owned()));
        }
        Ok(Some(secrets))
    }
}

fn wrong(text: &str) -> StoreError {
    StoreError::Misconfigured(text.to_owned())
}

fn opening(error: object_store::Error) -> StoreError {
    StoreError::Misconfigured(format!("the object store cannot be opened: {error}"))
}

fn read_file(file: &Path) -> Result<String, StoreError> {
    std::fs::read_to_string(file).map_err(|error| wrong(&format!("{}: {error}", file.display())))
}

fn key<K: FromStr>(name: &str) -> Result<K, StoreError> {
    K::from_str(&name.to_ascii_lowercase()).map_err(|_unknown| wrong(&format!("{name} is unknown")))
}

/// A change that is sent twice may be refused because its first copy was carried out.
fn no_retries(deadline: Duration) -> RetryConfig {
    RetryConfig { max_retries: 0, retry_timeout: deadline, ..RetryConfig::default() }
}

fn options(endpoint: Option<&Url>) -> ClientOptions {
    let plain = endpoint.is_some_and(|endpoint| Plain::of(endpoint) == Plain::Near);
    ClientOptions::new().with_allow_http(plain)
}

/// Gives the object store this crate's HTTP client.
#[derive(Debug)]
struct Connector {
    deadline: Duration,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        // Set for an endpoint of this machine, and for the metadata service that hands out the
        // machine's own identity, which all providers have on plain HTTP.
        let plain = options.get_config_value(&ClientConfigKey::AllowHttp);
        let plain = if plain.as_deref() == Some("true") { Plain::Near } else { Plain::Refused };
        http::client(plain, self.deadline).map(HttpClient::new).map_err(|error| {
            object_store::Error::Generic { store: "object store", source: Box::new(error) }
        })
    }
}

#[cfg(test)]
mod tests {
    use object_store::client::{HttpRequest, HttpRequestBody};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn only_what_is_near_is_asked_without_encryption() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let connector = Connector { deadline: Duration::from_secs(20) };
        let ask = |allowed: bool| {
            let client = connector.connect(&ClientOptions::new().with_allow_http(allowed)).unwrap();
            let mut request = HttpRequest::new(HttpRequestBody::empty());
            *request.uri_mut() = url.parse().unwrap();
            async move { client.execute(request).await.map(|response| response.status().as_u16()) }
        };
        assert!(ask(false).await.is_err());
        let answering = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await.unwrap();
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        };
        let (status, ()) = tokio::join!(ask(true), answering);
        assert_eq!(status.unwrap(), 204);
    }
}
