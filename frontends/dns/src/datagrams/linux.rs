//! A batch by one system call, in each direction: `recvmmsg` and `sendmmsg`.
//!
//! A socket that is bound to an unspecified address is served one datagram at a time instead: each answer then has to
//! name the address that its query went to (`IP_PKTINFO`), which nix's `sendmmsg` cannot say for each datagram.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _};

use nix::errno::Errno;
use nix::libc::{in_addr, in_pktinfo, in6_pktinfo};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, recvmsg,
    sendmmsg, sendmsg, setsockopt,
};

use super::{Answering, BoundSocket, Closed, Datagrams};
use synod_types::limits::{DNS_DATAGRAM_BYTES_MAX, DNS_DATAGRAMS_AT_ONCE};

const BATCH: usize = DNS_DATAGRAMS_AT_ONCE;

pub(crate) struct LinuxDatagrams {
    socket: UdpSocket,
    closed: Closed,
    calls: Calls,
    /// What came: `received` of them hold something.
    queries: Box<[[u8; DNS_DATAGRAM_BYTES_MAX]; BATCH]>,
    arrivals: [Arrival; BATCH],
    received: usize,
    /// What goes out: `answered` of them, each to the peer of the same number.
    answers: [Vec<u8>; BATCH],
    peers: [Option<SockaddrStorage>; BATCH],
    answered_at: [Option<Local>; BATCH],
    answered: usize,
}

/// What is known of one datagram beside its bytes.
#[derive(Clone, Copy, Default)]
struct Arrival {
    bytes: usize,
    from: Option<SockaddrStorage>,
    /// Known where the socket has no address of its own.
    at: Option<Local>,
}

/// This host's address that a datagram went to.
#[derive(Clone, Copy)]
enum Local {
    V4(in_pktinfo),
    V6(in6_pktinfo),
}

/// How datagrams pass to and from the kernel.
enum Calls {
    Batches { receiving: MultiHeaders<SockaddrStorage>, sending: MultiHeaders<SockaddrStorage> },
    OneByOne { control: Vec<u8> },
}

impl LinuxDatagrams {
    /// What has to be known of each datagram is asked for.
    pub(super) fn prepare(socket: &UdpSocket, addr: SocketAddr) -> io::Result<()> {
        match addr.ip() {
            IpAddr::V4(v4) if v4.is_unspecified() => setsockopt(socket, Ipv4PacketInfo, &true)?,
            IpAddr::V6(v6) if v6.is_unspecified() => setsockopt(socket, Ipv6RecvPacketInfo, &true)?,
            _ => {}
        }
        Ok(())
    }

    /// What is there, without waiting.
    fn receive_now(&mut self) -> Result<usize, Errno> {
        let fd = self.socket.as_raw_fd();
        match &mut self.calls {
            Calls::Batches { receiving, .. } => {
                let mut slices = self.queries.each_mut().map(|query| [IoSliceMut::new(query)]);
                let came = recvmmsg(fd, receiving, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None)?;
                let mut received = 0;
                for (datagram, arrival) in came.zip(&mut self.arrivals) {
                    let cut = datagram.flags.contains(MsgFlags::MSG_TRUNC);
                    let bytes = if cut { 0 } else { datagram.bytes };
                    *arrival = Arrival { bytes, from: datagram.address, at: None };
                    received += 1;
                }
                Ok(received)
            }
            Calls::OneByOne { control } => {
                let mut received = 0;
                for (query, arrival) in self.queries.iter_mut().zip(&mut self.arrivals) {
                    let mut slices = [IoSliceMut::new(query)];
                    let flags = MsgFlags::MSG_DONTWAIT;
                    let datagram = match recvmsg(fd, &mut slices, Some(control), flags) {
                        Ok(datagram) => datagram,
                        Err(_) if received > 0 => break,
                        Err(why) => return Err(why),
                    };
                    let cut = datagram.flags.contains(MsgFlags::MSG_TRUNC);
                    let bytes = if cut { 0 } else { datagram.bytes };
                    let at = datagram.cmsgs()?.find_map(Local::of);
                    *arrival = Arrival { bytes, from: datagram.address, at };
                    received += 1;
                }
                Ok(received)
            }
        }
    }

