//! Where an application is: in this program, or in a process at a lane.

use std::sync::Arc;

use synod_auth::{Genesis, GenesisApp};
use synod_lane::Lane;
use synod_machine::{Application, Machine};
use synod_types::ClusterId;

use crate::apps;

/// Makes one of genesis' applications, without a state: where it is is settled.
#[derive(Clone)]
pub struct Maker {
    app: GenesisApp,
    lane: Option<Arc<Lane>>,
}

impl Maker {
    /// Of an application that is in this program, if it has such a kind.
    pub fn of_program(app: &GenesisApp) -> Maker {
        Maker { app: app.clone(), lane: None }
    }

    /// Of one that is in a process at this lane.
    pub(super) fn at(lane: &Arc<Lane>, app: &GenesisApp) -> Maker {
        Maker { app: app.clone(), lane: Some(Arc::clone(lane)) }
    }

    /// Which one.
    pub fn app(&self) -> &GenesisApp {
        &self.app
    }

    /// An application without a state; `None`: nothing here has such a kind.
    pub fn application(&self) -> Option<Box<dyn Application>> {
        match &self.lane {
            Some(lane) => Some(lane.application()),
            None => apps::new(&self.app.kind),
        }
    }

    /// The machine of the application before slot 1, as genesis founds it; `None`: nothing here has such a kind. Whoever executes
    /// a log again begins with this very machine. Where genesis has an origin, that machine only waits for it: nobody decides
    /// anything before.
    pub fn machine(&self, genesis: &Genesis, cluster: ClusterId) -> Option<Machine> {
        Some(apps::machine(genesis, cluster, &self.app, self.application()?))
    }
}
