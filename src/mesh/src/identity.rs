//! Who is at the other end: the key in its certificate, and a Hello that fits.

use quinn::Connection;
use rustls::pki_types::CertificateDer;
use synod_auth::{CertificateFacts, PublicKey, TlsIdentity, public_key_of, sign_hello, verify_hello};
use synod_types::limits::PROGRAM_BYTES_MAX;
use synod_types::session::{Hello, SessionErrorCode};
use synod_types::{ClusterId, NodeId, Program};

use crate::session::Violation;

/// The certificate that the other end has shown, and what it has shown behind it.
pub(crate) fn peer_chain(connection: &Connection) -> Option<Vec<CertificateDer<'static>>> {
    connection.peer_identity()?.downcast().ok().map(|chain| *chain)
}

/// The key in the certificate that the other end has shown and proved to hold.
pub(crate) fn peer_key(connection: &Connection) -> Option<PublicKey> {
    public_key_of(peer_chain(connection)?.first()?).ok()
}

/// What the certificate that the other end has shown calls it, if that is a node's name.
pub(crate) fn peer_name(connection: &Connection) -> Option<String> {
    let facts = CertificateFacts::of(peer_chain(connection)?.first()?).ok()?;
    facts.node_name().map(str::to_owned)
}

/// The Hello of this node for this connection.
pub(crate) fn own_hello(
    identity: &TlsIdentity,
    cluster: &ClusterId,
    program: &Program,
    address: &str,
    directory: [u8; 16],
    connection: &Connection,
) -> Hello {
    let key = identity.public_key().spki_der();
    sign_hello(identity.signing_key(), cluster, program, key, address, directory, &exporter(connection))
}

/// Checks the Hello of who opened this connection with the key `peer`.
pub(crate) fn check_hello(
    hello: &Hello,
    msg_n: u64,
    peer: &PublicKey,
    cluster: &ClusterId,
    connection: &Connection,
) -> Result<(), Violation> {
    let refuse = |code, description: &str| Err(Violation::of_frame(code, msg_n, description));
    if hello.id != peer.id() {
        let description = format!("the certificate is that of node {:?}", NodeId(peer.id()));
        return refuse(SessionErrorCode::WrongId, &description);
    }
    if hello.communication_key[..] != peer.spki_der()[..] {
        let description = "the communication key is not the key of the certificate";
        return refuse(SessionErrorCode::WrongCommunicationKey, description);
    }
    check_program(&hello.program).map_err(|violation| Violation { your_msg_n: Some(msg_n), ..violation })?;
    match verify_hello(hello, cluster, &exporter(connection)) {
        Ok(_) => Ok(()),
        Err(SessionErrorCode::BadSignature) => {
            let description = "the signature does not fit this key, this cluster and this TLS session";
            refuse(SessionErrorCode::BadSignature, description)
        }
        Err(code) => refuse(code, "the Hello does not verify"),
    }
}

/// Checks what the other end says of its program.
pub(crate) fn check_program(program: &Program) -> Result<(), Violation> {
    if program.version.len() <= PROGRAM_BYTES_MAX {
        return Ok(());
    }
    Err(Violation::unexpected("the version of the program is too long"))
}

/// The 32 bytes that only the two ends of this TLS session know.
fn exporter(connection: &Connection) -> [u8; 32] {
    let mut bytes = [0; 32];
    connection
        .export_keying_material(&mut bytes, Hello::EXPORTER_LABEL, b"")
        .expect("TLS 1.3 exports up to 255 hashes' worth of bytes");
    bytes
}
