//! The certificates of each application, for front ends that give them out; and how they are written as JSON.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use synod_machine::View;
use synod_types::{
    AppNdx, CertificateBundle, ClusterId, Configuration, Digest, Epoch, NodeId, Slot, StateCertificate,
    StateNdx, Statement, StatementSignature,
};
use utoipa::ToSchema;

/// Where this node's certificates are.
pub trait Certificates: Send + Sync {
    /// The newest one of an application.
    fn newest(&self, app: AppNdx) -> Option<Arc<StateCertificate>>;

    /// Those of states before `after`, newest first, at most `limit`.
    fn list(
        &self,
        app: AppNdx,
        after: Option<StateNdx>,
        limit: usize,
    ) -> CertificateRead<'_, Vec<Arc<StateCertificate>>>;

    /// That of a state, or the newest one, with what proves who signed it.
    fn bundle(
        &self,
        app: AppNdx,
        state_ndx: Option<StateNdx>,
    ) -> CertificateRead<'_, Option<CertificateBundle>>;

    /// The newest state of which there is one, if it is in memory.
    fn certified(&self, app: AppNdx) -> Option<Certified>;
}

/// Certificates that are being read.
pub type CertificateRead<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A state, and its certificate: the certificate's `root` is that of the view's application.
#[derive(Clone, Debug)]
pub struct Certified {
    /// Who vouches for it.
    pub certificate: Arc<StateCertificate>,
    /// The state.
    pub view: Arc<View>,
}

/// A node without certificates.
pub(crate) struct NoCertificates;

impl Certificates for NoCertificates {
    fn newest(&self, _app: AppNdx) -> Option<Arc<StateCertificate>> {
        None
    }

    fn list(
        &self,
        _app: AppNdx,
        _after: Option<StateNdx>,
        _limit: usize,
    ) -> CertificateRead<'_, Vec<Arc<StateCertificate>>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    fn bundle(
        &self,
        _app: AppNdx,
        _state_ndx: Option<StateNdx>,
    ) -> CertificateRead<'_, Option<CertificateBundle>> {
        Box::pin(std::future::ready(None))
    }

    fn certified(&self, _app: AppNdx) -> Option<Certified> {
        None
    }
}

/// What the field `format` says.
const FORMAT: &str = "synod/certificate-bundle/v1";

/// A certificate with what proves it, as JSON. All ids, digests, keys and signatures are lower-case hex.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = CertificateBundle)]
pub struct BundleForm {
    /// `synod/certificate-bundle/v1`.
    format: String,
    /// SHA3-256 of the genesis document.
    cluster: String,
    /// One for each epoch that began since genesis, as far as they are known: signed by a majority of the members before, too.
    handovers: Vec<CertificateForm>,
    /// What is to be proved.
    certificate: CertificateForm,
}

/// What members have signed of a state.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = StateCertificate)]
pub struct CertificateForm {
    app_ndx: u32,
    /// The state.
    state_ndx: u64,
    /// Whose votes decide behind it.
    epoch: u64,
    /// The slot whose decree made it, or began the epoch in it.
    slot: u64,
    /// The hash chain there.
    chain: String,
    /// The application's commitment to what it holds.
    root: String,
    /// The ids of the epoch's members.
    members: Vec<String>,
    /// Their signatures, rising by the node's id.
    signatures: Vec<SignatureForm>,
}

/// A node's signature.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = StateSignature)]
pub struct SignatureForm {
    /// SHA3-256 of its key.
    node: String,
    /// Its public key (SubjectPublicKeyInfo, DER).
    key: String,
    /// See docs/PROTOCOL.md.
    signature: String,
}

/// Why JSON is no bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// It is of another format.
    #[error("its format is {0:?}, and this program reads {FORMAT:?}")]
    Format(String),
    /// Something is not hex digits as this program writes them.
    #[error("{what} is {text:?}, and {digits} are expected")]
    Hex {
        /// What.
        what: &'static str,
        /// What stands there.
        text: String,
        /// What should.
        digits: &'static str,
    },
    /// A proof with more steps than any has.
    #[error("the proof has {0} steps; none has more than 128")]
    Steps(usize),
    /// A part without keys that is written out.
    #[error("a part without keys is written as null in a proof, and not as zeros")]
    Zeros,
    /// A step of a proof that is none.
    #[error("a step of the proof has {0} digests, and 3 are expected")]
    Parts(usize),
    /// A signature is said to be of a node whose key is another one.
    #[error("the key of a signature is not that of node {0}")]
    Node(String),
}

impl BundleForm {
    /// As JSON.
    pub fn of(bundle: &CertificateBundle) -> BundleForm {
        BundleForm {
            format: FORMAT.to_owned(),
            cluster: bundle.cluster.to_string(),
            handovers: bundle.handovers.iter().map(CertificateForm::of).collect(),
            certificate: CertificateForm::of(&bundle.certificate),
        }
    }

