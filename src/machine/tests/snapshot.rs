//! A restored machine is the machine.

mod stage;

use proptest::prelude::*;
use stage::*;
use synod_machine::{Application, Machine, Role, SnapshotError};
use synod_types::limits::SESSION_WINDOW;
use synod_types::{AppNdx, ClusterId, CommandBody, Digest, SignedCommand, TimeMs};

fn restore(snapshot: &[u8]) -> Result<Machine, SnapshotError> {
    Machine::restore(CLUSTER, APP, snapshot, Box::new(Tally::default()))
}

/// A machine with two writers, a revoked one, refused outcomes and a session that lost its oldest receipts.
fn lived() -> Machine {
    let mut machine = founded();
    let mut commands = vec![
        command(0, 1, grant(1, Role::Writer)),
        command(0, 2, grant(2, Role::Writer)),
        command(2, 1, add(9)),
        command(0, 3, revoke(2)),
        command(0, 4, vec![0, b'?']),
    ];
    commands.extend((1..SESSION_WINDOW + 10).step_by(7).map(|seq| command(1, seq, add(1))));
    apply_at(&mut machine, 1_700_000_000_000, commands);
    machine
}

/// What may come after: new commands, repeats inside and below the windows, used seqs, the revoked, the expired.
fn sequel() -> Vec<SignedCommand> {
    let expired = CommandBody { not_after: Some(TimeMs(1)), ..body(0, 6, add(1)) };
    vec![
        command(1, 5_000, add(3)),
        command(1, 15, add(1)),
        command(1, 1, add(1)),
        command(1, 4_096, add(1)),
        command(1, 4_096, add(2)),
        command(2, 1, add(9)),
        command(2, 2, add(9)),
        command(0, 5, grant(2, Role::Administrator)),
        command(2, 2, add(9)),
        sign(&expired),
    ]
}

#[test]
fn a_restored_machine_goes_on_identically() {
    let mut machine = lived();
    let snapshot = machine.snapshot();
    let mut restored = restore(&snapshot).unwrap();
    assert_eq!(restored.snapshot(), snapshot);
    assert_eq!(restored.digest(), machine.digest());
    assert_eq!(restored.view().applied, machine.view().applied);

    assert_eq!(apply_at(&mut restored, 5, sequel()), apply_at(&mut machine, 5, sequel()));
    assert_eq!(restored.view().chain, machine.view().chain);
    assert_eq!(restored.snapshot(), machine.snapshot());
    assert_eq!(restored.digest(), machine.digest());
}

#[test]
fn equal_states_give_equal_bytes_however_they_came_about() {
    let mut alone = founded();
    let mut watched = founded();
    let mut views = Vec::new();
    for slot in 1..=60 {
        let commands = vec![command(0, slot, grant(slot, Role::Writer)), command(slot, slot, add(1))];
        apply_at(&mut alone, slot, commands.clone());
        // Every view makes the next command copy what it changes.
        views.push((watched.view(), alone.snapshot()));
        if slot % 20 == 0 {
            watched = restore(&watched.snapshot()).unwrap();
        }
        apply_at(&mut watched, slot, commands);
        assert_eq!(watched.snapshot(), alone.snapshot());
    }
    for ((_, made_later), (view, _)) in views.iter().zip(&views[1..]) {
        assert_eq!(&view.snapshot(), made_later, "a view changed under its reader");
    }
}

#[test]
fn the_digest_covers_more_than_the_application() {
    let mut machine = founded();
    let digest = machine.digest();
    apply_at(&mut machine, 7, vec![]);
    assert_ne!(machine.digest(), digest);
}

#[test]
fn a_snapshot_of_something_else_is_refused() {
    let snapshot = founded().snapshot();
    let tally = || Box::new(Tally::default());
    let cluster = Machine::restore(ClusterId(Digest([2; 32])), APP, &snapshot, tally());
    assert!(matches!(cluster, Err(SnapshotError::Foreign { what: "cluster", .. })));
    let app = Machine::restore(CLUSTER, AppNdx(8), &snapshot, tally());
    assert!(matches!(app, Err(SnapshotError::Foreign { what: "application", .. })));
    assert_eq!(restore(b"").unwrap_err(), SnapshotError::NotASnapshot);
    assert_eq!(restore(&[0; 200]).unwrap_err(), SnapshotError::NotASnapshot);
    assert!(restore(&Tally::default().snapshot()).is_err());
}

#[test]
fn every_truncation_and_every_damaged_byte_is_found() {
    let mut machine = founded();
    apply_at(&mut machine, 3, vec![command(0, 1, add(1))]);
    let snapshot = machine.snapshot();
    for len in 0..snapshot.len() {
        assert!(restore(&snapshot[..len]).is_err(), "{len} bytes were taken for a snapshot");
    }
    for at in 0..snapshot.len() {
        let mut damaged = snapshot.clone();
        damaged[at] ^= 0x10;
        assert!(restore(&damaged).is_err(), "damage at byte {at} was not found");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// With a right digest, so that the damage reaches what is behind it.
    #[test]
    fn forged_bytes_never_panic(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut machine = founded();
        apply_at(&mut machine, 3, vec![command(0, 1, add(1)), command(0, 2, grant(1, Role::Writer))]);
        let mut bytes = machine.snapshot();
        bytes.truncate(bytes.len() - 32);
        for (at, byte) in damage {
            let at = 17 + at.index(bytes.len() - 17);
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let digest = Digest::of(&[&bytes]);
        bytes.extend_from_slice(&digest.0);
        if let Ok(restored) = restore(&bytes) {
            prop_assert_eq!(restore(&restored.snapshot()).map(|again| again.digest()), Ok(restored.digest()));
        }
    }
}
