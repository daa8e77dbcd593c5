//! The guard's socket: requests in, replies out, none waiting behind another.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use continuum_runtime::seed;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::core::Guard;
use super::{Failure, GuardError, files};
use crate::wire::{Outcome, REQUEST_BYTES_MAX, Reply, Request};

/// Replies that may wait to be written on one connection.
const REPLIES_MAX: usize = 256;

/// Opens the socket for its owner only. Called after the umask is set, so that it is never open
/// to others, not even for an instant.
pub(crate) fn bind(path: &Path) -> Result<UnixListener, GuardError> {
    let failed = |error: std::io::Error| GuardError::Environment {
        what: format!("the socket {} cannot be opened", path.display()),
        reason: error.to_string(),
        remedy: "check its directory".into(),
    };
    if let Some(parent) = path.parent()
        && !parent.is_dir()
    {
        files::make_directory(parent, 0o755, None).map_err(failed)?;
    }
    // The lock of the data directory is held: a socket that is there is a dead guard's.
    files::remove_if_there(path).map_err(failed)?;
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// Serves one connection. Each request is a task of its own, so a clone that takes an hour never
/// stands before `arm` or `stop`.
pub(crate) async fn connection(guard: Arc<Guard>, stream: UnixStream) {
    let own = rustix::process::geteuid().as_raw();
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == own || peer.uid() == 0 => {}
        Ok(peer) => return tracing::error!(uid = peer.uid(), "a stranger was turned away"),
        Err(error) => return tracing::error!(%error, "a peer could not be identified"),
    }
    let (read, mut write) = stream.into_split();
    let (replies, mut queue) = mpsc::channel::<Reply>(REPLIES_MAX);
    drop(seed::spawn(async move {
        while let Some(reply) = queue.recv().await {
            let Ok(mut line) = serde_json::to_vec(&reply) else { continue };
            line.push(b'\n');
            if write.write_all(&line).await.is_err() {
                return;
            }
        }
    }));
    let mut reader = BufReader::new(read);
    while let Some(request) = next_request(&mut reader).await {
        let (guard, replies) = (guard.clone(), replies.clone());
        drop(seed::spawn(async move {
            let id = request.id;
            let outcome = match Box::pin(guard.handle(request)).await {
                Ok(answer) => Outcome::Done(answer),
                Err(Failure::Refused(why)) => {
                    tracing::warn!(why, "a command was refused");
                    Outcome::Refused(why)
                }
                Err(Failure::Failed { what, reason }) => {
                    tracing::error!(what, reason, "a command failed");
                    Outcome::Failed { what, reason }
                }
            };
            // An agent that is gone reads nothing; its command stands all the same.
            let _ = replies.send(Reply { id, outcome }).await;
        }));
    }
}

/// The next request; `None` at the end of the connection or at something that is no request.
async fn next_request(reader: &mut BufReader<OwnedReadHalf>) -> Option<Request> {
    let mut line = Vec::new();
    let read = (&mut *reader).take(REQUEST_BYTES_MAX).read_until(b'\n', &mut line).await;
    match read {
        Ok(0) | Err(_) => return None,
        Ok(_) => {}
    }
    match serde_json::from_slice(&line) {
        Ok(request) => Some(request),
        Err(error) => {
            tracing::error!(%error, "a line is no request; the connection is closed");
            None
        }
    }
}
