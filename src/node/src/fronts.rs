//! Front ends in processes of their own: a Unix socket at which they ask what the gateway answers to those in this process. They come,
//! go and are replaced without the node.
//!
//! Each connection has so many questions under way, and so many answers that wait to be read; who reads no answers is not read from
//! either, and after a while given up.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use synod_gateway::{Consistency, Gateway, GatewayError, Log, Read};
use synod_lane::front::{
    AppTold, Asked, FRONT_VERSION, FRONT_VERSION_MIN, FrontAnswer, FrontHello, FrontQuestion, FrontReception,
    Told,
};
use synod_lane::message::{Blob, Encoding};
use synod_lane::yard::YardQuestion;
use synod_lane::{decode, encode};
use synod_types::StateNdx;
use synod_types::frame::FrameReader;
use synod_types::limits::{
    FRONT_ANSWERS_MAX, FRONT_CONNECTIONS_MAX, FRONT_FRAME_BYTES_MAX, FRONT_QUESTIONS_MAX, FRONT_WRITE_MS_MAX,
    HELLO_FRAME_BYTES_MAX, LANE_HELLO_MS_MAX,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::config::FrontEndsConfig;
use crate::lanes::{Admitted, LaneError, listen};
use crate::remote::Remote;
use crate::yards::{Job, Yard, Yards};

mod feeding;

/// The name of the socket where none is given.
pub(crate) const SOCKET: &str = "front-ends.sock";
/// How long accepting rests after the system had no descriptor or memory for it.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Where front ends get to this node.
pub(crate) struct Fronts {
    listener: std::os::unix::net::UnixListener,
    admitted: Admitted,
    socket: PathBuf,
}

/// What they are told of the node.
#[derive(Clone)]
pub(crate) struct Host {
    pub gateway: Gateway,
    /// The log, for those who follow it: nobody else takes their places.
    pub log: Arc<dyn Log>,
    /// Commands from one state that is signed to the next.
    pub sign_every: u64,
    /// A place for each whole state that is being made.
    pub wholes: Arc<Semaphore>,
    /// The cluster's id, in hex.
    pub cluster: String,
    /// The node's name.
    pub node: String,
    /// The way to the other nodes.
    pub remote: Remote,
    /// Its yards.
    pub yards: Yards,
}

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrontError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("a frame makes no sense: {0}")]
    Malformed(String),
    #[error("it speaks versions {0} to {1}, and this node {FRONT_VERSION_MIN} to {FRONT_VERSION}")]
    Version(u32, u32),
    #[error("the other end did not say who it is, or did not read what it was told, in time")]
    TooLate,
}

impl Fronts {
    /// Makes the socket; nobody is let in yet.
    ///
    /// # Errors
    /// [`LaneError::Socket`].
    pub(crate) fn open(config: &FrontEndsConfig, data_dir: &std::path::Path) -> Result<Fronts, LaneError> {
        let (socket, listener) = listen(config.socket.as_deref(), data_dir, SOCKET, config.group)?;
        let admitted = Admitted::of(&config.users, config.group);
        Ok(Fronts { listener, admitted, socket })
    }

    /// Answers until the node stops.
    ///
    /// # Errors
    /// [`LaneError::Socket`].
    pub(crate) fn serve(self, host: Host) -> Result<impl Future<Output = ()> + Send, LaneError> {
        let Fronts { listener, admitted, socket } = self;
        let listener =
            UnixListener::from_std(listener).map_err(|why| LaneError::Socket { path: socket, why })?;
        Ok(accept(listener, admitted, host))
    }
}

async fn accept(listener: UnixListener, admitted: Admitted, host: Host) {
    let places = Arc::new(Semaphore::new(FRONT_CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("nobody closes it");
        let stream = loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => break stream,
                    Err(why) => {
                        warn!(%why, "cannot take the connection of a front end");
                        tokio::time::sleep(ACCEPT_AGAIN).await;
                    }
                },
                Some(ended) = connections.join_next() => if let Err(why) = ended
                    && let Ok(panic) = tokio::task::JoinError::try_into_panic(why)
                {
                    std::panic::resume_unwind(panic);
                },
            }
        };
        if !admitted.admits_peer(&stream, "front ends") {
            continue;
        }
        let host = host.clone();
        connections.spawn(async move {
            if let Err(why) = Connection::serve(stream, host, place).await {
                warn!(%why, "a front end's connection is over");
            }
        });
    }
}

