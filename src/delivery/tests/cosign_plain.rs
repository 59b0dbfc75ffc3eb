//! The way to certificates, step by step: each scene is what a node is told and what it does about it.

use std::collections::BTreeMap;

use bytes::Bytes;
use synod_delivery::cosign::broken::Broken;
use synod_delivery::cosign::{Beginning, Core, Due, Effect, Event};
use synod_types::{
    AppNdx, Configuration, CosignMessage, Digest, Epoch, Holding, NodeId, Slot, StateCertificate, StateNdx,
    Statement, StatementSignature, Threshold,
};

const APP: AppNdx = AppNdx(1);

fn key(n: u8) -> Bytes {
    vec![n].into()
}

fn id(n: u8) -> NodeId {
    NodeId(Digest::of(&[&key(n)]))
}

fn members(epoch: u64, nodes: &[u8]) -> Configuration {
    Configuration { epoch: Epoch(epoch), members: nodes.iter().map(|n| id(*n)).collect() }
}

fn statement(state_ndx: u64, members: &Configuration) -> Statement {
    Statement {
        app: APP,
        epoch: members.epoch,
        members: members.digest(),
        slot: Slot(state_ndx + 10),
        state_ndx: StateNdx(state_ndx),
        chain: Digest([3; 32]),
        root: Digest([4; 32]),
    }
}

/// Signatures are verified before they get to the core, so any bytes will do.
fn word(n: u8) -> StatementSignature {
    StatementSignature { key: key(n), signature: Bytes::from_static(b"signed") }
}

fn certificate(statement: Statement, members: &Configuration, signers: &[u8]) -> StateCertificate {
    let mut signatures: Vec<_> = signers.iter().map(|n| word(*n)).collect();
    signatures.sort_by_key(StatementSignature::signer);
    StateCertificate { statement, members: members.members.clone(), signatures }
}

/// Node 1 among others.
struct Stage {
    core: Core,
    members: Configuration,
}

impl Stage {
    fn of(nodes: &[u8], threshold: Threshold) -> Stage {
        let members = members(0, nodes);
        let beginning = Beginning { proved: members.clone(), current: members.clone(), newest: None };
        let mut core = Core::new(threshold, BTreeMap::from([(APP, beginning)]), Broken::NOT);
        let others = nodes.iter().copied().chain([9]).filter(|n| *n != 1).map(id);
        core.step(Event::Nodes(others.collect()), &mut Vec::new());
        Stage { core, members }
    }

    fn step(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.core.step(event, &mut effects);
        effects
    }

    fn due(&mut self, state_ndx: u64) -> Vec<Effect> {
        let (statement, members) = (statement(state_ndx, &self.members), self.members.clone());
        self.step(Event::Due(Due { statement, signature: word(1), members, before: None }))
    }

    fn hear(&mut self, from: u8, state_ndx: u64) -> Vec<Effect> {
        let statement = statement(state_ndx, &self.members);
        self.hear_of(from, statement)
    }

    fn hear_of(&mut self, from: u8, statement: Statement) -> Vec<Effect> {
        let message = CosignMessage::Prepare { statement, signature: word(from) };
        self.step(Event::Message { from: id(from), message })
    }

    fn commit(&mut self, from: u8, certificate: StateCertificate) -> Vec<Effect> {
        self.step(Event::Message { from: id(from), message: CosignMessage::Commit { certificate } })
    }

    /// The newest state of which there is a certificate.
    fn newest(&self) -> Option<u64> {
        Some(self.core.newest(APP)?.statement.state_ndx.0)
    }
}

/// What is to be stored, and as a hand-over or not.
fn stored(effects: &[Effect]) -> Option<(StateCertificate, bool)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Store { certificate, is_handover } => Some((certificate.clone(), *is_handover)),
        _ => None,
    })
}

fn sent(effects: &[Effect]) -> Vec<(NodeId, &CosignMessage)> {
    let mut sent = Vec::new();
    for effect in effects {
        if let Effect::Send { to, message } = effect {
            sent.push((*to, message));
        }
    }
    sent
}

fn conflicts(effects: &[Effect]) -> Vec<NodeId> {
    let signer = |effect: &Effect| match effect {
        Effect::Conflict { signer, .. } => Some(*signer),
        _ => None,
    };
    effects.iter().filter_map(signer).collect()
}

