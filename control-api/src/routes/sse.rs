//! Server-sent events as they go over the wire. An event is written once, for all of its readers.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use http::header;

use super::Events;
use crate::rest::AuditRecord;

/// A client's library and whatever is between it and us take a silent stream for a dead one.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// A comment, which no reader takes for an event.
const SILENCE: &[u8] = b":\n\n";

/// A record as an event: its position, its action, and itself.
pub fn event(record: &AuditRecord) -> Bytes {
    // A newer node's action may be any word; a line break in it would begin another field.
    let action: String =
        record.action.chars().map(|sign| if sign.is_control() { ' ' } else { sign }).collect();
    let mut text = format!("id: {}\nevent: {action}\ndata: ", record.index).into_bytes();
    serde_json::to_writer(&mut text, record).expect("audit records are plain data");
    text.extend_from_slice(b"\n\n");
    text.into()
}

/// The answer that does not end.
pub(super) fn answer(events: Events) -> Response {
    let told = stream::unfold(events, |mut events| async move {
        match tokio::time::timeout(KEEP_ALIVE, events.next()).await {
            Ok(Some(events_so_far)) => Some((Ok::<_, Infallible>(events_so_far), events)),
            Ok(None) => None,
            Err(_) => Some((Ok(Bytes::from_static(SILENCE)), events)),
        }
    });
    let headers =
        [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    (headers, Body::from_stream(told)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(action: &str, reason: &str) -> AuditRecord {
        serde_json::from_value(serde_json::json!({
            "index": 7, "at_ms": 1, "actor": "operator/alice", "action": action, "pair": "shop",
            "epoch": null, "operation": null, "reason": reason, "before": "", "after": "",
            "previous_hash": "", "hash": "",
        }))
        .expect("a record")
    }

    #[test]
    fn an_event_is_one_block_of_three_fields_whatever_is_written_in_the_record() {
        for (action, reason) in [
            ("pair.apply", "because"),
            ("pair.apply", "a\n\nid: 99\ndata: {}\r\nb"),
            ("two\nwords\r", "\u{2028}\u{0085}"),
        ] {
            let record = record(action, reason);
            let text = String::from_utf8(event(&record).to_vec()).expect("text");
            let block = text.strip_suffix("\n\n").expect("it ends");
            let fields: Vec<_> = block.split(['\n', '\r']).collect();
            let [id, action, data] = fields[..] else { panic!("{text}") };
            assert_eq!(id, "id: 7");
            assert!(action.starts_with("event: "), "{action}");
            let data = data.strip_prefix("data: ").expect("data");
            assert_eq!(serde_json::from_str::<AuditRecord>(data).expect("a record"), record);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_says_that_it_lives_and_loses_nothing_by_it() {
        let (send, receive) = tokio::sync::mpsc::channel::<Bytes>(1);
        let events =
            stream::unfold(
                receive,
                |mut receive| async move { Some((receive.recv().await?, receive)) },
            );
        let mut body = answer(Box::pin(events)).into_body().into_data_stream();
        assert_eq!(body.next().await.expect("a piece").expect("a body"), SILENCE);
        send.send("one".into()).await.expect("it is read");
        assert_eq!(body.next().await.expect("a piece").expect("a body"), "one");
        assert_eq!(body.next().await.expect("a piece").expect("a body"), SILENCE);
        drop(send);
        assert!(body.next().await.is_none());
    }
}
