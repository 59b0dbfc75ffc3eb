//! A state that goes over into another cluster: what stays, what changes, and what is refused there.

mod stage;

use stage::*;
use synod_machine::snapshot::digest_without_cluster;
use synod_machine::{Founders, Machine, Member, Role, Succession, View};
use synod_types::{
    Ballot, Batch, ClusterId, CommandBody, Configuration, Decree, Digest, Epoch, NodeId, RefusalCode, Slot,
    StateNdx, TimeMs,
};

const AGAIN: ClusterId = ClusterId(Digest([9; 32]));

fn member(n: u8) -> Member {
    Member { id: NodeId(Digest([n; 32])), name: format!("node{n}"), address: String::new() }
}

fn succession(epoch: u64) -> Succession {
    Succession { cluster: AGAIN, epoch: Epoch(epoch), members: vec![member(7), member(8)] }
}

/// With members, two commanders, and something done.
fn lived() -> Machine {
    let administrators = vec![(commander(0), key(0), "ada".to_owned())];
    let members = vec![member(1), member(2), member(3)];
    let founders =
        Founders { administrators, signatures_needed: 1, members, level: synod_types::Level::NEWEST };
    let mut machine = Machine::new(CLUSTER, APP, &founders, Box::new(Tally::default()));
    apply_at(
        &mut machine,
        1_700_000_000_000,
        vec![command(0, 1, grant(1, Role::Writer)), command(1, 1, add(5))],
    );
    machine
}

fn restored(cluster: ClusterId, view: &View) -> Machine {
    Machine::restore(cluster, view.app_ndx, &view.snapshot(), Box::new(Tally::default()))
        .expect("it is the snapshot of a state")
}

#[test]
fn what_commanders_have_stays_and_the_nodes_are_others() {
    let before = lived();
    let after = before.state().succeeded_by(&succession(4));
    let old = before.state();
    assert_eq!(
        (after.cluster, after.state_ndx, after.chain, after.time),
        (AGAIN, old.state_ndx, old.chain, old.time)
    );
    assert_eq!(after.applied, old.applied.next(), "the founding takes a slot");
    let voters = vec![member(7).id, member(8).id];
    let configuration = Configuration { epoch: Epoch(4), members: voters };
    assert_eq!(after.configuration, Some(configuration.clone()));
    assert_eq!(
        after.authority().members().unwrap().configuration(),
        configuration,
        "nothing is to be changed at once"
    );
    assert!(after.authority().members().unwrap().removed().is_empty());
    assert_eq!(after.commanders().count(), 2);
    // The receipt of what was executed before is there, and its seq stays taken.
    let done = command(1, 1, add(5));
    assert!(after.receipt(commander(1), synod_types::Seq(1), done.id()).is_some());
    assert_eq!(after.next_seq(commander(1)), synod_types::Seq(2));
    assert_eq!(before.state().cluster, CLUSTER, "and what was before is as it was");
}

#[test]
fn commands_of_the_cluster_before_are_refused_and_new_ones_go_on() {
    let mut machine = lived().succeeded_by(&succession(4));
    let chain = machine.state().chain;
    let state_ndx = machine.state().state_ndx;
    let here = |seq: u64| sign(&CommandBody { cluster: AGAIN, ..body(1, seq, add(1)) });
    let batch = |commands| Decree::Batch(Batch { term: Ballot::ZERO, time: TimeMs(1), commands }.into());
    let slot = machine.state().applied.next();
    let applied =
        machine.apply(slot, &batch(vec![command(1, 2, add(9)), command(1, 1, add(5)), here(2)])).unwrap();
    let code = |n: usize| applied[n].result.as_ref().unwrap_err().code;
    assert_eq!((code(0), code(1)), (RefusalCode::WrongCluster, RefusalCode::WrongCluster));
    let receipt = applied[2].result.as_ref().unwrap();
    assert_eq!((receipt.state_ndx, machine.state().state_ndx), (state_ndx.next(), state_ndx.next()));
    assert_ne!(machine.state().chain, chain);
    assert_eq!(machine.state().time, TimeMs(1_700_000_000_000), "time does not go back");
    // One that has a taken seq is not executed again, signed anew or not.
    let slot = slot.next();
    let applied = machine.apply(slot, &batch(vec![here(1)])).unwrap();
    assert_eq!(applied[0].result.as_ref().unwrap_err().code, RefusalCode::SeqReused);
}

/// The lease clock stands still over it, even where a term should look like one of then.
#[test]
fn a_term_begins_with_it() {
    let machine = lived();
    let term = Ballot::ZERO;
    assert!(machine.state().clock.behind(term, TimeMs(1_700_000_000_500)).is_some());
    let after = machine.state().succeeded_by(&succession(4));
    assert_eq!(after.clock.behind(term, TimeMs(1_700_000_000_500)), None);
    assert_eq!(after.clock.now(), machine.state().clock.now());
}

#[test]
fn its_snapshot_is_known_by_what_it_holds_whichever_cluster_has_it() {
    let before = lived();
    let digest = |view: &View| digest_without_cluster(&view.snapshot()).unwrap();
    let after = before.state().succeeded_by(&succession(4));
    let elsewhere =
        before.state().succeeded_by(&Succession { cluster: ClusterId::default(), ..succession(4) });
    assert_eq!(digest(&after), digest(&elsewhere), "the cluster's id follows from it");
    assert_ne!(after.snapshot(), elsewhere.snapshot());
    assert_ne!(digest(&after), digest(&before.state().succeeded_by(&succession(5))));
    assert_ne!(digest(&after), digest(before.state()));
    assert_eq!(restored(AGAIN, &after).snapshot(), after.snapshot());
    // Nothing else in it may differ.
    let snapshot = after.snapshot();
    // The cluster's id stands behind name, level and length.
    for at in (0..snapshot.len() - 32).filter(|at| !(29..61).contains(at)) {
        let mut other = snapshot.clone();
        other[at] ^= 1;
        assert_ne!(digest_without_cluster(&other), Some(digest(&after)), "byte {at}");
    }
    assert_eq!(digest_without_cluster(b"short"), None);
}

/// Also where nothing was ever commanded: the chain is that of the cluster before.
#[test]
fn a_state_in_which_nothing_happened_goes_over_too() {
    let before = founded();
    let after = before.state().succeeded_by(&succession(1));
    assert_eq!((after.state_ndx, after.chain, after.applied), (StateNdx(0), before.state().chain, Slot(1)));
    assert_eq!(restored(AGAIN, &after).state().chain, before.state().chain);
    // And once more.
    let third = ClusterId(Digest([10; 32]));
    let again = after.succeeded_by(&Succession { cluster: third, ..succession(2) });
    assert_eq!(restored(third, &again).state().chain, before.state().chain);
}

#[test]
fn its_epoch_is_behind_every_epoch_that_any_application_knows() {
    assert_eq!(Succession::epoch_behind([lived().state(), founded().state()]), Epoch(1));
    let mut machine = founded();
    let seal = Configuration { epoch: Epoch(6), members: vec![member(1).id] };
    machine.apply(Slot(1), &Decree::Seal(seal.into())).unwrap();
    assert_eq!(Succession::epoch_behind([lived().state(), machine.state()]), Epoch(7));
}
