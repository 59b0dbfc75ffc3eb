//! Both ends of a lane: workers that come, go, break the rules and forget what they answered.

#![expect(clippy::unwrap_used, reason = "a test may stop where it is surprised")]

#[path = "../examples/counter.rs"]
mod counter;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use counter::Counters;
use synod_lane::lane::AttachError;
use synod_lane::message::{Answer, Blob, Hello, Outcome, Question, Reception, Welcome};
use synod_lane::{Lane, Link, LinkError, Presence};
use synod_machine::{Application, Away, Context, Unanswered};
use synod_sdk::{App, Bytes, CommanderId, Digest, Encoding, LeaseMs, Refusal, StateNdx, TimeMs, serve};
use synod_types::limits::{ANSWER_BYTES_MAX, LANE_PIECE_BYTES, LANE_TAIL_COMMANDS_MAX};

/// Far more than anything takes that ends.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node's end, what it is told of the worker, and the machine's handle.
struct Node {
    lane: Arc<Lane>,
    told: mpsc::Receiver<Presence>,
    app: Box<dyn Application>,
    last: u64,
}

impl Node {
    fn new() -> Node {
        let (tell, told) = mpsc::channel();
        let lane = Lane::new("counter", synod_lane::no_aside, move |presence| {
            // Who is not there any more needs not be told.
            let _ = tell.send(presence);
        });
        let app = lane.application();
        app.apart().unwrap().begin();
        Node { lane, told, app, last: 0 }
    }

    fn attach(&self, stream: UnixStream, patience: Duration) -> Result<(), AttachError> {
        let (mut link, hello): (Link, Hello) = Link::accept(stream, PATIENCE)?;
        link.set_patience(Some(patience))?;
        self.lane.attach(link, Welcome { version: 1, app: 3, name: "counter".to_owned() }, hello.checks)
    }

    /// Has a worker of the SDK; gives what closes its connection.
    fn work<A: App>(&self, encoding: Encoding) -> UnixStream {
        let (here, there) = UnixStream::pair().unwrap();
        let breaker = here.try_clone().unwrap();
        thread::spawn(move || serve::<A>(there, encoding));
        self.attach(here, PATIENCE).unwrap();
        breaker
    }

    /// Has a worker that says hello, and then does this.
    fn work_so(&self, patience: Duration, work: impl FnOnce(&mut Link) + Send + 'static) {
        let (here, there) = UnixStream::pair().unwrap();
        thread::spawn(move || {
            let mut link = Link::new(there, Encoding::MessagePack, Some(PATIENCE)).unwrap();
            link.send(&hello()).unwrap();
            assert!(matches!(link.receive().unwrap(), Reception::Welcome(_)));
            work(&mut link);
        });
        self.attach(here, patience).unwrap();
    }

    fn contexts(&self, count: usize) -> Vec<Context> {
        let states = (self.last + 1..).map(StateNdx).take(count);
        states.map(context).collect()
    }

    /// A decree with these operations; on success it is done.
    fn apply(&mut self, operations: &[&str]) -> Result<Vec<Result<Bytes, Refusal>>, Away> {
        let contexts = self.contexts(operations.len());
        let operations = operations.iter().map(|operation| operation.as_bytes());
        let commands: Vec<(Context, &[u8])> = contexts.into_iter().zip(operations).collect();
        let outcomes = self.app.apart().unwrap().apply_all(&commands)?;
        self.last += u64::try_from(commands.len()).unwrap();
        self.app.apart().unwrap().settle();
        Ok(outcomes)
    }

    fn ask(&self, query: &str) -> Result<Bytes, Unanswered> {
        self.app.apart().unwrap().query(StateNdx(self.last), query.as_bytes())
    }
}

fn hello() -> Hello {
    Hello { versions: (1, 1), kind: "counter".to_owned(), program: "a test".to_owned(), checks: false }
}