    /// What it says; whether that is true is another question.
    ///
    /// # Errors
    /// [`FormError`].
    pub fn read(&self) -> Result<CertificateBundle, FormError> {
        if self.format != FORMAT {
            return Err(FormError::Format(self.format.clone()));
        }
        Ok(CertificateBundle {
            cluster: ClusterId(digest("cluster", &self.cluster)?),
            handovers: self.handovers.iter().map(CertificateForm::read).collect::<Result<_, _>>()?,
            certificate: self.certificate.read()?,
        })
    }
}

impl CertificateForm {
    /// As JSON.
    pub fn of(certificate: &StateCertificate) -> CertificateForm {
        let Statement { app, epoch, members: _, slot, state_ndx, chain, root } = certificate.statement;
        CertificateForm {
            app_ndx: app.0,
            state_ndx: state_ndx.0,
            epoch: epoch.0,
            slot: slot.0,
            chain: chain.to_string(),
            root: root.to_string(),
            members: certificate.members.iter().map(ToString::to_string).collect(),
            signatures: certificate.signatures.iter().map(SignatureForm::of).collect(),
        }
    }

    fn read(&self) -> Result<StateCertificate, FormError> {
        let members = self.members.iter().map(|id| digest("a member", id).map(NodeId));
        let members = members.collect::<Result<Vec<_>, _>>()?;
        let configuration = Configuration { epoch: Epoch(self.epoch), members };
        let statement = Statement {
            app: AppNdx(self.app_ndx),
            epoch: configuration.epoch,
            members: configuration.digest(),
            slot: Slot(self.slot),
            state_ndx: StateNdx(self.state_ndx),
            chain: digest("chain", &self.chain)?,
            root: digest("root", &self.root)?,
        };
        let signatures = self.signatures.iter().map(SignatureForm::read).collect::<Result<_, _>>()?;
        Ok(StateCertificate { statement, members: configuration.members, signatures })
    }
}

impl SignatureForm {
    fn of(word: &StatementSignature) -> SignatureForm {
        SignatureForm {
            node: word.signer().to_string(),
            key: hex::encode(&word.key),
            signature: hex::encode(&word.signature),
        }
    }

    fn read(&self) -> Result<StatementSignature, FormError> {
        let (key, signature) = (bytes("a key", &self.key)?, bytes("a signature", &self.signature)?);
        let word = StatementSignature { key, signature };
        if word.signer().0 != digest("a node", &self.node)? {
            return Err(FormError::Node(self.node.clone()));
        }
        Ok(word)
    }
}

/// Only as this program writes it, so that nothing in a file can be changed without being noticed.
pub(crate) fn digest(what: &'static str, text: &str) -> Result<Digest, FormError> {
    let parsed = text.parse::<Digest>().ok().filter(|digest| digest.to_string() == text);
    parsed.ok_or_else(|| FormError::Hex { what, text: text.to_owned(), digits: "64 lower-case hex digits" })
}

fn bytes(what: &'static str, text: &str) -> Result<Bytes, FormError> {
    let decoded = hex::decode(text).ok().filter(|bytes| hex::encode(bytes) == text);
    let wrong = || FormError::Hex { what, text: text.to_owned(), digits: "lower-case hex digits" };
    decoded.map(Bytes::from).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle() -> CertificateBundle {
        let word =
            StatementSignature { key: Bytes::from_static(b"key"), signature: Bytes::from_static(b"signed") };
        let members =
            Configuration { epoch: Epoch(3), members: vec![word.signer(), NodeId(Digest([8; 32]))] };
        let statement = Statement {
            app: AppNdx(1),
            epoch: Epoch(3),
            members: members.digest(),
            slot: Slot(9),
            state_ndx: StateNdx(8),
            chain: Digest([3; 32]),
            root: Digest([4; 32]),
        };
        let certificate = StateCertificate { statement, members: members.members, signatures: vec![word] };
        let cluster = ClusterId(Digest([7; 32]));
        CertificateBundle { cluster, handovers: vec![certificate.clone()], certificate }
    }

    #[test]
    fn a_bundle_reads_back() {
        let json = serde_json::to_string(&BundleForm::of(&bundle())).unwrap();
        let form: BundleForm = serde_json::from_str(&json).unwrap();
        assert_eq!(form.read(), Ok(bundle()));
        for (from, to) in [
            ("bundle/v1", "bundle/v2"),
            ("\"chain\":\"0303", "\"chain\":\"03"),
            ("6b6579", "6B6579"),
            ("\"node\":\"", "\"node\":\"0"),
        ] {
            let changed: BundleForm = serde_json::from_str(&json.replace(from, to)).unwrap();
            assert!(changed.read().is_err(), "{from}");
        }
        assert!(serde_json::from_str::<BundleForm>(&json.replace("\"root\"", "\"rood\"")).is_err());
    }
}
