//! Answers over UDP: threads that do nothing else.
//!
//! A thread takes the queries that wait, answers them all from one state, and sends the answers. No query waits for
//! another one's disk, lock or task; a flood of them costs this thread's time and no memory.

use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use synod_types::limits::DNS_RATE_MAX;

use crate::answer::{Client, Reply, Source, Transport, answer, hold_back};
use crate::answers::Answers;
use crate::config::{Given, RateLimitConfig};
use crate::cookie::Cookies;
use crate::cookie_jar::CookieJar;
use crate::counters::TrafficCounters;
use crate::datagrams::{BoundSocket, Closed, Datagrams, SystemDatagrams};
use crate::identity::Identity;
use crate::rate::{Admission, RateLimit};

/// How long a thread pauses when the operating system refuses to give it datagrams.
const PAUSE: Duration = Duration::from_millis(100);

/// The sockets of one address, one for each thread.
pub(crate) struct UdpSockets(Vec<BoundSocket>);

impl UdpSockets {
    /// Binds as many sockets as there are threads to the same address, whose port is not 0.
    pub(crate) fn bind(
        addr: SocketAddr,
        threads: NonZero<usize>,
        given: &Given,
        closed: &Closed,
    ) -> io::Result<UdpSockets> {
        let shared = threads.get() > 1;
        let sockets = (0..threads.get()).map(|_| match given.socket(addr) {
            Some(socket) => BoundSocket::of(socket?, closed),
            None => BoundSocket::bind(addr, shared, closed),
        });
        Ok(UdpSockets(sockets.collect::<io::Result<_>>()?))
    }

    /// Starts a thread for each socket. They end when `closed` says so.
    pub(crate) fn serve(
        self,
        answers: &Arc<dyn Answers>,
        identity: &Arc<Identity>,
        guard: &Guard,
        mut counters: impl FnMut() -> Arc<TrafficCounters>,
    ) -> io::Result<Vec<JoinHandle<()>>> {
        let threads = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        let start = |(number, socket): (usize, BoundSocket)| {
            let server = Server {
                answers: Arc::clone(answers),
                identity: Arc::clone(identity),
                counters: counters(),
                cookies: guard.cookies,
                limit: guard.limit(threads),
            };
            std::thread::Builder::new()
                .name(format!("dns-udp-{number}"))
                .spawn(move || server.serve(SystemDatagrams::open(socket)))
        };
        self.0.into_iter().enumerate().map(start).collect()
    }
}

/// What keeps answers from those who did not ask.
pub(crate) struct Guard {
    pub(crate) cookies: CookieJar,
    /// What networks are told apart with.
    pub(crate) key: [u8; 16],
    pub(crate) rate_limit: Option<RateLimitConfig>,
}

impl Guard {
    /// One thread's part, of so many: the kernel spreads a network's clients over them.
    fn limit(&self, threads: u32) -> Option<RateLimit> {
        let RateLimitConfig { per_second, exempt } = self.rate_limit.as_ref()?;
        let per_second = per_second.get().min(DNS_RATE_MAX).div_ceil(threads);
        Some(RateLimit::new(per_second, exempt.as_slice().into(), self.key, Instant::now()))
    }
}

/// One thread.
struct Server {
    answers: Arc<dyn Answers>,
    identity: Arc<Identity>,
    counters: Arc<TrafficCounters>,
    cookies: CookieJar,
    limit: Option<RateLimit>,
}

impl Server {
    fn serve(mut self, mut datagrams: impl Datagrams) {
        loop {
            match datagrams.receive() {
                Ok(Some(received)) => self.counters.queries.add(u64::try_from(received).unwrap_or(u64::MAX)),
                Ok(None) => return,
                Err(why) => {
                    tracing::warn!(%why, "cannot receive DNS queries over UDP");
                    std::thread::sleep(PAUSE);
                    continue;
                }
            }
            let now_ms = self.limit.as_ref().map_or(0, |limit| limit.clock_ms(Instant::now()));
            let now = SystemTime::now();
            let answers = Arc::clone(&self.answers);
            answers.look(&mut |source| {
                datagrams.answer_each(&mut |from, query, out| {
                    let cookies = self.cookies.of(from, now);
                    let limit = self.limit.as_mut();
                    let admission = limit.map_or(Admission::Answer, |limit| limit.admit(from, now_ms));
                    self.reply(admission, source, cookies, query, out)
                });
            });
            let unsent = datagrams.send();
            self.counters.dropped.add(u64::try_from(unsent).unwrap_or(u64::MAX));
        }
    }
    /// Whether there is an answer in `out`.
    fn reply(
        &self,
        admission: Admission,
        source: &Source<'_>,
        cookies: Cookies<'_>,
        query: &[u8],
        out: &mut Vec<u8>,
    ) -> bool {
        if admission != Admission::Answer
            && let Some(short) = hold_back(&cookies, query, out)
        {
            self.counters.limited.one();
            let is_sent = admission == Admission::Short && short == Reply::Send;
            if is_sent {
                self.counters.reply(out);
            }
            return is_sent;
        }
        let client = Client { transport: Transport::Udp, cookies: Some(cookies) };
        let reply = answer(source, &self.identity, client, query, out);
        match reply {
            Reply::Send => self.counters.reply(out),
            // A transfer needs a stream.
            Reply::Silence | Reply::Transfer(_) => self.counters.malformed.one(),
        }
        reply == Reply::Send
    }
}
