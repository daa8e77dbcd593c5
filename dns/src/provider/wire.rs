//! One message to one server by TCP, signed where there is a key.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use continuum_runtime::SharedClock;
use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::TSigner;

use super::ProviderError;
use crate::lookup::exchange_tcp;

/// A way to a server.
#[derive(Clone)]
pub(super) struct Wire {
    /// The server.
    pub server: SocketAddr,
    /// Signs what is sent.
    pub signer: Option<TSigner>,
    /// Signatures carry the time.
    pub clock: SharedClock,
    /// Longest time of one exchange.
    pub deadline: Duration,
}

impl Wire {
    /// Sends one message. An answer that should be signed and is not counts only as a refusal.
    pub async fn exchange(&self, mut message: Message) -> Result<Message, ProviderError> {
        let server = self.server;
        let wrong = |error: &dyn std::fmt::Display| {
            ProviderError::Misconfigured(format!(
                "a message to {server} cannot be written: {error}"
            ))
        };
        let mut verifier = None;
        if let Some(signer) = &self.signer {
            let now = u64::try_from(self.clock.wall_ms() / 1000).unwrap_or_default();
            verifier = message.finalize(signer, now).map_err(|error| wrong(&error))?;
        }
        let bytes = message.to_vec().map_err(|error| wrong(&error))?;
        let sent = exchange_tcp(server, &bytes);
        let answered = match tokio::time::timeout(self.deadline, sent).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                return Err(ProviderError::Unreachable(format!("{server}: {error}")));
            }
            Ok(Err(error)) => return Err(ProviderError::Unanswered(format!("{server}: {error}"))),
            Err(_) => {
                let span = self.deadline;
                return Err(ProviderError::Unanswered(format!("{server}: none in {span:?}")));
            }
        };
        let unusable = |why: &dyn std::fmt::Display| {
            ProviderError::Unanswered(format!("{server}: its answer is not usable: {why}"))
        };
        let answer = Message::from_vec(&answered).map_err(|error| unusable(&error))?;
        let fits = answer.metadata.id == message.metadata.id
            && answer.metadata.message_type == MessageType::Response;
        if !fits {
            return Err(unusable(&"it belongs to another question"));
        }
        // Some refusals come unsigned or with an empty signature: a server that does not know the
        // key cannot use it. A forged one changes nothing and stops nothing for long.
        if answer.metadata.response_code == ResponseCode::NoError
            && let Some(mut verifier) = verifier
        {
            verifier.verify(&answered).map_err(|error| unusable(&error))?;
        }
        Ok(answer)
    }
}
