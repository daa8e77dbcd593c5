//! The first request of a client goes alone: a hundred that begin together would each make a connection, and
//! all but one of those that HTTP/2 shares were made in vain.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Request;
use tokio::sync::Mutex;
use tower::{Service, ServiceExt as _};

/// Whether the last answer came, and whose turn it is while it did not.
#[derive(Debug, Default)]
struct Line {
    connected: AtomicBool,
    turn: Mutex<()>,
}

/// A client whose requests wait for each other until one was answered, and again after one that was not; none
/// for longer than `patience`: the one that goes ahead may hang, and what waits may be a fence.
#[derive(Clone, Debug)]
pub(super) struct Alone<S> {
    inner: S,
    patience: Duration,
    line: Arc<Line>,
}

impl<S> Alone<S> {
    pub fn new(inner: S, patience: Duration) -> Self {
        Self { inner, patience, line: Arc::default() }
    }
}

impl<S, B> Service<Request<B>> for Alone<S>
where
    S: Service<Request<B>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        // Whether the connection is there is asked for when it is this request's turn.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (inner, patience, line) = (self.inner.clone(), self.patience, self.line.clone());
        Box::pin(async move {
            let connected = || line.connected.load(Ordering::Acquire);
            let turn = match connected() {
                true => None,
                false => tokio::time::timeout(patience, line.turn.lock()).await.ok(),
            };
            // Somebody was answered meanwhile: the others need not wait either.
            let turn = turn.filter(|_| !connected());
            let answer = inner.oneshot(request).await;
            line.connected.store(answer.is_ok(), Ordering::Release);
            drop(turn);
            answer
        })
    }
}
