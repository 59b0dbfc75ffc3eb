//! The signed command. What was signed is verified as received, then decoded: the bytes are the truth.
//!
//! The signed body is fixed-width and big-endian (docs/PROTOCOL.md gives an example):
//! `"synod/command/v1\0" ‖ cluster id (32) ‖ appNdx (u32) ‖ commander id (32) ‖ seq (u64) ‖ not_after (u64, ms
//! since 1970, 0 = none) ‖ expected stateNdx (u64, all ones = none) ‖ length (u32) ‖ operation`.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::ids::{AppNdx, ClusterId, CommandId, CommanderId, Seq, StateNdx, TimeMs};
use crate::limits::{KEY_DER_BYTES_MAX, OPERATION_BYTES_MAX, SIGNATURE_BYTES_MAX};
use crate::signed_body::SignedBody;

/// First bytes of every signed body: what is signed, and in which version.
pub const DOMAIN: &[u8; 17] = b"synod/command/v1\0";
/// Bytes of a body before its operation.
pub const BODY_HEADER_BYTES: usize = DOMAIN.len() + 32 + 4 + 32 + 8 + 8 + 8 + 4;
/// The encoding of "no expected stateNdx".
const EXPECTED_NONE: u64 = u64::MAX;

/// A command as it travels and is stored: the signed bytes, the signature over them, and the signer's public
/// key. The key carries no authority: its SHA3-256 must be the commander id inside the body, and whether that
/// commander may command is decided where the command is applied. It travels along so that every node can
/// verify every command at any time, without knowing any state.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct SignedCommand {
    /// The signed body, exactly as the commander signed it.
    pub body: SignedBody,
    /// RSASSA-PKCS1-v1_5 with SHA3-256 over the body, or Ed25519 over the body's SHA3-256.
    pub signature: Bytes,
    /// SubjectPublicKeyInfo of the commander, DER.
    pub key: Bytes,
}

impl SignedCommand {
    /// SHA3-256 of the body.
    pub fn id(&self) -> CommandId {
        CommandId(self.body.digest())
    }

    /// Bytes that this command takes in a decree, within a few.
    pub fn len(&self) -> usize {
        self.body.len() + self.signature.len() + self.key.len()
    }

    /// Whether there are no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Checks the sizes of the parts, before any other work is done on them.
    ///
    /// # Errors
    /// [`CommandError::TooLarge`] names the part that is over its limit.
    pub fn check_sizes(&self) -> Result<(), CommandError> {
        for (part, len, max) in [
            ("body", self.body.len(), BODY_HEADER_BYTES + OPERATION_BYTES_MAX),
            ("signature", self.signature.len(), SIGNATURE_BYTES_MAX),
            ("key", self.key.len(), KEY_DER_BYTES_MAX),
        ] {
            if len > max {
                return Err(CommandError::TooLarge { part, len, max });
            }
        }
        Ok(())
    }
}

/// A decoded body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommandBody {
    /// The only cluster in which this command may be executed.
    pub cluster: ClusterId,
    /// The only application in which this command may be executed.
    pub app: AppNdx,
    /// Who commands.
    pub commander: CommanderId,
    /// The commander's number for this command in this application.
    pub seq: Seq,
    /// Not executed in a decree whose time is later; `None`: never expires.
    pub not_after: Option<TimeMs>,
    /// Refused unless the application is in exactly this state before the command; `None`: any.
    pub expected: Option<StateNdx>,
    /// What to do: see [`crate::command::Operation`].
    pub operation: Bytes,
}

/// Why bytes are not a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// A part is over its limit.
    #[error("the command's {part} has {len} bytes; at most {max} are allowed")]
    TooLarge {
        /// Which part.
        part: &'static str,
        /// Its bytes.
        len: usize,
        /// Its limit.
        max: usize,
    },
    /// The bytes do not begin with [`DOMAIN`].
    #[error("the signed bytes do not begin with \"synod/command/v1\\0\"")]
    WrongDomain,
    /// There are fewer or more bytes than the body declares.
    #[error("the signed body has {len} bytes where its length field asks for {expected}")]
    WrongLength {
        /// Bytes received.
        len: usize,
        /// Bytes that the body declares.
        expected: usize,
    },
}

impl CommandBody {
    /// The bytes to sign.
    ///
    /// # Errors
    /// [`CommandError::TooLarge`] if the operation is over [`OPERATION_BYTES_MAX`].
    pub fn encode(&self) -> Result<Bytes, CommandError> {
        let len = self.operation.len();
        let too_large = CommandError::TooLarge { part: "operation", len, max: OPERATION_BYTES_MAX };
        if len > OPERATION_BYTES_MAX {
            return Err(too_large);
        }
        let mut body = BytesMut::with_capacity(BODY_HEADER_BYTES + len);
        body.put_slice(DOMAIN);
        body.put_slice(self.cluster.as_bytes());
        body.put_u32(self.app.0);
        body.put_slice(self.commander.as_bytes());
        body.put_u64(self.seq.0);
        body.put_u64(self.not_after.map_or(0, |time| time.0));
        body.put_u64(self.expected.map_or(EXPECTED_NONE, |ndx| ndx.0));
        body.put_u32(u32::try_from(len).map_err(|_| too_large)?);
        body.put_slice(&self.operation);
        Ok(body.freeze())
    }

