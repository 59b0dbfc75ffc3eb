//! A small log with everything in it, as it is and tampered with.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use synod_app_kv::KvOp;
use synod_auth::{Algorithm, Genesis, GenesisAdministrator, GenesisApp, SigningKey};
use synod_client::{CommandOptions, Commander};
use synod_machine::{AuthorityOp, Grant, Role};
use synod_node::lanes::Maker;
use synod_types::{Ballot, Batch, ClusterId, LogPage, Seq, wire};

use super::*;
use crate::audit::source::{Source, Unread};
use crate::audit::walk::{Until, Verifying, walk};
use crate::receipt::kept::KeptReceipt;

const KV: AppNdx = AppNdx(1);
/// What chains say of the log's end.
const END: Slot = Slot(9);

type Log = Vec<(Slot, Decree)>;

/// A cluster, its log, and what came of it.
struct World {
    genesis: Genesis,
    cluster: ClusterId,
    admin: Commander,
    log: Log,
}

fn batch(time: u64, commands: Vec<SignedCommand>) -> Decree {
    let term = Ballot { number: 1, ..Ballot::ZERO };
    Decree::Batch(Arc::new(Batch { term, time: TimeMs(time), commands }))
}

fn put(key: &'static str, value: &'static str) -> Vec<u8> {
    KvOp::Put { key: key.into(), value: value.into() }.encode()
}

impl World {
    fn new() -> World {
        let key = Arc::new(SigningKey::generate(Algorithm::Ed25519));
        let administrators = vec![GenesisAdministrator { name: "ada".to_owned(), key: key.public().clone() }];
        let apps = vec![GenesisApp { ndx: KV, name: "config".to_owned(), kind: "kv".to_owned() }];
        let genesis = Genesis::new("test", TimeMs(1), Vec::new(), administrators, apps);
        let cluster = ClusterId(Digest::of(&[&genesis.to_bytes()]));
        let admin = Commander::new(key, cluster);
        let deploy = Commander::new(Arc::new(SigningKey::generate(Algorithm::Ed25519)), cluster);
        let key = deploy.key().public().spki_der().clone();
        let grant = AuthorityOp::Grant(Grant::unlimited(key, "deploy", Role::Writer));
        let sign = |who: &Commander, seq, operation: Vec<u8>| {
            who.sign(KV, Seq(seq), operation.into(), CommandOptions::default()).unwrap()
        };
        let cas = KvOp::CompareAndSet { key: "a".into(), expected: None, value: "2".into() };
        let lease = KvOp::GrantLease { ttl_ms: 1000 };
        let bound = KvOp::PutBound { key: "locks/x".into(), value: "".into(), lease: StateNdx(6) };
        let log = vec![
            (Slot(1), Decree::Noop),
            (Slot(2), batch(1000, vec![sign(&admin, 1, put("a", "1")), sign(&admin, 2, grant.encode())])),
            (
                Slot(3),
                batch(
                    2000,
                    vec![
                        sign(&deploy, 1, put("service/x", "on")),
                        // A writer may not do this: no trace.
                        sign(&deploy, 2, grant.encode()),
                        // Refused by the application.
                        sign(&deploy, 2, cas.encode()),
                    ],
                ),
            ),
            (Slot(4), batch(3000, vec![sign(&admin, 1, put("a", "1")), sign(&admin, 3, put("b", "2"))])),
            (Slot(5), Decree::Noop),
            (Slot(6), batch(4000, vec![sign(&deploy, 3, lease.encode())])),
            (Slot(7), batch(4100, vec![sign(&deploy, 4, bound.encode())])),
            // It ends the lease.
            (Slot(8), batch(5500, Vec::new())),
            (END, batch(6000, vec![sign(&admin, 4, put("c", "3"))])),
        ];
        World { genesis, cluster, admin, log }
    }

    fn auditor(&self, expected: Vec<Expectation>, claims: Vec<Claim>) -> Result<Auditor, Break> {
        let app = &self.genesis.apps[0];
        let machine = Maker::of_program(app).machine(&self.genesis, self.cluster).unwrap();
        Auditor::new(machine, expected, claims)
    }

    /// Audits a log, and gives what it changed.
    fn audit(
        &self,
        log: Log,
        expected: Vec<Expectation>,
        claims: Vec<Claim>,
    ) -> Result<(Vec<Change>, Totals), Break> {
        let mut auditor = self.auditor(expected, claims)?;
        let mut changes = Vec::new();
        for examined in examine(&Verifier::new(self.cluster), KV, log) {
            changes.extend(auditor.take(examined)?);
        }
        auditor.finish()?;
        Ok((changes, auditor.totals()))
    }

