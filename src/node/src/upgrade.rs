//! Whether an application may be raised to a level: only where every member's program knows that level. A node whose program
//! does not would have to stop at that decree, so the leader does not order it.
//!
//! Nodes tell what they know in the Hello. One that is not there now may come back with an older program, so it counts as one
//! that does not know.

use synod_machine::View;
use synod_mesh::PeerStatus;
use synod_types::command::Operation;
use synod_types::{AppNdx, CommandBody, Level, NodeId, Refusal, RefusalCode, SignedCommand, Versions};

use crate::roster::Known;

/// What the leader of an application goes by.
pub(crate) struct LevelGate<'a> {
    /// Which application.
    pub app: AppNdx,
    /// Its newest state here.
    pub view: &'a View,
    /// Whether that state has everything that the leader's term began with.
    pub is_reached: bool,
    /// Who the nodes are.
    pub known: &'a Known,
    /// What this node's program knows.
    pub own: Versions,
}

impl LevelGate<'_> {
    /// Checks that a command raises the application to no level that some member does not know. `peers` is asked only where a
    /// command does.
    ///
    /// # Errors
    /// `Conflict` with those that hold it up; `Busy` where this state cannot tell yet.
    pub(crate) fn check(
        &self,
        command: &SignedCommand,
        peers: impl FnOnce() -> Vec<PeerStatus>,
    ) -> Result<(), Refusal> {
        // Nearly every command is an application's own.
        let Ok(body) = CommandBody::decode(&command.body) else { return Ok(()) };
        let Some(Operation::Authority(_)) = Operation::split(&body.operation) else { return Ok(()) };
        let level = match self.view.raises(&body) {
            Some(level) => level,
            // It may sign something that this state does not have yet.
            None if !self.is_reached => {
                let text =
                    "this node has just begun to lead, and does not know yet what is pending; try again";
                return Err(Refusal::new(RefusalCode::Busy, text));
            }
            None => return Ok(()),
        };
        let behind = self.behind(level, &peers());
        if behind.is_empty() {
            return Ok(());
        }
        Err(Refusal::new(
            RefusalCode::Conflict,
            format_args!(
                "not every member is known to have a program for level {level}: {}; install a newer one there, or remove that member",
                behind.join(", ")
            ),
        ))
    }

    /// The members, wanted ones and such as vote still, that are not known to have a program for this level, with what is known.
    fn behind(&self, level: Level, peers: &[PeerStatus]) -> Vec<String> {
        let LevelGate { app, known, own, .. } = self;
        let members = known.members.iter().map(|member| member.id);
        let mut all: Vec<NodeId> = members.chain(known.voters(*app).iter().copied()).collect();
        all.sort();
        all.dedup();
        let words = |id: NodeId| {
            let name = known.name(id).map_or_else(|| id.short(), str::to_owned);
            let peer = peers.iter().find(|peer| peer.id == id);
            let levels = if id == known.node { Some(*own) } else { peer.and_then(PeerStatus::levels) };
            match levels {
                Some(levels) if levels.contains(level.0) => None,
                Some(levels) => Some(format!("{name} has level {levels}")),
                None => Some(format!("{name} is not there")),
            }
        };
        all.into_iter().filter_map(words).collect()
    }
}
