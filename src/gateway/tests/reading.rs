//! Reads through the gateway, with a small application and this test as the node.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Waker};
use std::time::Duration;

use bytes::Bytes;
use synod_gateway::{
    AppDoor, AppPublisher, AppStatus, Awaited, ClusterStatus, Consistency, FileRead, Files, Gateway,
    GatewayError, GroupRole, Leader, NodeState, NodeStates, NodeStatus, Read, ReadQuestions, ReadRefused,
};
use synod_machine::{Application, Context, QueryError, RestoreError, View};
use synod_types::limits::READS_PENDING_MAX;
use synod_types::{AppNdx, ClusterId, ContentKey, Digest, NodeId, Refusal, Slot, StateNdx};

/// Answers "?" with the state that it was made for.
struct Echo(u64);

impl Application for Echo {
    fn kind(&self) -> &'static str {
        "echo"
    }
    fn check(&self, _: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }
    fn apply(&mut self, context: &Context, _: &[u8]) -> Result<Bytes, Refusal> {
        self.0 = context.state_ndx.0;
        Ok(Bytes::new())
    }
    fn query(&self, _: StateNdx, query: &[u8]) -> Result<Bytes, QueryError> {
        match query {
            b"?" => Ok(self.0.to_string().into()),
            _ => Err(QueryError("only \"?\" is a query".to_owned())),
        }
    }
    fn snapshot(&self) -> Vec<u8> {
        self.0.to_be_bytes().to_vec()
    }
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        self.0 =
            u64::from_be_bytes(snapshot.try_into().map_err(|_| RestoreError("8 bytes, please".to_owned()))?);
        Ok(())
    }
    fn digest(&self) -> Digest {
        Digest::of(&[&self.snapshot()])
    }
    fn fork(&self) -> Box<dyn Application> {
        Box::new(Echo(self.0))
    }
}

const APP: AppNdx = AppNdx(3);

fn view(state_ndx: u64, applied: u64) -> View {
    let mut view = View::new(ClusterId(Digest([1; 32])), APP, Box::new(Echo(state_ndx)));
    view.state_ndx = StateNdx(state_ndx);
    view.chain = Digest::of(&[&state_ndx.to_be_bytes()]);
    view.applied = Slot(applied);
    view
}

fn status() -> ClusterStatus {
    let id = NodeId(Digest([0xab; 32]));
    ClusterStatus {
        cluster_id: ClusterId(Digest([1; 32])),
        cluster_name: "fleet".to_owned(),
        node_id: id,
        node_name: "a".to_owned(),
        version: "1".to_owned(),
        nodes: vec![NodeStatus {
            id,
            name: "a".to_owned(),
            address: "127.0.0.1:1".to_owned(),
            is_member: true,
            state: NodeState::Own,
            rtt_us: None,
            program: None,
            wire: None,
            refused: None,
            heard: None,
            road: None,
        }],
        certificates: Vec::new(),
        scrub: synod_gateway::ScrubStatus::default(),
        epoch: synod_types::Epoch(0),
        applicants: Vec::new(),
        apps: vec![AppStatus {
            level: 1,
            app_ndx: APP,
            name: "echo".to_owned(),
            kind: "echo".to_owned(),
            role: GroupRole::Leader,
            epoch: synod_types::Epoch(0),
            voters: Vec::new(),
            diverged: None,
            certified: None,
            conflicting: Vec::new(),
            leader: Some(Leader { id, name: "a".to_owned() }),
            state_ndx: StateNdx(7),
            applied: Slot(9),
            chosen: Slot(9),
            lag: 0,
            chain: Digest([2; 32]),
            commanders: 1,
        }],
    }
}

fn house() -> (Gateway, AppPublisher, ReadQuestions) {
    let (door, publisher, questions) = AppDoor::open("echo", view(7, 9));
    (Gateway::new(vec![door], status), publisher, questions)
}

/// Polls once; whether it is still waiting.
fn is_waiting<T>(future: &mut Pin<Box<impl Future<Output = T>>>) -> bool {
    future.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())).is_pending()
}

const LINEARIZABLE: Read =
    Read { consistency: Consistency::Linearizable, min: None, wait: Read::WAIT_DEFAULT };

fn from_state(min: u64) -> Read {
    Read { min: Some(StateNdx(min)), ..Read::default() }
}

#[tokio::test]
async fn a_local_read_answers_at_once_with_its_state() {
    let (gateway, publisher, _questions) = house();
    let answer = gateway.query(APP, Read::default(), b"?").await.unwrap();
    assert_eq!((answer.state_ndx, &answer.body[..]), (StateNdx(7), &b"7"[..]));
    publisher.publish(view(8, 10));
    let answer = gateway.query(APP, from_state(8), b"?").await.unwrap();
    assert_eq!((answer.state_ndx, &answer.body[..]), (StateNdx(8), &b"8"[..]));
    assert_eq!(answer.chain, view(8, 10).chain);
}

