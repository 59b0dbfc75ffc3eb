//! One port number for two transports: TCP and UDP sockets on the same port.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use crate::backend::BackendError;

/// How often another free port is tried where the caller leaves the choice to the system: a port that is free for
/// TCP is nearly always free for UDP.
const FREE_PORT_TRIES: usize = 16;

/// Both sockets of the commanders' port, and their address.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) tcp: TcpListener,
    pub(crate) udp: UdpSocket,
    pub(crate) addr: SocketAddr,
}

/// Binds both sockets. Port 0 takes any port that is free for both.
pub(crate) fn bind(addr: SocketAddr) -> Result<Sockets, BackendError> {
    let mut tries = 1;
    loop {
        let tcp = TcpListener::bind(addr).map_err(|error| refused(addr, "TCP", error))?;
        let local = tcp.local_addr().map_err(|error| refused(addr, "TCP", error))?;
        let udp = match UdpSocket::bind(local) {
            Ok(udp) => udp,
            Err(error) => {
                let another_may_do = addr.port() == 0 && error.kind() == io::ErrorKind::AddrInUse;
                if another_may_do && tries < FREE_PORT_TRIES {
                    tries += 1;
                    continue;
                }
                return Err(refused(local, "UDP", error));
            }
        };
        tcp.set_nonblocking(true).map_err(|error| refused(local, "TCP", error))?;
        return Ok(Sockets { tcp, udp, addr: local });
    }
}

fn refused(addr: SocketAddr, transport: &'static str, source: io::Error) -> BackendError {
    match source.kind() {
        io::ErrorKind::AddrInUse => BackendError::PortInUse { addr, transport },
        _ => BackendError::Bind { addr, transport, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    #[test]
    fn both_sockets_have_one_port() {
        let sockets = bind(LOOPBACK).unwrap();
        assert_eq!(sockets.tcp.local_addr().unwrap(), sockets.udp.local_addr().unwrap());
        assert_ne!(sockets.addr.port(), 0);
    }

    #[test]
    fn a_port_in_use_is_named() {
        let tcp = TcpListener::bind(LOOPBACK).unwrap();
        let taken = bind(tcp.local_addr().unwrap()).unwrap_err();
        assert!(matches!(taken, BackendError::PortInUse { transport: "TCP", .. }), "{taken}");

        let udp = UdpSocket::bind(LOOPBACK).unwrap();
        let taken = bind(udp.local_addr().unwrap()).unwrap_err();
        assert!(matches!(taken, BackendError::PortInUse { transport: "UDP", .. }), "{taken}");
    }
}
