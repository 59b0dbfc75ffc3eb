//! Nodes of two authorities, in files as a node reads them, and handshakes without a socket.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed, in its helpers too")]

use std::path::PathBuf;
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};
use synod_auth::{Algorithm, CertificateAuthority, SigningKey, TlsIdentity};
use tempfile::TempDir;

pub const NAME: &str = "node.example";

/// Two nodes of one authority and one of another, in files as a node reads them.
pub struct Fleet {
    pub directory: TempDir,
}

impl Fleet {
    pub fn new() -> Fleet {
        let directory = tempfile::tempdir().unwrap();
        let fleet = Fleet { directory };
        for (authority, nodes) in [("ours", &["a", "b"][..]), ("theirs", &["stranger"])] {
            let made = CertificateAuthority::generate(authority).unwrap();
            made.save_new(fleet.path(authority, "pem"), fleet.path(authority, "key")).unwrap();
            for node in nodes {
                let key = SigningKey::generate(Algorithm::Ed25519);
                key.save_new(fleet.path(node, "key")).unwrap();
                let certificate = made.issue_node(key.public(), &[NAME.to_owned()]).unwrap();
                std::fs::write(fleet.path(node, "pem"), certificate).unwrap();
            }
        }
        fleet
    }

    pub fn path(&self, name: &str, kind: &str) -> PathBuf {
        self.directory.path().join(format!("{name}.{kind}"))
    }

    pub fn identity(&self, node: &str, authority: &str) -> TlsIdentity {
        let [certificate, key, roots] =
            [self.path(node, "pem"), self.path(node, "key"), self.path(authority, "pem")];
        TlsIdentity::load(certificate, key, roots).unwrap()
    }
}

/// Carries bytes to and fro until nothing more comes; both ends, or the first error.
pub fn handshake(
    client: ClientConfig,
    server: ServerConfig,
    name: &str,
) -> Result<(ClientConnection, ServerConnection), rustls::Error> {
    let name = name.to_owned().try_into().unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name)?;
    let mut server = ServerConnection::new(Arc::new(server))?;
    while client.wants_write() || server.wants_write() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut &wire[..]).unwrap();
        server.process_new_packets()?;
        wire.clear();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut &wire[..]).unwrap();
        client.process_new_packets()?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok((client, server))
}
