//! What every server of ours puts around its handlers.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use http::header::{DATE, HeaderValue};
use tower::{Layer, Service};

use crate::clock::SharedClock;
use crate::seed::Inherited;

/// Stamps responses with the date of our clock, and runs handlers in the scope of their server.
///
/// Without it the HTTP library stamps the date of the host's clock, and handlers run in tasks of
/// the library, whose randomness nobody seeded.
#[derive(Clone)]
pub struct EdgeLayer {
    clock: SharedClock,
    scope: Option<Inherited>,
    requests: Arc<AtomicU64>,
}

impl EdgeLayer {
    /// A layer for a server that is set up in the current scope.
    pub fn new(clock: &SharedClock) -> Self {
        Self { clock: clock.clone(), scope: Inherited::here(), requests: Arc::default() }
    }
}

impl<S> Layer<S> for EdgeLayer {
    type Service = Edge<S>;
    fn layer(&self, inner: S) -> Edge<S> {
        Edge { layer: self.clone(), inner }
    }
}

/// A service inside an [`EdgeLayer`].
#[derive(Clone)]
pub struct Edge<S> {
    layer: EdgeLayer,
    inner: S,
}

impl<S, Request, Body: 'static> Service<Request> for Edge<S>
where
    S: Service<Request, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let clock = self.layer.clock.clone();
        let answer = self.inner.call(request);
        let stamped = async move {
            let mut response = answer.await?;
            if let Some(date) = http_date(clock.wall_ms()) {
                response.headers_mut().insert(DATE, date);
            }
            Ok(response)
        };
        match &self.layer.scope {
            Some(scope) => {
                let number = self.layer.requests.fetch_add(1, Ordering::Relaxed);
                scope.child(number).run(stamped)
            }
            None => Box::pin(stamped),
        }
    }
}

/// A wall-clock time as HTTP writes it; `None` for one that the calendar does not have.
fn http_date(wall_ms: i64) -> Option<HeaderValue> {
    let at = jiff::Timestamp::from_millisecond(wall_ms).ok()?;
    let text = at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    HeaderValue::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_look_as_http_wants_them() {
        assert_eq!(http_date(784_111_777_000).unwrap(), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(http_date(i64::MAX), None);
    }
}
