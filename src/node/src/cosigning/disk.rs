//! Certificates of states on disk: a small file for each, which is written whole or not at all, and verified when it is read.
//!
//! ```text
//! certificates/1-2048-3       "synod/state-certificate/v1\0" ‖ StateCertificate, wire-encoded ‖ SHA3-256 of both:
//!                             of application 1, state 2048, epoch 3
//! certificates/1-handover-3   the same, of the state in which epoch 3 begins; signed by the members before, too, and kept for ever
//! certificates/….new          one that is being written
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use synod_auth::{verify_signatures, verify_state_certificate};
use synod_types::{
    AppNdx, CertificateBundle, ClusterId, Configuration, Digest, Epoch, StateCertificate, StateNdx,
    StatementKey, Threshold, format, wire,
};
use tracing::{error, warn};

use crate::durable::{NEW, replace};

/// What a file begins with in every version.
const NAME: &str = "synod/state-certificate/v";
const DOMAIN: &[u8] = b"synod/state-certificate/v1\0";
const DIGEST_BYTES: usize = 32;

/// Where this node keeps its certificates.
#[derive(Clone, Debug)]
pub(crate) struct Folder(PathBuf);

/// The certificates of one application.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    /// One for each epoch that began since genesis, as far as each proves the next.
    handovers: Vec<Arc<StateCertificate>>,
    kept: BTreeMap<StatementKey, Arc<StateCertificate>>,
}

/// Where a certificate is, as the name of its file says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// The one that begins this epoch of an application.
    HandOver(AppNdx, Epoch),
    /// The one of a state.
    State(AppNdx, StatementKey),
}

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
enum FileError {
    /// It is not what was written.
    #[error("{0}")]
    Damaged(String),
    /// It is of a version that this program does not read.
    #[error("it is of version {0}, and this program reads version 1")]
    UnknownVersion(String),
    /// The operating system's.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Folder {
    /// The folder in a data directory, made where it is missing.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn open(data_dir: &Path) -> io::Result<Folder> {
        let folder = data_dir.join("certificates");
        fs::create_dir_all(&folder)?;
        File::open(data_dir)?.sync_all()?;
        Ok(Folder(folder))
    }

    /// Everything that is here and proves something, by application. What does not is logged, and left out: it can be had again.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn load(
        &self,
        cluster: ClusterId,
        first: &Configuration,
    ) -> io::Result<BTreeMap<AppNdx, Held>> {
        let mut all: BTreeMap<AppNdx, Held> = BTreeMap::new();
        for entry in fs::read_dir(&self.0)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == NEW) {
                fs::remove_file(&path)?;
                continue;
            }
            let certificate = match read(&path, cluster) {
                Ok(certificate) => certificate,
                Err(FileError::Io(why)) => return Err(why),
                Err(why) => {
                    error!(file = %path.display(), %why, "a certificate cannot be used");
                    continue;
                }
            };
            let held = all.entry(certificate.statement.app).or_default();
            let certificate = Arc::new(certificate);
            if path == self.path(&certificate, true) {
                held.handovers.push(certificate);
            } else if path == self.path(&certificate, false) {
                held.kept.insert(certificate.key(), certificate);
            } else {
                warn!(file = %path.display(), "a certificate has the name of another one, and is not used");
            }
        }
        for held in all.values_mut() {
            held.prove(cluster, first);
        }
        Ok(all)
    }

    /// Makes a certificate durable.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn write(&self, certificate: &StateCertificate, is_handover: bool) -> io::Result<()> {
        replace(&self.path(certificate, is_handover), &encode(certificate))
    }

    /// Forgets a certificate that is no hand-over.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn forget(&self, certificate: &StateCertificate) -> io::Result<()> {
        fs::remove_file(self.path(certificate, false))
    }

    /// The files that are not what was written, each with what is wrong with it, and the bytes of those that are.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn verify(&self, cluster: ClusterId) -> io::Result<(Vec<(Place, String)>, u64)> {
        let (mut damaged, mut bytes) = (Vec::new(), 0);
        for entry in fs::read_dir(&self.0)? {
            let path = entry?.path();
            // What has no name of ours, or is only being written, is none of this node's certificates.
            let Some(place) = Place::of(&path) else { continue };
            match read(&path, cluster) {
                Ok(certificate) if Place::new(&certificate, place.is_handover()) != place => {
                    damaged.push((place, "it has the name of another one".to_owned()));
                }
                // What a newer program has written is not damaged.
                Ok(_) | Err(FileError::UnknownVersion(_)) => {
                    bytes += path.metadata().map_or(0, |file| file.len());
                }
                Err(FileError::Damaged(why)) => damaged.push((place, why)),
                // It may have gone meanwhile.
                Err(FileError::Io(why)) if why.kind() == io::ErrorKind::NotFound => {}
                Err(FileError::Io(why)) => return Err(why),
            }
        }
        Ok((damaged, bytes))
    }

    /// The file at a place.
    pub(crate) fn file(&self, place: Place) -> PathBuf {
        let name = match place {
            Place::HandOver(app, epoch) => format!("{app}-handover-{epoch}"),
            Place::State(app, StatementKey { state_ndx, epoch }) => format!("{app}-{state_ndx}-{epoch}"),
        };
        self.0.join(name)
    }

    /// Removes what is at a place.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn remove(&self, place: Place) -> io::Result<()> {
        fs::remove_file(self.file(place))?;
        File::open(&self.0)?.sync_all()
    }

    fn path(&self, certificate: &StateCertificate, is_handover: bool) -> PathBuf {
        self.file(Place::new(certificate, is_handover))
    }
}

