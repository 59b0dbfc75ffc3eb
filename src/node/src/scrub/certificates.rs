//! The certificates of states on the disk: read, verified, and had again.
//!
//! What this node gives out is what it has verified and keeps in memory, so nothing that is damaged here is ever given to anybody. What
//! is in memory is written again from there. What is not was damaged when the node started, and is asked of the others: a hand-over
//! comes by itself, since they see that this node cannot prove who the members are; any other certificate is one that they list. What none
//! of them has is dropped: it proves nothing, whoever may have had it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use synod_auth::verify_state_certificate;
use synod_lane::front::{FrontAnswer, FrontQuestion};
use synod_types::{AppNdx, ClusterId, Configuration, StateCertificate, StatementKey, Threshold, wire};
use tokio::time::timeout;
use tracing::{error, info, warn};

use super::Scrubber;
use crate::cosigning::Cosigning;
use crate::cosigning::disk::{Folder, Place};
use crate::remote::Remote;
use crate::roster::Roster;

/// As what they are counted.
const KIND: &str = "state-certificate";
/// How long the others may take to give a hand-over, which they are told every two seconds that this node lacks.
const HANDOVER_WAIT: Duration = Duration::from_secs(10);
/// How often it is looked whether it has come.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Certificates that are asked for at a time: those of one state in several epochs.
const ASKED: u64 = 4;

/// Where they are, and where they can be had.
pub(crate) struct StateCertificates {
    pub cluster: ClusterId,
    /// The first members.
    pub first: Configuration,
    /// How many members have to sign.
    pub threshold: Threshold,
    /// Certificates of an application that are kept.
    pub kept_max: usize,
    pub folder: Folder,
    pub cosigning: Cosigning,
    pub remote: Remote,
    pub roster: Arc<Roster>,
}

/// What came of having a certificate again.
enum Had {
    /// It is whole again.
    Again(Arc<StateCertificate>),
    /// No node has it.
    Nowhere,
    /// Not every node could be asked.
    NotNow,
}

impl Scrubber {
    pub(super) async fn scrub_state_certificates(&self) {
        let (folder, cluster) = (self.state_certificates.folder.clone(), self.state_certificates.cluster);
        let damaged = match self.chunks.on_disk(move |_| folder.verify(cluster)).await {
            Some(Ok((damaged, bytes))) => {
                self.pace(bytes).await;
                damaged
            }
            Some(Err(why)) => return error!(%why, "the certificates of states cannot be read"),
            None => return,
        };
        for (place, why) in damaged {
            self.findings.damaged(KIND);
            let file = self.state_certificates.folder.file(place);
            error!(file = %file.display(), why, "a certificate of a state is damaged");
            let folder = self.state_certificates.folder.clone();
            match self.state_certificates.have(place).await {
                Had::Again(certificate) => {
                    let whole = Arc::clone(&certificate);
                    let write = move || folder.write(&whole, place.is_handover());
                    if self.change(&file, write).await {
                        info!(file = %file.display(), "a certificate of a state is whole again");
                        self.state_certificates.put_back(place, certificate);
                        self.findings.mended();
                    }
                }
                Had::Nowhere => {
                    if self.change(&file, move || folder.remove(place)).await {
                        warn!(file = %file.display(), "no node has this certificate whole: it is dropped");
                    }
                }
                Had::NotNow => {
                    warn!(file = %file.display(), "not every node can be asked for it now; they are asked again in the next pass");
                }
            }
        }
    }

    /// Changes a file. Says whether that is done.
    async fn change(&self, file: &Path, change: impl FnOnce() -> io::Result<()> + Send + 'static) -> bool {
        match self.chunks.on_disk(move |_| change()).await {
            Some(Ok(())) => true,
            Some(Err(why)) => {
                error!(file = %file.display(), %why, "a certificate of a state cannot be written again, or removed");
                false
            }
            None => false,
        }
    }
}

impl StateCertificates {
    /// The certificate that belongs to this place.
    async fn have(&self, place: Place) -> Had {
        if let Some(held) = self.cosigning.held(place) {
            return Had::Again(held);
        }
        match place {
            Place::HandOver(..) => {
                let come = async {
                    loop {
                        if let Some(held) = self.cosigning.held(place) {
                            return held;
                        }
                        tokio::time::sleep(LOOK_AGAIN).await;
                    }
                };
                match timeout(HANDOVER_WAIT, come).await {
                    Ok(held) => Had::Again(held),
                    Err(_) if self.are_all_reached() => Had::Nowhere,
                    Err(_) => Had::NotNow,
                }
            }
            Place::State(app, key) => self.ask_for(app, key).await,
        }
    }

    fn are_all_reached(&self) -> bool {
        self.roster.load().others().all(|node| self.remote.is_reached(node))
    }

    async fn ask_for(&self, app: AppNdx, key: StatementKey) -> Had {
        let names: Vec<Option<String>> = {
            let known = self.roster.load();
            known.others().map(|node| known.name(node).map(str::to_owned)).collect()
        };
        let mut has_answer_of_all = true;
        for name in names {
            let Some(name) = name else {
                has_answer_of_all = false;
                continue;
            };
            let before = key.state_ndx.0.checked_add(1);
            let question = FrontQuestion::Certificates { app: app.to_string(), before, limit: ASKED };
            match self.remote.ask(&name, question).await {
                FrontAnswer::Certificates(found) => {
                    let found =
                        found.iter().filter_map(|blob| wire::decode::<StateCertificate>(&blob.0).ok());
                    let mut found = found.filter(|one| one.statement.app == app && one.key() == key);
                    if let Some(certificate) = found.find(|one| self.is_proved(one)) {
                        return Had::Again(Arc::new(certificate));
                    }
                }
                _ => has_answer_of_all = false,
            }
        }
        if has_answer_of_all { Had::Nowhere } else { Had::NotNow }
    }

    /// Whether enough of those have signed it who decided then.
    fn is_proved(&self, certificate: &StateCertificate) -> bool {
        let statement = &certificate.statement;
        let known = self.cosigning.members_in(statement.app, statement.epoch, &self.first);
        let verified = verify_state_certificate(certificate, self.cluster, &known, self.threshold);
        if let Err(why) = &verified {
            warn!(app = %statement.app, state_ndx = %statement.state_ndx, %why, "another node gave a certificate that proves nothing");
        }
        verified.is_ok()
    }

    fn put_back(&self, place: Place, certificate: Arc<StateCertificate>) {
        if let Place::State(app, _) = place {
            self.cosigning.put_back(app, certificate, self.kept_max);
        }
    }
}
