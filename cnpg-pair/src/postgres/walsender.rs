//! A connection that takes no client's place.
//!
//! Ordinary connections share `max_connections` with the clients, and clients of a pair that waits
//! for its second copy can take every one of them. A WAL sender has a place of its own
//! (`max_wal_senders`), and answers SQL by the simple protocol when it is bound to a database
//! (PostgreSQL documentation, "Streaming Replication Protocol", `replication=database`). The driver
//! cannot ask for one, so the parameter is put into its first message here.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The parameter, as the startup message carries it.
const PARAMETER: &[u8] = b"replication\0database\0";
/// Length and protocol version, before the parameters.
const HEAD_BYTES: usize = 8;
/// A longer first message is not a startup message.
const STARTUP_BYTES_MAX: usize = 10_000;

/// A stream whose startup message asks for a WAL sender.
pub(crate) struct WalSenderStream<S> {
    inner: S,
    startup: Startup,
}

enum Startup {
    /// What came of the message so far.
    Gathering(Vec<u8>),
    /// What is still to be sent of the changed one.
    Sending(Vec<u8>, usize),
    Sent,
}

impl<S> WalSenderStream<S> {
    /// Wraps a stream on which nothing was sent yet.
    pub fn new(inner: S) -> Self {
        Self { inner, startup: Startup::Gathering(Vec::new()) }
    }
}

/// The whole message with the parameter added, or `None` while it is not whole.
fn with_parameter(message: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let Some(Ok(length)) = message.get(..4).map(<[u8; 4]>::try_from) else { return Ok(None) };
    let length = u32::from_be_bytes(length) as usize;
    if !(HEAD_BYTES..=STARTUP_BYTES_MAX).contains(&length) || message.len() > length {
        return Err(io::Error::other("the driver did not begin with a startup message"));
    }
    if message.len() < length {
        return Ok(None);
    }
    let total = u32::try_from(length + PARAMETER.len()).map_err(io::Error::other)?;
    let mut changed = total.to_be_bytes().to_vec();
    changed.extend_from_slice(&message[4..HEAD_BYTES]);
    changed.extend_from_slice(PARAMETER);
    changed.extend_from_slice(&message[HEAD_BYTES..]);
    Ok(Some(changed))
}

impl<S: AsyncWrite + Unpin> WalSenderStream<S> {
    fn poll_startup(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Startup::Sending(message, sent) = &mut self.startup {
            let count = ready!(Pin::new(&mut self.inner).poll_write(context, &message[*sent..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *sent += count;
            if *sent == message.len() {
                self.startup = Startup::Sent;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WalSenderStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Startup::Gathering(message) = &mut self.startup {
            message.extend_from_slice(bytes);
            if let Some(changed) = with_parameter(message)? {
                self.startup = Startup::Sending(changed, 0);
            }
            return Poll::Ready(Ok(bytes.len()));
        }
        ready!(self.poll_startup(context))?;
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_startup(context))?;
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_startup(context))?;
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WalSenderStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn startup() -> Vec<u8> {
        let body = b"\0\x03\0\0user\0continuum_hel\0database\0postgres\0\0";
        let mut message = u32::try_from(body.len() + 4).unwrap().to_be_bytes().to_vec();
        message.extend_from_slice(body);
        message
    }

    #[tokio::test]
    async fn the_first_message_asks_for_a_wal_sender_and_the_rest_passes() {
        // Smaller than the message, and written in two parts: neither end sees it at once.
        let (near, mut far) = tokio::io::duplex(16);
        let mut stream = WalSenderStream::new(near);
        let message = startup();
        let wanted = 4 + message.len() - 4 + PARAMETER.len();
        let reader = async {
            let mut got = vec![0; wanted + 3];
            far.read_exact(&mut got).await.unwrap();
            got
        };
        let writer = async {
            stream.write_all(&message[..5]).await.unwrap();
            stream.write_all(&message[5..]).await.unwrap();
            stream.flush().await.unwrap();
            stream.write_all(b"Q12").await.unwrap();
        };
        let (got, ()) = tokio::join!(reader, writer);
        assert_eq!(u32::from_be_bytes(got[..4].try_into().unwrap()) as usize, wanted);
        assert_eq!(&got[4..8], [0, 3, 0, 0]);
        assert_eq!(&got[8..8 + PARAMETER.len()], PARAMETER);
        assert_eq!(&got[8 + PARAMETER.len()..wanted], &message[8..]);
        assert_eq!(&got[wanted..], b"Q12");
    }

    #[test]
    fn what_is_no_startup_message_is_refused() {
        assert!(with_parameter(b"Q\0\0\0\x04more").is_err());
        assert_eq!(with_parameter(b"\0\0").unwrap(), None);
    }
}
