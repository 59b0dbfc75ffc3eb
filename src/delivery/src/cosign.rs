//! How nodes come to certificates of states: a function of (state, event), as the rest of this crate. No clock, socket, disk, key
//! or random number.
//!
//! It is a quorum-consensus broadcast in three rounds, with nobody in charge. Whoever comes to a state that is to be signed sends its
//! own word for it to all ([`Prepare`](synod_types::CosignMessage::Prepare)): the payload is what the caller made of that state and
//! signed. Whoever has the same word of enough members fixes that set, has it stored, and then sends it to all
//! ([`Commit`](synod_types::CosignMessage::Commit)). A set that was fixed elsewhere is taken on its own merits, by who has signed nothing
//! and before the last word came. And now and then each says what it [`Holds`](synod_types::CosignMessage::Holds), and is given what it
//! lacks.
//!
//! **What it promises.** *Validity*: if enough members come to a state that no newer one follows, each live node holds a certificate of
//! it in the end, or of a newer one, whatever messages get lost. *No creation*: a certificate has the word of enough members, each
//! once, who all said just that. *Agreement*: of one state in one epoch all certificates say the same, as long as any two sets
//! that are enough have an honest member in common. *Durability*: what is shown is stored. And a member whose word differs from what
//! this node came to is named ([`Effect::Conflict`]).
//!
//! **What it relies on.** Signatures are verified before they get here, each as that of the node whose id is the hash of its key. A
//! node says of itself to which states it came, and who decides there ([`Due`]), as its log says.
//!
//! **Members change.** The first state of a new epoch is signed by the members before as well, and a certificate of it needs a majority of
//! both. Whoever has one of each epoch that ended, from genesis on, can prove who the members are: how far that goes is what
//! [`App::proved`](Beginning::proved) says.
//!
//! **What it costs.** One message of each node to each other for a state, one more with the certificate, and one every two seconds.
//! Every table has a limit (`COSIGN_*` in [`synod_types::limits`]).
//!
//! Start with [`Core::step`]; `app.rs` is one application, `round.rs` counts.

mod app;
pub mod broken;
mod round;

use std::collections::{BTreeMap, BTreeSet};

use synod_types::{
    AppNdx, Configuration, CosignMessage, Epoch, Holding, NodeId, StateCertificate, Statement,
    StatementSignature, Threshold,
};

use self::app::App;
use self::broken::{Broken, Fault};

/// Milliseconds of a tick.
pub const TICK_MS: u64 = 250;
/// Ticks after which a word is sent again to whom it may not have reached.
const PREPARE_TICKS: u64 = 4;
/// Ticks after which a node says again what it holds.
const HOLDS_TICKS: u64 = 8;

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// This node came to a state that is to be signed.
    Due(Due),
    /// Another node says something, whose signatures are verified; a word is that of its sender.
    Message {
        /// Who.
        from: NodeId,
        /// What.
        message: CosignMessage,
    },
    /// What was to be stored is durable.
    Stored {
        /// The certificate.
        certificate: StateCertificate,
        /// Whether as a hand-over.
        is_handover: bool,
    },
    /// What was to be stored could not be: it may be tried again.
    NotStored {
        /// The certificate.
        certificate: StateCertificate,
    },
    /// With whom this node speaks.
    Nodes(Vec<NodeId>),
    /// [`TICK_MS`] have passed.
    Tick,
}

/// A state of this node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Due {
    /// What it is.
    pub statement: Statement,
    /// This node's word for it.
    pub signature: StatementSignature,
    /// Who decides behind it.
    pub members: Configuration,
    /// Who decided before, if the state is here because that changed.
    pub before: Option<Configuration>,
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Send it.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: CosignMessage,
    },
    /// Make it durable, and come back with [`Event::Stored`].
    Store {
        /// The certificate.
        certificate: StateCertificate,
        /// It proves who the members are from its epoch on, and is kept for ever.
        is_handover: bool,
    },
    /// This is the newest certificate of its application now, and durable.
    Certified(StateCertificate),
    /// Send a node the certificate that ends this epoch.
    GiveHandOver {
        /// To whom.
        to: NodeId,
        /// The application.
        app: AppNdx,
        /// The epoch.
        ends: Epoch,
    },
    /// A member has signed what is not so, or this node is wrong. Once for each member and state.
    Conflict {
        /// Who.
        signer: NodeId,
        /// What it has signed.
        theirs: Statement,
        /// What this node came to.
        own: Statement,
    },
}

