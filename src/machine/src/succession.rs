//! A cluster goes on from the states of another one: from a backup, or from what is left of one that has lost more than half
//! of its nodes.
//!
//! It is another cluster, with an id of its own, so that nothing that was signed for the one before is executed in it, and so that no
//! node of the one before takes part. What the application and its commanders have stays as it was, receipts too: stateNdx and the hash
//! chain go on. What changes is who the nodes are: as if a decree behind the last one had ended the epoch, and named them.

use synod_types::{ClusterId, Configuration, Epoch};

use crate::authority::Member;
use crate::broken::Broken;
use crate::view::View;

/// What the other cluster is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Succession {
    /// Its id.
    pub cluster: ClusterId,
    /// Its first epoch, behind all that the one before can have come to: so no term is one of then.
    pub epoch: Epoch,
    /// Its first members.
    pub members: Vec<Member>,
}

impl Succession {
    /// The first epoch of a cluster that goes on from these states of all applications.
    pub fn epoch_behind<'a>(states: impl IntoIterator<Item = &'a View>) -> Epoch {
        let epochs = states.into_iter().map(|view| {
            let wanted = view.authority().members().map_or(Epoch(0), |members| members.configuration().epoch);
            wanted.max(view.epoch())
        });
        Epoch(epochs.max().unwrap_or_default().0 + 1)
    }
}

impl View {
    /// The same state as the one with which another cluster begins. It takes a slot, as a decree would that names the members.
    pub fn succeeded_by(&self, succession: &Succession) -> View {
        let Succession { cluster, epoch, members } = succession;
        let voters = members.iter().map(|member| member.id).collect();
        let mut view = self.fork();
        view.clock.on_noop(Broken::NOT);
        View {
            cluster: *cluster,
            applied: view.applied.next(),
            configuration: Some(Configuration { epoch: *epoch, members: voters }),
            authority: view.authority.succeeded_by(*epoch, members),
            ..view
        }
    }
}
