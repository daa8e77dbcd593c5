//! How messages are written.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::pb::LinkFrame;

/// Says a message in other words: on a stream all of them in this order, in a call the last one.
pub type Saying = dyn Fn(Value) -> Vec<Value> + Send + Sync;

/// How a program's link messages are written: plainly, or as a simulator has another version write
/// them.
#[derive(Clone, Default)]
pub struct Dialect(Option<Arc<Saying>>);

impl fmt::Debug for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Dialect(other)" } else { "Dialect(plain)" })
    }
}

impl Dialect {
    /// One that says everything so.
    pub fn saying(saying: Arc<Saying>) -> Self {
        Self(Some(saying))
    }

    /// A message for a stream.
    pub fn frames<T: Serialize>(&self, message: &T) -> Vec<LinkFrame> {
        let Some(saying) = &self.0 else { return vec![pack(message)] };
        let plain = serde_json::to_value(message).expect("link messages are plain data");
        saying(plain).iter().map(pack).collect()
    }

    /// A message for a call.
    pub fn frame<T: Serialize>(&self, message: &T) -> LinkFrame {
        self.frames(message).pop().unwrap_or_else(|| pack(message))
    }
}

/// Packs a message plainly.
pub fn pack<T: Serialize>(message: &T) -> LinkFrame {
    let json = serde_json::to_vec(message).expect("link messages are plain data");
    LinkFrame { json }
}
