//! TSIG (RFC 8945) of questions that come in and of their answers.

use hickory_proto::ProtoError;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::TSIG;
use hickory_proto::rr::rdata::tsig::{TsigError, make_tsig_record};
use hickory_proto::rr::{Record, TSigResponseContext, TSigner};

use crate::config::{ConfigError, DnsConfig};
use crate::provider::key_file;

/// The keys of all secondaries.
#[derive(Clone, Default)]
pub(crate) struct Keys(Vec<TSigner>);

/// What is to be made of a question's signature.
pub(crate) enum Signed {
    /// It has none.
    Not,
    /// It is right: whatever is answered is signed in turn.
    By(Chain),
    /// It is wrong: this code, with what the answer carries instead of a signature, or signed when
    /// only the time is wrong.
    Wrong(ResponseCode, TSigResponseContext),
}

impl Keys {
    /// Reads the keys of a configuration. Several secondaries may share one; two keys of one name
    /// are refused.
    pub fn load(config: &DnsConfig) -> Result<Self, ConfigError> {
        let mut keys: Vec<TSigner> = Vec::new();
        for (index, secondary) in config.secondaries.iter().enumerate() {
            let fail = |problem: String| ConfigError {
                path: format!("secondaries[{index}].key_file"),
                problem,
            };
            let key =
                key_file::tsig(&secondary.key_file).map_err(|error| fail(error.to_string()))?;
            let key = key.signer();
            match keys.iter().find(|known| known.signer_name() == key.signer_name()) {
                Some(known) if known.key() == key.key() && known.algorithm() == key.algorithm() => {
                }
                Some(_) => {
                    let name = key.signer_name();
                    return Err(fail(format!("another file has another key of the name {name}")));
                }
                None => keys.push(key.clone()),
            }
        }
        Ok(Self(keys))
    }

    /// Checks the signature of a message as it was received; `now` in seconds since 1970.
    pub fn check(&self, signature: Option<&Record<TSIG>>, message: &[u8], now: u64) -> Signed {
        let Some(tsig) = signature else { return Signed::Not };
        let id = tsig.data.oid;
        let Some(key) = self.0.iter().find(|key| *key.signer_name() == tsig.name) else {
            let context = TSigResponseContext::unknown_key(id, now, tsig.name.clone());
            return Signed::Wrong(ResponseCode::NotAuth, context);
        };
        let Ok((mac, _, range)) = key.verify_message_byte(message, None, true) else {
            let context = TSigResponseContext::bad_signature(id, now, key.clone());
            return Signed::Wrong(ResponseCode::NotAuth, context);
        };
        if !range.contains(&now) {
            let why = Some(TsigError::BadTime);
            let context = TSigResponseContext::new(id, now, key.clone(), mac, why);
            return Signed::Wrong(ResponseCode::NotAuth, context);
        }
        Signed::By(Chain { key: key.clone(), mac, id, now, first: true })
    }
}

/// Signs the messages of one answer, each on top of the one before.
pub(crate) struct Chain {
    key: TSigner,
    /// Of the message before; of the question at first.
    mac: Vec<u8>,
    id: u16,
    now: u64,
    first: bool,
}

impl Chain {
    /// The name of the key.
    pub fn key_name(&self) -> String {
        self.key.signer_name().to_string()
    }

    /// The signature of the next message, given as it is sent but without one.
    pub fn sign(&mut self, message: &[u8]) -> Result<Box<Record<TSIG>>, ProtoError> {
        let (algorithm, fudge) = (self.key.algorithm().clone(), self.key.fudge());
        let stub = TSIG::new(algorithm, self.now, fudge, Vec::new(), self.id, None, Vec::new());
        let signed = if self.first {
            self.key.encode_response_tbs(&self.mac, message, &stub)?
        } else {
            // Later messages: the one before, this one, and the time alone (RFC 8945, 5.3.1).
            let length = u16::try_from(self.mac.len()).unwrap_or_default().to_be_bytes();
            let time = &self.now.to_be_bytes()[2..];
            [&length[..], &self.mac, message, time, &fudge.to_be_bytes()].concat()
        };
        let mac = self.key.sign(&signed).map_err(|error| ProtoError::from(error.to_string()))?;
        (self.mac, self.first) = (mac.clone(), false);
        Ok(Box::new(make_tsig_record(self.key.signer_name().clone(), stub.set_mac(mac))))
    }
}
