//! TLS: who a node shows itself to be, and the layer between a socket and what a connection says.
//!
//! A connection over TLS is like any other: [`session::Tls`] stands where the socket is read and where it is written, and
//! nothing else knows of it. A plain connection has none and pays a pointer.

pub mod certificate;
pub mod session;
mod validity;

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::server::{NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};

use certificate::Certificate;

/// What browsers and WebSocket clients may ask for within the handshake (ALPN). Who asks for nothing gets the same.
const PROTOCOLS: [&[u8]; 1] = [b"http/1.1"];

/// How the node shakes hands: TLS 1.3 and 1.2, as the owner of `certificate`. Clients that come back with a ticket skip
/// the costly half of a handshake; tickets are sealed with keys of this process, so that a session that is over takes no
/// memory here.
pub fn config(certificate: Certificate) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(shown(certificate));
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = Ticketer::new()?;
    Ok(Arc::new(config))
}

/// The same with another certificate: tickets given out before stay good.
pub fn with_certificate(config: &ServerConfig, certificate: Certificate) -> Arc<ServerConfig> {
    let mut config = config.clone();
    config.cert_resolver = shown(certificate);
    Arc::new(config)
}

fn shown(certificate: Certificate) -> Arc<dyn ResolvesServerCert> {
    Arc::new(SingleCertAndKey::from(certificate.key))
}
