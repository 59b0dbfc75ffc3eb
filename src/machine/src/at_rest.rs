//! States at rest: as bytes, for whoever writes them down or reads them, and asks nothing of the application in them.
//!
//! What an application in another process has is put to rest only if that process stands by it: from the bytes that it gave it has to
//! come back to the same state, which gives the same bytes.

use bytes::Bytes;
use synod_types::{Digest, Refusal, StateNdx};

use crate::apart::Away;
use crate::application::{Application, Context, QueryError, RestoreError};
use crate::machine::Machine;
use crate::view::View;

/// An application of which there is nothing but a snapshot.
#[derive(Clone, Debug)]
pub struct AtRest {
    kind: &'static str,
    snapshot: Bytes,
}

/// Why a state cannot be put to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Restless {
    /// There is nobody to give it.
    #[error(transparent)]
    Away(#[from] Away),
    /// It gives a snapshot, and not the same one when it was restored from it.
    #[error("the application, restored from its own snapshot, gives another snapshot")]
    OtherSnapshot,
    /// The same, of its digest.
    #[error("the application, restored from its own snapshot, has another digest")]
    OtherDigest,
}

impl AtRest {
    /// One of the same kind as this one, with an empty snapshot, to be restored.
    pub fn like(application: &dyn Application) -> AtRest {
        AtRest { kind: application.kind(), snapshot: Bytes::new() }
    }
}

impl Machine {
    /// The state as it is now, to be written down: where the application is in another process, with its bytes in the place of it.
    /// That process is then in the state that it was in.
    ///
    /// # Errors
    /// [`Restless`].
    pub fn to_rest(&self) -> Result<View, Restless> {
        let Some(apart) = self.state().app.apart() else { return Ok(self.view()) };
        let (kept, digest) = (apart.fork_to_keep(), self.state().app.digest());
        let snapshot = Bytes::from(snapshot_of(&*kept)?);
        let mut again = self.state().app.fork();
        // What is wrong with the bytes is for the other process to say.
        let is_taken = again.restore(&snapshot).is_ok();
        let apart = again.apart().filter(|_| is_taken).ok_or(Away::Gone)?;
        apart.begin();
        if snapshot_of(&*apart.fork_to_keep())? != snapshot {
            return Err(Restless::OtherSnapshot);
        }
        if again.digest() != digest {
            return Err(Restless::OtherDigest);
        }
        let at_rest = AtRest { snapshot, ..AtRest::like(&*again) };
        Ok(View { app: Box::new(at_rest), ..self.view() })
    }
}

fn snapshot_of(kept: &dyn Application) -> Result<Vec<u8>, Away> {
    kept.apart().ok_or(Away::Gone)?.snapshot()
}

impl Application for AtRest {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn check(&self, _: &[u8]) -> Result<(), Refusal> {
        unreachable!("nothing is commanded of a state at rest")
    }

    fn apply(&mut self, _: &Context, _: &[u8]) -> Result<Bytes, Refusal> {
        unreachable!("nothing is executed in a state at rest")
    }

    fn query(&self, _: StateNdx, _: &[u8]) -> Result<Bytes, QueryError> {
        Err(QueryError("the state is at rest, and nobody is there to answer".to_owned()))
    }

    fn snapshot(&self) -> Vec<u8> {
        self.snapshot.to_vec()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        self.snapshot = Bytes::copy_from_slice(snapshot);
        Ok(())
    }

    fn digest(&self) -> Digest {
        Digest::of(&[&self.snapshot])
    }

    fn fork(&self) -> Box<dyn Application> {
        Box::new(self.clone())
    }
}
