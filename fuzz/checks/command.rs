//! Any bytes as a signed command, and as what commands hold: what is read is written back as it was.

use bytes::Bytes;
use synod_app_kv::KvOp;
use synod_app_zones::ZonesOp;
use synod_machine::AuthorityOp;
use synod_types::command::{CommandBody, Operation};
use synod_types::{ContentTicket, SignedCommand, wire};

pub fn check(input: &[u8]) {
    if let Ok(command) = wire::decode::<SignedCommand>(input) {
        assert_eq!(wire::decode(&wire::encode(&command)), Ok(command.clone()));
        body(&command.body);
    }
    body(&Bytes::copy_from_slice(input));
    operation(input);
}

fn body(bytes: &Bytes) {
    let Ok(decoded) = CommandBody::decode(bytes) else { return };
    // One body has one encoding: what is signed is what is meant.
    assert_eq!(decoded.encode().as_ref(), Ok(bytes));
    operation(&decoded.operation);
}

fn operation(bytes: &[u8]) {
    let _ticket = ContentTicket::decode(bytes);
    match Operation::split(bytes) {
        Some(Operation::App(bytes)) => {
            if let Ok(op) = KvOp::decode(bytes) {
                assert_eq!(KvOp::decode(&op.encode()[1..]), Ok(op));
            }
            if let Ok(op) = ZonesOp::decode(bytes) {
                assert_eq!(ZonesOp::decode(&op.encode()[1..]), Ok(op));
            }
        }
        Some(Operation::Authority(bytes)) => {
            let _op = AuthorityOp::decode(bytes);
        }
        None => {}
    }
}