impl Place {
    fn new(certificate: &StateCertificate, is_handover: bool) -> Place {
        let app = certificate.statement.app;
        if is_handover {
            Place::HandOver(app, certificate.statement.epoch)
        } else {
            Place::State(app, certificate.key())
        }
    }

    /// The place of a file; `None`: it is not named as those of certificates are.
    fn of(path: &Path) -> Option<Place> {
        let name = path.file_name()?.to_str()?;
        let (front, epoch) = name.rsplit_once('-')?;
        let (app, of) = front.split_once('-')?;
        let (app, epoch) = (AppNdx(app.parse().ok()?), Epoch(epoch.parse().ok()?));
        match of {
            "handover" => Some(Place::HandOver(app, epoch)),
            of => Some(Place::State(app, StatementKey { state_ndx: StateNdx(of.parse().ok()?), epoch })),
        }
    }

    /// Of which application.
    pub(crate) fn app(self) -> AppNdx {
        match self {
            Place::HandOver(app, _) | Place::State(app, _) => app,
        }
    }

    /// Whether it is that of a hand-over.
    pub(crate) fn is_handover(self) -> bool {
        matches!(self, Place::HandOver(..))
    }
}

impl Held {
    /// Brings those that begin epochs into order, and leaves out what proves nothing.
    fn prove(&mut self, cluster: ClusterId, first: &Configuration) {
        let mut handovers = std::mem::take(&mut self.handovers);
        handovers.sort_by_key(|handover| handover.statement.epoch);
        let mut known = first.clone();
        for handover in handovers {
            match verify_state_certificate(&handover, cluster, &known, Threshold::Majority) {
                Ok(()) => {
                    known = handover.configuration();
                    self.handovers.push(handover);
                }
                Err(why) => {
                    error!(%why, "a certificate that begins an epoch proves nothing, and is not used")
                }
            }
        }
    }

    /// Who the members are, as far as that is proved from `first` on.
    pub(crate) fn proved(&self, first: &Configuration) -> Configuration {
        self.handovers.last().map_or_else(|| first.clone(), |handover| handover.configuration())
    }

    /// Who decided in this epoch, as far as that is proved from `first` on.
    pub(crate) fn proved_in(&self, epoch: Epoch, first: &Configuration) -> Configuration {
        let before = self.handovers.iter().rev().find(|handover| handover.statement.epoch <= epoch);
        before.map_or_else(|| first.clone(), |handover| handover.configuration())
    }