/// One front end.
struct Connection {
    host: Host,
    encoding: Encoding,
    read: OwnedReadHalf,
    frames: FrameReader,
    answers: mpsc::Sender<Vec<u8>>,
    jobs: JoinSet<u64>,
    under_way: HashMap<u64, AbortHandle>,
    /// The one that it has opened.
    yard: Option<Yard>,
}

impl Connection {
    async fn serve(stream: UnixStream, host: Host, place: OwnedSemaphorePermit) -> Result<(), FrontError> {
        let _place = place;
        let (mut read, mut write) = stream.into_split();
        let mut frames = FrameReader::new(HELLO_FRAME_BYTES_MAX);
        let patience = Duration::from_millis(LANE_HELLO_MS_MAX);
        let first = timeout(patience, next_frame(&mut read, &mut frames)).await;
        let Some(first) = first.map_err(|_late| FrontError::TooLate)?? else { return Ok(()) };
        let encoding = Encoding::of(&first);
        let hello: FrontHello = decode(encoding, &first).map_err(FrontError::Malformed)?;
        let (lowest, highest) = hello.versions;
        let version = highest.min(FRONT_VERSION);
        if version < lowest.max(FRONT_VERSION_MIN) {
            let why = FrontError::Version(lowest, highest);
            write_frame(&mut write, &framed(encoding, &FrontReception::Refused(why.to_string()))?).await?;
            return Err(why);
        }
        info!(program = hello.program, "a front end has connected");
        frames.limit(FRONT_FRAME_BYTES_MAX);
        let (cluster, node) = (host.cluster.clone(), host.node.clone());
        let welcome = FrontReception::Welcome { version, cluster, node };
        write_frame(&mut write, &framed(encoding, &welcome)?).await?;
        let (answers, mut queue) = mpsc::channel::<Vec<u8>>(FRONT_ANSWERS_MAX);
        let writing = async move {
            while let Some(frame) = queue.recv().await {
                write_frame(&mut write, &frame).await?;
            }
            Ok(())
        };
        let (jobs, under_way) = (JoinSet::new(), HashMap::new());
        let connection = Connection { host, encoding, read, frames, answers, jobs, under_way, yard: None };
        // Whichever ends first ends the other one, and all jobs with it.
        tokio::select! {
            read = connection.read_all() => read,
            written = writing => written,
        }
    }

    async fn read_all(mut self) -> Result<(), FrontError> {
        loop {
            let frame = tokio::select! {
                frame = next_frame(&mut self.read, &mut self.frames), if self.jobs.len() < FRONT_QUESTIONS_MAX => frame?,
                Some(ended) = self.jobs.join_next() => {
                    match ended {
                        Ok(id) => drop(self.under_way.remove(&id)),
                        Err(why) => if let Ok(panic) = why.try_into_panic() {
                            std::panic::resume_unwind(panic);
                        },
                    }
                    continue;
                }
            };
            let Some(frame) = frame else { return Ok(()) };
            let Asked { id, ask } = decode(self.encoding, &frame).map_err(FrontError::Malformed)?;
            if ask == FrontQuestion::Stop {
                if let Some(job) = self.under_way.remove(&id) {
                    job.abort();
                }
                self.tell(id, FrontAnswer::Stopped).await?;
                continue;
            }
            if self.under_way.contains_key(&id) {
                return Err(FrontError::Malformed(format!("question {id} is under way already")));
            }
            let host = self.host.clone();
            let teller = Teller { id, encoding: self.encoding, answers: self.answers.clone() };
            let work: Job = match ask {
                FrontQuestion::Yard(ask) => host.yards.begin(&host, &mut self.yard, ask, teller),
                ask => Box::pin(async move { answer_anywhere(&host, ask, &teller).await }),
            };
            let job = self.jobs.spawn(async move {
                work.await;
                id
            });
            self.under_way.insert(id, job);
        }
    }