fn context(state_ndx: StateNdx) -> Context {
    // Five commands in a decree.
    let decree = state_ndx.0.div_ceil(5);
    let commander = CommanderId(Digest([7; 32]));
    Context { state_ndx, time: TimeMs(decree), clock: LeaseMs(decree), commander }
}

fn texts(outcomes: Vec<Result<Bytes, Refusal>>) -> Vec<String> {
    let text = |outcome: Result<Bytes, Refusal>| match outcome {
        Ok(answer) => String::from_utf8(answer.to_vec()).unwrap(),
        Err(refusal) => refusal.code.name().to_owned(),
    };
    outcomes.into_iter().map(text).collect()
}

#[test]
fn commands_queries_and_checks_come_through_in_both_encodings() {
    for encoding in [Encoding::Json, Encoding::MessagePack] {
        let mut node = Node::new();
        assert_eq!(node.apply(&["a"]), Err(Away::Gone), "there is no worker");
        assert!(matches!(node.ask("a"), Err(Unanswered::Away(Away::Gone))));
        let apart = node.app.apart().unwrap();
        assert!(apart.check(b"").is_ok(), "who is away refuses nothing");
        node.work::<Counters>(encoding);
        assert_eq!(node.told.recv().unwrap(), Presence::There);
        assert_eq!(
            texts(node.apply(&["a", "a +5", "b -1", "", "b"]).unwrap()),
            ["1", "6", "conflict", "malformed", "1"]
        );
        assert_eq!(node.ask("a").unwrap(), "6");
        assert_eq!(node.ask("*").unwrap(), "a 6\nb 1\n");
        let why = node.app.apart().unwrap().query(StateNdx(5), b"\xff").unwrap_err().to_string();
        assert_eq!(why, "not a query of this application: a name is text");
        assert!(node.app.apart().unwrap().checks());
        assert_eq!(node.app.apart().unwrap().check(b"a 5").unwrap_err().code.name(), "malformed");
        assert!(node.app.apart().unwrap().check(b"a +5").is_ok());
        assert_eq!(node.app.digest(), Digest::of(&[b"a 6\nb 1\n"]));
    }
}

/// Counters in a process that dies over a command now and then: in front of it or behind it.
#[derive(Clone)]
struct Mortal(Counters);

static COMMANDS: AtomicUsize = AtomicUsize::new(0);

impl App for Mortal {
    const KIND: &'static str = "counter";

    fn new() -> Mortal {
        Mortal(Counters::new())
    }

    fn apply(&mut self, context: &Context, operation: &[u8]) -> Result<Bytes, Refusal> {
        // Every 11th is executed, and nobody hears of it.
        let outcome = self.0.apply(context, operation);
        assert!(COMMANDS.fetch_add(1, Ordering::Relaxed) % 11 != 10, "killed on purpose");
        outcome
    }

    fn query(&self, state_ndx: StateNdx, query: &[u8]) -> Result<Bytes, String> {
        self.0.query(state_ndx, query)
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.snapshot()
    }

    fn restore(snapshot: &[u8]) -> Result<Mortal, String> {
        Counters::restore(snapshot).map(Mortal)
    }
}

#[test]
fn a_worker_that_dies_in_the_middle_of_decrees_loses_and_doubles_nothing() {
    let mut node = Node::new();
    let (mut deaths, mut sum) = (0, 0);
    for round in 0..200_u64 {
        // A snapshot now and then, so that no worker has to live through more than it can.
        let expected: Vec<String> = (1..=5).map(|n| (sum + n).to_string()).collect();
        let outcomes = loop {
            match node.apply(&["a"; 5]) {
                Ok(outcomes) => break outcomes,
                Err(why) => {
                    assert_eq!(why, Away::Gone);
                    deaths += 1;
                    node.work::<Mortal>(Encoding::MessagePack);
                }
            }
        };
        assert_eq!(texts(outcomes), expected, "in round {round}");
        sum += 5;
        let kept = node.app.apart().unwrap().fork_to_keep();
        assert_eq!(kept.apart().unwrap().snapshot().unwrap(), format!("a {sum}\n").into_bytes());
    }
    assert!(deaths > 50, "only {deaths} died");
    assert_eq!(node.ask("a").unwrap(), sum.to_string());
}

