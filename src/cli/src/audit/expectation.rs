//! What is known of a log from elsewhere: from a receipt, from whoever wrote a chain down, from other nodes.

use std::fmt;

use synod_machine::View;
use synod_types::{AppNdx, Digest, Slot, StateNdx, TimeMs};

use super::auditor::{Change, Kind};
use crate::receipt::kept::KeptReceipt;

/// A state that was, and its chain.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Expectation {
    pub(crate) app: AppNdx,
    pub(crate) state_ndx: StateNdx,
    pub(crate) chain: Digest,
    /// Who says so.
    pub(crate) by: String,
    /// The receipt that says so, if one does, and the kind of its application.
    pub(crate) receipt: Option<KeptReceipt>,
}

impl Expectation {
    /// What a receipt says.
    pub(crate) fn of_receipt(receipt: KeptReceipt, by: String) -> Expectation {
        let (app, state_ndx, chain) = (receipt.app, receipt.state_ndx, receipt.chain);
        Expectation { app, state_ndx, chain, by, receipt: Some(receipt) }
    }

    /// Holds it against the step that made its state.
    pub(super) fn check(&self, change: &Change) -> Result<(), (Kind, String)> {
        if let Some(receipt) = &self.receipt {
            receipt.check(change).map_err(|why| (Kind::WrongReceipt, format!("{}: {why}", self.by)))?;
        }
        self.check_chain(change.chain).map_err(|text| (Kind::WrongChain, text))
    }

    /// Holds its chain against the one that was computed.
    pub(super) fn check_chain(&self, computed: Digest) -> Result<(), String> {
        if computed == self.chain {
            return Ok(());
        }
        Err(format!("{} says chain {}, and executing the log gives {computed}", self.by, self.chain))
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} knows of stateNdx {}", self.by, self.state_ndx)
    }
}

/// How far a node says that it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Claim {
    pub(crate) app: AppNdx,
    /// The last slot that it has applied.
    pub(crate) applied: Slot,
    /// Its state there.
    pub(crate) state_ndx: StateNdx,
    pub(crate) chain: Digest,
    /// The time of the last batch up to there.
    pub(crate) time: TimeMs,
    /// Which node.
    pub(crate) by: String,
}

impl Claim {
    /// The state in it.
    pub(super) fn expectation(&self) -> Expectation {
        let Claim { app, state_ndx, chain, .. } = *self;
        Expectation { app, state_ndx, chain, by: self.by.clone(), receipt: None }
    }

    /// Holds it against the state that the log has come to in its slot.
    pub(super) fn check(&self, state: &View) -> Result<(), String> {
        let differs = |what: &str, claimed: &dyn fmt::Display, found: &dyn fmt::Display| {
            Err(format!("{} says {what} {claimed} there, and executing the log gives {found}", self.by))
        };
        if self.state_ndx != state.state_ndx {
            return differs("stateNdx", &self.state_ndx, &state.state_ndx);
        }
        if self.chain != state.chain {
            return differs("chain", &self.chain, &state.chain);
        }
        if self.time != state.time {
            return differs("the time (in ms)", &self.time, &state.time);
        }
        Ok(())
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has applied slot {}", self.by, self.applied)
    }
}
