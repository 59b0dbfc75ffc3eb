//! The control stream of a session: numbered Hello, Welcome, Ack, Error, KeepAlive and Bye, alike at both ends.
//!
//! Data never travels here. Whatever does not follow the rules becomes a [`Violation`], which ends the session.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use quinn::{RecvStream, SendStream};
use synod_types::frame::FrameReader;
use synod_types::limits::{
    HELLO_FRAME_BYTES_MAX, MESH_KEEP_ALIVE_MS, MESH_KEEP_ALIVES_MISSED_MAX, MESH_PARTING_MS_MAX,
    REFUSAL_TEXT_BYTES_MAX,
};
use synod_types::session::{Control, ControlFrame, MsgCounter, SessionErrorCode};
use synod_types::wire;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use crate::leaving::Leaving;
use crate::session::{SessionEnd, Violation};

/// One end of a control stream.
pub(crate) struct ControlStream {
    incoming: Incoming,
    outgoing: Outgoing,
}

struct Incoming {
    stream: RecvStream,
    frames: FrameReader,
    numbers: MsgCounter,
}

struct Outgoing {
    stream: SendStream,
    numbers: MsgCounter,
}

/// Whether this end shows that it is there while it has nothing to say.
pub(crate) enum KeepAlive<F> {
    /// After each interval for which the function says that nothing was sent.
    WhenIdle(F),
    /// The other end does.
    Never,
}

impl ControlStream {
    pub(crate) fn new(send: SendStream, recv: RecvStream) -> ControlStream {
        // A stream that is gone says so when it is used.
        let _ = send.set_priority(0);
        ControlStream {
            incoming: Incoming {
                stream: recv,
                frames: FrameReader::new(HELLO_FRAME_BYTES_MAX),
                numbers: MsgCounter::default(),
            },
            outgoing: Outgoing { stream: send, numbers: MsgCounter::default() },
        }
    }

    /// The next frame, with its number. Nothing is lost if this is dropped while it waits.
    pub(crate) async fn next(&mut self) -> Result<ControlFrame, SessionEnd> {
        self.incoming.next().await
    }

    /// Sends a frame; returns its number.
    pub(crate) async fn say(&mut self, control: Control) -> Result<u64, SessionEnd> {
        self.outgoing.say(control).await
    }

    /// Sends the Error for a violation, and waits until the peer has it.
    pub(crate) async fn say_error(&mut self, violation: &Violation) -> Result<(), SessionEnd> {
        let your_msg_n = violation.your_msg_n.unwrap_or(self.incoming.numbers.last());
        let mut description = violation.description.clone();
        description.truncate(description.floor_char_boundary(REFUSAL_TEXT_BYTES_MAX));
        self.say(Control::Error { your_msg_n, code: violation.code, description }).await?;
        let _ = self.outgoing.stream.finish();
        let _ = self.outgoing.stream.stopped().await;
        Ok(())
    }

    /// Keeps the session until it ends. Once the mesh is closing, says Bye and waits for the Ack, but not for long.
    pub(crate) async fn run(
        &mut self,
        mut keep_alive: KeepAlive<impl FnMut() -> bool>,
        mut leaving: Leaving,
    ) -> Result<Infallible, SessionEnd> {
        let ControlStream { incoming, outgoing } = self;
        // The numbers of our frames that are not acknowledged yet, in order.
        let mut unanswered = VecDeque::new();
        // The number of our Bye, and when its Ack is no longer waited for.
        let mut bye = None;
        let beat = Duration::from_millis(MESH_KEEP_ALIVE_MS);
        let mut beats = interval_at(Instant::now() + beat, beat);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                frame = incoming.next() => {
                    let ControlFrame { msg_n, control } = frame?;
                    match control {
                        Control::KeepAlive => {
                            outgoing.say(Control::Ack { your_msg_n: msg_n }).await?;
                        }
                        Control::Bye => {
                            outgoing.say(Control::Ack { your_msg_n: msg_n }).await?;
                            // If both leave at once, each still waits for its own Ack.
                            if bye.is_none() {
                                return Err(SessionEnd::Bye);
                            }
                        }
                        Control::Ack { your_msg_n } if unanswered.front() == Some(&your_msg_n) => {
                            unanswered.pop_front();
                            if bye.is_some_and(|(number, _)| number == your_msg_n) {
                                return Err(SessionEnd::Leaving);
                            }
                        }
                        Control::Ack { your_msg_n } => {
                            let description = format!("an Ack of {your_msg_n}, which does not wait for one");
                            let code = SessionErrorCode::UnexpectedFrame;
                            return Err(Violation::of_frame(code, msg_n, description).into());
                        }
                        Control::Error { code, description, .. } => {
                            return Err(SessionEnd::Refused { code, description });
                        }
                        Control::Hello(_) => {
                            let code = SessionErrorCode::SecondHello;
                            return Err(Violation::of_frame(code, msg_n, "the session has its Hello").into());
                        }
                        Control::Welcome(_) => {
                            let code = SessionErrorCode::UnexpectedFrame;
                            return Err(Violation::of_frame(code, msg_n, "a Welcome, and no Hello waits").into());
                        }
                    }
                }
                _ = beats.tick(), if bye.is_none() => {
                    let KeepAlive::WhenIdle(idle) = &mut keep_alive else { continue };
                    if unanswered.len() >= MESH_KEEP_ALIVES_MISSED_MAX {
                        return Err(SessionEnd::Silent);
                    }
                    if idle() {
                        unanswered.push_back(outgoing.say(Control::KeepAlive).await?);
                    }
                }
                () = leaving.begun(), if bye.is_none() => {
                    let number = outgoing.say(Control::Bye).await?;
                    unanswered.push_back(number);
                    bye = Some((number, Instant::now() + Duration::from_millis(MESH_PARTING_MS_MAX)));
                }
                _ = sleep_until(bye.map_or_else(Instant::now, |(_, limit)| limit)), if bye.is_some() => {
                    return Err(SessionEnd::Leaving);
                }
            }
        }
    }
}

impl Incoming {
    async fn next(&mut self) -> Result<ControlFrame, SessionEnd> {
        loop {
            if let Some(bytes) = self.frames.next_frame().map_err(Violation::unexpected)? {
                return Ok(self.number(bytes)?);
            }
            match self.stream.read_chunk(HELLO_FRAME_BYTES_MAX, true).await? {
                Some(chunk) => self.frames.push(&chunk.bytes),
                None => return Err(SessionEnd::StreamEnded),
            }
        }
    }

    fn number(&mut self, bytes: Bytes) -> Result<ControlFrame, Violation> {
        let frame: ControlFrame = wire::decode(&bytes).map_err(Violation::unexpected)?;
        let last = self.numbers.last();
        if !self.numbers.accepts(frame.msg_n) {
            let description = format!("number {} follows {last}", frame.msg_n);
            return Err(Violation::of_frame(SessionErrorCode::WrongMsgN, frame.msg_n, description));
        }
        Ok(frame)
    }
}

impl Outgoing {
    async fn say(&mut self, control: Control) -> Result<u64, SessionEnd> {
        let msg_n = self.numbers.advance();
        let mut bytes = Vec::new();
        wire::put(&mut bytes, HELLO_FRAME_BYTES_MAX, &ControlFrame { msg_n, control }).expect(
            "a Hello has a key of at most a kilobyte twice, and the address that the configuration checked",
        );
        self.stream.write_all(&bytes).await?;
        Ok(msg_n)
    }
}
