//! The certificates of a running node: read again when their files change and at SIGHUP, and what there is to say of them.
//!
//! Files are looked at each second, by their names, so that it does not matter how they got there: written over, renamed, or
//! behind a symbolic link that was turned. What changed is read when it has stood still from one look to the next. A set of
//! files that is not in order changes nothing: the node shows and trusts what it did before, says once what is wrong, and
//! counts it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use synod_auth::file::LoadError;
use synod_auth::{CertificateFacts, ServerCertificate, TlsIdentity};
use synod_gateway::{CertificateStatus, CertificateUse};
use synod_mesh::Mesh;
use synod_types::limits::{CERTIFICATE_LOOK_MS, CERTIFICATE_WARNING_DAYS};
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info, warn};

/// All of a node.
pub(crate) struct Certificates {
    sets: Vec<Set>,
    /// What there is to say of them: certificates are parsed when they are read, not when somebody asks.
    known: ArcSwap<Vec<CertificateStatus>>,
    again: Notify,
}

/// Files that have to fit together.
struct Set {
    holds: Holds,
    failures: AtomicU64,
}

/// What a set of files holds, and who has to know when it changes.
enum Holds {
    /// The node's own certificate and key, and the authorities.
    Identity { identity: Arc<TlsIdentity>, name: String, mesh: Arc<Mesh> },
    /// What one of the front ends shows.
    Server { shown_by: CertificateUse, certificate: Arc<ServerCertificate> },
}

impl Certificates {
    /// Of the node that is called `name`, and of its front ends.
    pub(crate) fn new(
        identity: Arc<TlsIdentity>,
        name: String,
        mesh: Arc<Mesh>,
        http: Option<Arc<ServerCertificate>>,
        dns: Option<Arc<ServerCertificate>>,
    ) -> Certificates {
        let identity = std::iter::once(Holds::Identity { identity, name, mesh });
        Certificates::of(identity.chain(of_front_ends(http, dns)))
    }

    /// Of front ends without a node.
    pub(crate) fn of_front_ends_alone(
        http: Option<Arc<ServerCertificate>>,
        dns: Option<Arc<ServerCertificate>>,
    ) -> Certificates {
        Certificates::of(of_front_ends(http, dns))
    }

    fn of(sets: impl Iterator<Item = Holds>) -> Certificates {
        let sets = sets.map(|holds| Set { holds, failures: AtomicU64::new(0) });
        let certificates =
            Certificates { sets: sets.collect(), known: ArcSwap::default(), again: Notify::new() };
        certificates.learn();
        certificates
    }

    /// Has all of them read again, soon.
    pub(crate) fn read_again(&self) {
        self.again.notify_one();
    }

    /// What they are now, and until when they are valid.
    pub(crate) fn status(&self) -> Vec<CertificateStatus> {
        self.known.load().to_vec()
    }

    fn learn(&self) {
        self.known.store(Arc::new(self.sets.iter().flat_map(|set| set.holds.status()).collect()));
    }

    /// How often each set of files was not in order when it was read.
    pub(crate) fn failures(&self) -> impl Iterator<Item = (CertificateUse, u64)> {
        self.sets.iter().map(|set| (set.holds.shown_by(), set.failures.load(Ordering::Relaxed)))
    }

    /// Looks at the files until the node stops.
    pub(crate) async fn run(self: Arc<Certificates>) {
        let mut looks = interval(Duration::from_millis(CERTIFICATE_LOOK_MS));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut watches: Vec<Watch> = self.sets.iter().map(|_| Watch::default()).collect();
        loop {
            let is_asked = tokio::select! {
                _ = looks.tick() => false,
                () = self.again.notified() => true,
            };
            let certificates = Arc::clone(&self);
            // A disk that does not answer holds up nothing else.
            let looked = tokio::task::spawn_blocking(move || {
                let mut has_read = false;
                for (set, watch) in certificates.sets.iter().zip(&mut watches) {
                    let look = watch.look(&set.holds.files(), is_asked);
                    if look != Look::Nothing {
                        set.read(look);
                        has_read = true;
                    }
                }
                if has_read {
                    certificates.learn();
                }
                watches
            });
            watches = looked.await.expect("looking at files does not panic");
        }
    }
}

fn of_front_ends(
    http: Option<Arc<ServerCertificate>>,
    dns: Option<Arc<ServerCertificate>>,
) -> impl Iterator<Item = Holds> {
    let shown = [(CertificateUse::Http, http), (CertificateUse::Dns, dns)];
    shown
        .into_iter()
        .filter_map(|(shown_by, certificate)| Some(Holds::Server { shown_by, certificate: certificate? }))
}

