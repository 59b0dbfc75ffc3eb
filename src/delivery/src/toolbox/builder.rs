//! How a node is put together, so that what depends on something else cannot be had without it.

use std::collections::BTreeSet;

use synod_types::NodeId;
use synod_types::limits::{MEMBERS_MAX, TOOLBOX_WINDOW_MAX};

use super::broken::Broken;
use super::detector::Patience;
use super::guarantee::Guarantee;
use super::id::Life;
use super::node::Node;
use super::order::Order;

/// A node in the making; [`Node::builder`] begins.
///
/// `D` says whether there is a failure detector, `G` what kind of guarantee was chosen. A method exists where what it needs
/// is there:
///
/// ```compile_fail,E0599
/// # use synod_delivery::toolbox::Node;
/// # use synod_types::{Digest, NodeId};
/// # let (me, members) = (NodeId(Digest([1; 32])), [1, 2, 3].map(|i| NodeId(Digest([i; 32]))));
/// // Who relays for the dead has to know who is: there is no `reliable` before `detector`.
/// let node = Node::builder(me, 1, members).reliable().build();
/// ```
///
/// ```compile_fail,E0599
/// # use synod_delivery::toolbox::{Node, Patience};
/// # use synod_types::{Digest, NodeId};
/// # let (me, members) = (NodeId(Digest([1; 32])), [1, 2, 3].map(|i| NodeId(Digest([i; 32]))));
/// // A question that died with its source would keep its answers waiting for ever.
/// let node = Node::builder(me, 1, members).detector(Patience::default()).best_effort().causal().build();
/// ```
///
/// ```compile_fail,E0599
/// # use synod_delivery::toolbox::{Node, Patience};
/// # use synod_types::{Digest, NodeId};
/// # let (me, members) = (NodeId(Digest([1; 32])), [1, 2, 3].map(|i| NodeId(Digest([i; 32]))));
/// // Nothing to deliver by.
/// let node = Node::builder(me, 1, members).detector(Patience::default()).build();
/// ```
#[derive(Clone, Debug)]
pub struct Builder<D, G> {
    settings: Settings,
    detector: D,
    guarantee: G,
}

/// No failure detector was chosen.
#[derive(Clone, Copy, Debug)]
pub struct NoDetector;

/// No guarantee was chosen.
#[derive(Clone, Copy, Debug)]
pub struct NoGuarantee;

/// Messages reach all as long as their sources live.
#[derive(Clone, Copy, Debug)]
pub struct FromTheLiving;

/// All or none get a message: reliable, or uniform.
#[derive(Clone, Copy, Debug)]
pub struct AllOrNone(Guarantee);

/// How often a node says something without being asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    /// Ticks between two reports to everybody, which are the signs of life, too.
    pub report_ticks: u64,
    /// Ticks after which what has not arrived is sent again; it doubles with each time, up to eight times as many.
    pub retry_ticks: u64,
    /// Ticks that a node which leaves waits for the others to have all of its messages.
    pub leave_ticks: u64,
}

/// What a node is made of.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub me: Life,
    /// All members, this one included.
    pub members: BTreeSet<NodeId>,
    pub patience: Option<Patience>,
    pub guarantee: Guarantee,
    pub order: Order,
    pub pace: Pace,
    pub window: u64,
    pub broken: Broken,
}

/// Why there is no node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BuildError {
    /// Too many members.
    #[error("{0} members: a group has at most {MEMBERS_MAX}")]
    Members(usize),
    /// Incarnation 0.
    #[error("incarnation 0: a node's first life is 1, and each one after it is larger than the one before")]
    Incarnation,
    /// A window that is none.
    #[error("a window of {0} messages: 1 to {TOOLBOX_WINDOW_MAX} can be under way")]
    Window(u64),
    /// A pace at which nothing happens.
    #[error("a report and a retry come after one tick or more")]
    Pace,
    /// A timeout in which nobody can be heard.
    #[error("after {timeout_ticks} ticks nodes are suspected that report every {report_ticks}: wait longer")]
    Patience {
        /// The timeout.
        timeout_ticks: u64,
        /// The pace.
        report_ticks: u64,
    },
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { report_ticks: 3, retry_ticks: 4, leave_ticks: 100 }
    }
}

impl Node {
    /// Begins a node of a group. All members name the same members, with or without themselves.
    ///
    /// Of a node in its first life (`incarnation` 1) the others are thought to be in theirs, and get all that it broadcasts from
    /// its first message on. In a later life it waits to hear of them first; [`super::Effect::Up`] says when.
    pub fn builder(
        node: NodeId,
        incarnation: u64,
        members: impl IntoIterator<Item = NodeId>,
    ) -> Builder<NoDetector, NoGuarantee> {
        let settings = Settings {
            me: Life { node, incarnation },
            members: members.into_iter().chain([node]).collect(),
            patience: None,
            guarantee: Guarantee::BestEffort,
            order: Order::Any,
            pace: Pace::default(),
            window: TOOLBOX_WINDOW_MAX,
            broken: Broken::NOT,
        };
        Builder { settings, detector: NoDetector, guarantee: NoGuarantee }
    }
}