    fn honest(&self) -> Vec<Change> {
        self.audit(self.log.clone(), Vec::new(), Vec::new()).unwrap().0
    }

    /// What an honest node says of itself when it has applied all of the log.
    fn claim(&self) -> Claim {
        let last = self.honest().pop().unwrap();
        Claim {
            app: KV,
            applied: END,
            state_ndx: last.state_ndx,
            chain: last.chain,
            time: last.time,
            by: "node1".to_owned(),
        }
    }

    /// How a tampered log is found out by somebody who trusts one honest node's claim.
    #[track_caller]
    fn found(&self, tamper: impl FnOnce(&mut Log)) -> (Kind, Slot) {
        let mut log = self.log.clone();
        tamper(&mut log);
        let broken = self.audit(log, Vec::new(), vec![self.claim()]).unwrap_err();
        assert!(broken.to_string().contains(&format!("slot {}", broken.slot)), "{broken}");
        (broken.kind, broken.slot)
    }
}

/// Changes the batch in a slot.
fn change(log: &mut Log, slot: Slot, change: impl FnOnce(&mut Batch)) {
    let (_, decree) = log.iter_mut().find(|(at, _)| *at == slot).unwrap();
    let Decree::Batch(batch) = decree else { panic!("slot {slot} holds no batch") };
    change(Arc::make_mut(batch));
}

fn flipped(bytes: &bytes::Bytes, at: usize) -> bytes::Bytes {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes.into()
}

#[test]
fn a_log_in_order_says_who_changed_what() {
    let world = World::new();
    let (changes, totals) = world.audit(world.log.clone(), Vec::new(), vec![world.claim()]).unwrap();
    let told: Vec<(u64, u64, Option<&str>)> = changes
        .iter()
        .map(|change| match &change.cause {
            Cause::Command { name, .. } => (change.state_ndx.0, change.slot.0, Some(&**name)),
            Cause::Expiry { .. } => (change.state_ndx.0, change.slot.0, None),
        })
        .collect();
    let (ada, deploy) = (Some("ada"), Some("deploy"));
    let expected = [
        (1, 2, ada),
        (2, 2, ada),
        (3, 3, deploy),
        (4, 3, deploy),
        (5, 4, ada),
        (6, 6, deploy),
        (7, 7, deploy),
        (8, 8, None),
        (9, 9, ada),
    ];
    assert_eq!(told, expected);
    assert!(matches!(changes[3].outcome, Outcome::Refused(_)));
    assert_eq!(changes.iter().map(|change| change.time.0).collect::<Vec<_>>()[2..5], [2000, 2000, 3000]);
    let expected =
        Totals { slots: 9, commands: 10, done: 7, refused: 1, without_trace: 1, repeats: 1, expiries: 1 };
    assert_eq!(totals, expected);
}

#[test]
fn a_name_is_the_one_that_the_commander_had() {
    let mut world = World::new();
    let admin = world.admin.clone();
    let key = admin.key().public().spki_der().clone();
    let rename = AuthorityOp::Grant(Grant::unlimited(key, "ada the second", Role::Administrator));
    let sign = |seq, operation: Vec<u8>| {
        admin.sign(KV, Seq(seq), operation.into(), CommandOptions::default()).unwrap()
    };
    world.log.push((Slot(10), batch(7000, vec![sign(5, rename.encode())])));
    world.log.push((Slot(11), batch(7001, vec![sign(6, put("d", "4"))])));
    let names = world.honest().into_iter().filter_map(|change| match change.cause {
        Cause::Command { name, .. } => Some(name.to_string()),
        Cause::Expiry { .. } => None,
    });
    assert_eq!(names.skip(7).collect::<Vec<_>>(), ["ada", "ada", "ada the second"]);
}

#[test]
fn what_is_not_signed_so_is_found_in_its_slot() {
    let world = World::new();
    let body = |at: usize| {
        world.found(|log| {
            change(log, Slot(3), |batch| {
                batch.commands[2].body = flipped(&batch.commands[2].body, at).into()
            });
        })
    };
    let len = world.log[2].1.commands()[2].body.len();
    assert_eq!(body(len - 1), (Kind::BadSignature, Slot(3)), "another value");
    assert_eq!(body(0), (Kind::NotACommand, Slot(3)));
    assert_eq!(body(20), (Kind::OtherCluster, Slot(3)));
    for at in [0, 31, 32, 63] {
        let found = world.found(|log| {
            change(log, Slot(4), |batch| {
                batch.commands[1].signature = flipped(&batch.commands[1].signature, at)
            });
        });
        assert_eq!(found, (Kind::BadSignature, Slot(4)));
    }
    let key = world.found(|log| {
        change(log, Slot(9), |batch| batch.commands[0].key = flipped(&batch.commands[0].key, 43));
    });
    assert_eq!(key, (Kind::BadSignature, Slot(9)));
    let swapped = world.found(|log| {
        let theirs = log[2].1.commands()[0].signature.clone();
        change(log, Slot(3), |batch| batch.commands[2].signature = theirs);
    });
    assert_eq!(swapped, (Kind::BadSignature, Slot(3)));
}

