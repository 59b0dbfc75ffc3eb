//! Commanders and readers. Each is a closed loop: it asks one thing at a time, of any node, and where no answer
//! comes it asks another node the very same bytes, until it knows.

use bytes::Bytes;
use synod_app_kv::KvReply;
use synod_machine::Applied;
use synod_types::{
    AppNdx, CommandBody, CommandId, CommanderId, Digest, Outcome, Receipt, RefusalCode, Seq, SignedCommand,
    StateNdx, TimeMs,
};

use crate::node::CLUSTER;
use crate::operations;
use crate::random::Random;

/// Whom an answer is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caller {
    /// Which client.
    pub client: usize,
    /// Its number for what it asked.
    pub request: u64,
}

/// What a client asks of a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// Execute this.
    Command(SignedCommand),
    /// Tell the state.
    Read {
        /// As of now, or as far as the node knows.
        linearizable: bool,
    },
}

/// What a node answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The command was executed, now or earlier.
    Executed(Receipt),
    /// A read's state.
    State {
        /// Which kind of read it was.
        linearizable: bool,
        /// The state.
        state_ndx: StateNdx,
    },
    /// Not now, or never.
    Refused(RefusalCode),
}

impl Answer {
    /// What came of a command.
    pub fn of(applied: &Applied) -> Answer {
        match &applied.result {
            Ok(receipt) => Answer::Executed(receipt.clone()),
            Err(refusal) => Answer::Refused(refusal.code),
        }
    }
}

/// How many of 1,000 commands of an administrator raise the level, or depend on it, where there are upgrades.
const UPGRADES_PER_MILLE: u64 = 100;
/// Leases that a client remembers.
const LEASES_MAX: usize = 4;

/// How clients behave in one run.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// How many of 1,000 requests are reads.
    pub reads_per_mille: u64,
    /// How many of 1,000 commands are sent to two nodes at once, and how many repeat an old one.
    pub repeats_per_mille: u64,
    /// How many of 1,000 operations on keys are on leases instead.
    pub leases_per_mille: u64,
    /// Whether administrators raise the level, and order what depends on it.
    pub upgrades: bool,
}

/// What a client does now.
#[derive(Clone, Debug)]
pub enum Doing {
    /// Nothing: it may begin.
    Nothing,
    /// It waits for a receipt.
    Commanding(SignedCommand, CommandId),
    /// It waits for a state.
    Reading {
        /// Which kind of read.
        linearizable: bool,
        /// The state that it must not fall behind.
        floor: StateNdx,
    },
}

/// One client.
#[derive(Clone, Debug)]
pub struct Client {
    /// The application that it works with.
    pub app: AppNdx,
    /// What it does.
    pub doing: Doing,
    /// Its number for that.
    pub request: u64,
    /// Which of the wakes that were ordered counts.
    pub wake: u64,
    key: Bytes,
    commander: CommanderId,
    /// Keys that it grants and revokes; none if it is no administrator.
    others: Vec<Bytes>,
    seq: Seq,
    /// A command of some time ago that it may repeat.
    old: Option<SignedCommand>,
    /// The last command that it is through with.
    last: Option<SignedCommand>,
    /// The last leases that it was granted.
    leases: Vec<StateNdx>,
}

/// The commander behind a key: in a world, keys are names.
pub fn commander_of(key: &[u8]) -> CommanderId {
    CommanderId(Digest::of(&[key]))
}

/// The name, and key, of client number `index`.
pub fn client_key(index: usize) -> Bytes {
    Bytes::from(format!("c{}", index + 1))
}

impl Client {
    /// Client number `index`, which administers `others`.
    pub fn new(index: usize, app: AppNdx, others: Vec<Bytes>) -> Client {
        let key = client_key(index);
        Client {
            app,
            doing: Doing::Nothing,
            request: 0,
            wake: 0,
            commander: commander_of(&key),
            key,
            others,
            seq: Seq(0),
            old: None,
            last: None,
            leases: Vec::new(),
        }
    }

