//! Ports on this machine that are free now.

use std::net::{IpAddr, TcpListener, UdpSocket};

use anyhow::Context;

/// Tries for a port that is free for both TCP and UDP.
const TRIES: usize = 64;

/// Different ports that are free for TCP and UDP. They are all held until the last one is found, then released:
/// another process may take one before it is used, so be ready to ask again.
pub(crate) fn free(host: IpAddr, count: usize) -> anyhow::Result<Vec<u16>> {
    let mut held = Vec::new();
    let mut ports = Vec::new();
    let mut tries = 0;
    while ports.len() < count {
        let tcp = TcpListener::bind((host, 0)).with_context(|| format!("cannot listen at {host}"))?;
        let port = tcp.local_addr()?.port();
        match UdpSocket::bind((host, port)) {
            Ok(udp) => {
                ports.push(port);
                held.push((tcp, udp));
            }
            Err(why) => {
                tries += 1;
                if tries > TRIES {
                    return Err(why).with_context(|| format!("{host} has no free port for TCP and UDP"));
                }
            }
        }
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn free_ports_are_different() {
        let ports = free(Ipv4Addr::LOCALHOST.into(), 9).unwrap();
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), 9);
        assert!(!ports.contains(&0));
    }
}