#[test]
fn a_set_is_fixed_stored_and_only_then_sent_and_shown() {
    let mut stage = Stage::of(&[1, 2, 3], Threshold::Majority);
    let due = stage.due(5);
    assert_eq!((sent(&due).len(), stored(&due)), (3, None), "to all, and one is not enough");
    let heard = stage.hear(3, 5);
    let (set, is_handover) = stored(&heard).unwrap();
    assert_eq!((set.signers().len(), is_handover, heard.len()), (2, false, 1), "nothing but to store it");
    assert_eq!(stored(&stage.hear(2, 5)), None, "the set is fixed");
    assert_eq!(stage.newest(), None);
    let done = stage.step(Event::Stored { certificate: set.clone(), is_handover: false });
    assert!(done.contains(&Effect::Certified(set.clone())));
    let commits = sent(&done);
    assert!(
        commits.iter().all(|(_, message)| **message == CosignMessage::Commit { certificate: set.clone() })
    );
    assert_eq!((commits.len(), stage.newest()), (3, Some(5)));
}

#[test]
fn what_is_not_stored_is_tried_again() {
    let mut stage = Stage::of(&[1, 2, 3], Threshold::Majority);
    stage.due(5);
    let (certificate, _) = stored(&stage.hear(2, 5)).unwrap();
    stage.step(Event::NotStored { certificate: certificate.clone() });
    let again = (0..4).find_map(|_| stored(&stage.step(Event::Tick)));
    assert_eq!(again, Some((certificate, false)));
}

#[test]
fn repeats_and_strangers_do_not_count_and_more_than_enough_is_enough() {
    let mut stage = Stage::of(&[1, 2, 3, 4, 5], Threshold::Majority);
    stage.due(5);
    for _ in 0..5 {
        assert_eq!(stored(&stage.hear(2, 5)), None, "a repeat");
        assert_eq!(stored(&stage.hear(9, 5)), None, "no member");
    }
    assert!(stored(&stage.hear(4, 5)).is_some());
    // All words came before this node was there: four at once.
    for n in 2..=5 {
        assert_eq!(stored(&stage.hear(n, 6)), None);
    }
    assert_eq!(stored(&stage.due(6)).unwrap().0.signatures.len(), 5);
}

#[test]
fn thresholds_are_met_from_their_number_on() {
    for (threshold, needed) in
        [(Threshold::Majority, 3), (Threshold::All, 5), (Threshold::Count(4), 4), (Threshold::Count(2), 3)]
    {
        let mut stage = Stage::of(&[1, 2, 3, 4, 5], threshold);
        let mut signed = 1;
        let mut effects = stage.due(5);
        while stored(&effects).is_none() {
            signed += 1;
            effects = stage.hear(signed, 5);
        }
        assert_eq!(signed, needed, "{threshold}");
        // The same of a set that was fixed elsewhere.
        let mut other = Stage::of(&[1, 2, 3, 4, 5], threshold);
        let set = |n: u8| {
            certificate(statement(5, &other.members), &other.members, &(2..2 + n).collect::<Vec<_>>())
        };
        let (few, enough) = (set(needed - 2), set(needed.min(4)));
        assert_eq!(stored(&other.commit(2, few)), None, "{threshold}");
        assert_eq!(stored(&other.commit(2, enough)).is_some(), needed < 5, "{threshold}");
    }
}

#[test]
fn a_commit_before_the_last_prepare_is_taken_by_who_has_signed_nothing_too() {
    for has_signed in [true, false] {
        let mut stage = Stage::of(&[1, 2, 3], Threshold::Majority);
        if has_signed {
            stage.due(5);
        }
        let set = certificate(statement(5, &stage.members), &stage.members, &[2, 3]);
        let (found, _) = stored(&stage.commit(3, set.clone())).unwrap();
        assert_eq!(found, set);
        stage.step(Event::Stored { certificate: set.clone(), is_handover: false });
        // The last word comes now: its sender does not know yet.
        let told = stage.hear(2, 5);
        assert_eq!(sent(&told), [(id(2), &CosignMessage::Commit { certificate: set.clone() })]);
        let early = certificate(statement(4, &stage.members), &stage.members, &[2, 3]);
        assert_eq!(stored(&stage.commit(2, early)), None, "an older one is not news");
    }
}

#[test]
fn lost_messages_are_made_good_by_ticks() {
    let mut stage = Stage::of(&[1, 2, 3], Threshold::Majority);
    stage.due(5);
    let prepares = |stage: &mut Stage| -> usize {
        (0..4)
            .map(|_| stage.step(Event::Tick))
            .map(|effects| {
                let is_prepare = |(_, message): &(NodeId, &CosignMessage)| {
                    matches!(message, CosignMessage::Prepare { .. })
                };
                sent(&effects).into_iter().filter(is_prepare).count()
            })
            .sum()
    };
    assert_eq!(prepares(&mut stage), 3, "again to all within a second");
    let (certificate, _) = stored(&stage.hear(2, 5)).unwrap();
    stage.step(Event::Stored { certificate: certificate.clone(), is_handover: false });
    assert_eq!(prepares(&mut stage), 0, "there is nothing to ask for any more");
    // Its Commit was lost; what the other says that it holds tells.
    let holding = Holding { app: APP, newest: None, proved: Epoch(0) };
    let holds = |holding| Event::Message { from: id(3), message: CosignMessage::Holds(vec![holding]) };
    let given = stage.step(holds(holding));
    assert_eq!(sent(&given), [(id(3), &CosignMessage::Commit { certificate: certificate.clone() })]);
    let newest = Some(certificate.key());
    assert_eq!(stage.step(holds(Holding { newest, ..holding })), []);
}