    /// Signs an operation as its next command.
    pub fn sign(
        &mut self,
        operation: Bytes,
        not_after: Option<TimeMs>,
        expected: Option<StateNdx>,
    ) -> SignedCommand {
        self.seq.0 += 1;
        let (app, commander, seq) = (self.app, self.commander, self.seq);
        let body = CommandBody { cluster: CLUSTER, app, commander, seq, not_after, expected, operation };
        let body = body.encode().expect("operations of a world are small");
        SignedCommand {
            body: body.into(),
            signature: Bytes::from_static(b"signature"),
            key: self.key.clone(),
        }
    }

    /// Begins to command this.
    pub fn command(&mut self, operation: Bytes) -> CommandId {
        self.request += 1;
        let command = self.sign(operation, None, None);
        let id = command.id();
        self.doing = Doing::Commanding(command, id);
        id
    }

    /// Begins to command what it commanded last, with the same bytes.
    pub fn again(&mut self) {
        if let Some(last) = self.last.clone() {
            self.request += 1;
            let id = last.id();
            self.doing = Doing::Commanding(last, id);
        }
    }

    /// Begins to read. `floor` is the state that a linearizable read must not fall behind.
    pub fn read(&mut self, linearizable: bool, floor: StateNdx) {
        self.request += 1;
        self.doing = Doing::Reading { linearizable, floor };
    }

    /// Begins something. `floor` is the state that a linearizable read must not fall behind.
    pub fn begin(&mut self, habits: &Habits, wall: TimeMs, floor: StateNdx, random: &mut Random) {
        self.request += 1;
        self.doing = if random.chance(habits.reads_per_mille) {
            Doing::Reading { linearizable: random.chance(700), floor }
        } else {
            let command = self.choose_command(habits, wall, floor, random);
            let id = command.id();
            Doing::Commanding(command, id)
        };
    }

    fn choose_command(
        &mut self,
        habits: &Habits,
        wall: TimeMs,
        floor: StateNdx,
        random: &mut Random,
    ) -> SignedCommand {
        if let Some(old) = &self.old
            && random.chance(habits.repeats_per_mille)
        {
            return old.clone();
        }
        if habits.upgrades && !self.others.is_empty() && random.chance(UPGRADES_PER_MILLE) {
            return self.sign(operations::on_a_level(random), None, None);
        }
        let administers = !self.others.is_empty() && (self.seq.0 < 3 || random.chance(100));
        let operation = if !administers {
            self.choose_operation(habits, floor, random)
        } else if self.seq.0 < 3 || random.chance(850) {
            operations::grant(random.pick(&self.others).clone())
        } else {
            operations::revoke(random.pick::<Bytes>(&self.others))
        };
        let not_after = random.chance(50).then(|| TimeMs(wall.0 + random.below(3000)));
        let expected = random.chance(30).then_some(floor);
        self.sign(operation, not_after, expected)
    }

    fn choose_operation(&self, habits: &Habits, floor: StateNdx, random: &mut Random) -> Bytes {
        if random.chance(habits.leases_per_mille) {
            operations::on_leases(&self.leases, random)
        } else {
            operations::any(floor, random)
        }
    }

    /// Its command was executed.
    pub fn on_receipt(&mut self, receipt: &Receipt) {
        if let Outcome::Done(answer) = &receipt.outcome
            && KvReply::decode(answer) == Ok(KvReply::Leased)
            && !self.leases.contains(&receipt.state_ndx)
        {
            self.leases.push(receipt.state_ndx);
            self.leases.drain(..self.leases.len().saturating_sub(LEASES_MAX));
        }
    }

    /// It is through with what it asked.
    pub fn finish(&mut self, random: &mut Random) {
        if let Doing::Commanding(command, _) = std::mem::replace(&mut self.doing, Doing::Nothing) {
            if self.old.is_none() || random.chance(200) {
                self.old = Some(command.clone());
            }
            self.last = Some(command);
        }
    }

    /// What it asks, again and again.
    pub fn ask(&self) -> Option<Request> {
        match &self.doing {
            Doing::Nothing => None,
            Doing::Commanding(command, _) => Some(Request::Command(command.clone())),
            Doing::Reading { linearizable, .. } => Some(Request::Read { linearizable: *linearizable }),
        }
    }
}
