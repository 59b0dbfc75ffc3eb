//! The HTTP front end of this node, and how it starts.

use std::sync::Arc;

use synod_auth::ServerCertificate;
use synod_dns::Given;
use synod_gateway::Gateway;
use synod_http::{ALPN, HttpConfig, HttpServer};

use crate::config::Http;
use crate::node::resolve;
use crate::start_error::StartError;

/// The certificate that readers see, if they see one.
pub(crate) fn certificate(config: &Http) -> Result<Option<Arc<ServerCertificate>>, StartError> {
    let Some(files) = &config.tls else { return Ok(None) };
    Ok(Some(Arc::new(ServerCertificate::load(&files.cert_path, &files.key_path)?)))
}

/// Answers readers from `gateway`, in TLS if there is a certificate, on the socket that is given if there is one.
pub(crate) async fn start(
    config: &Http,
    certificate: Option<&ServerCertificate>,
    given: &Given,
    gateway: Gateway,
) -> Result<HttpServer, StartError> {
    let tls = match certificate {
        Some(certificate) => Some(Arc::new(certificate.server_config(&[ALPN])?)),
        None => None,
    };
    let addr = resolve(&config.addr).await?;
    let http_config = HttpConfig {
        addr,
        given: given.listeners.iter().find(|one| one.local_addr().is_ok_and(|at| at == addr)).cloned(),
        tls,
        cors: config.cors_origins.clone(),
        connections_per_address: config.connections_per_address,
    };
    Ok(HttpServer::start(http_config, gateway).await?)
}
