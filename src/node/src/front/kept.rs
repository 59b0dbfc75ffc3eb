//! States that may be the next one of which there is a certificate, and the newest of which there is one: what is proved is of the very
//! state that was signed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use synod_gateway::Certified;
use synod_machine::View;
use synod_types::StateCertificate;
use synod_types::limits::{FRONT_MARKS_MAX, FRONT_VIEWS_MAX};

/// Of one application.
#[derive(Default)]
pub(crate) struct Kept(Mutex<Views>);

#[derive(Default)]
struct Views {
    /// Those that are signed, oldest first.
    due: VecDeque<Arc<View>>,
    /// The last ones, of which that is signed after which nothing happens for a while.
    last: VecDeque<Arc<View>>,
    certified: Option<Certified>,
}

impl Kept {
    /// This state is signed.
    pub(crate) fn keep_due(&self, view: Arc<View>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        put(&mut kept.due, view, FRONT_MARKS_MAX);
    }

    /// This state may be signed.
    pub(crate) fn keep_last(&self, view: Arc<View>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        put(&mut kept.last, view, FRONT_VIEWS_MAX);
    }

    /// The newest state that has a certificate, where `newest` is the newest certificate that there is.
    pub(crate) fn certified(&self, newest: Option<&Arc<StateCertificate>>) -> Option<Certified> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(newest) = newest {
            // Equal chains are of equal states.
            let (state_ndx, chain) = (newest.statement.state_ndx, newest.statement.chain);
            let mut all = kept.due.iter().chain(&kept.last);
            let found = all.find(|view| view.state_ndx == state_ndx && view.chain == chain);
            if let Some(view) = found.cloned() {
                kept.certified = Some(Certified { certificate: Arc::clone(newest), view });
                kept.due.retain(|view| view.state_ndx >= state_ndx);
                kept.last.retain(|view| view.state_ndx >= state_ndx);
            }
        }
        kept.certified.clone()
    }
}

fn put(views: &mut VecDeque<Arc<View>>, view: Arc<View>, max: usize) {
    views.push_back(view);
    if views.len() > max {
        views.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use synod_types::{AppNdx, ClusterId, Configuration, Digest, Epoch, Slot, StateNdx, Statement};

    use super::*;

    fn view(n: u8) -> Arc<View> {
        let mut view = View::new(ClusterId(Digest([1; 32])), AppNdx(1), crate::apps::new("kv").unwrap());
        (view.state_ndx, view.chain) = (StateNdx(n.into()), Digest([n; 32]));
        Arc::new(view)
    }

    fn certificate(n: u8, chain: u8) -> Arc<StateCertificate> {
        let statement = Statement {
            app: AppNdx(1),
            epoch: Epoch(0),
            members: Configuration::default().digest(),
            slot: Slot(n.into()),
            state_ndx: StateNdx(n.into()),
            chain: Digest([chain; 32]),
            root: Digest([0; 32]),
        };
        Arc::new(StateCertificate { statement, members: Vec::new(), signatures: Vec::new() })
    }

    #[test]
    fn a_state_meets_its_certificate_and_stays_until_the_next_one_does() {
        let kept = Kept::default();
        kept.keep_due(view(3));
        // Many more than are kept of these, and the one that is due is still there.
        (4..200).for_each(|n| kept.keep_last(view(n)));
        let state = |newest: Option<&Arc<StateCertificate>>| {
            kept.certified(newest)
                .map(|certified| (certified.view.state_ndx.0, certified.certificate.statement.state_ndx.0))
        };
        assert_eq!(state(None), None);
        assert_eq!(state(Some(&certificate(3, 9))), None, "it is of another state with the same number");
        assert_eq!(state(Some(&certificate(3, 3))), Some((3, 3)));
        assert_eq!(state(Some(&certificate(5, 5))), Some((3, 3)), "that one is not here any more");
        assert_eq!(state(Some(&certificate(199, 199))), Some((199, 199)));
        assert_eq!(state(Some(&certificate(198, 198))), Some((199, 199)), "what was before is not kept");
    }
}