impl Set {
    fn read(&self, look: Look) {
        let certificate = self.holds.shown_by().name();
        match self.holds.reload() {
            Ok(false) if look == Look::First => self.warn_of_end(),
            Ok(false) => {
                info!(certificate, "the files of certificates were read again; nothing is new in them")
            }
            Ok(true) => {
                info!(certificate, "certificates are renewed: new connections use them");
                self.warn_of_end();
            }
            Err(why) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                error!(certificate, %why, "certificates stay as they were");
            }
        }
    }

    fn warn_of_end(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        for CertificateStatus { certificate, fingerprint, not_after_ms } in self.holds.status() {
            let days = (not_after_ms.0 / 1000).saturating_sub(now) / (24 * 60 * 60);
            if days < CERTIFICATE_WARNING_DAYS {
                warn!(
                    certificate = certificate.name(),
                    fingerprint, days, "a certificate is about to expire"
                );
            }
        }
    }
}

impl Holds {
    fn shown_by(&self) -> CertificateUse {
        match self {
            Holds::Identity { .. } => CertificateUse::Node,
            Holds::Server { shown_by, .. } => *shown_by,
        }
    }

    fn files(&self) -> Vec<&Path> {
        match self {
            Holds::Identity { identity, .. } => identity.files(),
            Holds::Server { certificate, .. } => certificate.files(),
        }
    }

    fn reload(&self) -> Result<bool, LoadError> {
        match self {
            Holds::Identity { identity, name, mesh } => {
                let is_new = identity.reload(name)?;
                if is_new {
                    mesh.close_untrusted();
                }
                Ok(is_new)
            }
            Holds::Server { certificate, .. } => certificate.reload(),
        }
    }

    fn status(&self) -> Vec<CertificateStatus> {
        let status = |certificate: CertificateUse| {
            move |facts: CertificateFacts| CertificateStatus {
                certificate,
                fingerprint: facts.fingerprint,
                not_after_ms: facts.not_after,
            }
        };
        match self {
            Holds::Identity { identity, .. } => {
                let own = identity.facts().map(status(CertificateUse::Node));
                let authorities = identity.authorities().into_iter().map(status(CertificateUse::Ca));
                own.into_iter().chain(authorities).collect()
            }
            Holds::Server { shown_by, certificate } => {
                certificate.facts().map(status(*shown_by)).into_iter().collect()
            }
        }
    }
}

/// What was seen of a set of files, and what of it was read.
#[derive(Default)]
struct Watch {
    seen: Option<Stamps>,
    read: Option<Stamps>,
}

/// What a look at the files says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Look {
    Nothing,
    /// They have never been read by who looks.
    First,
    Changed,
    Asked,
}

/// What tells a file from another one under its name, and from itself after a change.
type Stamps = Vec<Result<[i64; 5], io::ErrorKind>>;

impl Watch {
    fn look(&mut self, files: &[&Path], is_asked: bool) -> Look {
        let stamps = Some(files.iter().map(|file| stamp(file)).collect());
        let stands_still = self.seen == stamps;
        self.seen = stamps;
        let look = match &self.read {
            _ if is_asked => Look::Asked,
            _ if !stands_still || self.read == self.seen => Look::Nothing,
            None => Look::First,
            Some(_) => Look::Changed,
        };
        if look != Look::Nothing {
            self.read.clone_from(&self.seen);
        }
        look
    }
}

fn stamp(file: &Path) -> Result<[i64; 5], io::ErrorKind> {
    let found = fs::metadata(file).map_err(|why| why.kind())?;
    let number = |value: u64| i64::from_ne_bytes(value.to_ne_bytes());
    // The time of change moves with every change of content, mode and owner, and cannot be set back.
    Ok([number(found.dev()), number(found.ino()), number(found.len()), found.ctime(), found.ctime_nsec()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_is_read_once_it_stands_still() {
        let directory = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| directory.path().join(name));
        let files = [one.as_path(), other.as_path()];
        fs::write(&one, "1").unwrap();
        let mut watch = Watch::default();
        let mut look = |is_asked| watch.look(&files, is_asked);
        assert_eq!([look(false), look(false), look(false)], [Look::Nothing, Look::First, Look::Nothing]);

        // The second file is not there, and comes.
        fs::write(&other, "2").unwrap();
        assert_eq!(look(false), Look::Nothing);
        // Somebody is still writing.
        fs::write(&other, "22").unwrap();
        assert_eq!([look(false), look(false), look(false)], [Look::Nothing, Look::Changed, Look::Nothing]);

        // Another one takes its name, with the same content.
        let next = directory.path().join("next");
        fs::write(&next, "1").unwrap();
        fs::rename(&next, &one).unwrap();
        assert_eq!([look(false), look(false), look(false)], [Look::Nothing, Look::Changed, Look::Nothing]);

        assert_eq!([look(true), look(true), look(false)], [Look::Asked, Look::Asked, Look::Nothing]);
        fs::remove_file(&one).unwrap();
        assert_eq!([look(false), look(false), look(false)], [Look::Nothing, Look::Changed, Look::Nothing]);
    }
}
