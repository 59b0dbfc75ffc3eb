//! Datagrams in batches: take what queries wait, answer each into a buffer of its own, send what there is to send.
//!
//! All buffers are made once; nothing is allocated for a query. On Linux one system call receives a batch and one sends
//! it; elsewhere a batch is one datagram.

use std::io::{self, PipeWriter};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{Domain, Protocol, Socket, Type};

#[cfg(target_os = "linux")]
mod linux;
#[cfg(any(test, not(target_os = "linux")))]
mod portable;

#[cfg(target_os = "linux")]
pub(crate) use linux::LinuxDatagrams as SystemDatagrams;
#[cfg(not(target_os = "linux"))]
pub(crate) use portable::PortableDatagrams as SystemDatagrams;

/// Answers a datagram from somebody into a buffer; `false`: there is no answer.
pub(crate) type Answering<'a> = dyn FnMut(IpAddr, &[u8], &mut Vec<u8>) -> bool + 'a;

/// One thread's hand on a UDP socket.
pub(crate) trait Datagrams {
    /// On this socket; the thread that calls it keeps it.
    fn open(socket: BoundSocket) -> Self
    where
        Self: Sized;

    /// Waits for datagrams; says how many came. `None`: closing.
    ///
    /// # Errors
    /// What the operating system says, also of a datagram that was sent before; the socket itself stays good.
    fn receive(&mut self) -> io::Result<Option<usize>>;

    /// Shows each received datagram to `answer`, with whom it is from and an empty buffer; `true`: what it wrote there is the
    /// answer. What is longer than [`DNS_DATAGRAM_BYTES_MAX`](synod_types::limits::DNS_DATAGRAM_BYTES_MAX) is shown as empty.
    fn answer_each(&mut self, answer: &mut Answering<'_>);

    /// Sends the answers, each to where its query came from and from where that query went to; says how many the
    /// operating system did not take.
    fn send(&mut self) -> usize;
}

/// Ends every wait of the threads that hold a [`Closed`] of it, when it is dropped.
pub(crate) struct Closer {
    closed: Arc<AtomicBool>,
    /// Its other end is readable once this is gone.
    _pipe: PipeWriter,
}

impl Drop for Closer {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Release);
    }
}

/// Learns that a [`Closer`] was dropped.
pub(crate) struct Closed {
    closed: Arc<AtomicBool>,
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only poll(2) looks at it"))]
    pipe: io::PipeReader,
}

impl Closed {
    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Another one of the same.
    pub(crate) fn try_clone(&self) -> io::Result<Closed> {
        Ok(Closed { closed: Arc::clone(&self.closed), pipe: self.pipe.try_clone()? })
    }
}

/// A closer, and what learns from it.
pub(crate) fn closer() -> io::Result<(Closer, Closed)> {
    let (reader, writer) = io::pipe()?;
    let closed = Arc::new(AtomicBool::new(false));
    Ok((Closer { closed: Arc::clone(&closed), _pipe: writer }, Closed { closed, pipe: reader }))
}

/// Bytes of queries that may wait in the kernel, if it allows so many: a burst should not be lost to a thread that was
/// not running for some milliseconds.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;
/// Bytes of answers that may wait for the network.
const SEND_BUFFER_BYTES: usize = 4 << 20;

/// A UDP socket that a thread may take over.
pub(crate) struct BoundSocket {
    socket: UdpSocket,
    addr: SocketAddr,
    closed: Closed,
}

impl BoundSocket {
    /// Binds as [`bind`] does, for a thread that ends when `closed` says so.
    pub(crate) fn bind(addr: SocketAddr, shared: bool, closed: &Closed) -> io::Result<BoundSocket> {
        BoundSocket::of(bind(addr, shared)?, closed)
    }

    /// The same with a socket that is bound already.
    pub(crate) fn of(socket: UdpSocket, closed: &Closed) -> io::Result<BoundSocket> {
        let addr = socket.local_addr()?;
        SystemDatagrams::prepare(&socket, addr)?;
        Ok(BoundSocket { socket, addr, closed: closed.try_clone()? })
    }
}

