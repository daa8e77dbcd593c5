//! NOTIFY (RFC 1996): each secondary is told of each new serial until it has acknowledged it, and is
//! looked at until it serves it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use continuum_runtime::seed;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType, TSigner};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::older;
use super::versions::edition_after;
use crate::config::{ConfigError, DnsConfig};
use crate::embedded::EmbeddedNames;
use crate::lookup;
use crate::provider::key_file;

/// Longest wait for one acknowledgement.
const ANSWER: Duration = Duration::from_secs(1);
/// Pauses between tries; each twice the one before.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// How often a secondary is asked whether it serves what it was told of.
const LOOK: Duration = Duration::from_millis(250);
/// How long it may take at first before it is told again; each time twice as long.
const AGAIN_MIN: Duration = Duration::from_secs(2);
/// After this long without it, that is said once.
const LATE: Duration = Duration::from_secs(10);

/// One task for each secondary, ended when this is dropped.
pub(crate) struct Notifiers(Vec<JoinHandle<()>>);

impl Drop for Notifiers {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// Tells the secondaries of `config` from now on. `own` is the address that questions come to: a
/// secondary takes NOTIFY only from there.
pub(crate) fn start(
    config: &DnsConfig,
    names: &Arc<EmbeddedNames>,
    own: IpAddr,
) -> Result<Notifiers, ConfigError> {
    let mut tasks = Notifiers(Vec::new());
    for (index, secondary) in config.secondaries.iter().enumerate() {
        let key = key_file::tsig(&secondary.key_file).map_err(|error| ConfigError {
            path: format!("secondaries[{index}].key_file"),
            problem: error.to_string(),
        })?;
        let teller = Teller {
            names: names.clone(),
            origin: names.origin(),
            key: key.signer().clone(),
            secondary: secondary.address.0,
            own,
        };
        tasks.0.push(seed::spawn(teller.run(names.serials())));
    }
    Ok(tasks)
}

/// Why a secondary was not told, or does not show what it has.
#[derive(Debug, thiserror::Error)]
enum NotTold {
    #[error("no acknowledgement in {ANSWER:?}")]
    Silent,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error(
        "it answers {0}: check that it has the zone with this server as its primary, and the key"
    )]
    Refused(ResponseCode),
    #[error("its answer is not signed as it should be: {0}")]
    Unsigned(hickory_proto::ProtoError),
}

struct Teller {
    names: Arc<EmbeddedNames>,
    origin: Name,
    key: TSigner,
    secondary: SocketAddr,
    own: IpAddr,
}