#[tokio::test]
async fn errors_say_the_state() {
    let (gateway, _publisher, _questions) = house();
    let unknown = gateway.query(AppNdx(4), Read::default(), b"?").await.unwrap_err();
    assert_eq!((&unknown, unknown.state_ndx()), (&GatewayError::UnknownApp { app: AppNdx(4) }, None));
    let not_a_query = gateway.query(APP, Read::default(), b"!").await.unwrap_err();
    assert!(matches!(not_a_query, GatewayError::NotAQuery { .. }));
    assert_eq!(not_a_query.state_ndx(), Some(StateNdx(7)));
}

#[tokio::test]
async fn applications_are_found_by_number_and_by_name() {
    let (gateway, _publisher, _questions) = house();
    assert_eq!(gateway.find("3").unwrap().name(), "echo");
    assert_eq!(gateway.find("echo").unwrap().ndx(), APP);
    assert!(gateway.find("4").is_none() && gateway.find("").is_none());
}

#[tokio::test]
async fn a_read_waits_for_its_minimum() {
    let (gateway, publisher, _questions) = house();
    let mut read = Box::pin(gateway.query(APP, from_state(9), b"?"));
    assert!(is_waiting(&mut read));
    publisher.publish(view(8, 10));
    assert!(is_waiting(&mut read));
    publisher.publish(view(10, 11));
    assert_eq!(read.await.unwrap().state_ndx, StateNdx(10));
}

#[tokio::test(start_paused = true)]
async fn a_wait_is_bounded_and_says_how_far_it_came() {
    let (gateway, publisher, _questions) = house();
    let read = Read { wait: Duration::from_millis(200), ..from_state(9) };
    let mut waiting = Box::pin(gateway.query(APP, read, b"?"));
    assert!(is_waiting(&mut waiting));
    publisher.publish(view(8, 10));
    let timeout = GatewayError::Timeout {
        app: APP,
        state_ndx: StateNdx(8),
        awaited: Awaited::State(StateNdx(9)),
        waited_ms: 200,
    };
    assert_eq!(waiting.await, Err(timeout));

    let begin = tokio::time::Instant::now();
    let forever = Read { wait: Duration::MAX, ..from_state(9) };
    assert!(matches!(gateway.query(APP, forever, b"?").await, Err(GatewayError::Timeout { .. })));
    assert!(begin.elapsed() <= Read::WAIT_MAX + Duration::from_millis(10));
}

#[tokio::test]
async fn a_linearizable_read_waits_for_the_slot_that_the_leader_confirms() {
    let (gateway, publisher, mut questions) = house();
    let mut read = Box::pin(gateway.query(APP, LINEARIZABLE, b"?"));
    assert!(is_waiting(&mut read));
    questions.next().await.unwrap().grant(Slot(11));
    assert!(is_waiting(&mut read));
    publisher.publish(view(8, 10));
    assert!(is_waiting(&mut read));
    // A slot without a command is enough: it is slots that the leader confirms, not states.
    publisher.publish(view(8, 11));
    assert_eq!(read.await.unwrap().state_ndx, StateNdx(8));
}

#[tokio::test]
async fn readers_share_the_question_that_is_taken_after_they_came() {
    let (gateway, _publisher, mut questions) = house();
    let mut reads: Vec<_> = (0..5).map(|_| Box::pin(gateway.query(APP, LINEARIZABLE, b"?"))).collect();
    assert!(reads.iter_mut().all(is_waiting));
    drop(reads.pop());
    let question = questions.next().await.unwrap();
    assert_eq!(question.readers(), 4, "who gave up is not counted");

    let mut late = Box::pin(gateway.query(APP, LINEARIZABLE, b"?"));
    assert!(is_waiting(&mut late));
    question.grant(Slot(9));
    for read in reads {
        assert_eq!(read.await.unwrap().state_ndx, StateNdx(7));
    }
    assert!(is_waiting(&mut late), "who came after the question was taken gets the next one");
    questions.next().await.unwrap().refuse(ReadRefused::Busy);
    assert_eq!(late.await, Err(GatewayError::Busy { app: APP, state_ndx: StateNdx(7) }));
}