/// A UDP socket bound here; `shared` among several sockets, each with a part of the clients.
pub(crate) fn bind(addr: SocketAddr, shared: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        // 0.0.0.0 and [::] can then both be listened at.
        socket.set_only_v6(true)?;
    }
    #[cfg(unix)]
    if shared {
        socket.set_reuse_port(true)?;
    }
    // As large as the system's settings allow; less is no error.
    for too_small in
        [socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES), socket.set_send_buffer_size(SEND_BUFFER_BYTES)]
    {
        if let Err(why) = too_small {
            tracing::debug!(%why, "cannot set the size of a UDP buffer");
        }
    }
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::portable::PortableDatagrams;
    use super::*;
    use synod_types::limits::DNS_DATAGRAM_BYTES_MAX;

    type Open = fn(BoundSocket) -> Box<dyn Datagrams>;

    /// Both implementations, where there are two.
    const ALL: [(&str, Open); 2] = [
        ("system", |socket| Box::new(SystemDatagrams::open(socket))),
        ("portable", |socket| Box::new(PortableDatagrams::open(socket))),
    ];

    /// Echoes until closed; what is empty gets no answer.
    fn echo(datagrams: &mut dyn Datagrams) {
        while datagrams.receive().unwrap().is_some() {
            datagrams.answer_each(&mut |_, query, answer| {
                answer.extend_from_slice(query);
                !query.is_empty()
            });
            assert_eq!(datagrams.send(), 0);
        }
    }

    fn exchange(listen: &str, reach: &str) {
        for (name, open) in ALL {
            let (closer, closed) = closer().unwrap();
            let socket = BoundSocket::bind(listen.parse().unwrap(), false, &closed).unwrap();
            let port = socket.addr.port();
            let echoing = std::thread::spawn(move || echo(&mut *open(socket)));

            let client = UdpSocket::bind((reach, 0)).unwrap();
            // Only what comes from the address that was asked is received.
            client.connect((reach, port)).unwrap();
            let mut buffer = [0; 2 * DNS_DATAGRAM_BYTES_MAX];
            for round in 0_u8..3 {
                let longest = vec![round; DNS_DATAGRAM_BYTES_MAX];
                let too_long = vec![round; DNS_DATAGRAM_BYTES_MAX + 1];
                for query in [&[round][..], &too_long, &[], &[round, 1], &longest] {
                    client.send(query).unwrap();
                }
                for answer in [&[round][..], &[round, 1], &longest] {
                    let bytes = client.recv(&mut buffer).unwrap();
                    assert!(&buffer[..bytes] == answer, "{name}: {bytes} bytes");
                }
            }
            drop(closer);
            echoing.join().unwrap();
        }
    }

    #[test]
    fn each_answer_goes_where_its_query_came_from() {
        exchange("127.0.0.1:0", "127.0.0.1");
        exchange("0.0.0.0:0", "127.0.0.1");
        exchange("[::]:0", "::1");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_answer_comes_from_the_address_that_was_asked() {
        // All of 127.0.0.0/8 is this host; without care, the answer would come from 127.0.0.1.
        let (closer, closed) = closer().unwrap();
        let socket = BoundSocket::bind("0.0.0.0:0".parse().unwrap(), false, &closed).unwrap();
        let port = socket.addr.port();
        let echoing = std::thread::spawn(move || echo(&mut SystemDatagrams::open(socket)));
        for reach in ["127.0.0.2", "127.0.0.3", "127.0.0.1"] {
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.send_to(b"who are you", (reach, port)).unwrap();
            let (_, from) = client.recv_from(&mut [0; 64]).unwrap();
            assert_eq!(from.to_string(), format!("{reach}:{port}"));
        }
        drop(closer);
        echoing.join().unwrap();
    }

    #[test]
    fn many_datagrams_are_all_answered() {
        for (name, open) in ALL {
            let (closer, closed) = closer().unwrap();
            let socket = BoundSocket::bind("127.0.0.1:0".parse().unwrap(), false, &closed).unwrap();
            let server = socket.addr;
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.connect(server).unwrap();
            for number in 0_u8..100 {
                client.send(&[number]).unwrap();
            }
            let echoing = std::thread::spawn(move || echo(&mut *open(socket)));
            let mut buffer = [0; 16];
            for number in 0_u8..100 {
                assert_eq!((client.recv(&mut buffer).unwrap(), buffer[0]), (1, number), "{name}");
            }
            drop(closer);
            echoing.join().unwrap();
        }
    }

    #[test]
    fn what_cannot_be_sent_is_counted_and_holds_up_nothing() {
        for (name, open) in ALL {
            let (closer, closed) = closer().unwrap();
            let socket = BoundSocket::bind("127.0.0.1:0".parse().unwrap(), false, &closed).unwrap();
            let server = socket.addr;
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.connect(server).unwrap();
            for number in 0_u8..3 {
                client.send(&[number]).unwrap();
            }
            let mut datagrams = open(socket);
            let (mut received, mut unsent) = (0, 0);
            while received < 3 {
                received += datagrams.receive().unwrap().unwrap();
                datagrams.answer_each(&mut |_, query, answer| {
                    answer.extend_from_slice(query);
                    if query == [1] {
                        // More than any datagram holds.
                        answer.resize(1 << 16, 0);
                    }
                    true
                });
                unsent += datagrams.send();
            }
            drop(closer);
            assert_eq!((received, unsent), (3, 1), "{name}");
            assert_eq!(datagrams.receive().unwrap(), None, "{name}");
            let mut buffer = [0; 16];
            assert_eq!((client.recv(&mut buffer).unwrap(), buffer[0]), (1, 0), "{name}");
            assert_eq!((client.recv(&mut buffer).unwrap(), buffer[0]), (1, 2), "{name}");
        }
    }
}