impl Teller {
    async fn run(self, mut serials: watch::Receiver<Option<u32>>) {
        loop {
            let newest = *serials.borrow_and_update();
            match newest {
                Some(serial) => {
                    tokio::select! {
                        biased;
                        changed = serials.changed() => if changed.is_err() { return },
                        () = self.bring(serial) => if serials.changed().await.is_err() { return },
                    }
                }
                None => {
                    if serials.changed().await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Tells of `serial` until that is acknowledged, and again until it is served: a secondary that is
    /// busy with another transfer may acknowledge and do nothing.
    async fn bring(&self, serial: u32) {
        let clock = self.names.clock();
        let began = clock.now();
        let mut doubts = Doubts::default();
        let mut pause = PAUSE_MIN;
        let mut patience = AGAIN_MIN;
        loop {
            match self.tell(serial).await {
                Ok(()) => {
                    if self.serves(serial, patience).await {
                        let (secondary, took) = (self.secondary, clock.now().since(began));
                        tracing::info!(%secondary, serial, ?took, "a secondary serves the newest version");
                        self.compare(serial).await;
                        return;
                    }
                    if self.signs(serial).await {
                        let secondary = self.secondary;
                        tracing::debug!(%secondary, serial, "a secondary that signs was told");
                        return;
                    }
                    (patience, pause) = ((patience * 2).min(PAUSE_MAX), PAUSE_MIN);
                    if clock.now().since(began) >= LATE {
                        doubts.late(self, serial).await;
                    }
                }
                Err(error) => {
                    doubts.not_told(self, serial, &error);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// Whether the secondary comes to serve `serial` within `patience`.
    async fn serves(&self, serial: u32, patience: Duration) -> bool {
        let looking = async {
            while self.serial().await != Some(serial) {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(patience, looking).await.is_ok()
    }

    /// Whether the secondary signs the zone itself: then its serial is its own, newer than ours, and
    /// tells nothing about what it has of us.
    async fn signs(&self, serial: u32) -> bool {
        let newer = self.serial().await.is_some_and(|has| older(serial, has));
        if !newer {
            return false;
        }
        let zone = self.origin.to_string();
        let keys = lookup::query(self.secondary, &zone, RecordType::DNSKEY, ANSWER).await;
        keys.is_ok_and(|keys| !keys.answers.is_empty() || keys.metadata.truncation)
    }

    /// Says so when the secondary has another zone under the same serial: a changed configuration, here or
    /// at another primary, without a new edition.
    async fn compare(&self, serial: u32) {
        let Some((name, due)) = self.names.names_text() else { return };
        let secondary = self.secondary;
        let answer = lookup::query(secondary, &name.to_string(), RecordType::TXT, ANSWER).await;
        // Whoever does not answer now is asked at the next change.
        let Ok(answer) = answer else { return };
        let has = lookup::text(&answer).unwrap_or_default();
        if has != due {
            self.names.transfers().count_contradicted();
            tracing::error!(
                %secondary, serial, has, due,
                "a secondary has another zone under the same serial: the configuration was changed \
                 here, or at another primary of the zone, without one more in `edition`. Raise it at \
                 every server of the zone"
            );
        }
    }

    async fn tell(&self, serial: u32) -> Result<(), NotTold> {
        let id = lookup::random_number();
        let mut message = Message::new(id, MessageType::Query, OpCode::Notify);
        message.metadata.authoritative = true;
        message.add_query(Query::query(self.origin.clone(), RecordType::SOA));
        message.add_answer(self.names.soa_of(serial));
        self.exchange(message).await.map(drop)
    }

    /// Sends one signed message and returns the answer, whose signature was checked.
    async fn exchange(&self, mut message: Message) -> Result<Message, NotTold> {
        let now = u64::try_from(self.names.clock().wall_ms() / 1000).unwrap_or_default();
        let verifier = message.finalize(&self.key, now).map_err(io::Error::other)?;
        let bytes = message.to_vec().map_err(io::Error::other)?;
        let socket = UdpSocket::bind((self.from(), 0)).await?;
        socket.connect(self.secondary).await?;
        socket.send(&bytes).await?;
        let answered = tokio::time::timeout(ANSWER, lookup::receive(&socket, &message)).await;
        let (answer, bytes) = answered.map_err(|_| NotTold::Silent)??;
        match answer.metadata.response_code {
            ResponseCode::NoError => {
                if let Some(mut verifier) = verifier {
                    verifier.verify(&bytes).map_err(NotTold::Unsigned)?;
                }
                Ok(answer)
            }
            code => Err(NotTold::Refused(code)),
        }
    }

    /// The address to send from: the one that secondaries list, where it is one.
    fn from(&self) -> IpAddr {
        let listed = !self.own.is_unspecified() && self.own.is_ipv4() == self.secondary.is_ipv4();
        match self.secondary {
            _ if listed => self.own,
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    /// The serial that the secondary serves; `None` when it does not say.
    async fn serial(&self) -> Option<u32> {
        let zone = self.origin.to_string();
        let answer = lookup::query(self.secondary, &zone, RecordType::SOA, ANSWER).await.ok()?;
        answer.answers.iter().find_map(|record| match &record.data {
            RData::SOA(soa) => Some(soa.serial),
            _ => None,
        })
    }
}

/// What was said of one serial at one secondary, so that it is said once.
#[derive(Default)]
struct Doubts {
    not_told: bool,
    late: bool,
}

impl Doubts {
    fn not_told(&mut self, teller: &Teller, serial: u32, error: &NotTold) {
        let secondary = teller.secondary;
        if !std::mem::replace(&mut self.not_told, true) {
            tracing::warn!(%secondary, serial, %error, "a secondary could not be told of a change");
        }
    }

    async fn late(&mut self, teller: &Teller, serial: u32) {
        let secondary = teller.secondary;
        if std::mem::replace(&mut self.late, true) {
            return;
        }
        match teller.serial().await {
            Some(has) if older(serial, has) => tracing::warn!(
                %secondary, serial, has, edition = edition_after(has),
                "a secondary has a newer serial than this server and takes nothing from it. Either \
                 another primary of the zone is ahead, because this one cannot read the witness; or \
                 the zone came from elsewhere before: then set `edition` at every server of the zone \
                 to the one named here"
            ),
            Some(has) => tracing::warn!(
                %secondary, serial, has,
                "a secondary was told of a change and has not taken it: check its log, and that its \
                 key may transfer the zone"
            ),
            None => tracing::warn!(
                %secondary, serial,
                "a secondary was told of a change and does not say which version it has"
            ),
        }
    }
}
