//! Questions to the node that are over soon, many at a time on one connection, which is opened again whenever it breaks. While it is
//! not there nobody waits for it: whoever asks is told so.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::{Bytes, BytesMut};
use synod_lane::front::{Asked, FrontAnswer, FrontQuestion, Told};
use synod_lane::message::Blob;
use synod_types::limits::FRONT_QUESTIONS_MAX;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tracing::{info, warn};

use super::line::{Hear, Host, Line, LineError, Pauses, Say};

/// A connection that was there for so long is opened again at once when it breaks.
const STEADY: Duration = Duration::from_secs(1);

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unanswered {
    #[error("the node is away")]
    Away,
    #[error("too much is asked of the node")]
    Busy,
    /// The node has none, for this reason: its stable name.
    #[error("{code}: {text}")]
    Problem { code: String, text: String },
    /// What was asked for is cut off; the log begins behind this slot.
    #[error("the log begins behind slot {0}")]
    Cut(u64),
    #[error("the node answered something else than it was asked for")]
    Unexpected,
}

/// One question, and where its answers go.
struct Question {
    ask: FrontQuestion,
    answers: mpsc::UnboundedSender<FrontAnswer>,
}

/// The way to ask. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Asker(Arc<Inner>);

struct Inner {
    socket: PathBuf,
    /// To the connection, if there is one.
    questions: ArcSwapOption<mpsc::Sender<Question>>,
    changed: Notify,
}

impl Asker {
    pub(crate) fn new(socket: PathBuf) -> Asker {
        Asker(Arc::new(Inner { socket, questions: ArcSwapOption::empty(), changed: Notify::new() }))
    }

    /// Returns when there is a new connection, or one less.
    pub(crate) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// Asks what has one answer.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub(crate) async fn one(&self, ask: FrontQuestion) -> Result<FrontAnswer, Unanswered> {
        let mut answers = self.put(ask)?;
        next(&mut answers).await
    }

    /// Asks for something that comes in pieces.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub(crate) async fn gather(&self, ask: FrontQuestion) -> Result<Bytes, Unanswered> {
        let mut answers = self.put(ask)?;
        let mut gathered = BytesMut::new();
        loop {
            let FrontAnswer::Piece { bytes: Blob(bytes), last } = next(&mut answers).await? else {
                return Err(Unanswered::Unexpected);
            };
            if last && gathered.is_empty() {
                return Ok(bytes);
            }
            gathered.extend_from_slice(&bytes);
            if last {
                return Ok(gathered.freeze());
            }
        }
    }

    fn put(&self, ask: FrontQuestion) -> Result<mpsc::UnboundedReceiver<FrontAnswer>, Unanswered> {
        let (answers, told) = mpsc::unbounded_channel();
        let questions = self.0.questions.load();
        let questions = questions.as_ref().ok_or(Unanswered::Away)?;
        questions.try_send(Question { ask, answers }).map_err(|why| match why {
            mpsc::error::TrySendError::Full(_) => Unanswered::Busy,
            mpsc::error::TrySendError::Closed(_) => Unanswered::Away,
        })?;
        Ok(told)
    }

    /// Connects to the node, again and again, and carries questions and answers. `welcome` looks at each node that answers, and
    /// says whether it is the right one.
    pub(crate) async fn run(self, welcome: impl Fn(&Host) -> bool + Send) {
        let (mut pauses, mut is_told) = (Pauses::new(), false);
        loop {
            match Line::open(&self.0.socket).await {
                Ok((line, host)) if welcome(&host) => {
                    info!(node = host.node, "connected to the node");
                    metrics::counter!("synod_front_connections_total").increment(1);
                    let begun = Instant::now();
                    let why = self.carry(line).await;
                    is_told = false;
                    if begun.elapsed() > STEADY {
                        pauses = Pauses::new();
                    }
                    warn!(%why, "the connection to the node is over; what was read last is still answered");
                }
                Ok(_) => {}
                Err(why) if !is_told => {
                    is_told = true;
                    warn!(socket = %self.0.socket.display(), %why, "the node is away; it is tried again and again");
                }
                Err(_) => {}
            }
            pauses.pause().await;
        }
    }

    async fn carry(&self, line: Line) -> LineError {
        let (hear, say) = line.split();
        let (questions, queue) = mpsc::channel(FRONT_QUESTIONS_MAX);
        let pending = Pending::default();
        let _guard = Connected::begin(&self.0, questions);
        // Whichever ends first ends the other one.
        tokio::select! {
            why = hear_all(hear, &pending) => why,
            why = say_all(say, queue, &pending) => why,
        }
    }
}

/// While it lives there is a connection.
struct Connected<'a>(&'a Inner);

impl Connected<'_> {
    fn begin(inner: &Inner, questions: mpsc::Sender<Question>) -> Connected<'_> {
        inner.questions.store(Some(Arc::new(questions)));
        metrics::gauge!("synod_front_connected").set(1.0);
        inner.changed.notify_one();
        Connected(inner)
    }
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.0.questions.store(None);
        metrics::gauge!("synod_front_connected").set(0.0);
        self.0.changed.notify_one();
    }
}

/// Questions under way, by their numbers.
#[derive(Default)]
struct Pending(Mutex<HashMap<u64, mpsc::UnboundedSender<FrontAnswer>>>);

impl Pending {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, mpsc::UnboundedSender<FrontAnswer>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn hear_all(mut hear: Hear, pending: &Pending) -> LineError {
    loop {
        let Told { id, tell } = match hear.receive().await {
            Ok(told) => told,
            Err(why) => return why,
        };
        let is_last = !matches!(tell, FrontAnswer::Piece { last: false, .. });
        let mut pending = pending.lock();
        if let Some(answers) = pending.get(&id) {
            // Who gave up meanwhile needs no answer.
            let _ = answers.send(tell);
        }
        if is_last {
            pending.remove(&id);
        }
    }
}

async fn say_all(mut say: Say, mut queue: mpsc::Receiver<Question>, pending: &Pending) -> LineError {
    let mut id = 0;
    while let Some(Question { ask, answers }) = queue.recv().await {
        if answers.is_closed() {
            continue;
        }
        id += 1;
        pending.lock().insert(id, answers);
        if let Err(why) = say.send(&Asked { id, ask }).await {
            return why;
        }
    }
    LineError::Closed
}

async fn next(answers: &mut mpsc::UnboundedReceiver<FrontAnswer>) -> Result<FrontAnswer, Unanswered> {
    match answers.recv().await {
        None => Err(Unanswered::Away),
        Some(FrontAnswer::Problem { code, text, .. }) => Err(Unanswered::Problem { code, text }),
        Some(FrontAnswer::Cut { behind }) => Err(Unanswered::Cut(behind)),
        Some(answer) => Ok(answer),
    }
}
