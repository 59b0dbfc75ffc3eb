use std::sync::Mutex;

use synod_backend::{Answer, Intake as _};
use synod_gateway::AppDoor;
use synod_types::{Configuration, StateNdx};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::*;
use crate::config::Every;
use crate::shelf::{APP, Author, batch, verified};

/// How long anything is waited for, by the tests' clock.
const LIMIT: Duration = Duration::from_secs(600);

/// Commands from one snapshot to the next.
const EVERY: u64 = 5;

/// An applier with files that appear when the test says so.
struct Stage {
    author: Author,
    door: Arc<AppDoor>,
    intake: Arc<Intake>,
    chosen: mpsc::UnboundedSender<Next>,
    due: mpsc::Receiver<Ask>,
    slot: Slot,
    asked: mpsc::UnboundedReceiver<(ContentKey, oneshot::Sender<Bytes>)>,
    task: tokio::task::JoinHandle<()>,
}

impl Stage {
    fn set(first: &[&[u8]]) -> Stage {
        let author = Author::new();
        let mut machine = author.machine();
        let mut slot = Slot(0);
        for (n, file) in (1..).zip(first) {
            slot = slot.next();
            machine.apply(slot, &batch(author.put(n, file))).unwrap();
        }
        let (door, publisher, _) = AppDoor::open("shelf", machine.view());
        let (gate, _) = mpsc::unbounded_channel();
        let intake = Arc::new(Intake::new(BTreeMap::from([(APP, Arc::clone(&door))]), gate, Arc::default()));
        let (chosen, decrees) = mpsc::unbounded_channel();
        let (asks, asked) = mpsc::unbounded_channel();
        let obtain = move |key| {
            let (sender, file) = oneshot::channel();
            asks.send((key, sender)).unwrap();
            async move { file.await.ok() }
        };
        let (snapshot_asks, due) = mpsc::channel(16);
        let every = Every { bytes: 1 << 30, commands: EVERY, time: Duration::from_secs(3600) };
        let (snapshots, pace) = (Snapshots::new(snapshot_asks), Pace::new(every, machine.state()));
        let cosigning = Cosigning::new(crate::shelf::CLUSTER, mpsc::channel(16).0);
        let marks = Marks::new(EVERY, Configuration::default(), machine.state());
        let beside = Beside { snapshots, pace, cosigning, marks, fatal: Fatal::new(), elsewhere: None };
        let publisher = Arc::new(publisher);
        let chains = Arc::new(Chains::new(machine.state().state_ndx, machine.state().chain));
        let task =
            tokio::spawn(run(machine, publisher, Arc::clone(&intake), chains, beside, decrees, obtain));
        Stage { author, door, intake, chosen, due, slot, asked, task }
    }

    fn choose(&mut self, seq: u64, file: &[u8]) {
        self.choose_at(seq, 0, file);
    }

    /// A command without files, whose seq is its slot.
    fn choose_nothing(&mut self, slot: u64) {
        self.slot = Slot(slot);
        self.chosen.send(Next::Decree(self.slot, batch(self.author.clear(slot)))).unwrap();
    }

    fn choose_at(&mut self, seq: u64, place: u8, file: &[u8]) {
        self.slot = self.slot.next();
        let decree = batch(self.author.put_at(seq, place, file));
        self.chosen.send(Next::Decree(self.slot, decree)).unwrap();
    }

    /// The next file that is asked for.
    async fn asked_for(&mut self, file: &[u8]) -> oneshot::Sender<Bytes> {
        let (key, sender) = timeout(LIMIT, self.asked.recv()).await.expect("nothing is asked for").unwrap();
        assert_eq!(key, ContentKey::of(file));
        sender
    }

