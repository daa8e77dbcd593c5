//! From a transfer to the messages that carry it.

use hickory_proto::ProtoError;
use hickory_proto::op::{Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::Record;
use hickory_proto::serialize::binary::BinEncodable;

use super::keys::Chain;
use super::versions::Transfer;

/// Records of one message, encoded one by one: names cannot be compressed beyond 16 KiB.
const MESSAGE_BYTES: usize = 15 * 1024;

/// All records of an answer in their order (RFC 5936, RFC 1995). `soa` is the zone's for a serial.
pub(crate) fn records(transfer: Transfer, newest: u32, soa: impl Fn(u32) -> Record) -> Vec<Record> {
    let mut all = vec![soa(newest)];
    match transfer {
        Transfer::Nothing => return all,
        Transfer::Whole(records) => all.extend(records),
        Transfer::Changes(changes) => {
            for (from, gone, to, came) in changes {
                all.push(soa(from));
                all.extend(gone);
                all.push(soa(to));
                all.extend(came);
            }
        }
    }
    all.push(soa(newest));
    all
}

/// The messages that answer `question` with `records`, each signed on top of the one before.
pub(crate) fn messages(
    id: u16,
    question: &Query,
    records: Vec<Record>,
    mut chain: Chain,
) -> Result<Vec<Vec<u8>>, ProtoError> {
    let mut parts: Vec<Vec<Record>> = vec![Vec::new()];
    let mut bytes = 0;
    for record in records {
        let length = record.to_bytes()?.len();
        if bytes + length > MESSAGE_BYTES && bytes > 0 {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes += length;
        if let Some(part) = parts.last_mut() {
            part.push(record);
        }
    }
    let signed = |(index, part): (usize, Vec<Record>)| {
        let mut message = Message::new(id, MessageType::Response, OpCode::Query);
        message.metadata.authoritative = true;
        if index == 0 {
            message.add_query(question.clone());
        }
        message.add_answers(part);
        let signature = chain.sign(&message.to_vec()?)?;
        message.set_signature(signature);
        message.to_vec()
    };
    parts.into_iter().enumerate().map(signed).collect()
}

/// A refusal, signed where the question was.
pub(crate) fn refusal(
    asked: &Metadata,
    question: &Query,
    code: ResponseCode,
    chain: Option<Chain>,
) -> Result<Vec<u8>, ProtoError> {
    let mut message = Message::new(asked.id, MessageType::Response, asked.op_code);
    message.metadata.response_code = code;
    message.add_query(question.clone());
    if let Some(mut chain) = chain {
        let signature = chain.sign(&message.to_vec()?)?;
        message.set_signature(signature);
    }
    message.to_vec()
}
