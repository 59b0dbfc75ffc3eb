//! The hash chain over everything that an application executed. Two replicas that disagree are found at the exact
//! stateNdx, and a receipt can be proved from the log.
//!
//! `chain(0) = SHA3-256("synod/chain/v1\0" ‖ cluster id ‖ appNdx (u32, big-endian))`
//! `chain(n) = SHA3-256(chain(n−1) ‖ command id ‖ SHA3-256(outcome))`, the outcome in the encoding of
//! [`synod_types::wire`].
//!
//! A refusal's text is part of the outcome and so of the chain: whatever makes an [`Outcome::Refused`] must build its
//! text from the command and the state alone, and a changed text is a changed protocol.

use synod_types::{AppNdx, ClusterId, CommandId, Digest, Outcome, wire};

/// First bytes under the first link: what is hashed, and in which version.
pub const DOMAIN: &[u8; 15] = b"synod/chain/v1\0";

/// The chain's value before the first command: chain(0).
pub fn start(cluster: ClusterId, app: AppNdx) -> Digest {
    Digest::of(&[DOMAIN, cluster.as_bytes(), &app.0.to_be_bytes()])
}

/// The chain's value after one more command.
pub fn link(before: Digest, command: CommandId, outcome: &Outcome) -> Digest {
    let outcome = Digest::of(&[&wire::encode(outcome)]);
    Digest::of(&[&before.0, command.as_bytes(), &outcome.0])
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use synod_types::{Refusal, RefusalCode};

    use super::*;

    /// Computed with another SHA3-256 (Python's hashlib) from the formulas above.
    #[test]
    fn the_chain_has_its_known_values() {
        let start = start(ClusterId(Digest([1; 32])), AppNdx(7));
        let done = Outcome::Done(Bytes::from_static(b"ok"));
        let first = link(start, CommandId(Digest([2; 32])), &done);
        let refused = Outcome::Refused(Refusal::new(RefusalCode::Conflict, "no"));
        let second = link(first, CommandId(Digest([3; 32])), &refused);
        for (link, known) in [
            (start, "26cf02ec674edab7915e92d7b9522357ae2abbf13f6705598bfd0b4b8bee1b55"),
            (first, "6beb9c3d034985a966c1208ecdceabd55160b151c6b151efa813f28966347d87"),
            (second, "195edc4c6b9beb838d885888d2a61c26ba948415bcead2c88a2106a3e192a7db"),
        ] {
            assert_eq!(link.to_string(), known);
        }
    }
}