#[test]
fn what_was_signed_for_elsewhere_is_found_in_its_slot() {
    let world = World::new();
    let other = World::new();
    let found = world.found(|log| log[3] = other.log[3].clone());
    assert_eq!(found, (Kind::OtherCluster, Slot(4)));
    let elsewhere =
        world.admin.sign(AppNdx(2), Seq(9), put("x", "y").into(), CommandOptions::default()).unwrap();
    let found = world.found(|log| change(log, Slot(2), |batch| batch.commands.push(elsewhere)));
    assert_eq!(found, (Kind::OtherApplication, Slot(2)));
}

#[test]
fn what_is_missing_or_in_another_order_is_found() {
    let world = World::new();
    assert_eq!(world.found(|log| drop(log.remove(3))), (Kind::Hole, Slot(4)));
    assert_eq!(world.found(|log| log.swap(3, 4)), (Kind::Hole, Slot(4)));
    assert_eq!(world.found(|log| log[4] = log[3].clone()), (Kind::Hole, Slot(5)));
    // Everything that is left is signed. Only the states that come of it are others.
    let dropped = world.found(|log| change(log, Slot(4), |batch| drop(batch.commands.pop())));
    assert_eq!(dropped, (Kind::WrongState, END));
    let reordered = world.found(|log| change(log, Slot(2), |batch| batch.commands.swap(0, 1)));
    assert_eq!(reordered, (Kind::WrongChain, END));
    let repeated = world.found(|log| {
        change(log, Slot(9), |batch| {
            let seq_5 =
                world.admin.sign(KV, Seq(5), put("c", "3").into(), CommandOptions::default()).unwrap();
            batch.commands.insert(0, seq_5);
        })
    });
    assert_eq!(repeated, (Kind::WrongChain, END));
    let earlier = world.found(|log| change(log, Slot(4), |batch| batch.time = TimeMs(2001)));
    assert_eq!(earlier, (Kind::WrongChain, END), "the chain holds the times");
    let no_tick = world.found(|log| change(log, Slot(8), |batch| batch.time = TimeMs(4200)));
    assert_eq!(no_tick, (Kind::WrongState, END));
}

#[test]
fn a_no_op_is_part_of_the_log() {
    let world = World::new();
    let without = |log: &mut Log| {
        log.remove(4);
        for (slot, at) in log.iter_mut().zip(1..) {
            slot.0 = Slot(at);
        }
    };
    assert_eq!(world.found(without), (Kind::WrongChain, Slot(8)), "an expiry has its slot in its id");
    // Where nothing has run out no state tells, but what a node says of its slots.
    let mut log = world.log[..7].to_vec();
    let (changes, _) = world.audit(log.clone(), Vec::new(), Vec::new()).unwrap();
    let last = changes.last().unwrap();
    let claim = Claim {
        applied: Slot(7),
        state_ndx: last.state_ndx,
        chain: last.chain,
        time: last.time,
        ..world.claim()
    };
    world.audit(log.clone(), Vec::new(), vec![claim.clone()]).unwrap();
    without(&mut log);
    let broken = world.audit(log, Vec::new(), vec![claim]).unwrap_err();
    assert_eq!((broken.kind, broken.slot), (Kind::CutOff, Slot(6)));
    assert!(broken.text.ends_with("node1 has applied slot 7"), "{broken}");
}

#[test]
fn a_log_that_ends_before_what_is_known_is_cut_off() {
    let world = World::new();
    let broken = |log: Log| world.audit(log, Vec::new(), vec![world.claim()]).unwrap_err();
    let cut = broken(world.log[..4].to_vec());
    assert_eq!((cut.kind, cut.slot, cut.state_ndx), (Kind::CutOff, Slot(4), StateNdx(5)));
    assert_eq!(
        cut.to_string(),
        "application 1, slot 4, stateNdx 5: cut-off: the log ends here, in stateNdx 5, and node1 knows of stateNdx 9"
    );
    assert_eq!(broken(Vec::new()).kind, Kind::CutOff);
}

