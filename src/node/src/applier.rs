//! Applies what was chosen, in its own task for each application: the only place where state changes.

use std::sync::Arc;

use synod_gateway::AppPublisher;
use synod_machine::Machine;
use synod_types::{Decree, Slot};
use tokio::sync::mpsc;

use crate::intake::Intake;

/// Decrees that are applied before their state is published and their commands are answered.
const DECREES_MAX: usize = 64;

/// Applies decrees until the driver is gone. Readers see the new state before any command in it is answered, so that
/// whoever has a receipt finds its state at this node.
pub(crate) async fn run(
    mut machine: Machine,
    publisher: Arc<AppPublisher>,
    intake: Arc<Intake>,
    mut chosen: mpsc::UnboundedReceiver<(Slot, Decree)>,
) {
    let mut decrees = Vec::new();
    while chosen.recv_many(&mut decrees, DECREES_MAX).await > 0 {
        let mut applied = Vec::new();
        for (slot, decree) in decrees.drain(..) {
            applied.extend(machine.apply(slot, &decree));
        }
        publisher.publish(machine.view());
        intake.on_applied(applied);
    }
}