    /// Reads a body; the operation shares the bytes of `body`.
    ///
    /// # Errors
    /// [`CommandError`] says what does not fit.
    pub fn decode(body: &Bytes) -> Result<CommandBody, CommandError> {
        let len = body.len();
        let short = CommandError::WrongLength { len, expected: BODY_HEADER_BYTES };
        let Some((domain, mut rest)) = body.split_first_chunk::<17>() else { return Err(short) };
        if domain != DOMAIN {
            return Err(CommandError::WrongDomain);
        }
        let mut fields = || -> Option<_> {
            Some((
                ClusterId(Digest(take(&mut rest)?)),
                AppNdx(u32::from_be_bytes(take(&mut rest)?)),
                CommanderId(Digest(take(&mut rest)?)),
                Seq(u64::from_be_bytes(take(&mut rest)?)),
                u64::from_be_bytes(take(&mut rest)?),
                u64::from_be_bytes(take(&mut rest)?),
                u32::from_be_bytes(take(&mut rest)?),
            ))
        };
        let (cluster, app, commander, seq, not_after, expected, declared) = fields().ok_or(short)?;
        let declared = usize::try_from(declared).expect("usize has at least 32 bits here");
        if declared > OPERATION_BYTES_MAX {
            return Err(CommandError::TooLarge {
                part: "operation",
                len: declared,
                max: OPERATION_BYTES_MAX,
            });
        }
        if rest.len() != declared {
            return Err(CommandError::WrongLength { len, expected: BODY_HEADER_BYTES + declared });
        }
        Ok(CommandBody {
            cluster,
            app,
            commander,
            seq,
            not_after: (not_after != 0).then_some(TimeMs(not_after)),
            expected: (expected != EXPECTED_NONE).then_some(StateNdx(expected)),
            operation: body.slice(BODY_HEADER_BYTES..),
        })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

/// What the first byte of an operation says: whose operation it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation<'a> {
    /// 0: the application's own; the bytes behind the first are its business.
    App(&'a [u8]),
    /// 1: who may command this application; the bytes behind the first are an encoded `AuthorityOp`.
    Authority(&'a [u8]),
}

impl<'a> Operation<'a> {
    /// First byte of an application's operation.
    pub const APP: u8 = 0;
    /// First byte of an operation on the application's commanders.
    pub const AUTHORITY: u8 = 1;

    /// Splits an operation. `None` if it is empty or its first byte is unknown.
    pub fn split(operation: &'a [u8]) -> Option<Operation<'a>> {
        match operation.split_first() {
            Some((&Operation::APP, rest)) => Some(Operation::App(rest)),
            Some((&Operation::AUTHORITY, rest)) => Some(Operation::Authority(rest)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(operation: usize) -> CommandBody {
        CommandBody {
            cluster: ClusterId(Digest([1; 32])),
            app: AppNdx(7),
            commander: CommanderId(Digest([2; 32])),
            seq: Seq(9),
            not_after: Some(TimeMs(1_700_000_000_000)),
            expected: None,
            operation: vec![5; operation].into(),
        }
    }

    #[test]
    fn a_body_reads_back() {
        for operation in [0, 1, 300] {
            let body = body(operation);
            assert_eq!(CommandBody::decode(&body.encode().unwrap()), Ok(body));
        }
    }

    #[test]
    fn the_operation_limit_is_exact() {
        assert!(body(OPERATION_BYTES_MAX - 1).encode().is_ok());
        let largest = body(OPERATION_BYTES_MAX).encode().unwrap();
        assert!(CommandBody::decode(&largest).is_ok());
        assert!(matches!(body(OPERATION_BYTES_MAX + 1).encode(), Err(CommandError::TooLarge { .. })));
        let mut declared = largest.to_vec();
        declared.push(5);
        let over = u32::try_from(OPERATION_BYTES_MAX + 1).unwrap().to_be_bytes();
        declared[BODY_HEADER_BYTES - 4..BODY_HEADER_BYTES].copy_from_slice(&over);
        assert!(matches!(CommandBody::decode(&declared.into()), Err(CommandError::TooLarge { .. })));
    }

    #[test]
    fn every_truncation_is_refused() {
        let whole = body(20).encode().unwrap();
        for len in 0..whole.len() {
            assert!(
                CommandBody::decode(&whole.slice(..len)).is_err(),
                "{len} bytes were taken for a command"
            );
        }
    }

    #[test]
    fn another_domain_is_refused() {
        let mut bytes = body(3).encode().unwrap().to_vec();
        bytes[15] = b'2';
        assert_eq!(CommandBody::decode(&bytes.into()), Err(CommandError::WrongDomain));
    }
}