#[test]
fn a_node_that_claims_something_else_is_named() {
    let world = World::new();
    let broken = |alter: &dyn Fn(&mut Claim)| {
        let mut claim = world.claim();
        alter(&mut claim);
        world.audit(world.log.clone(), Vec::new(), vec![world.claim(), claim]).unwrap_err()
    };
    let chain = broken(&|claim| (claim.chain, claim.by) = (Digest([7; 32]), "node2".to_owned()));
    assert_eq!((chain.kind, chain.slot, chain.state_ndx), (Kind::WrongChain, END, StateNdx(9)));
    assert!(chain.text.starts_with("node2 says chain 0707"), "{chain}");
    assert_eq!(broken(&|claim| claim.time = TimeMs(1)).kind, Kind::WrongState);
    assert_eq!(broken(&|claim| claim.state_ndx = StateNdx(8)).kind, Kind::WrongChain);
    assert_eq!(broken(&|claim| claim.applied = Slot(8)).kind, Kind::WrongState);
    assert_eq!(broken(&|claim| claim.applied = Slot(0)).kind, Kind::WrongState);
    let founded = broken(&|claim| claim.state_ndx = StateNdx(0));
    assert_eq!((founded.kind, founded.slot), (Kind::WrongChain, Slot(0)));
}

#[test]
fn an_intermediate_expectation_says_where_the_log_was_still_right() {
    let world = World::new();
    let honest = world.honest();
    let expect = |nth: usize| Expectation {
        app: KV,
        state_ndx: honest[nth].state_ndx,
        chain: honest[nth].chain,
        by: format!("chain {nth}"),
        receipt: None,
    };
    let mut log = world.log.clone();
    change(&mut log, Slot(4), |batch| batch.time = TimeMs(2001));
    let broken = world.audit(log, vec![expect(1), expect(6), expect(8)], Vec::new()).unwrap_err();
    assert_eq!((broken.kind, broken.slot, broken.state_ndx), (Kind::WrongChain, Slot(7), StateNdx(7)));
    assert!(broken.text.ends_with("known from elsewhere is 2, and is right"), "{broken}");
    world.audit(world.log.clone(), vec![expect(1), expect(6), expect(8)], Vec::new()).unwrap();
}

#[test]
fn a_receipt_is_proved_by_its_command_outcome_and_chain() {
    let world = World::new();
    let honest = world.honest();
    let receipt = |nth: usize| {
        let Change { state_ndx, outcome, chain, cause, .. } = honest[nth].clone();
        let Cause::Command { id, body, .. } = cause else { panic!("an expiry has no receipt") };
        let receipt = Receipt { app: KV, seq: body.seq, state_ndx, outcome, chain };
        let command = world.log.iter().flat_map(|(_, decree)| decree.commands()).find(|one| one.id() == id);
        KeptReceipt::new(world.cluster, command.unwrap(), &receipt)
    };
    let audit = |receipt: KeptReceipt| {
        let expected = Expectation::of_receipt(receipt, "the receipt".to_owned());
        world.audit(world.log.clone(), vec![expected], Vec::new())
    };
    for nth in [0, 3, 8] {
        audit(receipt(nth)).unwrap();
        let broken = |alter: &dyn Fn(&mut KeptReceipt)| {
            let mut receipt = receipt(nth);
            alter(&mut receipt);
            let broken = audit(receipt).unwrap_err();
            (broken.kind, broken.state_ndx)
        };
        let wrong = (Kind::WrongReceipt, honest[nth].state_ndx);
        assert_eq!(broken(&|receipt| receipt.seq = Seq(77)), wrong);
        assert_eq!(broken(&|receipt| receipt.commander = Some(CommanderId::default())), wrong);
        assert_eq!(broken(&|receipt| receipt.command = Some(CommandId::default())), wrong);
        assert_eq!(broken(&|receipt| receipt.outcome = receipt_outcome()), wrong);
        let chain = broken(&|receipt| receipt.chain = Digest([9; 32]));
        assert_eq!(chain, (Kind::WrongChain, honest[nth].state_ndx));
        assert_eq!(broken(&|receipt| receipt.state_ndx = StateNdx(8)), (Kind::WrongReceipt, StateNdx(8)));
        assert_eq!(broken(&|receipt| receipt.state_ndx = StateNdx(10)).0, Kind::CutOff);
    }
}

fn receipt_outcome() -> crate::receipt::kept::KeptOutcome {
    crate::receipt::kept::KeptOutcome::Done(b"another answer".to_vec())
}