    /// The one that is also in this place on the disk.
    pub(crate) fn at(&self, place: Place) -> Option<Arc<StateCertificate>> {
        let held = match place {
            Place::HandOver(_, epoch) => {
                self.handovers.iter().find(|handover| handover.statement.epoch == epoch)
            }
            Place::State(_, key) => self.kept.get(&key),
        };
        held.cloned()
    }

    /// Takes one that is durable and was missing, if it is not too old to be kept.
    pub(crate) fn put_back(&mut self, certificate: Arc<StateCertificate>, kept_max: usize) {
        let key = certificate.key();
        let has_room =
            self.kept.len() < kept_max || self.kept.keys().next().is_some_and(|first| *first < key);
        if has_room {
            self.kept.insert(key, certificate);
        }
    }

    /// The newest one.
    pub(crate) fn newest(&self) -> Option<&Arc<StateCertificate>> {
        self.kept.values().next_back()
    }

    /// The one that proves who comes behind this epoch.
    pub(crate) fn handover_behind(&self, epoch: Epoch) -> Option<&Arc<StateCertificate>> {
        self.handovers.iter().find(|handover| handover.statement.epoch > epoch)
    }

    /// Takes one that is durable. Gives those that are not kept any more.
    pub(crate) fn take(
        &mut self,
        certificate: &StateCertificate,
        is_handover: bool,
        kept_max: usize,
    ) -> Vec<Arc<StateCertificate>> {
        let epoch = certificate.statement.epoch;
        if is_handover && self.handovers.last().is_none_or(|last| last.statement.epoch < epoch) {
            self.handovers.push(Arc::new(certificate.clone()));
        }
        let certificate = certificate.of_members();
        self.kept.insert(certificate.key(), Arc::new(certificate));
        let mut over = Vec::new();
        while self.kept.len() > kept_max.max(1) {
            over.extend(self.kept.pop_first().map(|(_, certificate)| certificate));
        }
        over
    }

    /// Those of states before `after`, newest first.
    pub(crate) fn list(&self, after: Option<StateNdx>, limit: usize) -> Vec<Arc<StateCertificate>> {
        let is_before = |key: &StatementKey| after.is_none_or(|after| key.state_ndx < after);
        self.kept
            .iter()
            .rev()
            .filter(|(key, _)| is_before(key))
            .take(limit)
            .map(|(_, one)| Arc::clone(one))
            .collect()
    }

    /// The certificate of a state, or the newest one, with what proves who signed it.
    pub(crate) fn bundle(
        &self,
        cluster: ClusterId,
        state_ndx: Option<StateNdx>,
    ) -> Option<CertificateBundle> {
        let mut newest_first = self.kept.values().rev();
        let is_it = |one: &&Arc<StateCertificate>| state_ndx.is_none_or(|at| one.statement.state_ndx == at);
        let certificate = StateCertificate::clone(newest_first.find(is_it)?);
        let before = |one: &&Arc<StateCertificate>| one.statement.epoch <= certificate.statement.epoch;
        let handovers = self.handovers.iter().take_while(before);
        let handovers = handovers.map(|one| StateCertificate::clone(one)).collect();
        Some(CertificateBundle { cluster, handovers, certificate })
    }
}

fn encode(certificate: &StateCertificate) -> Vec<u8> {
    let mut bytes = DOMAIN.to_vec();
    wire::encode_into(certificate, &mut bytes);
    let digest = Digest::of(&[&bytes]);
    bytes.extend_from_slice(&digest.0);
    bytes
}

fn read(path: &Path, cluster: ClusterId) -> Result<StateCertificate, FileError> {
    let certificate = decode(&fs::read(path)?)?;
    verify_signatures(&certificate, cluster).map_err(|why| FileError::Damaged(why.to_string()))?;
    Ok(certificate)
}

