//! The only way out of a group: a group can persist and send, and a persist carries what it unlocks.

use synod_types::{
    AppNdx, Ballot, Certificate, Decree, GroupMessage, Message, NodeId, Record, RefusalCode, SignedCommand,
    Slot,
};

use crate::event::{Effect, PersistNdx, ReadId};

/// Where one group's effects go. Numbers the persists of the whole node.
pub struct Outbox<'a> {
    app: AppNdx,
    effects: &'a mut Vec<Effect>,
    last_persist: &'a mut PersistNdx,
}

impl<'a> Outbox<'a> {
    /// Effects of group `app` are appended to `effects`.
    pub fn new(app: AppNdx, effects: &'a mut Vec<Effect>, last_persist: &'a mut PersistNdx) -> Outbox<'a> {
        Outbox { app, effects, last_persist }
    }

    /// The number of the last persist of this node.
    pub fn last_persist(&self) -> PersistNdx {
        *self.last_persist
    }

    /// Makes `records` durable, then sends `unlocks`.
    pub(crate) fn persist(
        &mut self,
        records: Vec<Record>,
        unlocks: impl IntoIterator<Item = (NodeId, GroupMessage)>,
    ) -> PersistNdx {
        self.last_persist.0 += 1;
        let app = self.app;
        let unlocks =
            unlocks.into_iter().map(|(to, message)| (to, Message::Group { app, message })).collect();
        self.effects.push(Effect::Persist { ndx: *self.last_persist, records, unlocks });
        *self.last_persist
    }

    /// Sends a message that depends on nothing that is not durable.
    pub(crate) fn send(&mut self, to: NodeId, message: GroupMessage) {
        self.effects.push(Effect::Send { to, message: Message::Group { app: self.app, message } });
    }

    pub(crate) fn chosen(&mut self, slot: Slot, decree: Decree) {
        self.effects.push(Effect::Chosen { app: self.app, slot, decree });
    }

    pub(crate) fn serve_log(&mut self, to: NodeId, from: Slot, up_to: Slot) {
        self.effects.push(Effect::ServeLog { to, app: self.app, from, up_to });
    }

    pub(crate) fn record_lost(&mut self, slot: Slot, is_needed: bool) {
        self.effects.push(Effect::RecordLost { app: self.app, slot, is_needed });
    }

    pub(crate) fn offer_snapshot(&mut self, to: NodeId) {
        self.effects.push(Effect::OfferSnapshot { to, app: self.app });
    }

    pub(crate) fn fetch_snapshot(&mut self, certificate: Certificate) {
        self.effects.push(Effect::FetchSnapshot { certificate });
    }

    pub(crate) fn install_snapshot(&mut self, slot: Slot) {
        self.effects.push(Effect::InstallSnapshot { app: self.app, slot });
    }

    pub(crate) fn read_granted(&mut self, read: ReadId, index: Slot) {
        self.effects.push(Effect::ReadGranted { app: self.app, read, index });
    }

    pub(crate) fn read_refused(&mut self, read: ReadId, code: RefusalCode) {
        self.effects.push(Effect::ReadRefused { app: self.app, read, code });
    }

    pub(crate) fn unproposed(&mut self, commands: Vec<SignedCommand>, code: RefusalCode) {
        if !commands.is_empty() {
            self.effects.push(Effect::Unproposed { app: self.app, commands, code });
        }
    }

    pub(crate) fn leader_changed(&mut self, leader: Option<Ballot>, leads: bool) {
        self.effects.push(Effect::LeaderChanged { app: self.app, leader, leads });
    }
}
