//! Answers over UDP: threads that do nothing else.
//!
//! A thread takes the queries that wait, answers them all from one state, and sends the answers. No query waits for
//! another one's disk, lock or task; a flood of them costs this thread's time and no memory.

use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::answer::{Reply, Transport, answer};
use crate::answers::Answers;
use crate::counters::TrafficCounters;
use crate::datagrams::{BoundSocket, Closed, Datagrams as _, SystemDatagrams};
use crate::identity::Identity;

/// How long a thread pauses when the operating system refuses to give it datagrams.
const PAUSE: Duration = Duration::from_millis(100);

/// The sockets of one address, one for each thread.
pub(crate) struct UdpSockets(Vec<BoundSocket>);

impl UdpSockets {
    /// Binds as many sockets as there are threads to the same address, whose port is not 0.
    pub(crate) fn bind(addr: SocketAddr, threads: NonZero<usize>, closed: &Closed) -> io::Result<UdpSockets> {
        let shared = threads.get() > 1;
        let sockets = (0..threads.get()).map(|_| BoundSocket::bind(addr, shared, closed));
        Ok(UdpSockets(sockets.collect::<io::Result<_>>()?))
    }

    /// Starts a thread for each socket. They end when `closed` says so.
    pub(crate) fn serve(
        self,
        answers: &Arc<dyn Answers>,
        identity: &Arc<Identity>,
        mut counters: impl FnMut() -> Arc<TrafficCounters>,
    ) -> io::Result<Vec<JoinHandle<()>>> {
        let start = |(number, socket): (usize, BoundSocket)| {
            let (answers, identity, counters) = (Arc::clone(answers), Arc::clone(identity), counters());
            std::thread::Builder::new()
                .name(format!("dns-udp-{number}"))
                .spawn(move || serve(SystemDatagrams::open(socket), &*answers, &identity, &counters))
        };
        self.0.into_iter().enumerate().map(start).collect()
    }
}

fn serve(
    mut datagrams: SystemDatagrams,
    answers: &dyn Answers,
    identity: &Identity,
    counters: &TrafficCounters,
) {
    loop {
        match datagrams.receive() {
            Ok(Some(received)) => counters.queries.add(u64::try_from(received).unwrap_or(u64::MAX)),
            Ok(None) => return,
            Err(why) => {
                tracing::warn!(%why, "cannot receive DNS queries over UDP");
                std::thread::sleep(PAUSE);
                continue;
            }
        }
        answers.look(&mut |source| {
            datagrams.answer_each(&mut |query, out| {
                let reply = answer(source, identity, Transport::Udp, query, out);
                match reply {
                    Reply::Send => counters.reply(out),
                    // A transfer needs a stream.
                    Reply::Silence | Reply::Transfer(_) => counters.malformed.one(),
                }
                reply == Reply::Send
            });
        });
        let unsent = datagrams.send();
        counters.dropped.add(u64::try_from(unsent).unwrap_or(u64::MAX));
    }
}
