//! A health URL that is gated by a switch, as an agent's is by the lease.

use std::net::SocketAddr;

use continuum_runtime::seed;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Answers 200 on `/pairs/app/primary` while its switch is on.
pub struct Gate {
    pub address: SocketAddr,
    pub open: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Gate {
    pub async fn start(address: &str, open: bool) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (open, state) = watch::channel(open);
        let serving = seed::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 2048];
                let length = stream.read(&mut request).await.unwrap_or_default();
                let right = request[..length].starts_with(b"GET /pairs/app/primary ");
                let status = if *state.borrow() && right { "200 OK" } else { "503 Not here" };
                let text =
                    format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                let _sent = stream.write_all(text.as_bytes()).await;
            }
        });
        Self { address, open, serving }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