    /// Sends from answer number `first` on; says how many went out. An error is the first one's.
    fn send_from(&mut self, first: usize) -> Result<usize, Errno> {
        let fd = self.socket.as_raw_fd();
        match &mut self.calls {
            Calls::Batches { sending, .. } => {
                let slices = self.answers.each_ref().map(|answer| [IoSlice::new(answer)]);
                let (slices, peers) = (&slices[first..self.answered], &self.peers[first..self.answered]);
                Ok(sendmmsg(fd, sending, slices, peers, [], MsgFlags::MSG_DONTWAIT)?.count())
            }
            Calls::OneByOne { .. } => {
                let slices = [IoSlice::new(&self.answers[first])];
                let at = self.answered_at[first].as_ref().map(Local::message);
                let peer = self.peers[first].as_ref();
                sendmsg(fd, &slices, at.as_slice(), MsgFlags::MSG_DONTWAIT, peer)?;
                Ok(1)
            }
        }
    }
}

impl Datagrams for LinuxDatagrams {
    fn open(BoundSocket { socket, addr, closed }: BoundSocket) -> LinuxDatagrams {
        let calls = if addr.ip().is_unspecified() {
            Calls::OneByOne { control: nix::cmsg_space!(in6_pktinfo) }
        } else {
            Calls::Batches {
                receiving: MultiHeaders::preallocate(BATCH, None),
                sending: MultiHeaders::preallocate(BATCH, None),
            }
        };
        let queries = vec![[0; DNS_DATAGRAM_BYTES_MAX]; BATCH].into_boxed_slice();
        LinuxDatagrams {
            socket,
            closed,
            calls,
            queries: queries.try_into().expect("a batch was made"),
            arrivals: [Arrival::default(); BATCH],
            received: 0,
            answers: std::array::from_fn(|_| Vec::new()),
            peers: [None; BATCH],
            answered_at: [None; BATCH],
            answered: 0,
        }
    }

    fn receive(&mut self) -> io::Result<Option<usize>> {
        (self.received, self.answered) = (0, 0);
        loop {
            if self.closed.is_closed() {
                return Ok(None);
            }
            match self.receive_now() {
                Ok(received) => {
                    self.received = received;
                    return Ok(Some(received));
                }
                Err(Errno::EAGAIN) => {
                    let mut either = [
                        PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
                        // Readable when its other end is closed.
                        PollFd::new(self.closed.pipe.as_fd(), PollFlags::POLLIN),
                    ];
                    match poll(&mut either, PollTimeout::NONE) {
                        Ok(_) | Err(Errno::EINTR) => {}
                        Err(why) => return Err(why.into()),
                    }
                }
                Err(Errno::EINTR) => {}
                Err(why) => return Err(why.into()),
            }
        }
    }

    fn answer_each(&mut self, answer: &mut Answering<'_>) {
        self.answered = 0;
        for (query, arrival) in self.queries.iter().zip(&self.arrivals).take(self.received) {
            let buffer = &mut self.answers[self.answered];
            buffer.clear();
            let Some(from) = arrival.from.as_ref().and_then(ip) else { continue };
            if answer(from, &query[..arrival.bytes], buffer) {
                self.peers[self.answered] = arrival.from;
                self.answered_at[self.answered] = arrival.at;
                self.answered += 1;
            }
        }
    }

    fn send(&mut self) -> usize {
        let (mut done, mut unsent) = (0, 0);
        while done < self.answered {
            match self.send_from(done) {
                Ok(sent) => done += sent.max(1),
                Err(Errno::EINTR) => {}
                Err(_) => {
                    // The first one's fault, and the only one's: the others may be for other places.
                    (done, unsent) = (done + 1, unsent + 1);
                }
            }
        }
        unsent
    }
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
}

impl Local {
    fn of(message: ControlMessageOwned) -> Option<Local> {
        match message {
            ControlMessageOwned::Ipv4PacketInfo(info) => Some(Local::V4(in_pktinfo {
                // The route back decides about the interface.
                ipi_ifindex: 0,
                ipi_addr: in_addr { s_addr: 0 },
                ..info
            })),
            ControlMessageOwned::Ipv6PacketInfo(info) => Some(Local::V6(info)),
            _ => None,
        }
    }

    fn message(&self) -> ControlMessage<'_> {
        match self {
            Local::V4(info) => ControlMessage::Ipv4PacketInfo(info),
            Local::V6(info) => ControlMessage::Ipv6PacketInfo(info),
        }
    }
}