impl<D, G> Builder<D, G> {
    /// How often the node reports and repeats.
    pub fn pace(self, pace: Pace) -> Builder<D, G> {
        Builder { settings: Settings { pace, ..self.settings }, ..self }
    }

    /// How many messages of this node may be under way, up to [`TOOLBOX_WINDOW_MAX`], which it is otherwise.
    pub fn window(self, window: u64) -> Builder<D, G> {
        Builder { settings: Settings { window, ..self.settings }, ..self }
    }

    /// What is wrong on purpose.
    pub fn broken(self, broken: Broken) -> Builder<D, G> {
        Builder { settings: Settings { broken, ..self.settings }, ..self }
    }
}

impl Builder<NoDetector, NoGuarantee> {
    /// Gives the node a failure detector.
    pub fn detector(self, patience: Patience) -> Builder<Patience, NoGuarantee> {
        Builder { settings: self.settings, detector: patience, guarantee: self.guarantee }
    }
}

impl<D> Builder<D, NoGuarantee> {
    /// Chooses [`Guarantee::BestEffort`]. Without a detector nobody is ever given up: where a member stays away, its
    /// window ends what can be broadcast.
    pub fn best_effort(self) -> Builder<D, FromTheLiving> {
        Builder { settings: self.settings, detector: self.detector, guarantee: FromTheLiving }
    }
}

impl Builder<Patience, NoGuarantee> {
    /// Chooses [`Guarantee::Reliable`].
    pub fn reliable(self) -> Builder<Patience, AllOrNone> {
        let guarantee = AllOrNone(Guarantee::Reliable);
        Builder { settings: self.settings, detector: self.detector, guarantee }
    }

    /// Chooses [`Guarantee::Uniform`].
    pub fn uniform(self) -> Builder<Patience, AllOrNone> {
        let guarantee = AllOrNone(Guarantee::Uniform);
        Builder { settings: self.settings, detector: self.detector, guarantee }
    }
}

impl<D> Builder<D, FromTheLiving> {
    /// Chooses [`Order::Fifo`].
    pub fn fifo(self) -> Builder<D, FromTheLiving> {
        Builder { settings: Settings { order: Order::Fifo, ..self.settings }, ..self }
    }
}

impl Builder<Patience, AllOrNone> {
    /// Chooses [`Order::Fifo`].
    pub fn fifo(self) -> Builder<Patience, AllOrNone> {
        Builder { settings: Settings { order: Order::Fifo, ..self.settings }, ..self }
    }

    /// Chooses [`Order::Causal`].
    pub fn causal(self) -> Builder<Patience, AllOrNone> {
        Builder { settings: Settings { order: Order::Causal, ..self.settings }, ..self }
    }

    /// The node.
    ///
    /// # Errors
    /// [`BuildError`], if a number makes no sense.
    pub fn build(self) -> Result<Node, BuildError> {
        let AllOrNone(guarantee) = self.guarantee;
        Settings { patience: Some(self.detector), guarantee, ..self.settings }.build()
    }
}

impl Builder<Patience, FromTheLiving> {
    /// The node.
    ///
    /// # Errors
    /// [`BuildError`], if a number makes no sense.
    pub fn build(self) -> Result<Node, BuildError> {
        Settings { patience: Some(self.detector), ..self.settings }.build()
    }
}

impl Builder<NoDetector, FromTheLiving> {
    /// The node.
    ///
    /// # Errors
    /// [`BuildError`], if a number makes no sense.
    pub fn build(self) -> Result<Node, BuildError> {
        self.settings.build()
    }
}

impl Settings {
    fn build(self) -> Result<Node, BuildError> {
        let pace = self.pace;
        if self.members.len() > MEMBERS_MAX {
            return Err(BuildError::Members(self.members.len()));
        }
        if self.me.incarnation == 0 {
            return Err(BuildError::Incarnation);
        }
        if !(1..=TOOLBOX_WINDOW_MAX).contains(&self.window) {
            return Err(BuildError::Window(self.window));
        }
        if pace.report_ticks == 0 || pace.retry_ticks == 0 {
            return Err(BuildError::Pace);
        }
        if let Some(Patience { timeout_ticks, .. }) = self.patience
            && timeout_ticks <= pace.report_ticks
        {
            return Err(BuildError::Patience { timeout_ticks, report_ticks: pace.report_ticks });
        }
        Ok(Node::new(self))
    }
}
