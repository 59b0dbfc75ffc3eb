//! Answers over a stream of messages, each behind its length in two bytes: TCP (RFC 7766), TLS (RFC 7858), and one QUIC
//! stream for each query (RFC 9250).
//!
//! Queries are answered in the order in which they come, as many as are there at once, and their answers are written
//! together. One state answers each of them. Nothing that a client sends or leaves unsent holds more than its place for
//! the idle time, 64 KiB and some for a query, and as much again for answers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;
use synod_types::limits::{DNS_TRANSFER_WAIT_MS_MAX, DNS_WRITE_BYTES};
use synod_zone::Name;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout, timeout_at};

use crate::answer::{self, Reply, Transport, answer, refuse};
use crate::answers::Answers;
use crate::axfr;
use crate::config::StreamLimits;
use crate::cookie_jar::CookieJar;
use crate::counters::TrafficCounters;
use crate::identity::Identity;
use crate::message::{Query, Rcode};
use crate::places::{Place, Places};

/// Bytes that a buffer may keep while its client is idle.
const IDLE_BUFFER_BYTES: usize = 4096;
/// Bytes that are read at once, at the least.
const READ_BYTES: usize = 2048;

/// What every stream of a front end shares.
pub(crate) struct Shared {
    pub(crate) answers: Arc<dyn Answers>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) cookies: CookieJar,
    pub(crate) transfer_to: Vec<IpNet>,
    pub(crate) limits: StreamLimits,
    pub(crate) places: Places,
    /// One permit for each transfer that may be under way.
    pub(crate) transfers: Semaphore,
}

/// One client, as it is served.
#[derive(Clone, Copy)]
pub(crate) struct Client<'a> {
    pub(crate) peer: SocketAddr,
    pub(crate) shared: &'a Shared,
    pub(crate) counters: &'a TrafficCounters,
}