/// Whatever bit of a log is flipped: it is found, or it makes no difference.
#[test]
fn no_flipped_bit_passes_with_another_result() {
    const FLIPS: usize = 3000;
    let world = World::new();
    let (honest, claim) = (world.honest(), world.claim());
    let page = LogPage { cluster: world.cluster, app: KV, applied: END, decrees: world.log.clone() };
    let bytes = wire::encode(&page.decrees);
    let mut random = StdRng::seed_from_u64(1);
    let (mut found, mut harmless) = (0, 0);
    for _ in 0..FLIPS {
        let bit = random.random_range(0..bytes.len() * 8);
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let Ok(log) = wire::decode::<Log>(&flipped) else {
            found += 1;
            continue;
        };
        match world.audit(log, Vec::new(), vec![claim.clone()]) {
            Err(_) => found += 1,
            Ok((changes, _)) => {
                assert_eq!(changes, honest, "bit {bit}");
                harmless += 1;
            }
        }
    }
    // What no state depends on: the node in a term, most of all.
    assert!(found > FLIPS * 3 / 4, "{found} found, {harmless} without a difference");
}

/// A log in pages, with something wrong behind them perhaps.
struct Pages(Vec<Result<Log, &'static str>>);

impl Source for Pages {
    fn next(&mut self) -> Result<Log, Unread> {
        match self.0.is_empty() {
            true => Ok(Vec::new()),
            false => self.0.remove(0).map_err(|text| Unread::Broken {
                slot: Slot(5),
                kind: Kind::Damaged,
                text: text.to_owned(),
            }),
        }
    }

    fn end(&self) -> Slot {
        END
    }
}

#[test]
fn a_walk_over_pages_comes_to_the_same() {
    let world = World::new();
    let verifying = Verifying::new(world.cluster).unwrap();
    let walked = |pages, until, expected| {
        let mut auditor = world.auditor(expected, Vec::new()).unwrap();
        let mut changes = Vec::new();
        let result = walk(Pages(pages), &verifying, &mut auditor, until, |_, some| {
            changes.extend(some);
            Ok(())
        });
        (result.unwrap(), changes)
    };
    let honest = world.honest();
    for size in [1, 2, 4, 100] {
        let pages = || world.log.chunks(size).map(|page| Ok(page.to_vec())).collect();
        assert_eq!(walked(pages(), Until::TheEnd, Vec::new()), (Ok(()), honest.clone()));
        let third = &honest[2];
        let expected = Expectation {
            app: KV,
            state_ndx: third.state_ndx,
            chain: third.chain,
            by: "a chain".to_owned(),
            receipt: None,
        };
        let (result, changes) = walked(pages(), Until::NothingIsExpected, vec![expected]);
        assert_eq!(
            (result, &changes[..]),
            (Ok(()), &honest[..4]),
            "it ends with the slot of the third state"
        );
    }
    // What came before the damage is looked at first.
    let (result, changes) = walked(vec![Ok(world.log[..4].to_vec()), Err("torn")], Until::TheEnd, Vec::new());
    assert_eq!(changes, honest[..5]);
    let broken = result.unwrap_err();
    assert_eq!((broken.kind, broken.slot, broken.state_ndx), (Kind::Damaged, Slot(5), StateNdx(5)));
}

#[test]
fn a_long_log_goes_through_every_thread_in_order() {
    const COMMANDS: u64 = 3000;
    let mut world = World::new();
    let sign = |seq| {
        let operation = put("k", "v").into();
        world.admin.sign(KV, Seq(seq), operation, CommandOptions::default()).unwrap()
    };
    let decrees: Log = (1..=COMMANDS).map(|n| (Slot(n), batch(n, vec![sign(n)]))).collect();
    world.log = decrees;
    let verifying = Verifying::new(world.cluster).unwrap();
    let walked = |log: &Log| {
        let pages = log.chunks(500).map(|page| Ok(page.to_vec())).collect();
        let mut auditor = world.auditor(Vec::new(), Vec::new()).unwrap();
        let mut states = 0;
        let result = walk(Pages(pages), &verifying, &mut auditor, Until::TheEnd, |_, changes| {
            for change in changes {
                states += 1;
                assert_eq!(change.state_ndx, StateNdx(states));
            }
            Ok(())
        });
        (result.unwrap(), states)
    };
    assert_eq!(walked(&world.log), (Ok(()), COMMANDS));
    let mut forged = world.log.clone();
    change(&mut forged, Slot(2222), |batch| {
        batch.commands[0].signature = flipped(&batch.commands[0].signature, 5);
    });
    let (result, states) = walked(&forged);
    let broken = result.unwrap_err();
    assert_eq!((broken.kind, broken.slot, states), (Kind::BadSignature, Slot(2222), 2221));
}