#[test]
fn frames_may_come_byte_by_byte() {
    let mut node = Node::new();
    let ((here, near), (far, there)) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
    for (mut from, mut to) in [
        (near.try_clone().unwrap(), far.try_clone().unwrap()),
        (far.try_clone().unwrap(), near.try_clone().unwrap()),
    ] {
        thread::spawn(move || {
            let mut byte = [0];
            while from.read(&mut byte).is_ok_and(|bytes| bytes > 0) && to.write_all(&byte).is_ok() {}
        });
    }
    thread::spawn(move || serve::<Counters>(there, Encoding::Json));
    node.attach(here, PATIENCE).unwrap();
    assert_eq!(texts(node.apply(&["a", "a"]).unwrap()), ["1", "2"]);
}

#[test]
fn a_state_of_many_pieces_is_kept_while_work_goes_on_and_is_where_the_next_worker_begins() {
    let mut node = Node::new();
    let breaker = node.work::<Counters>(Encoding::MessagePack);
    let name = |n: usize| format!("{n:01000}");
    let names: Vec<String> = (0..5000).map(name).collect();
    for names in names.chunks(500) {
        let operations: Vec<&str> = names.iter().map(String::as_str).collect();
        node.apply(&operations).unwrap();
    }
    let kept = node.app.apart().unwrap().fork_to_keep();
    let why = node.ask("*").unwrap_err().to_string();
    assert!(why.contains("at most 4194304 are allowed"), "{why}");
    let before: String = names.iter().map(|name| format!("{name} 1\n")).collect();
    let before = before.into_bytes();
    assert!(before.len() > 4 * LANE_PIECE_BYTES);
    for _ in 0..3 {
        node.apply(&["z"]).unwrap();
    }
    assert_eq!(kept.apart().unwrap().snapshot().unwrap(), before);
    let second = node.app.apart().unwrap().fork_to_keep();
    breaker.shutdown(std::net::Shutdown::Both).unwrap();
    assert_eq!(second.apart().unwrap().snapshot(), Err(Away::Gone), "whoever kept it is gone");
    assert_eq!(node.apply(&["z"]), Err(Away::Gone));

    let (asked, questions) = mpsc::channel();
    node.work_so(PATIENCE, move |link| {
        while let Ok(question) = link.receive::<Question>() {
            let answer = match &question {
                Question::Apply(batch) => {
                    let values =
                        (1..=batch.commands.len()).map(|n| Outcome::Done(Blob(n.to_string().into())));
                    Answer::Applied(values.collect())
                }
                _ => Answer::Done,
            };
            asked.send(question).unwrap();
            link.send(&answer).unwrap();
        }
    });
    assert!(matches!(questions.recv().unwrap(), Question::Reset));
    let mut restored = Vec::new();
    loop {
        let Question::Restore { bytes, last } = questions.recv().unwrap() else {
            panic!("a part of the state")
        };
        assert!(bytes.0.len() <= LANE_PIECE_BYTES);
        restored.extend_from_slice(&bytes.0);
        if last {
            break;
        }
    }
    assert_eq!(restored, before);
    // Each was in a decree of its own, but they have the same times here.
    let Question::Apply(batch) = questions.recv().unwrap() else { panic!("what was executed since") };
    assert_eq!((batch.commands.len(), batch.commands[0].state_ndx), (3, 5001));
}