    async fn tell(&self, id: u64, tell: FrontAnswer) -> Result<(), FrontError> {
        let frame = framed(self.encoding, &Told { id, tell })?;
        // The writer is gone only when this is.
        let _ = self.answers.send(frame).await;
        Ok(())
    }
}

/// Answers one question.
pub(crate) struct Teller {
    id: u64,
    encoding: Encoding,
    answers: mpsc::Sender<Vec<u8>>,
}

impl Teller {
    /// `false`: nobody is there any more.
    pub(crate) async fn tell(&self, tell: FrontAnswer) -> bool {
        let id = self.id;
        match framed(self.encoding, &Told { id, tell }) {
            Ok(frame) => self.answers.send(frame).await.is_ok(),
            Err(_too_large) => {
                let problem = FrontAnswer::problem("too-large", "the answer is larger than a frame");
                match framed(self.encoding, &Told { id, tell: problem }) {
                    Ok(frame) => self.answers.send(frame).await.is_ok(),
                    Err(_) => false,
                }
            }
        }
    }
}

/// Answers a question, or has the node answer it for which it is.
pub(crate) async fn answer_anywhere(host: &Host, ask: FrontQuestion, teller: &Teller) {
    match ask {
        FrontQuestion::At { server, ask } if server != host.node => {
            teller.tell(host.remote.ask(&server, *ask).await).await;
        }
        FrontQuestion::At { server: _, ask } if *ask == FrontQuestion::Yard(YardQuestion::List) => {
            teller.tell(host.yards.list()).await;
        }
        FrontQuestion::At { server: _, ask } => answer(host, *ask, teller).await,
        ask => answer(host, ask, teller).await,
    }
}

/// The one frame that answers a question of another node's front end.
pub(crate) async fn answer_for_another(
    host: &Host,
    id: u64,
    ask: FrontQuestion,
    encoding: Encoding,
) -> Option<Vec<u8>> {
    let (answers, mut frames) = mpsc::channel(1);
    answer(host, ask, &Teller { id, encoding, answers }).await;
    frames.recv().await
}

async fn answer(host: &Host, ask: FrontQuestion, teller: &Teller) {
    let gateway = &host.gateway;
    let told = match ask {
        FrontQuestion::Apps => FrontAnswer::Apps(gateway.apps().iter().map(|door| told_of(door)).collect()),
        FrontQuestion::Query { app, query, linearizable, min, wait_ms } => {
            let consistency = if linearizable { Consistency::Linearizable } else { Consistency::Local };
            let read = Read { consistency, min: min.map(StateNdx), wait: wait(wait_ms) };
            match ndx_of(gateway, &app) {
                Ok(ndx) => gateway.query(ndx, read, &query.0).await.map_or_else(problem, |answer| {
                    let (state_ndx, chain) = (answer.state_ndx.0, answer.chain.to_string());
                    FrontAnswer::Answered { state_ndx, chain, answer: Blob(answer.body) }
                }),
                Err(unknown) => unknown,
            }
        }
        FrontQuestion::Wait { app, state_ndx, wait_ms } => {
            let read = Read { min: Some(StateNdx(state_ndx)), wait: wait(wait_ms), ..Read::default() };
            match ndx_of(gateway, &app) {
                Ok(ndx) => gateway.view(ndx, read).await.map_or_else(problem, |view| state(&view)),
                Err(unknown) => unknown,
            }
        }
        FrontQuestion::Follow { app, after } => match ndx_of(gateway, &app) {
            Ok(ndx) => follow(gateway, ndx, after, teller).await,
            Err(unknown) => unknown,
        },
        // It has no answer of its own.
        FrontQuestion::Stop => FrontAnswer::Stopped,
        FrontQuestion::At { .. } | FrontQuestion::Yard(_) => {
            FrontAnswer::problem("not-elsewhere", "that is not asked of a server by its name")
        }
        of_states => feeding::answer(host, of_states, teller).await,
    };
    teller.tell(told).await;
}

