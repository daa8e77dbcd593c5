//! Where in a distributed trace something belongs, as W3C Trace Context writes it.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Name of a trace.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(pub [u8; 16]);

/// Name of a span of a trace.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(pub [u8; 8]);

/// A span of a trace, and whether the trace is kept: the value of `traceparent`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct TraceContext {
    /// The trace.
    pub trace: TraceId,
    /// The span.
    pub span: SpanId,
    /// Whether who began the trace keeps it. Nobody who takes part decides otherwise.
    pub sampled: bool,
}

impl TraceContext {
    /// The same trace, at another span.
    pub fn at(self, span: SpanId) -> Self {
        Self { span, ..self }
    }
}

/// A text that is no `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no traceparent of W3C Trace Context")]
pub struct NoTraceContext;

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != N * 2 || !text.bytes().all(lower) {
        return None;
    }
    let mut out = [0; N];
    for (index, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[index * 2..index * 2 + 2], 16).ok()?;
    }
    Some(out)
}

fn parse(text: &str) -> Option<TraceContext> {
    if !text.is_ascii() {
        return None;
    }
    let mut fields = text.split('-');
    let version: [u8; 1] = bytes(fields.next()?)?;
    let trace: [u8; 16] = bytes(fields.next()?)?;
    let span: [u8; 8] = bytes(fields.next()?)?;
    let [flags] = bytes(fields.next()?)?;
    // A later version may say more, after what this one says.
    let fits = match version {
        [0] => fields.next().is_none(),
        [255] => false,
        _ => true,
    };
    let valid = fits && trace != [0; 16] && span != [0; 8];
    let (trace, span) = (TraceId(trace), SpanId(span));
    valid.then_some(TraceContext { trace, span, sampled: flags & 1 == 1 })
}

impl FromStr for TraceContext {
    type Err = NoTraceContext;
    fn from_str(text: &str) -> Result<Self, NoTraceContext> {
        parse(text).ok_or(NoTraceContext)
    }
}

impl TryFrom<String> for TraceContext {
    type Error = NoTraceContext;
    fn try_from(text: String) -> Result<Self, NoTraceContext> {
        text.parse()
    }
}

impl From<TraceContext> for String {
    fn from(context: TraceContext) -> String {
        context.to_string()
    }
}

fn hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, &self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, &self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, &self.0)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, &self.0)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-0{}", self.trace, self.span, u8::from(self.sampled))
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_read_is_written_again() {
        let context: TraceContext = GIVEN.parse().unwrap();
        assert!(context.sampled);
        assert_eq!(context.to_string(), GIVEN);
        let json = serde_json::to_string(&context).unwrap();
        assert_eq!(serde_json::from_str::<TraceContext>(&json).unwrap(), context);
        let unkept: TraceContext = GIVEN.replace("-01", "-02").parse().unwrap();
        assert!(!unkept.sampled, "only the lowest bit says that a trace is kept");
    }

    #[test]
    fn what_the_standard_refuses_is_no_context() {
        let later = format!("{}-more", GIVEN.replacen("00", "01", 1));
        assert!(later.parse::<TraceContext>().is_ok(), "a later version may say more");
        for bad in [
            "",
            "00",
            &GIVEN.to_uppercase(),
            &format!("{GIVEN}-more"),
            &GIVEN.replacen("00", "ff", 1),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319é-b7ad6b7169203331-01",
        ] {
            assert_eq!(bad.parse::<TraceContext>(), Err(NoTraceContext), "{bad}");
        }
    }
}
