//! Faults on purpose: proof that the checks would find them. Those of the core are in [`synod_paxos::broken`], those of
//! the machine in [`synod_machine::broken`], those of the driver here.

use synod_machine::session::SessionRecord;
use synod_machine::snapshot::DOMAIN;
use synod_machine::{Commander, LeaseClock};
use synod_paxos::broken::Broken;
use synod_types::{AppNdx, ClusterId, Digest, Slot, StateNdx, TimeMs, wire};

/// One line of the driver, wrong.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DriverFault {
    /// Sends what a persist unlocks before it is durable.
    AcknowledgeBeforeSync,
    /// Reports records as durable that are only written.
    DurableBeforeSync,
    /// Answers a linearizable read from a state that has not applied the index.
    ReadBeforeApplied,
    /// Reads what is damaged as if nothing had been there.
    DamageReadAsEmpty,
    /// Takes what it holds behind the hint for chosen when it starts.
    AcceptedTakenForChosen,
    /// Leaves the sessions out of a machine's snapshot.
    SnapshotWithoutSessions,
    /// Takes a term's time from the wall clock alone.
    TimeOfTheWall,
    /// Counts all the time over which it was paused.
    PausesCount,
    /// Proposes no ticks.
    NoTicks,
}

/// What is wrong in a world, of all that could be.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mistake {
    /// A line of the core.
    Core(Broken),
    /// A line of the machine.
    Machine(synod_machine::broken::Broken),
    /// A line of the driver.
    Driver(DriverFault),
}

impl Mistake {
    /// What is wrong in the core.
    pub fn core(self) -> Broken {
        match self {
            Mistake::Core(broken) => broken,
            Mistake::Machine(_) | Mistake::Driver(_) => Broken::NOT,
        }
    }

    /// What is wrong in the machine.
    pub fn machine(self) -> synod_machine::broken::Broken {
        match self {
            Mistake::Machine(broken) => broken,
            Mistake::Core(_) | Mistake::Driver(_) => synod_machine::broken::Broken::NOT,
        }
    }

    /// Whether the driver does this wrong.
    pub fn is(self, fault: DriverFault) -> bool {
        self == Mistake::Driver(fault)
    }
}

/// The head of a machine's snapshot, field by field as `synod_machine::snapshot` has it.
type Head = (
    ClusterId,
    AppNdx,
    String,
    StateNdx,
    Digest,
    TimeMs,
    LeaseClock,
    Slot,
    Vec<Commander>,
    Vec<SessionRecord>,
);

/// A machine's snapshot as if its sessions had been forgotten when it was made.
pub fn without_sessions(snapshot: &[u8]) -> Vec<u8> {
    let head_at = DOMAIN.len() + size_of::<u64>();
    let len = u64::from_be_bytes(snapshot[DOMAIN.len()..head_at].try_into().expect("eight bytes"));
    let app_at = head_at + usize::try_from(len).expect("a snapshot fits into memory");
    let mut head: Head = wire::decode(&snapshot[head_at..app_at]).expect("the machine wrote it");
    head.9.clear();
    let head = wire::encode(&head);
    let len = u64::try_from(head.len()).expect("usize has at most 64 bits").to_be_bytes();
    let app = &snapshot[app_at..snapshot.len() - size_of::<Digest>()];
    let mut spoiled = [DOMAIN, &len[..], &head, app].concat();
    spoiled.extend(Digest::of(&[&spoiled]).0);
    spoiled
}
