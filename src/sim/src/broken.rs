//! Faults on purpose: proof that the checks would find them. Those of the core are in [`synod_paxos::broken`], those
//! of the driver here.

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
    /// Takes what it holds behind the hint for chosen when it starts.
    AcceptedTakenForChosen,
}

/// What is wrong in a world, of all that could be.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mistake {
    /// A line of the core.
    Core(Broken),
    /// A line of the driver.
    Driver(DriverFault),
}

impl Mistake {
    /// What is wrong in the core.
    pub fn core(self) -> Broken {
        match self {
            Mistake::Core(broken) => broken,
            Mistake::Driver(_) => Broken::NOT,
        }
    }

    /// Whether the driver does this wrong.
    pub fn is(self, fault: DriverFault) -> bool {
        self == Mistake::Driver(fault)
    }
}
