//! Sockets that whoever started this process has opened for it, as systemd does (`LISTEN_FDS`, sd_listen_fds(3)). They stay open while no
//! process is there: who connects meanwhile waits for the next one.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use listenfd::ListenFd;
use synod_dns::Given;

use crate::config::{Address, DnsTls, FrontConfig};
use crate::node::resolve;
use crate::start_error::StartError;

/// The sockets that this process was given. Call it before there are threads: it clears the variables that tell of them.
///
/// # Errors
/// One of them is neither a TCP listener nor a UDP socket.
pub fn take_given() -> io::Result<Given> {
    let (mut handed, mut given) = (ListenFd::from_env(), Given::default());
    for n in 0..handed.len() {
        match handed.take_tcp_listener(n) {
            Ok(listener) => given.listeners.extend(listener.map(Arc::new)),
            Err(_) => given.sockets.extend(handed.take_udp_socket(n)?.map(Arc::new)),
        }
    }
    Ok(given)
}

/// An address at which a socket was given and nothing is to be served, if there is one.
pub(super) async fn needless(config: &FrontConfig, given: &Given) -> Result<Option<SocketAddr>, StartError> {
    let mut wanted = Vec::new();
    for addr in addresses(config) {
        wanted.push(resolve(addr).await?);
    }
    let listeners = given.listeners.iter().map(|one| one.local_addr());
    let all = listeners.chain(given.sockets.iter().map(|one| one.local_addr()));
    let mut all = all.collect::<io::Result<Vec<_>>>().map_err(StartError::Address)?.into_iter();
    Ok(all.find(|addr| !wanted.contains(addr)))
}

fn addresses(config: &FrontConfig) -> Vec<&Address> {
    let http = config.http.as_ref().map(|http| &http.addr);
    let dns = config.dns.iter().flat_map(|dns| &dns.addrs);
    let encrypted = config.dns.as_ref().and_then(|dns| dns.tls.as_ref());
    let encrypted = encrypted.into_iter().flat_map(|DnsTls { dot, doh, doq, .. }| [dot, doh, doq]);
    http.into_iter().chain(dns).chain(encrypted.flatten()).collect()
}
