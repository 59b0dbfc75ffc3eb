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