#[test]
fn who_answers_otherwise_the_second_time_ends_it_for_good() {
    let mut node = Node::new();
    for answer in ["1", "2"] {
        node.work_so(PATIENCE, move |link| {
            for _ in 0..2 {
                let answer = match link.receive().unwrap() {
                    Question::Apply(_) => Answer::Applied(vec![Outcome::Done(Blob(answer.into()))]),
                    _ => Answer::Done,
                };
                link.send(&answer).unwrap();
            }
        });
        if answer == "1" {
            assert_eq!(texts(node.apply(&["a"]).unwrap()), ["1"]);
            assert_eq!(node.apply(&["a"]), Err(Away::Gone));
        }
    }
    let told: Vec<Presence> = node.told.try_iter().collect();
    assert_eq!(told, [Presence::There, Presence::Away, Presence::Away, Presence::Unsteady(StateNdx(1))]);
    assert_eq!(node.apply(&["a"]), Err(Away::Unsteady(StateNdx(1))), "nobody knows any more what is right");
    let (here, there) = UnixStream::pair().unwrap();
    thread::spawn(move || serve::<Counters>(there, Encoding::Json));
    assert!(matches!(node.attach(here, PATIENCE), Err(AttachError::Unsteady(StateNdx(1)))));
}

#[test]
fn who_breaks_the_rules_is_given_up() {
    let much = "x".repeat(ANSWER_BYTES_MAX + 1);
    let answers = [
        Answer::Applied(Vec::new()),
        Answer::Applied(vec![Outcome::Done(Blob(much.into()))]),
        Answer::Applied(vec![Outcome::Refused(synod_lane::message::Refused {
            code: "no-leader".to_owned(),
            text: String::new(),
        })]),
        Answer::Later,
        Answer::Failed("no more".to_owned()),
    ];
    for answer in answers {
        let mut node = Node::new();
        node.work_so(PATIENCE, move |link| {
            assert_eq!(link.receive::<Question>().unwrap(), Question::Reset);
            link.send(&Answer::Done).unwrap();
            link.receive::<Question>().unwrap();
            link.send(&answer).unwrap();
            assert!(matches!(link.receive::<Question>(), Err(LinkError::Closed)));
        });
        assert_eq!(node.told.recv().unwrap(), Presence::There);
        assert_eq!(node.apply(&["a"]), Err(Away::Gone));
        assert_eq!(node.told.recv().unwrap(), Presence::Away);
        node.work::<Counters>(Encoding::Json);
        assert_eq!(texts(node.apply(&["a"]).unwrap()), ["1"], "the next one is what it has to be");
    }
}

#[test]
fn who_never_has_its_snapshot_made_is_given_up() {
    let mut node = Node::new();
    node.lane = Lane::within("counter", Duration::from_millis(50), synod_lane::no_aside, |_| ());
    node.app = node.lane.application();
    node.work_so(PATIENCE, |link| {
        while let Ok(question) = link.receive::<Question>() {
            let answer = match question {
                Question::Piece { .. } => Answer::Later,
                _ => Answer::Done,
            };
            link.send(&answer).unwrap();
        }
    });
    let apart = node.app.apart().unwrap();
    assert_eq!(apart.why_away(), None);
    assert_eq!(apart.fork_to_keep().apart().unwrap().snapshot(), Err(Away::Gone));
    let why = apart.why_away().unwrap();
    assert_eq!(why, "the other end did not answer within 50 ms");
}

#[test]
fn a_digest_has_32_bytes() {
    let node = Node::new();
    node.work_so(PATIENCE, |link| {
        while let Ok(question) = link.receive::<Question>() {
            let answer = match question {
                Question::Digest => Answer::Digest(Blob("short".into())),
                _ => Answer::Done,
            };
            link.send(&answer).unwrap();
        }
    });
    assert_eq!(node.app.digest(), Digest::default());
    let why = node.app.apart().unwrap().why_away().unwrap();
    assert!(why.contains("said something else than it was asked for: Digest(Blob(5 bytes))"), "{why}");
}

