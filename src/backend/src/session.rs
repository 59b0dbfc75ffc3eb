//! One commander's session over QUIC, from its first stream to its end.
//!
//! The reader is this file; the writer is [`Outbox::write`]. All frames that have arrived are taken together, the
//! commands among them are verified together, and the node gets them in one hand-over, in their order. What is about
//! files goes to [`Uploads`].

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use quinn::{Connection, ReadError, RecvStream, VarInt};
use synod_types::frame::FrameReader;
use synod_types::limits::{
    BACKEND_CLOSE_MS_MAX, BACKEND_HELLO_MS_MAX, COMMAND_BYTES_MAX, CONTENT_PIECE_BYTES, HELLO_FRAME_BYTES_MAX,
};
use synod_types::request::{Reply, Request, RequestFrame};
use synod_types::session::{Control, Hello, MsgCounter, SessionErrorCode, Welcome};
use synod_types::{CommanderId, Program, SignedCommand, wire};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{debug, info};

use crate::counters::count;
use crate::intake::Answer;
use crate::outbox::Outbox;
use crate::shared::Shared;
use crate::uploads::{UploadRequest, Uploads};

/// Bytes of a request: a command, and what the frame says beside it.
const REQUEST_BYTES_MAX: usize = COMMAND_BYTES_MAX + 16;
const _: () =
    assert!(CONTENT_PIECE_BYTES + 64 <= REQUEST_BYTES_MAX, "a piece is smaller than a command may be");
/// Pieces of the stream that are taken at a time; a piece is at most one packet's payload.
const PIECES: usize = 32;
/// How long the other side gets to take our last words.
const LAST_WORDS_MS: Duration = Duration::from_secs(1);

/// Why a session ends.
#[derive(Debug)]
pub(crate) enum End {
    /// The connection was lost, or closed by the other side.
    Lost,
    /// The other side said Bye in its frame of this number.
    Bye(u64),
    /// The back end closes.
    Stopping,
    /// The other side broke a rule in its frame of this number.
    Broken {
        /// The number that the frame has or should have had.
        your_msg_n: u64,
        /// The rule.
        code: SessionErrorCode,
        /// How it was broken.
        description: String,
    },
}

/// Serves a connection until it ends.
pub(crate) async fn serve(connection: Connection, shared: Arc<Shared>, mut stopping: watch::Receiver<bool>) {
    let peer = connection.remote_address();
    let hello_limit = Duration::from_millis(BACKEND_HELLO_MS_MAX);
    let (send, stream) = match timeout(hello_limit, connection.accept_bi()).await {
        Ok(Ok(streams)) => streams,
        Ok(Err(_)) => return,
        Err(_) => return connection.close(VarInt::from_u32(1), b"no stream was opened in time"),
    };
    let outbox = Outbox::new(shared.clone());
    let mut writer = Owned(tokio::spawn(outbox.clone().write(send)));
    let mut session = Session {
        shared: shared.clone(),
        outbox: outbox.clone(),
        stream,
        frames: FrameReader::new(HELLO_FRAME_BYTES_MAX),
        numbers: MsgCounter::default(),
        uploads: Uploads::new(shared.clone(), outbox.clone()),
    };
    let end = tokio::select! {
        end = session.run(&connection, &mut stopping) => end,
        // Without a way to answer there is no session.
        _ = &mut writer.0 => End::Lost,
    };
    let last = match end {
        End::Lost => None,
        End::Bye(your_msg_n) => Some(Control::Ack { your_msg_n }),
        End::Stopping => Some(Control::Bye),
        End::Broken { your_msg_n, code, description } => {
            count(&shared.counters.sessions_broken);
            info!(%peer, ?code, description, "a commander's session broke a rule");
            Some(Control::Error { your_msg_n, code, description })
        }
    };
    if last.is_some() {
        outbox.finish(last);
        // Who does not take our last words in time does without them.
        let _ = timeout(LAST_WORDS_MS, &mut writer.0).await;
    }
    connection.close(VarInt::from_u32(0), b"");
    debug!(%peer, "a commander's session ended");
}