/// Tells of states until there is a reason to end, which it gives.
async fn follow(gateway: &Gateway, ndx: synod_types::AppNdx, mut after: u64, teller: &Teller) -> FrontAnswer {
    loop {
        let next = StateNdx(after.saturating_add(1));
        let read = Read { min: Some(next), wait: Read::WAIT_MAX, ..Read::default() };
        match gateway.view(ndx, read).await {
            Ok(view) => {
                after = view.state_ndx.0;
                if !teller.tell(state(&view)).await {
                    return FrontAnswer::Stopped;
                }
            }
            Err(GatewayError::Timeout { .. }) => {}
            Err(why) => return problem(why),
        }
    }
}

fn ndx_of(gateway: &Gateway, app: &str) -> Result<synod_types::AppNdx, FrontAnswer> {
    gateway.find(app).map(synod_gateway::AppDoor::ndx).ok_or_else(|| {
        FrontAnswer::problem("unknown-app", format!("this cluster has no application {app:?}"))
    })
}

fn told_of(door: &synod_gateway::AppDoor) -> AppTold {
    AppTold {
        app: door.ndx().0,
        name: door.name().to_owned(),
        kind: door.kind().to_owned(),
        state_ndx: door.state_ndx().0,
        leader: door.leader().map(|leader| leader.name.clone()),
    }
}

fn state(view: &synod_machine::View) -> FrontAnswer {
    FrontAnswer::State { state_ndx: view.state_ndx.0, chain: view.chain.to_string() }
}

fn wait(wait_ms: Option<u64>) -> Duration {
    wait_ms.map_or(Read::WAIT_DEFAULT, Duration::from_millis)
}

fn problem(why: GatewayError) -> FrontAnswer {
    let code = match why {
        GatewayError::UnknownApp { .. } => "unknown-app",
        GatewayError::NoLeader { .. } => "no-leader",
        GatewayError::Timeout { .. } => "timeout",
        GatewayError::NotAQuery { .. } => "not-a-query",
        GatewayError::Busy { .. } => "busy",
        GatewayError::LogCut { .. } => "log-cut",
        GatewayError::LogNotHere { .. } => "log-not-here",
        GatewayError::Stopping { .. } => "stopping",
        GatewayError::Diverged { .. } => "diverged",
        GatewayError::Away { .. } => "application-away",
    };
    FrontAnswer::Problem {
        code: code.to_owned(),
        text: why.to_string(),
        state_ndx: why.state_ndx().map(|state_ndx| state_ndx.0),
    }
}

pub(crate) fn framed(encoding: Encoding, message: &impl serde::Serialize) -> Result<Vec<u8>, FrontError> {
    encode(encoding, message).map_err(|why| FrontError::Malformed(why.to_string()))
}

pub(crate) async fn next_frame(
    read: &mut OwnedReadHalf,
    frames: &mut FrameReader,
) -> Result<Option<bytes::Bytes>, FrontError> {
    let mut buffer = [0; 16 << 10];
    loop {
        if let Some(frame) = frames.next_frame().map_err(|why| FrontError::Malformed(why.to_string()))? {
            return Ok(Some(frame));
        }
        let bytes = match read.read(&mut buffer).await {
            Err(why) if why.kind() == io::ErrorKind::ConnectionReset => 0,
            read => read?,
        };
        if bytes == 0 {
            return Ok(None);
        }
        frames.push(&buffer[..bytes]);
    }
}

pub(crate) async fn write_frame(write: &mut OwnedWriteHalf, frame: &[u8]) -> Result<(), FrontError> {
    let patience = Duration::from_millis(FRONT_WRITE_MS_MAX);
    Ok(timeout(patience, write.write_all(frame)).await.map_err(|_late| FrontError::TooLate)??)
}
