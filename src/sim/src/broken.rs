//! Faults on purpose: proof that the checks would find them. Those of the core are in [`synod_paxos::broken`], those of
//! the machine in [`synod_machine::broken`], those of the driver here.

use synod_paxos::broken::Broken;

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
    /// Cuts its log off before the first record that it cannot read, and forgets what stood behind it.
    DamagedEndCutOff,
    /// Does not look whether its log has lost its end.
    LostEndUnnoticed,
    /// Takes what it holds behind the hint for chosen when it starts.
    AcceptedTakenForChosen,
    /// Takes a term's time from the wall clock alone.
    TimeOfTheWall,
    /// Counts all the time over which it was paused.
    PausesCount,
    /// Proposes no ticks.
    NoTicks,
    /// Cuts the log off behind a snapshot that was never written.
    CutWithoutSnapshot,
    /// Takes a snapshot that cannot be read for an empty state.
    LostSnapshotIsEmpty,
    /// Comes back with an empty disk as who it was.
    LostDiskComesBack,
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
