//! One datagram at a time, with what the standard library has.
//!
//! A socket bound to an unspecified address answers from the address that the system's routes choose: where that is not
//! the one that was asked, list the addresses one by one.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use super::{Answering, BoundSocket, Closed, Datagrams};
use synod_types::limits::DNS_DATAGRAM_BYTES_MAX;

/// How often a thread that waits for datagrams looks whether it should end.
const LOOK_UP: Duration = Duration::from_millis(100);

pub(crate) struct PortableDatagrams {
    socket: UdpSocket,
    closed: Closed,
    query: Box<[u8]>,
    query_bytes: usize,
    answer: Vec<u8>,
    to: Option<SocketAddr>,
}

impl PortableDatagrams {
    #[cfg_attr(target_os = "linux", expect(dead_code, reason = "Linux has datagrams of its own"))]
    pub(super) fn prepare(_: &UdpSocket, _: SocketAddr) -> io::Result<()> {
        Ok(())
    }
}

impl Datagrams for PortableDatagrams {
    fn open(BoundSocket { socket, closed, .. }: BoundSocket) -> PortableDatagrams {
        if let Err(why) = socket.set_read_timeout(Some(LOOK_UP)) {
            tracing::warn!(%why, "a DNS thread will not end before its next query");
        }
        // One byte more than is taken shows what is longer.
        let query = vec![0; DNS_DATAGRAM_BYTES_MAX + 1].into_boxed_slice();
        PortableDatagrams { socket, closed, query, query_bytes: 0, answer: Vec::new(), to: None }
    }

    fn receive(&mut self) -> io::Result<Option<usize>> {
        self.to = None;
        loop {
            if self.closed.is_closed() {
                return Ok(None);
            }
            match self.socket.recv_from(&mut self.query) {
                Ok((bytes, from)) => {
                    self.query_bytes = if bytes > DNS_DATAGRAM_BYTES_MAX { 0 } else { bytes };
                    self.to = Some(from);
                    return Ok(Some(1));
                }
                Err(why) => match why.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => {}
                    _ => return Err(why),
                },
            }
        }
    }

    fn answer_each(&mut self, answer: &mut Answering<'_>) {
        self.answer.clear();
        self.to = self.to.filter(|from| answer(from.ip(), &self.query[..self.query_bytes], &mut self.answer));
    }

    fn send(&mut self) -> usize {
        match self.to.take().map(|to| self.socket.send_to(&self.answer, to)) {
            Some(Err(_)) => 1,
            Some(Ok(_)) | None => 0,
        }
    }
}