impl Client<'_> {
    /// Answers until the client leaves, stays silent for too long, does not take its answers, sends what is no query,
    /// has to make place, or the front end closes.
    pub(crate) async fn serve<S>(
        &self,
        mut stream: S,
        place: &Place,
        closing: &mut watch::Receiver<bool>,
    ) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut input = Input::default();
        let mut output = Vec::new();
        let mut message = Vec::new();
        loop {
            place.busy();
            while let Some(query) = input.next() {
                match self.answer(query, &mut message) {
                    Reply::Send => push(&mut output, &message),
                    Reply::Transfer(origin) => {
                        self.transfer(&mut stream, &origin, query, &mut message, &mut output).await?;
                    }
                    Reply::Silence => {
                        // Whoever sends this is out of step or no client at all: what follows cannot be trusted.
                        self.write(&mut stream, &mut output).await?;
                        return self.end(&mut stream).await;
                    }
                }
                if output.len() >= DNS_WRITE_BYTES {
                    self.write(&mut stream, &mut output).await?;
                }
            }
            self.write(&mut stream, &mut output).await?;
            if *closing.borrow() {
                return self.end(&mut stream).await;
            }
            place.idle();
            output.shrink_to(IDLE_BUFFER_BYTES);
            message.shrink_to(IDLE_BUFFER_BYTES);
            input.forget_done();
            // However slowly its bytes drip in, a query is there in time or the client leaves.
            let deadline = Instant::now() + self.shared.limits.idle;
            while !input.has_next() {
                input.bytes.reserve(READ_BYTES);
                let read = tokio::select! {
                    read = timeout_at(deadline, stream.read_buf(&mut input.bytes)) => read,
                    // At once: as long as it is open, there is one connection too many.
                    () = place.given_away() => return Ok(()),
                    () = begins(closing) => return self.end(&mut stream).await,
                };
                match read {
                    Ok(Ok(0)) | Err(_) => return self.end(&mut stream).await,
                    Ok(Ok(_)) => {}
                    Ok(Err(why)) => return Err(why),
                }
            }
        }
    }

    /// Answers one message, from one state, into `message`.
    pub(crate) fn answer(&self, query: &[u8], message: &mut Vec<u8>) -> Reply {
        self.counters.queries.one();
        let mut reply = Reply::Silence;
        self.shared.answers.look(&mut |source| {
            let cookies = Some(self.shared.cookies.of(self.peer.ip(), SystemTime::now()));
            let asker = answer::Client { transport: Transport::Stream, cookies };
            reply = answer(source, &self.shared.identity, asker, query, message);
        });
        match reply {
            Reply::Send => self.counters.reply(message),
            Reply::Silence => self.counters.malformed.one(),
            Reply::Transfer(_) => {}
        }
        reply
    }

    /// The answer to a transfer that this client does not get.
    pub(crate) fn refuse_transfer(&self, query: &[u8], rcode: Rcode, message: &mut Vec<u8>) {
        refuse(Transport::Stream, query, rcode, message);
        self.counters.reply(message);
        self.counters.transfers_refused.one();
    }

    /// Sends a whole zone, if the client may have it and it is its turn. What waits in `output` goes before it; the end
    /// of it may still wait there afterwards.
    pub(crate) async fn transfer<S>(
        &self,
        stream: &mut S,
        origin: &Name,
        query: &[u8],
        message: &mut Vec<u8>,
        output: &mut Vec<u8>,
    ) -> io::Result<()>
    where
        S: AsyncWrite + Unpin,
    {
        let address = self.peer.ip().to_canonical();
        if !self.shared.transfer_to.iter().any(|allowed| allowed.contains(&address)) {
            self.refuse_transfer(query, Rcode::REFUSED, message);
            push(output, message);
            return Ok(());
        }
        self.write(stream, output).await?;
        let wait = Duration::from_millis(DNS_TRANSFER_WAIT_MS_MAX);
        let turn = timeout(wait, self.shared.transfers.acquire()).await;
        let (Ok(Ok(_turn)), Some(zone)) = (turn, self.shared.answers.zone(origin)) else {
            self.refuse_transfer(query, Rcode::SERVFAIL, message);
            push(output, message);
            return Ok(());
        };
        // The zone stays as it is, whatever changes meanwhile.
        let Some((query, _)) = Query::parse(query) else {
            return Ok(());
        };
        let mut messages = axfr::messages(&zone, query);
        while messages.next(message).map_err(io::Error::other)? {
            self.counters.reply(message);
            push(output, message);
            if output.len() >= DNS_WRITE_BYTES {
                self.write(stream, output).await?;
            }
        }
        self.counters.transfers.one();
        Ok(())
    }

    /// Writes all that waits in `output`, and empties it.
    pub(crate) async fn write<S>(&self, stream: &mut S, output: &mut Vec<u8>) -> io::Result<()>
    where
        S: AsyncWrite + Unpin,
    {
        if output.is_empty() {
            return Ok(());
        }
        let written = async {
            stream.write_all(output).await?;
            stream.flush().await
        };
        match timeout(self.shared.limits.write_stall, written).await {
            Ok(written) => written?,
            Err(_) => {
                self.counters.dropped.one();
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answers"));
            }
        }
        output.clear();
        Ok(())
    }

    /// Says that nothing more comes.
    async fn end<S>(&self, stream: &mut S) -> io::Result<()>
    where
        S: AsyncWrite + Unpin,
    {
        // Over TLS, even a farewell has to be read by the other side.
        timeout(self.shared.limits.write_stall, stream.shutdown()).await.unwrap_or(Ok(()))
    }
}

/// Returns when closing begins; a server that was dropped closes, too.
pub(crate) async fn begins(closing: &mut watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

/// Puts a message behind its length.
pub(crate) fn push(output: &mut Vec<u8>, message: &[u8]) {
    let bytes = u16::try_from(message.len()).expect("the engine writes 65,535 bytes at the most");
    output.extend_from_slice(&bytes.to_be_bytes());
    output.extend_from_slice(message);
}

/// What came and is not answered yet.
#[derive(Default)]
struct Input {
    bytes: Vec<u8>,
    /// Bytes at the front that are done with.
    done: usize,
}

impl Input {
    /// Bytes of the next message, if it is there as a whole.
    fn next_bytes(&self) -> Option<usize> {
        let (length, rest) = self.bytes[self.done..].split_first_chunk()?;
        let bytes = usize::from(u16::from_be_bytes(*length));
        (rest.len() >= bytes).then_some(bytes)
    }

    fn has_next(&self) -> bool {
        self.next_bytes().is_some()
    }

    /// The next message without its length, if it is there as a whole.
    fn next(&mut self) -> Option<&[u8]> {
        let bytes = self.next_bytes()?;
        let start = self.done + 2;
        self.done = start + bytes;
        Some(&self.bytes[start..self.done])
    }

    /// Gives back the room of what is done with.
    fn forget_done(&mut self) {
        self.bytes.drain(..self.done);
        self.done = 0;
        self.bytes.shrink_to(IDLE_BUFFER_BYTES);
    }
}
