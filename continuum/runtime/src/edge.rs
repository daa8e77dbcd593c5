//! What every server of ours puts around its handlers.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
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
    dated: Arc<Mutex<Dated>>,
}

/// The last date that was written: it changes once a second, and answers come more often.
#[derive(Default)]
struct Dated {
    second: i64,
    text: Option<HeaderValue>,
}

impl Dated {
    fn at(&mut self, wall_ms: i64) -> Option<HeaderValue> {
        let second = wall_ms.div_euclid(1_000);
        if self.text.is_none() || self.second != second {
            *self = Self { second, text: http_date(wall_ms) };
        }
        self.text.clone()
    }
}

impl EdgeLayer {
    /// A layer for a server that is set up in the current scope.
    pub fn new(clock: &SharedClock) -> Self {
        let scope = Inherited::here();
        Self { clock: clock.clone(), scope, requests: Arc::default(), dated: Arc::default() }
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
        let (clock, dated) = (self.layer.clock.clone(), self.layer.dated.clone());
        let answer = self.inner.call(request);
        let stamped = async move {
            let mut response = answer.await?;
            let date = dated.lock().unwrap_or_else(PoisonError::into_inner).at(clock.wall_ms());
            if let Some(date) = date {
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

    #[test]
    fn a_kept_date_is_that_of_its_second() {
        let mut dated = Dated::default();
        for wall_ms in [0, 999, 1_000, 784_111_777_999, 784_111_776_999, -1, i64::MAX] {
            assert_eq!(dated.at(wall_ms), http_date(wall_ms));
        }
    }
}
