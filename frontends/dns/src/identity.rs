//! Who answers: what a node says of itself over CHAOS and in NSID.

/// What this node says of itself to whom asks. All three are the operator's to choose; empty: not told.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Identity {
    /// `version.bind.` and `version.server.` CH TXT.
    pub version: String,
    /// `hostname.bind.` and `id.server.` CH TXT (RFC 4892).
    pub hostname: String,
    /// The payload of the NSID option (RFC 5001), for whom asks for it.
    pub nsid: Vec<u8>,
}