#[tokio::test(start_paused = true)]
async fn a_read_waits_for_a_leader_as_long_as_it_may() {
    let (gateway, _publisher, mut questions) = house();
    let no_leader = Err(GatewayError::NoLeader { app: APP, state_ndx: StateNdx(7) });
    let refusing = async |questions: &mut ReadQuestions, times: usize| {
        for _ in 0..times {
            questions.next().await.unwrap().refuse(ReadRefused::NoLeader);
        }
    };
    let began = tokio::time::Instant::now();
    let (answer, ()) = tokio::join!(gateway.query(APP, LINEARIZABLE, b"?"), async {
        refusing(&mut questions, 5).await;
        questions.next().await.unwrap().grant(Slot(9));
    });
    assert_eq!(answer.unwrap().state_ndx, StateNdx(7));
    assert!(began.elapsed() < Read::WAIT_DEFAULT);

    let began = tokio::time::Instant::now();
    tokio::select! {
        answer = gateway.query(APP, LINEARIZABLE, b"?") => assert_eq!(answer, no_leader),
        () = refusing(&mut questions, usize::MAX) => unreachable!("the reader asks again until it is told"),
    }
    assert!((Read::WAIT_DEFAULT * 9 / 10..=Read::WAIT_DEFAULT).contains(&began.elapsed()));
}

#[tokio::test]
async fn a_dropped_question_and_a_gone_node_are_an_answer() {
    let (gateway, _publisher, mut questions) = house();
    let stopping = Err(GatewayError::Stopping { app: APP, state_ndx: StateNdx(7) });
    let mut read = Box::pin(gateway.query(APP, LINEARIZABLE, b"?"));
    assert!(is_waiting(&mut read));
    drop(questions.next().await);
    assert_eq!(read.await, stopping);
    drop(questions);
    assert_eq!(gateway.query(APP, LINEARIZABLE, b"?").await, stopping);
}

#[tokio::test]
async fn stopping_ends_waits_and_not_reads() {
    let (gateway, publisher, _questions) = house();
    publisher.set_caught_up();
    let mut read = Box::pin(gateway.query(APP, from_state(9), b"?"));
    assert!(is_waiting(&mut read));
    gateway.stop();
    assert_eq!(read.await, Err(GatewayError::Stopping { app: APP, state_ndx: StateNdx(7) }));
    assert!(gateway.query(APP, from_state(9), b"?").await.is_err());
    assert!(gateway.query(APP, Read::default(), b"?").await.is_ok());
    assert!(!gateway.ready().is_ready());
}

#[tokio::test]
async fn the_limit_of_waiting_reads_is_exact() {
    let (gateway, _publisher, _questions) = house();
    let mut reads: Vec<_> =
        (0..READS_PENDING_MAX).map(|_| Box::pin(gateway.query(APP, from_state(9), b"?"))).collect();
    assert!(reads.iter_mut().all(is_waiting));
    let busy = Err(GatewayError::Busy { app: APP, state_ndx: StateNdx(7) });
    assert_eq!(gateway.query(APP, from_state(9), b"?").await, busy);
    assert!(gateway.query(APP, Read::default(), b"?").await.is_ok(), "who need not wait needs no place");
    reads.pop();
    assert!(is_waiting(&mut Box::pin(gateway.query(APP, from_state(9), b"?"))));
}

#[tokio::test]
async fn a_node_is_ready_when_it_knows_a_leader_and_has_caught_up() {
    let (gateway, publisher, _questions) = house();
    assert_eq!(gateway.ready().waiting_for, [APP]);
    let leader = Leader { id: NodeId(Digest([5; 32])), name: "b".to_owned() };
    publisher.set_leader(Some(leader.clone()));
    assert_eq!(gateway.app(APP).unwrap().leader().as_deref(), Some(&leader));
    assert!(!gateway.ready().is_ready(), "it may be far behind");
    publisher.set_caught_up();
    assert!(gateway.ready().is_ready());
    publisher.set_leader(None);
    assert!(!gateway.ready().is_ready(), "it may be cut off");
}

#[tokio::test(start_paused = true)]
async fn a_state_is_fresh_for_as_long_as_it_is_known_to_miss_nothing() {
    let (gateway, publisher, _questions) = house();
    let door = gateway.app(APP).unwrap();
    assert!(!door.fresh_within(Duration::MAX), "never known is never fresh");
    assert_eq!(door.age(), None);
    let asked = tokio::time::Instant::now();
    tokio::time::advance(Duration::from_millis(300)).await;
    publisher.set_fresh(asked);
    assert_eq!(door.age(), Some(Duration::from_millis(300)), "from the question on, not from the answer");
    assert!(door.fresh_within(Duration::from_millis(300)));
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(!door.fresh_within(Duration::from_millis(300)));
}

/// Node "a", which is this one, and node "b".
const B: NodeId = NodeId(Digest([0xbb; 32]));

fn two_nodes() -> (Gateway, AppPublisher, Arc<NodeStates>) {
    let (door, publisher, _) = AppDoor::open("echo", view(7, 9));
    let nodes = Arc::new(NodeStates::new());
    let status = || {
        let mut status = status();
        let b = NodeStatus { id: B, name: "b".to_owned(), state: NodeState::Up, ..status.nodes[0].clone() };
        status.nodes.push(b);
        status
    };
    (Gateway::new(vec![door], status).with_node_states(Arc::clone(&nodes)), publisher, nodes)
}

