//! One session with one node: many requests in flight, their answers in any order.
//!
//! A request is encoded straight into the bytes that go out next; one task writes them and reads the answers. A call
//! costs one entry in a map and one oneshot channel.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use quinn::{Connection, ConnectionError, ReadError, RecvStream, SendStream, VarInt, WriteError};
use synod_types::frame::FrameReader;
use synod_types::limits::{BACKEND_SESSION_BYTES_MAX, BACKEND_SESSION_COMMANDS_MAX, FRAME_BYTES_MAX};
use synod_types::request::{Reply, ReplyFrame, Request, RequestFrame};
use synod_types::session::{Control, Hello, MsgCounter, SessionErrorCode};
use synod_types::{Program, wire};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use crate::commander::Commander;

/// What a small request counts as, so that one semaphore holds a session to its limits in bytes and in number.
const REQUEST_WEIGHT_MIN: usize = BACKEND_SESSION_BYTES_MAX / BACKEND_SESSION_COMMANDS_MAX;
/// Pieces of the stream that are taken at a time.
const PIECES: usize = 32;
/// How long a node may take to answer our Bye.
const BYE_WAIT: Duration = Duration::from_secs(1);

/// Why a session does not open.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("{0}")]
    Connect(#[from] quinn::ConnectError),
    #[error("{0}")]
    Connection(#[from] ConnectionError),
    #[error("{0}")]
    Write(#[from] WriteError),
    #[error("the node refuses the session ({code:?}): {description}")]
    Refused { code: SessionErrorCode, description: String },
    #[error("{0}")]
    Lost(#[from] Lost),
}

/// The session is over, and why.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Lost(Arc<str>);

impl Lost {
    fn new(why: impl ToString) -> Lost {
        Lost(why.to_string().into())
    }
}

/// Room for one request in a session, held until the request is answered.
#[derive(Debug)]
pub(crate) struct Room {
    _permit: OwnedSemaphorePermit,
}

/// One session with one node.
pub(crate) struct Session {
    connection: Connection,
    /// The wire version that both ends speak.
    wire: u32,
    state: Mutex<State>,
    /// There is something to write.
    ready: Notify,
    room: Arc<Semaphore>,
    has_ended: AtomicBool,
}

#[derive(Default)]
struct State {
    out: Vec<u8>,
    numbers: MsgCounter,
    waiting: HashMap<u64, Waiting>,
    ended: Option<Lost>,
}

struct Waiting {
    answer: oneshot::Sender<Reply>,
    _room: Room,
}

impl Session {
    /// Opens a session over a connection; it ends with the connection.
    pub(crate) async fn open(
        connection: Connection,
        commander: &Commander,
        keep_alive: Duration,
    ) -> Result<Arc<Session>, OpenError> {
        let (mut send, recv) = connection.open_bi().await?;
        let mut exporter = [0; 32];
        connection
            .export_keying_material(&mut exporter, Hello::EXPORTER_LABEL, &[])
            .map_err(|_| Lost::new("the TLS session exports no key"))?;
        let (key, cluster, program) = (commander.key(), commander.cluster(), Program::of_commander());
        let hello = synod_auth::sign_hello(key, &cluster, &program, b"", "", [0; 16], &exporter);
        let mut numbers = MsgCounter::default();
        let request = Request::Control(Control::Hello(Box::new(hello)));
        let mut out = Vec::new();
        wire::put(&mut out, FRAME_BYTES_MAX, &RequestFrame { msg_n: numbers.advance(), request })
            .expect("a Hello is far below the limit");
        send.write_chunk(Bytes::from(out)).await?;
        let mut reader = Reader {
            stream: recv,
            frames: FrameReader::new(FRAME_BYTES_MAX),
            numbers: MsgCounter::default(),
        };
        let first = loop {
            match reader.next()? {
                Some(reply) => break reply,
                None => reader.read().await?,
            }
        };
        let theirs = match first {
            Reply::Control(Control::Welcome(welcome)) if welcome.your_msg_n == 1 => welcome.program,
            Reply::Control(Control::Error { code, description, .. }) => {
                return Err(OpenError::Refused { code, description });
            }
            _ => {
                return Err(
                    Lost::new("the node answered the Hello with something else than a Welcome").into()
                );
            }
        };
        // The node has found it, too, or would not have said Welcome.
        let wire = program.wire.common(theirs.wire).map_err(Lost::new)?;
        let session = Arc::new(Session {
            connection,
            wire,
            state: Mutex::new(State { numbers, ..State::default() }),
            ready: Notify::new(),
            room: Arc::new(Semaphore::new(BACKEND_SESSION_BYTES_MAX)),
            has_ended: AtomicBool::new(false),
        });
        tokio::spawn(session.clone().drive(reader, send, keep_alive));
        Ok(session)
    }

    /// Whether there is no point in sending anything on it.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }

    /// Waits for room for a request with a command, or a piece of a file, of `bytes`.
    pub(crate) async fn room(&self, bytes: usize) -> Result<Room, Lost> {
        let weight = bytes.clamp(REQUEST_WEIGHT_MIN, BACKEND_SESSION_BYTES_MAX);
        let weight = u32::try_from(weight).expect("the limit is far below 4 GiB");
        match self.room.clone().acquire_many_owned(weight).await {
            Ok(permit) => Ok(Room { _permit: permit }),
            Err(_) => Err(self.why()),
        }
    }

    /// Sends a request, whose parts are within their limits. An error means that it was not sent. The channel closes
    /// without an answer if the session ends first.
    pub(crate) fn send(&self, request: Request, room: Room) -> Result<oneshot::Receiver<Reply>, Lost> {
        let (answer, receiver) = oneshot::channel();
        let mut state = self.state();
        if let Some(lost) = &state.ended {
            return Err(lost.clone());
        }
        if request.since() > self.wire {
            return Err(Lost::new("the node's program is too old for this request"));
        }
        let msg_n = self.put(&mut state, request);
        state.waiting.insert(msg_n, Waiting { answer, _room: room });
        Ok(receiver)
    }

    /// Leaves: says Bye, waits a little for the Ack, and closes.
    pub(crate) async fn close(&self) {
        {
            let mut state = self.state();
            if state.ended.is_none() {
                self.put(&mut state, Request::Control(Control::Bye));
            }
        }
        let _ = timeout(BYE_WAIT, self.connection.closed()).await;
        self.cut();
    }

    /// Closes at once.
    pub(crate) fn cut(&self) {
        self.connection.close(VarInt::from_u32(0), b"");
    }

    /// Why it ended.
    pub(crate) fn why(&self) -> Lost {
        self.state().ended.clone().unwrap_or_else(|| Lost::new("the session ends"))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it is held")
    }

    fn put(&self, state: &mut State, request: Request) -> u64 {
        let was_idle = state.out.is_empty();
        let msg_n = state.numbers.advance();
        wire::put(&mut state.out, FRAME_BYTES_MAX, &RequestFrame { msg_n, request })
            .expect("the parts of a request are within their limits");
        if was_idle {
            self.ready.notify_one();
        }
        msg_n
    }

    async fn drive(self: Arc<Self>, reader: Reader, send: SendStream, keep_alive: Duration) {
        let lost = tokio::select! {
            lost = self.read(reader) => lost,
            lost = self.write(send, keep_alive) => lost,
        };
        tracing::debug!(peer = %self.connection.remote_address(), %lost, "the session with a node ends");
        self.has_ended.store(true, Ordering::Relaxed);
        let waiting = {
            let mut state = self.state();
            state.ended = Some(lost);
            state.out = Vec::new();
            std::mem::take(&mut state.waiting)
        };
        self.room.close();
        // Whoever waits learns it by the end of its channel.
        drop(waiting);
        self.cut();
    }

    async fn write(&self, mut stream: SendStream, keep_alive: Duration) -> Lost {
        loop {
            let out = match timeout(keep_alive, self.take()).await {
                Ok(out) => out,
                Err(_) => {
                    self.put(&mut self.state(), Request::Control(Control::KeepAlive));
                    continue;
                }
            };
            if let Err(error) = stream.write_chunk(Bytes::from(out)).await {
                return match error {
                    WriteError::ConnectionLost(error) => Lost::new(error),
                    // The node has its reasons, and they come on the other half of the stream.
                    _ => self.connection.closed().await.into(),
                };
            }
        }
    }

    /// Takes all that is ready to be written.
    async fn take(&self) -> Vec<u8> {
        loop {
            {
                let mut state = self.state();
                if !state.out.is_empty() {
                    return std::mem::take(&mut state.out);
                }
            }
            self.ready.notified().await;
            // Callers often come many at a time: what follows the first is worth one turn of the scheduler.
            tokio::task::yield_now().await;
        }
    }

    async fn read(&self, mut reader: Reader) -> Lost {
        let mut answers = Vec::new();
        loop {
            if let Err(lost) = self.read_turn(&mut reader, &mut answers).await {
                return lost;
            }
        }
    }

    async fn read_turn(&self, reader: &mut Reader, answers: &mut Vec<(u64, Reply)>) -> Result<(), Lost> {
        reader.read().await?;
        let mut taken = Ok(());
        while taken.is_ok() {
            taken = match reader.next() {
                Ok(Some(reply)) => on_reply(reply, answers),
                Ok(None) => break,
                Err(lost) => Err(lost),
            };
        }
        let mut waiting = Vec::with_capacity(answers.len());
        {
            let mut state = self.state();
            for (number, reply) in answers.drain(..) {
                match state.waiting.remove(&number) {
                    Some(place) => waiting.push((place, reply)),
                    None => taken = Err(Lost::new("the node answered a request that was not made")),
                }
            }
        }
        for (place, reply) in waiting {
            // Who asked may have given up.
            let _ = place.answer.send(reply);
        }
        taken
    }
}

fn on_reply(reply: Reply, answers: &mut Vec<(u64, Reply)>) -> Result<(), Lost> {
    match reply {
        Reply::Executed { your_msg_n, .. }
        | Reply::Refused { your_msg_n, .. }
        | Reply::NextSeq { your_msg_n, .. }
        | Reply::Wanted { your_msg_n, .. }
        | Reply::Taken { your_msg_n }
        | Reply::Held { your_msg_n, .. } => {
            answers.push((your_msg_n, reply));
            Ok(())
        }
        // Of a KeepAlive, or of the Bye: the node then closes.
        Reply::Control(Control::Ack { .. }) => Ok(()),
        Reply::Control(Control::Bye) => Err(Lost::new("the node leaves")),
        Reply::Control(Control::Error { code, description, .. }) => {
            Err(Lost::new(format!("the node ends the session ({code:?}): {description}")))
        }
        Reply::Control(Control::Hello(_) | Control::Welcome(_) | Control::KeepAlive) => {
            Err(Lost::new("the node said something that does not belong here"))
        }
    }
}

impl From<ConnectionError> for Lost {
    fn from(error: ConnectionError) -> Lost {
        Lost::new(error)
    }
}

/// The receiving half.
struct Reader {
    stream: RecvStream,
    frames: FrameReader,
    numbers: MsgCounter,
}

impl Reader {
    /// Waits for bytes.
    async fn read(&mut self) -> Result<(), Lost> {
        let mut pieces = [const { Bytes::new() }; PIECES];
        match self.stream.read_chunks(&mut pieces).await {
            Ok(Some(count)) => {
                pieces[..count].iter().for_each(|piece| self.frames.push(piece));
                Ok(())
            }
            Ok(None) => Err(Lost::new("the node closed the session")),
            Err(ReadError::ConnectionLost(error)) => Err(Lost::new(error)),
            Err(error) => Err(Lost::new(error)),
        }
    }

    /// Takes the next reply that has arrived whole.
    fn next(&mut self) -> Result<Option<Reply>, Lost> {
        let Some(frame) = self.frames.next_frame().map_err(Lost::new)? else { return Ok(None) };
        let ReplyFrame { msg_n, reply } = wire::decode(&frame).map_err(Lost::new)?;
        if !self.numbers.accepts(msg_n) {
            return Err(Lost::new(format!("the node's frame {msg_n} is out of order")));
        }
        Ok(Some(reply))
    }
}