/// With what an application begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Beginning {
    /// Who the members are, as far as that can be proved from genesis on.
    pub proved: Configuration,
    /// Who decides, as this node knows it.
    pub current: Configuration,
    /// The newest certificate that is stored.
    pub newest: Option<StateCertificate>,
}

/// One node.
#[derive(Debug)]
pub struct Core {
    threshold: Threshold,
    apps: BTreeMap<AppNdx, App>,
    others: BTreeSet<NodeId>,
    ticks: u64,
    broken: Broken,
}

/// What every part is handed along with an event.
pub(crate) struct Context<'a> {
    pub(crate) threshold: Threshold,
    pub(crate) others: &'a BTreeSet<NodeId>,
    pub(crate) ticks: u64,
    pub(crate) effects: &'a mut Vec<Effect>,
    pub(crate) broken: Broken,
}

impl Context<'_> {
    pub(crate) fn send(&mut self, to: NodeId, message: CosignMessage) {
        self.effects.push(Effect::Send { to, message });
    }
}

impl Core {
    /// A node that comes to certificates of these applications with `threshold`.
    pub fn new(threshold: Threshold, apps: BTreeMap<AppNdx, Beginning>, broken: Broken) -> Core {
        let apps = apps.into_iter().map(|(app, beginning)| (app, App::new(beginning))).collect();
        Core { threshold, apps, others: BTreeSet::new(), ticks: 0, broken }
    }

    /// Takes an event; what is to be done comes behind `effects`.
    pub fn step(&mut self, event: Event, effects: &mut Vec<Effect>) {
        let Core { threshold, apps, others, ticks, broken } = self;
        if let Event::Nodes(nodes) = event {
            *others = nodes.into_iter().collect();
            apps.values_mut().for_each(|app| app.keep_only(others));
            return;
        }
        if event == Event::Tick {
            *ticks += 1;
        }
        let (threshold, ticks, broken) = (*threshold, *ticks, *broken);
        let mut context = Context { threshold, others, ticks, effects, broken };
        let context = &mut context;
        match event {
            Event::Nodes(_) => unreachable!("it was taken above"),
            Event::Due(due) => {
                if let Some(app) = apps.get_mut(&due.statement.app) {
                    app.on_due(due, context);
                }
            }
            Event::Message { from, message } => {
                if !others.contains(&from) {
                    return;
                }
                match message {
                    CosignMessage::Prepare { statement, signature } => {
                        if let Some(app) = apps.get_mut(&statement.app) {
                            app.on_prepare(from, statement, signature, context);
                        }
                    }
                    CosignMessage::Commit { certificate } => {
                        if let Some(app) = apps.get_mut(&certificate.statement.app) {
                            app.on_commit(from, certificate, context);
                        }
                    }
                    CosignMessage::Holds(holdings) => {
                        for holding in holdings {
                            if let Some(app) = apps.get_mut(&holding.app) {
                                app.on_holding(from, holding, context);
                            }
                        }
                    }
                }
            }
            Event::Stored { certificate, is_handover } => {
                if let Some(app) = apps.get_mut(&certificate.statement.app) {
                    app.on_stored(certificate, is_handover, context);
                }
            }
            Event::NotStored { certificate } => {
                if let Some(app) = apps.get_mut(&certificate.statement.app) {
                    app.on_not_stored(&certificate);
                }
            }
            Event::Tick => {
                if broken.is(Fault::SentOnce) {
                    return;
                }
                if ticks.is_multiple_of(PREPARE_TICKS) {
                    apps.values_mut().for_each(|app| app.prepare_again(context));
                }
                if ticks.is_multiple_of(HOLDS_TICKS) {
                    let holdings: Vec<Holding> = apps.iter().map(|(&ndx, app)| app.holding(ndx)).collect();
                    for &to in others.iter() {
                        context.send(to, CosignMessage::Holds(holdings.clone()));
                    }
                }
            }
        }
    }

    /// Who the members of an application are, as far as this node can prove it from genesis on.
    pub fn proved(&self, app: AppNdx) -> Option<&Configuration> {
        self.apps.get(&app).map(App::proved)
    }

    /// The newest certificate of an application.
    pub fn newest(&self, app: AppNdx) -> Option<&StateCertificate> {
        self.apps.get(&app)?.newest()
    }
}
