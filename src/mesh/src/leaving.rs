//! Tells every task of a mesh that the mesh is closing.

use tokio::sync::watch;

/// Given by whoever closes the mesh.
#[derive(Debug)]
pub(crate) struct Leave(watch::Sender<bool>);

/// Waits for the mesh to close.
#[derive(Clone, Debug)]
pub(crate) struct Leaving(watch::Receiver<bool>);

impl Leave {
    pub(crate) fn new() -> (Leave, Leaving) {
        let (sender, receiver) = watch::channel(false);
        (Leave(sender), Leaving(receiver))
    }

    /// The mesh is closing from now on.
    pub(crate) fn begin(&self) {
        self.0.send_replace(true);
    }
}

impl Leaving {
    /// Returns when the mesh is closing, or is no more.
    pub(crate) async fn begun(&mut self) {
        let _ = self.0.wait_for(|leaving| *leaving).await;
    }
}