#[test]
fn a_frame_that_is_too_large_is_not_read() {
    let node = Node::new();
    let (here, mut there) = UnixStream::pair().unwrap();
    // More than a Hello may have.
    there.write_all(&(1_u32 << 20).to_be_bytes()).unwrap();
    let why = node.attach(here, PATIENCE).unwrap_err();
    assert!(matches!(why, AttachError::Link(LinkError::TooLarge(_))), "{why}");
    node.work_so(PATIENCE, |link| {
        // The stream behind the frames.
        let mut stream = link.breaker().unwrap();
        stream.write_all(&(1_u32 << 30).to_be_bytes()).unwrap();
        assert!(matches!(link.receive::<Question>(), Ok(Question::Reset)));
    });
    assert_eq!(node.told.recv().unwrap(), Presence::Away);
}

#[test]
fn who_does_not_read_or_does_not_answer_is_given_up_in_time() {
    let (end, ended) = mpsc::channel::<()>();
    let ended = Arc::new(std::sync::Mutex::new(ended));
    for operations in [1, 200] {
        let mut node = Node::new();
        let ended = Arc::clone(&ended);
        node.work_so(Duration::from_millis(100), move |link| {
            assert_eq!(link.receive::<Question>().unwrap(), Question::Reset);
            link.send(&Answer::Done).unwrap();
            // Held open until the test is over.
            let _ = ended.lock().unwrap().recv();
        });
        // More than goes into a socket.
        let large = "x".repeat(10_000);
        assert_eq!(node.apply(&vec![large.as_str(); operations]), Err(Away::Gone));
    }
    drop(end);
}

#[test]
fn there_is_one_worker_and_the_next_one_takes_its_place() {
    let mut node = Node::new();
    let breaker = node.work::<Counters>(Encoding::MessagePack);
    assert_eq!(node.apply(&["a"]).unwrap().len(), 1);
    let (here, there) = UnixStream::pair().unwrap();
    let second = thread::spawn(move || serve::<Counters>(there, Encoding::Json));
    assert!(matches!(node.attach(here, PATIENCE), Err(AttachError::Occupied)));
    let why = second.join().unwrap().unwrap_err().to_string();
    assert_eq!(why, "the node refuses this process: another process serves this application already");
    // Nobody asks meanwhile, and it is noticed all the same.
    breaker.shutdown(std::net::Shutdown::Both).unwrap();
    node.lane.look();
    node.work::<Counters>(Encoding::Json);
    assert_eq!(texts(node.apply(&["a"]).unwrap()), ["2"]);
    node.lane.close();
    assert_eq!(node.apply(&["a"]), Err(Away::Gone));
    let (here, there) = UnixStream::pair().unwrap();
    thread::spawn(move || serve::<Counters>(there, Encoding::Json));
    assert!(matches!(node.attach(here, PATIENCE), Err(AttachError::Stopping)));
}

#[test]
fn what_is_kept_in_memory_is_bounded() {
    let mut node = Node::new();
    let (asked, questions) = mpsc::channel();
    node.work_so(PATIENCE, move |link| {
        while let Ok(question) = link.receive::<Question>() {
            let answer = match question {
                Question::Apply(batch) => {
                    let done = |_| Outcome::Done(Blob(Bytes::new()));
                    Answer::Applied(batch.commands.iter().map(done).collect())
                }
                Question::Keep => {
                    asked.send(true).unwrap();
                    Answer::Done
                }
                // Not before it has to be.
                Question::Piece { .. } => {
                    asked.send(false).unwrap();
                    Answer::Later
                }
                _ => Answer::Done,
            };
            link.send(&answer).unwrap();
        }
    });
    let operations = ["a"; 1024];
    for _ in 0..LANE_TAIL_COMMANDS_MAX / 1024 {
        node.apply(&operations).unwrap();
    }
    let kept = questions.try_iter().filter(|keeps| *keeps).count();
    assert_eq!(kept, 1, "a snapshot was asked for at half of the way");
    // Now it stands still until the snapshot is there, which never comes: until somebody ends it.
    let lane = Arc::clone(&node.lane);
    let ender = thread::spawn(move || {
        assert_eq!(questions.recv(), Ok(false), "it is asked for");
        lane.close();
    });
    assert_eq!(node.apply(&operations), Err(Away::Gone));
    ender.join().unwrap();
}
