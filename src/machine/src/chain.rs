//! The hash chain over everything that an application executed: commands, and expiries, which make a state of their own
//! as commands do. Two replicas that disagree are found at the exact stateNdx, and a receipt can be proved from the log.
//!
//! `chain(0) = SHA3-256("synod/chain/v1\0" ‖ cluster id ‖ appNdx (u32, big-endian))`
//! `chain(n) = SHA3-256(chain(n−1) ‖ time (u64) ‖ command id ‖ SHA3-256(outcome))`, the time that the machine had, in ms,
//! and the outcome in the encoding of [`synod_types::wire`]. The time is in it because no commander signs it. An expiry stands there like a command, under an id that follows from where the log has it:
//!
//! `SHA3-256("synod/expiry/v1\0" ‖ cluster id ‖ appNdx (u32) ‖ slot (u64) ‖ lease clock (u64))`, numbers big-endian.
//!
//! A refusal's text is part of the outcome and so of the chain: whatever makes an [`Outcome::Refused`] must build its
//! text from the command and the state alone, and a changed text is a changed protocol.

use synod_types::{AppNdx, ClusterId, CommandId, Digest, LeaseMs, Outcome, Slot, TimeMs, wire};

/// First bytes under the first link: what is hashed, and in which version.
pub const DOMAIN: &[u8; 15] = b"synod/chain/v1\0";

/// First bytes of what an expiry's id is the hash of.
pub const EXPIRY_DOMAIN: &[u8; 16] = b"synod/expiry/v1\0";

/// The chain's value before the first command: chain(0).
pub fn start(cluster: ClusterId, app: AppNdx) -> Digest {
    Digest::of(&[DOMAIN, cluster.as_bytes(), &app.0.to_be_bytes()])
}

/// The id of an expiry: that of the tick in `slot`, at which the lease clock showed `clock`.
pub fn expiry(cluster: ClusterId, app: AppNdx, slot: Slot, clock: LeaseMs) -> CommandId {
    let (app, slot, clock) = (app.0.to_be_bytes(), slot.0.to_be_bytes(), clock.0.to_be_bytes());
    CommandId(Digest::of(&[EXPIRY_DOMAIN, cluster.as_bytes(), &app, &slot, &clock]))
}

/// The chain's value after one more command or expiry.
pub fn link(before: Digest, time: TimeMs, command: CommandId, outcome: &Outcome) -> Digest {
    let outcome = Digest::of(&[&wire::encode(outcome)]);
    Digest::of(&[&before.0, &time.0.to_be_bytes(), command.as_bytes(), &outcome.0])
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
        let first = link(start, TimeMs(300), CommandId(Digest([2; 32])), &done);
        let refused = Outcome::Refused(Refusal::new(RefusalCode::Conflict, "no"));
        let second = link(first, TimeMs(300), CommandId(Digest([3; 32])), &refused);
        for (link, known) in [
            (start, "26cf02ec674edab7915e92d7b9522357ae2abbf13f6705598bfd0b4b8bee1b55"),
            (first, "4841867413a57f23bcc794544c3a322eb74b82ed3ab3417454d41fe2e27da80e"),
            (second, "3224a04091d8556c122841ecf8725b5c9fb2e048d47bcd8c014edf1687221613"),
        ] {
            assert_eq!(link.to_string(), known);
        }
        let expiry = expiry(ClusterId(Digest([1; 32])), AppNdx(7), Slot(258), LeaseMs(60_000));
        assert_eq!(expiry.to_string(), "08123c155be8565c62e5e93ec9024622aeb7a9acbc6f96bb30aa8063dbe59364");
    }
}