fn decode(bytes: &[u8]) -> Result<StateCertificate, FileError> {
    let damaged = |why: &str| FileError::Damaged(why.to_owned());
    let (content, digest) =
        bytes.split_last_chunk::<DIGEST_BYTES>().ok_or_else(|| damaged("it is too short"))?;
    if Digest::of(&[content]).0 != *digest {
        return Err(damaged("its digest does not match"));
    }
    match format::split(NAME, content).ok_or_else(|| damaged("it is nothing that this program writes"))? {
        ("1", certificate) => wire::decode(certificate).map_err(|why| FileError::Damaged(why.to_string())),
        (version, _) => Err(FileError::UnknownVersion(version.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use synod_auth::{Algorithm, SigningKey, sign_statement, verify_bundle};
    use synod_types::{NodeId, Slot, Statement, StatementSignature};

    use super::*;
    use crate::shelf::CLUSTER;

    fn statement(state_ndx: u64, members: &Configuration) -> Statement {
        Statement {
            app: AppNdx(7),
            epoch: members.epoch,
            members: members.digest(),
            slot: Slot(state_ndx + 1),
            state_ndx: StateNdx(state_ndx),
            chain: Digest([3; 32]),
            root: Digest([5; 32]),
        }
    }

    struct Nodes(Vec<SigningKey>);

    impl Nodes {
        fn new() -> Nodes {
            Nodes((0..5).map(|_| SigningKey::generate(Algorithm::Ed25519)).collect())
        }

        fn members(&self, epoch: u64, first: usize) -> Configuration {
            let members = self.0[first..first + 3].iter().map(|key| NodeId(key.id())).collect();
            Configuration { epoch: Epoch(epoch), members }
        }

        fn certificate(
            &self,
            state_ndx: u64,
            epoch: u64,
            first: usize,
            signers: &[usize],
        ) -> StateCertificate {
            let members = self.members(epoch, first);
            let statement = statement(state_ndx, &members);
            let sign = |&n: &usize| sign_statement(&self.0[n], CLUSTER, &statement);
            let mut signatures: Vec<_> = signers.iter().map(sign).collect();
            signatures.sort_by_key(StatementSignature::signer);
            StateCertificate { statement, members: members.members, signatures }
        }
    }

    fn states(held: &Held, after: Option<u64>, limit: usize) -> Vec<u64> {
        held.list(after.map(StateNdx), limit).iter().map(|one| one.statement.state_ndx.0).collect()
    }

    #[test]
    fn the_small_file_is_golden() {
        let members = Configuration { epoch: Epoch(2), members: vec![NodeId(Digest([9; 32]))] };
        let (key, signature) = (Bytes::from_static(b"key"), Bytes::from_static(b"signature"));
        let signatures = vec![StatementSignature { key, signature }];
        let certificate =
            StateCertificate { statement: statement(257, &members), members: members.members, signatures };
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/state-certificate-v1.hex");
        let kept = synod_golden::holds(file, [("certificate", encode(&certificate))]);
        assert_eq!(decode(&kept["certificate"]).unwrap(), certificate);
    }

    #[test]
    fn what_was_written_is_there_again_and_what_is_damaged_is_not() {
        let (nodes, dir) = (Nodes::new(), tempfile::tempdir().unwrap());
        let first = nodes.members(0, 0);
        let folder = Folder::open(dir.path()).unwrap();
        let handover = nodes.certificate(40, 3, 1, &[0, 1, 2]);
        folder.write(&handover, true).unwrap();
        folder.write(&handover.of_members(), false).unwrap();
        for (state_ndx, epoch, start) in [(20, 0, 0), (60, 3, 1), (80, 3, 1)] {
            folder.write(&nodes.certificate(state_ndx, epoch, start, &[1, 2]), false).unwrap();
        }
        fs::write(dir.path().join("certificates/7-90-3.new"), b"half of").unwrap();
        let load = || folder.load(CLUSTER, &first).unwrap().remove(&AppNdx(7)).unwrap();
        let held = load();
        assert_eq!(states(&held, None, 9), [80, 60, 40, 20]);
        assert_eq!((states(&held, Some(80), 2), states(&held, Some(20), 2)), (vec![60, 40], vec![]));
        assert_eq!(held.proved(&first), nodes.members(3, 1));
        let bundle = held.bundle(CLUSTER, None).unwrap();
        assert_eq!(bundle.certificate.statement.state_ndx, StateNdx(80));
        assert_eq!(
            verify_bundle(&bundle, CLUSTER, &first, Threshold::Majority),
            Ok(nodes.members(3, 1)),
            "it proves itself"
        );
        assert_eq!(held.bundle(CLUSTER, Some(StateNdx(20))).unwrap().handovers, []);
        assert!(held.bundle(CLUSTER, Some(StateNdx(21))).is_none());

        let path = dir.path().join("certificates/7-80-3");
        let good = fs::read(&path).unwrap();
        let damaged = || -> Vec<Place> {
            let (damaged, bytes) = folder.verify(CLUSTER).unwrap();
            assert!(bytes > 0);
            damaged.into_iter().map(|(place, _)| place).collect()
        };
        let state = |state_ndx| StatementKey { state_ndx: StateNdx(state_ndx), epoch: Epoch(3) };
        assert_eq!(damaged(), []);
        for byte in [0, 40, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[byte] ^= 1;
            fs::write(&path, bad).unwrap();
            assert_eq!(states(&load(), None, 1), [60], "byte {byte}");
            assert_eq!(damaged(), [Place::State(AppNdx(7), state(80))], "byte {byte}");
        }
        let handover_path = folder.file(Place::HandOver(AppNdx(7), Epoch(3)));
        let whole = fs::read(&handover_path).unwrap();
        fs::write(&handover_path, &whole[1..]).unwrap();
        assert_eq!(damaged().len(), 2);
        assert!(damaged().contains(&Place::HandOver(AppNdx(7), Epoch(3))));
        fs::write(&handover_path, whole).unwrap();
        // A whole file with another signature in it: the digest is right, and it proves nothing.
        let mut forged = nodes.certificate(80, 3, 1, &[1, 2]);
        forged.signatures[0].signature = vec![7; 64].into();
        fs::write(&path, encode(&forged)).unwrap();
        assert_eq!(states(&load(), None, 1), [60]);
        fs::write(&path, &good).unwrap();
        fs::rename(&path, dir.path().join("certificates/7-81-3")).unwrap();
        assert_eq!(states(&load(), None, 1), [60], "it has the name of another one");
        assert_eq!(damaged(), [Place::State(AppNdx(7), state(81))]);
        folder.remove(Place::State(AppNdx(7), state(81))).unwrap();
        assert_eq!(damaged(), []);
        assert!(!dir.path().join("certificates/7-90-3.new").exists());
    }

    #[test]
    fn so_many_are_kept_and_no_more() {
        let nodes = Nodes::new();
        let mut held = Held::default();
        for state_ndx in 1..=9 {
            let over = held.take(&nodes.certificate(state_ndx, 0, 0, &[0, 1]), false, 4);
            let over: Vec<_> = over.iter().map(|one| one.statement.state_ndx.0).collect();
            assert_eq!(over, state_ndx.checked_sub(4).filter(|n| *n > 0).into_iter().collect::<Vec<_>>());
        }
        held.take(&nodes.certificate(10, 3, 1, &[0, 1, 2]), true, 1);
        assert_eq!(states(&held, None, 9), [10]);
        assert_eq!(held.handover_behind(Epoch(0)).unwrap().signatures.len(), 3);
        assert_eq!(held.newest().unwrap().signatures.len(), 2, "who was a member before has no say any more");
        // What comes late takes nobody's place.
        for state_ndx in [8, 11] {
            held.put_back(Arc::new(nodes.certificate(state_ndx, 3, 1, &[1, 2])), 1);
        }
        assert_eq!(states(&held, None, 9), [11, 10]);
        let members = |epoch| held.proved_in(Epoch(epoch), &nodes.members(0, 0));
        assert_eq!((members(2), members(3)), (nodes.members(0, 0), nodes.members(3, 1)));
    }
}