/// A task that ends with its owner.
struct Owned<T>(JoinHandle<T>);

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Session {
    shared: Arc<Shared>,
    outbox: Arc<Outbox>,
    stream: RecvStream,
    frames: FrameReader,
    numbers: MsgCounter,
    uploads: Uploads,
}

/// The gauge of open sessions.
struct Open(Arc<Shared>);

impl Open {
    fn new(shared: Arc<Shared>) -> Open {
        count(&shared.counters.sessions);
        count(&shared.counters.sessions_open);
        Open(shared)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.counters.sessions_open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Session {
    async fn run(&mut self, connection: &Connection, stopping: &mut watch::Receiver<bool>) -> End {
        let hello = timeout(Duration::from_millis(BACKEND_HELLO_MS_MAX), self.hello(connection));
        let commander = match hello.await {
            Ok(Ok(commander)) => commander,
            Ok(Err(end)) => return end,
            Err(_) => {
                return End::Broken {
                    your_msg_n: 1,
                    code: SessionErrorCode::MissingHello,
                    description: format!("no Hello came within {BACKEND_HELLO_MS_MAX} ms"),
                };
            }
        };
        let _open = Open::new(self.shared.clone());
        debug!(peer = %connection.remote_address(), ?commander, "a commander's session begins");
        let welcome = Welcome { your_msg_n: 1, program: Program::of_commander() };
        self.outbox.push(Reply::Control(Control::Welcome(Box::new(welcome))));
        let outbox = self.outbox.clone();
        let reading = async {
            loop {
                if let Err(end) = self.turn(commander).await {
                    return end;
                }
            }
        };
        tokio::pin!(reading);
        tokio::select! {
            end = &mut reading => return end,
            // An error means that the back end is gone, which is a stop as well.
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
        // What is in flight is answered; what still comes is refused by `Shared::admit`.
        let limit = Duration::from_millis(BACKEND_CLOSE_MS_MAX);
        tokio::select! {
            end = &mut reading => end,
            _ = timeout(limit, outbox.drained()) => End::Stopping,
        }
    }

    /// Reads and checks the first frame.
    async fn hello(&mut self, connection: &Connection) -> Result<CommanderId, End> {
        let frame = loop {
            match self.next_frame()? {
                Some(frame) => break frame,
                None => self.read().await?,
            }
        };
        let hello = match self.decode(&frame)? {
            Request::Control(Control::Hello(hello)) => hello,
            _ => return Err(broken(1, SessionErrorCode::MissingHello, "a session begins with a Hello")),
        };
        self.frames.limit(REQUEST_BYTES_MAX);
        self.verify_hello(connection, &hello)
    }

    fn verify_hello(&self, connection: &Connection, hello: &Hello) -> Result<CommanderId, End> {
        let mut exporter = [0; 32];
        connection
            .export_keying_material(&mut exporter, Hello::EXPORTER_LABEL, &[])
            .map_err(|_| End::Lost)?;
        if !hello.communication_key.is_empty() {
            let description = "a commander has no communication key";
            return Err(broken(1, SessionErrorCode::WrongCommunicationKey, description));
        }
        if let Err(code) = synod_auth::verify_hello(hello, &self.shared.cluster, &exporter) {
            let description = "the Hello does not prove its key for this cluster over this TLS session";
            return Err(broken(1, code, description));
        }
        let common = Program::of_commander().wire.common(hello.program.wire);
        common.map_err(|why| broken(1, SessionErrorCode::NoCommonVersion, why))?;
        Ok(CommanderId(hello.id))
    }

    /// Reads what has arrived and does what it asks.
    async fn turn(&mut self, commander: CommanderId) -> Result<(), End> {
        self.outbox.room().await;
        self.read().await?;
        loop {
            let mut commands = Vec::new();
            let taken = self.take_frames(commander, &mut commands);
            // What came before a broken frame was in order, and is done; and it does not wait for room for a file.
            let bad_signatures = self.shared.execute(commands).await;
            self.shared.slow_down(bad_signatures).await;
            match taken? {
                Some((number, request)) => self.uploads.take(number, request).await,
                None => return Ok(()),
            }
        }
    }

    /// Takes the frames that are whole, up to the next one that is about a file, and gives that; commands that were
    /// admitted go into `commands`.
    fn take_frames(
        &mut self,
        commander: CommanderId,
        commands: &mut Vec<(SignedCommand, Answer)>,
    ) -> Result<Option<(u64, UploadRequest)>, End> {
        while let Some(frame) = self.next_frame()? {
            let request = self.decode(&frame)?;
            let number = self.numbers.last();
            match request {
                Request::Submit(command) => {
                    if let Some(answer) = self.outbox.admit(number, &command) {
                        commands.push((command, answer));
                    }
                }
                Request::NextSeq { app } => {
                    self.outbox.push(match self.shared.intake.next_seq(app, commander) {
                        Ok(seq) => Reply::NextSeq { your_msg_n: number, seq },
                        Err(refusal) => Reply::Refused { your_msg_n: number, refusal },
                    });
                }
                Request::Offer { ticket, manifest } => {
                    return Ok(Some((number, UploadRequest::Offer { ticket, manifest })));
                }
                Request::Piece { content, number: piece, bytes } => {
                    return Ok(Some((number, UploadRequest::Piece { content, piece, bytes })));
                }
                Request::AwaitHeld { content } => {
                    return Ok(Some((number, UploadRequest::AwaitHeld { content })));
                }
                Request::Control(Control::KeepAlive) => {
                    self.outbox.push(Reply::Control(Control::Ack { your_msg_n: number }));
                }
                Request::Control(Control::Bye) => return Err(End::Bye(number)),
                Request::Control(Control::Error { code, description, .. }) => {
                    info!(?code, description, "a commander ends its session with an error");
                    return Err(End::Lost);
                }
                Request::Control(Control::Hello(_)) => {
                    return Err(broken(number, SessionErrorCode::SecondHello, "a session has one Hello"));
                }
                Request::Control(Control::Ack { .. } | Control::Welcome(_)) => {
                    let description = "nothing was sent that this answers";
                    return Err(broken(number, SessionErrorCode::UnexpectedFrame, description));
                }
            }
        }
        Ok(None)
    }

    /// Reads what has arrived; waits if nothing has.
    async fn read(&mut self) -> Result<(), End> {
        let mut pieces = [const { Bytes::new() }; PIECES];
        match self.stream.read_chunks(&mut pieces).await {
            Ok(Some(count)) => {
                pieces[..count].iter().for_each(|piece| self.frames.push(piece));
                Ok(())
            }
            Ok(None) if self.frames.is_mid_frame() => Err(self.unreadable("the stream ends within a frame")),
            Ok(None) | Err(ReadError::ConnectionLost(_) | ReadError::Reset(_)) => Err(End::Lost),
            Err(error) => {
                debug!(%error, "a commander's stream cannot be read");
                Err(End::Lost)
            }
        }
    }

    fn next_frame(&mut self) -> Result<Option<Bytes>, End> {
        self.frames.next_frame().map_err(|error| self.unreadable(error))
    }

    /// Decodes a frame and takes its number.
    fn decode(&mut self, frame: &Bytes) -> Result<Request, End> {
        let RequestFrame { msg_n, request } = wire::decode(frame).map_err(|error| self.unreadable(error))?;
        if !self.numbers.accepts(msg_n) {
            let description = format!("frame {msg_n} came where {} was expected", self.numbers.last() + 1);
            return Err(broken(msg_n, SessionErrorCode::WrongMsgN, description));
        }
        Ok(request)
    }

    /// The next frame, whose number is not known, cannot be read.
    fn unreadable(&self, why: impl ToString) -> End {
        broken(self.numbers.last() + 1, SessionErrorCode::UnexpectedFrame, why)
    }
}

fn broken(your_msg_n: u64, code: SessionErrorCode, description: impl ToString) -> End {
    End::Broken { your_msg_n, code, description: description.to_string() }
}
