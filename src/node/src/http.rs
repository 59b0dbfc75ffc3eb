//! The HTTP front end of this node, and how it starts.

use std::sync::Arc;

use synod_auth::tls;
use synod_gateway::Gateway;
use synod_http::{ALPN, HttpConfig, HttpServer};

use crate::config::Http;
use crate::node::{StartError, resolve};

/// Answers readers from `gateway`.
pub(crate) async fn start(config: &Http, gateway: Gateway) -> Result<HttpServer, StartError> {
    let tls = match &config.tls {
        Some(files) => Some(Arc::new(tls::readers_server(&files.cert_path, &files.key_path, &[ALPN])?)),
        None => None,
    };
    let http_config = HttpConfig {
        addr: resolve(&config.addr).await?,
        tls,
        cors: config.cors_origins.clone(),
        connections_per_address: config.connections_per_address,
    };
    Ok(HttpServer::start(http_config, gateway).await?)
}