#[test]
fn who_signs_what_is_not_so_is_named_once_and_does_not_count() {
    let mut stage = Stage::of(&[1, 2, 3], Threshold::Majority);
    let truth = statement(5, &stage.members);
    let lie = Statement { root: Digest([9; 32]), ..truth };
    stage.hear_of(2, lie);
    let due = stage.due(5);
    assert_eq!((conflicts(&due), stored(&due)), (vec![id(2)], None), "it came early");
    let again = stage.hear_of(2, lie);
    assert_eq!((conflicts(&again), stored(&again)), (vec![], None));
    let chain = Statement { chain: Digest([8; 32]), ..statement(5, &members(7, &[1, 2])) };
    assert_eq!(conflicts(&stage.hear_of(3, chain)), [id(3)], "the chain is the same in every epoch");
    let forged = certificate(lie, &stage.members, &[2, 3]);
    let heard = stage.commit(2, forged);
    assert_eq!((conflicts(&heard), stored(&heard)), (vec![id(3)], None), "node 2 was named for it");
}

#[test]
fn an_epoch_ends_with_the_word_of_those_before() {
    let mut stage = Stage::of(&[1, 2, 3], Threshold::Majority);
    let (before, after) = (stage.members.clone(), members(4, &[3, 4, 5]));
    let seal = statement(5, &after);
    stage.step(Event::Nodes([2, 3, 4, 5].map(id).to_vec()));
    let due =
        Due { statement: seal, signature: word(1), members: after.clone(), before: Some(before.clone()) };
    stage.step(Event::Due(due));
    assert_eq!(stored(&stage.hear_of(4, seal)), None);
    assert_eq!(stored(&stage.hear_of(5, seal)), None, "two of the new ones, one of the former");
    let (set, is_handover) = stored(&stage.hear_of(2, seal)).unwrap();
    assert_eq!((is_handover, set.signatures.len()), (true, 4));
    let done = stage.step(Event::Stored { certificate: set.clone(), is_handover });
    assert_eq!(stage.core.proved(APP), Some(&after));
    assert!(
        done.contains(&Effect::Certified(certificate(seal, &after, &[4, 5]))),
        "the former have no say: {done:?}"
    );
    // Who cannot prove the epoch yet is given what does.
    let holding = Holding { app: APP, newest: Some(seal.key()), proved: Epoch(0) };
    let message = CosignMessage::Holds(vec![holding]);
    let given = stage.step(Event::Message { from: id(5), message });
    assert_eq!(given, [Effect::GiveHandOver { to: id(5), app: APP, ends: Epoch(0) }]);

    // A node that was not there takes it on its own merits, and what comes behind as well; but no members of a forger's.
    let mut late = Stage::of(&[1, 2, 3], Threshold::Majority);
    late.step(Event::Nodes([2, 3, 4, 5].map(id).to_vec()));
    let next = certificate(statement(9, &after), &after, &[4, 5]);
    assert_eq!(stored(&late.commit(4, next.clone())), None, "nobody has said that they are members");
    let (handover, is_handover) = stored(&late.commit(4, set)).unwrap();
    assert!(is_handover);
    late.step(Event::Stored { certificate: handover, is_handover });
    assert_eq!(stored(&late.commit(4, next.clone())), Some((next, false)));
}

#[test]
fn every_table_has_a_limit() {
    let mut stage = Stage::of(&[1, 2, 3], Threshold::Majority);
    for n in 1..=100 {
        stage.due(n);
        stage.hear(2, 1_000 + n);
    }
    let prepares = (0..4).map(|_| sent(&stage.step(Event::Tick)).len()).max();
    assert_eq!(prepares, Some(8 * 3), "the last rounds, to all");
    assert_eq!(stored(&stage.hear(2, 92)), None, "it was given up");
    assert!(stored(&stage.hear(2, 93)).is_some());
    assert_eq!(stored(&stage.due(1_092)), None, "the early word was forgotten");
    assert!(stored(&stage.due(1_093)).is_some());
}
