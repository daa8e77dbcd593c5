//! etcd's two ways of keeping a session: a key changed by its revision, and a lease kept alive.

use continuum_runtime::net::TlsFiles;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::Failure;
use crate::servers::{NAME, session};
use proto::compare::{CompareResult, CompareTarget, TargetUnion};

/// The messages and services of `proto/etcd.proto`.
#[allow(missing_docs, clippy::all, clippy::disallowed_methods)]
mod proto {
    tonic::include_proto!("etcdserverpb");
}

/// A connection of its own.
pub async fn connect(port: u16, files: &TlsFiles) -> Result<Channel, Failure> {
    let read = |file| std::fs::read(file);
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(read(&files.authority)?))
        .identity(Identity::from_pem(read(&files.certificate)?, read(&files.key)?))
        .domain_name(format!("{NAME}.witness.continuum.internal"));
    let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{port}"))?;
    Ok(endpoint.tcp_nodelay(true).tls_config(tls)?.connect().await?)
}

/// A key that is replaced by whoever names its last revision.
pub struct Key {
    client: proto::kv_client::KvClient<Channel>,
    key: Vec<u8>,
    revision: i64,
    beat: u64,
}

impl Key {
    /// Of the region `name`, not created yet.
    pub fn new(channel: Channel, name: &str) -> Self {
        let client = proto::kv_client::KvClient::new(channel);
        Self { client, key: format!("session/{name}").into_bytes(), revision: 0, beat: 0 }
    }

    /// One renewal: a transaction that compares the revision. It is on disk when it is answered.
    pub async fn renew(&mut self) -> Result<(), Failure> {
        let compare = proto::Compare {
            result: CompareResult::Equal.into(),
            target: CompareTarget::Mod.into(),
            key: self.key.clone(),
            target_union: Some(TargetUnion::ModRevision(self.revision)),
        };
        let put = proto::PutRequest { key: self.key.clone(), value: session(self.beat + 1) };
        let put = proto::RequestOp { request: Some(proto::request_op::Request::RequestPut(put)) };
        let request = proto::TxnRequest { compare: vec![compare], success: vec![put] };
        let answer = self.client.txn(request).await?.into_inner();
        if !answer.succeeded {
            return Err("etcd refused a transaction".into());
        }
        self.revision = answer.header.map_or(0, |header| header.revision);
        self.beat += 1;
        Ok(())
    }
}

/// A lease and the stream on which it is kept alive.
pub struct Lease {
    id: i64,
    ask: mpsc::Sender<proto::LeaseKeepAliveRequest>,
    answers: tonic::Streaming<proto::LeaseKeepAliveResponse>,
}

impl Lease {
    /// A new lease, long enough to outlive the opening of all the others.
    pub async fn grant(channel: Channel) -> Result<Self, Failure> {
        let mut client = proto::lease_client::LeaseClient::new(channel);
        let asked = proto::LeaseGrantRequest { ttl: 600, id: 0 };
        let id = client.lease_grant(asked).await?.into_inner().id;
        let (ask, asks) = mpsc::channel(1);
        ask.send(proto::LeaseKeepAliveRequest { id }).await?;
        let answers = client.lease_keep_alive(ReceiverStream::new(asks)).await?.into_inner();
        let mut lease = Self { id, ask, answers };
        lease.answer().await?;
        Ok(lease)
    }

    async fn answer(&mut self) -> Result<(), Failure> {
        match self.answers.message().await? {
            Some(answer) if answer.ttl > 0 => Ok(()),
            _ => Err("etcd let a lease go".into()),
        }
    }

    /// One renewal. etcd keeps it in memory: nothing is on disk when it is answered.
    pub async fn renew(&mut self) -> Result<(), Failure> {
        self.ask.send(proto::LeaseKeepAliveRequest { id: self.id }).await?;
        self.answer().await
    }
}