    /// What readers get, as soon as they see the state.
    async fn shown(&self, state_ndx: u64) -> Option<Bytes> {
        let begun = Instant::now();
        while self.door.state_ndx() < StateNdx(state_ndx) {
            assert!(begun.elapsed() < LIMIT, "the state is not shown");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.door.peek().app.query(StateNdx(0), &[0]).ok()
    }
}

fn file(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[tokio::test(start_paused = true)]
async fn a_state_is_shown_with_its_files_and_not_before() {
    let mut stage = Stage::set(&[]);
    stage.choose(1, b"one");
    let one = stage.asked_for(b"one").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(stage.door.state_ndx(), StateNdx(0), "nothing is shown while the file is awaited");
    one.send(file("one")).unwrap();
    assert_eq!(stage.shown(1).await, Some(file("one")));

    let large = Bytes::from(vec![7; BLOCKING_BYTES]);
    stage.choose(2, &large);
    stage.asked_for(&large).await.send(large.clone()).unwrap();
    assert_eq!(stage.shown(2).await, Some(large), "one that another thread takes");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_a_later_command_made_needless_is_not_waited_for() {
    let mut stage = Stage::set(&[]);
    stage.choose(1, b"one");
    let mut one = stage.asked_for(b"one").await;
    for seq in 2..200 {
        stage.choose(seq, b"between");
    }
    stage.choose(200, b"two");
    let two = stage.asked_for(b"two").await;
    one.closed().await;
    assert_eq!(stage.door.state_ndx(), StateNdx(0), "a state without its file is never shown");
    two.send(file("two")).unwrap();
    assert_eq!(stage.shown(200).await, Some(file("two")));
    assert!(stage.asked.is_empty(), "nobody asked for what was needless");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_was_lost_before_a_start_comes_back_by_itself() {
    let mut stage = Stage::set(&[b"one"]);
    assert_eq!(stage.shown(1).await, None, "the state is there, its file is not");
    stage.asked_for(b"one").await.send(file("one")).unwrap();
    while stage.shown(1).await.is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_file_that_was_replaced_since_holds_nothing_up() {
    let mut stage = Stage::set(&[b"one"]);
    let mut one = stage.asked_for(b"one").await;
    stage.choose(2, b"two");
    let two = stage.asked_for(b"two").await;
    one.closed().await;
    two.send(file("two")).unwrap();
    assert_eq!(stage.shown(2).await, Some(file("two")), "though nothing more is chosen");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_wanted_again_is_supplied_again() {
    let mut stage = Stage::set(&[b"one"]);
    stage.asked_for(b"one").await.send(file("one")).unwrap();
    while stage.shown(1).await.is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    stage.choose_at(2, 1, b"far away");
    let far = stage.asked_for(b"far away").await;
    // While that one is awaited, others come and go.
    stage.choose_at(3, 2, b"near");
    stage.asked_for(b"near").await.send(file("near")).unwrap();
    stage.choose_at(4, 3, b"near");
    stage.asked_for(b"near").await.send(file("near")).unwrap();
    far.send(file("far away")).unwrap();
    stage.shown(4).await;
    let app = &stage.door.peek().app;
    for (place, text) in [(0, "one"), (1, "far away"), (2, "near"), (3, "near")] {
        assert_eq!(app.query(StateNdx(0), &[place]).ok(), Some(file(text)), "place {place}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_command_is_answered_when_its_file_is_there() {
    let mut stage = Stage::set(&[]);
    let one = stage.author.put(1, b"one");
    let answered = Arc::new(Mutex::new(None));
    let answer = {
        let answered = Arc::clone(&answered);
        Answer::from_fn(move |answer| *answered.lock().unwrap() = Some(answer))
    };
    stage.intake.submit(verified(&one), answer);
    stage.chosen.send(Next::Decree(Slot(1), batch(one))).unwrap();
    stage.slot = Slot(1);
    let awaited = stage.asked_for(b"one").await;
    // Further decrees are applied meanwhile, and what became of the command is not forgotten.
    stage.choose(2, b"one");
    tokio::time::sleep(2 * PATIENCE).await;
    assert!(answered.lock().unwrap().is_none());
    awaited.send(file("one")).unwrap();
    assert_eq!(stage.shown(2).await, Some(file("one")));
    while answered.lock().unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let receipt = answered.lock().unwrap().take().unwrap().unwrap();
    assert_eq!(receipt.state_ndx, StateNdx(1));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stops_shows_nothing_half() {
    let mut stage = Stage::set(&[]);
    stage.choose(1, b"one");
    drop(stage.asked_for(b"one").await);
    stage.task.await.unwrap();
    assert_eq!(stage.door.state_ndx(), StateNdx(0));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_due_at_its_slot_and_a_state_that_is_installed_is_gone_on_from() {
    let mut stage = Stage::set(&[]);
    for slot in 1..=EVERY {
        stage.choose_nothing(slot);
    }
    let Some(Ask::Due(view)) = stage.due.recv().await else { panic!("a snapshot is due") };
    assert_eq!(view.applied, Slot(EVERY));

    // A state further on, as another node made it.
    let mut further = stage.author.machine();
    for slot in 1..=9 {
        further.apply(Slot(slot), &batch(stage.author.clear(slot))).unwrap();
    }
    stage.chosen.send(Next::Install(Box::new(further))).unwrap();
    for slot in 10..10 + EVERY {
        stage.choose_nothing(slot);
    }
    let Some(Ask::Due(view)) = stage.due.recv().await else { panic!("a snapshot is due") };
    assert_eq!(view.applied, Slot(9 + EVERY), "counted from the state that was installed");
    assert_eq!(view.state_ndx, StateNdx(9 + EVERY));
}