#[tokio::test]
async fn a_change_is_everywhere_when_every_node_has_said_so() {
    let (gateway, publisher, nodes) = two_nodes();
    let at = |state_ndx| {
        let change = gateway.change(APP, StateNdx(state_ndx)).unwrap();
        let nodes: Vec<_> = change.nodes.iter().map(|node| node.state_ndx.map(|at| at.0)).collect();
        (nodes, change.is_everywhere())
    };
    assert_eq!(at(7), (vec![Some(7), None], false), "who has said nothing may have nothing");
    nodes.heard(B, &[(AppNdx(1), StateNdx(99)), (APP, StateNdx(6))]);
    assert_eq!(at(7), (vec![Some(7), Some(6)], false));
    assert_eq!(at(6), (vec![Some(7), Some(6)], true));
    nodes.heard(B, &[(APP, StateNdx(8))]);
    assert_eq!(at(7), (vec![Some(7), Some(8)], true));
    assert_eq!(at(8), (vec![Some(7), Some(8)], false));
    publisher.publish(view(8, 10));
    assert_eq!(at(8), (vec![Some(8), Some(8)], true));
    nodes.forget(B);
    assert_eq!(at(8), (vec![Some(8), None], false), "it may have restarted with less");
    nodes.heard(B, &[(APP, StateNdx(3))]);
    assert_eq!(at(8), (vec![Some(8), Some(3)], false));
    assert!(matches!(gateway.change(AppNdx(4), StateNdx(0)), Err(GatewayError::UnknownApp { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_change_can_be_waited_for_until_it_is_everywhere() {
    let (gateway, publisher, nodes) = two_nodes();
    let mut waiting = Box::pin(gateway.await_everywhere(APP, StateNdx(8), Read::WAIT_MAX));
    assert!(is_waiting(&mut waiting));
    nodes.heard(B, &[(APP, StateNdx(8))]);
    assert!(is_waiting(&mut waiting), "this node is behind");
    publisher.publish(view(9, 11));
    assert!(waiting.await.unwrap().is_everywhere());

    let behind = gateway.await_everywhere(APP, StateNdx(9), Duration::from_secs(1)).await.unwrap();
    assert!(!behind.is_everywhere() && behind.is_applied_by(&behind.nodes[0]), "it says who is behind");
    let now = gateway.await_everywhere(APP, StateNdx(9), Duration::ZERO).await.unwrap();
    assert_eq!(now, behind);

    let mut waiting = Box::pin(gateway.await_everywhere(APP, StateNdx(9), Duration::MAX));
    assert!(is_waiting(&mut waiting));
    nodes.forget(B);
    assert!(is_waiting(&mut waiting));
    nodes.heard(B, &[(APP, StateNdx(9))]);
    assert!(waiting.await.unwrap().is_everywhere());
    let mut waiting = Box::pin(gateway.await_everywhere(APP, StateNdx(10), Duration::MAX));
    assert!(is_waiting(&mut waiting));
    gateway.stop();
    assert_eq!(waiting.await, Err(GatewayError::Stopping { app: APP, state_ndx: StateNdx(9) }));
}

#[tokio::test]
async fn a_file_is_what_the_node_has() {
    struct One(Bytes);
    impl Files for One {
        fn read(&self, key: ContentKey) -> FileRead<'_> {
            Box::pin(async move { (key == ContentKey::of(&self.0)).then(|| self.0.clone()) })
        }
    }
    let (gateway, _publisher, _questions) = house();
    let key = ContentKey::of(b"a file");
    assert_eq!(gateway.file(key).await, None, "a node without files has none");
    let gateway = gateway.with_files(Arc::new(One(Bytes::from_static(b"a file"))));
    assert_eq!(gateway.file(key).await, Some(Bytes::from_static(b"a file")));
    assert_eq!(gateway.file(ContentKey::of(b"another")).await, None);
}

#[test]
#[should_panic(expected = "went back")]
fn a_state_never_goes_back() {
    let (_gateway, publisher, _questions) = house();
    publisher.publish(view(6, 10));
}

#[test]
fn the_status_reads_back_from_json_with_ids_in_hex() {
    let json = serde_json::to_value(status()).unwrap();
    assert_eq!(json["nodeId"], "ab".repeat(32));
    assert_eq!(json["nodes"][0]["state"], "self");
    assert_eq!(json["apps"][0]["stateNdx"], 7);
    assert_eq!(json["apps"][0]["leader"]["name"], "a");
    assert_eq!(serde_json::from_value::<ClusterStatus>(json).unwrap(), status());
}

#[test]
fn a_gateway_moves_between_threads() {
    fn check<T: Send + Sync + Clone + 'static>() {}
    check::<Gateway>();
    let _: fn() -> Arc<AppDoor> = || house().0.apps()[0].clone();
}
